"""Sentences on the costs that the breakdowns of a comparison include and exclude, for tables and pages."""

from collections.abc import Iterable

from analogsim.base.tables import as_count
from analogsim.energy.breakdown import EnergyBreakdown, one_per_system
from analogsim.energy.work.layer_work import Workload


def includes(breakdowns: Iterable[EnergyBreakdown]) -> str:
    """Return the components and actions that each breakdown counts, one line per system."""
    return "\n".join(f"{breakdown.system} counts {breakdown.includes}." for breakdown in one_per_system(breakdowns))


def excludes(breakdowns: Iterable[EnergyBreakdown], work: Workload) -> str:
    """Return the model's work and the systems that count all of it, then one line per system with its exclusions."""
    operations, systems = work.operations, one_per_system(breakdowns)
    complete = [breakdown.system for breakdown in systems if not breakdown.omits]
    counts = "counts" if len(complete) == 1 else "count"
    unknown = ", ".join(name for name, _ in operations.uncounted)
    common = (
        f"The model computes {as_count(work.analog_macs)} of {as_count(work.macs)} MAC in analog layers and "
        f"{as_count(operations.results / operations.examples)} results of other arithmetic. "
        f"{', '.join(complete)} {counts} all of it. No system counts cooling or losses of the power supply"
        f"{f', or the arithmetic of {unknown}, which is not known' if unknown else ''}."
    )
    lines = [f"{b.system} excludes {'; '.join([*map(str, b.omits), b.excludes])}." for b in systems]
    return "\n".join([common, *lines])
