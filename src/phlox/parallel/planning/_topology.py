"""Chips of one kind, how many there are and how they stand, and devices that programs can be compiled for."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax

from phlox.core import MissingExtraError, PhloxError, RangeError, _compat
from phlox.parallel.planning._chips import CHIPS, Chip

WHERE = "px.parallel.plan"
_NAMES = {
    "v5litepod": "v5e",
    "v5lite": "v5e",
    "trillium": "v6e",
    "tpu7x": "v7x",
    "ironwood": "v7x",
}  # what else says it
_OF_LIBTPU = {"v7x": "tpu7x"}
_AS_ONE = {"v4": {"chip_config_name": "megacore"}}  # the two cores of a chip are one device
_ALONE = {  # for a process of no TPU machine, which else asks the network what it is on
    "TPU_ACCELERATOR_TYPE": "v5p-8",  # whichever
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
}


@dataclass(frozen=True)
class Topology:
    """Chips of one kind and how they stand.

    Attributes:
        chip: the kind.
        shape: chips along each axis: ``(4, 4, 4)`` of a torus, ``(16,)`` of GPUs.
    """

    chip: Chip
    shape: tuple[int, ...]

    @classmethod
    def of(cls, text: str) -> Topology:
        """The topology that a text names: ``"v5p:4x4x4"``, ``"h100:16"``, ``"cpu:8"``.

        Raises:
            RangeError: a text that names none.

        >>> Topology.of("v5p:4x4x4").count, Topology.of("h100:16").chip.flops
        (64, 989400000000000.0)
        """
        found = re.fullmatch(r"(\w+?):(\d+(?:x\d+)*)", text.strip().lower()) if isinstance(text, str) else None
        chip = CHIPS.get(_NAMES.get(found[1], found[1])) if found else None
        shape = tuple(int(n) for n in found[2].split("x")) if found else ()
        if chip is None or 0 in shape or (not chip.torus and len(shape) > 1) or len(shape) > max(chip.torus, 1):
            raise RangeError(
                f"a chip and how many along each axis; chips are {', '.join(CHIPS)}",
                got=repr(text), fix='write "v5p:4x4x4", "v6e:8x8", "h100:16" or "cpu:8"', where=WHERE,
            )  # fmt: skip
        return cls(chip, shape)

    @property
    def chips(self) -> int:
        """How many chips there are."""
        return math.prod(self.shape)

    @property
    def count(self) -> int:
        """How many devices JAX sees: of some chips there are two in one."""
        return self.chips * self.chip.parts

    @property
    def exact(self) -> bool:
        """Whether programs are compiled for these very devices; for GPUs they are compiled for others and converted."""
        return self.chip.platform != "gpu"

    @property
    def limit(self) -> int | None:
        """Bytes that a device has; None where that is not known."""
        return self.chip.memory // self.chip.parts or None

    @property
    def flops(self) -> float:
        """Operations per second of one device on bfloat16; 0 where not known."""
        return self.chip.flops / self.chip.parts

    def devices(self) -> list[Any]:
        """Devices to compile for; no program runs on them.

        Raises:
            MissingExtraError: TPUs, and no libtpu.
            PhloxError: libtpu knows no such topology, or this JAX cannot make devices of a CPU.
        """
        if self.chip.platform == "tpu":
            return _of_libtpu(self)
        there = jax.devices("cpu")
        return there[: self.count] if len(there) >= self.count else list(_virtual(self.count))

    def __str__(self) -> str:
        return f"{self.chip.name}:{'x'.join(map(str, self.shape))}"


@functools.cache
def _virtual(count: int) -> tuple[Any, ...]:
    """Devices of a CPU beside those that JAX has: they compile, and hold nothing."""
    try:
        return tuple(_compat.more_cpu_devices(count))
    except Exception as error:
        raise PhloxError(
            f"a JAX that makes {count} devices of a CPU beside its own", got=f"jax {jax.__version__}: {error}",
            fix=f"start Python with JAX_NUM_CPU_DEVICES={count} in its environment", where=WHERE,
        ) from error  # fmt: skip


@functools.cache
def _of_libtpu(topology: Topology) -> list[Any]:
    """The TPUs of a topology as libtpu describes them, without one being there."""
    from jax.experimental import topologies

    try:
        import libtpu  # noqa: F401  # pyright: ignore[reportMissingImports]  # an extra
    except ImportError:
        raise MissingExtraError("libtpu, which compiles for TPUs", got="none", fix='pip install "phlox[plan]"',
                                where=WHERE) from None  # fmt: skip
    chip = topology.chip
    shape = (*topology.shape, *(1,) * (3 - len(topology.shape)))
    name = f"{_OF_LIBTPU.get(chip.name, chip.name)}:{'x'.join(map(str, shape))}"
    host = tuple(min(2, n) for n in shape[:2])
    try:
        with _apart():
            found = topologies.get_topology_desc(
                name, platform="tpu", chips_per_host_bounds=(*host, 1), **_AS_ONE.get(chip.name, {})
            )
    except Exception as error:
        raise PhloxError(
            f"a topology that libtpu knows for {chip.name}", got=f"{topology}: {str(error).splitlines()[0]}",
            fix="take one that can be rented, such as v5p:4x4x4 or v6e:8x8", where=WHERE,
        ) from error  # fmt: skip
    if len(found.devices) != topology.count:
        raise PhloxError(f"{topology.count} devices for {topology}", got=f"{len(found.devices)} of libtpu",
                         fix="report it with the versions of phlox doctor", where=WHERE)  # fmt: skip
    return list(found.devices)


@contextlib.contextmanager
def _apart() -> Iterator[None]:
    """Within the block, the environment says that this process is on no TPU machine; libtpu reads it when it starts."""
    before = {name: os.environ.get(name) for name in _ALONE}
    os.environ.update({name: value for name, value in _ALONE.items() if before[name] is None})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
