"""Make the picture of the page on deploying: a 3 drawn in headless Chromium; run it as a program."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "images" / "digits_page.png"
sys.path[:0] = [str(ROOT / "examples" / "deploy"), str(ROOT / "tests" / "areas" / "browser")]

import digits  # noqa: E402
from chrome import Chrome, served  # noqa: E402
from strokes import DIGITS, moved  # noqa: E402

ANSWERED = 'document.getElementById("state").dataset.state === "answered"'


def main() -> None:
    """Train, draw, and keep what the browser shows."""
    model, _ = digits.train(3)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "digits"
        digits.export(model, folder, ["web"])
        with Chrome() as chrome, served(folder) as address:
            chrome.open(address + "index.html")
            chrome.draw(moved(DIGITS[3], 0.05, -0.05, 0.75))
            for _ in range(3):  # the first answer takes longest
                chrome.wait(ANSWERED)
                chrome.value(
                    'document.getElementById("state").dataset.state = "waiting"; document.forms[0].requestSubmit()'
                )
            chrome.wait(ANSWERED)
            TARGET.write_bytes(chrome.picture())


if __name__ == "__main__":
    main()
