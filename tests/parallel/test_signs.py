"""Signs of life by a clock that stands still, over a coordinator in memory: losses, hangs and slow processes named."""

import json
import sys
import threading

import pytest

import phlox as px
from phlox.parallel.processes import _group
from phlox.parallel.processes._group import GONE, OVER, STUCK, Group, Loss, ProcessError, print_stack
from phlox.parallel.processes._pulse import WINDOW
from phlox.parallel.processes._signs import Signs


class Coordinator:
    """What JAX's keeps, in memory; a value is waited for without a clock."""

    def __init__(self):
        self.values, self.changed = {}, threading.Condition()

    def key_value_set(self, name, value, allow_overwrite=False):
        assert allow_overwrite
        with self.changed:
            self.values[name] = value
            self.changed.notify_all()

    def blocking_key_value_get(self, name, milliseconds):
        with self.changed:
            if not self.changed.wait_for(lambda: name in self.values, min(milliseconds / 1000, 20)):
                raise RuntimeError("DEADLINE_EXCEEDED")
            return self.values[name]

    def key_value_dir_get(self, folder):
        with self.changed:
            return [(name, value) for name, value in self.values.items() if name.startswith(folder)]


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


class Three:
    """Three processes in one, whose rounds are called by hand."""

    def __init__(self, hang=30.0):
        self.clock, self.client = Clock(), Coordinator()
        self.groups = [Group(self.client, n, 3, 60.0, 10.0) for n in range(3)]
        for n, group in enumerate(self.groups):
            group.pulse.clock, group.pulse.host = self.clock, f"host{n}"
            group.pulse.begin(1, f"cpu:{n}")
        self.signs = [Signs(group, hang, self.clock) for group in self.groups]

    def round(self, seconds, *silent):
        """Time passes; all but some give a sign; process 0 looks."""
        self.clock.now += seconds
        for n, signs in enumerate(self.signs):
            if n not in silent:
                signs.give()
        return self.signs[0].look()

    def letter(self, process):
        text = self.client.values.get(f"phlox/lost/{process}")
        return None if text is None else Loss(*json.loads(text))


@pytest.fixture
def three():
    return Three()


def test_one_that_gives_no_sign_is_named_to_all_with_where_it_stood(three):
    three.groups[1].pulse.after(12)
    assert not three.round(0.0)
    for _ in range(4):
        assert not three.round(2.5, 1)
    assert three.letter(0) is None
    assert three.round(0.5, 1)
    assert three.letter(0) == three.letter(1) == three.letter(2)
    got = "no sign of life from process 1 (host1, cpu:1), in its callbacks behind step 12"
    assert three.letter(2) == Loss([1], got, GONE)


def test_one_that_left_by_itself_is_not_lost():
    three = Three(hang=None)
    three.round(0.0)
    three.groups[2].tell("beat/2", OVER)
    for _ in range(20):
        assert not three.round(2.5, 2)
    assert 2 not in three.groups[0].others


def test_one_that_lives_and_does_not_go_on_is_named(three):
    for step in range(1, 4):
        for group in three.groups:
            group.pulse.enter(step - 1)
            group.pulse.after(step)
        assert not three.round(2.5)
    for n in (0, 2):
        three.groups[n].pulse.enter(3)
    while three.clock.now < 32.4:
        assert not three.round(2.5)
    assert three.round(2.5)
    got = "process 1 (host1, cpu:1), in its callbacks behind step 3, for 30 s without going on"
    assert three.letter(0) == three.letter(1) == Loss([1], got, STUCK)


def test_without_a_bound_nobody_hangs():
    three = Three(hang=None)
    for _ in range(100):
        assert not three.round(9.0)


def test_a_slow_one_is_kept_once_in_words(three):
    clocks = [Clock() for _ in three.groups]
    for step in range(1, WINDOW + 3):
        for n, (group, clock) in enumerate(zip(three.groups, clocks, strict=True)):
            group.pulse.clock = clock
            group.pulse.enter(step - 1)
            clock.now += 1.0 if n == 2 else 1.3  # the others wait for it
            group.pulse.after(step)
            clock.now += 0.4 if n == 2 else 0.1
    assert not three.round(0.0)
    assert list(three.groups[0].slow) == [2]
    told = three.groups[0].slow[2]
    assert told.startswith(
        "process 2 (host2, cpu:2) keeps the others waiting: between two steps it needs 0.4 s, 4.0 times"
    )
    three.groups[0].slow[2] = "as it was told"
    assert not three.round(0.0)
    assert three.groups[0].slow == {2: "as it was told"}


def test_process_0_is_missed_by_the_others_own_clocks(three, monkeypatch, capsys):
    ended = []
    monkeypatch.setattr(_group, "_GRACE", 0.0)
    monkeypatch.setattr(_group.os, "_exit", ended.append)
    three.round(0.0)
    three.clock.now += 10.0
    assert not three.signs[1].mind()
    three.clock.now += 0.5
    assert three.signs[1].mind()
    assert three.groups[1].lost == [0]
    assert ended == [_group.STATUS]
    assert "no answer from process 0, where all meet, for 10 s" in capsys.readouterr().err
    assert "phlox/left/1" not in three.client.values  # nobody hears it


def test_what_is_lost_is_the_error_of_this_process_and_its_status(three, monkeypatch, capsys):
    ended = []
    monkeypatch.setattr(_group, "_GRACE", 0.05)
    monkeypatch.setattr(_group.os, "_exit", ended.append)
    group = three.groups[1]
    three.groups[0].tell_all("lost", json.dumps(Loss([2], "it is gone", "look there")))
    three.signs[1].hear()
    assert ended == [_group.STATUS]
    assert "ProcessError: px.parallel expects all 3 processes to go on, got it is gone" in capsys.readouterr().err
    with pytest.raises(ProcessError) as caught:
        raise group.error_of_loss("px.fit")
    assert str(caught.value) == "px.fit expects all 3 processes to go on, got it is gone\n  fix: look there"
    group.leave()
    assert ended == [_group.STATUS] * 2
    group.loss = None
    group.leave()
    assert ended == [_group.STATUS, _group.STATUS, 1]  # broken by an error, and nobody is lost


def test_one_that_hangs_prints_where_it_stands(capsys):
    print_stack(4)
    told = capsys.readouterr().err
    assert told.startswith("process 4 stands here, and does not go on:\n")
    assert sys._getframe().f_code.co_name in told


def test_threads_end(three):
    for signs in three.signs:
        signs.start()
    for signs in three.signs:
        signs.end()
        assert not any(thread.is_alive() for thread in signs._threads)
    assert three.client.values["phlox/beat/1"] == OVER


@pytest.mark.parametrize("hang", [0, -3.0, True, "60"])
def test_a_bound_that_makes_no_sense_is_refused(hang):
    with pytest.raises(px.RangeError) as caught:
        px.parallel.initialize(hang=hang)
    assert str(caught.value).startswith(f"px.parallel.initialize expects hang in seconds, at least 1, got {hang!r}")
