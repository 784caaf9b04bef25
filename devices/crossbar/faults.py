"""What goes wrong when a crossbar is made: stuck cells, cells of unequal scale, and spare columns against the worst.

Each cell is, independently of all others, stuck on with probability r_on, off with r_off, or at a given conductance
with r_at; among N cells their numbers are multinomial (means N r, variances N r (1 - r)). A stuck cell conducts

    on: largest    off: g_min, or off_conductance      at: stuck_at_conductance

whatever is written to it, at any time and without noise. Any other cell conducts f times what it is written to, as long
as nobody looks (an open-loop write), where f is fixed at fabrication and lognormal of mean 1 and spread s:

    f = exp(u xi - u^2/2)      u = sqrt(ln(1 + s^2))

Lognormal because a scale is positive: 1 + s xi is not, and |1 + s xi| no longer has the mean 1 and the spread s.
A tile made with k spare columns leaves the k columns with the most stuck cells unused.

How cells get stuck (over-forming, shorts between bit lines): C.-Y. Chen et al., IEEE Trans. Computers 64, 180 (2015),
doi 10.1109/TC.2014.12, a 4 Mb HfO2 chip; its shares, 1.75 % on and 9.04 % off, are recalled, to be checked.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from analogsim.base.description import Description, field, static
from analogsim.base.errors import InputError
from analogsim.base.literature import Source, cited
from analogsim.base.random import bits, normal, stream
from analogsim.devices.protocol import Moments

#: What the codes of a fabric mean.
HEALTHY, STUCK_ON, STUCK_OFF, STUCK_AT = 0, 1, 2, 3


class FabricatedCells(NamedTuple):
    """One tile as it left the fab, unused columns already taken out. Shapes ``[cells_per_weight, n_in, n_columns]``."""

    codes: jax.Array  #: int8: HEALTHY, STUCK_ON, STUCK_OFF or STUCK_AT
    factor: jax.Array | None  #: every cell's scale f, float32, 1 where stuck; None if all cells are alike


class Faults(Description):
    """Shares of stuck cells, spread of the cells' scale and spare columns; by default a perfect array.

    The shares have no derivative (a cell is stuck or not): sweep them, under ``jax.vmap`` without a recompilation. The
    spread has one.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> faults = Faults(stuck_off=0.1, device_variation=0.05, spare_columns=2)
      >>> fabric = faults.fabricate(jax.random.key(0), (2, 64, 16))
      >>> fabric.codes.shape
      (2, 64, 16)
      >>> written = faults.scale(fabric, jnp.full((2, 64, 16), 20e-6))
      >>> held = faults.apply(fabric, Moments(written), g_min=1e-6, g_max=40e-6)
      >>> bool(jnp.all(held.mean[fabric.codes == STUCK_OFF] == 1e-6))
      True
    """

    stuck_on: Any = field(
        default=0.0, ge=0, le=1, doc="share of cells stuck at the largest conductance they have (low resistance)"
    )
    stuck_off: Any = field(default=0.0, ge=0, le=1, doc="share of cells stuck at g_min, or at off_conductance")
    stuck_at: Any = field(default=0.0, ge=0, le=1, doc="share of cells stuck at stuck_at_conductance")
    stuck_at_conductance: Any = field(
        default=0.0, unit="S", ge=0, le=1, doc="what the cells of stuck_at conduct; 0: an open contact"
    )
    off_conductance: Any = field(
        default=None, unit="S", ge=0, le=1, optional=True, doc="what a cell stuck off conducts; None: g_min"
    )
    device_variation: Any = field(
        default=None, ge=0, le=10, optional=True, doc="s, relative spread of the cells' scale; None: all alike"
    )
    spare_columns: int = static(
        default=0, ge=0, le=65536, integer=True, doc="columns that a tile is made with beyond those it uses"
    )

    def check(self) -> None:
        rates = (self.stuck_on, self.stuck_off, self.stuck_at)
        if any(isinstance(rate, jax.core.Tracer) for rate in rates):
            return
        total = float(np.max(sum(np.asarray(rate, np.float64) for rate in rates)))
        if total > 1 + 1e-6:  # shares given in float32 may add up to a little more than one
            raise InputError(f"Faults.stuck_on + stuck_off + stuck_at = {total:.6g}: must be at most 1", ("stuck_on",))

    def model_sources(self) -> tuple[Source, ...]:
        """Where the ways to be stuck come from."""
        return (cited("chen2015"),)

    def fabricate(self, key: jax.Array, shape: tuple[int, int, int]) -> FabricatedCells:
        """Make one tile. Draws one integer a cell made, and one Gaussian a cell used if there is a
        ``device_variation``.

        Of equally bad columns a random one is left unused, so that no position is favoured; the columns that stay keep
        their order. All cells of a column, those of every cell of a pair included, count together.

        Args:
          key: what this tile's fabrication is drawn from.
          shape: ``(cells_per_weight, n_in, n_columns)`` of the columns that are used.
        """
        if key is None:
            raise InputError("key = None: fabrication draws random numbers, pass a key (jax.random.key(0))")
        cells, n_in, n_columns = _checked(shape)
        codes = self._codes(stream(key, "stuck cells"), (cells, n_in, n_columns + self.spare_columns))
        if self.spare_columns:
            codes = _best_columns(stream(key, "spare columns"), codes, n_columns)
        if self.device_variation is None:
            return FabricatedCells(codes, None)
        u = _log_spread(jnp.asarray(self.device_variation, jnp.float32))
        xi = normal(stream(key, "device spread"), (cells, n_in, n_columns))
        return FabricatedCells(codes, jnp.where(codes == HEALTHY, jnp.exp(u * xi - u**2 / 2), 1.0))

    def _codes(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        # Compared as integers: a float32 uniform has steps of 1.2e-7, these have 4.7e-10. 31 bits, so that a share of
        # one still fits.
        draw = bits(key, shape) >> jnp.uint32(1)
        on, off, at = (
            (jnp.asarray(rate, jnp.float32) * 2.0**31).astype(jnp.uint32)
            for rate in (self.stuck_on, self.stuck_off, self.stuck_at)
        )
        stuck = jnp.where(draw < on, STUCK_ON, jnp.where(draw < on + off, STUCK_OFF, STUCK_AT))
        return jnp.where(draw < on + off + at, stuck, HEALTHY).astype(jnp.int8)

    def scale(self, fabric: FabricatedCells, conductance: jax.Array) -> jax.Array:
        """What cells conduct that were written open-loop to ``conductance`` (S, shape of the fabric): f times it."""
        if fabric.factor is None:
            return conductance
        return conductance * fabric.factor.astype(conductance.dtype)

    def apply(self, fabric: FabricatedCells, moments: Moments, g_min: Any, g_max: Any) -> Moments:
        """Conductances with the stuck cells at their stuck values; every other cell is untouched.

        Args:
          fabric: the tile.
          moments: mean (S) and variance (S^2, or None) of every cell as if none were stuck, shape of the fabric.
          g_min: what a cell stuck off conducts (S), unless ``off_conductance`` says otherwise.
          g_max: what a cell stuck on conducts (S): all that it can, also where less of it is used.
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


def _checked(shape: Any) -> tuple[int, int, int]:
    sizes = tuple(shape) if isinstance(shape, (tuple, list)) else ()
    if len(sizes) != 3 or any(not isinstance(n, (int, np.integer)) or n < 1 for n in sizes):
        raise InputError(f"shape = {shape!r}: must be three integers of at least 1, (cells_per_weight, n_in, n_lines)")
    return sizes


def _best_columns(key: jax.Array, codes: jax.Array, n_columns: int) -> jax.Array:
    faults = jnp.sum(codes != HEALTHY, axis=(0, 1))
    order = jnp.lexsort((bits(key, faults.shape), faults))  # fewest faults first, ties in random order
    return jnp.take(codes, jnp.sort(order[:n_columns]), axis=2)


def _log_spread(s: jax.Array) -> jax.Array:
    """sqrt(ln(1 + s^2)), written so that its slope at zero is one and not NaN."""
    small = s < 1e-3
    square = jnp.where(small, 1.0, s**2)
    return s * jnp.where(small, 1 - s**2 / 4, jnp.sqrt(jnp.log1p(square) / square))
