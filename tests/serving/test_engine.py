"""The engine: batches that give what single requests give, greedy, bounded, and fair to each request."""

import asyncio
import itertools
import threading
import time

import numpy as np
import pytest

import phlox as px
from kit import oracle
from phlox.core import ExportError, MissingExtraError
from phlox.serving._errors import DeadlineError, ModelFailedError, QueueFullError, UnavailableError
from phlox.serving.engine import _batcher, _opening, _pace
from phlox.serving.engine._asking import taken
from phlox.serving.engine._batcher import Batcher
from phlox.serving.engine._opening import Opening, opened
from phlox.serving.engine._rows import Rows
from phlox.serving.engine._runner import Runner
from phlox.serving.engine._warming import warm_up
from phlox.weights import BundleArray, Signature
from serving.small import Scaled, Upper, write_onnx

oracle("flatbuffers")


class Mixer(px.Module):
    """Each row less the mean of all rows: what it gives depends on the batch."""

    def __init__(self):
        self.dense = px.Dense(3, 2, key=0)

    def __call__(self, x):
        return self.dense(x) - self.dense(x).mean(0)


def _model():
    return px.Chain(px.Dense(3, 8, px.tanh, key=0), px.Dense(8, 2, key=1))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("engine") / "net"
    about = px.interchange.About(classes=["no", "yes"])
    px.export(_model(), folder, inputs={"x": px.Spec("batch", 3)}, about=about)
    return folder


@pytest.fixture(scope="module")
def net(bundle):
    """The bundle, warmed up, and the model that it is of."""
    servable, notes = opened(bundle, Opening(), "net")
    runner = Runner(servable, 8)
    assert (notes, warm_up(runner)) == ([], [])
    return runner, _model()


def run(test):
    """Run a test of a batcher; ``test`` gets a function that makes one."""

    async def whole():
        made = []

        def batcher(runner, most=8, limit=100):
            made.append(Batcher(runner, most=most, limit=limit, name="test"))
            return made[-1]

        try:
            return await test(batcher)
        finally:
            for one in made:
                await asyncio.wait_for(one.drain(), 20)

    return asyncio.run(whole())


def row(*values):
    return {"x": np.array([values], np.float32)}


async def until(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.001)


def test_a_bundle_is_run_from_its_model_and_batches_give_what_rows_give(net):
    runner, model = net
    assert runner.servable.runtime == "model.phlox"
    assert runner.servable.classes == ("no", "yes")
    x = np.random.default_rng(0).normal(size=(21, 3)).astype(np.float32)
    wanted = np.asarray(model(x))

    async def test(batcher):
        one = batcher(runner)
        cuts = [0, 1, 2, 4, 7, 21]  # the last has more rows than one call takes
        futures = [one.submit("default", {"x": x[a:b]}, b - a, 20) for a, b in itertools.pairwise(cuts)]
        found = [(await f)["output"] for f in futures]
        alone = [(await one.submit("default", {"x": x[i : i + 1]}, 1, 20))["output"] for i in range(21)]
        return np.concatenate(found), np.concatenate(alone)

    together, alone = run(test)
    assert together.shape == wanted.shape
    np.testing.assert_allclose(together, wanted, atol=1e-5)
    np.testing.assert_allclose(alone, wanted, atol=1e-5)


def test_stablehlo_takes_over_where_the_model_is_another_now(bundle, monkeypatch):
    def changed(found, **options):
        other = px.Chain(px.Dense(3, 8, px.tanh, key=5), px.Dense(8, 2, key=1))
        return _opening.runnables_of_model(other, {"x": px.Spec("batch", 3)}, where="")

    monkeypatch.setattr(_opening, "runnables_of_bundle", changed)
    servable, [note] = opened(bundle, Opening(), "net")
    assert servable.runtime == "StableHLO"
    assert "expects default to give what its examples say" in note
    x = np.ones((4, 3), np.float32)
    np.testing.assert_allclose(servable.predict("default", {"x": x})["output"], _model()(x), atol=1e-5)


def test_a_file_of_px_save_needs_inputs(tmp_path):
    px.save(_model(), tmp_path / "net.phlox")
    with pytest.raises(ExportError, match=r"what a model takes, where it is no bundle, got net.phlox\n  fix: say it"):
        opened(tmp_path / "net.phlox", Opening(), "net")
    servable, _ = opened(tmp_path / "net.phlox", Opening({"x": px.Spec("batch", 3)}), "net")
    x = np.ones((2, 3), np.float32)
    np.testing.assert_allclose(servable.predict("default", {"x": x})["output"], _model()(x), atol=1e-5)
    with pytest.raises(
        px.weights.MissingFileError, match="a bundle, a model of text, or one ONNX file, got none of them"
    ):
        opened(tmp_path, Opening(), "net")


def test_rows_that_depend_on_others_are_never_batched():
    runnables = px.interchange.runnables_of_model(Mixer(), {"x": px.Spec("batch", 3)}, where="")
    runner = Runner(px.serving.engine._compiled.CompiledServable(runnables, "px.save"), 8)
    [note] = warm_up(runner)
    assert note == "default runs request by request: a row's result depends on the rows beside it"
    x = np.arange(9, dtype=np.float32).reshape(3, 3)
    two = runner("default", [{"x": x}, {"x": 2 * x}], [3, 3])
    for found, given in zip(two, (x, 2 * x), strict=True):
        np.testing.assert_allclose(found["output"], Mixer()(given), atol=1e-5)


def test_what_is_asked_while_a_batch_runs_is_the_next_batch():
    servable = Scaled()

    async def test(batcher):
        one = batcher(Runner(servable, 8))
        servable.free.clear()
        first = one.submit("default", row(1, 2), 1, 20)
        await until(lambda: servable.entered.acquire(blocking=False))
        rest = [one.submit("default", row(i, i), 1, 20) for i in range(6)]
        assert (one.running, one.waiting) == (1, 6)
        servable.free.set()
        return [(await f)["y"].tolist() for f in (first, *rest)]

    assert run(test) == [[[2.0, 4.0]], *([[2.0 * i, 2.0 * i]] for i in range(6))]
    assert servable.sizes == [1, 8]  # six, filled up to a power of two
    np.testing.assert_array_equal(servable.seen[1][6:], [[5, 5], [5, 5]])


def test_a_batch_ends_at_its_most_rows_and_at_another_bucket():
    servable = Scaled(width="width")

    async def test(batcher):
        one = batcher(Runner(servable, 4), most=4)
        servable.free.clear()
        futures = [one.submit("default", row(0), 1, 20)]
        await until(lambda: servable.entered.acquire(blocking=False))
        for values in [(1, 1), (2,), (3, 3), (4, 4), (5, 5), (6, 6), (7,)]:
            futures.append(one.submit("default", row(*values), 1, 20))
        servable.free.set()
        return [(await f)["y"].reshape(-1)[0] for f in futures]

    assert run(test) == [2.0 * i for i in range(8)]
    assert [x.shape for x in servable.seen] == [(1, 1), (4, 2), (2, 1), (1, 2)]


def test_an_error_is_that_of_its_request_alone():
    async def test(batcher):
        servable = Scaled()
        one = batcher(Runner(servable, 8))
        servable.free.clear()
        futures = [one.submit("default", row(0, 0), 1, 20)]
        await until(lambda: servable.entered.acquire(blocking=False))
        futures += [one.submit("default", row(n, n), 1, 20) for n in (1, -1, 3)]
        servable.free.set()
        return await asyncio.gather(*futures, return_exceptions=True)

    zero, first, bad, last = run(test)
    assert [x["y"][0, 0] for x in (zero, first, last)] == [0, 2, 6]
    assert isinstance(bad, ModelFailedError)
    assert "got ArithmeticError: negative" in str(bad)


def test_full_late_and_gone_requests():
    servable = Scaled()

    async def test(batcher):
        one = batcher(Runner(servable, 8), limit=3)
        servable.free.clear()
        running = one.submit("default", row(0, 0), 1, 20)
        await until(lambda: servable.entered.acquire(blocking=False))
        late = one.submit("default", row(1, 1), 1, 0.02)
        gone = one.submit("default", row(2, 2), 1, 20)
        with pytest.raises(QueueFullError, match="at most 3 requests at a time, got one more") as full:
            one.submit("default", row(3, 3), 1, 20)
        assert full.value.retry_after >= 1
        with pytest.raises(DeadlineError, match=r"an answer within 0.02 s, got none yet"):
            await late
        gone.cancel()
        kept = one.submit("default", row(4, 4), 1, 20)  # the two have made room
        servable.free.set()
        assert (await running)["y"][0, 0] == 0
        assert (await kept)["y"][0, 0] == 8
        await one.drain()
        with pytest.raises(UnavailableError):
            one.submit("default", row(5, 5), 1, 20)

    run(test)
    np.testing.assert_array_equal(np.concatenate(servable.seen), [[0, 0], [4, 4]])


def test_draining_answers_what_is_in_the_queue():
    async def test(batcher):
        servable = Scaled()
        one = batcher(Runner(servable, 1), most=1)
        futures = [one.submit("default", row(i, i), 1, 20) for i in range(5)]
        await one.drain()
        assert not one._thread.is_alive()
        return [f.result()["y"][0, 0] for f in futures]

    assert run(test) == [0, 2, 4, 6, 8]


def test_outputs_that_are_not_as_many_as_the_rows_are_an_error():
    class Odd(Scaled):
        def predict(self, signature, inputs):
            return {"y": inputs["x"][:1]}

    [found] = Runner(Odd(), 8)("default", [{"x": np.ones((3, 2), np.float32)}], [3])
    assert isinstance(found, ModelFailedError)
    assert "outputs y of 4 rows, got y float32[1, 2]" in str(found)


def test_bounds_of_the_batch_bound_the_sizes_that_are_compiled():
    x, y = BundleArray("x", ("n", 2), "float32"), BundleArray("y", ("n",), "float32")
    rows = Rows.of(Signature((x,), (y,), sizes={"n": (2, 24)}), 64)
    assert rows.sizes() == [2, 4, 8, 16, 24]
    assert [rows.padded(n) for n in (1, 5, 17, 24)] == [2, 8, 24, 24]
    assert rows.parts(50) == [(0, 24), (24, 48), (48, 50)]
    assert Rows.of(Signature((x,), (BundleArray("y", ("2*n",), "float32"),)), 64) is None


def test_text_goes_in_and_out():
    servable = Upper()
    arrays = taken(servable, "default", {"text": [" a", "b"]}, "")
    np.testing.assert_array_equal(arrays["text"], np.array([" a", "b"], object))
    with pytest.raises(px.ShapeError, match=r"text str\[batch\], got text\[1, 1\]"):
        taken(servable, "default", {"text": [["a"]]}, "")
    with pytest.raises(px.OptionError, match="text for text, got 1"):
        taken(servable, "default", {"text": [1]}, "")


def test_an_onnx_file_says_itself_what_it_takes(tmp_path, monkeypatch):
    oracle("onnxruntime")
    servable, _ = opened(write_onnx(tmp_path / "a.onnx", 3.0, batch=None), Opening(), "a")
    assert str(servable.signatures["default"]) == "(x float32[batch, 2]) → (y float32[batch, 2])"
    runner = Runner(servable, 4)
    assert warm_up(runner) == []
    x = np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32)
    [found] = runner("default", [{"x": x}], [3])
    np.testing.assert_allclose(found["y"], 3 * x, rtol=1e-6)
    fixed, _ = opened(write_onnx(tmp_path / "b.onnx", 3.0, batch=1), Opening(), "b")
    assert warm_up(Runner(fixed, 4)) == [
        "default runs request by request: no size is the batch of all its inputs and outputs"
    ]
    (tmp_path / "c.onnx").write_bytes(b"no model")
    with pytest.raises(ExportError, match=r"c.onnx to run in ONNX Runtime, got"):
        opened(tmp_path / "c.onnx", Opening(), "c")
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r'pip install "phlox\[onnx\]"'):
        opened(tmp_path / "a.onnx", Opening(), "a")


@pytest.mark.parametrize("odd", [{"batch": 0}, {"queue": 1.5}, {"seconds": float("inf")}, {"body": True}])
def test_limits_are_above_zero(odd):
    with pytest.raises(px.RangeError, match=f"Limits expects {next(iter(odd))} as a"):
        px.serving.Limits(**odd)


class Steady(Scaled):
    """Says which threads it ran in, and takes as long as it is told by a clock of its own."""

    def __init__(self):
        super().__init__()
        self.threads, self.takes, self.now = [], 0.0, 0.0

    def perf_counter(self):
        return self.now

    def is_steady(self, signature):
        return True

    def predict(self, signature, inputs):
        self.threads.append(threading.current_thread().name)
        self.now += self.takes
        return super().predict(signature, inputs)


def steady(monkeypatch):
    """A steady servable, warmed up, and timed by its clock."""
    servable = Steady()
    monkeypatch.setattr(_batcher, "time", servable)
    runner = Runner(servable, 8)
    assert warm_up(runner) == []
    servable.threads.clear()
    return servable, runner


def test_what_has_been_quick_runs_on_the_loops_thread_until_it_is_slow(monkeypatch):
    monkeypatch.setattr(_pace, "_DOUBT", 3)
    servable, runner = steady(monkeypatch)

    async def test(batcher):
        one = batcher(runner)

        async def ask(takes=0.0):
            servable.takes = takes
            assert (await one.submit("default", row(1, 2), 1, 20))["y"].tolist() == [[2, 4]]
            await asyncio.sleep(0)
            return servable.threads[-1]

        found = [await ask() for _ in range(4)]
        found += [await ask(0.001), *[await ask() for _ in range(2)]]  # slow: once more in the thread
        found += [await ask(0.1), *[await ask() for _ in range(4)]]  # far too slow: three times
        servable.forgets += 1  # what was compiled is gone
        return [*found, await ask(), await ask()]

    here, thread = "MainThread", "test"
    assert run(test) == [
        thread, here, here, here, here, thread, here, here, thread, thread, thread, here, thread, here
    ]  # fmt: skip


def test_the_loop_goes_round_between_quick_batches(monkeypatch):
    servable, runner = steady(monkeypatch)

    async def test(batcher):
        one = batcher(runner)
        for n in (1, 8, 8):
            await asyncio.gather(*[one.submit("default", row(1, 2), 1, 20) for _ in range(n)])
        servable.sizes.clear()
        servable.threads.clear()
        rounds = []
        asking = [one.submit("default", row(i, 0), 1, 20) for i in range(40)]
        while not all(future.done() for future in asking):
            rounds.append(len(servable.sizes))
            await asyncio.sleep(0)
        assert [future.result()["y"][0, 0] for future in asking] == [2 * i for i in range(40)]
        return rounds

    rounds = run(test)
    assert (servable.sizes, set(servable.threads)) == ([8] * 5, {"MainThread"})
    assert max(b - a for a, b in itertools.pairwise(rounds)) == 1


def test_who_comes_alone_is_answered_at_once_and_who_does_not_shares_a_batch(monkeypatch):
    servable, runner = steady(monkeypatch)

    async def test(batcher):
        one = batcher(runner)
        for n in (1, 2, 4, 4, 1, 1):
            await asyncio.gather(*[one.submit("default", row(1, 2), 1, 20) for _ in range(n)])
        await asyncio.sleep(0)
        servable.sizes.clear()
        first, *rest = [one.submit("default", row(1, 2), 1, 20) for _ in range(5)]
        assert first.done()
        await asyncio.gather(*rest)
        await asyncio.gather(*[one.submit("default", row(1, 2), 1, 20) for _ in range(4)])
        return servable.sizes

    assert run(test) == [1, 4, 4]


def test_only_programs_without_loops_or_python_are_steady(tmp_path):
    import jax
    from onnx import TensorProto, helper, save

    def count(x):
        return jax.lax.while_loop(lambda y: (y < 10).any(), lambda y: y + 1, x)

    def outside(x):
        return jax.pure_callback(lambda y: y, jax.ShapeDtypeStruct(x.shape, x.dtype), x, vmap_method="sequential")

    def is_steady(function):
        runnable = px.interchange.Runnable(None, jax.jit(lambda weights, inputs: [function(*inputs)]), [])
        return runnable.is_steady([np.ones((1, 2), np.float32)])

    assert [is_steady(f) for f in (lambda x: 2 * x, count, outside)] == [True, False, False]
    oracle("onnxruntime")
    plain, _ = opened(write_onnx(tmp_path / "m.onnx", 2.0), Opening(), "m")
    assert plain.is_steady("default")
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", 2]) for n in "xy")
    more, less = (
        helper.make_graph([helper.make_node(kind, ["x"], [n])], n, [], [helper.make_tensor_value_info(n, 1, None)])
        for kind, n in (("Exp", "a"), ("Neg", "b"))
    )
    nodes = [helper.make_node("If", ["c"], ["y"], then_branch=more, else_branch=less)]
    yes = helper.make_tensor("c", TensorProto.BOOL, [], [True])
    model = helper.make_model(
        helper.make_graph(nodes, "g", [x], [y], [yes]), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    save(model, tmp_path / "if.onnx")
    branching, _ = opened(tmp_path / "if.onnx", Opening(), "m")
    assert not branching.is_steady("default")
    assert not Scaled().is_steady("default")  # code of one's own says so itself
