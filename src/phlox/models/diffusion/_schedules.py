"""Noise schedules: how much of the data is left at each step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from phlox.core import RangeError
from phlox.models.diffusion._checks import check_noise

Spacing = Literal["leading", "trailing", "linspace"]


@dataclass(frozen=True)
class NoiseSchedule:
    r"""How much noise is in the data at each step: $x_t = \sqrt{\bar α_t}\, x + \sqrt{1 - \bar α_t}\, ε$.

    $\bar α_t = \prod_{s \le t} (1 - β_s)$. Kinds: ``"linear"``, β on a line; ``"scaled_linear"``, $\sqrt β$ on a line
    (latent diffusion); ``"cosine"``, $\bar α$ a squared cosine; ``"sigmoid"``, β on a sigmoid from -6 to 6. A schedule
    is a frozen value: equal ones are one, and a compiled function holds it as a constant.

    Shapes:
        betas, alpha_bars: (steps,), NumPy float64.

    Arguments:
        kind: one of the four.
        steps: how many there are; times are 0 … steps - 1.
        beta_start, beta_end: β at the first and the last step, in (0, 1); the cosine has none.
        zero_terminal_snr: rescale, so that the last step is nothing but noise. Networks then predict "v" or "sample".

    Raises:
        RangeError: another kind, fewer than 2 steps, β outside (0, 1) or falling.

    Source: Ho, Jain and Abbeel (arXiv:2006.11239); Nichol and Dhariwal (arXiv:2102.09672); Lin et al.
        (arXiv:2305.08891), algorithm 1, for the rescaling.

    >>> schedule = NoiseSchedule("cosine", steps=10)
    >>> schedule.alpha_bars.round(2).tolist()
    [0.97, 0.9, 0.79, 0.65, 0.49, 0.34, 0.2, 0.09, 0.02, 0.0]
    >>> schedule.timesteps(5).tolist()
    [8, 6, 4, 2, 0]
    """

    kind: Literal["linear", "scaled_linear", "cosine", "sigmoid"] = "linear"
    steps: int = 1000
    beta_start: float = 1e-4
    beta_end: float = 0.02
    zero_terminal_snr: bool = False

    def __post_init__(self) -> None:
        where = "NoiseSchedule"
        if self.kind not in _BETAS:
            kinds = ", ".join(map(repr, _BETAS))
            raise RangeError(f"kind of {kinds}", got=repr(self.kind), fix="choose one of them", where=where)
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 2:
            fix = "choose many, such as 1000; samplers take fewer of them"
            raise RangeError("steps as a whole number of at least 2", got=repr(self.steps), fix=fix, where=where)
        if not 0 < self.beta_start <= self.beta_end < 1:
            got, fix = f"{self.beta_start!r} and {self.beta_end!r}", "leave them out: 1e-4 and 0.02"
            raise RangeError("0 < beta_start <= beta_end < 1", got=got, fix=fix, where=where)

    @cached_property
    def betas(self) -> np.ndarray:
        """(steps,): the share of noise that each step adds."""
        bars = self.alpha_bars
        return 1 - bars / np.concatenate([[1.0], bars[:-1]])

    @cached_property
    def alpha_bars(self) -> np.ndarray:
        """(steps,): the share of the data's variance that is left after each step."""
        bars = np.cumprod(1 - _BETAS[self.kind](self))
        if self.zero_terminal_snr:
            root = np.sqrt(bars)
            bars = ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2
        bars.flags.writeable = False
        return bars

    def timesteps(self, count: int | None = None, spacing: Spacing = "leading") -> np.ndarray:
        """(count,) falling: the steps that a sampler takes.

        Arguments:
            count: how many, at most ``steps``; all by default.
            spacing: ``"leading"`` every n-th from 0, ``"trailing"`` every n-th from the last (for zero terminal SNR),
                ``"linspace"`` from the last to 0.

        Raises:
            RangeError: a count outside 1 … steps, another spacing.
        """
        n = self.steps if count is None else count
        if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= self.steps:
            fix = "take fewer, or build the schedule with more"
            raise RangeError(f"1 to {self.steps} steps", got=repr(count), fix=fix, where="NoiseSchedule.timesteps")
        if spacing == "leading":
            return np.arange(n)[::-1] * (self.steps // n)
        if spacing == "trailing":
            return np.round(self.steps - np.arange(n) * (self.steps / n)).astype(int) - 1
        if spacing == "linspace":
            return np.linspace(0, self.steps - 1, n).round()[::-1].astype(int)
        expected, fix = "spacing of 'leading', 'trailing', 'linspace'", "choose one of them"
        raise RangeError(expected, got=repr(spacing), fix=fix, where="NoiseSchedule.timesteps")

    def shares(self, t: ArrayLike, like: jax.Array) -> tuple[jax.Array, jax.Array]:
        r"""$\sqrt{\bar α_t}$ and $\sqrt{1 - \bar α_t}$ at times (batch,), to stand beside ``like`` (batch, ...).

        In float32 at least, whatever the dtype of ``like``.
        """
        both = np.stack([np.sqrt(self.alpha_bars), np.sqrt(1 - self.alpha_bars)])
        signal, spread = jnp.asarray(both, jnp.promote_types(like.dtype, jnp.float32))[:, jnp.asarray(t)]
        beside = signal.shape + (1,) * (like.ndim - signal.ndim)
        return signal.reshape(beside), spread.reshape(beside)

    def add_noise(self, x: jax.Array, noise: jax.Array, t: ArrayLike) -> jax.Array:
        """The data x (batch, ...) at times t () or (batch,), with this noise of its shape; of the dtype of x.

        Raises:
            DtypeError: data or noise of whole numbers, times of others. ShapeError: noise of another shape than x,
            times of another than () and (batch,). RangeError: times outside 0 … steps - 1, where they are known.
        """
        check_noise("NoiseSchedule.add_noise", x, noise, t, self.steps)
        signal, spread = self.shares(t, x)
        return (signal * x + spread * noise).astype(x.dtype)

    def velocity(self, x: jax.Array, noise: jax.Array, t: ArrayLike) -> jax.Array:
        r"""$v = \sqrt{\bar α_t}\, ε - \sqrt{1 - \bar α_t}\, x$, what a network of ``prediction="v"`` predicts.

        Shapes, dtypes, errors: as :meth:`add_noise`.
        """
        check_noise("NoiseSchedule.velocity", x, noise, t, self.steps)
        signal, spread = self.shares(t, x)
        return (signal * noise - spread * x).astype(x.dtype)


def _linear(schedule: NoiseSchedule) -> np.ndarray:
    return np.linspace(schedule.beta_start, schedule.beta_end, schedule.steps)


def _scaled_linear(schedule: NoiseSchedule) -> np.ndarray:
    return np.linspace(schedule.beta_start**0.5, schedule.beta_end**0.5, schedule.steps) ** 2


def _cosine(schedule: NoiseSchedule) -> np.ndarray:
    bars = np.cos((np.arange(schedule.steps + 1) / schedule.steps + 0.008) / 1.008 * np.pi / 2) ** 2
    return np.minimum(1 - bars[1:] / bars[:-1], 0.999)


def _sigmoid(schedule: NoiseSchedule) -> np.ndarray:
    rise: Any = 1 / (1 + np.exp(-np.linspace(-6, 6, schedule.steps)))
    return rise * (schedule.beta_end - schedule.beta_start) + schedule.beta_start


_BETAS: dict[str, Callable[[NoiseSchedule], np.ndarray]] = {
    "linear": _linear,
    "scaled_linear": _scaled_linear,
    "cosine": _cosine,
    "sigmoid": _sigmoid,
}
