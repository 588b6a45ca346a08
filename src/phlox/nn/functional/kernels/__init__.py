"""Kernels: faster forms of a few operations for the CPU; nothing else knows that they exist.

_kernels                                      the registry; read it first
_gradients                                    a kernel with a kernel for its gradient
_conv _pool _norm _layer_norm _recurrent      each beside its form in plain JAX
_attention                                    never holds all scores
"""
