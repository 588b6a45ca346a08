"""Operators: layers from functions to functions, the same at every resolution.

_spectral      SpectralConv, a convolution as wide as the domain
_fourier       FNO, a Fourier neural operator, of FourierLayers
_deeponet      DeepONet, a function by numbers and points
"""
