"""px.parallel.ray without Ray, which the area ray has: what it refuses, and that it names the extra."""

import sys

import pytest

import phlox as px
from phlox.parallel.processes import _ray


def test_ray_that_is_not_installed_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setitem(sys.modules, "ray.train", None)
    with pytest.raises(px.MissingExtraError) as caught:
        px.parallel.ray(lambda: None)
    assert str(caught.value) == 'px.parallel.ray expects Ray, got none\n  fix: pip install "phlox[ray]"'


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ((lambda: None, 0), "px.parallel.ray expects a number of workers, at least 1, got 0"),
        ((lambda: None, True), "px.parallel.ray expects a number of workers, at least 1, got True"),
        (("train.py",), "px.parallel.ray expects a function of nothing, got 'train.py'"),
    ],
)
def test_what_makes_no_sense_is_refused(given, told):
    with pytest.raises(px.RangeError) as caught:
        px.parallel.ray(*given)
    assert told in str(caught.value)


@pytest.mark.parametrize("restarts", [-1, True, 1.0])
def test_a_number_of_restarts_that_makes_no_sense_is_refused(restarts):
    with pytest.raises(px.RangeError) as caught:
        px.parallel.ray(lambda: None, restarts=restarts)
    assert f"px.parallel.ray expects a number of restarts, at least 0, got {restarts!r}" in str(caught.value)


def test_restarts_are_ray_s_failures(monkeypatch):
    class Made:
        def __init__(self, *given, **named):
            self.given, self.named = given, named

        def fit(self):
            raise InterruptedError(self.named["run_config"].named["failure_config"].named)

    monkeypatch.setattr(_ray, "_library", lambda: (Made,) * 5)
    for restarts in (0, 3):
        with pytest.raises(InterruptedError) as caught:
            px.parallel.ray(lambda: None, restarts=restarts)
        assert caught.value.args == ({"max_failures": restarts},)
