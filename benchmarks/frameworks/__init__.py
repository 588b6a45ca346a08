"""Who takes part, and in which forms. Nothing here imports a framework."""

from __future__ import annotations

from frameworks._contender import Contender, Form

__all__ = ["FORMS", "Contender", "Form"]

_BACKENDS = {"JAX": "jax", "TensorFlow": "tensorflow", "PyTorch": "torch"}


def _keras(title: str, backend: str) -> list[Form]:
    common = {"framework": "keras", "needs": ("keras", backend), "env": {"KERAS_BACKEND": backend}}
    return [
        Form(f"Keras on {title}", **common),
        Form(f"Keras on {title}, steps_per_execution", many=True, infers=False, **common),
    ]


def _torch() -> list[Form]:
    kinds = {"eager": False, "eager channels_last": True, "compile": False, "compile channels_last": True}
    return [
        Form("PyTorch, " + kind.replace(" ", ", "), "torch", kind, images=images, needs=("torch",))
        for kind, images in kinds.items()
    ]


FORMS = [
    Form("Phlox", "phlox"),
    Form("Phlox, memory kept", "phlox", "kept"),
    Form("Phlox, px.scan", "phlox", "scan", many=True, infers=False),
    Form("Phlox, px.multi_step", "phlox", "multi_step", many=True, infers=False),
    Form("JAX", "jax"),
    Form("JAX, lax.scan", "jax", many=True, infers=False),
    Form("Flax", "flax", "jit", needs=("flax",)),
    Form("Flax, cached_partial", "flax", "cached_partial", dispatch=True, infers=False, needs=("flax",)),
    Form("Flax, lax.scan", "flax", many=True, infers=False, needs=("flax",)),
    Form("Equinox", "equinox", needs=("equinox",)),
    Form("Equinox, lax.scan", "equinox", many=True, infers=False, needs=("equinox",)),
    *(form for title, backend in _BACKENDS.items() for form in _keras(title, backend)),
    *_torch(),
]
