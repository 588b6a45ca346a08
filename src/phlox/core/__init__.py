"""The core: Modules, transforms, mode, randomness, dtypes, errors, display.

What users call is exported from ``phlox`` too; the rest serves the folders above. From below to above (a first reader
begins with module/_module and transforms/_functionalize):

context/      where code runs, and what holds there: scope, mode, randomness, dtypes
module/       the Module, an ordinary Python object that is also a JAX pytree; trees of them
transforms/   a call on objects as a pure function of arrays: jit, grad, vmap, scan and their kin
looking/      models printed, activations, programs, what is wrong with numbers
elsewhere/    names and arguments of other libraries, answered with ours
_errors       errors of four parts: where, expected, got, fix
_checks       sizes and functions that folders above are given
_static       keys of what is no array
_compat       every use of private JAX, each with its reason
_heap _aligned   freed memory kept; arrays that JAX takes as they lie

Words that the code uses:

item        an array or a Module, in an attribute or in a list or dict there
spec        what an attribute holds, with its items taken out
layout      the specs of one Module's attributes: how they come apart into items and a static part; two can be compared
anatomy     a layout bound to one Module as it is now: where each item sits
structure   the layouts of several Modules together, and which item is which Module or array
plan        a structure bound to Modules as they are now: where every array sits, each shared one once
leaf        an array of a plan, as JAX sees it
call        a function with its arguments taken apart into leaves
outcome     what a call gives as a pure function: arrays of the result, written ones, those of captured Modules
record      the static side of an outcome: how the result is put together, and which leaves were written
scope       the body of one transform while it runs: what may be read and written there
trace       one run of a function on abstract values, of which JAX makes a program
kind        which transform a scope or call is of: "jit", "scan", …; tables in context/ say what each allows
meta        what a Module knows about itself besides its attributes: the scope it was born in, its mode
node        a Module as the files below the class know it: an object with a meta
"""

from phlox.core._aligned import aligned
from phlox.core._checks import check_function, check_size
from phlox.core._compat import eager as at_eager
from phlox.core._compat import python_control_flow
from phlox.core._errors import (
    CaptureError,
    DtypeError,
    ExportError,
    LostBuffersError,
    MissingExtraError,
    OptionError,
    PhloxError,
    RangeError,
    ShapeError,
    StateError,
    StructureError,
    UnknownNameError,
    describe,
    shown,
)
from phlox.core._heap import keep_freed_memory
from phlox.core._static import static_key
from phlox.core.context._dtypes import dtypes, harmonise, param_dtype, policy
from phlox.core.context._later import raised_later
from phlox.core.context._mode import training
from phlox.core.context._outlives import level as stack_level
from phlox.core.context._random import advance, drawing_on, is_key, key_or_draw, seed
from phlox.core.context._trail import where as place_of
from phlox.core.context._warning import warn_once
from phlox.core.context._ways import way, ways
from phlox.core.elsewhere._methods import OPTIMIZER_METHODS
from phlox.core.elsewhere._options import answering, answering_init
from phlox.core.elsewhere._unknown import spelled, unknown_name
from phlox.core.looking._display import bytes_text
from phlox.core.looking._explain import Explanation, explain
from phlox.core.looking._figure import new_figure
from phlox.core.looking._layers import layer_of, scope_of, telling_layers
from phlox.core.looking._listing import Computation, Instruction, computations, listed_bytes
from phlox.core.looking._plain_text import plain_text
from phlox.core.looking._watch import NonFiniteError, capture, tapped, watch_nonfinite
from phlox.core.module._at import at, set_at
from phlox.core.module._choosing import Where, chosen_paths, replaced
from phlox.core.module._convert import bf16, devices, f16, f32, f64, to
from phlox.core.module._copy import constant, copy, freeze, thaw
from phlox.core.module._destructure import destructure
from phlox.core.module._loading import LoadReport, load_state_dict, state_dict
from phlox.core.module._module import Module, Param, State, answer_foreign
from phlox.core.module._paths import Choice, means
from phlox.core.module._pinned import automode, testmode, trainmode
from phlox.core.module._plan import plan_of
from phlox.core.module._pure import apply, merge, split
from phlox.core.module._tie import Tied, plain_class, tie, tied_class, ties_of, untie, warn_of_one_array_twice
from phlox.core.module._tree import (
    agreed,
    global_norm,
    gradients_by_path,
    modules,
    owners,
    paths,
    root,
    trainable_arrays,
    tree_map,
    write_arrays,
)
from phlox.core.transforms._ahead import Ahead
from phlox.core.transforms._bound import carried
from phlox.core.transforms._cache import clear_compile_cache, compile_cache
from phlox.core.transforms._cache import start as _start_cache
from phlox.core.transforms._cond import cond
from phlox.core.transforms._custom import custom_vjp, gradient_hook, stop_gradient, value
from phlox.core.transforms._derivatives import hessian, hvp, jacobian, jvp, vjp
from phlox.core.transforms._disguise import disguised, in_disguise
from phlox.core.transforms._functionalize import Outcome, functionalize
from phlox.core.transforms._grad import Differentiated, grad, numbers_as_arrays, scalar_of, value_and_grad
from phlox.core.transforms._jit import jit
from phlox.core.transforms._loops import scan, while_loop
from phlox.core.transforms._names import argument_names, root_names
from phlox.core.transforms._program import call_context
from phlox.core.transforms._remat import check_policy, remat
from phlox.core.transforms._shapes import eval_shape
from phlox.core.transforms._vmap import vmap

_start_cache()

__all__ = [
    "OPTIMIZER_METHODS",
    "Ahead",
    "CaptureError",
    "Choice",
    "Computation",
    "Differentiated",
    "DtypeError",
    "Explanation",
    "ExportError",
    "Instruction",
    "LoadReport",
    "LostBuffersError",
    "MissingExtraError",
    "Module",
    "NonFiniteError",
    "OptionError",
    "Outcome",
    "Param",
    "PhloxError",
    "RangeError",
    "ShapeError",
    "State",
    "StateError",
    "StructureError",
    "Tied",
    "UnknownNameError",
    "Where",
    "advance",
    "agreed",
    "aligned",
    "answer_foreign",
    "answering",
    "answering_init",
    "apply",
    "argument_names",
    "at",
    "at_eager",
    "automode",
    "bf16",
    "bytes_text",
    "call_context",
    "capture",
    "carried",
    "check_function",
    "check_policy",
    "check_size",
    "chosen_paths",
    "clear_compile_cache",
    "compile_cache",
    "computations",
    "cond",
    "constant",
    "copy",
    "custom_vjp",
    "describe",
    "destructure",
    "devices",
    "disguised",
    "drawing_on",
    "dtypes",
    "eval_shape",
    "explain",
    "f16",
    "f32",
    "f64",
    "freeze",
    "functionalize",
    "global_norm",
    "grad",
    "gradient_hook",
    "gradients_by_path",
    "harmonise",
    "hessian",
    "hvp",
    "in_disguise",
    "is_key",
    "jacobian",
    "jit",
    "jvp",
    "keep_freed_memory",
    "key_or_draw",
    "layer_of",
    "listed_bytes",
    "load_state_dict",
    "means",
    "merge",
    "modules",
    "new_figure",
    "numbers_as_arrays",
    "owners",
    "param_dtype",
    "paths",
    "place_of",
    "plain_class",
    "plain_text",
    "plan_of",
    "policy",
    "python_control_flow",
    "raised_later",
    "remat",
    "replaced",
    "root",
    "root_names",
    "scalar_of",
    "scan",
    "scope_of",
    "seed",
    "set_at",
    "shown",
    "spelled",
    "split",
    "stack_level",
    "state_dict",
    "static_key",
    "stop_gradient",
    "tapped",
    "telling_layers",
    "testmode",
    "thaw",
    "tie",
    "tied_class",
    "ties_of",
    "to",
    "trainable_arrays",
    "training",
    "trainmode",
    "tree_map",
    "unknown_name",
    "untie",
    "value",
    "value_and_grad",
    "vjp",
    "vmap",
    "warn_of_one_array_twice",
    "warn_once",
    "watch_nonfinite",
    "way",
    "ways",
    "while_loop",
    "write_arrays",
]
