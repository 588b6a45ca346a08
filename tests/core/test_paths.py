"""One grammar of paths: what px.freeze, masks, groups, px.capture and px.at read alike."""

import fnmatch

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import phlox as px
from phlox.core.module._paths import dots, is_pattern, matches, means, steps

WORDS = st.text("abc.", max_size=6)
PATTERNS = st.text("abc.*?", max_size=6).filter(lambda p: not p.startswith("."))


class Block(px.Module):
    def __init__(self):
        self.q_proj, self.mlp = px.Dense(4, 4), px.Chain(px.Dense(4, 8, px.relu), px.Dense(8, 4))

    def __call__(self, x):
        return x + self.mlp(self.q_proj(x))


@pytest.fixture
def model():
    with px.seed(0):
        return px.Chain(px.Chain(Block(), Block()), px.Dense(4, 2))


@given(PATTERNS, WORDS)
def test_a_pattern_means_what_the_shell_means_by_it_and_all_below(pattern, path):
    steps = path.split(".")
    above = [".".join(steps[: n + 1]) for n in range(len(steps))]
    here = fnmatch.fnmatchcase(path, pattern)
    assert matches(pattern, path) == (
        here or any(fnmatch.fnmatchcase(a, pattern) for a in above[:-1]) or fnmatch.fnmatchcase(path, pattern + ".*")
    )
    assert not here or matches(pattern, path)


@pytest.mark.parametrize(
    ("pattern", "path", "meant"),
    [
        ("layers.0", "layers.0.weight", True),
        ("layers.0", "layers.01.weight", False),
        ("layers.*.q_proj", "layers.0.q_proj.weight", True),
        ("encoder.**.bias", "encoder.layers.3.mlp.bias", True),
        ("*.bias", "layers.0.bias", True),
        ("*.bias", "bias", False),
        ("layers[1].mlp", "layers.1.mlp.layers.0.weight", True),
        ("layers.[01].mlp", "layers.1.mlp.bias", True),
        ("layers.[01].mlp", "layers.2.mlp.bias", False),
        ("heads['left']", "heads.left.weight", True),
        ("Layers.0", "layers.0", False),
        ("a+b", "aab", False),
    ],
)
def test_patterns(pattern, path, meant):
    assert matches(pattern, path) is meant


def test_brackets_and_dots_are_one_path():
    assert dots('model[0].heads["a.b"].weight') == "model.0.heads.a.b.weight"
    assert steps("") == []
    assert steps("layers[3].mlp") == ["layers", "3", "mlp"]
    assert [is_pattern(p) for p in ("layers[3]", "layers.*", "layers.[ab]", "a?")] == [False, True, True, True]


def test_choices_are_paths_tuples_and_predicates():
    assert means(("a", lambda path, part: part == 3), "b", 3)
    assert not means(("a", "c"), "b", 3)


def test_one_pattern_freezes_masks_groups_and_captures_the_same_parts(model):
    pattern = "layers[0].layers.*.q_proj"
    meant = {p for p in px.paths(model) if ".q_proj." in p}
    x = jnp.ones((3, 4))
    frozen = px.freeze(px.copy(model), pattern)
    assert set(px.split(model)[0]) - set(px.split(frozen)[0]) == meant
    trained = px.copy(model)
    opt = px.Optimizer(px.optim.groups([(pattern, px.optim.Descent(1.0)), ("*", None)]), trained)
    opt.update(trained, px.map(jnp.ones_like, px.split(trained)[0]))
    before = px.paths(model)
    assert {p for p, w in px.paths(trained).items() if not np.array_equal(w, before[p])} == meant
    assert set(px.capture(model, x, only=pattern)) == {p.rpartition(".")[0] for p in meant}


def test_capture_of_some_gives_what_the_whole_gives(model):
    x = jnp.ones((3, 4))
    whole, some = px.capture(model, x), px.capture(model, x, only=("layers.1", lambda _, m: isinstance(m, Block)))
    assert set(some) == {"layers.0.layers.0", "layers.0.layers.1", "layers.1"}
    for path, y in some.items():
        np.testing.assert_array_equal(y, whole[path])


def test_a_choice_that_means_nothing_called_is_refused(model):
    with pytest.raises(px.StructureError, match=r"px.capture expects a choice .*got 'decoder'"):
        px.capture(model, jnp.ones((3, 4)), only="decoder")


def test_each_choice_of_a_tuple_must_mean_something(model):
    with pytest.raises(px.StructureError, match="got 'decoder'"):
        px.freeze(model, ("layers.0", "decoder"))
    assert set(px.split(px.freeze(model, ("layers.0", "*.bias")))[0]) == {"layers.1.weight"}
