"""One call of an analog layer in each mode, for Linen and NNX, which differ only in where they keep their state.

digital      the exact product
programming  the kernel is programmed onto new tiles
chip         the programmed tiles are read; gradients pass straight through to the kernel
training     the reading of ``Hardware.training``, by default a fresh chip per call; gradients pass straight through

The learned digital scale of the outputs belongs to the network and is applied in every mode.
"""

import functools
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import lax
from jax.lax import PrecisionLike

from analogsim.base.compiled import compiled
from analogsim.base.errors import InputError
from analogsim.base.random import split, stream
from analogsim.base.types import PyTree
from analogsim.converters.range_rules import LearnedRange, TrackedRange, quantile_of
from analogsim.hardware.hardware import Hardware
from analogsim.hardware.override import without_overrides
from analogsim.layers import modes
from analogsim.signal_path import tiling
from analogsim.signal_path.lookup import lookup
from analogsim.signal_path.operators import Lookup, Operator, Stack
from analogsim.signal_path.path import column_products, multiply
from analogsim.signal_path.programmed import ChipArray, ProgrammedTiles, ideal_columns, program_all
from analogsim.signal_path.ranges import Ranges
from analogsim.signal_path.reading import Reading, other_structure
from analogsim.signal_path.tile_row import draws_around, is_random

#: Named scope of the digital product of an analog layer, by which traced programs are searched.
LAYER_SCOPE = "analog<{}>"


class LayerUse(NamedTuple):
    """One pass of data through one matrix of an analog layer, as recorded by ``observe``, which has an example.

    Attributes:
      path: the layer's path in the model, ``"Dense_0"`` or ``"encoder/Dense_1"``.
      hardware: its hardware.
      operator: an ``Operator`` or a ``Lookup``, which maps its inputs to the matrix.
      x: its input, in the operator's layout.
      weights: its matrix, ``[n_in, n_out]``.
      ranges: its calibrated ranges.
      place: index of its entry in the ranges of the model, if layers are stacked (``nn.scan``); else None.
      member: index of the matrix, if the layer has several (grouped convolution, batch axes); all share the ranges.
      n_weights: number of matrix entries that are weights of the layer; the others are zero padding. 0 means all.
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
        """Number of matrix-vector products in this pass."""
        return self.operator.vectors(self.x)

    @property
    def is_lookup(self) -> bool:
        """Whether the layer reads rows of a table instead of computing products."""
        return isinstance(self.operator, Lookup)

    @property
    def is_first(self) -> bool:
        """Whether this is the layer's only matrix, or the first of several."""
        return self.member == 0

    @property
    def grid(self) -> tuple[int, int]:
        """Number of tiles of the matrix, (along the inputs, along the outputs)."""
        n_in, n_out = self.weights.shape
        return tiling.grid(n_in, n_out, self.hardware, self.operator.tile_rows)


class LayerState(Protocol):
    """State of one layer beyond its parameters, as a front end keeps it: in a Linen scope or an NNX hook."""

    #: Appended to the error message for a missing random key.
    key_hint: str

    def chip_array(self) -> ChipArray | None:
        """Return the layer's part of a programmed chip; None to train on a fresh chip."""

    def keys(self) -> tuple[jax.Array | None, jax.Array | None]:
        """Return the keys of this call's noise and of the fabrication of a fresh chip; None if not given."""

    @property
    def tracks_ranges(self) -> bool:
        """Whether tracked ranges (``TrackedRange``) can be stored in this call."""

    def store_ranges(self, ranges: dict[str, jax.Array]) -> None:
        """Store these fields of ``Ranges``."""

    def capture_kernel(self, kernel: jax.Array) -> bool:
        """Store the kernel that reached the layer, if there is a place for it; return whether it was stored."""

    def write(self, call: "LayerCall", again: bool) -> None:
        """Program the call's kernel onto new tiles, or with ``again`` onto the existing ones."""

    def mark_place(self) -> None:
        """Mark the place of the layer's ranges."""


class LayerCall(NamedTuple):
    """One call of an analog layer.

    Attributes:
      path: the layer's path in the model, for messages.
      hardware: its hardware.
      operator: an ``Operator``, a ``Stack`` of several, or a ``Lookup``, which maps inputs and kernel to matrices.
      x, kernel: as the Flax layer passes them.
      ranges: its calibrated ranges.
      state: a ``LayerState`` with its chip, keys and ranges.
      place: as in ``LayerUse``.
      precision: of the digital product and of the products of the signal path.
    """

    path: str
    hardware: Hardware
    operator: Any
    x: jax.Array
    kernel: jax.Array
    ranges: Ranges
    state: PyTree
    place: Any = None
    precision: PrecisionLike = None

    def on_device(self) -> "LayerCall":
        """Return the same call with JAX arrays instead of NumPy arrays."""
        x, kernel, ranges, place = jax.tree.map(jnp.asarray, (self.x, self.kernel, self.ranges, self.place))
        return self._replace(x=x, kernel=kernel, ranges=ranges, place=place)

    def digital(self) -> jax.Array:
        """Return the output of the digital layer."""
        with jax.named_scope(LAYER_SCOPE.format(self.path)):  # the energy account finds layers by this name
            y = self.operator.digital(self.x, self.kernel, self.precision)
        return self.scaled(y)

    def scaled(self, y: jax.Array) -> jax.Array:
        """Return an output times the learned scale of every column."""
        scale, operator = self.ranges.scale, self.operator
        if scale is None:
            return y
        *lead, n_out = jnp.shape(scale)  # [S, n_out] for a stack
        # The scale, with the axes of an output (all 1 but the last), takes the outputs' way into the layer's layout.
        inputs = self.x.ndim if isinstance(operator, Lookup) else jax.eval_shape(operator.inputs, self.x).ndim - 1
        factor = operator.outputs(jnp.reshape(scale, (*lead, *(1,) * (inputs - len(lead)), n_out)))
        return y * factor.astype(y.dtype)

    def uses(self, by_shape: bool = False) -> list[LayerUse]:
        """Return the uses of the layer's matrices: one, or one per member of a stack.

        Args:
          by_shape: whether ``x`` and ``weights`` of every use are ``jax.ShapeDtypeStruct``, without ``place``.
        """
        operator, place = self.operator, None if by_shape else self.place
        compute = jax.eval_shape if by_shape else lambda function, *arrays: function(*arrays)
        inputs, weights = compute(lambda x, k: (operator.inputs(x), operator.matrix(k)), self.x, self.kernel)
        size = _real_size(self.kernel)
        if weights.ndim == 2:
            return [LayerUse(self.path, self.hardware, operator, inputs, weights, self.ranges, place, 0, size)]
        uses, per_group = [], size // sum(operator.members)
        for s, groups in enumerate(operator.members):
            x, w = compute(lambda x, w, s=s, groups=groups: operator.unpadded(groups, x[s], w[s]), inputs, weights)
            n, member = groups * per_group, operator.member(groups)
            uses.append(LayerUse(self.path, self.hardware, member, x, w, self.ranges, place, s, n))
        return uses


def _real_size(kernel: jax.Array) -> int:
    """Count the real numbers that tiles store per kernel: four per complex entry (``operators.real_matrix``)."""
    return kernel.size * (4 if jnp.issubdtype(kernel.dtype, jnp.complexfloating) else 1)


def write(
    hardware: Hardware,
    operator: Operator | Stack,
    kernel: jax.Array,
    key: jax.Array | None,
    reprogram: Any,
    ranges: Ranges,
) -> ProgrammedTiles:
    """Program a layer's kernel onto new tiles, or onto those of ``reprogram``.

    Args:
      hardware, operator, kernel, ranges: those of the layer.
      key: random key; None only if programming draws nothing.
      reprogram: the existing ``ProgrammedTiles``, or None.
    """
    with without_overrides():
        return program_all(hardware, operator.matrix(kernel), key, reprogram, operator.tile_rows, ranges.weight)


def forward(call: LayerCall, exact: bool = False) -> jax.Array:
    """Return the layer's output: by the current mode if there is one, else exact if ``exact``, else on hardware."""
    mode = modes.current()
    if mode is not None:
        return mode.apply(call)
    return call.digital() if exact else _analog(call)


def _analog(call: LayerCall) -> jax.Array:
    """Return the output of the programmed chip, or of a fresh one."""
    hardware, operator, path = call.hardware, call.operator, call.path
    array, (key, chip_key) = call.state.chip_array(), call.state.keys()
    reading, fabrication = None, None
    if array is None:
        chip_key = key if chip_key is None else chip_key
        _check_fresh(call, chip_key)
        fabrication = None if chip_key is None else stream(chip_key, "chip")
        if call.state.tracks_ranges:
            call = call._replace(ranges=_tracked(call))
    else:
        weights = jax.eval_shape(operator.matrix, call.kernel)
        _check_chip(array, hardware, weights, path)
        reading = array.reading
        # The chip provides the cells, the layer the converters, so a chip can be read with other converters. Fabricated
        # converters are the exception: their errors belong to the description from which they were drawn.
        if reading.converters is not None:
            # A stack is programmed under vmap: its description holds one copy of every number per matrix, all equal.
            adc = array.hardware.adc
            hardware = hardware.replace(adc=adc if weights.ndim == 2 else jax.tree.map(lambda a: a[0], adc))
        if key is None and is_random(hardware, reading):
            raise InputError(
                f"layer {path}: reading this chip draws noise and needs a random key; pass rngs={{'analog': key}}, "
                f"or read its expected values with chip.at(time, read_noise=False) and an ADC without noise"
                f"{call.state.key_hint}"
            )
    _check_has_ranges(call)
    # Overrides are part of the keys of JAX's caches: the jitted functions inside would compile anew for every block.
    with without_overrides():
        y = _outputs(
            hardware, operator, call.x, call.kernel, call.ranges, reading, key, fabrication, precision=call.precision
        )
    return call.scaled(y)


def _tracked(call: LayerCall) -> Ranges:
    """Return the ranges of this training step, and store the tracked ones (``TrackedRange``)."""
    hardware, operator, old = call.hardware, call.operator, call.ranges
    new: dict[str, jax.Array] = {}
    if not any(isinstance(rule, TrackedRange) for rule in (hardware.input_range, hardware.output_range)):
        return old
    inputs, weights = lax.stop_gradient((operator.inputs(call.x), operator.matrix(call.kernel)))
    rule = hardware.input_range
    if isinstance(rule, TrackedRange) and not isinstance(operator, Lookup):
        new["input"] = _followed(old.input, quantile_of(inputs, rule.quantile), rule)
    rule = hardware.output_range
    if isinstance(rule, TrackedRange):
        where = f"layer {call.path}: TrackedRange of outputs"
        if isinstance(operator, Lookup):
            raise InputError(f"{where}: a lookup drives one row; calibrate its range")
        if len(hardware.store.column_map(1).factor) > 1:
            raise InputError(f"{where}: slices of weights need a range each; calibrate")
        # With the input range of this step, at which codes are clipped before the columns add them up.
        lines = _ideal_products(hardware, operator, inputs, weights, old._replace(**new))
        new["output"] = _followed(old.output, quantile_of(lines, rule.quantile), rule)
    call.state.store_ranges(new)
    return old._replace(**new)


_SEEN = 32  # examples per batch that update an output range: a product of all would double the cost of the layer


def _ideal_products(hardware: Hardware, operator: Any, inputs: jax.Array, weights: jax.Array, ranges: Ranges):
    """Return the outputs of ideal columns for the first examples of a batch."""

    def of_one(x: jax.Array, w: jax.Array, one: Any) -> jax.Array:
        lines = ideal_columns(hardware, w, one.tile_rows, ranges.weight)
        return column_products(hardware, x[:_SEEN] if x.ndim > 1 else x, lines, ranges.input, one)

    if weights.ndim == 2:
        return of_one(inputs, weights, operator)
    return jax.vmap(functools.partial(of_one, one=operator.one))(inputs, weights)


def _followed(old: Any, new: jax.Array, rule: TrackedRange) -> jax.Array:
    """Return the moving average of a range; 1 as long as all values are zero."""
    new = jnp.where(new > 0, new, 1.0 if old is None else jnp.max(old))
    return new if old is None else rule.momentum * jnp.max(old) + (1 - rule.momentum) * new


def _check_has_ranges(call: LayerCall) -> None:
    """Raise ``InputError`` if a learned or tracked range has no initial value."""
    has_input = isinstance(call.operator, Lookup) or call.ranges.input is not None
    for name, rule, has_value in (
        ("input", call.hardware.input_range, has_input),
        ("output", call.hardware.output_range, call.ranges.output is not None),
    ):
        if isinstance(rule, LearnedRange) and not has_value:
            raise InputError(
                f"layer {call.path}: its {name} range is learned and has no value to start from; calibrate the model "
                f"first, and pass the collection 'ranges' on"
            )
        if isinstance(rule, TrackedRange) and not has_value:
            raise InputError(
                f"layer {call.path}: its {name} range is tracked and has no value yet; train with mutable=['ranges'] "
                f"first"
            )


@compiled(static=("operator", "precision"))
def _outputs(
    hardware: Hardware,
    operator: Any,
    x: jax.Array,
    kernel: jax.Array,
    ranges: Ranges,
    reading: Reading | None,
    key: jax.Array | None,
    fabrication: jax.Array | None,
    precision: PrecisionLike,
) -> jax.Array:
    """Return the outputs of a layer with a reading of its chip, or with the one that training takes.

    Args:
      hardware, operator, x, kernel, ranges, precision: those of the call.
      reading: that of the chip; None in training.
      key: of the noise of this call.
      fabrication: of what training draws instead of a chip.
    """
    weights, inputs = operator.matrix(kernel), operator.inputs(x)
    if reading is None:
        matrix = lax.stop_gradient(weights)
        reading = hardware.training.reading(hardware, matrix, fabrication, operator.tile_rows, ranges.weight)
        hardware = _quieter(hardware)
    # The weight range is applied when programming and the digital scale behind the signal path (``scaled``).
    how: dict[str, Any] = dict(ranges=ranges._replace(weight=None, scale=None), precision=precision)

    def product(
        matrix: jax.Array, reading: Reading, x: jax.Array, key: jax.Array | None, operator: Any = operator
    ) -> jax.Array:
        trained = reading.trained_by(matrix, hardware.store)
        if isinstance(operator, Lookup):
            return lookup(hardware, trained, x, operator, key=key, dtype=matrix.dtype, **how)
        return multiply(hardware, trained, x, operator, key=key, **how)

    if weights.ndim == 2:
        return operator.outputs(product(weights, reading, inputs, key))
    keys = None if key is None else split(key, len(weights))
    of_members = jax.vmap(functools.partial(product, operator=operator.one))
    return operator.outputs(of_members(weights, reading, inputs, keys))


def _check_fresh(call: LayerCall, key: jax.Array | None) -> None:
    hardware = call.hardware
    if key is None and needs_key(hardware):
        raise InputError(
            f"layer {call.path} runs on '{hardware.name}' hardware and needs a random key: pass "
            f"rngs={{'analog': key}} for hardware-aware training, chip.variables for a programmed chip, or use "
            f"'with analogsim.digital():'{call.state.key_hint}"
        )


def _quieter(hardware: Hardware) -> Hardware:
    """Return hardware whose converter noise is scaled by ``training_noise_scale``."""
    noise_scale = hardware.training_noise_scale
    if isinstance(noise_scale, float) and noise_scale == 1.0:
        return hardware
    noisy: dict[str, Any] = {
        name: converter.replace(noise=converter.noise * noise_scale)
        for name, converter in (("dac", hardware.dac), ("adc", hardware.adc))
        if converter is not None and converter.noise is not None
    }
    return hardware.replace(**noisy) if noisy else hardware


def needs_key(hardware: Hardware) -> bool:
    """Return whether training on this hardware draws random numbers."""
    return hardware.training.draws(hardware) or draws_around(hardware)


def _check_chip(array: ChipArray, hardware: Hardware, weights: Any, path: str) -> None:
    reading = array.reading
    reading.check_single(path, None if weights.ndim == 2 else weights.shape[0])
    n_in, n_out = weights.shape[-2:]
    if (reading.n_in, reading.n_out) != (n_in, n_out):
        raise InputError(
            f"layer {path}: the chip holds a {reading.n_in} x {reading.n_out} matrix, the model's is "
            f"{n_in} x {n_out}; program a chip for this model"
        )
    if difference := other_structure(array.hardware, hardware):
        raise InputError(
            f"layer {path}: the chip was programmed for hardware '{array.hardware.name}', the layer is on "
            f"'{hardware.name}' {difference}; program a chip for this hardware"
        )
