"""Seeded bugs in the folding of batch normalisation: name, file, original, replaced, the tests that must catch it."""

_FILE = "nn/normalisation/_folding.py"
_TESTS = ("tests/nn/test_folding.py",)

MUTANTS = [
    ("folding without epsilon", _FILE, "norm.var.astype(wide) + norm.eps", "norm.var.astype(wide)", _TESTS),
    ("a folded layer forgets its bias", _FILE, "layer.bias.astype(wide) - norm.mean", "-norm.mean", _TESTS),
    ("a folded layer forgets the norm's activation", _FILE, "    layer.act = norm.act\n", "", _TESTS),
    ("a layer's activation stays between", _FILE, "if layer.act is not F.identity:", "if False:", _TESTS),
    ("shared layers are folded", _FILE, "if tied or uses[id(layer)] > 1 or uses[id(norm)] > 1:", "if tied:", _TESTS),
    ("tied weights are folded", _FILE, "if tied or ", "if ", _TESTS),
    ("folded in 16 bits", _FILE, "jnp.promote_types(layer.weight.dtype, jnp.float32)", "layer.weight.dtype", _TESTS),
    ("groups of a transposed convolution are mixed", _FILE, "jnp.repeat(blocks, ", "jnp.repeat(blocks[::-1], ", _TESTS),
    ("folding changes the model itself", _FILE, "    model = copy(model)\n", "", _TESTS),
]
