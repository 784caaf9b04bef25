"""NOR flash (55 nm, split gate) as an analog memory: every cell tuned to within 1 % of its target current.

A cell is read, corrected and accepted once it is within the tolerance e; where within it a cell stops is not known:

    g = g_T (1 + e u)                                u uniform in [-1, 1], drawn once per cell; rms e g_T / sqrt(3)
    g(T) = g (1 + D (T - 25 C)/60 K)                 25 C to 85 C, the same factor for all cells

D was measured at the output of a gate-coupled, differential multiplier, whose currents are relative to those of
reference cells at the same temperature: less than 3 % from one end to the other. Its sign and its linearity in between
are assumed. A cell without this compensation changes by far more, as every transistor below threshold does.

The window spans three decades, as measured (almost three) on the 180 nm version; the papers' abstracts give no siemens.
The default of 10 nS to 10 uS, 1 uA at 0.1 V, is assumed; as the errors are proportional it sets currents, not accuracy.
Retention and read noise are not given as numbers: the programmed conductance is used up to 1 s, and reading later is
refused. The multiplier's whole error, about 2 %, includes cell noise, mismatch and crosstalk, which are not modelled.

Sources: X. Guo et al., arXiv 1611.03379 (2016); F. Merrikh Bayat et al., arXiv 1410.4781 (2014), 180 nm; abstracts.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from analogsim.base.description import Description, field
from analogsim.base.literature import cited
from analogsim.base.random import stream
from analogsim.base.types import Numeric
from analogsim.devices.protocol import Moments

_GUO = cited("guo2016", note="abstract")
_WINDOW = cited("merrikh2014", note="three decades: abstract; 1 uA at 0.1 V is assumed", recalled=True)
_COLD_K, _HOT_K = 298.15, 358.15  # 25 C and 85 C, between which the temperature drift was measured


class FlashState(NamedTuple):
    """Programmed conductance of each cell."""

    conductance: jax.Array  #: at 25 C, S


class NORFlash(Description):
    """A floating-gate transistor below threshold; see the module for the equations.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> cell = NORFlash()
      >>> state = cell.program(jax.random.key(0), jnp.full((1000,), 5e-6))
      >>> bool(jnp.max(jnp.abs(state.conductance - 5e-6)) < 0.05001e-6)
      True
      >>> hot = cell.replace(temperature=358.15).read(state, 0.0)
      >>> round(float(hot.mean[0] / state.conductance[0]), 4)
      1.03
    """

    g_max: Any = field(default=10e-6, unit="S", gt=0, le=1e-3, doc="largest programmed conductance", source=_WINDOW)
    g_min: Any = field(default=10e-9, unit="S", gt=0, le=1e-3, doc="conductance of a weight of zero", source=_WINDOW)
    tolerance: Any = field(default=0.01, ge=0, le=0.5, doc="e, relative tolerance of tuning", source=_GUO)
    programming_noise: Any = field(default=1.0, ge=0, le=100, doc="multiplies the error that tuning leaves")
    temperature: Any = field(
        default=_COLD_K, unit="K", ge=_COLD_K, le=_HOT_K, doc="temperature of reads; tuned at 25 C", source=_GUO
    )
    temperature_drift: Any = field(
        default=0.03,
        ge=-0.5,
        le=0.5,
        doc="D, relative change of all currents at 85 C, an upper bound",
        counts="away from 25 C",
        source=_GUO,
    )

    time_limit_s = 1.0

    def program(self, key: jax.Array, target: jax.Array) -> FlashState:
        """Program cells to ``target`` (S, any shape)."""
        u = jax.random.uniform(stream(key, "tuning"), target.shape, target.dtype, -1.0, 1.0)
        return FlashState(target * jnp.maximum(1 + self.programming_noise * self.tolerance * u, 0.0))

    def programming_error(self, target: jax.Array) -> jax.Array:
        """Return the rms deviation (S) from ``target`` (S) right after programming, at 25 C."""
        return self.programming_noise * self.tolerance / math.sqrt(3) * target

    def read(self, state: FlashState, time_s: Numeric, key: jax.Array | None = None) -> Moments:
        """Return conductances (S) at ``temperature``; time and reading do not change them in this model."""
        del time_s, key
        warmth = (self.temperature - _COLD_K) / (_HOT_K - _COLD_K)
        return Moments(state.conductance * (1 + self.temperature_drift * warmth))
