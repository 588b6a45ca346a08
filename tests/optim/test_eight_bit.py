"""Moments in 8 bits: steps by hand and torchao's, rules around rules, bytes, and trainings that end alike."""

import pickle
import tempfile
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import phlox as px
from kit import assert_close, oracle
from phlox import optim as o
from phlox.optim.rules._blocks import _values, is_blocks

LARGE, SMALL = (64, 80), (16,)


class Net(px.Module):
    """A weight that is kept in 8 bits, and a bias that is not."""

    def __init__(self, dtype=jnp.float32, seed=0):
        rng = np.random.default_rng(seed)
        self.weight = jnp.asarray(rng.normal(size=LARGE), dtype)
        self.bias = jnp.asarray(rng.normal(size=SMALL), dtype)


def gradient(t, model=None):
    """Of very different sizes, and always the same at one step."""
    rng = np.random.default_rng(100 + t)
    sizes = 10 ** np.random.default_rng(7).uniform(-4, 1, LARGE)
    model = Net() if model is None else model
    return {
        "weight": jnp.asarray(sizes * rng.normal(size=LARGE), model.weight.dtype),
        "bias": jnp.asarray(rng.normal(size=SMALL), model.bias.dtype),
    }


def trained(rule, steps=4, model=None):
    model = Net() if model is None else model
    opt = px.Optimizer(rule, model)
    for t in range(steps):
        opt.update(model, gradient(t, model))
    return model, opt


def in_blocks(opt):
    """The arrays of a state that are in 8 bits, by name."""
    leaves = jax.tree_util.tree_flatten_with_path(opt.state, is_leaf=is_blocks)[0]
    return {jax.tree_util.keystr(at, simple=True, separator="/"): v for at, v in leaves if is_blocks(v)}


def decoded(blocks):
    """The numbers of an array in 8 bits, by NumPy alone."""
    scales = np.asarray(blocks.scales)
    for axis, side in enumerate(blocks.sides):
        scales = scales.repeat(side, axis)
    codes = np.asarray(blocks.codes)
    return _values(blocks.sign)[codes] * scales[tuple(slice(n) for n in codes.shape)]


def assert_nearest(blocks, numbers):
    """Codes are those of the nearest values, and scales the largest of their blocks, for numbers known to 1e-6."""
    scales, split = np.asarray(blocks.scales), []
    for n, side in zip(blocks.codes.shape, blocks.sides, strict=True):
        split += [n // side, side]
    largest = np.abs(numbers).reshape(split).max(tuple(range(1, len(split), 2)))
    np.testing.assert_allclose(scales, largest, rtol=1e-6)
    for axis, side in enumerate(blocks.sides):
        scales = scales.repeat(side, axis)
    share, values = numbers / scales, _values(blocks.sign).astype(np.float64)
    up = np.sort(values)
    at = np.searchsorted(up, share).clip(1, 255)
    least = np.minimum(np.abs(share - up[at]), np.abs(share - up[at - 1]))
    if blocks.sign == "unsigned":  # what is above 0 stays so
        least = np.where((share > 0) & (share < up[1]), up[1] - share, least)
    away = np.abs(share - values[np.asarray(blocks.codes)])
    np.testing.assert_array_less(away, least + 2e-6 * np.abs(share) + 1e-12)


def test_steps_of_adam_by_hand():
    """Read as numbers, a step in float64 by NumPy, and the nearest codes of the new moments."""
    lr, b1, b2, eps, decay = 0.1, 0.9, 0.95, 1e-6, 0.05
    model = Net()
    opt = px.Optimizer(o.EightBit(o.AdamW(lr, b1, b2, eps, weight_decay=decay)), model)
    for t in range(1, 6):
        before = {name.split("/")[-2]: decoded(v).astype(np.float64) for name, v in in_blocks(opt).items()}
        assert set(before) == {"m", "v"}
        w, g = np.asarray(model.weight, np.float64), np.asarray(gradient(t)["weight"], np.float64)
        opt.update(model, gradient(t))
        m, v = b1 * before["m"] + (1 - b1) * g, b2 * before["v"] + (1 - b2) * g**2
        step = lr * (m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + eps) + decay * w)
        np.testing.assert_allclose(model.weight, w - step, rtol=1e-5, atol=2e-6)
        after = {name.split("/")[-2]: v for name, v in in_blocks(opt).items()}
        assert (after["m"].sign, after["v"].sign) == ("signed", "unsigned")
        assert_nearest(after["m"], m)
        assert_nearest(after["v"], v)
        assert_close(opt.slot("m")["weight"], decoded(after["m"]))


def test_steps_are_torchaos(monkeypatch):
    """From the same codes and scales the same weights, and the same codes but where a number is on a border."""
    torch, theirs = oracle("torch"), oracle("torchao.optim")
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    w = np.random.default_rng(0).normal(size=8192).astype(np.float32)

    class Line(px.Module):
        def __init__(self):
            self.w = jnp.asarray(w)

    model, p = Line(), torch.tensor(w)
    rule = o.AdamW(0.01, 0.9, 0.99, 1e-6, weight_decay=0.1)
    opt = px.Optimizer(o.EightBit(rule), model)
    other = theirs.AdamW8bit([p], lr=0.01, betas=(0.9, 0.99), eps=1e-6, weight_decay=0.1)
    order = {sign: np.argsort(_values(sign)).astype(np.uint8) for sign in ("signed", "unsigned")}
    sizes = 10 ** np.random.default_rng(8).uniform(-2, 1, w.shape)
    for t in range(5):
        g = (sizes * np.random.default_rng(t).normal(size=w.shape)).astype(np.float32)
        opt.update(model, {"w": jnp.asarray(g)})
        p.grad = torch.tensor(g)
        other.step()
        np.testing.assert_allclose(model.w, p.numpy(), rtol=1e-5, atol=2e-6, err_msg=f"step {t}")
        for name, blocks in in_blocks(opt).items():
            state = other.state[p][{"m": "exp_avg", "v": "exp_avg_sq"}[name.split("/")[-2]]]
            codes = order[blocks.sign][state.codes.numpy()]
            np.testing.assert_allclose(blocks.scales, state.scale.numpy(), rtol=1e-6)
            above = (blocks.sign == "unsigned") & (codes == 0) & (np.asarray(blocks.codes) == 1)  # theirs may become 0
            assert ((codes != np.asarray(blocks.codes)) & ~above).mean() < 1e-3, (t, name)
            setattr(opt.slots, f"{name}/codes", jnp.asarray(codes))
            setattr(opt.slots, f"{name}/scales", jnp.asarray(state.scale.numpy()))


RULES = {
    "Momentum": o.Momentum(0.01),
    "Nesterov": o.Nesterov(0.01),
    "Lion": o.Lion(0.01),
    "Adam": o.Adam(0.01),
    "AMSGrad": o.AMSGrad(0.01),
    "AdaMax": o.AdaMax(0.01),
    "NAdam": o.NAdam(0.01),
    "RAdam": o.RAdam(0.01),
    "AdaBelief": o.AdaBelief(0.01, eps=1e-6),
    "OAdam": o.OAdam(0.01),
    "RMSProp": o.RMSProp(0.01, momentum=0.5),
    "centred": o.RMSProp(0.01, momentum=0.5, centred=True),
    "AdaDelta": o.AdaDelta(),
    "Muon": o.groups([("weight", o.Muon(0.01)), ("*", None)]),
}
LONG = ("Nesterov", "RAdam", "AdaBelief", "OAdam", "NAdam")
KEPT = {"AMSGrad": 3, "OAdam": 3, "Momentum": 1, "Nesterov": 1, "Lion": 1, "centred": 1, "Muon": 1}


@pytest.mark.parametrize("name", RULES)
def test_what_is_kept_so(name):
    assert len(in_blocks(px.Optimizer(o.EightBit(RULES[name]), Net()))) == KEPT.get(name, 2)


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.soak] * (n in LONG)) for n in RULES])
def test_a_bowl_is_descended_as_far_as_with_float32(name):

    def run(rule):
        model = Net()
        opt = px.Optimizer(rule, model)
        scale = jnp.asarray(10 ** np.random.default_rng(7).uniform(-1, 0.5, LARGE), jnp.float32)
        loss = lambda m: (scale * m.weight**2).mean() + (m.bias**2).mean()  # noqa: E731

        @px.jit
        def step(model, opt):
            value, grads = px.value_and_grad(loss)(model)
            opt.update(model, grads)
            return value

        return [float(step(model, opt)) for _ in range(60)]

    full, small = run(RULES[name]), run(o.EightBit(RULES[name]))
    assert small[-1] < small[0]
    assert small[0] - small[-1] == pytest.approx(full[0] - full[-1], rel=0.05)


@pytest.mark.parametrize(
    "outside",
    [
        lambda rule: o.chain(o.ClipGlobalNorm(0.5), o.WeightDecay(0.1), rule),
        lambda rule: o.groups({"bias": o.Descent(0.1), "*": rule}),
        lambda rule: o.AccumGrad(rule, 2),
        lambda rule: o.Lookahead(rule, 2),
        lambda rule: o.MixedPrecision(rule),
        lambda rule: o.chain(o.ClipNorm(1.0), o.groups({"*": o.AccumGrad(o.Lookahead(rule, 2), 2)})),
    ],
    ids=["chain", "groups", "AccumGrad", "Lookahead", "MixedPrecision", "all"],
)
def test_around_rules_made_of_rules_is_within_them(outside):
    adam = o.Adam(0.01)
    (first, around), (second, within) = trained(o.EightBit(outside(adam))), trained(outside(o.EightBit(adam)))
    assert jax.tree.structure(around.state) == jax.tree.structure(within.state)
    assert len(in_blocks(around)) == 2
    for a, b in ((first, second), (around, within)):
        for path, value in px.state_dict(a).items():
            np.testing.assert_array_equal(value, px.state_dict(b)[path], err_msg=path)
    assert around.numbers() == within.numbers()
    around.adjust(learning_rate=0.5)
    assert 0.5 in around.numbers().values()


def test_rules_in_8_bits_stay_as_they_say():
    rule = o.EightBit(o.groups({"bias": o.Adam(), "*": o.EightBit(o.Adam(), block=64)}))
    (blocks, _) = in_blocks(px.Optimizer(rule, Net())).values()
    assert np.prod(blocks.sides) == 64


def test_a_quarter_of_the_bytes():
    model = px.Chain(px.Embedding(500, 192), px.Dense(192, 768, px.gelu), px.LayerNorm(768), px.Dense(768, 192))
    small, full = (px.Optimizer(rule, model) for rule in (o.EightBit(o.Adam()), o.Adam()))
    bytes_of = lambda opt: sum(v.nbytes for v in px.paths(opt).values())  # noqa: E731
    assert bytes_of(small) <= 0.27 * bytes_of(full)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_weights_of_16_bits(dtype):
    """Moments are float32 in the step, so a bfloat16 model has the moments of a float32 one with its gradients."""
    half, opt = trained(o.EightBit(o.Adam(0.01)), model=Net(dtype))
    wide = Net()
    other = px.Optimizer(o.EightBit(o.Adam(0.01)), wide)
    for t in range(4):
        other.update(wide, {k: v.astype(jnp.float32) for k, v in gradient(t, half).items()})
    assert half.weight.dtype == dtype
    for name, blocks in in_blocks(opt).items():
        np.testing.assert_array_equal(blocks.codes, in_blocks(other)[name].codes)


def test_wide_and_complex_states_are_left_alone():
    with jax.enable_x64(True):
        model = Net(jnp.float64)
        assert not in_blocks(px.Optimizer(o.EightBit(o.Adam()), model))
    model = Net(jnp.complex64)
    assert not in_blocks(px.Optimizer(o.EightBit(o.Adam()), model))


def test_small_arrays_are_as_ever_and_share_vectors():
    model = px.Chain(px.Dense(64, 80), px.Dense(80, 3), px.Dense(3, 3))
    opt = px.Optimizer(o.EightBit(o.Adam()), model)
    assert set(opt.form.packing.vectors()) == {p for p in px.paths(model) if p != "layers.0.weight"}
    assert not px.Optimizer(o.EightBit(o.Adam(), least=1), model).form.packing.groups
    assert {name.split("/m/")[-1] for name in in_blocks(opt) if "/m/" in name} == {"layers.0.weight"}


def test_one_layer_of_a_stack_counts():
    """Blocks keep to a layer, and what is small in one is small in a stack: the numbers of a list of layers."""
    rule = o.EightBit(o.Adam(0.1), least=256)
    deep = px.RepeatedLayer(lambda: px.Dense(32, 64), 8)
    opt = px.Optimizer(rule, deep)
    (stacked, _) = in_blocks(opt).values()
    one = px.Dense(32, 64)
    single = px.Optimizer(rule, one)
    (alone, _) = in_blocks(single).values()
    assert stacked.sides == (1, *alone.sides)
    rng = np.random.default_rng(0)
    g = rng.normal(size=(8, 32, 64)) * 10 ** rng.uniform(-3, 0, (8, 1, 1))
    opt.update(deep, {"block.weight": jnp.asarray(g, jnp.float32), "block.bias": jnp.ones((8, 64))})
    single.update(one, {"weight": jnp.asarray(g[3], jnp.float32), "bias": jnp.ones(64)})
    ours, theirs = (next(iter(in_blocks(x).values())) for x in (opt, single))
    np.testing.assert_array_equal(ours.codes[3], theirs.codes)


def test_a_step_that_vanished_does_not_grow():
    """A gradient of 1 beside one of 1e-4 rounds the square of that to 0, were it not kept above: then 0 divides."""
    model = Net()
    opt = px.Optimizer(o.EightBit(o.Adam(0.1)), model)
    g = np.full(LARGE, 1e-4, np.float32)
    g[0] = 1.0
    for _ in range(20):
        opt.update(model, {"weight": jnp.asarray(g)})
    before = np.asarray(model.weight)
    opt.update(model, {"weight": jnp.zeros(LARGE)})
    assert np.abs(np.asarray(model.weight) - before).max() < 0.2


def test_nan_is_told_and_freezing_keeps_codes():
    model, opt = trained(o.EightBit(o.Adam(0.1)))
    before = {name: (np.asarray(b.codes), np.asarray(b.scales)) for name, b in in_blocks(opt).items()}
    opt.update(model, {"bias": jnp.ones(SMALL)})  # the weight has no gradient: it and its state stand still
    for name, blocks in in_blocks(opt).items():
        np.testing.assert_array_equal(blocks.codes, before[name][0])
        np.testing.assert_array_equal(blocks.scales, before[name][1])
    g = np.ones(LARGE, np.float32)
    g[5, 5] = np.nan
    opt.update(model, {"weight": jnp.asarray(g)})
    assert np.isnan(model.weight[5, 5])
    opt.update(model, {"weight": jnp.ones(LARGE)})
    assert np.isnan(model.weight[5, 5])
    assert np.isfinite(np.asarray(model.weight)).sum() >= model.weight.size - 256


def test_optimisers_that_are_stacked():
    def build(seed):
        return Net(seed=seed), px.Optimizer(o.EightBit(o.Adam(0.1)), Net())

    pairs = [build(seed) for seed in range(3)]
    models, opts = (jax.tree.map(lambda *v: jnp.stack(v), *side) for side in zip(*pairs, strict=True))
    every = {path: jnp.stack([gradient(seed)[path] for seed in range(3)]) for path in gradient(0)}
    px.vmap(lambda model, opt, grads: opt.update(model, grads))(models, opts, every)
    model, opt = pairs[1]
    opt.update(model, gradient(1))
    assert_close(opts.slot("m")["weight"][1], opt.slot("m")["weight"])
    assert_close(models.weight[1], model.weight)


def test_what_is_adopted_starts_anew():
    pair = [Net(seed=1)]
    opt = px.Optimizer(o.EightBit(o.Adam(0.1, eps=1e-30)), pair)
    opt.update(pair, {f"0.{path}": g for path, g in gradient(0).items()})
    kept = opt.slot("m")["0.weight"]
    pair.append(Net(seed=2))
    opt.sync(pair)
    np.testing.assert_array_equal(opt.slot("m")["0.weight"], kept)
    assert not np.asarray(opt.slot("m")["1.weight"]).any()
    before = np.asarray(pair[1].weight)
    opt.update(pair, {f"{n}.{path}": g for n in (0, 1) for path, g in gradient(1).items()})
    assert_close(before - pair[1].weight, 0.1 * np.sign(gradient(1)["weight"]), scale=10)  # Adam's first step
    assert len(in_blocks(opt)) == 4


def test_saved_and_pickled(tmp_path):
    rule = o.EightBit(o.chain(o.ClipGlobalNorm(1.0), o.AdamW(0.01)))
    model, opt = trained(rule)
    px.save(opt, tmp_path / "opt.safetensors")
    for again in (px.load(tmp_path / "opt.safetensors"), pickle.loads(pickle.dumps(opt))):
        twin = px.copy(model)
        again.update(twin, gradient(9))
        other, mine = px.copy(model), px.copy(opt)
        mine.update(other, gradient(9))
        np.testing.assert_array_equal(twin.weight, other.weight)
        for path, value in px.state_dict(mine).items():
            np.testing.assert_array_equal(px.state_dict(again)[path], value, err_msg=path)


def goes_on_bit_for_bit(build, **options):
    oracle("orbax.checkpoint")
    x = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    data = (x, (x[:, 0] > 0).astype(np.int32))

    def run(epochs, folder, **more):
        with px.seed(0):
            model = build()
        rule = o.EightBit(o.AdamW(o.linear(0.01, 0.0, 8)))
        given = {"loss": px.losses.cross_entropy, "optimizer": rule, "batch_size": 32, "progress": False}
        history = px.fit(model, data, epochs=epochs, checkpoint_dir=folder, **given, **options, **more)
        return model, history.optimizer

    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        run(1, one)
        model, opt = run(2, one, resume=True)
        whole, other = run(2, two)
    assert in_blocks(opt)
    for a, b in ((model, whole), (opt, other)):
        for path, value in px.state_dict(a).items():
            if "key" not in path:
                np.testing.assert_array_equal(value, px.state_dict(b)[path], err_msg=path)


def test_a_training_goes_on_from_its_checkpoint_bit_for_bit():
    goes_on_bit_for_bit(lambda: px.Chain(px.Dense(64, 80, px.tanh), px.Dense(80, 2)), clip=0.5)


@pytest.mark.soak
def test_so_does_one_of_adapters_with_an_average_of_weights():
    def build():
        model = px.Chain(px.Dense(64, 96, px.tanh), px.Dropout(0.1), px.Dense(96, 2))
        px.adapt.lora(model, rank=64, where="layers.0")
        return model

    goes_on_bit_for_bit(build, callbacks=[px.EMA(0.9)], precision="bf16")


@pytest.mark.soak
def test_trainings_end_as_those_of_float32_do():
    """Digits by a perceptron, three seeds: the mean loss is within the spread of float32's own seeds."""
    oracle("sklearn.datasets")
    images, labels = px.data.digits()
    x = np.asarray(images, np.float32).reshape(len(images), -1)
    x, y = (x - x.mean()) / x.std(), np.asarray(labels, np.int32)

    def run(rule, seed):
        with px.seed(seed):
            model = px.Chain(px.Dense(64, 128, px.relu), px.Dense(128, 128, px.relu), px.Dense(128, 10))
        history = px.fit(model, (x[:1400], y[:1400]), loss=px.losses.cross_entropy, optimizer=rule, batch_size=100,
                         epochs=8, seed=seed, progress=False, multi_step=14)  # fmt: skip
        assert bool(in_blocks(history.optimizer)) == isinstance(rule, o.EightBit)
        found = px.evaluate(model, (x[1400:], y[1400:]), loss=px.losses.cross_entropy, metrics=px.metrics.Accuracy())
        return list(found.values())

    full = np.array([run(o.Adam(1e-3), seed) for seed in range(3)])
    small = np.array([run(o.EightBit(o.Adam(1e-3)), seed) for seed in range(3)])
    assert (np.abs(small.mean(0) - full.mean(0)) <= np.ptp(full, 0)).all(), (small, full)
    assert (small[:, 1] > 0.9).all()


def test_a_rule_of_ones_own_says_so_itself():
    @dataclass(frozen=True, eq=False)
    class Mine(o.Rule):
        learning_rate: float = 0.1
        in_8_bits = {"m": "signed"}  # noqa: RUF012
        ranges = {"learning_rate": (0.0, 9.0)}  # noqa: RUF012

        def start(self, w):
            return {"m": jnp.zeros_like(w), "age": jnp.zeros_like(w)}

        def step(self, g, w, slots, n):
            m = 0.9 * slots["m"] + g
            return n.learning_rate * m, {"m": m, "age": slots["age"] + 1}

    _, opt = trained(o.EightBit(Mine()))
    assert [name.split("/")[-2] for name in in_blocks(opt)] == ["m"]
    np.testing.assert_array_equal(opt.slot("age")["weight"], np.full(LARGE, 4.0))

    @dataclass(frozen=True, eq=False)
    class Below(Mine):
        pass

    with pytest.raises(px.StructureError, match=r"EightBit expects a rule that keeps moments .*, got .*Below\("):
        o.EightBit(Below())

    @dataclass(frozen=True, eq=False)
    class Mistaken(Mine):
        in_8_bits = {"momentum": "signed"}  # noqa: RUF012

    with pytest.raises(px.StructureError, match=r"Mistaken expects slots .* in in_8_bits, got momentum") as caught:
        px.Optimizer(o.EightBit(Mistaken()), Net())
    assert "m, age" in str(caught.value)

    @dataclass(frozen=True, eq=False)
    class Unsigned(Mine):
        in_8_bits = {"m": "positive"}  # noqa: RUF012

    with pytest.raises(px.RangeError, match=r"Unsigned expects 'signed' or 'unsigned' .*, got 'positive'"):
        o.EightBit(Unsigned())


@pytest.mark.parametrize(
    ("make", "text", "cure"),
    [
        (lambda: o.EightBit(o.AdaGrad()), r"EightBit expects a rule that keeps moments .*, got AdaGrad\(", "in_8_bits"),
        (lambda: o.EightBit(o.Descent()), r"got Descent\(", "leave EightBit out"),
        (lambda: o.EightBit(o.Adam(), block=0), r"block as a whole number of at least 1, got 0", "block=256"),
        (lambda: o.EightBit(o.Adam(), least=4096.0), r"least as a whole number of .*, got 4096\.0", "least=4096"),
        (lambda: o.EightBit(optax.adam(1e-3)), r"rules of px\.optim, got GradientTransf", "optax.chain"),
        (lambda: o.EightBit(1e-3), r"EightBit expects rules of px\.optim, got", "optax.chain"),
    ],
)
def test_refusals(make, text, cure):
    with pytest.raises(px.PhloxError, match=text) as caught:
        make()
    assert cure in str(caught.value)


def test_equal_up_to_what_is_state():
    assert o.EightBit(o.Adam(0.1)) == o.EightBit(o.Adam(0.2)) != o.EightBit(o.Adam(0.1), block=128)
    assert hash(o.EightBit(o.Adam(0.1))) == hash(o.EightBit(o.Adam(0.2)))
