"""An NNX model split into structure and arrays; see ``models.protocol.BoundModel``."""

import dataclasses
from typing import Any

import jax
import numpy as np
from flax import nnx

from analogsim.base.call_inputs import Inputs, Options, Sample, as_inputs, keywords
from analogsim.base.equality import ByValue
from analogsim.base.types import PyTree
from analogsim.hardware.hardware import Hardware
from analogsim.layers import modes
from analogsim.layers.inventory import Inventory
from analogsim.layers.layer import LayerUse
from analogsim.layers.observation import observed
from analogsim.nnx import chips
from analogsim.nnx.hooks import RangeVariable
from analogsim.nnx.inventory import inventory_of
from analogsim.nnx.streams import Inference, restart

#: Names and Flax filters of the collections that the arrays are split into.
#: Flax gives a Variable to the first filter that matches, and accepts ``...`` only as the last one.
_COLLECTIONS: dict[str, Any] = {"params": nnx.Param, "ranges": RangeVariable, "batch_stats": nnx.BatchStat, "rest": ...}


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class BoundNnx(ByValue):
    """An NNX model, split into structure and arrays.

    Attributes:
      arrays: state of the model, an ``nnx.State``.
      graph: structure of the model, an ``nnx.GraphDef``.
      options: static keyword arguments of the model's call.
      rngs: keys of the model's random streams.
      sample: shapes of one call's inputs, if known.
    """

    arrays: Any
    graph: Any = dataclasses.field(metadata=dict(static=True))
    options: Options = dataclasses.field(default=(), metadata=dict(static=True))
    rngs: dict[str, jax.Array] = dataclasses.field(default_factory=dict)
    sample: Sample | None = None

    def collections(self) -> dict[str, Any]:
        """Return the arrays by kind: ``params``, ``ranges``, ``batch_stats`` and the ``rest``."""
        return _split(self.arrays)

    def with_collections(self, collections: dict[str, Any]) -> "BoundNnx":
        """Return the same model with other arrays."""
        return dataclasses.replace(self, arrays=nnx.merge_state(*collections.values()))

    def unbind(self) -> tuple[nnx.Module, None]:
        """Return a copy of the model with these arrays, and None."""
        return self._merge(), None

    def inputs(self) -> Inputs | None:
        """Return zeros in the shapes of one call's inputs; None without a sample."""
        return None if self.sample is None else self.sample.inputs()

    def places(self, x: Any = None) -> dict[str, np.ndarray]:
        """Number the entries of ranges by path; a stack (``nnx.vmap``) has several."""
        del x
        return chips.places(self._merge())

    def layer_ranges(self) -> dict[str, dict[str, Any]]:
        """Return the calibrated ranges by path and name."""
        ops = chips.analog_ops(self._merge())
        return {path: {n: r for n, r in op.ranges._asdict().items() if r is not None} for path, (_, op) in ops.items()}

    def hardware(self) -> dict[str, Hardware]:
        """Return the hardware of every analog layer by path, with overrides in force."""
        return {path: op.runs_on for path, (_, op) in chips.analog_ops(self._merge()).items()}

    def inventory(self) -> Inventory:
        """List the model's layers; in the order of its attributes if there is no sample."""
        return inventory_of(self._merge(), jax.eval_shape(self.inputs), keywords(self.options))

    def program(self, key: jax.Array, reprogram: Any = None) -> Any:
        """Program tiles by path: with a sample, the kernels that reach the layers in a call, else the stored ones."""
        inputs = self.inputs()
        if inputs is None:
            return chips.program(self._merge(), key, reprogram)
        # Not ``_call``: in training mode the call may draw numbers and update statistics, because it is a copy's.
        return chips.program(self._merge(), key, reprogram, lambda model: inputs.call(model, **keywords(self.options)))

    def run(self, readings: PyTree, x: Any, key: jax.Array) -> Any:
        """Return outputs on the chip with these readings."""
        model = self._merge()
        chips.load(model, readings, key)
        return self._call(model, x, key)

    def call(self, x: Any) -> Any:
        """Return outputs in the current mode."""
        model = self._merge()
        chips.analog_ops(model)  # sets the paths of the hooks
        return self._call(model, x)

    def digital(self, x: Any, key: jax.Array | None = None, *, in_eval_mode: bool = False) -> Any:
        """Return digital outputs; ``in_eval_mode`` evaluates a model that is in training mode."""
        model = self._merge()
        with modes.digital():
            if not in_eval_mode:
                return self._call(model, x, key)
            model.eval()
            # Not ``_call``: training may continue with a layer that draws in every mode.
            return as_inputs(x).call(model, **keywords(self.options))

    def observed(self, x: Any, places: bool = False) -> list[LayerUse]:
        """Run the digital model, and return every use of an analog layer in order."""
        return observed(self, x, places)

    def run_in(self, mode: modes.Mode, x: Any, places: bool) -> None:
        """Run the digital model in a mode, with numbered ranges if ``places``."""
        model = self._merge()
        if places:
            chips.mark_places(model)
        else:
            chips.analog_ops(model)
        with modes.enter(mode):
            self._call(model, x)

    def with_tracked_ranges(self, x: Any, options: dict[str, Any]) -> "BoundNnx":
        """Return the model after one call in training, which creates Variables for tracked ranges."""
        model = self._merge()
        as_inputs(x).call(model, **options)
        graph, arrays = nnx.split(model)
        return dataclasses.replace(self, graph=graph, arrays=arrays)

    def train(self, x: Any, key: jax.Array, changing: list[str], options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Return outputs on hardware sampled from the key, and the collections ``changing`` after the call."""
        model = self._merge()
        had_no_stream = chips.reseed(model, key)
        outputs = as_inputs(x).call(model, **options)
        for op in had_no_stream:  # the state after a step must have the structure of the state before
            op.stream = None
        after = _split(nnx.state(model))
        return outputs, {name: after[name] for name in changing}

    def statistics_after(self, x: Any, key: jax.Array, readings: PyTree = None) -> Any:
        """Return ``batch_stats`` after one call that normalises by its batch, on the model's chip if it has one."""
        del key, readings  # the chip is loaded into the model's hooks (on_chip)
        model = self._merge()
        for _, module in nnx.iter_modules(model):
            if isinstance(module, nnx.BatchNorm):
                module.use_running_average = False
        # Not ``_call``, which refuses normalisation by the batch.
        as_inputs(x).call(model, **keywords(self.options))
        return nnx.state(model, nnx.BatchStat)

    def _merge(self) -> Any:
        # Flax refuses to mutate Variables from another trace level, so every call, also in a loop, merges new ones.
        return nnx.merge(self.graph, self.arrays, copy=True)

    def _call(self, model: nnx.Module, x: Any, key: jax.Array | None = None) -> Any:
        restart(model, self.rngs, key)
        inference = Inference(model, self.rngs)
        outputs = as_inputs(x).call(model, **keywords(self.options))
        inference.check()
        return outputs


def _split(arrays: Any) -> dict[str, Any]:
    states: PyTree = nnx.split_state(arrays, *_COLLECTIONS.values())
    return dict(zip(_COLLECTIONS, states, strict=True))
