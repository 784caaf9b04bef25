"""Energy of a brain with one synaptic event per multiply-accumulate of a model: two definitions, each with a range.

    arriving spike      e = P / (synapses x rate)          all-in: power of the whole brain divided by all its events
    released vesicle    e = ATP x joules per ATP           marginal: one vesicle and its consequences

An arriving spike reaches a synapse, whether or not a vesicle is released; the brain's 20 W are divided among all of
them, including cells at rest and their upkeep. With 1.5e14 synapses, a mean rate of 4 Hz (Attwell and Laughlin, J.
Cereb. Blood Flow Metab. 21, 1133 (2001), doi 10.1097/00004647-200110000-00001, recalled) gives 33 fJ (low), and a rate
of 0.16 Hz (Lennie, Curr. Biol. 13, 493 (2003), doi 10.1016/S0960-9822(03)00135-0) gives 0.83 pJ (high). A released
vesicle takes 1.64e5 ATP (Attwell and Laughlin, recalled), 8 to 14 fJ at 30 to 50 kJ/mol. This excludes spikes without
release and cells at rest. Typical is the geometric mean of each range. The two definitions are never mixed: they differ
as the all-in 26 pJ and the marginal 2.3 pJ of TrueNorth do (``neuromorphic``). A synaptic event differs from an 8-bit
multiply-accumulate, and a brain does not compute this network: its rows show scales, not a competitor.

    compare(model, variables, x, systems=("brain", "brain vesicles", Brain(name="mine", power_w=17, rate_hz=1.0)))
"""

import dataclasses
import math
from typing import Any

from analogsim.base.errors import InputError
from analogsim.base.literature import Source, cited
from analogsim.energy import omissions
from analogsim.energy.breakdown import EnergyBreakdown, EnergyItem, merge_items
from analogsim.energy.work.layer_work import Workload

ATP = 1.64e5  #: ATP molecules per released vesicle, consequences included
ATP_J = (30e3 / 6.02214076e23, 50e3 / 6.02214076e23)  #: joules per ATP molecule, 30 to 50 kJ/mol
VESICLE_J = (ATP * ATP_J[0], ATP * ATP_J[1])

POWER_W, SYNAPSES, RATES_HZ = 20.0, 1.5e14, (0.16, 4.0)

_ATTWELL = cited("attwell2001", note="1.64e5 ATP per vesicle, 4 Hz", recalled=True)
_LENNIE = cited("lennie2003", note="mean rate 0.16 Hz")
_POWER = Source(note="20 W, 1.5e14 synapses", recalled=True)
_GIVEN = Source(note="given: power, synapses or rate of this brain")
_ATP = Source(note="30 to 50 kJ/mol", recalled=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Brain:
    """A brain whose power is divided among the arriving spikes.

    Attributes:
      name: name of the system.
      power_w: power of the whole brain.
      synapses: number of its synapses.
      rate_hz: mean rate at which a synapse receives spikes: one number, or (lowest, highest).

    Raises:
      InputError: for a number that is not positive, or a lowest rate above the highest.

    Example:
      >>> low, typical, high = Brain(rate_hz=1.0).event_j
      >>> round(typical * 1e15)     # fJ per arriving spike: 20 W / 1.5e14 / 1 Hz
      133
    """

    name: str = "brain"
    power_w: float = POWER_W
    synapses: float = SYNAPSES
    rate_hz: Any = RATES_HZ

    def __post_init__(self) -> None:
        rates = self.rate_hz if isinstance(self.rate_hz, tuple | list) else (self.rate_hz,) * 2
        fields = (
            ("power_w", " (unit: W)", (self.power_w,)),
            ("synapses", "", (self.synapses,)),
            ("rate_hz", " (unit: Hz)", rates),
        )
        for field, unit, values in fields:
            if not all(isinstance(v, int | float) and not isinstance(v, bool) and 0 < v < math.inf for v in values):
                raise InputError(f"Brain.{field} = {getattr(self, field)!r}: must be greater than 0 and finite{unit}")
        if len(rates) != 2 or rates[0] > rates[1]:
            raise InputError(f"Brain.rate_hz = {self.rate_hz!r}: must be one rate, or the lowest and the highest")
        object.__setattr__(self, "rate_hz", tuple(float(rate) for rate in rates))

    @property
    def event_j(self) -> tuple[float, float, float]:
        """Joules per arriving spike: low (highest rate), typical (geometric mean), high (lowest rate)."""
        low_j, high_j = (self.power_w / (self.synapses * rate) for rate in reversed(self.rate_hz))
        return low_j, math.sqrt(low_j * high_j), high_j


def breakdown(brain: Brain, work: Workload, batch: int) -> EnergyBreakdown:
    """Return the energy of one arriving spike per multiply-accumulate, from the power of the whole brain."""
    is_default = (brain.power_w, brain.synapses, brain.rate_hz) == (POWER_W, SYNAPSES, RATES_HZ)
    slowest, fastest = brain.rate_hz
    rates = f"{slowest:g} to {fastest:g} Hz" if slowest < fastest else f"{slowest:g} Hz"
    return _breakdown(
        brain.name,
        "arriving spike",
        brain.event_j,
        (_ATTWELL, _LENNIE, _POWER) if is_default else (_GIVEN,),
        f"all-in: one arriving spike per MAC, as its part of {brain.power_w:g} W among {brain.synapses:.3g} synapses "
        f"at a mean rate of {rates}",
        "everything except the arriving spikes; no brain computes this network",
        work,
        batch,
    )


def vesicles(work: Workload, batch: int) -> EnergyBreakdown:
    """Return the energy of one released vesicle per multiply-accumulate, without the rest of the brain."""
    low_j, high_j = VESICLE_J
    return _breakdown(
        "brain vesicles",
        "released vesicle",
        (low_j, math.sqrt(low_j * high_j), high_j),
        (_ATTWELL, _ATP),
        "marginal: one released vesicle per MAC, 1.64e5 ATP at 30 to 50 kJ/mol",
        "spikes without release, cells at rest and upkeep, which take nearly all of a brain's power; no brain computes "
        "this network",
        work,
        batch,
    )


def _breakdown(
    name: str,
    event: str,
    unit_energy_j: tuple[float, float, float],
    sources: tuple[Source, ...],
    note: str,
    excludes: str,
    work: Workload,
    batch: int,
) -> EnergyBreakdown:
    item = EnergyItem(
        component="synapses",
        action=event,
        count=work.macs,
        unit="",
        unit_energy_low_j=unit_energy_j[0],
        unit_energy_j=unit_energy_j[1],
        unit_energy_high_j=unit_energy_j[2],
        sources=sources,
    )
    return EnergyBreakdown(
        system=name,
        batch=batch,
        items=merge_items([item]),
        latency_s=None,
        note=note,
        excludes=excludes,
        omits=(*omissions.lookups(work.operations), *omissions.other_results(work.operations)),
        per=event,
    )
