"""Resemblyzer as its authors wrote it. Its package wants one for silences that has no wheel: it is put here alone.

``webrtcvad`` only trims silences, which the tests do not ask for; a module of that name without content stands in.
"""

import subprocess
import sys
import types
import warnings
from pathlib import Path

import pytest

_RESEMBLYZER = "Resemblyzer==0.1.4"
_EXAMPLES = Path(__file__).resolve().parents[3] / "examples"

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import librosa  # noqa: F401
    import torch

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def resemblyzer(tmp_path_factory):
    """Its module ``voice_encoder``; it is downloaded once for a session, without what it depends on."""
    folder = tmp_path_factory.mktemp("resemblyzer")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--only-binary", ":all:", "--target"]
    subprocess.run([*pip, str(folder), _RESEMBLYZER], check=True, stdin=subprocess.DEVNULL)
    sys.path.insert(0, str(folder))
    sys.modules["webrtcvad"] = types.ModuleType("webrtcvad")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that SciPy moved
        from resemblyzer import voice_encoder
    yield voice_encoder
    sys.path.remove(str(folder))


@pytest.fixture(scope="session")
def program(resemblyzer):
    """The example, imported as it imports its neighbours."""
    sys.path.insert(0, str(_EXAMPLES))
    import speaker_embeddings

    yield speaker_embeddings
    sys.path.remove(str(_EXAMPLES))
