"""Which way a number is better, told from its name."""

from __future__ import annotations

from phlox.core import RangeError

_LOWER = ("loss", "error", "mse", "mae", "msle", "perplexity", "nll", "brier", "calibration")
_HIGHER = ("accuracy", "precision", "recall", "f1", "fbeta", "auc", "roc", "r2", "iou", "dice", "correlation")


def mode_of(name: str, where: str) -> str:
    """``"min"`` for losses and errors, ``"max"`` for accuracies and their like, told from the name.

    Raises:
        RangeError: the name tells nothing.

    >>> mode_of("val_loss", "EarlyStopping"), mode_of("val_top_5_accuracy", "EarlyStopping")
    ('min', 'max')
    """
    lower, higher = (any(word in name.lower() for word in words) for words in (_LOWER, _HIGHER))
    if lower == higher:
        raise RangeError(
            'mode "min" or "max"', got=f"a name that tells neither, {name!r}", fix='pass mode="min" or mode="max"',
            where=where,
        )  # fmt: skip
    return "min" if lower else "max"
