"""Fabrication faults of a crossbar: stuck cells, device-to-device variation of the scale, and spare columns.

Each cell is, independently of all others, stuck on with probability r_on, off with r_off, or at a given conductance
with r_at; among N cells their numbers are multinomial (means N r, variances N r (1 - r)). A stuck cell conducts

    on: largest    off: g_min, or off_conductance      at: stuck_at_conductance

whatever is written to it, at any time and without noise. After an open-loop (unverified) write any other cell conducts
f times its target, where f is fixed at fabrication and lognormal with mean 1 and standard deviation s:

    f = exp(u xi - u^2/2)      u = sqrt(ln(1 + s^2))

Lognormal because a scale is positive: 1 + s xi is not, and |1 + s xi| no longer has mean 1 and standard deviation s.
A tile made with k spare columns leaves the k columns with the most stuck cells unused.

Mechanisms of stuck cells (over-forming, shorts between bit lines): C.-Y. Chen et al., IEEE Trans. Computers 64, 180
(2015), doi 10.1109/TC.2014.12, a 4 Mb HfO2 chip; its fractions, 1.75 % on and 9.04 % off, are recalled, to be checked.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from analogsim.base.description import Description, field, static
from analogsim.base.errors import InputError
from analogsim.base.literature import Source, cited
from analogsim.base.random import bits, normal, stream
from analogsim.base.types import Numeric
from analogsim.devices.protocol import Moments

#: Codes of ``FabricatedCells.codes``.
HEALTHY, STUCK_ON, STUCK_OFF, STUCK_AT = 0, 1, 2, 3


class FabricatedCells(NamedTuple):
    """Cells of one fabricated tile, without the unused columns. Shapes ``[cells_per_weight, n_in, n_columns]``."""

    codes: jax.Array  #: int8: HEALTHY, STUCK_ON, STUCK_OFF or STUCK_AT
    factor: jax.Array | None  #: scale f of every cell, float32, 1 if stuck; None without ``device_variation``


class Faults(Description):
    """Fractions of stuck cells, device-to-device variation of the scale, and spare columns; by default no faults.

    The fractions have no derivative (a cell is stuck or not); sweep them, under ``jax.vmap`` without recompilation.
    ``device_variation`` has one.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> faults = Faults(stuck_off=0.1, device_variation=0.05, spare_columns=2)
      >>> fabric = faults.fabricate(jax.random.key(0), (2, 64, 16))
      >>> fabric.codes.shape
      (2, 64, 16)
      >>> written = faults.scale(fabric, jnp.full((2, 64, 16), 20e-6))
      >>> cells = faults.apply(fabric, Moments(written), g_min=1e-6, g_max=40e-6)
      >>> bool(jnp.all(cells.mean[fabric.codes == STUCK_OFF] == 1e-6))
      True
    """

    stuck_on: Any = field(
        default=0.0, ge=0, le=1, doc="fraction of cells stuck at their largest conductance (low resistance)"
    )
    stuck_off: Any = field(default=0.0, ge=0, le=1, doc="fraction of cells stuck at g_min, or at off_conductance")
    stuck_at: Any = field(default=0.0, ge=0, le=1, doc="fraction of cells stuck at stuck_at_conductance")
    stuck_at_conductance: Any = field(
        default=0.0, unit="S", ge=0, le=1, doc="conductance of the cells of stuck_at; 0: an open contact"
    )
    off_conductance: Any = field(
        default=None, unit="S", ge=0, le=1, optional=True, doc="conductance of a cell stuck off; None: g_min"
    )
    device_variation: Any = field(
        default=None, ge=0, le=10, optional=True, doc="s, relative standard deviation of the scale; None: no variation"
    )
    spare_columns: int = static(default=0, ge=0, le=65536, integer=True, doc="columns of a tile beyond those in use")

    def check(self) -> None:
        rates = (self.stuck_on, self.stuck_off, self.stuck_at)
        if any(isinstance(rate, jax.core.Tracer) for rate in rates):
            return
        total = float(np.max(sum(np.asarray(rate, np.float64) for rate in rates)))
        if total > 1 + 1e-6:  # float32 fractions may add up to slightly more than one
            raise InputError(f"Faults.stuck_on + stuck_off + stuck_at = {total:.6g}: must be at most 1", ("stuck_on",))

    def model_sources(self) -> tuple[Source, ...]:
        """Return the publication on the mechanisms of stuck cells."""
        return (cited("chen2015"),)

    def fabricate(self, key: jax.Array, shape: tuple[int, int, int]) -> FabricatedCells:
        """Fabricate one tile.

        Draws one integer per fabricated cell, and one Gaussian per used cell if ``device_variation`` is set. Of equally
        bad columns a random one is left unused, so that no position is favoured; the remaining columns keep their
        order. All cells of a column count together, including both cells of a pair.

        Args:
          key: random key of this tile's fabrication.
          shape: ``(cells_per_weight, n_in, n_columns)`` of the columns in use.

        Returns:
          The cells in use, of this shape.

        Raises:
          InputError: if ``key`` is None or ``shape`` is not three integers of at least 1.
        """
        if key is None:
            raise InputError("key = None: fabrication draws random numbers, pass a key (jax.random.key(0))")
        cells, n_in, n_columns = _checked(shape)
        codes = self._codes(stream(key, "stuck cells"), (cells, n_in, n_columns + self.spare_columns))
        if self.spare_columns:
            codes = _best_columns(stream(key, "spare columns"), codes, n_columns)
        if self.device_variation is None:
            return FabricatedCells(codes, None)
        u = _log_std(jnp.asarray(self.device_variation, jnp.float32))
        xi = normal(stream(key, "device spread"), (cells, n_in, n_columns))
        return FabricatedCells(codes, jnp.where(codes == HEALTHY, jnp.exp(u * xi - u**2 / 2), 1.0))

    def _codes(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        # Compared as integers, whose steps are 4.7e-10: a float32 uniform has steps of 1.2e-7. 31 bits, so that a
        # fraction of one still fits into uint32.
        draw = bits(key, shape) >> jnp.uint32(1)
        on, off, at = (
            (jnp.asarray(rate, jnp.float32) * 2.0**31).astype(jnp.uint32)
            for rate in (self.stuck_on, self.stuck_off, self.stuck_at)
        )
        stuck = jnp.where(draw < on, STUCK_ON, jnp.where(draw < on + off, STUCK_OFF, STUCK_AT))
        return jnp.where(draw < on + off + at, stuck, HEALTHY).astype(jnp.int8)

    def scale(self, fabric: FabricatedCells, conductance: jax.Array) -> jax.Array:
        """Return the conductances (S) of cells written open-loop to ``conductance`` (S, shape of the fabric)."""
        if fabric.factor is None:
            return conductance
        return conductance * fabric.factor.astype(conductance.dtype)

    def apply(self, fabric: FabricatedCells, moments: Moments, g_min: Numeric, g_max: Numeric) -> Moments:
        """Set stuck cells to their stuck conductance, without variance; leave all other cells unchanged.

        Args:
          fabric: cells of the tile, as returned by ``fabricate``.
          moments: mean (S) and variance (S^2, or None) of every cell as if none were stuck, shape of the fabric.
          g_min: conductance of a cell stuck off (S), unless ``off_conductance`` is set.
          g_max: conductance of a cell stuck on (S): the largest of the cell, even if the window in use is smaller.

        Raises:
          InputError: if the shapes differ.
        """
        mean, variance = moments.mean, moments.variance
        if mean.shape != fabric.codes.shape:
            raise InputError(f"moments.mean of shape {mean.shape}: must have the fabric's shape {fabric.codes.shape}")
        off = g_min if self.off_conductance is None else self.off_conductance
        for code, value in ((STUCK_ON, g_max), (STUCK_OFF, off), (STUCK_AT, self.stuck_at_conductance)):
            mean = jnp.where(fabric.codes == code, jnp.asarray(value, mean.dtype), mean)
        if variance is not None:
            variance = jnp.where(fabric.codes == HEALTHY, variance, jnp.zeros((), variance.dtype))
        return moments._replace(mean=mean, variance=variance)


def _checked(shape: tuple[int, ...]) -> tuple[int, int, int]:
    sizes = tuple(shape) if isinstance(shape, (tuple, list)) else ()
    if len(sizes) != 3 or any(not isinstance(n, (int, np.integer)) or n < 1 for n in sizes):
        raise InputError(f"shape = {shape!r}: must be three integers >= 1, (cells_per_weight, n_in, n_columns)")
    return sizes


def _best_columns(key: jax.Array, codes: jax.Array, n_columns: int) -> jax.Array:
    faults = jnp.sum(codes != HEALTHY, axis=(0, 1))
    order = jnp.lexsort((bits(key, faults.shape), faults))  # fewest faults first, ties in random order
    return jnp.take(codes, jnp.sort(order[:n_columns]), axis=2)


def _log_std(s: jax.Array) -> jax.Array:
    """Return sqrt(ln(1 + s^2)), written so that its derivative at zero is one and not NaN."""
    # Below 1e-3, two terms of the series are exact to 2e-13; the inner where keeps the quotient from 0/0.
    small = s < 1e-3
    square = jnp.where(small, 1.0, s**2)
    return s * jnp.where(small, 1 - s**2 / 4, jnp.sqrt(jnp.log1p(square) / square))
