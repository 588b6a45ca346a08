"""Arrays of other libraries, matched with ours: what they compute there is computed here."""

import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import oracle
from peers import peer
from phlox.weights import Array, NameMap, convert

torch = oracle("torch")
RNG = np.random.default_rng(0)


def filled(module):
    """A PyTorch module with numbers that hide nothing, its arrays by name."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, x in [*module.named_parameters(), *module.named_buffers()]:
            if name.endswith("running_var"):
                x.uniform_(0.5, 2.0, generator=generator)
            elif x.is_floating_point():
                x.copy_(torch.randn(x.shape, generator=generator))
    return module.eval(), {name: x.detach().numpy() for name, x in module.state_dict().items()}


def close(ours, theirs, bar=1e-5):
    theirs = theirs.detach().numpy() if hasattr(theirs, "detach") else np.asarray(theirs)
    assert np.abs(np.asarray(ours) - theirs).max() <= bar * np.abs(theirs).max()


class Net(px.Module):
    def __init__(self):
        self.conv = px.Conv((3, 3), 2, 6, groups=2)
        self.up = px.ConvTranspose((2, 2), 6, 4, stride=2)
        self.bn = px.BatchNorm(4, px.relu)
        self.norm = px.LayerNorm(4)
        self.fc = px.Dense(4, 4)

    def __call__(self, x):
        y = self.bn(self.up(self.conv(x)))
        return self.fc(self.norm(y[:, 1:, 1:].mean((1, 2))))  # not all: a kernel that is turned round must show


def torch_net():
    class TorchNet(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv2d(2, 6, 3, groups=2)
            self.up = torch.nn.ConvTranspose2d(6, 4, 2, stride=2)
            self.bn = torch.nn.BatchNorm2d(4)
            self.norm = torch.nn.LayerNorm(4)
            self.fc = torch.nn.Linear(4, 4)

        def forward(self, x):
            y = torch.relu(self.bn(self.up(self.conv(x))))
            return self.fc(self.norm(y[:, :, 1:, 1:].mean((2, 3))))

    return TorchNet()


def test_the_same_names_in_pytorch_s_layout():
    theirs, arrays = filled(torch_net())
    model = Net()
    report = convert(model, arrays)
    assert report.layout == "pytorch"
    assert not report.doubts
    assert len(report.matches) == len(px.state_dict(model))
    x = RNG.normal(size=(2, 7, 6, 2)).astype("f")
    close(model(x), theirs(torch.tensor(x).permute(0, 3, 1, 2)))


def test_other_names_by_shape_and_by_rules():
    theirs, arrays = filled(torch_net())
    renamed = {
        name.replace("conv.", "first.").replace("up.", "second.").replace("fc.", "last."): x
        for name, x in arrays.items()
    }
    model = Net()
    report = convert(model, renamed)
    assert {m.ours: m.theirs for m in report.matches}["fc.weight"] == ("last.weight",)
    assert {m.why for m in report.matches} == {"the same name", "the only one of this shape"}
    x = RNG.normal(size=(2, 7, 6, 2)).astype("f")
    close(model(x), theirs(torch.tensor(x).permute(0, 3, 1, 2)))
    again = Net()
    report = convert(again, renamed, {"first": "conv", "second": "up", "last": "fc"})
    assert sum(m.why == "a rule" for m in report.matches) == 6
    assert (again.fc.weight == model.fc.weight).all()


class Attention(px.Module):
    def __init__(self, width=4):
        self.q, self.k, self.v = px.Dense(width, width), px.Dense(width, width), px.Dense(width, width)


def linear(*names):
    sizes = {"weight": (4, 4), "bias": (4,)}
    return {f"{n}.{end}": RNG.normal(size=size).astype("f") for n in names for end, size in sizes.items()}


def test_what_nobody_can_tell_is_refused_with_the_candidates_and_nothing_is_written():
    model = px.Chain(px.Dense(4, 4), px.Dense(4, 4))
    before = px.state_dict(model)
    with pytest.raises(px.StructureError, match=r"layers\.0\.weight from fc1\.weight or fc2\.weight") as error:
        convert(model, linear("fc1", "fc2"), layout="pytorch")
    assert "rules" in error.value.fix
    assert all(array is before[name] for name, array in px.state_dict(model).items())


def test_the_closest_name_is_taken_and_called_a_doubt():
    model, arrays = Attention(), linear("attention.q", "attention.k", "attention.v")
    report = convert(model, arrays, layout="pytorch")
    assert [m.theirs[0] for m in report.matches if m.ours.endswith("weight")] == [
        "attention.q.weight", "attention.k.weight", "attention.v.weight",
    ]  # fmt: skip
    assert len(report.doubts) == 6
    assert "? q.weight ← attention.q.weight: the closest name" in str(report)
    close(model.k(jnp.ones((1, 4))), arrays["attention.k.weight"].sum(1)[None] + arrays["attention.k.bias"])


def test_rows_that_are_numbered_alike():
    class Stack(px.Module):
        def __init__(self):
            self.blocks = [px.Dense(4, 4) for _ in range(3)]

    model = Stack()
    arrays = linear("encoder.layer.0.dense", "encoder.layer.1.dense", "encoder.layer.2.dense")
    report = convert(model, dict(reversed(arrays.items())), layout="pytorch")
    assert {m.why for m in report.matches} == {"a row that is numbered alike"}
    for i, block in enumerate(model.blocks):
        assert (np.asarray(block.weight) == arrays[f"encoder.layer.{i}.dense.weight"].T).all()
    with pytest.raises(px.StructureError, match="several"):
        convert(model, linear("layer.1", "layer.2", "layer.3"), layout="pytorch")


def test_square_weights_of_the_same_names_need_to_be_told_the_layout():
    model, arrays = Attention(), linear("q", "k", "v")
    with pytest.raises(px.RangeError, match="pytorch and phlox and flux alike"):
        convert(model, arrays)
    convert(model, arrays, layout="phlox")
    assert (model.q.weight == arrays["q.weight"]).all()
    convert(model, arrays, layout="pytorch")
    assert (model.q.weight == arrays["q.weight"].T).all()


def test_left_over_on_both_sides():
    model = px.Chain(px.Dense(2, 3), px.Dense(3, 5))
    arrays = {"a.weight": np.ones((3, 2), "f"), "a.bias": np.ones(3, "f"), "extra": np.ones(7, "f")}
    with pytest.raises(px.StructureError, match=r"missing: layers\.1\.weight\n.*\n  unused: extra"):
        convert(model, arrays, layout="pytorch")
    report = convert(model, arrays, layout="pytorch", strict=False)
    assert report.missing == ["layers.1.weight", "layers.1.bias"]
    assert report.unused == ["extra"]
    assert (model[0].weight == 1).all()
    with pytest.raises(px.StructureError, match=r"no gone\.weight for layers\.0\.weight"):
        convert(model, arrays, {"gone": "layers.0"}, layout="pytorch")
    with pytest.raises(px.StructureError, match=r"layers\.1\.weight needs a\.weight \(5, 3\), got \(3, 2\)"):
        convert(model, arrays, {"a": "layers.1"}, layout="pytorch", strict=False)


def test_dtypes_are_converted_and_told_or_refused():
    model = px.Dense(2, 2)
    report = convert(model, {"weight": np.ones((2, 2)), "bias": np.ones(2, np.float16)}, layout="phlox")
    assert report.converted == {
        "weight": "float64 converted to float32", "bias": "float16 converted to float32",
    }  # fmt: skip
    for wrong in (np.ones((2, 2), complex), np.ones((2, 2), int)):
        with pytest.raises(px.DtypeError, match="float32 for weight"):
            convert(model, {"weight": wrong, "bias": np.zeros(2, "f")}, layout="phlox")
    assert (model.bias == 1).all()


def test_a_map_reads_both_ways_fused_stacked_and_odd_arrays():
    class Block(px.Module):
        def __init__(self):
            self.attention, self.norm = Attention(), px.LayerNorm(4)

    class Model(px.Module):
        def __init__(self):
            self.blocks = px.RepeatedLayer(Block, 3)
            self.stem = px.Chain(px.Conv((3, 3), 2, 4, bias=False), px.BatchNorm(4))
            self.token = jnp.asarray(RNG.normal(size=4), "f")
            self.table = jnp.asarray(RNG.normal(size=(5, 4)), "f")
            self.narrow, self.wide = px.Dense(3, 2), px.Dense(3, 4)

    names = NameMap({
        "net.layer.{i}.qkv": ("blocks.block.attention.q", "blocks.block.attention.k", "blocks.block.attention.v"),
        "net.layer.{i}.ln": "blocks.block.norm",
        "net.stem": "stem.layers",
        "net.cls": Array("token", lead=2),
        "net.table": Array("table", axes=(1, 0), trail=2),
        "net.sides": tuple(Array(f"{n}.weight", axes=(0, 1), along=1) for n in ("narrow", "wide")),
        "net.sides.bias": ("narrow.bias", "wide.bias"),
    })  # fmt: skip
    model = Model()
    theirs = names.to_theirs(model)
    w = px.state_dict(model)
    for i in range(3):
        fused = np.concatenate([np.asarray(w[f"blocks.block.attention.{n}.weight"][i]).T for n in "qkv"])
        assert (theirs[f"net.layer.{i}.qkv.weight"] == fused).all()
        assert theirs[f"net.layer.{i}.qkv.bias"].shape == (12,)
        assert (theirs[f"net.layer.{i}.ln.weight"] == np.asarray(w["blocks.block.norm.scale"][i])).all()
    assert (theirs["net.stem.0.weight"] == np.asarray(w["stem.layers.0.weight"]).transpose(3, 2, 0, 1)).all()
    assert theirs["net.stem.1.num_batches_tracked"].shape == ()
    assert theirs["net.cls"].shape == (1, 1, 4)
    assert (theirs["net.table"][..., 0, 0] == np.asarray(w["table"]).T).all()
    assert theirs["net.table"].shape == (4, 5, 1, 1)
    assert (theirs["net.sides"] == np.concatenate([w["narrow.weight"], w["wide.weight"]], 1)).all()
    longer = {**theirs, "net.layer.1.qkv.bias": np.zeros(13, "f")}
    with pytest.raises(px.StructureError, match=r"net\.layer\.1\.qkv\.bias"):
        convert(Model(), longer, names)
    again = Model()
    convert(again, theirs, names)
    for path, array in px.state_dict(again).items():
        assert (np.asarray(array) == np.asarray(w[path])).all(), path


def test_the_longest_entry_counts_and_names_without_an_entry_are_told():
    model = px.Chain(px.Dense(2, 2), px.Dense(2, 2))
    names = NameMap({"all": "layers", "special": "layers.1"}, layout="phlox")
    assert list(names.to_theirs(model)) == ["all.0.weight", "all.0.bias", "special.weight", "special.bias"]
    with pytest.raises(px.StructureError, match=r"none for layers\.1\.weight, layers\.1\.bias"):
        NameMap({"a": "layers.0"}).to_theirs(model)
    with pytest.raises(px.RangeError, match="layout among pytorch"):
        NameMap({}, layout="mxnet")


def test_keras_answers_alike():
    keras = peer("keras")
    inputs = keras.Input((7, 6, 2))
    y = keras.layers.Conv2D(6, 3, groups=2, name="conv")(inputs)
    y = keras.layers.BatchNormalization(epsilon=1e-5, name="bn")(keras.layers.Conv2DTranspose(4, 2, 2, name="up")(y))
    y = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(y)[:, 1:, 1:])
    outputs = keras.layers.Dense(4, name="fc")(keras.layers.LayerNormalization(epsilon=1e-5, name="norm")(y))
    theirs = keras.Model(inputs, outputs)
    for v in theirs.weights:
        v.assign(RNG.uniform(0.5, 2.0, v.shape) if "variance" in v.path else RNG.normal(size=v.shape))
    model = Net()
    report = convert(model, {v.path: np.asarray(v.value) for v in theirs.weights})
    assert report.layout == "keras"
    assert not report.doubts
    x = RNG.normal(size=(2, 7, 6, 2)).astype("f")
    close(model(x), np.asarray(theirs(x)))


def test_flax_answers_alike():
    linen = peer("flax.linen")
    import jax

    class FlaxNet(linen.Module):
        @linen.compact
        def __call__(self, x):
            y = linen.Conv(6, (3, 3), padding="VALID", feature_group_count=2, name="conv")(x)
            y = linen.ConvTranspose(4, (2, 2), (2, 2), padding="VALID", name="up")(y)
            y = linen.relu(linen.BatchNorm(use_running_average=True, name="bn")(y))
            return linen.Dense(4, name="fc")(linen.LayerNorm(epsilon=1e-5, name="norm")(y[:, 1:, 1:].mean((1, 2))))

    x = RNG.normal(size=(2, 7, 6, 2)).astype("f")
    variables = FlaxNet().init(jax.random.key(0), x)
    leaves, tree = jax.tree.flatten_with_path(variables)
    arrays = {
        "/".join(k.key for k in path): RNG.uniform(0.5, 2.0, v.shape).astype("f") if path[-1].key == "var" else
        RNG.normal(size=v.shape).astype("f") for path, v in leaves
    }  # fmt: skip
    model = Net()
    report = convert(model, arrays)
    assert report.layout == "flax"
    assert not report.doubts
    close(model(x), FlaxNet().apply(jax.tree.unflatten(tree, list(arrays.values())), x))


def test_flux_convolves_and_keeps_width_first():
    """By Flux's definition: y[w, h, o] = b[o] + Σ x[w - i, h - j, c] · W[i, j, c, o], and y = W x + b."""
    signal = oracle("scipy").signal
    model = px.Chain(px.Conv((3, 2), 2, 3), px.Dense(3, 4))
    w, b = RNG.normal(size=(2, 3, 2, 3)).astype("f"), RNG.normal(size=3).astype("f")  # (width, height, in, out)
    dense = RNG.normal(size=(4, 3)).astype("f")
    theirs = {"1.weight": w, "1.bias": b, "2.weight": dense, "2.bias": np.zeros(4, "f")}
    convert(model, theirs, {"1": "layers.0", "2": "layers.1"}, layout="flux")
    x = RNG.normal(size=(5, 6, 2)).astype("f")  # (height, width, in)
    y = np.stack([
        sum(signal.convolve(x[..., c].T, w[..., c, o], mode="valid") for c in range(2)).T + b[o] for o in range(3)
    ], -1)  # fmt: skip
    close(model(x[None]), (y @ dense.T)[None])


def test_an_array_of_scale_does_not_tell_the_layout():
    class Scaled(px.Module):
        scale: px.Param

        def __init__(self):
            self.scale, self.fc = jnp.ones(4), px.Dense(4, 4)

    arrays = {"scale": np.full(4, 2, "f"), **linear("fc")}
    with pytest.raises(px.RangeError, match="pytorch and phlox"):
        convert(Scaled(), arrays)
    model = Scaled()
    convert(model, arrays, layout="pytorch")
    assert (model.scale == 2).all()
    assert (model.fc.weight == arrays["fc.weight"].T).all()


def test_stacks_from_layers_apart_or_stacked_there_too():
    def build():
        return px.Chain(px.RepeatedLayer(lambda: px.Dense(3, 2), 3))

    model = build()
    rules = {"l.{i}": "layers.0.block"}
    apart = {f"l.{i}.{end}": drawn(*size) for i in range(3) for end, size in (("weight", (2, 3)), ("bias", (2,)))}
    convert(model, apart, rules, layout="pytorch")
    assert (np.asarray(model[0].block.weight[2]) == apart["l.2.weight"].T).all()
    stacked = {"l.weight": np.stack([apart[f"l.{i}.weight"] for i in range(3)]), "l.bias": drawn(3, 2)}
    again = build()
    convert(again, stacked, {"l": "layers.0.block"}, layout="pytorch")
    assert (again[0].block.weight == model[0].block.weight).all()
    assert (np.asarray(again[0].block.bias) == stacked["l.bias"]).all()
    with pytest.raises(px.StructureError, match=r"needs l\.weight \(3, 2, 3\), got \(2, 3\)"):
        convert(build(), {"l.weight": drawn(2, 3), "l.bias": drawn(2)}, {"l": "layers.0.block"}, layout="pytorch")
    with pytest.raises(px.StructureError):
        convert(build(), {"l.weight": drawn(2, 3), "l.bias": drawn(2)}, layout="pytorch")
    own = px.state_dict(model)
    convert(build(), own, layout="phlox")
    mixed = {**apart, "l.1.weight": apart["l.1.weight"].astype(np.float64)}
    assert "float64 converted" in str(convert(build(), mixed, rules, layout="pytorch"))
    with pytest.raises(px.DtypeError, match=r"complex64 at l\.1\.weight"):
        convert(build(), {**apart, "l.1.weight": apart["l.1.weight"].astype(np.complex64)}, rules, layout="pytorch")


def drawn(*shape):
    return RNG.normal(size=shape).astype("f")


def test_two_paths_with_the_same_end_keep_apart():
    class Outer(px.Module):
        def __init__(self):
            self.norm = px.LayerNorm(4)
            self.module = px.Chain(norm=px.LayerNorm(4))

    arrays = {f"{path}.{end}": drawn(4) for path in ("norm", "module.layers.norm") for end in ("weight", "bias")}
    model = Outer()
    report = convert(model, arrays, layout="pytorch")
    assert not report.doubts
    assert (np.asarray(model.norm.scale) == arrays["norm.weight"]).all()
    own = {name: np.asarray(x) for name, x in px.state_dict(Outer()).items()}
    convert(model, own, layout="phlox")


def test_names_of_keras_by_rules_and_by_number():
    model = px.Chain(px.Dense(3, 2), px.BatchNorm(2, affine=False))
    arrays = {"dense/dense/kernel:0": drawn(3, 2), "dense/dense/bias:0": drawn(2),
              "bn/vars/0": drawn(2), "bn/vars/1": drawn(2)}  # fmt: skip
    convert(model, arrays, {"dense/dense": "layers.0", "bn": "layers.1"}, layout="keras")
    assert (np.asarray(model[0].weight) == arrays["dense/dense/kernel:0"]).all()
    assert (np.asarray(model[1].var) == arrays["bn/vars/1"]).all()
    assert convert(px.Chain(px.Dense(3, 2), px.BatchNorm(2, affine=False)), arrays).layout == "keras"


def test_a_file_that_says_it_is_julia_s_is(tmp_path):
    from safetensors.numpy import save_file

    arrays = {"layers.1.weight": drawn(3, 3, 2, 5), "layers.1.bias": drawn(5)}
    save_file(arrays, tmp_path / "m.safetensors", {"axes": "as in Julia"})
    marked, told, guessed = (px.Chain(px.Conv((3, 3), 2, 5)) for _ in range(3))
    assert convert(marked, px.weights.read(tmp_path / "m.safetensors")).layout == "flux"
    convert(told, arrays, layout="flux")
    assert (marked[0].weight == told[0].weight).all()
    with pytest.raises(px.RangeError, match="phlox and flux alike"):
        convert(guessed, arrays)


def test_transposed_convolutions_of_flux_are_the_adjoint_of_its_convolutions():
    kernel = drawn(3, 2, 2, 4)  # (width, height, in, out) of the convolution: out and in of its adjoint
    ahead, back = px.Conv((2, 3), 2, 4, bias=False), px.ConvTranspose((2, 3), 4, 2, bias=False)
    convert(ahead, {"weight": kernel}, layout="flux")
    convert(back, {"weight": kernel}, layout="flux")
    u, v = drawn(1, 5, 6, 2), drawn(1, 4, 4, 4)
    np.testing.assert_allclose((ahead(u) * v).sum(), (u * back(v)).sum(), rtol=1e-4)


def test_two_layers_under_one_name_are_refused():
    with pytest.raises(px.StructureError, match=r"norm\.weight for layers\.0\.scale and layers\.1\.scale"):
        NameMap({"norm": "layers.{j}"}).to_theirs(px.Chain(px.LayerNorm(4), px.LayerNorm(4)))


def test_tensors_of_pytorch_as_they_are():
    theirs, model = torch.nn.Linear(3, 2), px.Chain(px.Dense(3, 2))
    convert(model, dict(theirs.named_parameters()))
    close(model(jnp.ones((1, 3))), theirs(torch.ones(1, 3)))
    half = {name: x.bfloat16() for name, x in theirs.state_dict().items()}
    assert "bfloat16 converted to float32" in str(convert(model, half))
