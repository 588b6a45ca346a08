"""Everything that a user holds pickles, copies and crosses into another process, with its numbers."""

import copy
import multiprocessing
import pickle
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from phlox import optim as o

X = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
Y = X[:, :1] * 2


def model():
    return px.Chain(px.Dense(3, 4, px.relu, key=0), px.BatchNorm(4), px.Dropout(0.1, key=1), px.Dense(4, 1, key=2))


def optimizer(rule):
    one = model()
    opt = px.Optimizer(rule, one)
    one.layers[3] = px.Dense(4, 1, key=5)
    opt.sync(one)  # counts of its own, which the rule alone does not tell
    opt.update(one, px.grad(lambda m: ((m(X) - Y) ** 2).mean())(one))
    return opt


def history():
    loader = px.DataLoader((X, Y), 4)
    return px.fit(
        model(),
        loader,
        loss=px.losses.mse,
        optimizer=o.Adam(0.01),
        metrics=px.metrics.MeanSquaredError(),
        epochs=1,
        progress=False,
    )


def falling(step):
    return 1 / (1 + step)


SCHEDULES = [
    o.constant(0.1), o.step_decay(1.0, 0.5, [2, 3]), o.multi_step(1.0, 0.5, [1, 3]), o.exponential(1.0, 0.5),
    o.inverse(1.0, 0.5), o.polynomial(1.0, 4, 2), o.linear(0.0, 1.0, 5), o.cosine_annealing(1.0, 5, after="bounce"),
    o.cosine_restarts(1.0, 3, 2), o.one_cycle(1.0, 10), o.multiplicative(1.0, falling), o.triangle(0.0, 1.0, 4),
    o.triangle_decay2(0.0, 1.0, 4), o.triangle_exp(0.0, 1.0, 4, 0.5), o.sine(0.0, 1.0, 4), o.sine_decay2(0.0, 1.0, 4),
    o.sine_exp(0.0, 1.0, 4, 0.5), o.cyclic(0.0, 1.0, 2, 3), o.sequence([0.1, o.linear(0.0, 1.0, 2)], [2]),
    o.warmup(2, o.cosine_annealing(1.0, 4)), o.loop(o.linear(0.0, 1.0, 4), 2), o.shifted(o.linear(0.0, 1.0, 4), 2),
    o.stretched(o.linear(0.0, 1.0, 4), 2.0), o.product(2.0, o.linear(0.0, 1.0, 4)),
]  # fmt: skip

HELD = {
    "model": model,
    "recurrent": lambda: px.LSTM(3, 2, num_layers=2),
    "Optimizer": lambda: optimizer(o.Adam(0.1)),
    "scheduled": lambda: optimizer(o.AdamW(o.warmup(3, o.cosine_annealing(0.1, 9)), mask=o.is_matrix)),
    "chained": lambda: optimizer(o.chain(o.ClipGlobalNorm(1.0), o.Lookahead(o.RAdam(o.linear(0.0, 0.1, 4)), 2))),
    "grouped": lambda: optimizer(o.groups({"layers.0": o.Momentum(0.1), "*": o.AccumGrad(o.Adam(0.1), 2)})),
    "state": lambda: optimizer(o.RMSProp(0.1, momentum=0.5)).state,
    "rules": lambda: [o.Adafactor(), o.Muon(), o.LBFGS(), o.SAM(o.Descent()), o.MixedPrecision(o.ASGD()), o.Rprop()],
    "moments in 8 bits": lambda: [o.EightBit(o.chain(o.ClipNorm(1.0), o.Adam()), block=64), o.EightBit(o.Lion())],
    "schedules": lambda: SCHEDULES,
    "Stateful": lambda: o.Stateful(o.linear(0.0, 1.0, 5)),
    "ReduceOnPlateau": o.ReduceOnPlateau,
    "DataLoader": lambda: px.DataLoader((X, Y), 4, shuffle=True),
    "metrics": lambda: [
        px.metrics.Accuracy(),
        px.metrics.ROCAUC(bins=10),
        px.metrics.ConfusionMatrix(3),
        px.metrics.Mean(),
    ],
    "callbacks": lambda: [px.EarlyStopping(), px.EMA(0.9), px.SWA()],
    "History": history,
    "average": lambda: px.AveragedModel(model(), 0.9),
    "error": lambda: px.RangeError("a", got="b", fix="c", where="d"),
}


def numbers(thing):
    """What a thing holds, as comparable numbers and text."""
    if isinstance(thing, px.Module):
        arrays = {
            k: jax.random.key_data(v) if jnp.issubdtype(v.dtype, jax.dtypes.prng_key) else v
            for k, v in px.paths(thing).items()
        }
        return {k: np.asarray(v).tolist() for k, v in arrays.items()}, re.sub(r" at 0x\w+", "", repr(thing))
    if isinstance(thing, o.Schedule):
        return repr(thing), np.asarray(thing(np.arange(8))).tolist()
    if isinstance(thing, o.Stateful):
        return [float(next(thing.reset())), thing.schedule]
    if isinstance(thing, o.Rule):
        return repr(thing)
    if isinstance(thing, px.DataLoader):
        return [
            [np.asarray(part).tolist() for part in batch] for batch in copy.deepcopy(thing)
        ]  # which counts its passes
    if isinstance(thing, (list, tuple, dict)):
        return [numbers(v) for v in jax.tree.leaves(thing, is_leaf=lambda v: isinstance(v, px.Module))]
    if hasattr(thing, "names") and hasattr(thing, "reason"):
        return [*thing.names], thing.reason
    return (
        type(thing).__name__
        if hasattr(thing, "on_epoch_end")
        else str(np.asarray(thing) if hasattr(thing, "dtype") else thing)
    )


def by_pickle(thing):
    return pickle.loads(pickle.dumps(thing))


def by_cloudpickle(thing):
    cloudpickle = pytest.importorskip("cloudpickle")
    return pickle.loads(cloudpickle.dumps(thing))


def by_joblib(thing, folder):
    joblib = pytest.importorskip("joblib")
    joblib.dump(thing, folder / "thing")
    return joblib.load(folder / "thing")


@pytest.mark.parametrize("name", HELD)
def test_it_comes_back_as_it_was(name, tmp_path):
    thing = HELD[name]()
    want = numbers(thing)
    ways = (by_pickle, copy.copy, copy.deepcopy, by_cloudpickle, lambda t: by_joblib(t, tmp_path))
    for way in ways:
        assert numbers(way(thing)) == want, way
    if isinstance(thing, px.Optimizer):
        again = by_pickle(thing)
        assert (again.form, again.rule) == (thing.form, thing.rule)
        twins = [model(), model()]
        for twin in twins:
            twin.layers[3] = px.Dense(4, 1, key=5)
        step = px.jit(lambda m, opt: opt.update(m, px.grad(lambda m: ((m(X) - Y) ** 2).mean())(m)))
        for twin, opt in zip(twins, (thing, again), strict=True):
            step(twin, opt)
        assert len(step.history.traces) == 1  # equal, so the program is shared
        assert numbers(twins[0]) == numbers(twins[1])
        px.save(thing, tmp_path / "opt.phlox")
        loaded = px.load(tmp_path / "opt.phlox", allow=[o.is_matrix])
        assert numbers(loaded) == numbers(thing)
        assert loaded.form == thing.form


def test_schedules_are_equal_again_and_no_other():
    again = by_pickle(SCHEDULES)
    assert again == SCHEDULES
    assert [hash(s) for s in again] == [hash(s) for s in SCHEDULES]
    assert o.Adam(again[6]) == o.Adam(SCHEDULES[6]) != o.Adam(SCHEDULES[5])


def test_optax_needs_cloudpickle():
    import optax

    one = model()
    opt = px.Optimizer(optax.adam(0.1), one)
    assert numbers(by_cloudpickle(opt))[0] == numbers(opt)[0]
    with pytest.raises((AttributeError, pickle.PicklingError), match="local object"):
        pickle.dumps(opt)


def _in_a_child(things, answers):
    answers.put({name: numbers(pickle.loads(thing)) for name, thing in things.items()})


def test_it_crosses_into_a_process_of_its_own():
    """One spawned process takes all at once: it has made none of the classes that are made on demand."""
    held = {name: make() for name, make in HELD.items()}
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    things = {name: pickle.dumps(thing) for name, thing in held.items()}
    child = context.Process(target=_in_a_child, args=(things, answers))
    child.start()
    found = answers.get(timeout=120)
    child.join(60)
    assert child.exitcode == 0
    for name, thing in held.items():
        assert found[name] == numbers(thing), name
