"""What an analog layer does in each mode, once for Linen and NNX: only where their state lives differs.

digital      the exact product
programming  the kernel is written onto fresh tiles
chip         the programmed tiles are read; gradients pass straight through to the kernel
training     what ``Hardware.training`` gives, by default a fresh chip a call; gradients pass straight through

The learned digital scale of the outputs belongs to the network: it is applied in every mode.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from analogsim.base.errors import InputError
from analogsim.base.random import stream
from analogsim.converters.range_rules import LearnedRange, TrackedRange, quantile_of
from analogsim.hardware.hardware import Hardware
from analogsim.hardware.override import unaltered
from analogsim.layers import modes
from analogsim.signal_path import tiles
from analogsim.signal_path.operators import LookUp, Operator, Stack, for_numbers
from analogsim.signal_path.path import Ranges, is_random, line_products, look_up, multiply
from analogsim.signal_path.tiles import Reading

#: The scope of what an analog layer computes digitally, for whoever reads the traced program.
LAYER_SCOPE = "analog<{}>"


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
        return [LayerUse(path, hardware, operator, inputs, weights, ranges, place, 0, _real_size(kernel))]
    each = _real_size(kernel) // sum(operator.members)
    found = []
    for s, groups in enumerate(operator.members):
        x_held, w_held = operator.held(groups, inputs[s], weights[s])
        one = operator.member(groups)
        found.append(LayerUse(path, hardware, one, x_held, w_held, ranges, place, s, groups * each))
    return found


def outline(
    path: str, hardware: Hardware, operator: Any, x: jax.Array, kernel: jax.Array, ranges: Ranges
) -> list[LayerUse]:
    """The same by shapes alone: ``x`` and ``weights`` of every use are ``jax.ShapeDtypeStruct``."""
    shape = lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype)  # noqa: E731
    inputs, weights = jax.eval_shape(lambda a, k: (operator.inputs(a), operator.matrix(k)), shape(x), shape(kernel))
    if weights.ndim == 2:
        return [LayerUse(path, hardware, operator, inputs, weights, ranges, None, 0, _real_size(kernel))]
    each, found = _real_size(kernel) // sum(operator.members), []
    for s, groups in enumerate(operator.members):
        held = functools.partial(operator.held, groups)
        x_held, w_held = jax.eval_shape(lambda a, w, s=s, held=held: held(a[s], w[s]), inputs, weights)
        one = operator.member(groups)
        found.append(LayerUse(path, hardware, one, x_held, w_held, ranges, None, s, groups * each))
    return found


def _real_size(kernel: jax.Array) -> int:
    """Real numbers that tiles hold of a kernel: four of a complex one (``operators.real_matrix``)."""
    return kernel.size * (4 if jnp.issubdtype(kernel.dtype, jnp.complexfloating) else 1)


def write(
    hardware: Hardware, operator: Operator | Stack, kernel: jax.Array, key: Any, onto: Any, ranges: Ranges
) -> tiles.Programmed:
    """A layer's kernel on fresh tiles, or on these again."""
    with unaltered():
        return tiles.program_all(hardware, operator.matrix(kernel), key, onto, operator.tile_rows, ranges.weight)


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
      hardware: what the layer runs on.
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
    operator = for_numbers(operator, x, kernel, path, hardware)
    mode = modes.current()
    if isinstance(mode, modes.Listing):
        return mode.note(path, hardware, operator, x, kernel)
    if isinstance(mode, modes.Observing):
        mode.note(functools.partial(uses, path, hardware, operator), x, kernel, ranges, place)
    if isinstance(mode, modes.Collecting):
        mode.uses += uses(path, hardware, operator, x, kernel, ranges, place)
    elif isinstance(mode, modes.Outlining):
        mode.uses += outline(path, hardware, operator, x, kernel, ranges)
    if exact or isinstance(mode, (modes.Digital, modes.Observing)):
        with jax.named_scope(LAYER_SCOPE.format(path)):  # the energy account tells layers from the rest by it
            y = operator.digital(x, kernel, precision)
        return _scaled(operator, x, y, ranges, path)
    weights = operator.matrix(kernel)
    if reading is None:
        reading = _fresh(hardware, operator, weights, key if chip_key is None else chip_key, ranges, path, key_hint)
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
    _check_learned(hardware, operator, ranges, path)
    with unaltered():
        y = operator.outputs(_run(operator, reading, weights, operator.inputs(x), key, ranges, precision))
    return _scaled(operator, x, y, ranges, path)


def trains(reading: Any, exact: bool = False) -> bool:
    """Whether a call with this reading, or None, is one of hardware-aware training."""
    return reading is None and not exact and modes.current() is None


def tracked(
    hardware: Hardware, operator: Operator | Stack, x: jax.Array, kernel: jax.Array, ranges: Ranges, path: str
) -> Ranges:
    """The ranges of this training step, where they follow the values (``TrackedRange``); as given elsewhere."""
    weights = operator.matrix(kernel)
    inputs = lax.stop_gradient(operator.inputs(x))
    rule = hardware.input_range
    if isinstance(rule, TrackedRange) and not isinstance(operator, LookUp):
        ranges = ranges._replace(input=_followed(ranges.input, quantile_of(inputs, rule.quantile), rule))
    rule = hardware.output_range
    if isinstance(rule, TrackedRange):
        if isinstance(operator, LookUp):
            raise InputError(f"layer {path}: TrackedRange of outputs: a look-up drives one row; calibrate its range")
        if len(hardware.store.line_map(1).factor) > 1:
            raise InputError(f"layer {path}: TrackedRange of outputs: slices of weights need a range each; calibrate")
        lines = _ideal_products(hardware, operator, inputs, lax.stop_gradient(weights), ranges)
        ranges = ranges._replace(output=_followed(ranges.output, quantile_of(lines, rule.quantile), rule))
    return ranges


_SEEN = 32  # examples of a batch that an output's range follows: a product of all costs as much as the first


def _ideal_products(hardware: Hardware, operator: Any, inputs: jax.Array, weights: jax.Array, ranges: Ranges):
    """What perfectly written lines carry for the first examples of a batch."""

    def of_one(x: jax.Array, w: jax.Array, one: Any) -> jax.Array:
        held = tiles.ideal_lines(hardware, w, one.tile_rows, ranges.weight)
        return line_products(hardware, x[:_SEEN] if x.ndim > 1 else x, held, ranges.input, one)

    if weights.ndim == 2:
        return of_one(inputs, weights, operator)
    return jax.vmap(functools.partial(of_one, one=operator.one))(inputs, weights)


def _followed(old: Any, new: jax.Array, rule: TrackedRange) -> jax.Array:
    """Where nothing is seen yet but zeros, a range of 1."""
    new = jnp.where(new > 0, new, 1.0 if old is None else jnp.max(old))
    return new if old is None else rule.momentum * jnp.max(old) + (1 - rule.momentum) * new


def _check_learned(hardware: Hardware, operator: Any, ranges: Ranges, path: str) -> None:
    for name, rule, found in (
        ("input", hardware.input_range, ranges.input if not isinstance(operator, LookUp) else 0),
        ("output", hardware.output_range, ranges.output),
    ):
        if isinstance(rule, LearnedRange) and found is None:
            raise InputError(
                f"layer {path}: its {name} range is learned and has no value to start from; calibrate the model first, "
                f"and pass the collection 'ranges' on"
            )
        if isinstance(rule, TrackedRange) and found is None:
            raise InputError(
                f"layer {path}: its {name} range is tracked and has no value yet; train with mutable=['ranges'] first"
            )


def _scaled(operator: Any, x: jax.Array, y: jax.Array, ranges: Ranges, path: str) -> jax.Array:
    """The output times the layer's learned scale of every column."""
    if ranges.scale is None:
        return y
    *lead, n_out = jnp.shape(ranges.scale)  # [S, n_out] for a stack
    free = (x.ndim if isinstance(operator, LookUp) else jax.eval_shape(operator.inputs, x).ndim - 1) - len(lead)
    factor = operator.outputs(jnp.reshape(ranges.scale, (*lead, *(1,) * free, n_out)))
    return y * factor.astype(y.dtype)


def _run(
    operator: Any, reading: Reading, weights: jax.Array, inputs: jax.Array, key: Any, ranges: Ranges, precision: Any
):
    """The signal path, once for each matrix of the layer."""
    ranges = Ranges(ranges.input, ranges.output, middle=ranges.middle)  # the rest is not the signal path's
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
    hardware: Hardware, operator: Any, weights: jax.Array, key: jax.Array | None, ranges: Ranges, path: str, hint: str
) -> Reading:
    if key is None and needs_key(hardware):
        raise InputError(
            f"layer {path} runs on '{hardware.name}' hardware and needs a random key: pass rngs={{'analog': key}} for "
            f"hardware-aware training, chip.variables for a programmed chip, or use 'with analogsim.digital():'{hint}"
        )
    fabrication = None if key is None else stream(key, "chip")
    with unaltered():
        held = lax.stop_gradient(weights)
        reading = hardware.training.reading(hardware, held, fabrication, operator.tile_rows, ranges.weight)
    return dataclasses.replace(reading, hardware=_quieter(hardware))


def _quieter(hardware: Hardware) -> Hardware:
    """With the converter noise of a strength of training other than 1."""
    strength = hardware.training_strength
    if isinstance(strength, float) and strength == 1.0:
        return hardware
    noisy: dict[str, Any] = {
        name: converter.replace(noise=converter.noise * strength)
        for name, converter in (("dac", hardware.dac), ("adc", hardware.adc))
        if converter is not None and converter.noise is not None
    }
    return hardware.replace(**noisy) if noisy else hardware


def needs_key(hardware: Hardware) -> bool:
    """Whether training on this hardware draws random numbers, found by trying on one weight."""
    try:
        one = jax.eval_shape(lambda: hardware.training.reading(hardware, jnp.ones((1, 1)), None, None, None))
    except InputError:  # it refuses to do without a key
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
    if difference := tiles.other_structure(reading.hardware, hardware):
        raise InputError(
            f"layer {path}: the chip was programmed for hardware '{reading.hardware.name}', the layer is on "
            f"'{hardware.name}' {difference}; program a chip for this hardware"
        )
