"""Bills as tables for a terminal. Ranges stay ranges, and every table ends with what it leaves out."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from analogsim.base.tables import many, plain, share, simple_table
from analogsim.base.units import show
from analogsim.energy import coverage, waiting
from analogsim.energy.bill import Bill, Line, Unfit, across_layers, one_per_system
from analogsim.energy.chip.arrays import Arrays
from analogsim.energy.ratios import Ratio, ratios
from analogsim.energy.work.layer_work import LayerWork, Workload

if TYPE_CHECKING:
    import rich.table


def systems(bills: Sequence[Bill], work: Workload, unfit: Sequence[Unfit]) -> "rich.table.Table":
    """One row per system and batch size; below, what each range spans and what each bill counts and leaves out."""
    table = simple_table(f"Energy of one inference ({many(work.macs)} MAC)")
    for name in ("system", "batch", "low", "typical", "high", "time", "power", "bound by"):
        words = name in ("system", "bound by")
        table.add_column(name, justify="left" if words else "right", no_wrap=not words)
    for first in one_per_system(bills):
        of_system = [bill for bill in bills if bill.system == first.system]
        if table.row_count:
            table.add_section()
        same = all(_energies(bill) == _energies(first) for bill in of_system)  # in any batch: one row
        for bill in of_system[:1] if same else of_system:
            alone = same and len(of_system) > 1
            table.add_row(
                plain(bill.system) if bill is of_system[0] else "",
                "any" if alone else str(bill.batch),
                show(bill.energy_low_j, "J"),
                show(bill.energy_typical_j, "J"),
                show(bill.energy_high_j, "J"),
                "" if bill.latency_s is None else show(bill.latency_s / (bill.batch if alone else 1), "s"),
                "" if bill.power_w is None else show(bill.power_w, "W"),
                "; ".join(filter(None, (bill.bound, waiting.mark(bill)))),
            )
    for name, reasons in does_not_fit(unfit, bills).items():
        table.add_section()
        for batch, reason in reasons:
            table.add_row(plain(name), batch, "", "", "", "", "", plain(reason))
    times = "Time is that of a whole batch, of one inference where the batch is any; none where it is not known."
    spans = "\n".join(f"{bill.system}: {bill.note}." for bill in one_per_system(bills))
    waits = "\n".join(waiting.sentences(bills))
    beside = "\n".join(f"{ratio}." for ratio in shown_ratios(bills))
    parts = (times, waits, beside, spans, coverage.includes(bills), coverage.excludes(bills, work))
    table.caption = plain("\n\n".join(part for part in parts if part))
    return table


def shown_ratios(bills: Sequence[Bill]) -> list[Ratio]:
    """Ratios to the hardware's joules at the largest batch, where waiting is shared by most examples."""
    largest = max(bill.batch for bill in bills)
    return [ratio for ratio in ratios(bills) if ratio.batch == largest]


def does_not_fit(unfit: Sequence[Unfit], bills: Sequence[Bill]) -> dict[str, list[tuple[str, str]]]:
    """Batch and reason of every system that cannot hold the model; one row where it is so at any batch."""
    batches = {bill.batch for bill in bills}
    rows: dict[str, list[tuple[str, str]]] = {}
    for name in dict.fromkeys(entry.system for entry in unfit):
        of_system = [entry for entry in unfit if entry.system == name]
        alike = len(of_system) == len(batches) > 1 and len({entry.reason for entry in of_system}) == 1
        rows[name] = [("any" if alike else str(entry.batch), f"does not fit: {entry.reason}")
                      for entry in (of_system[:1] if alike else of_system)]  # fmt: skip
    return rows


def _energies(bill: Bill) -> tuple[float, float, float]:
    return bill.energy_low_j, bill.energy_typical_j, bill.energy_high_j


def components(bills: Sequence[Bill], arrays: Arrays | None, work: Workload) -> "rich.table.Table":
    """The hardware's bill, which is the first, line by line, all layers together, dearest first."""
    bill = bills[0]
    total_j = bill.energy_typical_j
    table = simple_table(f"Where the energy of one inference goes: {plain(bill.system)}, typical")
    for name, justify in (("component", "left"), ("action", "left"), ("count", "right"), ("each", "right"),
                          ("total", "right"), ("share", "right"), ("source of the price", "left")):  # fmt: skip
        table.add_column(name, justify=justify, no_wrap=not name.startswith("source"))  # type: ignore[arg-type]
    for line in sorted(across_layers(bill.lines), key=lambda entry: -entry.energy_j):
        count, price = _count(line), show(line.each_j, "J") + (f"/{line.unit}" if line.unit else "")
        table.add_row(
            line.component,
            line.action,
            count,
            price,
            show(line.energy_j, "J"),
            share(line.energy_j, total_j),
            line.source,
        )
    table.add_section()
    table.add_row("sum", "", "", "", show(total_j, "J"), share(total_j, total_j), _range(bill))
    table.caption = plain("\n".join([_arrays(arrays, bill), *coverage.excludes(bills, work).splitlines()[:2]]).strip())
    return table


def layers(bill: Bill, work: Workload) -> "rich.table.Table":
    """One row per layer of the hardware: its work, its joules, and what takes most of them."""
    table = simple_table(f"Energy of one inference by layer: {plain(bill.system)}, typical")
    for name in ("layer", "matrix", "vectors", "MAC", "total", "share", "each MAC", "most in"):
        table.add_column(name, justify="left" if name in ("layer", "most in") else "right", no_wrap=name != "layer")
    passes: dict[str, list[LayerWork]] = {}
    for layer in work.layers:
        passes.setdefault(layer.use.path, []).append(layer)
    for path in dict.fromkeys([*passes, *(line.layer for line in bill.lines)]):
        of_layer = [line for line in bill.lines if line.layer == path]
        energy_j = sum(line.energy_j for line in of_layer)
        macs = sum(layer.passes * layer.macs for layer in passes.get(path, []))
        first = passes[path][0] if path in passes else None
        most = max(of_layer, key=lambda line: line.energy_j).component if of_layer else ""
        table.add_row(
            plain(path) or "(the rest of the model)",
            "" if first is None else " x ".join(map(str, first.use.weights.shape)),
            "" if first is None else many(sum(layer.passes * layer.vectors for layer in passes[path])),
            many(macs) if macs else "",
            show(energy_j, "J"),
            share(energy_j, bill.energy_typical_j),
            show(energy_j / macs, "J") if macs else "",
            most,
        )
    return table


def _range(bill: Bill) -> str:
    if bill.energy_low_j == bill.energy_high_j:
        return "no range is known"
    return f"range {show(bill.energy_low_j, 'J')} to {show(bill.energy_high_j, 'J')}"


def _arrays(arrays: Arrays | None, bill: Bill) -> str:
    if arrays is None:
        return ""
    write = "not known (Prices.cell_write_j)" if arrays.write_energy_j is None else show(arrays.write_energy_j, "J")
    readout = arrays.calibration_energy_j
    calibrated = f"; one readout for drift compensation: {show(readout, 'J')}" if readout else ""
    apart = "" if any(line.component == "writing" for line in bill.lines) else "Not in the sum: "
    return (
        f"{arrays.tiles} tiles, {100 * arrays.used_share:.2g} % of their places used, {many(arrays.cells)} cells, "
        f"{arrays.area_m2 * 1e6:.3g} mm² of blocks in use. "
        f"{apart}writing every cell once: {write}{calibrated}."
    )


def _count(line: Line) -> str:
    if line.unit in ("S", "s", "J", "B", "B s", "W s", "bit"):
        return show(line.count, line.unit)
    return f"{many(line.count)} {line.unit}".strip()
