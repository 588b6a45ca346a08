"""Functions over one, two or three axes of space, channels last.

_window                      the plan of a sliding window; read it first
_conv _conv_forms            convolutions, and the plain forms that XLA runs fastest
_pool _adaptive _unpool      pooling, to a given size, and its partial inverse
_padding _shuffle _fold      padding, channels and space exchanged, patches
_resize _sample              interpolation; sampling at arbitrary places
"""
