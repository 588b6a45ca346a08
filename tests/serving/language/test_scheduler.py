"""The scheduler against a device of Python lists: random clients join, leave, cancel and ask for nonsense."""

import math

import pytest
from hypothesis import settings, stateful
from hypothesis import strategies as st

import phlox as px
from phlox.serving.language._asked import Asked
from phlox.serving.language._checking import check_asked
from phlox.serving.language._scheduler import Feed, Scheduler
from phlox.serving.language._text import Text
from phlox.serving.language._turns import Turns

VOCABULARY, ROOM, BLOCK, CHUNK = 5, 96, 64, 24
WIDTHS = (1, 2)  # few, so that texts wait and lose their slots
BASES = ([0, 1, 2] * 20, [0, 1, 2] * 8 + [3] * 36, [4] * 60)  # the first two begin alike


def chain(adapter, tokens):
    """What keys and values at each position depend on: the adapter, and all tokens up to it."""
    found, links = hash(adapter), []
    for token in tokens:
        found = hash((found, token))
        links.append(found)
    return links


def whole(asked):
    """The whole text of what was asked, when nobody disturbs it."""
    tokens = list(asked.prompt)
    for _ in range(asked.max_new):
        tokens.append(chain(asked.adapter, tokens)[-1] % VOCABULARY)
        new = tokens[len(asked.prompt) :]
        if any(len(new) >= len(stop) and tuple(new[-len(stop) :]) == stop for stop in asked.stop):
            break
    return tokens


class Device:
    """Slots of a cache: at each position, what keys and values there depend on."""

    def __init__(self, slots=WIDTHS[-1]):
        self.slots = [[None] * ROOM for _ in range(slots)]

    def copy(self, one):
        end = math.ceil(one.count / BLOCK) * BLOCK
        self.slots[one.target][:end] = self.slots[one.source][:end]

    def put(self, text, start, stop):
        """Compute some tokens of a text behind those that its slot has."""
        assert self.slots[text.slot][:start] == chain(text.asked.adapter, text.tokens[:start])
        self.slots[text.slot][start:stop] = chain(text.asked.adapter, text.tokens[:stop])[start:]

    def next(self, text):
        """What follows a text, by what its slot holds."""
        return self.slots[text.slot][len(text.tokens) - 1] % VOCABULARY


class Clients(stateful.RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.scheduler, self.device, self.now = Scheduler(WIDTHS, CHUNK), Device(), 0
        self.texts, self.expected = [], []

    @stateful.rule(
        client=st.sampled_from("abc"), base=st.sampled_from(BASES), length=st.integers(1, 60), more=st.integers(0, 4),
        new=st.integers(1, 12), adapter=st.sampled_from([None, "x"]), stop=st.sampled_from([(), ((1,), (2, 3))]),
        patience=st.sampled_from([None, 2, 9]),
    )  # fmt: skip
    def joins(self, client, base, length, more, new, adapter, stop, patience):
        deadline = None if patience is None else self.now + patience
        prompt = (*base[:length], *range(more))
        asked = Asked(prompt=prompt, max_new=new, adapter=adapter, client=client, stop=stop, deadline=deadline)
        check_asked(asked, VOCABULARY, ROOM, {"x"})
        self.texts.append(Text(asked, asked.stop))
        self.expected.append(whole(asked))
        self.scheduler.submit(self.texts[-1])

    @stateful.rule(
        wrong=st.sampled_from(
            [{"prompt": ()}, {"prompt": (VOCABULARY,)}, {"prompt": (0,) * ROOM}, {"max_new": 0}, {"top_p": 1.5},
             {"adapter": "y"}, {"temperature": math.nan}, {"bias": {9: 1.0}}, {"stop": ((),)}, {"seed": 1.5}]
        )
    )  # fmt: skip
    def asks_for_nonsense(self, wrong):
        before = self.scheduler.waiting
        with pytest.raises((px.RangeError, px.OptionError)):
            check_asked(Asked(**{"prompt": (1,), "max_new": 2, **wrong}), VOCABULARY, ROOM, {"x"})
        assert self.scheduler.waiting == before

    @stateful.precondition(lambda self: self.texts)
    @stateful.rule(data=st.data())
    def cancels(self, data):
        self.scheduler.end(data.draw(st.sampled_from(self.texts)), "cancelled")

    @stateful.rule(data=st.data(), steps=st.integers(1, 4))
    def goes_on(self, data, steps):
        for _ in range(steps):
            self.round(lambda: data.draw(st.sampled_from([None] * 9 + self.texts)))

    @stateful.rule()
    def loses_its_slots(self):
        self.device = Device()
        self.scheduler.forget()

    def round(self, leaver=lambda: None):
        """One round, in which a client may leave between any two calls of the device."""
        scheduler, device = self.scheduler, self.device
        self.now += 1
        plan = scheduler.plan(self.now)
        self.fair()
        assert sum(feed.stop - feed.start for feed in plan.feeds) <= CHUNK
        for one in plan.copies:
            device.copy(one)
        for feed in plan.feeds:
            self.leave(leaver)
            if feed.text.slot is not None:
                device.put(feed.text, feed.start, feed.stop)
                token = device.next(feed.text) if feed.last else None
                scheduler.fed(feed)
                if feed.last:
                    scheduler.wrote(feed.text, token)
        ready = scheduler.ready()
        self.leave(leaver)
        for text in ready:
            if text.slot is not None:
                device.put(text, text.filled, text.filled + 1)
                token = device.next(text)
                scheduler.stepped(text)
                scheduler.wrote(text, token)

    def leave(self, leaver):
        text = leaver()
        if text is not None:
            self.scheduler.end(text, "cancelled")

    def fair(self):
        """Who waits has a slot, or all slots are taken; who has none waits only while nobody has two."""
        clients = [text.asked.client for text in self.scheduler.running]
        waiting = {t.asked.client for t in self.texts if t.finish is None and t.slot is None}
        if waiting:
            assert len(clients) == WIDTHS[-1]
            assert waiting <= set(clients) or max(map(clients.count, clients)) == 1

    @stateful.invariant()
    def each_text_is_somewhere_once(self):
        running = self.scheduler.running
        assert len(set(map(id, running))) == len(running)
        assert all(self.scheduler.slots[text.slot] is text and text.finish is None for text in running)
        open_texts = [text for text in self.texts if text.finish is None]
        assert self.scheduler.waiting + len(running) == len(open_texts)
        counts = self.scheduler.counts
        assert counts.finished + counts.cancelled == len(self.texts) - len(open_texts)

    @stateful.invariant()
    def slots_hold_what_is_said(self):
        for slot in range(WIDTHS[-1]):
            held = self.scheduler._holds(slot)
            assert self.device.slots[slot][: len(held.tokens)] == chain(held.adapter, held.tokens)

    @stateful.invariant()
    def texts_are_their_own(self):
        for text, expected in zip(self.texts, self.expected, strict=True):
            assert text.tokens == expected[: len(text.tokens)]
            assert text.finish in (None, "cancelled") or text.tokens == expected

    def teardown(self):
        bound = 4 * sum(len(text.asked.prompt) + text.asked.max_new for text in self.texts) + 4
        for _ in range(bound):
            if all(text.finish is not None for text in self.texts):
                break
            self.round()
        assert all(text.finish is not None for text in self.texts)  # nobody waits for ever
        assert not self.scheduler.running
        assert not self.scheduler.waiting


def run(examples, steps):
    chosen = settings(max_examples=examples, stateful_step_count=steps, deadline=None, derandomize=True, database=None)
    stateful.run_state_machine_as_test(Clients, settings=chosen)


def test_random_clients():
    run(60, 30)


def test_a_clients_turn():
    turns = Turns()
    turns.join("a", set())
    turns.charge("a", 100)
    turns.join("b", {"a"})  # time without asking earns nothing
    turns.charge("b", 1)
    assert turns.next(["b", "a"], {}) == "a"
    assert turns.next(["b", "a"], {"a": 1}) == "b"  # but first who has none
    turns.join("b", {"a"})
    assert turns.next(["b", "a"], {}) == "a"  # coming back costs nothing either


def test_a_short_prompt_goes_before_the_rest_of_a_long_one():
    scheduler = Scheduler((1, 2), 16)
    long, short = (Text(Asked(prompt=(0,) * n, max_new=1, client=c)) for n, c in ((60, "a"), (10, "b")))
    scheduler.submit(long)
    [feed] = scheduler.plan(0).feeds
    assert (feed.text, feed.start, feed.stop) == (long, 0, 16)
    scheduler.fed(feed)
    scheduler.submit(short)
    [feed] = scheduler.plan(0).feeds
    assert (feed.text, feed.last) == (short, True)


def test_what_two_conversations_said_stays_while_there_is_room():
    scheduler, device = Scheduler((1, 2, 4), 64), Device(4)
    read = []
    for prompt in ((0,) * 40, (1,) * 40, (0,) * 41, (1,) * 41):
        text = Text(Asked(prompt=prompt, max_new=1))
        scheduler.submit(text)
        plan = scheduler.plan(0)
        for one in plan.copies:
            device.copy(one)
        for feed in plan.feeds:
            device.put(text, feed.start, feed.stop)
            scheduler.fed(feed)
        read.append(text.filled - scheduler.counts.reused)
        scheduler.wrote(text, 0)
        assert text.slot is None
    assert read == [40, 40, 0, -40]  # the third and the fourth are read but for their last token


def test_of_a_prompt_that_is_there_the_last_token_is_left():
    scheduler = Scheduler((1,), 64)
    for _ in range(2):
        text = Text(Asked(prompt=(3,) * 40, max_new=1))
        scheduler.submit(text)
        for feed in scheduler.plan(0).feeds:
            scheduler.fed(feed)
            scheduler.wrote(text, 0)
    assert scheduler.ready() == [text]
    assert text.filled == 39


def test_who_has_two_slots_gives_the_later_to_who_has_none():
    scheduler = Scheduler((1, 2), 64)
    first, later, third = (Text(Asked(prompt=(n,) * 5, max_new=9, client=c)) for n, c in ((1, "a"), (2, "a"), (3, "b")))
    for text in (first, later):
        scheduler.submit(text)
        scheduler.plan(0)
    scheduler.submit(third)
    scheduler.plan(0)
    assert {id(text) for text in scheduler.running} == {id(first), id(third)}
    assert (scheduler.waiting, scheduler.texts_of("a"), later.slot) == (1, 2, None)
    fourth = Text(Asked(prompt=(4,), max_new=9, client="c"))
    scheduler.submit(fourth)
    scheduler.plan(0)
    assert fourth.slot is None  # nobody's only text is taken
    scheduler.end(third, "cancelled")
    scheduler.end(fourth, "cancelled")
    scheduler.plan(0)
    assert later.slot is not None


def test_nobodys_only_text_is_taken():
    scheduler = Scheduler((1, 2), 64)
    texts = [Text(Asked(prompt=(n,) * 5, max_new=9, client=client)) for n, client in enumerate("abc")]
    for text in texts:
        scheduler.submit(text)
        scheduler.plan(0)
    assert [text.slot is None for text in texts] == [False, False, True]
    assert scheduler.counts.preempted == 0


def test_texts_that_come_together_find_their_prompts_where_they_are():
    scheduler = Scheduler((1, 2, 4, 8), 64)
    prompts = [(n,) * 40 for n in range(5)]
    for asked in (prompts, prompts[::-1]):
        texts = [Text(Asked(prompt=prompt, max_new=1)) for prompt in asked]
        for text in texts:
            scheduler.submit(text)
        plan = scheduler.plan(0)
        assert plan.copies == []
        for text in texts:
            scheduler.fed(Feed(text, text.filled, len(text.tokens)))
            scheduler.wrote(text, 0)
    assert scheduler.counts.reused == 5 * 39


def test_what_a_text_leaves_of_a_slot_goes_into_a_free_one():
    def written(scheduler, prompt):
        text = Text(Asked(prompt=prompt, max_new=1))
        scheduler.submit(text)
        plan = scheduler.plan(0)
        scheduler.fed(Feed(text, text.filled, len(text.tokens)))
        scheduler.wrote(text, 0)
        return plan.copies, text

    scheduler = Scheduler((1, 2), 128)  # of two slots, one holds more than is lost
    for prompt in ((9,) * 90, (1,) * 60, (1,) * 20 + (5,) * 20):
        copies, _ = written(scheduler, prompt)
        assert copies == []
    written(scheduler, (9,) * 90)
    assert scheduler.counts.reused == 20 + 89

    for others in (0, 1):  # of two slots, the second is free, or was of use after the first
        scheduler = Scheduler((1, 2), 128)
        written(scheduler, (1,) * 60)
        for n in range(others):
            written(scheduler, (n + 2,) * 30)
        copies, _ = written(scheduler, (1,) * 20 + (5,) * 20)  # goes on from a part of the first
        assert [(one.source, one.target, one.count) for one in copies] == ([] if others else [(0, 1, 60)])
        reused = scheduler.counts.reused
        written(scheduler, (1,) * 60)
        assert scheduler.counts.reused - reused == (20 if others else 59)


def test_what_is_kept_does_not_go_where_a_prefix_comes_from():
    scheduler, device = Scheduler((1, 2), 64), Device()
    for base, length in ((1, 20), (0, 30), (1, 40)):  # the third takes from the oldest slot what the second left alone
        text = Text(Asked(prompt=(base,) * length, max_new=1))
        scheduler.submit(text)
        plan = scheduler.plan(0)
        for one in plan.copies:
            device.copy(one)
        for feed in plan.feeds:
            device.put(text, feed.start, feed.stop)  # asserts what was there
            scheduler.fed(feed)
        scheduler.wrote(text, 0)
    assert scheduler.counts.reused == 20


@pytest.mark.soak
def test_500_scripts_of_random_clients():
    run(500, 30)
