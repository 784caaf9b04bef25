"""A Linen model with its variables, as the rest of the package runs it (``models.protocol.BoundModel``)."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.errors import InvalidRngError, ModifyScopeVariableError, ScopeParamShapeError

from analogsim.base.call_inputs import Fixed, Inputs, Options, Sample, as_inputs, keywords
from analogsim.base.equality import ByValue
from analogsim.base.errors import InputError
from analogsim.base.random import stream
from analogsim.hardware.hardware import Hardware
from analogsim.hardware.override import override_hardware
from analogsim.hardware.rules import ROOT
from analogsim.layers import modes
from analogsim.layers.inventory import Inventory, inventory
from analogsim.layers.layer import LayerUse
from analogsim.linen.conversion import Converted


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class BoundLinen(ByValue):
    """A Linen model with its variables."""

    arrays: dict[str, Any]
    static_model: Fixed = dataclasses.field(metadata=dict(static=True))
    options: Options = dataclasses.field(metadata=dict(static=True))
    sample: Sample | None = None
    rngs: dict[str, jax.Array] = dataclasses.field(default_factory=dict)

    def collections(self) -> dict[str, Any]:
        """The variables: ``params``, ``ranges``, ``batch_stats`` and others."""
        return dict(self.arrays)

    def with_collections(self, collections: dict[str, Any]) -> "BoundLinen":
        """The same model with other variables."""
        return dataclasses.replace(self, arrays=collections)

    def unbind(self) -> tuple[nn.Module, dict[str, Any]]:
        """The model as it was given, and its variables."""
        return self.static_model.value, self.arrays

    def inputs(self) -> Inputs:
        """Zeros in the shapes of one call's inputs.

        Raises:
          InputError: where neither an input was given nor the variables remember one.
        """
        sample = self.sample or self.arrays.get("ranges", {}).get("sample")
        if not isinstance(sample, Sample):  # a checkpoint restored without a target has none
            raise InputError(
                "x = None: the layers of a Linen model are known from the shape of its input; pass x (one example is "
                "enough), or variables that come from analogsim.calibrate, which remember it"
            )
        return sample.inputs()

    def places(self, x: Any = None) -> dict[str, np.ndarray]:
        """The numbers of every layer's entries of ranges, by the layer's path; a stack (``nn.scan``) has several."""
        leaves = jax.tree_util.tree_leaves_with_path(self._numbered(self.inputs() if x is None else x))
        return {layer_of(path): np.asarray(leaf) for path, leaf in leaves}

    def _numbered(self, x: Any) -> dict[str, Any]:
        """``{layer: ... {"analog": {"place": numbers}}}``."""
        variables = {name: value for name, value in self.arrays.items() if name != "ranges"}
        with modes.enter(modes.PlacingMode()):
            _, state = jax.eval_shape(lambda v, a: self._apply(v, a, mutable=["ranges"]), variables, x)
        leaves, structure = jax.tree.flatten(state.get("ranges", {}))
        starts = np.cumsum([0, *(math.prod(leaf.shape) for leaf in leaves)])
        numbers = [jnp.arange(math.prod(a.shape)).reshape(a.shape) + s for a, s in zip(leaves, starts, strict=False)]
        return jax.tree.unflatten(structure, numbers)

    def layer_ranges(self) -> dict[str, dict[str, Any]]:
        """Calibrated ranges by layer and name."""
        ranges: dict[str, dict[str, Any]] = {}
        for path, leaf in jax.tree_util.tree_leaves_with_path(self.arrays.get("ranges", {})):
            ranges.setdefault(layer_of(path), {})[str(getattr(path[-1], "key", path[-1]))] = leaf
        return ranges

    def hardware(self) -> dict[str, Hardware]:
        """What every analog layer runs on here and now, by path, in the order of use; from shapes alone."""
        by_path: dict[str, Hardware] = {}

        def note(path: str, hardware: Hardware) -> Hardware:
            by_path[path] = hardware
            return hardware

        with override_hardware(note):
            jax.eval_shape(lambda bound: bound.digital(bound.inputs()), self)
        return by_path

    def inventory(self) -> Inventory:
        """What the model is made of."""
        model = self.static_model.value
        runs = model if isinstance(model, Converted) else Converted(model, (), strict=False)

        def run(params: Any, inputs: Inputs) -> Any:
            others = {name: jax.tree.map(_number, tree) for name, tree in self.arrays.items() if name != "params"}
            return inputs.call(runs.apply, {**others, "params": params}, **self._call_options())

        return inventory(run, self.arrays["params"], (self.inputs(),))

    def program(self, key: jax.Array, reprogram: Any = None) -> Any:
        """Programmed tiles, ``{layer: ... {"analog": {"array": tiles}}}``."""
        variables = self.arrays if reprogram is None else self.arrays | {"analog": reprogram}
        with modes.enter(modes.ProgrammingMode(again=reprogram is not None)):
            rngs = {"analog": key, "chip": key}  # one key: nn.RNN passes on only the stream that its steps share
            _, state = self._apply(variables, self.inputs(), rngs=rngs, mutable=["analog"])
        return state.get("analog", {}) if reprogram is None else _rewritten(state["analog"])

    def run(self, readings: Any, x: Any, key: jax.Array) -> Any:
        """Outputs on the chip that the readings describe."""
        return self._apply(self.arrays | {"analog": readings}, x, key, rngs={"analog": key})

    def call(self, x: Any) -> Any:
        """Outputs in the mode in force."""
        return self._apply(self.arrays, x)

    def digital(self, x: Any, key: Any = None, *, as_in_training: bool = False) -> Any:
        """Exact outputs; a model that is called as in training is refused by Flax in any case."""
        del as_in_training
        with modes.digital():
            return self._apply(self.arrays, x, key)

    def observed(self, x: Any, places: bool = False) -> list[LayerUse]:
        """What passes through every analog layer of the exact model, in order."""
        mode, variables = modes.ObservingMode(), self.arrays
        if places:
            variables = variables | {"ranges": merged(variables.get("ranges", {}), self._numbered(x))}
        with jax.disable_jit(), modes.enter(mode):
            self._apply(variables, x)
        return mode.uses

    def with_tracked_ranges(self, x: Any, options: dict[str, Any]) -> "BoundLinen":
        """The same: a Linen model makes place for what it tracks in the call itself."""
        del x, options
        return self

    def train(self, x: Any, key: jax.Array, changing: list[str], options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Outputs on hardware drawn from the key, and the collections that may change as they are after the call."""
        rngs = {"analog": stream(key, "analog"), "dropout": stream(key, "dropout")}
        apply = self.static_model.value.apply
        outputs, new = as_inputs(x).call(apply, self.arrays, rngs=rngs, mutable=changing, **options)
        # The sample of shapes beside the ranges is no array, and not returned.
        return outputs, {name: merged(self.arrays.get(name, {}), value) for name, value in new.items()}

    def statistics_after(self, x: Any, key: Any, readings: Any = None) -> Any:
        """``batch_stats`` after one call that normalises by its batch, on a chip or on the exact model."""
        variables = self.arrays if readings is None else self.arrays | {"analog": readings}
        mode: Any = modes.DigitalMode() if readings is None else modes.current()
        with modes.enter(mode):
            rngs = None if key is None else {"analog": key}
            _, new = self._apply(variables, x, rngs=rngs, mutable=["batch_stats"])
        return new["batch_stats"]

    def _apply(self, variables: Any, x: Any, key: Any = None, rngs: Any = None, **how: Any) -> Any:
        how |= self._call_options(key, rngs)
        with _clear_errors():
            return as_inputs(x).call(self.static_model.value.apply, variables, **how)

    def _call_options(self, key: Any = None, rngs: Any = None) -> dict[str, Any]:
        streams = _for_example(self.rngs, key) | (rngs or {})
        return keywords(self.options) | {"rngs": streams or None}


def layer_of(path: tuple) -> str:
    """The layer that a leaf of its ranges, ``.../analog/input``, belongs to."""
    return "/".join(str(getattr(part, "key", part)) for part in path[:-2]) or ROOT


def nested_ranges(ranges: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Ranges by layer and name in the nesting of the collection ``ranges``."""
    tree: dict[str, Any] = {}
    for path, values in ranges.items():
        inner = tree
        for name in [*([] if path == ROOT else path.split("/")), "analog"]:
            inner = inner.setdefault(name, {})
        inner.update(values)
    return tree


def merged(tree: Any, other: Any) -> Any:
    """Nested dictionaries as one."""
    if not hasattr(tree, "items") or not hasattr(other, "items"):
        return other
    return {**tree, **{name: merged(tree[name], inner) if name in tree else inner for name, inner in other.items()}}


def _rewritten(tree: Any) -> Any:
    """The tree that writing again leaves, its new arrays in the place of the old ones."""
    if "rewritten" in tree:
        return {"array": tree["rewritten"]}
    return {name: _rewritten(inner) for name, inner in tree.items()}


def _number(leaf: Any) -> Any:
    """An array of the variables; zeros in the place of a shape, which a trace cannot take from outside."""
    return jnp.zeros(leaf.shape, leaf.dtype) if isinstance(leaf, jax.ShapeDtypeStruct) else leaf


def _for_example(rngs: dict[str, jax.Array], key: Any) -> dict[str, jax.Array]:
    """The streams of one example, chip and time, told apart by the key of its noise."""
    if key is None or not rngs:
        return rngs
    own = jax.random.bits(key, (), jnp.uint32)
    return {name: jax.random.fold_in(base, own) for name, base in rngs.items()}


class _clear_errors:
    """Turns Flax's errors about parameter shapes, and about a model called as in training, into one sentence."""

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        first = str(error).partition(" (http")[0].rstrip(". ")
        if isinstance(error, ScopeParamShapeError):
            raise InputError(f"the input's width does not fit the model's parameters: {first}") from None
        if isinstance(error, InvalidRngError):
            raise InputError(
                f"the model draws random numbers: {first}; call it without (train=False, deterministic=True), or give "
                f"the stream a key, rngs={{'dropout': key}}"
            ) from None
        if isinstance(error, ModifyScopeVariableError):
            raise InputError(
                f"the model is called as in training: {first}; give the option that it runs with, such as train=False"
            ) from None
        return False
