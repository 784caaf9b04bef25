"""What to say of a bill of which more than half is spent waiting: launches, latencies, static power between events.

Such a figure says more of the batch, and of what the machine does beside, than of the network; tables, figures and
pages say so in words, with what the largest batch of the comparison makes of it.
"""

from collections.abc import Iterable

from analogsim.base.units import show
from analogsim.energy.bill import Bill

MOST = 0.5  #: share of the typical energy from which on it is said

_BOUND = {"launches": "launch-bound", "latency": "latency-bound", "dispatch": "dispatch-bound"}


def percent(share: float) -> str:
    """A share, never rounded up to all of it.

    Example:
      >>> percent(0.987), percent(0.99994), percent(0.999999)
      ('98.7 %', '99.99 %', 'over 99.99 %')
    """
    if share > 0.9999:
        return "99.99 %" if share < 0.99995 else "over 99.99 %"
    return f"{100 * share:.4g} %" if share >= 0.99 else f"{100 * share:.3g} %"


def mark(bill: Bill) -> str:
    """A few words for a cell or label; ``""`` where most of the energy does not wait."""
    return f"{percent(bill.waiting_share)} waits" if bill.waiting_share > MOST else ""


def sentences(bills: Iterable[Bill]) -> list[str]:
    """One a system that mostly waits at its smallest such batch, and what it takes at the largest batch."""
    found: dict[str, list[Bill]] = {}
    for bill in bills:
        found.setdefault(bill.system, []).append(bill)
    said = []
    for system, own in found.items():
        waiting = [bill for bill in own if bill.waiting_share > MOST]
        if not waiting:
            continue
        first, last = waiting[0], max(own, key=lambda bill: bill.batch)
        bound = f"{_BOUND[first.bound]}: " if first.bound in _BOUND else ""
        alike = len({(bill.energy_typical_j, bill.waiting_share) for bill in own}) == 1
        batch = "in any batch" if alike and len(own) > 1 else f"at batch {first.batch}"
        bound = f" is {bound}" if bound else ": "
        text = f"{system} {batch}{bound}{percent(first.waiting_share)} of its {_energy(first)} waits"
        if last.batch != first.batch and not alike:
            text += f"; at batch {last.batch} it takes {_energy(last)}, of which {percent(last.waiting_share)} waits"
        said.append(f"{text}.")
    return said


def _energy(bill: Bill) -> str:
    return show(bill.energy_typical_j, "J")
