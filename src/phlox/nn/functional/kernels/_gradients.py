"""A kernel with a kernel for its gradient, and all further derivatives by the plain form.

The tangent of a kernel is a primitive of its own, linear in the tangents, whose transpose is the backward kernel.
Where the tangent itself is wanted (forward mode), and where a tangent or a backward kernel is differentiated again,
JAX differentiates the plain form. So a first gradient is fast, and every other derivative is right.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.interpreters import ad, batching

from phlox.nn.functional.kernels._kernels import Kernel

__all__ = [
    "derive_by_plain_form",
    "differentiate",
    "map_as_examples",
    "map_by_plain_form",
    "map_plain_form",
    "plain_gradient",
]


def plain_gradient(reference: Any, inputs: int) -> Any:
    """The plain form of a backward kernel ``(*inputs, *outputs, *cotangents) -> cotangents of the inputs``."""

    def backward(*arrays: Any, **params: Any) -> tuple[jax.Array, ...]:
        outputs = (len(arrays) - inputs) // 2
        return jax.vjp(lambda *xs: reference(*xs, **params), *arrays[:inputs])[1](tuple(arrays[inputs + outputs :]))

    return backward


def differentiate(forward: Kernel, backward: Kernel, inputs: int) -> None:
    """Give a kernel of several results its derivatives.

    Arguments:
        forward: the kernel, ``forward(*inputs) -> outputs``.
        backward: ``backward(*inputs, *outputs, *cotangents) -> cotangents of the inputs``.
        inputs: how many inputs there are; all of them are differentiable.
    """

    def plain_tangent(*arrays: Any, **params: Any) -> Any:
        primals, tangents = arrays[:inputs], arrays[-inputs:]
        return jax.jvp(lambda *xs: forward.reference(*xs, **params), primals, tangents)[1]

    def shapes(*arrays: Any, **params: Any) -> Any:
        return forward.shapes(*arrays[:inputs], **params)

    tangent = Kernel(f"{forward.name}_tangent", plain_tangent, plain_tangent, shapes, None, several=True)

    def forward_jvp(primals: Any, tangents: Any, **params: Any) -> Any:
        outputs = forward(*primals, **params)
        return outputs, tangent(*primals, *outputs, *map(_filled, tangents), **params)

    def transpose_tangent(cotangents: Any, *arrays: Any, **params: Any) -> Any:
        outputs = shapes(*arrays[:inputs], **params)
        given = [_zeros(o) if isinstance(ct, ad.Zero) else ct for ct, o in zip(cotangents, outputs, strict=True)]
        found = backward(*arrays[:-inputs], *given, **params)
        wanted = [ct if ad.is_undefined_primal(a) else None for a, ct in zip(arrays[-inputs:], found, strict=True)]
        return [None] * (len(arrays) - inputs) + wanted

    def transpose_backward(cotangents: Any, *arrays: Any, **params: Any) -> Any:
        known = (len(arrays) - inputs) // 2 + inputs
        given = [_zeros(a) if isinstance(ct, ad.Zero) else ct for a, ct in zip(arrays, cotangents, strict=False)]
        found = tangent(*arrays[:known], *given, **params)
        wanted = [t if ad.is_undefined_primal(a) else None for a, t in zip(arrays[known:], found, strict=True)]
        return [None] * known + wanted

    ad.primitive_jvps[forward.primitive] = forward_jvp
    ad.primitive_transposes[tangent.primitive] = transpose_tangent
    ad.primitive_transposes[backward.primitive] = transpose_backward
    for kernel in (tangent, backward):
        derive_by_plain_form(kernel)
    map_by_plain_form(forward)


def map_as_examples(kernel: Kernel) -> None:
    """Let ``vmap`` of a kernel of several results be more examples; what is not mapped is repeated.

    All arrays must have the batch first.
    """

    def rule(arrays: Any, axes: Any, **params: Any) -> Any:
        size = next(a.shape[d] for a, d in zip(arrays, axes, strict=True) if d is not None)
        if size == 0:
            return map_plain_form(kernel, arrays, axes, params)
        full = [
            jnp.broadcast_to(a, (size, *a.shape)) if d is None else jnp.moveaxis(a, d, 0)
            for a, d in zip(arrays, axes, strict=True)
        ]
        results = kernel(*(a.reshape(-1, *a.shape[2:]) for a in full), **params)
        return [r.reshape(size, -1, *r.shape[1:]) for r in results], [0] * len(results)

    batching.primitive_batchers[kernel.primitive] = rule


def derive_by_plain_form(kernel: Kernel) -> None:
    """Let every derivative of a kernel of several results, and ``vmap`` of it, be those of its plain form."""
    ad.primitive_jvps[kernel.primitive] = _jvp_of_plain_form(kernel)
    map_by_plain_form(kernel)


def map_by_plain_form(kernel: Kernel) -> None:
    """Let ``vmap`` of a kernel be that of its plain form."""

    def rule(arrays: Any, axes: Any, **params: Any) -> Any:
        return map_plain_form(kernel, arrays, axes, params)

    batching.primitive_batchers[kernel.primitive] = rule


def map_plain_form(kernel: Kernel, arrays: Any, axes: Any, params: dict[str, Any]) -> Any:
    """The plain form under ``vmap``, as a batching rule gives it: results, and the axis of each that is mapped."""
    results = jax.vmap(lambda *xs: kernel.reference(*xs, **params), axes)(*arrays)
    return results, jax.tree.map(lambda _: 0, results)


def _jvp_of_plain_form(kernel: Kernel) -> Any:
    def rule(primals: Any, tangents: Any, **params: Any) -> Any:
        return jax.jvp(lambda *xs: kernel.reference(*xs, **params), primals, tuple(map(_filled, tangents)))

    return rule


def _filled(tangent: Any) -> Any:
    return _zeros(tangent.aval) if isinstance(tangent, ad.Zero) else tangent


def _zeros(like: Any) -> jax.Array:
    like = getattr(like, "aval", like)
    return jnp.zeros(like.shape, like.dtype)
