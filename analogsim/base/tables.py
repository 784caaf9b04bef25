"""Tables for a terminal, made with rich: one look for all of them."""

import io
from typing import TYPE_CHECKING, Any

from analogsim.base.units import show

if TYPE_CHECKING:
    import rich.table

TEXT_WIDTH = 120


def simple_table(title: str) -> "rich.table.Table":
    """An empty table: title and caption to the left, a line under the head."""
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
    """Tables as plain text, an empty line between them."""
    import rich.console

    console = rich.console.Console(file=io.StringIO(), width=width, color_system=None)
    for number, part in enumerate(parts):
        if number:
            console.print()
        console.print(part)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())  # type: ignore[attr-defined]


def plain(words: str) -> str:
    """Text that rich prints as it is: a hardware's name is no markup."""
    import rich.markup

    return rich.markup.escape(words)


def share(part: float, whole: float) -> str:
    """A part in per cent of the whole; what is small but there is not shown as nothing."""
    if whole == 0:
        return ""
    percent = 100 * part / whole
    return "< 0.1 %" if 0 < percent < 0.05 else f"{percent:.1f} %"


def many(number: float) -> str:
    """A count: whole below a million, then with a prefix."""
    return f"{number:,.0f}" if number < 1e6 else show(number, "x")[:-1]
