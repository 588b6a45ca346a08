"""Variational autoencoders: data as seen through a hidden variable.

_vae          VAE: normal hidden variables; with a weight on the divergence, with a context
_quantizer    VectorQuantizer, VQVAE: hidden variables out of a book of codes
"""
