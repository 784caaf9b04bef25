"""Resistive RAM (HfO2, 4 kb array) written by the IGVVA-100 algorithm: programming error only.

    g = max(g_T + (c0 + c1 g_T) xi, 0)          xi drawn once a cell

The spread falls with the conductance. Retention and read noise are not part of the published fit: the spread right
after programming is used up to 1 s, later reading is refused. The current of these cells is not proportional to the
voltage (I = G V + a2 V^2 + a3 V^3); here they are read as linear resistors.

Source: V. Milo et al., "Optimized programming algorithms for multilevel RRAM in hardware neural networks", IRPS 2021,
ieeexplore 9405119; the line through its Fig. 4 as in CrossSim.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from analogsim.devices.description import Description, field
from analogsim.devices.literature import Source
from analogsim.devices.papers import cited
from analogsim.devices.protocol import Moments
from analogsim.devices.random import normal, stream

_MILO = cited("milo2021", "crosssim", note="Fig. 4, fit as in CrossSim")


class MiloState(NamedTuple):
    """What was written."""

    conductance: jax.Array  #: S


class MiloReRAM(Description):
    """A filamentary HfO2 cell right after programming; see the module for the equation.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> cell = MiloReRAM()
      >>> state = cell.program(jax.random.key(0), jnp.full((4,), 100e-6))
      >>> cell.read(state, 1.0).mean.shape
      (4,)
    """

    g_max: Any = field(default=225e-6, unit="S", gt=0, le=225e-6, doc="largest programmed conductance", source=_MILO)
    g_min: Any = field(default=50e-6, unit="S", ge=50e-6, le=225e-6, doc="conductance of a zero weight", source=_MILO)
    programming_noise: Any = field(default=1.0, ge=0, le=100, doc="multiplies the published programming spread")
    programming_sigma: Any = field(default=(4.782321e-6, -0.009107),
        ge=-1, le=1, doc="programming spread: constant (S), share of the conductance", source=_MILO,
    )  # fmt: skip

    time_limit_s = 1.0

    def model_sources(self) -> tuple[Source, ...]:
        return (cited("milo2021"),)

    def program(self, key: jax.Array, target: jax.Array) -> MiloState:
        """Write to ``target`` (S, any shape)."""
        sigma = self.programming_error(target)
        xi = normal(stream(key, "programming noise"), target.shape, target.dtype)
        return MiloState(jnp.maximum(target + sigma * xi, 0.0))

    def programming_error(self, target: jax.Array) -> jax.Array:
        """Spread (S) of cells written to ``target`` (S)."""
        constant, share = self.programming_sigma
        return self.programming_noise * jnp.maximum(constant + share * target, 0.0)

    def read(self, state: MiloState, time_s: Any, key: jax.Array | None = None) -> Moments:
        """Conductances (S); neither time nor reading changes them in this model, so time and key are not used."""
        del time_s, key
        return Moments(state.conductance)
