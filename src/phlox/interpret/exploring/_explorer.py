"""``px.interpret.explore``: a page on which a person probes a model."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any

import numpy as np

from phlox.core import RangeError
from phlox.interpret.exploring._observations import Observations, Prepare, Rows
from phlox.interpret.exploring._reading import Asked, read_data
from phlox.interpret.exploring._server import PageServer, require_bokeh
from phlox.interpret.exploring._subject import READINGS, Reading, Subject
from phlox.interpret.exploring._worker import Worker

_WHERE = "px.interpret.explore"
_FEW = 10  # distinct numbers that are slices by themselves
NONE = "—"


class Explorer:
    """A page that probes one model or two, and the server that shows it; ``px.interpret.explore`` makes one.

    Arguments:
        observations: what the models are asked about.
        subjects: the models with their answers.
        classes: names of classes; () where models answer with numbers.
        server: where the page is.
    """

    observations: Observations
    subjects: tuple[Subject, ...]
    classes: tuple[str, ...]
    codes: np.ndarray | None
    worker: Worker

    def __init__(self, observations: Observations, subjects: Sequence[Subject], classes: Sequence[Any] | None):
        self.observations, self.subjects = observations, tuple(subjects)
        first, *others = self.subjects
        for other in others:
            if other.numbers != first.numbers or other.classes != first.classes:
                got = f"{first.name} with {_answers(first)}, {other.name} with {_answers(other)}"
                fix = "compare models that answer the same question; answers= says how they are read"
                raise RangeError("two models with answers of one kind", got=got, fix=fix, where=_WHERE)
        self.classes, self.codes = _classes(observations.target, first, classes)
        self.worker = Worker()
        self._server: PageServer | None = None

    # --- what can be drawn -----------------------------------------------------------------------

    @property
    def names(self) -> list[str]:
        """What can be drawn of each observation."""
        features = list(self.observations.columns) if isinstance(self.observations, Rows) else []
        answers = [f"{what}{of}" for of in self._suffixes() for what in self._whats()]
        apart = ["difference of answers"] if len(self.subjects) > 1 else []
        target = [] if self.observations.target is None else ["target"]
        return [*answers, *apart, *target, *features, *self.observations.known]

    def column(self, name: str, which: int) -> np.ndarray:
        """Numbers or texts of all observations, (rows,).

        Arguments:
            which: the class whose probability the answer is.
        """
        if name == "target" and self.observations.target is not None:
            return self.observations.target if self.codes is None else np.array(self.classes)[self.codes]
        if name == "difference of answers":
            return self.subjects[1].score(which) - self.subjects[0].score(which)
        for subject, of in zip(self.subjects, self._suffixes(), strict=True):
            if name == f"answer{of}":
                return subject.score(which)
            if name == f"predicted{of}":
                return np.array(self.classes)[subject.predicted]
            if name == f"right{of}":
                return np.where(subject.predicted == self.codes, "right", "wrong")
            if name == f"error{of}":
                return subject.scores - np.asarray(self.observations.target, np.float64)
        own = self.observations.columns if isinstance(self.observations, Rows) else {}
        return own[name] if name in own else self.observations.known[name]

    def slices(self, name: str) -> np.ndarray:
        """Names of slices by a column, (rows,): its values where they are few, quarters of its numbers else."""
        column = self.column(name, 0)
        values = np.unique(column[column == column])
        if column.dtype.kind not in "fiub" or len(values) <= _FEW:
            return column.astype(str)
        first, middle, last = np.nanquantile(column.astype(np.float64), [0.25, 0.5, 0.75])
        names = np.array([f"Q1 ≤ {first:.4g}", f"Q2 ≤ {middle:.4g}", f"Q3 ≤ {last:.4g}", f"Q4 > {last:.4g}"])
        return names[np.searchsorted([first, middle, last], column)]

    @property
    def sliceable(self) -> list[str]:
        """Columns by which there are slices that can be told apart on a page."""
        own = self.observations.columns if isinstance(self.observations, Rows) else {}
        known = {**own, **self.observations.known}
        return [name for name, c in known.items() if c.dtype.kind in "fiub" or len(np.unique(c)) <= 2 * _FEW]

    def _whats(self) -> list[str]:
        if not self.classes:
            return ["answer", *(["error"] if self.observations.target is not None else [])]
        return ["answer", "predicted", *(["right"] if self.codes is not None else [])]

    def _suffixes(self) -> list[str]:
        return [""] if len(self.subjects) == 1 else [f" of {subject.name}" for subject in self.subjects]

    # --- where it is -----------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """The page's address."""
        assert self._server is not None
        return self._server.url

    def start(self, host: str = "127.0.0.1", port: int = 0, hosts: Sequence[str] = ()) -> Explorer:
        """Show the page, from a thread beside you.

        Arguments:
            host, port: where the server listens; port 0 for one that is free.
            hosts: further names by which a browser reaches it, such as ``box.local``.
        """
        from phlox.interpret.exploring._page import build

        self._server = PageServer(lambda document: build(document, self), host, port, hosts)
        self._server.start()
        return self

    def stop(self) -> None:
        """Show the page no more."""
        if self._server is not None:
            self._server.stop()
            self._server = None
            self.worker.stop()

    def wait(self) -> None:
        """Show the page until Ctrl-C."""
        assert self._server is not None
        self._server.wait()

    def __enter__(self) -> Explorer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        place = "stopped" if self._server is None else self.url
        names = ", ".join(subject.name for subject in self.subjects)
        return f"Explorer({names}: {self.observations.count} {self.observations.kind}, {place})"

    def _repr_html_(self) -> str:
        return f'<iframe src="{self.url}" style="width: 100%; height: 900px; border: 0"></iframe>'


def explore(
    model: Any,
    data: Any,
    *,
    target: Any = None,
    compare: Any = None,
    classes: Sequence[Any] | None = None,
    answers: Reading | None = None,
    features: Sequence[Any] | None = None,
    text: str | None = None,
    prepare: Prepare = None,
    names: Sequence[str] = ("model", "other model"),
    rows: int = 100_000,
    seed: int = 0,
    host: str = "127.0.0.1",
    port: int = 0,
    hosts: Sequence[str] = (),
) -> Explorer:
    """Open a page on which a person probes a model: data, one observation, decisions, and what they are made of.

    The page draws the data by any feature or answer; one observation is picked, changed, explained and compared with
    the nearest that is answered otherwise; decisions are counted, at thresholds by slice, with measures of fairness.
    It needs no network. The server runs in a thread beside you, and models in another, in inference.

    Arguments:
        model: a Module, or a function of what the data gives.
        data: a pandas frame, a dict of columns, a list of texts, an array (rows, features) or of pictures (rows,
            height, width, channels), a pair of such and what is right, or the path of a .csv, .tsv, .parquet or .npz
            file.
        target: what is right: the name of a column, or (rows,).
        compare: a second model, asked beside the first.
        classes: names of classes, in the order of the model's answers.
        answers: what the model's answers are: "logits", "probabilities" or "numbers"; None to tell by what they are.
        features: the columns that the model takes, in its order; by default all numbers but the target.
        text: the column of texts, where these are what the model reads.
        prepare: makes what the model takes of the data: of a frame for a frame, such as ``px.data.TableEncoder``, of
            a dict of columns for one, of a list of texts, or of pictures.
        names: what the page calls the models.
        rows: of more observations a sample is looked at.
        seed: of the sample.
        host, port: where the server listens; port 0 for one that is free.
        hosts: further names by which a browser reaches it.

    Returns:
        An ``Explorer``; ``explorer.url`` is where the page is, ``explorer.stop()`` or the end of a ``with`` ends it.

    Raises:
        MissingExtraError: Bokeh is not installed. RangeError, ShapeError, FileError: data that the model cannot be
            asked about.

    >>> import numpy as np, phlox as px
    >>> x = np.array([[0.0, 1.0], [2.0, 3.0]], np.float32)
    >>> with px.interpret.explore(px.Dense(2, 2), x, target=[0, 1]) as explorer:
    ...     explorer.url.rpartition(":")[0]
    'http://127.0.0.1'
    """
    require_bokeh(_WHERE)
    if answers is not None and answers not in READINGS:
        fix = "choose one of them, or leave it out"
        raise RangeError(f"answers among {', '.join(READINGS)}", got=repr(answers), fix=fix, where=_WHERE)
    if rows < 2:
        raise RangeError("at least 2 rows", got=repr(rows), fix="leave it out for 100,000", where=_WHERE)
    observations = read_data(data, Asked(target, features, text, prepare, rows, seed))
    count = 0 if classes is None else len(classes)
    models = [model] if compare is None else [model, compare]
    subjects = [Subject(name, one, observations, answers, count) for name, one in zip(names, models, strict=False)]
    return Explorer(observations, subjects, classes).start(host, port, hosts)


def _answers(subject: Subject) -> str:
    return "numbers" if subject.numbers else f"{subject.classes} classes"


def _classes(
    target: np.ndarray | None, subject: Subject, given: Sequence[Any] | None
) -> tuple[tuple[str, ...], np.ndarray | None]:
    """Names of classes, and the number of each observation's class.

    Raises:
        RangeError: names or a target that do not go with the model.
    """
    if subject.numbers:
        if given is not None:
            fix = 'leave classes= out, or say answers="logits"'
            raise RangeError("no classes of a model that answers with numbers", got=repr(given), fix=fix, where=_WHERE)
        if target is not None and target.dtype.kind not in "fiub":
            fix = 'say answers="logits" or "probabilities" for a model of classes'
            raise RangeError("a target of numbers", got=f"texts such as {target[0]!r}", fix=fix, where=_WHERE)
        return (), None
    count = subject.classes
    numbered = target is None or target.dtype.kind in "iub" or (
        target.dtype.kind == "f" and bool((target == np.round(target)).all())
    )  # fmt: skip
    if given is None and target is not None and not numbered:
        given = np.unique(target).tolist()
    names = tuple(map(str, range(count) if given is None else given))
    if len(names) != count or len(set(names)) != count:
        fix = "name the classes in the order of the model's answers: classes=…"
        raise RangeError(f"{count} classes, as the model has", got=", ".join(names), fix=fix, where=_WHERE)
    if target is None:
        return names, None
    codes = target.astype(int) if numbered else np.array([names.index(t) if t in names else -1 for t in target])
    if codes.min() < 0 or codes.max() >= count:
        odd = target[(codes < 0) | (codes >= count)][0]
        fix = "check classes=, and rows without a target"
        raise RangeError(f"a target among {', '.join(names)}", got=repr(odd), fix=fix, where=_WHERE)
    return names, codes
