"""What people of other libraries write for a rule: known, and answered with how it is written here."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from phlox.core import Module, OptionError, StructureError, describe
from phlox.optim.rules._numbers import is_plain

# How an argument of PyTorch's, Keras's or optax's optimisers is said here; ``{rule}`` is the class.
_CURES = {
    "lr": "write learning_rate=…, or the number alone: {rule}(1e-3)",
    "betas": "write b1=0.9, b2=0.999 in the place of betas=(0.9, 0.999)",
    "beta_1": "write b1=…",
    "beta_2": "write b2=…",
    "beta1": "write b1=…",
    "beta2": "write b2=…",
    "epsilon": "write eps=…",
    "params": "write px.Optimizer({rule}(1e-3), model): the model is given to the optimiser, not to the rule",
    "weight_decay": "write AdamW(…, weight_decay=…), or chain(WeightDecay(…), {rule}(…)) for PyTorch's decay of other "
    "rules",
    "amsgrad": "write AMSGrad(…)",
    "momentum": "write Momentum(learning_rate, momentum)",
    "nesterov": "write Nesterov(learning_rate, momentum)",
    "alpha": "write decay=…",
    "rho": "write decay=…",
    "centered": "write centred=…",
    "clipnorm": "write chain(ClipNorm(…), {rule}(…))",
    "clipvalue": "write chain(ClipGrad(…), {rule}(…))",
    "global_clipnorm": "write chain(ClipGlobalNorm(…), {rule}(…))",
    "ema_momentum": "write px.EMA among the callbacks of px.fit",
    "use_ema": "write px.EMA among the callbacks of px.fit",
    "lr_decay": "give a schedule as the learning rate: px.optim.inverse(1e-2, lr_decay)",
    "maximize": "give the gradient of the negative loss",
    "b1": "see its arguments; only the rules of Adam's kind have b1 and b2",
    "foreach": "leave it out: small arrays are moved together anyway",
    "fused": "leave it out: the step is compiled as a whole anyway",
    "capturable": "leave it out: the step is compiled as a whole anyway",
    "differentiable": "leave it out: every step can be differentiated",
}


class OfInit:
    """The signature of a class: that of its ``__init__``, though it has a ``__new__`` that looks at arguments first."""

    def __get__(self, instance: Any, cls: type) -> inspect.Signature:
        given = inspect.signature(cls.__init__)
        return given.replace(parameters=list(given.parameters.values())[1:])


def check_arguments(cls: type, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Refuse a model, parameters or a pair of decays where a number stands, and names of other libraries."""
    try:
        known = inspect.signature(cls).parameters
    except (TypeError, ValueError):
        return
    takes_all = any(p.kind is p.VAR_KEYWORD for p in known.values())
    strange = next((name for name in kwargs if name not in known and name in _CURES), None)
    if strange is not None and not takes_all:
        raise OptionError(
            f"the arguments {', '.join(known)}" if known else "no arguments",
            got=f"{strange}={_text(kwargs[strange])}",
            fix=_CURES[strange].format(rule=cls.__name__),
            where=cls.__name__,
        )
    if args and _is_model(args[0]):
        raise StructureError(
            f"the arguments {', '.join(known)}",
            got=told(args[0]),
            fix=f"write px.Optimizer(px.optim.{cls.__name__}(1e-3), model): the model is given to the optimiser",
            where=cls.__name__,
        )


def check_rule(rule: Any, model: Any, kind: type) -> None:
    """Refuse what is no rule: the class or the name of one, a learning rate, or a model in its place."""
    if not isinstance(rule, type) and callable(getattr(rule, "update", None)) and callable(getattr(rule, "init", None)):
        return  # one of optax
    if isinstance(rule, kind):
        return
    name = rule.__name__ if isinstance(rule, type) or inspect.isroutine(rule) else ""
    fix = "write px.Optimizer(px.optim.Adam(1e-3), model)"
    if isinstance(model, kind) or (isinstance(model, type) and issubclass(model, kind)):
        fix = f"write px.Optimizer({model!r}, model): the rule first" if not isinstance(model, type) else fix
    elif isinstance(rule, type) and issubclass(rule, kind):
        fix = f"call it, with its learning rate: px.Optimizer(px.optim.{name}(1e-3), model)"
    elif name:
        fix = f"call it, with its learning rate: px.Optimizer(optax.{name}(1e-3), model)"
    what = "a rule of px.optim, or a transformation of optax, as the rule"
    raise StructureError(what, got=told(rule), fix=fix, where="px.Optimizer")


def _is_model(value: Any) -> bool:
    if isinstance(value, Module) or inspect.isgenerator(value):
        return True
    inside = list(value.values()) if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return any(isinstance(v, Module) or getattr(v, "ndim", 0) > 0 for v in inside)


def is_number(value: Any) -> bool:
    """A number that can be compared."""
    return is_plain(value) or isinstance(value, bool)


def is_schedule(value: Any) -> bool:
    """A function of the step; what makes schedules is none, and neither is a class or a model."""
    return callable(value) and not isinstance(value, (type, Module)) and not hasattr(value, "makes_schedules")


def cure(rule: Any, name: str, value: Any) -> str | None:
    """How it is written here, where what was given is no number at all."""
    kind = type(rule).__name__
    if isinstance(value, (tuple, list)) and name == "b1":
        return f"write {kind}(learning_rate, b1=…, b2=…): two numbers in the place of a pair"
    if hasattr(value, "makes_schedules"):
        return f"call it: {name}=px.optim.{getattr(value, '__name__', '…')}(…)"
    if _is_model(value):
        return f"write px.Optimizer(px.optim.{kind}(1e-3), model): the model is given to the optimiser"
    return None if is_number(value) else f"give a number for {name}, or a schedule"


def told(value: Any) -> str:
    """A value for a message."""
    if isinstance(value, type) or inspect.isroutine(value):
        return f"the {'class' if isinstance(value, type) else 'function'} {value.__name__}"
    return _text(value)


def _text(value: Any) -> str:
    if isinstance(value, (tuple, list)) and all(isinstance(v, (int, float, str)) for v in value):
        return repr(value)
    return describe(value) if not is_plain(value) else repr(value)
