"""Which leaves of a parameter tree a rule of training acts on."""

from collections.abc import Callable
from typing import Any

import jax

from analogsim.base.errors import InputError


def is_kernel(path: tuple, leaf: Any) -> bool:
    """Whether a parameter is a layer's weight matrix or convolution window: named ``kernel``, as Flax names it."""
    names = [getattr(p, "key", getattr(p, "name", None)) for p in path]
    return "kernel" in names


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
