"""What a dataset of results holds, in the words that figures and pages use: axes, metrics, labels, statistics.

A dataset has metrics over axes and chips; ``analogsim.sweep``, ``analogsim.evaluate`` and the quickstart give such
ones. ``chip`` and ``seed`` are pooled, every other dimension is an axis. While a sweep is unfinished, its metrics are
NaN where nothing is computed yet, ``done`` says for which chips of which points there is something, and the attribute
``complete`` is 0.
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
#: What can be shown of the spread over chips, in words.
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
LONGEST = 36  # characters of a label in a figure


def metrics(data: "xarray.Dataset") -> list[str]:
    """Names of what was measured: numbers over chips, or over any axis where the chips are already summarised."""
    found = {
        str(name): values
        for name, values in data.data_vars.items()
        if values.dtype.kind in "iuf" and values.dims and not _is_reference(str(name))
    }
    over_chips = [name for name, values in found.items() if set(POOLED) & set(values.dims)]
    return over_chips or list(found)


def _is_reference(name: str) -> bool:
    return name == "digital" or name.startswith("digital_")


def chosen_metric(data: Any, metric: Any = None) -> str:
    """The metric that is to be shown: as named, or the first.

    Raises:
      InputError: for what is no dataset of results, or has no such metric.
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
    """Dimensions of a metric that are not pooled; those of one value only if ``single``."""
    return [str(d) for d in data[metric].dims if d not in POOLED and (single or data.sizes[d] > 1)]


def is_numeric(data: "xarray.Dataset", axis: str) -> bool:
    """Whether the values of an axis are finite numbers, and not names or yes and no."""
    return data[axis].dtype.kind in "iuf" and bool(np.all(np.isfinite(data[axis].values)))


def unit(data: "xarray.Dataset", name: str) -> str:
    """The unit of an axis or a metric; empty for pure numbers. A time is in seconds, whether it says so or not."""
    found = str(data[name].attrs.get("units", "s" if name == "time" else ""))
    return "" if found == "1" else found


def axis_words(axis: str) -> str:
    """A short name for people: ``"store.cell.read_noise"`` is ``"read noise"``, ``"adc.bits"`` is ``"ADC bits"``."""
    if axis == "time":
        return "time after programming"
    name = axis.removeprefix("store.").removeprefix("cell.").removesuffix("_s")
    words = name.replace(".", " ").replace("_", " ").split()
    return shorter(" ".join(w.upper() if w in ("adc", "dac") else w for w in words) or axis, LONGEST)


def number(value: float, digits: int = 4) -> str:
    """A pure number: whole ones below a million in full."""
    return f"{value:.0f}" if value == round(value) and abs(value) < 1e6 else f"{value:.{digits}g}"


def is_extrapolated(data: "xarray.Dataset", indices: Mapping[str, int], everywhere: bool = False) -> bool:
    """Whether some of the numbers (all, if ``everywhere``) at these places are beyond the last measured age."""
    if EXTRAPOLATED not in data.coords:
        return False
    late = data[EXTRAPOLATED]
    at = late.isel({axis: i for axis, i in indices.items() if axis in late.dims}).values.astype(bool)
    return bool(at.all() if everywhere else at.any())


def extrapolation(data: "xarray.Dataset") -> str:
    """What the mark stands for, in a sentence; empty where nothing is extrapolated."""
    if not is_extrapolated(data, {}):
        return ""
    why = str(data.attrs.get(EXTRAPOLATED) or "the trend of the last measured decade continued")
    return f"{MARK} Extrapolated, not measured: {why}."


def value_label(data: "xarray.Dataset", axis: str, index: int, digits: int = 4) -> str:
    """A value of an axis as it is read: ``"1 day"``, ``"20 µS"``, ``"0.5"``, ``"global"``.

    One whose numbers all are extrapolated is marked.
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
    """An axis and its value: ``"ADC bits = 6"``; a name that speaks for itself stands alone."""
    value = shorter(value_label(data, axis, index), LONGEST)
    if axis in ("compensation", "drift_compensation"):
        return "no compensation" if value == "none" else f"{value} compensation"
    if axis in ("network", "hardware", "time"):
        return value
    return f"{axis_words(axis)} = {value}"


def point_labels(data: "xarray.Dataset", indices: Mapping[str, int]) -> str:
    """A point of a sweep in words: ``"ADC bits = 6, read noise = 0.5"``."""
    return ", ".join(point_label(data, axis, i) for axis, i in indices.items())


def points(data: "xarray.Dataset", over: Sequence[str]) -> Iterator[dict[str, int]]:
    """Every combination of the values of some axes, by their indices; the last axis runs fastest."""
    for combination in itertools.product(*(range(data.sizes[axis]) for axis in over)):
        yield dict(zip(over, combination, strict=True))


def is_share(data: "xarray.Dataset", metric: str) -> bool:
    """Whether a metric is a share between 0 and 1 that is read in per cent: not a loss that happens to lie there."""
    if lower_is_better(metric) or str(data[metric].attrs.get("units", "1")) != "1":
        return False
    values = data[metric].values
    return bool(np.all((values >= 0) & (values <= 1) | np.isnan(values)) and np.any(np.isfinite(values)))


def lower_is_better(metric: str) -> bool:
    """Whether less of it is better, by its name."""
    return any(word in _LOWER_IS_BETTER for word in metric.lower().replace("_", " ").split())


def has_direction(data: "xarray.Dataset", metric: str) -> bool:
    """Whether its name says which end of it is the better one; a score that is no share may be anything."""
    if metric == "score":
        return is_share(data, metric)
    words = metric.lower().replace("_", " ").split()
    return any(word in (*_LOWER_IS_BETTER, *_HIGHER_IS_BETTER) for word in words)


def metric_words(data: "xarray.Dataset", metric: str) -> str:
    """What a metric is called."""
    return shorter(str(data[metric].attrs.get("long_name") or metric.replace("_", " ")), 48)


def prefixed(values: np.ndarray, symbol: str) -> tuple[float, str]:
    """The factor to divide by, and the unit with its prefix, that make all values readable: ``(1e-6, "µS")``."""
    found = np.abs(values[np.isfinite(values) & (values != 0)])
    if not symbol or not found.size or symbol.startswith("m2") or symbol == "1":
        return 1.0, symbol
    written = show(float(found.max()), symbol).partition(" ")[2]
    prefix = written.removesuffix(symbol)
    return 10.0 ** PREFIXES.get(prefix, 0), written


def pooled(data: "xarray.Dataset", metric: str, over: Sequence[str]) -> np.ndarray:
    """Values ``[*over, n]``: the given axes in this order, and everything that is pooled."""
    values = data[metric]
    rest = [d for d in values.dims if d not in over]
    shape = [data.sizes[axis] for axis in over]
    return np.asarray(values.transpose(*over, *rest).values, np.float64).reshape(*shape, -1)


def over_chips(values: np.ndarray, statistic: str = "mean") -> np.ndarray:
    """A statistic over the last axis of ``values [..., n]`` without what is NaN; NaN where nothing is left."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of points that have no value at all
        if statistic in _QUANTILES:
            return np.nanquantile(values, _QUANTILES[statistic], axis=-1)
        functions: dict[str, Any] = {"mean": np.nanmean, "std": np.nanstd, "min": np.nanmin, "max": np.nanmax}
        return functions[statistic](values, axis=-1)


def digital(data: "xarray.Dataset", metric: str) -> "xarray.DataArray | None":
    """The exact model's value of a metric: ``digital_<metric>``, or ``digital`` for the first of the metrics."""
    if f"digital_{metric}" in data:
        return data[f"digital_{metric}"]
    return data["digital"] if "digital" in data and metric == chosen_metric(data) else None


def computed_share(data: "xarray.Dataset", metric: str) -> float:
    """How much of an unfinished sweep is there, 0 to 1; 1 for finished ones, whatever they hold."""
    if "done" in data:
        return float(np.mean(data["done"].values.astype(float)))
    if str(data.attrs.get("complete", 1)) not in ("0", "False"):
        return 1.0
    return float(np.mean(np.isfinite(data[metric].values)))


def gaps(data: "xarray.Dataset", metric: str) -> str:
    """What is missing, in words; empty where nothing is."""
    share = computed_share(data, metric)
    if share < 1:
        return f"{np.floor(100 * share + 1e-9):.0f} % computed"
    missing = int(np.sum(np.isnan(data[metric].values)))
    return f"{missing:,} of {data[metric].size:,} values are NaN and left out" if missing else ""
