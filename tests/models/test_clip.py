"""CLIP, and its towers alone, beside the hub's."""

import json
import shutil

import jax
import numpy as np
import pytest

import phlox as px
from hub import agrees, covered, first, images, note, there_again, tiny
from hub_pairs import compare
from hub_text import padded
from kit import oracle

torch = oracle("torch")
transformers = oracle("transformers")
END = 39
TEXT = {
    "vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": 8, "bos_token_id": 38, "eos_token_id": END, "initializer_factor": 3.0,
}  # fmt: skip
VISION = {
    "hidden_size": 12, "intermediate_size": 20, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 12,
    "patch_size": 4, "initializer_factor": 3.0, "initializer_range": 0.1,
}  # fmt: skip
TWO = {"initializer_factor": 3.0, "projection_dim": 8, "logit_scale_init_value": 0.5}


def ended(*lengths, time=7, seed=0):
    """Texts (batch, time) that end, and are then filled up with ends, as CLIP's are."""
    tokens = np.random.default_rng(seed).integers(2, 38, (len(lengths), time)).astype(np.int32)
    return np.where(padded(list(lengths), time), tokens, END)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    config = transformers.CLIPConfig(text_config=TEXT, vision_config=VISION, **TWO)
    theirs = tiny(transformers.CLIPModel, config, folder)
    return theirs, px.models.load(folder), folder


def test_answers_and_learns_as_the_hub_s(pair):
    theirs, ours, _ = pair
    covered(ours)
    assert ours.config.text_config.projection_dim == 512  # the file's, which does not count
    mask = padded([7, 5, 4], 7)
    compare(
        ours, theirs, images(3, 12, 12, 3), ended(6, 4, 2), dtype="float64", mask=mask, loss=px.losses.clip_loss
    )  # fmt: skip


def test_in_float32_with_texts_padded_left(pair):
    theirs, ours, _ = pair
    tokens = ended(6, 6, 6)
    mask = padded([7, 5, 4], 7, "left")
    compare(
        ours, theirs, images(3, 12, 12, 3), tokens, dtype="float32", mask=mask, loss=px.losses.clip_loss, learn=False
    )  # fmt: skip


def test_an_odd_config_in_the_older_form_and_images_of_another_size(tmp_path):
    """Another depth, activation, ε and number of channels, two entries for a tower; positions between the table's."""
    text = TEXT | {"num_hidden_layers": 1, "hidden_act": "gelu", "layer_norm_eps": 1e-3, "eos_token_id": 2}
    vision = VISION | {"num_hidden_layers": 2, "num_channels": 1, "hidden_act": "relu", "layer_norm_eps": 1e-2}
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, **TWO)
    theirs = tiny(transformers.CLIPModel, config, tmp_path)
    entries = json.loads((tmp_path / "config.json").read_text())
    older = {"text_config_dict": entries["text_config"], "vision_config_dict": entries["vision_config"]}
    rest = {"text_config": {"hidden_size": 99, "architectures": ["Any"]}, "vision_config": None}
    (tmp_path / "config.json").write_text(json.dumps(entries | older | rest))
    ours = px.models.load(tmp_path)
    covered(ours)
    assert ours.parts()[:4] == ("vision.embed", "vision.pre_norm", "vision.blocks.0", "text.embed")
    compare(
        ours, theirs, images(2, 9, 24, 1), ended(5, 3), dtype="float64", learn=False, loss=px.losses.clip_loss,
        interpolate_pos_encoding=True,
    )  # fmt: skip


def test_entries_of_files_of_2021_are_all_known():
    """As OpenAI's folders have them: what a config had then, in each tower too; an unknown one would warn."""
    then = {
        "_name_or_path": "", "add_cross_attention": False, "architectures": None, "attention_dropout": 0.0,
        "bad_words_ids": None, "bos_token_id": 0, "chunk_size_feed_forward": 0, "cross_attention_hidden_size": None,
        "decoder_start_token_id": None, "diversity_penalty": 0.0, "do_sample": False, "dropout": 0.0,
        "early_stopping": False, "encoder_no_repeat_ngram_size": 0, "eos_token_id": 2, "finetuning_task": None,
        "hidden_act": "quick_gelu", "hidden_size": 512, "id2label": {"0": "LABEL_0", "1": "LABEL_1"},
        "initializer_factor": 1.0, "initializer_range": 0.02, "is_decoder": False, "is_encoder_decoder": False,
        "label2id": {"LABEL_0": 0, "LABEL_1": 1}, "layer_norm_eps": 1e-05, "length_penalty": 1.0, "max_length": 20,
        "min_length": 0, "no_repeat_ngram_size": 0, "num_attention_heads": 8, "num_beams": 1, "num_hidden_layers": 12,
        "output_attentions": False, "pad_token_id": 1, "prefix": None, "problem_type": None, "projection_dim": 512,
        "pruned_heads": {}, "repetition_penalty": 1.0, "return_dict": True, "sep_token_id": None, "temperature": 1.0,
        "task_specific_params": None, "tie_encoder_decoder": False, "tie_word_embeddings": True, "top_k": 50,
        "tokenizer_class": None, "top_p": 1.0, "torch_dtype": None, "torchscript": False, "use_bfloat16": False,
        "transformers_version": "4.16.0.dev0",
    }  # fmt: skip
    text = then | {"model_type": "clip_text_model", "vocab_size": 49408, "max_position_embeddings": 77}
    vision = then | {"model_type": "clip_vision_model", "hidden_size": 768, "intermediate_size": 3072, "patch_size": 32}
    vision |= {"num_attention_heads": 12, "image_size": 224, "bos_token_id": None, "eos_token_id": None}
    entries = {
        "architectures": ["CLIPModel"], "initializer_factor": 1.0, "logit_scale_init_value": 2.6592,
        "model_type": "clip", "projection_dim": 512, "text_config": text, "text_config_dict": None,
        "torch_dtype": "float32", "transformers_version": None, "vision_config": vision, "vision_config_dict": None,
    }  # fmt: skip
    config = px.models.CLIPConfig.from_dict(entries)
    assert config.text_config.eos_token_id == 2
    assert config.vision_config == px.models.CLIPVisionConfig()


@pytest.mark.parametrize("projected", [False, True])
def test_the_towers_alone(projected, tmp_path):
    name = "WithProjection" if projected else ""
    text, vision = (getattr(transformers, f"CLIP{tower}Model{name}") for tower in ("Text", "Vision"))
    options = {"num_hidden_layers": 1, "projection_dim": 8}
    x, tokens = images(2, 12, 12, 3), ended(5, 3)
    for cls, config, given, there, vector in (
        (text, transformers.CLIPTextConfig(**TEXT | options), tokens, torch.tensor(tokens), "text_embeds"),
        (vision, transformers.CLIPVisionConfig(**VISION | options), x, first(x), "image_embeds"),
    ):
        folder = tmp_path / cls.__name__
        theirs = tiny(cls, config, folder)
        ours = px.models.load(folder)
        covered(ours)
        assert ours.config.task == ("zero-shot-image-classification" if projected else "feature-extraction")
        found = px.jit(lambda model, given: (model(given), model.features(given)))(ours, given)
        out = theirs(there)
        want = [out[vector if projected else "pooler_output"], out.last_hidden_state]
        if vector == "text_embeds" and projected:
            want[1] = theirs.text_model(there).last_hidden_state
        seen = [
            agrees(a, b.detach().numpy(), what, 1e-5)
            for a, b, what in zip(found, want, ("vector", "features"), strict=True)
        ]
        note(ours, "transformers", **{"scores float32": seen[0]})
        again = there_again(ours, cls, tmp_path / "again")
        for key, array in theirs.state_dict().items():
            assert (again.state_dict()[key] == array).all(), key


def test_written_here_and_loaded_there(pair, tmp_path):
    theirs, ours, folder = pair
    again = there_again(ours, transformers.CLIPModel, tmp_path)
    given = {"input_ids": torch.tensor(ended(5, 3)).long(), "pixel_values": first(images(2, 12, 12, 3))}
    assert (again(**given).logits_per_image == theirs(**given).logits_per_image).all()
    assert px.models.load(tmp_path).config == px.models.load(folder).config == ours.config
    px.models.save(ours.vision, tmp_path / "vision")
    tower = px.models.load(tmp_path / "vision")
    assert tower.config == ours.vision.config
    assert (tower.head.weight == ours.vision.head.weight).all()


def test_older_files_hold_numbers_of_positions_too(pair, tmp_path):
    from safetensors.numpy import load_file, save_file

    _, ours, folder = pair
    arrays = load_file(folder / "model.safetensors")
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    numbers = {f"{tower}_model.embeddings.position_ids": np.arange(8)[None] for tower in ("text", "vision")}
    save_file(arrays | numbers, tmp_path / "model.safetensors", {"format": "pt"})
    assert (px.models.load(tmp_path).logit_scale == ours.logit_scale).all()


def test_fresh_weights_spread_as_the_hub_s():
    sizes = {"hidden_size": 48, "intermediate_size": 96, "num_attention_heads": 2, "initializer_factor": 2.0}
    text = sizes | {"vocab_size": 99, "num_hidden_layers": 1, "bos_token_id": 0, "eos_token_id": 1}
    vision = sizes | {"image_size": 28, "patch_size": 4, "initializer_range": 0.07, "num_hidden_layers": 1}
    whole = {"text_config": text, "vision_config": vision, "projection_dim": 40}
    torch.manual_seed(0)
    theirs = transformers.CLIPModel(transformers.CLIPConfig(**whole, initializer_factor=2.0)).state_dict()
    config = px.models.CLIPConfig.from_dict(whole)
    model = px.jit(lambda key: px.models.create(config, key=key))(jax.random.key(0))
    arrays = px.models.names(model, "transformers").to_theirs(model)
    assert set(arrays) == set(theirs)
    for name, array in arrays.items():
        want, few = theirs[name].numpy(), 0.4 if array.size < 100 else 0.15
        assert np.std(array) == pytest.approx(float(np.std(want)), rel=few, abs=1e-6), name
        assert np.mean(array) == pytest.approx(float(np.mean(want)), abs=0.06 + 0.1 * float(np.std(want))), name


def test_weights_of_attention_drop_in_both_towers(pair, tmp_path):
    shutil.copytree(pair[2], tmp_path, dirs_exist_ok=True)
    entries = json.loads((tmp_path / "config.json").read_text())
    for tower in ("text_config", "vision_config"):
        entries[tower]["attention_dropout"] = 0.5
    (tmp_path / "config.json").write_text(json.dumps(entries))
    model = px.trainmode(px.models.load(tmp_path))
    assert [tower.blocks[0].attention.drop.p for tower in (model.text, model.vision)] == [0.5, 0.5]
    run = px.jit(lambda a, b, x: (a(x), b(x[..., :12])))
    x = images(1, 2, 5, 16)[0]
    once, again = (run(model.text.blocks[0].attention, model.vision.blocks[0].attention, x) for _ in range(2))
    for a, b in zip(once, again, strict=True):
        assert np.abs(a - b).max() > 1e-3


@pytest.mark.parametrize(
    ("name", "count"),
    [("clip_vit_base_patch32", 151_277_313), ("clip_vit_large_patch14_336", 427_944_193),
     ("clip_vit_h_14_laion2b", 986_109_441)],
)  # fmt: skip
def test_sizes_are_the_published_ones(name, count):
    """As OpenCLIP's table of models has them."""
    model = px.eval_shape(lambda: px.models.create(name, key=0))
    assert sum(x.size for x in px.split(model)[0].values()) == count


def test_a_tower_may_have_no_block():
    config = px.models.CLIPTextConfig(**TEXT | {"num_hidden_layers": 0})
    assert px.output_shape(px.eval_shape(lambda: px.models.create(config)), np.ones((2, 3), int)) == (2, 16)


def test_vectors_have_length_one_and_fit_by_their_angle(pair):
    ours = pair[1]
    x, tokens = images(2, 12, 12, 3), ended(5, 3, 4)
    run = px.jit(lambda m, x, t: (v := m.encode_image(x), w := m.encode_text(t), m.scores(v, w)))
    seen, read, scores = run(ours, x, tokens)
    for vectors in (seen, read):
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(scores, np.exp(np.float32(ours.logit_scale)) * (seen @ read.T), rtol=1e-4, atol=1e-5)
    with pytest.raises(px.ShapeError, match=r"\(images, features\) and \(texts, features\), got float32\[2, 8\]"):
        ours.scores(seen, read[0])


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda ours: ours.text(np.ones((1, 9), int)), px.ShapeError, r"at most 8 tokens, got int\d+\[1, 9\]"),
        (lambda ours: ours.text(np.ones(9, int)), px.ShapeError, r"tokens \(batch, time\)"),
        (lambda ours: ours.text(np.ones((2, 0), int)), px.ShapeError, r"tokens \(batch, at least 1\)"),
        (lambda ours: px.models.SiglipTextConfig(hidden_size=0), px.RangeError, "hidden_size of at least 1, got 0"),
        (lambda ours: ours.vision.config.with_classes(3), px.RangeError, "no head of this family has classes"),
        (lambda ours: px.models.create(px.models.CLIPTextConfig(eos_token_id=None)), px.OptionError, "one token that"),
        (lambda ours: px.models.CLIPConfig(text_config={}), px.OptionError, "a CLIPTextConfig, got dict"),
        (lambda ours: px.models.CLIPConfig.from_dict({"text_config": 3}), px.OptionError, "text_config as CLIPTextCon"),
        (lambda ours: px.models.CLIPConfig.from_dict({"vision_config": {"hidden_size": -1}}), px.RangeError, "hidden_"),
        (lambda ours: px.models.CLIPConfig.from_dict({"architectures": ["CLIPForImageClassification"]}), px.RangeError,
         "an architecture among CLIPModel"),
        (lambda ours: ours.config.with_classes(3), px.RangeError, "no classes for 'zero-shot-image-classification'"),
        (lambda ours: px.models.CLIPVisionConfig(image_size=8), px.RangeError, "image_size of at least patch_size"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(pair, make, error, text):
    with pytest.raises(error, match=text):
        make(pair[1])
