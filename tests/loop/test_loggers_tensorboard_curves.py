"""Curves, embeddings and measures of fairness in TensorBoard's files, read back by TensorBoard itself."""

import numpy as np
import pytest
from sklearn import metrics

import phlox as px
from kit import oracle

reader = oracle("tensorboard.backend.event_processing.event_accumulator")
rng = np.random.default_rng(0)
SCORES = rng.uniform(size=200)
TARGET = (rng.uniform(size=200) < SCORES).astype(int)
SLICES = np.array(["f", "m"])[rng.integers(0, 2, 200)]
VECTORS = rng.normal(size=(6, 3))
PICTURES = rng.uniform(size=(6, 4, 4, 1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What a callback wrote during a fit of one step."""
    where = tmp_path_factory.mktemp("curves")
    board = px.TensorBoardLogger(where, histograms=0, graph=False)

    def write(run):
        board.log_pr_curve("answers", SCORES, TARGET, thresholds=11)
        board.log_scalars(run.step, px.interpret.fairness(SCORES, TARGET, SLICES).numbers("what-if"))
        columns = {"kind": ["a\tb", "c", "d", "e", "f", "g"], "age": range(6)}
        board.log_embedding("points", VECTORS, columns, PICTURES)
        board.log_embedding("plain", VECTORS, list("uvwxyz"))

    px.fit(
        px.Dense(2, 1, key=0), (np.ones((4, 2), np.float32), np.ones((4, 1), np.float32)), loss=px.losses.mse,
        optimizer=px.optim.Descent(0.1), batch_size=4, epochs=1, progress=False,
        callbacks=[board, px.LambdaCallback(on_epoch_end=write)],
    )  # fmt: skip
    return where


def test_the_curve_is_scikit_learns_at_each_threshold(folder):
    events = reader.EventAccumulator(str(folder), size_guidance={"tensors": 0}).Reload()
    [event] = events.Tensors("answers")
    plugin = events.SummaryMetadata("answers").plugin_data
    assert plugin.plugin_name == "pr_curves"
    data = oracle("tensorboard.plugins.pr_curve.metadata").parse_plugin_metadata(plugin.content)
    assert data.num_thresholds == 11
    shape = [d.size for d in event.tensor_proto.tensor_shape.dim]
    tp, fp, tn, fn, precision, recall = np.reshape(event.tensor_proto.float_val, shape)
    for i, threshold in enumerate(np.linspace(0, 1, 11)):
        called = threshold <= SCORES
        matrix = metrics.confusion_matrix(TARGET, called, labels=[0, 1])
        assert [[tn[i], fp[i]], [fn[i], tp[i]]] == matrix.tolist()
        if called.any():
            np.testing.assert_allclose(precision[i], metrics.precision_score(TARGET, called), rtol=1e-6)
            np.testing.assert_allclose(recall[i], metrics.recall_score(TARGET, called), rtol=1e-6)


def test_measures_of_fairness_are_scalars(folder):
    events = reader.EventAccumulator(str(folder)).Reload()
    found = px.interpret.fairness(SCORES, TARGET, SLICES)
    [event] = events.Scalars("what-if/demographic_parity_difference")
    np.testing.assert_allclose(event.value, found.demographic_parity_difference, rtol=1e-6)
    for i, name in enumerate(("f", "m")):
        [event] = events.Scalars(f"what-if/{name}/true_positive_rate")
        np.testing.assert_allclose(event.value, found.true_positive_rate[i], rtol=1e-6)


def test_vectors_labels_and_pictures_are_what_the_projector_reads(folder):
    config = oracle("tensorboard.plugins.projector.projector_config_pb2").ProjectorConfig()
    oracle("google.protobuf.text_format").Parse((folder / "projector_config.pbtxt").read_text(), config)
    points, plain = config.embeddings
    assert points.tensor_name.startswith("points")
    np.testing.assert_allclose(np.loadtxt(folder / points.tensor_path), VECTORS, rtol=1e-12)
    lines = (folder / points.metadata_path).read_text().splitlines()
    assert lines == ["kind\tage", *(f"{kind}\t{age}" for age, kind in enumerate(["a b", *"cdefg"]))]
    assert (folder / plain.metadata_path).read_text().split() == list("uvwxyz")
    sprite = oracle("PIL.Image").open(folder / points.sprite.image_path)
    assert list(points.sprite.single_image_dim) == [4, 4]
    first = np.asarray(sprite.convert("RGB"))[:4, :4]
    assert np.abs(first - 255 * PICTURES[0]).max() <= 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda b: b.log_pr_curve("a", [0.5, 2], [0, 1]), "expects scores in [0, 1] and targets of 0 and 1, got"),
        (lambda b: b.log_pr_curve("a", [0.5, 1], [0]), "expects target (count,), got int64[1]"),
        (lambda b: b.log_pr_curve("a", [0.5, 1], [0, 1], thresholds=200), "expects 2 to 127 thresholds, got 200"),
        (lambda b: b.log_embedding("a", VECTORS, ["x"]), "expects 6 of label, got 1"),
        (lambda b: b.log_embedding("a", VECTORS, images=PICTURES[:, :3]), "expects pictures (6, side, side, channels)"),
        (lambda b: b.log_embedding("a", VECTORS[0]), "expects vectors (count, size), got float64[3]"),
    ],
)
def test_what_does_not_go_together_is_told(call, message, tmp_path):
    with pytest.raises(px.PhloxError) as caught:
        call(px.TensorBoardLogger(tmp_path))
    assert message in str(caught.value)
    assert not list(tmp_path.iterdir())
