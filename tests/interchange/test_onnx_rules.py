"""Each family of operations in ONNX Runtime against XLA, most at two sizes of axes that the file leaves open."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from interchange.onnx_kit import SIZES, agree
from interchange.registry import Input

X = Input(("batch", "time", 4))
I32 = Input(("batch", "time"), "int32", 40)


def test_arithmetic():
    def f(x, y):
        a, t = jnp.abs(x) + 0.5, jnp.tanh(x) * 0.9
        unary = {
            k: getattr(lax, k)(x)
            for k in [
                "neg",
                "abs",
                "sign",
                "exp",
                "tanh",
                "logistic",
                "erf",
                "erfc",
                "sin",
                "cos",
                "tan",
                "atan",
                "sinh",
                "cosh",
            ]
        }
        unary |= {
            k: getattr(lax, k)(x) for k in ["asinh", "floor", "ceil", "square", "cbrt", "exp2", "expm1", "is_finite"]
        }
        unary |= {k: getattr(lax, k)(a) for k in ["log", "sqrt", "rsqrt", "log1p"]} | {"acosh": lax.acosh(a + 0.5)}
        unary |= {k: getattr(lax, k)(t) for k in ["asin", "acos", "atanh"]}
        binary = {k: getattr(lax, k)(x, y) for k in ["add", "sub", "mul", "div", "max", "min", "rem", "atan2"]}
        powers = {f"power{n}": lax.integer_pow(x, n) for n in (0, 1, 2, 3, 5, -1, -3)} | {"pow": lax.pow(a, y)}
        halves = jnp.round(y) + 0.5
        rounded = {"even": lax.round(halves, lax.RoundingMethod(1)), "away": lax.round(halves, lax.RoundingMethod(0))}
        more = {"clamp": lax.clamp(jnp.float32(-0.3), x, jnp.float32(0.4)), "clip": lax.clamp(y - 1, x, y + 1)}
        return unary | binary | powers | rounded | more | {"half": lax.reduce_precision(x, 5, 10)}

    agree(f, {"x": X, "y": X})


def test_what_is_small_keeps_its_digits_and_what_is_not_finite_stays_so():
    x = np.float32([0, 1e-9, -1e-7, 3e-5, 0.009, 0.011, -0.009, -1, 50, np.inf, -np.inf, np.nan])

    def f(x):
        return {
            "expm1": lax.expm1(x) / jnp.where(x == 0, 1, x), "log1p": lax.log1p(x) / jnp.where(x == 0, 1, x),
            "finite": lax.is_finite(x), "same": x == x, "other": x != x, "max": lax.max(x, -x), "less": x < 1,
        }  # fmt: skip

    agree(f, {"x": Input((12,))}, given={"x": x})


def test_quadrants():
    x = np.float32([1, -1, -1, 1, 0, 0, 2, -2, 0])
    y = np.float32([1, 1, -1, -1, 1, -1, 0, 0, 0])
    agree(lax.atan2, {"y": Input((9,)), "x": Input((9,))}, given={"y": y, "x": x})


@pytest.mark.parametrize("dtype", ["int32", "uint8", "int8", "uint32"])
def test_whole_numbers(dtype):
    def f(x, y, n):
        binary = {
            k: getattr(lax, k)(x, y) for k in ["add", "sub", "mul", "max", "min", "eq", "ne", "lt", "le", "gt", "ge"]
        }
        binary |= {
            "div": lax.div(x, y),
            "rem": lax.rem(x, y),
            "by three": x // 3,
            "and": x & y,
            "or": x | y,
            "xor": x ^ y,
        }
        bits = {"left": x << n, "right": lax.shift_right_logical(x, n), "arithmetic": lax.shift_right_arithmetic(x, n)}
        return binary | bits | {"not": ~x, "flag": x.astype(bool), "real": x.astype("float32"), "cube": x**3}

    rng = np.random.default_rng(0)
    low, high = (0, 200) if dtype[0] == "u" else (-100, 100)
    given = {"x": rng.integers(low, high, 50).astype(dtype), "y": rng.integers(low, high, 50).astype(dtype)}
    given["n"] = rng.integers(0, 10, 50).astype(dtype)
    given["y"][:3] = 0
    agree(f, {k: Input((50,), dtype) for k in "xyn"}, given=given)


def test_flags_and_choices():
    def f(p, q, i, x, y):
        logic = {"and": p & q, "or": p | q, "xor": p ^ q, "not": ~p, "max": lax.max(p, q), "min": lax.min(p, q)}
        logic |= {"eq": p == q, "ne": p != q, "lt": lax.lt(p, q), "ge": lax.ge(p, q)}
        three = lax.select_n(i % 3, x, y, x * y)
        chosen = {"where": jnp.where(p, x, y), "scalar": lax.select_n(jnp.sum(x) > 0, x, y), "three": three}
        flags, small = jnp.where(p, q, ~q), jnp.where(p, i.astype("int8"), i.astype("int8") + 1)
        return (
            logic | chosen | {"flags": flags, "small": small, "number": p.astype("int32"), "real": p.astype("float32")}
        )

    flag = Input(("batch", "time"), "bool")
    agree(f, {"p": flag, "q": flag, "i": I32, "x": Input(("batch", "time")), "y": Input(("batch", "time"))})


def test_reductions():
    def f(x, i):
        p = x > 0
        real = {
            k: getattr(jnp, k)(x, axis) for k, axis in (("sum", 1), ("prod", (0, 2)), ("max", None), ("min", (0, 1)))
        }
        flags = {"all": jnp.all(p, 1), "any": jnp.any(p, (1, 2)), "xor": lax.reduce_xor(p, (1,))}
        place = {"argmax": jnp.argmax(x, 1), "argmin": jnp.argmin(x, -1), "first": jnp.argmax(i % 3, 1)}
        whole = {"isum": jnp.sum(i), "imax": jnp.max(i, 0), "small": lax.reduce_max(i.astype("uint8"), (1,))}
        means = {"mean": jnp.mean(x, 1), "std": jnp.std(x, (0, 1)), "logsumexp": jax.nn.logsumexp(x, 1)}
        return real | flags | place | whole | means

    agree(f, {"x": X, "i": I32})


def test_running_reductions():
    def f(x, i):
        both = [
            (k, getattr(lax, k), b)
            for k in ["cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp"]
            for b in (False, True)
        ]
        real = {f"{k}{int(b)}": run(x, axis=1, reverse=b) for k, run, b in both}
        return real | {"whole": lax.cumsum(i, axis=0), "most": lax.cummax(i, axis=1), "first": lax.cumprod(x, axis=0)}

    agree(f, {"x": X, "i": I32})


def test_shapes():
    def f(x, i):
        b, t, _ = x.shape
        shaped = {
            "rows": x.reshape(b * t, 4),
            "flat": x.reshape(-1),
            "apart": x.reshape(b, t, 2, 2),
            "swap": x.transpose(2, 0, 1),
        }
        shaped |= {"none": x[:, :, None, :, None], "ones": x[:, :, :1].squeeze(2), "open": x.reshape(t, b, 4)}
        spread = {
            "over": jnp.broadcast_to(i[:, :, None], (b, t, 3)),
            "under": jnp.broadcast_to(i, (2, b, t)),
            "tile": jnp.tile(x, (2, 1, 3)),
        }
        cut = {"slice": x[1:, ::2, 1:3], "last": x[:, -1], "rev": x[:, ::-1, ::-1], "odd": x[:, 1:-1, 3:0:-2]}
        joined = {
            "concat": jnp.concatenate([x, 2 * x, x[:, :1]], 1),
            "stack": jnp.stack([x, -x], 1),
            "halves": jnp.split(x, 2, -1),
        }
        counted = {
            "iota": lax.broadcasted_iota("float32", (b, t), 1),
            "range": jnp.arange(t) * 2 + b,
            "tri": jnp.tri(t, t),
        }
        return (
            shaped
            | spread
            | cut
            | joined
            | counted
            | {"size": x.size * jnp.ones(()), "half": jnp.ones((t // 2 + t % 3, 1))}
        )

    agree(f, {"x": X, "i": I32})


def test_padding():
    def f(x, i):
        configs = [(1, 2, 0), (-1, 3, 0), (2, -2, 0), (0, 0, 2), (-1, -1, 1), (1, 1, 3)]
        real = {f"pad{n}": lax.pad(x, 0.5 + x[0, 0, 0], ((0, 0, 0), c, (0, 0, 0))) for n, c in enumerate(configs)}
        modes = {m: jnp.pad(x, ((0, 0), (2, 1), (0, 0)), mode=m) for m in ("edge", "reflect", "symmetric")}
        return real | modes | {"flags": jnp.pad(i > 3, 1), "whole": jnp.pad(i, ((0, 1), (2, 0)), constant_values=7)}

    agree(f, {"x": X, "i": I32}, constraints=["time >= 3"])


def test_reading_by_index():
    def f(x, i, table):
        within = i % 4
        first = {"rows": table[within], "take": jnp.take(table, i, 0), "clip": jnp.take(table, i - 9, 0, mode="clip")}
        first |= {"column": x[:, :, within[0]], "pairs": x[i[:, 0] % x.shape[0], i[:, 1] % x.shape[1]], "one": x[:, 1]}
        along = {
            "along": jnp.take_along_axis(x, within[:, :, None], 2),
            "short": jnp.take_along_axis(x, i[:, :2, None] % 5, 1),
        }
        both = {"mixed": x[:, i[0] % x.shape[1], 1], "swapped": x[i[0, 0] % x.shape[0], :, within[0]]}
        fill = {"fill": table.at[i - 3].get(mode="fill", fill_value=-1), "whole": i[0].at[i[0]].get(mode="fill")}
        numbers = lax.GatherDimensionNumbers(offset_dims=(1, 2), collapsed_slice_dims=(), start_index_map=(0, 1))
        window = {
            "window": lax.gather(table, within[0, :, None] * jnp.array([1, 0]), numbers, (2, 3), mode="clip"),
            "negative": table[-1 - within[0]], "diagonal": jnp.diagonal(table[:4, :4]),
        }  # fmt: skip
        return first | along | both | fill | window

    agree(f, {"x": X, "i": I32, "table": Input((6, 5))})


def test_writing_by_index():
    def f(x, i, table):
        rows, b = i[0] % 8, jnp.arange(x.shape[0])
        sets = {
            "set": table.at[i[0, :2] % 2 * 3].set(1.0),
            "columns": x.at[:, :, 1].set(0),
            "pair": x.at[b, i[:, 0] % x.shape[1], 2].set(9),
        }
        adds = {
            "add": table.at[rows].add(table[0]),
            "mul": table.at[rows].mul(2.0),
            "max": table.at[rows].max(0.3),
            "min": table.at[rows].min(-0.3),
        }
        block = {"block": table.at[1:3, 2:4].set(5.0), "far": table.at[i[0]].set(3.0), "whole": i.at[:, 0].add(2)}
        along = {"along": jnp.put_along_axis(table, table[:, :1].astype(int) % 5, 7.0, axis=1, inplace=False)}
        return sets | adds | block | along | {"flags": (x > 0).at[:, 1].set(True), "sub": table.at[rows].subtract(1.0)}

    agree(f, {"x": X, "i": I32, "table": Input((6, 5))})


def test_moving_parts():
    def f(x, n):
        k = n[0]
        read = {"one": lax.dynamic_slice(x, (0, k, 1), (x.shape[0], 2, 2)), "row": lax.dynamic_index_in_dim(x, k, 1)}
        new = jnp.ones((x.shape[0], 2, 3))
        wrote = {
            "two": lax.dynamic_update_slice(x, new, (0, k, k)),
            "time": lax.dynamic_update_slice_in_dim(x, x[:, :2], k, 1),
        }
        return read | wrote | {"all": lax.dynamic_update_slice(x, x + 1, (k, k, k)), "roll": jnp.roll(x, 2, 1)}

    for start in (-2, 0, 1, 90):
        agree(
            f,
            {"x": X, "n": Input((1,), "int32")},
            given={"n": np.int32([start])},
            sizes=SIZES[:1],
            constraints=["time >= 3"],
        )


def test_products():
    forms = (
        "btd,de->bte btd,bsd->bts btd,d->bt btd,bd->bt btd,btd->bt bt,d->btd btd,def->btef dbt,btd->b btd,bse->btsde "
        "tdb,dfe->bfet"
    )

    def f(x, w, v):
        arrays = {
            "btd": x,
            "bsd": x[:, 1:],
            "bse": x[:, 1:, :3],
            "de": w,
            "def": v,
            "d": w[:, 0],
            "bd": x[:, 0],
            "bt": x[:, :, 0],
        }
        arrays |= {"dbt": x.transpose(2, 0, 1), "tdb": x.transpose(1, 2, 0), "dfe": v.transpose(0, 2, 1)}
        pairs = [(form, *form.split("->")[0].split(",")) for form in forms.split()]
        real = {form: jnp.einsum(form, arrays[a], arrays[b]) for form, a, b in pairs}
        small = lax.dot_general(
            (x[0] * 9).astype("int8"), (w * 9).astype("int8"), (((1,), (0,)), ((), ())), preferred_element_type="int32"
        )
        return real | {"small": small, "scalar": jnp.vdot(x, x), "vector": w[:, 0] @ w}

    agree(f, {"x": X, "w": Input((4, 3)), "v": Input((4, 3, 2))})


_CONVOLUTIONS = {
    "plain": dict(window_strides=(1, 1), padding="SAME"),
    "strided": dict(window_strides=(2, 1), padding=((1, 2), (0, 1))),
    "dilated": dict(window_strides=(1, 1), padding="VALID", rhs_dilation=(2, 1)),
    "grouped": dict(window_strides=(1, 2), padding=((1, 0), (1, 1)), feature_group_count=2),
    "cut": dict(window_strides=(1, 1), padding=((-1, 2), (0, -1))),
    "transposed": dict(window_strides=(1, 1), padding=((1, 2), (2, 1)), lhs_dilation=(2, 3)),
    "transposed-groups": dict(
        window_strides=(1, 1), padding=((2, 1), (1, 1)), lhs_dilation=(2, 2), feature_group_count=2
    ),
    "transposed-dilated": dict(
        window_strides=(1, 1), padding=((4, 0), (3, 5)), lhs_dilation=(3, 2), rhs_dilation=(2, 1)
    ),
    "gaps": dict(window_strides=(2, 1), padding=((1, 1), (1, 1)), lhs_dilation=(2, 2)),
}


def test_convolutions():
    rng = np.random.default_rng(0)
    whole, grouped = (rng.normal(size=(3, 2, n, 6)).astype("float32") for n in (4, 2))

    def f(x):
        found = {}
        for name, options in _CONVOLUTIONS.items():
            kernel = grouped if "feature_group_count" in options else whole
            found[name] = lax.conv_general_dilated(x, kernel, dimension_numbers=("NHWC", "HWIO", "NHWC"), **options)
        swapped = lax.conv_general_dilated(x.transpose(0, 3, 1, 2), whole.transpose(3, 2, 0, 1), (1, 1), "VALID")
        return found | {"channels first": swapped}

    sizes = ({"batch": 2, "height": 6, "width": 7}, {"batch": 1, "height": 9, "width": 5})
    agree(f, {"x": Input(("batch", "height", "width", 4))}, sizes)


def test_convolutions_over_one_and_three_axes():
    rng = np.random.default_rng(0)
    line, space = rng.normal(size=(3, 4, 5)).astype("float32"), rng.normal(size=(2, 3, 2, 4, 3)).astype("float32")

    def f(x, y):
        numbers = (("NWC", "WIO", "NWC"), ("NDHWC", "DHWIO", "NDHWC"))
        one = [
            lax.conv_general_dilated(x, line, (1,), ((2, 0),), d, dimension_numbers=numbers[0]) for d in ((1,), (3,))
        ]
        three = lax.conv_general_dilated(y, space, (1, 2, 1), "SAME", dimension_numbers=numbers[1])
        return {"one": one, "three": three}

    agree(f, {"x": Input(("batch", "time", 4)), "y": Input(("batch", 3, "time", 4, 4))})


def test_windows():
    def f(x, i):
        whole, pads = (1, 3, 2, 1), ((0, 0), (1, 1), (0, 1), (0, 0))

        def pool(v, start, op, padding, **more):
            return lax.reduce_window(v, start, op, whole, (1, 2, 1, 1), padding, **more)

        found = {}
        for name, start, op in (("max", -jnp.inf, lax.max), ("min", jnp.inf, lax.min), ("sum", 0.0, lax.add)):
            found[name] = pool(x, start, op, pads)
            found[f"{name} dilated"] = pool(x, start, op, "VALID", window_dilation=(1, 2, 1, 1))
            found[f"{name} beyond"] = pool(x, start, op, ((0, 0), (4, 0), (0, 0), (0, 0)))
            found[f"{name} batch"] = lax.reduce_window(x, start, op, (1, 2, 2, 2), (1, 1, 1, 2), "VALID")
        time = lax.reduce_window(i, 9, lax.max, (1, 3), (1, 1), "VALID")
        return found | {"whole": time, "sums": lax.reduce_window(i, 0, lax.add, (1, 3), (1, 2), "VALID")}

    sizes = ({"batch": 2, "height": 6, "width": 7, "time": 5}, {"batch": 1, "height": 9, "width": 5, "time": 8})
    agree(f, {"x": Input(("batch", "height", "width", 4)), "i": I32}, sizes)


def test_sorting():
    def f(x, i):
        whole = {
            "sort": jnp.sort(x, 1),
            "argsort": jnp.argsort(i % 4, 1),
            "down": jnp.argsort(-x, -1, stable=True),
            "flags": jnp.sort(x > 0, 1),
        }
        keys = lax.sort((i % 3, x[:, :, 0], x[:, :, 1]), dimension=1, num_keys=2)
        return whole | {"keys": keys, "top": lax.top_k(x, 2), "ties": lax.top_k(i % 3, 3)}

    agree(f, {"x": X, "i": I32}, constraints=["time >= 3"])


def test_loops():
    def f(x, n):
        step = lambda h, row: (jnp.tanh(h + row) + n[0], (2 * h, row.sum()))  # noqa: E731
        start, rows = jnp.zeros_like(x[:, 0]), x.swapaxes(0, 1)
        found = {f"scan{int(r)}": lax.scan(step, start, rows, reverse=r) for r in (False, True)}
        count = lambda h, _: (h * 1.5 + n[0], h)  # noqa: E731
        found |= {f"count{int(r)}": lax.scan(count, x[0, 0], None, length=4, reverse=r) for r in (False, True)}
        found["open"] = lax.fori_loop(0, x.shape[1], lambda k, a: a * 0.9 + k, x[0, 0])
        nested = lambda h, row: lax.scan(lambda a, b: (a * 0.5 + b * h.sum(), a), h, jnp.stack([row, row + 1]))  # noqa: E731
        found["nested"] = lax.scan(nested, start, rows)
        found["while"] = lax.while_loop(
            lambda c: jnp.max(jnp.abs(c[0])) > n[0] / 9, lambda c: (c[0] * 0.5, c[1] + n[0]), (x, 0.0)
        )
        return found | {"for": lax.fori_loop(0, 3, lambda k, a: a + k * n[0], x), "map": lax.map(lambda r: r.sum(0), x)}

    agree(f, {"x": X, "n": Input((1,))}, given={"n": np.float32([0.7])})


def test_branches():
    def f(x, i):
        n = i[0]
        ways = [
            lambda a: a + 1,
            lambda a: a * n,
            lambda a: jnp.cumsum(a, 1),
            lambda a: lax.cond(n > 6, jnp.sin, jnp.cos, a),
        ]
        return {
            "switch": lax.switch(n, ways, x),
            "cond": lax.cond(jnp.sum(x) > 0, lambda a: (a, a), lambda a: (-a, x), x),
        }

    for n in (-1, 0, 1, 2, 3, 7):
        agree(f, {"x": X, "i": Input((1,), "int32")}, given={"i": np.int32([n])}, sizes=({"batch": 2, "time": 3},))


def test_calls_are_written_out():
    smooth = jax.custom_jvp(lambda x: jnp.sin(x) * 2)
    smooth.defjvps(lambda t, y, x: t)
    cut = jax.custom_vjp(lambda x: jnp.where(x > 0, x, 0.1 * x))
    cut.defvjp(lambda x: (cut(x), None), lambda _, g: (g,))

    def f(x):
        held = jax.checkpoint(lambda a: jnp.tanh(a) * 3)(x)
        return {
            "jvp": smooth(x),
            "vjp": cut(x),
            "jit": jax.jit(jnp.cos)(x),
            "remat": held,
            "stop": lax.stop_gradient(x) + 1,
        }

    agree(f, {"x": X})


def test_complex_numbers_and_fourier_transforms():
    def f(x, y):
        z, w = lax.complex(x, y), lax.complex(y + 3, x)
        plain = {
            "mul": z * w,
            "div": z / w,
            "add": z - 2 * w,
            "conj": jnp.conj(z),
            "exp": jnp.exp(z),
            "square": z * z,
            "real": z + x,
        }
        moved = {
            "turn": z.transpose(1, 0, 2)[:, :, ::-1],
            "sum": z.sum(1),
            "cube": z**3,
            "dot": jnp.einsum("btd,bsd->bts", z, w),
        }
        fourier = {
            "fft": jnp.fft.fft(z),
            "ifft": jnp.fft.ifft(z),
            "rfft": jnp.fft.rfft(x),
            "fft2": jnp.fft.fft2(z, axes=(1, 2)),
        }
        carried = {"scan": lax.scan(lambda h, r: (h * r, h), z[:, 0] * 0 + 1, z.swapaxes(0, 1))}
        found = plain | moved | fourier | carried
        halves = jax.tree.map(lambda v: (v.real, v.imag), found)
        return halves, jnp.abs(z), [jnp.fft.irfft(z, n, axis=-1) for n in (5, 6)]

    agree(f, {"x": Input(("batch", 3, 4)), "y": Input(("batch", 3, 4))})


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_sixteen_bits(dtype):
    def f(x, w):
        y = jnp.tanh(x @ w) + jnp.ones((), dtype)
        return {
            "layer": y,
            "max": jnp.max(y, 1),
            "sum": jnp.sum(y),
            "wide": y.astype("float32"),
            "sort": jnp.sort(x, 1),
            "where": jnp.where(y > 1, y, 0),
        }

    agree(
        f,
        {"x": Input(("batch", 4), dtype), "w": Input((4, 3), dtype)},
        tolerance={"float16": 4e-3, "bfloat16": 3e-2}[dtype],
    )
