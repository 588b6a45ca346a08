"""Layers on the last axis: products, embeddings, gates, dropout.

_dense _linear               affine maps; products of two inputs, and by component
_embedding _embedding_bag    vectors for indices, one by one and in bags
_gated_mlp _experts          the gated block; a mixture of blocks
_activations                 activations that hold something
_dropout _noise              dropout and its kinds
"""
