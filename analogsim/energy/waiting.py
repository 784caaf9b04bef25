"""Notes on breakdowns of which more than half is spent waiting: launches, latencies, static power between events.

Such a figure depends more on the batch size and on the system's other load than on the network. Tables, figures and
pages state this, together with the figure at the largest batch of the comparison.
"""

from collections.abc import Iterable

from analogsim.base.units import show
from analogsim.energy.breakdown import EnergyBreakdown

MOST = 0.5  #: fraction of the typical energy above which waiting is mentioned

_BOUND = {"launches": "launch-bound", "latency": "latency-bound", "dispatch": "dispatch-bound"}


def percent(fraction: float) -> str:
    """Format a fraction as per cent, never rounded up to 100 %.

    Example:
      >>> percent(0.987), percent(0.99994), percent(0.999999)
      ('98.7 %', '99.99 %', 'over 99.99 %')
    """
    if fraction > 0.9999:
        return "99.99 %" if fraction < 0.99995 else "over 99.99 %"
    return f"{100 * fraction:.4g} %" if fraction >= 0.99 else f"{100 * fraction:.3g} %"


def mark(breakdown: EnergyBreakdown) -> str:
    """Return a short note for a table cell or label; ``""`` if at most half of the energy is spent waiting."""
    return f"{percent(breakdown.idle_fraction)} waiting" if breakdown.idle_fraction > MOST else ""


def sentences(breakdowns: Iterable[EnergyBreakdown]) -> list[str]:
    """Return one sentence per system that mostly waits: its smallest such batch compared with the largest batch."""
    idle_by_system: dict[str, list[EnergyBreakdown]] = {}
    for breakdown in breakdowns:
        idle_by_system.setdefault(breakdown.system, []).append(breakdown)
    notes = []
    for system, breakdowns_of_system in idle_by_system.items():
        waiting = [breakdown for breakdown in breakdowns_of_system if breakdown.idle_fraction > MOST]
        if not waiting:
            continue
        first, last = waiting[0], max(breakdowns_of_system, key=lambda breakdown: breakdown.batch)
        bound = f"{_BOUND[first.bound]}: " if first.bound in _BOUND else ""
        alike = len({(breakdown.energy_typical_j, breakdown.idle_fraction) for breakdown in breakdowns_of_system}) == 1
        batch = "in any batch" if alike and len(breakdowns_of_system) > 1 else f"at batch {first.batch}"
        bound = f" is {bound}" if bound else ": "
        note = f"{system} {batch}{bound}{percent(first.idle_fraction)} of its {_energy(first)} is spent waiting"
        if last.batch != first.batch and not alike:
            note += f"; at batch {last.batch} it takes {_energy(last)}, {percent(last.idle_fraction)} of it waiting"
        notes.append(f"{note}.")
    return notes


def _energy(breakdown: EnergyBreakdown) -> str:
    return show(breakdown.energy_typical_j, "J")
