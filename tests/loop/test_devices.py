"""Data parallelism: eight devices give what one gives, to rounding; run in a process that has eight."""

import os
import subprocess
import sys
import textwrap

import jax

import phlox as px

PROGRAM = """
    import jax, numpy as np, phlox as px

    def make():
        with px.seed(0):
            return px.Chain(px.Dense(4, 8, px.relu), px.BatchNorm(8), px.Dense(8, 3))

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 4)).astype("f"), rng.integers(0, 3, 40)
    options = dict(loss=px.losses.cross_entropy, optimizer=px.optim.Adam(1e-2), epochs=2, batch_size=16, progress=False)
    for more in ({}, {"accumulate": 2, "clip": 0.1}, {"metrics": px.metrics.Accuracy()}):
        one, many = make(), make()
        first = px.fit(one, (x, y), **options, **more)
        second = px.fit(many, (x, y), **options, **more, devices="all")
        for path, v in px.paths(one).items():
            w = px.paths(many)[path]
            assert len(w.devices()) == 8, path
            np.testing.assert_allclose(v, w, rtol=2e-4, atol=2e-5, err_msg=path)
        np.testing.assert_allclose(first["loss"], second["loss"], rtol=1e-4)
    try:
        px.fit(make(), (x, y), **options | {"batch_size": 12}, devices="all")
    except px.ShapeError as error:
        assert "batches that 8 devices share evenly" in str(error)
    else:
        raise AssertionError("12 examples on 8 devices")
    print(px.predict(many, x).shape)
"""


def test_eight_devices_give_what_one_gives():
    env = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "8"}
    program = textwrap.dedent(PROGRAM)
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "(40, 3)"


def test_one_device_is_a_mesh_of_one():
    assert px.parallel.data_parallel(1).count == 1
    assert px.parallel.data_parallel("all").count == jax.device_count()
