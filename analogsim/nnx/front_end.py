"""The front end for NNX models; see ``models.protocol.FrontEnd``."""

import warnings
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from flax import nnx

from analogsim.base.call_inputs import Options, Sample, as_inputs
from analogsim.base.errors import InputError
from analogsim.base.random import is_key
from analogsim.base.types import PyTree
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
    """Flax NNX, whose models hold their arrays and know their layers without a call."""

    name = "nnx"
    title = "an NNX"
    roots: tuple[str, ...] = (_STATE, _RANGES)
    needs_call = False

    def owns(self, model: nnx.Module) -> bool:
        """Return whether this is an NNX model."""
        return isinstance(model, nnx.Module)

    owns_arrays = owns

    def bind(
        self, model: nnx.Module, variables: PyTree, sample: Sample | None, options: Options, rngs: dict[str, jax.Array]
    ) -> BoundNnx:
        """Split the model into structure and arrays."""
        if variables is not None:
            raise InputError("variables: an NNX model contains its arrays; leave variables out, or pass None")
        graph, arrays = nnx.split(model)
        return BoundNnx(arrays, graph, options, rngs, sample)

    def set_ranges(
        self, model: nnx.Module, variables: PyTree, ranges: dict[str, dict[str, Any]], sample: Sample | None = None
    ) -> None:
        """Set these ranges in the model itself, in place; None removes a range."""
        del variables, sample
        ops = chips.analog_ops(model)
        for path, values in ranges.items():
            for name, value in values.items():
                ops[path][1].set_range(name, value)

    def convert(
        self,
        model: nnx.Module,
        rules: Rules,
        *,
        codec: Codec | None,
        strict: bool,
        rngs: nnx.Rngs | None = None,
        x: Any = None,
    ) -> nnx.Module:
        """Return a converted copy of the model; see ``analogsim.convert``."""
        if rngs is not None:
            check_rngs(rngs, "convert")
        if codec is not None:
            model, rules = compression.encoded(model, rules, codec)
        converted, doubtful = conversion.convert(model, rules, strict, rngs)
        if strict and doubtful:
            _refuse_strays(converted, doubtful, x)
        return converted

    def to_digital(self, model: nnx.Module) -> nnx.Module:
        """Return a copy with plain layers."""
        return conversion.to_digital(model)

    def compress(
        self,
        model: nnx.Module,
        variables: PyTree,
        x: Any,
        selection: CoreSelection,
        contraction: str,
        options: dict[str, Any],
    ) -> tuple[nnx.Module, None]:
        """Return a copy of the model with cores in the selected layers."""
        del x, options  # the layers are known without a call
        if variables is not None:
            raise InputError(
                "variables: an NNX model contains its arrays; leave variables out, compress(model, codec=codec)"
            )
        return compression.compressed(model, selection, contraction), None

    def with_other_cores(self, item: Any, change: Callable[[Any], Any]) -> tuple[nnx.Module, int]:
        """Return a copy after applying ``change`` to the cores of every compressed layer, and the number of layers."""
        return compression.with_other_cores(item, change)

    def saved(self, model: nnx.Module, variables: PyTree = None) -> Collections:
        """Return the state without ranges and hardware, and the ranges by layer.

        Ranges are a separate collection because a model that is not calibrated has no Variables for them.
        """
        del variables
        ranges, hardware = {}, []
        for path, (module, op) in chips.analog_ops(model).items():
            if op.array is not None:
                raise InputError(
                    f"model: layer {path} is on a chip (on_chip); pass the model that the chip was programmed for and "
                    f"the chip: save(folder, model, chip=chip)"
                )
            ranges[path] = {name: value for name, value in op.ranges._asdict().items() if value is not None}
            owner = holder(path) if isinstance(module, nnx.Embed) else path
            above = "" if owner == ROOT else f"{owner}/"
            names = [attribute for attribute, value in vars(module).items() if value is op]
            hardware += [f"{above}{name}/hardware/" for name in names]  # fields that are arrays belong to the state
        _, _, *states = nnx.split(model, RangeVariable, ...)
        return Collections(
            {_STATE: states[0], _RANGES: ranges}, fixed=(_STATE,), by_layer=(_RANGES,), left_out=tuple(hardware)
        )

    def expected(self, model: nnx.Module, sample: Sample | None, options: dict[str, Any]) -> Collections:
        """Return the collections that ``saved`` returns for this model."""
        del sample, options
        return self.saved(model)

    def rebuilt(self, model: nnx.Module, trees: dict[str, Any]) -> tuple[nnx.Module, None]:
        """Return a copy of the model with this state and these ranges."""
        copy = nnx.clone(model)
        ops, ranges = chips.analog_ops(copy), trees.get(_RANGES, {})
        for path, (_, op) in ops.items():
            # Creates and removes Variables of ranges first, so that this copy has the structure of the checkpoint.
            for name in RANGES:
                op.set_range(name, ranges.get(path, {}).get(name))
        graph, *states = nnx.split(copy, RangeVariable, ...)
        return nnx.merge(graph, states[0], trees[_STATE]), None

    def content(self, item: Any) -> list[Any] | None:
        """Return class and attributes of a module, or the value of a Variable; None for other objects."""
        if isinstance(item, nnx.Variable):
            value = item[...] if hasattr(item, "__getitem__") else item.get_value()
            return [value if is_key(value) else np.asarray(value)]
        if not isinstance(item, nnx.Pytree):
            return None
        return [type(item), *((name, value) for name, value in sorted(vars(item).items()) if not name.startswith("_"))]


def _refuse_strays(model: nnx.Module, doubtful: set[str], x: Any) -> None:
    """Raise ``InputError`` if the model multiplies with one of these parameters; warn if there are no inputs."""
    if x is None:
        warnings.warn(
            f"convert: {', '.join(sorted(doubtful))}: no known layer multiplies with these parameters, so all "
            f"computations with them stay digital. Pass x, an example input, to check whether there are products, or "
            f"name the parameters in a first rule with None",
            stacklevel=4,  # the caller of analogsim.convert
        )
        return
    for stray in inventory_of(model, as_inputs(x)).strays:
        if stray.path in doubtful:
            why = "the model multiplies with this parameter outside of any known layer"
            raise cannot(Candidate(stray.path, None, stray.shape), why)


FRONT_END = NnxFrontEnd()
