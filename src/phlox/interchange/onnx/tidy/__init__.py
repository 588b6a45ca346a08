"""A plain graph made one that runs fast: ``tidy``.

_tidy                     the rules in their order; read it first
_graph                    what a rule sees of a graph, and how it changes it
_clean _fold              what does nothing, and what depends on no input
_arithmetic _linear       means, quotients, factors; products with a matrix
_softmax _gelu            operators recognised in the arithmetic that they are,
_norms _batch_norm        each where the model's opset has it
_conv _layout             convolutions and pools; transposes moved until they cancel
_quantized                integers turned in the place of the weights that they stand for
"""

from phlox.interchange.onnx.tidy._tidy import tidy

__all__ = ["tidy"]
