"""The weights by which each layer of attention attends, heard while a model runs."""

from __future__ import annotations

from typing import Any, NamedTuple

from phlox.core import Module, StructureError, copy, disguised, in_disguise, jit, modules, tapped, testmode
from phlox.interpret.asking._question import Context, Forward, Question
from phlox.nn import MultiHeadAttention


class _Told(NamedTuple):
    """What attention gives, the weights by which it did, and whether the model asked for them too."""

    result: Any
    weights: Any  # (batch, heads, queries, keys)
    asked: bool


def attention_maps(model: Any, x: Any, where: str, *, forward: Forward | None = None) -> dict[str, Any]:
    """The weights (rows, heads, queries, keys) of each ``MultiHeadAttention``, by path in the order of the calls.

    Raises:
        StructureError: no Module, or none that attends outside of loops and maps.
    """
    if not isinstance(model, Module):
        raise StructureError("a px.Module", got=type(model).__name__, fix="pass the model itself", where=where)
    found = _heard(Question(testmode(copy(model)), forward, None, False), x)
    if not found:
        fix = "these are px.MultiHeadAttention, called outside of px.scan and px.vmap"
        raise StructureError("a model whose layers attend", got=model._brief(), fix=fix, where=where)
    return found


@jit
def _heard(question: Question, x: Any) -> dict[str, Any]:
    names = {id(part): path for path, part in modules(question.model).items() if isinstance(part, MultiHeadAttention)}
    found: dict[str, Any] = {}

    def disguise(_: str, part: Module) -> type[Module] | None:
        return disguised(type(part), _telling) if id(part) in names else None

    def tap(module: Module, y: Any) -> Any:
        if not isinstance(y, _Told):
            return y
        if module._px.at_home():
            name, again = names[id(module)], sum(path.partition("#")[0] == names[id(module)] for path in found)
            found[f"{name}#{again + 1}" if again else name] = y.weights
        return (y.result, y.weights) if y.asked else y.result

    with in_disguise(question.model, disguise), tapped(tap):
        question.output(x, Context(None, None))
    return found


def _telling(call: Any, self: Any, *args: Any, return_weights: bool = False, **options: Any) -> _Told:
    y, weights = call(self, *args, return_weights=True, **options)
    return _Told(y, weights, return_weights)
