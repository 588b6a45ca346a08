"""Text from px.generate beside transformers on PyTorch: tokens one at a time for one text and for eight, and a prompt.

The model is GPT-2 of 124 million numbers with the same fresh weights, written by px.models.save; each contender has a
process of its own, and they take turns. docs/performance.md says what is measured.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _measure import command
from _saved_models import Race, Ready, Results, Track, child, threads
from frameworks import Form
from language import PACKAGES, PAGE, SMALL

import phlox as px

FORMS = {
    form.name: form
    for form in (
        Form("Phlox", "phlox"),
        Form("Phlox, memory kept", "phlox", "kept"),
        Form("transformers, growing cache", "torch"),
        Form("transformers, static cache, torch.compile", "torch", "compile"),
    )
}


@dataclass(frozen=True)
class Kind:
    """A way of writing: how many texts, how long their prompts are, and how many tokens follow."""

    what: str
    batch: int
    prompt: int
    new: int
    bound: float  # what Phlox may take, in times of the fastest other


KINDS = {
    "one": Kind("64 tokens behind a prompt of 16", 1, 16, 64, 1 / 1.2),
    "eight": Kind("64 tokens behind each of eight prompts of 16", 8, 16, 64, 1 / 1.2),
    "prompt": Kind("one token behind a prompt of 512", 1, 512, 1, 1.0),
}


@dataclass(frozen=True)
class Settings:
    rounds: int = 3
    small: bool = False


QUICK = Settings(rounds=2, small=True)


def write(folder: Path, settings: Settings) -> int:
    """A GPT-2 with fresh weights, without a token that ends a text; return how many numbers it has."""
    config = dataclasses.replace(px.models.GPT2Config(), eos_token_id=None, bos_token_id=None)
    if settings.small:
        config = dataclasses.replace(config, **{k: v for k, v in SMALL.items() if hasattr(config, k)}, n_positions=600)
    with px.seed(0):
        model = px.models.create(config)
    px.models.save(model, folder)
    for name, kind in KINDS.items():
        shape = (kind.batch, kind.prompt)
        np.save(folder / f"{name}.npy", np.random.default_rng(0).integers(0, config.vocab_size, shape))
    return sum(array.size for array in px.paths(px.split(model)[0]).values())


# --- in a process of its own --------------------------------------------------------------------------


def _agreed(folder: Path, kind: str, write: Callable[[], np.ndarray]) -> Callable[[], float]:
    """A check that texts are those that the first contender wrote: 1 then, else 0."""
    kept = folder / f"{kind}-written.npy"

    def check() -> float:
        found = np.asarray(write())
        if not kept.exists():
            np.save(kept, found)
        return float(np.array_equal(found, np.load(kept)))

    return check


def with_phlox(form: Form, folder: Path, kind: str) -> Ready:
    """By px.generate."""
    if form.kind == "kept":
        px.keep_freed_memory()
    model, tokens = px.models.load(folder), np.load(folder / f"{kind}.npy").astype(np.int32)
    step = lambda: px.generate(model, tokens, max_new=KINDS[kind].new).tokens  # noqa: E731
    return _agreed(folder, kind, step), step


def with_torch(form: Form, folder: Path, kind: str) -> Ready:
    """By ``model.generate``, with its cache that grows, and with its static one in a compiled forward pass."""
    import torch
    import transformers

    torch.set_num_threads(threads())
    transformers.utils.logging.disable_progress_bar()
    model: Any = transformers.GPT2LMHeadModel.from_pretrained(folder).eval()
    tokens = torch.tensor(np.load(folder / f"{kind}.npy"))
    if form.kind == "compile":
        model.forward = torch.compile(model.forward)
    cache = {"cache_implementation": "static"} if form.kind == "compile" else {}
    options = {"max_new_tokens": KINDS[kind].new, "do_sample": False, "pad_token_id": 0, **cache}
    mask = torch.ones_like(tokens)

    def step() -> Any:
        with torch.inference_mode():
            return model.generate(tokens, attention_mask=mask, **options)[:, tokens.shape[1] :]

    return _agreed(folder, kind, step), step


# --- all of them --------------------------------------------------------------------------------------


def measure(settings: Settings, tell: Callable[[str], None]) -> Results:
    races: list[Race] = []
    notes: list[str] = []
    with tempfile.TemporaryDirectory(prefix="phlox-bench-") as made:
        folder = Path(made) / "gpt2"
        tell("writing the model")
        count = write(folder, settings)
        for name, kind in KINDS.items():
            title = f"GPT-2, {count / 1e6:.3g} million numbers, {kind.what}"
            race = Track(__file__, FORMS, folder, name).race(title, settings.rounds, 1, notes, tell)
            races.append(dataclasses.replace(race, bound=kind.bound))
    return Results("decoding", FORMS, races, notes, "a call")


def main(arguments: Sequence[str] | None = None) -> int:
    return command("decoding", __doc__ or "", measure, Settings(), QUICK, PACKAGES, PAGE, arguments)


if __name__ == "__main__":
    if child(sys.argv, {"phlox": with_phlox, "torch": with_torch}, FORMS):
        raise SystemExit(0)
    raise SystemExit(main())
