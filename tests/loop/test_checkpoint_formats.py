"""Checkpoints of older versions, kept as files, still resume; and what is in a file now does not depend on devices."""

import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

import phlox as px
from kit import oracle
from phlox.optim import apart, joined

oracle("orbax.checkpoint")
FIXTURES = Path(__file__).parent / "fixtures"


def data():
    x = np.random.default_rng(0).normal(size=(16, 3)).astype("float32")
    return x, x.sum(1, keepdims=True)


def network():
    with px.seed(0):
        return px.Chain(px.Dense(3, 4, px.tanh), px.Dropout(0.1), px.BatchNorm(4), px.Dense(4, 1))


def trained(epochs, **options):
    model, ema = network(), px.EMA(0.9)
    given = dict(loss=px.losses.mse, optimizer=px.optim.Adam(0.01), batch_size=8, progress=False, callbacks=[ema])
    history = px.fit(model, data(), epochs=epochs, **given, **options)
    return model, history, ema


def test_a_checkpoint_of_format_1_whose_small_arrays_share_vectors_goes_on(tmp_path):
    shutil.copytree(FIXTURES / "format-1", tmp_path / "run")
    resumed, history, ema = trained(3, checkpoint_dir=tmp_path / "run", resume=True)
    straight, whole, other = trained(3)
    assert any("(small" in name for name in history.optimizer.form.names)
    assert len(history.losses) == len(whole.losses) == 6
    np.testing.assert_allclose(history.losses, whole.losses, rtol=1e-5)
    pairs = [(resumed, straight), (history.optimizer, whole.optimizer), (ema.average, other.average)]
    for ours, theirs in pairs:
        for path, v in px.paths(theirs).items():
            if not jax.dtypes.issubdtype(v.dtype, jax.dtypes.prng_key):
                np.testing.assert_allclose(px.paths(ours)[path], v, rtol=1e-5, atol=1e-7, err_msg=path)


def test_weights_come_out_of_a_checkpoint_of_format_1():
    model = network()
    before = np.asarray(model[0].weight)
    assert px.load_checkpoint(model, FIXTURES / "format-1").complete
    assert (np.asarray(model[0].weight) != before).any()


@pytest.mark.parametrize(
    "rule",
    [
        px.optim.Adam(0.1),
        px.optim.chain(px.optim.ClipGlobalNorm(1.0), px.optim.Momentum(0.1)),
        px.optim.groups([("layers.0.*", px.optim.AdamW(0.1)), ("*", px.optim.Lookahead(px.optim.Adam(0.1)))]),
        px.optim.Adafactor(0.1),
    ],
    ids=["Adam", "chain", "groups", "Adafactor"],
)
def test_an_optimisers_small_arrays_stand_in_files_by_themselves(rule):
    """What shares a vector is each by the path of its weight, as optax has the state; and finds its vector again."""
    model = network()
    opt = px.Optimizer(rule, model)
    opt.update(model, px.grad(lambda model: (model(data()[0]) ** 2).mean())(model))
    found = apart(opt)
    assert not any("(small" in name for name in found)
    leaves = jax.tree_util.tree_leaves_with_path(opt.state)
    names = {f"slots.{jax.tree_util.keystr(path, simple=True, separator='/')}": v for path, v in leaves}
    assert found.keys() == names.keys()
    for name, value in names.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    again = joined(opt, found)
    assert again.keys() == px.paths(opt).keys()
    for path, value in px.paths(opt).items():
        np.testing.assert_array_equal(again[path], value, err_msg=path)
        assert again[path].dtype == value.dtype


def test_an_optimiser_is_filled_from_a_checkpoint(tmp_path):
    _, history, _ = trained(2, checkpoint_dir=tmp_path)
    opt = px.Optimizer(px.optim.Adam(0.01), network())
    assert px.load_checkpoint(opt, tmp_path, part="opt").complete
    for path, value in px.paths(history.optimizer).items():
        np.testing.assert_array_equal(px.paths(opt)[path], value, err_msg=path)
