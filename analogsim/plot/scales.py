"""Scales and ticks of an axis with physical values: linear, logarithmic, or symmetric-logarithmic with zero."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from analogsim.base.units import TIMES_S, show, show_time
from analogsim.plot.dataset import number, prefixed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Ratio of the largest to the smallest value from which an axis is logarithmic.
DECADES = 30.0
_FEW = 10  # at most this many values are used as ticks
_CALENDAR = (1e-6, 1e-3, 1.0, 60.0, 3600.0, 86400.0, TIMES_S["month"], TIMES_S["year"], 10 * TIMES_S["year"])


def kind(values: Any) -> str:
    """Return ``"log"`` if positive values span decades or are geometric, ``"symlog"`` with zero, else ``"linear"``."""
    finite = np.unique(np.asarray(values, float)[np.isfinite(np.asarray(values, float))])
    sizes = np.unique(np.abs(finite[finite != 0]))
    if len(sizes) < 2:
        return "linear"
    wide = sizes[-1] / sizes[0] >= DECADES
    if finite[0] > 0:
        steps = np.diff(np.log(finite))
        geometric = len(finite) > 3 and np.ptp(steps) < 0.3 * steps.mean() and sizes[-1] / sizes[0] >= 8
        return "log" if wide or geometric else "linear"
    return "symlog" if wide else "linear"


def set_values(ax: "Axes", values: np.ndarray, unit: str, words: str, axis: Literal["x", "y"] = "x") -> None:
    """Set scale, ticks and label of an axis for values in an SI unit; times are labelled in days, years and so on.

    Args:
      ax: the axes.
      values: all values drawn along the axis; non-finite ones are skipped.
      unit: SI unit without prefix; empty for pure numbers.
      words: name of the quantity.
      axis: ``"x"`` or ``"y"``.
    """
    values = np.unique(values[np.isfinite(values)])
    if not len(values):
        getattr(ax, f"set_{axis}label")(_with_unit(words, unit))
        return
    scale = kind(values)
    times = unit == "s" and values[0] >= 0
    if scale == "symlog":
        _set_symlog(ax, values, axis)
    elif scale == "log":
        getattr(ax, f"set_{axis}scale")("log")
    if times:
        _set_ticks(ax, _times(values, scale), show_time, axis)
    elif scale == "linear":
        unit = _linear(ax, values, unit, axis)
    elif unit:
        _set_ticks(ax, _spread(values, scale), lambda value: show(value, unit, 3), axis)
    else:
        _set_ticks(ax, _spread(values, scale), number, axis)
    named = times or (scale != "linear" and unit)  # the tick labels carry the unit
    getattr(ax, f"set_{axis}label")(words if named else _with_unit(words, unit))


def _with_unit(words: str, unit: str) -> str:
    return f"{words} ({unit})" if unit else words


def _linear(ax: "Axes", values: np.ndarray, unit: str, which: str) -> str:
    """Set ticks in the prefixed unit, which is returned; a few integers are the ticks themselves."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis = getattr(ax, f"{which}axis")
    if which == "x" and np.all(values == np.round(values)) and len(values) <= _FEW and np.ptp(values) <= 40:
        axis.set_ticks(values)
    else:
        axis.set_major_locator(MaxNLocator(6))
    factor, written = prefixed(values, unit)
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / factor:.6g}"))
    return written


def _set_symlog(ax: "Axes", values: np.ndarray, which: str) -> None:
    """Set a logarithmic scale with a linear part around zero, as wide as two thirds of a decade."""
    smallest = float(np.min(np.abs(values[values != 0])))
    getattr(ax, f"set_{which}scale")("symlog", linthresh=smallest, linscale=0.67)
    if values[0] >= 0:
        getattr(ax, f"set_{which}lim")(-0.25 * smallest, float(values[-1]) * 1.3)
        if which == "x":  # mark the break of the axis
            ax.text(smallest / 2, 0, "//", transform=ax.get_xaxis_transform(), ha="center", va="center", fontsize=10,
                    bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5}, zorder=5)  # fmt: skip


def _spread(values: np.ndarray, scale: str) -> np.ndarray:
    """Return the values themselves if they are few and far apart, else decades."""
    ends = np.log10(np.abs(values[values != 0]))
    span = np.ptp(ends) + (0.67 if scale == "symlog" else 0)
    if len(values) <= _FEW and np.all(np.diff(np.sort(ends)) > span / 16):
        return values
    low, high = np.floor(ends.min()), np.ceil(ends.max())
    decades = 10.0 ** np.arange(low, high + 0.5, max(1, (high - low) // 7))
    negative = -decades[::-1] if values[0] < 0 else np.empty(0)
    zero = np.zeros(1) if scale == "symlog" else np.empty(0)
    return np.concatenate([negative, zero, decades])


def _times(values: np.ndarray, scale: str) -> np.ndarray:
    """Return the times themselves if they are few, else round times between them."""
    if len(values) <= _FEW:
        return values
    if scale == "linear":
        return np.linspace(values[0], values[-1], 5)
    low = values[values > 0][0]
    inside = [t for t in _CALENDAR if low * 0.99 <= t <= values[-1] * 1.01]
    ticks = inside if len(inside) > 1 else list(np.geomspace(low, values[-1], 4))
    return np.array([0.0, *ticks] if values[0] == 0 else ticks)


def _set_ticks(ax: "Axes", places: Sequence[float] | np.ndarray, words: Callable[[float], str], which: str) -> None:
    ticks = [float(place) for place in places]
    getattr(ax, f"set_{which}ticks")(ticks, [words(tick) for tick in ticks])
    getattr(ax, f"{which}axis").minorticks_off()
