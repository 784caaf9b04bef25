"""Energy of other systems divided by that of the hardware.

    ratio = E(system, batch) / E(hardware, batch)      typical over typical; ends: low over high and high over low

Both energies are per inference at the same batch size. The event that stands for one multiply-accumulate differs: a MAC
on a digital system, an arriving spike or a released vesicle in a brain, several synaptic events on a spiking chip. Each
ratio states it.
"""

import dataclasses
from collections.abc import Iterable

from analogsim.energy.breakdown import EnergyBreakdown
from analogsim.energy.waiting import MOST, percent


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ratio:
    """The energy of one system relative to a baseline.

    Attributes:
      system, baseline: names of both.
      batch: examples computed together, on both.
      low, typical, high: joules per inference on the system over joules per inference on the baseline.
      per: the event that stands for a multiply-accumulate on the system.
      idle_fraction: fraction of the system's typical joules that is spent waiting.
      is_partial: True if the system's breakdown excludes part of the model (``EnergyBreakdown.omits``).
    """

    system: str
    baseline: str
    batch: int
    low: float
    typical: float
    high: float
    per: str
    idle_fraction: float
    is_partial: bool

    def __str__(self) -> str:
        per = "per MAC" if self.per == "MAC" else f"{self.per} instead of a MAC"
        waits = f"; {percent(self.idle_fraction)} of them are spent waiting" if self.idle_fraction > MOST else ""
        return (
            f"{self.system}, batch {self.batch}: {_number(self.typical)} times the joules of {self.baseline} at the "
            f"same batch, typical over typical ({_number(self.low)} to {_number(self.high)} over both ranges), {per}"
            f"{waits}"
            f"{'; it excludes part of the model' if self.is_partial else ''}"
        )


def _number(ratio: float) -> str:
    return f"{float(f'{ratio:.3g}'):,.0f}" if ratio >= 1000 else f"{ratio:.3g}"


def ratios(breakdowns: Iterable[EnergyBreakdown]) -> tuple[Ratio, ...]:
    """Return the ratio of every other system to the first one at the same batch size."""
    breakdowns = list(breakdowns)
    baseline = {breakdown.batch: breakdown for breakdown in breakdowns if breakdown.system == breakdowns[0].system}
    return tuple(
        Ratio(
            system=breakdown.system,
            baseline=breakdowns[0].system,
            batch=breakdown.batch,
            low=breakdown.energy_low_j / baseline[breakdown.batch].energy_high_j,
            typical=breakdown.energy_typical_j / baseline[breakdown.batch].energy_typical_j,
            high=breakdown.energy_high_j / baseline[breakdown.batch].energy_low_j,
            per=breakdown.per,
            idle_fraction=breakdown.idle_fraction,
            is_partial=bool(breakdown.omits),
        )
        for breakdown in breakdowns
        if breakdown.system != breakdowns[0].system
    )
