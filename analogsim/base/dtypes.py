"""Dtypes and ranks: physics is computed in real or complex single precision or wider.

Conductances, phases and photon numbers are not integers: integers and Booleans are promoted to float32, as in Flax's
layers, and half-precision values are converted to float32 when they are written into cells.

Every conversion and every added axis is written out, so that the library also runs under JAX's strict settings
``jax_numpy_dtype_promotion="strict"`` and ``jax_numpy_rank_promotion="raise"``.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax


def promoted(*values: Any) -> Any:
    """Return the dtype to which arrays or dtypes are promoted in JAX's standard mode.

    ``jnp.promote_types`` raises for different dtypes if the user has made promotion strict.

    Example:
      >>> str(promoted(jnp.int32, jnp.bfloat16))
      'bfloat16'
    """
    with jax.numpy_dtype_promotion("standard"):
        return jnp.result_type(*values)


def to_rank(values: Any, rank: int) -> Any:
    """Add leading axes of size 1 up to ``rank``; scalars and arrays of this rank or a higher one stay unchanged.

    Example:
      >>> to_rank(jnp.ones(3), 4).shape, to_rank(2.0, 4)
      ((1, 1, 1, 3), 2.0)
    """
    return lax.broadcast_to_rank(values, rank) if 0 < jnp.ndim(values) < rank else values


def wide(values: Any) -> jax.Array:
    """Convert to ``promote_types(dtype, float32)``, the dtype of values written into cells.

    Example:
      >>> str(wide(jnp.array([True])).dtype), str(wide(jnp.ones(2, jnp.bfloat16)).dtype)
      ('float32', 'float32')
    """
    values = jnp.asarray(values)
    return values.astype(promoted(values.dtype, jnp.float32))


def to_complex(values: Any) -> jax.Array:
    """Convert real numbers to complex ones of the same precision, at least single; keep complex ones.

    Example:
      >>> str(to_complex(jnp.ones(2, jnp.bfloat16)).dtype)
      'complex64'
    """
    values = jnp.asarray(values)
    return values.astype(promoted(values, 1j))


def inexact(values: Any) -> jax.Array:
    """Convert integers and Booleans to float32 and keep other dtypes, as for factors of a product.

    Example:
      >>> str(inexact(jnp.array([1, 2])).dtype), str(inexact(jnp.ones(2, jnp.bfloat16)).dtype)
      ('float32', 'bfloat16')
    """
    values = jnp.asarray(values)
    return values if jnp.issubdtype(values.dtype, jnp.inexact) else wide(values)
