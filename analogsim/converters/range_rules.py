"""Converter ranges in hardware-aware training: learned, tracked, or dynamic (per example).

A layer's ranges are variables in the model's collection ``ranges``, which ``calibrate`` sets. With r an input range, x
the inputs, d the loss's gradient with respect to the clipped inputs,

    learned, "gradient"   dL/dr is the derivative of the converter's output at fixed codes: sign(x) d beyond the range,
                          and (q(x) - x)/r d inside, q being the quantiser (Esser et al., ICLR 2020)
    learned, "published"  dL/dr = r [sum_{x >= r} min(d, 0) - sum_{x <= -r} max(d, 0)]
                               + decay r [fraction of x within r > unclipped] - (1 - fraction of outputs within) r
                          (Rasch et al., Nat. Commun. 14, 5282 (2023)): clipped inputs only widen the range, it
                          decays while almost nothing is clipped, and clipped outputs widen it, too
    tracked               r <- m r + (1 - m) q, q a quantile of |x| in this batch
    dynamic               r is the largest |x| of every input vector or image; calibration is ignored

Sources: M. J. Rasch et al., doi 10.1038/s41467-023-40770-4; S. K. Esser et al., "Learned step size quantization",
arXiv 1902.08153.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from analogsim.base.description import Description, field, static
from analogsim.base.dtypes import to_rank
from analogsim.base.literature import Source, cited
from analogsim.base.straight_through import clip

_RASCH = cited("rasch2023")


class LearnedRange(Description):
    """A trainable range: differentiate with respect to the collection ``ranges``, too.

    Example:
      >>> from analogsim import preset
      >>> hardware = preset("pcm", input_range=LearnedRange(), output_range=LearnedRange(rule="gradient"))
      >>> hardware.input_range
      LearnedRange()
    """

    rule: str = static(
        default="published",
        choices=("published", "gradient"),
        doc="gradient rule of Rasch et al. (inputs only), or the derivative of the converter at fixed codes",
    )
    decay: Any = field(
        default=0.001, ge=0, le=1, doc="of the published rule: decay towards a smaller range", source=_RASCH
    )
    unclipped: Any = field(
        default=0.95,
        ge=0,
        le=1,
        doc="of the published rule: no decay if a smaller fraction is unclipped",
        source=_RASCH,
    )
    outputs: str = static(
        default="widen", choices=("widen", "ignore"), doc="of the published rule: effect of clipped outputs"
    )

    def model_sources(self) -> tuple[Source, ...]:
        return (_RASCH,) if self.rule == "published" else (cited("esser2020"),)


class TrackedRange(Description):
    """A range that follows the values of training: pass ``mutable=["ranges"]`` (Linen) and keep the returned ranges.

    Example:
      >>> from analogsim import preset
      >>> preset("pcm", input_range=TrackedRange(momentum=0.9)).input_range
      TrackedRange(momentum=0.9)
    """

    quantile: float = static(default=0.9998, ge=0.5, le=1, doc="fraction of the absolute values inside the range")
    momentum: Any = field(default=0.95, ge=0, lt=1, doc="fraction of the old range that every step keeps")


class DynamicRange(Description):
    """A separate range for every input vector (or image), its largest absolute value, even if one was calibrated.

    Example:
      >>> from analogsim import preset
      >>> preset("pcm", input_range=DynamicRange()).input_range
      DynamicRange()
    """


#: Types of ``Hardware.input_range`` and ``Hardware.output_range``.
RangeRule = LearnedRange | TrackedRange | DynamicRange


@jax.custom_vjp
def published(rule: LearnedRange, x: jax.Array, bound: jax.Array) -> jax.Array:
    """Clip ``x`` to ``[-bound, bound]``; the range's gradient is the published rule, without the term of outputs.

    Args:
      rule: with decay and threshold.
      x: inputs, any shape.
      bound: the range, broadcastable to ``x``.
    """
    del rule
    return clip(x, bound)


def _published_fwd(rule: LearnedRange, x: jax.Array, bound: jax.Array) -> tuple[jax.Array, tuple]:
    return clip(x, bound), (rule, x, bound)


def _published_bwd(residuals: tuple, d: jax.Array) -> tuple[Any, jax.Array, jax.Array]:
    rule, x, bound = residuals
    # Both sums over the inputs beyond, above and below: with the sign of x, the two terms of the rule are the same.
    beyond = jnp.abs(x) >= bound
    widen = jnp.sum(jnp.where(beyond, jnp.minimum(jnp.sign(x) * d, 0), 0))
    inside = 1 - jnp.mean(beyond.astype(d.dtype))
    decay = jnp.where(inside > rule.unclipped, jnp.asarray(rule.decay, d.dtype), 0)
    gradient = jnp.broadcast_to(bound * (widen + decay), bound.shape).astype(bound.dtype)
    # The edge itself passes a gradient, as in ``clip``: a value equal to the range is not clipped.
    return jax.tree.map(jnp.zeros_like, rule), jnp.where(jnp.abs(x) <= bound, d, 0), gradient


published.defvjp(_published_fwd, _published_bwd)


@jax.custom_vjp
def widened_by_outputs(y: jax.Array, bound: jax.Array, full_scale: jax.Array, fraction: jax.Array) -> jax.Array:
    """Return ``y`` unchanged; in the backward pass, clipped ADC inputs widen the input range ``bound``.

    Args:
      y: ADC inputs of tiles, any shape.
      bound: the input range, which receives the gradient.
      full_scale: the ADC's range, in the units of ``y``.
      fraction: weight of these columns among all columns of the layer.
    """
    del bound, full_scale, fraction
    return y


def _widened_fwd(y: jax.Array, bound: jax.Array, full_scale: jax.Array, fraction: jax.Array) -> tuple[jax.Array, tuple]:
    clipped = jnp.mean((jnp.abs(y) > to_rank(full_scale, y.ndim)).astype(y.dtype))
    return y, (clipped, bound, full_scale, fraction)


def _widened_bwd(residuals: tuple, d: jax.Array) -> tuple[jax.Array, ...]:
    clipped, bound, full_scale, fraction = residuals
    gradient = (-clipped * fraction * bound).astype(bound.dtype)
    return d, jnp.broadcast_to(gradient, bound.shape), jnp.zeros_like(full_scale), jnp.zeros_like(fraction)


widened_by_outputs.defvjp(_widened_fwd, _widened_bwd)


def with_gradient(y: jax.Array, converted: jax.Array, bound: jax.Array) -> jax.Array:
    """Return ``converted`` with the derivative of a converter with respect to its range at fixed codes.

    Doubling y and the range doubles the output, so that d out/d r = (out - y d out/d y)/r, where d out/d y is 1 inside
    the range and 0 beyond it.

    Args:
      y: ADC inputs, any shape.
      converted: their converted values, same shape.
      bound: the range, broadcastable to ``y``.
    """
    output, value = lax.stop_gradient((converted, y))
    bound = to_rank(bound, y.ndim)
    limit = lax.stop_gradient(bound)
    derivative = (output - jnp.where(jnp.abs(value) <= limit, value, 0)) / limit
    return converted + (bound - limit) * derivative


def quantile_of(values: jax.Array, quantile: float) -> jax.Array:
    """Return a high quantile of absolute values, float32 ``[]``: the smallest that at most 1 - quantile of all exceed.

    Selecting among the largest values is faster than sorting all.
    """
    flat = jnp.abs(values).astype(jnp.float32).ravel()
    beyond = flat.size - math.ceil(quantile * flat.size - 1e-9)  # exact integers are not rounded up
    return lax.top_k(flat, beyond + 1)[0][-1]
