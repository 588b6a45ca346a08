"""What the area takes beside Python: Chromium, and models that are trained quickly."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

import phlox as px
from areas.explore.person import Person

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def chrome():
    """A browser that draws with WebGL, in software."""
    sys.path.insert(0, str(ROOT / "examples" / "deploy"))
    flags = ["--enable-unsafe-swiftshader", "--window-size=1400,1000"]
    with importlib.import_module("chrome").Chrome(flags=flags) as browser:
        yield browser


@pytest.fixture(scope="session")
def person(chrome):
    return Person(chrome)


@pytest.fixture(scope="session")
def cancer():
    """The table of tumours with names, and a network that tells them apart."""
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer(as_frame=True)
    frame = data.data.assign(diagnosis=np.where(data.target == 1, "benign", "malignant"))
    return frame, network(0, frame)


def network(seed, frame):
    """A network that tells tumours apart, trained from a seed."""
    x = frame.drop(columns="diagnosis").to_numpy(np.float32)
    y = (frame.diagnosis == "malignant").to_numpy(np.int32)
    with px.seed(seed):
        model = px.Chain(px.data.Standardize.fit(x), px.Dense(30, 16, px.tanh), px.Dense(16, 2))
    px.fit(
        model, (x, y), loss=px.losses.cross_entropy, optimizer=px.optim.Adam(0.01), epochs=5, seed=seed, progress=False
    )
    return model
