"""How far published ADCs of one resolution lie apart: a floor and a median, joules a conversion.

    floor    e = 0.267 pJ + 0.1446 aJ 4^b                           mean of the three smallest P/fs of the survey
    median   ln e(pJ) = -5.527 + 0.575 b + 0.715 ln(node/nm) + 0.262 ln(fs/100 MS/s)      SAR since 2010, quantile 0.5

Both are own fits to B. Murmann, "ADC Performance Survey 1997-2025", github.com/bmurmann/ADC-survey. The survey counts
effective bits; here the nominal bits stand for them, which makes both figures a little too high for a real converter.
The scatter about the median is a factor of four: a converter is not predicted by its bits.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp

from analogsim.devices.papers import cited
from analogsim.prices import Prices

SOURCE = cited("murmann2025", note="range: own fit to its floor and to its SAR median at 28 nm")

_NODE_NM = 28.0  # where the default prices of the other components come from
_SAMPLE_RATE_HZ = 100e6


def floor_energy_j(bits: Any) -> Any:
    """The most frugal published conversions."""
    return 0.267e-12 + 0.1446e-18 * 4.0**bits


def median_energy_j(bits: Any) -> Any:
    """The median successive-approximation ADC at 28 nm and 100 MS/s."""
    rest = -5.527 + 0.715 * math.log(_NODE_NM) + 0.262 * math.log(_SAMPLE_RATE_HZ / 100e6)
    return 1e-12 * math.exp(rest) * math.e ** (0.575 * bits)


def band_j(prices: Prices, bits: Any) -> tuple[Any, Any, Any]:
    """One conversion: low, typical, high.

    Typical is the hardware's own price. Where that lies outside of floor and median (as the default does below five
    bits) the band is widened to it.
    """
    typical = prices.adc_energy_j(bits)
    return _lesser(floor_energy_j(bits), typical), typical, -_lesser(-median_energy_j(bits), -typical)


def _lesser(a: Any, b: Any) -> Any:
    """The smaller of two numbers in float64, or of two arrays where something is traced."""
    return jnp.minimum(a, b) if isinstance(a, jax.Array) or isinstance(b, jax.Array) else min(a, b)
