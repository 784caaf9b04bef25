"""Maps of a sweep: a metric versus two axes, one coloured cell per point."""

from typing import TYPE_CHECKING, Any

import numpy as np

from analogsim.base.errors import InputError, brief, nearest, shorter
from analogsim.base.extrapolation import MARK
from analogsim.plot import axes
from analogsim.plot import dataset as results
from analogsim.plot import sweeps as sweep_figure

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes

_MOST_NUMBERS = 100


def heatmap(
    data: "xarray.Dataset",
    x: str | None = None,
    y: str | None = None,
    metric: str | None = None,
    statistic: str = "mean",
    ax: "Axes | None" = None,
    percent: bool | None = None,
    limits: tuple[float, float] | None = None,
) -> "Axes":
    """Draw a statistic over chips versus two axes of a sweep: one coloured cell per point.

    All cells have the same size, whatever the distances between values. Up to 100 cells are labelled with their
    numbers, if there is room; cells that are not computed are hatched.

    Args:
      data: dataset of ``analogsim.sweep`` or ``analogsim.evaluate``.
      x, y: the two axes; by default the two numeric ones with most values, time last.
      metric: name of the metric; by default ``score``, ``accuracy`` or the first.
      statistic: over chips: ``"mean"``, ``"median"``, ``"std"``, ``"low"`` and ``"high"`` (5 % of chips are below, or
        above), ``"min"``, ``"max"``.
      ax: axes to draw on; by default new ones.
      percent: show the metric in per cent; by default if it is a fraction in [0, 1] and not a loss.
      limits: limits of the colour scale, in the dataset's unit, to share between maps; by default those of the values.

    Returns:
      the axes.

    Raises:
      InputError: for an unknown dataset, axis, metric or statistic, or a third axis with several values.

    Example:
      >>> import numpy as np, xarray
      >>> scores = ("adc.bits", "dac.bits", "chip"), np.random.default_rng(0).uniform(0.8, 0.9, (3, 2, 20))
      >>> ax = heatmap(xarray.Dataset({"accuracy": scores}, {"adc.bits": [4, 6, 8], "dac.bits": [4, 8]}))
      >>> ax.get_xlabel(), ax.get_ylabel(), len(ax.texts)
      ('ADC bits', 'DAC bits', 6)
    """
    metric = results.chosen_metric(data, metric)
    x, y = _chosen_axes(data, metric, x, y)
    if statistic not in results.STATISTICS:
        raise InputError(f"statistic = {brief(statistic)}: {nearest(str(statistic), results.STATISTICS)}")
    if percent is not None and not isinstance(percent, bool):
        raise InputError(f"percent = {brief(percent)}: must be True, False or None")
    share = results.is_fraction(data, metric) if percent is None else percent
    columns, rows = _order(data, x), _order(data, y)
    cells = (100 if share else 1) * results.pooled_statistic(results.pooled(data, metric, [y, x]), statistic)
    cells = cells[np.ix_(rows, columns)]
    ax = axes.axes_or_new(ax, 3.2 + 0.6 * min(len(columns), 12), 1.6 + 0.45 * min(len(rows), 12))
    factor, unit = (1.0, "%") if share else results.prefixed(cells, results.unit(data, metric))
    image = _cells(ax, cells / factor)
    if limits is not None:
        image.set_clim(*((100 if share else 1) * np.asarray(_checked(limits)) / factor))
    words = results.metric_words(data, metric) + (f" ({unit})" if unit else "")
    _colour_bar(ax, image, words, results.STATISTICS[statistic])
    if cells.size <= _MOST_NUMBERS:
        _numbers(ax, cells / factor, image, share and float(np.nanmax(np.abs(cells), initial=0)) >= 10)
    late = [[results.is_extrapolated(data, {x: int(i), y: int(j)}) for i in columns] for j in rows]
    _mark(ax, np.array(late, bool))
    _label(ax, data, x, columns, "x")
    _label(ax, data, y, rows, "y")
    sweep_figure.describe(ax, data, metric)
    return ax


def _checked(limits: Any) -> tuple[float, float]:
    try:
        low, high = map(float, limits)
    except (TypeError, ValueError):
        low = high = np.nan
    if not low < high:
        raise InputError(f"limits = {brief(limits)}: must be two numbers in ascending order, or None")
    return low, high


def _chosen_axes(data: "xarray.Dataset", metric: str, x: Any, y: Any) -> tuple[str, str]:
    """Return the given axes, or the two with most values: numbers before names, time last."""
    axis_names = results.axes(data, metric, single=True)
    for name, requested in (("x", x), ("y", y)):
        if requested is not None and (not isinstance(requested, str) or requested not in axis_names):
            raise InputError(
                f"{name} = {brief(requested)}: must be an axis of '{metric}'; {nearest(str(requested), axis_names)}"
            )
    if x is not None and x == y:
        raise InputError(f"y = '{y}': is also x; a map needs two axes")

    def rank(axis: str) -> tuple:
        return data.sizes[axis] > 1, results.is_numeric(data, axis), axis != "time", data.sizes[axis]

    free = sorted((a for a in axis_names if a not in (x, y)), key=rank, reverse=True)
    if len(free) + (x is not None) + (y is not None) < 2:
        raise InputError(f"data: '{metric}' has {len(axis_names)} axis besides its chips; a map needs two")
    x = free.pop(0) if x is None else x
    y = free.pop(0) if y is None else y
    remaining = [a for a in free if data.sizes[a] > 1]
    if remaining:
        named = ", ".join(f"'{a}' ({data.sizes[a]} values)" for a in remaining)
        raise InputError(
            f"data: in addition to '{x}' and '{y}' there is {named}; select one with data.sel or data.isel, or "
            f"the mean, data.mean('{remaining[0]}')"
        )
    return x, y


def _order(data: "xarray.Dataset", axis: str) -> np.ndarray:
    """From low to high; names as they stand."""
    n = data.sizes[axis]
    return np.argsort(data[axis].values, kind="stable") if results.is_numeric(data, axis) else np.arange(n)


def _cells(ax: "Axes", cells: np.ndarray) -> Any:
    """Coloured cells; hatched where there is nothing."""
    ax.set_facecolor("#f0f0f0")
    ax.grid(False)
    from matplotlib.patches import Rectangle

    for row, column in np.argwhere(np.isnan(cells)):
        ax.add_patch(
            Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor="none", edgecolor="#c0c0c0", hatch="//", linewidth=0)
        )
    edge: dict[str, Any] = {"edgecolors": "white", "linewidth": 0.8} if cells.size <= 400 else {}
    places = [np.arange(n + 1) - 0.5 for n in reversed(cells.shape)]
    return ax.pcolormesh(*places, np.ma.masked_invalid(cells), cmap="viridis", **edge)


def _mark(ax: "Axes", late: np.ndarray) -> None:
    """Mark the corner of every extrapolated cell."""
    from matplotlib.patheffects import withStroke

    outline, size = withStroke(linewidth=1.2, foreground="black"), 8 if late.size <= 400 else 4
    for row, column in np.argwhere(late):
        corner: dict[str, Any] = {
            "ha": "right",
            "va": "top",
            "color": "white",
            "fontsize": size,
            "path_effects": [outline],
        }
        ax.text(column + 0.46, row + 0.44, MARK, **corner)


def _colour_bar(ax: "Axes", image: Any, words: str, statistic: str) -> None:
    figure: Any = ax.get_figure(root=True)
    below = axes.width(ax) < axes.NARROW
    bar = figure.colorbar(
        image, ax=ax, location="bottom" if below else "right", fraction=0.06, pad=0.02, aspect=25 if below else 18
    )
    long = axes.width(ax) if below else figure.get_figheight() * ax.get_position(original=True).height * 1.2
    bar.set_label(f"{axes.wrapped(axes.plain(words), long * 1.25)}\n{statistic}", fontsize=9)
    bar.ax.tick_params(labelsize=9)
    bar.outline.set_visible(False)


def _numbers(ax: "Axes", cells: np.ndarray, image: Any, one_decimal: bool) -> None:
    """Write the value into every cell, dark on light or light on dark."""
    room = axes.width(ax) / cells.shape[1]  # inches per cell
    size = 9 if room > 0.5 else 7 if room > 0.36 else 0
    if not size:
        return
    for (row, column), value in np.ndenumerate(cells):
        if np.isfinite(value):
            red, green, blue, _ = image.cmap(image.norm(value))
            light = 0.299 * red + 0.587 * green + 0.114 * blue > 0.55
            text = f"{value:.1f}" if one_decimal else f"{value:.3g}"
            ax.text(column, row, text, ha="center", va="center", fontsize=size, color="black" if light else "white")


def _label(ax: "Axes", data: "xarray.Dataset", axis: str, order: np.ndarray, which: str) -> None:
    """Set the values, at most 16 of them, as tick labels, and the label of the axis."""
    names = [axes.plain(shorter(results.value_label(data, axis, int(i), 3), results.LONGEST)) for i in order]
    shown = range(0, len(names), max(1, -(-len(names) // 16)))
    getattr(ax, f"set_{which}ticks")(list(shown), [names[i] for i in shown], fontsize=9)
    getattr(ax, f"set_{which}label")(axes.plain(results.axis_words(axis)))
    longest = max(len(names[i]) for i in shown)
    if which == "x" and 0.085 * (longest + 1) * len(shown) > axes.width(ax) - 1:
        for tick in ax.get_xticklabels():
            tick.set(rotation=50, ha="right", rotation_mode="anchor")
