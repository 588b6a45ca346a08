"""Containers: layers made of layers.

_containers    in a row, side by side, around a shortcut
_branches      several results, or layers that compete
_repeated      equal blocks as one compiled loop
_compact       small models written inline
_rearrange     functions, shapes and slices as layers
"""
