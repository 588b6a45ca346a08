"""Each kernel of phlox-cpu beside the same operation in plain JAX, and beside what the machine can do.

The rate of a call is in GFLOP/s where it multiplies, to be held against a matrix product of XLA's, and in GB/s of its
arguments and results where it only moves numbers, to be held against a copy.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from _measure import Table, Times, command, interleave, median, record, short

import phlox as px
from phlox.nn.functional._linear import scores
from phlox.nn.functional._norm import normalise_batch
from phlox.nn.functional.kernels._kernels import package, reference_forms

PAGE = Path(__file__).resolve().parent.parent / "docs" / "performance.md"
PACKAGES = ("phlox", "phlox-cpu", "onednn-cpu-gomp", "jax", "jaxlib")
KERNEL, PLAIN = "kernel", "plain JAX"

F = px.nn.functional


@dataclass(frozen=True)
class Settings:
    rounds: int = 9
    cases: int = 99  # of each family, at most


QUICK = Settings(rounds=2, cases=2)


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
        "conv 7×7 3→64, stride 2, 128×128": (8, 128, 3, 64, 7, 2, 1),
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


def products() -> Iterator[Case]:
    for dtype in (jnp.float32, jnp.bfloat16):
        for rows, inputs, outputs in ((1024, 1024, 1024), (4096, 768, 3072)):
            x, w = draw(rows, inputs, dtype=dtype), draw(inputs, outputs, dtype=dtype)
            flops = 2.0 * rows * inputs * outputs
            name = f"{rows} rows, {inputs}→{outputs}, {jnp.dtype(dtype).name}"
            yield Case(f"{name}: forward", F.dense, (x, w), flops)
            yield Case(f"{name}: with gradients", derivatives(F.dense), (F.dense(x, w), x, w), 3 * flops)
        x, table = draw(128, 768, dtype=dtype), draw(30522, 768, dtype=dtype)
        yield Case(f"128 rows, scores of 30522, {jnp.dtype(dtype).name}", scores, (x, table), 2.0 * 128 * table.size)


def normalisations() -> Iterator[Case]:
    for shape in ((32, 32, 32, 64), (32, 8, 8, 256)):
        for relu in (False, True):
            x, scale = draw(*shape), jnp.ones(shape[-1])
            fn = lambda x, s, b, relu=relu: normalise_batch(x, s, b, 1e-5, relu=relu)[0]  # noqa: E731
            name = f"batch norm{' + ReLU' if relu else ''} {shape[1]}×{shape[2]}×{shape[3]}"
            yield Case(f"{name}: forward", fn, (x, scale, scale))
            yield Case(f"{name}: with gradients", derivatives(fn), (x, x, scale, scale))
    for shape in ((8, 128, 256), (8, 128, 768)):
        x, scale = draw(*shape), jnp.ones(shape[-1])
        fn = lambda x, s, b: F.layer_norm(x, x.shape[-1], s, b)  # noqa: E731
        name = f"layer norm {shape[0] * shape[1]} rows of {shape[2]}"
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
        half = q.astype(jnp.bfloat16)
        yield Case(f"{name}, bfloat16: forward", fn, (half, half, half), flops)


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


FAMILIES = {
    "Products of dense layers": products,
    "Convolution": convolutions,
    "Normalisation": normalisations,
    "Pooling": pools,
    "Attention": attentions,
    "Recurrent layers": recurrences,
}


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
    return {KERNEL: timer(kernel, case.arrays), PLAIN: timer(plain, case.arrays)}


def moved(case: Case) -> float:
    results = jax.tree.leaves(jax.eval_shape(case.fn, *case.arrays))
    return sum(a.size * a.dtype.itemsize for a in (*jax.tree.leaves(case.arrays), *results))


def adam(plain: bool) -> tuple[Callable[[], float], int]:
    """A step of px.optim.Adam for 8 million parameters, and the bytes of one of its arrays."""
    model = px.Dense.of(draw(2048, 4096), None)
    gradient, opt = {"weight": draw(2048, 4096)}, px.Optimizer(px.optim.Adam(), model)

    def step() -> float:
        with reference_forms() if plain else nullcontext():
            start = time.perf_counter()
            opt.update(model, gradient)
            model.weight.block_until_ready()
            return time.perf_counter() - start

    step(), step()
    return step, model.weight.nbytes


def copy_in_place() -> Callable[[], float]:
    """A copy of three arrays of that size, donated."""
    added = jax.jit(lambda xs: [x + 1.0 for x in xs], donate_argnums=0)
    arrays = [draw(2048, 4096) for _ in range(3)]

    def copy() -> float:
        nonlocal arrays
        start = time.perf_counter()
        arrays = jax.block_until_ready(added(arrays))
        return time.perf_counter() - start

    copy()
    return copy


@dataclass(frozen=True)
class Machine:
    """What XLA reaches at best here: GFLOP/s of a matrix product, GB/s of copies, read and written."""

    product: float
    copy: float  # of 8 MB into another array
    in_place: float  # of 3 × 34 MB, donated


def machine_rates(rounds: int) -> tuple[Machine, dict[str, float]]:
    """Rates of the machine, and GB/s of Adam, four arrays read and three written, by the kernel and without."""
    a, x = draw(1024, 1024), draw(32, 32, 32, 64)
    (kernel, size), (plain, _) = adam(False), adam(True)
    timers = {
        "product": timer(jax.jit(lambda a: a @ a), (a,)),
        "copy": timer(jax.jit(lambda x: x + 1.0), (x,)),
        "in place": copy_in_place(),
        KERNEL: kernel,
        PLAIN: plain,
    }
    times = {name: statistics.median(values) for name, values in interleave(timers, 3 * rounds).items()}
    work = {"product": 2 * 1024**3, "copy": 2 * x.nbytes, "in place": 6 * size, KERNEL: 7 * size, PLAIN: 7 * size}
    rates = {name: work[name] / times[name] / 1e9 for name in times}
    machine = Machine(rates["product"], rates["copy"], rates["in place"])
    return machine, {which: rates[which] for which in (KERNEL, PLAIN)}


@dataclass
class Results:
    machine: Machine
    adam: dict[str, float]  # GB/s
    times: dict[str, dict[str, Times]]  # by family and case
    rates: dict[str, tuple[float, str]]  # of the kernel, by case
    notes: list[str]

    def tables(self) -> list[Table]:
        """The machine's table, and one of each family that was measured."""
        m = self.machine
        rows = [
            ["product of 1024² matrices", f"{short(m.product)} GFLOP/s"],
            ["copy of 8 MB", f"{short(m.copy)} GB/s"],
            ["copy of three arrays of 34 MB, in place", f"{short(m.in_place)} GB/s"],
            *([f"px.optim.Adam on an array of 34 MB, in place, {w}", f"{short(r)} GB/s"] for w, r in self.adam.items()),
        ]
        header = ["", KERNEL, PLAIN, "speedup", "rate", "of the best"]
        return [
            Table("What the machine reaches", ["", "rate"], rows),
            *(Table(f"{family}: ms", header, self._rows(cases)) for family, cases in self.times.items()),
        ]

    def _rows(self, cases: dict[str, Times]) -> list[list[str]]:
        rows = []
        for name, times in cases.items():
            rate, unit = self.rates[name]
            best = self.machine.product if unit == "GFLOP/s" else self.machine.copy
            ms = [short(statistics.median(times[which]) * 1e3) for which in (KERNEL, PLAIN)]
            speedup = median(times, PLAIN, KERNEL) or 0.0
            rows.append([name, *ms, f"{short(speedup)} ×", f"{short(rate)} {unit}", f"{rate / best:.0%}"])
        return rows

    def json(self) -> dict[str, Any]:
        """All numbers."""
        rates = {name: {"rate": rate, "unit": unit} for name, (rate, unit) in self.rates.items()}
        return {
            "rates": vars(self.machine) | {f"adam, {which}": rate for which, rate in self.adam.items()},
            "cases": {
                family: {name: record(times, 1e3, KERNEL) | rates[name] for name, times in cases.items()}
                for family, cases in self.times.items()
            },
            "units": {"product": "GFLOP/s", "copies": "GB/s", "adam": "GB/s", "cases": "ms"},
        }


def measure(settings: Settings, tell: Callable[[str], None]) -> Results:
    tell("the machine")
    results = Results(*machine_rates(settings.rounds), {}, {}, [])
    if package().library is None:
        results.notes.append(f"no kernel was measured: {package().reason}")
        return results
    for family, cases in FAMILIES.items():
        results.times[family] = {}
        for case in islice(cases(), settings.cases):
            tell(case.name)
            times = results.times[family][case.name] = interleave(pair(case), settings.rounds)
            rate = (case.flops or moved(case)) / statistics.median(times[KERNEL]) / 1e9
            results.rates[case.name] = rate, "GFLOP/s" if case.flops else "GB/s"
    return results


def main(arguments: Sequence[str] | None = None) -> int:
    return command("kernels", __doc__ or "", measure, Settings(), QUICK, PACKAGES, PAGE, arguments)


if __name__ == "__main__":
    raise SystemExit(main())
