"""Energy and carbon over a model's lifetime: search, training, programming, calibration and every inference.

    E = PUE (E_search + (1 + retrainings) E_train + writes W + calibrations C + N e_inference)
    carbon = E CI + embodied carbon of the machines, in proportion

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
    """Joules of one phase of a life, before the data centre's overhead.

    Attributes:
      name: of the phase.
      times: how often.
      unit_energy_j: joules each, low, typical and high.
      note: where the figure comes from.
    """

    name: str
    times: float
    unit_energy_j: Triple
    note: str

    @property
    def total_j(self) -> Triple:
        """Joules in all."""
        return tuple(self.times * joules for joules in self.unit_energy_j)  # type: ignore[return-value]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lifecycle:
    """Energy and carbon over a model's lifetime, phase by phase; prints as a table.

    Attributes:
      parts: the phases, inference last.
      pue: power usage effectiveness of the data centre, applied to all phases.
      grid: the electricity of the data centre.
      embodied: emissions of manufacture attributed to this lifetime; None if not given.
    """

    parts: tuple[LifePhase, ...]
    pue: float
    grid: ElectricityGrid
    embodied: Embodied | None

    @property
    def energy_j(self) -> Triple:
        """Joules in all, low, typical and high, the data centre's overhead included."""
        return tuple(self.pue * math.fsum(part.total_j[i] for part in self.parts) for i in range(3))  # type: ignore[return-value]

    @property
    def inference_fraction(self) -> float:
        """Fraction of the typical energy that is inference."""
        total = self.energy_j[1]
        return self.pue * self.parts[-1].total_j[1] / total if total else math.nan

    @property
    def break_even(self) -> float:
        """Inferences from which on they take more than everything else; infinite where one takes nothing."""
        others = math.fsum(part.total_j[1] for part in self.parts[:-1])
        inference_j = self.parts[-1].unit_energy_j[1]
        return others / inference_j if inference_j else math.inf

    @property
    def operational_kg(self) -> Triple:
        """Carbon of running, kg."""
        return tuple(e / J_PER_KWH * self.grid.kg_per_kwh for e in self.energy_j)  # type: ignore[return-value]

    @property
    def total_kg(self) -> Triple:
        """Carbon of running and of what was made for it, kg."""
        if self.embodied is None:
            return self.operational_kg
        embodied_kg = (self.embodied.low_kg, self.embodied.typical_kg, self.embodied.high_kg)
        return tuple(a + b for a, b in zip(self.operational_kg, embodied_kg, strict=True))  # type: ignore[return-value]

    def table(self) -> "rich.table.Table":
        """One row per phase, and what they come to in kilowatt-hours and kilograms."""
        table = simple_table("Energy and carbon of a life")
        for name in ("part", "times", "each", "low", "typical", "high", "share", "source"):
            table.add_column(name, justify="left" if name in ("part", "source") else "right")
        machines_j = self.energy_j[1] / self.pue
        for part in self.parts:
            low, typical, high = (show(e, "J") for e in part.total_j)
            table.add_row(plain(part.name), as_count(part.times) if part.times >= 1 else f"{part.times:.3g}",
                          show(part.unit_energy_j[1], "J"), low, typical, high, as_percent(part.total_j[1], machines_j),
                          plain(part.note))  # fmt: skip
        table.add_section()
        table.add_row(f"all, times a PUE of {self.pue:g}", "", "", *(show(e, "J") for e in self.energy_j), "", "")
        kwh = [f"{e / J_PER_KWH:.3g} kWh" for e in self.energy_j]
        table.add_row("in kilowatt-hours", "", "", *kwh, "", "")
        year = "" if self.grid.year is None else f", {self.grid.year}"
        place = f"{self.grid.name}{year}: {self.grid.kg_per_kwh:.3g} kg/kWh; {self.grid.source}"
        kg = [f"{k:.3g} kg" for k in self.operational_kg]
        table.add_row("carbon of running", "", "", *kg, "", plain(place))
        if self.embodied is not None:
            embodied_kg = (self.embodied.low_kg, self.embodied.typical_kg, self.embodied.high_kg)
            behind = "; ".join(map(str, self.embodied.sources)) + "; known to a factor of ten"
            table.add_row("carbon of making", "", "", *(f"{k:.3g} kg" for k in embodied_kg), "", plain(behind))
            table.add_row("carbon in all", "", "", *(f"{k:.3g} kg" for k in self.total_kg), "", "")
        turn = "" if math.isinf(self.break_even) else (
            f" From {as_count(self.break_even)} inferences on they take more than all the rest.")  # fmt: skip
        table.caption = f"Inference is {as_percent(self.inference_fraction, 1.0)} of the typical energy.{turn}"
        return table

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain numbers and strings."""
        return {
            "parts": [
                {
                    "name": p.name,
                    "times": p.times,
                    "unit_energy_j": p.unit_energy_j,
                    "total_j": p.total_j,
                    "note": p.note,
                }
                for p in self.parts
            ],
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
      training_j: joules of training once, of the machines (``TrainingRun.energy_j``).
      retrainings: how often that is done again.
      search_j: joules of searching for architecture and settings.
      write_j, writes: of writing the weights to analog cells once, and how often (``Comparison.arrays``).
      calibration_j, calibrations: of one calibration of its drift, and how often.
      country: where it runs, as of ``carbon.grid``.
      pue: as for ``carbon.pue``; multiplies everything above.
      embodied: emissions of manufacture attributed to this lifetime (``carbon.embodied(...).allocated(...)``).

    Raises:
      InputError: for a negative number, or a triple that does not rise.

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
    kept = tuple(part for part in parts if part.total_j[2] or part.name == "inference")
    return Lifecycle(parts=kept, pue=carbon.pue(pue), grid=carbon.grid(country), embodied=embodied)


def _triple(value: Any, name: str) -> Triple:
    values = value if isinstance(value, (tuple, list)) else (value,) * 3
    good = len(values) == 3 and all(
        isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v) and v >= 0 for v in values
    )
    if not (good and values[0] <= values[1] <= values[2]):
        raise InputError(f"{name} = {brief(value)}: must be joules, one number or (low, typical, high), at least 0")
    return tuple(float(v) for v in values)  # type: ignore[return-value]
