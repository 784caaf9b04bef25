"""Scaling of the energy and area of digital CMOS circuits with process and voltage.

    e_to / e_from = (a_to V_to^2 + b_to V_to + c_to) / (a_from V_from^2 + b_from V_from + c_from)

The coefficients, fitted to circuit simulations, and the table of areas: Stillmaker and Baas, Integration 58, 74 (2017),
doi 10.1016/j.vlsi.2017.02.002. The rows for 45 and 32 nm are low-power transistors and those for 20 to 7 nm are
high-performance ones, so a factor between these groups also changes the kind of transistor.

Only switching logic scales this way. Parts whose size or energy is set by noise, matching, wavelength, pins or a
separate process do not; ``DO_NOT_SCALE`` lists them. ``number_formats`` has better figures for arithmetic and SRAM.
"""

import csv
import functools
import importlib.resources
import warnings

from analogsim.base.errors import InputError
from analogsim.base.literature import cited

SOURCE = cited("stillmaker2017")

#: Parts that no process factor applies to.
DO_NOT_SCALE = ("ADC", "DAC", "resistive cells", "photonics", "I/O", "DRAM")

#: Supply range in volts. Below 0.6 V the parabola of 65 nm turns upwards; 1.3 V is about the supply of 130 nm.
V_RANGE = (0.6, 1.3)

#: Smaller factors raise a warning, because they extrapolate far from the measured figure.
SMALL = 0.3


def nodes() -> tuple[int, ...]:
    """Return the process nodes of the tables in nm, oldest first.

    Example:
      >>> nodes()
      (130, 90, 65, 45, 32, 20, 16, 14, 10, 7)
    """
    return tuple(_coefficients())


def energy_factor(from_nm: float, to_nm: float, from_v: float, to_v: float) -> float:
    """Return the factor by which the energy of switching logic changes with process and supply.

    The ratio of a V^2 + b V + c at both ends. Do not apply it to the parts in ``DO_NOT_SCALE``.

    Args:
      from_nm, to_nm: process nodes in nm, each one of ``nodes()``.
      from_v, to_v: supplies in V, 0.6 to 1.3.

    Warns:
      UserWarning: if the factor is below 0.3.

    Raises:
      InputError: for a node that is not in the table, or a supply out of range.

    Example:
      >>> round(energy_factor(32, 20, 0.9, 0.9), 3)
      0.371
    """
    factor = _energy(to_nm, "to_nm", to_v, "to_v") / _energy(from_nm, "from_nm", from_v, "from_v")
    return _warn_of_small(factor, f"energy_factor from {from_nm} nm at {from_v} V to {to_nm} nm at {to_v} V")


def area_factor(from_nm: float, to_nm: float) -> float:
    """Return the factor by which the area of logic changes with the process, as published (two digits).

    Do not apply it to the parts in ``DO_NOT_SCALE``: the wavelength sets the size of a ring, the wire that of a pad.

    Args:
      from_nm, to_nm: process nodes in nm, each one of ``nodes()``.

    Warns:
      UserWarning: if the factor is below 0.3.

    Raises:
      InputError: for a node that is not in the table.

    Example:
      >>> area_factor(45, 32)
      0.46
    """
    factor = _areas()[_node(from_nm, "from_nm"), _node(to_nm, "to_nm")]
    return _warn_of_small(factor, f"area_factor from {from_nm} nm to {to_nm} nm")


def _energy(node_nm: float, node_name: str, supply_v: float, supply_name: str) -> float:
    a, b, c = _coefficients()[_node(node_nm, node_name)]
    low, high = V_RANGE
    if not (isinstance(supply_v, int | float) and low <= supply_v <= high):
        raise InputError(f"{supply_name} = {supply_v!r}: must be a supply between {low} and {high} (unit: V)")
    return (a * supply_v + b) * supply_v + c


def _node(node_nm: float, name: str) -> int:
    if node_nm not in nodes():
        raise InputError(f"{name} = {node_nm!r}: must be one of {', '.join(map(str, nodes()))} (unit: nm)")
    return int(node_nm)


def _warn_of_small(factor: float, name: str) -> float:
    if factor < SMALL:
        warnings.warn(
            f"{name}: {factor:.3g} is below {SMALL}, a long extrapolation from the measured part; "
            f"never apply it to {', '.join(DO_NOT_SCALE)}",
            UserWarning,
            stacklevel=3,
        )
    return factor


@functools.cache
def _coefficients() -> dict[int, tuple[float, float, float]]:
    """Return (a, b, c) of the energy polynomial by process node."""
    return {
        int(row["node_nm"]): (float(row["energy_a_v2"]), float(row["energy_b_v"]), float(row["energy_c"]))
        for row in _rows("cmos_scaling_stillmaker_baas.csv")
    }


@functools.cache
def _areas() -> dict[tuple[int, int], float]:
    """Return the area factor by (from, to) process node."""
    return {
        (int(row["from_nm"]), node): float(row[str(node)])
        for row in _rows("cmos_area_stillmaker_baas.csv")
        for node in nodes()
    }


def _rows(name: str) -> list[dict[str, str]]:
    text = (importlib.resources.files("analogsim.energy") / "data" / name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))
