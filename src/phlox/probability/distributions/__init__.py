"""Distributions: NumPyro's under one face, each a Module.

_distribution _arguments   the face; what they are made of, in its range
_real _positive            on the line, and above zero
_discrete                  of classes, levels and counts
_several                   of vectors; joined and mixed
_named                     any other of NumPyro's, by its name
_divergence                how far one is from another, where that is closed
_likelihood                losses of predictions that are distributions, or quantiles
"""
