"""Encrypted inference on digits: seconds, bytes, and how near answers are to those of the network itself.

Networks are trained with the polynomials that they are served with; docs/privacy_encrypted.md has the table.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _measure import Bar, Table, command, short

import phlox as px

PACKAGES = ("phlox", "jax", "tenseal")
PAGE = Path(__file__).resolve().parent.parent / "docs" / "privacy_encrypted.md"
TEST = 360  # digits that are asked about, none of them trained on


@dataclass(frozen=True)
class Settings:
    """How many digits are asked about, and how long networks train."""

    images: int = 60
    epochs: int = 20


QUICK = Settings(images=2, epochs=1)


def dense() -> px.Chain:
    """64 pixels, 32 features."""
    return px.Chain(px.flatten, px.Dense(64, 32, px.relu, key=0), px.Dense(32, 10, key=1))


def convolutional() -> px.Chain:
    """Eight maps of 4 × 4."""
    return px.Chain(
        px.Conv((3, 3), 1, 8, px.relu, stride=2, padding=1, key=0),
        px.BatchNorm(8),
        px.flatten,
        px.Dense(128, 10, key=1),
    )


NETWORKS = {"Dense 64-32-10": dense, "Conv 3 × 3 of 8, Dense 128-10": convolutional}


@dataclass(frozen=True)
class Measured:
    """Of one network."""

    title: str
    parameters: str
    keys_seconds: float
    keys: int  # bytes of the public ones
    image: int  # bytes of an encrypted one
    answer: int
    seconds: tuple[float, ...]  # to encrypt an image, to answer, to decrypt: medians
    error: float  # the largest of a score
    agreement: float  # of classes
    accuracy: float
    images: int


@dataclass
class Results:
    measured: list[Measured]
    notes: list[str]

    def bars(self) -> list[Bar]:
        """What answers are held to."""
        found = []
        for m in self.measured:
            found.append(Bar(f"{m.title}: largest difference of a score, thousandths", 1.0, 1e3 * m.error, unit=""))
            found.append(Bar(f"{m.title}: the same class, %", 99.0, 100 * m.agreement, unit="", at_most=False))
        return found

    def tables(self) -> list[Table]:
        header = ["", *(m.title for m in self.measured)]
        rows = [
            ["parameters", *(m.parameters for m in self.measured)],
            [
                "public keys, once",
                *(f"{m.keys / 2**20:.0f} MiB, made in {short(m.keys_seconds)} s" for m in self.measured),
            ],
            ["an encrypted image", *(f"{m.image / 2**10:.0f} KiB" for m in self.measured)],
            ["an encrypted answer", *(f"{m.answer / 2**10:.0f} KiB" for m in self.measured)],
            *(
                [what, *(f"{short(1e3 * m.seconds[i])} ms" for m in self.measured)]
                for i, what in enumerate(("to encrypt an image", "to answer", "to decrypt an answer"))
            ),
            ["largest difference of a score", *(f"{m.error:.1e}" for m in self.measured)],
            ["the same class", *(f"{m.agreement:.1%} of {m.images}" for m in self.measured)],
            ["right", *(f"{m.accuracy:.1%}" for m in self.measured)],
        ]
        bars = Table("Bars for encrypted digits", ["", "asked", "measured", "verdict"], [b.row() for b in self.bars()])
        return [Table("Encrypted digits, one at a time", header, rows), bars]

    def json(self) -> dict[str, Any]:
        bars = [asdict(bar) | {"verdict": bar.verdict} for bar in self.bars()]
        return {"networks": [asdict(m) for m in self.measured], "bars": bars}


def trained(make: Callable[[], px.Chain], epochs: int) -> px.Chain:
    """A network with polynomials for activations, trained with ReLU first."""
    images, labels = px.data.digits()
    train, model = (images[:-TEST], labels[:-TEST]), make()
    given = dict(loss=px.losses.cross_entropy, batch_size=64, progress=False)
    px.fit(model, train, optimizer=px.optim.Adam(3e-3), epochs=epochs, **given)
    fitted = px.privacy.with_polynomials(model, train[0][:512])
    px.fit(fitted, train, optimizer=px.optim.Adam(3e-4), epochs=-(-epochs // 2), **given)
    return fitted


def measured(title: str, model: px.Chain, count: int) -> Measured:
    """Every image encrypted, answered and decrypted, alone."""
    images, labels = (part[-count:] for part in px.data.digits())
    served = px.privacy.EncryptedModel(model, (8, 8, 1))
    start = time.perf_counter()
    keys = px.privacy.EncryptionKeys(served.parameters)
    made = time.perf_counter() - start
    public = keys.public()
    session, scores, times = served.session(public), [], []
    for image in images:
        marks = [time.perf_counter()]
        request = keys.encrypt(image)
        marks.append(time.perf_counter())
        answer = session.answer(request)
        marks.append(time.perf_counter())
        scores.append(keys.decrypt(answer))
        times.append(np.diff([*marks, time.perf_counter()]))
    clear, found = np.asarray(px.predict(model, images)), np.array(scores)
    p, classes = served.parameters, found.argmax(1)
    return Measured(
        title, f"degree {p.degree}, {p.levels} levels of {p.scale_bits} bits", made, len(public), len(request),
        len(answer), tuple(np.median(times, 0).tolist()), float(np.abs(found - clear).max()),
        float((classes == clear.argmax(1)).mean()), float((classes == labels).mean()), count,
    )  # fmt: skip


def measure(settings: Settings, tell: Callable[[str], None]) -> Results:
    """Both networks."""
    found = []
    for title, make in NETWORKS.items():
        tell(f"{title}: training")
        model = trained(make, settings.epochs)
        tell(f"{title}: asking")
        found.append(measured(title, model, settings.images))
    return Results(found, [])


def main(arguments: Sequence[str] | None = None) -> int:
    return command("encrypted", __doc__ or "", measure, Settings(), QUICK, PACKAGES, PAGE, arguments)


if __name__ == "__main__":
    raise SystemExit(main())
