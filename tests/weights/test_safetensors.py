"""A model goes to a file and comes back bit for bit; other readers of the format see the same."""

import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

import phlox as px
from kit import oracle
from phlox import weights
from weights.models import Everything, Tied, contents

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def test_every_kind_of_array_comes_back_bit_for_bit(path):
    model, other = Everything(1), Everything(2)
    want = contents(model)
    assert contents(other) != want
    weights.save_safetensors(model, path)
    report = weights.load_safetensors(other, path)
    assert report.complete
    assert sorted(report.loaded) == sorted(want)
    assert contents(other) == want
    assert contents(model) == want


def test_a_restored_model_draws_and_computes_as_the_saved_one(path):
    model, other = Everything(1), Everything(2)
    weights.save_safetensors(model, path)
    weights.load_safetensors(other, path)
    x = np.random.default_rng(0).normal(size=(4, 7, 2)).astype(np.float32)
    ours, theirs = (px.trainmode(m.net)(x) for m in (model, other))
    assert np.array_equal(ours, theirs)
    assert (np.asarray(ours) != np.asarray(px.testmode(other.net)(x))).any()  # dropout did draw
    assert contents(model) == contents(other)  # and moved keys and statistics alike


def test_bfloat16_and_all_else_reads_the_same_in_pytorch(path):
    torch = oracle("torch")
    load_file = oracle("safetensors.torch").load_file
    model = Everything(3)
    weights.save_safetensors(model, path)
    theirs = load_file(path)
    ours = contents(model)
    assert sorted(theirs) == sorted(ours)
    for name, tensor in theirs.items():
        assert tensor.reshape(-1).view(torch.uint8).numpy().tobytes() == ours[name][2], name
    assert theirs["brain"].dtype == torch.bfloat16
    assert theirs["brain"].float().numpy().tolist() == model.brain.astype(jnp.float32).tolist()
    assert theirs["turned"].numpy().tolist() == model.turned.tolist()
    assert theirs["scalar"].item() == float(model.scalar)
    assert theirs["keys"].numpy().tolist() == jax.random.key_data(model.keys).tolist()


def test_a_file_that_pytorch_wrote_loads(path):
    torch = oracle("torch")
    theirs = torch.nn.Linear(3, 2)
    state = {"weight": theirs.weight.detach().T.contiguous(), "bias": theirs.bias.detach()}
    oracle("safetensors.torch").save_file(state, path, {"format": "pt"})
    ours = px.Dense(3, 2)
    weights.load_safetensors(ours, path)
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    assert ours.weight.tolist() == theirs.weight.T.tolist()
    np.testing.assert_allclose(ours(x), theirs(torch.tensor(x)).detach().numpy(), rtol=1e-5, atol=2e-6)


def test_a_shared_part_is_stored_once_and_stays_shared(path):
    model, other = Tied(1), Tied(2)
    weights.save_safetensors(model, path)
    report = weights.load_safetensors(other, path)
    assert report.loaded == ["first.weight", "first.bias"]
    assert other.again["same"] is other.first
    assert contents(other) == contents(model)


def test_an_optimiser_is_a_module_and_resumes_from_a_file(path, tmp_path):
    x = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)

    def steps(model, opt, count):
        for _ in range(count):
            opt.update(model, px.grad(lambda m: (m(x) ** 2).mean())(model))

    model = px.Dense(3, 2, key=1)
    opt = px.Optimizer(px.optim.Adam(0.1), model)
    steps(model, opt, 3)
    weights.save_safetensors(model, path)
    weights.save_safetensors(opt, tmp_path / "opt.safetensors")
    steps(model, opt, 3)

    fresh = px.Dense(3, 2, key=2)
    fresh_opt = px.Optimizer(px.optim.Adam(0.1), fresh)
    weights.load_safetensors(fresh, path)
    weights.load_safetensors(fresh_opt, tmp_path / "opt.safetensors")
    steps(fresh, fresh_opt, 3)
    assert contents(fresh) == contents(model)
    assert contents(fresh_opt) == contents(opt)


def test_a_model_that_trains_on_after_loading_leaves_the_file_and_others_alone(path):
    model, one, two = (px.Dense(64, 64, key=k) for k in (1, 2, 3))
    weights.save_safetensors(model, path)
    before = path.read_bytes()
    weights.load_safetensors(one, path)
    weights.load_safetensors(two, path)

    @px.jit
    def zero(model):
        model.weight = model.weight * 0

    zero(one)
    assert not np.asarray(one.weight).any()
    assert np.array_equal(two.weight, model.weight)
    assert path.read_bytes() == before


def test_metadata_goes_in_as_text_and_comes_out(path):
    weights.save_safetensors(px.Dense(2, 1), path, {"note": 'größer → ✓\n"quoted"', "step": "7"})
    found = weights.read_metadata(path)
    assert (found["note"], found["step"], found["phlox.format"]) == ('größer → ✓\n"quoted"', "7", "1")
    assert weights.load_safetensors(px.Dense(2, 1), path).complete


@pytest.mark.parametrize("metadata", [{"step": 7}, {7: "step"}, {"phlox.format": "9"}])
def test_metadata_that_is_no_text_or_not_the_users_is_refused(path, metadata):
    with pytest.raises(px.RangeError, match=r"save_safetensors\(.*metadata from str to str.*got ['7]"):
        weights.save_safetensors(px.Dense(2, 1), path, metadata)
    assert not path.exists()


def test_equal_models_give_equal_bytes_in_every_process(path):
    weights.save_safetensors(Tied(5), path, {"b": "2", "a": "1", "c": "3", "d": "4"})
    code = (
        "import sys; from weights.models import Tied; from phlox import weights; "
        "weights.save_safetensors(Tied(5), sys.argv[1], {'d': '4', 'c': '3', 'a': '1', 'b': '2'})"
    )
    root = Path(__file__).parents[2]
    for seed in ("1", "2"):
        again = path.with_name(f"again{seed}")
        environment = {**os.environ, "PYTHONPATH": f"{root}/src:{root}/tests", "PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-c", code, str(again)], check=True, env=environment)
        assert again.read_bytes() == path.read_bytes()


def test_a_model_without_arrays_is_a_file_without_arrays(path):
    weights.save_safetensors(px.Chain(px.relu), path)
    assert weights.load_safetensors(px.Chain(px.relu), path).loaded == []


def test_another_model_is_refused_by_path_and_left_alone(path):
    weights.save_safetensors(px.Chain(px.Dense(2, 3), px.Dense(3, 1)), path)
    model = px.Chain(px.Dense(2, 3), px.Dense(3, 4), px.BatchNorm(4))
    before = contents(model)
    with pytest.raises(px.StructureError) as caught:
        weights.load_safetensors(model, path)
    message = str(caught.value)
    assert f"load_safetensors({str(path)!r}) expects the 8 arrays of this Chain" in message
    assert "missing: layers.2.mean" in message
    assert "mismatched: layers.1.weight expects float32[3, 4], got float32[3, 1]" in message
    assert "strict=False" in message.split("\n  fix: ")[1]
    assert contents(model) == before


def test_without_strict_what_fits_is_loaded_and_the_rest_reported(path):
    source = px.Chain(px.Dense(2, 3, key=1), px.Dense(3, 1, key=2))
    weights.save_safetensors(source, path)
    model = px.Chain(px.Dense(2, 3, key=3), px.Dense(3, 4, key=4))
    before = contents(model)
    report = weights.load_safetensors(model, path, strict=False)
    assert report.loaded == ["layers.0.weight", "layers.0.bias"]
    assert sorted(report.mismatched) == ["layers.1.bias", "layers.1.weight"]
    after = contents(model)
    assert {p: after[p] == contents(source)[p] for p in report.loaded} == dict.fromkeys(report.loaded, True)
    assert {p: after[p] for p in report.mismatched} == {p: before[p] for p in report.mismatched}


def test_a_long_list_of_differences_is_cut(path):
    weights.save_safetensors(px.Dense(1, 1), path)
    with pytest.raises(px.StructureError) as caught:
        weights.load_safetensors(px.Chain(*[px.Dense(1, 1) for _ in range(40)]), path)
    assert len(str(caught.value).splitlines()) < 20
    assert re.search(r"\n    … and 7\d more\n  fix: ", str(caught.value))


def test_a_key_of_another_implementation_is_refused(path):
    weights.save_safetensors(px.Dropout(0.5, key=jax.random.key(0, impl="rbg")), path)
    drop = px.Dropout(0.5, key=jax.random.key(0, impl="unsafe_rbg"))  # as many words, other numbers
    with pytest.raises(px.StructureError, match=r"key expects key<urbg>\[\], got key<rbg>\[\]"):
        weights.load_safetensors(drop, path)


def test_a_dtype_that_the_format_has_no_name_for_is_refused(path):
    model = px.Dense(2, 3)
    model.bias = jnp.zeros(3, jnp.int4)
    with pytest.raises(px.DtypeError, match=r"arrays of .*bfloat16.*, got int4\[3\] at bias\n  fix: convert it"):
        weights.save_safetensors(model, path)
    assert os.listdir(path.parent) == []


def test_saving_and_loading_want_a_module_outside_a_trace(path):
    with pytest.raises(px.StructureError, match=r"expects a Module, got dict\n  fix: pass the model first"):
        weights.save_safetensors({"weight": jnp.ones(3)}, path)
    with pytest.raises(px.StateError, match="got weight inside a function that is being traced"):
        px.jit(lambda model: weights.save_safetensors(model, path))(px.Dense(2, 3))
    weights.save_safetensors(px.Dense(2, 3), path)
    with pytest.raises(px.StateError, match="got weight inside a function that is being traced"):
        px.jit(lambda model: weights.load_safetensors(model, path).complete)(px.Dense(2, 3))


def test_a_donated_array_is_named(path):
    model = px.Dense(2, 3)
    model.weight.delete()
    with pytest.raises(px.LostBuffersError, match="which weight is not"):
        weights.save_safetensors(model, path)


def test_a_file_of_a_later_format_is_refused(path):
    save_file({"weight": np.zeros((2, 1), np.float32)}, path, {"phlox.format": "2", "phlox.sha256": "0"})
    with pytest.raises(weights.CorruptFileError, match=r"a file of format 1 to 1, got format '2'\n  fix: update Phlox"):
        weights.load_safetensors(px.Dense(2, 1, bias=False), path)


def test_the_first_format_still_loads():
    """The file was written once and is kept; its arrays are known in closed form."""
    model = px.Chain(dense=px.Dense(3, 2), norm=px.BatchNorm(2), drop=px.Dropout(0.5))
    model["norm"].mean = jnp.zeros(2)
    model["norm"].scale = jnp.zeros(2, jnp.bfloat16)
    report = weights.load_safetensors(model, FIXTURES / "format-1.safetensors")
    assert report.complete
    assert model["dense"].weight.tolist() == [[0.0, 0.5], [1.0, 1.5], [2.0, 2.5]]
    assert model["dense"].bias.tolist() == [-1.0, 1.0]
    assert (model["norm"].scale.dtype, model["norm"].scale.tolist()) == (jnp.bfloat16, [0.25, 4.0])
    assert (model["norm"].mean.tolist(), model["norm"].var.tolist()) == ([3.0, 4.0], [1.0, 2.0])
    assert jax.random.key_data(model["drop"].key).tolist() == [7, 9]
