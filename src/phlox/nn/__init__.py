"""Layers, activations, initialisers and functional forms."""

from phlox.nn import functional, init
from phlox.nn._containers import Chain, Parallel, SkipConnection, flatten
from phlox.nn._conv import Conv
from phlox.nn._dense import Dense
from phlox.nn._dropout import Dropout
from phlox.nn._embedding import Embedding
from phlox.nn._norm import BatchNorm, LayerNorm
from phlox.nn._pool import GlobalMeanPool, MaxPool, MeanPool

__all__ = [
    "BatchNorm",
    "Chain",
    "Conv",
    "Dense",
    "Dropout",
    "Embedding",
    "GlobalMeanPool",
    "LayerNorm",
    "MaxPool",
    "MeanPool",
    "Parallel",
    "SkipConnection",
    "flatten",
    "functional",
    "init",
]
