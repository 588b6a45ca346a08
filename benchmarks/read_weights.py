"""From a safetensors file to JAX arrays that own their memory, beside safetensors into PyTorch; every byte is touched.

Each load has a process of its own, as users load once: what a warm process keeps of freed memory helps nobody. The file
lies in the system's cache for all. docs/weights.md says what is measured.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _measure import Bar, Table, Times, command, interleave, quartiles, ratio, short, spreads
from safetensors.numpy import save_file

PAGE = Path(__file__).resolve().parent.parent / "docs" / "weights.md"
PACKAGES = ("phlox", "jax", "jaxlib", "numpy", "safetensors", "torch")
OURS, TURNED, SHARDS = "px.weights.read", "px.weights.read, axes turned", "px.weights.read, four shards"
MAPPED, MODEL, TORCH_TURNED = "torch, load_file", "torch, load_state_dict", "torch, load_file, axes turned"
CONTENDERS = (OURS, TURNED, SHARDS, MAPPED, MODEL, TORCH_TURNED)


@dataclass(frozen=True)
class Settings:
    rounds: int = 7
    layers: int = 24  # of about 43 MB each
    width: int = 1024


QUICK = Settings(rounds=2, layers=2, width=32)


def layer(i: int, width: int, values: np.ndarray) -> dict[str, np.ndarray]:
    """Arrays such as a block of a network has, in PyTorch's order."""
    shapes = {
        "up.weight": (4 * width, width),
        "down.weight": (width, 4 * width),
        "up.bias": (4 * width,),
        "conv.weight": (width // 2, width // 2, 3, 3),
        "norm.weight": (width,),
    }
    return {f"layers.{i}.{name}": np.resize(np.roll(values, i), shape) for name, shape in shapes.items()}


def write(folder: Path, settings: Settings) -> int:
    """One file, and the same arrays in four with an index; return the bytes of the largest of them."""
    values = np.random.default_rng(0).standard_normal(1_000_003, np.float32)
    arrays = [layer(i, settings.width, values) for i in range(settings.layers)]
    save_file({k: v for some in arrays for k, v in some.items()}, folder / "model.safetensors")
    (folder / "shards").mkdir()
    placed: dict[str, str] = {}
    for shard in range(4):
        name = f"model-{shard}.safetensors"
        some = {k: v for one in arrays[shard::4] for k, v in one.items()}
        save_file(some, folder / "shards" / name)
        placed |= dict.fromkeys(some, name)
    (folder / "shards" / "model.safetensors.index.json").write_text(json.dumps({"weight_map": placed}))
    return max(path.stat().st_size for path in (folder / "shards").glob("*.safetensors"))


# --- in a process of its own --------------------------------------------------------------------------


def turned(shape: Sequence[int]) -> tuple[int, ...] | None:
    """Phlox's axes out of PyTorch's: the output's last, the input's before it."""
    return None if len(shape) < 2 else (*range(2, len(shape)), 1, 0)


def resident(what: str) -> int:
    """Bytes of memory, now (VmRSS) or at most (VmHWM)."""
    status = Path("/proc/self/status").read_text("ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(what)) * 1024


def with_phlox(name: str, folder: Path) -> tuple[Callable[[], Any], Callable[[Any], list[float]]]:
    """How to load, and how to touch every value; sums are compiled before."""
    import jax
    import jax.numpy as jnp

    import phlox as px

    path = folder / "shards" if name == SHARDS else folder / "model.safetensors"
    shapes = px.weights.read(path).shapes()
    orders = {key: order for key, shape in shapes.items() if name == TURNED and (order := turned(shape))}
    total = jax.jit(jnp.sum)
    for key, shape in shapes.items():
        total(jnp.zeros([shape[i] for i in orders.get(key, range(len(shape)))]))
    jax.device_put(np.ones(3))

    def touch(arrays: dict[str, Any]) -> list[float]:
        return [float(x) for x in [total(array) for array in arrays.values()]]

    return lambda: px.weights.device_arrays(px.weights.read(path).stream(), orders), touch


def with_torch(name: str, folder: Path) -> tuple[Callable[[], Any], Callable[[Any], list[float]]]:
    """As above; the model that is filled exists before, as it does where people load one."""
    import torch
    from safetensors.torch import load_file

    path = folder / "model.safetensors"
    model = torch.nn.Module()
    if name == MODEL:
        for key, value in load_file(path).items():
            model.register_buffer(key.replace(".", "_"), torch.empty(value.shape))
    torch.ones(1000).sum()

    def load() -> dict[str, Any]:
        found = load_file(path)
        if name == MODEL:
            model.load_state_dict({key.replace(".", "_"): value for key, value in found.items()})
            return dict(model.named_buffers())
        orders = {key: turned(value.shape) for key, value in found.items() if name == TORCH_TURNED}
        return {k: v.permute(order).contiguous() if (order := orders.get(k)) else v for k, v in found.items()}

    return load, lambda arrays: [float(array.sum()) for array in arrays.values()]


def child(name: str, folder: Path) -> None:
    """Load once, and print the seconds, the most memory above what there was before, and a sum of all."""
    load, touch = (with_torch if name in (MAPPED, MODEL, TORCH_TURNED) else with_phlox)(name, folder)
    before = resident("VmRSS")
    begin = time.perf_counter()
    arrays = load()
    loaded = time.perf_counter()
    sums = touch(arrays)
    end = time.perf_counter()
    model = sum(array.nbytes for array in arrays.values())
    peak = resident("VmHWM") - before - model
    print(json.dumps({"load": loaded - begin, "seconds": end - begin, "peak": peak, "sum": sum(sums)}))


# --- all of them --------------------------------------------------------------------------------------


@dataclass
class Results:
    times: Times
    peaks: dict[str, int]  # bytes above the model
    size: int  # of the file
    shard: int
    notes: list[str]

    def bars(self) -> list[Bar]:
        """What reading is held to."""
        peers = {OURS: MODEL, SHARDS: MODEL, TURNED: TORCH_TURNED}
        found = [
            Bar(f"{name}, against {peer}", 1.0, ratio(self.times, name, peer).median) for name, peer in peers.items()
        ]
        found.append(
            Bar(f"{OURS}, against {MAPPED}, which copies nothing", 1.0, ratio(self.times, OURS, MAPPED).median)
        )
        for name, largest in ((OURS, self.size), (TURNED, self.size), (SHARDS, self.shard)):
            share = self.peaks[name] / largest
            found.append(Bar(f"{name}: host memory above the model, of the largest file", 1.2, share))
        return found

    def tables(self) -> list[Table]:
        rows = []
        for name, spread in spreads(self.times, 1.0):
            against = short(ratio(self.times, name, MODEL).median)
            rows.append([name, short(spread.median), quartiles(spread), against, f"{self.peaks[name] / 1e6:.0f}"])
        title = f"A file of {self.size / 1e6:.0f} MB, loaded and summed in a process of its own: seconds"
        header = ["", "median", "quartiles", f"times {MODEL}", "MB above the model"]
        bars = Table(
            "Bars for reading weights", ["", "asked", "measured", "verdict"], [bar.row() for bar in self.bars()]
        )
        return [Table(title, header, rows), bars]

    def json(self) -> dict[str, Any]:
        return {
            "weights": {name: asdict(spread) for name, spread in spreads(self.times, 1.0)},
            "units": {"weights": "s"},
            "peaks": self.peaks,
            "bytes": {"file": self.size, "shard": self.shard},
            "bars": [asdict(bar) | {"verdict": bar.verdict} for bar in self.bars()],
        }


def measure(settings: Settings, tell: Callable[[str], None]) -> Results:
    with tempfile.TemporaryDirectory(prefix="phlox-bench-") as made:
        folder = Path(made)
        tell("writing the files")
        shard = write(folder, settings)
        peaks: dict[str, int] = {}
        sums: dict[str, float] = {}

        def load(name: str) -> float:
            tell(name)
            program = [sys.executable, __file__, "--child", name, made]
            env = {**os.environ, "JAX_PLATFORMS": "cpu", "PHLOX_COMPILE_CACHE": made + "/cache"}
            done = subprocess.run(program, env=env, capture_output=True, text=True, check=True)
            found = json.loads(done.stdout)
            peaks[name] = max(peaks.get(name, 0), found["peak"])
            sums[name] = found["sum"]
            return found["seconds"]

        for name in CONTENDERS:
            load(name)  # fills the system's cache, and that of compiled programs
        times = interleave({name: lambda name=name: load(name) for name in CONTENDERS}, settings.rounds)
        size = (folder / "model.safetensors").stat().st_size
    off = [name for name, total in sums.items() if abs(total - sums[MODEL]) > 1e-3 * abs(sums[MODEL]) + 1]
    return Results(times, peaks, size, shard, [f"{name} sums to something else" for name in off])


def main(arguments: Sequence[str] | None = None) -> int:
    return command("weights", __doc__ or "", measure, Settings(), QUICK, PACKAGES, PAGE, arguments)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], Path(sys.argv[3]))
        raise SystemExit(0)
    raise SystemExit(main())
