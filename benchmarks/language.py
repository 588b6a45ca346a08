"""Language models of px.models beside transformers on PyTorch: one forward pass, or one step of Adam, of each.

The models have the same weights, written by px.models.save; each contender has a process of its own, and they take
turns. docs/performance.md says what is measured.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _measure import command
from _saved_models import Ready, Results, Track, child, threads
from frameworks import Form

import phlox as px

PAGE = Path(__file__).resolve().parent.parent / "docs" / "performance.md"
PACKAGES = ("phlox", "jax", "jaxlib", "numpy", "torch", "transformers")
FORMS = {
    form.name: form
    for form in (
        Form("Phlox", "phlox"),
        Form("Phlox, memory kept", "phlox", "kept"),
        Form("transformers, eager", "torch"),
        Form("transformers, torch.compile", "torch", "compile"),
    )
}
MODELS = {"bert_base_uncased": "fill-mask", "gpt2": "text-generation"}  # by variant, the task of the head
KINDS = {"forward": "a forward pass", "training": "a step of Adam"}
RATE = 1e-4


@dataclass(frozen=True)
class Settings:
    rounds: int = 9
    steps: int = 1  # in a block
    batch: int = 8
    time: int = 128
    small: bool = False


QUICK = Settings(rounds=2, batch=2, time=16, small=True)
SMALL = {  # by the names of either family
    "n_embd": 32, "n_layer": 1, "n_head": 2, "vocab_size": 200, "hidden_size": 32, "num_hidden_layers": 1,
    "num_attention_heads": 2, "intermediate_size": 64,
}  # fmt: skip


def write(name: str, folder: Path, settings: Settings) -> int:
    """A model with fresh weights, and tokens for it; return how many numbers it has."""
    config = px.eval_shape(lambda: px.models.create(name, task=MODELS[name])).config
    if settings.small:
        known = {field.name for field in dataclasses.fields(config)}
        config = dataclasses.replace(config, **{k: v for k, v in SMALL.items() if k in known})
    with px.seed(0):
        model = px.models.create(config)
    px.models.save(model, folder)
    shape = (2, settings.batch, settings.time)
    np.save(folder / "tokens.npy", np.random.default_rng(0).integers(0, config.vocab_size, shape))
    return sum(array.size for array in px.paths(px.split(model)[0]).values())


# --- in a process of its own --------------------------------------------------------------------------


def with_phlox(form: Form, folder: Path, kind: str) -> Ready:
    """The loss without dropout, and a step whose last result is waited for by reading it."""
    import jax.numpy as jnp

    if form.kind == "kept":
        px.keep_freed_memory()
    model = px.models.load(folder)
    tokens, labels = jnp.asarray(np.load(folder / "tokens.npy").astype(np.int32))
    writes = model.config.task == "text-generation"

    def loss_of(model: Any, x: Any) -> Any:
        scores = model(x)
        wanted = (scores[:, :-1], x[:, 1:]) if writes else (scores, labels)
        return px.losses.cross_entropy(*wanted)

    calm = px.jit(loss_of)
    if kind == "forward":
        forward = px.jit(lambda model, x: model(x))
        return lambda: float(calm(model, tokens)), lambda: forward(model, tokens)
    opt = px.Optimizer(px.optim.Adam(RATE), model)

    @px.jit
    def step(model: Any, opt: Any, x: Any) -> Any:
        loss, grads = px.value_and_grad(lambda model: loss_of(model, x))(model)
        opt.update(model, grads)
        return loss

    return lambda: float(calm(model, tokens)), lambda: step(model, opt, tokens)


def with_torch(form: Form, folder: Path, kind: str) -> Ready:
    """As above."""
    import torch
    import transformers

    torch.set_num_threads(threads())
    transformers.utils.logging.disable_progress_bar()
    named = json.loads((folder / "config.json").read_text("utf-8"))["architectures"][0]
    model = getattr(transformers, named).from_pretrained(folder)
    tokens, labels = torch.tensor(np.load(folder / "tokens.npy"))
    labels = tokens if named.startswith("GPT2") else labels  # which it shifts itself
    call = torch.compile(model) if form.kind == "compile" else model
    adam = torch.optim.Adam(model.parameters(), lr=RATE, fused=True)

    def calm() -> float:
        model.eval()
        with torch.inference_mode():
            return float(model(tokens, labels=labels).loss)

    def forward() -> Any:
        with torch.inference_mode():
            return call(tokens).logits

    def step() -> Any:
        model.train()
        adam.zero_grad()
        loss = call(tokens, labels=labels).loss
        loss.backward()
        adam.step()
        return loss.detach()

    return calm, forward if kind == "forward" else step


# --- all of them --------------------------------------------------------------------------------------


def measure(settings: Settings, tell: Callable[[str], None]) -> Results:
    races, notes = [], []
    for name in MODELS:
        with tempfile.TemporaryDirectory(prefix="phlox-bench-") as made:
            folder = Path(made) / name
            tell(f"{name}: writing it")
            try:
                count = write(name, folder, settings)
            except px.RangeError as reason:
                notes.append(f"{name} is left out: {reason}")
                continue
            gc.collect()
            for kind, what in KINDS.items():
                title = f"{name}, {count / 1e6:.3g} million numbers, {settings.batch}×{settings.time} tokens, {what}"
                track = Track(__file__, FORMS, folder, kind, learns=kind == "training")
                races.append(track.race(title, settings.rounds, settings.steps, notes, tell))
    return Results("language", FORMS, races, notes)


def main(arguments: Sequence[str] | None = None) -> int:
    return command("language", __doc__ or "", measure, Settings(), QUICK, PACKAGES, PAGE, arguments)


if __name__ == "__main__":
    if child(sys.argv, {"phlox": with_phlox, "torch": with_torch}, FORMS):
        raise SystemExit(0)
    raise SystemExit(main())
