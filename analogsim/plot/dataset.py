"""Axes, metrics, labels and statistics of a dataset of results, for figures and pages.

A dataset has metrics over axes and chips, as returned by ``analogsim.sweep``, ``analogsim.evaluate`` and the
quickstart. ``chip`` and ``seed`` are pooled; every other dimension is an axis. In an incomplete sweep, metrics are NaN
where nothing is computed yet, ``done`` marks the finished chips of every point, and the attribute ``complete`` is 0.
"""

import itertools
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from analogsim.base.errors import InputError, brief, nearest, shorter
from analogsim.base.extrapolation import EXTRAPOLATED, MARK
from analogsim.base.units import PREFIXES, show, show_time

if TYPE_CHECKING:
    import xarray

#: Dimensions that statistics are taken over.
POOLED = ("chip", "seed")
#: Statistics over chips, with their labels.
STATISTICS = {
    "mean": "mean over chips",
    "std": "standard deviation over chips",
    "median": "median over chips",
    "low": "5 % of chips are below",
    "high": "95 % of chips are below",
    "min": "lowest chip",
    "max": "highest chip",
}
_QUANTILES = {"median": 0.5, "low": 0.05, "high": 0.95}
_LOWER_IS_BETTER = ("loss", "error", "mse", "rmse", "mae", "perplexity", "energy", "latency")
_HIGHER_IS_BETTER = ("accuracy", "score", "correlation", "auc", "f1")
LONGEST = 36  # maximum number of characters of a label in a figure


def metrics(data: "xarray.Dataset") -> list[str]:
    """Return the names of the metrics: variables over chips or, if there are none, over any axis."""
    found = {
        str(name): values
        for name, values in data.data_vars.items()
        if values.dtype.kind in "iuf" and values.dims and not _is_reference(str(name))
    }
    over_chips = [name for name, values in found.items() if set(POOLED) & set(values.dims)]
    return over_chips or list(found)


def _is_reference(name: str) -> bool:
    return name == "digital" or name.startswith("digital_")


def chosen_metric(data: "xarray.Dataset", metric: Any = None) -> str:
    """Return the metric to show: the given one, else ``score``, ``accuracy`` or the first.

    Raises:
      InputError: if ``data`` is not a dataset of results, or has no such metric.
    """
    if not hasattr(data, "data_vars"):
        raise InputError(
            f"data = {brief(data)}: must be the dataset that analogsim.sweep or analogsim.evaluate returns"
        )
    known = metrics(data)
    if not known:
        raise InputError(
            f"data = {brief(data)}: must be the dataset that analogsim.sweep or analogsim.evaluate returns; it has no "
            f"numbers over chips"
        )
    if metric is None:
        return next((name for name in ("score", "accuracy") if name in known), known[0])
    if metric in known or (isinstance(metric, str) and metric in data.data_vars and data[metric].dtype.kind in "iuf"):
        return metric
    raise InputError(f"metric = {brief(metric)}: the dataset has no such numbers; {nearest(str(metric), known)}")


def axes(data: "xarray.Dataset", metric: str, single: bool = False) -> list[str]:
    """Return the axes of a metric: dimensions that are not pooled; those of length 1 only if ``single``."""
    return [str(d) for d in data[metric].dims if d not in POOLED and (single or data.sizes[d] > 1)]


def is_numeric(data: "xarray.Dataset", axis: str) -> bool:
    """Return whether the values of an axis are finite numbers, rather than names or Booleans."""
    return data[axis].dtype.kind in "iuf" and bool(np.all(np.isfinite(data[axis].values)))


def unit(data: "xarray.Dataset", name: str) -> str:
    """Return the unit of an axis or a metric; empty for pure numbers. The default for time is seconds."""
    found = str(data[name].attrs.get("units", "s" if name == "time" else ""))
    return "" if found == "1" else found


def axis_words(axis: str) -> str:
    """Return a short label: ``"store.cell.read_noise"`` gives ``"read noise"``, ``"adc.bits"`` gives ``"ADC bits"``."""
    if axis == "time":
        return "time after programming"
    name = axis.removeprefix("store.").removeprefix("cell.").removesuffix("_s")
    words = name.replace(".", " ").replace("_", " ").split()
    return shorter(" ".join(w.upper() if w in ("adc", "dac") else w for w in words) or axis, LONGEST)


def number(value: float, digits: int = 4) -> str:
    """Format a pure number; integers below a million in full."""
    return f"{value:.0f}" if value == round(value) and abs(value) < 1e6 else f"{value:.{digits}g}"


def is_extrapolated(data: "xarray.Dataset", indices: Mapping[str, int], everywhere: bool = False) -> bool:
    """Return whether any (all, if ``everywhere``) of the numbers at these indices are extrapolated in time."""
    if EXTRAPOLATED not in data.coords:
        return False
    late = data[EXTRAPOLATED]
    at = late.isel({axis: i for axis, i in indices.items() if axis in late.dims}).values.astype(bool)
    return bool(at.all() if everywhere else at.any())


def extrapolation(data: "xarray.Dataset") -> str:
    """Return a sentence that explains the mark of extrapolated numbers; empty if there are none."""
    if not is_extrapolated(data, {}):
        return ""
    why = str(data.attrs.get(EXTRAPOLATED) or "the trend of the last measured decade continued")
    return f"{MARK} Extrapolated, not measured: {why}."


def value_label(data: "xarray.Dataset", axis: str, index: int, digits: int = 4) -> str:
    """Format a value of an axis: ``"1 day"``, ``"20 µS"``, ``"0.5"``, ``"global"``.

    A value whose numbers are all extrapolated is marked.
    """
    plain = _plain_label(data, axis, index, digits)
    over = data.coords[EXTRAPOLATED].dims if EXTRAPOLATED in data.coords else ()
    late = axis in over and is_extrapolated(data, {axis: index}, everywhere=True)
    return f"{plain} {MARK}" if late else plain


def _plain_label(data: "xarray.Dataset", axis: str, index: int, digits: int) -> str:
    value = data[axis].values[index]
    if not is_numeric(data, axis):
        return " ".join(str(value).split())
    if unit(data, axis) == "s" and value >= 0:
        return show_time(float(value))
    return show(float(value), unit(data, axis), digits) if unit(data, axis) else number(float(value), digits)


def point_label(data: "xarray.Dataset", axis: str, index: int) -> str:
    """Format an axis and its value: ``"ADC bits = 6"``; networks, hardware and times are given without axis."""
    value = shorter(value_label(data, axis, index), LONGEST)
    if axis in ("compensation", "drift_compensation"):
        return "no compensation" if value == "none" else f"{value} compensation"
    if axis in ("network", "hardware", "time"):
        return value
    return f"{axis_words(axis)} = {value}"


def point_labels(data: "xarray.Dataset", indices: Mapping[str, int]) -> str:
    """Format a point of a sweep: ``"ADC bits = 6, read noise = 0.5"``."""
    return ", ".join(point_label(data, axis, i) for axis, i in indices.items())


def points(data: "xarray.Dataset", over: Sequence[str]) -> Iterator[dict[str, int]]:
    """Yield every combination of the indices of some axes; the last axis varies fastest."""
    for combination in itertools.product(*(range(data.sizes[axis]) for axis in over)):
        yield dict(zip(over, combination, strict=True))


def is_fraction(data: "xarray.Dataset", metric: str) -> bool:
    """Return whether a metric is a fraction to show in per cent: in [0, 1], without unit, and not a loss."""
    if lower_is_better(metric) or str(data[metric].attrs.get("units", "1")) != "1":
        return False
    values = data[metric].values
    return bool(np.all((values >= 0) & (values <= 1) | np.isnan(values)) and np.any(np.isfinite(values)))


def lower_is_better(metric: str) -> bool:
    """Return whether lower values are better, judging by the metric's name."""
    return any(word in _LOWER_IS_BETTER for word in metric.lower().replace("_", " ").split())


def has_direction(data: "xarray.Dataset", metric: str) -> bool:
    """Return whether the name says if higher or lower is better; a score that is not a fraction does not."""
    if metric == "score":
        return is_fraction(data, metric)
    words = metric.lower().replace("_", " ").split()
    return any(word in (*_LOWER_IS_BETTER, *_HIGHER_IS_BETTER) for word in words)


def metric_words(data: "xarray.Dataset", metric: str) -> str:
    """Return the label of a metric."""
    return shorter(str(data[metric].attrs.get("long_name") or metric.replace("_", " ")), 48)


def prefixed(values: np.ndarray, symbol: str) -> tuple[float, str]:
    """Return the factor to divide all values by, and the prefixed unit: ``(1e-6, "µS")``."""
    found = np.abs(values[np.isfinite(values) & (values != 0)])
    if not symbol or not found.size or symbol.startswith("m2") or symbol == "1":
        return 1.0, symbol
    written = show(float(found.max()), symbol).partition(" ")[2]
    prefix = written.removesuffix(symbol)
    return 10.0 ** PREFIXES.get(prefix, 0), written


def pooled(data: "xarray.Dataset", metric: str, over: Sequence[str]) -> np.ndarray:
    """Return values ``[*over, n]``: the given axes in this order, all other dimensions pooled."""
    values = data[metric]
    rest = [d for d in values.dims if d not in over]
    shape = [data.sizes[axis] for axis in over]
    return np.asarray(values.transpose(*over, *rest).values, np.float64).reshape(*shape, -1)


def pooled_statistic(values: np.ndarray, statistic: str = "mean") -> np.ndarray:
    """Return a statistic over the last axis of ``values [..., n]``, skipping NaN; NaN if all are NaN."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # "All-NaN slice", for points without any value
        if statistic in _QUANTILES:
            return np.nanquantile(values, _QUANTILES[statistic], axis=-1)
        functions: dict[str, Any] = {"mean": np.nanmean, "std": np.nanstd, "min": np.nanmin, "max": np.nanmax}
        return functions[statistic](values, axis=-1)


def digital(data: "xarray.Dataset", metric: str) -> "xarray.DataArray | None":
    """Return the digital model's value of a metric: ``digital_<metric>``, or ``digital`` for the first metric."""
    if f"digital_{metric}" in data:
        return data[f"digital_{metric}"]
    return data["digital"] if "digital" in data and metric == chosen_metric(data) else None


def computed_fraction(data: "xarray.Dataset", metric: str) -> float:
    """Return the computed fraction of a sweep; 1 if it is complete, even with NaN."""
    if "done" in data:
        return float(np.mean(data["done"].values.astype(float)))
    if str(data.attrs.get("complete", 1)) not in ("0", "False"):
        return 1.0
    return float(np.mean(np.isfinite(data[metric].values)))


def gaps(data: "xarray.Dataset", metric: str) -> str:
    """Describe missing values; empty if there are none."""
    share = computed_fraction(data, metric)
    if share < 1:
        return f"{np.floor(100 * share + 1e-9):.0f} % computed"
    missing = int(np.sum(np.isnan(data[metric].values)))
    return f"{missing:,} of {data[metric].size:,} values are NaN and left out" if missing else ""
