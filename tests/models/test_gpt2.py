"""GPT-2 beside the hub's."""

import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from hub import covered, there_again, tiny
from hub_text import compare, padded, step_by_step, tokens
from kit import oracle

transformers = oracle("transformers")
SMALL = {"vocab_size": 40, "n_positions": 16, "n_embd": 16, "n_layer": 2, "n_head": 4, "initializer_range": 0.3}


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gpt2")
    theirs = tiny(transformers.GPT2LMHeadModel, transformers.GPT2Config(**SMALL), folder)
    return theirs, px.models.load(folder)


def test_answers_and_learns_as_the_hub_s(pair):
    theirs, ours = pair
    covered(ours)
    compare(ours, theirs, tokens(2, 7, 40), dtype="float64", mask=padded([7, 4], 7))


def test_positions_count_what_counts(pair):
    theirs, ours = pair
    mask = padded([7, 4], 7, "left")
    places = {"position_ids": np.maximum(np.cumsum(mask, 1) - 1, 0)}  # as generating gives them there
    compare(ours, theirs, tokens(2, 7, 40), dtype="float32", learn=False, mask=mask, options=places)


def test_packed_texts_are_as_they_are_alone(pair):
    theirs, ours = pair
    segments = np.array([[1] * 4 + [2] * 5, [7] * 8 + [3]])
    places = np.array([[0, 1, 2, 3, 0, 1, 2, 3, 4], [0, 1, 2, 3, 4, 5, 6, 7, 0]])
    options = {"position_ids": places, "use_cache": False}  # from which theirs tells texts apart
    compare(ours, theirs, tokens(2, 9, 40), dtype="float64", learn=False, given={"segments": segments}, options=options)


def test_a_cache_changes_no_score(pair):
    assert step_by_step(pair[1], tokens(2, 10, 40), lengths=[5, 3], chunks=[1, 2, 1]) <= 1e-12


def test_a_text_beyond_the_table_is_refused(pair):
    with pytest.raises(px.RangeError, match="GPT2 expects at most 16 tokens, got 17"):
        pair[1](tokens(1, 17, 40))
    with pytest.raises(px.RangeError, match="n_layer"):
        px.models.GPT2Config.from_dict({"n_layer": 1 << 20})
    with pytest.raises(px.RangeError, match="scale_attn_by_inverse_layer_idx = False"):
        px.models.GPT2Config.from_dict({"scale_attn_by_inverse_layer_idx": True})


@pytest.mark.parametrize(("task", "name"), [("text-classification", "Sequence"), ("token-classification", "Token")])
def test_heads_and_an_odd_config(task, name, tmp_path):
    cls = getattr(transformers, f"GPT2For{name}Classification")
    options = {"n_inner": 24, "activation_function": "relu", "layer_norm_epsilon": 0.1, "n_layer": 1}
    theirs = tiny(cls, transformers.GPT2Config(**SMALL | options, num_labels=3, pad_token_id=0), tmp_path)
    ours, x, mask = px.models.load(tmp_path), tokens(2, 7, 40), padded([7, 4], 7)
    assert ours.config.task == task
    compare(ours, theirs, np.where(mask, x, 0), dtype="float64", learn=False, mask=mask)


def test_written_here_and_loaded_there(pair, tmp_path):
    import torch

    theirs, ours = pair
    x = tokens(2, 7, 40)
    again = there_again(ours, transformers.GPT2LMHeadModel, tmp_path)
    assert (again(torch.tensor(x).long()).logits == theirs(torch.tensor(x).long()).logits).all()
    trunk = transformers.GPT2Model.from_pretrained(tmp_path)
    trunk.save_pretrained(tmp_path / "trunk")  # whose names lack what stands before them here, as the published have
    bare = px.models.load(tmp_path / "trunk")
    assert bare.config.task == "feature-extraction"
    assert (bare.blocks[1].mlp.layers[1].weight == ours.blocks[1].mlp.layers[1].weight).all()
    assert (bare.blocks[1].attention.k_proj.bias == ours.blocks[1].attention.k_proj.bias).all()


def test_fresh_weights_are_as_wide_as_the_hub_s():
    wide = {"n_embd": 64, "n_positions": 64, "vocab_size": 100}
    theirs = transformers.GPT2LMHeadModel(transformers.GPT2Config(**SMALL | wide)).state_dict()
    with px.seed(0):
        ours = px.models.create(px.models.GPT2Config(**SMALL | wide))
    for name, x in px.models.names(ours, "transformers").to_theirs(ours).items():
        want, x = float(theirs[name].std()), np.asarray(x)
        assert abs(x.std() - want) <= 0.05 * want, name
        assert x.ndim > 1 or (x == theirs[name].numpy()).all(), name


def test_embeddings_weights_of_attention_and_branches_are_dropped_in_training():
    rates = {"resid_pdrop": 0.5, "embd_pdrop": 0.5, "attn_pdrop": 0.5, "classifier_dropout": 0.5}
    config = px.models.GPT2Config(**SMALL | rates, task="token-classification")

    @px.jit
    def run(model, x):
        block, features = model.blocks[0], model.embed(x, jnp.zeros_like(x))
        blank = px.copy(block)
        blank.attention.out_proj.weight = 0 * blank.attention.out_proj.weight
        return (
            features,
            block.attention(features),
            blank(features) - features,
            block.drop(features),
            model.drop(features),
        )

    with px.seed(0):
        model = px.models.create(config)
    embed = model.embed
    embedded, attended, grown, *dropped = map(np.asarray, run(px.trainmode(px.copy(model)), jnp.full((400, 1), 3)))
    zeros = lambda a: float(np.mean(a == 0))  # noqa: E731
    assert abs(zeros(embedded) - 0.5) < 0.05
    kept = np.broadcast_to(2 * (embed.tokens.weight[3] + embed.positions.weight[0]), embedded.shape)
    np.testing.assert_allclose(embedded[embedded != 0], kept[embedded != 0], rtol=1e-5)
    assert abs(zeros(attended.sum(-1)) - 1 / 16) < 0.03  # of four heads, each has one weight to lose
    assert abs(zeros(grown) - 0.5) < 0.05
    for twice in dropped:
        assert abs(zeros(twice) - 0.75) < 0.05


def test_counts_of_weights():
    counts = {
        "gpt2": 124_439_808, "gpt2_medium": 354_823_168, "gpt2_large": 774_030_080, "gpt2_xl": 1_557_611_200,
        "distilgpt2": 81_912_576,
    }  # fmt: skip
    for name, count in counts.items():
        model = px.eval_shape(lambda name=name: px.models.create(name))
        weights = [x for x in px.paths(model).values() if jnp.issubdtype(x.dtype, jnp.floating)]
        assert sum(x.size for x in weights) == count
