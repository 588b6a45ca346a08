"""docs/coming-from.md: its programs give one result, its names exist, and the page is what its parts make."""

from __future__ import annotations

import copy
import functools
import re
import runpy
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

import phlox as px
from kit import assert_close
from peers import peer

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = runpy.run_path(str(ROOT / "docs" / "generate_coming_from.py"), run_name="generate_coming_from")
NAMES = PROGRAM["names"]
PAGE = (ROOT / "docs" / "coming-from.md").read_text("utf-8")

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras with NumPy 2

STEPS = 3
KEEP = 0.9**STEPS  # the share of the running statistics' start that is left
RNG = np.random.default_rng(0)
X = RNG.normal(size=(4, 8, 8, 1)).astype(np.float32)
Y = RNG.integers(0, 10, 4)
COUNT = X[..., 0].size  # numbers behind one statistic of the BatchNorm
STATISTICS = ("layers.1.mean", "layers.1.var")

# --- the programs: one result -----------------------------------------------------------------------

Names = dict[str, Any]


def run(file: str) -> Names:
    """A program's names after it ran, with a dropout that drops nothing, so that numbers can be compared."""
    code = (ROOT / "docs" / "coming_from" / file).read_text("utf-8")
    assert len(re.findall(r"ropout\(0\.5\b", code)) == 1
    namespace: Names = {"__name__": file}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the peers among themselves; Phlox's program runs without
        if file.startswith("phlox"):
            warnings.simplefilter("error")
        exec(compile(re.sub(r"(?<=ropout\()0\.5", "0.0", code), file, "exec"), namespace)
    return namespace


@functools.cache
def phlox() -> Names:
    return run("phlox_side.py")


def unbiased(mean: Any, var: Any) -> tuple[Any, Any]:
    """PyTorch's statistics are Phlox's."""
    return mean, var


def biased(mean: Any, var: Any) -> tuple[Any, Any]:
    """What came from batches was divided by n, not by n - 1."""
    return mean, KEEP + (var - KEEP) * COUNT / (COUNT - 1)


def scaled_up(mean: Any, var: Any) -> tuple[Any, Any]:
    """Equinox divides by the share of the batches, though its sums begin at 0 and 1 as Phlox's do."""
    return biased(mean * (1 - KEEP), var * (1 - KEEP))


def keras_moments(n: Names) -> Names:
    """Of the variables that train, in their order."""
    keys = [k for k in n["to_phlox"](n["model"]) if k not in STATISTICS]
    moments = [v for v in n["model"].optimizer.variables if "momentum" in v.path]
    return dict(zip(keys, map(np.asarray, (v.value for v in moments)), strict=True))


def torch_moments(n: Names) -> Names:
    """A tenth of the gradients, which stay in the parameters."""
    model = copy.deepcopy(n["model"])
    for old, new in zip(n["model"].parameters(), model.parameters(), strict=True):
        new.data = old.grad / 10
    return n["to_phlox"](model)


def nnx_moments(n: Names) -> Names:
    nnx = peer("flax.nnx")
    model = nnx.clone(n["model"])
    nnx.update(model, jax.tree.map(lambda v: v, nnx.to_pure_dict(n["opt"].opt_state[0].mu)))
    return n["to_phlox"](model)


def linen_step(n: Names, x: Any, y: Any) -> Any:
    n["variables"], n["opt_state"], loss = n["step"](n["variables"], n["opt_state"], jax.random.key(0), x, y)
    return loss


def equinox_step(n: Names, x: Any, y: Any) -> Any:
    args = n["model"], n["state"], n["opt_state"], jax.random.key(0)
    n["model"], n["state"], n["opt_state"], loss = n["step"](*args, x, y)
    return loss


class Side(NamedTuple):
    """How a program is used: a step, logits, weights by Phlox's paths, Adam's first moments, its statistics here."""

    file: str
    library: str
    step: Callable[[Names, Any, Any], Any]
    predict: Callable[[Names, Any], Any]
    weights: Callable[[Names], Names]
    moments: Callable[[Names], Names]
    statistics: Callable[[Any, Any], tuple[Any, Any]]


SIDES = {
    "PyTorch": Side(
        "pytorch.py",
        "torch",
        lambda n, x, y: n["step"](x, y),
        lambda n, x: n["predict"](x),
        lambda n: copy.deepcopy(n["to_phlox"](n["model"])),  # views of what the next step changes
        torch_moments,
        unbiased,
    ),
    "Keras": Side(
        "keras_side.py",
        "keras",
        lambda n, x, y: n["step"](x, y),
        lambda n, x: n["predict"](x),
        lambda n: n["to_phlox"](n["model"]),
        keras_moments,
        biased,
    ),
    "NNX": Side(
        "flax_nnx.py",
        "flax.nnx",
        lambda n, x, y: n["step"](n["model"], n["opt"], x, y),
        lambda n, x: n["predict"](n["model"], x),
        lambda n: n["to_phlox"](n["model"]),
        nnx_moments,
        biased,
    ),
    "Linen": Side(
        "flax_linen.py",
        "flax.linen",
        linen_step,
        lambda n, x: n["predict"](n["variables"], x),
        lambda n: n["to_phlox"](n["variables"]),
        lambda n: n["to_phlox"]({**n["variables"], "params": n["opt_state"][0].mu}),
        biased,
    ),
    "Equinox": Side(
        "equinox_side.py",
        "equinox",
        equinox_step,
        lambda n, x: n["predict"](n["model"], n["state"], x),
        lambda n: n["to_phlox"](n["model"], n["state"]),
        lambda n: {**n["to_phlox"](n["opt_state"][0].mu, n["state"])},
        scaled_up,
    ),
}


@pytest.mark.parametrize("name", SIDES)
def test_a_side_with_the_same_weights_gives_the_same_numbers(name):
    side, ours = SIDES[name], phlox()
    peer(side.library)
    theirs = run(side.file)
    model = px.copy(ours["model"])
    opt = px.Optimizer(px.optim.Adam(1e-3), model)
    begin = {k: np.array(v) for k, v in side.weights(theirs).items() if k not in STATISTICS}
    report = px.load_state_dict(model, begin, strict=False)
    assert not report.mismatched
    assert not report.unexpected
    assert set(report.missing) == {*STATISTICS, "layers.6.key"}

    for step in range(STEPS):
        got, want = ours["step"](model, opt, X, Y), side.step(theirs, X, Y)
        assert_close(got, np.float32(want), what=f"loss {step}")
        if step == 0:
            moments = side.moments(theirs)
            assert set(begin) <= set(moments)
            for path, m in opt.slot("m").items():
                assert_close(m, moments[path], kind="grad", what=f"gradient of {path}")

    after = {k: np.array(v) for k, v in side.weights(theirs).items()}
    own = px.state_dict(model)
    for path in begin:
        assert_close(own[path], after[path], kind="grad", what=path)  # a step of Adam is a quotient of gradients
        assert float(np.max(np.abs(after[path] - begin[path]))) > 1e-3, f"{path} has not moved"
    mean, var = side.statistics(*(after[path] for path in STATISTICS))
    assert_close(model[1].mean, mean, what="running mean")
    assert_close(model[1].var, var, what="running variance")

    assert px.load_state_dict(model, after, strict=False).missing == ["layers.6.key"]
    assert_close(model(X), np.asarray(side.predict(theirs, X)), what="logits of the trained model")


def test_each_python_program_has_a_side():
    files = {path.name for path in (ROOT / "docs" / "coming_from").glob("*.py")}
    assert files - {"__init__.py", "names.py", "differences.py", "phlox_side.py"} == {s.file for s in SIDES.values()}


# --- the names --------------------------------------------------------------------------------------

SPAN = re.compile(r"`([^`]+)`")
OURS = {"px": px, "opt": px.Optimizer}
TABLES: dict[str, tuple[Any, dict[str, str]]] = {
    "PyTorch": (
        NAMES.PYTORCH,
        {
            "torch": "torch",
            "nn": "torch.nn",
            "F": "torch.nn.functional",
            "model": "torch.nn:Module",
            "loss": "torch:Tensor",
            "optimizer": "torch.optim:Optimizer",
        },
    ),
    "Keras": (NAMES.KERAS, {"keras": "keras", "layers": "keras.layers", "model": "keras:Model"}),
    "Flax": (NAMES.FLAX, {"nnx": "flax.nnx", "linen": "flax.linen", "optax": "optax"}),
    "Equinox": (NAMES.EQUINOX, {"eqx": "equinox", "nn": "equinox.nn", "jax": "jax"}),
}


def dotted(text: str) -> list[list[str]]:
    """The names with dots that code spans of a cell begin with."""
    found = [re.match(r"@?([A-Za-z_]\w*(?:\.\w+)+)", span) for span in SPAN.findall(text)]
    return [m[1].split(".") for m in found if m]


def resolves(path: list[str], root: Any) -> bool:
    for name in path:
        if not hasattr(root, name):
            return False
        root = getattr(root, name)
    return True


@pytest.mark.parametrize("framework", TABLES)
def test_old_names_are_the_frameworks(framework):
    table, roots = TABLES[framework]
    modules = {}
    for name, where in roots.items():
        module, _, attribute = where.partition(":")
        modules[name] = getattr(peer(module), attribute) if attribute else peer(module)
    for old, _, _ in table:
        assert dotted(old), old
        for path in dotted(old):
            assert resolves(path[1:], modules[path[0]]), ".".join(path)


def test_old_names_of_flux_are_those_of_its_table_of_parity():
    parity = runpy.run_path(str(ROOT / "docs" / "generate_parity.py"), run_name="generate_parity")
    flux = next(source for source in parity["SOURCES"] if source.title == "Flux")
    known = {name for row in flux.rows for name in row.names}
    program = PROGRAM["program"]("flux.jl")[0]
    used = {re.match(r"@?\w+!?", span)[0] for old, _, _ in NAMES.FLUX for span in SPAN.findall(old)}
    used |= set(re.findall(r"\bFlux\.(\w+!?)", program))
    used |= set(re.findall(r"^    ([A-Z]\w+)\(", program, re.MULTILINE))
    assert {"Chain", "setup", "withgradient", "update!", "Conv", "Dense", "GlobalMeanPool"} <= used
    assert used <= known, used - known


def test_new_names_resolve():
    rows = [row for table in (*(t for t, _ in TABLES.values()), NAMES.FLUX) for row in table]
    assert len(rows) > 90
    for old, new, note in rows:
        spans = SPAN.findall(new)
        assert spans or new == "nothing", old
        for root, path in re.findall(r"\b(px|opt)\.((?:\w+\.)*\w+)", f"{new} {note}"):
            assert resolves(path.split("."), OURS[root]), f"{root}.{path}"
    for root, path in re.findall(r"\b(px)\.((?:\w+\.)*\w+)", "".join(PROGRAM["differences"].CLAIMS.values())):
        assert resolves(path.split("."), OURS[root]), f"{root}.{path}"


# --- the page ---------------------------------------------------------------------------------------


def test_the_page_is_what_its_parts_make():
    assert PROGRAM["page"]() == PAGE


def test_the_page_shows_the_programs_that_run():
    for file in ("phlox_side.py", *(s.file for name, s in SIDES.items() if name != "Linen")):
        code = (ROOT / "docs" / "coming_from" / file).read_text("utf-8")
        body = code.partition(PROGRAM["WEIGHTS"])[0].split('"""\n', 1)[1].strip()
        assert [line for line in body.splitlines() if line] == [
            line for line in PAGE[PAGE.index(body.splitlines()[0]) :].split("```")[0].splitlines() if line
        ]


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)", PAGE):
        assert (ROOT / "docs" / target).is_file(), target
    headings = {
        h.lower().replace(".", "") for h in re.findall(r"^## (.+)$", (ROOT / "docs/parity.md").read_text(), re.M)
    }
    for fragment in re.findall(r"\(parity\.md#([^)]+)\)", PAGE):
        assert fragment in headings
