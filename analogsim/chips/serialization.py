"""Saving: Flax's own serialisation for calibrated variables and chips.

``flax.serialization.to_bytes`` writes what it knows by name. Registered here are the kinds of node that this library
adds to a tree: each is written as a dictionary from the names of its arrays to the arrays, and read back into a target
of the same structure. Orbax needs no registration: it saves any pytree. ``analogsim.save``
(``analogsim.chips.checkpoint``) needs no target, and compares the hardware.
"""

from typing import Any

import jax
import numpy as np
from flax import serialization

from analogsim.base.errors import InputError
from analogsim.chips.chip import Chip, check_age
from analogsim.models.bound import Sample
from analogsim.signal_path.programmed import ChipArray, ProgrammedTiles
from analogsim.signal_path.reading import Reading


def to_state(item: Any) -> dict[str, Any]:
    """The arrays and numbers of a pytree by name; its structure is not written."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(item)
    return {_name(path): leaf for path, leaf in leaves}


def from_state(target: Any, state: dict[str, Any]) -> Any:
    """``target`` with the arrays of ``state``, which was written from a pytree of the same structure and shapes."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(target)
    names = [_name(path) for path, _ in leaves]
    where = type(target).__name__
    if set(names) != set(state):
        odd = sorted(set(names) ^ set(state))[0]
        raise InputError(f"{where}: what was saved has another structure than the target (differs: {odd})")
    for name, (_, leaf) in zip(names, leaves, strict=True):
        if np.shape(leaf) != np.shape(state[name]):
            raise InputError(
                f"{where}{name}: saved with shape {np.shape(state[name])}, the target has {np.shape(leaf)}"
            )
    restored = jax.tree.unflatten(structure, [state[name] for name in names])
    if isinstance(restored, Chip):
        check_age(restored.time_s, restored.cells, "Chip.time_s")
    return restored


def _name(path: tuple) -> str:
    """The name of a leaf. The arrays of a ``ChipArray``'s reading are named as its own, as in files written earlier."""
    return jax.tree_util.keystr(tuple(part for part in path if part != _READING))


_READING = jax.tree_util.GetAttrKey("reading")


for _kind in (Sample, ProgrammedTiles, Reading, ChipArray, Chip):
    serialization.register_serialization_state(_kind, to_state, from_state)
