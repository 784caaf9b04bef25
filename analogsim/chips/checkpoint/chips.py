"""Chips in a checkpoint: all arrays of a chip but those of its hardware, which is the model's.

A chip's description is that of the model it was programmed for, as arrays. It is checked against the model when it is
saved, and made anew from the model when it is restored: for the same hardware these are the same arrays.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from analogsim.base.errors import InputError
from analogsim.chips.checkpoint.description import described, differences
from analogsim.chips.checkpoint.leaves import Entry, entries_of, named, signature, under
from analogsim.chips.checkpoint.outline import Layer
from analogsim.chips.chip import COMPENSATIONS, Chip, check_age, read
from analogsim.models.bound import leaves_of
from analogsim.signal_path.programmed import ChipArray, ProgrammedTiles
from analogsim.signal_path.reading import Reading

PARTS = ("cells", "readings")
_KINDS = (ProgrammedTiles, ChipArray)


def bare(tree: Any) -> Any:
    """Cells or readings without their hardware."""
    return jax.tree.map(
        lambda node: node.reading if isinstance(node, ChipArray) else dataclasses.replace(node, hardware=None),
        tree,
        is_leaf=_is_node,
    )


def _is_node(node: Any) -> bool:
    return isinstance(node, _KINDS)


def stack_of(chip: Chip, cells: Any) -> tuple[int, ...]:
    """Leading axes of a stack of chips; ``cells`` are those of one, as shapes."""
    for (_, held), (_, one) in zip(
        leaves_of(ProgrammedTiles, chip.cells), leaves_of(ProgrammedTiles, cells), strict=False
    ):
        return tuple(held.scale.shape[: held.scale.ndim - len(one.scale.shape)])
    return ()


def stacked(cells: Any, stack: tuple[int, ...]) -> Any:
    """Shapes of the cells of a stack of chips."""
    return jax.tree.map(
        lambda a: jax.ShapeDtypeStruct((*stack, *a.shape), a.dtype, weak_type=getattr(a, "weak_type", False)), cells
    )


def readings_like(cells: Any, saved: dict[str, Entry]) -> Any:
    """Readings of these cells, as shapes: with those parts that the saved ones have.

    What is there depends on how the chip was read: with or without noise, with one factor a tile, a line, or none.
    """
    for compensation in (None, *COMPENSATIONS):
        for read_noise in (True, False):
            found = jax.eval_shape(lambda c, how=(compensation, read_noise): read(c, 0.0, *how), cells)
            if not chip_differences(saved, found):
                return found
    return jax.eval_shape(lambda c: read(c, 0.0, None, True), cells)


def chip_differences(saved: dict[str, Entry], expected: Any) -> list[str]:
    """Where saved cells or readings are not like these shapes, one sentence each."""
    expected_entries = entries_of(bare(expected))
    messages = [f"{name} is only in one of both" for name in sorted(saved.keys() ^ expected_entries.keys())]
    for name in saved.keys() & expected_entries.keys():
        (shape, dtype), (my_shape, my_dtype) = signature(saved[name]), signature(expected_entries[name])
        if shape != my_shape:
            messages.append(f"{name}: shape {shape} on the chip, {my_shape} by the model")
        elif dtype != my_dtype and not name.endswith("time_s"):  # a time may be any kind of number
            messages.append(f"{name}: dtype {dtype} on the chip, {my_dtype} by the model")
    return sorted(messages)


def check_chip(chip: Chip, expected_shapes: Any, layers: dict[str, Layer]) -> None:
    """Refuse a chip that was not programmed for this model; ``expected_shapes`` are the model's own cells as shapes."""
    for kind, tree in ((ProgrammedTiles, chip.cells), (ChipArray, chip.readings)):
        nodes, expected = dict(leaves_of(kind, tree)), dict(leaves_of(ProgrammedTiles, expected_shapes))
        for path in [*nodes, *expected]:
            if path not in expected or path not in nodes:
                places = ("the chip", "the model") if path in nodes else ("the model", "the chip")
                raise InputError(f"chip: layer {path} is on {places[0]}, not on {places[1]}")
        for path, node in nodes.items():
            layer_hardware = _hardware_like(layers[path].hardware, expected[path].hardware)
            for d in differences(described(node.hardware), layer_hardware):
                raise InputError(
                    f"chip: layer {path} was programmed on hardware with {d.field} = {d.saved}, this model's has "
                    f"{d.field} = {d.actual}; save it with the model that it was programmed for"
                )
    check_age(chip.time_s, chip.cells, "chip/time_s")
    cells, readings = entries_of(bare(chip.cells)), entries_of(bare(chip.readings))
    messages = chip_differences(cells, expected_shapes) or chip_differences(
        readings, readings_like(expected_shapes, readings)
    )
    if messages:
        raise InputError(f"chip: is not of this model: {messages[0]}")


def chip_leaves(chip: Chip) -> dict[str, Any]:
    """What is saved of a chip, by name."""
    cells, readings = named(bare(chip.cells)), named(bare(chip.readings))
    digital = {} if chip.digital is None else named(chip.digital, boxed=True)
    parts = {"chip/cells": cells, "chip/readings": readings, "chip/digital": digital}
    leaves = {f"{part}/{name}": leaf for part, some in parts.items() for name, leaf in some.items()}
    return leaves | {"chip/time_s": chip.time_s}


def restored_chip(leaves: dict[str, Any], like: tuple[Any, Any], layers: dict[str, Layer], digital: Any) -> Chip:
    """The chip with these leaves; ``like`` are shapes of cells and readings, ``digital`` its other variables."""
    cells, readings = (_rebuilt(under(f"chip/{n}", leaves), one, layers) for n, one in zip(PARTS, like, strict=True))
    return Chip(cells, readings, digital, leaves["chip/time_s"])


def _rebuilt(leaves: dict[str, Any], like: Any, layers: dict[str, Layer]) -> Any:
    """Cells or readings from their leaves by name, on the model's hardware."""
    empty = bare(like)
    filled = jax.tree.unflatten(jax.tree.structure(empty), [leaves[name] for name in named(empty)])
    nodes, structure = jax.tree.flatten(filled, is_leaf=lambda n: isinstance(n, (ProgrammedTiles, Reading)))
    likes = [(path, node) for kind in _KINDS for path, node in leaves_of(kind, like) if isinstance(node, kind)]
    return jax.tree.unflatten(
        structure,
        [
            _on(_hardware_like(layers[path].hardware, one.hardware), node)
            for node, (path, one) in zip(nodes, likes, strict=True)
        ],
    )


def _on(hardware: Any, node: Any) -> Any:
    if isinstance(node, Reading):
        return ChipArray(hardware, node)
    return dataclasses.replace(node, hardware=hardware)


def _hardware_like(hardware: Any, like: Any) -> Any:
    """Hardware as programming leaves it on a chip: its numbers as arrays, one for each of a stack."""
    leaves = [
        jnp.broadcast_to(jnp.asarray(value), one.shape)
        for value, one in zip(jax.tree.leaves(hardware), jax.tree.leaves(like), strict=True)
    ]
    return jax.tree.unflatten(jax.tree.structure(hardware), leaves)
