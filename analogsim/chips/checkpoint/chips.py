"""Chips in a checkpoint: the arrays of their cells and readings, without those of their hardware.

The hardware of a chip is that of the model it was programmed for, with its numbers as arrays. ``save`` compares the
two; ``restore`` rebuilds the chip's hardware from the model's, which gives the same arrays.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from analogsim.base.errors import InputError
from analogsim.base.types import PyTree
from analogsim.chips.checkpoint.description import described, differences
from analogsim.chips.checkpoint.leaves import Entry, entries_of, named, signature, under
from analogsim.chips.checkpoint.outline import Layer
from analogsim.chips.chip import COMPENSATIONS, Chip, check_age, read
from analogsim.hardware.hardware import Hardware
from analogsim.models.bound import leaves_of
from analogsim.signal_path.programmed import ChipArray, ProgrammedTiles
from analogsim.signal_path.reading import Reading

PARTS = ("cells", "readings")
_KINDS = (ProgrammedTiles, ChipArray)


def bare(tree: PyTree) -> Any:
    """Remove the hardware from cells or readings."""
    return jax.tree.map(
        lambda node: node.reading if isinstance(node, ChipArray) else dataclasses.replace(node, hardware=None),
        tree,
        is_leaf=lambda node: isinstance(node, _KINDS),
    )


def stack_of(chip: Chip, cells: PyTree) -> tuple[int, ...]:
    """Return the leading axes of a stack of chips, ``()`` for one; ``cells`` are the shapes of one chip's cells."""
    pairs = zip(leaves_of(ProgrammedTiles, chip.cells), leaves_of(ProgrammedTiles, cells), strict=False)
    for (_, saved), (_, expected) in pairs:  # the same for every layer
        return tuple(saved.scale.shape[: saved.scale.ndim - len(expected.scale.shape)])
    return ()


def stacked(cells: PyTree, stack: tuple[int, ...]) -> Any:
    """Return the shapes of the cells of a stack of chips."""
    return jax.tree.map(
        lambda a: jax.ShapeDtypeStruct((*stack, *a.shape), a.dtype, weak_type=getattr(a, "weak_type", False)), cells
    )


def readings_like(cells: PyTree, saved: dict[str, Entry]) -> Any:
    """Return readings of these cells as shapes, with the same parts as the saved readings.

    The parts depend on how the chip was read: with or without noise, with drift compensation per tile, per column or
    none.
    """
    for compensation in (None, *COMPENSATIONS):
        for read_noise in (True, False):
            readings = jax.eval_shape(lambda c, how=(compensation, read_noise): read(c, 0.0, *how), cells)
            if not chip_differences(saved, readings):
                return readings
    return jax.eval_shape(lambda c: read(c, 0.0, None, True), cells)


def chip_differences(saved: dict[str, Entry], expected: Any) -> list[str]:
    """Describe every difference between saved cells or readings and the expected shapes, one message each."""
    expected_entries = entries_of(bare(expected))
    messages = []
    for name in saved.keys() | expected_entries.keys():
        if name not in expected_entries:
            messages.append(f"{name} is on the chip, not in the model")
        elif name not in saved:
            messages.append(f"{name} is in the model, not on the chip")
        else:
            (shape, dtype), (model_shape, model_dtype) = signature(saved[name]), signature(expected_entries[name])
            if shape != model_shape:
                messages.append(f"{name}: shape {shape} on the chip, {model_shape} in the model")
            elif dtype != model_dtype and not name.endswith("time_s"):  # a time may be any kind of number
                messages.append(f"{name}: dtype {dtype} on the chip, {model_dtype} in the model")
    return sorted(messages)


def check_chip(chip: Chip, expected_cells: Any, layers: dict[str, Layer]) -> None:
    """Refuse a chip that was not programmed for this model; ``expected_cells`` are the model's cells as shapes."""
    for kind, tree in ((ProgrammedTiles, chip.cells), (ChipArray, chip.readings)):
        nodes, expected = dict(leaves_of(kind, tree)), dict(leaves_of(ProgrammedTiles, expected_cells))
        for path in [*nodes, *expected]:
            if path not in expected or path not in nodes:
                where = "on the chip, not in the model" if path in nodes else "in the model, not on the chip"
                raise InputError(f"chip: layer {path} is {where}")
        for path, node in nodes.items():
            layer_hardware = _hardware_like(layers[path].hardware, expected[path].hardware)
            for d in differences(described(node.hardware), layer_hardware):
                raise InputError(
                    f"chip: layer {path} was programmed on hardware with {d.field} = {d.saved}, this model's has "
                    f"{d.field} = {d.actual}; save it with the model that it was programmed for"
                )
    check_age(chip.time_s, chip.cells, "chip/time_s")
    cells, readings = entries_of(bare(chip.cells)), entries_of(bare(chip.readings))
    messages = chip_differences(cells, expected_cells) or chip_differences(
        readings, readings_like(expected_cells, readings)
    )
    if messages:
        raise InputError(f"chip: does not fit this model: {messages[0]}")


def chip_leaves(chip: Chip) -> dict[str, Any]:
    """Return the arrays of a chip that are saved, by name."""
    digital = {} if chip.digital is None else named(chip.digital, boxed=True)
    parts = {"cells": named(bare(chip.cells)), "readings": named(bare(chip.readings)), "digital": digital}
    leaves = {f"chip/{part}/{name}": leaf for part, by_name in parts.items() for name, leaf in by_name.items()}
    return leaves | {"chip/time_s": chip.time_s}


def restored_chip(leaves: dict[str, Any], like: tuple[Any, Any], layers: dict[str, Layer], digital: Any) -> Chip:
    """Build a chip from its leaves; ``like`` are shapes of its cells and readings, ``digital`` its other variables."""
    cells, readings = (_rebuilt(under(f"chip/{n}", leaves), one, layers) for n, one in zip(PARTS, like, strict=True))
    return Chip(cells, readings, digital, leaves["chip/time_s"])


def _rebuilt(leaves: dict[str, Any], like: Any, layers: dict[str, Layer]) -> Any:
    """Build cells or readings from their leaves by name, on the model's hardware."""
    empty = bare(like)
    filled = jax.tree.unflatten(jax.tree.structure(empty), [leaves[name] for name in named(empty)])
    nodes, structure = jax.tree.flatten(filled, is_leaf=lambda n: isinstance(n, (ProgrammedTiles, Reading)))
    likes = [(path, node) for kind in _KINDS for path, node in leaves_of(kind, like) if isinstance(node, kind)]
    rebuilt = []
    for node, (path, expected) in zip(nodes, likes, strict=True):
        hardware = _hardware_like(layers[path].hardware, expected.hardware)
        is_reading = isinstance(node, Reading)
        rebuilt.append(ChipArray(hardware, node) if is_reading else dataclasses.replace(node, hardware=hardware))
    return jax.tree.unflatten(structure, rebuilt)


def _hardware_like(hardware: Hardware, like: Any) -> Hardware:
    """Return hardware as programming leaves it on a chip: numbers as arrays, with the leading axes of a stack."""
    leaves = [
        jnp.broadcast_to(jnp.asarray(value), one.shape)
        for value, one in zip(jax.tree.leaves(hardware), jax.tree.leaves(like), strict=True)
    ]
    return jax.tree.unflatten(jax.tree.structure(hardware), leaves)
