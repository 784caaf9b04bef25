"""What an analog layer does in each mode, once for Linen and NNX: only where their state lives differs.

digital      the exact product
programming  the kernel is written onto fresh tiles
chip         the programmed tiles are read; gradients pass straight through to the kernel
training     a fresh chip a call (hardware-aware training); gradients pass straight through to the kernel
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from analogsim import modes, tiles
from analogsim.devices.errors import InputError
from analogsim.devices.random import stream
from analogsim.hardware import Hardware
from analogsim.operators import Operator, for_numbers
from analogsim.signal_path import Ranges, is_random, multiply
from analogsim.tiles import Reading


class LayerUse(NamedTuple):
    """One pass of data through one analog layer, as noted by ``observe``.

    Attributes:
      path: the layer's path in the model, ``"Dense_0"`` or ``"encoder/Dense_1"``.
      hardware: what it runs on.
      operator: how its inputs meet the matrix.
      x: its input, in the operator's layout.
      weights: its matrix, ``[n_in, n_out]``.
      ranges: its calibrated ranges.
      place: number of its entry in the ranges of the model, where layers are stacked (``nn.scan``); None without.
    """

    path: str
    hardware: Hardware
    operator: Operator
    x: jax.Array
    weights: jax.Array
    ranges: Ranges
    place: Any = None

    @property
    def vectors(self) -> int:
        """Matrix-vector products that this pass stands for."""
        return self.operator.vectors(self.x)


def forward(
    hardware: Hardware,
    operator: Operator,
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
    if isinstance(mode, modes.Observing):
        use = LayerUse(path, hardware, operator, operator.inputs(x), operator.matrix(kernel), ranges, place)
        mode.uses.append(use)
    if exact or isinstance(mode, (modes.Digital, modes.Observing)):
        return operator.digital(x, kernel, precision)
    weights = operator.matrix(kernel)
    if reading is None:
        reading = _fresh(hardware, weights, key if chip_key is None else chip_key, path, key_hint)
    else:
        _check_chip(reading, hardware, weights, path)
        # The cells are the chip's, the converters the layer's: one chip may be read with other converters, unless its
        # own were fabricated with errors, which belong to the description that they were drawn from.
        if reading.converters is not None:
            hardware = hardware.replace(adc=reading.hardware.adc)
        reading = dataclasses.replace(reading, hardware=hardware)
        if key is None and is_random(reading):
            raise InputError(
                f"layer {path}: reading this chip draws noise and needs a random key; pass rngs={{'analog': key}}, "
                f"or read its expected values with chip.at(time, read_noise=False) and an ADC without noise{key_hint}"
            )
    inputs = operator.inputs(x)
    y = multiply(reading.trained_by(weights), inputs, operator, key=key, ranges=ranges, precision=precision)
    return operator.outputs(y)


def _fresh(hardware: Hardware, weights: jax.Array, key: jax.Array | None, path: str, hint: str) -> Reading:
    if key is None and needs_key(hardware):
        raise InputError(
            f"layer {path} runs on '{hardware.name}' hardware and needs a random key: pass rngs={{'analog': key}} for "
            f"hardware-aware training, chip.variables for a programmed chip, or use 'with analogsim.digital():'{hint}"
        )
    fabrication = None if key is None else stream(key, "chip")
    return tiles.program(hardware, weights, fabrication).read(hardware.training_time_s)


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
    reading.check_single(path)
    if (reading.n_in, reading.n_out) != weights.shape:
        raise InputError(
            f"layer {path}: the chip holds a {reading.n_in} x {reading.n_out} matrix, the model's is "
            f"{weights.shape[0]} x {weights.shape[1]}; program a chip for this model"
        )
    if str(jax.tree.structure(reading.hardware)) != str(jax.tree.structure(hardware)):
        raise InputError(
            f"layer {path}: the chip was programmed for hardware '{reading.hardware.name}', the layer is on "
            f"'{hardware.name}' of another structure; program a chip for this hardware"
        )
