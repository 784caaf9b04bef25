"""Sentences on what the breakdowns of a comparison count and leave out, for tables and pages."""

from collections.abc import Iterable

from analogsim.base.tables import as_count
from analogsim.energy.breakdown import EnergyBreakdown, one_per_system
from analogsim.energy.work.layer_work import Workload


def includes(breakdowns: Iterable[EnergyBreakdown]) -> str:
    """Return what each system's breakdown counts, one text line per system."""
    return "\n".join(f"{breakdown.system} counts {breakdown.includes}." for breakdown in one_per_system(breakdowns))


def excludes(breakdowns: Iterable[EnergyBreakdown], work: Workload) -> str:
    """Return what the model computes and which systems count all of it, then what each leaves out, one line each."""
    operations, systems = work.operations, one_per_system(breakdowns)
    complete = [breakdown.system for breakdown in systems if not breakdown.omits]
    counts = "counts" if len(complete) == 1 else "count"
    unknown = ", ".join(name for name, _ in operations.uncounted)
    common = (
        f"The model computes {as_count(work.analog_macs)} of {as_count(work.macs)} MAC in analog layers, "
        f"{as_count(operations.results / operations.examples)} results of other arithmetic. "
        f"{', '.join(complete)} {counts} all of it. Left out everywhere: cooling and losses of the power supply"
        f"{f'; arithmetic of {unknown}, which is not known' if unknown else ''}."
    )
    lines = [f"{b.system} leaves out {'; '.join([*map(str, b.omits), b.excludes])}." for b in systems]
    return "\n".join([common, *lines])
