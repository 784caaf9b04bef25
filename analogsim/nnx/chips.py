"""Chips, readings and ranges of NNX models: written into the hooks of a copy, or from the kernels."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from analogsim.base.errors import InputError
from analogsim.base.random import check_key, stream
from analogsim.layers import layer
from analogsim.nnx.hooks import AnalogOp, ProgrammedVariable, RangeVariable
from analogsim.nnx.matrices import multiplied
from analogsim.signal_path import programmed
from analogsim.signal_path.operators import for_numbers
from analogsim.signal_path.programmed import ChipArray


def analog_ops(model: nnx.Module) -> dict[str, tuple[nnx.Module, AnalogOp]]:
    """Every analog layer of a model with its filled hook, by the layer's path; each hook learns its path."""
    found = {}
    for path, module in nnx.iter_modules(model):
        for name, op in list(vars(module).items()):
            if isinstance(op, AnalogOp):
                below = ("attend",) if name == "attend_op" else ()
                op.path = "/".join(map(str, (*path, *below))) or "(the model itself)"
                found[op.path] = (module, op)
    return found


def stack_shape(module: Any, path: str) -> tuple[int, ...]:
    """Leading axes of a layer that ``nnx.vmap`` stacked: ``()`` for a plain layer, ``(3,)`` for three in a stack."""
    found, own, shape = stack_axes(module), _own_shape(module), _table(module).shape
    if found is None:
        raise InputError(
            f"layer {path}: its kernel of shape {shape} is not a stack of kernels {own} along the first axes; stack "
            f"layers with nnx.vmap(..., out_axes=0)"
        )
    return found


def stack_axes(module: Any) -> tuple[int, ...] | None:
    """The same, None where the kernel is no such stack."""
    own, shape = _own_shape(module), _table(module).shape
    lead = len(shape) - len(own)
    return None if lead < 0 or shape[lead:] != own else shape[:lead]


def _table(module: Any) -> jax.Array:
    return (module.embedding if isinstance(module, nnx.Embed) else module.kernel)[...]


def _own_shape(module: Any) -> tuple[int, ...]:
    """Shape of the kernel of one layer, by its settings."""
    if isinstance(module, nnx.Embed):
        return (module.num_embeddings, module.features)
    if isinstance(module, nnx.Linear):
        return (module.in_features, module.out_features)
    if isinstance(module, nnx.LinearGeneral):
        return (*module.batch_axis.values(), *module.in_features, *module.out_features)
    return tuple(module.kernel_shape)


def program(
    model: nnx.Module,
    key: jax.Array,
    reprogram: dict[str, programmed.ProgrammedTiles] | None = None,
    run: Callable[[nnx.Module], Any] | None = None,
) -> dict[str, programmed.ProgrammedTiles]:
    """Every analog layer's kernel written onto fresh tiles, or onto these again, by the layer's path.

    Args:
      model: a copy, which ``run`` may change.
      key: of fabrication and writing.
      reprogram: tiles to write again.
      run: calls the model once, so that what layers multiply with is written; None writes what they hold.
    """
    ops = analog_ops(model)
    if reprogram is not None and reprogram.keys() != ops.keys():
        raise InputError(
            f"reprogram: the chip holds layers {sorted(reprogram)}, the model has {sorted(ops)}; must be of this model"
        )
    stacks = {path: stack_shape(module, path) for path, (module, _) in ops.items()}
    shapes = {path: _own_shape(module) for path, (module, _) in ops.items()}
    kernels, cells = multiplied(model, ops, stacks, run), {}
    for path, (module, op) in ops.items():
        own, lead = stream(key, path), stacks[path]
        write = functools.partial(_write, op, path, op.layout(module, shapes[path])[0])
        for _ in lead:
            write = jax.vmap(write)
        keys = jax.random.split(own, lead) if lead else own
        cells[path] = write(kernels[path], keys, None if reprogram is None else reprogram[path])
    return cells


def _write(
    op: AnalogOp, path: str, operator: Any, kernel: jax.Array, key: jax.Array, reprogram: Any
) -> programmed.ProgrammedTiles:
    operator = for_numbers(operator, kernel, kernel, path, op.runs_on)
    return layer.write(op.runs_on, operator, kernel, key, reprogram, op.ranges)


def load(model: nnx.Module, readings: dict[str, ChipArray], key: jax.Array | None = None) -> None:
    """Put readings into the model's hooks, in place, and run them from now on; ``key`` restarts their noise streams."""
    ops = analog_ops(model)
    if readings.keys() != ops.keys():
        raise InputError(f"the chip holds layers {sorted(readings)}, the model has {sorted(ops)}; program one for it")
    for path, (_, op) in ops.items():
        op.array = nnx.data(ProgrammedVariable(readings[path]))
        op.mode = "chip"
    if key is not None:
        reseed(model, key)


def reseed(model: nnx.Module, key: jax.Array) -> None:
    """Restart every layer's noise stream from a key, in place."""
    for path, (module, op) in analog_ops(model).items():
        own, lead = stream(key, path), stack_shape(module, path)
        tag = "analog" if op.stream is None else op.stream.tag  # a loop wants the same structure before and after
        fresh = nnx.RngStream(jax.random.split(own, lead) if lead else own, tag=tag)
        fresh.count[...] = jnp.zeros(lead, fresh.count[...].dtype)  # each of a stack counts its own draws
        op.stream = nnx.data(fresh)


def places(model: nnx.Module) -> dict[str, np.ndarray]:
    """A number for every layer's entry of ranges, by the layer's path; a stack of layers has several."""
    numbers, start = {}, 0
    for path, (module, _) in analog_ops(model).items():
        lead = stack_shape(module, path)
        numbers[path] = start + np.arange(math.prod(lead)).reshape(lead)
        start += math.prod(lead)
    return numbers


def mark_places(model: nnx.Module) -> None:
    """Write the numbers of ``places`` into the layers, in place, so that ``observe`` can tell entries apart."""
    ops = analog_ops(model)
    for path, numbers in places(model).items():
        ops[path][1].place = nnx.data(RangeVariable(jnp.asarray(numbers)))


def on_chip(model: nnx.Module, chip: Any, key: jax.Array | None = None) -> nnx.Module:
    """A copy of the model whose analog layers run on a programmed chip, at the time the chip is read at.

    Args:
      model: the model that the chip was programmed for. It is left as it is.
      chip: from ``analogsim.program(model, key=key)``, aged with ``chip.at("1 year")``.
      key: noise of the reads from now on; None keeps the model's own streams.

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
