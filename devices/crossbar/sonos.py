"""SONOS charge-trap memory (40 nm, subthreshold, 128 000 cells): programming error, five days of retention, read noise.

The paper gives currents at 0.1 V; here I = 0.1 V g. Each cell has one permanent Gaussian deviate xi:

    programming and retention    I(t) = max(I_T + A_t (1 - exp(-I_T/B_t)) xi, 0)
    read noise                   sigma_R = A_R (1 - exp(-I/B_R))             the same at every time

A and B were measured after 0, 1, .. 5 days. Between these they are interpolated linearly in time; after 5 days there
are no data and reading is refused, unless ``extrapolate`` continues sigma at each conductance along its last decade in
log time, 12 hours to 5 days (``beyond``). Programming is fitted up to 3.2 uA, retention up to 1.8 uA, that is 18 uS.
The paper gives the standard deviation at each time, not the trajectories of cells: one permanent deviate means that
cells keep their order. It gives no spectrum of the read noise either: reads are taken as independent (white), so that
the mean of many reads is more accurate than for cells with 1/f noise.

Not modelled: the mean current also falls, by about one percent to a few percent in five days. The paper fits it with a
polynomial of 10th order, whose coefficients as tabulated in CrossSim diverge at the end of the window (-246 nA at
1.6 uA after one day) and disagree with values quoted elsewhere. The dependence on the drain voltage, which is that of a
transistor, is not modelled either.

Sources: V. Agrawal et al., IEDM 2022, 21.7.1; T. P. Xiao et al., IEEE TCAS-I 69, 1480 (2022); A and B as tabulated in
CrossSim.
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
from analogsim.devices.crossbar.fits import weights_between
from analogsim.devices.protocol import Moments

_AGRAWAL = cited("agrawal2022", "crosssim", note="fit as in CrossSim")
_DAYS_S = tuple(86400.0 * day for day in range(6))


class SONOSState(NamedTuple):
    """Target conductance and permanent deviate of each cell."""

    target: jax.Array  #: S
    deviate: jax.Array  #: standard Gaussian, dimensionless


class SONOS(Extrapolates, Description):
    """A charge-trap transistor in subthreshold; see the module for the equations. 1 nA at 0.1 V is 10 nS.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> cell = SONOS()
      >>> state = cell.program(jax.random.key(0), jnp.zeros(3))
      >>> cell.read(state, 0.0).mean.tolist()
      [0.0, 0.0, 0.0]
    """

    g_max: Any = field(default=16e-6, unit="S", gt=0, le=18e-6, doc="largest programmed conductance", source=_AGRAWAL)
    g_min: Any = field(default=0.0, unit="S", ge=0, le=18e-6, doc="conductance of a weight of zero", source=_AGRAWAL)
    programming_noise: Any = field(default=1.0, ge=0, le=100, doc="multiplies the published sigma at every time")
    std_limit: Any = field(default=(19.88665e-8, 25.59102e-8, 28.72753e-8, 31.04318e-8, 33.76214e-8, 34.57909e-8),
        unit="S", ge=0, le=1e-3, doc="A after 0..5 days", source=_AGRAWAL,
    )  # fmt: skip
    std_scale: Any = field(
        default=(1.763115e-6, 1.8685544e-6, 1.9356834e-6, 1.9890332e-6, 2.0477023e-6, 2.0734309e-6),
        unit="S", gt=0, le=1e-3, doc="B after 0..5 days", source=_AGRAWAL,
    )  # fmt: skip
    read_noise: Any = field(default=1.0, ge=0, le=100, doc="multiplies the published read noise; white")
    read_noise_fit: Any = field(
        default=(12.58037e-8, 2.1536557e-6), unit="S", gt=0, le=1e-3, doc="A, B of the read noise", source=_AGRAWAL
    )

    extrapolate: bool = extrapolation()

    measured_until_s = _DAYS_S[-1]

    def model_sources(self) -> tuple[Source, ...]:
        return (cited("agrawal2022", "xiao2022sonos"), *super().model_sources())

    def program(self, key: jax.Array, target: jax.Array) -> SONOSState:
        """Program cells to ``target`` (S, any shape)."""
        return SONOSState(target, normal(stream(key, "programming noise"), target.shape, target.dtype))

    def programming_error(self, target: jax.Array) -> jax.Array:
        """Return the standard deviation (S) of cells programmed to ``target`` (S), at time zero."""
        return self.programming_noise * self.conductance_std(target, 0.0)

    def read(self, state: SONOSState, time_s: Numeric, key: jax.Array | None = None) -> Moments:
        """Return conductances (S) ``time_s`` after programming: moments, or one sampled read if a key is given."""
        sigma = self.programming_noise * self.conductance_std(state.target, time_s)
        g = jnp.maximum(state.target + sigma * state.deviate, 0.0)
        noise = self.read_noise * _saturating(g, *self.read_noise_fit)
        if key is None:
            return non_negative(g, noise)
        xi = normal(stream(key, "read noise"), g.shape, g.dtype)
        return Moments(jnp.maximum(g + noise * xi, 0.0))

    def conductance_std(self, target: jax.Array, time_s: Numeric) -> jax.Array:
        """Return sigma(g, t) (S) for targets (S, any shape), as published: ``programming_noise`` is not applied."""
        if not self.extrapolate:
            return self._measured(target, time_s)
        time = jnp.asarray(time_s, target.dtype)
        return continued(lambda t: self._measured(target, t), time, _DAYS_S[0], _DAYS_S[-1])

    def _measured(self, target: jax.Array, time_s: Numeric) -> jax.Array:
        """Return sigma at ``time_s``, constant after the last measured time."""
        weights = weights_between(jnp.asarray(time_s, target.dtype), jnp.asarray(_DAYS_S, target.dtype))
        amplitude = sum(weights[day] * value for day, value in enumerate(self.std_limit))
        scale = sum(weights[day] * value for day, value in enumerate(self.std_scale))
        return _saturating(target, amplitude, scale)


def _saturating(g: jax.Array, amplitude: Numeric, scale: jax.Array) -> jax.Array:
    # expm1, because 1 - exp(-g/scale) of a nearly empty cell would cancel in float32.
    return -amplitude * jnp.expm1(-g / scale)
