"""The compiled program of a spread step, with all of XLA's passes: what devices hold, and what goes between them."""

from __future__ import annotations

import functools
import re
from collections import Counter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import phlox as px
from parallel.kit import arrays, assert_same, refused
from parallel.networks import GPT, next_token, sentences

MOVES = "all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute"
_ARRAY = re.compile(r"(f64|f32|bf16|f16|s32|u32|pred|s8|u8)\[([\d,]*)\]")
_SIZE = {"f64": 8, "f32": 4, "s32": 4, "u32": 4, "bf16": 2, "f16": 2, "pred": 1, "s8": 1, "u8": 1}


def moves(text: str) -> list[tuple[str, tuple[tuple[int, ...], ...]]]:
    """The collectives of a compiled program, each with the shapes of its results."""
    found = []
    for line in text.splitlines():
        result, _, call = line.partition("=")[2].strip().partition(" ") if " = (" not in line else _tuple(line)
        name = next((m for m in MOVES if re.match(rf"{m}(-start)?\(", call)), None)
        if name is not None:
            shapes = tuple(tuple(int(n) for n in s.split(",") if n) for _, s in _ARRAY.findall(result))
            found.append((name, shapes))
    return found


def _tuple(line: str) -> tuple[str, str, str]:
    result, _, call = line.partition(" = ")[2].partition(") ")
    return result, "", call


def spread_step(strategy: Any, build: Any, tokens: Any) -> tuple[Any, Any, Any, Any]:
    """A model, an optimiser and a batch that are spread, and the step compiled for them."""
    with px.seed(0):
        model = build()
    placement = px.parallel.shard(model, strategy)
    opt = px.Optimizer(px.optim.Adam(1e-3), model)
    placement.place(model, opt)

    @placement.jit
    def step(model: Any, opt: Any, tokens: Any) -> Any:
        loss, grads = px.value_and_grad(lambda model: next_token(model, tokens))(model)
        opt.update(model, grads)
        return loss

    batch = placement.spread(tokens)
    return model, opt, batch, step.lower(model, opt, batch).compile()


WIDE = functools.partial(GPT, width=128, depth=8, dropout=0.0, remat=True)
TOKENS = sentences(32, 17)


@functools.cache
def wide(name: str) -> tuple[Any, Any, Any, Any]:
    return spread_step(getattr(px.parallel, name)(), WIDE, TOKENS)


def held(*modules: Any) -> tuple[int, int]:
    """Bytes of some Modules: on the first device, and altogether."""
    first, every = 0, 0
    for module in modules:
        for v in px.paths(module).values():
            bare = jax.random.key_data(v) if jax.dtypes.issubdtype(v.dtype, jax.dtypes.prng_key) else v
            first, every = first + bare.addressable_shards[0].data.nbytes, every + bare.nbytes
    return first, every


def check_each_device_holds_an_eighth() -> None:
    model, opt, batch, compiled = wide("fsdp")
    for module in (model, opt):
        part, whole = held(module)
        assert part < whole / 8 * 1.06, (part, whole)
    needs = compiled.memory_analysis()
    part, _ = held(model, opt)
    assert needs.argument_size_in_bytes <= part + batch.nbytes + 4096, needs


def check_a_deep_loop_gathers_one_block_at_a_time() -> None:
    """What a step needs beside its arguments is less than all weights, and less than data parallelism needs."""
    model, _, _, compiled = wide("fsdp")
    weights = held(model)[1]
    temporary = compiled.memory_analysis().temp_size_in_bytes
    deep = spread_step(px.parallel.fsdp(), functools.partial(WIDE, depth=32), TOKENS)
    more = deep[3].memory_analysis().temp_size_in_bytes - temporary
    block = (held(deep[0])[1] - weights) / 24  # bytes of the weights of one block
    kept = 4 * 16 * 128 * 4  # bytes of the input of a block, for the rows of a device
    assert more / 24 < 0.5 * block + 3 * kept, (more / 24, block, kept)


def check_data_parallel_sums_gradients_alone() -> None:
    model, _, _, compiled = wide("data_parallel")
    found = moves(compiled.as_text())
    assert {name for name, _ in found} == {"all-reduce"}, Counter(name for name, _ in found)
    summed = sum(int(np.prod(shape)) for _, shapes in found for shape in shapes)
    weights = sum(v.size for v in px.paths(model).values() if jnp.issubdtype(v.dtype, jnp.inexact))
    assert summed <= weights * 1.02, (summed, weights)  # of a loop's body one of its rounds is counted


def check_fsdp_moves_weights_and_no_activations() -> None:
    model, _, _, compiled = wide("fsdp")
    found = moves(compiled.as_text())
    kinds = Counter(name for name, _ in found)
    assert not kinds["all-to-all"], kinds
    weights = {v.shape[-2:] for v in px.paths(model).values() if v.ndim > 1}
    weights |= {shape[::-1] for shape in weights}
    for name, shapes in found:
        if name in ("all-gather", "reduce-scatter"):
            for shape in shapes:
                squeezed = tuple(n for n in shape if n > 1)
                assert squeezed in weights or squeezed[-2:] in weights, (name, shape)
    assert kinds["all-gather"] >= 2 * 6, kinds  # the six products of a block, forward and backward


def check_a_step_leaves_arrays_where_they_lay() -> None:
    model, opt, batch, compiled = wide("fsdp")
    before = {path: v.sharding for path, v in [*px.paths(model).items(), *px.paths(opt).items()]}
    for _ in range(2):
        compiled(model, opt, batch)
    for path, v in [*px.paths(model).items(), *px.paths(opt).items()]:
        assert v.sharding.is_equivalent_to(before[path], v.ndim), (path, v.sharding)


def check_an_array_is_made_in_parts() -> None:
    """``create`` gives the numbers of ``build()``, and no device holds more than its part of any weight meanwhile."""
    build = functools.partial(GPT, width=128, depth=2)
    with px.seed(3):
        _, whole, after = px.Dense(2, 2), build(), px.Dense(2, 2)
    with px.seed(3):
        px.Dense(2, 2)
        model = px.parallel.create(build, px.parallel.fsdp())
        next_one = px.Dense(2, 2)
    assert_same(model, whole, 1e-6)
    np.testing.assert_array_equal(after.weight, next_one.weight)
    part, every = held(model)
    assert part < every / 8 * 1.06
    assert arrays(model).keys() == arrays(whole).keys()
    with refused(px.RangeError, "a build() that makes a Module", "tuple"):
        px.parallel.create(lambda: (1, 2), px.parallel.fsdp())


def check_a_table_of_devices() -> None:
    model, opt, _, _ = wide("fsdp")
    layout = px.parallel.inspect(model)
    part, whole = held(model)
    assert layout.bytes == whole
    assert layout.devices == dict.fromkeys(range(8), part)
    row = next(array for array in layout.arrays if array.path == "blocks.block.perceptron.layers.0.weight")
    assert row.cut == ("", "", "fsdp")
    assert row.most * 8 == row.bytes
    text = str(layout)
    assert "8 devices" in text
    assert "axis 2 along fsdp" in text
    assert len(layout.whole) + sum(1 for array in layout.arrays if not array.whole) == len(layout.arrays)
    figure = layout.plot()
    bars = [bar.get_height() for bar in figure.axes[0].patches]
    assert sum(bars[:1]) + sum(bars[8:9]) == part
    assert px.parallel.inspect(opt).bytes >= 2 * whole * 0.99
    with refused(px.RangeError, "a Module with arrays", "ShapeDtypeStruct in their place"):
        px.parallel.inspect(px.eval_shape(lambda: px.Dense(2, 2)))
