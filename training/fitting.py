"""A model as training sees it, once for Linen and once for NNX: what is trained, what is kept, how it is called.

A fit has a tree of arrays ``{"params": ..., "ranges": ...}`` that an optimiser may move (the ranges only where the
hardware learns them), the other state of the model (batch statistics, tracked ranges), and a call

    outputs, state = fit.call(tree, state, x, key)

on freshly drawn hardware. All of it is pure, so that it goes into any transformation.
"""

from typing import Any, NamedTuple, Protocol

import jax

from analogsim.base.call_inputs import as_inputs
from analogsim.base.checks import NO_ANALOG_LAYER
from analogsim.base.errors import InputError
from analogsim.base.random import stream
from analogsim.converters.range_rules import LearnedRange, TrackedRange
from analogsim.hardware.hardware import Hardware
from analogsim.hardware.override import override_hardware
from analogsim.layers import modes
from analogsim.models.bound import bind, merged


class Fit(Protocol):
    """A model to be trained."""

    @property
    def hardware(self) -> dict[str, Hardware]:
        """What every analog layer runs on, by path."""
        ...

    def start(self) -> tuple[Any, Any]:
        """The tree to be trained, and the model's other state."""
        ...

    def call(self, params: Any, state: Any, x: Any, key: jax.Array) -> tuple[jax.Array, Any]:
        """Outputs on hardware drawn from the key, and the state after."""
        ...

    def digital(self, params: Any, state: Any, x: Any) -> jax.Array:
        """Exact outputs."""
        ...

    def unbind(self, params: Any, state: Any) -> Any:
        """The trained variables, or the trained copy of an NNX model."""
        ...


def hardware_of(model: Any, variables: Any, x: Any, options: dict[str, Any]) -> dict[str, Hardware]:
    """What every analog layer runs on, by path, in the order of use; found by shapes, without computing."""
    from flax import nnx

    if isinstance(model, nnx.Module):  # its hardware is a part of its state, and traced inside of a shape
        from analogsim.nnx import analog_ops

        ops = {path: op.runs_on for path, (_, op) in analog_ops(model).items()}
        return _some(ops)
    found: dict[str, Hardware] = {}

    def note(path: str, hardware: Hardware) -> Hardware:
        found[path] = hardware
        return hardware

    bound = bind(model, variables, options=options)
    with override_hardware(note):
        jax.eval_shape(bound.digital, x)
    return _some(found)


def _some(found: dict[str, Hardware]) -> dict[str, Hardware]:
    if not found:
        raise InputError(NO_ANALOG_LAYER)
    return found


def learns(hardware: dict[str, Hardware]) -> bool:
    """Whether any layer learns a range."""
    return any(isinstance(r, LearnedRange) for h in hardware.values() for r in (h.input_range, h.output_range))


def tracks(hardware: dict[str, Hardware]) -> bool:
    """Whether any layer's range follows the values."""
    return any(isinstance(r, TrackedRange) for h in hardware.values() for r in (h.input_range, h.output_range))


def _has_scales(ranges: Any) -> bool:
    """Whether learned scales of outputs are among these."""
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(ranges)]
    return any({"scale", "output_scale"} & set(path_names(path)) for path in paths)


def path_names(path: tuple) -> list[str]:
    """The names along a path into a tree."""
    return [str(getattr(p, "key", getattr(p, "name", p))) for p in path]


class LinenFit(NamedTuple):
    """A Linen model; ``options`` are of its calls in training, ``exact_options`` elsewhere."""

    model: Any
    variables: Any
    options: dict[str, Any]
    exact_options: dict[str, Any]
    hardware: dict[str, Hardware]

    def start(self):
        """Ranges are trained together with the parameters; what does not learn gets no update."""
        if learns(self.hardware) and "ranges" not in self.variables:
            raise InputError("variables: hold no ranges, and the hardware learns them; calibrate the model first")
        moves = learns(self.hardware) or _has_scales(self.variables.get("ranges", {}))
        names = ("params", "ranges") if moves else ("params",)
        params = {name: self.variables[name] for name in names}
        return params, {name: value for name, value in self.variables.items() if name not in (*names, "analog")}

    def call(self, params, state, x, key):
        changing = [name for name in state if name != "ranges" or tracks(self.hardware)]
        if tracks(self.hardware) and "ranges" not in changing:
            changing.append("ranges")
        rngs = {"analog": stream(key, "analog"), "dropout": stream(key, "dropout")}
        apply = self.model.apply
        outputs, new = as_inputs(x).call(apply, {**state, **params}, rngs=rngs, mutable=changing, **self.options)
        # The sample of shapes beside the ranges is no array, and ranges that learn belong to the tree.
        kept = {name: merged(state.get(name, {}), value) for name, value in new.items() if name not in params}
        return outputs, {**state, **kept}

    def digital(self, params, state, x):
        with modes.digital():
            return as_inputs(x).call(self.model.apply, {**state, **params}, **self.exact_options)

    def unbind(self, params, state):
        return {**state, **params}


class NnxFit(NamedTuple):
    """An NNX model, which is copied and left as it is; options as of ``LinenFit``."""

    graph: Any
    params: Any
    ranges: Any
    rest: Any
    options: dict[str, Any]
    exact_options: dict[str, Any]
    hardware: dict[str, Hardware]

    @classmethod
    def of(
        cls, model: Any, hardware: dict[str, Hardware], x: Any, options: dict[str, Any], exact_options: dict[str, Any]
    ) -> "NnxFit":
        """The model in parts."""
        from flax import nnx

        from analogsim.nnx import RangeVariable

        copy = nnx.clone(model)
        if tracks(hardware):  # a range that follows values has a place after the first of them
            as_inputs(x).call(copy, **options)
        graph, *states = nnx.split(copy, nnx.Param, RangeVariable, ...)
        params, ranges, rest = states
        return cls(graph, params, ranges, rest, options, exact_options, hardware)

    def start(self):
        if not learns(self.hardware) and not _has_scales(self.ranges):
            return {"params": self.params}, {"ranges": self.ranges, "rest": self.rest}
        return {"params": self.params, "ranges": self.ranges}, {"rest": self.rest}

    def _model(self, params, state):
        from flax import nnx

        both = {**state, **params}
        return nnx.merge(self.graph, both["params"], both["ranges"], both["rest"], copy=True)

    def call(self, params, state, x, key):
        from flax import nnx

        from analogsim.nnx import RangeVariable
        from analogsim.nnx.chips import reseed

        model = self._model(params, state)
        reseed(model, key)
        outputs = as_inputs(x).call(model, **self.options)
        _, *states = nnx.split(model, nnx.Param, RangeVariable, ...)
        new = dict(zip(("params", "ranges", "rest"), states, strict=True))
        return outputs, {name: new[name] for name in state}

    def digital(self, params, state, x):
        model = self._model(params, state)
        with modes.digital():
            return as_inputs(x).call(model, **self.exact_options)

    def unbind(self, params, state):
        return self._model(params, state)


def fit_of(model: Any, variables: Any, x: Any, options: dict[str, Any], exact_options: dict[str, Any]) -> Fit:
    """The model as training sees it; ``x`` is one small batch."""
    from flax import nnx

    hardware = hardware_of(model, variables, x, exact_options)
    if isinstance(model, nnx.Module):
        return NnxFit.of(model, hardware, x, options, exact_options)
    return LinenFit(model, variables, options, exact_options, hardware)


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
