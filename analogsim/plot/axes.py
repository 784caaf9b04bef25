"""The house style of figures: colours, axes, labels that fit, legends that cover no line."""

import contextlib
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from analogsim.base.errors import InputError, brief

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Okabe and Ito's palette.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")

#: Inches of axes: a phone's, a page's.
NARROW, WIDE = 4.0, 7.0

_STYLE: dict[Any, Any] = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "figure.dpi": 110,
    "svg.hashsalt": "analogsim",
}


@contextlib.contextmanager
def style() -> Iterator[None]:
    """The house style for figures made inside the block."""
    import matplotlib

    with matplotlib.rc_context(_STYLE):
        yield


def new_axes(width: float = 6.4, height: float = 4.0) -> "Axes":
    """Axes of a new figure that belongs to no window and needs no display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with style():
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        return figure.add_subplot()


def axes_or_new(ax: Any, width: float = 6.4, height: float = 4.0) -> "Axes":
    """The axes that a caller gave, refused where they are none, or those of a new figure."""
    if ax is None:
        return new_axes(width, height)
    if not hasattr(ax, "fill_between"):
        raise InputError(f"ax = {brief(ax)}: must be matplotlib axes, for example plot.new_axes()")
    return ax


def width(ax: "Axes") -> float:
    """Inches that the axes have for themselves and their labels."""
    whole = ax.get_position(original=True)  # before cells of one size make it narrower
    return ax.get_figure(root=True).get_figwidth() * whole.width  # type: ignore[union-attr]


def plain(text: str) -> str:
    """A text that matplotlib draws as it is: a dollar begins no formula, an underscore hides no line of a legend."""
    inert = text.replace("$", r"\$")
    return f" {inert}" if inert.startswith("_") else inert


def wrapped(text: str, inches: float) -> str:
    """A label broken into lines that fit."""
    return "\n".join(textwrap.wrap(text, max(12, int(inches / 0.095)), break_long_words=inches < NARROW)) or text


def legend(ax: "Axes", handles: list, outside: bool = False) -> float:
    """Beside wide axes, below narrow ones, where it covers no line; within axes of the usual size if it is short.

    Args:
      ax: whose legend.
      handles: its entries.
      outside: keep it out of axes of the usual size too: it would cover what is no line.

    Returns:
      inches that it takes beside the axes.
    """
    longest = max(len(handle.get_label()) for handle in handles)
    if width(ax) < NARROW:
        figure: Any = ax.get_figure(root=True)
        if len(figure.axes) == 1:
            two = len(handles) > 4 and longest < 26
            figure.legend(handles=handles, fontsize=8 if two else 9, loc="outside lower center", ncols=2 if two else 1,
                          columnspacing=1.0)  # fmt: skip
        else:
            ax.legend(handles=handles, fontsize=8)
        return 0.0
    if width(ax) > WIDE or len(handles) > 7 or outside:
        size = 10 if len(handles) < 13 else 8
        ax.legend(handles=handles, fontsize=size, loc="center left", bbox_to_anchor=(1.01, 0.5))
        return 0.6 + 0.0075 * size * longest
    ax.legend(handles=handles, fontsize=9)
    return 0.0
