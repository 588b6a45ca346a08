"""The threads that share a call: one, two, more than there are cores, and several callers at once."""

import os
import subprocess
import sys

import pytest

from phlox.nn.functional.kernels._kernels import package

pytest.importorskip("phlox_cpu", reason="phlox-cpu is not installed")
if package().library is None:
    pytest.skip(f"kernels are out of use: {package().reason}", allow_module_level=True)

# All are large enough for several threads. Whole numbers add up exactly in any order; batches of 5, 4 and 7 fall into
# equal parts for some numbers of threads and not for others.
PROGRAM = """
import os, threading
import jax, jax.numpy as jnp, numpy as np
import phlox as px
from phlox.nn.functional.kernels._kernels import _all, package, reference_forms

F, rng = px.nn.functional, np.random.default_rng(0)
threads = int(os.environ["OMP_NUM_THREADS"])
assert package().library.phlox_cpu_threads() == threads

def whole(*shape):
    return jnp.asarray(rng.integers(-2, 3, shape).astype(np.float32))

def gradients(f, *arrays):
    y, back = jax.vjp(f, *arrays)
    return y, back(jnp.round(y / 64 + 1) % 3)

conv = lambda x, w, b: F.conv(x, w, b, padding=1)
cases = [(conv, whole(n, 32, 32, 16), whole(3, 3, 16, 32), whole(32)) for n in (5, 4, 7)]
cases += [(lambda x, w: F.conv(x, w), whole(8, 40, 40, 32), whole(1, 1, 32, 64))]
cases += [(lambda x: F.max_pool(x, 3, stride=2, padding=1), whole(6, 40, 40, 64))]
exact = [jax.jit(lambda *a, f=f: gradients(f, *a)) for f, *_ in cases]
with reference_forms():
    plain = [jax.jit(lambda *a, f=f: gradients(f, *a))(*arrays) for f, *arrays in cases]

def check(times):
    for _ in range(times):
        for program, (_, *arrays), want in zip(exact, cases, plain, strict=True):
            jax.tree.map(np.testing.assert_array_equal, program(*arrays), want)

check(1)
callers, wrong = [], []
def call():
    try:
        check(3)
    except BaseException as error:
        wrong.append(error)
for _ in range(4):
    callers.append(threading.Thread(target=call))
    callers[-1].start()
for caller in callers:
    caller.join()
assert not wrong, wrong
for name in ("phlox_conv", "phlox_conv_bias", "phlox_conv_weight_gradient", "phlox_max_pool_backward"):
    assert _all[name].use.kernel > 0, name

q = jnp.asarray(rng.normal(size=(3, 160, 4, 32)).astype(np.float32))
x = jnp.asarray(rng.normal(size=(64, 30, 30, 32)).astype(np.float32))
for f, a in ((lambda q: F.dot_product_attention(q, q, q, causal=True), q), (lambda x: F.batch_norm_train(x)[0], x)):
    program = jax.jit(lambda a, f=f: jax.value_and_grad(lambda a: jnp.sum(jnp.sin(f(a))))(a))
    first = program(a)
    for _ in range(5):
        jax.tree.map(np.testing.assert_array_equal, program(a), first)  # the same bits, whoever took which part
    with reference_forms():
        want = jax.jit(lambda a, f=f: jax.value_and_grad(lambda a: jnp.sum(jnp.sin(f(a))))(a))(a)
    jax.tree.map(lambda g, w: np.testing.assert_allclose(g, w, rtol=1e-3, atol=1e-4), first, want)
"""


@pytest.mark.parametrize("threads", [1, 5])
def test_any_number_of_threads_gives_the_same_numbers(threads):
    env = os.environ | {"OMP_NUM_THREADS": str(threads)}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
