"""Flax's serialisation (``flax.serialization.to_bytes``) of calibrated variables and chips.

Flax writes node types that are registered with it. The node types of this library are registered here: each is written
as a dictionary of arrays by name, and read into a target of the same structure. Orbax needs no registration, because it
saves any pytree. ``analogsim.save`` (``analogsim.chips.checkpoint``) needs no target and compares the hardware.
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
    """Return the leaves of a pytree by name, without its structure."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(item)
    return {_name(path): leaf for path, leaf in leaves}


def from_state(target: Any, state: dict[str, Any]) -> Any:
    """Return ``target`` with the leaves of ``state``; raises ``InputError`` if names or shapes differ."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(target)
    names = [_name(path) for path, _ in leaves]
    where = type(target).__name__
    if set(names) != set(state):
        odd = sorted(set(names) ^ set(state))[0]
        raise InputError(f"{where}: the saved state has another structure than the target (differs: {odd})")
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
    """Return the name of a leaf. The field ``reading`` of ``ChipArray`` is left out, as in earlier files."""
    return jax.tree_util.keystr(tuple(part for part in path if part != _READING))


_READING = jax.tree_util.GetAttrKey("reading")


for _kind in (Sample, ProgrammedTiles, Reading, ChipArray, Chip):
    serialization.register_serialization_state(_kind, to_state, from_state)
