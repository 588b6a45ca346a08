"""From traced programs to one LiteRT file, by litert-converter.

_convert     programs of known sizes as the bytes of a file, and what is said where that fails
_module      a program as the text of a StableHLO module, its weights within
_retrace     a program traced again, some of its operations by rules
_loops       rules: loops of known length, whose rounds stand one behind the other
_operations  rules: operations in forms that the converter takes
_unsigned    rules: whole numbers without sign by those with one
_complex     rules: complex arrays as two real ones
_quantized   rules: weights as integers, and rounding
_refused     operations that have no form, and what would help
_converter   litert-converter, in a process of its own: run as a script
"""

from phlox.interchange.litert._convert import PACKAGES, to_litert

__all__ = ["PACKAGES", "to_litert"]
