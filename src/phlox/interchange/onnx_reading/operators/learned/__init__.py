"""The operators of ai.onnx.ml: what pipelines of scikit-learn and boosted trees are written in.

_classes    the classes of a classifier
_scores     from scores to what a classifier gives
_features   columns scaled, filled, encoded, put together
_linear     linear models
_trees      rows that go down trees, and what leaves give
_forests    forests and boosted trees
_ensembles  the same of version 5
_vectors    support vectors
"""

from phlox.interchange.onnx_reading.operators.learned import _ensembles, _features, _forests, _linear, _vectors

FAMILIES = _ensembles, _features, _forests, _linear, _vectors
"""Modules that enter their operators when they are imported."""
