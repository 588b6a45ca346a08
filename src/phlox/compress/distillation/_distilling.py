"""px.compress.distil: a student and its teacher, for px.fit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from phlox.compress._asking import WithMap
from phlox.compress._layers import check_model
from phlox.compress.calibration._watching import Forward, forward_of
from phlox.compress.distillation._distillation import Distillation
from phlox.compress.distillation._pairs import Pairs, adapters_for, as_pairs, heard_of
from phlox.core import Module, RangeError, ShapeError, answering, copy, describe, eval_shape, freeze, testmode
from phlox.losses import mse

_WHERE = "px.compress.distil"


@answering
def distil(
    teacher: Module,
    student: Module,
    example: Any = None,
    *,
    loss: Callable[..., Any] | None = None,
    alpha: float | None = None,
    temperature: float = 2.0,
    logits_loss: Callable[..., Any] | None = None,
    features: str | Iterable[str] | Mapping[str, str] | None = None,
    adapters: Mapping[str, Module] | None = None,
    feature_loss: Callable[..., Any] = mse,
    feature_weight: float = 1.0,
    attention: str | Iterable[str] | Mapping[str, str] | None = None,
    attention_weight: float = 1.0,
    forward: Forward | None = None,
    target: Callable[[Any], Any] | None = None,
    key: Any = None,
) -> Distillation:
    r"""Let a student learn from a teacher: ``px.fit(lesson, data, loss=lesson.loss, …)`` trains it, in place.

    $L = (1 - α) L_{\text{truth}} + α T^2 \, \mathrm{KL}(σ(t / T) \| σ(s / T)) + β L_{\text{features}} + γ
    L_{\text{attention}}$ for scores s of the student and t of the teacher, σ being softmax. Features are compared
    through a map that is learned where the two have other numbers of them. Attention is that of
    ``MultiHeadAttention``, in the mean over heads where these differ in number; of any other layer it is where in space
    it is active, $\sum_c x_c^2$ at length 1. Terms of several layers are added up.

    The teacher is copied, frozen, and infers; the student itself is trained, and nothing is added to it: what
    belongs to the lesson alone, maps among it, ends with it. Where targets are integers, one for each place that is
    scored, those that are negative do not count for the teacher's scores either.

    Arguments:
        teacher, student: models that take the same inputs.
        example: a batch as ``px.fit`` will give it, or an input alone; for features and attention.
        loss: of the truth, ``loss(prediction, target)``; None to learn from the teacher alone, without labels.
        alpha: α in [0, 1]; half by default, and all without a loss.
        temperature: T above 0: the higher, the more the teacher tells of classes that it thinks unlikely.
        logits_loss: a loss of the student's and the teacher's answers in place of the divergence, such as
            ``px.losses.mse`` for numbers.
        features: layers whose results are compared: paths of the student with those of the teacher,
            ``{"blocks.1": "blocks.5"}``, or paths that both have.
        adapters: maps of your own by path in the student, where a ``Dense`` over features is not enough.
        feature_loss, feature_weight: how they are compared, and β.
        attention, attention_weight: layers whose attention is compared, as ``features``, and γ.
        forward: how both are called, ``forward(model, batch)``, where that is not on the first part of a batch.
        target: what is right, ``target(batch)``, for batches that are no (x, y).
        key: where the maps draw their weights from; by default the stream of ``px.seed``.

    Returns:
        A ``Distillation``: a model with ``.student``, ``.teacher``, ``.adapters`` and ``.loss``.

    Raises:
        RangeError: a number outside its range, a path that means no layer, no example where one is needed.
        ShapeError: layers whose results differ in more than the number of features, or attention to other places.
        StructureError: what is no model; layers that can't be heard.

    Source: Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network", 2015; Romero et al., "FitNets:
    hints for thin deep nets", 2015; Zagoruyko and Komodakis, "Paying more attention to attention", 2017; Jiao et al.,
    "TinyBERT: distilling BERT for natural language understanding", 2020.

    >>> import jax.numpy as jnp, phlox as px
    >>> teacher, student = px.Chain(px.Dense(4, 32, px.relu), px.Dense(32, 3)), px.Dense(4, 3)
    >>> lesson = px.compress.distil(teacher, student, loss=px.losses.cross_entropy, temperature=4.0)
    >>> data = [(jnp.ones((2, 4)), jnp.array([0, 2]))]
    >>> history = px.fit(lesson, data, loss=lesson.loss, optimizer=px.optim.Adam(1e-2), epochs=2, progress=False)
    >>> [name for name in history.names if name.endswith("loss")], lesson.student is student
    (['loss', 'truth_loss', 'logits_loss'], True)
    """
    check_model(teacher, _WHERE)
    check_model(student, _WHERE)
    alpha = (1.0 if loss is None else 0.5) if alpha is None else alpha
    _check_numbers(alpha, temperature, feature_weight, attention_weight, loss)
    _check_functions(loss=loss, logits_loss=logits_loss, feature_loss=feature_loss, forward=forward, target=target)
    compared = as_pairs(features, student, teacher, "features")
    attended = as_pairs(attention, student, teacher, "attention")
    teacher = testmode(freeze(copy(teacher)))
    maps: dict[str, Module] = {}
    if compared or attended or adapters:
        maps = _looked_at(
            teacher, student, example, forward_of(forward, _WHERE), compared, attended, adapters or {}, key
        )
    return Distillation(
        student, teacher, maps, truth=loss, alpha=alpha, temperature=temperature, logits_loss=logits_loss,
        features=compared, feature_loss=feature_loss, feature_weight=feature_weight, attention=attended,
        attention_weight=attention_weight, forward=forward, target=target,
    )  # fmt: skip


def _looked_at(
    teacher: Module, student: Module, example: Any, forward: Forward, features: Pairs, attention: Pairs,
    adapters: Mapping[str, Module], key: Any,
) -> dict[str, Module]:  # fmt: skip
    """Adapters for the shapes that layers have on an example, which is not computed with; what can't be is refused."""
    if example is None:
        fix = "pass a batch third, px.compress.distil(teacher, student, x, …)"
        raise RangeError("an example, for features and attention", got="None", fix=fix, where=_WHERE)
    ours = eval_shape(heard_of, student, forward, example, tuple(features), tuple(attention))
    theirs = eval_shape(heard_of, teacher, forward, example, tuple(features.values()), tuple(attention.values()))
    for path, other in attention.items():
        _check_attention(ours[path], theirs[other], path, other)
    return adapters_for(features, adapters, ours, theirs, key)


def _check_attention(ours: Any, theirs: Any, path: str, other: str) -> None:
    """Refuse to compare attention to other places, and layers that attend to nothing."""
    both = isinstance(ours, WithMap), isinstance(theirs, WithMap)
    shapes = [getattr(y.weights if isinstance(y, WithMap) else y, "shape", ()) for y in (ours, theirs)]
    if both[0] != both[1] or (not both[0] and min(map(len, shapes)) < 3):
        got = f"{describe(ours)} at {path} and {describe(theirs)} at {other}"
        fix = "name two layers MultiHeadAttention, or two that give (batch, *space, channels)"
        raise ShapeError("attention by heads, or over places", got=got, fix=fix, where=_WHERE)
    places = [shape[2:] if both[0] else shape[1:-1] for shape in shapes]
    if places[0] != places[1]:
        got = f"{list(places[0])} at {path} and {list(places[1])} at {other}"
        fix = "compare layers that look at as many places"
        raise ShapeError("attention to the same places", got=got, fix=fix, where=_WHERE)


def _check_numbers(alpha: Any, temperature: Any, feature_weight: Any, attention_weight: Any, loss: Any) -> None:
    number = lambda v: isinstance(v, int | float) and not isinstance(v, bool)  # noqa: E731
    below = float("inf")
    for name, value, ok, expected, fix in (
        ("alpha", alpha, number(alpha) and 0 <= alpha <= 1, "within [0, 1]", "0.5 counts truth and teacher alike"),
        ("temperature", temperature, number(temperature) and 0 < temperature < below, "above 0", "2 to 4 is usual"),
        ("feature_weight", feature_weight, number(feature_weight) and 0 <= feature_weight < below, "of at least 0",
         "leave features= out to compare none"),
        ("attention_weight", attention_weight, number(attention_weight) and 0 <= attention_weight < below,
         "of at least 0", "leave attention= out to compare none"),
    ):  # fmt: skip
        if not ok:
            raise RangeError(f"{name} {expected}", got=repr(value)[:100], fix=fix, where=_WHERE)
    if loss is None and alpha < 1:
        fix = "pass loss=px.losses.cross_entropy, or leave alpha out"
        raise RangeError("alpha=1 without a loss of the truth", got=repr(alpha), fix=fix, where=_WHERE)


def _check_functions(**given: Any) -> None:
    for name, value in given.items():
        if value is not None and (not callable(value) or isinstance(value, type)):
            fix = f"pass a function, such as {name}=px.losses.mse" if "loss" in name else f"pass {name}=lambda …"
            raise RangeError(f"{name}= that is a function", got=repr(value)[:100], fix=fix, where=_WHERE)
