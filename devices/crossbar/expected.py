"""What a line is expected to carry before the chip exists: mean and variance over fabrication, writing and reading.

A cell that knows the first two moments of its conductance in closed form (``moments``) gives those of a line as a
function of the weight alone. They are tabulated at 257 weights and interpolated linearly between: one lookup a weight,
in the place of several random numbers a cell. Where drift lets the conductance g decay as g T^-|nu| with a Gaussian nu,

    E[T^-|nu|] = e^(a^2 s^2/2 - a m) Phi(m/s - a s) + e^(a^2 s^2/2 + a m) Phi(-m/s - a s)       a = ln T

and the average over the error of writing is a trapezoidal sum over 37 points within 4.5 sigma. The table's own error is
that of the interpolation; tests hold it to 2 % of the standard deviation, against sampled cells.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm

from analogsim.base.errors import InputError

_POINTS = 257
_NODES = np.linspace(-4.5, 4.5, 37)
_SHARES = np.exp(-(_NODES**2) / 2) / np.exp(-(_NODES**2) / 2).sum()


class Expected(NamedTuple):
    """Of every weight ``[..., rows, columns]``, in units of a fully driven cell.

    Attributes:
      mean, variance: of what its line carries in one read, over chips and reads.
      before, now: mean magnitude of the line over chips right after writing and at the time asked for, which drift
        compensation by the mean absolute readout compares.
      written: mean of the line right after writing, which the projection compares with ``mean``.
    """

    mean: jax.Array
    variance: jax.Array
    before: jax.Array
    now: jax.Array
    written: jax.Array


def expected(store: Any, weights: jax.Array, time_s: Any, read_noise: bool = True) -> Expected:
    """The moments of an array's lines for normalised weights in [-1, 1].

    Args:
      store: a crossbar whose weights have one line each and are not cut into slices.
      weights: ``[..., rows, columns]``.
      time_s: seconds after programming.
      read_noise: whether the noise of the read counts.

    Raises:
      InputError: for a store without such a closed form.
    """
    _check(store)
    grid = jnp.linspace(-1.0, 1.0, _POINTS, dtype=weights.dtype)
    before, now = (_line(store, grid, t, False) for t in (0.0, time_s))
    mean, variance = _line(store, grid, time_s, read_noise)
    magnitude = [_between(_magnitude(*line)) for line in (before, now)]
    written = before[0]
    lines = [mean[:-1], jnp.diff(mean), variance[:-1], jnp.diff(variance), *magnitude, written[:-1], jnp.diff(written)]
    table = jnp.stack(lines, axis=-1)
    place = (weights + 1) * ((_POINTS - 1) / 2)
    index = jnp.clip(place.astype(jnp.int32), 0, _POINTS - 2)
    interpolated = jnp.take(table, index, axis=0, mode="clip")
    beyond = place - index
    return Expected(
        mean=interpolated[..., 0] + beyond * interpolated[..., 1],
        variance=interpolated[..., 2] + beyond * interpolated[..., 3],
        before=interpolated[..., 4],
        now=interpolated[..., 5],
        written=interpolated[..., 6] + beyond * interpolated[..., 7],
    )


def _line(store: Any, grid: jax.Array, time_s: Any, read_noise: bool) -> tuple[jax.Array, jax.Array]:
    """Moments of one line at the weights of the grid."""
    cell, mapping = store.cell, store.mapping
    targets = mapping.conductances(grid[:, None], cell.g_min, cell.g_max)
    line = mapping.lines(cell.moments(targets, time_s, read_noise), cell.g_min, cell.g_max)
    return line.mean[:, 0], line.variance[:, 0]


def _magnitude(mean: jax.Array, variance: jax.Array) -> jax.Array:
    """E|N(mean, variance)|."""
    spread = jnp.sqrt(jnp.maximum(variance, 1e-20))
    a = mean / spread
    return mean * (1 - 2 * norm.cdf(-a)) + 2 * spread * norm.pdf(a)


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
                f"Crossbar.{field}: must be None where only the mean and variance of a line are used; train on "
                f"FreshChip(), which samples every cell"
            )
    if getattr(store.mapping, "slices", None) is not None or store.mapping.n_columns(1) != 1 or store.needs_drive:
        raise InputError(
            f"Crossbar.mapping = {store.mapping!r}: must hold a weight on one line of its own, not in slices, where "
            f"only the mean and variance of a line are used; train on FreshChip()"
        )


def over_writing(target: jax.Array, sigma: jax.Array, of: Callable[[jax.Array], jax.Array]) -> jax.Array:
    """Mean of ``of(g)`` over g = max(target + sigma xi, 0), for arrays of one shape."""
    reached = jnp.maximum(target[..., None] + sigma[..., None] * jnp.asarray(_NODES, target.dtype), 0.0)
    return jnp.sum(of(reached) * jnp.asarray(_SHARES, target.dtype), axis=-1)


def mean_decay(mean: Any, spread: Any, log_time: Any) -> jax.Array:
    """E[exp(-log_time |nu|)] for nu ~ N(mean, spread^2); ``log_time`` is ln T, at least 0."""
    known = jnp.asarray(spread) > 0
    s = jnp.where(known, spread, 1.0)
    a = log_time
    grown = jnp.exp((a * s) ** 2 / 2)
    folded = grown * (jnp.exp(-a * mean) * norm.cdf(mean / s - a * s) + jnp.exp(a * mean) * norm.cdf(-mean / s - a * s))
    return jnp.where(known, folded, jnp.exp(-a * jnp.abs(mean)))
