"""Masks and lengths of a dtype or size that would silently mean something else are refused, eager and compiled."""

import re

import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import assert_close, oracle
from phlox import nn
from registry import normal

X = normal(2, 5, 4)
SEEN = np.tril(np.ones((5, 5), int))
attend = px.MultiHeadAttention(4, 2, key=0)
encode = nn.TransformerEncoderLayer(4, 2, dropout=0.0, key=0)
causal = px.MultiHeadAttention(4, 2, causal=True, key=0)
recur = px.LSTM(4, 3, stateful=2, key=0)
flip = nn.ReverseSequence()
F = nn.functional
H = X.reshape(2, 5, 2, 2)

BOOLEANS = "expects mask of booleans, or of floats that are added, got int32[5, 5]\n  fix: write mask.astype(bool)"
REFUSED = {
    "integers in a layer": (px.DtypeError, BOOLEANS, lambda: attend(X, mask=SEEN.astype("int32"))),
    "integers in a transformer": (px.DtypeError, BOOLEANS, lambda: encode(X, mask=SEEN.astype("int32"))),
    "integers in a function": (
        px.DtypeError,
        "dot_product_attention " + BOOLEANS,
        lambda: F.dot_product_attention(H, H, H, mask=SEEN.astype("int32")),
    ),
    "a bias of booleans": (
        px.DtypeError,
        "expects bias of floats that are added, got bool[5, 5]\n  fix: pass it as mask=",
        lambda: F.dot_product_attention(H, H, H, bias=SEEN > 0),
    ),
    "lengths too long": (
        px.RangeError,
        "lengths in [0, 5], got lengths from 2 to 6",
        lambda: attend(X, lengths=[6, 2]),
    ),
    "lengths below 0": (
        px.RangeError,
        "lengths in [0, 5], got lengths from -1 to 2",
        lambda: attend(X, lengths=[-1, 2]),
    ),
    "lengths of keys": (
        px.RangeError,
        "kv_lengths in [0, 3], got kv_lengths from 1 to 4",
        lambda: attend(X, X[:, :3], kv_lengths=jnp.array([1, 4])),
    ),
    "lengths of floats": (px.ShapeError, "lengths of shape (2,), integers", lambda: attend(X, lengths=[1.0, 2.0])),
    "lengths of booleans": (px.ShapeError, "lengths of shape (2,), integers", lambda: attend(X, lengths=[True, True])),
    "floats for a cache": (
        px.ShapeError,
        "lengths of shape (2,), integers, got float32[2]",
        lambda: causal(X, cache=causal.init_cache(2, 9), lengths=jnp.array([1.5, 2.0])),
    ),
    "a mask of recurrent integers": (
        px.ShapeError,
        "mask (2, 5) of booleans, got int32[2, 5]\n  fix: pass True where a step is real, with mask.astype(bool)",
        lambda: recur(X, mask=jnp.ones((2, 5), jnp.int32)),
    ),
    "numbers of rows": (
        px.ShapeError,
        "LSTM(4 → 3) expects rows (2,) of booleans, got int32[2]\n  fix: write rows.astype(bool)",
        lambda: recur.reset_state(jnp.array([0, 1])),
    ),
    "a flip beyond the end": (
        px.RangeError,
        "lengths in [0, 5], got lengths from 1 to 6",
        lambda: flip(X, jnp.array([1, 6])),
    ),
    "a cache of another batch": (
        px.ShapeError,
        "a cache of (2, length, 2, 2), got one of (3, 9, 2, 2)\n  fix: make it by this layer's init_cache(2, length)",
        lambda: causal(X, cache=causal.init_cache(3, 9)),
    ),
    "a cache of another layer": (
        px.ShapeError,
        "expects a cache of (2, length, 2, 2), got one of (2, 9, 2, 4)",
        lambda: causal(X, cache=px.MultiHeadAttention(8, 2, causal=True, key=0).init_cache(2, 9)),
    ),
    "the caches of a stack": (px.ShapeError, "got list", lambda: causal(X, cache=[causal.init_cache(2, 9)])),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_mean_something_else_is_refused(name):
    error, text, call = REFUSED[name]
    with pytest.raises(error, match=re.escape(text)):
        call()


def test_integers_are_refused_in_compiled_code_too():
    with pytest.raises(px.DtypeError, match=re.escape(BOOLEANS)):
        px.jit(lambda layer, x, mask: layer(x, mask=mask))(attend, X, jnp.asarray(SEEN, jnp.int32))


def test_booleans_hide_what_pytorchs_hide_and_floats_are_added():
    torch = oracle("torch")
    heads = torch.tensor(H).transpose(1, 2)
    for mask in (SEEN > 0, np.where(SEEN > 0, 0.0, -np.inf).astype("float32")):
        theirs = torch.nn.functional.scaled_dot_product_attention(heads, heads, heads, attn_mask=torch.tensor(mask))
        assert_close(F.dot_product_attention(H, H, H, mask=mask), theirs.transpose(1, 2).numpy())
