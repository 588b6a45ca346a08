"""Normalisation of activations, and of weights.

_norm             by batch statistics, and over features
_group_norm       over groups of channels, and each channel over space
_rms_norm         by the root mean square, and by neighbours
_folding          batch normalisation folded into the layer before it
_reparametrize    weight norm and spectral norm
"""
