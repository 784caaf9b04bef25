"""``analogsim devices``: a table of all memory technologies, the details of one, and both as JSON for scripts."""

import dataclasses
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax

from analogsim import report
from analogsim.base import files
from analogsim.base.errors import InputError, nearest_of
from analogsim.base.extrapolation import MARK
from analogsim.base.field_rules import rule_of
from analogsim.base.units import show, show_time
from analogsim.devices.crossbar.datasheet import CELLS, DataSheet, Datum, datasheet
from analogsim.devices.crossbar.measured import MeasuredCell

if TYPE_CHECKING:
    import rich.console
    import rich.table

_WIDTH = 100
_NONE = "–"

#: Quantities of a data sheet in the order shown, with their labels.
_QUANTITIES = {
    "conductance": "conductance range in use",
    "on_off": "on/off ratio of that range",
    "levels": "levels",
    "pulse_width": "write pulse",
    "pulse_energy": "energy of a pulse",
    "write_energy": "energy to write a cell",
    "endurance": "writes a cell endures",
    "validity": "data until",
    "temperature": "temperature",
}


def build(name: str, csv: Path | None = None) -> Any:
    """Build the cell of a name with its defaults; ``measured`` is built from a CSV table.

    Raises:
      InputError: for an unknown name, with the nearest known one, or if the table is missing or not applicable.
    """
    if name not in CELLS:
        raise InputError(f"unknown device {name!r}; {nearest_of(name, CELLS)}")
    if name == "measured":
        if csv is None:
            raise InputError(
                "device 'measured' needs --csv FILE, a table with the header conductance_s,sigma_s,time_s "
                "(analogsim.devices.MeasuredCell)"
            )
        return MeasuredCell.from_csv(csv)
    _no_table(csv)
    return CELLS[name]()


def extrapolated(cell: Any, name: str) -> Any:
    """Return the cell with extrapolation beyond its last measured time switched on.

    Raises:
      InputError: for a cell whose model is valid at all times, or has no trend over time to extrapolate.
    """
    if not hasattr(cell, "extrapolate"):
        why = "is valid at all times" if cell.time_limit_s is None else "has no trend over time to extrapolate"
        raise InputError(f"--extrapolate: device {name!r} {why}; leave it out")
    return cell.replace(extrapolate=True)


def _no_table(csv: Path | None) -> None:
    if csv is not None:
        raise InputError(f"--csv {csv}: only the device 'measured' reads a table")


def sheets() -> dict[str, DataSheet]:
    """Return the data sheet of every cell by name; that of ``measured`` has no numbers without a table."""
    return {name: datasheet(MeasuredCell if name == "measured" else make()) for name, make in CELLS.items()}


def table() -> "rich.table.Table":
    """Tabulate all technologies, one per row, at most 100 characters wide."""
    overview = _table(
        "Memory cells", name="left", technology="left", conductance="right", levels="right", on_off="right",
        write="right", endures="right", until="right",
    )  # fmt: skip
    for name, sheet in sheets().items():
        cells = (sheet.conductance, sheet.levels, sheet.on_off, sheet.write_energy, sheet.endurance)
        until = _NONE if sheet.conductance is None else "law" if sheet.validity is None else words(sheet.validity)
        overview.add_row(name, sheet.short, *map(words, cells), until)
    overview.caption = (
        "* recalled, assumed or an order of magnitude: not checked.   –: no source gives a figure.\n"
        "conductance: the range in use, of which on/off is the ratio.   write: energy to write a cell.\n"
        "until: last time with data, reading later is refused; law: a fitted law, valid at all times.\n"
        "Every figure with its source, and three diagrams: analogsim devices NAME"
    )
    return overview


def details(name: str, cell: Any) -> list["rich.table.Table"]:
    """Tabulate the data sheet of one cell, and its fields with units and numbered sources."""
    from rich.markup import escape

    sheet = datasheet(cell)
    page = _table(f"{name}: {sheet.technology}", quantity="left", value="right", source="left")
    for key, title in _QUANTITIES.items():
        datum = getattr(sheet, key)
        value = "at all times (law)" if key == "validity" and datum is None else words(datum)
        value += f" {MARK}" * (key == "validity" and getattr(cell, "extrapolated_after_s", None) is not None)
        page.add_row(title, value, escape(_origin(datum)))
    page.add_section()
    for title, text in (("after programming", sheet.retention), ("modelled", ", ".join(sheet.modelled)),
                        ("not modelled", ", ".join(sheet.not_modelled))):  # fmt: skip
        page.add_row(title, "", escape(text))
    page.columns[2].no_wrap = False
    page.caption = "* recalled, assumed or an order of magnitude: not checked.   –: no source gives a figure."
    if getattr(cell, "extrapolated_after_s", None) is not None:
        page.caption += f"\n{MARK} extrapolated along the trend of the last decade."

    references: dict[str, int] = {}
    fields = _table("Fields", field="left", value="right", meaning="left", source="right")
    for row in _fields(cell, "", references):
        fields.add_row(*map(escape, row))
    fields.columns[1].no_wrap = fields.columns[2].no_wrap = False
    fields.caption = escape("\n".join(f"[{number}] {text}" for text, number in references.items()))
    return [page, fields]


def _origin(datum: Datum | None) -> str:
    if datum is None:
        return ""
    return f"{datum.note}: {datum.source}" if datum.note else str(datum.source)


def _fields(item: Any, prefix: str, references: dict[str, int]) -> Iterator[tuple[str, str, str, str]]:
    """Yield name, value with unit, meaning and source number of every field; nested fields have dotted names."""
    for f in dataclasses.fields(item):
        value, rule = getattr(item, f.name), rule_of(f)
        if dataclasses.is_dataclass(value):
            yield from _fields(value, f"{prefix}{f.name}.", references)
            continue
        source = str(rule.source)
        number = f"[{references.setdefault(source, len(references) + 1)}]" if source else ""
        yield prefix + f.name, _value(value, rule.unit), rule.doc, number


def _value(value: Any, unit: str) -> str:
    if isinstance(value, tuple):
        return ", ".join(_value(v, unit) for v in value)
    if isinstance(value, bool | str | int | None):
        return str(value)
    if isinstance(value, float):
        return show(value, unit, 6)
    return f"{'x'.join(map(str, value.shape))} values" if hasattr(value, "shape") else repr(value)


def words(datum: Datum | None) -> str:
    """Format a datum: ``0.3–2 nJ*``; the star marks values that are not checked."""
    if datum is None:
        return _NONE
    ends = datum.value if isinstance(datum.value, tuple) else (datum.value,)
    if datum.unit == "K":
        text = "–".join(f"{kelvin - 273.15:g}" for kelvin in ends) + " °C"
    elif datum.unit == "s" and len(ends) == 1:
        text = show_time(ends[0])
    elif datum.unit:
        text = _range(ends, datum.unit)
    else:
        text = "–".join(map(_count, ends))
    return f"{datum.relation}{' ' * bool(datum.relation)}{text}{'*' * datum.recalled}"


def _range(ends: tuple[float, ...], unit: str) -> str:
    """Format a range in the unit of its upper end: ``0.25–25 µS``."""
    last = show(ends[-1], unit)
    if len(ends) == 1:
        return last
    factor = float(last.split()[0]) / ends[-1]
    low = ends[0] * factor
    return f"{low:.{3 if low >= 1 else 2}g}–{last}"


def _count(number: float) -> str:
    if math.isinf(number):
        return "∞"
    if number < 1e4:
        return f"{number:.3g}" if number < 100 else f"{number:.0f}"
    return f"{number:.0e}".replace("e+0", "e").replace("e+", "e")


def json_text(name: str | None = None, csv: Path | None = None) -> str:
    """Return data sheets by name as JSON, in SI units; null if no source gives a figure or a ratio is unbounded."""
    wanted = sheets() if name is None else {name: datasheet(build(name, csv))}
    return json.dumps({key: _plain(vars(sheet)) for key, sheet in wanted.items()}, indent=2, ensure_ascii=False)


def _plain(item: Any) -> Any:
    if isinstance(item, Datum):
        return _plain(item._asdict() | {"source": str(item.source)})
    if isinstance(item, dict):
        return {name: _plain(value) for name, value in item.items()}
    if isinstance(item, tuple):
        return [_plain(value) for value in item]
    return None if isinstance(item, float) and math.isinf(item) else item


def run(name: str | None, as_json: bool, out: Path, csv: Path | None, extrapolate: bool = False) -> None:
    """Run the command: show all devices or one, as tables or as JSON."""
    if name is None:
        _no_table(csv)
    if extrapolate and (name is None or as_json):
        raise InputError("--extrapolate: applies only to the figure of one device")
    if as_json:
        print(json_text(name, csv))
    elif name is None:
        _console().print(table())
    else:
        show_one(name, out, csv, extrapolate)


def show_one(name: str, out: Path, csv: Path | None = None, extrapolate: bool = False) -> None:
    """Print one cell's data sheet and fields, and write its diagrams to ``out``."""
    from analogsim.plot import cells as device_figure

    cell = build(name, csv)
    if extrapolate:
        cell = extrapolated(cell, name)
    folder = files.output_folder(out)
    console = _console()
    for part in details(name, cell):
        console.print(part)
    title = f"{name}: {datasheet(cell).technology}"
    picture = report.png(device_figure.draw(cell, title, jax.random.key(0)))
    path = files.write(folder / f"device-{name}.png", picture, "--out ")
    console.print(f"wrote {path}", soft_wrap=True, markup=False, highlight=False)


def _console() -> "rich.console.Console":
    """Return a console at most 100 characters wide, and exactly 100 if the output is not a terminal."""
    import rich.console

    console = rich.console.Console(highlight=False)
    console.width = min(console.width, _WIDTH) if console.is_terminal else _WIDTH
    return console


def _table(title: str, **columns: str) -> "rich.table.Table":
    import rich.box
    import rich.table

    made = rich.table.Table(
        title=title, title_justify="left", title_style="bold", caption_justify="left", caption_style="",
        box=rich.box.SIMPLE_HEAD, padding=(0, 1, 0, 0),
    )  # fmt: skip
    for heading, justify in columns.items():
        text = heading.replace("on_off", "on/off").replace("_", " ")
        made.add_column(text, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    return made
