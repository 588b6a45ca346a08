"""Heads: last layers, from features to a distribution.

_continuous   NormalHead, MixtureDensityHead: numbers, of one mean or of several
_counted      OrdinalHead, CountHead: levels in an order, and counts
_quantile     QuantileHead: quantiles that cannot cross
"""
