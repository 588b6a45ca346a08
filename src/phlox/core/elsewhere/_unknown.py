"""Names that are not here: where ours is, for a name of another room or of another library.

Nothing of this runs before an attribute has failed to be found.
"""

from __future__ import annotations

import dis
import sys
from typing import Any

from phlox.core._errors import UnknownNameError

_ROOT = __name__.partition(".")[0]
# Where a name is looked for, the shortest spelling first.
_ROOMS = ("", ".nn", ".losses", ".optim", ".metrics", ".nn.functional", ".nn.init", ".data", ".loop", ".weights")
_SHORT = "px"


def spelled(name: str) -> str:
    """How a user writes a public name, such as ``px.losses.mse``; empty where there is none.

    >>> spelled("mse"), spelled("Dense"), spelled("Conv2d")
    ('px.losses.mse', 'px.Dense', '')
    """
    for room in _ROOMS if name else ():
        module: Any = sys.modules.get(_ROOT)
        for part in room.split(".")[1:]:
            module = getattr(module, part, None)  # which loads what was put off until now
        if name in getattr(module, "__all__", ()):
            return f"{_SHORT}{room}.{name}"
    return ""


def unknown_name(module: str, name: str) -> Exception:
    """The error of a module that was asked for a name it has not; an ImportError for ``from module import name``."""
    fix = None if name.startswith("_") else _cure(module, name)
    where = _SHORT + module.removeprefix(_ROOT)
    if fix is not None and _importing(sys._getframe(2)):
        return ImportError(f"cannot import name {name!r} from {module!r}\n  fix: {fix}", name=module)
    if fix is None:
        return AttributeError(f"module {module!r} has no attribute {name!r}", name=name, obj=sys.modules.get(module))
    return UnknownNameError("a name of its own", got=name, fix=fix, where=where, located=True)


def _cure(module: str, name: str) -> str | None:
    own = spelled(name)
    if own:
        return f"write {own}"
    from phlox.core.elsewhere._names import NAMES

    room = module.removeprefix(_ROOT).removeprefix(".")
    for key in (f"{room}.{name}", name):
        if key in NAMES:
            return NAMES[key]
    return None


def _importing(frame: Any) -> bool:
    """Whether a frame stands at ``from … import name``, which turns every AttributeError into its own text."""
    return frame.f_code.co_code[frame.f_lasti] == dis.opmap["IMPORT_FROM"]


class ForeignMethod:
    """A method that Modules of other libraries have: reading it is an error that says what to do here.

    No data descriptor, so a class or an object may have an attribute of its own by that name.
    """

    def __init__(self, name: str, fix: str):
        self.name, self.fix = name, fix

    def __get__(self, module: Any, cls: type) -> Any:
        raise UnknownNameError(
            "a method or attribute it has", got=f".{self.name}", fix=self.fix, where=cls.__name__, located=True
        )
