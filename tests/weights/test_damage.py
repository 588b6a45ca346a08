"""A damaged file is told from a whole one, and never touches the model that it was to fill."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

import phlox as px
from phlox import weights
from weights.models import Everything, contents


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "model.safetensors"
    weights.save_safetensors(Everything(1), path, {"note": "a text of the user's"})
    return path.read_bytes()


@pytest.fixture(scope="module")
def victim():
    return Everything(2)


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    return tmp_path_factory.mktemp("damaged") / "model.safetensors"


def header_end(raw):
    return 8 + int.from_bytes(raw[:8], "little")


def refused(model, path, raw):
    """Load damaged bytes; they must be refused with a message that names the file, the model as it was."""
    before = contents(model)
    path.write_bytes(raw)
    with pytest.raises(weights.CorruptFileError) as caught:
        weights.load_safetensors(model, path)
    message = str(caught.value)
    assert message.startswith(f"load_safetensors({str(path)!r}) expects ")
    assert ", got " in message
    assert "\n  fix: " in message
    assert contents(model) == before


def test_a_file_cut_short_anywhere_is_refused(whole, victim, damaged):
    data = header_end(whole)
    lengths = [0, 1, 7, 8, 9, data // 2, data - 1, data, data + 1, (data + len(whole)) // 2, len(whole) - 1]
    for length in lengths:
        refused(victim, damaged, whole[:length])


def test_a_file_with_more_at_its_end_is_refused(whole, victim, damaged):
    refused(victim, damaged, whole + b"\0")
    refused(victim, damaged, whole + whole)


def test_every_flipped_bit_of_the_arrays_is_found(whole, victim, damaged):
    for at in range(header_end(whole), len(whole)):
        flipped = bytearray(whole)
        flipped[at] ^= 1 << at % 8
        refused(victim, damaged, bytes(flipped))


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(st.data())
def test_a_flipped_bit_anywhere_is_found_or_changes_nothing(whole, victim, damaged, data):
    bit = data.draw(st.integers(0, 8 * header_end(whole) - 1))
    flipped = bytearray(whole)
    flipped[bit // 8] ^= 1 << bit % 8
    damaged.write_bytes(flipped)
    before, arrays = contents(victim), px.state_dict(victim)
    try:
        weights.load_safetensors(victim, damaged)
    except weights.CorruptFileError:
        assert contents(victim) == before
    else:  # the white space between header and arrays, and nothing else
        assert contents(victim) == contents(Everything(1))
        assert bit // 8 > whole.rindex(b"}", 0, header_end(whole))
        px.load_state_dict(victim, arrays)


@pytest.mark.parametrize("name", ["phlox.sha256", "phlox.format", "phlox.keys"])
def test_a_file_that_lost_one_of_its_own_entries_is_refused(whole, victim, damaged, name):
    header = json.loads(whole[8 : header_end(whole)])
    del header["__metadata__"][name]
    text = json.dumps(header).encode()
    refused(victim, damaged, len(text).to_bytes(8, "little") + text + whole[header_end(whole) :])


def test_two_arrays_of_one_shape_that_changed_places_are_found(damaged):
    class Pair(px.Module):
        def __init__(self):
            self.a, self.b = np.ones(2, np.float32), np.zeros(2, np.float32)

    weights.save_safetensors(Pair(), damaged)
    raw = damaged.read_bytes()
    assert raw.count(b'"a":{') == raw.count(b'"b":{') == 1
    swapped = raw.replace(b'"a":{', b'"?":{').replace(b'"b":{', b'"a":{').replace(b'"?":{', b'"b":{')
    refused(Pair(), damaged, swapped)


@pytest.mark.parametrize("text", ["", "not a weight file", "{}", "PK\x03\x04" + "x" * 100])
def test_a_file_of_another_kind_is_refused(victim, damaged, text):
    refused(victim, damaged, text.encode())


def test_a_file_without_a_checksum_is_taken_as_it_is(damaged):
    save_file({"weight": np.full((2, 1), 7, np.float32)}, damaged)
    model = px.Dense(2, 1, bias=False)
    assert weights.load_safetensors(model, damaged).complete
    assert model.weight.tolist() == [[7.0], [7.0]]


def test_metadata_of_a_damaged_file_is_refused(whole, damaged):
    damaged.write_bytes(whole[:100])
    with pytest.raises(weights.CorruptFileError, match=r"^read_metadata\(.*a whole safetensors file"):
        weights.read_metadata(damaged)
