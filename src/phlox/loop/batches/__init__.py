"""Batches as the loop sees them.

_loading      data in any form as something that gives batches
_feed         the batches of an epoch in order, from where a run stands
_one_pass     one pass over data, by what trains nothing
_batch        one batch: its parts, and what of it counts
_inputs       what of it a model is called with
_rehearsal    the first batches looked at before training
_first_look   what a trace tells of a prediction: softmax, sigmoid, logits
"""
