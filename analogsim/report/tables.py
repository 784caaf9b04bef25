"""Tables of a sweep for a page: the swept axes, and mean and standard deviation over chips at every point."""

from typing import TYPE_CHECKING

import numpy as np

from analogsim.base.extrapolation import MARK
from analogsim.base.units import show
from analogsim.plot import dataset as results
from analogsim.report import html
from analogsim.report import wording as words

if TYPE_CHECKING:
    import xarray

#: Maximum number of rows of a table on a page.
MOST_ROWS = 200
_MOST_TIMES = 8  # columns


def axes_table(data: "xarray.Dataset", metric: str) -> str:
    """Return a table of the axes: name, field, meaning and values, one row per axis."""
    rows = []
    for axis in results.axes(data, metric, single=True):
        n = data.sizes[axis]
        shown = range(n) if n <= 12 else [0, 1, 2, n - 1]
        values = [results.value_label(data, axis, i) for i in shown]
        if n > 12:
            values.insert(3, f"… ({n:,} in total)")
        meaning = str(data[axis].attrs.get("long_name") or "")
        rows.append([results.axis_words(axis), axis, meaning, ", ".join(values)])
    return html.table(["axis", "field", "meaning", "values"], rows, text=(0, 1, 2, 3)) if rows else ""


def points_table(data: "xarray.Dataset", metric: str, max_rows: int = MOST_ROWS) -> str:
    """Return a table of mean and standard deviation over chips: one row per point; few times are columns."""
    over = results.axes(data, metric)
    times = "time" in over and data.sizes["time"] <= _MOST_TIMES
    rows_over = [axis for axis in over if not (times and axis == "time")]
    amount_format = words.amounts(data, metric)
    spread_columns = [] if times or words.chips(data, metric) < 2 else ["5th percentile", "95th percentile"]
    partial = bool(results.gaps(data, metric))
    companions = _companions(data, metric, rows_over)
    header = [results.axis_words(axis) for axis in rows_over] or ["points"]
    header += ["digital model" if n.startswith("digital") else results.metric_words(data, n) for n in companions]
    header += [results.value_label(data, "time", i) for i in range(data.sizes["time"])] if times else ["mean"]
    header += [*spread_columns, *(["chips"] if partial else [])]
    rows = []
    total = int(np.prod([data.sizes[axis] for axis in rows_over]))
    values = results.pooled(data, metric, [*rows_over, *(["time"] if times else [])])
    for number, indices in enumerate(results.points(data, rows_over)):
        if number == max_rows:
            break
        row = [results.value_label(data, axis, i) for axis, i in indices.items()] or ["all"]
        row += [_companion(data, name, metric, indices) for name in companions]
        point_values = values[tuple(indices.values())]
        cells = _cells(point_values if times else point_values[None], amount_format, bool(spread_columns))
        late = [results.is_extrapolated(data, {**indices, **at}) for at in _times(data, times)]
        if spread_columns:
            late *= len(cells)
        row += [f"{cell} {MARK}" if beyond else cell for cell, beyond in zip(cells, late, strict=True)]
        if partial:
            row.append(f"{int(np.max(np.sum(np.isfinite(point_values), axis=-1)))}")
        rows.append(row)
    return html.table(header, rows, _caption(data, metric, amount_format), range(len(rows_over) or 1)) + _left_out(
        total, max_rows
    )


def _cells(values: np.ndarray, how: words.Amounts, quantiles: bool) -> list[str]:
    """Return the cells of one point; ``values`` is ``[times, n]``."""
    means, spreads = results.pooled_statistic(values), words.standard_deviations(values)
    cells = [how.pair(float(m), float(s)) for m, s in zip(means, spreads, strict=True)]
    return cells + [how.mean(float(results.pooled_statistic(values, q)[0])) for q in ("low", "high") if quantiles]


def _caption(data: "xarray.Dataset", metric: str, how: words.Amounts) -> str:
    n = words.chips(data, metric)
    name = results.metric_words(data, metric) + (f" in {how.unit}" if how.unit else "")
    what = f"mean ± standard deviation over {words.count(n, 'chip')}" if n > 1 else "of one chip"
    fixed = [results.point_label(data, a, 0) for a in results.axes(data, metric, single=True) if data.sizes[a] == 1]
    late = f". {results.extrapolation(data)}" if results.extrapolation(data) else ""
    return f"{name}: {what}" + (f"; {', '.join(fixed)}" if fixed else "") + late


def _times(data: "xarray.Dataset", columns: bool) -> list[dict[str, int]]:
    """Return the index of each time with its own column, or one empty index."""
    return [{"time": i} for i in range(data.sizes["time"])] if columns else [{}]


def _companions(data: "xarray.Dataset", metric: str, rows_over: list[str]) -> list[str]:
    """Return names of variables over some of the axes but not over chips: varying digital scores, energies."""
    exact = results.digital(data, metric)
    companions = []
    for name, values in data.data_vars.items():
        dims = set(values.dims) - set(results.POOLED)
        is_exact = exact is not None and name == exact.name
        if values.dtype.kind != "f" or not dims or not dims <= set(rows_over) or name == metric:
            continue
        if is_exact or not (set(results.POOLED) & set(values.dims) or str(name).startswith("digital")):
            companions.append(str(name))
    return companions


def _companion(data: "xarray.Dataset", name: str, metric: str, indices: dict[str, int]) -> str:
    values = data[name]
    value = float(values.isel({d: i for d, i in indices.items() if d in values.dims}).mean())
    if name.startswith("digital"):
        return words.amounts(data, metric).mean(value)
    return show(value, results.unit(data, name), 4) if np.isfinite(value) else "–"


def _left_out(total: int, most: int) -> str:
    if total <= most:
        return ""
    return html.paragraph(
        f"These are the first {most:,} of {total:,} points; the results file holds all of them.", note=True
    )
