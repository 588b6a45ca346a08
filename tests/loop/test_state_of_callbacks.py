"""What checkpoints keep of callbacks: in any order, in any form, and a word on what changed since."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from loop.loops import assert_same_bits, batches, dropping, mlp

X, Y = (np.concatenate(part) for part in zip(*batches(4, size=8), strict=True))
SETTINGS = dict(loss=px.losses.cross_entropy, progress=False)


def trained(callbacks, folder, model=None, **options):
    model = dropping() if model is None else model
    options = {"optimizer": px.optim.Adam(1e-2), "epochs": 2, **options}
    return model, px.fit(model, (X, Y), callbacks=callbacks, checkpoint_dir=folder, **SETTINGS, **options)


class Holds(px.Callback):
    """Keeps whatever it is given."""

    def __init__(self, name, held=None):
        self.name, self.held, self.found = name, held, None

    def state(self):
        return self.held

    def restore(self, state):
        self.found = state


def test_callbacks_in_another_order_get_their_own_state(tmp_path):
    make = lambda: [px.EMA(0.5), px.EMA(0.9), Holds("a", {"at": 1}), Holds("b", {"at": 2})]  # noqa: E731
    whole_callbacks = make()
    whole, _ = trained(whole_callbacks, tmp_path / "whole", epochs=4)
    trained(make(), tmp_path / "cut")
    fast, slow, a, b = make()
    model, _ = trained([b, slow, a, fast], tmp_path / "cut", epochs=4, resume=True)
    assert_same_bits(model, whole)
    for ours, theirs in ((fast, whole_callbacks[0]), (slow, whole_callbacks[1])):
        assert_same_bits(ours.average, theirs.average)
    assert (a.found, b.found) == ({"at": 1}, {"at": 2})


def test_callbacks_that_cannot_be_told_apart_are_refused(tmp_path):
    trained([px.EMA(0.5), px.EMA(0.9)], tmp_path, model=mlp())
    with pytest.raises(px.StructureError) as caught:
        trained([px.EMA(0.6), px.EMA(0.7)], tmp_path, model=mlp(), epochs=3, resume=True)
    message = str(caught.value)
    assert "EMA(decay=0.5, warmup=False, validate=True, write=False); EMA(decay=0.9, " in message
    assert "got EMA(decay=0.6, warmup=False, validate=True, write=False); EMA(decay=0.7, " in message
    with pytest.warns(UserWarning, match=r"what the checkpoint has of EMA\(decay=0.9, .*\) is not used"):
        trained([px.EMA(0.5)], tmp_path, model=mlp(), epochs=3, resume=True)


def test_one_of_a_class_goes_on_with_other_arguments(tmp_path):
    trained([px.EMA(0.5)], tmp_path, model=mlp())
    with pytest.warns(UserWarning, match=r"EMA\(decay=0.9, .*\) goes on from EMA\(decay=0.5, "):
        trained([px.EMA(0.9)], tmp_path, model=mlp(), epochs=3, resume=True)


def test_state_of_any_form_comes_back_as_it_was(tmp_path):
    key = jax.random.key(3, impl="rbg")
    held = {
        "numbers": {1: "one", (2, 3): 2.5, "x": (1, [2, (3,)]), None: True},
        "arrays": [np.arange(3), {7: jnp.ones(2)}, ()],
        "key": {"deep": key},
        "scalar": np.float32(0.1),
        "path": Path("a") / "b",
        "odd": [float("inf"), {"__tuple__": 1}],
    }
    trained([Holds("a", held)], tmp_path, model=mlp())
    after = Holds("a", held)
    trained([after], tmp_path, model=mlp(), epochs=3, resume=True)
    found = after.found
    assert found["numbers"] == held["numbers"]
    assert [type(k) for k in found["numbers"]] == [int, tuple, str, type(None)]
    assert type(found["numbers"]["x"]) is tuple
    assert type(found["numbers"]["x"][1][1]) is tuple
    np.testing.assert_array_equal(found["arrays"][0], np.arange(3))
    assert isinstance(found["arrays"][0], np.ndarray)
    assert isinstance(found["arrays"][1][7], jax.Array)
    assert found["arrays"][2] == ()
    assert jax.random.key_impl(found["key"]["deep"]) == "rbg"
    np.testing.assert_array_equal(jax.random.key_data(found["key"]["deep"]), jax.random.key_data(key))
    assert type(found["scalar"]) is np.float32
    assert found["scalar"] == np.float32(0.1)
    assert found["path"] == held["path"]
    assert found["odd"] == held["odd"]


def test_state_that_would_not_come_back_is_refused(tmp_path):
    message = r"Holds\.state expects state that is arrays and JSON.*, got set .*\{1\}.* at state/seen/0"
    with pytest.raises(px.StructureError, match=message):
        trained([Holds("a", {"seen": [{1}]})], tmp_path, model=mlp())


def test_the_best_weights_of_a_model_with_a_random_key_are_saved(tmp_path):
    """And what they were before a resume is what they are after it."""

    class Breaks(px.Callback):
        def on_epoch_start(self, run):
            if run.epoch == 2:
                raise ValueError("the real one")

    def stopping():
        return px.EarlyStopping("val_loss", patience=50, restore_best=True)

    worse = lambda: px.LambdaCallback(on_validation_end=lambda run: run.logs.update(val_loss=1.0 + run.epoch))  # noqa: E731
    whole, _ = trained([worse(), stopping()], tmp_path / "whole", epochs=4, validation_data=(X, Y))
    with pytest.raises(ValueError, match="the real one"):
        trained([worse(), stopping(), Breaks()], tmp_path / "cut", epochs=4, validation_data=(X, Y))
    model, _ = trained([worse(), stopping()], tmp_path / "cut", epochs=4, validation_data=(X, Y), resume=True)
    assert_same_bits(model, whole)
    first, _ = trained([], tmp_path / "first", epochs=1, validation_data=(X, Y))
    assert_same_bits(model, first)


# --- what changed since -------------------------------------------------------------------------------


def test_what_changed_since_a_checkpoint_is_named(tmp_path):
    def build(p):
        with px.seed(0):
            return px.Chain(px.Dense(4, 8, px.relu), px.Dropout(p), px.Dense(8, 3))

    trained([], tmp_path, model=build(0.3), epochs=1)
    shutil_copy(tmp_path, same := tmp_path.with_name("same"))
    trained([], same, model=build(0.3), epochs=2, resume=True)  # nothing is said
    changed = X.copy()
    changed[-1] += 1.0
    with pytest.warns(UserWarning, match="goes on with something else than it was saved with") as warned:
        px.fit(
            build(0.5), (changed, Y), loss=px.losses.focal_with_logits, optimizer=px.optim.Adam(1e-3), epochs=2,
            accumulate=2, precision="bf16", checkpoint_dir=tmp_path, resume=True, progress=False,
        )  # fmt: skip
    text = str(warned[0].message)
    for part in (
        "loss was cross_entropy, is focal_with_logits",
        "precision was None, is 'bf16'",
        "accumulate was 1, is 2",
        "optimizer was Adam(learning_rate=0.01, ",
        "train_data was float32[32, 4] #",
        "model.layers.1 was Dropout(",
    ):
        assert part in text
    assert "class_weight" not in text
    assert "model.layers.0" not in text


def shutil_copy(source, target):
    import shutil

    shutil.copytree(source, target)


def test_limit_batches_and_a_resume_inside_the_epoch(tmp_path):
    """The epoch ends after as many batches as without the cut, and so do all the numbers."""
    options = dict(limit_batches=3, batch_size=4, epochs=2, multi_step=1)
    whole, history = trained([], tmp_path / "whole", **options)
    for cut in (1, 2, 4):
        folder = tmp_path / f"cut {cut}"
        trained([], folder, **{**options, "steps": cut})
        limited, again = trained([], folder, resume=True, **options)
        assert_same_bits(limited, whole)
        assert again.epochs == history.epochs
        assert [row["step"] for row in again] == [3, 6]


def test_arrays_whose_names_read_alike_come_back_apart():
    from phlox.loop.checkpoints._plain_state import decoded, encoded

    arrays = {}
    state = {"a/b": np.full(2, 1), "a": {"b": np.full(2, 2)}, "n": {1: np.full(2, 3), "1": np.full(2, 4)}}
    again = decoded(json.loads(json.dumps(encoded(state, arrays, "state", "test"))), arrays)
    assert len(arrays) == 4
    found = [again["a/b"], again["a"]["b"], again["n"][1], again["n"]["1"]]
    assert [int(array[0]) for array in found] == [1, 2, 3, 4]


class Places:
    """Batches from a position that JSON would change: a tuple, a key that is a number, an array."""

    def __init__(self):
        self.at = 0

    def __iter__(self):
        while self.at < 4:
            self.at += 1
            yield batches(4)[self.at - 1]
        self.at = 0

    def state(self):
        return {"at": (self.at, 1), 7: np.full(2, self.at)}

    def restore(self, position):
        assert type(position["at"]) is tuple
        assert position[7].tolist() == [position["at"][0]] * 2
        self.at = position["at"][0] % 4


def test_the_position_of_a_loader_comes_back_as_it_was(tmp_path):
    def fit(steps, **options):
        model = mlp()
        px.fit(
            model, Places(), loss=px.losses.cross_entropy, optimizer=px.optim.Adam(1e-2), steps=steps, progress=False,
            multi_step=1, **options,
        )  # fmt: skip
        return model

    fit(2, checkpoint_dir=tmp_path)
    assert_same_bits(fit(6, checkpoint_dir=tmp_path, resume=True), fit(6))
