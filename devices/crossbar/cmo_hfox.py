"""Resistive RAM of conductive metal oxide on HfOx (IBM Research Zurich): programmed and verified, with 1/f read noise.

Conductances in uS, times in seconds after programming. Each cell has one permanent Gaussian deviate xi':

    programming   g_P = max(g_T + (c0 + c1 g_T) xi, 0)                  acceptance range of 0.2 % or 2 % of the target
    relaxation    g(t) = max(g_P + m ln t + (s0 + s1 ln t) xi', 0)      t >= 1 s, the same for every conductance
    read noise    sigma_R = K log10(g) sqrt(ln((t + t_read)/(2 t_read)))

Before 1 s, and at time zero, the relaxation of 1 s is used, because there are no earlier data. The noise is zero if its
logarithms are not positive (g <= 1 uS, t <= t_read). A cell may relax out of its window; only zero bounds it. Reading
after 10 years is refused, unless ``extrapolate`` continues the three laws unchanged.

Sources: D. F. Falcone et al., arXiv 2502.04524 (2025), which evaluates the relaxation up to 10 years; read noise:
D. Lombardo et al., Device Research Conference 2024. The fits' constants are those published in aihwkit, whose code
gives the window as 9-88.2 uS (its documentation: 8-90 uS).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from analogsim.base.description import Description, field, static
from analogsim.base.literature import Source, cited
from analogsim.base.random import normal, stream
from analogsim.base.types import Numeric
from analogsim.devices.crossbar.beyond import Extrapolates, extrapolation
from analogsim.devices.crossbar.cell import non_negative
from analogsim.devices.crossbar.one_over_f import logarithm, reading_time, slow_fraction
from analogsim.devices.protocol import Moments

_FALCONE = cited("falcone2025", "rasch2021", note="fit as in aihwkit")
_LOMBARDO = cited("lombardo2024", "rasch2021", note="fit as in aihwkit")
_UNIT = 1e-6  # S, the fits' unit of conductance


class CMOState(NamedTuple):
    """Programmed conductance of each cell, and the deviate of its relaxation."""

    conductance: jax.Array  #: reached when programming ends, S
    deviate: jax.Array  #: deviate xi' of the relaxation, standard Gaussian, dimensionless


class CMOReRAM(Extrapolates, Description):
    """A filamentary CMO/HfOx cell with relaxation; see the module for the equations.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> cell = CMOReRAM(acceptance=0.002)
      >>> state = cell.program(jax.random.key(0), jnp.full((1000,), 50e-6))
      >>> bool(jnp.std(state.conductance) < 0.1e-6)
      True
    """

    g_max: Any = field(
        default=88.2e-6, unit="S", gt=0, le=88.2e-6, doc="largest programmed conductance", source=_FALCONE
    )
    g_min: Any = field(default=9e-6, unit="S", ge=9e-6, le=88.2e-6, doc="conductance of a zero weight", source=_FALCONE)
    acceptance: float = static(
        default=0.02, choices=(0.002, 0.02), doc="relative acceptance range of a cell about its target", source=_FALCONE
    )
    programming_noise: Any = field(default=1.0, ge=0, le=100, doc="multiplies the published programming error")
    programming_sigma_2pc: Any = field(default=(0.0112185391e-6, 0.01129027418),
        ge=-1, le=1, doc="programming sigma: constant (S), fraction of the target", counts="with acceptance = 0.02",
        source=_FALCONE,
    )  # fmt: skip
    programming_sigma_02pc: Any = field(default=(0.00081107e-6, 0.00106879),
        ge=-1, le=1, doc="programming sigma: constant (S), fraction of the target", counts="with acceptance = 0.002",
        source=_FALCONE,
    )  # fmt: skip
    relaxation: Any = field(default=1.0, ge=0, le=100, doc="multiplies the relaxation's mean and sigma; 0 stops it")
    relaxation_mean: Any = field(
        default=-0.08900206e-6, unit="S", ge=-1e-3, le=1e-3, doc="m, mean shift per ln t", source=_FALCONE
    )
    relaxation_sigma: Any = field(default=(0.41183342e-6, 0.04201137e-6),
        unit="S", ge=-1e-3, le=1e-3, doc="s0, s1, standard deviation of the relaxation: 1, ln t", source=_FALCONE,
    )  # fmt: skip
    read_noise: Any = field(default=1.0, ge=0, le=100, doc="multiplies the published 1/f amplitude")
    read_noise_fit: Any = field(
        default=0.0277316483e-6, unit="S", ge=0, le=1e-3, doc="K, 1/f amplitude per log10(g/uS)", source=_LOMBARDO
    )
    read_time_s: Any = field(default=1e-6, unit="s", gt=0, le=1, doc="duration of one read", source=_LOMBARDO)
    reading_s: Any = reading_time()
    extrapolate: bool = extrapolation()

    write_error = "programming_noise"
    measured_until_s = 315576000.0  # 10 years: the source evaluates its fit up to then
    noise_persists = True
    largest = 88.2e-6  # S

    def model_sources(self) -> tuple[Source, ...]:
        return (cited("falcone2025", "lombardo2024"), *super().model_sources())

    def program(self, key: jax.Array, target: jax.Array) -> CMOState:
        """Program cells to ``target`` (S, any shape)."""
        sigma = self._written_sigma(target)
        xi = normal(stream(key, "programming noise"), target.shape, target.dtype)
        relaxation = normal(stream(key, "relaxation"), target.shape, target.dtype)
        return CMOState(jnp.maximum(target + sigma * xi, 0.0), relaxation)

    def _written_sigma(self, target: jax.Array) -> jax.Array:
        constant, fraction = self.programming_sigma_2pc if self.acceptance == 0.02 else self.programming_sigma_02pc
        return self.programming_noise * jnp.maximum(constant + fraction * target, 0.0)

    def programming_error(self, target: jax.Array) -> jax.Array:
        """Return the standard deviation (S) at time zero of cells programmed to ``target`` (S), relaxation included."""
        return jnp.hypot(self._written_sigma(target), self.relaxation * jnp.maximum(self.relaxation_sigma[0], 0.0))

    def read(self, state: CMOState, time_s: Numeric, key: jax.Array | None = None) -> Moments:
        """Return conductances (S) ``time_s`` after programming: moments, or one sampled read if a key is given."""
        time = jnp.asarray(time_s, state.conductance.dtype)
        log_t = jnp.log(jnp.maximum(time, 1.0))
        relaxation_std = jnp.maximum(self.relaxation_sigma[0] + self.relaxation_sigma[1] * log_t, 0.0)
        shift = self.relaxation * (self.relaxation_mean * log_t + relaxation_std * state.deviate)
        g = jnp.maximum(state.conductance + shift, 0.0)
        sigma = self.read_noise * self.read_noise_fit * jnp.log10(jnp.maximum(g / _UNIT, 1.0)) * self._growth(time)
        if key is None:
            return non_negative(g, sigma)._replace(slow=slow_fraction(time, self.read_time_s, self.reading_s))
        xi = normal(stream(key, "read noise"), g.shape, g.dtype)
        return Moments(jnp.maximum(g + sigma * xi, 0.0))

    def _growth(self, time: jax.Array) -> jax.Array:
        # The inner where keeps the derivative with respect to time finite at times without noise.
        later = time > self.read_time_s
        return jnp.where(later, jnp.sqrt(logarithm(jnp.where(later, time, 1.0), self.read_time_s)), 0.0)
