"""A Linen model with its variables, as the rest of the package runs it: a ``models.protocol.BoundModel``."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.errors import FlaxError, InvalidRngError, ModifyScopeVariableError, ScopeParamShapeError

from analogsim.base.call_inputs import Fixed, Inputs, Options, Sample, as_inputs, keywords
from analogsim.base.equality import ByValue
from analogsim.base.errors import InputError
from analogsim.base.random import bits, own_key, stream
from analogsim.base.types import PyTree
from analogsim.hardware.hardware import Hardware
from analogsim.hardware.override import override_hardware
from analogsim.hardware.rules import ROOT
from analogsim.layers import modes
from analogsim.layers.inventory import Inventory, inventory
from analogsim.layers.layer import LayerUse
from analogsim.layers.observation import observed
from analogsim.linen.conversion import Converted


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class BoundLinen(ByValue):
    """A Linen model with its variables, a pytree; see ``models.protocol.BoundModel`` for its methods.

    Attributes:
      arrays: the variables, without a chip's readings.
      static_model: the model as the user passed it.
      options: static keyword arguments of its calls.
      sample: shapes of the inputs of one call.
      rngs: random streams of the model's calls, by name (``dropout``).
    """

    arrays: dict[str, Any]
    static_model: Fixed = dataclasses.field(metadata=dict(static=True))
    options: Options = dataclasses.field(metadata=dict(static=True))
    sample: Sample | None = None
    rngs: dict[str, jax.Array] = dataclasses.field(default_factory=dict)

    def collections(self) -> dict[str, Any]:
        """Return the variables by collection: ``params``, ``ranges``, ``batch_stats`` and others."""
        return dict(self.arrays)

    def with_collections(self, collections: dict[str, Any]) -> "BoundLinen":
        """Return the same model with other variables."""
        return dataclasses.replace(self, arrays=collections)

    def unbind(self) -> tuple[nn.Module, dict[str, Any]]:
        """Return the model as the user passed it, and its variables."""
        return self.static_model.value, self.arrays

    def inputs(self) -> Inputs:
        """Return zeros in the shapes of one call's inputs.

        Raises:
          InputError: if there is no sample, neither from an input nor in the collection ``ranges``.
        """
        sample = self.sample or self.arrays.get("ranges", {}).get("sample")
        if not isinstance(sample, Sample):  # a checkpoint restored without a target has none
            raise InputError(
                "x = None: the layers of a Linen model are known from the shape of its input; pass x (one example is "
                "enough), or variables from analogsim.calibrate, which contain this shape"
            )
        return sample.inputs()

    def places(self, x: Any = None) -> dict[str, np.ndarray]:
        """Return the number of each layer's ranges by path; for a stack (``nn.scan``), one number per entry."""
        leaves = jax.tree_util.tree_leaves_with_path(self._numbered(self.inputs() if x is None else x))
        return {layer_of(path): np.asarray(leaf) for path, leaf in leaves}

    def _numbered(self, x: Any) -> dict[str, Any]:
        """Return ``{layer: ... {"analog": {"place": numbers}}}`` with different integers for all layers and entries."""
        # Without the calibrated ranges: Flax returns all of a mutable collection, here only the places may be in it.
        variables = {name: value for name, value in self.arrays.items() if name != "ranges"}
        with modes.enter(modes.PlacingMode()):
            _, state = jax.eval_shape(lambda v, a: self._apply(v, a, mutable=["ranges"]), variables, x)
        leaves, structure = jax.tree.flatten(state.get("ranges", {}))
        starts = np.cumsum([0, *(math.prod(leaf.shape) for leaf in leaves)])
        numbers = [
            np.arange(s, s + math.prod(a.shape), dtype=np.int32).reshape(a.shape)
            for a, s in zip(leaves, starts, strict=False)
        ]
        return jax.tree.unflatten(structure, numbers)

    def layer_ranges(self) -> dict[str, dict[str, Any]]:
        """Return the calibrated ranges by layer and name."""
        ranges: dict[str, dict[str, Any]] = {}
        for path, leaf in jax.tree_util.tree_leaves_with_path(self.arrays.get("ranges", {})):
            ranges.setdefault(layer_of(path), {})[str(getattr(path[-1], "key", path[-1]))] = leaf
        return ranges

    def hardware(self) -> dict[str, Hardware]:
        """Return the hardware of every analog layer by path, in the order of use, with overrides; from shapes only."""
        by_path: dict[str, Hardware] = {}

        def note(path: str, hardware: Hardware) -> Hardware:
            by_path[path] = hardware
            return hardware

        # A new override is a new key of JAX's caches: blocks compiled inside the model (nn.jit) are traced again, too.
        with override_hardware(note):
            jax.eval_shape(lambda bound: bound.digital(bound.inputs()), self)
        return by_path

    def inventory(self) -> Inventory:
        """Return the model's layers, and its products outside of layers."""
        model = self.static_model.value
        runs = model if isinstance(model, Converted) else Converted(model, (), strict=False)

        def run(params: PyTree, inputs: Inputs) -> Any:
            others = {name: jax.tree.map(_array, tree) for name, tree in self.arrays.items() if name != "params"}
            return inputs.call(runs.apply, {**others, "params": params}, **self._call_options())

        return inventory(run, self.arrays["params"], (jax.eval_shape(self.inputs),))

    def program(self, key: jax.Array, reprogram: Any = None) -> Any:
        """Return programmed tiles, ``{layer: ... {"analog": {"array": tiles}}}``: those of ``reprogram`` if given."""
        variables = self.arrays if reprogram is None else self.arrays | {"analog": reprogram}
        with modes.enter(modes.ProgrammingMode(again=reprogram is not None)):
            rngs = {"analog": key, "chip": key}  # in an nn.RNN, steps share the stream "chip" only
            _, state = self._apply(variables, self.inputs(), rngs=rngs, mutable=["analog"])
        return state.get("analog", {}) if reprogram is None else _rewritten(state["analog"])

    def run(self, readings: PyTree, x: Any, key: jax.Array) -> Any:
        """Return the outputs on the chip that the readings describe."""
        return self._apply(self.arrays | {"analog": readings}, x, key, rngs={"analog": key})

    def call(self, x: Any) -> Any:
        """Return the outputs in the current mode."""
        return self._apply(self.arrays, x)

    def digital(self, x: Any, key: jax.Array | None = None, *, in_eval_mode: bool = False) -> Any:
        """Return the digital outputs; a Linen model has its mode in the call's arguments, not as attributes."""
        del in_eval_mode
        with modes.digital():
            return self._apply(self.arrays, x, key)

    def observed(self, x: Any, places: bool = False) -> list[LayerUse]:
        """Return the inputs and kernels of all analog layers of the digital model, in order of use."""
        return observed(self, x, places)

    def run_in(self, mode: modes.Mode, x: Any, places: bool) -> None:
        """Run the digital model in a mode, with numbered ranges if ``places``."""
        variables = self.arrays
        if places:
            variables = variables | {"ranges": merged(variables.get("ranges", {}), self._numbered(x))}
        with modes.enter(mode):
            self._apply(variables, x)

    def with_tracked_ranges(self, x: Any, options: dict[str, Any]) -> "BoundLinen":
        """Return the same model: Linen creates the variables of tracked ranges during the call."""
        del x, options
        return self

    def train(self, x: Any, key: jax.Array, changing: list[str], options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Return the outputs on hardware drawn from the key, and the collections ``changing`` after the call."""
        rngs = {"analog": stream(key, "analog"), "dropout": stream(key, "dropout")}
        apply = self.static_model.value.apply
        outputs, new = as_inputs(x).call(apply, self.arrays, rngs=rngs, mutable=changing, **options)
        # apply returns arrays only; the sample of shapes among the ranges is added again from the old variables.
        return outputs, {name: merged(self.arrays.get(name, {}), value) for name, value in new.items()}

    def statistics_after(self, x: Any, key: jax.Array, readings: PyTree = None) -> Any:
        """Return ``batch_stats`` after one call that normalises by its batch, on a chip or by the digital model."""
        variables = self.arrays if readings is None else self.arrays | {"analog": readings}
        mode: Any = modes.DigitalMode() if readings is None else modes.current()
        with modes.enter(mode):
            rngs = None if key is None else {"analog": key}
            _, new = self._apply(variables, x, rngs=rngs, mutable=["batch_stats"])
        return new["batch_stats"]

    def _apply(self, variables: PyTree, x: Any, key: jax.Array | None = None, rngs: Any = None, **how: Any) -> Any:
        how |= self._call_options(key, rngs)
        try:
            return as_inputs(x).call(self.static_model.value.apply, variables, **how)
        except (ScopeParamShapeError, InvalidRngError, ModifyScopeVariableError) as error:
            raise _clearer(error) from None

    def _call_options(self, key: jax.Array | None = None, rngs: Any = None) -> dict[str, Any]:
        streams = _for_example(self.rngs, key) | (rngs or {})
        return keywords(self.options) | {"rngs": streams or None}


def layer_of(path: tuple) -> str:
    """Return the path of the layer that a leaf of the ranges, ``.../analog/input``, belongs to."""
    return "/".join(str(getattr(part, "key", part)) for part in path[:-2]) or ROOT


def nested_ranges(ranges: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return ranges by layer and name in the nested form of the collection ``ranges``."""
    tree: dict[str, Any] = {}
    for path, values in ranges.items():
        inner = tree
        for name in [*([] if path == ROOT else path.split("/")), "analog"]:
            inner = inner.setdefault(name, {})
        inner.update(values)
    return tree


def merged(tree: PyTree, other: Any) -> Any:
    """Merge nested dictionaries; entries of ``other`` take precedence."""
    if not hasattr(tree, "items") or not hasattr(other, "items"):
        return other
    return {**tree, **{name: merged(tree[name], inner) if name in tree else inner for name, inner in other.items()}}


def _rewritten(tree: PyTree) -> Any:
    """Return the tree after reprogramming, with the new arrays instead of the old ones."""
    if "rewritten" in tree:
        return {"array": tree["rewritten"]}
    return {name: _rewritten(inner) for name, inner in tree.items()}


def _array(leaf: Any) -> Any:
    """Return zeros for a ``jax.ShapeDtypeStruct``, which a trace cannot take from outside; arrays unchanged."""
    return jnp.zeros(leaf.shape, leaf.dtype) if isinstance(leaf, jax.ShapeDtypeStruct) else leaf


def _for_example(rngs: dict[str, jax.Array], key: jax.Array | None) -> dict[str, jax.Array]:
    """Return separate streams per example, chip and time, which differ by the key of its noise."""
    if key is None or not rngs:
        return rngs
    # fold_in takes an integer, not another key.
    number = bits(key, ())
    return {name: jax.random.fold_in(own_key(base), number) for name, base in rngs.items()}


def _clearer(error: FlaxError) -> InputError:
    """Return an ``InputError`` for Flax's errors about parameter shapes and about calls as in training."""
    first = str(error).partition(" (http")[0].rstrip(". ")
    if isinstance(error, ScopeParamShapeError):
        return InputError(f"the input's width does not fit the model's parameters: {first}")
    if isinstance(error, InvalidRngError):
        return InputError(
            f"the model draws random numbers: {first}; switch this off (train=False, deterministic=True), or pass a "
            f"key for the stream, rngs={{'dropout': key}}"
        )
    return InputError(
        f"the model is called as in training: {first}; pass the option for inference, such as train=False"
    )
