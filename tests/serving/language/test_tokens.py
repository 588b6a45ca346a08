"""Texts of the engine beside px.generate's: families, draws, company, prefixes, slots taken away, adapters."""

import asyncio
import threading
from dataclasses import replace

import jax
import numpy as np
import pytest

import phlox as px
from phlox.serving import Asked, LanguageEngine
from serving.language.gate import Gate
from serving.language.near import next_scores, same_but_for_ties

SMALL = {
    "vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "initializer_range": 0.3, "max_position_embeddings": 160, "eos_token_id": 17,
}  # fmt: skip
EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
FAMILIES = {
    "gpt2": px.models.GPT2Config(
        vocab_size=40, n_positions=160, n_embd=16, n_layer=2, n_head=4, initializer_range=0.3, eos_token_id=17,
        bos_token_id=2,
    ),
}  # fmt: skip
MORE = {
    "mistral": px.models.MistralConfig(**SMALL, sliding_window=4),
    "llama": px.models.LlamaConfig(**SMALL),
    "gemma2": px.models.Gemma2Config(**SMALL, head_dim=8, sliding_window=5, query_pre_attn_scalar=8),
    "gemma3": px.models.Gemma3Config(
        **SMALL, head_dim=8, sliding_window=5, layer_types=("sliding_attention", "full_attention")
    ),
    "mixtral": px.models.MixtralConfig(**SMALL, num_local_experts=4, num_experts_per_tok=2),
    "qwen2": px.models.Qwen2Config(**SMALL),
    "qwen3": px.models.Qwen3Config(**SMALL, head_dim=4),
    "phi3": px.models.Phi3Config(**SMALL),
    "qwen3_moe": px.models.Qwen3MoeConfig(
        **SMALL, head_dim=4, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=12
    ),
}  # fmt: skip
DRAWN = {"temperature": 1.1, "top_k": 12, "top_p": 0.9, "min_p": 0.02}


@pytest.fixture(scope="module")
def llama():
    """One that only a bias or a stop ends."""
    return px.models.create(px.models.LlamaConfig(**{**SMALL, "eos_token_id": None}), key=jax.random.key(3))


@pytest.fixture(scope="module")
def engine(llama):
    with LanguageEngine(llama, slots=2, chunk=16) as made:
        yield made


def prompts(count, longest=50, seed=0):
    drawn = np.random.default_rng(seed)
    return [tuple(drawn.integers(0, 40, drawn.integers(1, longest)).tolist()) for _ in range(count)]


def tokens(running):
    """All tokens of a text; every piece but the last goes on."""
    pieces = list(running)
    assert all(piece.finish is None for piece in pieces[:-1])
    return [piece.token for piece in pieces]


def alone(model, asked):
    """What px.generate writes, and the scores that each of its tokens was chosen by."""
    names = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")
    options = {name: getattr(asked, name) for name in names}
    return px.generate(model, [list(asked.prompt)], max_new=asked.max_new, key=asked.seed, **options).texts()[0]


def check(model, asked, found):
    """Equal tokens, up to where the two best scores are closer than rounding tells."""
    expected = alone(model, asked)
    assert same_but_for_ties(model, asked, found, expected), (found, expected)


def in_company(config):
    """Six texts of a model, half of them drawn, over three slots."""
    model = px.models.create(config, key=jax.random.key(3))
    several = [  # few lengths, for each costs px.generate a program
        Asked(prompt=prompt, max_new=17 + i, client=str(i % 2), seed=i, **(DRAWN if i % 2 else {}))
        for i, prompt in enumerate(prompts(6, longest=17))
    ]
    with LanguageEngine(model, slots=3, chunk=16) as engine:
        for one, text in zip(several, [engine.submit(one) for one in several], strict=True):
            check(model, one, tokens(text))


@pytest.mark.parametrize("name", FAMILIES)
def test_tokens_are_those_of_generate_in_any_company(name):
    in_company(FAMILIES[name])


@pytest.mark.soak
@pytest.mark.parametrize("name", MORE)
def test_tokens_of_more_families(name):
    in_company(MORE[name])


def test_a_prefix_is_read_once_and_tokens_stay(llama, engine):
    first, other = prompts(1, seed=9)[0] * 4, (5, 6, 7)
    assert len(first) > 64  # more than a block
    before = Asked(prompt=first, max_new=6)
    check(llama, before, tokens(engine.submit(before)))
    told = engine.statistics()
    for prompt in ((*first, *other), first[:-1], (*first[:40], *other)):
        after = Asked(prompt=prompt, max_new=6, temperature=1.0, seed=4)
        check(llama, after, tokens(engine.submit(after)))
    assert engine.statistics().reused - told.reused == len(first) + len(first) - 2 + 40
    together = [Asked(prompt=(*first, 1, i), max_new=5) for i in range(2)]
    for one, text in zip(together, [engine.submit(one) for one in together], strict=True):
        check(llama, one, tokens(text))
    assert engine.statistics().read - told.read < 6 * 16


def test_a_text_whose_slot_was_taken_away_ends_as_it_would_have(llama, engine):
    before, gate = engine.statistics().preempted, Gate()
    first, second = (Asked(prompt=p, max_new=60, client="a", seed=i, **DRAWN) for i, p in enumerate(prompts(2, 17)))
    with engine._changed:  # both at once
        running = [engine.submit(first), engine.submit(replace(second, constraint=gate))]
    begun = [next(text).token for text in running]
    other = engine.submit(Asked(prompt=(1, 2, 3), max_new=4, client="b"))
    gate.open()
    check(llama, Asked(prompt=(1, 2, 3), max_new=4), tokens(other))
    for one, text, token in zip((first, second), running, begun, strict=True):
        check(llama, one, [token, *tokens(text)])
    assert engine.statistics().preempted == before + 1


def test_penalties_and_bias_by_their_definition(llama, engine):
    options = {
        "repetition_penalty": 1.3,
        "presence_penalty": 0.7,
        "frequency_penalty": 0.4,
        "bias": {3: 2.0, 17: -50.0},
    }
    for seed, prompt in enumerate(prompts(3, 12)):
        asked = Asked(prompt=prompt, max_new=14, temperature=0.9, seed=seed, **options)
        key, text = jax.random.split(jax.random.key(seed), 1)[0], list(prompt)
        for token in tokens(engine.submit(asked)):
            scores = next_scores(llama, text)
            seen = np.isin(np.arange(40), text)
            scores = np.where(seen, np.where(scores > 0, scores / 1.3, scores * 1.3), scores)
            times = np.bincount(text[len(prompt) :], minlength=40)
            scores = (
                scores - 0.7 * (times > 0) - 0.4 * times + 2.0 * (np.arange(40) == 3) - 50.0 * (np.arange(40) == 17)
            )
            key, drawing = jax.random.split(key)
            assert int(jax.random.categorical(drawing, scores / 0.9)) == token
            text.append(token)


def test_log_probabilities_are_the_models(llama, engine):
    asked = Asked(prompt=(4, 9), max_new=5, logprobs=3, temperature=0.8, seed=1)
    silent = engine.submit(Asked(prompt=(7,), max_new=9))
    pieces, beside = list(engine.submit(asked)), list(silent)
    assert all(piece.logprob is None and piece.best == () for piece in beside)
    text = list(asked.prompt)
    for piece in pieces:
        said = np.asarray(jax.nn.log_softmax(next_scores(llama, text)))
        np.testing.assert_allclose(piece.logprob, said[piece.token], atol=1e-5)
        order = np.argsort(-said)[:3]
        assert [token for token, _ in piece.best] == order.tolist()
        np.testing.assert_allclose([value for _, value in piece.best], said[order], atol=1e-5)
        text.append(piece.token)


def test_stops_of_several_tokens(engine):
    free = tokens(engine.submit(Asked(prompt=(1, 2), max_new=20)))
    stopped = list(engine.submit(Asked(prompt=(1, 2), max_new=20, stop=((39, 39), tuple(free[3:5])))))
    assert [piece.token for piece in stopped] == free[: len(stopped)]
    assert tuple(piece.token for piece in stopped[-2:]) == tuple(free[3:5])
    assert stopped[-1].finish == "stop"


class Even:
    """Even tokens only, four of them."""

    def __init__(self):
        self.taken = []

    def mask(self):
        return np.arange(38) % 2 == 0  # of a tokenizer that has fewer tokens than the model

    def take(self, token):
        self.taken.append(token)

    @property
    def done(self):
        return len(self.taken) == 4


def test_a_constraint_says_what_may_come_and_when_it_is_done(llama, engine):
    even, plain = Even(), Asked(prompt=(3, 3), max_new=8)
    beside = engine.submit(plain)
    pieces = list(engine.submit(Asked(prompt=(3, 3), max_new=8, constraint=even)))
    check(llama, plain, tokens(beside))
    assert [piece.token for piece in pieces] == even.taken
    assert len(even.taken) == 4
    assert pieces[-1].finish == "stop"
    text = [3, 3]
    for token in even.taken:
        scores = next_scores(llama, text)
        scores[1::2] = scores[38:] = -np.inf
        assert token == scores.argmax()
        text.append(token)


def test_adapters_are_switched_from_text_to_text(llama, tmp_path):
    model, folders = llama, {}
    for seed, name in enumerate(("red", "blue")):
        with px.seed(seed):
            adapted = px.adapt.lora(px.copy(model), rank=2, where=("**.q_proj", "**.v_proj"))
        for path, array in px.paths(adapted).items():
            if path.endswith(".b"):
                px.set_at(adapted, path, array + 0.5 * jax.random.normal(jax.random.key(seed), array.shape))
        folders[name] = tmp_path / name
        px.adapt.save(adapted, folders[name])
    models = {None: model, **{name: px.adapt.load(px.copy(model), folder) for name, folder in folders.items()}}
    prompt = prompts(1, seed=2)[0]
    asked = [Asked(prompt=prompt, max_new=9, adapter=name) for name in (None, "red", "blue", "red", None)]
    assert len({tuple(alone(models[one.adapter], one)) for one in asked}) == 3
    with LanguageEngine(model, slots=2, chunk=16, adapters=folders) as engine:
        assert engine.adapters == ("red", "blue")
        for one, text in zip(asked, [engine.submit(one) for one in asked], strict=True):
            check(models[one.adapter], one, tokens(text))


def test_who_cancels_leaves_the_others_alone(llama, engine):
    kept, gate = Asked(prompt=(1, 2, 3), max_new=40), Gate()
    left = engine.submit(Asked(prompt=(4, 5), max_new=90, constraint=gate))
    first = next(left)
    running, waiting = engine.submit(kept), engine.submit(Asked(prompt=(9,), max_new=90))
    waiting.cancel()
    left.cancel()
    gate.open()
    assert [piece.finish for piece in (first, *left)] == [None, "cancelled"]
    assert [(piece.token, piece.finish) for piece in waiting] == [(-1, "cancelled")]
    check(llama, kept, tokens(running))
    left.cancel()  # again: nothing happens
    late = list(engine.submit(Asked(prompt=(4, 5), max_new=90, deadline=0.0)))
    assert [(piece.token, piece.finish) for piece in late] == [(-1, "cancelled")]
    assert engine.statistics().running == 0


def test_pieces_come_to_an_event_loop_too(llama, engine):
    async def ask(engine, asked):
        return [piece.token async for piece in engine.submit(asked)]

    async def both(engine, several):
        return await asyncio.gather(*(ask(engine, one) for one in several))

    several = [Asked(prompt=prompt, max_new=6, seed=i, **DRAWN) for i, prompt in enumerate(prompts(4, 17))]
    for one, found in zip(several, asyncio.run(both(engine, several)), strict=True):
        check(llama, one, found)


def test_clients_in_threads(llama, engine):
    several = [Asked(prompt=p, max_new=8, client=str(i), seed=i, **DRAWN) for i, p in enumerate(prompts(6, 17, seed=5))]
    found = {}

    def client(i):
        found[i] = tokens(engine.submit(several[i]))

    threads = [threading.Thread(target=client, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, one in enumerate(several):
        check(llama, one, found[i])
