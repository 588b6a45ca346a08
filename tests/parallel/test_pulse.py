"""What a process tells of its steps, by a clock that stands still, and who is judged to hang, or to be slow, by it."""

import pytest

from phlox.parallel.processes import _judging
from phlox.parallel.processes._judging import hanging, slow, told_of_slow
from phlox.parallel.processes._pulse import WINDOW, Pulse, Told


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def taken(pulse, clock, steps, own=0.5, inside=2.0, waited=0.0):
    """So many steps, each of so many seconds between two and inside."""
    for _ in range(steps):
        pulse.enter(pulse.told().step)
        clock.now += inside
        pulse.after(pulse.told().step + 1)
        with pulse.waiting():
            clock.now += waited
        clock.now += own


def test_outside_of_a_training_nothing_is_told_but_where(clock):
    told = Pulse(clock).told()
    assert (told.training, told.marks, told.step, told.own, told.whole) == (0, 0, 0, None, None)
    assert told.host


def test_places_are_counted_and_named_and_time_runs_since_the_last(clock):
    pulse = Pulse(clock)
    pulse.begin(3, "cpu:1")
    seen = [pulse.told()]
    behind = (lambda: pulse.enter(7), lambda: pulse.after(8), lambda: pulse.at("at its data"), lambda: pulse.enter(8))
    for act in behind:
        clock.now += 1.5
        seen.append(pulse.told())
        act()
    seen.append(pulse.told())
    assert [t.idle for t in seen] == [0.0, 1.5, 1.5, 1.5, 1.5, 0.0]
    assert [t.marks for t in seen] == [1, 1, 2, 3, 4, 5]
    assert [t.place for t in seen[1:]] == [
        "before its first step",
        "in the step behind step 7",
        "in its callbacks behind step 8",
        "at its data behind step 8",
        "in the step behind step 8",
    ]
    assert {(t.training, t.devices) for t in seen} == {(3, "cpu:1")}
    pulse.end()
    assert pulse.told().training == 0


def test_times_are_those_of_a_whole_window_without_the_first_step(clock):
    pulse = Pulse(clock)
    pulse.begin(1, "cpu:0")
    taken(pulse, clock, 1, own=0.5, inside=1000.0)  # it is compiled
    taken(pulse, clock, WINDOW, own=0.5, inside=2.0)
    assert pulse.told().own is None  # the last one is not followed by another yet
    taken(pulse, clock, 1)
    assert pulse.told().own == pytest.approx(0.5)
    assert pulse.told().whole == pytest.approx(2.5)
    taken(pulse, clock, WINDOW // 2, own=1.5)
    assert pulse.told().own == pytest.approx((11 * 0.5 + 9 * 1.5) / 20)


def test_what_it_waits_for_the_device_is_not_its_own(clock):
    pulse = Pulse(clock)
    pulse.begin(1, "cpu:0")
    taken(pulse, clock, WINDOW + 2, own=0.25, inside=0.1, waited=3.0)
    assert pulse.told().own == pytest.approx(0.25)
    assert pulse.told().whole == pytest.approx(3.35)


# --- judged ------------------------------------------------------------------------------------------


def stands(marks=9, idle=0.0, training=2, own=None, whole=None):
    return Told("node", "cpu:0", training, marks, 4, "in the step", idle, own, whole)


def test_those_furthest_behind_hang_and_not_those_that_wait_for_them():
    told = {0: stands(9, idle=50.0), 1: stands(7, idle=51.0), 2: stands(8, idle=50.0), 3: stands(7, idle=49.0)}
    assert hanging(told, 40.0) == [1, 3]
    assert hanging(told, 49.5) == []  # one of them went on since
    assert hanging({**told, 1: stands(7, idle=3.0), 3: stands(8)}, 40.0) == []


def test_an_earlier_training_is_further_behind_and_one_outside_of_any_is_not_asked():
    assert hanging({0: stands(2, idle=50.0, training=3), 1: stands(90, idle=50.0, training=2)}, 40.0) == [1]
    assert hanging({0: stands(0, idle=500.0, training=0), 1: stands(3, idle=5.0)}, 40.0) == []
    assert hanging({0: stands(0, idle=500.0, training=0)}, 40.0) == []


def test_where_all_stand_at_one_place_all_hang():
    assert hanging({0: stands(9, idle=50.0), 1: stands(9, idle=60.0)}, 40.0) == [0, 1]


def test_a_slow_one_is_so_many_times_the_median():
    told = {n: stands(own=own, whole=2.0) for n, own in enumerate((0.1, 0.2, 0.1, 1.0, 0.2))}
    assert slow(told) == pytest.approx({3: 5.0})
    assert slow({0: told[0], 3: told[3]}) == pytest.approx({3: 10.0})  # of two the quicker one is what is usual


def test_nobody_is_slow_who_costs_the_others_little_or_of_whom_too_little_is_known():
    told = {n: stands(own=own, whole=2.0) for n, own in enumerate((0.001, 0.001, 0.1))}
    assert slow(told) == {}
    told[2] = stands(own=1.0, whole=2.0)
    assert list(slow(told)) == [2]
    assert slow({**told, 1: stands()}) == {}
    assert slow({**told, 1: stands(own=0.001, whole=2.0, training=1)}) == {}
    assert slow({0: stands(own=0.6, whole=2.0), 1: stands(own=1.1, whole=2.0)}) == {}  # below twice as long


def test_a_slow_one_is_told_with_both_times():
    told = told_of_slow("process 3 (node, cpu:0)", stands(own=1.0, whole=2.0), 5.0)
    assert told == (
        "process 3 (node, cpu:0) keeps the others waiting: between two steps it needs 1 s, 5.0 times the median of "
        "all; a step takes 2 s as a whole, over the last 20 steps up to step 4. Look at its data, its callbacks and "
        "its machine."
    )
    first = told_of_slow("process 0 (node, cpu:0)", stands(own=1.0, whole=2.0), 5.0)
    assert first.endswith("its machine. Process 0 also shows, and writes checkpoints.")
    assert (_judging.TIMES, _judging.SHARE) == (2.0, 0.2)
