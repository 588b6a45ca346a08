"""Any other distribution that NumPyro has, by its name."""

from __future__ import annotations

import difflib
import inspect
from typing import Any

from phlox.core import OptionError, RangeError
from phlox.probability import _peers
from phlox.probability.distributions._arguments import wide
from phlox.probability.distributions._distribution import Distribution


class Named(Distribution):
    """A distribution of NumPyro's by its name there, with its arguments.

    Shapes:
        those of NumPyro.

    Arguments:
        name: of a class in ``numpyro.distributions``.
        arguments: what it is made of, as numbers and arrays; their ranges are not looked at.

    Raises:
        RangeError: a name that there is not.
        OptionError: arguments that it does not have.

    Source: NumPyro's documentation.

    >>> import phlox as px
    >>> round(float(px.probability.Named("Weibull", scale=2.0, concentration=1.0).mean), 4)
    2.0
    """

    name: str
    arguments: dict[str, Any]

    def __init__(self, name: str, **arguments: Any):
        peer = _peers.distributions()
        known = [n for n, v in vars(peer).items() if inspect.isclass(v) and issubclass(v, peer.Distribution)]
        if name not in known:
            close = difflib.get_close_matches(str(name), known, 3) or ["Weibull"]
            fix = f"write {' or '.join(close)}"
            raise RangeError("a distribution that NumPyro has", got=repr(name), fix=fix, where="Named")
        try:
            inspect.signature(getattr(peer, name)).bind(**arguments)
        except TypeError as error:
            takes = [n for n in inspect.signature(getattr(peer, name)).parameters if n != "validate_args"]
            raise OptionError(
                f"arguments of {name}", got=str(error), fix=f"it takes {', '.join(takes)}", where="Named"
            ) from None
        self.name, self.arguments = name, arguments

    def _peer(self) -> Any:
        return getattr(_peers.distributions(), self.name)(**{n: wide(v) for n, v in self.arguments.items()})

    def _brief(self) -> str:
        return f"Named({self.name!r})"
