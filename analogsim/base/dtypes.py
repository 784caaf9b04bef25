"""Types of numbers: physics is computed with real or complex ones of single precision, or what is wider.

Conductances, phases and photons are no whole numbers: what is computed from integers or truth values is float32, as
Flax's layers promote them, and halves are carried in float32 where they are written.
"""

from typing import Any

import jax
import jax.numpy as jnp


def wide(values: Any) -> jax.Array:
    """An array in ``promote_types(dtype, float32)``: what is written into cells.

    Example:
      >>> str(wide(jnp.array([True])).dtype), str(wide(jnp.ones(2, jnp.bfloat16)).dtype)
      ('float32', 'float32')
    """
    values = jnp.asarray(values)
    return values.astype(jnp.promote_types(values.dtype, jnp.float32))


def inexact(values: Any) -> jax.Array:
    """An array in its own type, whole numbers and truth values in float32: what is multiplied with.

    Example:
      >>> str(inexact(jnp.array([1, 2])).dtype), str(inexact(jnp.ones(2, jnp.bfloat16)).dtype)
      ('float32', 'bfloat16')
    """
    values = jnp.asarray(values)
    return values if jnp.issubdtype(values.dtype, jnp.inexact) else wide(values)
