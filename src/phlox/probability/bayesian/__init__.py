"""Bayesian layers: a distribution in the place of each weight, which the evidence lower bound trains.

_variational   Variational, what has a divergence from a prior; kl_to_prior of a whole model
_layer         BayesianLayer, around a Dense or Conv; bayesian, which puts them into a model
_estimators    three ways to draw what such a layer gives
"""
