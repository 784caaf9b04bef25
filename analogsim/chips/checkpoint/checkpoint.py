"""Save and restore models, their calibration and their chips, exact to the bit.

A checkpoint is a folder: the arrays, written by Orbax, and ``analogsim.json``, a manifest in plain text that lists what
was saved, the hardware and the shapes. The model passed to ``restore`` supplies all structure. It is compared with the
manifest before any array is read, and a different hardware, layer, shape or dtype is refused by name. Checksums cover
the manifest and the arrays (``folder``). Nothing is pickled, and no class is looked up by a name in the file.

    hardware    compared field by field, including the energy table; only its ``name``, a label, may differ. Calibrated
                ranges and programmed cells belong to the hardware they were made for: restore with the model as it was
                saved, then pass the result to a model on other hardware.
    chips       cells and readings, at the age at which they were saved. Their hardware is the model's; a chip that was
                programmed on other hardware is refused by ``save``.
    not saved   the model itself, its hardware (the manifest is only compared), optimiser state, shardings.
"""

import os
import pathlib
from typing import Any, NamedTuple

import numpy as np

from analogsim.base.call_inputs import sample_text
from analogsim.base.errors import InputError
from analogsim.base.types import PyTree
from analogsim.base.version import __version__
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
from analogsim.chips.checkpoint.leaves import Entry, data_of, entry_of, leaf_of, same_bits, under
from analogsim.chips.checkpoint.outline import described_layers
from analogsim.chips.chip import Chip, check_age
from analogsim.models.bound import front_end_of, front_ends

_SHOWN = 3  # differences named in a message


class Checkpoint(NamedTuple):
    """The content of a checkpoint, as returned by ``restore``.

    Attributes:
      variables: variables of a Linen model; None for NNX.
      chip: the chip or stack of chips, or None.
      model: the Linen model that was passed; for NNX, a copy of it that holds the saved arrays.
    """

    variables: PyTree
    chip: Chip | None
    model: Any


def save(
    folder: str | os.PathLike,
    model: Any,
    variables: PyTree = None,
    chip: Chip | None = None,
    *,
    x: Any = None,
    overwrite: bool = False,
    **options: Any,
) -> None:
    """Write a model's parameters, ranges and other state, and optionally a chip, to a folder.

    The folder is written atomically: it appears complete or not at all. An array that the model's variables and the
    chip have in common is written once.

    Args:
      folder: a path on a local disk, relative or absolute.
      model: a Linen or NNX model.
      variables: a Linen model's variables; None for an NNX model, which holds its own.
      chip: a chip, or a stack of chips, of this model, of any age and with any readings.
      x: example input of a Linen model (an array, or a tuple of several), ``[n, ...]``; only its shape is used. Not
        needed if ``variables`` come from ``calibrate``.
      overwrite: whether to replace an existing checkpoint; refused if the folder holds any other file.
      **options: keyword arguments of the Linen model's call, for example ``train=False``.

    Raises:
      InputError: if the folder is not empty or cannot be written; if the variables or the chip do not fit the model,
        or hold anything other than arrays and numbers.

    Example:
      >>> import tempfile, jax, jax.numpy as jnp
      >>> from analogsim import preset, program
      >>> from analogsim.linen import AnalogDense
      >>> layer, x = AnalogDense(3, hardware=preset("pcm")), jnp.ones((2, 4))
      >>> variables = layer.init(jax.random.key(0), x)
      >>> chip = program(layer, variables, jax.random.key(1), x).at("1 year")
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     save(folder, layer, variables, chip, x=x)
      ...     restored = restore(folder, layer)
      >>> restored.chip.readings["analog"]["array"] == chip.readings["analog"]["array"]
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
    manifest = {
        "format": files.FORMAT,
        "analogsim": __version__,
        "front_end": front_end_of(model).name,
        "inputs": None if contents.sample is None else sample_text(contents.sample),
        "chip": None if stack is None else {"stack": list(stack)},
        "layers": described_layers(contents.layers),
        "built_with": contents.built_with,
        "leaves": entries,
    }
    files.write(path, manifest, arrays, bool(overwrite))


def _entries_and_arrays(leaves: dict[str, Any]) -> tuple[dict[str, Entry], dict[str, np.ndarray]]:
    """Return the entry of every leaf, and the arrays to be written.

    A chip's readings repeat many arrays of its cells, and its digital part those of the variables. Such a leaf only
    refers to its twin, ``{"same_as": name}``.
    """
    entries: dict[str, Entry] = {}
    arrays: dict[str, np.ndarray] = {}
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
    """Read a checkpoint written by ``save`` into the structure of a model, bit for bit.

    Args:
      folder: folder of the checkpoint.
      model: a Linen or NNX model with the hardware, layers and shapes of the saved one; not modified.
      **options: keyword arguments of the Linen model's call, as for ``save``.

    Returns:
      the variables, the chip and the model.

    Raises:
      InputError: if the folder holds no checkpoint or a damaged one, or one of another model or hardware; the message
        names the differences.

    Warns:
      UserWarning: for a checkpoint of version 0.1 (format 1), whose manifest has no checksum.

    Example:
      >>> import tempfile, jax, jax.numpy as jnp
      >>> from analogsim import preset
      >>> from analogsim.linen import AnalogDense
      >>> layer, x = AnalogDense(3, hardware=preset("ideal")), jnp.ones((2, 4))
      >>> variables = layer.init(jax.random.key(0), x)
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     save(folder, layer, variables, x=x)
      ...     checkpoint = restore(folder, layer)
      >>> bool((checkpoint.variables["params"]["kernel"] == variables["params"]["kernel"]).all()), checkpoint.chip
      (True, None)
    """
    path = files.checked_path(folder)
    front_end = front_end_of(model)
    manifest = files.read_manifest(path)
    if manifest["front_end"] != front_end.name:
        titles = {known.name: known.title for known in front_ends()}
        raise InputError(
            f"checkpoint {path}: holds {titles[manifest['front_end']]} model, this is {front_end.title} model"
        )
    entries = {name: manifest["leaves"].get(entry.get("same_as"), entry) for name, entry in manifest["leaves"].items()}
    target = match_model(model, manifest, entries, options)
    _refuse(path, target.differences)
    parts = None
    if manifest["chip"] is not None:
        cells = stacked(saved_cells(model, target), tuple(manifest["chip"]["stack"]))
        parts = cells, readings_like(cells, under("chip/readings", entries))
        saved = [under(f"chip/{part}", entries) for part in PARTS]
        _refuse(path, [f"chip: {text}" for pair in zip(saved, parts, strict=True) for text in chip_differences(*pair)])
    files.check_files(path, manifest["files"])
    leaves = _leaves(path, manifest["leaves"])
    model, variables = rebuilt(model, target, leaves)
    chip = None
    if parts is not None:
        digital = {f"variables/{name}": leaf for name, leaf in under("chip/digital", leaves).items()}
        chip_variables = None if variables is None else rebuilt(model, target, digital)[1]
        chip = restored_chip(leaves, parts, target.layers, chip_variables)
        try:
            check_age(chip.time_s, chip.cells, "chip/time_s")
        except InputError as error:
            _refuse(path, [str(error)])
    return Checkpoint(variables, chip, model)


def _refuse(path: pathlib.Path, differences: list[str]) -> None:
    if differences:
        more = f"; and {len(differences) - _SHOWN} more" if len(differences) > _SHOWN else ""
        raise InputError(f"checkpoint {path}: {'; '.join(differences[:_SHOWN])}{more}")


def _leaves(path: pathlib.Path, entries: dict[str, Entry]) -> dict[str, Any]:
    written = {name: entry for name, entry in entries.items() if "same_as" not in entry}
    arrays = files.read_arrays(path, written)
    leaves = {name: leaf_of(name, entry, arrays.get(name)) for name, entry in written.items()}
    return {name: leaves[entry.get("same_as", name)] for name, entry in entries.items()}
