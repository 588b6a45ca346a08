"""Attention as functions.

_attention    softmax of scaled products, whole or a chunk of queries at a time
_given        what is given beside queries, keys and values
_checks       shapes, masks, windows and lengths
_positions    rotations, waves, biases by distance
_cudnn        cuDNN's kernel on NVIDIA GPUs
"""
