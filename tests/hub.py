"""Our models beside the hub's: tiny random ones of theirs, written to a folder, loaded here, compared in every digit.

With ``PHLOX_MODEL_TABLE`` naming a file, what each comparison saw is added to it: docs/models.md is made of that.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import phlox as px
from kit import oracle
from phlox.models._catalogue import family_of

torch = oracle("torch")

# Relative to the largest number of each array. Float32's bar is the field's; its gradients pass through many sums.
BARS = {"float32": {"value": 1e-5, "grad": 1e-4}, "float64": {"value": 1e-10, "grad": 1e-10}}


def tiny(cls: Any, config: Any, folder: Path, seed: int = 0) -> Any:
    """A random model of theirs, with statistics and scales that hide nothing, written to a folder."""
    torch.manual_seed(seed)
    theirs = cls(config).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, x in theirs.state_dict(keep_vars=True).items():
            if name.endswith("running_var"):
                x.uniform_(0.5, 2.0, generator=generator)
            elif name.endswith("running_mean") or (x.is_floating_point() and (x.ndim == 1 or not x.any())):
                x.add_(0.3 * torch.randn(x.shape, generator=generator))
    theirs.save_pretrained(folder)
    return theirs


def images(*shape: int, seed: int = 0) -> np.ndarray:
    """Random images (batch, height, width, channels)."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def first(x: np.ndarray) -> torch.Tensor:
    """Channels first, as PyTorch has images."""
    return torch.tensor(x).permute(0, 3, 1, 2)


@contextmanager
def in_dtype(dtype: str) -> Iterator[None]:
    """With 64 bits where they are asked for."""
    if dtype == "float64":
        with jax.enable_x64(True):
            yield
    else:
        yield


def distance(ours: Any, theirs: Any) -> float:
    """The largest difference, relative to the largest number."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    assert ours.shape == theirs.shape, f"{ours.shape} against {theirs.shape}"
    return float(np.abs(ours - theirs).max() / max(np.abs(theirs).max(), 1e-30))


def agrees(ours: Any, theirs: Any, what: str, bar: float) -> float:
    found = distance(ours, theirs)
    assert found <= bar, f"{what}: {found:.1e}, the bar is {bar:.0e}"
    return found


def note(model: Any, oracle: str, **seen: float) -> None:
    """Keep what was seen, for the table."""
    if table := os.environ.get("PHLOX_MODEL_TABLE"):
        test = os.environ["PYTEST_CURRENT_TEST"].partition(" ")[0]
        with open(table, "a") as file:
            file.write(json.dumps({"model": model.config.model_type, "oracle": oracle, "test": test, **seen}) + "\n")


def compare(
    ours: Any,
    theirs: Any,
    x: np.ndarray,
    *,
    dtype: str,
    hidden: bool = True,
    learn: bool = True,
    oracle: str = "transformers",
    **options: Any,
) -> None:
    """Scores and hidden states; with ``learn``, gradients of all weights in training and the statistics afterwards.

    Maps of features here are channels last; theirs are turned round where they have four axes. Options are for them.
    """
    with in_dtype(dtype):
        ours = (px.f64 if dtype == "float64" else px.f32)(px.copy(ours))
        theirs = copy.deepcopy(theirs).to(getattr(torch, dtype))
        bars, given = BARS[dtype], jnp.asarray(x, dtype)
        scores, states, grads, trained = _ours(ours, given, hidden, learn)
        want, want_states, named = _theirs(theirs, first(x).to(getattr(torch, dtype)), hidden, learn, options)
        seen = {"scores": agrees(scores, want.detach().numpy(), "scores", bars["value"])}
        assert len(states) == len(want_states)
        for i, (a, b) in enumerate(zip(states, want_states, strict=True)):
            agrees(a, _last(b.detach()).numpy(), f"hidden state {i}", bars["value"])
        if learn:
            family = family_of(ours.config, "compare")
            names = family.names_of(family.dialects(ours.config)[0], ours.config)
            _statistics(names.to_theirs(trained), theirs, bars["value"])
            seen["gradients"] = gradients(names.to_theirs(grads), named, bars["grad"])
        note(ours, oracle, **{f"{what} {dtype}": value for what, value in seen.items()})


def covered(model: Any) -> None:
    """Every weight stands in just one of a model's parts, the table that it is frozen and thawed by."""
    for path in (path for path, x in px.paths(model).items() if jnp.issubdtype(x.dtype, jnp.floating)):
        assert sum(path == part or path.startswith(part + ".") for part in model.parts()) == 1, path


def _statistics(ours: dict[str, Any], theirs: Any, bar: float) -> None:
    """Running means and variances after a pass in training."""
    arrays = in_files(theirs, theirs.state_dict())
    for name, array in ours.items():
        if name.endswith(("running_mean", "running_var")):
            agrees(array, arrays[name].numpy(), name, bar)


def gradients(ours: dict[str, Any], theirs: dict[str, np.ndarray], bar: float) -> float:
    """The largest difference, relative to the largest number of its array, or a thousandth of the largest of all."""
    assert {n for n in ours if not n.endswith("num_batches_tracked")} == set(theirs)
    largest, worst = max(float(np.abs(g).max()) for g in theirs.values()), 0.0
    for name, g in theirs.items():
        scale = max(float(np.abs(g).max()), 1e-3 * largest)
        difference = float(np.abs(np.asarray(ours[name]) - g).max()) / scale
        assert difference <= bar, f"gradient of {name}: {difference:.1e}, the bar is {bar:.0e}"
        worst = max(worst, difference)
    return worst


def _ours(model: Any, x: jax.Array, hidden: bool, learn: bool) -> tuple[Any, Any, Any, Any]:
    """Scores and states while it infers; gradients, and the model after them, while it trains."""

    @px.jit
    def both(model: Any, x: jax.Array) -> tuple[Any, Any, Any]:
        scores, states = model(x), model.hidden_states(x) if hidden else ()
        weights = jnp.asarray(_weights(scores.shape), scores.dtype)
        grads = px.grad(lambda m: (m(x) * weights).sum())(model) if learn else None
        return scores, states, grads

    return *both(model, x), model


def _theirs(
    model: Any, x: torch.Tensor, hidden: bool, learn: bool, options: dict[str, Any]
) -> tuple[Any, Any, dict[str, np.ndarray]]:
    with torch.no_grad():
        out = model(x, output_hidden_states=hidden, **options)
    states = getattr(out, "reshaped_hidden_states", None) or out.hidden_states or ()
    if not learn:
        return out.logits, states, {}
    model.train()
    scores = model(x, **options).logits
    (scores * torch.tensor(_weights(scores.shape)).to(scores.dtype)).sum().backward()
    grads = {n: p.grad if p.grad is not None else torch.zeros(p.shape) for n, p in model.named_parameters()}
    return out.logits, states, {n: g.numpy() for n, g in in_files(model, grads).items()}


def in_files(model: Any, arrays: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Arrays of theirs under the names that files have, and in their form: newer code of theirs has others."""
    from transformers.core_model_loading import revert_weight_conversion

    return revert_weight_conversion(model, arrays)


def _weights(shape: Any) -> np.ndarray:
    return np.random.default_rng(1).normal(size=tuple(shape))


def _last(x: torch.Tensor) -> torch.Tensor:
    return x.permute(0, 2, 3, 1) if x.ndim == 4 else x


def there_again(ours: Any, cls: Any, folder: Path) -> Any:
    """Our model, written to a folder and loaded by their library, which must know every name and miss none."""
    px.models.save(ours, folder)
    theirs, found = cls.from_pretrained(folder, output_loading_info=True)
    assert not any(found.values()), found
    return theirs.eval()


def fates(block: Any, x: np.ndarray) -> list[float]:
    """How often a transformer's block, with stochastic depth of one half, drops or doubles each of its branches.

    The example (1, ...) goes through it 300 times; shares are of neither branch, the second, the first, both. They add
    up to 1 unless something else happens.
    """

    @px.jit
    def run(block: Any, calm: Any, x: jax.Array) -> tuple[jax.Array, list[jax.Array]]:
        h = calm.scale1(calm.attention(calm.norm1(x)))
        grown = [x + a * h for a in (0, 2)]
        return block(jnp.repeat(x, 300, axis=0)), [
            y + m * calm.scale2(calm.mlp(calm.norm2(y))) for y in grown for m in (0, 2)
        ]  # fmt: skip

    assert block.path.p == 0.5
    found, wanted = run(px.trainmode(px.copy(block)), px.testmode(px.copy(block)), jnp.asarray(x))
    axes = tuple(range(1, x.ndim))
    return [float(np.isclose(found, one, rtol=1e-4, atol=1e-4).all(axes).mean()) for one in wanted]
