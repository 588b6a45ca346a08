"""``px.interpret.explore``: a page on which a person probes a model."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any

from phlox.core import RangeError
from phlox.interpret.exploring._observations import Observations, Prepare
from phlox.interpret.exploring._page import build
from phlox.interpret.exploring._probe import Probe
from phlox.interpret.exploring._reading import Asked, read_data
from phlox.interpret.exploring._server import PageServer, require_bokeh
from phlox.interpret.exploring._subject import READINGS, Reading, Subject

_WHERE = "px.interpret.explore"


class Explorer(Probe):
    """A page that probes one model or two, and the server that shows it; ``px.interpret.explore`` makes one.

    Arguments:
        observations, subjects, classes: as of a probe.
    """

    def __init__(self, observations: Observations, subjects: Sequence[Subject], classes: Sequence[Any] | None):
        super().__init__(observations, subjects, classes)
        self._server: PageServer | None = None

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
