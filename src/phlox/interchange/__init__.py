"""Models on their way to other runtimes.

onnx/     from a traced program to an ONNX graph
_named    a model whose layers name their operations
"""
