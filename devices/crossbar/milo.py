"""Resistive RAM (HfO2, 4 kb array) programmed by the IGVVA-100 algorithm: programming error only.

    g = max(g_T + (c0 + c1 g_T) xi, 0)          xi drawn once per cell

The error falls with the conductance. Retention and read noise are not part of the published fit: the programmed
conductance is used up to 1 s, and reading later is refused. The current is not proportional to the voltage:

    I = G V + a2 V^2 + a3 V^3          a2, a3 polynomials in log10 G          0 <= V <= 0.5 V, odd in V

``program`` and ``read`` describe the cells by their conductances G; ``current`` gives their currents. In an array a
full input code is ``read_voltage_v``, and the second- and third-order currents at that voltage reach the layers.

Source: V. Milo et al., "Optimized programming algorithms for multilevel RRAM in hardware neural networks", IRPS 2021,
ieeexplore 9405119; the line through its Fig. 4 and the polynomials of the current as in CrossSim.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from analogsim.base.description import Description, field
from analogsim.base.dtypes import wide
from analogsim.base.literature import Source, cited
from analogsim.base.random import normal, stream
from analogsim.base.types import Numeric
from analogsim.devices.crossbar.fits import polynomial
from analogsim.devices.protocol import Moments

_MILO = cited("milo2021", "crosssim", note="Fig. 4, fit as in CrossSim")
# Published in powers of log10(G/S), whose terms cancel to a thousandth of themselves: float32 would lose its digits.
_MILO_CURRENT = cited(
    "milo2021", "crosssim", note="as in CrossSim, expanded about 100 uS; solid for 62.5 to 110 uS, up to 0.5 V"
)


class MiloState(NamedTuple):
    """Programmed conductance of each cell."""

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
    programming_noise: Any = field(default=1.0, ge=0, le=100, doc="multiplies the published programming error")
    programming_sigma: Any = field(default=(4.782321e-6, -0.009107),
        ge=-1, le=1, doc="programming sigma: constant (S), fraction of the target", source=_MILO,
    )  # fmt: skip
    current_square: Any = field(default=(-8.2e-6, 45.4e-6, -124.6e-6, 138.8e-6),
        ge=-1, le=1, doc="a2 in A/V^2: coefficients of log10(G/100 uS), constant first", source=_MILO_CURRENT,
    )  # fmt: skip
    current_cube: Any = field(default=(-0.6e-6, -30.49e-6, 88.71e-6),
        ge=-1, le=1, doc="a3 in A/V^3: coefficients of log10(G/100 uS), constant first", source=_MILO_CURRENT,
    )  # fmt: skip
    read_voltage_v: Any = field(
        default=0.2, unit="V", gt=0, le=0.5, doc="voltage of a full input code, for the law of the current",
        source=cited("milo2021", note="chosen within the 0 to 0.5 V of its fit"),
    )  # fmt: skip

    time_limit_s = 1.0
    largest = 225e-6  # S
    #: Largest voltage across a cell in the fit of the current, V.
    voltage_limit_v = 0.5

    def model_sources(self) -> tuple[Source, ...]:
        return (cited("milo2021"),)

    def program(self, key: jax.Array, target: jax.Array) -> MiloState:
        """Program cells to ``target`` (S, any shape)."""
        sigma = self.programming_error(target)
        xi = normal(stream(key, "programming noise"), target.shape, target.dtype)
        return MiloState(jnp.maximum(target + sigma * xi, 0.0))

    def programming_error(self, target: jax.Array) -> jax.Array:
        """Return the standard deviation (S) of cells programmed to ``target`` (S)."""
        constant, fraction = self.programming_sigma
        return self.programming_noise * jnp.maximum(constant + fraction * target, 0.0)

    def read(self, state: MiloState, time_s: Numeric, key: jax.Array | None = None) -> Moments:
        """Return conductances (S); neither time nor reading changes them, so ``time_s`` and ``key`` are not used."""
        del time_s, key
        return Moments(state.conductance)

    def current_coefficients(self, conductance: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return a2 (A/V^2) and a3 (A/V^3) of I = G V + a2 V^2 + a3 V^3 for 0 <= V <= 0.5 V.

        The fit is reliable from 62.5 to 110 uS. It is used from 50 to 225 uS, the range of targets; outside of this
        range, where the polynomials would reduce the current again, a cell has the shape I/(G V) of the nearer end.

        Args:
          conductance: G, S, any shape.

        Example:
          >>> square, cube = MiloReRAM().current_coefficients(62.5e-6)
          >>> round(float(1 + (square * 0.5 + cube * 0.25) / 62.5e-6), 3)  # I/(G V) at 0.5 V
          0.847
        """
        g = wide(conductance)
        written = jnp.clip(g, 50e-6, 225e-6)
        level = jnp.log10(written / 100e-6)
        scale = g / written
        return scale * polynomial(self.current_square, level), scale * polynomial(self.current_cube, level)

    def current(self, conductance: jax.Array, voltage: jax.Array) -> jax.Array:
        """Return the current (A) at ``voltage`` (V) across the cell, an odd function; shapes broadcast.

        Source of the curve as for ``current_coefficients``; there are no data beyond 0.5 V.
        """
        conductance, voltage = wide(conductance), wide(voltage)
        square, cube = self.current_coefficients(conductance)
        return voltage * (conductance + jnp.abs(voltage) * (square + jnp.abs(voltage) * cube))
