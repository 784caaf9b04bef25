"""Energy per conversion of the hardware's ADC: the chosen model, and the range of published ADCs.

``EnergyTable.adc_model`` selects the typical energy: ``"embedded"`` is k1 b Vdd^2 + k2 4^b Vdd^2 in nominal bits, the
remaining three are those of ``analogsim.energy.chip.adc`` in effective bits (``EnergyTable.adc_enob``; nominal bits if
None, which is a little too high for a real converter). Low and high are the survey's floor and median, widened to the
typical energy if that lies outside; ``at_end`` then says so.
"""

from typing import Any

import jax
import jax.numpy as jnp

from analogsim.base.literature import Source
from analogsim.base.types import Numeric
from analogsim.energy.chip import adc
from analogsim.hardware.energy_table import EnergyTable

_FIELDS = {
    "embedded": ("adc_capacitance_f", "adc_capacitance_4b_f", "supply_v"),
    "floor": ("adc_enob",),
    "median": ("adc_enob", "node_nm", "sample_rate_hz"),
    "regression": ("adc_enob", "node_nm", "sample_rate_hz"),
}


def fields(energy_table: EnergyTable) -> tuple[str, ...]:
    """Return the names of the fields that enter, for their sources."""
    return tuple(f for f in _FIELDS[energy_table.adc_model] if f != "adc_enob" or energy_table.adc_enob is not None)


def typical_j(energy_table: EnergyTable, bits: Any) -> Any:
    """Return the typical joules per conversion.

    Raises:
      InputError: if the regression is evaluated outside of the range in which it was fitted.
    """
    enob = bits if energy_table.adc_enob is None else energy_table.adc_enob
    if energy_table.adc_model == "embedded":
        return energy_table.adc_energy_j(bits)
    if energy_table.adc_model == "floor":
        return adc.floor_energy_j(enob)
    if energy_table.adc_model == "median":
        return adc.median_energy_j(enob, node_nm=energy_table.node_nm, sample_rate_hz=energy_table.sample_rate_hz)
    return adc.regression_energy_j(enob, sample_rate_hz=energy_table.sample_rate_hz, node_nm=energy_table.node_nm)


def band_j(energy_table: EnergyTable, bits: Numeric) -> tuple[Any, Any, Any]:
    """Return low, typical and high joules per conversion; the range is widened to typical if that lies outside."""
    typical = typical_j(energy_table, bits)
    enob = bits if energy_table.adc_enob is None else energy_table.adc_enob
    return _lesser(adc.floor_energy_j(enob), typical), typical, -_lesser(-adc.median_energy_j(enob), -typical)


def at_end(energy_table: EnergyTable, bits: Numeric) -> str:
    """Return why typical is an end of the range; ``""`` if it lies inside, or if a value is traced."""
    if energy_table.adc_model in ("floor", "median"):
        return f"EnergyTable.adc_model selects the survey's {energy_table.adc_model}"
    low_j, unit_energy_j, high_j = band_j(energy_table, bits)
    if any(isinstance(value, jax.Array) for value in (low_j, unit_energy_j, high_j)):
        return ""
    if unit_energy_j <= low_j:
        return "the hardware's energy per conversion lies below the survey's floor"
    return "the hardware's energy per conversion lies above the survey's median" if unit_energy_j >= high_j else ""


def sources(energy_table: EnergyTable) -> tuple[Source, ...]:
    """Return the sources of the model, in addition to those of its fields."""
    return (adc.SOURCE,) if energy_table.adc_model != "regression" else (adc.SOURCE, adc.REGRESSION_SOURCE)


def _lesser(a: Any, b: Any) -> Any:
    """Return the smaller of two numbers, in float64 unless one is an array (traced)."""
    return jnp.minimum(a, b) if isinstance(a, jax.Array) or isinstance(b, jax.Array) else min(a, b)
