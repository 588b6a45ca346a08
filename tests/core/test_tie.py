"""px.tie: two attributes that are one parameter, wherever the model goes; and px.untie."""

import copy
import pickle
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import assert_close, oracle, to_numpy

NUM, DIM = 7, 4
TOKENS = jnp.asarray(np.random.default_rng(0).integers(0, NUM, (3, 5)))
NEXT = jnp.asarray(np.random.default_rng(1).integers(0, NUM, (3, 5)))


class LM(px.Module):
    """A language model in small: the weight of its head is that of its embedding, turned."""

    def __init__(self, key=0, *, head_first=False):
        keys = jax.random.split(jax.random.key(key))
        embed, head = px.Embedding(NUM, DIM, key=keys[0]), px.Dense(DIM, NUM, key=keys[1])
        if head_first:
            self.head, self.embed = head, embed
        else:
            self.embed, self.head = embed, head
        self.dropout = px.Dropout(0.0)
        px.tie(self, "head.weight", "embed.weight", transpose=True)

    def __call__(self, tokens):
        return self.head(px.tanh(self.dropout(self.embed(tokens))))


class Pair(px.Module):
    """Two layers of one weight, as it is."""

    def __init__(self):
        self.first, self.second = px.Dense(DIM, DIM, key=0), px.Dense(DIM, DIM, key=1)
        px.tie(self, "second.weight", "first.weight")

    def __call__(self, x):
        return self.second(px.tanh(self.first(x)))


def loss(model):
    return px.losses.cross_entropy(model(TOKENS), NEXT)


def tied(model):
    """Whether both attributes are one, and a write to either is read by both."""
    assert bool((model.head.weight == model.embed.weight.T).all())
    one = px.copy(model)
    one.head.weight = jnp.full((DIM, NUM), 3.0, one.head.weight.dtype)
    assert float(one.embed.weight.sum()) == 3.0 * DIM * NUM
    assert one.embed.weight.shape == (NUM, DIM)
    one.embed.weight = jnp.full((NUM, DIM), 2.0, one.head.weight.dtype)
    assert float(one.head.weight.sum()) == 2.0 * DIM * NUM
    assert type(model.head).__name__ == "Dense"
    assert isinstance(model.head, px.Dense)
    return sum(p.endswith("weight") for p in px.paths(model)) == 1


# --- against PyTorch, where assignment ties -----------------------------------------------------------------


@pytest.mark.parametrize("name", ["SGD", "Adam"])
@pytest.mark.parametrize("transpose", [False, True])
def test_it_learns_as_torch_does(name, transpose):
    torch = oracle("torch")
    nn = torch.nn
    if transpose:  # torch has a Linear weight (out, in), which is the embedding's own form
        ours = LM()
        first, second = nn.Embedding(NUM, DIM), nn.Linear(DIM, NUM)
        inputs, targets = (torch.tensor(np.asarray(v)).long() for v in (TOKENS, NEXT))
        arrays = (ours.embed.weight, ours.head.bias)
        our_loss = loss
        their_loss = lambda: nn.functional.cross_entropy(  # noqa: E731
            second(torch.tanh(first(inputs))).reshape(-1, NUM), targets.reshape(-1)
        )
    else:
        ours = Pair()
        first, second = nn.Linear(DIM, DIM), nn.Linear(DIM, DIM)
        x = np.random.default_rng(2).normal(size=(6, DIM)).astype(np.float32)
        inputs = torch.tensor(x)
        arrays = (ours.first.weight.T, ours.second.bias)
        our_loss = lambda m: (m(jnp.asarray(x)) ** 2).mean()  # noqa: E731
        their_loss = lambda: (second(torch.tanh(first(inputs))) ** 2).mean()  # noqa: E731
    with torch.no_grad():
        first.weight.copy_(torch.tensor(np.asarray(arrays[0])))
        second.bias.copy_(torch.tensor(np.asarray(arrays[1])))
        if not transpose:
            first.bias.copy_(torch.tensor(np.asarray(ours.first.bias)))
    second.weight = first.weight
    theirs = {"SGD": torch.optim.SGD, "Adam": torch.optim.Adam}[name](
        {*first.parameters(), *second.parameters()}, lr=0.1
    )
    opt = px.Optimizer(px.optim.Descent(0.1) if name == "SGD" else px.optim.Adam(0.1), ours)
    step = px.jit(lambda model, opt: _step(our_loss, model, opt))
    for _ in range(5):
        theirs.zero_grad()
        wanted = their_loss()
        wanted.backward()
        theirs.step()
        assert float(step(ours, opt)) == pytest.approx(wanted.item(), rel=2e-5)
    weight = ours.embed.weight if transpose else ours.first.weight.T
    assert_close(weight, to_numpy(first.weight), kind="grad", scale=10)
    assert len(step.history.traces) == 1


def _step(loss, model, opt):
    value, grads = px.value_and_grad(loss)(model)
    opt.update(model, grads)
    return value


# --- wherever the model goes ------------------------------------------------------------------------------


@pytest.mark.parametrize("head_first", [False, True])
def test_it_stays_one_everywhere(head_first, tmp_path):
    model = LM(head_first=head_first)
    first = "head.weight" if head_first else "embed.weight"
    shape = (DIM, NUM) if head_first else (NUM, DIM)
    assert tied(model)
    assert px.state_dict(model)[first].shape == shape
    assert list(px.split(model)[0]) == list(px.paths(model))[:2]
    assert set(px.modules(model)) == {"", "embed", "head", "dropout"}
    path = tmp_path / "model.phlox"
    px.save(model, path)
    px.weights.save_safetensors(model, tmp_path / "model.safetensors")
    flat, back = px.destructure(model)
    assert flat.size == NUM * DIM + NUM
    copies = {
        "copy": px.copy(model),
        "deepcopy": copy.deepcopy(model),
        "pickle": pickle.loads(pickle.dumps(model)),
        "merge": px.merge(model, *px.split(model)),
        "bf16": px.bf16(model),
        "to": px.to(model, jax.devices()[0]),
        "map": px.map(lambda w: w, model),
        "jit": px.jit(lambda m: m)(model),
        "rebuilt": px.jit(lambda m: px.copy(m))(model),
        "load": px.load(path, allow=[LM]),
        "destructure": back(flat),
        "constant": px.thaw(px.copy(px.constant(model))),
        "list": px.copy([model, model.embed])[0],
        "plain": jax.tree.map(lambda w: w, model),
    }
    for name, made in copies.items():
        assert type(made.embed) is type(model.embed), name
        if name != "plain":  # which rebuilds what is shared once for each path, as it does with Modules
            assert tied(made), name
        if name != "bf16":
            assert_close(made(TOKENS), np.asarray(model(TOKENS)), what=name)
            assert repr(made) == repr(model) or name == "plain"
    other = LM(5, head_first=head_first)
    px.weights.load_safetensors(other, tmp_path / "model.safetensors")
    assert tied(other)
    assert_close(other(TOKENS), np.asarray(model(TOKENS)))
    px.load_state_dict(other, px.state_dict(LM(6, head_first=head_first)))
    assert tied(other)
    wanted = "weight tied to head.weight" if head_first else "weight tied to embed.weight"
    assert wanted in repr(model)
    assert "total: 35 parameters in 2 arrays" in repr(model).replace(" + 1 state", "")
    assert wanted in model._repr_html_()
    assert "35" in str(px.summary(model, TOKENS))
    y, _ = px.apply(model, *px.split(model), TOKENS)
    assert_close(y, np.asarray(model(TOKENS)))


def test_one_gradient_the_sum_of_both_uses():
    """By two models that tie nothing, each of which moves one of the two."""
    model = LM()
    weight, bias = model.embed.weight, model.head.bias
    by_hand = lambda a, b: px.losses.cross_entropy(px.tanh(a[TOKENS]) @ b.T + bias, NEXT)  # noqa: E731
    wanted = sum(jax.grad(by_hand, (0, 1))(weight, weight))
    for grads in (px.grad(loss)(model), px.jit(px.grad(loss))(model), px.grad(px.jit(loss))(model)):
        assert_close(grads.embed.weight, np.asarray(wanted), kind="grad")
        assert_close(grads.head.weight, np.asarray(wanted).T, kind="grad")
        assert list(px.paths(grads)) == ["embed.weight", "head.bias"]
    assert_close(px.global_norm(px.grad(loss)(model)) ** 2, (wanted**2).sum() + (grads.head.bias**2).sum())
    pure = jax.grad(lambda p: px.losses.cross_entropy(px.apply(model, p, px.split(model)[1], TOKENS)[0], NEXT))
    assert_close(pure(px.split(model)[0])["embed.weight"], np.asarray(wanted), kind="grad")
    assert_close(px.grad(px.remat(loss))(model).embed.weight, np.asarray(wanted), kind="grad")


def test_compiled_writes_reach_both_and_nothing_is_traced_twice():
    @px.jit
    def halve(model):
        model.head.weight = model.head.weight / 2
        return model.embed.weight

    model, again = LM(), LM(3)
    before = model.embed.weight
    assert_close(halve(model), np.asarray(before) / 2)
    assert_close(model.embed.weight, np.asarray(before) / 2)
    halve(model)
    halve(again)
    assert tied(model)
    assert tied(again)
    assert len(halve.history.traces) == 1

    def failing(model):
        model.embed.weight = model.embed.weight * 2
        raise KeyError("late")

    with pytest.raises(KeyError, match="late"):
        px.jit(failing)(model)
    assert_close(model.embed.weight, np.asarray(before) / 4)
    with pytest.raises(px.CaptureError, match="model"):
        px.jit(lambda x: model(x))(TOKENS)


def test_freezing_takes_hold_of_both():
    for what in ("embed.weight", "embed", "embed.*", lambda path, w: path == "embed.weight"):
        model = LM()
        px.freeze(model, getattr(model, what) if what == "embed" else what)
        assert list(px.split(model)[0]) == ["head.bias"]
        grads = px.grad(loss)(model)
        assert grads.embed.weight is None
        assert grads.head.weight is None
        assert list(px.split(px.thaw(model))[0]) == ["embed.weight", "head.bias"]
    frozen = px.Chain(px.freeze(px.Dense(2, 2)), px.Dense(2, 2))
    assert list(px.split(px.tie(frozen, "layers.1.weight", "layers.0.weight"))[0]) == ["layers.1.bias"]
    assert list(px.split(px.untie(frozen, "layers.1.weight"))[0]) == ["layers.1.bias"]


class Tower(px.Module):
    """A block whose parts share a weight, for stacks of it."""

    def __init__(self):
        self.up, self.down = px.Dense(DIM, 3), px.Dense(3, DIM)
        px.tie(self, "down.weight", "up.weight", transpose=True)

    def __call__(self, x):
        return self.down(px.tanh(self.up(x)))


def test_in_stacks_loops_and_maps():
    x = jnp.asarray(np.random.default_rng(3).normal(size=(2, DIM)).astype(np.float32))
    stack = px.RepeatedLayer(Tower, 3, key=0)
    chain = px.Chain(*[stack[t] for t in range(3)])
    assert {p: v.shape for p, v in px.paths(stack).items()} == {
        "block.up.weight": (3, DIM, 3),
        "block.up.bias": (3, 3),
        "block.down.bias": (3, DIM),
    }
    assert stack.block.down.weight.shape == (3, 3, DIM)
    assert_close(stack(x), np.asarray(chain(x)))
    by_stack = px.grad(lambda m: m(x).sum())(stack).block.up.weight
    by_chain = px.grad(lambda m: m(x).sum())(chain)
    assert_close(by_stack[1], np.asarray(by_chain[1].up.weight), kind="grad")
    assert px.parameter_kinds(stack)["block.up.weight"] == ("matrix", 2, 1)
    models = px.vmap(lambda key: _tower(key))(jax.random.split(jax.random.key(0), 2))
    ys = px.vmap(lambda m: m(x))(models)
    assert_close(ys[1], np.asarray(px.map(lambda w: w[1], models)(x)))
    tower = Tower()
    last, _ = px.jit(lambda m: px.scan(lambda h, _: (m(h), None), x, None, 3))(tower)
    assert_close(last, np.asarray(tower(tower(tower(x)))))
    opt = px.Optimizer(px.optim.Muon(0.1), px.freeze(stack, "*.bias"))
    opt.update(stack, px.grad(lambda m: m(x).sum())(stack))
    assert_close(stack.block.down.weight, np.swapaxes(np.asarray(stack.block.up.weight), 1, 2))


def _tower(key):
    with px.seed(key):
        return Tower()


def test_an_owner_above_its_reader_and_three_of_one():
    class Root(px.Module):
        def __init__(self):
            self.inner, self.other = px.Dense(2, 2), px.Dense(2, 2)
            self.table = jnp.ones((2, 2))
            px.tie(self, "inner.weight", "table")
            px.tie(self, "other.weight", "inner.weight", transpose=True)
            self.third = px.Dense(2, 2, bias=False)
            px.tie(self, "third.weight", "other.weight")

    model = Root()
    assert isinstance(model, Root)
    assert list(px.paths(model)) == ["inner.bias", "table", "other.bias"]
    assert "table=float32[2, 2]" in repr(model)
    assert "# 2 parameters, weight tied to table" in repr(model)
    model.table = jnp.array([[1.0, 2.0], [3.0, 4.0]])
    assert model.other.weight.tolist() == [[1.0, 3.0], [2.0, 4.0]]
    assert model.third.weight.tolist() == [[1.0, 3.0], [2.0, 4.0]]
    px.untie(model, "third.weight")
    assert pickle.loads(pickle.dumps(model.inner)).weight.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    px.untie(model, "inner.weight")
    model.inner.weight = jnp.zeros((2, 2))
    model.other.weight = jnp.array([[1.0, 5.0], [2.0, 4.0]])
    assert model.table.tolist() == [[1.0, 2.0], [5.0, 4.0]]
    px.untie(model, "table")
    assert type(model.inner) is type(model.other) is px.Dense
    assert len(px.paths(model)) == 6
    assert model.table is not model.other.weight


def test_wrappers_and_parts():
    model = Pair()
    model.second = px.nn.WeightNorm(model.second)
    x = jnp.ones((1, DIM))
    wanted = model.second.layer(px.tanh(model.first(x)))
    assert_close(model(x), np.asarray(wanted))
    assert px.capture(model, x)
    part = px.copy(model.first)
    assert list(px.paths(part)) == ["weight", "bias"] or set(px.paths(part)) == {"weight", "bias"}
    assert_close(part(x), np.asarray(model.first(x)))


def test_fit_and_checkpoints_keep_it(tmp_path):
    data = (np.asarray(TOKENS), np.asarray(NEXT))
    runs = []
    for epochs in ((2,), (1, 2)):
        model, place = LM(), tmp_path / str(len(epochs))
        for n in epochs:
            opt = px.Optimizer(px.optim.Adam(0.05), model)
            px.fit(
                model, data, optimizer=opt, loss=px.losses.cross_entropy, epochs=n, batch_size=3, seed=0,
                progress=False, checkpoint_dir=place, resume=n == 2 and len(epochs) == 2,
            )  # fmt: skip
        assert tied(model)
        runs.append(np.asarray(model.embed.weight))
    np.testing.assert_array_equal(*runs)


# --- errors, and the warning ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "text", "fix"),
    [
        (lambda m: px.tie(m, "head.wight", "embed.weight"), px.StructureError, "got 'head.wight'", "'embed.weight'"),
        (lambda m: px.tie(m, m.head.weight, m.embed.weight), px.StructureError, "head.weight itself", "as text"),
        (lambda m: px.tie(m, m.head, m.embed), px.StructureError, "path of an array", "as text"),
        (lambda m: px.tie(m, "head.weight", "head.weight"), px.StructureError, "expects two arrays", "nothing"),
        (lambda m: px.tie(m, "head.weight", "embed.weight"), px.ShapeError, "to be embed.weight, got", "transpose="),
        (lambda m: px.tie(m, "last.bias", "head.bias", transpose=True), px.ShapeError, "two axes or more", "leave"),
        (lambda m: px.tie(m, "head.bias", "last.bias"), px.ShapeError, r"got last.bias float32\[4\]", "same sizes"),
        (lambda m: px.tie(m, "norm.mean", "last.bias"), px.StructureError, "norm.mean, which is State", "share the"),
        (lambda m: px.tie(m, "several.0", "last.weight"), px.StructureError, "inside a container", "Module of its own"),
        (lambda m: px.untie(m, "head.weight"), px.StructureError, "got head.weight, which is not", "nothing in this"),
    ],
)  # fmt: skip
def test_errors_say_what_to_type(call, error, text, fix):
    class Loose(px.Module):
        def __init__(self):
            self.embed, self.head = px.Embedding(NUM, DIM), px.Dense(DIM, NUM)
            self.last, self.norm, self.several = px.Dense(DIM, DIM), px.BatchNorm(DIM), [jnp.ones((DIM, DIM))]

    with pytest.raises(error, match=text) as caught:
        call(Loose())
    assert fix in str(caught.value).partition("fix: ")[2]


def test_what_is_no_array_is_refused():
    model = LM()
    with pytest.raises(px.StructureError, match=r"an array for weight, which px.tie tied, got a value of type None"):
        model.head.weight = None
    with pytest.raises(px.StructureError, match=r"got a deletion") as caught:
        del model.head.weight
    assert "px.untie(model, path)" in str(caught.value)
    with pytest.raises(px.StructureError, match=r"choose among embed\.weight, head\.weight"):
        px.untie(model, "head.bias")


def test_one_array_at_two_paths_is_warned_of():
    class Assigned(px.Module):
        def __init__(self):
            self.a, self.b = px.Dense(DIM, DIM), px.Dense(DIM, DIM)
            self.b.weight = self.a.weight
            self.b.bias = self.a.bias  # as of one zeros(): of one axis, and silent

        def __call__(self, x):
            return self.b(self.a(x))

    text = r'one array is trained at a.weight and at b.weight.*px.tie\(model, "b.weight", "a.weight"\).*px.copy'
    model = Assigned()
    with pytest.warns(UserWarning, match=text):
        opt = px.Optimizer(px.optim.Descent(0.1), model)
    x = np.ones((4, DIM), np.float32)
    with pytest.warns(UserWarning, match=text):
        px.fit(model, (x, x), optimizer=opt, loss=px.losses.mse, epochs=1, batch_size=4, progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        px.Optimizer(px.optim.Descent(0.1), px.tie(Assigned(), "b.weight", "a.weight"))
        own = Assigned()
        own.b.weight = px.copy(own.a.weight)
        px.Optimizer(px.optim.Descent(0.1), own)
        px.Optimizer(px.optim.Descent(0.1), px.freeze(Assigned(), "b.*"))  # a target network
        px.Optimizer(px.optim.Descent(0.1), px.untie(LM(), "head.weight"))
        px.Optimizer(px.optim.Descent(0.1), px.untie(Pair(), "second.weight"))
        shared = px.Chain(px.Dense(2, 2))
        px.Optimizer(px.optim.Descent(0.1), px.Chain(shared, shared[0]))


def test_an_optimiser_made_before_is_synchronised():
    model = px.Chain(px.Dense(2, 2), px.Dense(2, 2))
    opt = px.Optimizer(px.optim.Adam(0.1), model)
    px.tie(model, "layers.1.weight", "layers.0.weight")
    opt.sync(model)
    opt.update(model, px.grad(lambda m: m(jnp.ones((1, 2))).sum())(model))
    assert set(opt.slot("m")) == {"layers.0.weight", "layers.0.bias", "layers.1.bias"}
    px.untie(model, "layers.1.weight")
    with pytest.raises(px.StructureError, match=r"new or changed ones at layers.1.weight"):
        opt.update(model, px.grad(lambda m: m(jnp.ones((1, 2))).sum())(model))
