"""Layers with integers in them, with masks, in two steps.

_quantized     what they have in common: a weight that is read as floats and held as integers
_products      products of integers
_product_kernel _weight_kernel   these on the CPU, and those of few rows with integer weights
_whole         the same as exporters see it: floats, and operations with names
_linear        Dense and convolutions
_embedding     Embedding
_rounded       layers that train with rounded weights
_masked        layers whose weights are read through masks
_low_rank      layers whose weight is a product of two
"""
