"""Calibrated ranges of a bound model: which kinds it has, and how to scale them."""

from typing import Any

import jax

from analogsim.models.protocol import BoundModel
from analogsim.training.fitting import path_names
from analogsim.training.hardware_numbers import RANGES


def range_kind(path: tuple) -> str:
    """Return ``"input"``, ``"output"`` or ``"weight"`` for the path of a leaf in a model's ranges, or "" for others.

    Only the end of the path decides, because a layer may also be called input or output.

    Example:
      >>> from jax.tree_util import DictKey
      >>> range_kind((DictKey("output"), DictKey("analog"), DictKey("input")))
      'input'
    """
    names = path_names(path)
    # In NNX, the array is one level below its variable.
    last = names[-2] if names[-1] == "value" and len(names) > 1 else names[-1]
    kind = last.removesuffix("_range")
    return kind if kind in RANGES else ""


def ranges_of(bound: BoundModel) -> list[str]:
    """Return the names of the kinds of ranges that are calibrated, for example ``["ranges.input"]``."""
    leaves = jax.tree_util.tree_leaves_with_path(bound.collections().get("ranges", {}))
    kinds = {range_kind(path) for path, _ in leaves}
    return [name for kind, name in RANGES.items() if kind in kinds]


def with_ranges(bound: BoundModel, factors: dict[str, Any]) -> BoundModel:
    """Return the model with its calibrated ranges multiplied by one factor per kind, ``{"input": 1.1}``."""
    if not factors:
        return bound
    collections = bound.collections()
    scaled = jax.tree_util.tree_map_with_path(
        lambda path, a: a * factors.get(range_kind(path), 1.0), collections.get("ranges", {})
    )
    return bound.with_collections({**collections, "ranges": scaled})
