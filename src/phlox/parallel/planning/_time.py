"""How long a step takes: a roofline of what a chip computes, what goes to and from its memory, and what it sends."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from phlox.parallel.planning._sent import Sent
from phlox.parallel.planning._topology import Topology

SHARE = 0.7  # of the peak that large products reach, with all that is computed between them


@dataclass(frozen=True)
class Times:
    """Seconds of a step on each device.

    Attributes:
        compute: operations at the share of the peak.
        traffic: bytes to and from the memory, at its full rate.
        hidden: what is sent while something else is computed.
        exposed: what is sent while the chip waits.
    """

    compute: float
    traffic: float
    hidden: float
    exposed: float

    @property
    def step(self) -> float:
        """Of the whole step."""
        return max(self.compute, self.traffic) + self.exposed


def times(
    flops: float, moved: float, collectives: Iterable[Sent], topology: Topology, batch: Sequence[str], *, short: bool
) -> Times:
    """The times of a step.

    What goes along the axes that a batch is cut along is weights and gradients. It can be sent while another layer
    computes, and only what takes longer than the computation is waited for. What goes along other axes is activations,
    which the next operation waits for.

    Arguments:
        flops, moved: operations, and bytes to and from the memory, of one device.
        batch: the axes of the mesh that a batch is cut along.
        short: whether products are of bfloat16 or float16. Of float32 NVIDIA's chips do half as many, in TF32; TPUs
            round it to bfloat16.
    """
    peak = topology.flops * (0.5 if topology.chip.platform == "gpu" and not short else 1.0)
    compute = flops / (peak * SHARE)
    later = now = 0.0
    for one in collectives:
        seconds = one.over_links / rate(one.members, topology)
        if set(one.axes) <= set(batch):
            later += seconds
        else:
            now += seconds
    hidden = min(later, compute)
    return Times(compute, moved / (topology.chip.traffic / topology.chip.parts), hidden, now + later - hidden)


def rate(members: Sequence[int], topology: Topology) -> float:
    """Bytes per second that one of these devices sends where they go round a ring.

    In a torus as many of its axes have a part as the devices need to stand on, longest first. Of chips in groups those
    of one group use their links; else each of a group sends its share over the network.
    """
    chip, many = topology.chip, len(members)
    if not chip.torus:
        near = sum(1 for n in members if n // chip.group == members[0] // chip.group)
        return chip.links if near == many else min(chip.links, near * chip.network)
    used, room = 0, chip.parts
    for size in sorted(topology.shape, reverse=True):
        if room < many and size > 1:
            used, room = used + 1, room * size
    return chip.links * max(used, 1) / chip.torus / chip.parts
