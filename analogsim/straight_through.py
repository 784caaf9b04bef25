"""The straight-through estimator: one value forward, the gradient of another backward.

A converter's staircase has no useful derivative and a programmed cell has none with respect to the weight it was
written from. Training therefore uses the value of what the hardware does and the slope of what it was meant to do
(Y. Bengio et al., arXiv 1308.3432 (2013)).
"""

from typing import Any

import jax
import jax.numpy as jnp


@jax.custom_jvp
def straight_through(intended: jax.Array, actual: jax.Array) -> jax.Array:
    """``actual``, with the derivative of ``intended`` added to its own; the two have one shape and dtype."""
    del intended
    return actual


@straight_through.defjvp
def _slopes(primals, tangents):
    return primals[1], tangents[0] + tangents[1]


def clip(x: jax.Array, bound: Any) -> jax.Array:
    """``x`` within ``[-bound, bound]``. Not jnp.clip, which halves the slope at the range: there x is converted."""
    return jnp.where(x > bound, bound, jnp.where(x < -bound, -bound, x))
