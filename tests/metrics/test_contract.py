"""Every metric against scikit-learn or SciPy, and the protocol: batches, merging, compiling, devices, saving."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import assert_close, oracle
from phlox import metrics as M

sk = oracle("sklearn.metrics")
stats, special = oracle("scipy.stats"), oracle("scipy.special")

N, SIZE = 20, 12  # examples, and a batch: the second one is padded
RNG = np.random.default_rng(0)
W = RNG.uniform(0.25, 2, N).astype("float32")
MASK = RNG.uniform(size=N) < 0.7
C = 5  # classes; 3 is predicted only, 4 is in neither
SCORES = RNG.normal(size=(N, C)).astype("float32") - np.array([0, 0, 0, 0, 50], "float32")
PROBS = np.exp(SCORES) / np.exp(SCORES).sum(-1, keepdims=True)
CLASSES = RNG.integers(0, 3, N)
TOLD = SCORES.argmax(-1)
ALL_SCORES = RNG.normal(size=(N, 3)).astype("float32")
ALL_PROBS = np.exp(ALL_SCORES) / np.exp(ALL_SCORES).sum(-1, keepdims=True)
YES = (RNG.integers(0, 8, N) + 0.5).astype("float32") / 8  # with ties, each in the middle of one of 8 bins
TRUTH = RNG.integers(0, 2, N)
LOGITS = (np.log(YES) - np.log1p(-YES)).astype("float32")
LABEL_P = (RNG.integers(0, 8, (N, 3)) + 0.5).astype("float32") / 8
LABELS = RNG.integers(0, 2, (N, 3))
X = (RNG.normal(size=N) + 30).astype("float32")
Y = (X + RNG.normal(size=N)).astype("float32")
X2, Y2 = (np.stack([a, a[::-1] ** 2], axis=-1) for a in (X, Y))
RANKED = np.round(X * 2) / 2  # with ties
GRADES = RNG.integers(0, 4, (N, C))


def weighted_pearson(x, y, w):
    cov = np.cov(x.astype("float64"), y.astype("float64"), aweights=w)
    return cov[0, 1] / np.sqrt(cov[0, 0] * cov[1, 1])


def calibration(p, right, w, bins, norm):
    """By the definition, bin by bin."""
    at = np.clip(np.ceil(p.astype("float64") * bins - 1e-9) - 1, 0, bins - 1)
    gaps = [(w[at == b].sum(), abs(np.average(right[at == b] - p[at == b], weights=w[at == b]))) for b in set(at)]
    share, gap = np.array(gaps, "float64").T
    return {"l1": np.average(gap, weights=share), "l2": np.average(gap**2, weights=share) ** 0.5, "max": gap.max()}[
        norm
    ]


def score(fn, average, **options):
    if average is None:
        options["labels"] = range(C)
    return lambda p, t, w: fn(t, p, average=average, sample_weight=w, zero_division=0, **options)


def by_class(p, t, w, fn=sk.precision_score):
    return fn(t, p.argmax(-1), average=None, labels=range(C), sample_weight=w, zero_division=0)


CASES = {
    "accuracy": (M.Accuracy(), SCORES, CLASSES, W, lambda p, t, w: sk.accuracy_score(t, TOLD, sample_weight=w)),
    "accuracy of classes": (M.Accuracy(), TOLD, CLASSES, W, lambda p, t, w: sk.accuracy_score(t, p, sample_weight=w)),
    "accuracy, no weights": (M.Accuracy(), TOLD, CLASSES, None, lambda p, t, w: sk.accuracy_score(t, p)),
    "accuracy under a mask": (M.Accuracy(), TOLD, CLASSES, MASK, lambda p, t, w: sk.accuracy_score(t[w], p[w])),
    "top 2": (
        M.TopKAccuracy(2), SCORES, CLASSES, W,
        lambda p, t, w: sk.top_k_accuracy_score(t, p, k=2, labels=range(C), sample_weight=w),
    ),
    "yes or no": (
        M.BinaryAccuracy(threshold=0.3), YES, TRUTH, W, lambda p, t, w: sk.accuracy_score(t, p > 0.3, sample_weight=w)
    ),
    "yes or no by logits": (
        M.BinaryAccuracy(threshold=0.3, logits=True), LOGITS, TRUTH, W,
        lambda p, t, w: sk.accuracy_score(t, YES > 0.3, sample_weight=w),
    ),
    "label by label": (
        M.BinaryAccuracy(), LABEL_P, LABELS, W, lambda p, t, w: 1 - sk.hamming_loss(t, p > 0.5, sample_weight=w)
    ),
    "all labels": (
        M.MultilabelAccuracy(), LABEL_P, LABELS, W, lambda p, t, w: sk.accuracy_score(t, p > 0.5, sample_weight=w)
    ),
    "precision": (M.Precision(), YES, TRUTH, W, lambda p, t, w: sk.precision_score(t, p > 0.5, sample_weight=w)),
    "recall by logits": (
        M.Recall(logits=True, threshold=0.3), LOGITS, TRUTH, W,
        lambda p, t, w: sk.recall_score(t, YES > 0.3, sample_weight=w),
    ),
    "precision per class": (M.Precision(classes=C, average=None), SCORES, CLASSES, W, by_class),
    "precision, macro": (M.Precision(classes=C), TOLD, CLASSES, W, score(sk.precision_score, "macro")),
    "precision, weighted": (
        M.Precision(classes=C, average="weighted"), TOLD, CLASSES, W, score(sk.precision_score, "weighted")
    ),
    "recall, macro": (M.Recall(classes=C), TOLD, CLASSES, W, score(sk.recall_score, "macro")),
    "recall, weighted": (M.Recall(classes=C, average="weighted"), TOLD, CLASSES, W, score(sk.recall_score, "weighted")),
    "f1, macro": (M.F1(classes=C), TOLD, CLASSES, W, score(sk.f1_score, "macro")),
    "f1, weighted": (M.F1(classes=C, average="weighted"), TOLD, CLASSES, W, score(sk.f1_score, "weighted")),
    "f1, micro": (M.F1(classes=C, average="micro"), TOLD, CLASSES, W, score(sk.f1_score, "micro")),
    "f2 per class": (M.FBeta(2.0, classes=C, average=None), TOLD, CLASSES, W, score(sk.fbeta_score, None, beta=2)),
    "f half of labels": (
        M.FBeta(0.5, labels=3), LABEL_P, LABELS, W,
        lambda p, t, w: sk.fbeta_score(t, p > 0.5, beta=0.5, average="macro", sample_weight=w),
    ),
    "precision of labels, micro": (
        M.Precision(labels=3, average="micro"), LABEL_P, LABELS, W,
        lambda p, t, w: sk.precision_score(t, p > 0.5, average="micro", sample_weight=w),
    ),
    "confusion": (
        M.ConfusionMatrix(C), SCORES, CLASSES, W,
        lambda p, t, w: sk.confusion_matrix(t, TOLD, labels=range(C), sample_weight=w),
    ),
    **{
        f"confusion by {by}": (
            M.ConfusionMatrix(C, normalize=by), TOLD, CLASSES, W,
            lambda p, t, w, by=by: sk.confusion_matrix(t, p, labels=range(C), sample_weight=w, normalize=by),
        )
        for by in ("true", "pred", "all")
    },
    "mean IoU": (
        M.MeanIoU(C), TOLD, CLASSES, W, lambda p, t, w: sk.jaccard_score(t, p, average="macro", sample_weight=w)
    ),
    **{
        f"kappa, {by}": (
            M.CohenKappa(C, weights=by), TOLD, CLASSES, W,
            lambda p, t, w, by=by: sk.cohen_kappa_score(t, p, weights=by, labels=range(C), sample_weight=w),
        )
        for by in (None, "linear", "quadratic")
    },
    "Matthews": (
        M.MatthewsCorrelation(C), TOLD, CLASSES, W, lambda p, t, w: sk.matthews_corrcoef(t, p, sample_weight=w)
    ),
    "mean of a loss": (
        M.Mean(px.losses.mse), X, Y, W, lambda p, t, w: sk.mean_squared_error(t, p, sample_weight=w)
    ),
    "perplexity": (
        M.Perplexity(), PROBS, CLASSES, W,
        lambda p, t, w: np.exp(-np.average(np.log(p[range(N), t].astype("float64")), weights=w)),
    ),
    "perplexity by logits": (
        M.Perplexity(logits=True), SCORES, CLASSES, W,
        lambda p, t, w: np.exp(sk.log_loss(t, special.softmax(p.astype(float), -1), labels=range(C), sample_weight=w)),
    ),
    "MSE": (M.MeanSquaredError(), X, Y, W, lambda p, t, w: sk.mean_squared_error(t, p, sample_weight=w)),
    "RMSE": (M.RootMeanSquaredError(), X, Y, W, lambda p, t, w: sk.root_mean_squared_error(t, p, sample_weight=w)),
    "MAE": (M.MeanAbsoluteError(), X, Y, W, lambda p, t, w: sk.mean_absolute_error(t, p, sample_weight=w)),
    "R2": (M.R2Score(), X, Y, W, lambda p, t, w: sk.r2_score(t, p, sample_weight=w)),
    "R2 of columns": (M.R2Score(outputs=2), X2, Y2, W, lambda p, t, w: sk.r2_score(t, p, sample_weight=w)),
    "Pearson": (M.PearsonCorrelation(), X, Y, W, weighted_pearson),
    "Pearson, no weights": (
        M.PearsonCorrelation(), X, Y, None, lambda p, t, w: stats.pearsonr(p.astype("float64"), t).statistic
    ),
    "Spearman": (
        M.SpearmanCorrelation(capacity=16), RANKED, np.round(Y), MASK,
        lambda p, t, w: stats.spearmanr(p[w], t[w]).statistic,
    ),
    **{
        f"calibration, {norm}": (
            M.CalibrationError(8, norm=norm), YES * 0.9, TRUTH, W,
            lambda p, t, w, norm=norm: calibration(p, t, w, 8, norm),
        )
        for norm in ("l1", "l2", "max")
    },
    "calibration of classes": (
        M.CalibrationError(4, classes=True, logits=True), SCORES, CLASSES, W,
        lambda p, t, w: calibration(PROBS.max(-1), (t == TOLD).astype("float32"), w, 4, "l1"),
    ),
    "ROC area": (
        M.ROCAUC(capacity=32), YES, TRUTH, W, lambda p, t, w: sk.roc_auc_score(t, p, sample_weight=w)
    ),
    "ROC area in bins": (
        M.ROCAUC(bins=8), YES, TRUTH, W, lambda p, t, w: sk.roc_auc_score(t, p, sample_weight=w)
    ),
    "ROC area of labels": (
        M.ROCAUC(bins=8, labels=3, average="weighted"), LABEL_P, LABELS, W,
        lambda p, t, w: sk.roc_auc_score(t, p, average="weighted", sample_weight=w),
    ),
    "ROC area of classes": (
        M.ROCAUC(capacity=20, classes=3, logits=True), ALL_SCORES, CLASSES, W,
        lambda p, t, w: np.mean([sk.roc_auc_score(t == c, p[:, c], sample_weight=w) for c in range(3)]),
    ),
    "ROC area, each against the rest": (
        M.ROCAUC(capacity=20, classes=3), ALL_PROBS, CLASSES, None,
        lambda p, t, w: sk.roc_auc_score(t, p, multi_class="ovr"),
    ),
    "average precision": (
        M.AveragePrecision(capacity=20), YES, TRUTH, W,
        lambda p, t, w: sk.average_precision_score(t, p, sample_weight=w),
    ),
    "average precision per label": (
        M.AveragePrecision(bins=8, labels=3, average=None), LABEL_P, LABELS, W,
        lambda p, t, w: sk.average_precision_score(t, p, average=None, sample_weight=w),
    ),
    "NDCG of three": (
        M.RetrievalNDCG(3), SCORES, GRADES, W, lambda p, t, w: sk.ndcg_score(t, p, k=3, sample_weight=w)
    ),
    "mean average precision of queries": (
        M.RetrievalMAP(empty="skip"), SCORES, GRADES > 1, MASK,
        lambda p, t, w: np.mean(
            [sk.average_precision_score(a, b) for a, b in zip(t[w], p[w], strict=True) if a.any()]
        ),
    ),
}  # fmt: skip


def batches(p, t, w):
    """Two batches of one shape: the second is filled up with nonsense of no weight, and its mask says so."""
    w = np.ones(len(p), bool) if w is None else w
    pad = 2 * SIZE - len(p)
    nonsense = np.full((pad, *p.shape[1:]), np.nan if p.dtype.kind == "f" else -7, p.dtype)
    target = np.full((pad, *t.shape[1:]), np.nan if t.dtype.kind == "f" else -7, t.dtype)
    full = [np.concatenate(pair) for pair in ((p, nonsense), (t, target), (w, np.zeros(pad, w.dtype)))]
    return [tuple(jnp.asarray(a[i : i + SIZE]) for a in full) for i in (0, SIZE)]


def together(parts):
    """Batches of one shape behind one another, along a new first axis."""
    return tuple(jnp.stack(arrays) for arrays in zip(*parts, strict=True))


def assert_same_state(ours, theirs):
    """Sums as one number each, to the rounding of a batch's own float32 sums; what is kept, exactly."""
    is_kept = hasattr(ours, "seen") and ours.seen is not None
    for path, x in px.state_dict(ours).items():
        want = px.state_dict(theirs)[path]
        if is_kept:
            np.testing.assert_array_equal(x, want, err_msg=path)
        else:
            assert_close(jnp.sum(jnp.atleast_1d(x), axis=0), jnp.sum(jnp.atleast_1d(want), axis=0), what=path)


def scanned(metric, stacked):
    """A scan over batches, and what it comes to."""

    def body(metric, part):
        metric.update(*part)
        return metric, 0

    px.scan(body, metric, stacked)
    return metric.compute()


FIRST = {type(case[0]): name for name, case in reversed(CASES.items())}.values()  # one case of each class


@pytest.mark.parametrize("name", CASES)
def test_metric(name):
    """The oracle's value from two batches; the same compiled, in a scan; through a file; nothing after a reset."""
    metric, p, t, w, oracle_of = CASES[name]
    want = np.asarray(oracle_of(p, t, w))
    parts = batches(p, t, w)
    metric, compiled = px.copy(metric), px.copy(metric)
    for part in parts:
        metric.update(*part)
    got = metric.compute()
    assert got.dtype == jnp.float32
    assert_close(got, want, what=name)
    if name in FIRST:
        assert_close(px.jit(scanned)(compiled, together(parts)), want, what="compiled scan")
        assert_same_state(compiled, metric)

    saved = {path: np.asarray(x) for path, x in px.state_dict(metric).items()}
    assert px.split(metric)[0] == {}  # nothing to train
    metric.reset()
    if not isinstance(metric, (M.ConfusionMatrix, M.Precision, M.Recall, M.FBeta)):
        assert np.isnan(metric.compute()).all()
    assert px.load_state_dict(metric, saved).complete
    np.testing.assert_array_equal(metric.compute(), got)


FORMS = [  # one for each way in which statistics are made and combined
    *("accuracy", "f1, macro", "confusion", "mean of a loss", "R2 of columns", "Pearson", "Spearman"),
    *("calibration, l2", "ROC area of labels", "average precision"),
]


@pytest.mark.parametrize("name", FORMS)
def test_merging_and_places_of_an_axis_give_the_whole(name):
    metric, p, t, w, oracle_of = CASES[name]
    want, parts = np.asarray(oracle_of(p, t, w)), batches(p, t, w)
    first, second, spread = (px.copy(metric) for _ in range(3))
    first.update(*parts[0])
    second.update(*parts[1])
    before = px.state_dict(second)
    assert_close(M.merge(second, first, px.copy(metric)).compute(), want, what="merged the other way round")
    assert all((before[path] == x).all() for path, x in px.state_dict(second).items())

    def place(metric, p, t, w):
        metric.update(p, t, w, axis_name="places")

    px.jit(px.vmap(place, in_axes=(None, 0, 0, 0), axis_name="places"))(spread, *together(parts))
    first.merge(second)
    assert_close(spread.compute(), want, what="two places")
    assert_same_state(spread, first)


def test_one_trace_serves_all_batches():
    traces = []

    @px.jit
    def step(metric, p, t, w):
        traces.append(1)
        metric.update(p, t, w)

    metric = M.F1(classes=C)
    for part in batches(SCORES, CLASSES, W) * 2:
        step(metric, *part)
    assert len(traces) == 1
    assert_close(metric.compute(), sk.f1_score(CLASSES, TOLD, average="macro", sample_weight=W))


def test_counts_go_on_beyond_what_float32_counts_to():
    """2^24 + 1 is no float32; merging counts of 3 · 2^24 keeps every one of them, and so does adding one by one."""
    metric = M.Accuracy()
    metric.update(jnp.zeros(1, int), jnp.zeros(1, int))
    metric.count = metric.correct = jnp.array([2.0**24, 0.0])
    metric.update(jnp.array([0]), jnp.array([1]))
    for _ in range(3):
        metric.update(jnp.array([0]), jnp.array([0]))
    sums = {name: np.asarray(x, "float64").sum() for name, x in px.state_dict(metric).items()}
    assert sums == {"count": 2**24 + 4, "correct": 2**24 + 3}
    for _ in range(3):
        metric.merge(px.copy(metric))
    assert np.asarray(metric.count, "float64").sum() == 8 * (2**24 + 4)
    assert np.asarray(metric.correct, "float64").sum() == 8 * (2**24 + 3)


def test_a_large_batch_counts_exactly():
    from phlox.metrics import _sums

    for n in (0, 1, 2**24 + 1, 2**31 - 1, 123_456_789):
        assert np.asarray(_sums.exact(jnp.int32(n)), "float64").sum() == n
    total = _sums.zeros()
    for x in (1e8, 1.0, -1e8, 2.0**-20):
        total = _sums.plus(total, _sums.exact(jnp.float32(x)))
    assert float(_sums.total(total)) == 1.0 + 2.0**-20
    infinite = _sums.plus(_sums.exact(jnp.float32(np.inf)), _sums.exact(jnp.float32(1)))
    assert np.isposinf(_sums.total(infinite))


def test_a_mesh_of_devices_merges_by_the_pure_view():
    """Under plain JAX the metric is a function of its State: the same update inside ``shard_map``."""
    mesh, parts = jax.sharding.Mesh(np.array(jax.devices()), ("devices",)), batches(SCORES, CLASSES, W)
    everywhere, cut = jax.sharding.PartitionSpec(), jax.sharding.PartitionSpec("devices")
    metric = M.F1(classes=C)

    def update(state, p, t, w):
        return px.apply(metric, {}, state, p, t, w, method="update", axis_name="devices")[1]

    specs = (everywhere, cut, cut, cut)
    sharded = jax.jit(jax.shard_map(update, mesh=mesh, in_specs=specs, out_specs=everywhere))
    state = px.split(metric)[1]
    for part in parts:
        state = sharded(state, *part)
    want = sk.f1_score(CLASSES, TOLD, average="macro", sample_weight=W)
    assert_close(px.merge(metric, {}, state).compute(), want)


def test_a_collection_updates_all_and_feeds_what_has_its_own_numbers():
    metrics = M.Metrics(accuracy=M.Accuracy(), f1=M.F1(classes=C), loss=M.Mean())
    part = M.Metrics(accuracy=M.Accuracy(), f1=M.F1(classes=C), loss=M.Mean())
    first, second = batches(SCORES, CLASSES, W)
    metrics.update(*first, loss=jnp.array(1.0))
    part.update(*second, loss=(jnp.array(4.0), jnp.array(3)))
    merged = M.merge(metrics, part)
    values = merged.compute()
    assert list(values) == list(merged) == ["accuracy", "f1", "loss"]
    assert_close(values["accuracy"], sk.accuracy_score(CLASSES, TOLD, sample_weight=W))
    assert_close(values["f1"], sk.f1_score(CLASSES, TOLD, average="macro", sample_weight=W))
    assert float(values["loss"]) == (1 + 3 * 4) / 4
    assert float(metrics["loss"].compute()) == 1.0  # merge leaves its parts alone
    merged.reset()
    assert np.isnan(merged.compute()["loss"])
    before = px.state_dict(metrics)
    with pytest.raises(px.PhloxError):
        metrics.update(first[0], first[1], loss=jnp.array(1j))  # the last member refuses: none has taken in
    assert all((before[path] == x).all() for path, x in px.state_dict(metrics).items())
    with pytest.raises(px.RangeError, match=r"Metrics.update expects values for members, got lose"):
        metrics.update(*first, lose=jnp.array(1.0))
    with pytest.raises(px.RangeError, match=r"got none"):
        M.Metrics()
