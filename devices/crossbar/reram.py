"""Resistive RAM: the programmed-and-verified cells of the NeuRRAM chip, which relax in the hours after programming.

With x = g / 40 uS, each cell has one permanent Gaussian deviate xi and deviates from its target by

    g(t) = max(g_T + sigma(x, t) xi, 0)         sigma(x, t) = sum_k c_k(t) x^k     (k = 0..4)

The coefficients were measured 1 s, 1 day and 2 days after programming. Between these times sigma is interpolated
linearly in log t; before 1 s the value at 1 s is used; after 2 days there are no data and reading is refused, unless
``extrapolate`` continues sigma at each conductance along its last decade, 4.8 hours to 2 days (``beyond``).

Source: W. Wan et al., Nature 608, 504 (2022), doi 10.1038/s41586-022-04992-8 (extended data, as polynomials).
Read-to-read fluctuation is not part of the published fit and is therefore not modelled.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from analogsim.base.description import Description, field
from analogsim.base.literature import Source, cited
from analogsim.base.random import normal, stream
from analogsim.base.types import Numeric
from analogsim.devices.crossbar.beyond import Extrapolates, continued, extrapolation
from analogsim.devices.crossbar.cell import non_negative
from analogsim.devices.crossbar.fits import polynomial
from analogsim.devices.protocol import Moments

_WAN = cited("wan2022", "rasch2021", note="polynomials as in aihwkit")
_REFERENCE_G_MAX = 40e-6  # S, where x = 1 in the published polynomial
_TIMES_S = (1.0, 86400.0, 172800.0)


class ReRAMState(NamedTuple):
    """Target conductance and permanent deviate of each cell."""

    target: jax.Array  #: S
    deviate: jax.Array  #: standard Gaussian, dimensionless


class ReRAM(Extrapolates, Description):
    """A filamentary HfOx cell with relaxation; see the module for the equation.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> cell = ReRAM()
      >>> state = cell.program(jax.random.key(0), jnp.full((4,), 20e-6))
      >>> cell.read(state, 1.0).mean.shape
      (4,)
    """

    g_max: Any = field(default=40e-6, unit="S", gt=0, le=40e-6, doc="largest programmed conductance", source=_WAN)
    g_min: Any = field(default=0.0, unit="S", ge=0, le=40e-6, doc="conductance of a weight of zero", source=_WAN)
    programming_noise: Any = field(default=1.0, ge=0, le=100, doc="multiplies the published sigma at every time")
    sigma_1s: Any = field(default=(0.348e-6, 16.030e-6, -43.853e-6, 45.393e-6, -16.815e-6),
        unit="S", ge=-1e-3, le=1e-3, doc="sigma 1 s after programming: coefficients of x^0..x^4", source=_WAN,
    )  # fmt: skip
    sigma_1day: Any = field(default=(0.701e-6, 22.086e-6, -50.773e-6, 47.095e-6, -16.458e-6),
        unit="S", ge=-1e-3, le=1e-3, doc="sigma after 1 day: the same", source=_WAN,
    )  # fmt: skip
    sigma_2days: Any = field(default=(0.782e-6, 20.274e-6, -43.507e-6, 37.062e-6, -11.934e-6),
        unit="S", ge=-1e-3, le=1e-3, doc="sigma after 2 days: the same", source=_WAN,
    )  # fmt: skip
    extrapolate: bool = extrapolation()

    measured_until_s = _TIMES_S[-1]
    largest = _REFERENCE_G_MAX

    def model_sources(self) -> tuple[Source, ...]:
        return (cited("wan2022"), *super().model_sources())

    def program(self, key: jax.Array, target: jax.Array) -> ReRAMState:
        """Program cells to ``target`` (S, any shape)."""
        return ReRAMState(target, normal(stream(key, "programming noise"), target.shape, target.dtype))

    def programming_error(self, target: jax.Array) -> jax.Array:
        """Return the standard deviation (S) of cells programmed to ``target`` (S), at time zero."""
        return self.programming_noise * self.conductance_std(target, 0.0)

    def read(self, state: ReRAMState, time_s: Numeric, key: jax.Array | None = None) -> Moments:
        """Return conductances (S) at ``time_s``; reads are noiseless in this model, so ``key`` is not used."""
        del key
        sigma = self.programming_noise * self.conductance_std(state.target, time_s)
        return Moments(jnp.maximum(state.target + sigma * state.deviate, 0.0))

    def conductance_std(self, target: jax.Array, time_s: Numeric) -> jax.Array:
        """Return sigma(g, t) (S) for targets (S, any shape), as published: ``programming_noise`` is not applied."""
        if not self.extrapolate:
            return self._measured(target, time_s)
        time = jnp.asarray(time_s, target.dtype)
        return continued(lambda t: self._measured(target, t), time, _TIMES_S[0], _TIMES_S[-1])

    def _measured(self, target: jax.Array, time_s: Numeric) -> jax.Array:
        """Return sigma at ``time_s``, constant after the last measured time."""
        x = target / _REFERENCE_G_MAX
        fits = (self.sigma_1s, self.sigma_1day, self.sigma_2days)
        measured = jnp.stack([jnp.maximum(polynomial(c, x), 0.0) for c in fits])
        log_times = jnp.log(jnp.asarray(_TIMES_S, target.dtype))
        log_t = jnp.clip(jnp.log(jnp.maximum(jnp.asarray(time_s, target.dtype), 1e-9)), log_times[0], log_times[-1])
        # Triangular weights: linear interpolation in log t, and still a smooth function of the coefficients.
        first = jnp.clip((log_times[1] - log_t) / (log_times[1] - log_times[0]), 0.0, 1.0)
        last = jnp.clip((log_t - log_times[1]) / (log_times[2] - log_times[1]), 0.0, 1.0)
        return first * measured[0] + (1 - first - last) * measured[1] + last * measured[2]

    def moments(self, target: jax.Array, time_s: Numeric, read_noise: bool = True) -> Moments:
        """Return mean (S) and variance (S^2) over cells programmed to ``target`` (S); reads add no variance."""
        del read_noise
        return non_negative(target, self.programming_noise * self.conductance_std(target, time_s))
