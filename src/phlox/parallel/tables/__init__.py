"""Tables of tensor parallelism: which part of a layer is cut how.

_axes     of each array, which axis is a map's inputs and which its outputs
_parts    of each layer, which of its maps are cut by outputs, which by inputs, which stay whole
_choice   how one array of a model is cut, by its place
_shown    the tables as text
"""
