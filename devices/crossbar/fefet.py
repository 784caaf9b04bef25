"""Ferroelectric transistor (Hf-Zr oxide) with 32 levels, each set by one gate pulse from the erased state.

The levels lie on the exponential curve of pulsed potentiation, G_P = g_lo + (g_hi - g_lo) y(P/(L - 1)),

    y(x) = (1 - e^(-x/a)) / (1 - e^(-1/a))        P = 0 .. L - 1

and a target is written as the nearest level plus the noise of that one pulse, clipped at the ends of the window:

    g = G_P + c (g_hi - g_lo) xi                  the erased state, P = 0, needs no pulse and has no noise

The window follows from the on-resistance and an on/off ratio of 45. Retention and read noise are not given: the
programmed conductance is used up to 1 s, and reading later is refused. Write disturb and device-to-device variation are
not given either.

Sources: M. Jerry et al., IEDM 2017, doi 10.1109/IEDM.2017.8268338, whose abstract gives 5 bits, a 45-fold range and
75 ns pulses. Recalled and still to be checked: one pulse of a separate amplitude per level; from the NeuroSim table
(P.-Y. Chen and S. Yu, IEEE Design & Test 2019) on-resistance 559 kohm, non-linearity label 1.75, noise below 0.5 %. The
curve and what its label means, max (y - x) = 0.07 sqrt(2) |label|: P.-Y. Chen, X. Peng, S. Yu, IEEE TCAD 37, 3067
(2018).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from analogsim.base.description import Description, field
from analogsim.base.literature import cited
from analogsim.base.random import normal, stream
from analogsim.base.types import Numeric
from analogsim.devices.protocol import Moments

_JERRY = cited("jerry2017", note="abstract")
_TABLE = cited("chenyu2019", note="benchmark table", recalled=True)
_WINDOW = cited("chenyu2019", "jerry2017", note="on-resistance 559 kohm; on/off 45", recalled=True)
_ON, _OFF = 1 / 559e3, 1 / (45 * 559e3)  # S


class FeFETState(NamedTuple):
    """Programmed conductance of each cell."""

    conductance: jax.Array  #: S


class FeFET(Description):
    """A ferroelectric transistor right after programming; see the module for the equations.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> cell = FeFET(noise=0.0)
      >>> state = cell.program(jax.random.key(0), jnp.linspace(cell.g_min, cell.g_max, 1000))
      >>> len(set(cell.read(state, 0.0).mean.tolist()))
      32
    """

    g_max: Any = field(default=_ON, unit="S", gt=0, le=1e-3, doc="largest programmed conductance", source=_WINDOW)
    g_min: Any = field(default=_OFF, unit="S", ge=0, le=1e-3, doc="conductance of a weight of zero", source=_WINDOW)
    window: Any = field(
        default=(_OFF, _ON), unit="S", ge=0, le=1e-3, doc="lowest and highest level of the cell", source=_WINDOW
    )
    levels: Any = field(default=32, ge=2, le=65536, integer=True, doc="L, the erased state included", source=_JERRY)
    curvature: Any = field(
        default=0.70208071, gt=0.01, le=1e4, doc="a of the curve; the default has the label 1.75", source=_TABLE
    )
    noise: Any = field(default=0.005, ge=0, le=1, doc="c, noise of one pulse, fraction of the window", source=_TABLE)
    programming_noise: Any = field(default=1.0, ge=0, le=100, doc="multiplies the noise of a pulse")

    time_limit_s = 1.0

    @property
    def largest(self) -> Numeric:
        """Largest conductance of the cell, S, whether or not the window in use reaches it."""
        return self.window[1]

    def check(self) -> None:
        low, high = self.window
        if all(isinstance(v, float) for v in (self.g_min, self.g_max, low, high)):
            if low >= high:
                self.refuse("window", "must begin with its smaller end (unit: S)")
            for name, value in (("g_min", self.g_min), ("g_max", self.g_max)):
                if not low <= value <= high:
                    self.refuse(name, f"must be within window = {self.window} (unit: S)")

    def nearest(self, target: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return number and conductance (S) of the level nearest to every target (S); shapes of ``target``."""
        low, high = self.window
        y = jnp.clip((target - low) / (high - low), 0.0, 1.0)
        span = -jnp.expm1(-1 / jnp.asarray(self.curvature, target.dtype))
        last = self.levels - 1
        # The inverse of the curve gives the level below; the nearer of it and the next one is taken in y.
        below = jnp.clip(jnp.floor(-self.curvature * last * jnp.log1p(-y * span)), 0, last - 1)
        places = [-jnp.expm1(-p / (self.curvature * last)) / span for p in (below, below + 1)]
        upper = y - places[0] > places[1] - y
        return below + upper.astype(below.dtype), low + (high - low) * jnp.where(upper, places[1], places[0])

    def program(self, key: jax.Array, target: jax.Array) -> FeFETState:
        """Program cells to ``target`` (S, any shape)."""
        number, level = self.nearest(target)
        xi = normal(stream(key, "programming noise"), target.shape, target.dtype)
        written = jnp.clip(level + self._sigma() * xi, *self.window)
        return FeFETState(jnp.where(number > 0, written, level))

    def programming_error(self, target: jax.Array) -> jax.Array:
        """Return the rms deviation (S) from ``target`` (S): rounding and noise, before clipping to the window."""
        number, level = self.nearest(target)
        return jnp.hypot(level - target, jnp.where(number > 0, self._sigma(), 0.0))

    def read(self, state: FeFETState, time_s: Numeric, key: jax.Array | None = None) -> Moments:
        """Return conductances (S); neither time nor reading changes them, so ``time_s`` and ``key`` are not used."""
        del time_s, key
        return Moments(state.conductance)

    def _sigma(self) -> jax.Array:
        return self.programming_noise * self.noise * (self.window[1] - self.window[0])
