"""Computed values for published analog systems: the sum of ISAAC's parts, and products by component energies.

``data/machines.toml`` describes the systems; ``data/points.csv`` has the figures that they are compared with.
"""

import importlib.resources
import tomllib
from typing import Any

from analogsim.base.literature import Source, cited
from analogsim.energy.validation.assembly import Assembly, MachinePart
from analogsim.energy.validation.checks import point, points
from analogsim.hardware.energy_table import EnergyTable

_WATTS = {"mW": 1e-3, "W": 1.0}
_HERMES_CORES, _HERMES_OP = 64, 2 * 256 * 256  # cores, and operations per product of one core


def _machine(name: str) -> dict[str, Any]:
    file = importlib.resources.files("analogsim.energy.validation") / "data" / "machines.toml"
    return tomllib.loads(file.read_text(encoding="utf-8"))[name]


def isaac() -> Assembly:
    """Return ISAAC as an assembly: 168 tiles of 12 multiply-accumulate units of 8 arrays, and four links.

    Example:
      >>> round(isaac().power_w, 1), round(isaac().area_m2 * 1e6, 1)
      (65.8, 85.4)
    """
    chip = _machine("ISAAC")
    source = cited(chip["paper"], note=chip["note"], recalled=True)
    return Assembly(name="chip", parts=_parts("ISAAC", chip["parts"], source))


def _parts(system: str, described: list[dict[str, Any]], source: Source) -> tuple[MachinePart | Assembly, ...]:
    parts: list[MachinePart | Assembly] = []
    for part in described:
        if "parts" in part:
            inner = _parts(system, part["parts"], source)
            parts.append(Assembly(name=part["name"], count=part["count"], parts=inner))
            continue
        fraction = part.get("fraction", 1.0)  # of a device that several tiles share
        row = points()[(system, *part["power"].split(" | "))]
        power_w = _WATTS[row["unit"]] * float(row["value"])
        area_m2 = fraction * part["area_mm2"] * 1e-6
        parts.append(MachinePart(name=part["name"], power_w=fraction * power_w, area_m2=area_m2, source=source))
    return tuple(parts)


def isaac_op_per_s() -> float:
    """Return ISAAC's peak operations per second: weights on several adjacent cells, inputs bit by bit."""
    arrays = _machine("ISAAC")["arrays"]
    outputs = arrays["columns"] * arrays["bits_per_cell"] // arrays["weight_bits"]
    return arrays["count"] * (2 * arrays["rows"] * outputs / (arrays["input_bits"] * arrays["cycle_s"]))


def isaac_figure(quantity: str) -> float:
    """Return a figure of the whole chip in the unit of its point: mW, W, mm2, TOPS, TOPS/W, TOPS/mm2."""
    chip, tera = isaac(), isaac_op_per_s() / 1e12
    figures = {
        "tile_power": 1e3 * chip.part("tile").power_w,  # type: ignore[operator]
        "chip_power": chip.power_w,
        "chip_area": 1e6 * chip.area_m2,
        "throughput_16b": tera,
        "efficiency": tera / chip.power_w,
        "density": tera / (1e6 * chip.area_m2),
    }
    return figures[quantity]


def components_j(energy_table: EnergyTable, n: int, bits_in: int, bits_out: int, siemens: float, drive: float) -> float:
    """Return the joules of one n x n product on differential pairs by components alone: no clock, control or margins.

    Args:
      energy_table: energies of the components.
      n: number of inputs and of outputs.
      bits_in, bits_out: bits of DACs and ADCs.
      siemens: mean conductance of a pair in S.
      drive: mean square of the inputs, relative to full scale.
    """
    cells_j = n * n * siemens * energy_table.read_voltage_v**2 * energy_table.read_time_s * drive
    lines_j = 2 * n * n * energy_table.line_capacitance_f * energy_table.read_voltage_v**2 * drive
    inputs_j = n * (
        energy_table.dac_energy_j(bits_in) + energy_table.buffer_j_per_byte + 8 * energy_table.network_j_per_bit
    )
    converts_j = energy_table.adc_energy_j(bits_out) + energy_table.sample_hold_j(bits_out) + energy_table.accumulate_j
    outputs_j = n * (
        converts_j + max(1, bits_out / 8) * (energy_table.buffer_j_per_byte + 8 * energy_table.network_j_per_bit)
    )
    return cells_j + lines_j + inputs_j + outputs_j


def product_nj(machine: str, phases: int = 1, rest_of_chip: bool = False) -> float:
    """Return the nanojoules of one product of a system in ``data/machines.toml``, for uniform inputs (mean square 1/3).

    Args:
      machine: name of the system.
      phases: number of times that the product is driven, read and converted.
      rest_of_chip: add the energy of a measured chip beyond its components (``EnergyTable.overhead_j``) per conversion.
    """
    product = _machine(machine)["product"]
    energy_table, n = EnergyTable(**product["energy_table"]), product["n"]
    siemens = product["g_max_s"] * product["mean_weight"] + product["g_offset_s"]
    alone_nj = 1e9 * components_j(energy_table, n, product["bits_in"], product["bits_out"], siemens, 1 / 3)
    return phases * alone_nj + (1e9 * n * energy_table.overhead_j if rest_of_chip else 0.0)


def hermes_measured_nj(condition: str) -> float:
    """Return the nanojoules of one 256 x 256 product on IBM's 64-core chip, from its throughput and efficiency."""
    speed = point("IBM HERMES 64-core", condition, "throughput")
    power_w = speed / point("IBM HERMES 64-core", condition, "efficiency")
    return 1e9 * power_w * _HERMES_CORES * _HERMES_OP / (speed * 1e12) / _HERMES_CORES


def conversion_j(bits: int) -> float:
    """Return the joules per conversion of the default (embedded) ADC model."""
    return EnergyTable().adc_energy_j(bits)


def embedded_adc_pj(bits: int, supply_v: float) -> float:
    """Return the picojoules per conversion of the default (embedded) ADC model, at the supply of a published chip."""
    energy_table = EnergyTable()
    return 1e12 * (bits * energy_table.adc_capacitance_f + 4.0**bits * energy_table.adc_capacitance_4b_f) * supply_v**2
