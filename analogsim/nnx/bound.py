"""An NNX model split into structure and arrays, as the rest of the package runs it (``models.protocol.BoundModel``)."""

import dataclasses
from typing import Any

import jax
import numpy as np
from flax import nnx

from analogsim.base.call_inputs import Inputs, Options, Sample, as_inputs, keywords
from analogsim.base.equality import ByValue
from analogsim.hardware.hardware import Hardware
from analogsim.layers import modes
from analogsim.layers.inventory import Inventory
from analogsim.layers.layer import LayerUse
from analogsim.nnx import chips
from analogsim.nnx.hooks import RangeVariable
from analogsim.nnx.inventory import inventory_of
from analogsim.nnx.streams import Inference, restart

#: Names of the parts that the arrays are split into, and what is in each.
_COLLECTIONS: dict[str, Any] = {"params": nnx.Param, "ranges": RangeVariable, "batch_stats": nnx.BatchStat, "rest": ...}


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class BoundNnx(ByValue):
    """An NNX model, split into structure and arrays."""

    arrays: Any
    graph: Any = dataclasses.field(metadata=dict(static=True))
    options: Options = dataclasses.field(default=(), metadata=dict(static=True))
    rngs: dict[str, jax.Array] = dataclasses.field(default_factory=dict)
    sample: Sample | None = None

    def collections(self) -> dict[str, Any]:
        """The arrays by kind: ``params``, ``ranges``, ``batch_stats`` and the ``rest``."""
        return _split(self.arrays)

    def with_collections(self, collections: dict[str, Any]) -> "BoundNnx":
        """The same model with other arrays."""
        return dataclasses.replace(self, arrays=nnx.merge_state(*collections.values()))

    def unbind(self) -> tuple[nnx.Module, None]:
        """A copy of the model with these arrays; it has no variables beside it."""
        return self._merge(), None

    def inputs(self) -> Inputs | None:
        """Zeros in the shapes of one call's inputs, where these were given."""
        return None if self.sample is None else self.sample.inputs()

    def places(self, x: Any = None) -> dict[str, np.ndarray]:
        """The numbers of every layer's entries of ranges, by the layer's path; a stack (``nnx.vmap``) has several."""
        del x
        return chips.places(self._merge())

    def layer_ranges(self) -> dict[str, dict[str, Any]]:
        """Calibrated ranges by layer and name."""
        ops = chips.analog_ops(self._merge())
        return {path: {n: r for n, r in op.ranges._asdict().items() if r is not None} for path, (_, op) in ops.items()}

    def hardware(self) -> dict[str, Hardware]:
        """What every analog layer runs on here and now, by path."""
        return {path: op.runs_on for path, (_, op) in chips.analog_ops(self._merge()).items()}

    def inventory(self) -> Inventory:
        """What the model is made of; without a sample of its inputs, in the order of its attributes."""
        return inventory_of(self._merge(), self.inputs(), keywords(self.options))

    def program(self, key: jax.Array, reprogram: Any = None) -> Any:
        """Programmed tiles by the layer's path; with a sample, of the kernels that layers multiply with in a call."""
        inputs = self.inputs()
        if inputs is None:
            return chips.program(self._merge(), key, reprogram)
        # Called as it is, in training mode or not: what it changes is a copy's.
        return chips.program(self._merge(), key, reprogram, lambda model: inputs.call(model, **keywords(self.options)))

    def run(self, readings: Any, x: Any, key: jax.Array) -> Any:
        """Outputs on the chip that the readings describe."""
        model = self._merge()
        chips.load(model, readings, key)
        return self._call(model, x, key)

    def call(self, x: Any) -> Any:
        """Outputs in the mode in force, the layers named by their paths."""
        model = self._merge()
        chips.analog_ops(model)  # the hooks learn their paths
        return self._call(model, x)

    def digital(self, x: Any, key: Any = None, *, as_in_training: bool = False) -> Any:
        """Exact outputs; ``as_in_training`` lets a model be that draws random numbers or normalises by its batch."""
        with modes.digital():
            if as_in_training:
                return as_inputs(x).call(self._merge(), **keywords(self.options))
            return self._call(self._merge(), x, key)

    def observed(self, x: Any, places: bool = False) -> list[LayerUse]:
        """What passes through every analog layer of the exact model, in order."""
        mode, model = modes.ObservingMode(), self._merge()
        if places:
            chips.mark_places(model)
        else:
            chips.analog_ops(model)
        with jax.disable_jit(), modes.enter(mode):
            self._call(model, x)
        return mode.uses

    def with_tracked_ranges(self, x: Any, options: dict[str, Any]) -> "BoundNnx":
        """The model after one call of training: a range that follows values has a place after the first of them."""
        model = self._merge()
        as_inputs(x).call(model, **options)
        graph, arrays = nnx.split(model)
        return dataclasses.replace(self, graph=graph, arrays=arrays)

    def train(self, x: Any, key: jax.Array, changing: list[str], options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Outputs on hardware drawn from the key, and the collections that may change as they are after the call."""
        model = self._merge()
        chips.reseed(model, key)
        outputs = as_inputs(x).call(model, **options)
        after = _split(nnx.state(model))
        return outputs, {name: after[name] for name in changing}

    def statistics_after(self, x: Any, key: Any, readings: Any = None) -> Any:
        """``batch_stats`` after one call that normalises by its batch, on the chip that the model is on."""
        del key, readings  # of a model that is given beside its chip
        model = self._merge()
        for _, module in nnx.iter_modules(model):
            if isinstance(module, nnx.BatchNorm):
                module.use_running_average = False
        as_inputs(x).call(model, **keywords(self.options))
        return nnx.state(model, nnx.BatchStat)

    def _merge(self) -> Any:
        return nnx.merge(self.graph, self.arrays, copy=True)  # of the trace that it is merged in, a loop's or a map's

    def _call(self, model: Any, x: Any, key: Any = None) -> Any:
        restart(model, self.rngs, key)
        seen = Inference(model, self.rngs)
        outputs = as_inputs(x).call(model, **keywords(self.options))
        seen.check()
        return outputs


def _split(arrays: Any) -> dict[str, Any]:
    states: Any = nnx.split_state(arrays, *_COLLECTIONS.values())
    return dict(zip(_COLLECTIONS, states, strict=True))
