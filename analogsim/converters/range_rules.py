"""How converter ranges behave in hardware-aware training: learned, tracked, or each example's own.

A layer's ranges are numbers in the model's collection ``ranges`` (``calibrate`` puts them there). With r an input
range, x the inputs, d the loss's gradient with respect to the clipped inputs,

    learned, "gradient"      dL/dr is the derivative of what the converter gives, its codes held: sign(x) d beyond the
                          range, and (q(x) - x)/r d inside, q being the staircase (Esser et al., ICLR 2020)
    learned, "published"  dL/dr = r [sum_{x >= r} min(d, 0) - sum_{x <= -r} max(d, 0)]
                                  + decay r [share of x within r > unclipped] - (1 - share of outputs within) r
                          (Rasch et al., Nat. Commun. 14, 5282 (2023)): clipped inputs only ever widen the range, it
                          decays while next to nothing is clipped, and clipped outputs widen it, too
    tracked               r <- m r + (1 - m) q, q a quantile of |x| in this batch
    dynamic               r is the largest |x| of every input vector or image, whatever was calibrated

Sources: M. J. Rasch et al., doi 10.1038/s41467-023-40770-4; S. K. Esser et al., "Learned step size quantization",
arXiv 1902.08153.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from analogsim.base.description import Description, field, static
from analogsim.base.literature import Source, cited
from analogsim.base.straight_through import clip

_RASCH = cited("rasch2023")


class LearnedRange(Description):
    """A range that takes part in training: differentiate with respect to the collection ``ranges``, too.

    Example:
      >>> from analogsim import preset
      >>> hardware = preset("pcm", input_range=LearnedRange(), output_range=LearnedRange(rule="gradient"))
      >>> hardware.input_range
      LearnedRange()
    """

    rule: str = static(
        default="published",
        choices=("published", "gradient"),
        doc="gradient of Rasch et al. (inputs only), or the slope of the converter with its codes held",
    )
    decay: Any = field(default=0.001, ge=0, le=1, doc="of the published rule: pull to a smaller range", source=_RASCH)
    unclipped: Any = field(
        default=0.95, ge=0, le=1, doc="of the published rule: no decay while less than this share passes", source=_RASCH
    )
    outputs: str = static(
        default="widen", choices=("widen", "ignore"), doc="of the published rule: what clipped outputs do"
    )

    def model_sources(self) -> tuple[Source, ...]:
        return (_RASCH,) if self.rule == "published" else (cited("esser2020"),)


class TrackedRange(Description):
    """A range that follows the values of training: pass ``mutable=["ranges"]`` (Linen), and keep what comes back."""

    quantile: float = static(default=0.9998, ge=0.5, le=1, doc="share of the absolute values that stays inside")
    momentum: Any = field(default=0.95, ge=0, lt=1, doc="share of the old range that every step keeps")


class DynamicRange(Description):
    """Every input vector (or image) has its own range, its largest value, even where one was calibrated."""


#: What ``Hardware.input_range`` and ``Hardware.output_range`` may be.
RangeRule = LearnedRange | TrackedRange | DynamicRange


@jax.custom_vjp
def published(rule: LearnedRange, x: jax.Array, bound: jax.Array) -> jax.Array:
    """``x`` within ``[-bound, bound]``; the range's gradient is the published rule, without the part of outputs."""
    del rule
    return clip(x, bound)


def _published_fwd(rule: LearnedRange, x: jax.Array, bound: jax.Array) -> tuple[jax.Array, tuple]:
    return clip(x, bound), (rule, x, bound)


def _published_bwd(held: tuple, d: jax.Array) -> tuple[Any, jax.Array, jax.Array]:
    rule, x, bound = held
    above, below = x >= bound, x <= -bound
    widen = jnp.sum(jnp.where(above, jnp.minimum(d, 0), 0)) - jnp.sum(jnp.where(below, jnp.maximum(d, 0), 0))
    inside = 1 - jnp.mean((above | below).astype(d.dtype))
    decay = jnp.where(inside > rule.unclipped, jnp.asarray(rule.decay, d.dtype), 0)
    slope = jnp.broadcast_to(bound * (widen + decay), bound.shape).astype(bound.dtype)
    # The edge itself passes, as in ``clip``: a value that is just converted is not clipped.
    passes = (x <= bound) & (x >= -bound)
    return jax.tree.map(jnp.zeros_like, rule), jnp.where(passes, d, 0), slope


published.defvjp(_published_fwd, _published_bwd)


@jax.custom_vjp
def widened_by_outputs(y: jax.Array, bound: jax.Array, full_scale: jax.Array, share: jax.Array) -> jax.Array:
    """``y``, the lines of tiles; the input range ``bound`` is widened by the ``share`` that these lines count."""
    del bound, full_scale, share
    return y


def _widened_fwd(y: jax.Array, bound: jax.Array, full_scale: jax.Array, share: jax.Array) -> tuple[jax.Array, tuple]:
    clipped = jnp.mean((jnp.abs(y) > full_scale).astype(y.dtype))
    return y, (clipped, bound, full_scale, share)


def _widened_bwd(held: tuple, d: jax.Array) -> tuple[jax.Array, ...]:
    clipped, bound, full_scale, share = held
    slope = (-clipped * share * bound).astype(bound.dtype)
    return d, jnp.broadcast_to(slope, bound.shape), jnp.zeros_like(full_scale), jnp.zeros_like(share)


widened_by_outputs.defvjp(_widened_fwd, _widened_bwd)


def with_gradient(y: jax.Array, converted: jax.Array, bound: jax.Array) -> jax.Array:
    """``converted``, with the slope that a converter has with respect to its range while its codes are held.

    Doubling y and the range doubles what comes out, so that d out/d r = (out - y d out/d y)/r, where d out/d y is 1
    inside of the range and 0 beyond it.
    """
    held, of = lax.stop_gradient((converted, y))
    limit = lax.stop_gradient(bound)
    slope = (held - jnp.where(jnp.abs(of) <= limit, of, 0)) / limit
    return converted + (bound - limit) * slope


def quantile_of(values: jax.Array, quantile: float) -> jax.Array:
    """A high quantile of absolute values, float32; found among the largest ones, without sorting all.

    The smallest of the values that ``1 - quantile`` of all, rounded down, exceed.
    """
    flat = jnp.abs(values).astype(jnp.float32).ravel()
    beyond = flat.size - math.ceil(quantile * flat.size - 1e-9)  # whole numbers stay whole
    return lax.top_k(flat, beyond + 1)[0][-1]
