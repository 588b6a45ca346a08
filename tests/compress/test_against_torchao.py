"""Integers, numbers and gradients beside torchao's and torch.ao's, with the same scales and zeros."""

import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import assert_close, oracle

torch = oracle("torch")
primitives = oracle("torchao.quantization.quant_primitives")
oracle("torch.ao.quantization.fx._decomposed")  # which makes the operators known
decomposed = torch.ops.quantized_decomposed
RNG = np.random.default_rng(0)
LEAST, MOST = {8: -128, 4: -8}, {8: 127, 4: 7}


def tensor(array):
    return torch.tensor(np.array(array))


def dense(ins=24, outs=5, act=px.tanh):
    weight = RNG.normal(size=(ins, outs)).astype("f") * np.linspace(0.1, 3, outs, dtype="f") + 0.3
    return px.Dense.of(jnp.asarray(weight), jnp.asarray(RNG.normal(size=outs).astype("f")), act)


def whole(layer):
    """The integers of a layer one by one, (rows, outs)."""
    codes = np.asarray(layer.codes).astype(np.int16)
    if layer.bits == 8:
        return codes.astype(np.int8)
    pair = np.stack([codes & 15, codes >> 4], 1).reshape(-1, codes.shape[-1])
    return np.where(pair > 7, pair - 16, pair).astype(np.int8)


def affine(layer):
    """The scales, zeros and block of a layer as torchao has them: outputs first."""
    scale = tensor(np.asarray(layer.scale).T)
    zero = torch.zeros_like(scale) if layer.zero is None else tensor(np.asarray(layer.zero).T)
    outs = layer.codes.shape[-1]
    block = (outs, layer.weight_shape[0]) if layer.per == "tensor" else (1, layer.group or layer.weight_shape[0])
    return block, scale, zero.to(torch.int32)


SCHEMES = [
    (8, {}), (8, {"symmetric": False}), (8, {"per": "tensor"}), (8, {"group": 8, "symmetric": False}),
    (4, {}), (4, {"group": 6}), (4, {"group": 6, "symmetric": False}), (4, {"per": "tensor", "symmetric": False}),
]  # fmt: skip


@pytest.mark.parametrize(("bits", "options"), SCHEMES)
def test_weights_alone_are_torchaos_integers_and_numbers(bits, options):
    layer = dense()
    ours = px.compress.quantize(layer, bits, **options)
    block, scale, zero = affine(ours)
    weight = tensor(np.asarray(layer.weight).T)
    least = LEAST[bits] + (ours.zero is None)  # with zero in the middle both sides are alike
    theirs = primitives.quantize_affine(weight, block, scale, zero, torch.int8, least, MOST[bits])
    assert np.array_equal(whole(ours).T, theirs.numpy())
    back = primitives.dequantize_affine(theirs, block, scale, zero, torch.int8, least, MOST[bits])
    assert_close(ours.weight, back.numpy().T)
    x = RNG.normal(size=(7, 24)).astype("f")
    linear = torch.nn.functional.linear(tensor(x), back, tensor(layer.bias))
    assert_close(ours(x), torch.tanh(linear).numpy(), scale=4)


@pytest.mark.parametrize(("bits", "group"), [(8, None), (4, 6)])
def test_zeros_and_their_scales_are_those_that_torchao_chooses(bits, group):
    layer = dense()
    ours = px.compress.quantize(layer, bits, group=group, symmetric=False)
    kind = primitives.MappingType.ASYMMETRIC
    scale, zero = primitives.choose_qparams_affine(
        tensor(np.asarray(layer.weight).T), kind, (1, group or 24), torch.int8, LEAST[bits], MOST[bits]
    )
    assert_close(ours.scale, scale.numpy().reshape(5, -1).T)
    assert np.array_equal(np.asarray(ours.zero), zero.numpy().reshape(5, -1).T)


def test_a_whole_layer_is_torchaos_with_the_same_integers():
    quantization = oracle("torchao.quantization")
    layer, x = dense(ins=32, act=px.identity), RNG.normal(size=(7, 32)).astype("f")
    module = torch.nn.Linear(32, 5)
    with torch.no_grad():
        module.weight.copy_(tensor(np.asarray(layer.weight).T))
        module.bias.copy_(tensor(layer.bias))
    quantization.quantize_(module, quantization.Int8WeightOnlyConfig())
    held, ours = module.weight, px.compress.quantize(layer)
    held.qdata.copy_(tensor(whole(ours).T))
    held.scale.copy_(tensor(np.asarray(ours.scale).T))
    held.zero_point.zero_()
    assert_close(ours(x), module(tensor(x)).detach().numpy(), scale=4)


def test_dynamic_products_are_those_of_torchs_integers():
    layer, x = dense(), RNG.normal(size=(20, 24)).astype("f")
    x[3] *= 100
    ours = px.compress.quantize(layer, inputs="dynamic")
    rows = tensor(np.abs(x).max(1, keepdims=True) / np.float32(127))
    codes = primitives.quantize_affine(tensor(x), (1, 24), rows, torch.zeros_like(rows).int(), torch.int8, -127, 127)
    total = torch._int_mm(codes, tensor(whole(ours)))
    theirs = torch.tanh(total * (rows * tensor(ours.scale)) + tensor(layer.bias))
    assert_close(ours(x), theirs.numpy(), scale=2)


def test_static_products_are_those_of_decomposed_operators():
    layer, x = dense(), RNG.normal(size=(20, 24)).astype("f") + 0.7
    ours = px.compress.quantize(px.Chain(layer), inputs=px.compress.calibrate(px.Chain(layer), x))[0]
    scale, zero = float(ours.input_scale), int(ours.input_zero)
    more = 1.5 * x
    codes = decomposed.quantize_per_tensor(tensor(more), scale, zero, -128, 127, torch.int8)
    seen = decomposed.dequantize_per_tensor(codes, scale, zero, -128, 127, torch.int8)
    scales, zeros = tensor(ours.scale[0]), torch.zeros(5, dtype=torch.int64)
    weight = decomposed.quantize_per_channel(tensor(layer.weight), scales, zeros, 1, -127, 127, torch.int8)
    assert np.array_equal(weight.numpy(), ours.codes)
    weight = decomposed.dequantize_per_channel(weight, scales, zeros, 1, -127, 127, torch.int8)
    assert_close(ours(more), torch.tanh(seen @ weight + tensor(layer.bias)).numpy(), scale=4)


@pytest.mark.parametrize("kind", ["plain", "depthwise"])
def test_static_convolutions_are_those_of_decomposed_operators(kind):
    if kind == "plain":
        layer = px.Conv((3, 3), 4, 6, px.relu, padding=1, stride=2, groups=2, key=0)
    else:
        layer = px.DepthwiseConv((3, 3), 4, 2, px.relu, padding=1, stride=2, key=0)
    outs, x = layer.weight.shape[-1], RNG.normal(size=(2, 7, 8, 4)).astype("f") + 0.7
    ours = px.compress.quantize(px.Chain(layer), inputs=px.compress.calibrate(px.Chain(layer), x))[0]
    scale, zero = float(ours.input_scale), int(ours.input_zero)
    codes = decomposed.quantize_per_tensor(tensor(x.transpose(0, 3, 1, 2)), scale, zero, -128, 127, torch.int8)
    seen = decomposed.dequantize_per_tensor(codes, scale, zero, -128, 127, torch.int8)
    kernel, zeros = tensor(np.asarray(layer.weight).transpose(3, 2, 0, 1)), torch.zeros(outs, dtype=torch.int64)
    scales = tensor(ours.scale[0])
    kernel = decomposed.quantize_per_channel(kernel, scales, zeros, 0, -127, 127, torch.int8)
    kernel = decomposed.dequantize_per_channel(kernel, scales, zeros, 0, -127, 127, torch.int8)
    groups = 2 if kind == "plain" else 4
    y = torch.nn.functional.conv2d(seen, kernel, tensor(layer.bias), stride=2, padding=1, groups=groups)
    assert_close(ours(x), torch.relu(y).numpy().transpose(0, 2, 3, 1), scale=10)


@pytest.mark.parametrize(("bits", "options"), SCHEMES)
def test_gradients_of_rounded_weights_are_torchaos(bits, options):
    layer, x = dense(), RNG.normal(size=(7, 24)).astype("f")
    model = px.compress.prepare(px.Chain(layer), bits, **options)
    small = px.compress.convert(model)[0]
    block, scale, zero = affine(small)
    least = LEAST[bits] + (small.zero is None)
    weight = tensor(np.asarray(layer.weight).T).requires_grad_()
    rounded = primitives._fake_quantize_affine(weight, block, scale, zero, torch.int8, least, MOST[bits])
    y = torch.tanh(torch.nn.functional.linear(tensor(x), rounded, tensor(layer.bias)))
    y.square().sum().backward()
    assert_close(model(x), y.detach().numpy(), scale=4)
    ours = px.grad(lambda m: (m(x) ** 2).sum())(model)
    assert_close(vars(ours[0])["weight"], weight.grad.numpy().T, kind="grad", scale=4)


def test_gradients_of_what_comes_in_with_scales_of_tokens_are_torchaos():
    model, x = px.compress.prepare(px.Chain(dense()), inputs="dynamic"), RNG.normal(size=(7, 24)).astype("f")
    rows = tensor(np.abs(x).max(1, keepdims=True) / np.float32(127))
    seen = tensor(x).requires_grad_()
    zeros = torch.zeros_like(rows).int()
    rounded = primitives._fake_quantize_affine(seen, (1, 24), rows, zeros, torch.int8, -127, 127)
    y = torch.tanh(rounded @ tensor(model[0].weight) + tensor(model[0].bias))
    y.square().sum().backward()
    assert_close(model(x), y.detach().numpy(), scale=4)
    ours = px.grad(lambda x: (model(x) ** 2).sum())(jnp.asarray(x))
    assert_close(ours, seen.grad.numpy(), kind="grad", scale=4)


@pytest.mark.parametrize("kind", ["e4m3", "e5m2"])
def test_floats_of_8_bits_are_torchaos(kind):
    layer = dense(ins=32)
    ours = px.compress.quantize(layer, kind)
    dtype = {"e4m3": torch.float8_e4m3fn, "e5m2": torch.float8_e5m2}[kind]
    scale = tensor(np.asarray(ours.scale).T)
    most = np.abs(np.asarray(layer.weight)).max(0, keepdims=True)
    assert_close(ours.scale, most / torch.finfo(dtype).max)
    theirs = primitives._quantize_affine_float8(tensor(np.asarray(layer.weight).T), scale, dtype)
    bits = np.asarray(ours.codes).view(np.uint8).T
    assert np.array_equal(bits, theirs.view(torch.uint8).numpy())
    back = primitives._dequantize_affine_float8(theirs, scale, torch.float32)
    assert_close(ours.weight, back.numpy().T)
    x = RNG.normal(size=(7, 32)).astype("f")
    linear = torch.nn.functional.linear(tensor(x), back, tensor(layer.bias))
    assert_close(ours(x), torch.tanh(linear).numpy(), scale=4)
