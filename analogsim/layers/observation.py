"""The inputs and matrices of all analog layers in one digital call of a model, by one compiled program."""

import dataclasses
import functools
from typing import Any, Protocol

import jax

from analogsim.base.equality import HashedOnce
from analogsim.base.types import PyTree
from analogsim.layers import modes
from analogsim.layers.layer import LayerUse


class Observable(Protocol):
    """A model bound to its arrays, a pytree."""

    def run_in(self, mode: modes.Mode, x: Any, places: bool) -> None:
        """Run the digital model in a mode, with numbered ranges if ``places``."""
        ...


# What tells that a model cannot be observed in one program: tracers must not leave loops and compiled blocks, and
# Python cannot decide by traced numbers.
_REFUSALS = (
    jax.errors.UnexpectedTracerError,
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)


def observed(bound: Observable, x: Any, places: bool) -> list[LayerUse]:
    """Return all uses of analog layers in order.

    A model that calls layers in loops or compiled blocks, or decides by the values of its inputs, runs operation by
    operation.
    """
    try:
        return [record.use() for record in _recorded(bound, x, places)]
    except _REFUSALS:
        pass
    mode = modes.ObservingMode()
    # Without jit, loops run step by step and record their uses in order; compiled callbacks may come in any order.
    with jax.disable_jit():
        bound.run_in(mode, x, places)
    return mode.uses


@functools.partial(jax.jit, static_argnums=2)
def _recorded(bound: Observable, x: Any, places: bool) -> list["_Recorded"]:
    mode = modes.CollectingMode()
    bound.run_in(mode, x, places)
    return [_Recorded.of(use) for use in mode.uses]


_ARRAYS = ("x", "weights", "ranges", "place")


@functools.partial(jax.tree_util.register_dataclass, data_fields=("arrays",), meta_fields=("rest",))
@dataclasses.dataclass(frozen=True)
class _Recorded:
    """A use as a compiled function returns it: arrays, and the rest as a part of its structure."""

    arrays: PyTree
    rest: HashedOnce

    @classmethod
    def of(cls, use: LayerUse) -> "_Recorded":
        fields = use._asdict()
        arrays = {name: fields.pop(name) for name in _ARRAYS}
        # Numbers of a description may be arrays, which an NNX model passes through the trace with its own.
        leaves, structure = jax.tree.flatten(fields.pop("hardware"))
        traced = {i: leaf for i, leaf in enumerate(leaves) if isinstance(leaf, jax.core.Tracer)}
        arrays["numbers"] = list(traced.values())
        # The description, which has a hash by value, with 0 in their places.
        hardware = jax.tree.unflatten(structure, [0 if i in traced else leaf for i, leaf in enumerate(leaves)])
        return cls(arrays, HashedOnce((hardware, tuple(traced), tuple(fields.items()))))

    def use(self) -> LayerUse:
        hardware, places, rest = self.rest.value
        if places:
            leaves, structure = jax.tree.flatten(hardware)
            for i, number in zip(places, self.arrays["numbers"], strict=True):
                leaves[i] = number
            hardware = jax.tree.unflatten(structure, leaves)
        return LayerUse(hardware=hardware, **{name: self.arrays[name] for name in _ARRAYS}, **dict(rest))
