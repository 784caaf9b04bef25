"""Dtypes: physics is computed in real or complex single precision or wider.

Conductances, phases and photon numbers are not integers: integers and Booleans are promoted to float32, as in Flax's
layers, and half-precision values are converted to float32 when they are written into cells.
"""

from typing import Any

import jax
import jax.numpy as jnp


def wide(values: Any) -> jax.Array:
    """Convert to ``promote_types(dtype, float32)``, the dtype of values written into cells.

    Example:
      >>> str(wide(jnp.array([True])).dtype), str(wide(jnp.ones(2, jnp.bfloat16)).dtype)
      ('float32', 'float32')
    """
    values = jnp.asarray(values)
    return values.astype(jnp.promote_types(values.dtype, jnp.float32))


def inexact(values: Any) -> jax.Array:
    """Convert integers and Booleans to float32 and keep other dtypes, as for factors of a product.

    Example:
      >>> str(inexact(jnp.array([1, 2])).dtype), str(inexact(jnp.ones(2, jnp.bfloat16)).dtype)
      ('float32', 'bfloat16')
    """
    values = jnp.asarray(values)
    return values if jnp.issubdtype(values.dtype, jnp.inexact) else wide(values)
