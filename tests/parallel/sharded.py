"""Checkpoints and files of a model that lies in parts over processes; what each process saw goes to a file."""

import errno
import json
import os
import sys
import warnings

import jax
import numpy as np
import together
from jax.sharding import NamedSharding, PartitionSpec
from together import FOLDER, ME, told

import phlox as px
from phlox.loop._together import gathered
from phlox.loop.checkpoints import _files
from phlox.loop.checkpoints._arrays import PartWriter, shared_out
from phlox.loop.checkpoints._circle import Together
from phlox.loop.checkpoints._place import Objects
from phlox.parallel import group

CUT = {"parallel": px.parallel.fsdp(whole=8)}


def network(seed=0):
    """Weights of more than 1024 numbers, whose moments lie as they do; those of smaller ones share a vector."""
    with px.seed(seed):
        return px.f64(px.Chain(px.Dense(4, 400, px.tanh), px.BatchNorm(400), px.Dropout(0.3), px.Dense(400, 3)))


def fitted(**more):
    return together.fitted(model=network(), **more)


class Begins(px.Callback):
    """Where a training begins, and what it holds there."""

    def __init__(self):
        self.step, self.parts = None, {}

    def on_epoch_start(self, run):
        if self.step is None:
            self.step = run.step
            arrays = {**px.paths(run.model), **px.paths(run.opt)}
            self.parts = {n: v.addressable_shards[0].data.shape for n, v in arrays.items() if not v.is_fully_replicated}


def bits(model, history):
    """All that decides how a training goes on, as text."""
    optimizer = {f"opt.{path}": v for path, v in px.paths(history.optimizer).items()}
    held = {path: bare(v) for path, v in {**px.paths(model), **optimizer}.items()}
    held |= {"losses": history.losses}
    return {path: np.asarray(v).tobytes().hex() for path, v in gathered(held).items()}


def bare(value):
    return jax.random.key_data(value) if jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key) else value


def resumed():
    """A training that never stops; one that does, and goes on; and on again, where a part of process 1 is damaged."""
    found = {"straight": bits(*fitted(epochs=4, **CUT))}
    folder, whole = FOLDER / "run", []
    before = _files._wanted

    def noted(entry, lies):
        if before(entry, lies) is None:
            whole.append(entry["path"][-1])
        return before(entry, lies)

    fitted(epochs=2, checkpoint_dir=folder, checkpoint_every=2, **CUT)
    found["saved"] = sorted(path.name for path in folder.iterdir())
    _files._wanted, begins = noted, Begins()
    fitted(epochs=3, checkpoint_dir=folder, resume=True, callbacks=[begins], **CUT)
    _files._wanted = before
    found |= {"began": begins.step, "parts": begins.parts, "whole": whole}
    meet("saved")
    newest = px.CheckpointStore(folder).checkpoints()[-1]
    found["files"] = sorted(newest.manifest["files"])
    found["processes"] = newest.manifest["processes"]
    meet("listed")
    if ME == 0:
        spoil(newest.path)
    meet("damaged")
    begins = Begins()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model, history = fitted(epochs=4, checkpoint_dir=folder, resume=True, callbacks=[begins], **CUT)
    found["warned"] = [str(w.message) for w in caught if "damaged" in str(w.message)]
    found |= {"fell back to": begins.step, "ended": bits(model, history), "weights": told(model, history)["weights"]}
    found["kept"] = sorted(path.name for path in folder.iterdir())
    other = network(seed=3)
    px.parallel.shard(other, CUT["parallel"])
    assert px.load_checkpoint(other, folder).complete
    found["loaded"] = told(other, history)["weights"]
    return found


def spoil(checkpoint):
    """A bit of the part that process 1 has written."""
    [data] = list((checkpoint / "arrays" / "ocdbt.process_1" / "d").iterdir())[:1]
    raw = bytearray(data.read_bytes())
    raw[len(raw) // 2] ^= 1
    data.write_bytes(raw)


def meet(name):
    """Both are here."""
    group().gathered(f"test/{name}", "", "test", name)


def full():
    """The disk of process 1 is full at its second checkpoint."""
    write = PartWriter.write

    def failing(self, folder, arrays, copied):
        if ME == 1 and "0002" in str(folder):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(self, folder, arrays, copied)

    PartWriter.write = failing
    try:
        fitted(epochs=4, checkpoint_dir=FOLDER / "full", **CUT)
    except px.weights.FileError as error:
        return {"error": str(error), "left": sorted(os.listdir(FOLDER / "full"))}
    finally:
        PartWriter.write = write


def stored():
    """In an object store, which a folder of this machine plays: no process sees there what another has on its disk."""
    where, store = f"local://{FOLDER / 'store'}", FOLDER / "store"
    fitted(epochs=2, checkpoint_dir=where, checkpoint_every=2, **CUT)
    meet("stored")
    newest = store / px.CheckpointStore(where).checkpoints()[-1].path.name
    found: dict = {"saved": sorted({path.relative_to(store).parts[0] for path in store.rglob("*") if path.is_file()})}
    found["parts"] = sorted(path.name for path in (newest / "arrays").iterdir() if path.is_dir())
    meet("looked")
    if ME == 0:
        spoil(newest)
    meet("spoiled")
    begins = Begins()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model, history = fitted(epochs=4, checkpoint_dir=where, resume=True, callbacks=[begins], **CUT)
    found["warned"] = [str(w.message) for w in caught if "damaged" in str(w.message)]
    found |= {"fell back to": begins.step, "parts of": begins.parts, "ended": bits(model, history)}
    other = network(seed=3)
    px.parallel.shard(other, CUT["parallel"])
    assert px.load_checkpoint(other, where).complete
    return found | {"loaded": told(other, history)["weights"], "weights": told(model, history)["weights"]}


def unsent():
    """The network of process 1 fails at its second checkpoint."""
    hand_over = Objects.hand_over

    def failing(self, temporary, final):
        if ME == 1 and "0002" in final.name:
            raise px.weights.FileError("to take objects", got="no network", fix="look", where="the store")
        hand_over(self, temporary, final)

    Objects.hand_over, where = failing, f"local://{FOLDER / 'unsent'}"
    try:
        fitted(epochs=4, checkpoint_dir=where, **CUT)
    except px.weights.FileError as error:
        return {"error": str(error).splitlines()[0], "whole": [s.step for s in px.CheckpointStore(where).checkpoints()]}
    finally:
        Objects.hand_over = hand_over


def alone():
    """Each is about to save by itself, in a folder of its own."""
    store = px.CheckpointStore(FOLDER / f"alone{ME}")
    try:
        store.open()
        return sorted(os.listdir(store.folder))
    except px.weights.FileError as error:
        return str(error)
    finally:
        store.close()


def files():
    """The model in files, written by process 0 array by array, and the same model whole."""
    model = network()
    placement = px.parallel.shard(model, px.parallel.fsdp(whole=8))
    assert any(not v.is_fully_replicated for v in px.paths(model).values()), placement
    px.save(model, FOLDER / "cut.safetensors")
    px.weights.save_safetensors(model, FOLDER / "arrays.safetensors", {"by": "all"})
    found = {"there": (FOLDER / "cut.safetensors").exists() and (FOLDER / "arrays.safetensors").exists()}
    try:
        px.save(model, FOLDER / "nowhere" / "cut.safetensors")
    except px.weights.FileError as error:
        found["error"] = str(error).splitlines()[0]
    if ME == 0:
        px.save(network(), FOLDER / "whole.safetensors")
        px.weights.save_safetensors(network(), FOLDER / "whole_arrays.safetensors", {"by": "all"})
    return found


def adapted():
    """A LoRA in parts and a DoRA on one of two fused layers, in files of an adapter, and the same ones whole."""
    found = {}
    for name, make in (("lora", px.adapt.lora), ("dora", px.adapt.dora)):
        for cut in (False, True):
            with px.seed(0):
                config = px.models.GPT2Config(vocab_size=32, n_embd=16, n_layer=1, n_head=2, n_positions=8)
                base = px.models.create(config, key=0)
                model = make(base, rank=2, where="**.q_proj", key=1)
            if cut:
                px.parallel.shard(model, px.parallel.fsdp(whole=8))
                found[name] = any(not v.is_fully_replicated for v in px.split(model)[0].values())
            if cut or ME == 0:
                px.adapt.save(model, FOLDER / f"{name}-{'cut' if cut else 'whole'}")
    meet("adapted")
    return found


def shared():
    """Who writes what of arrays that lie whole, and of one that is cut."""
    mesh, circle = px.parallel.mesh(data=1, fsdp=2), Together(group(), "test/shared", "test")
    specs = [*[PartitionSpec()] * 3, PartitionSpec("fsdp"), *[PartitionSpec()] * 5]
    everywhere = [NamedSharding(mesh, spec) for spec in specs]
    host = np.arange(8.0)
    arrays = [jax.make_array_from_callback((8,), where, lambda index: host[index]) for where in everywhere]
    shards = [shard for array in shared_out(arrays, circle) for shard in array.addressable_shards]
    for array, copy in zip(arrays, shared_out(arrays, circle), strict=True):
        assert copy.addressable_shards[0].index == array.addressable_shards[0].index
        np.testing.assert_array_equal(copy.addressable_data(0), array.addressable_data(0))
    own = sum(shard.data.nbytes for shard in shards if shard.replica_id == 0)
    told = [int(text) for text in group().gathered("test/bytes", str(own), "test", "bytes")]
    return {"bytes": told, "times": sum(told) / (9 * host.nbytes)}


# --- other numbers of processes, and models of the hub: for the long run --------------------------------


def values(model, history):
    """Weights and losses as numbers."""
    return told(model, history)["weights"] | {"losses": history.losses.tolist()}


def straight():
    return values(*fitted(epochs=3, **CUT))


def begun():
    """Ends in the middle of the second epoch, which is gone on with there."""
    fitted(steps=4, checkpoint_dir=FOLDER / "moved", **CUT)


def gone_on():
    begins = Begins()
    found = fitted(steps=9, checkpoint_dir=FOLDER / "moved", resume=True, callbacks=[begins], **CUT)
    return {"began": begins.step, "values": values(*found)}


def hub():
    """A small model of px.models: in parts over all processes, and whole."""
    config = px.models.LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4
    )
    for name in ("whole", "cut"):
        with px.seed(0):
            model = px.models.create(config)
        if name == "cut":
            px.parallel.shard(model, px.parallel.fsdp(whole=64))
        if name == "cut" or ME == 0:
            px.models.save(model, FOLDER / name)


def main(scenarios):
    found = {}
    for name in scenarios.split(","):
        found[name] = globals()[name]()
        (FOLDER / f"{ME}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
