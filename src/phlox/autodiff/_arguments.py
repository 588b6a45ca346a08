"""What a user calls the arrays and layers among the arguments of a function."""

from __future__ import annotations

from typing import Any

from phlox.core import Module, argument_names, modules, root_names


def prefixes_of(call: Any) -> list[str]:
    """For each Module among the arguments, what stands before its paths: its name, where there are several."""
    names = root_names(call)
    return names if len(names) > 1 else [""] * len(names)


def below(root: Module, prefix: str) -> list[tuple[str, Module]]:
    """The parts of a model by their paths, behind the name of the model where there are several."""
    return [(".".join(filter(None, (prefix, path))), part) for path, part in modules(root).items()]


def input_names(call: Any, prefixes: list[str]) -> list[str]:
    """The path of every array of the arguments, those of Modules first."""
    routes = [call.structure.leaf_path(i) for i in range(len(call.leaves))]
    held = [".".join(filter(None, (prefixes[root], *map(str, path)))) for root, path in routes]
    return held + [n for n, (kind, _) in zip(argument_names(call), call.spec, strict=True) if kind == "array"]
