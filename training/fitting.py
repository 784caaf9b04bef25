"""A model in the form used by training: trained arrays, other state, and the call.

A ``Fit`` separates the arrays that an optimiser changes, ``{"params": ..., "ranges": ...}`` (ranges only if any is
learned), from the other state of the model (batch statistics, tracked ranges). Its call

    outputs, state = fit.call(params, state, x, key)

samples the hardware from the key. It is a pure function, so that it can be transformed.
"""

from typing import Any, NamedTuple

import jax

from analogsim.base.checks import NO_ANALOG_LAYER
from analogsim.base.errors import InputError
from analogsim.base.types import PyTree
from analogsim.converters.range_rules import LearnedRange, TrackedRange
from analogsim.hardware.hardware import Hardware
from analogsim.models.bound import bind
from analogsim.models.protocol import BoundModel

#: Names of learned output scales in Linen's collections and NNX's states.
_SCALES = {"scale", "output_scale"}


def learns(hardware: dict[str, Hardware]) -> bool:
    """Return whether any layer learns a range."""
    return any(isinstance(r, LearnedRange) for h in hardware.values() for r in (h.input_range, h.output_range))


def tracks(hardware: dict[str, Hardware]) -> bool:
    """Return whether any layer's range tracks the values."""
    return any(isinstance(r, TrackedRange) for h in hardware.values() for r in (h.input_range, h.output_range))


def _has_scales(ranges: PyTree) -> bool:
    return any(_SCALES & set(path_names(path)) for path, _ in jax.tree_util.tree_leaves_with_path(ranges))


def path_names(path: tuple) -> list[str]:
    """Return the names along a path of a pytree."""
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
        """Return the arrays that are trained, and the other state of the model.

        If any range or output scale is learned, all ranges are among the trained arrays; ``learned_labels`` tells
        which of them are updated.

        Raises:
          InputError: if the hardware learns ranges and the model has none.
        """
        collections = self.bound.collections()
        if learns(self.hardware) and "ranges" not in collections:
            raise InputError("variables: hold no ranges, and the hardware learns them; calibrate the model first")
        moves = learns(self.hardware) or _has_scales(collections.get("ranges", {}))
        names = ("params", "ranges") if moves else ("params",)
        params = {name: collections[name] for name in names}
        return params, {name: value for name, value in collections.items() if name not in names}

    def call(self, params: PyTree, state: PyTree, x: Any, key: jax.Array) -> tuple[Any, Any]:
        """Return the outputs on hardware sampled from the key, and the new state."""
        changing = [name for name in state if name != "ranges" or tracks(self.hardware)]
        if tracks(self.hardware) and "ranges" not in changing:
            changing.append("ranges")
        outputs, new = self.with_arrays(params, state).train(x, key, changing, self.options)
        # A call also returns the ranges as new state; those that learn are in params.
        return outputs, {**state, **{name: value for name, value in new.items() if name not in params}}

    def digital(self, params: PyTree, state: PyTree, x: Any) -> Any:
        """Return the outputs of the digital model in inference, whatever mode the model is in."""
        return self.with_arrays(params, state).digital(x, in_eval_mode=True)

    def unbound(self, params: PyTree, state: PyTree) -> tuple[Any, Any]:
        """Return model and variables; the variables are None if the model is a copy that holds the trained arrays."""
        return self.with_arrays(params, state).unbind()

    def with_arrays(self, params: PyTree, state: PyTree) -> BoundModel:
        """Return the bound model with these arrays."""
        return self.bound.with_collections({**state, **params})


def fit_of(model: Any, variables: PyTree, x: Any, options: dict[str, Any], digital_options: dict[str, Any]) -> Fit:
    """Prepare a model for training.

    Args:
      model, variables: a Linen model and its variables, or an NNX model and None.
      x: a small batch, for its shapes and the initial values of tracked ranges.
      options: keyword arguments of the model's call in training.
      digital_options: keyword arguments of the digital model's call.

    Raises:
      InputError: if the model has no analog layer.
    """
    bound = bind(model, variables, x, digital_options)
    hardware = bound.hardware()
    if not hardware:
        raise InputError(NO_ANALOG_LAYER)
    if tracks(hardware):
        bound = bound.with_tracked_ranges(x, options)
    return Fit(bound, options, hardware)


def learned_labels(params: PyTree, hardware: dict[str, Hardware]) -> Any:
    """Label every leaf of the trained arrays ``"params"``, ``"ranges"`` or ``"frozen"``, for ``optax.partition``."""

    def label(path: tuple, leaf: Any) -> str:
        names = path_names(path)
        if names[0] == "params" or _SCALES & set(names):  # a digital output scale is trained like a weight
            return "params"
        # The last matching name counts: a layer may be called input or output, too.
        kind = next((name for name in reversed(names) if name.removesuffix("_range") in ("input", "output")), None)
        layer_hardware = _hardware_of(names[1:], hardware)
        if kind is None or layer_hardware is None:
            return "frozen"
        rule = getattr(layer_hardware, f"{kind.removesuffix('_range')}_range")
        return "ranges" if isinstance(rule, LearnedRange) else "frozen"

    return jax.tree_util.tree_map_with_path(label, params)


def _hardware_of(names: list[str], hardware: dict[str, Hardware]) -> Hardware | None:
    """Return the hardware of the layer whose path is the longest prefix of these names."""
    paths = [path for path in hardware if names[: len(path.split("/"))] == path.split("/")]
    return hardware[max(paths, key=len)] if paths else hardware.get("(the model itself)")
