"""Program chips from the kernels of NNX models, and load readings, keys and range places into their hooks."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from analogsim.base.errors import InputError
from analogsim.base.random import check_key, split, stored_key, stream
from analogsim.hardware.rules import attending
from analogsim.layers import layer
from analogsim.nnx.hooks import (
    AnalogOp,
    ProgrammedVariable,
    RangeVariable,
    matrix_of,
    path_of,
    single_shape,
    stack_axes,
)
from analogsim.nnx.matrices import multiplied
from analogsim.signal_path import programmed
from analogsim.signal_path.operators import for_numbers
from analogsim.signal_path.programmed import ChipArray


def analog_ops(model: nnx.Module) -> dict[str, tuple[nnx.Module, AnalogOp]]:
    """Return every analog layer of a model with its hook, ``(layer, hook)`` by path, and set the paths of the hooks.

    Args:
      model: an NNX model; its hooks get their paths in place.

    Example:
      >>> from analogsim import convert, preset
      >>> list(analog_ops(convert(nnx.Sequential(nnx.Linear(4, 3, rngs=nnx.Rngs(0))), preset("pcm"))))
      ['layers/0']
    """
    ops = {}
    # A module with several parents comes once, under its first path, so that it is one layer.
    for path, module in nnx.iter_modules(model):
        for name, op in list(vars(module).items()):
            if isinstance(op, AnalogOp):
                op.path = path_of(path)
                if name == "attend_op":
                    op.path = attending(op.path)
                ops[op.path] = (module, op)
    return ops


def stack_shape(module: nnx.Module, path: str) -> tuple[int, ...]:
    """Return the shape of the stack of a layer: ``()`` for a plain layer, ``(3,)`` for three stacked by ``nnx.vmap``.

    Args:
      module: a layer with a kernel or a table.
      path: its path, for the error message.

    Raises:
      InputError: if the layers are stacked along other axes than the first.

    Example:
      >>> make = nnx.vmap(lambda rngs: nnx.Linear(4, 4, rngs=rngs), in_axes=(0,), out_axes=0)
      >>> stack_shape(nnx.split_rngs(splits=3)(make)(nnx.Rngs(0)), "layers")
      (3,)
    """
    stack = stack_axes(module)
    if stack is None:
        raise InputError(
            f"layer {path}: its kernel of shape {matrix_of(module)[...].shape} is not a stack of kernels "
            f"{single_shape(module)} along the first axes; stack layers with nnx.vmap(..., out_axes=0)"
        )
    return stack


def program(
    model: nnx.Module,
    key: jax.Array,
    reprogram: dict[str, programmed.ProgrammedTiles] | None = None,
    run: Callable[[nnx.Module], Any] | None = None,
) -> dict[str, programmed.ProgrammedTiles]:
    """Program the kernel of every analog layer.

    Args:
      model: a copy of a model, which ``run`` may change.
      key: random key of fabrication and writing.
      reprogram: tiles to reprogram, by path; None fabricates new ones.
      run: function that calls the model once, so that the matrices that layers compute in a call are programmed; None
        programs the stored kernels.

    Returns:
      programmed tiles by path, with the axes of its stack first if a layer is stacked.

    Raises:
      InputError: if ``reprogram`` has other layers than the model, or a layer may compute its matrix in a call and is
        not called.

    Example:
      >>> from analogsim import preset
      >>> from analogsim.nnx import AnalogLinear
      >>> model = nnx.Sequential(AnalogLinear(4, 3, hardware=preset("ideal"), rngs=nnx.Rngs(0)))
      >>> program(model, jax.random.key(1))
      {'layers/0': ProgrammedTiles(4 x 3 on 1 x 1 tiles of 'ideal')}
    """
    ops = analog_ops(model)
    if reprogram is not None and reprogram.keys() != ops.keys():
        raise InputError(
            f"reprogram: the chip has layers {sorted(reprogram)}, the model has {sorted(ops)}; must be a chip of this "
            f"model"
        )
    stacks = {path: stack_shape(module, path) for path, (module, _) in ops.items()}
    shapes = {path: single_shape(module) for path, (module, _) in ops.items()}
    kernels, cells = multiplied(model, ops, stacks, run), {}
    for path, (module, op) in ops.items():
        layer_key, lead = stream(key, path), stacks[path]
        write = functools.partial(_write, op, path, op.layout(module, shapes[path]))
        for _ in lead:
            write = jax.vmap(write)
        keys = split(layer_key, lead) if lead else layer_key
        cells[path] = write(kernels[path], keys, None if reprogram is None else reprogram[path])
    return cells


def _write(
    op: AnalogOp, path: str, operator: Any, kernel: jax.Array, key: jax.Array, reprogram: Any
) -> programmed.ProgrammedTiles:
    operator = for_numbers(operator, kernel, kernel, path, op.runs_on)
    return layer.write(op.runs_on, operator, kernel, key, reprogram, op.ranges)


def load(model: nnx.Module, readings: dict[str, ChipArray], key: jax.Array | None = None) -> None:
    """Load a chip's readings into the model's hooks and switch them to mode ``"chip"``, in place.

    ``on_chip`` does the same to a copy of the model.

    Args:
      model: the model that the chip was programmed for.
      readings: readings by path, as in ``Chip.readings``.
      key: random key that restarts the noise streams; None leaves them unchanged.

    Raises:
      InputError: if the chip has other layers than the model.

    Example:
      >>> import analogsim
      >>> layer = analogsim.nnx.AnalogLinear(4, 3, hardware=analogsim.preset("ideal"), rngs=nnx.Rngs(0))
      >>> load(layer, analogsim.program(layer, key=jax.random.key(1)).readings)
      >>> layer.dot_general.mode
      'chip'
    """
    ops = analog_ops(model)
    if readings.keys() != ops.keys():
        raise InputError(
            f"the chip has layers {sorted(readings)}, the model has {sorted(ops)}; program a chip for this model"
        )
    for path, (_, op) in ops.items():
        op.array = nnx.data(ProgrammedVariable(readings[path]))
        op.mode = "chip"
    if key is not None:
        reseed(model, key)


def reseed(model: nnx.Module, key: jax.Array) -> list[AnalogOp]:
    """Restart the noise streams of all analog layers from a key, in place; return hooks that had none before."""
    had_none = []
    for path, (module, op) in analog_ops(model).items():
        lead = stack_shape(module, path)
        tag = "analog" if op.stream is None else op.stream.tag  # a loop needs the same structure before and after
        layer_key = stored_key(stream(key, path), jax.random.key(0) if op.stream is None else op.stream.key[...])
        restarted = nnx.RngStream(jax.random.split(layer_key, lead) if lead else layer_key, tag=tag)
        restarted.count[...] = jnp.zeros(lead, restarted.count[...].dtype)  # one count per layer of a stack
        if op.stream is None:
            had_none.append(op)
        op.stream = nnx.data(restarted)
    return had_none


def places(model: nnx.Module) -> dict[str, np.ndarray]:
    """Number the entries of ranges consecutively over all layers; see ``models.protocol.BoundModel.places``."""
    numbers, start = {}, 0
    for path, (module, _) in analog_ops(model).items():
        lead = stack_shape(module, path)
        numbers[path] = start + np.arange(math.prod(lead)).reshape(lead)
        start += math.prod(lead)
    return numbers


def mark_places(model: nnx.Module) -> None:
    """Store the numbers of ``places`` in the hooks, in place, so that ``observe`` sets ``LayerUse.place``.

    Args:
      model: an NNX model.

    Raises:
      InputError: if layers are stacked along other axes than the first.

    Example:
      >>> from analogsim import convert, preset
      >>> rngs = nnx.Rngs(0)
      >>> model = convert(nnx.Sequential(nnx.Linear(4, 3, rngs=rngs), nnx.Linear(3, 2, rngs=rngs)), preset("ideal"))
      >>> mark_places(model)
      >>> [int(op.place.get_value()) for _, op in analog_ops(model).values()]
      [0, 1]
    """
    ops = analog_ops(model)
    for path, numbers in places(model).items():
        ops[path][1].place = nnx.data(RangeVariable(jnp.asarray(numbers)))


def on_chip(model: nnx.Module, chip: Any, key: jax.Array | None = None) -> nnx.Module:
    """Return a copy of the model whose analog layers run on a programmed chip, at the chip's read time.

    Args:
      model: the model that the chip was programmed for; not modified.
      chip: result of ``analogsim.program(model, key=key)``, possibly aged by ``chip.at("1 year")``.
      key: random key that restarts the streams of read noise; None leaves the model's streams unchanged.

    Raises:
      InputError: if ``model`` is not an NNX module, ``chip`` is not a chip, or their layers differ.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from flax import nnx
      >>> import analogsim
      >>> layer = analogsim.nnx.AnalogLinear(4, 3, hardware=analogsim.preset("pcm"), rngs=nnx.Rngs(0))
      >>> chip = analogsim.program(layer, key=jax.random.key(1))
      >>> on_chip(layer, chip.at("1 day"))(jnp.ones((2, 4))).shape
      (2, 3)
    """
    if not isinstance(model, nnx.Module):
        raise InputError(f"model = {type(model).__name__}: must be a flax.nnx module")
    if not hasattr(chip, "readings"):
        raise InputError(f"chip = {chip!r}: must be a chip from analogsim.program(model, key=key)")
    if key is not None:
        check_key(key)
    copy = nnx.clone(model)
    load(copy, chip.readings, key)
    return copy
