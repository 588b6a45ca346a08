"""The table of operators, which each family enters its own in."""

from phlox.interchange.onnx_reading._call import Operators

OPERATORS = Operators()
HERE_MICROSOFT = "com.microsoft"
