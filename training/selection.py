"""Selection of the leaves of a parameter tree that a training rule acts on."""

from collections.abc import Callable
from typing import Any

import jax

from analogsim.base.errors import InputError
from analogsim.base.types import PyTree


def is_kernel(path: tuple, leaf: Any) -> bool:
    """Return whether a parameter is a weight matrix or convolution window, which Flax names ``kernel``.

    Args:
      path: keys from the root of the parameter tree to the leaf, as in ``jax.tree_util``.
      leaf: the parameter; not used.

    Example:
      >>> params = {"Dense_0": {"kernel": 1.0, "bias": 0.0}}
      >>> jax.tree_util.tree_map_with_path(is_kernel, params)
      {'Dense_0': {'bias': False, 'kernel': True}}
    """
    names = [getattr(p, "key", getattr(p, "name", None)) for p in path]
    return "kernel" in names


def map_selected(function: Callable[[int, Any], Any], params: PyTree, where: Callable[[tuple, Any], bool]) -> Any:
    """Apply ``function(index, leaf)`` to the leaves with ``where(path, leaf)``; the others are unchanged.

    Raises:
      InputError: if no leaf is selected.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(params)
    chosen = [where(path, leaf) for path, leaf in leaves]
    if not any(chosen):
        raise InputError(
            "no parameter is selected: 'where' is False for every leaf (by default it selects the name 'kernel')"
        )
    new = [function(i, leaf) if c else leaf for i, ((_, leaf), c) in enumerate(zip(leaves, chosen, strict=True))]
    return jax.tree.unflatten(structure, new)
