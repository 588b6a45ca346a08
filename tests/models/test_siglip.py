"""SigLIP, and its towers alone, beside the hub's."""

import jax
import numpy as np
import pytest

import phlox as px
from hub import agrees, covered, first, images, note, there_again, tiny
from hub_pairs import compare
from hub_text import padded, tokens
from kit import oracle

torch = oracle("torch")
transformers = oracle("transformers")
TEXT = {
    "vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 4,
    "max_position_embeddings": 8, "bos_token_id": 38, "eos_token_id": 39, "projection_size": 12,
}  # fmt: skip
VISION = {
    "hidden_size": 12, "intermediate_size": 20, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 12,
    "patch_size": 4,
}  # fmt: skip


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("siglip")
    theirs = tiny(transformers.SiglipModel, transformers.SiglipConfig(text_config=TEXT, vision_config=VISION), folder)
    return theirs, px.models.load(folder), folder


def test_answers_and_learns_as_the_hub_s(pair):
    theirs, ours, _ = pair
    covered(ours)
    assert ours.parts()[-2:] == ("logit_scale", "logit_bias")
    assert abs(float(ours.logit_bias)) > 0.01
    compare(ours, theirs, images(3, 12, 12, 3), tokens(3, 7, 40), dtype="float64", loss=px.losses.siglip_loss)


def test_in_float32_with_images_of_another_size_and_a_mask(pair):
    """The vector of a text is that of its last token, also where that one does not count."""
    theirs, ours, _ = pair
    mask = padded([7, 4], 7)
    compare(
        ours, theirs, images(2, 9, 24, 3), tokens(2, 7, 40), dtype="float32", mask=mask, learn=False,
        loss=px.losses.siglip_loss, interpolate_pos_encoding=True,
    )  # fmt: skip


def test_the_towers_alone(tmp_path):
    x, texts = images(2, 12, 12, 1), tokens(2, 5, 40)
    odd = {"num_hidden_layers": 1, "hidden_act": "relu", "layer_norm_eps": 1e-2}
    vision = transformers.SiglipVisionConfig(**VISION | odd | {"num_channels": 1})
    plain = transformers.SiglipVisionConfig(**VISION | odd | {"num_channels": 1}, vision_use_head=False)
    for cls, config, given, there in (
        (transformers.SiglipTextModel, transformers.SiglipTextConfig(**TEXT | odd), texts, torch.tensor(texts).long()),
        (transformers.SiglipVisionModel, vision, x, first(x)),
        (transformers.SiglipVisionModel, plain, x, first(x)),
    ):
        folder = tmp_path / f"{cls.__name__}{config is plain}"
        theirs = tiny(cls, config, folder)
        ours = px.models.load(folder)
        covered(ours)
        found = px.jit(lambda model, given: (model(given), model.features(given)))(ours, given)
        out = theirs(there)
        pooled = out.last_hidden_state.mean(1) if config is plain else out.pooler_output
        seen = [
            agrees(a, b.detach().numpy(), what, 1e-5)
            for a, b, what in zip(found, (pooled, out.last_hidden_state), ("vector", "features"), strict=True)
        ]
        note(ours, "transformers", **{"scores float32": seen[0]})
        again = there_again(ours, cls, tmp_path / "again")
        for key, array in theirs.state_dict().items():
            assert (again.state_dict()[key] == array).all(), key


def test_written_here_and_loaded_there(pair, tmp_path):
    theirs, ours, _ = pair
    again = there_again(ours, transformers.SiglipModel, tmp_path)
    given = {"input_ids": torch.tensor(tokens(2, 7, 40)).long(), "pixel_values": first(images(2, 12, 12, 3))}
    assert (again(**given).logits_per_image == theirs(**given).logits_per_image).all()
    assert px.models.load(tmp_path).config == ours.config


def test_fresh_weights_spread_as_the_hub_s():
    """But for the scale and the bias of scores, which start as published, and biases of 1e-6, which are zero."""
    sizes = {"hidden_size": 48, "intermediate_size": 96, "num_attention_heads": 2, "num_hidden_layers": 1}
    text = sizes | {"vocab_size": 99, "bos_token_id": 0, "eos_token_id": 1, "projection_size": 30}
    whole = {"text_config": text, "vision_config": sizes | {"image_size": 28, "patch_size": 4}}
    torch.manual_seed(0)
    theirs = transformers.SiglipModel(transformers.SiglipConfig(**whole)).state_dict()
    config = px.models.SiglipConfig.from_dict(whole)
    model = px.jit(lambda key: px.models.create(config, key=key))(jax.random.key(0))
    assert float(model.logit_scale) == pytest.approx(np.log(10))
    assert float(model.logit_bias) == -10
    arrays = px.models.names(model, "transformers").to_theirs(model)
    assert set(arrays) == set(theirs)
    for name, array in arrays.items():
        if not name.startswith("logit"):
            want, few = theirs[name].numpy(), 0.4 if array.size < 100 else 0.15
            assert np.std(array) == pytest.approx(float(np.std(want)), rel=few, abs=1e-5), name
            if "self_attn" in name or "mlp" in name:  # uniform
                assert np.max(np.abs(array)) == pytest.approx(float(np.max(np.abs(want))), rel=0.1, abs=1e-5), name


def test_weights_of_attention_drop_in_both_towers():
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "attention_dropout": 0.25}
    config = px.models.SiglipConfig.from_dict({"text_config": sizes, "vision_config": sizes})
    model = px.eval_shape(lambda: px.models.create(config, key=0))
    assert [tower.blocks[0].attention.drop.p for tower in (model.text, model.vision)] == [0.25, 0.25]
    assert model.vision.pooler.attention.drop is None  # as the hub's


@pytest.mark.parametrize(
    "name", ["siglip_base_patch16_224", "siglip_so400m_patch14_384", "siglip2_base_patch16_256"]
)  # fmt: skip
def test_sizes_are_the_published_ones(name):
    """As big_vision's tables have them, in millions; to the last one as the hub's class, of which nothing is drawn."""
    millions = {"siglip_base_patch16_224": 203, "siglip_so400m_patch14_384": 878, "siglip2_base_patch16_256": 375}
    model = px.eval_shape(lambda: px.models.create(name, key=0))
    count = sum(x.size for x in px.split(model)[0].values())
    assert round(count / 1e6) == millions[name]
    entries = {k: v for k, v in model.config.to_dict().items() if k.endswith("_config")}
    with torch.device("meta"):
        theirs = transformers.SiglipModel(transformers.SiglipConfig(**entries))
    assert count == sum(p.numel() for p in theirs.parameters())


def test_the_plain_siglip_2_is_read_by_the_same_name():
    """Its folders name the type ``siglip``; those for images of any size do not."""
    entries = {
        "architectures": ["SiglipModel"], "model_type": "siglip", "initializer_factor": 1.0,
        "text_config": {"model_type": "siglip_text_model", "vocab_size": 256000, "projection_size": 768},
        "vision_config": {"model_type": "siglip_vision_model", "image_size": 256},
    }  # fmt: skip
    config = px.models.SiglipConfig.from_dict(entries)
    assert config.text_config.vocab_size == 256000
    assert px.models.list("siglip2_*patch16*")[0] == "siglip2_base_patch16_224"
