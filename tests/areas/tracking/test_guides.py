"""The code of docs/search.md and docs/tracking.md that wants these peers: run as it stands, with fewer trials."""

import re
from pathlib import Path

import pytest

import phlox as px

DOCS = Path(__file__).resolve().parents[3] / "docs"
pytestmark = pytest.mark.filterwarnings("ignore:::mlflow", "ignore::DeprecationWarning", "ignore::FutureWarning")


def blocks(page):
    """The Python of a page, a text for each block."""
    return re.findall(r"^```python\n(.*?)^```", (DOCS / page).read_text("utf-8"), re.DOTALL | re.MULTILINE)


def test_the_search_of_the_page(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    first, second = blocks("search.md")
    assert first.count("trials=30") == 1
    names = {}
    exec(first.replace("trials=30", "trials=3"), names)
    assert "Study('study': 3 done)" in capsys.readouterr().out
    assert (tmp_path / "study.png").stat().st_size > 10_000
    exec(second, names)
    assert len(names["study"].trials) == 3
    assert px.read_run(tmp_path / "runs" / "widths" / "trial-0002").status == "finished"


def test_the_loggers_of_the_page(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mlflow, registry, wandb, catching_up = blocks("tracking.md")
    assert mlflow.count("http://localhost:5000") == 1
    x, y = (part[:64] for part in px.data.digits())
    model = px.Chain(px.Flatten(), px.Dense(64, 10))
    names = {"px": px, "x": x, "y": y, "model": model}
    exec(mlflow.replace("http://localhost:5000", server.url), names)
    exec(registry, names)
    assert (px.predict(names["again"], x) == px.predict(model, x)).all()
    exec(wandb, names)
    assert list(tmp_path.glob("wandb/offline-run-*/*.wandb"))
    (tmp_path / "runs" / "fast").mkdir(parents=True)
    exec(catching_up, names)
