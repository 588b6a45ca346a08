"""From a traced program to an ONNX graph.

_trace     a model traced and converted: the way in
_convert   each operation by its rule
rules/     the rules, a file for each family
_step      one operation as a rule sees it, and the tables of rules
_build     pieces that many rules write
_graph     a graph while it is written
_sizes     sizes that inputs decide, computed in the graph
_parts     complex arrays as two real ones
_fold      small arrays that are known, computed beforehand
_types     dtypes by ONNX's numbers
_proto     the finished graph as a model of the onnx package
tidy/      a plain graph made one that runs fast
_saving    a model as a file; large weights beside it
"""

from phlox.interchange.onnx._trace import convert as convert
from phlox.interchange.onnx._trace import to_onnx as to_onnx
from phlox.interchange.onnx.rules._quantized import opset_of as opset_of
