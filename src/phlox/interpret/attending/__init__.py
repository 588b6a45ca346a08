"""Attending: how attention hands tokens on through the layers of a transformer.

_maps       the weights by which each layer attends
_rollout    attention rollout and attention flow
"""
