"""Adapters in files of PEFT's format, both ways.

_naming    what a model's layers are called there, and which of them are fused
_arrays    an adapter's arrays as they lie there
_config    adapter_config.json
_saving    px.adapt.save
_loading   px.adapt.load
"""
