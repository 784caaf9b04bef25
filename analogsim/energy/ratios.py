"""Joules of other systems over those of the hardware, each ratio with what it compares.

    ratio = E(system, batch) / E(hardware, batch)      typical over typical; low over high and high over low as its ends

Both sides are one inference of the same batch. What one multiply-accumulate stands for differs: a MAC on a machine, an
arriving spike or a released vesicle in a brain, several synaptic events on a spiking chip; the ratio carries it.
"""

import dataclasses
from collections.abc import Iterable

from analogsim.energy.bill import Bill
from analogsim.energy.waiting import MOST, percent


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ratio:
    """One system beside the hardware.

    Attributes:
      system, beside: names of both.
      batch: examples computed together, on both.
      low, typical, high: joules an inference over joules an inference.
      per: what stands for a multiply-accumulate on the system.
      waiting_share: of the system's typical joules.
      is_partial: whether the system's bill leaves out part of the model (``Bill.omits``), which the other counts.
    """

    system: str
    beside: str
    batch: int
    low: float
    typical: float
    high: float
    per: str
    waiting_share: float
    is_partial: bool

    def __str__(self) -> str:
        per = "per MAC" if self.per == "MAC" else f"{self.per} in place of a MAC"
        waits = f"; {percent(self.waiting_share)} of its joules wait" if self.waiting_share > MOST else ""
        return (
            f"{self.system}, batch {self.batch}: {_number(self.typical)} times the joules of {self.beside} at the same "
            f"batch, typical over typical ({_number(self.low)} to {_number(self.high)} over both ranges), {per}{waits}"
            f"{'; it leaves out part of the model' if self.is_partial else ''}"
        )


def _number(ratio: float) -> str:
    return f"{float(f'{ratio:.3g}'):,.0f}" if ratio >= 1000 else f"{ratio:.3g}"


def ratios(bills: Iterable[Bill]) -> tuple[Ratio, ...]:
    """Every other system over the first one's bill of the same batch."""
    bills = list(bills)
    own = {bill.batch: bill for bill in bills if bill.system == bills[0].system}
    return tuple(
        Ratio(
            system=bill.system,
            beside=bills[0].system,
            batch=bill.batch,
            low=bill.energy_low_j / own[bill.batch].energy_high_j,
            typical=bill.energy_typical_j / own[bill.batch].energy_typical_j,
            high=bill.energy_high_j / own[bill.batch].energy_low_j,
            per=bill.per,
            waiting_share=bill.waiting_share,
            is_partial=bool(bill.omits),
        )
        for bill in bills
        if bill.system != bills[0].system
    )
