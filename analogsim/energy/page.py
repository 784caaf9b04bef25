"""A comparison as HTML: sections of any report, or a separate page."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from analogsim import plot, report
from analogsim.base import files
from analogsim.base.tables import as_percent
from analogsim.base.units import show
from analogsim.base.version import __version__
from analogsim.energy import coverage, export, waiting
from analogsim.energy import tables as tables_of
from analogsim.energy.breakdown import EnergyBreakdown, UnsupportedSystem, across_layers, one_per_system
from analogsim.energy.work.layer_work import Workload

if TYPE_CHECKING:
    import xarray


def write(
    path: str | Path, breakdowns: Sequence[EnergyBreakdown], work: Workload, unsupported: Sequence[UnsupportedSystem]
) -> Path:
    """Write one self-contained HTML page about a comparison, create its folder if needed, and return the path."""
    target = Path(path)
    folder = files.output_folder(target.parent)
    title = f"Energy of one inference: {breakdowns[0].system}"
    lead = f"{work.macs:,.0f} multiply-accumulates; made with analogsim {__version__}"
    return files.write(folder / target.name, report.page(title, lead, sections(breakdowns, work, unsupported)))


def sections(
    breakdowns: Sequence[EnergyBreakdown], work: Workload, unsupported: Sequence[UnsupportedSystem]
) -> list[tuple[str, str]]:
    """Return heading and HTML of every section, for ``report.page``."""
    data = export.as_dataset(breakdowns, work, unsupported)
    parts = [("Comparison of systems", figure(breakdowns, data) + systems_table(breakdowns, unsupported))]
    if data.sizes["batch"] > 1:
        curve = report.figure(
            functools.partial(plot.energy_batch, data), "Energy of one inference over the batch size",
            "Lines: typical. Bands: low to high.", phone=(3.6, 4.6),
        )  # fmt: skip
        parts.append(("Energy over the batch size", curve))
    return [
        *parts,
        ("Energy by component", components_table(breakdowns[0])),
        ("Not included", left_out(breakdowns, work)),
    ]


def tables(breakdowns: Sequence[EnergyBreakdown], work: Workload, unsupported: Sequence[UnsupportedSystem]) -> str:
    """Return tables of systems, components and omissions as HTML, for a section of another report."""
    return systems_table(breakdowns, unsupported) + components_table(breakdowns[0]) + (
        report.paragraph("Not included:", note=True) + left_out(breakdowns, work)
    )  # fmt: skip


def figure(breakdowns: Sequence[EnergyBreakdown], data: "xarray.Dataset") -> str:
    """Return the bar chart of all systems as HTML."""
    bars = len({(b.system, b.energy_typical_j) for b in breakdowns})
    height = 1.2 + 0.36 * bars
    return report.figure(
        lambda ax: plot.energy(data, ax),
        "Energy of one inference on each system, from low to high; labels mark systems that mostly wait",
        size=(10.4, height),
        phone=(3.6, height + 0.6),
    )


def systems_table(breakdowns: Sequence[EnergyBreakdown], unsupported: Sequence[UnsupportedSystem]) -> str:
    """Return an HTML table with one row per system and batch size."""
    rows = [
        [
            b.system,
            str(b.batch),
            f"{show(b.energy_low_j, 'J')} to {show(b.energy_high_j, 'J')}",
            show(b.energy_typical_j, "J"),
            "not known" if b.latency_s is None else show(b.latency_s, "s"),
            "" if b.power_w is None else show(b.power_w, "W"),
            "; ".join(filter(None, (b.bound, waiting.mark(b)))),
        ]
        for b in breakdowns
    ]
    rows += [
        [name, batch, reason, "", "", "", ""]
        for name, reasons in tables_of.does_not_fit(unsupported, breakdowns).items()
        for batch, reason in reasons
    ]
    header = ["system", "batch", "energy per inference", "typical", "time of the batch", "power", "bound by"]
    spans = [f"{b.system}: {b.note}." for b in one_per_system(breakdowns)]
    lists = (
        ("Systems that mostly wait, so that their energy depends on the batch size:", waiting.sentences(breakdowns)),
        ("Ratios to the hardware, per inference:", list(map(str, tables_of.shown_ratios(breakdowns)))),
        ("Meaning of the ranges:", spans),
    )
    return report.table(header, rows, "Energy of one inference, low to high", (0, 6)) + "".join(
        report.paragraph(title, note=True) + report.bullets(items) for title, items in lists if items
    )


def components_table(breakdown: EnergyBreakdown) -> str:
    """Return an HTML table of the hardware's energy by component, with numbered sources."""
    total = breakdown.energy_typical_j
    items = sorted(across_layers(breakdown.items), key=lambda item: -item.energy_j)
    numbers = {s: i + 1 for i, s in enumerate(dict.fromkeys(str(s) for item in items for s in item.sources))}
    rows = [
        [
            item.component,
            item.action,
            f"{item.count:.4g} {item.unit}".strip(),
            show(item.unit_energy_j, f"J/{item.unit}" if item.unit else "J"),
            show(item.energy_j, "J"),
            as_percent(item.energy_j, total),
            ", ".join(str(numbers[str(s)]) for s in item.sources),
        ]
        for item in items
    ]
    header = ["component", "action", "count", "per unit", "per inference", "fraction", "sources"]
    caption = f"Energy of one inference by component: {show(total, 'J')}, typical"
    return (
        report.table(header, rows, caption, (0, 1))
        + report.paragraph("Sources:", note=True)
        + report.numbered(list(numbers))
    )


def left_out(breakdowns: Sequence[EnergyBreakdown], work: Workload) -> str:
    """Return the list of excluded costs as HTML."""
    return report.bullets(coverage.excludes(breakdowns, work).splitlines())
