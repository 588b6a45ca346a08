"""Differential equations: layers that solve what a network says about change.

_ode           NeuralODE
_sde           NeuralSDE, with noise
_cde _control  NeuralCDE, driven by observations; the path through them
_latent        LatentODE, a hidden state behind a series
_universal     UniversalField: known physics and a network
_event         Event: what ends a solve
_equation      what all have in common: a solver, steps, an adjoint, what came of a solve
_fields        vector fields as Diffrax calls them
_names         solvers and adjoints by name
"""
