"""What the loop asks of a callback, so that runs and steps, which stand below callbacks, need not know their class."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, ClassVar, Protocol


class Hooked(Protocol):
    """A callback as a run and its steps see it; ``Callback`` says what each of these does."""

    order: ClassVar[int]
    modules: tuple[str, ...]

    def before_backward(self, loss: Any, batch: Any) -> Any: ...
    def after_backward(self, model: Any, grads: Any) -> Any: ...
    def after_update(self, model: Any, opt: Any) -> None: ...

    def steps_until(self, run: Any) -> int | None: ...
    def check_run(self, run: Any) -> None: ...
    def logged_names(self) -> Collection[str] | None: ...

    def state(self) -> dict[str, Any]: ...
    def prepare(self, run: Any, state: dict[str, Any]) -> None: ...
    def restore(self, state: dict[str, Any]) -> None: ...

    def log_scalars(self, step: int, scalars: dict[str, float]) -> None: ...
    def log_arrays(self, step: int, arrays: dict[str, Any]) -> None: ...


def called(callback: Hooked, hook: str, *args: Any, at: str = "") -> Any:
    """Call a hook; an exception is told, on its way out, whose it is."""
    try:
        return getattr(callback, hook)(*args)
    except Exception as error:
        error.add_note(f"raised in {type(callback).__name__}.{hook}{at}")
        raise
