"""Phase-change memory: the published statistical model of IBM's doped-GST mushroom cells (90 nm).

With x = g/g_fit, g_fit = 25 uS, times in seconds after programming and conductances in siemens,

    programming   g_P = max(g_T + sigma_P(x_T) xi, 0)      sigma_P = c0 + c1 x + c2 x^2
    drift         g_D(t) = g_P ((t + t0)/t0)^(-nu)         nu = |mu(x_P) + sigma(x_P) xi|, one fixed value per cell
    1/f noise     sigma_R(t) = g_D Q sqrt(ln((t + t0 + t_read)/(2 t_read)))      Q = min(0.0088/x_T^0.65, 0.2)

The slow part of the noise is common to all reads of one reading (``one_over_f``).

Sources: S. R. Nandakumar et al., "Phase-change memory models for deep learning training and inference", ICECS 2019,
doi 10.1109/ICECS46596.2019.8964852; V. Joshi et al., Nat. Commun. 11, 2473 (2020), doi 10.1038/s41467-020-16108-9.
The drift exponent depends on the conductance that was reached, the 1/f amplitude on the target. x does not scale with
g_max: using less of the window does not change a cell. ``PCM.rescaled`` is the other convention.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from analogsim.base.description import Description, field
from analogsim.base.literature import Source, cited
from analogsim.base.random import normal, stream
from analogsim.base.types import Numeric
from analogsim.devices.crossbar.cell import non_negative
from analogsim.devices.crossbar.expected import mean_decay, over_writing
from analogsim.devices.crossbar.one_over_f import logarithm, reading_time, slow_fraction
from analogsim.devices.protocol import Moments

_JOSHI = cited("joshi2020", "rasch2021", note="constants as in aihwkit")
_NANDAKUMAR = cited("nandakumar2019", "rasch2021", note="constants as in aihwkit")
_FLOOR = 1e-7  # smallest x whose logarithm is taken: a cell in full RESET


class PCMState(NamedTuple):
    """Programmed conductance, drift exponent and noise amplitude of each cell."""

    conductance: jax.Array  #: reached right after programming, S
    drift_exponent: jax.Array  #: nu, dimensionless
    read_noise: jax.Array  #: Q, dimensionless


class PCM(Description):
    """A phase-change cell; every number of the published fit is a field. See the module for the equations.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> cell = PCM()
      >>> state = cell.program(jax.random.key(0), jnp.full((1000,), 20e-6))
      >>> day = cell.read(state, 86400.0)
      >>> bool(day.mean.mean() < state.conductance.mean())
      True
    """

    g_max: Any = field(default=25e-6, unit="S", gt=0, le=1e-3, doc="largest programmed conductance", source=_JOSHI)
    g_min: Any = field(default=0.0, unit="S", ge=0, le=1e-3, doc="conductance of a weight of zero", source=_JOSHI)
    fit_g_max: Any = field(
        default=25e-6, unit="S", gt=0, le=1e-3, doc="x = 1 of the fit, and the end of its data", source=_JOSHI
    )
    programming_noise: Any = field(default=1.0, ge=0, le=100, doc="multiplies the published programming error")
    programming_sigma: Any = field(
        default=(0.26348e-6, 1.9650e-6, -1.1731e-6),
        unit="S",
        ge=-1e-3,
        le=1e-3,
        doc="sigma_P, programming error: coefficients of 1, x, x^2",
        source=_JOSHI,
    )
    drift_reference_s: Any = field(
        default=20.0, unit="s", gt=0, le=1e6, doc="t0, reference time of the drift law", source=_JOSHI
    )
    drift_mean: Any = field(default=(0.0244, -0.0155), ge=-1, le=1, doc="mean of nu: 1, ln x", source=_JOSHI)
    drift_mean_range: Any = field(default=(0.049, 0.1), ge=0, le=1, doc="mean of nu is clipped to this", source=_JOSHI)
    drift_std: Any = field(default=(-0.0059, -0.0125), ge=-1, le=1, doc="sigma of nu: 1, ln x", source=_JOSHI)
    drift_std_range: Any = field(
        default=(0.008, 0.045), ge=0, le=1, doc="sigma of nu is clipped to this", source=_JOSHI
    )
    drift: Any = field(default=1.0, ge=0, le=100, doc="multiplies every drift exponent; 0 stops drift")
    read_noise: Any = field(default=1.0, ge=0, le=100, doc="multiplies the published 1/f amplitude")
    read_noise_fit: Any = field(
        default=(0.0088, 0.65, 0.2),
        ge=0,
        le=10,
        doc="Q = min(first / x^second, third)",
        source=_NANDAKUMAR,
    )
    read_time_s: Any = field(default=250e-9, unit="s", gt=0, le=1, doc="duration of one read", source=_NANDAKUMAR)
    reading_s: Any = reading_time()

    write_error = "programming_noise"
    time_limit_s = None
    noise_persists = True

    @classmethod
    def crosssim_fit(cls, **changes: Any) -> "PCM":
        """Return a second fit to the programming error of the same cells, 0.25-25 uS, optionally with ``changes``.

        sigma_P/uS = 0.28638599 + 7.585724e-2 G/uS - 1.78767e-3 (G/uS)^2. Both fits describe the standard deviation 27 s
        after programming and are used for time zero; they differ by 8 % at 0.25 uS and by 1 % or less from 8 uS. Drift
        and read noise are unchanged.

        Example:
          >>> PCM.crosssim_fit().g_min
          2.5e-07
        """
        # Here per x = G/25 uS: 7.585724e-2 times 25 and -1.78767e-3 times 25^2.
        fit = dict(g_min=0.25e-6, programming_sigma=(0.28638599e-6, 1.896431e-6, -1.11729375e-6))
        return cls(**(fit | changes))

    @classmethod
    def rescaled(cls, g_max: Numeric, **changes: Any) -> "PCM":
        """Return the published cells scaled to ``g_max`` (S), the convention of aihwkit, optionally with ``changes``.

        Programming error and window scale together, so that the error of a weight does not depend on ``g_max``. These
        are not the published cells; to use less of the window of those, pass ``PCM(g_max=...)``.

        Example:
          >>> PCM.rescaled("12.5 uS").programming_sigma[0] / PCM().programming_sigma[0]
          0.5
        """
        scaled = cls().replace(g_max=g_max, fit_g_max=g_max)
        scale = scaled.g_max / cls().fit_g_max
        return scaled.replace(**(dict(programming_sigma=tuple(c * scale for c in cls().programming_sigma)) | changes))

    @property
    def largest(self) -> Numeric:
        """Largest conductance of the cell, S, whether or not the window in use reaches it."""
        return self.fit_g_max

    @classmethod
    def published(cls) -> tuple["PCM", ...]:
        """Return one cell per published fit."""
        return (cls(), cls.crosssim_fit())

    def check(self) -> None:
        for name in ("drift_mean_range", "drift_std_range"):
            low, high = getattr(self, name)
            if isinstance(low, float) and isinstance(high, float) and low > high:
                self.refuse(name, "must begin with its smaller end")
        self.demand(
            "g_max",
            self.g_max <= self.fit_g_max,
            f"must be at most fit_g_max = {self.fit_g_max}, the largest conductance that the fit has data for; "
            f"PCM.rescaled(g_max) is a cell scaled to another window (unit: S)",
        )

    def model_sources(self) -> tuple[Source, ...]:
        return (cited("nandakumar2019", "joshi2020"),)

    def program(self, key: jax.Array, target: jax.Array) -> PCMState:
        """Program cells to ``target`` (S, any shape)."""
        x, sigma = target / self.fit_g_max, self.programming_error(target)
        xi = normal(stream(key, "programming noise"), target.shape, target.dtype)
        conductance = jnp.maximum(target + sigma * xi, 0.0)
        return PCMState(conductance, self._drift_exponent(key, conductance), self._read_amplitude(x))

    def _read_amplitude(self, x: jax.Array) -> jax.Array:
        """Return Q of cells with targets ``x``."""
        amplitude, power, ceiling = self.read_noise_fit
        # The ceiling is reached long before x = 1e-7, so the floor only keeps the logarithm finite. Powers are written
        # as exponentials of logarithms, which are four times cheaper.
        falling = amplitude * jnp.exp(-power * jnp.log(jnp.maximum(x, _FLOOR)))
        return self.read_noise * jnp.minimum(falling, ceiling)

    def programming_error(self, target: jax.Array) -> jax.Array:
        """Return sigma_P (S) of cells programmed to ``target`` (S)."""
        x = target / self.fit_g_max
        c0, c1, c2 = self.programming_sigma
        return jnp.maximum(c0 + c1 * x + c2 * x**2, 0.0) * self.programming_noise

    def _drift_law(self, conductance: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return mean and standard deviation of nu for cells that reached ``conductance``."""
        log_x = jnp.log(jnp.maximum(conductance / self.fit_g_max, _FLOOR))
        mean = jnp.clip(self.drift_mean[0] + self.drift_mean[1] * log_x, *self.drift_mean_range)
        return mean, jnp.clip(self.drift_std[0] + self.drift_std[1] * log_x, *self.drift_std_range)

    def _drift_exponent(self, key: jax.Array, conductance: jax.Array) -> jax.Array:
        mean, std = self._drift_law(conductance)
        xi = normal(stream(key, "drift exponent"), conductance.shape, conductance.dtype)
        return jnp.abs(mean + std * xi) * self.drift

    def read(self, state: PCMState, time_s: Numeric, key: jax.Array | None = None) -> Moments:
        """Return conductances (S) ``time_s`` after programming; the 1/f standard deviation grows as sqrt(ln t)."""
        drift, noise = self._ageing(time_s, state.conductance.dtype)
        drifted = state.conductance * jnp.exp(-state.drift_exponent * drift)
        sigma = drifted * state.read_noise * noise
        if key is None:
            since = jnp.asarray(time_s, drifted.dtype) + self.drift_reference_s
            slow = slow_fraction(since, self.read_time_s, self.reading_s)
            return non_negative(drifted, sigma)._replace(slow=slow)
        xi = normal(stream(key, "read noise"), drifted.shape, drifted.dtype)
        return Moments(jnp.maximum(drifted + sigma * xi, 0.0))

    def _ageing(self, time_s: Numeric, dtype: DTypeLike) -> tuple[jax.Array, jax.Array]:
        """Return the factors of nu and Q: ln((t + t0)/t0), and the root of the logarithm in the 1/f law."""
        since = jnp.asarray(time_s, dtype) + self.drift_reference_s
        noise = jnp.sqrt(logarithm(since, self.read_time_s))
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

        def decayed(g: jax.Array) -> jax.Array:
            """Return the means of the first and the second power of what ``g`` decays to, ``[2, ...]``."""
            mean, std = self._drift_law(g)
            of_power = jax.vmap(lambda n: mean_decay(mean, std, n * self.drift * drift))
            return jnp.stack([g, g**2]) * of_power(jnp.array([1.0, 2.0], g.dtype))

        first, second = over_writing(target, sigma, decayed)

        # The noise of a read is proportional to the drifted conductance, so the two moments multiply.
        q = self._read_amplitude(target / self.fit_g_max) * noise if read_noise else jnp.zeros_like(target)
        relative = non_negative(jnp.ones_like(target), q)
        assert relative.variance is not None
        mean = first * relative.mean
        return Moments(mean, jnp.maximum(second * (relative.mean**2 + relative.variance) - mean**2, 0.0))
