"""What the rest of the package asks of NNX models (``models.protocol.FrontEnd``)."""

import warnings
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from flax import nnx

from analogsim.base.call_inputs import Options, Sample, as_inputs
from analogsim.base.errors import InputError
from analogsim.base.random import is_key
from analogsim.factors.codec import Codec
from analogsim.hardware.rules import ROOT, Candidate, Rules, cannot, holder
from analogsim.layers.collections import Collections
from analogsim.layers.compression import CoreSelection
from analogsim.nnx import chips, compression, conversion
from analogsim.nnx.bound import BoundNnx
from analogsim.nnx.hooks import RANGES, RangeVariable, check_rngs
from analogsim.nnx.inventory import inventory_of

_RANGES, _STATE = "ranges", "state"  # collections of a checkpoint


class NnxFrontEnd:
    """Flax NNX: a model holds its own arrays and layers."""

    name = "nnx"
    title = "an NNX"
    roots: tuple[str, ...] = (_STATE, _RANGES)
    needs_call = False

    def owns(self, model: Any) -> bool:
        """Whether this is an NNX model."""
        return isinstance(model, nnx.Module)

    owns_arrays = owns

    def bind(
        self, model: Any, variables: Any, sample: Sample | None, options: Options, rngs: dict[str, jax.Array]
    ) -> BoundNnx:
        """The model in parts."""
        if variables is not None:
            raise InputError("variables: an NNX model carries its own; leave them out, or give None")
        graph, arrays = nnx.split(model)
        return BoundNnx(arrays, graph, options, rngs, sample)

    def set_ranges(
        self, model: Any, variables: Any, ranges: dict[str, dict[str, Any]], sample: Sample | None = None
    ) -> None:
        """Set these ranges in the model itself; None takes one away."""
        del variables, sample
        ops = chips.analog_ops(model)
        for path, values in ranges.items():
            for name, value in values.items():
                ops[path][1].set_range(name, value)

    def convert(
        self, model: Any, rules: Rules, *, codec: Codec | None, strict: bool, rngs: Any = None, x: Any = None
    ) -> nnx.Module:
        """A converted copy of the model."""
        if rngs is not None:
            check_rngs(rngs, "convert")
        if codec is not None:
            model, rules = compression.encoded(model, rules, codec)
        converted, doubtful = conversion.convert(model, rules, strict, rngs)
        if strict and doubtful:
            _refuse_strays(converted, doubtful, x)
        return converted

    def to_digital(self, model: Any) -> nnx.Module:
        """A copy of plain layers."""
        return conversion.to_digital(model)

    def compress(
        self, model: Any, variables: Any, x: Any, selection: CoreSelection, contraction: str, options: dict[str, Any]
    ) -> tuple[nnx.Module, None]:
        """A copy of the model with cores in the selected layers."""
        del x, options  # a model that holds its layers need not be called
        if variables is not None:
            raise InputError("variables: an NNX model carries its own; leave them out (compress(model, codec=codec))")
        return compression.compressed(model, selection, contraction), None

    def with_other_cores(self, item: Any, change: Callable[[Any], Any]) -> tuple[nnx.Module, int]:
        """A copy with ``change(cores)`` in every compressed layer, and the number of these layers."""
        return compression.with_other_cores(item, change)

    def saved(self, model: Any, variables: Any = None) -> Collections:
        """The state without ranges and hardware, and the ranges by layer.

        A model that is not calibrated has no place for ranges, so that they are no part of the state's structure.
        """
        del variables
        ranges, hardware = {}, []
        for path, (module, op) in chips.analog_ops(model).items():
            if op.array is not None:
                raise InputError(
                    f"model: layer {path} is on a chip (on_chip); pass the model that the chip was programmed for, and "
                    f"the chip itself: save(folder, model, chip=chip)"
                )
            ranges[path] = {name: value for name, value in op.ranges._asdict().items() if value is not None}
            above = "" if holder(path) == ROOT else f"{holder(path)}/"
            names = [attribute for attribute, value in vars(module).items() if value is op]
            hardware += [f"{above}{name}/hardware/" for name in names]  # such fields of it as are arrays
        _, _, *states = nnx.split(model, RangeVariable, ...)
        return Collections(
            {_STATE: states[0], _RANGES: ranges}, fixed=(_STATE,), by_layer=(_RANGES,), left_out=tuple(hardware)
        )

    def expected(self, model: Any, sample: Sample | None, options: dict[str, Any]) -> Collections:
        """What the model holds."""
        del sample, options
        return self.saved(model)

    def rebuilt(self, model: Any, trees: dict[str, Any]) -> tuple[nnx.Module, None]:
        """A copy of the model with this state and these ranges."""
        copy = nnx.clone(model)
        ops, ranges = chips.analog_ops(copy), trees.get(_RANGES, {})
        for path, (_, op) in ops.items():
            for name in RANGES:
                op.set_range(name, ranges.get(path, {}).get(name))
        graph, *states = nnx.split(copy, RangeVariable, ...)
        return nnx.merge(graph, states[0], trees[_STATE]), None

    def content(self, item: Any) -> list[Any] | None:
        """What tells a module, by its class and attributes, or a variable, by its value, from others of its kind."""
        if isinstance(item, nnx.Variable):
            value = item[...] if hasattr(item, "__getitem__") else item.get_value()
            return [value if is_key(value) else np.asarray(value)]
        if not isinstance(item, nnx.Pytree):
            return None
        return [type(item), *((name, value) for name, value in sorted(vars(item).items()) if not name.startswith("_"))]


def _refuse_strays(model: nnx.Module, doubtful: set[str], x: Any) -> None:
    if x is None:
        warnings.warn(
            f"convert: {', '.join(sorted(doubtful))}: no layer that is known multiplies with these parameters; what "
            f"the model does with them by itself stays digital. Give x, an example input, to find out, or name them in "
            f"a first rule with None",
            stacklevel=4,
        )
        return
    for stray in inventory_of(model, as_inputs(x)).strays:
        if stray.path in doubtful:
            raise cannot(Candidate(stray.path, None, stray.shape), conversion.STRAY)


FRONT_END = NnxFrontEnd()
