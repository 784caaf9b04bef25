"""Energy of a brain for as many synaptic events as a model has multiply-accumulates: two definitions, each a range.

    arriving spike      e = P / (synapses x rate)          all-in: the whole brain's power over all its events
    released vesicle    e = ATP x joules per ATP           marginal: a vesicle and its consequences

An arriving spike is one that reaches a synapse, whether a vesicle is released or not; all of the brain's 20 W is shared
among them, cells at rest and their upkeep included. With 1.5e14 synapses a mean rate of 4 Hz (Attwell and Laughlin, J.
Cereb. Blood Flow Metab. 21, 1133 (2001), doi 10.1097/00004647-200110000-00001, recalled) makes 33 fJ (low), one of
0.16 Hz (Lennie, Curr. Biol. 13, 493 (2003), doi 10.1016/S0960-9822(03)00135-0) 0.83 pJ (high). A released vesicle takes
1.64e5 ATP (Attwell and Laughlin, recalled), 8 to 14 fJ at 30 to 50 kJ/mol, and nothing else: no spike that comes
without one, no cell at rest. Typical is the geometric mean of either band. The two are never mixed: their figures stand
to each other as TrueNorth's 26 and 2.3 pJ do (``neuromorphic``). A synaptic event is no 8-bit multiply-accumulate, and
a brain does not compute this network: the rows are scales, not competitors.

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

ATP = 1.64e5  #: of one released vesicle and what follows from it
ATP_J = (30e3 / 6.02214076e23, 50e3 / 6.02214076e23)  #: joules of one, 30 to 50 kJ/mol
VESICLE_J = (ATP * ATP_J[0], ATP * ATP_J[1])

POWER_W, SYNAPSES, RATES_HZ = 20.0, 1.5e14, (0.16, 4.0)

_ATTWELL = cited("attwell2001", note="1.64e5 ATP a vesicle, 4 Hz", recalled=True)
_LENNIE = cited("lennie2003", note="mean rate 0.16 Hz")
_WHOLE = Source(note="20 W, 1.5e14 synapses", recalled=True)
_GIVEN = Source(note="given: power, synapses or rate of this brain")
_ATP = Source(note="30 to 50 kJ/mol", recalled=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Brain:
    """A brain whose power is divided among the arriving spikes.

    Attributes:
      name: name of the system.
      power_w: power of the whole brain.
      synapses: number of synapses that share it.
      rate_hz: mean rate at which a synapse receives spikes: one number, or the lowest and the highest.

    Raises:
      InputError: for a number that is not positive, or rates that fall.

    Example:
      >>> low, typical, high = Brain(rate_hz=1.0).event_j
      >>> round(typical * 1e15)     # fJ an arriving spike: 20 W / 1.5e14 / 1 Hz
      133
    """

    name: str = "brain"
    power_w: float = POWER_W
    synapses: float = SYNAPSES
    rate_hz: Any = RATES_HZ

    def __post_init__(self) -> None:
        rates = self.rate_hz if isinstance(self.rate_hz, tuple | list) else (self.rate_hz,) * 2
        for field, unit, values in (("power_w", "W", (self.power_w,)), ("synapses", "", (self.synapses,)),
                                    ("rate_hz", "Hz", rates)):  # fmt: skip
            shown = f"Brain.{field} = {getattr(self, field)!r}"
            if not all(isinstance(v, int | float) and not isinstance(v, bool) and 0 < v < math.inf for v in values):
                raise InputError(f"{shown}: must be greater than 0 and finite{f' (unit: {unit})' if unit else ''}")
        if len(rates) != 2 or rates[0] > rates[1]:
            raise InputError(f"Brain.rate_hz = {self.rate_hz!r}: must be one rate, or the lowest and the highest")
        object.__setattr__(self, "rate_hz", tuple(float(rate) for rate in rates))

    @property
    def event_j(self) -> tuple[float, float, float]:
        """Joules of an arriving spike: low at the highest rate, typical (geometric mean), high at the lowest."""
        low_j, high_j = (self.power_w / (self.synapses * rate) for rate in reversed(self.rate_hz))
        return low_j, math.sqrt(low_j * high_j), high_j


def breakdown(brain: Brain, work: Workload, batch: int) -> EnergyBreakdown:
    """Return the energy of one arriving spike per multiply-accumulate, each with its fraction of the whole power."""
    is_default = (brain.power_w, brain.synapses, brain.rate_hz) == (POWER_W, SYNAPSES, RATES_HZ)
    slowest, fastest = brain.rate_hz
    rates = f"{slowest:g} to {fastest:g} Hz" if slowest < fastest else f"{slowest:g} Hz"
    return _bill(
        brain.name,
        "arriving spike",
        brain.event_j,
        (_ATTWELL, _LENNIE, _WHOLE) if is_default else (_GIVEN,),
        f"all-in: an arriving spike for each MAC, its share of {brain.power_w:g} W among {brain.synapses:.3g} synapses "
        f"at a mean rate of {rates}",
        "all but a count of arriving spikes: no brain computes this network",
        work,
        batch,
    )


def vesicles(work: Workload, batch: int) -> EnergyBreakdown:
    """Return the energy of one released vesicle per multiply-accumulate, without the rest of the brain."""
    low_j, high_j = VESICLE_J
    return _bill(
        "brain vesicles",
        "released vesicle",
        (low_j, math.sqrt(low_j * high_j), high_j),
        (_ATTWELL, _ATP),
        "marginal: a released vesicle for each MAC, 1.64e5 ATP at 30 to 50 kJ/mol",
        "spikes that release no vesicle, cells at rest, upkeep: about all of a brain's power; no brain computes this "
        "network",
        work,
        batch,
    )


def _bill(
    name: str,
    event: str,
    unit_energy_j: tuple[float, float, float],
    sources: tuple[Source, ...],
    note: str,
    excludes: str,
    work: Workload,
    batch: int,
) -> EnergyBreakdown:
    line = EnergyItem(
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
        items=merge_items([line]),
        latency_s=None,
        note=note,
        excludes=excludes,
        omits=(*omissions.lookups(work.operations), *omissions.other_results(work.operations)),
        per=event,
    )
