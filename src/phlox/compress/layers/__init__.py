"""Layers with integers in them, and with masks.

_quantized     what they have in common: a weight that is read as floats and held as integers
_products      products of integers
_linear        Dense and convolutions
_embedding     Embedding
_rounded       layers that train with rounded weights
_masked        layers whose weights are read through masks
"""
