"""Measuring: how far an attribution is to be believed.

_infidelity    infidelity: does it foretell what a perturbation does
_sensitivity   sensitivity: does it change where the input hardly does
_curves        insertion and deletion: does the score follow what it ranks first
_sanity        randomised weights: does it depend on what was learned
"""
