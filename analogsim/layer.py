"""What an analog layer does in each mode, once for Linen and NNX: only where their state lives differs.

digital      the exact product
programming  the kernel is written onto fresh tiles
chip         the programmed tiles are read; gradients pass straight through to the kernel
training     a fresh chip a call (hardware-aware training); gradients pass straight through to the kernel
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from analogsim import modes, tiles
from analogsim.devices.errors import InputError
from analogsim.devices.random import stream
from analogsim.hardware import Hardware
from analogsim.operators import LookUp, Operator, Stack, for_numbers
from analogsim.signal_path import Ranges, is_random, look_up, multiply
from analogsim.tiles import Reading


class LayerUse(NamedTuple):
    """One pass of data through one matrix of an analog layer, as noted by ``observe``.

    Attributes:
      path: the layer's path in the model, ``"Dense_0"`` or ``"encoder/Dense_1"``.
      hardware: what it runs on.
      operator: how its inputs meet the matrix, an ``Operator`` or a ``LookUp``.
      x: its input, in the operator's layout.
      weights: its matrix, ``[n_in, n_out]``.
      ranges: its calibrated ranges.
      place: number of its entry in the ranges of the model, where layers are stacked (``nn.scan``); None without.
      member: which matrix of the layer, where it has several (grouped convolution, batch axes); all share the ranges.
      n_weights: how many entries of the matrix are weights of the layer; the others are zeros that fill it up. 0 for
        all.
    """

    path: str
    hardware: Hardware
    operator: Any
    x: jax.Array
    weights: jax.Array
    ranges: Ranges
    place: Any = None
    member: int = 0
    n_weights: int = 0

    @property
    def vectors(self) -> int:
        """Matrix-vector products that this pass stands for."""
        return self.operator.vectors(self.x)

    @property
    def is_look_up(self) -> bool:
        """Whether rows of a table are read, instead of products computed."""
        return isinstance(self.operator, LookUp)

    @property
    def is_first(self) -> bool:
        """Whether this is the layer's only matrix, or the first of several that work side by side."""
        return self.member == 0

    @property
    def grid(self) -> tuple[int, int]:
        """How many tiles hold the matrix, (along the inputs, along the outputs)."""
        n_in, n_out = self.weights.shape
        return tiles.grid(n_in, n_out, self.hardware, self.operator.tile_rows)


def uses(
    path: str, hardware: Hardware, operator: Any, x: jax.Array, kernel: jax.Array, ranges: Ranges, place: Any
) -> list[LayerUse]:
    """What passes through the matrices of a layer: one use, or one for each member of a stack."""
    inputs, weights = operator.inputs(x), operator.matrix(kernel)
    if weights.ndim == 2:
        count = weights.size if jnp.iscomplexobj(kernel) else kernel.size
        return [LayerUse(path, hardware, operator, inputs, weights, ranges, place, 0, count)]
    each = kernel.size // sum(operator.members)
    found = []
    for s, groups in enumerate(operator.members):
        x_held, w_held = operator.held(groups, inputs[s], weights[s])
        one = operator.member(groups)
        found.append(LayerUse(path, hardware, one, x_held, w_held, ranges, place, s, groups * each))
    return found


def write(
    hardware: Hardware, operator: Operator | Stack, kernel: jax.Array, key: Any, onto: Any = None
) -> tiles.Programmed:
    """A layer's kernel on fresh tiles, or on these again."""
    return tiles.program_all(hardware, operator.matrix(kernel), key, onto, operator.tile_rows)


def forward(
    hardware: Hardware,
    operator: Operator | Stack,
    x: jax.Array,
    kernel: jax.Array,
    *,
    path: str,
    reading: Reading | None,
    ranges: Ranges,
    key: jax.Array | None,
    chip_key: jax.Array | None = None,
    precision: Any = None,
    exact: bool = False,
    place: Any = None,
    key_hint: str = "",
) -> jax.Array:
    """The layer's output.

    Args:
      hardware: what the layer was given.
      operator: how its inputs meet its kernel.
      x, kernel: as the Flax layer passes them.
      path: for messages.
      reading: the programmed chip's tiles, or None to train on a fresh chip.
      ranges: calibrated ranges.
      key: this call's randomness, or None.
      chip_key: what a fresh chip is fabricated from; None for ``key``.
      precision: matmul precision.
      exact: compute digitally whatever else is given.
      place: for ``LayerUse``.
      key_hint: added to the message that a key is missing.
    """
    operator = for_numbers(operator, x, kernel, path)
    mode = modes.current()
    if isinstance(mode, modes.Listing):
        return mode.note(path, hardware, operator, x, kernel)
    if isinstance(mode, modes.Observing):
        mode.note(functools.partial(uses, path, hardware, operator), x, kernel, ranges, place)
    if exact or isinstance(mode, (modes.Digital, modes.Observing)):
        return operator.digital(x, kernel, precision)
    weights = operator.matrix(kernel)
    if reading is None:
        reading = _fresh(hardware, operator, kernel, key if chip_key is None else chip_key, path, key_hint)
    else:
        _check_chip(reading, hardware, weights, path)
        # The cells are the chip's, the converters the layer's: one chip may be read with other converters, unless its
        # own were fabricated with errors, which belong to the description that they were drawn from.
        if reading.converters is not None:
            adc = reading.hardware.adc
            hardware = hardware.replace(adc=adc if weights.ndim == 2 else jax.tree.map(lambda a: a[0], adc))
        reading = dataclasses.replace(reading, hardware=hardware)
        if key is None and is_random(_first(reading)):
            raise InputError(
                f"layer {path}: reading this chip draws noise and needs a random key; pass rngs={{'analog': key}}, "
                f"or read its expected values with chip.at(time, read_noise=False) and an ADC without noise{key_hint}"
            )
    return operator.outputs(_run(operator, reading, weights, operator.inputs(x), key, ranges, precision))


def _run(
    operator: Any, reading: Reading, weights: jax.Array, inputs: jax.Array, key: Any, ranges: Ranges, precision: Any
):
    """The signal path, once for each matrix of the layer."""
    if isinstance(operator, LookUp):
        trained = reading.trained_by(weights)
        return look_up(trained, inputs, operator, key=key, dtype=weights.dtype, ranges=ranges, precision=precision)
    if weights.ndim == 2:
        return multiply(reading.trained_by(weights), inputs, operator, key=key, ranges=ranges, precision=precision)

    def member(held: Reading, w: jax.Array, x: jax.Array, own_key: Any) -> jax.Array:
        return multiply(held.trained_by(w), x, operator.one, key=own_key, ranges=ranges, precision=precision)

    # The hardware is one for all members; a sweep maps over it outside of here.
    over = dataclasses.replace(jax.tree.map(lambda a: 0, reading), hardware=None)
    keys = None if key is None else jax.random.split(key, len(weights))
    return jax.vmap(member, in_axes=(over, 0, 0, 0))(reading, weights, inputs, keys)


def _first(reading: Reading) -> Reading:
    """One matrix of a stack, as shapes; a single one as it is."""
    if reading.mean.ndim == 4:
        return reading
    held = (reading.state, reading.mean, reading.variance)
    state, mean, variance = jax.eval_shape(lambda h: jax.tree.map(lambda a: a[0], h), held)
    return dataclasses.replace(reading, state=state, mean=mean, variance=variance)


def _fresh(
    hardware: Hardware, operator: Any, kernel: jax.Array, key: jax.Array | None, path: str, hint: str
) -> Reading:
    if key is None and needs_key(hardware):
        raise InputError(
            f"layer {path} runs on '{hardware.name}' hardware and needs a random key: pass rngs={{'analog': key}} for "
            f"hardware-aware training, chip.variables for a programmed chip, or use 'with analogsim.digital():'{hint}"
        )
    fabrication = None if key is None else stream(key, "chip")
    programmed = write(hardware, operator, kernel, fabrication)
    # Each of a stack has brought its own copy of the one hardware.
    return dataclasses.replace(tiles.read_all(programmed, hardware.training_time_s), hardware=hardware)


def needs_key(hardware: Hardware) -> bool:
    """Whether programming or reading this hardware draws random numbers, found by trying on one weight."""
    try:
        one = jax.eval_shape(
            lambda: tiles.program(hardware, jnp.ones((1, 1)), None).read(hardware.training_time_s),
        )
    except InputError:  # its store refuses to be programmed without a key
        return True
    return is_random(one)


def _check_chip(reading: Reading, hardware: Hardware, weights: jax.Array, path: str) -> None:
    reading.check_single(path, None if weights.ndim == 2 else len(weights))
    n_in, n_out = weights.shape[-2:]
    if (reading.n_in, reading.n_out) != (n_in, n_out):
        raise InputError(
            f"layer {path}: the chip holds a {reading.n_in} x {reading.n_out} matrix, the model's is "
            f"{n_in} x {n_out}; program a chip for this model"
        )
    if str(jax.tree.structure(reading.hardware)) != str(jax.tree.structure(hardware)):
        raise InputError(
            f"layer {path}: the chip was programmed for hardware '{reading.hardware.name}', the layer is on "
            f"'{hardware.name}' of another structure; program a chip for this hardware"
        )
