"""A file made to harm, or damaged by chance, is refused: nothing runs, nothing is imported, nothing large is made."""

import copy
import json
import operator
import os
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

import phlox as px
from phlox import weights
from phlox.weights._rebuilding import _READERS

fuzz = settings(max_examples=400, deadline=None, derandomize=True, database=None)


class Canary(px.Module):
    """Sings when its code runs."""

    def __init__(self):
        raise AssertionError("__init__ ran")

    def __setattr__(self, name, value):
        raise AssertionError("__setattr__ ran")

    def __getattr__(self, name):
        raise AssertionError(f"{name} was looked up")


def model():
    dense = px.Dense(2, 2, px.relu, key=0)
    made = px.Chain(dense, px.BatchNorm(2), dense, px.SkipConnection(px.Dropout(0.5, key=1), operator.add))
    made.note = {"of": ("the", 1, slice(0, None, 2)), 2: [None, 0.5, jnp.dtype("float16"), {3}]}
    return px.freeze(made, "layers.1.bias")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "model.safetensors"
    px.save(model(), path)
    return path.read_bytes()


@pytest.fixture(scope="module")
def description(whole):
    size = int.from_bytes(whole[:8], "little")
    return json.loads(json.loads(whole[8 : 8 + size])["__metadata__"]["phlox.model"])


@pytest.fixture(scope="module")
def arrays(tmp_path_factory, whole):
    from safetensors.numpy import load

    return load(whole)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("hostile") / "model.safetensors"


def loaded(file, **options):
    """What the file holds, or Phlox's error."""
    try:
        return px.load(file, **options)
    except px.PhloxError as error:
        return error


def attempt(file, arrays, text, **options):
    """Load a file with this description, unsigned as another program's; its model, or the error of Phlox's."""
    save_file(arrays, file, {"phlox_is_not_the_writer": "1", "phlox.model": text})
    before = set(sys.modules)
    raw = file.read_bytes()
    found = loaded(file, **options)
    if isinstance(found, px.PhloxError):
        assert str(found).startswith(f"px.load({str(file)!r}) expects ")
        assert len(str(found)) < 2000
    assert set(sys.modules) == before
    assert file.read_bytes() == raw
    return found


@pytest.fixture(autouse=True)
def _unsigned(monkeypatch):
    """An attacker signs what he writes: here the checksum is not looked at."""
    monkeypatch.setattr("phlox.weights._safetensors.check_digest", lambda *_: None)


def entry(name, *attributes):
    return {"class": name, "attributes": list(attributes), "frozen": False, "pinned": None}


def of(*entries, **more):
    return json.dumps({"modules": list(entries), "version": 1, **more})


def nested(depth, inner="null"):
    return "[" * depth + inner + "]" * depth


REFUSED = {
    "nothing": "",
    "no JSON": "{",
    "another kind": "[]",
    "a number": "7",
    "deep beyond the parser": nested(100_000),
    "deep in an attribute": of(entry("phlox:Chain", ["layers", json.loads(nested(100))])),
    "a later version": of(entry("phlox:Chain", ["layers", []]), version=2),
    "a version of another type": of(entry("phlox:Chain", ["layers", []]), version=True),
    "no Modules": of(),
    "an entry too many": of({**entry("phlox:Chain"), "code": "import os"}),
    "an entry too few": of({"class": "phlox:Chain"}),
    "the same entry twice": '{"modules": [], "modules": [], "version": 1}',
    "an attribute twice": of(entry("phlox:Chain", ["layers", []], ["layers", []])),
    "a key twice": of(entry("phlox:Chain", ["layers", {"dict": [["a", 1], ["a", 2]]}])),
    "one key in two types": of(entry("phlox:Chain", ["layers", {"dict": [[1, 1], [True, 2]]}])),
    "a key that has no hash": of(entry("phlox:Chain", ["layers", {"dict": [[[], 1]]}])),
    "a Module inside itself": of(entry("phlox:Chain", ["layers", [{"module": 0}]])),
    "a Module from ahead": of(entry("phlox:Chain", ["layers", [{"module": 1}]]), entry("phlox:Chain", ["layers", []])),
    "a Module of no use": of(entry("phlox:Dropout", ["p", 0.5]), entry("phlox:Chain", ["layers", []])),
    "a negative Module": of(entry("phlox:Chain", ["layers", []]), entry("phlox:Chain", ["layers", [{"module": -1}]])),
    "a boolean Module": of(entry("phlox:Chain", ["layers", []]), entry("phlox:Chain", ["layers", [{"module": False}]])),
    "a chain of Modules without end": of(
        entry("phlox:Chain", ["layers", []]), *[entry("phlox:Chain", ["layers", [{"module": i}]]) for i in range(3000)]
    ),
    "an array that is not there": of(entry("phlox:Chain", ["layers", []], ["w", {"array": "other"}])),
    "an array used twice": of(entry("phlox:Chain", ["w", {"array": "w"}], ["v", {"array": "w"}])),
    "an array in a set": of(entry("phlox:Chain", ["w", {"set": [{"array": "w"}]}])),
    "a method that is none": of(entry("phlox:Chain", ["layers", []], ["f", {"method": "training"}])),
    "a method in a list": of(entry("phlox:Chain", ["layers", [{"method": "__call__"}]])),
    "an array left over": of(entry("phlox:Chain", ["layers", []])),
    "a number that is none": '{"modules": [], "version": NaN}',
    "an attribute without a name": of(entry("phlox:Chain", [7, 7])),
    "flags of another type": of({**entry("phlox:Chain", ["layers", []]), "pinned": "yes"}),
    "frozen by a number": of({**entry("phlox:Chain", ["layers", []]), "frozen": 3}),
    "an unknown kind": of(entry("phlox:Chain", ["layers", {"pickle": "gASVJAAAAAAAAACMBXBvc2l4lIwGc3lzdGVtlJOU"}])),
    "a dict of two kinds": of(entry("phlox:Chain", ["layers", {"tuple": [], "set": []}])),
    "a range of text": of(entry("phlox:Chain", ["layers", {"range": ["a", 1, 1]}])),
    "a range of step 0": of(entry("phlox:Chain", ["layers", {"range": [0, 1, 0]}])),
    "bytes of no hexadecimal": of(entry("phlox:Chain", ["layers", {"bytes": "zz"}])),
    "a dtype with a price": of(entry("phlox:Chain", ["layers", {"dtype": "V2000000000"}])),
    "a number of 0 bytes": of(entry("phlox:Chain", ["layers", {"number": ["float32", ""]}])),
    "a scalar from elsewhere": of(entry("phlox:Chain", ["layers", {"scalar": ["numpy", "load"]}])),
    "a partial of a number": of(entry("phlox:Chain", ["layers", {"partial": [3, {"tuple": []}, {"dict": []}]}])),
    "a partial of numbered keywords": of(
        entry("phlox:Chain", ["f", {"partial": [{"function": "phlox:relu"}, {"tuple": []}, {"dict": [[1, 2]]}]}])
    ),
    "a whole number of ten thousand digits": '{"modules": [], "version": ' + "9" * 10_000 + "}",
}


@pytest.mark.parametrize(("name", "text"), REFUSED.items(), ids=REFUSED)
def test_what_says_nothing_sensible_is_refused(file, name, text):
    wanted = '"w"' in text or name == "an array left over"  # else nothing but the text is wrong
    found = attempt(file, {"w": np.zeros(2, np.float32)} if wanted else {}, text)
    assert isinstance(found, weights.CorruptFileError)
    assert "a file that says how its model is built, got " in str(found)


def test_one_array_in_two_places_and_another_in_none_is_refused(file):
    text = of(entry("phlox:Chain", ["layers", []], ["a", {"array": "w"}], ["b", {"array": "w"}]))
    arrays = {"v": np.ones(2, np.float32), "w": np.zeros(2, np.float32)}
    assert isinstance(attempt(file, arrays, text), weights.CorruptFileError)
    assert isinstance(attempt(file, arrays, text.replace('"w"', '"v"', 1)), px.Chain)


NAMES = [
    "os:system",
    "builtins:eval",
    "builtins:exec",
    "builtins:object",
    "subprocess:Popen",
    "posix:system",
    "antigravity:x",
    "this:s",
    "no.such.module:Name",
    "phlox.cli._main:main",
    "phlox.__main__:main",
    "phlox.core:Module.__new__",
    "phlox:Module.__init__",
    "phlox:nn.Dense",
    "phlox:_HOME",
    "phlox:PhloxError",
    "phlox:clear_compile_cache",
    "phlox:load",
    "phlox.weights:save",
    "phlox.weights:replacing",
    "phlox.weights._replacing:os",
    "phlox.weights._replacing:os.remove",
    "phlox.nn.space._conv:Any",
    "jax.numpy:load",
    "jax.numpy:save",
    "jax.numpy:fromfile",
    "jax:pure_callback",
    "jax.nn.functions:relu",
    "operator:attrgetter",
    "operator:methodcaller",
    "operator:setitem",
    "numpy:load",
    "../../etc/passwd:x",
    "/etc/passwd",
    "phlox",
    "",
    ":",
    ":relu",
    "phlox:",
    "phlox:relu.__globals__",
    "phlox:relu.__call__",
    "phlox\x00:relu",
    "a" * 10_000,
    "phlox." + "a." * 5_000 + "b:C",
]


@pytest.mark.parametrize("name", NAMES, ids=lambda n: repr(n)[:40])
def test_no_name_reaches_what_was_not_allowed(file, name):
    root = entry("phlox:Chain", ["layers", []])
    for text in (
        of(entry(name)),
        of(entry("phlox:Chain", ["layers", [{"function": name}]])),
        of(entry("phlox:Chain", ["layers", [{"record": [name, []]}]])),
        of(entry("phlox:Chain", ["layers", [{"enum": [name, "x"]}]])),
        of({**root, "class": name}),
    ):
        found = attempt(file, {}, text)
        assert isinstance(found, px.PhloxError), text
        if "record" not in text and "enum" not in text:
            refused = isinstance(found, weights.NotAllowedError) or "update Phlox, or install the extra" in str(found)
            assert refused, text


def test_a_class_that_is_imported_is_rebuilt_and_none_of_its_code_runs(file):
    name = f"{Canary.__module__}:Canary"
    found = attempt(file, {}, of(entry(name, ["a", 1], ["__class__", 2], ["_px", 3], ["__dict__", 4])))
    assert type(found) is Canary
    assert found.__dict__["a"] == 1


def test_a_function_of_ones_own_needs_to_be_allowed_though_it_is_imported(file):
    name = f"{__name__}:entry"
    text = of(entry("phlox:Chain", ["layers", [{"function": name}]]))
    assert isinstance(attempt(file, {}, text), weights.NotAllowedError)
    assert attempt(file, {}, text, allow=[entry])[0] is entry


@pytest.mark.parametrize("allow", [[3], [px], [px.Dense(2, 3)], [None]], ids=repr)
def test_what_cannot_be_allowed_is_refused(file, allow):
    with pytest.raises(
        px.RangeError, match=r"classes, functions, and names of packages to allow, got .*\n  fix: write"
    ):
        px.load(file, allow=allow)


def test_declared_sizes_are_not_believed(file):
    """Shapes of exabytes, as the format writes them, in a file of a few bytes."""
    for shape, offsets in (
        ([2**40, 2**20], [0, 2**62]),
        ([2**62], [0, 8]),
        ([0, 2**62, 2**62], [0, 0]),
        ([2**63], [0, 0]),
        ([-1], [0, 4]),
        ([2], [0, 2**64]),
        ([2], [8, 0]),
    ):
        head = {"w": {"dtype": "F32", "shape": shape, "data_offsets": offsets}}
        head["__metadata__"] = {"phlox.model": of(entry("phlox:Chain", ["w", {"array": "w"}]))}
        text = json.dumps(head).encode()
        file.write_bytes(len(text).to_bytes(8, "little") + text + bytes(8))
        with pytest.raises(weights.CorruptFileError, match=r"px.load\("):
            px.load(file)
    file.write_bytes((2**63).to_bytes(8, "little") + b"{}")
    with pytest.raises(weights.CorruptFileError):
        px.load(file)


def test_random_keys_of_no_kind_are_refused(file):
    for keys in ("[]", "{", nested(100_000), '{"w": "bogus"}', '{"w": 7}', '{"other": "rbg"}', '{"w": "rbg"}'):
        save_file({"w": np.zeros(3, np.uint32)}, file, {"phlox.keys": keys})
        with pytest.raises(weights.CorruptFileError, match="random keys as their words"):
            px.load(file)


# --- fuzzing ---------------------------------------------------------------------------------------

SCALARS = st.none() | st.booleans() | st.integers(-3, 10) | st.floats()
TEXTS = st.sampled_from(["", "phlox:Dense", "phlox:relu", "w", "layers.0.weight", "os:system", "float32", "ff"])
TAGS = st.sampled_from(sorted({*_READERS, "tuple", "set", "frozenset", "class", "attributes", "frozen", "pinned"}))
JUNK = st.recursive(
    SCALARS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TAGS, inner, min_size=1, max_size=1),
    max_leaves=6,
)


def places(value, way=()):
    """The way to every value inside a JSON value."""
    yield way
    items = enumerate(value) if isinstance(value, list) else value.items() if isinstance(value, dict) else ()
    for at, v in items:
        yield from places(v, (*way, at))


@fuzz
@given(data=st.data())
def test_no_change_of_a_description_does_more_than_load_or_be_refused(file, arrays, description, data):
    changed = copy.deepcopy(description)
    for _ in range(data.draw(st.integers(1, 3))):
        way = data.draw(st.sampled_from(list(places(changed))))
        if not way:
            changed = data.draw(JUNK)
            continue
        at = changed
        for step in way[:-1]:
            at = at[step]
        if data.draw(st.booleans()):
            at[way[-1]] = data.draw(JUNK)
        else:
            del at[way[-1]]
    found = attempt(file, arrays, json.dumps(changed))
    assert isinstance(found, (px.PhloxError, px.Module))
    if isinstance(found, px.Module):
        repr(found)
        px.state_dict(found)


@fuzz
@given(flips=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 7)), min_size=1, max_size=8))
def test_no_flipped_bits_do_more_than_load_or_be_refused(file, whole, flips):
    raw = bytearray(whole)
    head = 8 + int.from_bytes(whole[:8], "little")
    for place, bit in flips:
        raw[min(int(place * head), head - 1)] ^= 1 << bit
    file.write_bytes(raw)
    assert isinstance(loaded(file), (px.PhloxError, px.Module))


def test_a_hostile_file_costs_no_memory_worth_the_name(tmp_path):
    """The whole table of refusals in a process that may not take 400 MB more than it starts with."""
    code = (
        "import resource, sys; from weights.test_artifact_hostile import REFUSED, attempt; import numpy as np;"
        "from pathlib import Path; file = Path(sys.argv[1]);"
        "attempt(file, {}, '{');"
        "base = int(open('/proc/self/statm').read().split()[0]) * 4096;"
        "resource.setrlimit(resource.RLIMIT_AS, (base + 400_000_000,) * 2);"
        "[attempt(file, {'w': np.zeros(2, np.float32)}, text) for text in REFUSED.values()]"
    )
    source, tests = Path(px.__file__).parents[1], Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": f"{source}:{tests}"}
    subprocess.run([sys.executable, "-c", code, tmp_path / "file"], check=True, env=environment)
