"""Models for other programs: written in their formats, each file proved equal, and read back without the model's code.

_export                     px.export: the order of things; read it first
_spec _about                what is said of an input, and of a bundle
_binding _forms             inputs to a function's parameters, and its result to named outputs
_program                    a model's function of its arrays and inputs, traced
_scopes                     the operations of a traced program, each with its layer
_xla_only                   operations that no runtime but XLA has
_sizes                      symbols: what they may be, and at which sizes a file is tried
_examples _comparing        inputs that are given or drawn; how far two results are apart
_layers                     at which layer a difference begins
_proving _beside            a file of a target beside the model, and beside the one that it was made of
_report                     what px.export found, as a table
_provenance _writing        where a bundle comes from; what else is in it, the card for people too
_loaded _checking           px.load_exported: a bundle as a function, and what it refuses
_refresh _requests          files made anew from model.phlox beside them, its functions found by their names
_running                    signatures as compiled functions of arrays, for a server
targets/                    formats: what each writes, and what runs it
onnx/                       from a traced program to an ONNX graph
onnx_reading/               px.load_onnx: from an ONNX file to a Module whose weights train
litert/                     from traced programs to a LiteRT file
registries/                 models under names and versions, kept by services of others
"""

from importlib import import_module
from typing import TYPE_CHECKING

from phlox.core import unknown_name as _unknown_name
from phlox.interchange._about import About

# For the rooms above, and no user's business: not in __all__.
from phlox.interchange._checking import ready as ready
from phlox.interchange._comparing import largest as largest
from phlox.interchange._examples import drawn as drawn
from phlox.interchange._export import export
from phlox.interchange._loaded import Exported, ExportedFunction, load_exported
from phlox.interchange._refresh import refresh
from phlox.interchange._report import Beside, ExportReport, ExportRow
from phlox.interchange._running import Runnable as Runnable
from phlox.interchange._running import runnables_of_bundle as runnables_of_bundle
from phlox.interchange._running import runnables_of_model as runnables_of_model
from phlox.interchange._running import runnables_of_stablehlo as runnables_of_stablehlo
from phlox.interchange._sizes import Sizes as Sizes
from phlox.interchange._spec import Spec
from phlox.interchange.registries._mlflow import load_from_mlflow, log_to_mlflow
from phlox.interchange.registries._mlflow import load_pyfunc as _load_pyfunc  # noqa: F401 - MLflow calls it
from phlox.interchange.targets._target import Target, targets
from phlox.interchange.targets._web import Web
from phlox.weights import Encoder

__all__ = [
    "About",
    "Beside",
    "Encoder",
    "ExportReport",
    "ExportRow",
    "Exported",
    "ExportedFunction",
    "OnnxArray",
    "OnnxModel",
    "OnnxOperator",
    "OnnxStructure",
    "Spec",
    "Target",
    "Web",
    "export",
    "load_exported",
    "load_from_mlflow",
    "load_onnx",
    "log_to_mlflow",
    "refresh",
    "targets",
]

if TYPE_CHECKING:
    from phlox.interchange.onnx_reading import OnnxArray, OnnxModel, OnnxOperator, OnnxStructure, load_onnx
else:  # a checker shall go on knowing which names there are
    _READING = {"OnnxArray", "OnnxModel", "OnnxOperator", "OnnxStructure", "load_onnx"}

    def __getattr__(name: str) -> object:
        """The reader of ONNX files, half of the room, at first use; else say where ours is, for another room's name."""
        if name in _READING:
            return getattr(import_module("phlox.interchange.onnx_reading"), name)
        raise _unknown_name(__name__, name)
