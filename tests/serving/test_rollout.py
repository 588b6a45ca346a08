"""Shares of versions: given, kept, keyed, taken away by hand and by a guard; what cannot be loaded has none."""

import json
from collections import Counter

import numpy as np
import pytest

import phlox as px
from kit import oracle
from phlox.serving import Server
from phlox.serving.repository._guard import Guard, Tally, added
from phlox.serving.repository._model import keyed
from phlox.serving.repository._policy import Policy
from serving.small import Scaled, ask, write_onnx
from serving.test_server import PREDICT, number, until

oracle("uvicorn")
oracle("onnxruntime")

ROLLOUT, ROLLBACK = "/v2/repository/models/m/rollout", "/v2/repository/models/m/rollback"


def write_fragile(path, factor):
    """y = factor · x, which fails where a number is above 40."""
    from onnx import TensorProto, helper, numpy_helper, save

    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", 2]) for n in "xy")
    zeros = numpy_helper.from_array(np.zeros(41, np.float32), "zeros")
    k = numpy_helper.from_array(np.float32(factor), "k")
    nodes = [
        helper.make_node("Cast", ["x"], ["at"], to=TensorProto.INT64),
        helper.make_node("Gather", ["zeros", "at"], ["nothing"]),
        helper.make_node("Mul", ["x", "k"], ["scaled"]),
        helper.make_node("Add", ["scaled", "nothing"], ["y"]),
    ]
    path.parent.mkdir(parents=True)
    graph = helper.make_graph(nodes, "fragile", [x], [y], [zeros, k])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def asked(server, value=1.0, headers=None, path=PREDICT):
    """Status, the factor of the answer, and which version it says it is of."""
    status, told, sent = ask(server, "POST", path, {"instances": [[value, value]]}, headers)
    factor = told["predictions"][0][0] / value if status == 200 else None
    return status, factor, int(sent["x-model-version"])


@pytest.fixture
def folder(tmp_path):
    for version in (1, 2):
        write_onnx(tmp_path / "m" / str(version) / "model.onnx", float(version))
    return tmp_path


def test_shares_are_given_kept_and_taken_back(folder):
    config = folder / "m" / "config.json"
    config.write_text('{"labels": {"old": 1}}')
    with Server(folder, port=0) as server:
        assert asked(server) == (200, 2.0, 2)  # the latest, as long as nobody says more
        status, told, _ = ask(server, "POST", ROLLOUT, {"weights": {"2": 3, "1": 1}})
        assert (status, told["versions"]) == (200, {
            "1": {"state": "AVAILABLE", "share": 0.25}, "2": {"state": "AVAILABLE", "share": 0.75}
        })  # fmt: skip
        found = [asked(server) for _ in range(100)]
        assert {(status, factor == version) for status, factor, version in found} == {(200, True)}
        assert abs(Counter(version for *_, version in found)[1] - 25) < 5 * (100 * 0.25 * 0.75) ** 0.5
        assert number(server, 'phlox_share{model="m",version="1"}') == 0.25
        assert json.loads(config.read_text()) == {"labels": {"old": 1}, "weights": {"2": 3, "1": 1}, "rollback": 2}
        assert ask(server, "POST", ROLLOUT, {"weights": {"1": 1}})[0] == 200
        assert {asked(server)[2] for _ in range(20)} == {1}
    with Server(folder, port=0) as server:  # a restart forgets nothing
        assert {asked(server)[2] for _ in range(20)} == {1}
        for _ in range(2):  # a second one changes nothing
            status, told, _ = ask(server, "POST", ROLLBACK)
            assert (status, told["weights"], told["note"]) == (200, {"2": 1}, "rolled back: asked for")
        assert {asked(server)[2] for _ in range(20)} == {2}
        assert number(server, "phlox_rollbacks_total") == 1
        assert asked(server, path="/v1/models/m/labels/old:predict") == (200, 1.0, 1)


def test_a_key_keeps_its_version_and_no_more_keys_move_than_must(folder):
    keys = [{"X-Route-Key": f"user {n}"} for n in range(30)]
    with Server(folder, port=0) as server:
        ask(server, "POST", ROLLOUT, {"weights": {"1": 7, "2": 3}})
        first = [asked(server, headers=key)[2] for key in keys]
        assert [asked(server, headers=key)[2] for key in keys] == first
        assert 0 < first.count(2) < 20
        ask(server, "POST", ROLLOUT, {"weights": {"1": 4, "2": 6}})
        second = [asked(server, headers=key)[2] for key in keys]
    assert second.count(2) > first.count(2)
    assert all(after == 2 for before, after in zip(first, second, strict=True) if before == 2)


def test_keys_are_spread_by_shares():
    shares, n = {1: 0.6, 2: 0.3, 3: 0.1}, 20_000
    counts = Counter(keyed(f"m/{i}", shares) for i in range(n))
    for version, share in shares.items():
        assert abs(counts[version] - share * n) < 5 * (n * share * (1 - share)) ** 0.5
    moved = [(keyed(f"m/{i}", shares), keyed(f"m/{i}", {1: 0.5, 2: 0.3, 3: 0.2})) for i in range(2000)]
    assert {before for before, after in moved if before != after} == {1, 2}  # 3 has gained: nobody leaves it
    assert {after for before, after in moved if before != after and before == 2} <= {1, 3}
    assert keyed("m/\ud800", shares) in shares


def test_what_cannot_be_loaded_takes_no_traffic(folder):
    config = folder / "m" / "config.json"
    broken = folder / "m" / "3"
    broken.mkdir()
    (broken / "model.onnx").write_bytes(b"no model")
    with Server(folder, port=0) as server:
        assert ask(server, "POST", ROLLOUT, {"weights": {"1": 1, "2": 1}})[0] == 200
        before = json.loads(config.read_text())
        status, told, _ = ask(server, "POST", ROLLOUT, {"weights": {"1": 1, "3": 99}})
        assert (status, "got 3: " in told["error"], "model.onnx to run in" in told["error"]) == (503, True, True)
        assert json.loads(config.read_text()) == before
        config.write_text('{"weights": {"1": 1, "3": 99}}')  # by hand, the same: who is there has all
        until(lambda: ask(server, "GET", ROLLOUT)[1]["weights"] == {"1": 1, "3": 99})
        assert {asked(server)[2] for _ in range(20)} == {1}


@pytest.mark.parametrize("bound", ["errors", "seconds"])
def test_a_version_that_is_worse_than_its_guard_allows_is_put_back(tmp_path, bound):
    write_onnx(tmp_path / "m" / "1" / "model.onnx", 1.0)
    write_fragile(tmp_path / "m" / "2" / "model.onnx", 2.0)
    guard = {"errors": 0.2, "requests": 8} if bound == "errors" else {"seconds": 1e-6, "requests": 8}
    with Server(tmp_path, port=0, poll=0.02) as server:
        assert ask(server, "POST", ROLLOUT, {"weights": {"1": 1}})[0] == 200
        assert ask(server, "POST", ROLLOUT, {"weights": {"1": 1, "2": 9}, "guard": guard})[0] == 200
        if bound == "errors":
            for n in range(30):  # one in ten fails, which may be
                assert asked(server, 50.0 if n % 10 == 5 else 1.0)[0] in ((200, 500) if n % 10 == 5 else (200,))
            told = ask(server, "GET", ROLLOUT)[1]
            assert (told["weights"], told["versions"]["2"]["errors"] > 0) == ({"1": 1, "2": 9}, True)
        until(lambda: asked(server, 50.0) == (200, 1.0, 1) and ask(server, "GET", ROLLOUT)[1]["weights"] == {"1": 1})
        note = ask(server, "GET", ROLLOUT)[1]["note"]
        wanted = "answers failed, at most 20% may" if bound == "errors" else "took longer than 1e-06 s, at most 5% may"
        assert note.startswith("rolled back: version 2: ")
        assert wanted in note
        assert {asked(server, 50.0)[:2] for _ in range(10)} == {(200, 1.0)}
        assert number(server, 'phlox_rollbacks_total{model="m",version="1"}') == 1
        assert json.loads((tmp_path / "m" / "config.json").read_text())["weights"] == {"1": 1}


def test_a_window_forgets_and_a_client_s_faults_count_for_nothing(folder):
    now = [0.0]
    tally = Tally(Guard(errors=0.5, seconds=0.1, window=10), clock=lambda: now[0])
    for n in range(4):
        tally.add(failed=n == 0, seconds=0.2 if n < 2 else 0.05)
    assert tally.counts() == (4, 1, 2)
    now[0] = 9.0
    tally.add(failed=False, seconds=0.0)
    assert tally.counts() == (5, 1, 2)
    now[0] = 10.5
    assert tally.counts() == (1, 0, 0)
    with Server(folder, port=0) as server:
        ask(server, "POST", ROLLOUT, {"weights": {"1": 1, "2": 1}, "guard": {"errors": 0.0}})
        assert ask(server, "POST", PREDICT, {"instances": [[1, 2, 3]]})[0] == 400
        assert asked(server)[0] == 200
        told = ask(server, "GET", ROLLOUT)[1]["versions"]
        assert [sum(one[name] for one in told.values()) for name in ("answers", "errors")] == [1, 0]


def test_answers_of_all_workers_count_together_under_one_policy():
    mine, theirs = ({"m": {"since": 7, "counts": {"1": counts}}} for counts in ((10, 1, 2), [5, 4, 0]))
    before = {"m": {"since": 6, "counts": {"1": [9, 9, 9]}}}
    assert added([mine, theirs, before, {}], "m", 7, 1) == (15, 5, 2)
    assert added([mine, theirs], "m", 7, 2) == (0, 0, 0)


WRONG = [
    ({}, 400, "weights by version, and a guard, got weights None"),
    ({"weights": {"1": 1}, "share": 3}, 400, "got 'share'"),
    ({"weights": {"7": 1}}, 404, "versions among 1, 2, got 7"),
    ({"weights": {"1": 0}}, 400, 'weights as {"3": 9, "4": 1}'),
    ({"weights": {"1": -1, "2": 2}}, 400, 'weights as {"3": 9, "4": 1}'),
    ({"weights": {"one": 1}}, 404, "got 'one'"),
    ({"weights": {"1": 1}, "guard": {}}, 400, "errors or seconds, of which one at least is bounded"),
    ({"weights": {"1": 1}, "guard": {"errors": 5}}, 400, "errors from 0 to 1, got 5"),
    ({"weights": {"1": 1}, "guard": {"errors": 0.5, "kind": 1}}, 400, "got 'kind'"),
    ({"weights": {"1": 1}, "guard": {"errors": 0.5, "requests": 0}}, 400, "requests as a whole number above 0"),
]


def test_wrong_rollouts_change_nothing(folder):
    with Server(folder, port=0, poll=60) as server:
        for body, status, message in WRONG:
            found, told, _ = ask(server, "POST", ROLLOUT, body)
            assert (found, message in told["error"]) == (status, True), told
        assert not (folder / "m" / "config.json").exists()


def test_where_no_folder_holds_there_is_no_rollout(folder):
    with Server({"m": Scaled()}, port=0) as server:
        status, told, _ = ask(server, "POST", ROLLOUT, {"weights": {"1": 1}})
        assert (status, "a model with versions in a folder" in told["error"]) == (400, True)
    with Server(folder, port=0) as server:
        status, told, _ = ask(server, "POST", ROLLBACK)
        assert (status, "a version to go back to, got none" in told["error"]) == (400, True)
        assert ask(server, "POST", "/v2/repository/models/n/rollback")[0] == 404


def test_a_policy_says_in_json_what_it_was_told():
    guard = Guard(seconds=0.5, slow=0.1)
    policy = Policy((1, 2), {"old": 1}, {1: 9, 2: 1}, guard, 1, "rolled back: asked for")
    assert Policy.of(json.loads(json.dumps(policy.told())), "config.json") == policy
    assert Policy().told() == {}
    for odd in ({"rollback": "3"}, {"note": 3}, {"guard": 3}, {"weights": [1]}, {"else": 1}, []):
        with pytest.raises(px.OptionError):
            Policy.of(odd, "config.json")
