"""Energy and carbon over a model's lifetime: search, training, programming, calibration and every inference.

    E = PUE (E_search + (1 + retrainings) E_train + writes W + calibrations C + N e_inference)
    carbon = E CI + embodied carbon of the systems, in proportion

    life = lifecycle(comparison.hardware, inferences=1e9, training_j=2e6, country="Germany")
    print(life)

Energies are numbers or (low, typical, high) triples; an energy breakdown (``energy.compare``) has its range. They are
joules of the systems: the data centre's overhead (PUE) is applied here only. Divide a published figure that includes it
by the PUE first, or use ``pue=1.0``; ``TrainingRun.energy_j`` does not include it.
"""

import dataclasses
import math
from typing import TYPE_CHECKING, Any

from analogsim.base.errors import InputError, brief
from analogsim.base.tables import as_count, as_percent, as_text, plain, simple_table
from analogsim.base.units import show
from analogsim.energy import carbon
from analogsim.energy.breakdown import EnergyBreakdown
from analogsim.energy.carbon import J_PER_KWH, ElectricityGrid, Embodied

if TYPE_CHECKING:
    import rich.table

Triple = tuple[float, float, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class LifePhase:
    """The energy of one phase of a model's lifetime, before the data centre's overhead.

    Attributes:
      name: name of the phase.
      times: number of repetitions.
      unit_energy_j: joules per repetition: low, typical and high.
      note: source of the figure.
    """

    name: str
    times: float
    unit_energy_j: Triple
    note: str

    @property
    def total_j(self) -> Triple:
        """Total joules of the phase: low, typical and high."""
        return tuple(self.times * joules for joules in self.unit_energy_j)  # type: ignore[return-value]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lifecycle:
    """Energy and carbon over a model's lifetime, phase by phase; prints as a table.

    Returned by ``lifecycle``, which has an example.

    Attributes:
      parts: the phases, inference last.
      pue: power usage effectiveness of the data centre, applied to all phases.
      grid: the electricity of the data centre.
      embodied: emissions of manufacture attributed to this lifetime; None if not given.

    Example:
      >>> life = lifecycle(0.5, inferences=1e6, training_j=1e6)     # 0.5 MJ of inference, 1 MJ of training
      >>> round(life.inference_fraction, 3), life.break_even
      (0.333, 2000000.0)
    """

    parts: tuple[LifePhase, ...]
    pue: float
    grid: ElectricityGrid
    embodied: Embodied | None

    @property
    def energy_j(self) -> Triple:
        """Total joules with the data centre's overhead: low, typical and high."""
        return tuple(self.pue * math.fsum(part.total_j[i] for part in self.parts) for i in range(3))  # type: ignore[return-value]

    @property
    def inference_fraction(self) -> float:
        """Fraction of the typical energy that is inference."""
        total = self.energy_j[1]
        return self.pue * self.parts[-1].total_j[1] / total if total else math.nan

    @property
    def break_even(self) -> float:
        """Number of inferences whose typical energy equals that of all other phases; infinite if inference is free."""
        others = math.fsum(part.total_j[1] for part in self.parts[:-1])
        inference_j = self.parts[-1].unit_energy_j[1]
        return others / inference_j if inference_j else math.inf

    @property
    def operational_kg(self) -> Triple:
        """Carbon of the electricity in kg: low, typical and high."""
        return tuple(e / J_PER_KWH * self.grid.kg_per_kwh for e in self.energy_j)  # type: ignore[return-value]

    @property
    def total_kg(self) -> Triple:
        """Operational and embodied carbon in kg: low, typical and high."""
        if self.embodied is None:
            return self.operational_kg
        embodied_kg = (self.embodied.low_kg, self.embodied.typical_kg, self.embodied.high_kg)
        return tuple(a + b for a, b in zip(self.operational_kg, embodied_kg, strict=True))  # type: ignore[return-value]

    def table(self) -> "rich.table.Table":
        """Return a table with one row per phase, and totals in joules, kilowatt-hours and kilograms."""
        table = simple_table("Energy and carbon over the model's lifetime")
        for name in ("phase", "times", "per unit", "low", "typical", "high", "fraction", "source"):
            table.add_column(name, justify="left" if name in ("phase", "source") else "right")
        # The phases are without the data centre's overhead, so their fractions must be, too.
        systems_j = self.energy_j[1] / self.pue
        for part in self.parts:
            low, typical, high = (show(e, "J") for e in part.total_j)
            table.add_row(plain(part.name), as_count(part.times) if part.times >= 1 else f"{part.times:.3g}",
                          show(part.unit_energy_j[1], "J"), low, typical, high, as_percent(part.total_j[1], systems_j),
                          plain(part.note))  # fmt: skip
        table.add_section()
        table.add_row(f"total with a PUE of {self.pue:g}", "", "", *(show(e, "J") for e in self.energy_j), "", "")
        kwh = [f"{e / J_PER_KWH:.3g} kWh" for e in self.energy_j]
        table.add_row("in kilowatt-hours", "", "", *kwh, "", "")
        year = "" if self.grid.year is None else f", {self.grid.year}"
        place = f"{self.grid.name}{year}: {self.grid.kg_per_kwh:.3g} kg/kWh; {self.grid.source}"
        kg = [f"{k:.3g} kg" for k in self.operational_kg]
        table.add_row("operational carbon", "", "", *kg, "", plain(place))
        if self.embodied is not None:
            embodied_kg = (self.embodied.low_kg, self.embodied.typical_kg, self.embodied.high_kg)
            sources = "; ".join(map(str, self.embodied.sources)) + "; uncertain by a factor of ten"
            table.add_row("embodied carbon", "", "", *(f"{k:.3g} kg" for k in embodied_kg), "", plain(sources))
            table.add_row("total carbon", "", "", *(f"{k:.3g} kg" for k in self.total_kg), "", "")
        table.caption = f"Inference is {as_percent(self.inference_fraction, 1.0)} of the typical energy."
        if math.isfinite(self.break_even):
            table.caption += f" Above {as_count(self.break_even)} inferences it takes more than all other phases."
        return table

    def to_dict(self) -> dict[str, Any]:
        """Return all figures as plain numbers and strings."""
        names = ("name", "times", "unit_energy_j", "total_j", "note")
        return {
            "parts": [{name: getattr(part, name) for name in names} for part in self.parts],
            "pue": self.pue,
            "grid": self.grid.name,
            "kg_per_kwh": self.grid.kg_per_kwh,
            "energy_j": self.energy_j,
            "inference_fraction": self.inference_fraction,
            "break_even": self.break_even,
            "operational_kg": self.operational_kg,
            "total_kg": self.total_kg,
        }

    def __str__(self) -> str:
        return as_text(self.table())


def lifecycle(
    inference: "EnergyBreakdown | float | Triple",
    *,
    inferences: float,
    training_j: float | Triple = 0.0,
    retrainings: float = 0,
    search_j: float | Triple = 0.0,
    write_j: float | Triple = 0.0,
    writes: float = 1,
    calibration_j: float | Triple = 0.0,
    calibrations: float = 0,
    country: str | float | ElectricityGrid = "world",
    pue: str | float = "hyperscale",
    embodied: Embodied | None = None,
) -> Lifecycle:
    """Return the energy and carbon over a model's lifetime.

    Args:
      inference: an energy breakdown, or joules per inference, one number or (low, typical, high).
      inferences: number of inferences.
      training_j: joules per training run, without PUE (``TrainingRun.energy_j``).
      retrainings: number of further training runs.
      search_j: joules of the search for architecture and settings.
      write_j, writes: joules to write the weights to analog cells once, and number of times (``Comparison.arrays``).
      calibration_j, calibrations: joules per calibration of the drift, and number of calibrations.
      country: location, as for ``carbon.grid``.
      pue: as for ``carbon.pue``; multiplies all energies above.
      embodied: emissions of manufacture attributed to this lifetime (``carbon.embodied(...).allocated(...)``).

    Raises:
      InputError: for a negative number, or a triple that is not in ascending order.

    Example:
      >>> from analogsim.energy.training_runs import training_runs
      >>> gpt3 = training_runs()["GPT3"]
      >>> round(lifecycle(0.0, inferences=0, training_j=gpt3.energy_j, pue=gpt3.pue).energy_j[1] / 3.6e9)     # MWh
      1289
    """
    for name, value in (("inferences", inferences), ("retrainings", retrainings), ("writes", writes),
                        ("calibrations", calibrations)):  # fmt: skip
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not (math.isfinite(value) and value >= 0):
            raise InputError(f"{name} = {value!r}: must be a number and at least 0")
    if isinstance(inference, EnergyBreakdown):
        inference_j: Any = (inference.energy_low_j, inference.energy_typical_j, inference.energy_high_j)
        note = f"{inference.system}, batch {inference.batch}: {inference.note}"
    else:
        inference_j, note = inference, "given"
    rows = (
        ("search", 1, search_j, "search_j", "given"),
        ("training", 1 + retrainings, training_j, "training_j", "given"),
        ("writing", writes, write_j, "write_j", "given"),
        ("calibration", calibrations, calibration_j, "calibration_j", "given"),
        ("inference", inferences, inference_j, "inference", note),
    )
    parts = [LifePhase(name=n, times=t, unit_energy_j=_triple(j, field), note=text) for n, t, j, field, text in rows]
    phases = tuple(part for part in parts if part.total_j[2] or part.name == "inference")
    return Lifecycle(parts=phases, pue=carbon.pue(pue), grid=carbon.grid(country), embodied=embodied)


def _triple(value: Any, name: str) -> Triple:
    values = value if isinstance(value, (tuple, list)) else (value,) * 3
    good = len(values) == 3 and all(
        isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v) and v >= 0 for v in values
    )
    if not (good and values[0] <= values[1] <= values[2]):
        raise InputError(f"{name} = {brief(value)}: must be joules, one number or (low, typical, high), at least 0")
    return tuple(float(v) for v in values)  # type: ignore[return-value]
