"""Carbon emissions of energy: electricity of the grid, overhead of the data centre, and manufacture of the chip.

    operational   kg = PUE E(kWh) CI(kg/kWh)
    embodied      kg = (CI_fab EPA + GPA + MPA) area / yield + memory
    of a job      kg = K t devices / (lifetime utilisation)          K: embodied carbon of one device

EPA, GPA, MPA: energy, gases and materials per square centimetre by node, U. Gupta et al., ACT, ISCA 2022, doi
10.1145/3470496.3527408. Grid: annual means by country, location-based, from codecarbon's file (Our World in Data /
Ember). Embodied carbon is uncertain by a factor of ten: for one H100, ACT's formula gives 21 kg for the die,
LLMCarbon's table 15 kg, and the vendor's footprint in EcoLogits 164 kg for the module with memory and board.
"""

import csv
import dataclasses
import difflib
import functools
import importlib.resources
import math
import re
import unicodedata

from analogsim.base.errors import InputError, nearest
from analogsim.base.literature import Source, cited

J_PER_KWH = 3.6e6

#: Power usage effectiveness: power of the data centre over that of its computers; 1.1 to 2.4 is reported.
PUE = {"hyperscale": 1.1, "average": 1.56}

_OWID = Source(note="Our World in Data / Ember, CC BY 4.0, through codecarbon (MIT)")
_EU = Source(note="mean of its 27 members weighted by generation; Our World in Data / Ember through codecarbon (MIT)")
_ACT = cited("gupta2022", note="energy, gases and materials by node; memory")
_ENDS = Source(note="low: LLMCarbon's die, arXiv 2309.14393; high: the vendor's module as EcoLogits uses it")
#: An H100 in accounts other than ACT: area and node of its die, gigabytes; kg of the die in LLMCarbon's table; kg of
#: the whole module, with memory and board, in the vendor's footprint as EcoLogits uses it.
_H100_DIE_M2, _H100_NODE, _H100_GB = 814e-6, "5nm", 80.0
_H100_LEAN_DIE_KG, _H100_MODULE_KG = 15.0, 164.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class ElectricityGrid:
    """The electricity of a place.

    Attributes:
      name: name of the place.
      year: year of the figure; None for a given number.
      kg_per_kwh: kg of carbon dioxide equivalent per kWh.
      source: source of the figure.
    """

    name: str
    year: int | None
    kg_per_kwh: float
    source: Source


#: The members of the European Union; their mean is weighted by generation.
EU = (
    "AUT", "BEL", "BGR", "CYP", "CZE", "DEU", "DNK", "ESP", "EST", "FIN", "FRA", "GRC", "HRV", "HUN", "IRL", "ITA",
    "LTU", "LUX", "LVA", "MLT", "NLD", "POL", "PRT", "ROU", "SVK", "SVN", "SWE",
)  # fmt: skip


@functools.cache
def _grids() -> dict[str, ElectricityGrid]:
    """Return all countries, the European Union and the world by code and name, normalised by ``_plain``."""
    rows = {row["iso3"]: row for row in _rows("grid_carbon_intensity_by_country.csv")}
    by_name = {}
    for row in rows.values():
        grid_row = ElectricityGrid(
            name=row["country"], year=int(row["year"]), kg_per_kwh=float(row["gco2e_per_kwh"]) / 1000, source=_OWID
        )
        for name in (row["iso2"], row["iso3"], row["country"], *filter(None, row["also"].split(";"))):
            by_name[_plain(name)] = grid_row
    weights = [float(rows[code]["generation_twh"]) for code in EU]
    mean = sum(w * by_name[_plain(code)].kg_per_kwh for w, code in zip(weights, EU, strict=True)) / sum(weights)
    union = ElectricityGrid(name="European Union", year=2023, kg_per_kwh=mean, source=_EU)
    world = ElectricityGrid(
        name="world", year=2023, kg_per_kwh=0.481, source=cited("gupta2022", note="its table of 2023")
    )
    by_name |= {_plain(name): union for name in ("EU", "EU27", "EU-27", "European Union")}
    return by_name | {_plain(name): world for name in ("world", "global", "WLD")}


def _plain(name: str) -> str:
    """Normalise a name: no case, accents, punctuation or article."""
    letters = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().casefold()
    words = re.sub(r"[^a-z0-9 ]", "", re.sub(r"[-_,()]", " ", letters)).split()
    return " ".join(words[1:] if words[:1] == ["the"] else words)


def _rows(file: str) -> list[dict[str, str]]:
    with (importlib.resources.files("analogsim.energy") / "data" / file).open(encoding="utf-8") as table:
        return list(csv.DictReader(table))


def grid(place: "str | float | ElectricityGrid") -> ElectricityGrid:
    """Return the electricity of a place, with its carbon dioxide equivalent per kilowatt-hour generated.

    Args:
      place: a country by English name, common other name (``"UK"``, ``"Holland"``) or ISO 3166 code of two or three
        letters, upper or lower case; ``"EU"``, the mean of its 27 members weighted by their generation in 2023;
        ``"world"``; or a number in kg/kWh.

    Raises:
      InputError: for an unknown country, or a number below 0 or above 2.

    Example:
      >>> round(grid("Germany").kg_per_kwh, 3), grid("se").name, grid("UK").name
      (0.381, 'Sweden', 'United Kingdom')
      >>> round(grid("EU").kg_per_kwh, 3)
      0.244
    """
    if isinstance(place, ElectricityGrid):
        return place
    if isinstance(place, (int, float)) and not isinstance(place, bool):
        if not 0 <= place <= 2:
            raise InputError(f"grid = {place!r}: must be at least 0 and at most 2 (unit: kg/kWh)")
        return ElectricityGrid(
            name=f"{place:g} kg/kWh", year=None, kg_per_kwh=float(place), source=Source(note="given")
        )
    entry = _grids().get(_plain(place)) if isinstance(place, str) else None
    if entry is None:
        raise InputError(f"grid = {place!r}: not in the table of countries; {_hint(str(place))}")
    return entry


def _hint(place: str) -> str:
    """Suggest the nearest country by name, never by code, since similar codes are unrelated."""
    grids = _grids()
    close = difflib.get_close_matches(_plain(place), [name for name in grids if len(name) > 3], 1, 0.75)
    if close:
        return f"did you mean {grids[close[0]].name!r}?"
    return "give its English name, its ISO 3166 code (two or three letters), 'EU', 'world', or a number in kg/kWh"


def pue(value: str | float) -> float:
    """Return the power usage effectiveness for ``"hyperscale"``, ``"average"``, or a number from 1 to 3.

    Raises:
      InputError: for another name or number.
    """
    if isinstance(value, str):
        if value not in PUE:
            raise InputError(f"pue = {value!r}: {nearest(value, PUE)}, or a number from 1 to 3")
        return PUE[value]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 1 <= value <= 3:
        raise InputError(f"pue = {value!r}: must be at least 1 and at most 3")
    return float(value)


def operational_kg(
    energy_j: float, place: "str | float | ElectricityGrid" = "world", usage: str | float = "hyperscale"
) -> float:
    """Return the carbon dioxide equivalent of operation in kg: PUE E CI.

    Args:
      energy_j: joules of the systems, without the data centre's overhead.
      place: as for ``grid``.
      usage: as for ``pue``.

    Raises:
      InputError: for an energy that is negative or not finite, an unknown place, or as ``pue``.

    Example:
      >>> round(operational_kg(3.6e6, "USA", 1.0), 3)    # one kilowatt-hour
      0.369
    """
    if not (isinstance(energy_j, (int, float)) and math.isfinite(energy_j) and energy_j >= 0):
        raise InputError(f"energy_j = {energy_j!r}: must be a number and at least 0 (unit: J)")
    return pue(usage) * energy_j / J_PER_KWH * grid(place).kg_per_kwh


@dataclasses.dataclass(frozen=True, kw_only=True)
class Embodied:
    """Emissions of the manufacture of one device in kg, as a range.

    Attributes:
      low_kg, typical_kg, high_kg: the lowest table of dies, ACT's formula, a vendor's footprint of a whole module; each
        includes the memory.
      sources: sources of the figures.
    """

    low_kg: float
    typical_kg: float
    high_kg: float
    sources: tuple[Source, ...] = (_ACT, _ENDS)

    def allocated(self, time_s: float, lifetime_s: float, devices: float = 1.0, utilisation: float = 1.0) -> "Embodied":
        """Return the emissions attributed to a job: K t devices / (lifetime utilisation).

        Raises:
          InputError: if the lifetime is not positive or the utilisation not in (0, 1].
        """
        for name, value in (("time_s", time_s), ("devices", devices)):
            if not (math.isfinite(value) and value >= 0):
                raise InputError(f"{name} = {value!r}: must be at least 0")
        if not lifetime_s > 0:
            raise InputError(f"lifetime_s = {lifetime_s!r}: must be greater than 0 (unit: s)")
        if not 0 < utilisation <= 1:
            raise InputError(f"utilisation = {utilisation!r}: must be greater than 0 and at most 1")
        part = time_s * devices / (lifetime_s * utilisation)
        return Embodied(low_kg=part * self.low_kg, typical_kg=part * self.typical_kg, high_kg=part * self.high_kg,
                        sources=self.sources)  # fmt: skip


def embodied(
    area_m2: float, node: str, *, memory_gb: float = 0.0, memory: str = "ddr4_10nm",
    fab_grid: str | float | ElectricityGrid = 0.5, process_yield: float = 0.875,
) -> Embodied:  # fmt: skip
    """Return the emissions of manufacturing a die and its memory by ACT in kg, with the range of other accounts.

    The ends of the range scale other accounts of an H100 by ACT's carbon of the die: LLMCarbon's 15 kg for the die
    (low), and the vendor's 164 kg for the module without its 80 GB of memory (high: die, board, package). The memory is
    added to all three.

    Args:
      area_m2: area of the die in m2.
      node: a process of ACT's table, ``"28nm"`` to ``"3nm"``.
      memory_gb: capacity of the memory in GB.
      memory: kind of the memory in ACT's table (``"lpddr4"``, ``"ddr4_10nm"``, ``"nand_10nm"``).
      fab_grid: electricity of the factory, as for ``grid``.
      process_yield: fraction of good dies.

    Raises:
      InputError: for a process or memory that is not in the table (nothing is interpolated), or a number out of range.

    Example:
      >>> round(embodied(814e-6, "5nm").typical_kg)     # the die of an H100
      21
      >>> round(embodied(814e-6, "5nm", memory_gb=80).high_kg)     # its module, in the vendor's account
      164
    """
    for name, value, unit in (("area_m2", area_m2, "m2"), ("memory_gb", memory_gb, "GB")):
        if not (isinstance(value, (int, float)) and math.isfinite(value) and value >= 0):
            raise InputError(f"{name} = {value!r}: must be at least 0 (unit: {unit})")
    if not 0 < process_yield <= 1:
        raise InputError(f"process_yield = {process_yield!r}: must be greater than 0 and at most 1")
    logic, per_gb = _act()
    if node not in logic:
        raise InputError(f"node = {node!r}: has no figure; {nearest(str(node), logic)}")
    if memory not in per_gb:
        raise InputError(f"memory = {memory!r}: has no figure; {nearest(str(memory), per_gb)}")
    die_kg, memory_kg = _die_kg(area_m2, node, fab_grid, process_yield), memory_gb * per_gb[memory] / 1000
    h100_kg = _die_kg(_H100_DIE_M2, _H100_NODE)
    bare_kg = _H100_MODULE_KG - _H100_GB * per_gb["ddr4_10nm"] / 1000
    return Embodied(
        low_kg=die_kg * _H100_LEAN_DIE_KG / h100_kg + memory_kg,
        typical_kg=die_kg + memory_kg,
        high_kg=die_kg * bare_kg / h100_kg + memory_kg,
    )


def _die_kg(
    area_m2: float, node: str, fab_grid: str | float | ElectricityGrid = 0.5, process_yield: float = 0.875
) -> float:
    """Return ACT's embodied carbon of a die: electricity, gases and materials of its area over the yield."""
    logic, _ = _act()
    per_cm2 = grid(fab_grid).kg_per_kwh * logic[node]["fab_energy"]  # kg/kWh x kWh/cm2
    per_cm2 += (logic[node]["fab_gas_95pct_abated"] + logic[node]["materials"]) / 1000
    return per_cm2 * area_m2 * 1e4 / process_yield


@functools.cache
def _act() -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    """Return ACT's tables: logic by node and quantity, and memory in g per GB."""
    logic: dict[str, dict[str, float]] = {}
    per_gb: dict[str, float] = {}
    for row in _rows("embodied_carbon_act.csv"):
        if row["class"] == "logic":
            logic.setdefault(row["node_or_part"], {})[row["quantity"]] = float(row["value"])
        elif row["quantity"] == "carbon_per_gb":
            per_gb[row["node_or_part"]] = float(row["value"])
    return logic, per_gb
