"""Models for the tests of weight files: every kind of array that a file holds, and one with a shared part."""

import jax
import jax.numpy as jnp

import phlox as px


class Everything(px.Module):
    """An array of every kind, all from one seed."""

    counter: px.State
    mask: px.State

    def __init__(self, seed):
        with px.seed(seed):
            self.net = px.Chain(px.Conv((3,), 2, 4), px.BatchNorm(4, px.relu), px.Dropout(0.5), px.Dense(4, 3))
        key = jax.random.key(seed)
        self.counter = jnp.array(seed, jnp.int32)
        self.mask = jax.random.bernoulli(key, 0.5, (5,))
        self.half = jax.random.normal(key, (3, 2), jnp.float16)
        self.brain = jax.random.normal(key, (2, 3), jnp.bfloat16)
        self.eight = jax.random.normal(key, (4,)).astype(jnp.float8_e4m3fn)
        self.spectrum = jax.lax.complex(*jax.random.normal(key, (2, 3)))
        self.empty = jnp.zeros((0, 3))
        self.scalar = jax.random.normal(key, ())
        self.turned = jax.random.normal(key, (2, 3)).T
        self.keys = jax.random.split(jax.random.key(seed, impl="rbg"), 3)


class Tied(px.Module):
    """A Dense met on two paths."""

    def __init__(self, seed):
        self.first = px.Dense(3, 3, key=seed)
        self.again = {"same": self.first}


def contents(model):
    """All arrays as (dtype, shape, bytes) by path; keys by their implementation and words."""
    found = {}
    for path, x in px.state_dict(model).items():
        words = jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x
        found[path] = str(x.dtype), x.shape, jax.device_get(words).tobytes()
    return found
