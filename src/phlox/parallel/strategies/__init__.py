"""Strategies: each says how arrays are cut along its axis of the mesh, and what layers compute in another way.

_data_parallel       the whole model on every device, a part of the batch on each
_fsdp                a part of every weight on each device, a part of the batch too
_tensor_parallel     a part of the features on each device, of the whole batch
_context_parallel    a part of every sequence on each device
_pipeline            some of the blocks on each stage, the batch through them in micro-batches
_expert_parallel     some experts of every mixture on each device, a part of the batch too
pipelining/          what a pipeline does: its ticks, and blocks that run so
"""
