"""An attribution by itself in a notebook: a picture of its first row where it is an image, else a table."""

from __future__ import annotations

import base64
import html
import io
from typing import Any

import jax
import numpy as np

from phlox.core import MissingExtraError


def html_of(found: Any) -> str:
    """What a notebook shows."""
    text = f"<pre>{html.escape(str(found))}</pre>"
    leaves = jax.tree.leaves(found.values)
    if len(leaves) != 1 or np.ndim(leaves[0]) == 3:
        return text
    if np.ndim(leaves[0]) == 2:
        return found.table(row=0, most=20)._repr_html_()
    try:
        figure, buffer = found.plot(), io.BytesIO()
    except MissingExtraError:
        return text
    figure.savefig(buffer, format="png")
    return (
        f'<img src="data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}" alt="{found.method}">{text}'
    )
