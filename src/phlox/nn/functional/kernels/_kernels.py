"""The registry of kernels: faster forms of a few operations for the CPU, each beside its form in plain JAX.

A kernel is a JAX primitive that knows its reference form. Where the package ``phlox-cpu`` is installed and a program
is compiled for one CPU, it becomes a call into that package; in a step over several CPUs whose batch they share, a call
on each. Everywhere else (other devices, exported programs, other programs over devices, shapes that the package
declines) the reference form is compiled in its place. Only this file knows of the package. ``docs/design/kernels.md``
says why it is done so.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.interpreters import mlir

from phlox.core import _compat, way
from phlox.nn.functional.kernels._parts import Parts, Roles

_PACKAGE, _INTERFACE = "phlox_cpu", 7
_SWITCH = "PHLOX_CPU_KERNELS"
_HALVES = "bfloat16", "float16", "AMX"  # of the names of instructions, those that have bfloat16 among them
_CAST = "attention, pooling, LSTM and GRU in float32, rounded once"
_HALF = f"convolutions by the processor's own instructions; {_CAST}"
_WIDENED = f"{_CAST}; convolutions in plain JAX: this processor has no instructions for it"
_INTEGERS = (  # as the package numbers them
    "in plain JAX: this processor has no AVX2",
    "by VNNI",
    "by AMX",
    "by words of 16 bits: this processor has no VNNI",
)

# A user context is part of every jit key: what was traced with kernels does not serve where others are asked for.
_reference_only = _compat.user_context(False)
_whole = _compat.user_context(False)


class Package(NamedTuple):
    """The kernels' package, loaded, or why there is none."""

    library: ctypes.CDLL | None
    reason: str


def reference_forms() -> AbstractContextManager[Any]:
    """Trace operations in their plain JAX forms for a block and this thread, whatever kernels there are.

    For what reads a program instead of running it: counts of operations, exporters.

    >>> with reference_forms():
    ...     jaxpr = jax.make_jaxpr(lambda x: x + 1)(1.0)
    """
    return _reference_only(True)


def whole_operations() -> AbstractContextManager[Any]:
    """As ``reference_forms``, and each operation as the one that JAX has for it, whatever XLA runs fastest here.

    For exporters: readers of a file know a grouped convolution and a pool, and not the products and maxima that these
    are taken apart into for a CPU.

    >>> with whole_operations():
    ...     jaxpr = jax.make_jaxpr(lambda x: x + 1)(1.0)
    """
    return _whole(True)


def whole_wanted() -> bool:
    """Whether operations are to be traced whole."""
    return _whole.value


def read_only() -> bool:
    """Whether a program is traced to be read, counted or exported, and not to run here."""
    return _reference_only.value or _whole.value


@functools.cache
def package() -> Package:
    """Load the package of kernels and make its functions known to XLA, once."""
    if os.environ.get(_SWITCH, "on").lower() in ("off", "0", "false", "no"):
        return Package(None, f"turned off by {_SWITCH}")
    try:
        module = importlib.import_module(_PACKAGE)
        if module.INTERFACE != _INTERFACE:
            return Package(None, f"phlox-cpu speaks interface {module.INTERFACE}, Phlox {_INTERFACE}: upgrade both")
        library = module.load()
        for name, function in module.targets().items():
            jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(function), platform="cpu")
    except ModuleNotFoundError:
        return Package(None, "phlox-cpu is not installed")
    except Exception as error:  # whatever is wrong with a package that only makes things faster, Phlox works without
        return Package(None, f"phlox-cpu does not load: {error}")
    return Package(library, "in use")


def in_use(*arrays: Any) -> bool:
    """Whether to trace a kernel for these operands: on the CPU, of known sizes, in a dtype that kernels take."""
    return (
        not (_reference_only.value or _whole.value)
        and jax.default_backend() == "cpu"
        and package().library is not None
        and all(map(_takes, arrays))
    )


def _takes(x: Any) -> bool:
    sizes = all(isinstance(n, int) and n > 0 for n in x.shape)
    return sizes and x.dtype in (jnp.float32, jnp.bfloat16) and not _compat.typed_by_mesh(x)


def kernels_report() -> list[tuple[str, str]]:
    """What is known of the kernels, as pairs of a name and what is to be said of it, for ``phlox doctor``."""
    library, reason = package()
    if library is None:
        return [("kernels", f"plain JAX: {reason}")]
    version, instructions = library.phlox_cpu_onednn_version().decode(), library.phlox_cpu_instructions().decode()
    facts = f"oneDNN {version}, {instructions}, {library.phlox_cpu_threads()} threads"
    if jax.default_backend() != "cpu":
        return [("kernels", f"plain JAX: programs run on {jax.default_backend()}; phlox-cpu is there ({facts})")]
    half = [("kernels in bfloat16", _HALF if any(name in instructions for name in _HALVES) else _WIDENED)]
    return [
        ("kernels", f"phlox-cpu ({facts})"),
        *half,
        ("products of int8", _INTEGERS[library.phlox_cpu_integer_instructions()]),
        *((name, _uses(kernel)) for name, kernel in sorted(_all.items())),
    ]


# --- kernels ------------------------------------------------------------------------------------------


class Use(NamedTuple):
    """How often a kernel was compiled, how often its reference form in its place, and why the last time."""

    kernel: int = 0
    reference: int = 0
    why: str = ""


class Kernel:
    """A JAX primitive with a reference form; ``kernel(*arrays, **params)`` binds it.

    Arguments:
        name: the primitive's name.
        reference: the operation in plain JAX, ``reference(*arrays, **params)``.
        call: the same by a call into the package, in the same form.
        shapes: ``shapes(*arrays, **params)`` gives the result's shape and dtype as a ``ShapeDtypeStruct``, or a tuple.
        declines: ``declines(library, *shapes, **params)`` gives the reason why the package cannot do it, or None; no
            function where the package has no such call, and the plain form is meant.
        several: whether the results are a tuple.
        roles: what its arrays are to a batch, for programs over several devices; None where it needs all rows at once,
            and such programs take the plain form.

    Among its parameters is ``over`` too, the ``Parts`` in which it was traced. Rules of derivatives and maps pass it on
    with the others, and it is looked up anew where a kernel is called.
    """

    name: str
    call: Callable[..., Any]
    declines: Callable[..., str | None] | None
    roles: Roles | None
    use: Use
    primitive: Any

    def __init__(
        self,
        name: str,
        reference: Callable[..., Any],
        call: Callable[..., Any],
        shapes: Callable[..., Any],
        declines: Callable[..., str | None] | None,
        *,
        several: bool = False,
        roles: Roles | None = None,
    ):
        self.name, self._reference, self.call, self._shapes = name, reference, call, shapes
        self.declines, self.roles = declines, roles
        self.use = Use()
        self.primitive = _compat.Primitive(name)
        self.primitive.multiple_results = several
        self.primitive.def_abstract_eval(self._abstract)
        self.primitive.def_impl(self._eager)
        mlir.register_lowering(self.primitive, self._lower_plain)
        if declines is not None:
            mlir.register_lowering(self.primitive, self._lower_cpu, platform="cpu")
            _all[name] = self

    def __call__(self, *arrays: Any, over: Parts | None = None, **params: Any) -> Any:
        del over
        inside = jax.sharding.get_abstract_mesh().manual_axes  # a device's part has no parts
        return self.primitive.bind(*arrays, over=None if inside else way("kernels"), **params)

    def reference(self, *arrays: Any, over: Parts | None = None, **params: Any) -> Any:
        """The operation in plain JAX."""
        del over
        return self._reference(*arrays, **params)

    def shapes(self, *arrays: Any, over: Parts | None = None, **params: Any) -> Any:
        """The shape and dtype of each result."""
        del over
        return self._shapes(*arrays, **params)

    def _abstract(self, *avals: Any, **params: Any) -> Any:
        return jax.tree.map(lambda r: _compat.ShapedArray(r.shape, r.dtype), self.shapes(*avals, **params))

    def _eager(self, *arrays: Any, **params: Any) -> Any:
        if _compat.jit_is_disabled():  # whoever turns compiling off wants to see plain operations
            return self.reference(*arrays, **params)
        return _compiled(self.primitive, tuple(params.items()))(*arrays)

    def _lower_plain(self, ctx: Any, *operands: Any, **params: Any) -> Any:
        return mlir.lower_fun(self.reference, self.primitive.multiple_results)(ctx, *operands, **params)

    def _lower_cpu(self, ctx: Any, *operands: Any, over: Parts | None, **params: Any) -> Any:
        why = self._refusal(ctx, over, params)
        self.use = self.use._replace(kernel=self.use.kernel + 1) if why is None else self._noted(why)
        if why is not None:
            return self._lower_plain(ctx, *operands, **params)
        call = functools.partial(self.call, **params)
        if over is None or self.roles is None:
            return mlir.lower_fun(call, self.primitive.multiple_results)(ctx, *operands)
        return mlir.lower_fun(over(self.roles, call), True)(ctx, *operands)

    def _refusal(self, ctx: Any, over: Parts | None, params: dict[str, Any]) -> str | None:
        if not (_compat.lowers_for_one_cpu(ctx) if over is None else _compat.lowers_for_cpus(ctx, over.mesh.size)):
            return "the program is exported, or spread over devices"
        return self.refuses(*ctx.avals_in, over=over, **params)

    def refuses(self, *avals: Any, over: Parts | None = None, **params: Any) -> str | None:
        """Why a program takes the plain form, of one CPU or of those of ``over``, or None where it takes the call."""
        library = package().library
        if library is None or self.declines is None:
            return "no package"
        if over is None:
            return self.declines(library, *avals, **params)
        if self.roles is None or not over.takes(self.roles, avals):
            return "the devices have no rows of their own"
        return self.declines(library, *over.of_each(self.roles, avals), **params)

    def _noted(self, why: str) -> Use:
        return Use(self.use.kernel, self.use.reference + 1, why)


_all: dict[str, Kernel] = {}


def summing_kernel(equation: Any) -> Kernel | None:
    """The kernel of an equation that stands in parts, and sums over the rows of a batch; None for all others."""
    kernel, over = _all.get(equation.primitive.name), equation.params.get("over")
    if kernel is None or kernel.roles is None or over is None or "s" not in kernel.roles.outputs:
        return None
    return kernel if over.takes(kernel.roles, [v.aval for v in equation.invars]) else None


def plain_form(equation: Any) -> Any | None:
    """The jaxpr that a kernel's equation is where the package declines it; None where it does not."""
    kernel = _all.get(equation.primitive.name)
    avals = [v.aval for v in equation.invars]
    if kernel is None or kernel.refuses(*avals, **equation.params) is None:
        return None
    return jax.make_jaxpr(functools.partial(kernel.reference, **equation.params))(*avals).jaxpr


@functools.lru_cache(512)
def _compiled(primitive: Any, params: tuple[tuple[str, Any], ...]) -> Callable[..., Any]:
    return jax.jit(functools.partial(primitive.bind, **dict(params)))


def _uses(kernel: Kernel) -> str:
    use = kernel.use
    if not use.kernel and not use.reference:
        return "ready"
    text = f"compiled {use.kernel} times"
    return text if not use.reference else f"{text}, its plain form {use.reference} times (last: {use.why})"


def int64s(*numbers: int) -> ctypes.Array[ctypes.c_int64]:
    """Numbers as a C array."""
    return (ctypes.c_int64 * len(numbers))(*numbers)


def asked(function: Any, *arguments: Any) -> str | None:
    """Ask the library whether it can do something; None is yes, else its reason."""
    answer = ctypes.create_string_buffer(1024)
    return answer.value.decode(errors="replace") if function(*arguments, answer, ctypes.c_size_t(1024)) else None
