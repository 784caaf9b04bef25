"""Figures of the report of a sweep: versus time, versus every axis, and maps of two axes."""

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from analogsim import plot
from analogsim.plot import dataset as results

if TYPE_CHECKING:
    import xarray

_MOST_COLOURS, _MOST_DASHES, _MOST_MULTIPLES, _MOST_CURVES = 6, 3, 4, 4


class Picture(NamedTuple):
    """One figure: function that draws it, alternative text, caption, and sizes in inches."""

    draw: Callable[[Any], Any]
    alt: str
    caption: str
    size: tuple[float, float] = (10.4, 4.4)
    phone: tuple[float, float] = (3.6, 5.0)


def pictures(data: "xarray.Dataset", metric: str) -> list[tuple[str, list[Picture]]]:
    """Return the figures of a metric under their headings."""
    words, over = results.metric_words(data, metric), results.axes(data, metric)
    sections = []
    if "time" in over:
        sections.append((f"{words} versus time", _curves(data, metric, "time")))
    for axis in _curve_axes(data, over)[:_MOST_CURVES]:
        sections.append((f"{words} versus {results.axis_words(axis)}", _curves(data, metric, axis)))
    numeric = [a for a in over if a != "time" and results.is_numeric(data, a)]
    if len(numeric) > 1:
        x, y = sorted(numeric, key=lambda a: -data.sizes[a])[:2]
        heading = f"{words} versus {results.axis_words(x)} and {results.axis_words(y)}"
        sections.append((heading, _maps(data, metric, x, y)))
    return [(heading[0].upper() + heading[1:], shown) for heading, shown in sections]


def _curve_axes(data: "xarray.Dataset", over: Sequence[str]) -> list[str]:
    """Return the axes to plot along: numeric ones, and names if no figure over time distinguishes them."""
    numeric = [a for a in over if a != "time" and results.is_numeric(data, a)]
    names = [a for a in over if a not in numeric and a != "time"]
    return numeric + (names if "time" not in over else [])


def _curves(data: "xarray.Dataset", metric: str, x: str) -> list[Picture]:
    """Plot curves along x, two axes as colours and dashes; a figure for each of a few values of further axes."""
    rest = sorted((a for a in results.axes(data, metric) if a != x), key=lambda a: a == "time")
    shown = _told_apart(data, rest)
    apart = [a for a in rest if a not in shown]
    thin: dict[str, Any] = {}
    for axis, most in zip(shown, (_MOST_COLOURS, _MOST_DASHES), strict=False):
        thin[axis] = _spread_out(data.sizes[axis], most)
    note = _thinned(data, thin)
    # In this order the first axis gets the colours.
    order = [*shown, *(d for d in data[metric].dims if d not in shown)]
    some = data.isel(thin).assign({metric: data[metric].isel(thin).transpose(*order)})
    words = f"{results.metric_words(data, metric)} versus {results.axis_words(x)}"
    return [
        Picture(functools.partial(_draw_sweep, part, x, metric), f"{words}{label}", note + more)
        for part, label, more in _multiples(some, apart)
    ]


def _told_apart(data: "xarray.Dataset", rest: Sequence[str]) -> list[str]:
    """Choose the axes for colours and dashes: the longest for colours, the first with few values for dashes."""
    if not rest:
        return []
    colour = max(rest, key=lambda a: (a != "time", data.sizes[a]))
    others = [a for a in rest if a != colour]
    few = [a for a in others if data.sizes[a] <= _MOST_DASHES]
    return [colour, *(few or others)[:1]]


def _draw_sweep(data: "xarray.Dataset", x: str, metric: str, ax: Any) -> Any:
    return plot.sweep(data, x=x, metric=metric, ax=ax)


def _maps(data: "xarray.Dataset", metric: str, x: str, y: str) -> list[Picture]:
    """Plot maps of the mean; a figure for each of a few values of the other axes."""
    apart = [a for a in results.axes(data, metric) if a not in (x, y)]
    words = f"{results.metric_words(data, metric)} versus {results.axis_words(x)} and {results.axis_words(y)}"
    means = results.pooled_statistic(results.pooled(data, metric, results.axes(data, metric)))
    finite = means[np.isfinite(means)]
    # np.ptp raises for an empty array.
    limits = (float(finite.min()), float(finite.max())) if np.ptp(finite if finite.size else 0.0) else None
    height = min(1.8 + 0.42 * data.sizes[y], 6.0)
    return [
        Picture(functools.partial(_draw_map, part, x, y, metric, limits), f"{words}{label}", more, (10.4, height),
                (3.6, height + 1.2))
        for part, label, more in _multiples(data, apart)
    ]  # fmt: skip


def _draw_map(data: "xarray.Dataset", x: str, y: str, metric: str, limits: Any, ax: Any) -> Any:
    return plot.heatmap(data, x=x, y=y, metric=metric, ax=ax, limits=limits)


def _spread_out(n: int, most: int) -> list[int]:
    """Return at most ``most`` of n indices, evenly spaced and including both ends."""
    return list(range(n)) if n <= most else sorted({round(i) for i in np.linspace(0, n - 1, most)})


def _thinned(data: "xarray.Dataset", thin: dict[str, list[int]]) -> str:
    parts = [
        f"{len(indices)} of the {data.sizes[axis]} values of {results.axis_words(axis)}"
        for axis, indices in thin.items()
        if len(indices) < data.sizes[axis]
    ]
    return f"Shown: {' and '.join(parts)}. " if parts else ""


def _multiples(data: "xarray.Dataset", apart: Sequence[str]) -> list[tuple["xarray.Dataset", str, str]]:
    """Return the dataset at a few points of the axes that a figure cannot show, with label and a note on omissions."""
    if not apart:
        return [(data, "", "")]
    few = data.isel({axis: _spread_out(data.sizes[axis], 2) for axis in apart})
    total = int(np.prod([data.sizes[axis] for axis in apart]))
    points = list(results.points(few, apart))[:_MOST_MULTIPLES]
    left = f"Of {total:,} combinations of the other axes, {len(points)} are shown." if len(points) < total else ""
    multiples = []
    for number, indices in enumerate(points):
        label = f", {results.point_labels(few, indices)}"
        multiples.append((few.isel(indices), label, left if number == len(points) - 1 else ""))
    return multiples
