"""Which leaves of a parameter tree a rule of training acts on."""

import numbers
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from analogsim.base.errors import InputError, brief


def is_kernel(path: tuple, leaf: Any) -> bool:
    """Whether a parameter is a layer's weight matrix or convolution window: named ``kernel``, as Flax names it."""
    names = [getattr(p, "key", getattr(p, "name", None)) for p in path]
    return "kernel" in names


def check_number(value: Any, name: str, range_: str, allowed: Callable[[Any], Any]) -> None:
    """Refuse what is no real number, and a known number out of range; tracers (a schedule's value) pass."""
    if isinstance(value, jax.core.Tracer):
        return
    is_array = isinstance(value, (jax.Array, np.ndarray)) and jax.numpy.issubdtype(value.dtype, np.number)
    is_number = isinstance(value, numbers.Real) and not isinstance(value, (bool, np.bool_))
    if not (is_array or is_number) or np.iscomplexobj(value) or not np.all(allowed(np.asarray(value))):
        raise InputError(f"{name} = {brief(value)}: must be a number, {range_}")


def map_selected(function: Callable[[int, Any], Any], params: Any, where: Callable[[tuple, Any], bool]) -> Any:
    """``function(index, leaf)`` on the chosen leaves, the others unchanged; refuses a rule that chooses nothing."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(params)
    chosen = [where(path, leaf) for path, leaf in leaves]
    if not any(chosen):
        raise InputError(
            "no parameter is chosen: 'where' is false for every leaf (by default it wants the name 'kernel')"
        )
    new = [function(i, leaf) if c else leaf for i, ((_, leaf), c) in enumerate(zip(leaves, chosen, strict=True))]
    return jax.tree.unflatten(structure, new)
