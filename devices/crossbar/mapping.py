"""Mappings of signed weights to conductances, and of column currents back to outputs.

With w in [-1, 1], the usable window R = g_max - g_min (siemens) and t the part of w that one plane holds
(``slices``; t = w if a weight is not sliced),

    differential, one-sided    G+ = g_min + R max(t, 0)      G- = g_min + R max(-t, 0)     t = (G+ - G-)/R
    differential, two-sided    G+ = g_min + R (1 + t)/2      G- = g_min + R (1 - t)/2      t = (G+ - G-)/R
    offset                     G  = g_min + R t              t in [0, 1], w = sum_p c_p t_p - c_0

The one-sided mapping keeps currents proportional to weights and therefore errors too, which is why it is the most
accurate (T. P. Xiao et al., IEEE CAS Magazine 22, 26 (2022), arXiv 2109.01262). An offset mapping needs half the cells;
the constant part of its currents, sum_i x_i (c_0 + g_min/R sum_p c_p), is subtracted digitally from the known inputs,
or by converting one more column in which every cell holds the weight 0.

A column is the input of one ADC: the difference of a pair's currents if wires subtract them (``subtraction="analog"``),
otherwise the current of one bit line. Columns are in units of R: one fully driven cell at full window.
"""

from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from analogsim.base.description import Description, field, static
from analogsim.base.errors import within
from analogsim.base.literature import cited
from analogsim.base.types import Numeric
from analogsim.devices.crossbar.slices import BitSlices, MultiCell, Planes
from analogsim.devices.protocol import ColumnMap, Moments


class Mapping(Protocol):
    """Protocol of mappings; shapes are for one tile with ``n_in`` rows and ``n_out`` outputs."""

    def conductances(self, weights: jax.Array, g_min: Numeric, g_max: Numeric) -> jax.Array:
        """Return target conductances (S) of all cells, ``[arrays, n_in, columns]``: one array per plane and polarity.

        Args:
          weights: normalised weights in [-1, 1], ``[n_in, n_out]``.
          g_min, g_max: ends of the usable window, S.
        """
        ...

    def columns(self, cells: Moments, g_min: Numeric, g_max: Numeric) -> Moments:
        """Return the columns for a unit input on each row, ``[n_in, n_columns]``, in units of the window.

        Args:
          cells: mean (S) and variance (S^2) of all cells, ``[arrays, n_in, columns]``.
          g_min, g_max: ends of the usable window, S.
        """
        ...

    def n_columns(self, n_out: int) -> int:
        """Return the number of columns of a tile with ``n_out`` outputs."""
        ...

    def combine(self, y: jax.Array, drive: jax.Array, g_min: Numeric, g_max: Numeric) -> jax.Array:
        """Combine converted columns ``[..., n_columns]`` into outputs ``[..., n_out]``.

        Args:
          y: converted columns.
          drive: sum of the tile's inputs, ``[..., 1]``.
          g_min, g_max: ends of the usable window, S.
        """
        ...

    def to_columns(self, weights: jax.Array) -> jax.Array:
        """Split weights into columns ``[n_in, n_columns]`` that combine to them; linear, gradients flow through it."""
        ...

    def column_map(self, n_out: int) -> ColumnMap:
        """Return how the columns of a tile are grouped."""
        ...


def _planes(slices: Any, weights: jax.Array, signed: bool) -> Planes:
    if slices is not None:
        return slices.signed(weights) if signed else slices.offset(weights)
    one = jnp.ones((1,), weights.dtype)
    if signed:
        return Planes(weights[None], one, jnp.zeros((), weights.dtype), 0 * one)
    return Planes((1 + weights[None]) / 2, 2 * one, jnp.ones((), weights.dtype), one / 2)


def _factors(slices: Any, dtype: DTypeLike, signed: bool) -> Planes:
    """Return the factors of the planes; the planes themselves are those of an empty matrix."""
    return _planes(slices, jnp.zeros((0, 0), dtype), signed)


def _length(column_factors: Callable[[DTypeLike], jax.Array]) -> int:
    # From shapes: operations outside of a compiled function would each be compiled.
    return jax.eval_shape(lambda: column_factors(jnp.float32)).shape[0]


def _right_inverse(factors: jax.Array) -> jax.Array:
    """Return the least-norm b_p with sum_p c_p b_p = 1: the gradient enters mostly in columns with large factors."""
    return factors / jnp.sum(factors**2)


def _side_by_side(arrays: jax.Array, window: Numeric, power: int) -> jax.Array:
    """Join arrays ``[groups, n_in, columns]`` to ``[n_in, groups columns]``, in units of ``window ** power``."""
    for _ in range(power):  # not window**2 at once: the square of microsiemens underflows float16
        arrays = arrays / window
    return jnp.moveaxis(arrays, 0, 1).reshape(arrays.shape[1], -1)


def _column_map(slices: Any, signed: bool, polarities: int, outputs: np.ndarray) -> ColumnMap:
    """Return the map of columns in the order polarity, plane, output."""
    binary = isinstance(slices, BitSlices)
    apart = binary and slices.sum == "digital"  # copies hold the same value on every plane, so one ADC range fits all
    planes = 1 if slices is None or _added_by_wires(slices) else slices.planes
    numbers = np.arange(planes) if apart else np.zeros(planes, int)
    slice_of_column = np.tile(np.repeat(numbers, len(outputs)), polarities)
    factor, step = slices.places(signed) if apart else (np.ones(1), None)
    if binary and not apart:
        step = np.array([slices.sum_step(signed)])
    return ColumnMap(slice_of_column, np.tile(outputs, polarities * planes), factor, step)


def _added_by_wires(slices: Any) -> bool:
    return slices is not None and slices.sum == "analog"


def _combined(y: jax.Array, factors: jax.Array) -> jax.Array:
    """Add converted columns ``[..., n_columns]`` with one factor per group of columns."""
    # Columns are ordered by group, outputs within a group, as ``_side_by_side`` joins them.
    groups = y.reshape(*y.shape[:-1], len(factors), -1)
    # Digital logic adds codes exactly; GPUs multiply float32 in lower precision by default.
    return jnp.einsum("...po,p->...o", groups, factors, precision="highest")


class Differential(Description):
    """Differential pairs: two cells hold one weight (or one slice of it) as the difference of their conductances.

    Example:
      >>> import jax.numpy as jnp
      >>> targets = Differential().conductances(jnp.array([[0.5, -1.0]]), 0.0, 20e-6)
      >>> (targets * 1e6).round().tolist()
      [[[10.0, 0.0]], [[0.0, 20.0]]]
    """

    sides: int = static(
        default=1,
        choices=(1, 2),
        doc="1: the idle cell of a pair stays at g_min; 2: both change, about the middle of the window",
        source=cited("xiao2022accuracy"),
    )
    subtraction: str = static(
        default="analog",
        choices=("analog", "digital"),
        doc="subtraction of a pair's currents: by the wires, or by digital logic after converting both",
    )
    slices: Any = field(
        default=None, optional=True, methods=("signed", "planes", "sum"), doc="several pairs per weight; None for one"
    )

    def conductances(self, weights: jax.Array, g_min: Numeric, g_max: Numeric) -> jax.Array:
        """Return targets (S) of weights ``[n_in, n_out]`` in [-1, 1]: ``[2 planes, n_in, n_out]``.

        All plus cells come before all minus cells: with one plane, index 0 is plus and 1 is minus.
        """
        planes = _planes(self.slices, weights, signed=True).values
        pair = jnp.concatenate([planes, -planes])
        fraction = jnp.maximum(pair, 0.0) if self.sides == 1 else (1 + pair) / 2
        return g_min + (g_max - g_min) * fraction

    def columns(self, cells: Moments, g_min: Numeric, g_max: Numeric) -> Moments:
        """Return the columns of cells ``[2 planes, n_in, n_out]``; cells are independent, so variances add."""

        def joined(values: jax.Array, power: int) -> jax.Array:
            values = values.reshape(2, -1, *values.shape[1:])  # [polarity, plane, n_in, n_out]
            if self.subtraction == "analog":
                values = (values[0] - values[1] if power == 1 else values[0] + values[1])[None]
            if _added_by_wires(self.slices):
                factors = _factors(self.slices, values.dtype, True).factors ** power
                values = jnp.tensordot(values, factors, ((1,), (0,)), precision="highest")[:, None]
            return _side_by_side(values.reshape(-1, *values.shape[2:]), g_max - g_min, power)

        variance = None if cells.variance is None else joined(cells.variance, 2)
        return Moments(joined(cells.mean, 1), variance, slow=cells.slow)

    def n_columns(self, n_out: int) -> int:
        """Return the number of columns of ``n_out`` outputs."""
        return _length(self._column_factors) * n_out

    def _column_factors(self, dtype: DTypeLike) -> jax.Array:
        """Return the factor of each group of ``n_out`` columns, in their order."""
        one = jnp.ones((1,), dtype)
        planes = one if _added_by_wires(self.slices) else _factors(self.slices, dtype, True).factors
        return planes if self.subtraction == "analog" else jnp.concatenate([planes, -planes])

    def combine(self, y: jax.Array, drive: jax.Array, g_min: Numeric, g_max: Numeric) -> jax.Array:
        """Combine converted columns: sum over planes and, if subtraction is digital, difference of polarities."""
        if self.keeps_weights:
            return y
        factors = self._column_factors(y.dtype)
        return y if len(factors) == 1 else _combined(y, factors)

    def column_map(self, n_out: int) -> ColumnMap:
        """Return the groups of the columns: by slice, the two polarities of a pair in the same group."""
        apart = self.subtraction == "digital"
        columns = _column_map(self.slices, True, 2 if apart else 1, np.arange(n_out))
        if apart and self.sides == 2 and columns.step is not None:
            columns = columns._replace(step=columns.step / 2)  # a cell changes half as much as the pair's difference
        return columns

    def to_columns(self, weights: jax.Array) -> jax.Array:
        """Split weights ``[n_in, n_out]`` into columns ``[n_in, n_columns]`` that combine to them."""
        if self.keeps_weights:
            return weights
        inverse = _right_inverse(self._column_factors(weights.dtype))
        return jnp.concatenate([factor * weights for factor in inverse], axis=-1)

    @property
    def keeps_weights(self) -> bool:
        """Whether the columns of ideal cells are the weights: one pair a weight, subtracted by the wires."""
        is_own = type(self).conductances is Differential.conductances and type(self).columns is Differential.columns
        return is_own and self.slices is None and self.subtraction == "analog"

    @property
    def needs_drive(self) -> bool:
        """False: differences of pairs have no constant part to subtract."""
        return False

    def n_cells(self, n_in: int, n_out: int) -> int:
        """Return the number of physical cells."""
        return 2 * (1 if self.slices is None else self.slices.planes) * n_in * n_out


class Offset(Description):
    """Single cells hold one weight (or one slice of it) above a constant, which is subtracted after conversion.

    Example:
      >>> import jax.numpy as jnp
      >>> (Offset().conductances(jnp.array([[0.5, -1.0]]), 0.0, 20e-6) * 1e6).round().tolist()
      [[[15.0, 0.0]]]
    """

    subtraction: str = static(
        default="digital",
        choices=("digital", "unit column"),
        doc="the constant is known from the sum of the inputs, or from one more converted column of weights 0",
    )
    slices: Any = field(
        default=None, optional=True, methods=("offset", "planes", "sum"), doc="several cells per weight; None for one"
    )

    def check(self) -> None:
        if isinstance(self.slices, BitSlices):
            with within("slices"):
                self.slices.offset(jnp.zeros((1, 1)))  # raises if the slices have fewer than 2 bits

    def conductances(self, weights: jax.Array, g_min: Numeric, g_max: Numeric) -> jax.Array:
        """Return targets (S), ``[planes, n_in, columns]``; the unit column, if any, is the last one."""
        planes = _planes(self.slices, weights, signed=False)
        values = planes.values
        if self.subtraction == "unit column":
            unit = jnp.broadcast_to(planes.zero[:, None, None], (*values.shape[:2], 1))
            values = jnp.concatenate([values, unit], axis=-1)
        return g_min + (g_max - g_min) * values

    def columns(self, cells: Moments, g_min: Numeric, g_max: Numeric) -> Moments:
        """Return the columns of cells ``[planes, n_in, columns]``; cells are independent, so variances add."""

        def joined(values: jax.Array, power: int) -> jax.Array:
            if _added_by_wires(self.slices):
                factors = _factors(self.slices, values.dtype, False).factors ** power
                values = jnp.tensordot(factors, values, 1, precision="highest")[None]
            return _side_by_side(values, g_max - g_min, power)

        variance = None if cells.variance is None else joined(cells.variance, 2)
        return Moments(joined(cells.mean, 1), variance, slow=cells.slow)

    def n_columns(self, n_out: int) -> int:
        """Return the number of columns of ``n_out`` outputs, unit columns included."""
        return _length(self._column_factors) * (n_out + (self.subtraction == "unit column"))

    def _column_factors(self, dtype: DTypeLike) -> jax.Array:
        if _added_by_wires(self.slices):
            return jnp.ones((1,), dtype)
        return _factors(self.slices, dtype, False).factors

    def combine(self, y: jax.Array, drive: jax.Array, g_min: Numeric, g_max: Numeric) -> jax.Array:
        """Combine converted columns into outputs and subtract the constant part of the currents."""
        factors = self._column_factors(y.dtype)
        total = _combined(y, factors)
        if self.subtraction == "unit column":
            # The unit column drifts with the others, so that this holds at any age; below, the targets' constant.
            return total[..., :-1] - total[..., -1:]
        planes = _factors(self.slices, y.dtype, False)
        floor = jnp.asarray(g_min / (g_max - g_min), y.dtype)
        return total - drive * (planes.constant + floor * jnp.sum(planes.factors))

    def column_map(self, n_out: int) -> ColumnMap:
        """Return the groups of the columns: by slice; a unit column serves all outputs."""
        unit = [-1] if self.subtraction == "unit column" else []
        return _column_map(self.slices, False, 1, np.array([*range(n_out), *unit]))

    def to_columns(self, weights: jax.Array) -> jax.Array:
        """Split weights into columns that combine to them; unit columns get zeros, so no gradient."""
        inverse = _right_inverse(self._column_factors(weights.dtype))
        unit = jnp.zeros((weights.shape[0], int(self.subtraction == "unit column")), weights.dtype)
        return jnp.concatenate([part for factor in inverse for part in (factor * weights, unit)], axis=-1)

    @property
    def needs_drive(self) -> bool:
        """True if ``combine`` needs the sum of the inputs: with digital subtraction."""
        return self.subtraction == "digital"

    def n_cells(self, n_in: int, n_out: int) -> int:
        """Return the number of physical cells, those of unit columns included."""
        columns = n_out + (self.subtraction == "unit column")
        return (1 if self.slices is None else self.slices.planes) * n_in * columns


__all__ = ["BitSlices", "Differential", "Mapping", "MultiCell", "Offset"]
