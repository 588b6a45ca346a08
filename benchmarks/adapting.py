"""A step of Adam on a LoRA beside a GPT-2: px.adapt beside PEFT on PyTorch.

Both have the same base and the same adapter, of one A for queries and values, which PEFT's is of the fused layer; each
contender has a process of its own, and they take turns. docs/performance.md says what is measured.
"""

from __future__ import annotations

import dataclasses
import gc
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _measure import command
from _saved_models import Ready, Results, Track, child, threads
from frameworks import Form
from language import PAGE, QUICK, SMALL, Settings

import phlox as px

PACKAGES = ("phlox", "jax", "jaxlib", "numpy", "torch", "transformers", "peft")
FORMS = {
    form.name: form
    for form in (
        Form("Phlox", "phlox"),
        Form("Phlox, memory kept", "phlox", "kept"),
        Form("PEFT, eager", "torch"),
        Form("PEFT, torch.compile", "torch", "compile"),
    )
}
RANK, RATE = 8, 1e-3


def adapted(model: Any) -> Any:
    """The model with a fresh adapter of queries and values, whose A are alike."""
    px.adapt.lora(model, RANK, where=("**.q_proj", "**.v_proj"), key=0)
    for one in model.blocks:
        query, value = (layer.adapters["default"] for layer in (one.attention.q_proj, one.attention.v_proj))
        value.a = px.copy(query.a)
    return model


def write(folder: Path, settings: Settings) -> int:
    """The base, the adapter and tokens; return how many numbers the adapter has."""
    config = px.eval_shape(lambda: px.models.create("gpt2")).config
    known = {field.name for field in dataclasses.fields(config)} if settings.small else set()
    calm = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)  # what is frozen infers here, and not there
    config = dataclasses.replace(config, **calm, **{k: v for k, v in SMALL.items() if k in known})
    with px.seed(0):
        model = px.models.create(config)
    px.models.save(model, folder)
    px.adapt.save(adapted(model), folder / "adapter")
    shape = (settings.batch, settings.time)
    np.save(folder / "tokens.npy", np.random.default_rng(0).integers(0, config.vocab_size, shape))
    return sum(array.size for array in px.split(model)[0].values())


# --- in a process of its own --------------------------------------------------------------------------


def with_phlox(form: Form, folder: Path, kind: str) -> Ready:
    """The loss, and a step whose last result is waited for by reading it."""
    import jax.numpy as jnp

    if form.kind == "kept":
        px.keep_freed_memory()
    model = adapted(px.models.load(folder))
    tokens = jnp.asarray(np.load(folder / "tokens.npy").astype(np.int32))
    opt = px.Optimizer(px.optim.Adam(RATE), model)

    def loss_of(model: Any, x: Any) -> Any:
        return px.losses.cross_entropy(model(x)[:, :-1], x[:, 1:])

    @px.jit
    def step(model: Any, opt: Any, x: Any) -> Any:
        loss, grads = px.value_and_grad(lambda model: loss_of(model, x))(model)
        opt.update(model, grads)
        return loss

    calm = px.jit(loss_of)
    return lambda: float(calm(model, tokens)), lambda: step(model, opt, tokens)


def with_torch(form: Form, folder: Path, kind: str) -> Ready:
    """As above."""
    import peft
    import torch
    import transformers

    torch.set_num_threads(threads())
    transformers.utils.logging.disable_progress_bar()
    base = transformers.GPT2LMHeadModel.from_pretrained(folder)
    model = peft.PeftModel.from_pretrained(base, folder / "adapter", is_trainable=True)
    tokens = torch.tensor(np.load(folder / "tokens.npy"))
    call = torch.compile(model) if form.kind == "compile" else model
    adam = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=RATE, fused=True)

    def calm() -> float:
        with torch.inference_mode():
            return float(model(tokens, labels=tokens).loss)

    def step() -> Any:
        model.train()
        adam.zero_grad()
        loss = call(tokens, labels=tokens).loss
        loss.backward()
        adam.step()
        return loss.detach()

    return calm, step


# --- all of them --------------------------------------------------------------------------------------


def measure(settings: Settings, tell: Callable[[str], None]) -> Results:
    notes: list[str] = []
    with tempfile.TemporaryDirectory(prefix="phlox-bench-") as made:
        folder = Path(made) / "gpt2"
        tell("writing the model and its adapter")
        count = write(folder, settings)
        gc.collect()
        size = f"{settings.batch}×{settings.time} tokens"
        title = f"LoRA of {count / 1e3:.3g} thousand numbers beside gpt2, {size}, a step of Adam"
        track = Track(__file__, FORMS, folder, "training", learns=True)
        race = track.race(title, settings.rounds, settings.steps, notes, tell)
    return Results("adapting", FORMS, [race], notes)


def main(arguments: Sequence[str] | None = None) -> int:
    return command("adapting", __doc__ or "", measure, Settings(rounds=5), QUICK, PACKAGES, PAGE, arguments)


if __name__ == "__main__":
    if child(sys.argv, {"phlox": with_phlox, "torch": with_torch}, FORMS):
        raise SystemExit(0)
    raise SystemExit(main())
