"""Saving and restoring models, their calibration and their chips, exact to the bit.

A checkpoint is a folder: the arrays, written by Orbax, and ``analogsim.json``, which says in plain text what was saved,
on which hardware and in which shapes. The model given to ``restore`` supplies all structure. It is compared with the
text before anything is loaded, and another hardware, layer, shape or dtype is refused by name. Checksums cover the
text and the arrays (``folder``). Nothing is pickled, and no class is looked up by a name in the file.

    hardware    compared field by field, prices included; only its ``name``, a label, may differ. Calibrated ranges and
                programmed cells belong to the hardware that they were made for: restore with the model as it was saved,
                and pass what comes back to a model on other hardware.
    chips       their cells and readings as they are, at the age at which they were saved. Their description is the
                model's; a chip that was programmed on another is refused when it is saved.
    not kept    the model itself, its hardware (the text is for comparison), the state of an optimiser, shardings.
"""

import os
from typing import Any, NamedTuple

from analogsim.base.errors import InputError
from analogsim.chips.checkpoint import folder as files
from analogsim.chips.checkpoint.chips import (
    PARTS,
    check_chip,
    chip_differences,
    chip_leaves,
    readings_like,
    restored_chip,
    stack_of,
    stacked,
)
from analogsim.chips.checkpoint.contents import contents_of, match_model, rebuilt, saved_cells
from analogsim.chips.checkpoint.leaves import data_of, entry_of, inputs_of, leaf_of, same_bits, under
from analogsim.chips.checkpoint.outline import described_layers
from analogsim.chips.chip import Chip, check_age
from analogsim.models.bound import front_end_of, front_ends

_SHOWN = 3  # differences named in a message


class Checkpoint(NamedTuple):
    """What a checkpoint held.

    Attributes:
      variables: of a Linen model; None for NNX.
      chip: the chip or stack of chips, or None.
      model: the Linen model itself; a copy of the NNX model, with what was saved.
    """

    variables: Any
    chip: Chip | None
    model: Any


def save(
    folder: str | os.PathLike,
    model: Any,
    variables: Any = None,
    chip: Chip | None = None,
    *,
    x: Any = None,
    overwrite: bool = False,
    **options: Any,
) -> None:
    """Write a model's parameters, ranges and other state, and a chip of it, into a folder.

    The folder appears whole or not at all. Leaves in a model's variables that are the same arrays in the chip are
    written once.

    Args:
      folder: a path on a local disk, relative or absolute.
      model: a Linen or NNX model.
      variables: a Linen model's variables; None for NNX, whose state is the model's own.
      chip: a chip, or a stack of chips, of this model: at any age, read in any way.
      x: one input of a Linen model (an array, or a tuple for several), of which only the shape is used; not needed if
        ``variables`` come from ``calibrate``.
      overwrite: replace a checkpoint that is there; refused, by their names, where the folder holds other files, too.
      **options: keyword arguments of the Linen model's call, for example ``train=False``.

    Raises:
      InputError: if the folder is not empty or cannot be written, the variables or the chip are not of this model, or
        they hold something else than arrays and numbers.

    Example:
      >>> import tempfile, jax, jax.numpy as jnp
      >>> from analogsim import preset, program
      >>> from analogsim.linen import AnalogDense
      >>> layer, x = AnalogDense(3, hardware=preset("pcm")), jnp.ones((2, 4))
      >>> variables = layer.init(jax.random.key(0), x)
      >>> chip = program(layer, variables, jax.random.key(1), x).at("1 year")
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     save(folder, layer, variables, chip, x=x)
      ...     found = restore(folder, layer)
      >>> found.chip.readings["analog"]["array"] == chip.readings["analog"]["array"]
      True
    """
    if isinstance(variables, Chip):
        raise InputError("variables: this is a chip; pass it by name, save(folder, model, chip=chip)")
    if chip is not None and not isinstance(chip, Chip):
        raise InputError(f"chip = {type(chip).__name__}: must be a chip from analogsim.program, or None")
    path = files.checked_path(folder)
    files.check_free(path, bool(overwrite))
    contents = contents_of(model, variables, x, options)
    leaves, stack = contents.leaves, None
    if chip is not None:
        stack = stack_of(chip, contents.cells)
        check_chip(chip, stacked(contents.cells, stack), contents.layers)
        leaves = leaves | chip_leaves(chip)
    entries, arrays = _entries_and_arrays(leaves)
    text = {
        "format": files.FORMAT,
        "analogsim": _version(),
        "front_end": front_end_of(model).name,
        "inputs": None if contents.sample is None else inputs_of(contents.sample),
        "chip": None if stack is None else {"stack": list(stack)},
        "layers": described_layers(contents.layers),
        "built_with": contents.built_with,
        "leaves": entries,
    }
    files.write(path, text, arrays)


def _version() -> str:
    from analogsim.base.version import __version__

    return __version__


def _entries_and_arrays(leaves: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Every leaf's entry, and its array unless an equal one is there: readings repeat much of the cells."""
    entries: dict[str, Any] = {}
    arrays: dict[str, Any] = {}
    for name, leaf in leaves.items():
        entry, data = entry_of(name, leaf), data_of(leaf)
        twin = name.replace("chip/readings/", "chip/cells/", 1).replace("chip/digital/", "variables/", 1)
        if data is not None and twin in arrays and entries[twin] == entry and same_bits(arrays[twin], data):
            entries[name] = {"same_as": twin}
            continue
        entries[name] = entry
        if data is not None:
            arrays[name] = data
    return entries, arrays


def restore(folder: str | os.PathLike, model: Any, **options: Any) -> Checkpoint:
    """What ``save`` wrote, in the structure of this model, bit for bit.

    Args:
      folder: the checkpoint.
      model: a Linen or NNX model like the saved one: the same hardware, layers and shapes. It is left as it is.
      **options: keyword arguments of the Linen model's call, as for ``save``.

    Returns:
      The variables, the chip and the model; see ``Checkpoint``.

    Raises:
      InputError: if the folder holds no checkpoint or a damaged one, or if it is of another model or hardware: the
        message names what differs.
      UserWarning: (a warning) for a checkpoint of version 0.1, whose description has no checksum.
    """
    path = files.checked_path(folder)
    front_end = front_end_of(model)
    text = files.read_text(path)
    if text["front_end"] != front_end.name:
        titles = {sentence.name: sentence.title for sentence in front_ends()}
        raise InputError(f"checkpoint {path}: holds {titles[text['front_end']]} model, this is {front_end.title} model")
    entries = {name: text["leaves"].get(entry.get("same_as"), entry) for name, entry in text["leaves"].items()}
    matched = match_model(model, text, entries, options)
    _refuse(path, matched.differences)
    parts = None
    if text["chip"] is not None:
        cells = stacked(saved_cells(model, matched), tuple(text["chip"]["stack"]))
        parts = cells, readings_like(cells, under("chip/readings", entries))
        messages = [
            chip_differences(under(f"chip/{n}", entries), expected) for n, expected in zip(PARTS, parts, strict=True)
        ]
        _refuse(path, [f"chip: {sentence}" for sentences in messages for sentence in sentences])
    files.check_files(path, text["files"])
    leaves = _leaves(path, text["leaves"])
    model, variables = rebuilt(model, matched, leaves)
    chip = None
    if parts is not None:
        digital = {f"variables/{name}": leaf for name, leaf in under("chip/digital", leaves).items()}
        beside = None if variables is None else rebuilt(model, matched, digital)[1]
        chip = restored_chip(leaves, parts, matched.layers, beside)
    if chip is not None:
        try:
            check_age(chip.time_s, chip.cells, "chip/time_s")
        except InputError as error:
            _refuse(path, [str(error)])
    return Checkpoint(variables, chip, model)


def _refuse(path: Any, said: list[str]) -> None:
    if said:
        more = f"; and {len(said) - _SHOWN} more" if len(said) > _SHOWN else ""
        raise InputError(f"checkpoint {path}: {'; '.join(said[:_SHOWN])}{more}")


def _leaves(path: Any, entries: dict[str, Any]) -> dict[str, Any]:
    """Every leaf as it was saved."""
    own = {name: entry for name, entry in entries.items() if "same_as" not in entry}
    arrays = files.read_arrays(path, own)
    leaves = {name: leaf_of(name, entry, arrays.get(name)) for name, entry in own.items()}
    return {name: leaves[entry.get("same_as", name)] for name, entry in entries.items()}
