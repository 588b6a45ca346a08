"""px.fit over eight devices against px.fit on one: losses and weights, whatever else a step does."""

from __future__ import annotations

import functools
import re
import tempfile
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import phlox as px
from parallel.kit import assert_same, assert_trains_alike, refused, trained
from parallel.networks import convnet, gpt, images, mlp, next_token, points, sentences

data_parallel, fsdp = px.parallel.data_parallel, px.parallel.fsdp
CLASSES = {"loss": px.losses.cross_entropy, "precision": "float64"}
WORDS = {"loss": next_token, "precision": "float64"}


def check_mlp_with_validation_and_metrics() -> None:
    """Five batches and a half an epoch; the last is filled up, and what fills it up does not count."""
    options = {
        "metrics": {"accuracy": px.metrics.Accuracy()},
        "validation_data": points(24),
        "steps": None,
        "epochs": 4,
    }
    one, first = trained(mlp, points(), **CLASSES, **options)
    assert len(first.losses) == 24
    many, second = trained(mlp, points(), fsdp(4) * data_parallel(2), **CLASSES, **options)
    for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
        np.testing.assert_allclose(first[name], second[name], rtol=1e-9, err_msg=name)
    assert_same(many, one, 1e-9)
    answers = px.predict(many, points(20)[0])
    np.testing.assert_allclose(answers, px.predict(one, points(20)[0]), atol=1e-9)
    asked = {"loss": px.losses.cross_entropy, "metrics": px.metrics.Accuracy()}
    ours, theirs = (px.evaluate(model, points(20), **asked) for model in (many, one))
    np.testing.assert_allclose(list(ours.values()), list(theirs.values()), atol=1e-9)


def statistical() -> Any:
    """Statistics in float64 too, which ``precision`` leaves as they are."""
    return px.f64(convnet())


def check_convnet_with_batch_norm() -> None:
    (many,) = assert_trains_alike(statistical, images(), fsdp(), **CLASSES)
    cut = [path for path, v in px.paths(many).items() if not v.sharding.is_fully_replicated]
    assert "layers.2.weight" in cut, cut


def check_gpt_repeated() -> None:
    assert_trains_alike(gpt, sentences(), fsdp(2) * data_parallel(4), **WORDS, clip=0.5)


def check_gpt_unrolled() -> None:
    assert_trains_alike(functools.partial(gpt, repeated=False), sentences(), fsdp(), **WORDS)


def check_float32() -> None:
    first, *others = (trained(gpt, sentences(), s, loss=next_token)[1] for s in (None, fsdp(), data_parallel()))
    for other in others:
        np.testing.assert_allclose(first.losses, other.losses, rtol=1e-4)


class Compiled(px.Callback):
    """How many programs XLA has compiled by the end of each epoch, and on how many devices metrics lie at each step."""

    def __init__(self) -> None:
        self.seen, self.counts, self.devices = 0, list[int](), set[int]()
        jax.monitoring.register_event_duration_secs_listener(self.listen)

    def listen(self, event: str, *_: Any, **__: Any) -> None:
        self.seen += "backend_compile" in event

    def on_step_start(self, run: Any) -> None:
        self.devices |= {len(v.devices()) for v in px.paths(run.metrics).values()}

    def on_epoch_end(self, run: Any) -> None:
        self.counts.append(self.seen)


def check_accumulate_and_average() -> None:
    """Gradients of two batches in a step, an average of the weights by step and one by epoch, over four epochs.

    Sums, metrics and validation begin each epoch with fresh arrays. They must lie where the first ones lay: nothing is
    compiled for a second time.
    """

    def run(strategy: Any) -> tuple[Any, Any, Any]:
        ema, swa, compiled = px.EMA(0.9), px.SWA(start=1, batch_norm=False), Compiled()
        options = {"metrics": px.metrics.Accuracy(), "validation_data": points(24), "steps": None, "epochs": 4}
        options["multi_step"] = "auto"  # several steps in a call
        callbacks = [ema, swa, compiled]
        model, _ = trained(mlp, points(), strategy, **CLASSES, **options, accumulate=2, callbacks=callbacks)
        return model, ema, compiled

    (one, first, _), (many, second, compiled) = run(None), run(fsdp())
    assert_same(many, one, 1e-9)
    assert_same(second.average, first.average, 1e-9)
    weight = second.average.weights["layers.2.weight"]
    assert weight.addressable_shards[0].data.size * 8 == weight.size
    assert compiled.devices == {8}, compiled.devices
    assert 0 < compiled.counts[0] <= compiled.counts[2] == compiled.counts[3], compiled.counts


def check_average_with_batch_norm() -> None:
    """Statistics worked out anew at the end, for weights that lie in parts."""

    def run(strategy: Any) -> Any:
        swa = px.SWA(start=1)
        return trained(statistical, images(), strategy, **CLASSES, callbacks=[swa], steps=None, epochs=3)[0]

    assert_same(run(fsdp()), run(None), 1e-9)


def check_loss_scaling() -> None:
    """In float16 a step that overflows is left out on all devices; the scale is that of one device."""
    options = {"loss": px.losses.cross_entropy, "precision": "fp16", "steps": 12}
    one, first = trained(mlp, points(88, "float32"), optimizer=px.optim.Descent(0.1), **options)
    many, second = trained(mlp, points(88, "float32"), fsdp(), optimizer=px.optim.Descent(0.1), **options)
    np.testing.assert_allclose(first.losses, second.losses, rtol=2e-3)
    assert_same(many, one, 2e-3)


def _own(model: Any, opt: Any, x: Any, y: Any) -> Any:
    loss, grads = px.value_and_grad(lambda model: px.losses.cross_entropy(model(x), y))(model)
    opt.update(model, grads)
    return loss, {"double": 2 * loss}


def check_own_step() -> None:
    """And an optimiser of the user's own, made before the model was spread."""

    def run(strategy: Any) -> tuple[Any, Any]:
        model = px.f64(mlp())
        opt = px.Optimizer(px.optim.Adam(1e-2), model)
        data = points(80)
        px.fit(model, data, step=_own, optimizer=opt, batch_size=16, steps=20, progress=False, parallel=strategy)
        return model, opt

    (one, _), (many, opt) = run(None), run(fsdp())
    assert_same(many, one, 1e-9)
    moment = opt.slot("m")["layers.2.weight"]
    assert moment.addressable_shards[0].data.size * 8 == moment.size
    small = [name for name in opt.form.names if "(small" in name]
    assert small, "what is small lies whole, and together"


def check_an_optimiser_is_packed_alike_wherever_its_model_lies() -> None:
    """Small arrays share the same vectors, whole on each device, however the arrays themselves are cut."""
    build = lambda: px.Chain(px.Dense(16, 16, px.tanh, key=0), px.Dense(16, 16, key=1))  # noqa: E731
    kept = lambda model: px.Optimizer(px.optim.Adam(1e-2), model)  # noqa: E731
    one = kept(build())
    assert one.form.packing.groups
    for strategy in (fsdp(whole=8), px.parallel.tensor_parallel(2) * data_parallel(4)):
        model = build()
        px.parallel.shard(model, strategy)
        assert not model[0].weight.sharding.is_fully_replicated, strategy
        opt = kept(model)
        assert opt.form == one.form, strategy
        for name, v in px.paths(opt).items():
            assert v.sharding.is_fully_replicated, (strategy, name, v.sharding)


RULES = {
    "groups": lambda: px.optim.groups(
        [
            ("layers.0", px.optim.Adam(1e-2)),
            ("layers.1.weight", px.optim.Muon(1e-2)),
            ("layers.2.weight", px.optim.Adafactor(1e-2)),
            ("*", px.optim.Momentum(1e-2)),
        ]
    ),
    "SAM": lambda: px.optim.SAM(px.optim.Momentum(1e-2)),
    "Lookahead": lambda: px.optim.Lookahead(px.optim.Adam(1e-2), every=3),
    "optax": lambda: optax.adamw(1e-2),
}


def _rule(name: str) -> None:
    """The weights are those of one device, and what a rule keeps in the shape of a weight lies as the weight does."""
    build = lambda: px.Chain(*(m for m in mlp().layers if not isinstance(m, px.Dropout)))  # noqa: E731
    one, _ = trained(build, points(), optimizer=RULES[name](), **CLASSES)
    many, history = trained(build, points(), fsdp(), optimizer=RULES[name](), **CLASSES)
    assert_same(many, one, 1e-9, name)
    shapes = {v.shape for v in px.paths(many).values() if v.size > 1024}
    kept = {path: v for path, v in px.paths(history.optimizer).items() if v.shape in shapes}
    assert kept, name
    for path, v in kept.items():
        assert v.addressable_shards[0].data.size * 8 == v.size, (name, path, v.sharding)


def _whole(prediction: Any, target: Any) -> Any:
    return (prediction * target).mean()


def check_eight_bit() -> None:
    """Codes and scales lie as their weight does and are those of one device, bit for bit: no block is on two devices.

    The gradients are whole numbers over powers of two, so that no order of sums changes them.
    """
    rng = np.random.default_rng(0)
    data = tuple(rng.integers(-8, 9, (64, width)).astype("float32") for width in (64, 128))

    def run(*placed: Any) -> Any:
        with px.seed(0):
            model = px.Dense(64, 128, bias=False)
        opt = px.Optimizer(px.optim.EightBit(px.optim.Adam(1e-2)), model)
        given = {"loss": _whole, "optimizer": opt, "batch_size": 16, "steps": 6, "progress": False}
        for strategy in placed:
            px.fit(model, data, parallel=strategy, **given)
        return model, opt

    one, first = run(None)
    again = run(None, None)
    for strategies in ((fsdp(),), (fsdp(4) * data_parallel(2),), (None, fsdp())):
        many, second = run(*strategies)
        alone, theirs = (one, first) if len(strategies) == 1 else again
        assert_same(many, alone, 1e-6)
        ours, theirs = px.paths(second), px.paths(theirs)
        small = [path for path in ours if path.endswith(("/codes", "/scales"))]
        assert len(small) == 4, small
        for path in small:
            np.testing.assert_array_equal(ours[path], theirs[path], err_msg=path)
            assert ours[path].sharding.is_equivalent_to(many.weight.sharding, 2), (path, ours[path].sharding)
            assert ours[path].sharding.spec == jax.P(None, "fsdp"), (path, ours[path].sharding)


def check_eight_bit_resumed_elsewhere() -> None:
    """Saved from eight devices, codes and scales go on on one, bit for bit."""
    rng = np.random.default_rng(0)
    data = tuple(rng.integers(-8, 9, (64, width)).astype("float32") for width in (64, 128))

    def run(epochs: int, strategy: Any = None, **options: Any) -> Any:
        with px.seed(0):
            model = px.Dense(64, 128, bias=False)
        given = {"loss": _whole, "optimizer": px.optim.EightBit(px.optim.Adam(1e-2)), "batch_size": 16, **options}
        return px.fit(model, data, epochs=epochs, progress=False, parallel=strategy, **given).optimizer

    with tempfile.TemporaryDirectory() as folder:
        run(1, fsdp(), checkpoint_dir=folder)
        ours = px.paths(run(2, checkpoint_dir=folder, resume=True))
    theirs = px.paths(run(2))
    assert any(path.endswith("/codes") for path in ours)
    for path, v in theirs.items():
        np.testing.assert_array_equal(ours[path], v, err_msg=path)


def check_eight_bit_by_hand() -> None:
    """Made for a model that lies in parts, codes and scales lie where a step leaves them, and where ``place`` does."""
    model, rule = px.Dense(64, 128, bias=False), px.optim.EightBit(px.optim.Adam(1e-2))
    moved = px.Optimizer(rule, model)  # on one device
    placement = px.parallel.shard(model, fsdp())
    opt = px.Optimizer(rule, model)
    placement.place(model, moved)
    for path, v in px.paths(moved).items():
        assert v.sharding.is_equivalent_to(px.paths(opt)[path].sharding, v.ndim), (path, v.sharding)
    before = {path: v.sharding for path, v in px.paths(opt).items()}

    @placement.jit
    def step(model: Any, opt: Any, x: Any) -> None:
        opt.update(model, px.grad(lambda model: (model(x) ** 2).mean())(model))

    step(model, opt, placement.spread(np.ones((8, 64), "float32")))
    for path, v in px.paths(opt).items():
        assert v.sharding.is_equivalent_to(before[path], v.ndim), (path, before[path], v.sharding)
        if path.endswith(("/codes", "/scales")):
            assert v.addressable_shards[0].data.size * 8 == v.size, path
    given = {"weight": model.weight}, opt.state, {"weight": model.weight}
    text = jax.jit(opt.transform.update).lower(*given).compile().as_text() or ""
    assert "u8[64,16]" in text
    assert not re.search(r"all-gather|all-reduce|all-to-all|collective-permute", text), "something is sent"


def check_groups() -> None:
    _rule("groups")


def check_sam() -> None:
    _rule("SAM")


def check_lookahead() -> None:
    _rule("Lookahead")


def check_optax() -> None:
    _rule("optax")


def check_resumed() -> None:
    """A spread training goes on from its checkpoint."""
    _resumed(fsdp())


def check_resumed_elsewhere() -> None:
    """And so does one on another number of devices, and one that is cut otherwise, down to its smallest arrays."""
    _resumed(data_parallel(2), None)
    tensor = px.parallel.tensor_parallel(4) * fsdp(2, whole=16)
    _resumed(tensor)
    _resumed(None, fsdp(), before=tensor)


def _resumed(*strategies: Any, before: Any = None) -> None:
    before = fsdp() if before is None else before
    whole, _ = trained(mlp, points(), before, **CLASSES, steps=None, epochs=3)
    for then in strategies:
        with tempfile.TemporaryDirectory() as folder:
            saved = {"checkpoint_dir": folder, "steps": None, **CLASSES}
            trained(mlp, points(), before, **saved, epochs=2)
            model, _ = trained(mlp, points(), then, **saved, epochs=3, resume=True)
        assert_same(model, whole, 1e-9, repr(then))


def check_an_optimiser_goes_on() -> None:
    """Ten steps on one device and ten on eight, by one optimiser, are twenty on one.

    And the user's own name for a weight does not die with the buffers that a spread step donates.
    """

    def run(*strategies: Any) -> Any:
        model = px.f64(mlp())
        opt = px.Optimizer(px.optim.Adam(1e-2), model)
        for strategy in strategies:
            held, before = model[2].weight, np.asarray(model[2].weight)
            given = {"batch_size": 16, "steps": 10, "progress": False, "parallel": strategy}
            px.fit(model, points(80), optimizer=opt, loss=px.losses.cross_entropy, **given)
            np.testing.assert_array_equal(held, before)
        return model

    assert_same(run(None, data_parallel()), run(None, None), 1e-9)


def check_uneven_batches_are_looked_at_whole() -> None:
    """A model that lies in parts is asked about batches of its user's, which eight devices do not share."""
    model = mlp()
    x, y = points(20, "float32")
    px.parallel.shard(model, fsdp())
    batches = [(x[:3], y[:3]), (x[3:13], y[3:13]), (x[13:], y[13:])]
    np.testing.assert_allclose(px.predict(model, batches), px.predict(mlp(), x), atol=1e-6)
    found = px.evaluate(model, batches, loss=px.losses.cross_entropy)
    np.testing.assert_allclose(
        found["loss"], px.evaluate(mlp(), (x, y), loss=px.losses.cross_entropy)["loss"], rtol=1e-6
    )


def check_refusals() -> None:
    with refused(px.ShapeError, "batches that 8 devices share evenly", "float32[12, 12]", "choose a multiple"):
        trained(mlp, points(48, "float32"), fsdp(), batch_size=12, loss=px.losses.cross_entropy)
    odd = lambda: px.Chain(px.Dense(12, 101), px.Dense(101, 101), px.Dense(101, 3))  # noqa: E731
    with refused(px.ShapeError, "fsdp()", "8 devices share evenly", "[101, 101] at layers.1.weight", "multiples of 8"):
        trained(odd, points(48, "float32"), fsdp(), loss=px.losses.cross_entropy)
    mesh = px.parallel.mesh(data=2, fsdp=4)
    with refused(px.RangeError, "fsdp()", "along each axis", "nothing along 'data'", "data_parallel"):
        px.parallel.shard(mlp(), fsdp(), mesh)
    with refused(px.RangeError, "fsdp(2)", "2 devices along 'fsdp'", "data=2, fsdp=4", "leave the size out"):
        px.parallel.shard(mlp(), fsdp(2) * data_parallel(2), mesh)
    with refused(px.RangeError, "an axis 'fsdp'", "data=8", "px.parallel.mesh(fsdp=…)"):
        px.parallel.shard(mlp(), fsdp(), px.parallel.mesh(data=8))
    with refused(px.RangeError, "axes for 8 devices", "fsdp=3"):
        px.parallel.mesh(fsdp=3)
    with refused(px.RangeError, "of another type", "px.parallel.mesh"):
        explicit = jax.make_mesh((8,), ("fsdp",), axis_types=(jax.sharding.AxisType.Explicit,))
        px.parallel.shard(mlp(), fsdp(), explicit)
    model = mlp()
    with refused(px.RangeError, "axes for 8 devices", "fsdp=16"):
        px.parallel.shard(model, fsdp(16))
    assert all(len(v.devices()) == 1 for v in px.paths(model).values())
    assert jnp.isfinite(model[0].weight).all()
