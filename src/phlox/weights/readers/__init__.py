"""Readers: the arrays of a file of weights, whoever wrote it, by name; nothing in it is run.

_read             which reader a file wants, by its content
_arrays           names and arrays, read as they are asked for
_safetensors      safetensors, mapped into memory
_index            weights in several files, beside an index
_pytorch          PyTorch's files, read by PyTorch
_hdf5             HDF5: Keras, and Flux and Lux by HDF5.jl or JLD2
_zips             zip archives: NPZ, and Keras' models
_flax             Flax's msgpack
_orbax            Orbax's folders
_trees            nested values by joined names
_refusing         what is refused before it is read
"""
