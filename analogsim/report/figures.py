"""Which figures a page about a sweep has: over time, along every axis, maps of two; small multiples of the rest."""

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
    """One figure: how to draw it, what to say in its place, the line below, and its sizes in inches."""

    draw: Callable[[Any], Any]
    alt: str
    caption: str
    size: tuple[float, float] = (10.4, 4.4)
    phone: tuple[float, float] = (3.6, 5.0)


def pictures(data: "xarray.Dataset", metric: str) -> list[tuple[str, list[Picture]]]:
    """Headings and the figures below them."""
    words, over = results.metric_words(data, metric), results.axes(data, metric)
    found = []
    if "time" in over:
        found.append((f"{words} over time", _curves(data, metric, "time")))
    for axis in _curve_axes(data, over)[:_MOST_CURVES]:
        found.append((f"{words} over {results.axis_words(axis)}", _curves(data, metric, axis)))
    numeric = [a for a in over if a != "time" and results.is_numeric(data, a)]
    if len(numeric) > 1:
        x, y = sorted(numeric, key=lambda a: -data.sizes[a])[:2]
        heading = f"{words} over {results.axis_words(x)} and {results.axis_words(y)}"
        found.append((heading, _maps(data, metric, x, y)))
    return [(heading[0].upper() + heading[1:], shown) for heading, shown in found]


def _curve_axes(data: "xarray.Dataset", over: Sequence[str]) -> list[str]:
    """Numbers first; names only where no figure over time tells them apart."""
    numeric = [a for a in over if a != "time" and results.is_numeric(data, a)]
    names = [a for a in over if a not in numeric and a != "time"]
    return numeric + (names if "time" not in over else [])


def _curves(data: "xarray.Dataset", metric: str, x: str) -> list[Picture]:
    """Curves along x; two other axes as colours and dashes, a figure for each of a few values of the others."""
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
    words = f"{results.metric_words(data, metric)} over {results.axis_words(x)}"
    return [
        Picture(functools.partial(_draw_sweep, part, x, metric), f"{words}{label}", note + more)
        for part, label, more in _multiples(some, apart)
    ]


def _told_apart(data: "xarray.Dataset", rest: Sequence[str]) -> list[str]:
    """Which axes become colours and dashes: many values as colours, and as dashes the first axis of few values."""
    if not rest:
        return []
    colour = max(rest, key=lambda a: (a != "time", data.sizes[a]))
    others = [a for a in rest if a != colour]
    few = [a for a in others if data.sizes[a] <= _MOST_DASHES]
    return [colour, *(few or others)[:1]]


def _draw_sweep(data: "xarray.Dataset", x: str, metric: str, ax: Any) -> Any:
    return plot.sweep(data, x=x, metric=metric, ax=ax)


def _maps(data: "xarray.Dataset", metric: str, x: str, y: str) -> list[Picture]:
    """Maps of the mean; a figure for each of a few values of the others."""
    apart = [a for a in results.axes(data, metric) if a not in (x, y)]
    words = f"{results.metric_words(data, metric)} over {results.axis_words(x)} and {results.axis_words(y)}"
    means = results.over_chips(results.pooled(data, metric, results.axes(data, metric)))
    known = means[np.isfinite(means)]
    limits = (float(known.min()), float(known.max())) if np.ptp(known if known.size else 0.0) else None
    height = min(1.8 + 0.42 * data.sizes[y], 6.0)
    return [
        Picture(functools.partial(_draw_map, part, x, y, metric, limits), f"{words}{label}", more, (10.4, height),
                (3.6, height + 1.2))
        for part, label, more in _multiples(data, apart)
    ]  # fmt: skip


def _draw_map(data: "xarray.Dataset", x: str, y: str, metric: str, limits: Any, ax: Any) -> Any:
    return plot.heatmap(data, x=x, y=y, metric=metric, ax=ax, limits=limits)


def _spread_out(n: int, most: int) -> list[int]:
    """So many of n indices, from end to end."""
    return list(range(n)) if n <= most else sorted({round(i) for i in np.linspace(0, n - 1, most)})


def _thinned(data: "xarray.Dataset", thin: dict[str, list[int]]) -> str:
    parts = [
        f"{len(kept)} of the {data.sizes[axis]} values of {results.axis_words(axis)}"
        for axis, kept in thin.items()
        if len(kept) < data.sizes[axis]
    ]
    return f"Drawn are {' and '.join(parts)}. " if parts else ""


def _multiples(data: "xarray.Dataset", apart: Sequence[str]) -> list[tuple["xarray.Dataset", str, str]]:
    """The dataset at a few points of the axes that a figure cannot show: dataset, its name, what was left out."""
    if not apart:
        return [(data, "", "")]
    few = data.isel({axis: _spread_out(data.sizes[axis], 2) for axis in apart})
    total = int(np.prod([data.sizes[axis] for axis in apart]))
    points = list(results.points(few, apart))[:_MOST_MULTIPLES]
    left = f"Of {total:,} combinations of the other axes, {len(points)} are drawn." if len(points) < total else ""
    found = []
    for number, indices in enumerate(points):
        label = f", {results.point_labels(few, indices)}"
        found.append((few.isel(indices), label, left if number == len(points) - 1 else ""))
    return found
