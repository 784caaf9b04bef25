"""The product on one row of tiles, which share their inputs: from codes to scaled outputs."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.lax import PrecisionLike

from analogsim.base.description import check_one_value
from analogsim.base.dtypes import to_rank
from analogsim.base.errors import InputError
from analogsim.base.random import normal, stream
from analogsim.base.straight_through import straight_through
from analogsim.base.types import Numeric, PyTree
from analogsim.converters.range_rules import LearnedRange, widened_by_outputs, with_gradient
from analogsim.signal_path.driving import RowDrive, drives_noisily
from analogsim.signal_path.hardware_spec import TileHardware
from analogsim.signal_path.line_noise import TINY, lasting_noise, sampled
from analogsim.signal_path.operators import Operator
from analogsim.signal_path.ranges import Limits, Ranges, limits_of
from analogsim.signal_path.reading import Reading

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float, Int

    Codes = Float[Array, "*batch rows"]
    Columns = Float[Array, "*batch C n_columns"]


_UNROLLED = 8  # tiles along the inputs that are written out one by one


def is_random(hardware: TileHardware, reading: Reading) -> bool:
    """Return whether a product with this reading draws random numbers, so that a key is required."""
    return reading.variance is not None or draws_around(hardware)


def draws_around(hardware: TileHardware) -> bool:
    """Return whether converters or detectors add noise to every product, independent of the cells."""
    converted = hardware.adc is not None and hardware.adc.noise is not None
    return converted or drives_noisily(hardware) or hardware.store.detects_noise


class TileRow(NamedTuple):
    """The arrays of ``Reading`` for the C tiles of one row; or for all rows, with a leading axis R."""

    mean: Float[Array, "C rows n_columns"]
    variance: Float[Array, "C rows n_columns"] | None
    curvature: Float[Array, "C 2 rows n_columns"] | None
    converters: Any
    gain: Float[Array, "C 1 _"] | None
    scale: Float[Array, "C 1 _"]
    state: PyTree
    row: Int[Array, ""]

    @classmethod
    def of(cls, reading: Reading) -> TileRow:
        """Return all R rows of tiles."""
        return cls(
            reading.mean, reading.variance, reading.curvature, reading.converters,
            reading.gain, reading.scale, reading.state, jnp.arange(reading.mean.shape[0]),
        )  # fmt: skip


class RowProduct(NamedTuple):
    """One product: the parameters that all tiles share, and the computation on one row of tiles."""

    hardware: TileHardware
    operator: Operator
    precision: PrecisionLike
    limits: Limits
    time_s: Numeric
    key: jax.Array | None
    widened: jax.Array | None = None  # an input range that outputs which clip widen, while it is learned
    rows: int = 1  # of tiles
    noise_persists: bool = False  # as of the reading

    @classmethod
    def of(
        cls,
        hardware: TileHardware,
        reading: Reading,
        operator: Operator,
        key: jax.Array | None,
        ranges: Ranges,
        precision: PrecisionLike,
    ) -> RowProduct:
        """Return the product with a reading; arguments as in ``path.multiply``.

        Raises:
          InputError: if something is random and ``key`` is None, or an output range does not fit the columns.
        """
        check_one_value(hardware)
        if key is None and is_random(hardware, reading):
            raise InputError(
                f"key = None: hardware '{hardware.name}' has read or converter noise and needs a random key"
            )
        return cls(
            hardware,
            operator,
            lax.Precision.HIGHEST if precision is None else precision,
            limits_of(hardware.adc, reading, ranges),
            reading.time_s,
            None if key is None else stream(key, "output noise"),
            noise_persists=reading.noise_persists,
        )

    def outputs(self, part: Codes, driven: Codes | None, tiles: TileRow) -> Float[Array, "*batch C columns"]:
        """Return scaled outputs ``[..., C, columns]`` for codes ``part``; ``driven`` are the codes with DAC noise."""
        dac, store = self.hardware.dac, self.hardware.store
        key = None if self.key is None else jax.random.fold_in(self.key, tiles.row)
        if dac is None or dac.conversions == 1:
            rows = self.drive(dac, part if driven is None else driven, tiles)
            y = self.converted(self.adc_inputs(rows, tiles, key), tiles)
        else:
            # ``driven`` is not used: a converter that drives in steps has no noise (``BitSerialDAC.noise``).
            y = self.step_by_step(part, tiles, key)
        if tiles.gain is not None:
            y = y * to_rank(tiles.gain[:, 0, :].astype(y.dtype), y.ndim)
        drive = None
        if store.needs_drive:  # a product with a column of ones; digital logic knows the codes, not their noise
            drive = self.operator.product(part, jnp.ones((1, tiles.mean.shape[-2], 1), part.dtype), self.precision)
        return store.combine(y, drive) * to_rank(tiles.scale[:, 0, :].astype(y.dtype), y.ndim)

    def step_by_step(self, part: Codes, tiles: TileRow, key: jax.Array | None) -> Columns:
        """Return the column outputs of an input driven and converted slice by slice, summed digitally."""
        lines, factors = self.adc_inputs_of_steps(part, tiles, key)
        # Digital logic adds codes exactly, whatever the precision of the layer's own product.
        return jnp.tensordot(factors, jax.vmap(lambda y: self.converted(y, tiles))(lines), 1, precision="highest")

    def adc_inputs_of_steps(
        self, part: Codes, tiles: TileRow, key: jax.Array | None
    ) -> tuple[Float[Array, "steps *batch C n_columns"], Float[Array, " steps"]]:
        """Return the ADC inputs in every step of an input, ``[steps, ..., C, n_columns]``, and the step weights."""
        parts, counts = self.hardware.dac.steps(part)
        pieces, factors = jnp.stack(parts), jnp.asarray(counts, part.dtype)
        noise, cells = None, None
        if self.noise_persists and key is not None and tiles.variance is not None:
            if self.hardware.sampling == "cells":
                cells = stream(key, "cells")
            else:
                noise = lasting_noise(self.variance_of(tiles), pieces, factors, part, key)
                # Drawn for all steps together, so that ``adc_inputs`` must not add it to each.
                tiles = tiles._replace(variance=None)

        def one(piece: jax.Array, step: jax.Array, noise: jax.Array | None) -> jax.Array:
            step_key = None if key is None else jax.random.fold_in(key, step)
            # Without the DAC: a step drives plain amplitudes, and its factor is applied after the conversion.
            y = self.adc_inputs(self.drive(None, piece, tiles), tiles, step_key, cells)
            return y if noise is None else y + noise

        return jax.vmap(one)(pieces, jnp.arange(len(parts)), noise), factors

    def drive(self, dac: Any, code: Codes, tiles: TileRow) -> RowDrive:
        """Return the drive of the rows by one conversion of a code; by amplitudes without a DAC."""
        return RowDrive.of(dac, code, tiles.curvature is not None, self.noise_persists)

    def variance_of(self, tiles: TileRow) -> Callable[[Codes], Columns]:
        """Return the columns' variance from read to read, as a function of the squared drive of the rows."""
        assert tiles.variance is not None
        variance = tiles.variance
        # No gradient through the inputs of the noise, which also saves the transposed product of squares.
        return lambda squares: self.operator.product(
            lax.stop_gradient(squares), variance.astype(squares.dtype), self.precision
        )

    def converted(self, y: Columns, tiles: TileRow) -> Columns:
        """Return the converted ADC inputs ``[..., C, n_columns]``."""
        adc = self.hardware.adc
        if adc is None:
            return y
        full_scale = jnp.asarray(self.limits.half, y.dtype)
        y, middle = self.limits.about(y, adc)
        if self.widened is not None:
            y = widened_by_outputs(y, self.widened, full_scale, jnp.asarray(1 / self.rows, y.dtype))
        learned = isinstance(self.hardware.output_range, LearnedRange)
        # ``with_gradient`` adds the whole derivative of a learned range; that of clipping would be counted twice.
        limit = lax.stop_gradient(full_scale) if learned else full_scale
        if tiles.converters is None:
            converted = adc.convert(y, limit, None)
        else:
            converted = jax.vmap(adc.convert, in_axes=(-2, None, 0), out_axes=-2)(y, limit, tiles.converters)
        if learned:
            converted = with_gradient(y, converted, full_scale)
        return converted if middle is None else converted + middle

    def overflows(self, part: Codes, tiles: TileRow) -> Bool[Array, "*batch C n_columns"]:
        """Return which columns exceed the ADC range in any step, ``[..., C, n_columns]``."""
        dac = self.hardware.dac
        key = None if self.key is None else jax.random.fold_in(self.key, tiles.row)
        if dac is None or dac.conversions == 1:
            return self.is_beyond(self.adc_inputs(self.drive(dac, part, tiles), tiles, key))
        lines, _ = self.adc_inputs_of_steps(part, tiles, key)
        return jnp.any(self.is_beyond(lines), axis=0)

    def is_beyond(self, y: Columns) -> Bool[Array, "*batch C n_columns"]:
        """Return which ADC inputs are outside of the ADC range."""
        return jnp.abs(self.limits.about(y, self.hardware.adc)[0]) > to_rank(self.limits.half, y.ndim)

    def adc_inputs(
        self, drive: RowDrive, tiles: TileRow, key: jax.Array | None, cells: jax.Array | None = None
    ) -> Columns:
        """Return the ADC inputs for one drive of the rows, including noise, ``[..., C, n_columns]``.

        ``cells`` is the key of sampled cells that are the same in several steps; None draws new ones.
        """
        hardware = self.hardware
        y = self.operator.product(drive.code, tiles.mean.astype(drive.code.dtype), self.precision)
        if tiles.curvature is not None:
            for power, matrix in zip(drive.powers, jnp.moveaxis(tiles.curvature, 1, 0), strict=True):
                y = y + self.operator.product(power, matrix.astype(power.dtype), self.precision)
        if key is not None:
            if hardware.sampling == "cells" and tiles.variance is not None:
                cells = stream(key, "cells") if cells is None else cells
                # Stopped, because ``straight_through`` adds the derivatives of both: that of the mean is the intended.
                y_sampled = sampled(hardware.store, self.time_s, tiles, drive, cells, self.precision)
                y = straight_through(y, lax.stop_gradient(y_sampled))
                # The sample contains the cells' noise; that of detection and converter is left.
                total = self.noise_variance(drive, y, tiles._replace(variance=None))
            else:
                total = self.noise_variance(drive, y, tiles)
            if total is not None:
                # One Gaussian number for all sources: their variances add, because they are independent.
                y = y + jnp.sqrt(jnp.maximum(total, TINY)) * normal(key, y.shape, y.dtype)
        return y

    def noise_variance(self, drive: RowDrive, y: Columns, tiles: TileRow) -> Columns | None:
        """Return the columns' variance: sum_i x_i^2 Var(w_ij) of the read, plus detection and converter; or None."""
        store, adc = self.hardware.store, self.hardware.adc
        terms = []
        if tiles.variance is not None:
            terms.append(self.variance_of(tiles)(drive.squares))
        if adc is not None and adc.noise is not None:
            terms.append(jnp.asarray(adc.noise, y.dtype) ** 2)
        if store.detects_noise:
            terms.append(jax.vmap(store.noise, in_axes=(None, -2, 0), out_axes=-2)(drive.code, y, tiles.state) ** 2)
        return functools.reduce(jnp.add, terms) if terms else None


def sum_over_tiles(tile: Any, stacked: tuple, r: int) -> jax.Array:
    """Accumulate partial sums digitally: unrolled for a few tiles, a scan for many to bound the compile time.

    Not one batch for a few tiles: CPUs multiply matrices in a batch more slowly than one by one, and sums over arrays
    of many axes crash XLA there (jaxlib 0.10.2, in its library YNNPACK).
    """
    # Unstack instead of indexing: the transpose of an index sums full-size arrays, one per tile.
    leaves, structure = jax.tree.flatten(stacked)
    rows = zip(*(jnp.unstack(a[: min(r, _UNROLLED)]) for a in leaves), strict=True)
    parts = [tile(*jax.tree.unflatten(structure, row)) for row in rows]
    y = functools.reduce(jnp.add, parts)
    if r <= _UNROLLED:
        return y
    rest = jax.tree.map(lambda a: a[_UNROLLED:], stacked)
    return lax.scan(lambda total, some: (total + tile(*some), None), y, rest)[0]
