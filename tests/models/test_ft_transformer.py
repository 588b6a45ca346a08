"""FT-Transformer beside its authors' package, and at work on a table."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

import phlox as px
from hub import BARS, agrees, covered, distance, gradients, in_dtype, note
from kit import oracle
from phlox.models._catalogue import family_of

torch, safetensors = oracle("torch"), oracle("safetensors.torch")
rtdl = oracle("rtdl_revisiting_models")

FIELDS = ("n_cont_features", "n_blocks", "d_block", "attention_n_heads", "ffn_d_hidden_multiplier", "ffn_d_hidden")


def table(config, rows=5, seed=0):
    """Random rows: numbers and categories, None for what the table lacks."""
    rng = np.random.default_rng(seed)
    counts = config.cat_cardinalities
    numbers = rng.normal(size=(rows, config.n_cont_features)).astype(np.float32) if config.n_cont_features else None
    return numbers, rng.integers(0, counts, (rows, len(counts))) if counts else None


def pair_of(folder, **options):
    """A model of theirs with biases and scales that hide nothing, and ours, loaded from its file."""
    rates = {name: options.pop(name, 0.0) for name in ("attention_dropout", "ffn_dropout", "residual_dropout")}
    config = px.models.FTTransformerConfig(**options, **rates)
    torch.manual_seed(0)
    names = {name: getattr(config, name) for name in FIELDS}
    if config.ffn_d_hidden is not None:
        names["ffn_d_hidden_multiplier"] = None
    theirs = rtdl.FTTransformer(
        **names, **rates, cat_cardinalities=list(config.cat_cardinalities), d_out=config.classes or None
    )  # fmt: skip
    with torch.no_grad():
        for name, x in theirs.named_parameters():
            if name.endswith(".bias") or "normalization" in name:
                x.add_(0.3 * torch.randn(x.shape))
    (folder / "config.json").write_text(json.dumps(config.to_dict()))
    safetensors.save_file(theirs.state_dict(), folder / "model.safetensors", {"format": "pt"})
    return theirs, px.models.load(folder)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ft")
    rates = {"attention_dropout": 0.3, "ffn_dropout": 0.3, "residual_dropout": 0.3}
    sizes = {"n_cont_features": 3, "cat_cardinalities": (2, 5), "d_block": 12, "attention_n_heads": 2, "classes": 4}
    return pair_of(folder, n_blocks=2, **sizes, **rates)


def against(theirs, ours, dtype):
    """Scores where no dropout acts; in float64 the gradients of all weights too."""
    names = family_of(ours.config, "test").names_of("rtdl", ours.config)
    numbers, categories = table(ours.config)
    with in_dtype(dtype):
        ours = px.testmode((px.f64 if dtype == "float64" else px.f32)(px.copy(ours)))
        theirs = theirs.eval().to(getattr(torch, dtype))
        given = None if numbers is None else jnp.asarray(numbers, dtype)
        weights = np.random.default_rng(1).normal(size=(5, ours.config.classes or ours.width))

        @px.jit
        def both(model, numbers, categories):
            def loss(model):
                scores = model(numbers, categories)
                return (scores * jnp.asarray(weights, dtype)).sum(), scores

            if dtype == "float32":
                return loss(model)[1], None
            grads, scores = px.grad(loss, has_aux=True)(model)
            return scores, grads

        scores, grads = both(ours, given, categories)
        kind = getattr(torch, dtype)
        cont = None if numbers is None else torch.tensor(numbers).to(kind)
        want = theirs(cont, None if categories is None else torch.tensor(categories))
        theirs.zero_grad()
        (want * torch.tensor(weights).to(kind)).sum().backward()
        seen = {"scores": agrees(scores, want.detach().numpy(), "scores", BARS[dtype]["value"])}
        if grads is not None:
            named = dict(theirs.named_parameters())
            there = {n: np.zeros(p.shape) if p.grad is None else p.grad.numpy() for n, p in named.items()}
            seen["gradients"] = gradients(names.to_theirs(grads), there, BARS[dtype]["grad"])
    note(ours, "its authors' package", **{f"{what} {dtype}": value for what, value in seen.items()})


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numbers_and_categories_answer_and_learn_as_the_authors(pair, dtype):
    against(*pair, dtype)


@pytest.mark.parametrize(
    "options",
    [
        {"n_cont_features": 4, "n_blocks": 1, "attention_n_heads": 1, "classes": 1, "ffn_d_hidden": 7},
        {"cat_cardinalities": (3,), "n_blocks": 1, "attention_n_heads": 4, "classes": 0},
    ],
    ids=["numbers alone, one block, one head", "categories alone, without a head"],
)
def test_tables_of_one_kind(tmp_path, options):
    against(*pair_of(tmp_path, d_block=8, **options), "float64")


def test_written_here_and_loaded_there(pair, tmp_path):
    theirs, ours = pair
    px.models.save(ours, tmp_path)
    theirs.float().eval().load_state_dict(safetensors.load_file(tmp_path / "model.safetensors"))
    numbers, categories = table(ours.config, seed=3)
    want = theirs(torch.tensor(numbers), torch.tensor(categories)).detach().numpy()
    agrees(px.jit(px.models.load(tmp_path))(numbers, categories), want, "scores", 1e-5)


@pytest.mark.parametrize("depth", [1, 3])
def test_sizes_and_rates_by_depth_are_the_authors(depth):
    want = rtdl.FTTransformer.get_default_kwargs(depth)
    config = px.models.FTTransformerConfig(n_cont_features=5, cat_cardinalities=(3, 4), classes=2).of_depth(depth)
    del want["_is_default"]
    assert {name: getattr(config, name) for name in want} == want
    theirs = rtdl.FTTransformer(n_cont_features=5, cat_cardinalities=[3, 4], d_out=2, **want)
    made = px.eval_shape(lambda: px.models.FTTransformer(config))
    covered(made)
    sizes = [x.size for x in px.paths(made).values() if jnp.issubdtype(x.dtype, jnp.floating)]
    assert sum(sizes) == sum(p.numel() for p in theirs.parameters())
    if depth == 3:
        assert config == px.models.FTTransformerConfig(n_cont_features=5, cat_cardinalities=(3, 4), classes=2)


@pytest.mark.parametrize("rate", ["attention_dropout", "ffn_dropout", "residual_dropout"])
def test_each_dropout_stands_in_training_where_the_authors_have_it(tmp_path, rate):
    """At a rate of one nothing is left to chance: all that a dropout stands behind is gone."""
    sizes = {"n_cont_features": 3, "n_blocks": 1, "d_block": 8, "attention_n_heads": 2}
    theirs, ours = pair_of(tmp_path, **sizes, **{rate: 1.0})
    numbers, _ = table(ours.config)
    want = theirs.train()(torch.tensor(numbers), None).detach().numpy()
    assert distance(theirs.eval()(torch.tensor(numbers), None).detach(), want) > 1e-2
    agrees(px.jit(px.trainmode(ours))(numbers), want, rate, 1e-5)


@pytest.mark.parametrize(
    ("numbers", "categories", "text"),
    [
        (None, np.ones((2, 2), int), "numbers of shape (batch, 3), got none"),
        (np.ones((2, 3)), None, "categories of shape (batch, 2), got none"),
        (np.ones((2, 4)), np.ones((2, 2), int), "numbers of shape (batch, 3), got float64[2, 4]"),
    ],
)
def test_a_table_of_other_columns_is_refused(pair, numbers, categories, text):
    with pytest.raises(px.ShapeError) as caught:
        pair[1](numbers, categories)
    assert text in str(caught.value)


def test_a_table_without_columns_and_depths_without_sizes_are_refused():
    with pytest.raises(px.RangeError, match="at least one column, got n_cont_features=0"):
        px.models.FTTransformerConfig()
    with pytest.raises(px.RangeError, match="at least one category in each column"):
        px.models.FTTransformerConfig(cat_cardinalities=(3, 0))
    with pytest.raises(px.RangeError, match="from 1 to 6 blocks, got 7"):
        px.models.FTTransformerConfig(n_cont_features=1).of_depth(7)


def test_it_tells_breast_cancer_as_well_as_a_linear_model():
    x, y = load_breast_cancer(return_X_y=True)
    x, y, train = x[:, :10].astype(np.float32), y.astype(np.int32), np.arange(len(y)) % 3 > 0
    x = StandardScaler().fit(x[train]).transform(x)
    linear = LogisticRegression().fit(x[train], y[train]).score(x[~train], y[~train])
    px.seed(0)
    sizes = {"n_blocks": 1, "d_block": 16, "attention_n_heads": 2}
    model = px.models.FTTransformer(px.models.FTTransformerConfig(n_cont_features=10, classes=2, **sizes))
    px.fit(
        model, (x[train], y[train]), loss=px.losses.cross_entropy, optimizer=px.optim.AdamW(1e-2),
        batch_size=64, epochs=10, progress=False,
    )  # fmt: skip
    accuracy = (np.asarray(px.predict(model, x[~train])).argmax(1) == y[~train]).mean()
    assert accuracy > max(0.9, linear - 0.02), (accuracy, linear)
