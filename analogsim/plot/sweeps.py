"""Curves of a sweep: a metric over one axis, lines for values of up to two others, bands for the spread of chips."""

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
#: What is extrapolated is paler, with hollow marks.
_BEYOND: dict[str, Any] = {"alpha": 0.45, "markerfacecolor": "white"}


class _Drawing(NamedTuple):
    """What the parts of the figure share."""

    data: "xarray.Dataset"
    metric: str
    x: str
    split: list[str]  #: axes that are told apart by colour and dash
    scale: float  #: 100 where per cent are drawn
    order: np.ndarray  #: indices of the values of x, from low to high
    places: np.ndarray  #: of these values on the axis


def sweep(
    data: "xarray.Dataset",
    x: str | None = None,
    metric: str | None = None,
    ax: "Axes | None" = None,
    percent: bool | None = None,
) -> "Axes":
    """A metric over one axis of a sweep: means over chips as lines, bands that hold the middle 90 % of chips.

    Numbers that span decades are drawn on a logarithmic axis, which is broken at zero where zero is among them. Over
    names, means are points with bars. The exact model's value is dotted. What is not computed yet is left out, and the
    figure says how much there is.

    Args:
      data: from ``analogsim.sweep`` or ``analogsim.evaluate``: metrics over axes and ``chip`` (and ``seed``: pooled).
      x: the axis to go along; by default the numeric one with most values, time only where there is no other.
      metric: which of the dataset's metrics; by default ``score`` or ``accuracy``, or the first.
      ax: where to draw.
      percent: show the metric in per cent; by default where it is a share between 0 and 1 and no loss.

    Up to two other axes are told apart by colour and by dash; of the lines of one colour the solid one has a band.

    Raises:
      InputError: for no such dataset, axis or metric, or for more axes or values than a figure can show: take some
        with ``data.sel`` or ``data.isel``, or a mean.

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
    share = results.is_share(data, metric) if percent is None else percent
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
    """A metric over time after programming: ``sweep`` with ``x="time"``.

    Args:
      data: from ``analogsim.evaluate`` or ``analogsim.sweep``, over time and chip; ``chip`` and ``seed`` are pooled, up
        to two other dimensions (compensation, network, bits...) are told apart by colour and dash. ``digital`` is drawn
        dotted, a line for each network.
      ax: where to draw.
      percent: True for accuracies, whose axis is then called so; by default per cent where all values are shares.
      metric: which of the dataset's metrics.
    """
    if not hasattr(data, "data_vars") or "time" not in data.dims:
        raise InputError(f"data = {brief(data)}: must be the dataset that analogsim.evaluate returns")
    return sweep(data, "time", metric, ax, percent)


def _chosen_x(data: "xarray.Dataset", x: Any, metric: str) -> str:
    """As named, or the numeric axis with most values; time only where there is no other."""
    known = results.axes(data, metric, single=True)
    if x is not None:
        if not isinstance(x, str) or x not in known:
            raise InputError(f"x = {brief(x)}: must be an axis of '{metric}'; {nearest(str(x), known)}")
        return x
    if not known:
        raise InputError(f"data: '{metric}' has no axis but its chips; a curve needs one")
    return max(known, key=lambda a: (data.sizes[a] > 1, results.is_numeric(data, a), a != "time", data.sizes[a]))


def _split(data: "xarray.Dataset", metric: str, x: str) -> list[str]:
    """The other axes, colour first: as in the dataset, time last, and what has many values in colours."""
    split = sorted((a for a in results.axes(data, metric) if a != x), key=lambda a: a == "time")
    sizes = ", ".join(f"'{a}' ({data.sizes[a]})" for a in split)
    fewer = "take some of their values with data.sel or data.isel, or the mean, data.mean('...')"
    if len(split) > 2:
        raise InputError(f"data: beside x = '{x}' there are {len(split)} axes, {sizes}, a figure shows two; {fewer}")
    if len(split) == 2 and data.sizes[split[1]] > _MOST_DASHES:
        split.reverse()
    if (split and data.sizes[split[0]] > _MOST_COLOURS) or (len(split) == 2 and data.sizes[split[1]] > _MOST_DASHES):
        raise InputError(
            f"data: beside x = '{x}' there are {sizes} values, of which a figure shows {_MOST_COLOURS} as colours and "
            f"{_MOST_DASHES} as dashes; {fewer}"
        )
    return split


def _chips(drawing: _Drawing) -> int:
    dims = [d for d in drawing.data[drawing.metric].dims if d in results.POOLED]
    return int(np.prod([drawing.data.sizes[d] for d in dims])) if dims else 0


def _series(drawing: _Drawing) -> Any:
    """For every line: its indices, name, colour, dash, and values ``[x, n]``."""
    values = drawing.scale * results.pooled(drawing.data, drawing.metric, [*drawing.split, drawing.x])
    for indices in results.points(drawing.data, drawing.split):
        line = values[tuple(indices.values())][drawing.order]
        words = results.metric_words(drawing.data, drawing.metric)
        name = results.point_labels(drawing.data, indices) or words
        yield indices, axes.plain(name), *_style(drawing, list(indices.values())), line


def _style(drawing: _Drawing, indices: list[int]) -> tuple[Any, Any]:
    """Colour by the first axis, dash by the second, so that pairs are seen as pairs."""
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
    """Without compensation is dashed, so that the solid lines are those of what one would build."""
    axis = drawing.split[1]
    first = str(drawing.data[axis].values[0])
    if axis in ("compensation", "drift_compensation") and first == "none" and index < 2:
        return _DASHES[1 - index]
    return _DASHES[index]


def _lines(ax: "Axes", drawing: _Drawing) -> np.ndarray:
    """Means as lines; of lines of one colour only the solid one has a band, since more could not be told apart."""
    drawn = []
    for indices, name, colour, dash, values in _series(drawing):
        middle = results.over_chips(values)
        band = dash == "-" and _chips(drawing) > 1
        low, high = (results.over_chips(values, end) for end in ("low", "high")) if band else (middle, middle)
        for part, how in _parts(drawing, indices):
            at = drawing.places[part]
            if band:
                shade = 0.13 * how.get("alpha", 1.0)
                ax.fill_between(at, low[part], high[part], color=colour, alpha=shade, linewidth=0)
            ax.plot(at, middle[part], linestyle=dash, color=colour, marker="o", markersize=4, label=name, **how)
        drawn += [low, high, middle] if band else [middle]
    return np.array(drawn)


def _late(drawing: _Drawing, indices: dict[str, int]) -> np.ndarray:
    """Which places of a line are extrapolated."""
    everywhere = drawing.x != "time"
    late = [results.is_extrapolated(drawing.data, {**indices, drawing.x: int(i)}, everywhere) for i in drawing.order]
    return np.array(late, bool)


def _parts(drawing: _Drawing, indices: dict[str, int]) -> list[tuple[np.ndarray, dict[str, Any]]]:
    """A line as measured and, paler and with hollow marks, as extrapolated: places of both, and how they are drawn."""
    late = _late(drawing, indices)
    parts: list[tuple[np.ndarray, dict[str, Any]]] = [(np.flatnonzero(~late), {})]
    if late.any():
        first = int(np.argmax(late))
        joined = first > 0 and bool(late[first:].all())  # from the last measured place on, which has its own mark
        beyond = np.arange(first - 1, len(late)) if joined else np.flatnonzero(late)
        parts.append((beyond, _BEYOND | {"markevery": slice(int(joined), None)}))
    return [(places, how) for places, how in parts if places.size]


def _points(ax: "Axes", drawing: _Drawing) -> np.ndarray:
    """Means as points beside one another over a name, with bars for the middle 90 % of chips."""
    series, drawn = list(_series(drawing)), []
    step = min(0.16, 0.7 / len(series))
    markers = ("o", "s", "^", "D")
    for number, (indices, name, colour, _, values) in enumerate(series):
        middle, low, high = (results.over_chips(values, s) for s in ("mean", "low", "high"))
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
    """The exact score as dotted lines, in the colour of the lines it belongs to; what was drawn."""
    exact = results.digital(drawing.data, drawing.metric)
    if exact is None:
        return []
    exact = exact.mean([d for d in exact.dims if d not in (*drawing.split, drawing.x)])
    own_axes = [axis for axis in drawing.split if axis in exact.dims]
    drawn = []
    for indices in results.points(drawing.data, own_axes):
        values = drawing.scale * np.asarray(exact.isel(indices).values, float)
        name = ", ".join(filter(None, (results.point_labels(drawing.data, indices), "exact digital")))
        colour = _colour(drawing, indices[own_axes[0]]) if own_axes and own_axes[0] == drawing.split[0] else _GREY
        line_style: dict[str, Any] = {"color": colour, "linestyle": ":", "linewidth": 1.4, "label": axes.plain(name)}
        if values.ndim:
            ax.plot(drawing.places, values[drawing.order], **line_style)
        elif np.isfinite(values):
            ax.axhline(float(values), **line_style)
        drawn.append(values)
    return drawn


def _label(ax: "Axes", drawing: _Drawing, drawn: np.ndarray, percent: bool | None, room: float) -> None:
    """Scales, ticks and names of both axes, which are so many inches wide."""
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
        for tick in ax.get_xticklabels():  # they stand close together
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
    """Whether ticks of the x axis would cover each other, or nearly."""
    if len(names) < 3:
        return False
    low, high = ax.get_xlim()
    places = np.sort(ax.transAxes.inverted().transform(ax.transData.transform([(x, 0) for x in ax.get_xticks()]))[:, 0])
    needs = 0.075 * np.array([len(name) for name in names])
    gaps = room * np.diff(places) - (needs[1:] + needs[:-1]) / 2
    return bool(low < high and np.any(gaps < 0.06))


def _legend(ax: "Axes", drawing: _Drawing, has_band: bool, has_digital: bool) -> float:
    """One entry a colour and one a dash, so that a grid of lines takes few words; inches that it takes beside."""
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
        handles.append(Line2D([], [], color=_GREY, linestyle=":", linewidth=1.4, label="exact digital"))
    if has_band:
        chips = f"middle 90 % of {_chips(drawing):,} chips"
        handles.append(
            Patch(color=_GREY, alpha=0.2, linewidth=0, label=chips)
            if numeric
            else Line2D([], [], color=_GREY, linewidth=2, alpha=0.6, label=chips)
        )
    return axes.legend(ax, handles, outside=not numeric) if handles else 0.0


def _named(data: "xarray.Dataset", axis: str) -> list[int]:
    """Which values the legend names: of many numbers, whose colours are a sequence, six from end to end."""
    n = data.sizes[axis]
    if n <= 8 or not results.is_numeric(data, axis):
        return list(range(n))
    return sorted({round(i) for i in np.linspace(0, n - 1, 6)})


def describe(ax: "Axes", data: "xarray.Dataset", metric: str, meaning: bool = True) -> None:
    """Above the axes: which one value the other axes have, the ``meaning`` of marks, and what is not computed yet."""
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
        room = "\n" if narrow and missing else ""  # a line for what is missing
        ax.set_title(lines + room, fontsize=10, fontweight="normal", loc="left")
    if missing:
        note = f"of these points {missing}" if missing.endswith("computed") else missing
        ax.set_title(note, fontsize=9, fontweight="normal", color="#A04000", loc="right")
