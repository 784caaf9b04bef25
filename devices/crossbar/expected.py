"""Moments of a column's weights before a chip exists: mean and variance over fabrication, programming and reads.

A cell that knows the first two moments of its conductance in closed form (``moments``) gives those of a column entry as
a function of the weight alone. They are tabulated at 257 weights and interpolated linearly: one lookup per weight
replaces several random numbers per cell. If drift lets the conductance g decay as g T^-|nu| with a Gaussian nu,

    E[T^-|nu|] = e^(a^2 s^2/2 - a m) Phi(m/s - a s) + e^(a^2 s^2/2 + a m) Phi(-m/s - a s)       a = ln T

and the average over the programming error is a trapezoidal sum over 37 points within 4.5 sigma. The error of the table
is that of the interpolation; tests hold it to 2 % of the standard deviation, against sampled cells.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from analogsim.base.dtypes import to_rank
from analogsim.base.errors import InputError
from analogsim.base.types import Numeric
from analogsim.devices.crossbar.cell import normal_density, normal_distribution

_POINTS = 257
_NODES = np.linspace(-4.5, 4.5, 37)
_NODE_WEIGHTS = np.exp(-(_NODES**2) / 2) / np.exp(-(_NODES**2) / 2).sum()


class Expected(NamedTuple):
    """Moments for every weight ``[..., n_in, n_out]``, in units of a fully driven cell.

    Attributes:
      mean, variance: of the column entry in one read, over chips and reads.
      before, now: mean magnitude of the entry over chips, right after programming and at the requested time; drift
        compensation by the mean absolute readout compares them.
      written: mean of the entry right after programming; drift compensation by projection compares it with ``mean``.
    """

    mean: jax.Array
    variance: jax.Array
    before: jax.Array
    now: jax.Array
    written: jax.Array


def expected(store: Any, weights: jax.Array, time_s: Numeric, read_noise: bool = True) -> Expected:
    """Return the moments of an array's columns for normalised weights in [-1, 1].

    Args:
      store: a crossbar with one column per output and unsliced weights.
      weights: ``[..., n_in, n_out]``.
      time_s: seconds after programming.
      read_noise: whether to include read noise.

    Returns:
      ``Expected``, arrays in the shape of ``weights``.

    Raises:
      InputError: for a store without such a closed form.
    """
    _check(store)
    grid = jnp.linspace(-1.0, 1.0, _POINTS, dtype=weights.dtype)
    before, now = (_column(store, grid, t, False) for t in (0.0, time_s))
    mean, variance = _column(store, grid, time_s, True) if read_noise else now
    magnitude = [_between(_magnitude(*column)) for column in (before, now)]
    written = before[0]
    # Magnitudes are not interpolated: only their means over many weights are used (drift compensation).
    rows = [mean[:-1], jnp.diff(mean), variance[:-1], jnp.diff(variance), *magnitude, written[:-1], jnp.diff(written)]
    # Stacked on the last axis, so that one gather per weight fetches all values and differences.
    table = jnp.stack(rows, axis=-1)
    place = (weights + 1) * ((_POINTS - 1) / 2)
    index = jnp.clip(place.astype(jnp.int32), 0, _POINTS - 2)
    # mode="clip", because the default fills out-of-range indices with NaN, at the cost of a select per lookup.
    interpolated = jnp.take(table, index, axis=0, mode="clip")
    remainder = place - index.astype(place.dtype)
    return Expected(
        mean=interpolated[..., 0] + remainder * interpolated[..., 1],
        variance=interpolated[..., 2] + remainder * interpolated[..., 3],
        before=interpolated[..., 4],
        now=interpolated[..., 5],
        written=interpolated[..., 6] + remainder * interpolated[..., 7],
    )


def _column(store: Any, grid: jax.Array, time_s: Numeric, read_noise: bool) -> tuple[jax.Array, jax.Array]:
    """Return mean and variance of one column's entries at the weights of the grid."""
    cell, mapping = store.cell, store.mapping
    targets = mapping.conductances(grid[:, None], cell.g_min, cell.g_max)
    column = mapping.columns(cell.moments(targets, time_s, read_noise), cell.g_min, cell.g_max)
    return column.mean[:, 0], column.variance[:, 0]


def _magnitude(mean: jax.Array, variance: jax.Array) -> jax.Array:
    """Return E|N(mean, variance)|."""
    # The floor keeps the division and the derivative of the root finite for a noiseless column.
    sigma = jnp.sqrt(jnp.maximum(variance, 1e-20))
    a = mean / sigma
    return mean * (1 - 2 * normal_distribution(-a)) + 2 * sigma * normal_density(a)


def _between(values: jax.Array) -> jax.Array:
    return (values[:-1] + values[1:]) / 2


def _check(store: Any) -> None:
    name = type(getattr(store, "cell", store)).__name__
    if not hasattr(getattr(store, "cell", None), "moments"):
        raise InputError(
            f"{name}: the mean and variance of its conductance are not known in closed form; train on FreshChip(), "
            f"which samples every cell"
        )
    for field in ("faults", "write_verify", "wires"):
        if getattr(store, field) is not None:
            raise InputError(
                f"Crossbar.{field}: must be None if only the mean and variance of a column are used; train on "
                f"FreshChip(), which samples every cell"
            )
    if getattr(store.mapping, "slices", None) is not None or store.mapping.n_columns(1) != 1 or store.needs_drive:
        raise InputError(
            f"Crossbar.mapping = {store.mapping!r}: must have one column per output and no slices if only the mean "
            f"and variance of a column are used; train on FreshChip()"
        )


def over_writing(target: jax.Array, sigma: jax.Array, of: Callable[[jax.Array], jax.Array]) -> jax.Array:
    """Return the mean of ``of(g)`` over g = max(target + sigma xi, 0), the programming error, for arrays of one shape.

    Args:
      target: target conductances, S.
      sigma: standard deviation of the programming error, S.
      of: element-wise function of the conductance (S), whose result may have more leading axes.
    """
    # Flat, because sums over arrays of many axes crash XLA on CPUs (jaxlib 0.10.2, in its library YNNPACK).
    nodes, weights = (jnp.asarray(a, target.dtype)[None] for a in (_NODES, _NODE_WEIGHTS))
    values = of(jnp.maximum(target.reshape(-1, 1) + sigma.reshape(-1, 1) * nodes, 0.0))
    means = jnp.sum(values * to_rank(weights, values.ndim), axis=-1)
    return means.reshape(*means.shape[:-1], *target.shape)


def mean_decay(mean: jax.Array, std: Numeric, log_time: Numeric) -> jax.Array:
    """Return E[exp(-log_time |nu|)] for nu ~ N(mean, std^2); ``log_time`` is ln T, at least 0."""
    is_random = jnp.asarray(std) > 0  # the inner where keeps derivatives finite at std = 0
    s = jnp.where(is_random, std, 1.0)
    a = log_time
    grown = jnp.exp((a * s) ** 2 / 2)
    # Both signs of nu at once: the distribution function is the largest part of the program.
    signed = jnp.stack([mean, -mean])
    centre = signed / to_rank(s, signed.ndim) - to_rank(a * s, signed.ndim)
    folded = grown * jnp.sum(jnp.exp(-a * signed) * normal_distribution(centre), axis=0)
    return jnp.where(is_random, folded, jnp.exp(-a * jnp.abs(mean)))
