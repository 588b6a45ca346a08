"""Rules: one short function for each of JAX's operations, a file for each family.

_arithmetic    elementwise arithmetic
_logic         comparisons, choices, flags and bits
_reductions    over axes, and running along one
_shapes        shapes, axes, parts, padding
_indexing      gather, scatter, parts whose place is computed
_products      products of matrices
_convolutions  convolutions, forward and transposed
_quantized     weights as integers, and rounding
_windows       pooling
_sorting       sorting, the largest elements
_complex       complex numbers as pairs, Fourier transforms
_control       calls, loops, branches
_refused       what ONNX has no form for, and what would help
"""
