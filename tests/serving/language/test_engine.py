"""The engine around its texts: memory told before it starts, limits, failures, ends, and how often it compiles."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest

import phlox as px
from phlox.nn import functional as F
from phlox.nn.inference import PackedDense, _optimize
from phlox.serving import Asked, LanguageEngine
from phlox.serving.language import _preparing, _programs, _sampling
from phlox.serving.language._sampling import NOTHING
from serving.language.gate import Gate

SMALL = {
    "vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "initializer_range": 0.3, "max_position_embeddings": 160, "eos_token_id": None,
}  # fmt: skip


@pytest.fixture(scope="module")
def model():
    return px.models.create(px.models.LlamaConfig(**SMALL), key=jax.random.key(0))


def test_memory_is_told_before_it_is_taken_and_chooses_the_slots(model):
    engine = LanguageEngine(model, slots=3, room=100)
    each = 2 * 2 * 128 * 2 * 4 * 4  # blocks, keys and values, positions in whole blocks, heads, features, bytes
    assert engine.memory == 3 * each
    slots = _programs.Slots(engine._sizes)
    assert sum(array.nbytes for array in px.paths(slots).values()) == engine.memory
    assert LanguageEngine(model, room=100, memory=5 * each + 1).slots == 5
    assert LanguageEngine(model, room=100, memory=5 * each, slots=2).slots == 2
    assert LanguageEngine(model).room == 160
    with pytest.raises(px.loop.NotEnoughMemoryError, match=r"for a slot at least, got memory="):
        LanguageEngine(model, room=100, memory=each - 1)
    with pytest.raises(px.loop.NotEnoughMemoryError, match=r"slots, got .* free"):
        LanguageEngine(model, room=100, slots=1 << 40)


def test_mixed_lengths_compile_nothing_anew(model):
    compiled = []

    def listen(event, seconds, **_):
        if event.endswith("backend_compile_duration"):
            compiled.append(event)

    with LanguageEngine(model, slots=2, chunk=16) as engine:
        list(
            engine.submit(Asked(prompt=(1,), max_new=2, temperature=1.0, seed=0))
        )  # keys of draws are made line by line
        jax.monitoring.register_event_duration_secs_listener(listen)
        try:
            drawn = np.random.default_rng(0)
            running = [
                engine.submit(
                    Asked(
                        prompt=tuple(drawn.integers(0, 40, drawn.integers(1, 70)).tolist()),
                        max_new=int(drawn.integers(1, 40)),
                        temperature=float(i % 2), top_k=[None, 3][i % 3 == 0], top_p=[None, 0.7][i % 4 == 0], seed=i,
                        repetition_penalty=[1.0, 1.2][i % 5 == 0], logprobs=[None, 2][i % 7 == 0], client=str(i % 3),
                    )
                )
                for i in range(12)
            ]  # fmt: skip
            for text in running:
                list(text)
        finally:
            jax.monitoring.unregister_event_duration_listener(listen)
    assert compiled == []


def test_what_is_refused(model):
    engine = LanguageEngine(model, slots=2, chunk=16, waiting=1, per_client=2)
    with pytest.raises(px.serving.UnavailableError, match=r"got one that was not started\n  fix: call start"):
        engine.submit(Asked(prompt=(1,), max_new=2))
    with engine:
        with pytest.raises(px.RangeError, match=r"at most 160 tokens, got 3 and 158 new\n  fix: pass max_new=157"):
            engine.submit(Asked(prompt=(1, 2, 3), max_new=158))
        with pytest.raises(px.OptionError, match=r"an adapter among none, got 'x'"):
            engine.submit(Asked(prompt=(1,), max_new=2, adapter="x"))
        gate = Gate()
        texts = [engine.submit(Asked(prompt=(1,), max_new=159, client="a", constraint=gate))]
        next(texts[0])
        texts.append(engine.submit(Asked(prompt=(1,), max_new=159, client="a")))
        with pytest.raises(px.serving.QueueFullError, match="at most 2 texts of a client at a time, got a"):
            engine.submit(Asked(prompt=(1,), max_new=3, client="a"))
        with pytest.raises(px.serving.QueueFullError, match="at most 1 texts that wait"):
            engine.submit(Asked(prompt=(1,), max_new=3, client="b"))
        assert engine.statistics().refused == 2
        for text in texts:
            text.cancel()
        gate.open()
    assert [list(text)[-1].finish for text in texts] == ["cancelled"] * 2
    with pytest.raises(px.serving.UnavailableError, match="got one that is closed"):
        engine.submit(Asked(prompt=(1,), max_new=2))


def test_closing_may_finish_what_is_written(model):
    engine = LanguageEngine(model, slots=2, chunk=16).start()
    texts = [engine.submit(Asked(prompt=(i,), max_new=30)) for i in range(3)]
    engine.close(finish=True)
    assert [len(list(text)) for text in texts] == [30, 30, 30]


def test_who_leaves_is_told_at_once(model):
    gate = Gate()
    with LanguageEngine(model, slots=1, chunk=16) as engine:
        held = engine.submit(Asked(prompt=(1,), max_new=9, constraint=gate))
        next(held)  # and the second waits for the gate
        held.cancel()
        told = len(held._pieces)
        gate.open()
        assert told == 1


class Fails:
    """A constraint whose code fails at its second token."""

    done = False

    def __init__(self):
        self.count = 0

    def mask(self):
        self.count += 1
        if self.count == 2:
            raise ArithmeticError("no grammar")
        return np.ones(40, bool)

    def take(self, token):
        pass


def test_an_error_ends_its_text_and_not_the_engine(model):
    asked = Asked(prompt=(5, 6), max_new=7)
    with LanguageEngine(model, slots=2, chunk=16) as engine:
        failing = engine.submit(Asked(prompt=(1,), max_new=9, constraint=Fails()))
        beside = engine.submit(asked)
        next(failing)
        with pytest.raises(px.serving.ModelFailedError, match="got ArithmeticError: no grammar"):
            next(failing)
        assert list(failing) == []
        expected = px.generate(model, [[5, 6]], max_new=7).texts()[0]
        assert [piece.token for piece in beside] == expected
        assert [piece.token for piece in engine.submit(asked)] == expected


def test_a_call_that_fails_ends_what_has_slots_and_the_next_texts_are_right(model, monkeypatch):
    asked = Asked(prompt=tuple(range(30)), max_new=7)
    with LanguageEngine(model, slots=2, chunk=16) as engine:
        list(engine.submit(asked))
        step = engine._programs.step

        def fails(*args):
            engine._programs.slots = None
            monkeypatch.setattr(engine._programs, "step", step)
            raise MemoryError("none left")

        monkeypatch.setattr(engine._programs, "step", fails)
        with pytest.raises(px.serving.ModelFailedError, match="got MemoryError: none left"):
            list(engine.submit(asked))
        expected = px.generate(model, [list(range(30))], max_new=7).texts()[0]
        assert [piece.token for piece in engine.submit(asked)] == expected


def test_weights_are_laid_out_where_nothing_is_against_it(model, monkeypatch):
    monkeypatch.setattr(_optimize, "maps_packed", lambda dtype: dtype == jax.numpy.float32)
    monkeypatch.setattr(_optimize, "_SMALL", 0)
    laid = lambda engine: any(isinstance(layer, PackedDense) for layer in px.modules(engine.model).values())  # noqa: E731
    assert laid(LanguageEngine(model, slots=1))
    assert not laid(LanguageEngine(model, slots=1, adapters={"x": model}))
    size = sum(array.nbytes for array in px.paths(model).values())
    monkeypatch.setattr(_preparing, "available_memory", lambda: size)
    assert laid(LanguageEngine(model, slots=1))
    monkeypatch.setattr(_preparing, "available_memory", lambda: size - 1)
    assert not laid(LanguageEngine(model, slots=1))
    assert not laid(SimpleNamespace(model=model))  # it stays as it is


def test_vectors_of_texts(model):
    with LanguageEngine(model, slots=2, chunk=16) as engine:
        found = engine.embed((4, 5, 6)).result(60)
        with pytest.raises(px.RangeError, match="a prompt of at least one token"):
            engine.embed(())
    np.testing.assert_allclose(found, model.encode(np.array([[4, 5, 6]]))[0], atol=1e-5)


def test_models_that_slots_do_not_suit(model):
    with pytest.raises(px.RangeError, match="a decoder that scores the next token, got Dense"):
        LanguageEngine(px.Dense(2, 2))
    with pytest.raises(px.RangeError, match="adapters that change layers, got a prefix"):
        LanguageEngine(px.adapt.prefix(px.copy(model), length=2, key=0))
    scaling = {"rope_type": "dynamic", "factor": 2.0, "original_max_position_embeddings": 64}
    stretched = px.models.create(px.models.LlamaConfig(**SMALL, rope_scaling=scaling), key=0)
    with pytest.raises(px.RangeError, match=r"room for at most 64 tokens, .*, got 160\n  fix: pass room=64"):
        LanguageEngine(stretched)
    assert LanguageEngine(stretched, room=64).room == 64
    with pytest.raises(px.RangeError, match="room for at most 160 tokens, got 161"):
        LanguageEngine(model, room=161)


def test_the_likeliest_is_the_first_of_the_largest_and_nan_before_all():
    scores = np.random.default_rng(0).integers(-3, 3, (30, 12)).astype(np.float32)
    scores[0, 7] = scores[1, 3] = scores[1, 9] = np.nan
    scores[2], scores[3] = -np.inf, np.inf
    np.testing.assert_array_equal(_sampling._likeliest(jax.numpy.asarray(scores)), scores.argmax(-1))


@pytest.mark.parametrize("ties", [False, True])
def test_cuts_are_those_of_the_functions(ties):
    scores = np.random.default_rng(0).normal(size=(4, 40)).astype(np.float32)
    scores = np.round(2 * scores) / 2 if ties else scores
    k, p = np.array([0, 5, 3, 40], np.int32), np.array([0.8, 1.0, 0.5, 0.0], np.float32)
    rules = NOTHING._replace(top_k=k, top_p=p)
    expected = [
        F.keep_top_p(F.keep_top_k(row, int(n or 40)), share) for row, n, share in zip(scores, k, p, strict=True)
    ]
    np.testing.assert_array_equal(_sampling._cut(jax.numpy.asarray(scores), rules), expected)
