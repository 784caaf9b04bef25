"""The style of figures: colours, axes, labels that fit, legends that do not cover lines."""

import contextlib
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from analogsim.base.errors import InputError, brief

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Colour-blind-safe palette of Okabe and Ito.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")

#: Limits of the width of axes in inches: narrower ones are for a phone, wider ones for a page.
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
    # Ids in SVG files are random without a salt: the same figure would give other bytes.
    "svg.hashsalt": "analogsim",
}


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Apply the style to figures created inside the ``with`` block.

    Yields:
      None; matplotlib's own settings return at the end of the block.

    Example:
      >>> import matplotlib
      >>> with style():
      ...     matplotlib.rcParams["axes.grid"]
      True
    """
    import matplotlib

    with matplotlib.rc_context(_STYLE):
        yield


def new_axes(width: float = 6.4, height: float = 4.0) -> "Axes":
    """Return the axes of a new figure that needs no window and no display.

    Args:
      width, height: size of the figure in inches.

    Example:
      >>> ax = new_axes(3, 2)
      >>> ax.figure.get_size_inches().tolist()     # ax.figure.savefig("name.png") writes it
      [3.0, 2.0]
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with style():
        # Not by pyplot, which keeps its figures until they are closed, and may choose a backend with windows.
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        return figure.add_subplot()


def axes_or_new(ax: Any, width: float = 6.4, height: float = 4.0) -> "Axes":
    """Return ``ax``, or the axes of a new figure if it is None.

    Raises:
      InputError: if ``ax`` is not matplotlib axes.
    """
    if ax is None:
        return new_axes(width, height)
    if not hasattr(ax, "fill_between"):
        raise InputError(f"ax = {brief(ax)}: must be matplotlib axes, for example plot.new_axes()")
    return ax


def width(ax: "Axes") -> float:
    """Return the width available to the axes and their labels, in inches."""
    whole = ax.get_position(original=True)  # the width before an equal aspect ratio shrinks the axes
    return ax.get_figure(root=True).get_figwidth() * whole.width  # type: ignore[union-attr]


def plain(text: str) -> str:
    """Escape text for matplotlib: a dollar would start a formula, a leading underscore would hide a legend entry."""
    inert = text.replace("$", r"\$")
    return f" {inert}" if inert.startswith("_") else inert


def wrapped(text: str, inches: float) -> str:
    """Break a label into lines that fit into a width in inches."""
    return "\n".join(textwrap.wrap(text, max(12, int(inches / 0.095)), break_long_words=inches < NARROW)) or text


def legend(ax: "Axes", handles: list, outside: bool = False) -> float:
    """Draw a legend: to the right of wide axes, below narrow ones, and inside axes of the usual size if it is short.

    Args:
      ax: the axes.
      handles: the entries.
      outside: keep it outside axes of the usual size too.

    Returns:
      the width that it takes to the right of the axes, in inches.
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
