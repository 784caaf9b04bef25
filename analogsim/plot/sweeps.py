"""Curves of a sweep: a metric versus one axis, lines for up to two other axes, bands over chips."""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from analogsim.base.errors import InputError, brief, nearest, shorter
from analogsim.base.extrapolation import EXTRAPOLATED, MEANING
from analogsim.plot import axes
from analogsim.plot import dataset as results
from analogsim.plot import scales as axis_scales

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes

_DASHES: tuple[Any, ...] = ("-", "--", "-.", (0, (6, 1, 1, 1, 1, 1)))
_MOST_COLOURS, _MOST_DASHES = 20, len(_DASHES)
_GREY = "#555555"
#: Extrapolated points are paler, with hollow marks.
_BEYOND: dict[str, Any] = {"alpha": 0.45, "markerfacecolor": "white"}


class _Drawing(NamedTuple):
    """Common data of the parts of a figure."""

    data: "xarray.Dataset"
    metric: str
    x: str
    split: list[str]  #: axes shown by colour and dash
    scale: float  #: 100 if the metric is shown in per cent
    order: np.ndarray  #: indices of the values of x, from low to high
    places: np.ndarray  #: positions of these values on the axis


def sweep(
    data: "xarray.Dataset",
    x: str | None = None,
    metric: str | None = None,
    ax: "Axes | None" = None,
    percent: bool | None = None,
) -> "Axes":
    """Draw a metric versus one axis of a sweep: lines are means over chips, bands hold the middle 90 % of chips.

    Up to two other axes are shown by colour and dash; of the lines of one colour the solid one has a band. Values that
    span decades are on a logarithmic axis, with a break at zero if needed. For a non-numeric axis, means are points
    with bars. The digital model is dotted. Missing values are omitted, and the figure states how much is computed.

    Args:
      data: dataset of ``analogsim.sweep`` or ``analogsim.evaluate``, over axes and ``chip``; ``seed`` is pooled.
      x: axis to plot along; by default the numeric axis with most values, time only if there is no other.
      metric: name of the metric; by default ``score``, ``accuracy`` or the first.
      ax: axes to draw on; by default new ones.
      percent: show the metric in per cent; by default if it is a fraction in [0, 1] and not a loss.

    Returns:
      the axes.

    Raises:
      InputError: for an unknown dataset, axis or metric, or more axes or values than a figure can show: select some
        with ``data.sel`` or ``data.isel``, or take a mean.

    Example:
      >>> import numpy as np, xarray
      >>> scores = ("adc.bits", "chip"), np.random.default_rng(0).uniform(0.8, 0.9, (3, 20))
      >>> ax = sweep(xarray.Dataset({"accuracy": scores}, {"adc.bits": [4, 6, 8]}))
      >>> ax.get_xlabel(), ax.get_ylabel()
      ('ADC bits', 'accuracy (%)')
    """
    metric = results.chosen_metric(data, metric)
    x = _chosen_x(data, x, metric)
    split = _split(data, metric, x)
    if percent is not None and not isinstance(percent, bool):
        raise InputError(f"percent = {brief(percent)}: must be True, False or None")
    share = results.is_fraction(data, metric) if percent is None else percent
    ax = axes.axes_or_new(ax)
    numeric = results.is_numeric(data, x)
    values = data[x].values
    order = np.argsort(values, kind="stable") if numeric else np.arange(len(values))
    places = values[order].astype(float) if numeric else np.arange(len(values), dtype=float)
    drawing = _Drawing(data, metric, x, split, 100.0 if share else 1.0, order, places)
    drawn = _lines(ax, drawing) if numeric else _points(ax, drawing)
    shown = [drawn, *_digital(ax, drawing)]
    beside = _legend(ax, drawing, has_band=_chips(drawing) > 1, has_digital=len(shown) > 1)
    _label(
        ax, drawing, np.concatenate([np.ravel(part) for part in shown]), percent, 1.25 * axes.width(ax) - beside - 0.8
    )
    describe(ax, data, metric, meaning=False)  # the legend explains the marks
    return ax


def drift(
    data: "xarray.Dataset", ax: "Axes | None" = None, percent: bool | None = None, metric: str | None = None
) -> "Axes":
    """Draw a metric versus time after programming: ``sweep`` with ``x="time"``.

    Args:
      data: dataset of ``analogsim.evaluate`` or ``analogsim.sweep``, over time and chip; ``chip`` and ``seed`` are
        pooled, up to two other dimensions (compensation, network, bits...) are shown by colour and dash. ``digital`` is
        dotted, one line per network.
      ax: axes to draw on; by default new ones.
      percent: True labels the axis as accuracy in per cent; by default per cent is used if all values are fractions.
      metric: name of the metric.

    Returns:
      the axes.

    Raises:
      InputError: if ``data`` has no dimension ``time``, and as ``sweep``.

    Example:
      >>> import numpy as np, xarray
      >>> scores = ("time", "chip"), np.random.default_rng(0).uniform(0.8, 0.9, (3, 20))
      >>> ax = drift(xarray.Dataset({"accuracy": scores}, {"time": [1.0, 3600.0, 86400.0]}))
      >>> ax.get_xlabel(), ax.get_ylabel()
      ('time after programming', 'accuracy (%)')
    """
    if not hasattr(data, "data_vars") or "time" not in data.dims:
        raise InputError(f"data = {brief(data)}: must be a dataset of analogsim.evaluate")
    return sweep(data, "time", metric, ax, percent)


def _chosen_x(data: "xarray.Dataset", x: Any, metric: str) -> str:
    """Return the given axis, or the numeric one with most values; time only if there is no other."""
    known = results.axes(data, metric, single=True)
    if x is not None:
        if not isinstance(x, str) or x not in known:
            raise InputError(f"x = {brief(x)}: must be an axis of '{metric}'; {nearest(str(x), known)}")
        return x
    if not known:
        raise InputError(f"data: '{metric}' has no axis except its chips; a curve needs one")
    return max(known, key=lambda a: (data.sizes[a] > 1, results.is_numeric(data, a), a != "time", data.sizes[a]))


def _split(data: "xarray.Dataset", metric: str, x: str) -> list[str]:
    """Return the other axes, colour first: in the dataset's order, time last; a long axis takes the colours."""
    split = sorted((a for a in results.axes(data, metric) if a != x), key=lambda a: a == "time")
    sizes = ", ".join(f"'{a}' ({data.sizes[a]})" for a in split)
    fewer = "select some of their values with data.sel or data.isel, or the mean, data.mean('...')"
    if len(split) > 2:
        raise InputError(
            f"data: besides x = '{x}' there are {len(split)} axes, {sizes}, but a figure shows two; {fewer}"
        )
    if len(split) == 2 and data.sizes[split[1]] > _MOST_DASHES:
        split.reverse()
    if (split and data.sizes[split[0]] > _MOST_COLOURS) or (len(split) == 2 and data.sizes[split[1]] > _MOST_DASHES):
        raise InputError(
            f"data: besides x = '{x}' there are {sizes} values, of which a figure shows {_MOST_COLOURS} as colours and "
            f"{_MOST_DASHES} as dashes; {fewer}"
        )
    return split


def _chips(drawing: _Drawing) -> int:
    dims = [d for d in drawing.data[drawing.metric].dims if d in results.POOLED]
    return int(np.prod([drawing.data.sizes[d] for d in dims])) if dims else 0


def _series(drawing: _Drawing) -> Any:
    """Yield indices, name, colour, dash and values ``[x, n]`` of every line."""
    values = drawing.scale * results.pooled(drawing.data, drawing.metric, [*drawing.split, drawing.x])
    for indices in results.points(drawing.data, drawing.split):
        line = values[tuple(indices.values())][drawing.order]
        words = results.metric_words(drawing.data, drawing.metric)
        name = results.point_labels(drawing.data, indices) or words
        yield indices, axes.plain(name), *_style(drawing, list(indices.values())), line


def _style(drawing: _Drawing, indices: list[int]) -> tuple[Any, Any]:
    """Return the colour, from the first axis, and the dash, from the second."""
    if not indices:
        return axes.COLOURS[0], "-"
    return _colour(drawing, indices[0]), _dash(drawing, indices[1]) if len(indices) > 1 else "-"


def _colour(drawing: _Drawing, index: int) -> Any:
    n = drawing.data.sizes[drawing.split[0]]
    if n <= len(axes.COLOURS):
        return axes.COLOURS[index]
    from matplotlib import colormaps

    return colormaps["viridis"](0.92 * index / (n - 1))


def _dash(drawing: _Drawing, index: int) -> Any:
    """Return the dash; results without drift compensation are dashed, so that the practical case is solid."""
    axis = drawing.split[1]
    first = str(drawing.data[axis].values[0])
    if axis in ("compensation", "drift_compensation") and first == "none" and index < 2:
        return _DASHES[1 - index]
    return _DASHES[index]


def _lines(ax: "Axes", drawing: _Drawing) -> np.ndarray:
    """Draw means as lines; of the lines of one colour only the solid one has a band, since bands would overlap."""
    drawn = []
    for indices, name, colour, dash, values in _series(drawing):
        middle = results.pooled_statistic(values)
        band = dash == "-" and _chips(drawing) > 1
        low, high = (results.pooled_statistic(values, end) for end in ("low", "high")) if band else (middle, middle)
        for part, how in _parts(drawing, indices):
            at = drawing.places[part]
            if band:
                shade = 0.13 * how.get("alpha", 1.0)
                ax.fill_between(at, low[part], high[part], color=colour, alpha=shade, linewidth=0)
            ax.plot(at, middle[part], linestyle=dash, color=colour, marker="o", markersize=4, label=name, **how)
        drawn += [low, high, middle] if band else [middle]
    return np.array(drawn)


def _late(drawing: _Drawing, indices: dict[str, int]) -> np.ndarray:
    """Return which positions of a line are extrapolated."""
    everywhere = drawing.x != "time"
    late = [results.is_extrapolated(drawing.data, {**indices, drawing.x: int(i)}, everywhere) for i in drawing.order]
    return np.array(late, bool)


def _parts(drawing: _Drawing, indices: dict[str, int]) -> list[tuple[np.ndarray, dict[str, Any]]]:
    """Split a line into measured and extrapolated positions, each with its style."""
    late = _late(drawing, indices)
    parts: list[tuple[np.ndarray, dict[str, Any]]] = [(np.flatnonzero(~late), {})]
    if late.any():
        first = int(np.argmax(late))
        joined = first > 0 and bool(late[first:].all())  # start at the last measured position, which has a filled mark
        beyond = np.arange(first - 1, len(late)) if joined else np.flatnonzero(late)
        parts.append((beyond, _BEYOND | {"markevery": slice(int(joined), None)}))
    return [(places, how) for places, how in parts if places.size]


def _points(ax: "Axes", drawing: _Drawing) -> np.ndarray:
    """Draw means as points side by side at each name, with bars for the middle 90 % of chips."""
    series, drawn = list(_series(drawing)), []
    step = min(0.16, 0.7 / len(series))
    markers = ("o", "s", "^", "D")
    for number, (indices, name, colour, _, values) in enumerate(series):
        middle, low, high = (results.pooled_statistic(values, s) for s in ("mean", "low", "high"))
        places = drawing.places + step * (number - (len(series) - 1) / 2)
        marker = markers[list(indices.values())[1]] if len(indices) > 1 else "o"
        if _chips(drawing) > 1:
            ax.vlines(places, low, high, color=colour, linewidth=2, alpha=0.6)
        late = _late(drawing, indices)
        ax.plot(places[~late], middle[~late], linestyle="none", marker=marker, markersize=7, color=colour, label=name)
        if late.any():
            ax.plot(places[late], middle[late], linestyle="none", marker=marker, markersize=7, color=colour,
                    markerfacecolor="white")  # fmt: skip
        drawn += [middle, low, high]
    return np.array(drawn)


def _digital(ax: "Axes", drawing: _Drawing) -> list[np.ndarray]:
    """Draw the digital score as dotted lines in the colour of their curves, and return the values drawn."""
    exact = results.digital(drawing.data, drawing.metric)
    if exact is None:
        return []
    exact = exact.mean([d for d in exact.dims if d not in (*drawing.split, drawing.x)])
    own_axes = [axis for axis in drawing.split if axis in exact.dims]
    drawn = []
    for indices in results.points(drawing.data, own_axes):
        values = drawing.scale * np.asarray(exact.isel(indices).values, float)
        name = ", ".join(filter(None, (results.point_labels(drawing.data, indices), "digital")))
        colour = _colour(drawing, indices[own_axes[0]]) if own_axes and own_axes[0] == drawing.split[0] else _GREY
        line_style: dict[str, Any] = {"color": colour, "linestyle": ":", "linewidth": 1.4, "label": axes.plain(name)}
        if values.ndim:
            ax.plot(drawing.places, values[drawing.order], **line_style)
        elif np.isfinite(values):
            ax.axhline(float(values), **line_style)
        drawn.append(values)
    return drawn


def _label(ax: "Axes", drawing: _Drawing, drawn: np.ndarray, percent: bool | None, room: float) -> None:
    """Set scales, ticks and labels of both axes; ``room`` is the width in inches."""
    data, x, metric = drawing.data, drawing.x, drawing.metric
    words = results.axis_words(x)
    if results.is_numeric(data, x):
        axis_scales.set_values(ax, drawing.places, results.unit(data, x), axes.plain(words))
    else:
        names = [axes.plain(shorter(results.value_label(data, x, int(i)), results.LONGEST)) for i in drawing.order]
        ax.set_xticks(drawing.places, names)
        ax.set_xlim(-0.6, len(names) - 0.4)
        ax.set_xlabel(axes.plain(words))
    ax.tick_params(axis="x", labelsize=9)
    names = [tick.get_text() for tick in ax.get_xticklabels()]
    if _crowded(ax, names, room):
        for tick in ax.get_xticklabels():  # close together
            tick.set(rotation=50, ha="right", rotation_mode="anchor")
    if drawing.scale == 100:
        ax.set_ylabel("accuracy (%)" if percent else axes.plain(f"{results.metric_words(data, metric)} (%)"))
    else:
        name = axes.plain(results.metric_words(data, metric))
        axis_scales.set_values(ax, drawn, results.unit(data, metric), name, "y")
    figure: Any = ax.get_figure(root=True)
    tall = figure.get_figheight() * ax.get_position(original=True).height
    ax.set_ylabel(axes.wrapped(ax.get_ylabel(), tall * (0.65 if axes.width(ax) < axes.NARROW else 1.2)))


def _crowded(ax: "Axes", names: list[str], room: float) -> bool:
    """Return whether tick labels of the x axis would overlap, or nearly."""
    if len(names) < 3:
        return False
    low, high = ax.get_xlim()
    places = np.sort(ax.transAxes.inverted().transform(ax.transData.transform([(x, 0) for x in ax.get_xticks()]))[:, 0])
    needs = 0.075 * np.array([len(name) for name in names])
    gaps = room * np.diff(places) - (needs[1:] + needs[:-1]) / 2
    return bool(low < high and np.any(gaps < 0.06))


def _legend(ax: "Axes", drawing: _Drawing, has_band: bool, has_digital: bool) -> float:
    """Draw a legend with one entry per colour and per dash, and return its width next to the axes in inches."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    data, numeric = drawing.data, results.is_numeric(drawing.data, drawing.x)
    handles: list[Any] = []
    for place, axis in enumerate(drawing.split):
        for index in _named(data, axis):
            name = axes.plain(results.point_label(data, axis, index))
            if place == 0:
                how = {"color": _colour(drawing, index), "linestyle": "-" if numeric else "none", "marker": "o"}
            elif numeric:
                how = {"color": _GREY, "linestyle": _dash(drawing, index)}
            else:
                how = {"color": _GREY, "linestyle": "none", "marker": "os^D"[index]}
            handles.append(Line2D([], [], markersize=4 if numeric else 6, label=name, **how))
    if results.is_extrapolated(data, {}):
        how = {"linestyle": "-" if numeric else "none", "marker": "o", "markersize": 4 if numeric else 6}
        handles.append(Line2D([], [], color=_GREY, label=MEANING, **_BEYOND, **how))
    if has_digital:
        handles.append(Line2D([], [], color=_GREY, linestyle=":", linewidth=1.4, label="digital"))
    if has_band:
        chips = f"middle 90 % of {_chips(drawing):,} chips"
        handles.append(
            Patch(color=_GREY, alpha=0.2, linewidth=0, label=chips)
            if numeric
            else Line2D([], [], color=_GREY, linewidth=2, alpha=0.6, label=chips)
        )
    return axes.legend(ax, handles, outside=not numeric) if handles else 0.0


def _named(data: "xarray.Dataset", axis: str) -> list[int]:
    """Return the indices in the legend: of many numbers, whose colours are sequential, six from end to end."""
    n = data.sizes[axis]
    if n <= 8 or not results.is_numeric(data, axis):
        return list(range(n))
    return sorted({round(i) for i in np.linspace(0, n - 1, 6)})


def describe(ax: "Axes", data: "xarray.Dataset", metric: str, meaning: bool = True) -> None:
    """Write above the axes: the values of single-valued axes, the ``meaning`` of marks, and what is missing."""
    fixed = [a for a in results.axes(data, metric, single=True) if data.sizes[a] == 1]
    words = [results.point_label(data, axis, 0) for axis in fixed]
    for name, value in data[metric].coords.items():
        if not value.dims and name not in (*results.POOLED, "time_label", EXTRAPOLATED):
            words.append(results.point_label(data.expand_dims(str(name)), str(name), 0))
    if meaning and results.is_extrapolated(data, {}):
        words.append(MEANING)
    missing = results.gaps(data, metric)
    narrow = axes.width(ax) < axes.NARROW
    if words and not ax.get_title(loc="left"):
        lines = axes.wrapped(axes.plain(", ".join(words)), axes.width(ax) * (1.2 if narrow else 1.0))
        room = "\n" if narrow and missing else ""  # an empty line for the note on missing values
        ax.set_title(lines + room, fontsize=10, fontweight="normal", loc="left")
    if missing:
        note = f"of these points {missing}" if missing.endswith("computed") else missing
        ax.set_title(note, fontsize=9, fontweight="normal", color="#A04000", loc="right")
