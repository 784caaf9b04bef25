"""DAC and ADC: where numbers become voltages and currents become numbers.

A uniform mid-tread converter with b bits and range r has 2^b - 1 codes, symmetric about zero:

    step = r / (2^(b-1) - 1)          output = step * round(clip(x, -r, r) / step)

Within the range the rounding error is uniform in [-step/2, step/2], so its standard deviation is step/sqrt(12). The
backward pass is straight-through: slope 1 inside the range and 0 outside; the range itself receives the slope of what
was clipped.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from analogsim.devices.description import Description, field
from analogsim.devices.digital import full_scale_code
from analogsim.devices.papers import cited
from analogsim.straight_through import straight_through

_RASCH = cited("rasch2023")


class DAC(Description):
    """Input converter: drives the rows with quantised, clipped inputs. Its range is the layer's input range.

    Codes become amplitudes, all in one step; ``analogsim.inputs`` has pulse widths and slices of bits.
    """

    bits: Any = field(default=8, ge=2, le=24, integer=True, doc="bits, sign included", source=_RASCH)

    @property
    def reads(self) -> int:
        """Steps of one product."""
        return 1

    @property
    def conversions(self) -> int:
        """Conversions of one line for one product."""
        return 1

    def squares(self, code: jax.Array) -> jax.Array:
        """Weights of the cells' variances, for codes in [-1, 1]."""
        return code**2

    def energy(self, code: jax.Array) -> jax.Array:
        """What a row spends, as a share of a read at full voltage."""
        return code**2

    def powers(self, code: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Weights of the cells' second- and third-order currents, which are odd functions of the voltage."""
        return code * jnp.abs(code), code**3


class ADC(Description):
    """Output converter: one conversion a column and tile.

    Its range is in units of one full-scale input on one full-scale weight, so a range of 10 is ten fully driven, fully
    conducting cells; a calibrated layer (``analogsim.calibrate``) uses its own measured range instead.
    """

    bits: Any = field(default=8, ge=2, le=24, integer=True, doc="bits, sign included", source=_RASCH)
    range: Any = field(default=10.0, gt=0, le=1e6, doc="full-scale output, in fully driven cells", source=_RASCH)
    noise: Any = field(
        default=None, ge=0, le=1e6, optional=True, doc="input-referred noise, in fully driven cells; None for none"
    )


def quantise(x: jax.Array, bits: Any, bound: Any) -> jax.Array:
    """Round to the converter's codes and clip to ``[-bound, bound]``; see the module for equation and gradient.

    Args:
      x: values of any shape, float32 or wider.
      bits: converter bits, sign included; may be traced.
      bound: the range, broadcastable to ``x``; positive.
    """
    levels = lax.stop_gradient(full_scale_code(bits, x.dtype))
    # Not jnp.clip, which halves the slope where x is just at the range: there it is still converted.
    inside = jnp.where(x > bound, bound, jnp.where(x < -bound, -bound, x))
    held, limit = lax.stop_gradient(inside), lax.stop_gradient(jnp.asarray(bound, x.dtype))
    codes = jnp.round(held / limit * levels)
    return straight_through(inside, codes / levels * limit)
