"""px.serving.ray without Ray, which the area ray has: what a replica answers, when it is well, and what is refused."""

import asyncio
import json
import sys

import pytest

import phlox as px
from kit import oracle
from phlox.serving.replicas._messages import Call, Start
from phlox.serving.replicas._replica import Replica
from serving.small import Scaled, ask, write_onnx

oracle("uvicorn")
oracle("httptools")
oracle("prometheus_client")

ROW = json.dumps({"instances": [[1, 2]]}).encode()


def call(path="/v1/models/m:predict", body=ROW, method="POST", headers=()):
    return Call(method, path, b"", list(headers), body, ("127.0.0.1", 1))


async def answered(replica, asked):
    """The status of-an answer and its body."""
    start, *parts = [one async for one in replica.answer(asked)]
    assert isinstance(start, Start)
    assert start.whole
    return start.status, b"".join(parts)


async def until(condition):
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it never came")


def test_a_replica_answers_as_the_server_does():
    asked = [
        call(), call(body=b'{"instances": [[1, 2, 3]]}'), call("/v1/models/none:predict"), call("/nowhere"),
        call("/v2/models/m", b"", "GET"), call("/readyz", b"", "GET"), call(body=b"{"),
    ]  # fmt: skip

    async def all_of(replica):
        return [await answered(replica, one) for one in asked]

    found = asyncio.run(all_of(Replica({"m": Scaled()}, {})))
    with px.serving.Server({"m": Scaled()}, port=0) as server:
        told = [ask(server, one.method, one.path, one.body) for one in asked]
    assert [status for status, _ in found] == [200, 400, 404, 404, 200, 200, 400]
    for (status, body), (wanted, text, *_) in zip(found, told, strict=True):
        assert (status, json.loads(body)) == (wanted, text)


def test_requests_of_one_replica_are_batched():
    scaled = Scaled()

    async def ten():
        replica = Replica(lambda: {"m": scaled}, {})
        await replica.check_health()
        scaled.sizes.clear()
        return await asyncio.gather(*(answered(replica, call()) for _ in range(10)))

    assert asyncio.run(ten()) == [(200, b'{"predictions":[[2.0,4.0]]}')] * 10
    assert scaled.sizes == [16]  # filled up to a power of two


def test_who_leaves_is_not_computed_for():
    scaled = Scaled()

    async def leaving():
        replica = Replica({"m": scaled}, {})
        await replica.check_health()
        scaled.sizes.clear()
        scaled.free.clear()
        first = asyncio.ensure_future(answered(replica, call()))
        await until(lambda: scaled.sizes)
        second = asyncio.ensure_future(answered(replica, call(body=b'{"instances": [[7, 7]]}')))
        await until(lambda: replica._repository.models["m"].choose().batcher.waiting == 1)
        second.cancel()
        await asyncio.wait([second])
        scaled.free.set()
        await first
        return await answered(replica, call())

    assert asyncio.run(leaving())[0] == 200
    assert not any((x == 7).any() for x in scaled.seen)


def test_a_replica_looks_at_its_folder(tmp_path):
    async def twice():
        write_onnx(tmp_path / "m" / "1" / "m.onnx", 2.0)
        replica = Replica(str(tmp_path), {"poll": 0.01})
        await replica.check_health()
        before = await answered(replica, call())
        write_onnx(tmp_path / "m" / "2" / "m.onnx", 3.0)
        await until(lambda: 2 in replica._repository.models["m"].available())
        return before, await answered(replica, call())

    (_, before), (_, after) = asyncio.run(twice())
    assert [json.loads(body)["predictions"] for body in (before, after)] == [[[2.0, 4.0]], [[3.0, 6.0]]]


def test_a_replica_is_not_well_while_nothing_can_be_asked(tmp_path):
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "1" / "m.onnx").write_bytes(b"no model")

    async def looked_at(source):
        await Replica(source, {}).check_health()

    with pytest.raises(px.serving.UnavailableError, match=r"px\.serving\.ray expects a model that can be asked, got "):
        asyncio.run(looked_at(str(tmp_path)))
    with pytest.raises(px.serving.UnavailableError, match=r"a model that can be asked, got none\n  fix: look at the"):
        asyncio.run(looked_at({}))


def test_keys_hold_in_each_replica():
    asked = [call(), call(headers=[(b"authorization", b"Bearer of-a")]), call("/healthz", b"", "GET")]

    async def all_of(replica):
        return [(await answered(replica, one))[0] for one in asked]

    assert asyncio.run(all_of(Replica({"m": Scaled()}, {"token": ["of-a", "of-b"]}))) == [401, 200, 200]


def test_ray_serve_that_is_not_installed_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(px.MissingExtraError) as caught:
        px.serving.ray({"m": Scaled()})
    assert str(caught.value) == 'px.serving.ray expects Ray Serve, got none\n  fix: pip install "phlox[ray-serve]"'


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"replicas": 0}, "px.serving.ray expects replicas of at least 1, got 0"),
        ({"replicas": True}, "px.serving.ray expects replicas of at least 1, got True"),
        ({"replicas": (3, 2)}, r"got (3, 2)\n  fix: write replicas=(2, 3)"),
        ({"ongoing": 0.5}, "px.serving.ray expects ongoing of at least 1, got 0.5"),
        ({"tries": 0}, "px.serving.ray expects tries of at least 1, got 0"),
        ({"poll": 0.0}, "px.serving.Server expects poll above 0, got 0.0"),
    ],
)
def test_what_makes_no_sense_is_refused(given, told):
    with pytest.raises(px.RangeError) as caught:
        px.serving.ray({"m": Scaled()}, **given)
    assert told.replace("\\n", "\n") in str(caught.value)


def test_what_no_server_serves_is_refused_before_ray_is_asked():
    with pytest.raises(px.OptionError, match=r"px\.serving expects a path, or servables by name, got"):
        px.serving.ray(3)
