"""How a signed weight becomes conductances, and how the currents become the weight again.

With w in [-1, 1], the usable window R = g_max - g_min (siemens) and t the part of w that one plane holds
(``slices``; t = w where a weight is not sliced),

    differential, one-sided    G+ = g_min + R max(t, 0)      G- = g_min + R max(-t, 0)     t = (G+ - G-)/R
    differential, two-sided    G+ = g_min + R (1 + t)/2      G- = g_min + R (1 - t)/2      t = (G+ - G-)/R
    offset                     G  = g_min + R t              t in [0, 1], w = sum_p c_p t_p - c_0

One-sided keeps currents proportional to weights, which makes errors proportional too and is why it wins in accuracy
(T. P. Xiao et al., IEEE CAS Magazine 22, 26 (2022), arXiv 2109.01262). An offset mapping needs half the cells; what
the constant part of its currents adds, sum_i x_i (c_0 + g_min/R sum_p c_p), is subtracted digitally from the known
inputs, or by converting one more column in which every cell holds the weight 0.

A readout line is what one ADC converts: the difference of a pair's currents where it is taken by the wires
(``subtraction="analog"``), otherwise every column's own. Lines are in units of R: one fully driven cell at full window.
"""

from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from analogsim.base.description import Description, field, static
from analogsim.base.errors import within
from analogsim.base.literature import cited
from analogsim.devices.crossbar.slices import BitSlices, MultiCell, Planes
from analogsim.devices.protocol import ColumnMap, Moments


class Mapping(Protocol):
    """What the array needs to know; shapes are for one tile with ``n_in`` rows and ``n_out`` outputs."""

    def conductances(self, weights: jax.Array, g_min: Any, g_max: Any) -> jax.Array:
        """Targets in siemens of every cell, ``[arrays, n_in, columns]``: one array a plane and polarity."""
        ...

    def lines(self, cells: Moments, g_min: Any, g_max: Any) -> Moments:
        """What the readout lines carry for a unit input on each row, ``[n_in, n_columns]``, in units of the window."""
        ...

    def n_columns(self, n_out: int) -> int:
        """Readout lines of a tile."""
        ...

    def combine(self, y: jax.Array, drive: jax.Array, g_min: Any, g_max: Any) -> jax.Array:
        """Outputs ``[..., n_out]`` from converted lines ``[..., n_columns]`` and the sum of the inputs ``[..., 1]``."""
        ...

    def to_columns(self, weights: jax.Array) -> jax.Array:
        """Lines ``[n_in, n_columns]`` that combine to ``weights``: where their gradient enters. Linear."""
        ...

    def column_map(self, n_out: int) -> ColumnMap:
        """How the lines of a tile are grouped."""
        ...


def _planes(slices: Any, weights: jax.Array, signed: bool) -> Planes:
    if slices is not None:
        return slices.signed(weights) if signed else slices.offset(weights)
    one = jnp.ones((1,), weights.dtype)
    if signed:
        return Planes(weights[None], one, jnp.zeros((), weights.dtype), 0 * one)
    return Planes((1 + weights[None]) / 2, 2 * one, jnp.ones((), weights.dtype), one / 2)


def _factors(slices: Any, dtype: Any, signed: bool) -> Planes:
    """The factors alone; the planes are of a matrix without entries."""
    return _planes(slices, jnp.zeros((0, 0), dtype), signed)


def _right_inverse(factors: jax.Array) -> jax.Array:
    """Shares b_p with sum_p c_p b_p = 1, the smallest ones: most of a gradient enters where a line counts most."""
    return factors / jnp.sum(factors**2)


def _side_by_side(arrays: jax.Array, window: Any, power: int) -> jax.Array:
    """Arrays ``[groups, n_in, columns]`` as lines ``[n_in, groups columns]``, in units of ``window ** power``."""
    for _ in range(power):  # the square of a window of microsiemens is close to the smallest float16 numbers
        arrays = arrays / window
    return jnp.moveaxis(arrays, 0, 1).reshape(arrays.shape[1], -1)


def _column_map(slices: Any, signed: bool, polarities: int, outputs: np.ndarray) -> ColumnMap:
    """Lines in the order polarity, plane, output."""
    binary = isinstance(slices, BitSlices)
    apart = binary and slices.sum == "digital"  # copies hold the same on every plane: one range fits them all
    planes = 1 if slices is None or _added_by_wires(slices) else slices.planes
    numbers = np.arange(planes) if apart else np.zeros(planes, int)
    lines = np.tile(np.repeat(numbers, len(outputs)), polarities)
    factor, step = slices.places(signed) if apart else (np.ones(1), None)
    if binary and not apart:
        step = np.array([slices.sum_step(signed)])
    return ColumnMap(lines, np.tile(outputs, polarities * planes), factor, step)


def _added_by_wires(slices: Any) -> bool:
    return slices is not None and slices.sum == "analog"


class Differential(Description):
    """A pair of cells holds one weight (or one slice of it) as the difference of two conductances."""

    sides: int = static(
        default=1,
        choices=(1, 2),
        doc="1: the idle cell of a pair stays at g_min; 2: both move about the middle",
        source=cited("xiao2022accuracy"),
    )
    subtraction: str = static(
        default="analog",
        choices=("analog", "digital"),
        doc="the wires subtract the currents of a pair, or each is converted and digital logic does",
    )
    slices: Any = field(
        default=None, optional=True, methods=("signed", "planes", "sum"), doc="several pairs a weight; None for one"
    )

    def conductances(self, weights: jax.Array, g_min: Any, g_max: Any) -> jax.Array:
        """Targets in siemens for weights ``[n_in, n_out]`` in [-1, 1]: ``[2 planes, n_in, n_out]``.

        All plus cells come before all minus cells: with one plane, index 0 is plus and 1 is minus.
        """
        held = _planes(self.slices, weights, signed=True).held
        pair = jnp.concatenate([held, -held])
        share = jnp.maximum(pair, 0.0) if self.sides == 1 else (1 + pair) / 2
        return g_min + (g_max - g_min) * share

    def lines(self, cells: Moments, g_min: Any, g_max: Any) -> Moments:
        """Readout of ``[2 planes, n_in, n_out]``; cells fluctuate independently, so variances add."""

        def joined(values: jax.Array, power: int) -> jax.Array:
            values = values.reshape(2, -1, *values.shape[1:])  # [polarity, plane, n_in, n_out]
            if self.subtraction == "analog":
                values = (values[0] - values[1] if power == 1 else values[0] + values[1])[None]
            if _added_by_wires(self.slices):
                factors = _factors(self.slices, values.dtype, True).factors ** power
                values = jnp.tensordot(values, factors, ((1,), (0,)))[:, None]
            return _side_by_side(values.reshape(-1, *values.shape[2:]), g_max - g_min, power)

        variance = None if cells.variance is None else joined(cells.variance, 2)
        return Moments(joined(cells.mean, 1), variance, slow=cells.slow)

    def n_columns(self, n_out: int) -> int:
        """Readout lines of ``n_out`` outputs."""
        return len(self._column_factors(jnp.float32)) * n_out

    def _column_factors(self, dtype: Any) -> jax.Array:
        """What each group of ``n_out`` lines counts, in the order of the lines."""
        one = jnp.ones((1,), dtype)
        planes = one if _added_by_wires(self.slices) else _factors(self.slices, dtype, True).factors
        return planes if self.subtraction == "analog" else jnp.concatenate([planes, -planes])

    def combine(self, y: jax.Array, drive: jax.Array, g_min: Any, g_max: Any) -> jax.Array:
        """Outputs from converted lines: sum over planes and, if digital, the difference of polarities."""
        factors = self._column_factors(y.dtype)
        if len(factors) == 1:
            return y
        return jnp.einsum("...po,p->...o", y.reshape(*y.shape[:-1], len(factors), -1), factors)

    def column_map(self, n_out: int) -> ColumnMap:
        """How the lines are grouped: by slice, the two polarities of a pair alike."""
        apart = self.subtraction == "digital"
        found = _column_map(self.slices, True, 2 if apart else 1, np.arange(n_out))
        if apart and self.sides == 2 and found.step is not None:
            found = found._replace(step=found.step / 2)  # a cell of a pair moves half as far as their difference
        return found

    def to_columns(self, weights: jax.Array) -> jax.Array:
        """Lines that combine to ``weights``."""
        shares = _right_inverse(self._column_factors(weights.dtype))
        return jnp.concatenate([share * weights for share in shares], axis=-1)

    @property
    def needs_drive(self) -> bool:
        """Whether ``combine`` needs the sum of the inputs."""
        return False

    def n_cells(self, n_in: int, n_out: int) -> int:
        """Number of physical cells."""
        return 2 * (1 if self.slices is None else self.slices.planes) * n_in * n_out


class Offset(Description):
    """One cell holds one weight (or one slice of it) above a constant, which is subtracted after conversion."""

    subtraction: str = static(
        default="digital",
        choices=("digital", "unit column"),
        doc="of the constant: from the known sum of the inputs, or of one more converted column of weights 0",
    )
    slices: Any = field(
        default=None, optional=True, methods=("offset", "planes", "sum"), doc="several cells a weight; None for one"
    )

    def check(self) -> None:
        if isinstance(self.slices, BitSlices):
            with within("slices"):
                self.slices.offset(jnp.zeros((1, 1)))  # refuses too few bits

    def conductances(self, weights: jax.Array, g_min: Any, g_max: Any) -> jax.Array:
        """Targets in siemens, ``[planes, n_in, columns]``; the unit column, if any, is the last one."""
        planes = _planes(self.slices, weights, signed=False)
        held = planes.held
        if self.subtraction == "unit column":
            unit = jnp.broadcast_to(planes.zero[:, None, None], (*held.shape[:2], 1))
            held = jnp.concatenate([held, unit], axis=-1)
        return g_min + (g_max - g_min) * held

    def lines(self, cells: Moments, g_min: Any, g_max: Any) -> Moments:
        """Readout of ``[planes, n_in, columns]``."""

        def joined(values: jax.Array, power: int) -> jax.Array:
            if _added_by_wires(self.slices):
                factors = _factors(self.slices, values.dtype, False).factors ** power
                values = jnp.tensordot(factors, values, 1)[None]
            return _side_by_side(values, g_max - g_min, power)

        variance = None if cells.variance is None else joined(cells.variance, 2)
        return Moments(joined(cells.mean, 1), variance, slow=cells.slow)

    def n_columns(self, n_out: int) -> int:
        """Readout lines of ``n_out`` outputs, unit columns included."""
        return len(self._column_factors(jnp.float32)) * (n_out + (self.subtraction == "unit column"))

    def _column_factors(self, dtype: Any) -> jax.Array:
        if _added_by_wires(self.slices):
            return jnp.ones((1,), dtype)
        return _factors(self.slices, dtype, False).factors

    def combine(self, y: jax.Array, drive: jax.Array, g_min: Any, g_max: Any) -> jax.Array:
        """Outputs from converted lines, without the constant part of the currents."""
        factors = self._column_factors(y.dtype)
        total = jnp.einsum("...po,p->...o", y.reshape(*y.shape[:-1], len(factors), -1), factors)
        if self.subtraction == "unit column":
            return total[..., :-1] - total[..., -1:]
        planes = _factors(self.slices, y.dtype, False)
        floor = jnp.asarray(g_min / (g_max - g_min), y.dtype)
        return total - drive * (planes.constant + floor * jnp.sum(planes.factors))

    def column_map(self, n_out: int) -> ColumnMap:
        """How the lines are grouped: by slice; a unit column serves all outputs."""
        unit = [-1] if self.subtraction == "unit column" else []
        return _column_map(self.slices, False, 1, np.array([*range(n_out), *unit]))

    def to_columns(self, weights: jax.Array) -> jax.Array:
        """Lines that combine to ``weights``; unit columns stay out of it."""
        shares = _right_inverse(self._column_factors(weights.dtype))
        unit = jnp.zeros((weights.shape[0], int(self.subtraction == "unit column")), weights.dtype)
        return jnp.concatenate([part for share in shares for part in (share * weights, unit)], axis=-1)

    @property
    def needs_drive(self) -> bool:
        """Whether ``combine`` needs the sum of the inputs."""
        return self.subtraction == "digital"

    def n_cells(self, n_in: int, n_out: int) -> int:
        """Number of physical cells."""
        columns = n_out + (self.subtraction == "unit column")
        return (1 if self.slices is None else self.slices.planes) * n_in * columns


__all__ = ["BitSlices", "Differential", "Mapping", "MultiCell", "Offset"]
