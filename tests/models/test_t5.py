"""T5 beside the hub's."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from hub import covered, there_again, tiny
from hub_seq2seq import compare, step_by_step
from hub_text import compare as compare_encoders
from hub_text import padded, tokens
from kit import oracle

transformers = oracle("transformers")
SMALL = {
    "vocab_size": 40, "d_model": 16, "d_kv": 4, "d_ff": 12, "num_layers": 2, "num_heads": 3,
    "relative_attention_num_buckets": 12, "relative_attention_max_distance": 7, "decoder_start_token_id": 0,
}  # fmt: skip
X, Y = tokens(2, 9, 40), tokens(2, 11, 40, seed=1)
MASK, DECODER_MASK = padded([9, 6], 9), padded([7, 11], 11)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("t5")
    theirs = tiny(transformers.T5ForConditionalGeneration, transformers.T5Config(**SMALL), folder)
    return theirs, px.models.load(folder)


def test_answers_and_learns_as_the_hub_s(pair):
    theirs, ours = pair
    covered(ours)
    compare(ours, theirs, X, Y, dtype="float64", mask=MASK, decoder_mask=DECODER_MASK)


def test_in_float32(pair):
    theirs, ours = pair
    masks = {"mask": MASK[:, ::-1].copy(), "decoder_mask": DECODER_MASK[:, ::-1].copy()}
    compare(ours, theirs, X, Y, dtype="float32", learn=False, **masks)


def test_a_cache_and_a_memory_that_is_kept_change_no_score(pair):
    assert step_by_step(pair[1], X, MASK, Y, lengths=[5, 3], chunks=[2, 2]) <= 1e-12


def own_head(config):
    """A model of theirs with a head of its own, as the files of 1.1 have it."""
    import torch

    theirs = transformers.T5ForConditionalGeneration(config)
    theirs.lm_head.weight = torch.nn.Parameter(torch.randn(theirs.lm_head.weight.shape))
    return theirs


GATED = {"feed_forward_proj": "gated-gelu", "num_layers": 2, "num_decoder_layers": 1, "tie_word_embeddings": False}


def test_gated_features_and_a_head_of_its_own(tmp_path):
    theirs = tiny(own_head, transformers.T5Config(**SMALL | GATED), tmp_path)
    ours = px.models.load(tmp_path)
    assert (ours.config.tie_word_embeddings, ours.config.scale_decoder_outputs) == (False, False)
    compare(ours, theirs, X, Y, dtype="float64", learn=False, mask=MASK, decoder_mask=DECODER_MASK)
    again = there_again(ours, transformers.T5ForConditionalGeneration, tmp_path)
    assert all((again.state_dict()[name] == x).all() for name, x in theirs.state_dict().items())
    assert not again.config.scale_decoder_outputs
    assert px.models.load(tmp_path).config == ours.config


def test_the_encoder_alone(pair, tmp_path):
    config = transformers.T5Config(**SMALL | {"feed_forward_proj": "gated-silu", "num_layers": 1})
    theirs = tiny(transformers.T5EncoderModel, config, tmp_path)
    ours = px.models.load(tmp_path)
    assert ours.decoder is None
    covered(ours)
    compare_encoders(ours, theirs, X, dtype="float64", learn=False, mask=MASK)
    assert px.models.load(tmp_path).config == ours.config
    there_again(pair[1], transformers.T5ForConditionalGeneration, tmp_path)
    part = px.models.load(tmp_path, task="feature-extraction")
    arrays = px.state_dict(pair[1])
    assert part.decoder is None
    assert all((x == arrays[path]).all() for path, x in px.state_dict(part).items() if not path.endswith("key"))
    there_again(part, transformers.T5EncoderModel, tmp_path)


def test_written_here_and_loaded_there(pair, tmp_path):
    import torch

    theirs, ours = pair
    again = there_again(ours, transformers.T5ForConditionalGeneration, tmp_path)
    x, y = torch.tensor(X).long(), torch.tensor(Y).long()
    assert (again(input_ids=x, decoder_input_ids=y).logits == theirs(input_ids=x, decoder_input_ids=y).logits).all()
    assert px.models.load(tmp_path).config == ours.config


def test_a_tied_head_without_scaling_comes_back(pair, tmp_path):
    ours = px.copy(pair[1])
    ours.config = config = dataclasses.replace(ours.config, scale_decoder_outputs=False)
    there_again(ours, transformers.T5ForConditionalGeneration, tmp_path)
    again = px.models.load(tmp_path)
    assert again.config == config
    assert again.head is None


def test_packed_texts_are_as_they_are_alone(pair):
    @px.jit
    def both(model, x, y):
        sides = {"segments": np.array([[1] * 4 + [2] * 5]), "decoder_segments": np.array([[1] * 6 + [2] * 5])}
        return model(x, y, **sides)[:, 6:], model(x[:, 4:], y[:, 6:])

    np.testing.assert_allclose(*both(pair[1], X[:1], Y[:1]), rtol=1e-4, atol=1e-4)


def test_the_decoder_reads_what_it_writes_one_later(pair):
    import torch

    theirs, ours = pair
    targets = np.where(DECODER_MASK, Y, -100)
    np.testing.assert_array_equal(ours.shift_right(targets), theirs._shift_right(torch.tensor(targets)))


def test_dropout_where_it_is_published(pair):
    ours = px.copy(pair[1])
    reads, writes = ours.encoder.blocks[0], ours.decoder.blocks[0]
    drops = [reads.dropout1, reads.dropout2, writes.drop, writes.cross.drop, ours.encoder.drop, ours.decoder.drop]
    drops += [drop for block in (reads, writes) for drop in (block.attention.drop, block.mlp.layers[1])]
    assert [drop.p for drop in drops] == [0.1] * 10
    reads.dropout1 = reads.dropout2 = writes.drop = lambda x: 0 * x
    ours.encoder.drop = ours.decoder.drop = lambda x: 0 * x + 1
    ours.encoder.blocks, ours.decoder.blocks = [reads], [writes]
    kept = (jnp.ones((1, 2, 3, 4)), jnp.ones((1, 2, 3, 4)))

    @px.jit
    def seen(model, x):
        reads, writes = model.encoder.blocks[0], model.decoder.blocks[0]
        states = model.encoder.hidden_states(X), model.decoder.hidden_states(Y, jnp.ones((2, 9, 16)))
        ends = [state for side in states for state in (side[0], side[-1])]
        return [reads(x) - x, writes(x, kept) - x, *(end - 1 for end in ends)]

    assert not any(np.asarray(x).any() for x in seen(ours, jnp.ones((1, 3, 16))))


def test_fresh_weights_have_the_published_spread():
    sizes = {"d_model": 64, "d_kv": 16, "d_ff": 48, "num_heads": 8, "num_layers": 1, "vocab_size": 500}
    model = px.models.create(px.models.T5Config(**sizes, initializer_factor=0.5), key=0)
    for block in (model.encoder.blocks[0], model.decoder.blocks[0]):
        attention, (into, _, back) = block.attention, block.mlp.layers
        spreads = {
            attention.q_proj: (64 * 16) ** -0.5, attention.k_proj: 64**-0.5, attention.v_proj: 64**-0.5,
            attention.out_proj: 128**-0.5, into: 64**-0.5, back: 48**-0.5,
        }  # fmt: skip
        for layer, wanted in spreads.items():
            assert np.std(layer.weight) == pytest.approx(0.5 * wanted, rel=0.05)
    assert np.std(model.embed.weight) == pytest.approx(0.5, rel=0.05)


def test_mistakes_are_named(pair):
    ours = pair[1]
    with pytest.raises(px.RangeError, match="decoder_tokens \\(batch, time\\)"):
        ours(X)
    reads = px.eval_shape(lambda: px.models.create(ours.config, task="feature-extraction"))
    with pytest.raises(px.RangeError, match="a model with a decoder"):
        reads.decode(Y, jnp.ones((2, 9, 16)))
    with pytest.raises(px.RangeError, match="no mask of the tokens beside a cache"):
        ours.decode(Y, jnp.ones((2, 9, 16)), mask=DECODER_MASK, cache=ours.init_cache(2, 20))
    with pytest.raises(px.RangeError, match="a memory for 2 blocks"):
        ours.decode(Y, ours.remember(jnp.ones((2, 9, 16)))[:1])
    with pytest.raises(px.ShapeError, match=r"a mask of the memory, \(2, 9\)"):
        ours.decode(Y, jnp.ones((2, 9, 16)), DECODER_MASK)
    with pytest.raises(px.RangeError, match="segments and decoder_segments"):
        ours(X, Y, segments=MASK)
    with pytest.raises(px.ShapeError, match=r"decoder_segments \(2, 11\)"):
        ours(X, Y, segments=MASK, decoder_segments=MASK)
    with pytest.raises(px.RangeError, match="feed_forward_proj 'relu' or 'gated-gelu'"):
        px.models.T5Config(feed_forward_proj="odd-gelu")


def test_counts_of_weights():
    counts = {
        "t5_small": 60_506_624, "t5_base": 222_903_552, "t5_large": 737_668_096, "t5_3b": 2_851_598_336,
        "t5_11b": 11_307_321_344, "t5_v1_1_xxl": 11_135_332_352, "flan_t5_small": 76_961_152,
        "flan_t5_base": 247_577_856, "flan_t5_large": 783_150_080, "flan_t5_xl": 2_849_757_184,
    }  # fmt: skip
    for name, count in counts.items():
        config = px.models._catalogue.variant(name, "test")
        one, two = (weights(dataclasses.replace(config, num_layers=layers)) for layers in (1, 2))
        assert one + (config.num_layers - 1) * (two - one) == count, name


def weights(config):
    model = px.eval_shape(lambda: px.models.create(config))
    return sum(x.size for x in px.split(model)[0].values())
