"""Attention over sequences that are cut over devices: keys and values go round, and no device holds them all.

_layout    which positions a device has: in a row, or two pieces that share causal work evenly
_draws     dropout's draws for some queries and keys, those of one device
_tile      scores of some queries and some keys: their fold into a running softmax, and their gradient
_sweep     all tiles of a device's queries and of the keys that it holds at the moment
_ring      the round, forward and backward
"""
