"""Adapters on integers: the base stands still bit for bit, the adapter trains, travels, and is merged into floats."""

import importlib
import inspect
from pathlib import Path

import numpy as np
import pytest

import phlox as px
from kit import assert_close, compiled_as_users_do

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
MAPS = ("**.q_proj", "**.k_proj", "**.v_proj", "**.out_proj", "**.gate", "**.up", "**.down")
RNG = np.random.default_rng(0)

run = px.jit(lambda model, x: model(x))


def integers(model):
    """The codes of all layers, by the place of the layer."""
    held = [layer for layer in px.modules(model).values() if isinstance(layer, px.compress.QuantizedDense)]
    return [np.asarray(layer.codes) for layer in held], held


def next_token(model, x):
    return px.losses.cross_entropy(model(x[:, :-1]), x[:, 1:])


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


def docstrings():
    """What functions and classes of Python's library say of themselves."""
    found = {}
    for name in (
        "argparse",
        "collections",
        "email.message",
        "fractions",
        "logging",
        "pathlib",
        "statistics",
        "tarfile",
    ):
        for thing in vars(importlib.import_module(name)).values():
            parts = [thing, *vars(thing).values()] if inspect.isclass(thing) else [thing]
            texts = [inspect.getdoc(p) for p in parts if inspect.isclass(p) or inspect.isfunction(p)]
            found |= {text: None for text in texts if text}
    return "\n".join(found)


@pytest.mark.soak
def test_a_gpt_of_four_bits_learns_docstrings_nearly_as_well_as_the_whole(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    example = importlib.import_module("char_gpt")
    first, second = example.english(), docstrings()
    data, characters = example.encoded(first + second)
    learn, other = data[: len(first)], data[len(first) :]
    held = other[: len(other) // 8]
    windows = held[: len(held) // 129 * 129].reshape(-1, 129)[:64]
    rows = other[len(held) :]
    rows = rows[: len(rows) // 129 * 129].reshape(-1, 129)
    with compiled_as_users_do():
        with px.seed(0):
            model = example.GPT(len(characters))
        example.train(model, learn, 300, batch=16, time=128, rate=2e-3)
        small = px.compress.quantize(model, 4, group=32, where=("blocks", "head"))
        loss = px.jit(next_token)
        found = {"float": float(loss(model, windows)), "int4": float(loss(small, windows))}
        for name, base in (("lora", model), ("qlora", small)):
            tuned = px.adapt.lora(px.copy(base), 8, where=MAPS, key=1)
            before, _ = integers(tuned)
            px.fit(
                tuned, rows, loss=next_token, optimizer=px.optim.Adam(2e-3), steps=150, batch_size=16, progress=False
            )  # fmt: skip
            assert all(np.array_equal(a, b) for a, b in zip(before, integers(tuned)[0], strict=True))
            found[name] = float(loss(tuned, windows))
        merged = px.adapt.merge(px.compress.dequantize(tuned), keep=False)
        np.testing.assert_allclose(run(merged, windows[:4, :-1]), run(tuned, windows[:4, :-1]), atol=1e-3)
    print(f"docstrings, nats a character: {found}", flush=True)
    assert found["qlora"] < found["int4"] - 0.1
    assert found["qlora"] < found["float"]
    assert found["int4"] - found["qlora"] > 0.9 * (found["float"] - found["lora"])
    assert found["qlora"] < 1.02 * found["lora"]
