"""Learning: concepts that a layer has learned, and examples that it learned them from.

_concepts    TCAV: whether a score rises in the direction of a concept
_examples    examples one by one: their losses' gradients
_tracin      TracIn: examples by the products of gradients along training
_influence   influence functions: what a model would be without an example
"""
