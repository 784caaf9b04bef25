"""Energy breakdowns as tables for a terminal, with ranges and the costs that they exclude."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from analogsim.base.tables import as_count, as_percent, plain, simple_table
from analogsim.base.units import show
from analogsim.energy import coverage, waiting
from analogsim.energy.breakdown import EnergyBreakdown, EnergyItem, UnsupportedSystem, across_layers, one_per_system
from analogsim.energy.chip.arrays import AnalogArrays
from analogsim.energy.ratios import Ratio, ratios
from analogsim.energy.work.layer_work import LayerWork, Workload

if TYPE_CHECKING:
    import rich.table


def systems(
    breakdowns: Sequence[EnergyBreakdown], work: Workload, unsupported: Sequence[UnsupportedSystem]
) -> "rich.table.Table":
    """Return one row per system and batch size; the caption states ranges and what is counted and left out."""
    table = simple_table(f"Energy of one inference ({as_count(work.macs)} MAC)")
    for name in ("system", "batch", "low", "typical", "high", "time", "power", "bound by"):
        words = name in ("system", "bound by")
        table.add_column(name, justify="left" if words else "right", no_wrap=not words)
    for first in one_per_system(breakdowns):
        of_system = [breakdown for breakdown in breakdowns if breakdown.system == first.system]
        if table.row_count:
            table.add_section()
        same = all(_energies(breakdown) == _energies(first) for breakdown in of_system)  # in any batch: one row
        for breakdown in of_system[:1] if same else of_system:
            alone = same and len(of_system) > 1
            table.add_row(
                plain(breakdown.system) if breakdown is of_system[0] else "",
                "any" if alone else str(breakdown.batch),
                show(breakdown.energy_low_j, "J"),
                show(breakdown.energy_typical_j, "J"),
                show(breakdown.energy_high_j, "J"),
                ""
                if breakdown.latency_s is None
                else show(breakdown.latency_s / (breakdown.batch if alone else 1), "s"),
                "" if breakdown.power_w is None else show(breakdown.power_w, "W"),
                "; ".join(filter(None, (breakdown.bound, waiting.mark(breakdown)))),
            )
    for name, reasons in does_not_fit(unsupported, breakdowns).items():
        table.add_section()
        for batch, reason in reasons:
            table.add_row(plain(name), batch, "", "", "", "", "", plain(reason))
    times = "Time is that of the whole batch, or of one inference if the batch is any; empty if not known."
    spans = "\n".join(f"{breakdown.system}: {breakdown.note}." for breakdown in one_per_system(breakdowns))
    waits = "\n".join(waiting.sentences(breakdowns))
    compared = "\n".join(f"{ratio}." for ratio in shown_ratios(breakdowns))
    parts = (times, waits, compared, spans, coverage.includes(breakdowns), coverage.excludes(breakdowns, work))
    table.caption = plain("\n\n".join(part for part in parts if part))
    return table


def shown_ratios(breakdowns: Sequence[EnergyBreakdown]) -> list[Ratio]:
    """Return the ratios to the hardware at the largest batch, where idle energy is shared by the most examples."""
    largest = max(breakdown.batch for breakdown in breakdowns)
    return [ratio for ratio in ratios(breakdowns) if ratio.batch == largest]


def does_not_fit(
    unsupported: Sequence[UnsupportedSystem], breakdowns: Sequence[EnergyBreakdown]
) -> dict[str, list[tuple[str, str]]]:
    """Return batch and reason of every system that cannot hold the model; one row if the reason is the same at all."""
    batches = {breakdown.batch for breakdown in breakdowns}
    rows: dict[str, list[tuple[str, str]]] = {}
    for name in dict.fromkeys(entry.system for entry in unsupported):
        of_system = [entry for entry in unsupported if entry.system == name]
        alike = len(of_system) == len(batches) > 1 and len({entry.reason for entry in of_system}) == 1
        rows[name] = [("any" if alike else str(entry.batch), f"does not fit: {entry.reason}")
                      for entry in (of_system[:1] if alike else of_system)]  # fmt: skip
    return rows


def _energies(breakdown: EnergyBreakdown) -> tuple[float, float, float]:
    return breakdown.energy_low_j, breakdown.energy_typical_j, breakdown.energy_high_j


def components(
    breakdowns: Sequence[EnergyBreakdown], arrays: AnalogArrays | None, work: Workload
) -> "rich.table.Table":
    """Return the first breakdown (the hardware's) item by item, layers joined, largest energy first."""
    breakdown = breakdowns[0]
    total_j = breakdown.energy_typical_j
    table = simple_table(f"Energy of one inference by component: {plain(breakdown.system)}, typical")
    for name, justify in (("component", "left"), ("action", "left"), ("count", "right"), ("per unit", "right"),
                          ("total", "right"), ("fraction", "right"), ("source", "left")):  # fmt: skip
        table.add_column(name, justify=justify, no_wrap=not name.startswith("source"))  # type: ignore[arg-type]
    for item in sorted(across_layers(breakdown.items), key=lambda entry: -entry.energy_j):
        count, per_unit = _count(item), show(item.unit_energy_j, "J") + (f"/{item.unit}" if item.unit else "")
        table.add_row(
            item.component,
            item.action,
            count,
            per_unit,
            show(item.energy_j, "J"),
            as_percent(item.energy_j, total_j),
            item.source,
        )
    table.add_section()
    table.add_row("sum", "", "", "", show(total_j, "J"), as_percent(total_j, total_j), _range(breakdown))
    table.caption = plain(
        "\n".join([_arrays(arrays, breakdown), *coverage.excludes(breakdowns, work).splitlines()[:2]]).strip()
    )
    return table


def layers(breakdown: EnergyBreakdown, work: Workload) -> "rich.table.Table":
    """Return one row per layer of the hardware: its work, its joules, and the component that takes most of them."""
    table = simple_table(f"Energy of one inference by layer: {plain(breakdown.system)}, typical")
    for name in ("layer", "matrix", "vectors", "MAC", "total", "fraction", "per MAC", "largest component"):
        table.add_column(
            name, justify="left" if name in ("layer", "largest component") else "right", no_wrap=name != "layer"
        )
    passes: dict[str, list[LayerWork]] = {}
    for layer in work.layers:
        passes.setdefault(layer.use.path, []).append(layer)
    for path in dict.fromkeys([*passes, *(item.layer for item in breakdown.items)]):
        of_layer = [item for item in breakdown.items if item.layer == path]
        energy_j = sum(item.energy_j for item in of_layer)
        macs = sum(layer.passes * layer.macs for layer in passes.get(path, []))
        first = passes[path][0] if path in passes else None
        most = max(of_layer, key=lambda item: item.energy_j).component if of_layer else ""
        table.add_row(
            plain(path) or "(the rest of the model)",
            "" if first is None else " x ".join(map(str, first.use.weights.shape)),
            "" if first is None else as_count(sum(layer.passes * layer.vectors for layer in passes[path])),
            as_count(macs) if macs else "",
            show(energy_j, "J"),
            as_percent(energy_j, breakdown.energy_typical_j),
            show(energy_j / macs, "J") if macs else "",
            most,
        )
    return table


def _range(breakdown: EnergyBreakdown) -> str:
    if breakdown.energy_low_j == breakdown.energy_high_j:
        return "no range is known"
    return f"range {show(breakdown.energy_low_j, 'J')} to {show(breakdown.energy_high_j, 'J')}"


def _arrays(arrays: AnalogArrays | None, breakdown: EnergyBreakdown) -> str:
    if arrays is None:
        return ""
    write = (
        "not known (EnergyTable.cell_write_j)" if arrays.write_energy_j is None else show(arrays.write_energy_j, "J")
    )
    readout = arrays.calibration_energy_j
    calibrated = f"; one readout for drift compensation: {show(readout, 'J')}" if readout else ""
    not_counted = "" if any(item.component == "writing" for item in breakdown.items) else "Not in the sum: "
    return (
        f"{arrays.tiles} tiles, {100 * arrays.utilisation:.2g} % of their capacity used, "
        f"{as_count(arrays.cells)} cells, {arrays.area_m2 * 1e6:.3g} mm² of blocks in use. "
        f"{not_counted}writing every cell once: {write}{calibrated}."
    )


def _count(item: EnergyItem) -> str:
    if item.unit in ("S", "s", "J", "B", "B s", "W s", "bit"):
        return show(item.count, item.unit)
    return f"{as_count(item.count)} {item.unit}".strip()
