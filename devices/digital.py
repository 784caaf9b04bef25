"""Digital memory as a weight store: exact, or rounded to a number of bits.

With b bits, weights normalised to [-1, 1] are rounded to the nearest of 2^b - 1 levels k/(2^(b-1) - 1), symmetric
about zero, so that zero is exact. The memory holds them indefinitely and reads them without noise.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike

from analogsim.base.description import Description, field
from analogsim.base.dtypes import wide
from analogsim.base.types import Numeric, PyTree
from analogsim.devices.protocol import Action, ColumnMap, Moments, OneColumnPerOutput


def full_scale_code(bits: Numeric, dtype: DTypeLike) -> jax.Array:
    """Return 2^(bits-1) - 1, the largest code of a symmetric grid, exactly.

    Also exact for traced ``bits``: ``ldexp`` builds the power of two from the exponent, ``jnp.exp2`` rounds.
    """
    if isinstance(bits, (int, float)):
        return jnp.asarray(2.0 ** (bits - 1) - 1, dtype)
    return jnp.ldexp(jnp.ones((), dtype), jnp.asarray(bits).astype(jnp.int32) - 1) - 1


class DigitalMemory(OneColumnPerOutput, Description):
    """Weights in SRAM. ``bits=None`` stores them exactly, as the ideal reference.

    Example:
      >>> import jax.numpy as jnp
      >>> store = DigitalMemory(bits=3)
      >>> store.read(store.program(None, jnp.array([[0.4, -1.0]])), 0.0).mean.round(4).tolist()
      [[0.33329999446868896, -1.0]]
    """

    bits: Any = field(
        default=None, ge=2, le=24, integer=True, optional=True, doc="bits per weight, sign included; None is exact"
    )

    draws_at_program = draws_at_read = False

    def program(self, key: jax.Array | None, weights: jax.Array, reprogram: Any = None) -> jax.Array:
        """Round and store weights ``[n_in, n_out]``; nothing is random, so the key may be None."""
        del key, reprogram
        weights = wide(weights)
        if self.bits is None:
            return weights
        levels = full_scale_code(self.bits, weights.dtype)
        # Straight-through estimator: rounding has derivative 1, so a scale that the weights were divided by receives
        # the derivatives of clipping and of the rounding steps.
        return jnp.round(weights * levels) / levels + (weights - lax.stop_gradient(weights))

    def read(self, state: jax.Array, time_s: Numeric, key: jax.Array | None = None) -> Moments:
        """Return the stored weights; they do not depend on time."""
        del time_s, key
        return Moments(state)

    def ideal_columns(self, weights: jax.Array) -> jax.Array:
        """Return the rounded weights."""
        return self.program(None, weights)

    def column_map(self, n_out: int) -> ColumnMap:
        """Return a map with one slice, whose step is one level of a weight."""
        is_known = self.bits is not None and not isinstance(self.bits, jax.core.Tracer)
        step = np.array([1 / (2 ** (int(self.bits) - 1) - 1)]) if is_known else None
        return super().column_map(n_out)._replace(step=step)

    def noise(self, x: jax.Array, y: jax.Array, state: PyTree) -> None:
        """Return None: digital arithmetic adds no noise."""
        return None

    def cost(self, weights: jax.Array, read_fraction: Numeric) -> tuple[Action, ...]:
        """Return one multiply-accumulate per weight, and one fetch of every weight from SRAM per input vector."""
        del read_fraction
        word_bytes = 4.0 if self.bits is None else self.bits / 8
        return (Action("mac", weights.size, "MAC"), Action("weight fetch", weights.size * word_bytes, "B"))

    def n_cells(self, n_in: int, n_out: int) -> int:
        """Return the number of memory words."""
        return n_in * n_out
