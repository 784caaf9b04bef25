"""Functional forms of published fits: polynomials, and linear interpolation between measured times."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp


def polynomial(coefficients: Sequence[Any], x: jax.Array) -> jax.Array:
    """Return sum_k c_k x^k for coefficients in ascending order, shape of ``x``."""
    value = jnp.zeros_like(x)
    for c in reversed(coefficients):
        value = value * x + c
    return value


def weights_between(at: jax.Array, knots: jax.Array) -> jax.Array:
    """Return the weight of each knot in a linear interpolation at one place, ``[n_knots]``; the weights sum to 1.

    Outside of the knots the nearest one has weight 1. For interpolation in log time pass logarithms.

    Args:
      at: place, one number.
      knots: ascending places, ``[n_knots]``.
    """
    if knots.shape[0] == 1:
        return jnp.ones_like(knots)
    return jax.vmap(lambda one: jnp.interp(at, knots, one))(jnp.eye(knots.shape[0], dtype=knots.dtype))
