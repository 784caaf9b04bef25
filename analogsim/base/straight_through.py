"""The straight-through estimator: one value forward, the gradient of another backward.

A converter's staircase has no useful derivative and a programmed cell has none with respect to the weight it was
written from. Training therefore uses the value of what the hardware does and the slope of what it was meant to do
(Y. Bengio et al., arXiv 1308.3432 (2013)).
"""

from typing import Any

import jax
import jax.numpy as jnp

#: Scale of what holds zeros alone. Noise of a converter times it is 12 orders below one full-scale cell, invisible in
#: float32, while slopes survive being multiplied with it and divided by it again: even two such scales one after the
#: other, 2^-80, leave a slope of 1 far above the least float32, 2^-126.
LEAST_SCALE = 2.0**-40
_SUBNORMAL = 2.0**-126  # below it a float32 may be flushed to zero


@jax.custom_jvp
def straight_through(intended: jax.Array, actual: jax.Array) -> jax.Array:
    """``actual``, with the derivative of ``intended`` added to its own; the two have one shape and dtype."""
    del intended
    return actual


@straight_through.defjvp
def _jvp(primals, tangents):
    return primals[1], tangents[0] + tangents[1]


def clip(x: jax.Array, bound: Any) -> jax.Array:
    """``x`` within ``[-bound, bound]``. Not jnp.clip, which halves the slope at the range: there x is converted."""
    return jnp.where(x > bound, bound, jnp.where(x < -bound, -bound, x))


def scale_of(largest: jax.Array) -> jax.Array:
    """The digital scale of values of which ``largest`` is the largest magnitude: values / scale are at most 1.

    Outputs are multiplied with it again, noise included, so that the scale of nothing must be the limit of the scale of
    next to nothing: not 1, as for a full value, but nearly 0. Not 0 itself, through which no slope would reach the
    values: zeros (a new head, LoRA's second factor, an input that is silent) must be able to learn. NaN stays NaN.
    """
    return jnp.where(largest < _SUBNORMAL, jnp.asarray(LEAST_SCALE, largest.dtype), largest)
