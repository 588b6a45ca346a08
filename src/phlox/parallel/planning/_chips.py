"""What chips can do, as their makers' data sheets say: memory, operations, and how fast they send."""

from __future__ import annotations

from dataclasses import dataclass

_GIB, _G, _T = 2**30, 1e9, 1e12


@dataclass(frozen=True)
class Chip:
    """A kind of chip; numbers are those of one.

    Attributes:
        name: as a topology names it.
        platform: ``"tpu"``, ``"gpu"`` or ``"cpu"``.
        memory: bytes of its memory; 0 where that is the machine's.
        flops: operations per second on bfloat16, dense; 0 where nobody says.
        traffic: bytes per second between the chip and its memory.
        links: bytes per second that it sends to its neighbours, all links together, in one direction.
        torus: axes along which its neighbours stand; 0 where each of a group is linked with each.
        group: chips that are linked so; what goes further goes over the network.
        network: bytes per second that it sends over the network; 0 where plans do not go so far.
        parts: devices that JAX sees in one chip.
        source: the data sheet.
    """

    name: str
    platform: str
    memory: int
    flops: float
    traffic: float
    links: float
    torus: int
    group: int
    network: float
    parts: int = 1
    source: str = ""


_TPU, _GPU = "Google Cloud, TPU {}: system architecture", "NVIDIA, {} data sheet"

CHIPS = {
    chip.name: chip
    for chip in (  # name, platform, memory, flops, traffic, links, torus, group, network, parts, source
        Chip("v4", "tpu", 32 * _GIB, 275 * _T, 1228 * _G, 300 * _G, 3, 4096, 0.0, 1, _TPU.format("v4")),
        Chip("v5e", "tpu", 16 * _GIB, 197 * _T, 819 * _G, 200 * _G, 2, 256, 0.0, 1, _TPU.format("v5e")),
        Chip("v5p", "tpu", 95 * _GIB, 459 * _T, 2765 * _G, 600 * _G, 3, 8960, 0.0, 1, _TPU.format("v5p")),
        Chip("v6e", "tpu", 32 * _GIB, 918 * _T, 1638 * _G, 400 * _G, 2, 256, 0.0, 1, _TPU.format("v6e")),
        Chip("v7x", "tpu", 192 * _GIB, 2307 * _T, 7380 * _G, 600 * _G, 3, 9216, 0.0, 2, _TPU.format("7x")),
        Chip("a100", "gpu", 80 * 10**9, 312 * _T, 2039 * _G, 300 * _G, 0, 8, 25 * _G, 1, _GPU.format("A100 80GB SXM")),
        Chip("h100", "gpu", 80 * 10**9, 989.4 * _T, 3350 * _G, 450 * _G, 0, 8, 50 * _G, 1, _GPU.format("H100 SXM")),
        Chip("h200", "gpu", 141 * 10**9, 989.4 * _T, 4800 * _G, 450 * _G, 0, 8, 50 * _G, 1, _GPU.format("H200 SXM")),
        Chip("b200", "gpu", 180 * 10**9, 2250 * _T, 7700 * _G, 900 * _G, 0, 8, 50 * _G, 1, _GPU.format("HGX B200")),
        Chip("cpu", "cpu", 0, 0.0, 0.0, 0.0, 0, 1, 0.0),
    )
}  # fmt: skip
