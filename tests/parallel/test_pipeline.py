"""Pipelines: the checks of checks_pipeline, in a process with eight devices; and what needs no device."""

import pytest

import phlox as px
from parallel.kit import Checks

LONG = ("check_what_a_stage_keeps_of_activations",)
CHECKS, NETWORKS = Checks("checks_pipeline", soak=LONG), Checks("checks_pipeline_networks")


@pytest.mark.parametrize("name", CHECKS.params)
def test_pipelines_beside_one_device(request, name):
    CHECKS.passed(request, name)


@pytest.mark.soak
@pytest.mark.parametrize("name", NETWORKS.names)
def test_networks_beside_one_device(request, name):
    NETWORKS.passed(request, name)


@pytest.mark.parametrize(("rounds", "idle"), [(1, 3 / 11), (2, 3 / 19)])
def test_a_timetable_runs_every_block_of_a_micro_batch_in_its_order(rounds, idle):
    """Each stage takes each micro-batch once a round, just after the stage before it did, and no two at once."""
    stages, times = 4, px.parallel.pipeline(4).schedule(8, rounds)
    assert times.bubble == pytest.approx(idle)
    when = {}
    for stage in range(stages):
        for tick in range(times.ticks):
            found = times.at(stage, tick)
            if found is not None:
                when[(*found, stage)] = tick
    assert len(when) == 8 * rounds * stages
    for (part, turn, stage), tick in when.items():
        before = (part, turn, stage - 1) if stage else (part, turn - 1, stages - 1)
        assert before not in when or when[before] == tick - 1, "what comes by the ring is what is needed next"


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: px.parallel.pipeline(0), "a whole number of stages, 1 or more, got 0"),
        (lambda: px.parallel.pipeline(2, microbatches=True), "a whole number of micro-batches, 1 or more, got True"),
        (lambda: px.parallel.pipeline(2, schedule="1f1b"), "schedule as \"gpipe\" or \"interleaved\", got '1f1b'"),
        (lambda: px.parallel.pipeline(4).schedule(6, 2), "as many micro-batches as stages, or a multiple, got 6"),
    ],
)  # fmt: skip
def test_refusals(call, text):
    with pytest.raises(px.RangeError) as caught:
        call()
    assert f"px.parallel.pipeline expects {text}" in str(caught.value)
    assert "\n  fix: " in str(caught.value)
