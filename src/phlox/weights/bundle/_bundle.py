"""What a bundle says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from phlox.weights.bundle._encoders import Encoder

FORMAT = 1
"""The version of bundles; those of this and older versions are read."""

MANIFEST, MODEL, EXAMPLES, STATISTICS, CARD = "bundle.json", "model.phlox", "examples.npz", "statistics.json", "card.md"


@dataclass(frozen=True)
class BundleArray:
    """An input or an output: its name, its sizes, numbers or symbols, and its dtype.

    The dtype is NumPy's name for it, or ``key``: a random key, given as its words, uint32 (2,).
    """

    name: str
    shape: tuple[int | str, ...]
    dtype: str
    below: int | None = None
    """What whole numbers stay below where they are drawn."""

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> BundleArray:
        """From an entry of ``bundle.json``."""
        return cls(entry["name"], tuple(entry["shape"]), entry["dtype"], entry.get("below"))

    def entry(self) -> dict[str, Any]:
        """As an entry of ``bundle.json``."""
        more = {} if self.below is None else {"below": self.below}
        return {"name": self.name, "shape": list(self.shape), "dtype": self.dtype, **more}

    def __str__(self) -> str:
        return f"{self.name} {self.dtype}[{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True)
class Signature:
    """One function of a bundle: what it takes and what it gives."""

    inputs: tuple[BundleArray, ...]
    outputs: tuple[BundleArray, ...]
    result: Any = None
    """How the outputs stand in the result: ``{"array": name}``, ``{"tuple": […]}``, ``{"dict": {…}}`` …"""
    sizes: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """The smallest and the largest size that a symbol stands for, where there is one."""
    program: Mapping[str, str] = field(default_factory=dict)
    """The method or function, and what runs before and after it, by names; empty where they have none."""

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Signature:
        """From an entry of ``bundle.json``."""
        arrays = {which: tuple(map(BundleArray.of, entry[which])) for which in ("inputs", "outputs")}
        sizes = {name: (low, high) for name, (low, high) in entry["sizes"].items()}
        return cls(**arrays, result=entry["result"], sizes=sizes, program=dict(entry["program"]))

    def entry(self) -> dict[str, Any]:
        """As an entry of ``bundle.json``."""
        return {
            "inputs": [x.entry() for x in self.inputs],
            "outputs": [x.entry() for x in self.outputs],
            "result": self.result,
            "sizes": {name: list(bounds) for name, bounds in self.sizes.items()},
            "program": dict(self.program),
        }

    def __str__(self) -> str:
        return f"({', '.join(map(str, self.inputs))}) → ({', '.join(map(str, self.outputs))})"


@dataclass(frozen=True)
class Written:
    """A file of a target for one signature, and how close it came to the model."""

    file: str
    tolerance: float
    error: float
    """The largest difference that was seen, as a share of the largest number of each output, or of 1."""
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Bundle:
    """What a bundle says of itself; ``read_bundle`` gives it, whole and verified."""

    folder: Path
    name: str
    version: str
    signatures: Mapping[str, Signature]
    targets: Mapping[str, Mapping[str, Written]]
    """Files by target and signature."""
    classes: tuple[str, ...] = ()
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    """Constants of preprocessing, such as mean and size: for people, and for programs that do it themselves."""
    encoders: Mapping[str, Encoder] = field(default_factory=dict)
    """By the input whose words they turn into numbers."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    card: str = ""
    """The maker's own words for people."""
    files: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    """Length and SHA-256 of each file."""
    sha256: str = ""

    @classmethod
    def of(cls, folder: Path, content: Mapping[str, Any]) -> Bundle:
        """From the content of ``bundle.json``, whose form was checked."""
        return cls(
            folder=folder,
            name=content["name"],
            version=content["version"],
            signatures={name: Signature.of(entry) for name, entry in content["signatures"].items()},
            targets={
                target: {name: Written(**entry) for name, entry in written.items()}
                for target, written in content["targets"].items()
            },
            classes=tuple(content["classes"]),
            preprocessing=content["preprocessing"],
            encoders={name: Encoder(entry["table"], entry["unknown"]) for name, entry in content["encoders"].items()},
            provenance=content["provenance"],
            card=content["card"],
            files={name: (size, digest) for name, (size, digest) in content["files"].items()},
            sha256=content.get("sha256", ""),
        )

    def content(self) -> dict[str, Any]:
        """The content of ``bundle.json``, short of the files and the checksum."""
        return {
            "format": FORMAT,
            "name": self.name,
            "version": self.version,
            "signatures": {name: signature.entry() for name, signature in self.signatures.items()},
            "targets": {
                target: {name: {**vars(w), "details": dict(w.details)} for name, w in written.items()}
                for target, written in self.targets.items()
            },
            "classes": list(self.classes),
            "preprocessing": dict(self.preprocessing),
            "encoders": {n: {"table": list(e.table), "unknown": e.unknown} for n, e in self.encoders.items()},
            "provenance": dict(self.provenance),
            "card": self.card,
        }

    def statistics(self) -> dict[str, Any] | None:
        """The statistics of the training data; None where the bundle has none."""
        if STATISTICS not in self.files:
            return None
        return json.loads((self.folder / STATISTICS).read_text("utf-8"))
