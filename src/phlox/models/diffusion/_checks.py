"""What noise is added to, and at which times: refused where it would be silently another number."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from phlox.core import DtypeError, RangeError, ShapeError, describe


def check_floating(where: str, name: str, x: Any) -> None:
    """Refuse whole numbers, which would round what is added to them."""
    if not jnp.issubdtype(x.dtype, jnp.floating):
        fix = "scale it to a variance of about 1, such as pixels / 127.5 - 1"
        raise DtypeError(f"{name} of floats", got=describe(x), fix=fix, where=where)


def check_noise(where: str, x: Any, noise: Any, t: Any, steps: int) -> None:
    """Refuse noise of another shape than the data, times that are not of its examples, and such as there are none."""
    check_floating(where, "data", x)
    check_floating(where, "noise", noise)
    if np.shape(noise) != np.shape(x):
        fix = "draw it by jax.random.normal(key, x.shape)"
        raise ShapeError(f"noise {list(np.shape(x))}, as the data", got=describe(noise), fix=fix, where=where)
    if np.shape(t) not in ((), np.shape(x)[:1]):
        fix = "give a time for each example"
        raise ShapeError(f"times () or {list(np.shape(x)[:1])}", got=describe(t), fix=fix, where=where)
    check_times(where, t, steps)


def check_times(where: str, t: Any, steps: int) -> None:
    """Refuse times that a schedule has not; while tracing their values are not known."""
    if not jnp.issubdtype(jnp.result_type(t), jnp.integer):
        fix = "draw them by jax.random.randint(key, x.shape[:1], 0, schedule.steps)"
        raise DtypeError("whole numbers as times", got=describe(t), fix=fix, where=where)
    if isinstance(t, Tracer) or not np.size(t):
        return
    low, high = int(np.min(np.asarray(t))), int(np.max(np.asarray(t)))
    if low < 0 or high >= steps:
        fix = f"times count from 0, and the schedule has {steps}"
        raise RangeError(f"times from 0 to {steps - 1}", got=f"{low} to {high}", fix=fix, where=where)
