"""Programs over devices: the plain form where XLA partitions, kernels where each device runs its own part."""

import os
import subprocess
import sys

import pytest

from phlox.nn.functional.kernels._kernels import package

pytest.importorskip("phlox_cpu", reason="phlox-cpu is not installed")
if package().library is None:
    pytest.skip(f"kernels are out of use: {package().reason}", allow_module_level=True)

PROGRAM = """
import jax, jax.numpy as jnp, numpy as np
jax.config.update("jax_num_cpu_devices", 2)
import phlox as px
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
from phlox.nn.functional.kernels._kernels import reference_forms

def f(x, w):
    y = px.nn.functional.conv(x, w, padding=1)
    y = px.nn.functional.batch_norm_train(y)[0]
    q = y.reshape(y.shape[0], -1, 2, 8)
    return px.nn.functional.dot_product_attention(q, q, q)

gradient = lambda x, w: jax.grad(lambda x, w: jnp.sum(jnp.sin(f(x, w))), (0, 1))(x, w)
x, w = jax.random.normal(jax.random.key(0), (4, 5, 5, 3)), jax.random.normal(jax.random.key(1), (3, 3, 3, 16))
want = jax.jit(gradient)(x, w)
assert jax.jit(gradient).lower(x, w).as_text().count("phlox_cpu_") == 7

def close(got, want):
    for a, r in zip(got, want, strict=True):
        np.testing.assert_allclose(a, r, rtol=1e-4, atol=1e-4)

for kind in (AxisType.Auto, AxisType.Explicit):
    mesh = jax.make_mesh((2,), ("data",), axis_types=(kind,))
    with jax.set_mesh(mesh):
        xs = jax.device_put(x, NamedSharding(mesh, P("data")))
        ws = jax.device_put(w, NamedSharding(mesh, P()))
        if kind == AxisType.Auto:
            assert "phlox_cpu_" not in jax.jit(gradient).lower(xs, ws).as_text()
            close(jax.jit(gradient)(xs, ws), want)
        one = jax.jit(lambda x, w: px.nn.functional.conv(x, w, padding=1))
        close([one(xs, ws)], [one(x, w)])

mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))
conv = lambda x, w: px.nn.functional.conv(x, w, padding=1)
for check in (True, False):
    part = jax.jit(jax.shard_map(conv, mesh=mesh, in_specs=(P("data"), P()), out_specs=P("data"), check_vma=check))
    close([part(x, w)], [conv(x, w)])
print("all close")
"""


def test_programs_on_two_devices():
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM], env=environment, capture_output=True, text=True
    )
    assert done.stdout == "all close\n", done.stderr[-3000:]
