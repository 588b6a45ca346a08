"""Operators of com.microsoft, the domain of what ONNX Runtime fuses and quantises.

_layers     layers in one operator: sums with normalisation, gelu with its bias, products with an activation
_attention  attention of transformers, with projections and without
_quantised  8-bit arithmetic between quantised arrays, weights of four bits
"""
