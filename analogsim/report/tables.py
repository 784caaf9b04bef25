"""Tables of a sweep for a page: what was varied, and mean and spread over chips at every point."""

from typing import TYPE_CHECKING

import numpy as np

from analogsim.base.extrapolation import MARK
from analogsim.base.units import show
from analogsim.plot import dataset as results
from analogsim.report import html
from analogsim.report import wording as words

if TYPE_CHECKING:
    import xarray

#: Rows of a table on a page.
MOST_ROWS = 200
_MOST_TIMES = 8  # columns


def axes_table(data: "xarray.Dataset", metric: str) -> str:
    """One row an axis: its name, its field, what that is, its values."""
    rows = []
    for axis in results.axes(data, metric, single=True):
        n = data.sizes[axis]
        shown = range(n) if n <= 12 else [0, 1, 2, n - 1]
        values = [results.value_label(data, axis, i) for i in shown]
        if n > 12:
            values.insert(3, f"… ({n:,} in all)")
        meaning = str(data[axis].attrs.get("long_name") or "")
        rows.append([results.axis_words(axis), axis, meaning, ", ".join(values)])
    return html.table(["axis", "field", "what it is", "values"], rows, text=(0, 1, 2, 3)) if rows else ""


def points_table(data: "xarray.Dataset", metric: str, max_rows: int = MOST_ROWS) -> str:
    """Mean and standard deviation over chips, a row a point; a column a time where there are few of them."""
    over = results.axes(data, metric)
    times = "time" in over and data.sizes["time"] <= _MOST_TIMES
    rows_over = [axis for axis in over if not (times and axis == "time")]
    amount_format = words.amounts(data, metric)
    spread_columns = [] if times or words.chips(data, metric) < 2 else ["5 % below", "95 % below"]
    partial = bool(results.gaps(data, metric))
    beside = [name for name in _companions(data, metric, rows_over)]
    header = [results.axis_words(axis) for axis in rows_over] or ["points"]
    header += ["exact digital" if n.startswith("digital") else results.metric_words(data, n) for n in beside]
    header += [results.value_label(data, "time", i) for i in range(data.sizes["time"])] if times else ["mean"]
    header += [*spread_columns, *(["chips"] if partial else [])]
    rows = []
    total = int(np.prod([data.sizes[axis] for axis in rows_over]))
    values = results.pooled(data, metric, [*rows_over, *(["time"] if times else [])])
    for number, indices in enumerate(results.points(data, rows_over)):
        if number == max_rows:
            break
        row = [results.value_label(data, axis, i) for axis, i in indices.items()] or ["all"]
        row += [_companion(data, name, metric, indices) for name in beside]
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


def _cells(held: np.ndarray, how: words.Amounts, quantiles: bool) -> list[str]:
    """Texts of one point's values ``[times, n]``."""
    means, spreads = results.over_chips(held), words.spreads(held)
    cells = [how.pair(float(m), float(s)) for m, s in zip(means, spreads, strict=True)]
    return cells + [how.mean(float(results.over_chips(held, q)[0])) for q in ("low", "high") if quantiles]


def _caption(data: "xarray.Dataset", metric: str, how: words.Amounts) -> str:
    n = words.chips(data, metric)
    name = results.metric_words(data, metric) + (f" in {how.unit}" if how.unit else "")
    what = f"mean ± standard deviation over {words.count(n, 'chip')}" if n > 1 else "of one chip"
    fixed = [results.point_label(data, a, 0) for a in results.axes(data, metric, single=True) if data.sizes[a] == 1]
    late = f". {results.extrapolation(data)}" if results.extrapolation(data) else ""
    return f"{name}: {what}" + (f"; {', '.join(fixed)}" if fixed else "") + late


def _times(data: "xarray.Dataset", columns: bool) -> list[dict[str, int]]:
    """The times that have columns of their own, or none in particular."""
    return [{"time": i} for i in range(data.sizes["time"])] if columns else [{}]


def _companions(data: "xarray.Dataset", metric: str, rows_over: list[str]) -> list[str]:
    """Numbers without chips over some of the axes: the exact score where it differs, energies."""
    exact = results.digital(data, metric)
    found = []
    for name, values in data.data_vars.items():
        dims = set(values.dims) - set(results.POOLED)
        is_exact = exact is not None and name == exact.name
        if values.dtype.kind != "f" or not dims or not dims <= set(rows_over) or name == metric:
            continue
        if is_exact or not (set(results.POOLED) & set(values.dims) or str(name).startswith("digital")):
            found.append(str(name))
    return found


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
        f"These are the first {most:,} of {total:,} points; the file of results holds all of them.", note=True
    )
