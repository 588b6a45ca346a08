"""Callbacks: what else happens while a model trains, as methods called at named moments."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

from phlox.core import RangeError, StructureError
from phlox.loop._checks import told
from phlox.loop._hooked import Hooked

if TYPE_CHECKING:
    from phlox.core import Module
    from phlox.loop._run import Run
    from phlox.optim import Optimizer


class Callback:
    """The base of callbacks: override what you need; every hook gets the ``Run``.

    Order: ``on_fit_start``; for each epoch ``on_epoch_start``, its chunks of steps (``on_step_start``, the steps in one
    compiled call, ``on_step_end``), validation, ``on_epoch_end``; then ``on_fit_end``. After an exception, also that
    of Ctrl-C, ``on_exception`` and ``on_fit_end`` run on every callback, and the exception goes on; but after Ctrl-C
    ``fit`` returns. What a callback raises in these two becomes a note of the exception.

    Steps run in chunks, and a chunk ends where any callback wants control: see ``steps_until``. How the steps are cut
    never changes what they compute.

    ``before_backward``, ``after_backward`` and ``after_update`` run inside the compiled step: they are traced once, so
    they must be pure, except that they may change the Modules that ``modules`` names. What differs from step to step
    belongs in such a Module or in the optimiser, not in an attribute, which the program would keep as a constant.

    >>> import jax.numpy as jnp, phlox as px
    >>> class Halved(px.Callback):
    ...     def after_backward(self, model, grads):
    ...         return px.map(lambda g: g / 2, grads)
    >>> model = px.Dense.of(jnp.zeros((1, 1)), None)
    >>> batches = [(jnp.ones((1, 1)), jnp.ones((1, 1)))]
    >>> history = px.fit(model, batches, loss=px.losses.mse, optimizer=px.optim.Descent(0.5),
    ...                  callbacks=[Halved()], progress=False)
    >>> model.weight.item()
    0.5
    """

    order: ClassVar[int] = 0
    """Callbacks run by this number, those of one number as they were given: what looks at the others' work (loggers,
    checkpoints) has a higher one."""

    _given: tuple[tuple[Any, ...], dict[str, Any]] = ((), {})

    modules: tuple[str, ...] = ()
    """Names of attributes that hold Modules which the traced hooks change, such as averaged weights."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        made = super().__new__(cls)
        made._given = args, kwargs  # by which a checkpoint tells callbacks of one class from each other
        return made

    # --- outside the compiled step ---------------------------------------------------------------

    def on_fit_start(self, run: Run) -> None:
        """Training is about to start, or to go on after a resume."""

    def on_fit_end(self, run: Run) -> None:
        """Training is over; also after an exception."""

    def on_epoch_start(self, run: Run) -> None:
        """An epoch is about to start."""

    def on_epoch_end(self, run: Run) -> None:
        """An epoch is over: ``run.logs`` has its means and metrics, and ``val_*`` values."""

    def on_step_start(self, run: Run) -> None:
        """A chunk of steps is about to run."""

    def on_step_end(self, run: Run) -> None:
        """A chunk has been handed over: ``run.step`` steps in all, their losses lazily in ``run.losses``."""

    def on_validation_start(self, run: Run) -> None:
        """The validation data is about to be gone through."""

    def on_validation_end(self, run: Run) -> None:
        """Validation is over: ``run.logs`` has the ``val_*`` values."""

    def on_validation_logged(self, run: Run) -> None:
        """A validation inside an epoch is logged: a place to act on it. At the end of an epoch that is its end."""

    def on_exception(self, run: Run, error: BaseException) -> None:
        """Training ends with this exception."""

    # --- inside the compiled step ----------------------------------------------------------------

    def before_backward(self, loss: Any, batch: Any) -> Any:
        """The loss to differentiate; ``batch`` as the loader gave it."""
        del batch
        return loss

    def after_backward(self, model: Module, grads: Module) -> Module:
        """The gradients to step with, a Module like the model with None where there is none; not yet clipped."""
        del model
        return grads

    def after_update(self, model: Module, opt: Optimizer) -> None:
        """The weights have moved."""

    # --- what the engine asks --------------------------------------------------------------------

    def steps_until(self, run: Run) -> int | None:
        """In how many steps, 1 or more, this callback wants ``on_step_end`` next; None leaves it to the engine.

        By default 1 where ``on_step_start`` or ``on_step_end`` is overridden. Ask for as few stops as you need.
        """
        del run
        kind = type(self)
        watches = kind.on_step_start is not Callback.on_step_start or kind.on_step_end is not Callback.on_step_end
        return 1 if watches else None

    def check_run(self, run: Run) -> None:
        """Raise where training cannot do what this callback is for; asked of all before the first ``on_fit_start``."""

    def logged_names(self) -> Collection[str] | None:
        """The names of the numbers that it logs, ``()`` for none; None, as here, where that is not known.

        Where every callback tells, a ``monitor`` of a name that no epoch will have is refused before training. A class
        tells for itself alone, since one that is derived from it may log more.
        """
        return None

    def state(self) -> dict[str, Any]:
        """What a checkpoint must keep, by name: numbers, text, arrays, random keys, and lists, tuples, dicts of them.

        All comes back in ``restore`` as it was; anything else is refused. The arrays of ``modules`` are kept without
        being named here. A checkpoint knows a callback by its class and the arguments it was made with.
        """
        return {}

    def prepare(self, run: Run, state: dict[str, Any]) -> None:
        """Before a restore: bring model and optimiser into the form that they had, for example what was frozen."""

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what ``state`` gave."""

    # What a logger overrides; the engine calls it for every number that ``run.log`` gets.
    def log_scalars(self, step: int, scalars: dict[str, float]) -> None:
        """Numbers by name, at a step."""

    def log_arrays(self, step: int, arrays: dict[str, Any]) -> None:
        """NumPy arrays by name, such as a confusion matrix, at a step."""


def overrides(callback: Hooked, hook: str) -> bool:
    """Whether a callback has its own version of a hook, in its class or on itself."""
    return getattr(type(callback), hook, None) is not getattr(Callback, hook) or hook in vars(callback)


HOOKS = (
    "on_fit_start", "on_fit_end", "on_epoch_start", "on_epoch_end", "on_step_start", "on_step_end",
    "on_validation_start", "on_validation_end", "on_validation_logged", "on_exception",
    "before_backward", "after_backward", "after_update",
)  # fmt: skip


def as_callbacks(given: Any, where: str) -> tuple[Callback, ...]:
    """Callbacks from one or several.

    Raises:
        RangeError: what is no callback.
        StructureError: one with a method ``on_…`` that is no hook, and so would never be called.
    """
    several = (given,) if isinstance(given, Callback) or not isinstance(given, Sequence) else tuple(given)
    for callback in several:
        if not isinstance(callback, Callback):
            is_class = isinstance(callback, type) and issubclass(callback, Callback)
            fix = "derive it from px.Callback, or wrap functions in px.LambdaCallback"
            fix = f"make one: {callback.__name__}(…)" if is_class else fix
            raise RangeError("a px.Callback, or a list of them, as callbacks", got=told(callback), fix=fix, where=where)
        check_hooks(callback, where)
    return several


def check_hooks(callback: Callback, where: str) -> None:
    """Refuse a method that looks like a hook and is none."""
    for name in dir(callback):
        if name.startswith("on_") and name not in HOOKS and callable(getattr(callback, name)):
            near = difflib.get_close_matches(name, HOOKS, 1)
            fix = f"name it {near[0]}" if near else "begin the name of a method of your own with another word"
            what = f"methods on_… of {type(callback).__name__} that are hooks: {', '.join(HOOKS[:10])}"
            raise StructureError(what, got=name, fix=fix, where=where)
