"""What the area takes beside Python: npm's packages in build/browser, Chromium, and a network that trains quickly."""

import hashlib
import importlib
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import phlox as px

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
BUILD = ROOT / "build" / "browser"
LOCK = "package-lock.json"


@pytest.fixture(scope="session")
def packages():
    """npm's packages as they are locked; installed anew where the lock has changed."""
    BUILD.mkdir(parents=True, exist_ok=True)
    there = BUILD / "node_modules" / LOCK
    if not there.exists() or there.read_bytes() != (HERE / LOCK).read_bytes():
        for name in ("package.json", LOCK):
            shutil.copyfile(HERE / name, BUILD / name)
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--omit-lockfile-registry-resolved"]
        subprocess.run(command, cwd=BUILD, check=True)
        shutil.copyfile(HERE / LOCK, there)
    return BUILD / "node_modules"


@pytest.fixture(scope="session")
def example():
    """A program of examples/deploy by its name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "examples" / "deploy"))
        yield importlib.import_module


@pytest.fixture(scope="session")
def web(packages):
    """``px.interchange.Web`` with the package that was installed."""
    return lambda **settings: px.interchange.Web(**settings, onnxruntime_web=packages / "onnxruntime-web")


@pytest.fixture(scope="session")
def chrome(example):
    """A browser."""
    with example("chrome").Chrome() as browser:
        yield browser


@pytest.fixture(scope="session")
def digits(example, web, tmp_path_factory):
    """A network that reads digits, trained anew where its program has changed, and its bundle."""
    program = example("digits")
    kept = BUILD / f"{hashlib.sha256(Path(program.__file__).read_bytes()).hexdigest()[:12]}.phlox"
    if not kept.exists():
        model, accuracy = program.train(epochs=3)
        assert accuracy > 0.97
        px.save(model, kept)
    model = px.load(kept, allow=["phlox"])
    folder = tmp_path_factory.mktemp("digits") / "out"
    program.export(model, folder, ["onnx", web()])
    return model, folder


@pytest.fixture(scope="session")
def read(example):
    """What a network of the digits says of pictures (count, 112, 112, 1): shares (count, 10)."""
    program = example("digits")
    run = px.jit(lambda model, x: program.shares(model(program.centred(x)))["shares"])
    return lambda model, x: np.asarray(run(model, np.asarray(x)))
