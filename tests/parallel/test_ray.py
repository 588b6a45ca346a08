"""px.parallel.ray without Ray, which the area ray has: what it refuses, and that it names the extra."""

import sys

import pytest

import phlox as px


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
