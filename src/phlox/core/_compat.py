"""Every use of private or semi-public JAX, each with its reason; tested on jax 0.10 to 0.12."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Sequence
from typing import Any

import jax
from jax._src import clusters as _clusters
from jax._src import config as _config
from jax._src import core as _core
from jax._src import distributed as _distributed
from jax._src import xla_bridge as _xla_bridge
from jax._src.interpreters import batching as _batching

# The public `jax.extend.core.get_opaque_trace_state` tells two traces apart but not what they are,
# and costs three times as much; a Module asks at every eager write.
_context = _core.trace_ctx
_EAGER = _core.eval_trace


def current_trace() -> Any:
    """The trace under which the calling code runs; ``eager()`` tells whether it is none."""
    return _context.trace


def eager() -> bool:
    """True where no trace of any kind is active."""
    return _context.trace is _EAGER


EAGER: Any = _EAGER


def trace_ref(trace: Any) -> Any:
    """A reference that tells a trace from others and does not keep it alive; None is eager."""
    return None if trace is _EAGER else trace._weakref


def _name(trace: Any) -> str:
    return type(trace).__name__


def is_staging(trace: Any) -> bool:
    """True where ``trace`` itself records a jaxpr (plain jit, scan, cond, checkpoint bodies)."""
    return _name(trace) == "DynamicJaxprTrace"


def records_inside(body: Any) -> bool:
    """True where a jaxpr is recorded by a trace nearer than ``body``, also under derivatives and maps inside it."""
    trace = _context.trace
    while trace is not None and trace is not _EAGER and trace._weakref is not body:
        if is_staging(trace):
            return True
        trace = getattr(trace, "parent_trace", None)
    return False


def is_differentiating(trace: Any) -> bool:
    """True where ``trace`` itself computes a derivative (grad, vjp, jvp, linearize)."""
    return _name(trace) in ("LinearizeTrace", "JVPTrace")


def python_control_flow() -> bool:
    """True where values are concrete underneath: eager code, and eager code inside a gradient."""
    trace = _context.trace
    while trace is not None and trace is not _EAGER:
        if not is_differentiating(trace):
            return False
        trace = getattr(trace, "parent_trace", None)
    return True


def batched_here(x: Any) -> bool:
    """True if ``x`` varies along the axis of the innermost vmap (at the end of that vmap's body)."""
    return isinstance(x, _batching.BatchTracer) and x._trace is _context.trace and x.batch_dim is not None


def concrete(x: Any) -> Any:
    """The array under the tracers of eager differentiation, or None where there is none."""
    while isinstance(x, Tracer):
        x = getattr(x, "primal", None)
    return x


def flatten_one_level(x: Any) -> tuple[list[Any], Any] | None:
    """Children and static data of a registered pytree node that is no builtin container; None for leaves.

    `jax.tree_util` offers only whole-tree flattening; attributes are taken apart level by level.
    """
    return jax.tree_util.default_registry.flatten_one_level(x)


def rebuild_one_level(like: Any, children: list[Any]) -> Any:
    """A node of the kind of ``like`` with other children."""
    leaves, treedef = jax.tree_util.tree_flatten(like, is_leaf=lambda v: v is not like)
    del leaves
    return jax.tree_util.tree_unflatten(treedef, children)


Tracer = _core.Tracer  # `jax.core` is not imported by `import jax`

# Concrete arrays are of this class (typed PRNG keys are not); asking for it by `type(jnp.zeros(()))`
# would start a backend at import.
from jaxlib._jax import ArrayImpl as ArrayImpl  # noqa: E402

user_context = jax.make_user_context


def thread_setting(default: Any) -> Any:
    """What is below a user context: ``value``, and ``set_local`` for this thread.

    JAX offers blocks alone; they put back what they found, which is wrong where asyncio tasks interleave.
    """
    return user_context(default)._obj


def jit_is_disabled() -> bool:
    """Whether `jax.disable_jit` holds here; `jax.config` names its flags dynamically."""
    return bool(jax.config.jax_disable_jit)  # pyright: ignore[reportAttributeAccessIssue]


def lowers_for_one_cpu(ctx: Any) -> bool:
    """Whether a lowering rule works for a program of this process that one device runs, or each of several by itself.

    A program to be exported must not call functions of this process, and the partitioner that spreads a program over
    devices does not look into such calls: it would gather their whole operands on every device.
    """
    module = ctx.module_context
    return not module.lowering_parameters.for_export and not _is_spread(module.axis_context)


def lowers_for_cpus(ctx: Any, count: int) -> bool:
    """Whether a lowering rule works for a program of this process that the partitioner spreads over so many devices."""
    module = ctx.module_context
    return not module.lowering_parameters.for_export and getattr(module.axis_context, "num_devices", 0) == count


def _is_spread(context: Any) -> bool:
    """Whether the partitioner spreads what is lowered here: also inside a `shard_map` that leaves it some axes."""
    mesh = getattr(context, "mesh", None)
    if mesh is None:
        return getattr(context, "num_devices", 1) != 1
    return any(size > 1 and name not in context.manual_axes for name, size in mesh.shape.items())


def typed_by_mesh(x: Any) -> bool:
    """Whether the type of an array names mesh axes: explicitly sharded, or varying inside `shard_map`."""
    aval = jax.typeof(x)
    spec = getattr(getattr(aval, "sharding", None), "spec", ())
    return any(axis is not None for axis in spec) or not getattr(aval, "manual_axis_type", _NONE).empty


class _NONE:
    empty = True


Primitive = _core.Primitive  # `jax.extend.core` has it too, and brings pallas along: a third of `import phlox`
Literal = _core.Literal
jaxpr_as_fun = _core.jaxpr_as_fun  # at a first call pallas would do more: JAX 0.12 traces all anew when it comes
eval_jaxpr = _core.eval_jaxpr  # for arrays in place of those that the jaxpr closed over
ShapedArray = _core.ShapedArray  # what a primitive's abstract evaluation gives back


def run_equation(jaxpr: Any, equation: Any, values: Sequence[Any]) -> list[Any]:
    """The results of one equation of a jaxpr for these values, under its own name stack.

    How an equation's parameters go into ``bind`` differs from version to version; ``eval_jaxpr`` knows.
    """
    given = {v: x for v, x in zip(equation.invars, values, strict=True) if not isinstance(v, Literal)}
    alone = jaxpr.replace(constvars=[], invars=list(given), outvars=list(equation.outvars), eqns=[equation])
    return _core.eval_jaxpr(alone, [], *given.values())


def written_at(equation: Any, ours: str) -> str:
    """The file and line that an equation of a jaxpr comes from, ``train.py:12``; nothing where nobody knows.

    It is the innermost that belongs neither to JAX nor to the package in the folder ``ours``.
    """
    traceback = equation.source_info.traceback
    if traceback is None:
        return ""
    others = (ours, os.path.dirname(jax.__file__), os.path.dirname(contextlib.__file__))
    for frame in traceback.frames:
        if not frame.file_name.startswith(others):
            return f"{os.path.basename(frame.file_name)}:{frame.line_num}"
    return ""


def known_as(run: Any, name: str, source: str, traced_for: str, arguments: list[str]) -> Any:
    """A function for JAX to trace, which its messages and compiled programs call by the user's names.

    ``source`` is ``name at file:line``; ``arguments`` are the paths of the flat arguments. JAX reads the attribute in
    place of looking at the function's signature; a JAX that does not know it falls back to that.
    """
    run.__name__ = run.__qualname__ = name
    run.__fun_debug_info__ = _core.DebugInfo(traced_for, source, tuple(arguments), _core.initial_result_paths)
    return run


def without_places() -> Any:
    """A block in which lowered programs do not tell from which lines of whose files they come."""
    return _config.traceback_in_locations_limit(0)


# --- several processes --------------------------------------------------------------------------------


def has_backend() -> bool:
    """Whether a backend runs; ``jax.devices()`` would start one, and then it is too late for other processes."""
    return _xla_bridge.backends_are_initialized()


def more_cpu_devices(count: int) -> list[Any]:
    """Devices of a client beside JAX's own: programs are compiled for them, with no more than JAX was started with."""
    from jaxlib import xla_client

    return xla_client.make_cpu_client(num_devices=count).devices()


def coordination() -> Any:
    """What JAX knows of the other processes: ``client``, ``process_id``, ``num_processes``, ``coordinator_address``."""
    return _distributed.global_state


def cluster_here() -> Any:
    """The cluster that started this process, as JAX recognises it; None where it does not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a package is missing by which it would look further
        known = (kind for kind in _clusters.ClusterEnv._cluster_types if not kind.opt_in_only_method)
        return next((kind for kind in known if kind.is_env_present()), None)


def connect(
    coordinator: str,
    processes: int,
    process: int,
    devices: Sequence[int] | None,
    *,
    seconds: int,
    heartbeat: int,
    leaving: int,
) -> None:
    """``jax.distributed.initialize`` without its service for preemption, which keeps SIGTERM for itself.

    A process would not end by it.
    """
    with _enable_preemption(False):
        _distributed.global_state.initialize(
            coordinator_address=coordinator,
            num_processes=processes,
            process_id=process,
            local_device_ids=devices,
            cluster_detection_method="deactivate",
            initialization_timeout=seconds,
            heartbeat_timeout_seconds=heartbeat,
            shutdown_timeout_seconds=leaving,
        )


def preempted(step: int) -> bool:
    """Whether JAX's service for preemption, where it runs, has all processes save behind this step.

    All ask it behind every step. It runs where ``jax.distributed.initialize`` was called, and not ``connect``.
    """
    manager = _distributed.global_state.preemption_sync_manager
    return manager is not None and bool(manager.reached_sync_point(step))


_enable_preemption = _distributed._ENABLE_PREEMPTION_SERVICE


def scan_counts(params: Any) -> tuple[int, int]:
    """How many constants and carries a scan's equation has, whose arrays come in that order, rows last."""
    if "num_consts" in params:
        return params["num_consts"], params["num_carry"]
    constants, carries, _ = params["ft_in"].unpack()  # since JAX 0.12
    return len(constants), len(carries)
