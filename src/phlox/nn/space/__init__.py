"""Layers over one, two or three axes of space, channels last.

_conv _conv_transpose     convolutions, their transposes, each channel by itself
_pool _adaptive_pool      pooling in windows; to a given size, by a p-norm, over all of space
_pad _resize _fold        padding, interpolation, patches
"""
