"""Adapters on integers: the base stands still bit for bit, the adapter trains, travels, and is merged into floats."""

import numpy as np
import pytest

import phlox as px
from kit import assert_close

MAPS = ("**.q_proj", "**.k_proj", "**.v_proj", "**.out_proj", "**.gate", "**.up", "**.down")
RNG = np.random.default_rng(0)

run = px.jit(lambda model, x: model(x))


def integers(model):
    """The codes of all layers, by the place of the layer."""
    held = [layer for layer in px.modules(model).values() if isinstance(layer, px.compress.QuantizedDense)]
    return [np.asarray(layer.codes) for layer in held], held


def next_token(model, x):
    return px.losses.cross_entropy(model(x[:, :-1]), x[:, 1:])


@pytest.mark.soak
def test_a_base_of_four_bits_with_an_adapter(tmp_path):
    config = px.models.LlamaConfig(
        vocab_size=30, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2,
        tie_word_embeddings=False,
    )  # fmt: skip
    model, x = px.models.create(config, key=0), (RNG.integers(0, 30, (8, 1)) + np.arange(9)) % 30
    base = px.compress.quantize(model, 4, group=8, where=("blocks", "head"))
    tuned = px.adapt.lora(px.copy(base), 4, where=(*MAPS, "head"), key=1)
    before, _ = integers(tuned)
    assert_close(run(tuned, x), np.asarray(run(base, x)))
    history = px.fit(
        tuned, [x], loss=next_token, optimizer=px.optim.Adam(0.03), epochs=20, progress=False
    )  # fmt: skip
    assert history["loss"][-1] < 0.9 * history["loss"][0]
    after, layers = integers(tuned)
    assert len(before) == 8
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(layer.bits == 4 for layer in layers)
    px.adapt.save(tuned, tmp_path / "adapter")
    again = px.adapt.load(px.copy(base), tmp_path / "adapter")
    assert np.array_equal(run(again, x), run(tuned, x))
    px.save(tuned, tmp_path / "tuned.safetensors")
    assert np.array_equal(run(px.load(tmp_path / "tuned.safetensors"), x), run(tuned, x))
    merged = px.adapt.merge(px.compress.dequantize(tuned), keep=False)
    assert not [p for p, layer in px.modules(merged).items() if hasattr(layer, "codes") or hasattr(layer, "adapters")]
    assert_close(run(merged, x), np.asarray(run(tuned, x)), scale=20)
    found = px.compress.report(merged, tuned, x, latency=())
    assert found.layers[""] < 1e-4
    adapter = sum(a.size for a in px.split(tuned)[0].values())
    assert found.after.parameters == found.before.parameters + adapter
    assert found.after.memory < found.before.memory
