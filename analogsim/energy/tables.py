"""The comparison as tables for a terminal. Ranges stay ranges, and every table ends with what it leaves out."""

import io
from typing import TYPE_CHECKING

from analogsim.devices.units import show
from analogsim.energy.bill import Bill, Line, across_layers

if TYPE_CHECKING:
    import rich.table

    from analogsim.energy.comparison import Comparison

_TEXT_WIDTH = 120


def systems(comparison: "Comparison") -> "rich.table.Table":
    """One row a system and batch size."""
    table = _table(f"Energy of one inference ({_many(comparison.macs)} MAC)")
    for name, justify in (("system", "left"), ("batch", "right"), ("low", "right"), ("high", "right"),
                          ("batch done in", "right"), ("note", "left")):  # fmt: skip
        table.add_column(name, justify=justify, no_wrap=name != "note")  # type: ignore[arg-type]
    last: Bill | None = None
    for bill in comparison.bills:
        if last is not None and last.system != bill.system:
            table.add_section()
        latency = "not known" if bill.latency_s is None else show(bill.latency_s, "s")
        low, high = show(bill.energy_low_j, "J"), show(bill.energy_high_j, "J")
        system, note = _plain(bill.system), bill.note
        if last is not None and last.system == bill.system:
            system, note = "", "" if last.note == bill.note else bill.note
        table.add_row(system, str(bill.batch), low, high, latency, note)
        last = bill
    table.caption = _plain(f"{comparison.includes}\n{comparison.excludes}")
    return table


def components(comparison: "Comparison") -> "rich.table.Table":
    """The hardware's bill line by line, all layers together, dearest first."""
    bill = comparison.hardware
    total_j = bill.energy_typical_j
    table = _table(f"Where the energy of one inference goes: {_plain(bill.system)}, typical")
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
    table.caption = _plain("\n".join([_arrays(comparison), *comparison.excludes.splitlines()[:2]]).strip())
    return table


def text(comparison: "Comparison") -> str:
    """Both tables as plain text."""
    import rich.console

    console = rich.console.Console(file=io.StringIO(), width=_TEXT_WIDTH, color_system=None)
    console.print(systems(comparison))
    console.print()
    console.print(components(comparison))
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())  # type: ignore[attr-defined]


def _table(title: str) -> "rich.table.Table":
    import rich.box
    import rich.table

    return rich.table.Table(
        title=title,
        box=rich.box.SIMPLE,
        title_justify="left",
        caption_justify="left",
        caption_style="",
        title_style="bold",
    )


def _plain(words: str) -> str:
    """Text that rich prints as it is: a hardware's name is no markup."""
    import rich.markup

    return rich.markup.escape(words)


def share(part_j: float, total_j: float) -> str:
    """A part in per cent of the whole; what is small but there is not shown as nothing."""
    if total_j == 0:
        return ""
    percent = 100 * part_j / total_j
    return "< 0.1 %" if 0 < percent < 0.05 else f"{percent:.1f} %"


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
        f"{arrays.tiles} tiles, {100 * arrays.used_share:.2g} % of their places used, {_many(arrays.cells)} cells. "
        f"Not in the sum: writing every cell once: {write}{calibrated}."
    )


def _count(line: Line) -> str:
    if line.unit in ("S", "s", "B"):
        return show(line.count, line.unit)
    return f"{_many(line.count)} {line.unit}".strip()


def _many(number: float) -> str:
    """A count: whole below a million, then with a prefix."""
    return f"{number:,.0f}" if number < 1e6 else show(number, "x")[:-1]
