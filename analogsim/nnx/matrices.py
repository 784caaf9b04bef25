"""Which matrix each layer of an NNX model multiplies with: what a chip is written with.

Most layers multiply with the kernel that they hold. Others compute it in the call: ``nnx.WeightNorm`` and
``nnx.SpectralNorm`` normalise it first, weight standardisation and the like are subclasses of the user's. So the model
is called once, on zeros in the shape of its input, and every hook keeps the matrix that reaches it. The call is made on
a copy: statistics and random streams of the model stay as they were.

Without an input the stored kernels are written, and layers of which it shows that they may compute another are refused.
A module that puts another kernel into a plain layer around it, in place, does not show it.
"""

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
from analogsim.nnx.hooks import HOOKS, KernelVariable, written


def multiplied(
    model: nnx.Module,
    ops: dict[str, tuple[nnx.Module, Any]],
    lead: dict[str, tuple[int, ...]],
    run: Callable[[nnx.Module], Any] | None,
) -> dict[str, jax.Array]:
    """The kernel that reaches each hook, by the layer's path; stacked as the layer is.

    Args:
      model: a copy, which is called.
      ops: its hooks with their layers, by path.
      lead: leading axes of the stack that each layer is.
      run: calls the model; None to take what is stored.

    Raises:
      InputError: for a layer that may compute its matrix and was not called.
    """
    kernels = {path: _stored(module, len(lead[path])) for path, (module, _) in ops.items()}
    mode = modes.KernelCapture()
    if run is not None:
        for path, (_, op) in ops.items():
            op.captured_kernel = nnx.data(KernelVariable(kernels[path]))
        with modes.enter(mode):
            run(model)
        kernels = {path: op.captured_kernel.get_value() for path, (_, op) in ops.items()}
    reached = set(mode.captured)
    for path in ops:  # a table is one, whether its rows are looked up or products with it are asked for
        other = holder(path) if holder(path) != path else attending(path)
        if path not in reached and other in mode.captured:
            kernels[path] = kernels[other]
            reached.add(path)
    around = _around(model)
    for path, (module, _) in ops.items():
        why = "" if path in reached else _why_computed(module, around[id(module)])
        if why:
            raise InputError(
                f"layer {path}: {why}, so that it may multiply with another matrix than the one that it holds; "
                + ("x does not reach it" if run else "give an input, program(model, key=key, x=x)")
            )
    return kernels


def _stored(module: Any, lead: int) -> jax.Array:
    name = "embedding" if isinstance(module, nnx.Embed) else "kernel"

    def of_one(kernel: jax.Array) -> jax.Array:
        return written(module, name, kernel)

    for _ in range(lead):
        of_one = jax.vmap(of_one)
    return of_one(jnp.asarray(getattr(module, name)[...]))


def _around(model: nnx.Module) -> dict[int, list[Any]]:
    """The modules around each module."""
    modules = dict(nnx.iter_modules(model))
    return {
        id(module): [modules[parts[:n]] for n in range(len(parts)) if parts[:n] in modules]
        for parts, module in modules.items()
    }


def _why_computed(module: Any, around: list[Any]) -> str:
    """Why a layer may compute the matrix that it multiplies with; nothing where it does not show."""
    for parent in around:
        if isinstance(parent, (nnx.WeightNorm, nnx.SpectralNorm)):
            return f"nnx.{type(parent).__name__} normalises its kernel in the call"
    kind = next(kind for kind in (*HOOKS, *TWINS) if isinstance(module, kind))
    mro = type(module).__mro__
    known_kinds = (nnx.LoRALinear, Core, *TWINS.values())
    own_classes = [c for c in mro[: mro.index(kind)] if c not in known_kinds]
    if any(name in vars(c) for c in own_classes for name in ("__call__", "kernel", "embedding", "promote_dtype")):
        return f"it is of a subclass of {kind.__name__} with code of its own"
    if getattr(module, "promote_dtype", nnx.nn.dtypes.promote_dtype) is not nnx.nn.dtypes.promote_dtype:
        return "it has a promote_dtype of its own"
    return ""
