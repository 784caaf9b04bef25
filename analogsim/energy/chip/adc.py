"""Energy models of an analog-to-digital conversion: a bound, the best published, the median, a published regression.

    thermal      e = 8 k T 1.5 4^ENOB                          lower bound of a Nyquist converter
    floor        e = 0.267 pJ + 0.1446 aJ 4^ENOB               mean of the three smallest P/fs of the survey
    median       ln e(pJ) = -5.527 + 0.575 ENOB + 0.715 ln(node/nm) + 0.262 ln(fs/100 MS/s)       SAR since 2010
    regression   e = e0(ENOB, fs) exp(24.579 + 1.880 ln(node/nm) - 2.829 ln ENOB) pJ              28 to 65 nm
                 e0 = 10^((SNDR - FoM)/10)/2,  FoM = min(213.78 - 2.872 ln fs, 128.31 + 3.2205 ENOB) dB
                 SNDR = 20 log10(2) ENOB + 10 log10(1.5) dB

Floor and median are fitted here to B. Murmann, "ADC Performance Survey 1997-2025", github.com/bmurmann/ADC-survey. The
scatter about the median is a factor of four: bits alone do not predict a converter. The regression (and that of
area) is T. Andrulis et al., arXiv 2404.06553, with the constants of its code (hwcomponents-adc, MIT licence, copyright
2025 Tanner Andrulis). Its fit has a minimum at 4.39 effective bits and would grow again below, as if fewer bits cost
more; below ``LEAST_ENOB`` it raises an error, or is evaluated at ``LEAST_ENOB`` if extrapolation is allowed. All models
take effective bits (ENOB), the nominal output ``bits`` less noise and distortion; only ``EnergyTable.adc_energy_j``
takes nominal bits.
"""

import math
import warnings
from typing import Any

from analogsim.base.errors import InputError
from analogsim.base.literature import cited
from analogsim.base.types import Numeric
from analogsim.base.units import sndr_db

SOURCE = cited("murmann2025", note="range: fits to its floor and to its SAR median at 28 nm")
REGRESSION_SOURCE = cited("andrulis2024adc", note="constants of hwcomponents-adc")

_NODE_NM = 28.0  # process of the other components' default energies
_SAMPLE_RATE_HZ = 100e6
_BOLTZMANN = 1.380649e-23  # J/K

NODES_NM = (28.0, 65.0)  #: range in which the regression was fitted; below, it misses published converters
LEAST_ENOB = 4.0  #: fewest effective bits of the regression


def thermal_bound_j(enob: Any, temperature_k: Numeric = 300.0) -> Any:
    """Return the minimum energy per conversion in joules if thermal noise equals quantisation noise: 8 k T 1.5 4^ENOB.

    Example:
      >>> f"{thermal_bound_j(10):.3g}"
      '5.21e-14'
    """
    return 8.0 * _BOLTZMANN * temperature_k * 1.5 * 4.0**enob


def floor_energy_j(enob: Any) -> Any:
    """Return the energy per conversion of the best published converters, in joules."""
    return 0.267e-12 + 0.1446e-18 * 4.0**enob


def median_energy_j(enob: Any, node_nm: float = _NODE_NM, sample_rate_hz: float = _SAMPLE_RATE_HZ) -> Any:
    """Return the energy per conversion of the median successive-approximation ADC since 2010, in joules.

    Args:
      enob: effective bits; may be traced.
      node_nm: technology node in nm.
      sample_rate_hz: conversions per second.

    Raises:
      InputError: if node or rate is not a positive number.

    Example:
      >>> f"{median_energy_j(8):.3g}", f"{median_energy_j(8, node_nm=65):.3g}"
      ('4.29e-12', '7.83e-12')
    """
    _positive("node_nm", node_nm, "nm")
    _positive("sample_rate_hz", sample_rate_hz, "Hz")
    rest = -5.527 + 0.715 * math.log(node_nm) + 0.262 * math.log(sample_rate_hz / 100e6)
    # A power of e, since math.exp does not take a traced number of bits.
    return 1e-12 * math.exp(rest) * math.e ** (0.575 * enob)


def regression_energy_j(
    enob: float, sample_rate_hz: float, node_nm: float, *, ceil_enob: bool = False, extrapolate: bool = False
) -> float:
    """Return the energy per conversion by the published regression to the best converters, in joules.

    Args:
      enob: effective bits, at least 4.
      sample_rate_hz: conversions per second of one converter.
      node_nm: technology node, 28 to 65 nm.
      ceil_enob: take the figure of merit at the next integer ENOB, as the published code does; the energy then jumps.
      extrapolate: allow other nodes and fewer bits, with a warning; fewer bits then cost as much as ``LEAST_ENOB``.

    Raises:
      InputError: outside of the fitted range without ``extrapolate``, or if a number is not positive.

    Example:
      >>> f"{regression_energy_j(8, 100e6, 28):.3g}"
      '1.33e-12'
    """
    _in_range(enob, sample_rate_hz, node_nm, extrapolate)
    enob = max(enob, LEAST_ENOB)
    by_rate_db = 213.7806687348118 - 2.8719030399529957 * math.log(sample_rate_hz)
    by_bits_db = 128.3068287398817 + 3.22052151097738 * (math.ceil(enob) if ceil_enob else enob)
    best_j = 0.5 * 10 ** ((sndr_db(enob) - min(by_rate_db, by_bits_db)) / 10)
    correction = 26.0496215686518 - 1.4702022133784405  # intercept, and the residual down to the best converters
    correction += 1.8800369206815004 * math.log(node_nm) - 2.8291256050594527 * math.log(enob)
    return 1e-12 * best_j * math.exp(correction)


def regression_area_m2(
    enob: float, sample_rate_hz: float, node_nm: float, *, ceil_enob: bool = False, extrapolate: bool = False
) -> float:
    """Return the area of one converter by the same publication's regression, in m2; arguments as for the energy.

    ln A(um^2) = 1.346 + 0.9933 ln(node/nm) + 0.1807 ln fs + 0.2991 ln e(pJ)

    Example:
      >>> f"{regression_area_m2(8, 100e6, 28):.3g}"
      '3.2e-09'
    """
    energy_j = regression_energy_j(enob, sample_rate_hz, node_nm, ceil_enob=ceil_enob, extrapolate=extrapolate)
    log_um2 = 1.3461916439910742 + 0.9932794744745022 * math.log(node_nm)
    log_um2 += 0.18071538424508238 * math.log(sample_rate_hz) + 0.29912426192653485 * math.log(energy_j / 1e-12)
    return 1e-12 * math.exp(log_um2)


def walden_j(power_w: float, enob: float, sample_rate_hz: float) -> float:
    """Return Walden's figure of merit P/(2^ENOB fs), joules per conversion step (R. Walden, doi 10.1109/49.761034).

    Example:
      >>> f"{walden_j(1e-3, 8, 100e6):.3g}"
      '3.91e-14'
    """
    return power_w / (2.0**enob * _positive("sample_rate_hz", sample_rate_hz, "Hz"))


def schreier_db(power_w: float, enob: float, sample_rate_hz: float) -> float:
    """Return Schreier's figure of merit SNDR + 10 log10(fs/2/P) in decibels; the thermal bound is at 192 dB.

    Example:
      >>> f"{schreier_db(thermal_bound_j(10) * 1e6, 10, 1e6):.1f}"
      '191.8'
    """
    _positive("power_w", power_w, "W")
    return sndr_db(enob) + 10 * math.log10(_positive("sample_rate_hz", sample_rate_hz, "Hz") / 2 / power_w)


def _positive(name: str, value: float, unit: str) -> float:
    if not (math.isfinite(value) and value > 0):
        raise InputError(f"{name} = {value!r}: must be a positive number (unit: {unit})")
    return value


def _in_range(enob: float, sample_rate_hz: float, node_nm: float, extrapolate: bool) -> None:
    _positive("enob", enob, "bits")
    _positive("sample_rate_hz", sample_rate_hz, "Hz")
    _positive("node_nm", node_nm, "nm")
    low, high = NODES_NM
    outside = [
        f"{name} = {value:g}: the ADC regression holds {where}"
        for name, value, good, where in (
            ("node_nm", node_nm, low <= node_nm <= high, f"from {low:g} to {high:g} nm"),
            ("enob", enob, enob >= LEAST_ENOB, f"from {LEAST_ENOB:g} effective bits on"),
        )
        if not good
    ]
    if outside and not extrapolate:
        raise InputError(f"{'; '.join(outside)}; extrapolate=True allows it, with a warning")
    if outside:
        floor = f", with the energy of {LEAST_ENOB:g} effective bits" if enob < LEAST_ENOB else ""
        warnings.warn(f"{'; '.join(outside)}; this is an extrapolation{floor}", stacklevel=3)
