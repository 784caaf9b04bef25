"""The one signal path: how an input becomes an output on analog hardware.

    x -> / input range -> DAC (+ noise) -> store (+ read noise) -> + converter noise -> ADC, per tile
      -> * drift compensation, recombination of a weight's lines, * column scale (digital; knows codes without noise)
      -> sum over tiles (digital) -> * input range -> y

Training and inference, every store, Linen and NNX all pass here. Read noise is applied where it arrives: for noise
independent from cell to cell and read to read, y = M x + sqrt(V x^2) xi has the exact mean and variance of a read that
perturbs every cell, M and V being the cells' first two moments; its shape is Gaussian by the central limit theorem. It
costs one more product and one Gaussian an output, instead of one Gaussian a cell and input vector. What fluctuates
slowly, the same in all reads of one reading, is part of M (``Programmed.read``).
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from analogsim.base.description import check_one_value
from analogsim.base.dtypes import inexact
from analogsim.base.errors import InputError
from analogsim.base.random import normal, stream
from analogsim.base.straight_through import straight_through
from analogsim.converters.range_rules import DynamicRange, LearnedRange, published, widened_by_outputs, with_slope
from analogsim.converters.ranges import full_scale_of, whole_steps
from analogsim.signal_path.driving import Drive, drive_noise, drives_noisily, encode, input_range
from analogsim.signal_path.line_noise import TINY, lasting_noise, sampled
from analogsim.signal_path.operators import LookUp, Operator
from analogsim.signal_path.operators.stack import Vectors
from analogsim.signal_path.tiles import Reading

_UNROLLED = 8  # tiles along the inputs that are written out one by one
_MOST_DOUBLINGS = 10  # of an input range: a factor of about 1000


class Ranges(NamedTuple):
    """A layer's calibrated ranges; None where not calibrated.

    Attributes:
      input: largest input that the DAC passes, in the units of x. None: each example's own largest value.
      output: largest output that the ADC passes, in fully driven cells: one number, or one a readout line
        ``[n_lines]``. None: the ADC's own range, else ``converters.ranges.full_scale_of`` what the tiles hold.
      weight: weight that takes all of a cell's window, relative to the largest of its column (or tile); those beyond it
        are clipped when they are programmed. None: 1.
      scale: digital factor of every output ``[n_out]``, or of every member of a stack ``[S, n_out]``; a part of the
        network, with which it computes digitally, too. None: 1.
      middle: what the ADC's range is about, like ``output``, which is then half its width. None: 0.
    """

    input: Any = None
    output: Any = None
    weight: Any = None
    scale: Any = None
    middle: Any = None


#: A layer without calibrated ranges.
UNCALIBRATED = Ranges()


def is_random(reading: Reading) -> bool:
    """Whether a product with this reading draws random numbers, so that a key is needed."""
    return reading.variance is not None or draws_around(reading.hardware)


def draws_around(hardware: Any) -> bool:
    """Whether converters or detection add noise to every product, whatever the cells do."""
    converted = hardware.adc is not None and hardware.adc.noise is not None
    return converted or drives_noisily(hardware) or hardware.store.detects_noise


@functools.partial(jax.jit, static_argnames=("operator", "precision"))
def multiply(
    reading: Reading,
    x: jax.Array,
    operator: Operator,
    *,
    key: jax.Array | None,
    ranges: Ranges = UNCALIBRATED,
    precision: Any = None,
) -> jax.Array:
    """Carry ``x`` through the hardware.

    Args:
      reading: what the tiles hold.
      x: the layer's input, in the shape its operator takes (``[..., n_in]`` for a matrix, an image for a convolution).
      operator: how inputs meet the matrix.
      key: drives this call's noise; None only if nothing is random (``is_random``).
      ranges: calibrated ranges.
      precision: matmul precision; the highest by default, so that ideal hardware is exact on every backend.

    Returns:
      The output, in the dtype of ``x``, float32 for whole numbers. Sums and noise are carried in float32 (or float64
      for float64 inputs).
    """
    hardware = reading.hardware
    check_one_value(hardware)
    precision = lax.Precision.HIGHEST if precision is None else precision
    x = inexact(x)  # whole numbers are inputs, not outputs
    wide = x.astype(jnp.promote_types(x.dtype, reading.mean.dtype))
    if isinstance(hardware.input_range, DynamicRange):
        ranges = ranges._replace(input=None)
    bound, clips = input_range(hardware, wide, operator, ranges.input), ranges.input is not None
    rule, learned = hardware.input_range, None
    if isinstance(rule, LearnedRange) and rule.rule == "published" and bound is not None and clips:
        # The rule's gradient enters here and nowhere else.
        wide, learned, bound = published(rule, wide, bound), bound, lax.stop_gradient(bound)
    code = encode(hardware, wide, bound, clips)
    if key is None and is_random(reading):
        raise InputError(f"key = None: hardware '{hardware.name}' has read or converter noise and needs a random key")

    by_cell = hardware.sampling == "cells" and reading.variance is not None
    _check_output_range(reading, ranges)
    r = reading.mean.shape[0]
    noisy = drives_noisily(hardware)
    cut = functools.partial(operator.parts, r=r, unfold=by_cell or noisy or hardware.store.detects_noise)
    held = _Tiles(
        reading.mean, reading.variance, reading.curvature, reading.converters,
        reading.gain, reading.scale, reading.state, jnp.arange(r),
    )  # fmt: skip
    noise = None if key is None else stream(key, "output noise")
    widened = learned if rule is not None and learned is not None and rule.outputs == "widen" else None
    limits = _limits(reading, ranges)
    path = _Path(hardware, operator, precision, limits, reading.time_s, noise, widened, r, reading.outlasts_steps)
    if hardware.bound_management == "iterative":
        bound = _managed_range(path, wide, bound, cut, held, reading.n_in)
        code = encode(hardware, wide, bound, clips)
    parts, driven = cut(code), None
    if noisy:
        driven = parts + drive_noise(hardware.dac, operator, reading.n_in, parts, key)
    y = _sum_over_tiles(path.outputs, (parts, driven, held), r)
    y = y.reshape(*y.shape[:-2], y.shape[-2] * y.shape[-1])[..., : reading.n_out]
    return (y if bound is None else y * bound).astype(x.dtype)


@functools.partial(jax.jit, static_argnames=("operator", "dtype", "precision"))
def look_up(
    reading: Reading,
    numbers: jax.Array,
    operator: LookUp,
    *,
    key: jax.Array | None,
    dtype: Any,
    ranges: Ranges = UNCALIBRATED,
    precision: Any = None,
) -> jax.Array:
    """Read rows of a stored table: each drives one word line of the tiles that hold it, at full scale.

    Args:
      reading: what the tiles of the table ``[n_rows, n_out]`` hold.
      numbers: which rows, ``[...]``.
      operator: the table's.
      key, precision: as of ``multiply``.
      dtype: of the result.
      ranges: calibrated ranges. Without, the ADCs are set for the one cell that a line has at most: conducting and
        driven fully, with the constant part of its current where that is converted, too; or for the range that they
        have, where that is less.

    Returns:
      ``[..., n_out]``; NaN for a number that is none of the table's.
    """
    hardware = reading.hardware
    check_one_value(hardware)
    if key is None and is_random(reading):
        raise InputError(f"key = None: hardware '{hardware.name}' has read or converter noise and needs a random key")
    if hardware.bound_management != "none":
        raise InputError(
            f"bound_management = {hardware.bound_management!r}: widens input ranges, of which a look-up has none; "
            f"put the table on hardware without it"
        )
    if drives_noisily(hardware):
        raise InputError(
            "DAC.noise: must be None for a look-up, whose one row is driven fully; put the table on hardware without it"
        )
    _check_output_range(reading, ranges)
    limits = _limits(reading, ranges)
    if ranges.output is None and hardware.adc is not None and hardware.adc.middle is None:
        fullest, own = fullest_line(hardware.store), hardware.adc.range
        limits = _Limits(fullest if own is None else jnp.minimum(own, fullest))
    noise = None if key is None else stream(key, "output noise")
    precision = lax.Precision.HIGHEST if precision is None else precision
    path = _Path(hardware, Vectors(), precision, limits, reading.time_s, noise, outlasts_steps=reading.outlasts_steps)
    flat = numbers.reshape(-1)
    tile, row = operator.places(flat, reading.mean.shape[-2])
    whole_tiles = hardware.store.detects_noise or (hardware.sampling == "cells" and reading.variance is not None)
    y = (_from_tiles if whole_tiles else _from_rows)(path, reading, tile, row)
    y = y.reshape(len(flat), y.shape[-2] * y.shape[-1])[:, : reading.n_out]
    y = jnp.where(operator.known(flat)[:, None], y, jnp.nan)
    return y.reshape(*numbers.shape, reading.n_out).astype(dtype)


def _check_output_range(reading: Reading, ranges: Ranges) -> None:
    n_lines = reading.mean.shape[-1]
    for name, value in (("range", ranges.output), ("middle of the range", ranges.middle)):
        given = () if value is None else jnp.shape(value)
        if given not in ((), (n_lines,)):
            raise InputError(
                f"output {name} of shape {given}: must be one number, or one for each of the tiles' {n_lines} "
                f"readout lines; calibrate again for this hardware"
            )


class _Limits(NamedTuple):
    """The range of the ADCs, middle +- half, in fully driven cells; a middle of None is 0."""

    half: Any
    middle: Any = None

    def about(self, y: jax.Array, adc: Any) -> tuple[jax.Array, Any]:
        """``y`` from the middle of the range on, and that middle, or None where it is 0."""
        if self.middle is None:
            return y, None
        middle = whole_steps(adc, self.middle, self.half).astype(y.dtype)
        return y - middle, middle


def _limits(reading: Reading, ranges: Ranges) -> _Limits:
    """The range of the ADCs: as calibrated, else their own, else what the written weights ask for."""
    adc = reading.hardware.adc
    if ranges.output is not None or adc is None:
        return _Limits(ranges.output, ranges.middle)
    if adc.range is not None:
        return _Limits(adc.range, getattr(adc, "middle", None))
    return _Limits(full_scale_of(reading.mean) if reading.full_scale is None else reading.full_scale)


def fullest_line(store: Any) -> jax.Array:
    """The most that a line carries when one row is driven fully."""
    return jnp.max(jnp.abs(store.ideal_lines(jnp.array([[1.0], [-1.0]]))))


def _from_rows(path: "_Path", reading: Reading, tile: jax.Array, row: jax.Array) -> jax.Array:
    """Outputs ``[n, C, columns]`` of rows, each taken as a tile of a single row."""

    def taken(a: Any, *between: slice) -> Any:
        return None if a is None else jnp.expand_dims(a[(tile, slice(None), *between, row)], 2 + len(between))

    def of_tile(tree: Any) -> Any:
        return jax.tree.map(lambda a: a[tile], tree)

    held = _Tiles(
        mean=taken(reading.mean), variance=taken(reading.variance), curvature=taken(reading.curvature, slice(None)),
        converters=of_tile(reading.converters), gain=of_tile(reading.gain), scale=of_tile(reading.scale),
        state=jax.tree.map(lambda a: a[0], reading.state), row=jnp.arange(len(tile)),
    )  # fmt: skip
    alike: Any = _Tiles(0, 0, 0, 0, 0, 0, None, 0)  # type: ignore[arg-type]  # the tiles' state matters to nothing here
    driven = jnp.ones(1, reading.mean.dtype)
    return jax.vmap(lambda h: path.outputs(driven, None, h), in_axes=(alike,))(held)


def _from_tiles(path: "_Path", reading: Reading, tile: jax.Array, row: jax.Array) -> jax.Array:
    """The same with whole tiles, for what is drawn for every cell or depends on all rows: slow."""
    r, _, rows, _ = reading.mean.shape
    held = _Tiles(
        reading.mean, reading.variance, reading.curvature, reading.converters,
        reading.gain, reading.scale, reading.state, jnp.arange(r),
    )  # fmt: skip

    def one(numbered: tuple) -> jax.Array:
        index, t, i = numbered
        own = jax.tree.map(lambda a: a[t], held)._replace(row=index)
        return path.outputs(jax.nn.one_hot(i, rows, dtype=reading.mean.dtype), None, own)

    return lax.map(one, (jnp.arange(len(tile)), tile, row))


class _Tiles(NamedTuple):
    """The C tiles of one row, which share their inputs, as in ``Reading``; or all rows, with a leading axis R."""

    mean: jax.Array
    variance: jax.Array | None
    curvature: jax.Array | None
    converters: Any
    gain: jax.Array | None
    scale: jax.Array
    state: Any
    row: jax.Array


class _Path(NamedTuple):
    """One product, tile by tile: what all tiles have in common, and what happens on a row of them."""

    hardware: Any
    operator: Operator
    precision: Any
    limits: _Limits
    time_s: Any
    key: jax.Array | None
    widened: jax.Array | None = None  # an input range that outputs which clip widen, while it is learned
    rows: int = 1  # of tiles
    outlasts_steps: bool = False  # as of the reading

    def outputs(self, part: jax.Array, driven: jax.Array | None, held: _Tiles) -> jax.Array:
        """Scaled outputs ``[..., C, columns]`` for codes, and what they drive the rows with if that is not the same."""
        dac, store = self.hardware.dac, self.hardware.store
        key = None if self.key is None else jax.random.fold_in(self.key, held.row)
        if dac is None or dac.conversions == 1:
            rows = self.drive(dac, part if driven is None else driven, held)
            y = self.converted(self.lines(rows, held, key), held)
        else:
            y = self.step_by_step(part, held, key)
        if held.gain is not None:
            y = y * held.gain[:, 0, :].astype(y.dtype)
        drive = None
        if store.needs_drive:  # a product with a column of ones; digital logic knows the codes, not their noise
            drive = self.operator.product(part, jnp.ones((1, held.mean.shape[-2], 1), part.dtype), self.precision)
        return store.combine(y, drive) * held.scale[:, 0, :].astype(y.dtype)

    def step_by_step(self, part: jax.Array, held: _Tiles, key: jax.Array | None) -> jax.Array:
        """Lines of an input that is driven and converted slice by slice, added up digitally."""
        each, factors = self.lines_of_steps(part, held, key)
        return jnp.tensordot(factors, jax.vmap(lambda y: self.converted(y, held))(each), 1)

    def lines_of_steps(self, part: jax.Array, held: _Tiles, key: jax.Array | None) -> tuple[jax.Array, jax.Array]:
        """What the lines carry in every step of an input, ``[steps, ..., C, n_lines]``, and what a step counts."""
        parts, counts = self.hardware.dac.steps(part)
        pieces, factors = jnp.stack(parts), jnp.asarray(counts, part.dtype)
        noise, cells = None, None
        if self.outlasts_steps and key is not None and held.variance is not None:
            if self.hardware.sampling == "cells":
                cells = stream(key, "cells")
            else:
                noise = lasting_noise(self.variance_of(held), pieces, factors, part, key)
                held = held._replace(variance=None)

        def one(piece: jax.Array, step: jax.Array, noise: jax.Array | None) -> jax.Array:
            own = None if key is None else jax.random.fold_in(key, step)
            y = self.lines(self.drive(None, piece, held), held, own, cells)
            return y if noise is None else y + noise

        return jax.vmap(one)(pieces, jnp.arange(len(parts)), noise), factors

    def drive(self, dac: Any, code: jax.Array, held: _Tiles) -> Drive:
        """One conversion's drive of the rows by a code; by amplitudes without a DAC."""
        return Drive.of(dac, code, held.curvature is not None, self.outlasts_steps)

    def variance_of(self, held: _Tiles) -> Callable[[jax.Array], jax.Array]:
        """The lines' variance from read to read, as a function of the squares that drive the rows."""
        assert held.variance is not None
        variance = held.variance
        # The noise does not steer the inputs: no gradient through them, and no transposed product of squares.
        return lambda squares: self.operator.product(
            lax.stop_gradient(squares), variance.astype(squares.dtype), self.precision
        )

    def converted(self, y: jax.Array, held: _Tiles) -> jax.Array:
        """What the converters give for what the lines carry, ``[..., C, n_lines]``."""
        adc = self.hardware.adc
        if adc is None:
            return y
        full_scale = jnp.asarray(self.limits.half, y.dtype)
        y, middle = self.limits.about(y, adc)
        if self.widened is not None:
            y = widened_by_outputs(y, self.widened, full_scale, jnp.asarray(1 / self.rows, y.dtype))
        learned = isinstance(self.hardware.output_range, LearnedRange)
        limit = lax.stop_gradient(full_scale) if learned else full_scale
        if held.converters is None:
            converted = adc.convert(y, limit, None)
        else:
            converted = jax.vmap(adc.convert, in_axes=(-2, None, 0), out_axes=-2)(y, limit, held.converters)
        if learned:
            converted = with_slope(y, converted, full_scale)
        return converted if middle is None else converted + middle

    def overflows(self, part: jax.Array, held: _Tiles) -> jax.Array:
        """Whether a line leaves the ADCs' range in any step, as an array like the lines."""
        dac = self.hardware.dac
        key = None if self.key is None else jax.random.fold_in(self.key, held.row)
        if dac is None or dac.conversions == 1:
            return self.is_beyond(self.lines(self.drive(dac, part, held), held, key))
        each, _ = self.lines_of_steps(part, held, key)
        return jnp.any(self.is_beyond(each), axis=0)

    def is_beyond(self, y: jax.Array) -> jax.Array:
        """Whether each line is outside of the ADCs' range."""
        return jnp.abs(self.limits.about(y, self.hardware.adc)[0]) > self.limits.half

    def lines(self, drive: Drive, held: _Tiles, key: jax.Array | None, cells: jax.Array | None = None) -> jax.Array:
        """What the lines carry for one drive of the rows, noise included, ``[..., C, n_lines]``.

        ``cells`` is what sampled cells are drawn from, where several steps meet the same; None to draw them anew.
        """
        hardware = self.hardware
        y = self.operator.product(drive.code, held.mean.astype(drive.code.dtype), self.precision)
        if held.curvature is not None:
            for power, matrix in zip(drive.powers, jnp.moveaxis(held.curvature, 1, 0), strict=True):
                y = y + self.operator.product(power, matrix.astype(power.dtype), self.precision)
        if key is not None:
            if hardware.sampling == "cells" and held.variance is not None:
                cells = stream(key, "cells") if cells is None else cells
                y = straight_through(y, sampled(hardware.store, self.time_s, held, drive, cells, self.precision))
                total = self.noise_variance(drive, y, held._replace(variance=None))
            else:
                total = self.noise_variance(drive, y, held)
            if total is not None:
                y = y + jnp.sqrt(jnp.maximum(total, TINY)) * normal(key, y.shape, y.dtype)
        return y

    def noise_variance(self, drive: Drive, y: jax.Array, held: _Tiles) -> Any:
        """Variance of the lines: of reading, sum_i x_i^2 Var(w_ij), of detection and of the converter; None without."""
        store, adc = self.hardware.store, self.hardware.adc
        terms = []
        if held.variance is not None:
            terms.append(self.variance_of(held)(drive.squares))
        if adc is not None and adc.noise is not None:
            terms.append(jnp.asarray(adc.noise, y.dtype) ** 2)
        if store.detects_noise:
            terms.append(jax.vmap(store.noise, in_axes=(None, -2, 0), out_axes=-2)(drive.code, y, held.state) ** 2)
        return functools.reduce(jnp.add, terms) if terms else None


def _managed_range(path: _Path, x: jax.Array, bound: Any, cut: Any, held: _Tiles, n_in: int) -> jax.Array:
    """Bound management: the input range of every example, doubled until none of its lines overflows an ADC.

    Each trial is a read of its own; the read that counts is one more. Every example has its own range, so that one
    which overflows does not cost another its resolution. T. Gokmen et al., Front. Neurosci. 11, 538 (2017),
    doi 10.3389/fnins.2017.00538.
    """
    hardware, limits, x, held = lax.stop_gradient((path.hardware, path.limits, x, held))
    path = path._replace(hardware=hardware, limits=limits)
    axes = path.operator.example_axes(x)
    start = jnp.broadcast_to(bound, jnp.max(x, axis=axes, keepdims=True, initial=0.0).shape)

    def overflows(number: jax.Array, bound: jax.Array) -> jax.Array:
        trial = path
        if path.key is not None:
            trial = path._replace(key=jax.random.fold_in(stream(path.key, "bound management"), number))
        parts = cut(encode(path.hardware, x, bound))
        if drives_noisily(hardware):
            parts = parts + drive_noise(hardware.dac, path.operator, n_in, parts, trial.key)
        rows = [jax.tree.map(lambda a, i=i: a[i], (parts, held)) for i in range(parts.shape[0])]
        over = functools.reduce(jnp.logical_or, [jnp.any(trial.overflows(*row), axis=(-2, -1)) for row in rows])
        of_example = jnp.any(over, axis=tuple(range(x.ndim - len(axes), over.ndim)))
        return of_example.reshape(bound.shape)

    def again(state: tuple) -> tuple:
        number, bound, over = state
        bound = jnp.where(over, 2 * bound, bound)
        return number + 1, bound, over & overflows(number + 1, bound)

    def unfinished(state: tuple) -> jax.Array:
        return (state[0] < _MOST_DOUBLINGS) & jnp.any(state[2])

    first = jnp.zeros((), jnp.int32)
    return lax.while_loop(unfinished, again, (first, start, overflows(first, start)))[1]


def _sum_over_tiles(tile: Any, each: tuple, r: int) -> jax.Array:
    """Digital accumulation of the partial sums: written out for a few tiles, a loop for many (bounded compile time)."""
    # Unstacked, not indexed: the transpose of an index is a sum over arrays of the full size, one for every tile.
    leaves, structure = jax.tree.flatten(each)
    rows = zip(*(jnp.unstack(a[: min(r, _UNROLLED)]) for a in leaves), strict=True)
    parts = [tile(*jax.tree.unflatten(structure, row)) for row in rows]
    y = functools.reduce(jnp.add, parts)
    if r <= _UNROLLED:
        return y
    rest = jax.tree.map(lambda a: a[_UNROLLED:], each)
    return lax.scan(lambda total, some: (total + tile(*some), None), y, rest)[0]


@functools.partial(jax.jit, static_argnames=("operator",))
def line_products(hardware: Any, x: jax.Array, held: jax.Array, largest_input: Any, operator: Operator) -> jax.Array:
    """What perfectly written lines ``[R, C, rows, n_lines]`` carry, ``[R, steps, ..., C, n_lines]``; without noise."""
    dac = hardware.dac
    code = encode(hardware, x, input_range(hardware, x, operator, largest_input))
    of_rows = []
    for part, tile in zip(operator.parts(code, held.shape[0]), held, strict=True):
        drives = [part] if dac is None or dac.conversions == 1 else dac.steps(part)[0]
        of_rows.append(jnp.stack([operator.product(d, tile.astype(d.dtype), lax.Precision.HIGHEST) for d in drives]))
    return jnp.stack(of_rows)
