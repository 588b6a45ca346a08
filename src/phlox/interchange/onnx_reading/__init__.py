"""From an ONNX file to a Module whose weights train.

_load       px.load_onnx: the order of things; read it first
_model      the Module: its weights, its state, how it is called
_file       a file as a model of the onnx package, looked over before anything is made of it
_tensors    its arrays, those in files beside it included
_graph      graphs and nodes as plain data, checked
_trained    numbers that nodes hold and training moves, as arrays of the graph
_lifting    what nodes and inner graphs hold, as arrays of the whole graph
_roles      which arrays are trained, which are not, which are numbers of the program
_bounds     what no file may ask for
_run        a graph run node by node
_call       one node as an operator sees it, and the table that operators are entered in
_words      text that is one of the words that a model knows
_known      what is known while tracing, computed by NumPy
_layout     arrays whose channels are last, where convolutions want them
_structure  what a loaded file is made of, as tables
operators/  the operators, a file for each family
"""

from phlox.interchange.onnx_reading._load import load_onnx as load_onnx
from phlox.interchange.onnx_reading._model import OnnxModel as OnnxModel
from phlox.interchange.onnx_reading._structure import OnnxArray as OnnxArray
from phlox.interchange.onnx_reading._structure import OnnxOperator as OnnxOperator
from phlox.interchange.onnx_reading._structure import OnnxStructure as OnnxStructure
