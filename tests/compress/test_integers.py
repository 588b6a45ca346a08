"""Weights as integers: codes, scales and what they stand for, beside PyTorch's and beside definitions in NumPy."""

import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import assert_close, oracle, to_numpy

torch = oracle("torch")
RNG = np.random.default_rng(0)
pytestmark = pytest.mark.filterwarnings("ignore:torch.quantize_per:UserWarning")  # on their way out of PyTorch


def dense(ins=12, outs=5, spread=1.0):
    weight = RNG.normal(size=(ins, outs)).astype("f") * np.linspace(0.1, 3, outs, dtype="f") + spread - 1
    return px.Dense.of(jnp.asarray(weight), jnp.asarray(RNG.normal(size=outs).astype("f")), px.tanh)


def small(layer, bits=8, **options):
    return px.compress.quantize(px.Chain(layer), bits, **options)[0]


@pytest.mark.parametrize("symmetric", [True, False])
def test_codes_and_values_of_each_output_are_those_of_pytorch_with_the_same_scales(symmetric):
    layer = dense(spread=1.3)
    ours = small(layer, symmetric=symmetric)
    scale = torch.tensor(np.asarray(ours.scale)[0]).double()
    zero = torch.zeros(5).long() if symmetric else torch.tensor(np.asarray(ours.zero)[0]).long()
    theirs = torch.quantize_per_channel(torch.tensor(np.asarray(layer.weight)), scale, zero, 1, torch.qint8)
    assert np.array_equal(ours.codes, theirs.int_repr().numpy())
    assert_close(ours.weight, theirs.dequantize().numpy())
    if not symmetric:
        assert len(set(np.asarray(ours.zero)[0].tolist())) > 1


@pytest.mark.parametrize("per", ["channel", "tensor"])
def test_scales_and_zeros_are_those_of_pytorchs_observers(per):
    observers = oracle("torch.ao.quantization.observer")
    weight = RNG.normal(size=(12, 5)).astype("f") + 0.7
    options = {"dtype": torch.qint8, "qscheme": torch.per_channel_affine, "ch_axis": 1, "quant_min": -128}
    observer = observers.PerChannelMinMaxObserver(**options, quant_max=127)
    if per == "tensor":
        observer = observers.MinMaxObserver(torch.qint8, torch.per_tensor_affine, quant_min=-128, quant_max=127)
    observer(torch.tensor(weight))
    scale, zero = observer.calculate_qparams()
    ours = small(px.Dense.of(jnp.asarray(weight)), symmetric=False, per=per)
    assert_close(ours.scale.ravel(), scale.numpy().ravel().astype("f"))
    assert np.array_equal(np.asarray(ours.zero).ravel(), zero.numpy().ravel())
    assert ours.scale.shape == ((1, 1) if per == "tensor" else (1, 5))


@pytest.mark.parametrize(
    ("bits", "group", "symmetric"), [(4, 4, True), (8, 5, False), pytest.param(4, None, True, marks=pytest.mark.soak)]
)
def test_groups_of_rows_have_scales_of_their_own_and_the_last_may_be_smaller(bits, group, symmetric):
    layer = dense(ins=13)
    weight, ours = np.asarray(layer.weight), small(layer, bits, group=group, symmetric=symmetric)
    most = 2 ** (bits - 1) - 1
    values = np.empty_like(weight)
    for start in range(0, 13, group or 13):
        rows = weight[start : start + (group or 13)]
        if symmetric:
            scale = np.abs(rows).max(0) / np.float32(most)
            values[start : start + len(rows)] = np.clip(np.round(rows / scale), -most, most) * scale
        else:
            low, high = np.minimum(rows.min(0), 0), np.maximum(rows.max(0), 0)
            scale = (high - low) / np.float32(2 * most + 1)
            zero = np.clip(-most - 1 - np.round(low / scale), -most - 1, most)
            codes = np.clip(np.round(rows / scale) + zero, -most - 1, most)
            values[start : start + len(rows)] = (codes - zero) * scale
    assert_close(ours.weight, values)
    assert ours.codes.nbytes == (7 if bits == 4 else 13) * 5
    assert ours.scale.shape == (-(-13 // (group or 13)), 5)
    assert np.abs(np.asarray(ours.weight) - weight).max() <= 0.5001 * float(ours.scale.max())


def test_a_byte_holds_two_rows_the_first_in_its_low_half():
    layer = px.Dense.of(jnp.array([[7.0], [-3.0], [5.0]]))
    ours = small(layer, 4)
    assert ours.codes.dtype == jnp.uint8
    assert ours.codes.tolist() == [[0xD7], [0x05]]
    assert ours.weight.tolist() == layer.weight.tolist()


def test_an_output_of_zeros_stays_zero_and_the_others_are_not_touched():
    weight = jnp.array([[0.0, 1.0], [0.0, -2.0]])
    for symmetric in (True, False):
        ours = small(px.Dense.of(weight), symmetric=symmetric)
        assert ours.weight[:, 0].tolist() == [0.0, 0.0]
        assert float(ours.scale.min()) > 0
        np.testing.assert_allclose(ours.weight[:, 1], [1, -2], atol=0.01)


@pytest.mark.parametrize("dtype", [pytest.param(jnp.float16, marks=pytest.mark.soak), jnp.bfloat16])
def test_halves_are_rounded_as_floats_and_read_as_halves(dtype):
    weight = jnp.asarray(RNG.normal(size=(6, 3)), dtype)
    ours = small(px.Dense.of(weight))
    assert (ours.weight.dtype, ours.scale.dtype) == (dtype, jnp.float32)
    theirs = np.asarray(small(px.Dense.of(weight.astype(jnp.float32))).weight)
    assert np.array_equal(ours.weight.astype(jnp.float32), jnp.asarray(theirs).astype(dtype).astype(jnp.float32))
    assert ours(jnp.ones((2, 6), dtype)).dtype == dtype


def test_a_map_computes_as_pytorchs_with_the_same_integers():
    layer = dense()
    ours = small(layer)
    weight = torch.quantize_per_channel(
        torch.tensor(np.asarray(layer.weight)), torch.tensor(np.asarray(ours.scale)[0]).double(), torch.zeros(5).long(),
        1, torch.qint8,
    ).dequantize()  # fmt: skip
    x = RNG.normal(size=(7, 12)).astype("f")
    theirs = torch.tanh(torch.tensor(x) @ weight + torch.tensor(np.asarray(layer.bias)))
    assert_close(ours(x), to_numpy(theirs))
