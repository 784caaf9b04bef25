"""A model in the form used by training: trained arrays, other state, and the call.

A fit has a tree of arrays ``{"params": ..., "ranges": ...}`` that an optimiser may move (the ranges only where the
hardware learns them), the other state of the model (batch statistics, tracked ranges), and a call

    outputs, state = fit.call(tree, state, x, key)

on freshly drawn hardware. All of it is pure, so that it goes into any transformation.
"""

from typing import Any, NamedTuple

import jax

from analogsim.base.checks import NO_ANALOG_LAYER
from analogsim.base.errors import InputError
from analogsim.converters.range_rules import LearnedRange, TrackedRange
from analogsim.hardware.hardware import Hardware
from analogsim.models.bound import bind
from analogsim.models.protocol import BoundModel


def learns(hardware: dict[str, Hardware]) -> bool:
    """Return whether any layer learns a range."""
    return any(isinstance(r, LearnedRange) for h in hardware.values() for r in (h.input_range, h.output_range))


def tracks(hardware: dict[str, Hardware]) -> bool:
    """Return whether any layer's range tracks the values."""
    return any(isinstance(r, TrackedRange) for h in hardware.values() for r in (h.input_range, h.output_range))


def _has_scales(ranges: Any) -> bool:
    """Whether learned scales of outputs are among these."""
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(ranges)]
    return any({"scale", "output_scale"} & set(path_names(path)) for path in paths)


def path_names(path: tuple) -> list[str]:
    """The names along a path into a tree."""
    return [str(getattr(p, "key", getattr(p, "name", p))) for p in path]


class Fit(NamedTuple):
    """A model to be trained.

    Attributes:
      bound: the model, called with its options outside of training.
      options: keyword arguments of its calls in training.
      hardware: hardware of every analog layer, by path.
    """

    bound: BoundModel
    options: dict[str, Any]
    hardware: dict[str, Hardware]

    def start(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The tree to be trained, and the model's other state.

        Ranges are trained together with the parameters where any moves; what does not learn gets no update.
        """
        collections = self.bound.collections()
        if learns(self.hardware) and "ranges" not in collections:
            raise InputError("variables: hold no ranges, and the hardware learns them; calibrate the model first")
        moves = learns(self.hardware) or _has_scales(collections.get("ranges", {}))
        names = ("params", "ranges") if moves else ("params",)
        params = {name: collections[name] for name in names}
        return params, {name: value for name, value in collections.items() if name not in names}

    def call(self, params: Any, state: Any, x: Any, key: jax.Array) -> tuple[Any, Any]:
        """Return the outputs on hardware sampled from the key, and the new state."""
        changing = [name for name in state if name != "ranges" or tracks(self.hardware)]
        if tracks(self.hardware) and "ranges" not in changing:
            changing.append("ranges")
        outputs, new = self._with(params, state).train(x, key, changing, self.options)
        # Ranges that learn belong to the tree.
        return outputs, {**state, **{name: value for name, value in new.items() if name not in params}}

    def digital(self, params: Any, state: Any, x: Any) -> Any:
        """Return the outputs of the digital model."""
        return self._with(params, state).digital(x, as_in_training=True)

    def unbound(self, params: Any, state: Any) -> tuple[Any, Any]:
        """Model and variables; the variables are None where the model itself is a trained copy."""
        return self._with(params, state).unbind()

    def _with(self, params: Any, state: Any) -> BoundModel:
        return self.bound.with_collections({**state, **params})


def fit_of(model: Any, variables: Any, x: Any, options: dict[str, Any], exact_options: dict[str, Any]) -> Fit:
    """The model as training sees it; ``x`` is one small batch.

    Raises:
      InputError: where the model has no analog layer.
    """
    bound = bind(model, variables, x, exact_options)
    hardware = bound.hardware()
    if not hardware:
        raise InputError(NO_ANALOG_LAYER)
    if tracks(hardware):
        bound = bound.with_tracked_ranges(x, options)
    return Fit(bound, options, hardware)


def learned_labels(params: Any, hardware: dict[str, Hardware]) -> Any:
    """``"params"``, ``"ranges"`` or ``"frozen"`` for every leaf of a tree that is trained."""

    def label(path: tuple, leaf: Any) -> str:
        names = path_names(path)
        if names[0] == "params":
            return "params"
        if {"scale", "output_scale"} & set(names):
            return "params"  # a digital scale is learned as a weight is
        rules = {"input": "input_range", "input_range": "input_range"}
        rules |= {"output": "output_range", "output_range": "output_range"}
        rule = next((rules[name] for name in reversed(names) if name in rules), None)
        owner = _owner(names[1:], hardware)
        learned = rule is not None and owner is not None and isinstance(getattr(owner, rule), LearnedRange)
        return "ranges" if learned else "frozen"

    return jax.tree_util.tree_map_with_path(label, params)


def _owner(names: list[str], hardware: dict[str, Hardware]) -> Hardware | None:
    """The hardware of the layer whose path these names begin with; the longest that does."""
    own = [path for path in hardware if names[: len(path.split("/"))] == path.split("/")]
    return hardware[max(own, key=len)] if own else hardware.get("(the model itself)")
