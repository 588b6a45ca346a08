"""Convolutions against PyTorch in 1 to 3 dimensions, value and every gradient, in float64."""

import functools
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from kit import against_torch, assert_close, oracle
from phlox.core._errors import RangeError, ShapeError
from phlox.nn.functional import conv, conv_transpose, depthwise_conv
from phlox.nn.functional.kernels import _conv as _conv_kernels
from phlox.nn.functional.space import _conv_forms

torch = oracle("torch")
TF = torch.nn.functional


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def arrays(seed, *shapes):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=s) for s in shapes]


def torch_pad(x, pairs, mode="constant"):
    flat = [p for pair in reversed(pairs) for p in pair]
    return TF.pad(x, flat, mode=mode) if any(flat) else x


def torch_conv(stride, pairs, dilation, groups, mode="constant"):
    def run(x, w, b=None):
        rank = w.ndim - 2
        f = (TF.conv1d, TF.conv2d, TF.conv3d)[rank - 1]
        x = torch_pad(x.movedim(-1, 1), pairs, mode)
        y = f(x, w.movedim((-1, -2), (0, 1)), b, stride=stride, dilation=dilation, groups=groups)
        return y.movedim(1, -1)

    return run


def both_ways(cases):
    """Every case by itself, and the grouped ones (the last number) also by XLA's own kernel."""
    return [(name, True) for name in cases] + [(name, False) for name, case in cases.items() if case[-1] > 1]


# space, kernel, in, out, stride, padding, dilation, groups
CASES = {
    "1d": ((9,), (3,), 2, 3, 1, 0, 1, 1),
    "1d even kernel, stride, pad": ((10,), (4,), 2, 3, 3, 2, 1, 1),
    "1d uneven padding": ((7,), (3,), 2, 2, 2, ((3, 0),), 1, 1),
    "1d dilated": ((11,), (3,), 2, 2, 1, 2, 3, 1),
    "1d grouped, stride does not divide": ((10,), (2,), 4, 6, 3, 1, 2, 2),
    "2d": ((6, 7), (3, 2), 3, 4, 1, 0, 1, 1),
    "2d per axis": ((7, 8), (3, 4), 2, 3, (2, 1), (1, 2), (1, 2), 1),
    "2d uneven pairs": ((6, 5), (2, 3), 2, 4, (1, 2), ((0, 1), (2, 1)), 1, 2),
    "2d depthwise": ((6, 6), (3, 3), 4, 4, 1, 1, 1, 4),
    "2d depthwise, two kernels each": ((7, 6), (3, 2), 3, 6, 2, 1, 2, 3),
    "2d grouped": ((5, 5), (3, 3), 4, 6, 1, 1, 1, 2),
    "2d pointwise": ((4, 5), (1, 1), 3, 5, 1, 0, 1, 1),
    "2d pointwise, strided": ((6, 5), (1, 1), 3, 5, (2, 3), 0, 1, 1),
    "2d pointwise, padded": ((4, 4), (1, 1), 3, 2, 1, 1, 1, 1),
    "2d pointwise, grouped": ((4, 4), (1, 1), 4, 6, 1, 0, 1, 2),
    "2d kernel as large as the input": ((4, 3), (4, 3), 2, 3, 1, 0, 1, 1),
    "3d": ((4, 5, 4), (2, 3, 2), 2, 3, (1, 2, 1), (1, 0, 1), (2, 1, 1), 1),
    "3d grouped": ((4, 4, 5), (2, 2, 3), 4, 2, 2, ((1, 0), (0, 1), (1, 1)), 1, 2),
}


@pytest.mark.parametrize(("name", "taps"), both_ways(CASES))
def test_conv_matches_torch(name, taps, monkeypatch):
    space, kernel, cin, cout, stride, padding, dilation, groups = CASES[name]
    if not taps:
        monkeypatch.setattr(_conv_forms, "_sums_taps", lambda window: False)
        monkeypatch.setattr(_conv_kernels, "in_use", lambda *arrays: False)
    rank = len(space)
    pairs = ((padding, padding),) * rank if isinstance(padding, int) else padding
    pairs = tuple((p, p) if isinstance(p, int) else p for p in pairs)
    x, w, b = arrays(0, (2, *space, cin), (*kernel, cin // groups, cout), (cout,))
    against_torch(
        jax.jit(functools.partial(conv, stride=stride, padding=padding, dilation=dilation, groups=groups)),
        torch_conv(stride, pairs, dilation, groups),
        x,
        w,
        b,
    )


@pytest.mark.parametrize("seed", range(8))
def test_random_convolutions_match_torch(seed):
    rng = np.random.default_rng(seed)
    rank, groups = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    kernel, stride, dilation = (tuple(int(v) for v in rng.integers(1, 4, rank)) for _ in range(3))
    pairs = tuple((int(a), int(b)) for a, b in rng.integers(0, 4, (rank, 2)))
    space = tuple(int(d * (k - 1) + 1 + e) for d, k, e in zip(dilation, kernel, rng.integers(0, 4, rank), strict=True))
    cin, cout = (groups * int(c) for c in rng.integers(1, 4, 2))
    x, w, b = arrays(seed, (2, *space, cin), (*kernel, cin // groups, cout), (cout,))
    against_torch(
        jax.jit(functools.partial(conv, stride=stride, padding=pairs, dilation=dilation, groups=groups)),
        torch_conv(stride, pairs, dilation, groups),
        x,
        w,
        b,
    )


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@pytest.mark.parametrize("size", [6, 7])
@pytest.mark.parametrize("kernel", [3, 4])
@pytest.mark.parametrize("dilation", [1, 2])
def test_same_padding_matches_torch(size, kernel, dilation):
    x, w = arrays(1, (2, size, size, 2), (kernel, kernel, 2, 3))

    def theirs(x, w):
        y = TF.conv2d(x.movedim(-1, 1), w.permute(3, 2, 0, 1), padding="same", dilation=dilation)
        return y.movedim(1, -1)

    against_torch(lambda x, w: conv(x, w, padding="SAME", dilation=dilation), theirs, x, w)


@pytest.mark.parametrize("stride", [2, 3])
@pytest.mark.parametrize("size", [5, 6, 7])
def test_same_padding_rounds_the_strided_size_up(size, stride):
    x, w = arrays(1, (1, size, 2), (4, 2, 3))
    total = max((-(-size // stride) - 1) * stride + 4 - size, 0)
    y = conv(x, w, padding="same", stride=stride)
    assert y.shape[1] == -(-size // stride)
    assert_close(y, conv(np.pad(x, ((0, 0), (total // 2, total - total // 2), (0, 0))), w, stride=stride))


def test_valid_is_no_padding():
    x, w = arrays(1, (1, 6, 2), (3, 2, 3))
    assert_close(conv(x, w, padding="VALID"), conv(x, w))


@pytest.mark.parametrize("dilation", [1, 3])
def test_causal_padding_sees_nothing_of_the_future(dilation):
    x, w = arrays(2, (1, 8, 5, 2), (3, 3, 2, 2))

    def at(x, t):
        return conv(x, w, padding="CAUSAL", dilation=(dilation, 1))[:, t]

    assert at(jnp.asarray(x), 3).shape == (1, 5, 2)
    seen = jax.grad(lambda x: jnp.sum(at(x, 3) ** 2))(jnp.asarray(x))
    assert np.all(np.asarray(seen)[:, 4:] == 0)
    assert np.all(np.any(np.asarray(seen)[:, range(3, -1, -dilation)[:3]] != 0, axis=(0, 2, 3)))
    padded = np.pad(x, ((0, 0), (2 * dilation, 0), (1, 1), (0, 0)))
    assert_close(conv(x, w, padding="CAUSAL", dilation=(dilation, 1)), conv(padded, w, dilation=(dilation, 1)))


@pytest.mark.parametrize("mode", ["reflect", "circular", "replicate"])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_padding_modes_match_torch(mode, rank):
    x, w, b = arrays(3, (2, 5, 4, 6)[: rank + 1] + (2,), (3, 2, 3)[:rank] + (2, 3), (3,))
    pairs = ((1, 2), (3, 0), (2, 2))[:rank]
    against_torch(
        jax.jit(functools.partial(conv, padding=pairs, padding_mode=mode, stride=2)),
        torch_conv(2, pairs, 1, 1, mode),
        x,
        w,
        b,
    )


# space, kernel, in, out, stride, padding, output_padding, dilation, groups
TRANSPOSES = {
    "1d": ((5,), (3,), 2, 3, 1, 0, 0, 1, 1),
    "1d strided, extended": ((5,), (4,), 2, 3, 3, 1, 2, 1, 1),
    "1d dilated, extended beyond the stride": ((4,), (3,), 2, 3, 2, 1, 2, 3, 1),
    "1d padding beyond the kernel": ((6,), (2,), 2, 3, 2, 2, 0, 1, 1),
    "2d": ((4, 3), (3, 2), 3, 4, (2, 1), (1, 0), (1, 0), 1, 1),
    "2d side by side": ((4, 3), (2, 3), 3, 4, (2, 3), 0, 0, 1, 1),
    "2d side by side, grouped": ((4, 3), (2, 2), 4, 6, 2, 0, 0, 1, 2),
    "2d grouped": ((4, 3), (3, 3), 4, 6, 2, 1, 1, 1, 2),
    "2d grouped, dilated": ((4, 3), (2, 3), 4, 2, (1, 2), 1, (0, 1), (2, 1), 2),
    "2d depthwise": ((4, 4), (4, 4), 3, 3, 2, 1, 0, 1, 3),
    "2d stride beyond the kernel": ((3, 3), (2, 1), 2, 2, 3, 0, 2, 1, 1),
    "3d": ((3, 2, 3), (2, 3, 2), 2, 3, (2, 1, 2), (0, 1, 1), (1, 0, 1), 1, 1),
    "3d grouped": ((2, 2, 3), (2, 2, 2), 4, 4, 2, 0, 1, 1, 2),
}


@pytest.mark.parametrize(("name", "taps"), both_ways(TRANSPOSES))
def test_conv_transpose_matches_torch(name, taps, monkeypatch):
    space, kernel, cin, cout, stride, padding, extra, dilation, groups = TRANSPOSES[name]
    if not taps:
        monkeypatch.setattr(_conv_forms, "_sums_taps", lambda window: False)
        monkeypatch.setattr(_conv_kernels, "in_use", lambda *arrays: False)
    x, w, b = arrays(4, (2, *space, cin), (*kernel, cin, cout // groups), (cout,))
    f = (TF.conv_transpose1d, TF.conv_transpose2d, TF.conv_transpose3d)[len(space) - 1]

    def theirs(x, w, b):
        y = f(x.movedim(-1, 1), w.movedim((-2, -1), (0, 1)), b, stride, padding, extra, groups, dilation)
        return y.movedim(1, -1)

    against_torch(
        jax.jit(
            functools.partial(
                conv_transpose, stride=stride, padding=padding, output_padding=extra, dilation=dilation, groups=groups
            )
        ),
        theirs,
        x,
        w,
        b,
    )


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_conv_transpose_is_the_transpose_of_conv(stride):
    w, y = arrays(5, (3, 2, 2, 3), (2, 4, 3, 3))
    pairs = ((1, 0), (0, 1))
    x = conv_transpose(y, w.swapaxes(-1, -2), stride=stride, padding=pairs)
    ours = jax.linear_transpose(lambda x: conv(x, w, stride=stride, padding=pairs), x)(jnp.asarray(y))[0]
    assert_close(x, ours)


@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (4, 2), (2, 3), (3, 1), (2, 2)])
def test_conv_transpose_same_is_the_transpose_of_conv_same(kernel, stride):
    x, w = arrays(5, (1, 4, 2), (kernel, 2, 3))
    y = conv_transpose(x, w, stride=stride, padding="SAME")
    assert y.shape == (1, 4 * stride, 3)
    back = jax.linear_transpose(lambda v: conv(v, w.swapaxes(-1, -2), stride=stride, padding="SAME"), y)
    assert_close(y, back(jnp.asarray(x))[0])


def test_uneven_transpose_padding_crops_each_side():
    x, w = arrays(6, (1, 4, 2), (3, 2, 3))
    full = conv_transpose(x, w, stride=2)
    assert_close(conv_transpose(x, w, stride=2, padding=((2, 1),)), full[:, 2:-1])
    assert_close(conv_transpose(x, w, stride=2, padding="VALID"), full)


def test_depthwise_is_a_grouped_convolution():
    x, w, b = arrays(7, (2, 6, 5, 3), (3, 2, 1, 6), (6,))
    against_torch(
        lambda x, w, b: depthwise_conv(x, w, b, stride=2, padding=1), torch_conv(2, ((1, 1),) * 2, 1, 3), x, w, b
    )


def test_large_depthwise_kernels_take_xla():
    x, w = arrays(7, (1, 12, 12, 2), (9, 9, 1, 2))
    against_torch(depthwise_conv, torch_conv(1, ((0, 0),) * 2, 1, 2), x, w)


@pytest.mark.parametrize("groups", [1, 2])
def test_second_derivatives_and_forward_mode(groups):
    x, w = arrays(8, (1, 5, 4), (3, 4 // groups, 2))
    for f in (
        lambda x, w: jnp.tanh(conv(x, w, padding=1, groups=groups)),
        lambda x, w: jnp.tanh(conv_transpose(x, w.reshape(3, 4, -1), stride=2, groups=groups)),
    ):
        check_grads(jax.jit(f), (x, w), order=2, modes=("fwd", "rev"))


@pytest.mark.parametrize("groups", [1, 3])
def test_jit_and_vmap_agree_with_eager(groups):
    x, w = (jnp.asarray(a) for a in arrays(9, (4, 2, 6, 6, 3), (3, 3, 3 // groups, 6)))

    def f(x):
        return conv(x, w, padding=1, groups=groups)

    eager = jnp.stack([f(v) for v in x])
    assert_close(jax.vmap(f)(x), eager)
    assert_close(jax.jit(f)(x[0]), eager[0])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("kernel", [1, 3])
def test_dtypes_are_kept_and_sums_are_precise(dtype, groups, kernel):
    rng = np.random.default_rng(10)
    x = jnp.asarray(rng.normal(size=(2, 6, 6, 64)), dtype)
    w = jnp.asarray(rng.normal(size=(kernel, kernel, 64 // groups, 8)) / np.sqrt(64 * kernel**2 / groups), dtype)
    y = conv(x, w, padding="SAME", groups=groups)
    assert y.dtype == dtype
    assert_close(y, conv(x.astype(float), w.astype(float), padding="SAME", groups=groups))
    wt = w.reshape(kernel, kernel, 64, -1)
    z = conv_transpose(x, wt, stride=2, groups=groups)
    assert z.dtype == dtype
    assert_close(z, conv_transpose(x.astype(float), wt.astype(float), stride=2, groups=groups))


def test_integers_take_the_weight_dtype():
    y = conv(np.arange(4).reshape(1, 4, 1), np.ones((2, 1, 1), "float32"))
    assert y.dtype == "float32"
    assert y.ravel().tolist() == [1, 3, 5]


def test_an_empty_batch_stays_empty():
    assert conv(jnp.zeros((0, 5, 5, 4)), jnp.zeros((3, 3, 2, 6)), groups=2).shape == (0, 3, 3, 6)
    assert conv(jnp.zeros((0, 5, 5, 4)), jnp.zeros((1, 1, 4, 6))).shape == (0, 5, 5, 6)


def test_symbolic_shapes_export():
    b, n = jax.export.symbolic_shape("b, n")
    w = jnp.ones((3, 3, 2, 4))
    for padding in ("SAME", 1):
        f = jax.jit(lambda x, p=padding: conv(x, w, padding=p))
        exported = jax.export.export(f)(jax.ShapeDtypeStruct((b, n, n, 2), w.dtype))
        x = arrays(1, (2, 5, 5, 2))[0]
        assert_close(exported.call(x), f(x))


def test_the_functions_pickle():
    for f in (conv, conv_transpose, depthwise_conv):
        assert pickle.loads(pickle.dumps(f)) is f


X, W = np.zeros((2, 8, 8, 4), "float32"), np.zeros((3, 3, 4, 6), "float32")


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: conv(X[..., :3], W),
            ShapeError,
            r"4 channels in the last axis .* float32\[3, 3, 4, 6\]\), got float32\[2, 8, 8, 3\]",
        ),
        (lambda: conv(X, W, groups=2), ShapeError, r"8 channels .*groups=2\), got float32\[2, 8, 8, 4\]"),
        (lambda: conv(X, W[:, :, :1], groups=4), RangeError, "groups that divide the 6 out channels .* got groups=4"),
        (lambda: conv(X, W, groups=0), RangeError, "groups as an int of at least 1, got 0"),
        (
            lambda: conv(X[0], W),
            ShapeError,
            r"\(batch, height, width, channels\) .* got float32\[8, 8, 4\]\n  fix: add the missing batch",
        ),
        (lambda: conv(X[..., None], W), ShapeError, r"\(batch, height, width, channels\)"),
        (lambda: conv(X[0], W[0, 0]), ShapeError, r"a weight \(\*kernel, channels, channels\) .* got float32\[4, 6\]"),
        (
            lambda: conv(X[:, :2], W),
            ShapeError,
            r"at least 3 along spatial axis 0.* got 2 \+ 0 \+ 0 in float32\[2, 2, 8, 4\]",
        ),
        (lambda: conv(X, W, dilation=4), ShapeError, r"at least 9 along spatial axis 0.* got 8 \+ 0 \+ 0"),
        (lambda: conv(X, W, stride=-1), RangeError, "stride of at least 1, got -1\n  fix: raise stride to 1"),
        (lambda: conv(X, W, stride=0), RangeError, "stride of at least 1, got 0"),
        (lambda: conv(X, W, dilation=(1, -2)), RangeError, r"dilation of at least 1, got \(1, -2\)"),
        (lambda: conv(X, W, stride=(1, 2, 3)), RangeError, r"stride as one int or 2 .* got \(1, 2, 3\)"),
        (lambda: conv(X, W, stride=1.5), RangeError, "stride as one int or 2 .* got 1.5"),
        (lambda: conv(X, W, padding=-1), RangeError, "padding of at least 0, got -1\n  fix: crop"),
        (lambda: conv(X, W, padding=((1, 2),)), RangeError, r"padding as one int, 2 .* got \(\(1, 2\),\)"),
        (lambda: conv(X, W, padding="FULL"), RangeError, '"SAME", "VALID", "CAUSAL" or explicit counts, got \'FULL\''),
        (lambda: conv(X, W, padding=1, padding_mode="wrap"), RangeError, "padding_mode .* got 'wrap'"),
        (
            lambda: conv(X, W, padding=8, padding_mode="reflect"),
            ShapeError,
            r"conv expects at least 9 elements along spatial axis 0 for reflect",
        ),
        (lambda: conv(X, W, np.zeros(4)), ShapeError, r"a bias of shape \(6,\), got float64\[4\]"),
        (
            lambda: depthwise_conv(X, W),
            ShapeError,
            r"\(\*kernel, 1, channels·m\) for 4 channels, got float32\[3, 3, 4, 6\]",
        ),
        (
            lambda: conv_transpose(X, W[:, :, :3]),
            ShapeError,
            r"conv_transpose expects 3 channels .* got float32\[2, 8, 8, 4\]",
        ),
        (lambda: conv_transpose(X, W, groups=3), RangeError, "groups that divide the 4 in channels .* got groups=3"),
        (lambda: conv_transpose(X, W, np.zeros(4)), ShapeError, r"a bias of shape \(6,\)"),
        (
            lambda: conv_transpose(X, W, stride=2, output_padding=2),
            RangeError,
            r"output_padding below the larger .* got 2",
        ),
        (lambda: conv_transpose(X, W, padding=6), ShapeError, r"leaves something .* got 10 less 12"),
        (lambda: conv_transpose(X, W, padding="CAUSAL"), RangeError, '"SAME", "VALID" or counts, got \'CAUSAL\''),
        (lambda: conv_transpose(X, W, stride=2, padding="SAME", output_padding=1), RangeError, "output_padding 0 with"),
    ],
)
def test_errors_say_what_and_where(call, error, text):
    with pytest.raises(error, match=text):
        call()
