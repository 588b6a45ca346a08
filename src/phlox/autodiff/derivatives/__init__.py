"""Derivatives of one function, of every kind, each prepared once.

From below to above:

_sparsity        which results depend on which inputs, read from a program
_colouring       colours of columns, rows and stars: what one product can find together
_array_function  a function of a single array, all else as further inputs
_compressed      sparse Jacobians and Hessians by colours
_differences     derivatives by differences
_taylor          derivatives of any order along a direction
_derivative      px.autodiff.derivative: a function's derivatives, in any of these modes
"""
