"""The comparison as tables for a terminal. Ranges stay ranges, and every table ends with what it leaves out."""

from typing import TYPE_CHECKING

from analogsim.devices.units import show
from analogsim.energy.bill import Bill, Line, across_layers
from analogsim.tables import as_text, many, plain, share, simple_table

if TYPE_CHECKING:
    import rich.table

    from analogsim.energy.comparison import Comparison


def systems(comparison: "Comparison") -> "rich.table.Table":
    """One row a system and batch size."""
    table = simple_table(f"Energy of one inference ({many(comparison.macs)} MAC)")
    for name, justify in (("system", "left"), ("batch", "right"), ("low", "right"), ("high", "right"),
                          ("batch done in", "right"), ("note", "left")):  # fmt: skip
        table.add_column(name, justify=justify, no_wrap=name != "note")  # type: ignore[arg-type]
    last: Bill | None = None
    for bill in comparison.bills:
        if last is not None and last.system != bill.system:
            table.add_section()
        latency = "not known" if bill.latency_s is None else show(bill.latency_s, "s")
        low, high = show(bill.energy_low_j, "J"), show(bill.energy_high_j, "J")
        system, note = plain(bill.system), bill.note
        if last is not None and last.system == bill.system:
            system, note = "", "" if last.note == bill.note else bill.note
        table.add_row(system, str(bill.batch), low, high, latency, note)
        last = bill
    table.caption = plain(f"{comparison.includes}\n{comparison.excludes}")
    return table


def components(comparison: "Comparison") -> "rich.table.Table":
    """The hardware's bill line by line, all layers together, dearest first."""
    bill = comparison.hardware
    total_j = bill.energy_typical_j
    table = simple_table(f"Where the energy of one inference goes: {plain(bill.system)}, typical")
    for name, justify in (("component", "left"), ("action", "left"), ("count", "right"), ("each", "right"),
                          ("total", "right"), ("share", "right"), ("source of the price", "left")):  # fmt: skip
        table.add_column(name, justify=justify, no_wrap=not name.startswith("source"))  # type: ignore[arg-type]
    for line in sorted(across_layers(bill.lines), key=lambda entry: -entry.energy_j):
        count, each = _count(line), show(line.each_j, "J") + (f"/{line.unit}" if line.unit else "")
        table.add_row(
            line.component,
            line.action,
            count,
            each,
            show(line.energy_j, "J"),
            share(line.energy_j, total_j),
            line.source,
        )
    table.add_section()
    table.add_row("sum", "", "", "", show(total_j, "J"), share(total_j, total_j), _range(bill))
    table.caption = plain("\n".join([_arrays(comparison), *comparison.excludes.splitlines()[:2]]).strip())
    return table


def text(comparison: "Comparison") -> str:
    """Both tables as plain text."""
    return as_text(systems(comparison), components(comparison))


def _range(bill: Bill) -> str:
    if bill.energy_low_j == bill.energy_high_j:
        return "no range is known"
    return f"range {show(bill.energy_low_j, 'J')} to {show(bill.energy_high_j, 'J')}"


def _arrays(comparison: "Comparison") -> str:
    arrays = comparison.arrays
    if arrays is None:
        return ""
    write = "not known (Prices.cell_write_j)" if arrays.write_energy_j is None else show(arrays.write_energy_j, "J")
    readout = arrays.calibration_energy_j
    calibrated = f"; one readout for drift compensation: {show(readout, 'J')}" if readout else ""
    return (
        f"{arrays.tiles} tiles, {100 * arrays.used_share:.2g} % of their places used, {many(arrays.cells)} cells. "
        f"Not in the sum: writing every cell once: {write}{calibrated}."
    )


def _count(line: Line) -> str:
    if line.unit in ("S", "s", "B"):
        return show(line.count, line.unit)
    return f"{many(line.count)} {line.unit}".strip()
