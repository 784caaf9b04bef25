"""Physical constants, photon energy, and losses in decibels.

E = h c / wavelength            1.28e-19 J at 1550 nm
power ratio = 10^(-dB/10)       field ratio = 10^(-dB/20)
"""

from typing import Any

import jax
import jax.numpy as jnp

from analogsim.base.literature import Source
from analogsim.base.types import Numeric

PLANCK = 6.62607015e-34  # J s, exact (SI 2019)
LIGHT = 299792458.0  # m/s, exact
CHARGE = 1.602176634e-19  # C, exact
BOLTZMANN = 1.380649e-23  # J/K, exact
WAVELENGTH_M = 1.55e-6
C_BAND = Source(note="chosen: the middle of the telecom C band")


def photon_j(wavelength_m: Numeric = WAVELENGTH_M) -> Any:
    """Return the energy of one photon, h c / wavelength, in joules.

    Example:
      >>> f"{photon_j():.4g}"
      '1.282e-19'
    """
    return PLANCK * LIGHT / wavelength_m


def power_ratio(loss_db: Numeric) -> jax.Array:
    """Return the fraction of the power that a loss (dB) transmits.

    Example:
      >>> round(float(power_ratio(3.0)), 3)
      0.501
    """
    return 10.0 ** (-jnp.asarray(loss_db) / 10)


def field_ratio(loss_db: Numeric) -> jax.Array:
    """Return the fraction of the field amplitude that a loss (dB) transmits: the square root of ``power_ratio``."""
    return 10.0 ** (-jnp.asarray(loss_db) / 20)
