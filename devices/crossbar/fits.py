"""Shapes that published fits come in: polynomials, and linear interpolation between the times of a measurement."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp


def polynomial(coefficients: Sequence[Any], x: jax.Array) -> jax.Array:
    """sum_k c_k x^k, coefficients in ascending order, shape of ``x``."""
    value = jnp.zeros_like(x)
    for c in reversed(coefficients):
        value = value * x + c
    return value


def weights_between(at: jax.Array, knots: jax.Array) -> jax.Array:
    """What each knot contributes to a linear interpolation at one place, shape ``[n_knots]``; the sum is 1.

    Outside of the knots the nearest one counts alone. For interpolation in log time pass logarithms.
    """
    if knots.shape[0] == 1:
        return jnp.ones_like(knots)
    return jax.vmap(lambda one: jnp.interp(at, knots, one))(jnp.eye(knots.shape[0], dtype=knots.dtype))
