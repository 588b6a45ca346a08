"""Strategies: each says how arrays are cut along its axis of the mesh, and what layers compute in another way.

_data_parallel    the whole model on every device, a part of the batch on each
_fsdp             a part of every weight on each device, a part of the batch too
_pipeline         some of the blocks on each stage, the batch through them in micro-batches
pipelining/       what a pipeline does: its ticks, and blocks that run so
"""
