"""Flows: densities made of a simple one and maps that can be undone.

_flow            Flow: the density; its samples
_recipes         real_nvp, spline_flow, maf, iaf: whole flows
_bijection       Bijection: a map with its inverse and the logarithm of how it stretches space; Inverse
_coupling        Coupling: some features moved by what the others say
_autoregressive  Autoregressive: each feature moved by what those before it say
_masked          MaskedDense, MADE: networks whose outputs see some inputs alone
_elementwise     Affine, RationalQuadratic: how one number is moved
_spline          the rational-quadratic spline and its inverse
_linear          Permutation, ActNorm, LULinear: maps without a network
_continuous      Continuous, WithTrace: a differential equation as a map
_normal          StandardNormal: where a flow begins
"""
