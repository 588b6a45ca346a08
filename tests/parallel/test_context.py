"""Sequences cut over eight devices: the checks of checks_context, in a process that has eight."""

import pytest

from parallel.kit import Checks

LONG = (
    "check_texts_with_a_share_of_each_class",
    "check_causal_from_an_offset",
    "check_gpt",
    "check_what_looks_at_neighbours",
    "check_other_generators",
    "check_a_decoder_in_small",
)
CHECKS = Checks("checks_context", soak=LONG)


@pytest.mark.parametrize("name", CHECKS.params)
def test_cut_sequences_give_what_whole_ones_give(request, name):
    CHECKS.passed(request, name)
