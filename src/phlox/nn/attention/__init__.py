"""Attention, what gives it positions and memory, and transformers.

_attention                            many heads
_positions                            added, rotated, as biases
_kv_cache _ring_cache                 keys and values of what was generated so far, whole or of a window
_slot_cache                           the same of many texts that come and go
_linear_attention                     a recurrence of sums
_transformer _transformer_stacks      layers, and stacks of them
"""
