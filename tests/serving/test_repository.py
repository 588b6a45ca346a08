"""Models in a folder: picked up, replaced and dropped while others are asked; what is broken leaves what serves."""

import asyncio
import json
import os
import shutil
from collections import Counter

import numpy as np
import pytest

import phlox as px
from kit import oracle
from phlox.serving._errors import UnavailableError, UnknownModelError
from phlox.serving._limits import Limits
from phlox.serving.repository import _memory
from phlox.serving.repository._layout import find_models
from phlox.serving.repository._policy import Policy, read_policy
from phlox.serving.repository._repository import Repository
from phlox.serving.repository._version import State
from serving.small import Scaled, write_onnx

oracle("onnxruntime")
X = {"x": np.ones((1, 2), np.float32)}


def kept(test, source, **options):
    """Run a test of a repository, which is closed in the end; gives what was told, too."""
    told = []

    async def whole():
        one = Repository(source, Limits(batch=2), tell=lambda event, facts: told.append((event, facts)), **options)
        await one.refresh()
        try:
            return await test(one)
        finally:
            await one.close()

    return asyncio.run(whole()), told


async def factor(repository, name="m", **which):
    """The factor of the version that answers."""
    version = repository.find(name).choose(**which)
    with version.used():
        return float((await version.answer("default", X))["y"][0, 0])


def states(repository, name="m"):
    return {n: v.state.value for n, v in repository.find(name).versions.items()}


def test_versions_are_picked_up_and_dropped(tmp_path):
    write_onnx(tmp_path / "m" / "1" / "model.onnx", 1.0)

    async def test(one):
        found = [await factor(one)]
        write_onnx(tmp_path / "m" / "2" / "model.onnx", 2.0)
        write_onnx(tmp_path / "n" / "7" / "model.onnx", 7.0)
        await one.refresh()
        found += [await factor(one), await factor(one, "n", number=7)]
        assert states(one)[2] == "AVAILABLE"
        await one._left()
        assert states(one) == {1: "END", 2: "AVAILABLE"}  # the latest alone, as TensorFlow Serving has it
        shutil.rmtree(tmp_path / "n")
        await one.refresh()
        await one._left()
        assert await factor(one, "n") == 7  # gone once may be a folder that is being replaced
        await one.refresh()
        await one._left()
        await one.refresh()
        await one.refresh()
        with pytest.raises(UnknownModelError, match="a model among m, got 'n'"):
            one.find("n")
        return found

    found, told = kept(test, tmp_path)
    assert found == [1, 2, 7]
    assert [f"{event} {facts['model']}/{facts['version']}" for event, facts in told][:5] == [
        "loading m/1", "available m/1", "loading m/2", "available m/2", "unloading m/1"
    ]  # fmt: skip


def test_a_version_that_fails_leaves_the_old_one(tmp_path):
    write_onnx(tmp_path / "m" / "3" / "model.onnx", 3.0)

    async def test(one):
        broken = tmp_path / "m" / "4"
        broken.mkdir()
        (broken / "model.onnx").write_bytes(b"no model")
        for _ in range(2):
            await one.refresh()
        assert await factor(one) == 3
        assert states(one) == {3: "AVAILABLE", 4: "END"}
        assert "m/4 expects model.onnx to run in ONNX Runtime" in one.find("m").versions[4].error
        with (
            pytest.raises(UnavailableError, match=r"got end: m/4 expects model\.onnx to run"),
            one.find("m").choose(4).used(),
        ):
            pass
        write_onnx(broken / "model.onnx", 4.0)
        await one.refresh()
        return await factor(one)

    found, told = kept(test, tmp_path)
    assert found == 4
    assert [event for event, _ in told].count("failed") == 1  # tried again when it had changed


def test_the_newest_that_loads_serves_at_the_start(tmp_path):
    write_onnx(tmp_path / "m" / "1" / "model.onnx", 1.0)
    (tmp_path / "m" / "2").mkdir()

    async def test(one):
        return await factor(one), one.ready

    assert kept(test, tmp_path)[0] == (1.0, True)


def test_a_version_replaced_in_its_place(tmp_path):
    path = write_onnx(tmp_path / "m" / "1" / "model.onnx", 1.0)

    async def test(one):
        before = one.find("m").versions[1]
        os.utime(write_onnx(path, 5.0), ns=(1, 1))
        await one.refresh()
        found = [await factor(one)]
        path.write_bytes(b"no model")
        await one.refresh()
        return [*found, await factor(one)], before, one.find("m").versions[1].error

    (found, before, error), _ = kept(test, tmp_path)
    assert found == [5, 5]
    assert before.state is State.END
    assert "to run in ONNX Runtime" in error


def test_policies_labels_and_weights(tmp_path):
    for n in (1, 2, 3):
        write_onnx(tmp_path / "m" / str(n) / "model.onnx", n)
    policy = tmp_path / "m" / "config.json"
    policy.write_text('{"versions": "all", "labels": {"stable": 2}, "weights": {"2": 9, "3": 1}}')

    async def test(one):
        assert states(one) == dict.fromkeys((1, 2, 3), "AVAILABLE")
        assert await factor(one, label="stable") == 2
        assert await factor(one, number=1) == 1
        with pytest.raises(UnknownModelError, match="a label among stable, got 'odd'"):
            await factor(one, label="odd")
        with pytest.raises(UnknownModelError, match="a version among 1, 2, 3, got 9"):
            await factor(one, number=9)
        drawn = Counter(one.find("m").choose().number for _ in range(2000))
        assert set(drawn) == {2, 3}
        assert 130 < drawn[3] < 270  # a tenth: within five deviations
        policy.write_text('{"labels": {"stable": 1}}')
        await one.refresh()
        await one._left()
        assert states(one) == {1: "AVAILABLE", 2: "END", 3: "AVAILABLE"}
        assert await factor(one, label="stable") == 1
        assert await factor(one) == 3
        policy.write_text('{"labels": 7}')
        await one.refresh()
        assert "labels and weights by name" in one.find("m").error
        return await factor(one, label="stable")

    assert kept(test, tmp_path)[0] == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "a policy in JSON"),
        ("[]", "rollback, note alone, got a list"),
        ('{"label": {}}', "rollback, note alone, got 'label'"),
        ('{"versions": "newest"}', 'versions as "latest", "all", or a list of numbers'),
        ('{"versions": [0]}', 'versions as "latest", "all", or a list of numbers'),
        ('{"labels": {"a": "1"}}', "labels as"),
        ('{"weights": {"1": -1}}', "weights as"),
        ('{"weights": {"1": 0}}', "weights as"),
        ('{"weights": {"one": 1}}', "weights as"),
    ],
)
def test_a_wrong_policy_is_refused(text, message, tmp_path):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(px.OptionError, match=r"config\.json expects") as error:
        read_policy(tmp_path)
    assert message in str(error.value)


def test_chosen_versions_alone():
    assert Policy((1, 3)).newest([1, 2, 3]) == ()
    assert Policy("latest").newest([1, 10, 9]) == (10, 9, 1)


def test_memory_is_told_before_loading(tmp_path, monkeypatch):
    path = write_onnx(tmp_path / "m" / "1" / "model.onnx", 1.0)
    size = path.stat().st_size

    async def test(one):
        write_onnx(tmp_path / "n" / "1" / "model.onnx", 2.0)
        await one.refresh()
        assert states(one, "n") == {1: "END"}
        assert one.kept() == size
        told = one.find("n").versions[1].error
        monkeypatch.setattr(_memory, "available_memory", lambda: 1)
        await one.unload("m")
        await one.load("m")
        return told

    with pytest.raises(UnavailableError, match=r"to load weights of \d+ bytes, got 1 byte"):
        kept(test, tmp_path, memory=size + 1)
    monkeypatch.undo()

    async def again(one):
        await one.refresh()
        error = one.find("n").versions[1].error
        await one.unload("m")
        await one.refresh()  # now there is room
        return error, await factor(one, "n")

    (error, found), told = kept(again, tmp_path, memory=size + 1)
    assert "expects models of" in error
    assert found == 2
    assert [event for event, _ in told].count("failed") == 1


def test_unloaded_until_loaded(tmp_path):
    write_onnx(tmp_path / "m" / "1" / "model.onnx", 1.0)

    async def test(one):
        await one.unload("m")
        await one.refresh()
        with pytest.raises(UnavailableError, match="m expects a version that is loaded"):
            await factor(one)
        await one.load("m")
        with pytest.raises(UnknownModelError):
            await one.load("odd")
        return await factor(one)

    assert kept(test, tmp_path)[0] == 1


def test_what_a_client_configures_holds_until_another_does(tmp_path):
    for name, number in (("m", 1), ("m", 2), ("n", 1), ("o", 1)):
        write_onnx(tmp_path / name / str(number) / "model.onnx", 10.0 * number)
    (tmp_path / "n" / "config.json").write_text('{"labels": {"old": 1}}')

    def serving(one):
        return {name: sorted(m.available()) for name, m in one.models.items() if m.available()}

    async def test(one):
        found = [serving(one)]
        await one.configure({"m": Policy((1,), {"stable": 1}), "n": Policy()})
        found.append((serving(one), one.ready, await factor(one), await factor(one, label="stable")))
        with pytest.raises(UnknownModelError, match="a label among none, got 'old'"):
            one.find("n").choose(label="old")
        write_onnx(tmp_path / "p" / "1" / "model.onnx", 7.0)  # nobody asked for it
        await one.refresh()
        for wrong, message in (
            ({"q": Policy()}, "models among m, n, o, p, got 'q'"),
            ({"o": Policy((3,))}, "versions of o among 1, got 3"),
        ):
            with pytest.raises(UnknownModelError, match=message):
                await one.configure(wrong)
        found.append(serving(one))
        await one.load("p")
        await one.unload("n")
        await one.refresh()
        found.append(serving(one))
        await one.configure({"m": Policy("all"), "o": Policy()})
        return [*found, serving(one)]

    found, _ = kept(test, tmp_path)
    assert found == [
        {"m": [2], "n": [1], "o": [1]},
        ({"m": [1], "n": [1]}, True, 10.0, 10.0),
        {"m": [1], "n": [1]},
        {"m": [1], "p": [1]},
        {"m": [1, 2], "o": [1]},
    ]


def test_a_version_is_put_away_when_its_requests_are_answered():
    servable = Scaled(3.0)

    async def test(one):
        await asyncio.sleep(0)
        servable.free.clear()
        asked = asyncio.ensure_future(factor(one))
        while not servable.entered.acquire(blocking=False):
            await asyncio.sleep(0.001)
        leaving = asyncio.ensure_future(one.unload("m"))
        for _ in range(5):
            await asyncio.sleep(0.002)
        assert states(one) == {1: "UNLOADING"}
        with pytest.raises(UnavailableError):
            one.find("m").choose()
        servable.free.set()
        await leaving
        assert not one.find("m").versions[1].batcher._thread.is_alive()
        return await asked, states(one)

    assert kept(test, {"m": servable})[0] == (3.0, {1: "END"})


def test_a_request_that_is_being_prepared_is_answered_too():
    class Prepared(Scaled):
        def preprocess(self, signature, inputs):
            self.entered.release()
            assert self.free.wait(20)
            return {"x": inputs["x"] + 1}

    servable = Prepared()

    async def test(one):
        servable.free.clear()
        asked = asyncio.ensure_future(factor(one))
        while not servable.entered.acquire(blocking=False):
            await asyncio.sleep(0.001)
        leaving = asyncio.ensure_future(one.unload("m"))
        await asyncio.sleep(0.05)
        servable.free.set()
        await leaving
        return await asked

    assert kept(test, {"m": servable})[0] == 4


def test_what_a_folder_holds(tmp_path):
    for name in ("a/1", "a/02", "a/x", "a/0", "b/one", ".c/1", "d e/1"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "a" / "3").write_text("a file")
    assert {name: list(found) for name, found in find_models(tmp_path, "").items()} == {"a": [1, 2]}
    path = write_onnx(tmp_path / "my net.onnx", 1.0)
    assert list(find_models(path, "")) == ["my_net"]
    (tmp_path / "x" / "bundle").mkdir(parents=True)
    (tmp_path / "x" / "bundle" / "bundle.json").write_text(json.dumps({}))
    assert list(find_models(tmp_path / "x" / "bundle", "")) == ["bundle"]
    with pytest.raises(px.weights.MissingFileError, match="nowhere to exist, got nothing"):
        find_models(tmp_path / "nowhere", "")
