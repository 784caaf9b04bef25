"""Calibrated ranges of a bound model, Linen or NNX: which kinds it has, and the model with others in their place."""

import dataclasses
from typing import Any

import jax

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


def ranges_of(bound: Any) -> list[str]:
    """Names of the kinds of ranges that are calibrated."""
    held = split_ranges(bound)[0]
    kinds = {range_kind(path) for path, _ in jax.tree_util.tree_leaves_with_path(held)}
    return [name for kind, name in RANGES.items() if kind in kinds]


def with_ranges(bound: Any, factors: dict[str, Any]) -> Any:
    """The bound model with its calibrated ranges multiplied, by kind."""
    if not factors:
        return bound
    held, rebuilt = split_ranges(bound)
    return rebuilt(jax.tree_util.tree_map_with_path(lambda path, a: a * factors.get(range_kind(path), 1.0), held))


def split_ranges(bound: Any) -> tuple[Any, Any]:
    """The ranges of a bound model, and what makes the model again from others."""
    if hasattr(bound, "variables"):
        held = bound.variables.get("ranges", {})
        return held, lambda new: dataclasses.replace(bound, variables={**bound.variables, "ranges": new})
    from flax import nnx

    from analogsim.nnx import RangeVariable

    held, rest = nnx.split_state(bound.state, RangeVariable, ...)
    return held, lambda new: dataclasses.replace(bound, state=nnx.merge_state(new, rest))
