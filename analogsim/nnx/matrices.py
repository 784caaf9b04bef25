"""Find the matrix that each layer of an NNX model multiplies with, which is programmed onto a chip.

Most layers multiply with their stored kernel. Others compute their kernel in the call: ``nnx.WeightNorm`` and
``nnx.SpectralNorm`` normalise it, user-defined subclasses may standardise it. So the model is called once with zeros in
the shape of its input, and every hook stores the kernel that reaches it. The call uses a copy of the model, so that its
statistics and random streams do not change.

Without an input, stored kernels are programmed, and layers that visibly may compute another kernel are refused. A
module that replaces the kernel of a plain layer in place is not detected.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from analogsim.base.errors import InputError
from analogsim.hardware.rules import attending, holder
from analogsim.layers import modes
from analogsim.nnx.factored import Core
from analogsim.nnx.hookless import TWINS
from analogsim.nnx.hooks import HOOKS, KernelVariable, matrix_of, written


def multiplied(
    model: nnx.Module,
    ops: dict[str, tuple[nnx.Module, Any]],
    lead: dict[str, tuple[int, ...]],
    run: Callable[[nnx.Module], Any] | None,
) -> dict[str, jax.Array]:
    """Return the kernel that reaches each hook.

    Args:
      model: a copy of the model, which is called.
      ops: its layers and hooks by path, from ``analog_ops``.
      lead: leading axes of each layer's stack by path.
      run: function that calls the model; None to use the stored kernels.

    Returns:
      kernels by path, with the axes of the layer's stack first.

    Raises:
      InputError: for a layer that may compute its kernel and is not called.
    """
    kernels = {path: _stored(module, len(lead[path])) for path, (module, _) in ops.items()}
    mode = modes.KernelCapture()
    if run is not None:
        for path, (_, op) in ops.items():
            # Stacked like the layer, because nnx.scan and nnx.vmap slice its Variables.
            op.captured_kernel = nnx.data(KernelVariable(kernels[path]))
        with modes.enter(mode):
            run(model)
        kernels = {path: op.captured_kernel.get_value() for path, (_, op) in ops.items()}
    reached = set(mode.captured)
    for path in ops:  # lookups and ``attend`` use the same table, so one of them suffices to reach it
        other = holder(path) if holder(path) != path else attending(path)
        if path not in reached and other in mode.captured:
            kernels[path] = kernels[other]
            reached.add(path)
    around = _around(model)
    for path, (module, _) in ops.items():
        why = "" if path in reached else _why_computed(module, around[id(module)])
        if why:
            raise InputError(
                f"layer {path}: {why}, so it may multiply with another matrix than its stored kernel; "
                + ("x does not reach it" if run else "pass an input, program(model, key=key, x=x)")
            )
    return kernels


def _stored(module: nnx.Module, lead: int) -> jax.Array:
    kernel_of_one = functools.partial(written, module)
    for _ in range(lead):
        kernel_of_one = jax.vmap(kernel_of_one)
    return kernel_of_one(jnp.asarray(matrix_of(module)[...]))


def _around(model: nnx.Module) -> dict[int, list[Any]]:
    """Return the modules that contain each module, by its ``id``."""
    modules = dict(nnx.iter_modules(model))
    return {
        id(module): [modules[parts[:n]] for n in range(len(parts)) if parts[:n] in modules]
        for parts, module in modules.items()
    }


def _why_computed(module: nnx.Module, around: list[Any]) -> str:
    """Return the reason why a layer may compute its kernel in the call; ``""`` if there is no sign of it."""
    for parent in around:
        if isinstance(parent, (nnx.WeightNorm, nnx.SpectralNorm)):
            return f"nnx.{type(parent).__name__} normalises its kernel in the call"
    kind = next(kind for kind in (*HOOKS, *TWINS) if isinstance(module, kind))
    mro = type(module).__mro__
    harmless = (nnx.LoRALinear, Core, *TWINS.values())  # subclasses that multiply with the stored kernel
    user_classes = [c for c in mro[: mro.index(kind)] if c not in harmless]
    if any(name in vars(c) for c in user_classes for name in ("__call__", "kernel", "embedding", "promote_dtype")):
        return f"its class is a subclass of {kind.__name__} with its own code"
    if getattr(module, "promote_dtype", nnx.nn.dtypes.promote_dtype) is not nnx.nn.dtypes.promote_dtype:
        return "it has a custom promote_dtype"
    return ""
