"""Phase-change memory of the IBM HERMES project chip (14 nm): the statistical fit with one or two pairs per weight.

A weight is a differential pair of cells. With two pairs every cell is two devices in parallel, programmed together,
which have twice the conductance and average their drift; with one pair it is a single device. With x = g/g_fit, where
g_fit is 20.7 uS (two pairs) or 10.35 uS (one), and times in seconds after programming,

    programming   g_P = max(g_T + sigma_P(x_T) xi, 0)          sigma_P = c0 + c1 x + c2 x^2 + c3 x^3
    drift         g_D(t) = g_P ((t + t0)/t0)^(-nu)             nu = |mu(x_P) + sigma(x_P) xi|, one fixed value per cell
    1/f noise     sigma_R(t) = g_D Q(x_P) sqrt(ln((t + t0 + t_read)/(2 t_read)))

mu, sigma and Q are each clip(a + b ln x, low, high) below a split and a polynomial in x above it. Beyond x = 1, which a
cell can only reach by a programming error, the values at x = 1 are used. x does not scale with g_max: using less of the
window does not change a cell.

Sources: M. Le Gallo et al., Nat. Electron. 6, 680 (2023), doi 10.1038/s41928-023-01010-1; R. Khaddam-Aljameh et al.,
IEEE J. Solid-State Circuits 57 (2022), ieeexplore 9696185; two devices: A. Vasilopoulos et al., IEEE Trans. Electron
Devices (2023), ieeexplore 10281389. The constants of the fit are those published in aihwkit. On the chip the two
devices of a cell get different conductances and drift less than in this fit, in which they are equal.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from analogsim.base.description import Description, field
from analogsim.base.literature import Source, cited
from analogsim.base.random import normal, stream
from analogsim.base.types import Numeric
from analogsim.devices.crossbar.cell import non_negative
from analogsim.devices.crossbar.fits import polynomial
from analogsim.devices.crossbar.one_over_f import logarithm, reading_time, slow_fraction
from analogsim.devices.protocol import Moments

_HERMES = cited("legallo2023", "rasch2021", note="fit as in aihwkit")
_FLOOR = 1e-7  # smallest x whose logarithm is taken: a cell in full RESET


class Branches(Description):
    """clip(a + b ln x, low, high) below ``split``, a cubic in x above it; dimensionless."""

    split: Any = field(gt=0, lt=1, doc="x at which the branches meet", source=_HERMES)
    logarithm: Any = field(default=(0.0, 0.0), ge=-10, le=10, doc="a, b of the lower branch", source=_HERMES)
    limits: Any = field(default=(0.0, 1.0), ge=0, le=10, doc="clipping limits of the lower branch", source=_HERMES)
    cubic: Any = field(
        default=(0.0, 0.0, 0.0, 0.0), ge=-10, le=10, doc="upper branch: coefficients of x^0..x^3", source=_HERMES
    )

    def at(self, x: jax.Array) -> jax.Array:
        """Return the value at every x, which is first clipped to [1e-7, 1]."""
        # Clipped before both branches: the derivative of jnp.where contains the unused branch, and ln 0 makes it NaN.
        x = jnp.clip(x, _FLOOR, 1.0)
        below = jnp.clip(self.logarithm[0] + self.logarithm[1] * jnp.log(x), *self.limits)
        return jnp.where(x < self.split, below, polynomial(self.cubic, x))


def _branches(split: float, logarithm: tuple, limits: tuple, *cubic: float) -> Branches:
    return Branches(split=split, logarithm=logarithm, limits=limits, cubic=cubic)


def _drift_mean() -> Branches:
    return _branches(0.0945, (-0.0182, -0.0387), (0.072, 0.13), 0.0736, -0.0126, -0.0436, 0.0)


class HermesState(NamedTuple):
    """Programmed conductance, drift exponent and noise amplitude of each cell."""

    conductance: jax.Array  #: reached right after programming, S
    drift_exponent: jax.Array  #: nu, dimensionless
    read_noise: jax.Array  #: Q, dimensionless


class HermesPCM(Description):
    """A phase-change cell of the HERMES chip with two pairs per weight; ``one_pair()`` is the fit for one pair.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> two, one = HermesPCM(), HermesPCM.one_pair()
      >>> state = two.program(jax.random.key(0), jnp.full((1000,), 10e-6))
      >>> bool(two.read(state, 86400.0).mean.mean() < state.conductance.mean())
      True
      >>> one.g_max
      1.035e-05
    """

    g_max: Any = field(default=20.7e-6, unit="S", gt=0, le=1e-3, doc="largest programmed conductance", source=_HERMES)
    g_min: Any = field(default=0.0, unit="S", ge=0, le=1e-3, doc="conductance of a weight of zero", source=_HERMES)
    fit_g_max: Any = field(
        default=20.7e-6, unit="S", gt=0, le=1e-3, doc="x = 1 of the fit, and the end of its data", source=_HERMES
    )
    programming_noise: Any = field(default=1.0, ge=0, le=100, doc="multiplies the published programming error")
    programming_sigma: Any = field(default=(0.16603222e-6, 4.71806468e-6, -8.48101252e-6, 4.68961419e-6),
        unit="S", ge=-1e-3, le=1e-3, doc="sigma_P, programming error: coefficients of x^0..x^3", source=_HERMES,
    )  # fmt: skip
    drift_reference_s: Any = field(
        default=300.0, unit="s", gt=0, le=1e6, doc="t0, reference time of the drift law", source=_HERMES
    )
    drift_mean: Any = field(factory=_drift_mean, kind=Branches, doc="mean of nu")
    drift_std: Any = field(
        factory=lambda: _branches(0.3055, (-0.0057, -0.0117), (0.0091, 0.04), 0.0073, 0.0093, -0.0118, 0.0),
        kind=Branches,
        doc="sigma of nu",
    )
    drift: Any = field(default=1.0, ge=0, le=100, doc="multiplies every drift exponent; 0 stops drift")
    read_noise: Any = field(default=1.0, ge=0, le=100, doc="multiplies the published 1/f amplitude")
    read_noise_fit: Any = field(
        factory=lambda: _branches(0.16, (-0.0069, -0.0117), (0.015, 0.04), 0.0123, 0.0211, -0.0280, 0.0069),
        kind=Branches,
        doc="Q, relative amplitude of the 1/f noise",
    )
    read_time_s: Any = field(default=512e-9, unit="s", gt=0, le=1, doc="duration of one read", source=_HERMES)
    reading_s: Any = reading_time()

    write_error = "programming_noise"
    time_limit_s = None
    noise_persists = True

    @classmethod
    def one_pair(cls, **changes: Any) -> "HermesPCM":
        """Return the fit for one pair per weight (one device per cell), optionally with ``changes``."""
        fit: dict[str, Any] = dict(
            g_max=10.35e-6,
            fit_g_max=10.35e-6,
            programming_sigma=(0.15781817e-6, 2.32443916e-6, -2.16310839e-6, 0.68841818e-6),
            drift_reference_s=200.0,
            drift_std=_branches(0.3039, (-0.0023, -0.0120), (0.0124, 0.04), 0.0104, 0.0116, -0.0165, 0.0),
            read_noise_fit=_branches(0.1591, (0.0038, -0.0078), (0.0179, 0.04), 0.0088, 0.0768, -0.1352, 0.0664),
        )
        return cls(**(fit | changes))

    @classmethod
    def published(cls) -> tuple["HermesPCM", ...]:
        """Return one cell per published fit."""
        return (cls(), cls.one_pair())

    def model_sources(self) -> tuple[Source, ...]:
        return (cited("legallo2023", "khaddam2022", "vasilopoulos2023"),)

    @property
    def largest(self) -> Numeric:
        """Largest conductance of the cell, S, whether or not the window in use reaches it."""
        return self.fit_g_max

    def check(self) -> None:
        self.demand(
            "g_max",
            self.g_max <= self.fit_g_max,
            f"must be at most fit_g_max = {self.fit_g_max}, the largest conductance that the fit has data for "
            f"(unit: S)",
        )

    def program(self, key: jax.Array, target: jax.Array) -> HermesState:
        """Program cells to ``target`` (S, any shape)."""
        sigma = self.programming_error(target)
        xi = normal(stream(key, "programming noise"), target.shape, target.dtype)
        conductance = jnp.maximum(target + sigma * xi, 0.0)
        x = conductance / self.fit_g_max
        xi = normal(stream(key, "drift exponent"), target.shape, target.dtype)
        exponent = jnp.abs(self.drift_mean.at(x) + self.drift_std.at(x) * xi) * self.drift
        return HermesState(conductance, exponent, self.read_noise * self.read_noise_fit.at(x))

    def programming_error(self, target: jax.Array) -> jax.Array:
        """Return sigma_P (S) of cells programmed to ``target`` (S)."""
        return jnp.maximum(polynomial(self.programming_sigma, target / self.fit_g_max), 0.0) * self.programming_noise

    def read(self, state: HermesState, time_s: Numeric, key: jax.Array | None = None) -> Moments:
        """Return conductances (S) ``time_s`` after programming; the 1/f standard deviation grows as sqrt(ln t)."""
        since = jnp.asarray(time_s, state.conductance.dtype) + self.drift_reference_s
        drifted = state.conductance * jnp.exp(-state.drift_exponent * jnp.log(since / self.drift_reference_s))
        sigma = drifted * state.read_noise * jnp.sqrt(logarithm(since, self.read_time_s))
        if key is None:
            return non_negative(drifted, sigma)._replace(slow=slow_fraction(since, self.read_time_s, self.reading_s))
        xi = normal(stream(key, "read noise"), drifted.shape, drifted.dtype)
        return Moments(jnp.maximum(drifted + sigma * xi, 0.0))
