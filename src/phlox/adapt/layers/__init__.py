"""Layers with adapters in them, and the adapters.

_adapted       what layers with adapters have in common: the layer, its adapters by name, which are in use
_changes       LoRA, DoRA and IA³: changes of a map
_linear        Dense and Conv with them
_embedding     Embedding with them
_prefix        causal attention behind learned keys and values
_whole         any layer, of which copies are trained whole
"""
