"""Implicit layers: what solves an equation, with the gradient of the solution.

_equilibrium   DeepEquilibrium, a point where a block stays; ImplicitLayer, a root
_root          what both have in common: a solver, its settings, what came of it
"""
