"""The core: Modules, transforms, mode, randomness, dtypes, errors, display.

The first list is the public face, exported from ``phlox``; the second serves the folders above.
"""

from phlox.core._compat import eager as at_eager
from phlox.core._compat import python_control_flow
from phlox.core._copy import constant, copy, freeze, thaw
from phlox.core._dtypes import dtypes, harmonise, param_dtype, policy
from phlox.core._errors import (
    CaptureError,
    DtypeError,
    LostBuffersError,
    MissingExtraError,
    PhloxError,
    RangeError,
    ShapeError,
    StateError,
    StructureError,
    describe,
)
from phlox.core._grad import grad, value_and_grad
from phlox.core._jit import jit
from phlox.core._loading import LoadReport, load_state_dict, state_dict
from phlox.core._mode import automode, testmode, training, trainmode
from phlox.core._module import Module, Param, State
from phlox.core._pure import apply, merge, split
from phlox.core._random import advance, is_key, key_or_draw, seed
from phlox.core._tree import global_norm, gradients_by_path, modules, paths, trainable_arrays, tree_map, write_arrays

PUBLIC = [
    "CaptureError",
    "DtypeError",
    "LoadReport",
    "LostBuffersError",
    "MissingExtraError",
    "Module",
    "Param",
    "PhloxError",
    "RangeError",
    "ShapeError",
    "State",
    "StateError",
    "StructureError",
    "apply",
    "automode",
    "constant",
    "copy",
    "dtypes",
    "freeze",
    "global_norm",
    "grad",
    "jit",
    "load_state_dict",
    "merge",
    "modules",
    "paths",
    "seed",
    "split",
    "state_dict",
    "testmode",
    "thaw",
    "training",
    "trainmode",
    "value_and_grad",
]

__all__ = [  # noqa: PLE0604
    *PUBLIC,
    "advance",
    "at_eager",
    "describe",
    "gradients_by_path",
    "harmonise",
    "is_key",
    "key_or_draw",
    "param_dtype",
    "policy",
    "python_control_flow",
    "trainable_arrays",
    "tree_map",
    "write_arrays",
]
