"""Calibrated ranges of a bound model: which kinds it has, and the model with others in their place."""

from typing import Any

import jax

from analogsim.models.protocol import BoundModel
from analogsim.training.hardware_numbers import RANGES


def range_kind(path: tuple) -> str:
    """``"input"``, ``"output"`` or ``"weight"`` for a leaf among a model's ranges, by the end of its path; else "".

    Only the end counts: layers may be called input or output, too.

    Example:
      >>> from jax.tree_util import DictKey
      >>> range_kind((DictKey("output"), DictKey("analog"), DictKey("input")))
      'input'
    """
    names = [str(getattr(p, "key", getattr(p, "name", p))) for p in path]
    last = names[-2] if names[-1] == "value" and len(names) > 1 else names[-1]  # NNX has the array below its variable
    kind = last.removesuffix("_range")
    return kind if kind in RANGES else ""


def ranges_of(bound: BoundModel) -> list[str]:
    """Names of the kinds of ranges that are calibrated."""
    leaves = jax.tree_util.tree_leaves_with_path(bound.collections().get("ranges", {}))
    kinds = {range_kind(path) for path, _ in leaves}
    return [name for kind, name in RANGES.items() if kind in kinds]


def with_ranges(bound: BoundModel, factors: dict[str, Any]) -> BoundModel:
    """The bound model with its calibrated ranges multiplied, by kind."""
    if not factors:
        return bound
    collections = bound.collections()
    scaled = jax.tree_util.tree_map_with_path(
        lambda path, a: a * factors.get(range_kind(path), 1.0), collections.get("ranges", {})
    )
    return bound.with_collections({**collections, "ranges": scaled})
