"""Each kernel of phlox-cpu beside the same operation in plain JAX, and beside what the machine can do.

    python benchmarks/kernels.py [--rounds 9] [WORD ...]     # WORDs choose cases by parts of their names

The rate of a kernel is in GFLOP/s where it multiplies, to be held against a matrix product of XLA's, and in GB/s of its
arguments and results where it only moves numbers, to be held against a copy.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import rich.box
import rich.console
import rich.table
from _measure import interleave, pin, ratio, short

import phlox as px
from phlox.nn.functional._kernels import package, reference_forms
from phlox.nn.functional._norm import normalise_batch

F = px.nn.functional


@dataclass(frozen=True)
class Case:
    name: str
    fn: Callable[..., Any]
    arrays: tuple[jax.Array, ...]
    flops: float = 0.0  # 0: counted in bytes


def draw(*shape: int, dtype: Any = jnp.float32) -> jax.Array:
    return jax.random.normal(jax.random.key(len(shape)), shape).astype(dtype)


def derivatives(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Value and all gradients, for a cotangent that comes first."""

    def run(ct: jax.Array, *arrays: jax.Array) -> Any:
        y, back = jax.vjp(fn, *arrays)
        return y, back(ct)

    return run


def convolutions() -> Iterator[Case]:
    sizes = {
        "conv 3×3 64→64": (32, 32, 64, 64, 3, 1, 1),
        "conv 3×3 64→128, stride 2": (32, 32, 64, 128, 3, 2, 1),
        "conv 3×3 3→64": (32, 32, 3, 64, 3, 1, 1),
        "conv 5×5 1→6": (32, 28, 1, 6, 5, 1, 1),
        "conv 1×1 64→64": (32, 32, 64, 64, 1, 1, 1),
        "conv 3×3 64→64, depthwise": (32, 32, 64, 64, 3, 1, 64),
    }
    for name, (n, s, i, o, k, stride, groups) in sizes.items():
        for dtype in (jnp.float32, jnp.bfloat16):
            x, w = draw(n, s, s, i, dtype=dtype), draw(k, k, i // groups, o, dtype=dtype)
            fn = lambda x, w, st=stride, k=k, g=groups: F.conv(x, w, stride=st, padding=k // 2, groups=g)  # noqa: E731
            y = fn(x, w)
            flops = 2.0 * y.size * k * k * (i // groups)
            full = f"{name}, {jnp.dtype(dtype).name}"
            yield Case(f"{full}: forward", fn, (x, w), flops)
            transposed = lambda ct, w, x=x, fn=fn: jax.linear_transpose(lambda x: fn(x, w), x)(ct)  # noqa: E731
            yield Case(f"{full}: input gradient", transposed, (y, w), flops)
            transposed = lambda ct, x, w=w, fn=fn: jax.linear_transpose(lambda w: fn(x, w), w)(ct)  # noqa: E731
            yield Case(f"{full}: weight gradient", transposed, (y, x), flops)


def normalisations() -> Iterator[Case]:
    for shape in ((32, 32, 32, 64), (32, 8, 8, 256)):
        for relu in (False, True):
            x, scale = draw(*shape), jnp.ones(shape[-1])
            fn = lambda x, s, b, relu=relu: normalise_batch(x, s, b, 1e-5, relu=relu)[0]  # noqa: E731
            name = f"batch norm{' + ReLU' if relu else ''} {shape[1]}×{shape[2]}×{shape[3]}"
            yield Case(f"{name}: forward", fn, (x, scale, scale))
            yield Case(f"{name}: with gradients", derivatives(fn), (x, x, scale, scale))


def pools() -> Iterator[Case]:
    x = draw(32, 32, 32, 64)
    fn = lambda x: F.max_pool(x, 3, stride=2, padding=1)  # noqa: E731
    yield Case("maximum 3×3, stride 2, 32×32×64: forward", fn, (x,))
    yield Case("maximum 3×3, stride 2, 32×32×64: with gradient", derivatives(fn), (fn(x), x))


def attentions() -> Iterator[Case]:
    for batch, time_, heads, size, causal in ((4, 512, 4, 64, True), (16, 128, 4, 32, True), (1, 2048, 4, 64, False)):
        q = draw(batch, time_, heads, size)
        fn = lambda q, k, v, c=causal: F.dot_product_attention(q, k, v, causal=c)  # noqa: E731
        flops = 4.0 * batch * heads * time_**2 * size / (2 if causal else 1)
        name = f"attention {batch}×{time_}×{heads}×{size}{', causal' if causal else ''}"
        yield Case(f"{name}: forward", fn, (q, q, q), flops)
        yield Case(f"{name}: with gradients", derivatives(fn), (q, q, q, q), 4.5 * flops)


def recurrences() -> Iterator[Case]:
    for layer in (px.LSTM, px.GRU):
        with px.seed(0):
            model = layer(128, 128)
        params, state = px.split(model)
        fn = lambda p, x, m=model, s=state: px.apply(m, p, s, x)[0]  # noqa: E731
        x = draw(32, 64, 128)
        gates = 4 if layer is px.LSTM else 3
        flops = 2.0 * 32 * 64 * gates * 128 * 256
        yield Case(f"{layer.__name__} 32×64×128: forward", fn, (params, x), flops)
        yield Case(f"{layer.__name__} 32×64×128: with gradients", derivatives(fn), (x, params, x), 3 * flops)


def timer(compiled: Callable[..., Any], arrays: tuple[Any, ...]) -> Callable[[], float]:
    jax.block_until_ready(compiled(*arrays))

    def once() -> float:
        start = time.perf_counter()
        jax.block_until_ready(compiled(*arrays))
        return time.perf_counter() - start

    return once


def pair(case: Case) -> dict[str, Callable[[], float]]:
    """The case's program with kernels and without; compiled here, as what is traced later would not differ."""
    kernel = jax.jit(lambda *a: case.fn(*a)).lower(*case.arrays).compile()
    with reference_forms():
        plain = jax.jit(lambda *a: case.fn(*a)).lower(*case.arrays).compile()
    return {"kernel": timer(kernel, case.arrays), "plain": timer(plain, case.arrays)}


def moved(case: Case) -> float:
    results = jax.tree.leaves(jax.eval_shape(case.fn, *case.arrays))
    return sum(a.size * a.dtype.itemsize for a in (*jax.tree.leaves(case.arrays), *results))


def machine_rates(rounds: int) -> tuple[float, float]:
    """GFLOP/s of XLA's matrix product, and GB/s of a copy, read and written."""
    a, x = draw(1024, 1024), draw(32, 32, 32, 64)
    timers = {"product": timer(jax.jit(lambda a: a @ a), (a,)), "copy": timer(jax.jit(lambda x: x + 1.0), (x,))}
    times = interleave(timers, 3 * rounds)
    medians = {name: statistics.median(values) for name, values in times.items()}
    return 2 * 1024**3 / medians["product"] / 1e9, 2 * x.nbytes / medians["copy"] / 1e9


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("words", nargs="*")
    options = parser.parse_args()
    cores = pin(2)
    if package().library is None:
        print(f"there are no kernels to measure: {package().reason}")
        return 1
    products, copies = machine_rates(options.rounds)
    title = f"{cores} cores; a matrix product runs at {short(products)} GFLOP/s, a copy at {short(copies)} GB/s"
    table = rich.table.Table(title=title, title_justify="left", box=rich.box.SIMPLE)
    for column in ("case", "kernel ms", "plain ms", "plain / kernel", "rate"):
        table.add_column(column, justify="left" if column == "case" else "right")
    for case in (*convolutions(), *normalisations(), *pools(), *attentions(), *recurrences()):
        if all(word in case.name for word in options.words):
            times = interleave(pair(case), options.rounds)
            kernel, plain = (statistics.median(times[name]) for name in ("kernel", "plain"))
            rate = (
                f"{short(case.flops / kernel / 1e9)} GFLOP/s"
                if case.flops
                else f"{short(moved(case) / kernel / 1e9)} GB/s"
            )
            speedup = ratio(times, "plain", "kernel").median
            table.add_row(case.name, short(kernel * 1e3), short(plain * 1e3), f"{short(speedup)} ×", rate)
    rich.console.Console(width=120).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
