"""Noise of the cells at the columns: for one read, for all steps of a product, and for sampled cells.

If a code x is driven in steps, x = sum_s f_s x_s, cells fluctuate in one of two ways:

    new in every step        Var y = sum_s f_s^2 sum_i x_si^2 V_i        white noise
    same in all steps        Var y = sum_i x_i^2 V_i                     1/f noise: mostly slower than a product

Even slower noise, the same in all products of one reading, is part of the mean (``ProgrammedTiles.read``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.lax import PrecisionLike

from analogsim.base.random import normal, split, stream
from analogsim.base.types import Numeric
from analogsim.signal_path.driving import RowDrive

if TYPE_CHECKING:
    from jaxtyping import Array, Float

    Codes = Float[Array, "*batch rows"]
    Columns = Float[Array, "*batch C n_columns"]


TINY = 1e-20  # smallest variance: negligible, but keeps the gradient of sqrt finite if no row is driven


def lasting_noise(
    variance: Callable[[Codes], Columns],
    pieces: Float[Array, "steps *batch rows"],
    factors: Float[Array, " steps"],
    code: Codes,
    key: jax.Array,
) -> Float[Array, "steps *batch C n_columns"]:
    """Return the noise of every step ``[steps, ..., C, n_columns]``, for cells that stay the same during a product.

    The variance of each step, sum_i x_si^2 V_i, and that of the sum of all steps, sum_i x_i^2 V_i, are exact. One
    correlation approximates those of all pairs of steps; it is in [0, 1], because the digits of an input have one sign.

    Args:
      variance: function from the squared drive of the rows to the variance of the columns.
      pieces: drive of the rows in each step, ``[steps, ..., rows]``.
      factors: weight of each step, ``[steps]``.
      code: the weighted sum of the steps, ``[..., rows]``.
      key: random key.
    """
    variances = jnp.maximum(jax.vmap(lambda piece: variance(piece**2))(pieces), TINY)
    apart = jnp.tensordot(factors**2, variances, 1, precision="highest")
    # What full correlation would add.
    spare = jnp.tensordot(factors, jnp.sqrt(variances), 1, precision="highest") ** 2 - apart
    correlation = (variance(code**2) - apart) / jnp.where(spare > 0, spare, 1.0)
    # No derivative: those of the roots below are infinite at a correlation of 0 and 1.
    alike = lax.stop_gradient(jnp.clip(correlation, 0.0, 1.0))[None]
    common = normal(stream(key, "all steps"), apart.shape, apart.dtype)[None]
    separate = normal(stream(key, "single steps"), variances.shape, variances.dtype)
    return jnp.sqrt(variances) * (jnp.sqrt(alike) * common + jnp.sqrt(1 - alike) * separate)


def sampled(
    store: Any, time_s: Numeric, tiles: Any, drive: RowDrive, key: jax.Array, precision: PrecisionLike
) -> Columns:
    """Return the product with cells sampled for every read of an input vector: slow, with the exact distribution.

    Args:
      store: the weight store.
      time_s: seconds after programming.
      tiles: state, mean, variance and curvature of C tiles that share their rows.
      drive: drive of the rows by input vectors ``[..., rows]``.
      key: random key, folded with the index of the vector.
      precision: matmul precision.

    Returns:
      ADC inputs ``[..., C, n_columns]``.
    """
    # What multiplies the mean and the orders beyond it, [vectors, reads, orders, rows].
    reads = [jnp.stack([a.reshape(-1, a.shape[-1]) for a in orders], axis=1) for orders in drive.step_contributions]
    vectors = jnp.stack(reads, axis=1)
    base = jax.vmap(lambda s: store.read(s, time_s))(tiles.state)
    # A sampled read contains all fluctuations of a cell; the slow ones are already in the mean of this reading.
    spread = jnp.sqrt(tiles.variance / jnp.where(base.variance > 0, base.variance, 1.0))[:, None]
    usual, now = (_orders(a.mean, a.curvature) for a in (base, tiles))

    def one(numbered: tuple) -> jax.Array:
        index, x = numbered
        # The index counts vectors and the reads of one conversion: steps that pass the same key see the same cells.
        keys = split(jax.random.fold_in(key, index), tiles.mean.shape[0])
        reads = jax.vmap(lambda k, s: store.read(s, time_s, k))(keys, tiles.state)
        orders = now + spread * (_orders(reads.mean, reads.curvature) - usual)
        return jnp.einsum("oi,coij->cj", x, orders.astype(x.dtype), precision=precision)

    flat = vectors.reshape(-1, *vectors.shape[2:])
    # One read at a time, because each has its own sample of every cell.
    y = lax.map(one, (jnp.arange(len(flat)), flat))
    y = jnp.sum(y.reshape(*vectors.shape[:2], *y.shape[1:]), axis=1)
    return y.reshape(*drive.code.shape[:-1], *y.shape[1:])


def _orders(
    mean: Float[Array, "C rows n_columns"], curvature: Float[Array, "C 2 rows n_columns"] | None
) -> Float[Array, "C orders rows n_columns"]:
    """Return the matrices of all orders of the cell current, ``[C, orders, rows, n_columns]``."""
    first = mean[:, None]
    return first if curvature is None else jnp.concatenate([first, curvature], axis=1)
