"""A cell of no particular technology, with errors of a chosen law and size, for sweeps. By default it is ideal.

With s the relative programming error, r the relative read noise and times in seconds after programming,

    programming   g_P = max(g_T + sigma xi, 0)     sigma = s g_s              error="independent"
                                                   sigma = s g_T              error="proportional"
                                                   sigma = s g_s^2/g_T        error="inverse"
    drift         g_D(t) = g_P ((t + t0)/t0)^(-nu)       nu = |mean + std xi|, one fixed value per cell
    read noise    sigma_R = r g_D h(t)     h = 1 (spectrum="white") or sqrt(ln((t + t0 + t_read)/(2 t_read))) ("1/f")

White noise is independent from read to read; the slow part of 1/f noise is common to all reads of one reading
(``one_over_f``).

The three programming laws agree at g_s, which is g_max by default: s is then the error of a weight, whatever the
window. To use less of the window of the same cell, set ``sigma_conductance`` to g_s and reduce g_max. An error
independent of the conductance costs far more accuracy than a proportional one of equal size, which is the subject of
T. P. Xiao et al., IEEE CAS Magazine 22, 26 (2022), arXiv 2109.01262.
The drift and 1/f laws are those of phase-change memory: S. R. Nandakumar et al., ICECS 2019,
doi 10.1109/ICECS46596.2019.8964852.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from analogsim.base.description import Description, field, static
from analogsim.base.literature import Source, cited
from analogsim.base.random import normal, stream
from analogsim.base.types import Numeric
from analogsim.devices.crossbar.cell import non_negative
from analogsim.devices.crossbar.expected import mean_decay, over_writing
from analogsim.devices.crossbar.one_over_f import logarithm, reading_time, slow_fraction
from analogsim.devices.protocol import Moments

_NANDAKUMAR = cited("nandakumar2019")


class GenericState(NamedTuple):
    """Programmed conductance and drift exponent of each cell."""

    conductance: jax.Array  #: reached right after programming, S
    drift_exponent: jax.Array  #: nu, dimensionless


class GenericCell(Description):
    """A cell with chosen errors, ideal by default; see the module for the equations.

    Example, a programming error that grows with the conductance:
      >>> import jax, jax.numpy as jnp
      >>> cell = GenericCell(error="proportional", programming_sigma=0.02)
      >>> state = cell.program(jax.random.key(0), jnp.array([0.0, 20e-6]))
      >>> float(state.conductance[0])
      0.0

    Example, the state-independent statistics of aihwkit: 0.2 uS of 25 uS, nu = |0.1 + 0.05 xi|, 1/f noise of 4 %:
      >>> cell = GenericCell(programming_sigma=0.2 / 25, drift_mean=0.1, drift_std=0.05)
      >>> cell = cell.replace(read_noise=0.04, spectrum="1/f")
    """

    g_max: Any = field(default=25e-6, unit="S", gt=0, le=1, doc="largest programmed conductance")
    g_min: Any = field(default=0.0, unit="S", ge=0, le=1, doc="conductance of a weight of zero")
    error: str = static(
        default="independent",
        choices=("independent", "proportional", "inverse"),
        doc="dependence of the programming error on the conductance",
    )
    programming_sigma: Any = field(default=0.0, ge=0, le=10, doc="s, programming error at g_s as a fraction of g_s")
    sigma_conductance: Any = field(
        default=None, unit="S", gt=0, le=1, optional=True, doc="g_s, conductance that s refers to; None: g_max"
    )
    drift_mean: Any = field(default=0.0, ge=0, le=10, doc="mean of the drift exponent")
    drift_std: Any = field(default=0.0, ge=0, le=10, doc="device-to-device standard deviation of the drift exponent")
    drift_reference_s: Any = field(
        default=20.0, unit="s", gt=0, le=1e6, doc="t0, reference time of the drift law", source=_NANDAKUMAR
    )
    read_noise: Any = field(default=0.0, ge=0, le=10, doc="r, read noise as a fraction of the conductance")
    spectrum: str = static(
        default="white",
        choices=("white", "1/f"),
        doc="white: independent from read to read; 1/f: grows as the root of the logarithm of time, with a slow part "
        "common to the reads of a reading",
    )
    read_time_s: Any = field(
        default=250e-9, unit="s", gt=0, le=1, doc="duration of one read, for 1/f noise", source=_NANDAKUMAR
    )
    reading_s: Any = reading_time()

    write_error = "programming_sigma"
    time_limit_s = None

    def check(self) -> None:
        if self.error == "inverse" and isinstance(self.g_min, float) and self.g_min == 0:
            self.refuse("g_min", "must be greater than 0 if error = 'inverse' (unit: S)")
        if self.error == "proportional" and self.sigma_conductance is not None:
            self.refuse(
                "sigma_conductance",
                "must be None if error = 'proportional', whose sigma is a fraction of the conductance itself",
            )

    def model_sources(self) -> tuple[Source, ...]:
        return (cited("xiao2022accuracy", note="programming laws"), cited("nandakumar2019", note="drift and 1/f laws"))

    @property
    def noise_persists(self) -> bool:
        """True if fluctuations persist through the steps of one product, as those of a 1/f spectrum do."""
        return self.spectrum == "1/f"

    def program(self, key: jax.Array, target: jax.Array) -> GenericState:
        """Program cells to ``target`` (S, any shape)."""
        xi = normal(stream(key, "programming noise"), target.shape, target.dtype)
        conductance = jnp.maximum(target + self.programming_error(target) * xi, 0.0)
        xi = normal(stream(key, "drift exponent"), target.shape, target.dtype)
        exponent = self.drift_mean + self.drift_std * xi
        # Not jnp.abs, whose derivative at zero is zero: a sweep or gradient at zero drift would ignore drift_mean.
        return GenericState(conductance, jnp.where(exponent < 0, -exponent, exponent))

    def programming_error(self, target: jax.Array) -> jax.Array:
        """Return the standard deviation (S) of the programming error for ``target`` (S)."""
        if self.error == "proportional":
            return self.programming_sigma * target
        full = self.g_max if self.sigma_conductance is None else self.sigma_conductance
        if self.error == "inverse":
            return self.programming_sigma * full * (full / jnp.maximum(target, self.g_min))
        return jnp.full_like(target, self.programming_sigma * full)

    def read(self, state: GenericState, time_s: Numeric, key: jax.Array | None = None) -> Moments:
        """Return conductances (S) ``time_s`` after programming: moments, or one sampled read if a key is given."""
        drift, noise = self._ageing(time_s, state.conductance.dtype)
        drifted = state.conductance * jnp.exp(-state.drift_exponent * drift)
        sigma = noise * drifted
        if key is None:
            moments = non_negative(drifted, sigma)
            if self.spectrum == "white":
                return moments
            since = jnp.asarray(time_s, drifted.dtype) + self.drift_reference_s
            return moments._replace(slow=slow_fraction(since, self.read_time_s, self.reading_s))
        xi = normal(stream(key, "read noise"), drifted.shape, drifted.dtype)
        return Moments(jnp.maximum(drifted + sigma * xi, 0.0))

    def _ageing(self, time_s: Numeric, dtype: DTypeLike) -> tuple[jax.Array, jax.Array]:
        """Return the factor of nu, ln((t + t0)/t0), and the relative standard deviation of a read."""
        since = jnp.asarray(time_s, dtype) + self.drift_reference_s
        noise = jnp.asarray(self.read_noise, dtype)
        if self.spectrum == "1/f":
            noise = noise * jnp.sqrt(logarithm(since, self.read_time_s))
        return jnp.log(since / self.drift_reference_s), noise

    def moments(self, target: jax.Array, time_s: Numeric, read_noise: bool = True) -> Moments:
        """Return mean (S) and variance (S^2) of cells programmed to ``target`` (S), over cells and reads.

        Args:
          target: conductances, S, any shape.
          time_s: seconds after programming.
          read_noise: whether to include the variance over reads.
        """
        drift, noise = self._ageing(time_s, target.dtype)
        sigma = self.programming_error(target)

        def power(n: int) -> jax.Array:
            decay = mean_decay(self.drift_mean, self.drift_std, n * drift)
            return over_writing(target, sigma, lambda g: g**n) * decay

        relative = non_negative(jnp.ones(()), noise if read_noise else jnp.zeros(()))
        assert relative.variance is not None
        mean = power(1) * relative.mean
        return Moments(mean, jnp.maximum(power(2) * (relative.mean**2 + relative.variance) - mean**2, 0.0))
