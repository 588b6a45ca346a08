"""Pruning: weights that are left out.

_pruning       px.compress.prune, remove_masks and sparsity: masks on weights
_gradual       px.compress.Pruning: more and more of them while a model trains
_weights       which weights are meant
_scores        what a number is worth
_selecting     exactly so many of the lowest, or so many in each group
"""
