"""The engine turn by turn: random clients join, leave, cancel and ask for nonsense, and get px.generate's tokens."""

import functools
from collections import Counter

import jax
import numpy as np
import pytest
from hypothesis import settings, stateful
from hypothesis import strategies as st

import phlox as px
from phlox.serving import Asked, LanguageEngine
from serving.language.near import same_but_for_ties

CONFIG = px.models.LlamaConfig(
    vocab_size=40, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=4,
    num_key_value_heads=2, initializer_range=0.3, max_position_embeddings=160, eos_token_id=None,
)  # fmt: skip
SLOTS, CHUNK, WAITING, EACH, LONGEST = 2, 16, 5, 3, 12
DRAWN = {"temperature": 1.1, "top_k": 12, "top_p": 0.9}
NONSENSE = (
    {"prompt": ()}, {"prompt": (40,)}, {"prompt": (-1,)}, {"prompt": (1,) * 160}, {"max_new": 0}, {"top_p": 1.5},
    {"adapter": "y"}, {"temperature": float("nan")}, {"bias": {40: 1.0}}, {"stop": ((),)}, {"seed": 1.5},
)  # fmt: skip
HAPPENED = Counter()  # in all scripts of a test


def prompts():
    """Four that begin alike, and a short one."""
    drawn = np.random.default_rng(4)
    base, other = drawn.integers(0, 40, 60).tolist(), drawn.integers(0, 40, 60).tolist()
    return [tuple(base[:one] + other[:two]) for one, two in ((40, 0), (40, 5), (25, 20), (60, 0), (3, 0))]


PROMPTS = prompts()
OF_ONE_LENGTH = (1, 2)  # each length of a prompt that is drawn from costs px.generate a program


@functools.cache
def models():
    """A model, and one with other weights in place of an adapter, so that both share programs."""
    created = px.jit(lambda key: px.models.create(CONFIG, key=key))
    return {None: created(jax.random.key(3)), "x": created(jax.random.key(7))}


@functools.cache
def written(adapter, seed):
    """What px.generate writes on from each prompt: the likeliest tokens, or those of a seed."""
    if seed is None:
        return px.generate(models()[adapter], [list(one) for one in PROMPTS], max_new=LONGEST).texts()
    drawn = [list(PROMPTS[i]) for i in OF_ONE_LENGTH]
    texts = [px.generate(models()[adapter], [one], max_new=LONGEST, key=seed, **DRAWN).texts()[0] for one in drawn]
    return dict(zip(OF_ONE_LENGTH, texts, strict=True))


class ByHand(LanguageEngine):
    """An engine whose turns are taken by whoever tests it."""

    def _work(self):
        pass


class Trouble:
    """A constraint that allows all; what it does is done between two calls of the device, before the third token."""

    done = False

    def __init__(self):
        self.left, self.does = 3, None

    def mask(self):
        self.left -= 1
        if not self.left:
            self.does()
        return np.ones(40, bool)

    def take(self, token):
        pass


def fail():
    raise ArithmeticError("no grammar")


class Client:
    """One text: what was asked, what it should become, and what has come of it."""

    def __init__(self, asked, expected, cut):
        self.asked, self.expected, self.cut = asked, expected, cut
        self.running, self.tokens, self.finish = None, [], None

    def read(self):
        """What has come: pieces in order, each once, all but the last without a finish."""
        while self.running._pieces and self.finish is None:
            try:
                piece = next(self.running)
            except px.serving.ModelFailedError:
                self.finish = "failed"
                return
            self.finish = piece.finish
            if piece.token >= 0:
                self.tokens.append(piece.token)
        assert not self.running._pieces

    def check(self):
        """Its tokens are those of px.generate so far, and all of them where it ended by itself."""
        wanted = self.expected[: len(self.tokens)]
        if not same_but_for_ties(models()[self.asked.adapter], self.asked, self.tokens, wanted):
            raise AssertionError(f"{self.asked}\n{self.tokens}\n{self.expected}")
        if self.finish in ("stop", "length") and self.tokens == wanted:
            assert self.tokens == self.expected
            assert self.finish == ("stop" if self.cut else "length")


TEXT = st.fixed_dictionaries(
    {
        "which": st.integers(0, len(PROMPTS) - 1), "new": st.integers(1, LONGEST),
        "adapter": st.sampled_from([None, "x"]), "seed": st.sampled_from([None, None, 1, 2]), "stops": st.booleans(),
        "late": st.sampled_from([False] * 9 + [True]),
        "trouble": st.sampled_from([None] * 6 + ["leaves", "fails"]),
    }
)  # fmt: skip


class Clients(stateful.RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.clients = []
        self.engine = ByHand(
            models()[None], slots=SLOTS, chunk=CHUNK, waiting=WAITING, per_client=EACH, adapters={"x": models()["x"]}
        ).start()

    @property
    def open(self):
        return [one for one in self.clients if one.finish is None]

    @stateful.rule(who=st.sampled_from("abc"), text=TEXT)
    def joins(self, who, text):
        self.asks(who, **text)

    @stateful.rule(whose=st.permutations("abc"), texts=st.tuples(TEXT, TEXT, TEXT), turns=st.integers(1, 6))
    def join_of_whom_one_has_more(self, whose, texts, turns):
        """Two texts of a client, and while they are written one of another, for whom a slot may be taken away."""
        many, one, _ = whose
        for text in texts[:2]:
            self.asks(many, **text)
        self.goes_on(turns)
        self.asks(one, **texts[2])

    def asks(self, who, *, which, new, adapter, seed, stops, late, trouble):
        which = which if seed is None else OF_ONE_LENGTH[which % 2]
        expected = written(adapter, seed)[which][:new]
        stop = (tuple(expected[3:5]),) if stops and new > 5 else ()
        end = next((n for n in range(2, new + 1) if tuple(expected[n - 2 : n]) in stop), None)
        constraint = None if trouble is None else Trouble()
        asked = Asked(
            prompt=PROMPTS[which], max_new=new, adapter=adapter, client=who, seed=seed, stop=stop,
            deadline=0.0 if late else None, constraint=constraint, **({} if seed is None else DRAWN),
        )  # fmt: skip
        made = Client(asked, expected[:end], end is not None)
        for client in self.clients:
            client.read()  # turns within a rule may have ended some
        held = sum(one.asked.client == who for one in self.open)
        if held >= EACH or self.engine.statistics().waiting >= WAITING:
            with pytest.raises(px.serving.QueueFullError):
                self.engine.submit(asked)
            HAPPENED["refused"] += 1
            return
        made.running = self.engine.submit(asked)
        if constraint is not None:
            constraint.does = made.running.cancel if trouble == "leaves" else fail
        self.clients.append(made)

    @stateful.rule(wrong=st.sampled_from(NONSENSE))
    def asks_for_nonsense(self, wrong):
        before = self.engine.statistics()
        with pytest.raises((px.RangeError, px.OptionError)):
            self.engine.submit(Asked(**{"prompt": (1,), "max_new": 2, **wrong}))
        assert self.engine.statistics() == before

    @stateful.precondition(lambda self: self.clients)
    @stateful.rule(data=st.data())
    def cancels(self, data):
        data.draw(st.sampled_from(self.clients)).running.cancel()

    @stateful.rule(turns=st.integers(1, 9))
    def goes_on(self, turns):
        for _ in range(turns):
            if self.engine._busy():
                self.engine._turn()
        self.engine._tell()  # else with the next call of the device

    @stateful.precondition(lambda self: len(self.engine._scheduler.running) == SLOTS)
    @stateful.rule()
    def the_device_fails(self):
        programs = self.engine._programs
        step, feed = programs.step, programs.feed

        def fails(*args):
            programs.slots = None
            raise MemoryError("none left")

        programs.step = programs.feed = fails
        self.engine._turn()
        self.engine._tell()
        programs.step, programs.feed = step, feed
        assert not self.engine._scheduler.running
        HAPPENED["failed"] += 1

    @stateful.invariant()
    def every_token_is_of_its_text(self):
        for client in self.clients:
            client.read()
            client.check()

    @stateful.invariant()
    def no_slot_is_lost(self):
        told, scheduler = self.engine.statistics(), self.engine._scheduler
        for client in self.clients:
            client.read()
        assert told.running + told.waiting == len(self.open) == len(self.engine._texts)
        assert sum(text is None for text in scheduler.slots) == SLOTS - told.running
        assert sorted(text.slot for text in scheduler.running) == [
            slot for slot, text in enumerate(scheduler.slots) if text is not None
        ]

    def teardown(self):
        for _ in range(40 * (len(self.clients) + 1)):
            if not self.engine._busy():
                break
            self.engine._turn()
        self.engine._tell()
        assert not self.engine._busy()  # nobody waits for ever
        told = self.engine.statistics()
        self.engine.close()
        for client in self.clients:
            client.read()
            client.check()
            assert client.finish is not None
            HAPPENED[client.finish] += 1
            HAPPENED["adapter"] += client.asked.adapter is not None
        HAPPENED.update(preempted=told.preempted, reused=told.reused)
        assert (told.running, told.waiting) == (0, 0)


def run(examples, steps):
    """So many scripts; each kind of event must have come up in them."""
    HAPPENED.clear()
    chosen = settings(max_examples=examples, stateful_step_count=steps, deadline=None, derandomize=True, database=None)
    stateful.run_state_machine_as_test(Clients, settings=chosen)
    kinds = ("stop", "length", "cancelled", "failed", "refused", "adapter", "preempted", "reused")
    assert [kind for kind in kinds if not HAPPENED[kind]] == []


def test_random_clients_of_the_engine():
    run(40, 20)


@pytest.mark.soak
def test_500_scripts_of_random_clients_of_the_engine():
    run(500, 30)
