"""Solvers and adjoints by name: Diffrax's, in lower case with underscores."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from phlox.core import RangeError, describe
from phlox.science._peers import diffrax

ODE_SOLVERS: Mapping[str, str] = {
    "euler": "Euler",
    "heun": "Heun",
    "midpoint": "Midpoint",
    "ralston": "Ralston",
    "bosh3": "Bosh3",
    "tsit5": "Tsit5",
    "dopri5": "Dopri5",
    "dopri8": "Dopri8",
    "implicit_euler": "ImplicitEuler",
    "kvaerno3": "Kvaerno3",
    "kvaerno4": "Kvaerno4",
    "kvaerno5": "Kvaerno5",
    "reversible_heun": "ReversibleHeun",
    "leapfrog_midpoint": "LeapfrogMidpoint",
}
SDE_SOLVERS: Mapping[str, str] = {
    "euler": "Euler",
    "euler_heun": "EulerHeun",
    "ito_milstein": "ItoMilstein",
    "stratonovich_milstein": "StratonovichMilstein",
    "heun": "Heun",
    "midpoint": "Midpoint",
    "reversible_heun": "ReversibleHeun",
    "slow_rk": "SlowRK",
    "spark": "SPaRK",
    "general_shark": "GeneralShARK",
}
ADJOINTS: Mapping[str, str] = {
    "recursive_checkpoint": "RecursiveCheckpointAdjoint",
    "direct": "DirectAdjoint",
    "backsolve": "BacksolveAdjoint",
    "implicit": "ImplicitAdjoint",
    "forward_mode": "ForwardMode",
}


def check_named(layer: str, what: str, given: Any, names: Mapping[str, str], base: str) -> Any:
    """A name of the table, or an object of Diffrax's class ``base``, as it was given.

    Raises:
        RangeError: neither.
    """
    if isinstance(given, str) and given in names:
        return given
    if not isinstance(given, (str, type)) and isinstance(given, getattr(diffrax(), base)):
        return given
    close = _plain(given if isinstance(given, str) else getattr(given, "__name__", ""))
    meant = next((n for n, of in names.items() if close in (_plain(n), _plain(of))), None)
    raise RangeError(
        f"{what} as {', '.join(map(repr, names))}, or an object of diffrax.{base}",
        got=repr(given) if isinstance(given, str) else describe(given),
        fix=f"write {what}={meant!r}" if meant else "choose a name",
        where=layer,
    )


def made(given: Any, names: Mapping[str, str]) -> Any:
    """Diffrax's object for what was given."""
    return getattr(diffrax(), names[given])() if isinstance(given, str) else given


def _plain(name: str) -> str:
    return re.sub("[^a-z0-9]", "", name.lower())
