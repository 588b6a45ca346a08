"""The optimiser of a private training: gradients reach its rule clipped by example, added up, and with noise."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import Module, RangeError, State, StructureError, advance, check_size, describe
from phlox.loop import Objective, check_loss
from phlox.optim import Optimizer
from phlox.privacy._checks import check_number
from phlox.privacy.private._accounting import account
from phlox.privacy.private._clipped import Clipped
from phlox.privacy.private._noise import secret_key, with_noise
from phlox.privacy.private._sampling import Sampled
from phlox.privacy.private._step import PrivateStep

_WHERE = "PrivateOptimizer"


class PrivateOptimizer(Optimizer):
    r"""An optimiser whose steps tell little of any one example (DP-SGD, and the same of any other rule).

    Its rule sees $\tilde g = \frac{1}{b} \left( \sum_i g_i \min(1, c / \|g_i\|) + c \sigma \xi \right)$, where $g_i$ is
    the gradient of example i, over all trained arrays together, b the batch size that was asked for, not the one that
    was drawn, and ξ Gaussian. What a model that was trained so gives away of whether an example was there is bounded by
    ``epsilon``. Two data sets are neighbours where one has an example more.

    Train it with ``px.fit(model, loader, optimizer=opt, step=opt.step(loss))``, where ``loader`` is a
    ``px.privacy.PoissonLoader``. Plain gradients, as of ``px.fit(loss=)``, are refused.

    Arguments:
        rule: a rule of ``px.optim``, or an ``optax.GradientTransformation``; none that evaluates the loss itself.
        model: the Module to train.
        clip: c, the largest norm of the gradient of one example.
        noise_multiplier: σ, the noise's standard deviation over c; ``px.privacy.calibrate`` finds it for an ε. 0 is no
            noise and no privacy.
        batch_size: b, the mean number of examples in a batch.
        examples: n, the number of examples in the data; batches must then come of a ``PoissonLoader`` of that size.
            None for batches drawn in any way that has no example twice in one: then every step counts as if it saw all
            data, and ε is larger by far.
        seed: of the noise; None, as it should be outside of tests, for the system's entropy.

    Raises:
        RangeError: numbers out of range. StructureError: more than one Module; from ``update``, plain gradients.

    Source: Abadi et al., "Deep learning with differential privacy", 2016.

    >>> import numpy as np, phlox as px
    >>> x = np.float32(np.random.default_rng(0).normal(size=(200, 4)))
    >>> data, model = px.privacy.PoissonLoader((x, x[:, :1]), 20, seed=0), px.Dense(4, 1, key=0)
    >>> opt = px.privacy.PrivateOptimizer(px.optim.Descent(0.1), model, clip=1.0, noise_multiplier=2.0, batch_size=20,
    ...                                   examples=200, seed=0)
    >>> history = px.fit(model, data, optimizer=opt, step=opt.step(px.losses.mse), epochs=2, progress=False)
    >>> int(opt.steps), round(opt.epsilon(1e-3), 2)
    (20, 0.64)
    """

    key: State  # () of the noise
    steps: State  # () how many were taken
    clip: float
    noise_multiplier: float
    batch_size: float
    examples: int | None

    def __init__(
        self,
        rule: Any,
        model: Module,
        *,
        clip: float,
        noise_multiplier: float,
        batch_size: float,
        examples: int | None = None,
        seed: int | None = None,
    ):
        if not isinstance(model, Module):
            fix = "make one Module of several: px.Chain, or a class of your own"
            raise StructureError("one Module as the model", got=describe(model), fix=fix, where=_WHERE)
        super().__init__(rule, model)
        inf = float("inf")
        self.clip = check_number(_WHERE, "clip", clip, 0, inf)
        self.noise_multiplier = check_number(_WHERE, "noise_multiplier", noise_multiplier, 0, inf, at_low=True)
        self.examples = None if examples is None else check_size(_WHERE, "examples", examples)
        self.batch_size = check_number(_WHERE, "batch_size", batch_size, 0, inf if examples is None else examples)
        self.key = secret_key(None if seed is None else check_size(_WHERE, "seed", seed, least=0))
        self.steps = jnp.int32(0)

    @property
    def sample_rate(self) -> float:
        """The probability of each example to be in a batch, 1 where nothing is known of how batches are drawn."""
        return 1.0 if self.examples is None else self.batch_size / self.examples

    def step(self, loss: Any, *, microbatch: int | None = None) -> PrivateStep:
        """The step of a training with this optimiser, for ``px.fit(step=)``, or for ``px.jit`` in a loop of your own.

        Arguments:
            loss: as of ``px.fit``: ``loss(prediction, target)``, or with a first parameter ``model``. It sees each
                example as a batch of one.
            microbatch: examples whose gradients are in memory at a time; None for the whole batch.

        Raises:
            RangeError: a loss that is none, a micro-batch below 1.
        """
        where = f"{_WHERE}.step"
        check_loss(loss, where)
        size = None if microbatch is None else check_size(where, "microbatch", microbatch)
        return PrivateStep(Objective(loss, None, where), size)

    def read(self, batch: tuple[Any, ...]) -> tuple[Any, Any]:
        """Examples of a batch, and which of them are real.

        Raises:
            RangeError: a batch that was not drawn as ``epsilon`` has it.
        """
        whole: Any = batch if len(batch) > 1 else next(iter(batch))
        drawn = whole if isinstance(whole, Sampled) else None
        if drawn is None and self.examples is None:
            return whole, jnp.ones(jnp.shape(jax.tree.leaves(whole)[0])[0], bool)
        known = (self.batch_size, self.examples)
        if drawn is None or (self.examples is not None and (drawn.batch_size, drawn.examples) != known):
            got = "a batch of another loader" if drawn is None else f"{drawn.batch_size:g} of {drawn.examples}"
            raise RangeError(
                f"batches of px.privacy.PoissonLoader, {self.batch_size:g} of {self.examples} examples on average",
                got=got,
                fix="draw them with px.privacy.PoissonLoader(data, batch_size), or make the optimiser without "
                "examples=, which counts each step as if it saw all data",
                where=_WHERE,
            )
        return drawn.batch, jnp.asarray(drawn.real)

    def take(self, model: Module, found: Clipped) -> None:
        """A step down the sum of clipped gradients, with noise."""
        noise = self.clip * self.noise_multiplier
        noisy = with_noise(found.grads, advance(self), noise) if noise else found.grads
        params = {path: dtype for path, _, dtype in self.form.arrays}
        self.steps = self.steps + 1
        super().update(model, {p: (g / self.batch_size).astype(params.get(p, g.dtype)) for p, g in noisy.items()})

    def update(self, model: Any, grads: Any, *, value: Any = None, value_fn: Any = None) -> None:
        """Refused: gradients of whole batches are neither clipped by example nor noisy."""
        raise StructureError(
            "gradients by example, which its own step takes",
            got="the gradient of a whole batch",
            fix="pass step=opt.step(loss) to px.fit, without loss=, or call px.jit(opt.step(loss))(model, opt, batch)",
            where=f"{_WHERE}.update",
        )

    def epsilon(self, delta: float, *, accountant: str = "pld") -> float:
        """ε of all steps so far, at a δ; see ``px.privacy.account``."""
        steps = int(self.steps)
        return account(self.noise_multiplier, delta, sample_rate=self.sample_rate, steps=steps, accountant=accountant)

    def __repr__(self) -> str:
        inner = super().__repr__().removeprefix("Optimizer(").removesuffix(")")
        return f"PrivateOptimizer({inner}, clip={self.clip:g}, noise_multiplier={self.noise_multiplier:g})"
