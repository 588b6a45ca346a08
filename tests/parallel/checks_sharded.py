"""Checkpoints from one mesh onto another: four devices, two, one and eight; each array bit for bit, and trained on."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

import phlox as px
from parallel.checks_experts import decoder, texts
from parallel.kit import arrays, assert_same, trained
from parallel.networks import gpt, mlp, points
from phlox.loop.checkpoints import _files

P = px.parallel
WORDS = {"loss": px.losses.cross_entropy, "precision": "float64"}

# The strategy on four devices, on two, on one, and on eight.
STRATEGIES: dict[str, tuple[Any, ...]] = {
    "data": (P.data_parallel(4), P.data_parallel(2), None, P.data_parallel(8)),
    "fsdp": (P.fsdp(4, whole=64), P.fsdp(2, whole=64), None, P.fsdp(8, whole=64)),
    "tensor": (
        P.tensor_parallel(4),
        P.tensor_parallel(2),
        None,
        P.tensor_parallel(4) * P.data_parallel(2),
    ),
    "context": (
        P.context_parallel(4),
        P.context_parallel(2),
        None,
        P.context_parallel(4) * P.data_parallel(2),
    ),
    "pipeline": (
        P.pipeline(4, microbatches=2),
        P.pipeline(2, microbatches=2),
        None,
        P.pipeline(4, microbatches=2) * P.data_parallel(2),
    ),
    "experts": (P.expert_parallel(4), P.expert_parallel(2), None, P.expert_parallel(4) * P.data_parallel(2)),
    "fsdp_tensor": (
        P.fsdp(2, whole=64) * P.tensor_parallel(2),
        P.fsdp(2, whole=64),
        None,
        P.data_parallel(2) * P.fsdp(2, whole=64) * P.tensor_parallel(2),
    ),
    "pipeline_fsdp": (
        P.pipeline(2, microbatches=2) * P.fsdp(2, whole=64),
        P.pipeline(2, microbatches=2),
        None,
        P.pipeline(2, microbatches=2) * P.fsdp(4, whole=64),
    ),
}


def _network(name: str) -> Callable[[], Any]:
    if name == "experts":
        return decoder
    if name == "fsdp_tensor":
        return mlp
    return functools.partial(gpt, depth=4, dropout=0.0) if "pipeline" in name else functools.partial(gpt, depth=1)


# --- each array, bit for bit ---------------------------------------------------------------------------


class _Read:
    """What is read whole, to the host, and what in parts."""

    def __init__(self) -> None:
        self.whole, self.parts = list[str](), list[str]()
        self.before = _files._wanted

    def __call__(self, entry: Any, lies: Any) -> Any:
        found = self.before(entry, lies)
        (self.whole if found is None else self.parts).append("/".join(entry["path"]))
        return found


def _run(name: str, strategy: Any, seed: int) -> Any:
    """A model and its optimiser, spread; arrays are those of a seed."""
    model = _network(name)()
    for path, value in px.paths(model).items():
        if jax.numpy.issubdtype(value.dtype, np.floating):
            px.set_at(model, path, jax.numpy.asarray(np.random.default_rng(seed).normal(size=value.shape), value.dtype))
    placement = None if strategy is None else P.shard(model, strategy)
    opt = px.Optimizer(px.optim.Adam(1e-2), model)
    if placement is not None:
        placement.place(model, opt)
    return px.Run(model, opt), placement


def _bits(name: str) -> None:
    """Saved on four devices, read on two, and so on; where it is read, each array lies as the strategy has it."""
    first, _ = _run(name, STRATEGIES[name][0], 1)
    want = arrays(first.model)
    moments = {path: np.asarray(v) for path, v in first.state()["arrays"]["opt"].items()}
    with tempfile.TemporaryDirectory() as folder:
        _saved(folder, first)
        for strategy in STRATEGIES[name][1:]:
            run, placement = _run(name, strategy, 2)
            saved, read = px.CheckpointStore(folder).newest(), _Read()
            _files._wanted = read
            try:
                run.restore(px.CheckpointStore(folder).taken(saved, None, run.places()))
            finally:
                _files._wanted = read.before
            _assert_equal(arrays(run.model), want, repr(strategy))
            found = {path: np.asarray(v) for path, v in run.state()["arrays"]["opt"].items()}
            _assert_equal(found, moments, repr(strategy))
            if placement is not None:
                _assert_lies(run, placement, read)
            _saved(folder, run)


def _saved(folder: str, run: Any) -> None:
    store = px.CheckpointStore(folder)
    store.open()
    about = {"step": 0, "epoch": 0, "score": None, "monitor": None, "mode": None}
    store.save(run.state(), about, keep=1, keep_best=0)
    store.wait()
    store.close()


def _assert_equal(ours: Any, theirs: Any, what: str) -> None:
    assert ours.keys() == theirs.keys(), ours.keys() ^ theirs.keys()
    for path, value in theirs.items():
        assert ours[path].dtype == value.dtype, (what, path)
        assert ours[path].tobytes() == value.tobytes(), (what, path)


def _assert_lies(run: Any, placement: Any, read: _Read) -> None:
    """As before, and what is cut was read in parts."""
    cuts = placement.cuts(run.model)
    for path, value in px.paths(run.model).items():
        assert value.sharding.is_equivalent_to(jax.sharding.NamedSharding(placement.mesh, cuts[path]), value.ndim), path
        cut = not value.sharding.is_fully_replicated
        assert (f"model/{path}" in read.parts) == cut, (path, value.sharding)


def check_bits_data() -> None:
    _bits("data")


def check_bits_fsdp() -> None:
    _bits("fsdp")


def check_bits_tensor() -> None:
    _bits("tensor")


def check_bits_context() -> None:
    _bits("context")


def check_bits_pipeline() -> None:
    _bits("pipeline")


def check_bits_experts() -> None:
    _bits("experts")


def check_bits_fsdp_tensor() -> None:
    _bits("fsdp_tensor")


def check_bits_pipeline_fsdp() -> None:
    _bits("pipeline_fsdp")


# --- and trained on ------------------------------------------------------------------------------------


def _data(build: Any) -> Any:
    """Five batches and a half an epoch for a small network, which ends in the middle of one; else texts."""
    return points() if build is mlp else texts()


def _goes_on(name: str, build: Any = None) -> None:
    """Two steps on four devices, two, one and eight, one after the other, are eight on one; dropout's draws too."""
    build = build or _network(name)
    data = _data(build)
    one, straight = trained(build, data, **WORDS, steps=8)
    with tempfile.TemporaryDirectory() as folder:
        for n, strategy in enumerate(STRATEGIES[name], 1):
            given = {**WORDS, "steps": 2 * n, "checkpoint_dir": folder, "resume": n > 1}
            model, history = trained(build, data, strategy, **given)
    assert len(history.losses) == 8
    np.testing.assert_allclose(history.losses, straight.losses, rtol=1e-9, atol=1e-9)
    assert_same(model, one, 1e-9, name)


def check_goes_on_in_small() -> None:
    _goes_on("fsdp", mlp)


def check_goes_on_data() -> None:
    _goes_on("data")


def check_goes_on_fsdp() -> None:
    _goes_on("fsdp")


def check_goes_on_tensor() -> None:
    _goes_on("tensor")


def check_goes_on_context() -> None:
    _goes_on("context")


def check_goes_on_pipeline() -> None:
    _goes_on("pipeline")


def check_goes_on_experts() -> None:
    _goes_on("experts")


def check_goes_on_fsdp_tensor() -> None:
    _goes_on("fsdp_tensor")


def check_goes_on_pipeline_fsdp() -> None:
    _goes_on("pipeline_fsdp")


def _same_mesh(name: str) -> None:
    """Resumed on the same mesh, in the middle of an epoch, a training ends bit for bit as one that never stopped."""
    build, strategy = _network(name), STRATEGIES[name][3]
    data = _data(build)
    whole, straight = trained(build, data, strategy, **WORDS, steps=6)
    with tempfile.TemporaryDirectory() as folder:
        trained(build, data, strategy, **WORDS, steps=3, checkpoint_dir=folder)
        model, history = trained(build, data, strategy, **WORDS, steps=6, checkpoint_dir=folder, resume=True)
    _assert_equal(arrays(model), arrays(whole), name)
    _assert_equal(arrays(history.optimizer), arrays(straight.optimizer), name)
    assert history.losses.tobytes() == straight.losses.tobytes()


def check_same_mesh_fsdp_tensor() -> None:
    _same_mesh("fsdp_tensor")


def check_same_mesh_all() -> None:
    for name in STRATEGIES:
        if name != "fsdp_tensor":
            _same_mesh(name)


def check_best_weights_stay_in_parts() -> None:
    """What a callback keeps of the model, the best weights so far, comes back in parts, and is what it was."""

    class Seen(px.EarlyStopping):
        def __init__(self) -> None:
            super().__init__("loss", patience=50, restore_best=True)
            self.restored: Any = None

        def restore(self, state: Any) -> None:
            super().restore(state)
            self.restored = state.get("weights")

    strategy, first, second = STRATEGIES["fsdp"][0], Seen(), Seen()
    with tempfile.TemporaryDirectory() as folder:
        given = {**WORDS, "steps": None, "checkpoint_dir": folder}
        trained(mlp, points(), strategy, **given, epochs=1, callbacks=[first])
        trained(mlp, points(), strategy, **given, epochs=2, callbacks=[second], resume=True)
    assert second.restored is not None
    for path, value in first._weights.items():
        if jax.numpy.issubdtype(value.dtype, np.floating):
            np.testing.assert_array_equal(second.restored[path], value, err_msg=path)
    cut = [path for path, v in first._weights.items() if not v.is_fully_replicated]
    assert cut
    for path in cut:
        lies, ours = first._weights[path].sharding, second.restored[path]
        assert ours.sharding.is_equivalent_to(lies, ours.ndim), (path, ours.sharding)


def check_weights_into_a_spread_model() -> None:
    """px.load_checkpoint fills a model where it lies, and reads its parts."""
    run, _ = _run("fsdp", STRATEGIES["fsdp"][0], 1)
    want = arrays(run.model)
    with tempfile.TemporaryDirectory() as folder:
        _saved(folder, run)
        other, placement = _run("fsdp_tensor", STRATEGIES["fsdp_tensor"][3], 2)
        read = _Read()
        _files._wanted = read
        try:
            assert px.load_checkpoint(other.model, folder).complete
        finally:
            _files._wanted = read.before
    _assert_equal(arrays(other.model), want, "loaded")
    _assert_lies(other, placement, read)
