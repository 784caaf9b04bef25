"""The straight-through estimator: one value forward, the gradient of another backward.

A quantiser has no useful derivative, and a programmed cell has none with respect to the weight it was written from.
Training therefore uses the actual output of the hardware in the forward pass and the derivative of the intended output
in the backward pass (Y. Bengio et al., arXiv 1308.3432 (2013)).
"""

import jax
import jax.numpy as jnp
from jax import lax

from analogsim.base.dtypes import to_rank
from analogsim.base.types import Numeric

#: Scale of an array of zeros. Converter noise times this scale is 12 orders of magnitude below one full-scale cell,
#: invisible in float32, while gradients survive multiplication by it and division by it: even two such scales in
#: sequence, 2^-80, keep a gradient of 1 far above the smallest normal float32, 2^-126.
LEAST_SCALE = 2.0**-40
_SUBNORMAL = 2.0**-126  # smaller float32 numbers may be flushed to zero


# Not intended + stop_gradient(actual - intended): that sum is rounded, and no longer exactly a code or a stored weight.
# A custom_jvp rather than a custom_vjp, which forward-mode differentiation refuses.
@jax.custom_jvp
def straight_through(intended: jax.Array, actual: jax.Array) -> jax.Array:
    """Return ``actual``, with the derivative of ``intended`` added to that of ``actual``.

    Args:
      intended, actual: arrays of one shape and dtype.

    Example:
      >>> jax.grad(lambda x: straight_through(x, jnp.round(x)))(0.7).item()
      1.0
    """
    del intended
    return actual


@straight_through.defjvp
def _jvp(primals, tangents):
    return primals[1], tangents[0] + tangents[1]


def clip(x: jax.Array, bound: Numeric) -> jax.Array:
    """Clip ``x`` to ``[-bound, bound]``; the derivative at the bound is 1, as ``x`` is still converted there.

    Args:
      x: any shape; NaN stays NaN.
      bound: not negative, broadcastable to ``x``.
    """
    x = jnp.asarray(x)
    return _clip(x, jnp.broadcast_to(to_rank(jnp.asarray(bound, x.dtype), x.ndim), x.shape))


# Not jnp.clip, whose derivative at the bound is 1/2. One rule, because the derivatives of two selections are four.
@jax.custom_jvp
def _clip(x: jax.Array, bound: jax.Array) -> jax.Array:
    return lax.clamp(lax.neg(bound), x, bound)


@_clip.defjvp
def _clip_jvp(primals, tangents):
    x, bound = primals
    # NaN fails the comparison, and its derivative is that of the bound, which is NaN too.
    inside = lax.le(lax.abs(x), bound)
    return _clip(x, bound), lax.select(inside, tangents[0], lax.mul(lax.sign(x), tangents[1]))


def scale_of(largest: jax.Array) -> jax.Array:
    """Return the digital scale of values whose largest magnitude is ``largest``, so that values / scale is at most 1.

    Outputs, noise included, are multiplied by the scale again. The scale of zeros must therefore be nearly 0, the limit
    for small values, and not 1. It must not be 0 itself, because no gradient would then reach the values: zeros (a new
    head, LoRA's second factor, a silent input) must be able to learn. NaN stays NaN.
    """
    return jnp.where(largest < _SUBNORMAL, jnp.asarray(LEAST_SCALE, largest.dtype), largest)
