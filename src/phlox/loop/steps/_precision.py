"""In which precision a step computes, and the guards that keep NaN and infinity out of the weights."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import (
    DtypeError,
    Module,
    RangeError,
    State,
    dtypes,
    trainable_arrays,
    write_arrays,
)
from phlox.optim import Optimizer, Rule

_NAMES = {
    "float32": "float32",
    "f32": "float32",
    "bfloat16": "bfloat16",
    "bf16": "bfloat16",
    "float16": "float16",
    "f16": "float16",
    "fp16": "float16",
    "float64": "float64",
    "f64": "float64",
}


@dataclass(frozen=True)
class Precision:
    """A dtype to compute in, with parameters, gradients and the loss in float32 where it is a short one.

    Arguments:
        name: ``"float32"``, ``"bfloat16"``, ``"float16"`` or ``"float64"``, or None, which leaves everything as it is.
    """

    name: str | None = None

    @classmethod
    def of(cls, name: Any, where: str) -> Precision:
        """The precision of a name or dtype.

        Raises:
            RangeError: a name that is none.
        """
        if name is None:
            return cls()
        key = name if isinstance(name, str) else getattr(jnp.dtype(name), "name", "")
        if key not in _NAMES:
            known = ", ".join(f'"{n}"' for n in ("bf16", "fp16", "float32", "float64"))
            raise RangeError(f"precision {known} or None", got=repr(name), fix="choose one of these", where=where)
        return cls(_NAMES[key])

    def block(self) -> AbstractContextManager[Any]:
        """The dtype policy of a step."""
        if self.name in ("bfloat16", "float16"):
            return dtypes(compute=jnp.dtype(self.name), output=jnp.float32)
        return dtypes(compute=None if self.name is None else jnp.dtype(self.name))

    def scale(self) -> LossScale | None:
        """The loss scaling it needs, or None."""
        return LossScale() if self.name == "float16" else None

    def prepare(self, model: Module, optimizer: Optimizer | Rule | Any, where: str) -> None:
        """For float64, have the trainable arrays in it.

        Raises:
            DtypeError: JAX's 64-bit mode is off, or an optimiser of shorter arrays exists already.
        """
        if self.name != "float64":
            return
        short = {p: v for p, v in trainable_arrays(model).items() if v.dtype == jnp.float32}
        if jax.dtypes.canonicalize_dtype(jnp.float64) != jnp.float64 or (short and isinstance(optimizer, Optimizer)):
            off = jax.dtypes.canonicalize_dtype(jnp.float64) != jnp.float64
            raise DtypeError(
                "JAX's 64-bit mode for precision float64" if off else "a model in float64",
                got="it switched off" if off else f"{next(iter(short))} in float32, and an optimiser made for it",
                fix='call jax.config.update("jax_enable_x64", True) before the first array is made'
                if off
                else "make the model with px.f64(model) and its optimiser after that, or pass the rule alone",
                where=where,
            )
        write_arrays(model, {p: v.astype(jnp.float64) for p, v in short.items()})


AS_IT_IS = Precision()


# --- guards -------------------------------------------------------------------------------------------


class Guard(Module):
    """Looks at every step's loss and gradients, and holds back a step that is not finite."""

    _default_role = "State"

    def scaled(self, loss: Any) -> Any:
        """The loss to differentiate."""
        return loss

    def unscaled(self, grads: dict[str, Any]) -> dict[str, Any]:
        """The gradients of the loss itself."""
        return grads

    def keeps(self, finite: Any) -> Any:
        """Whether what a batch did to the model's State stays."""
        return finite

    def admits(self, finite: Any) -> Any:
        """Whether to take the step; remembers what it was told."""
        raise NotImplementedError

    def told(self, loss: Any, weight: Any, admitted: Any) -> tuple[Any, Any]:
        """The loss and the weight to record for a step."""
        raise NotImplementedError


class LossScale(Guard):
    r"""Dynamic loss scaling for float16: gradients of $s·L$, so that small ones do not become 0, divided by s.

    A step whose gradients are not finite is left out and halves s; 2000 in a row that are double it.

    Source: Micikevicius et al., "Mixed precision training", 2018; the numbers are those of PyTorch's ``GradScaler``.
    """

    value: State  # () s
    good: State  # () finite steps since s changed

    def __init__(self, start: float = 2.0**16, *, growth: float = 2.0, backoff: float = 0.5, interval: int = 2000):
        self.growth, self.backoff, self.interval = growth, backoff, interval
        self.value = jnp.float32(start)
        self.good = jnp.int32(0)

    def scaled(self, loss: Any) -> Any:
        """s·L."""
        return loss * self.value.astype(loss.dtype)

    def unscaled(self, grads: dict[str, Any]) -> dict[str, Any]:
        """Gradients divided by s."""
        return {path: g / self.value.astype(g.dtype) for path, g in grads.items()}

    def admits(self, finite: Any) -> Any:
        """Every finite step; s moves."""
        good = jnp.where(finite, self.good + 1, 0)
        grows = good >= self.interval
        larger = self.value * self.growth
        kept = jnp.where(grows & jnp.isfinite(larger), larger, self.value)  # infinity would never come back
        self.value = jnp.where(finite, kept, self.value * self.backoff)
        self.good = jnp.where(grows, 0, good)
        return finite

    def told(self, loss: Any, weight: Any, admitted: Any) -> tuple[Any, Any]:
        """What was left out has no weight."""
        return loss, jnp.where(admitted, weight, 0)


class Refusal(Guard):
    """Takes no step from the first on that is not finite; their losses are told as NaN."""

    refused: State  # () whether there was one

    def __init__(self) -> None:
        self.refused = jnp.bool_(False)

    def keeps(self, finite: Any) -> Any:
        """That of batches before the first bad one."""
        return finite & ~self.refused

    def admits(self, finite: Any) -> Any:
        """Steps before the first bad one."""
        self.refused = self.refused | ~finite
        return ~self.refused

    def told(self, loss: Any, weight: Any, admitted: Any) -> tuple[Any, Any]:
        """NaN from the first bad step on."""
        return jnp.where(admitted, loss, jnp.nan), weight


def all_finite(loss: Any, grads: dict[str, Any]) -> Any:
    """() whether a loss and all gradients are finite."""
    return jnp.stack([jnp.isfinite(loss).all(), *[jnp.isfinite(g).all() for g in grads.values()]]).all()
