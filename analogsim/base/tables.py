"""Terminal tables in one style, built with rich."""

import io
from typing import TYPE_CHECKING, Any

from analogsim.base.units import show

if TYPE_CHECKING:
    import rich.table

TEXT_WIDTH = 120


def simple_table(title: str) -> "rich.table.Table":
    """Return an empty table with left-aligned title and caption and a rule below the header."""
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


def as_text(*parts: Any, width: int = TEXT_WIDTH) -> str:
    """Render tables as plain text, separated by empty lines."""
    import rich.console

    console = rich.console.Console(file=io.StringIO(), width=width, color_system=None)
    for number, part in enumerate(parts):
        if number:
            console.print()
        console.print(part)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())  # type: ignore[attr-defined]


def plain(words: str) -> str:
    """Escape a string for rich, so that brackets in names are not taken for markup."""
    import rich.markup

    return rich.markup.escape(words)


def as_percent(part: float, total: float) -> str:
    """Format a part of a total in percent; small nonzero parts print as ``< 0.1 %``."""
    if total == 0:
        return ""
    percent = 100 * part / total
    return "< 0.1 %" if 0 < percent < 0.05 else f"{percent:.1f} %"


def as_count(number: float) -> str:
    """Format a count: in full below a million, else with an SI prefix."""
    return f"{number:,.0f}" if number < 1e6 else show(number, "x")[:-1]
