"""PyTorch: eager and torch.compile, images in its own layout and in channels_last, Adam fused."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from workloads import RATE, Workload

from frameworks._contender import Contender, Form, one_by_one


def start(form: Form) -> None:
    del form
    torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2)
    (torch.zeros(1) + 1).item()


def product(size: int) -> Callable[[], Any]:
    """A product of square matrices, waited for."""
    a = torch.from_numpy(np.random.default_rng(0).normal(size=(size, size)).astype(np.float32))
    return lambda: a @ a


def contender(workload: Workload, form: Form, half: bool) -> Contender:
    torch.manual_seed(0)
    device = "cuda" if os.environ.get("JAX_PLATFORMS") == "cuda" else "cpu"
    layout = torch.channels_last if "channels_last" in form.kind else torch.contiguous_format
    model: Any = workload.models["torch"]().to(device, memory_format=layout)
    parameters = sum(p.numel() for p in model.parameters())
    data = [_placed(x, y, workload.space, device, layout) for x, y in workload.data()]
    call = torch.compile(model) if "compile" in form.kind else model
    lowered: Any = torch.autocast(device, torch.bfloat16) if half else contextlib.nullcontext()
    if workload.infers:
        model.eval()

        def infer(x: torch.Tensor) -> torch.Tensor:
            with torch.inference_mode(), lowered:
                return call(x)

        return Contender(one_by_one(infer, [(x,) for x, _ in data]), parameters)

    adam = torch.optim.Adam(model.parameters(), lr=RATE, fused=True)

    def take(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        adam.zero_grad()
        with lowered:
            logits = call(x)
            logits = logits if workload.space else logits.flatten(0, -2)  # with space classes are the second axis
            loss = torch.nn.functional.cross_entropy(logits, y if workload.space else y.flatten())
        loss.backward()
        adam.step()
        return loss.detach()

    return Contender(one_by_one(take, data), parameters)


def _placed(x: np.ndarray, y: np.ndarray, space: int, device: str, layout: Any) -> tuple[torch.Tensor, torch.Tensor]:
    inputs = torch.tensor(np.ascontiguousarray(np.moveaxis(x, -1, 1)) if space else x, device=device)
    inputs = inputs.contiguous(memory_format=layout) if space == 2 else inputs
    return inputs, torch.tensor(y, dtype=torch.int64, device=device)
