"""The summary of a sweep in sentences: best and worst point, digital model, ageing, missing values."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from analogsim.base.extrapolation import MARK
from analogsim.base.units import TIMES_S
from analogsim.plot import dataset as results

if TYPE_CHECKING:
    import xarray


class Amounts(NamedTuple):
    """The number format of a metric: values are divided by ``factor`` and followed by ``unit``."""

    factor: float
    unit: str
    is_fraction: bool

    def mean(self, value: float) -> str:
        """Format a mean without unit."""
        if not np.isfinite(value):
            return "–"
        return f"{value / self.factor:.2f}" if self.is_fraction else f"{value / self.factor:.4g}"

    def pair(self, value: float, std: float) -> str:
        """Format mean and standard deviation without unit, ``"93.21 ± 0.40"``; only the mean if that is NaN."""
        if not np.isfinite(value) or not np.isfinite(std):
            return self.mean(value)
        digits = f"{std / self.factor:.2f}" if self.is_fraction else f"{std / self.factor:.2g}"
        return f"{self.mean(value)} ± {digits}"

    def with_unit(self, text: str) -> str:
        """Append the unit."""
        return f"{text} {self.unit}".strip()

    def distance(self, difference: float) -> str:
        """Format the magnitude of a difference; differences of percentages are in points."""
        return (
            self.with_unit(self.mean(abs(difference)))
            if not self.is_fraction
            else f"{self.mean(abs(difference))} points"
        )


def amounts(data: "xarray.Dataset", metric: str) -> Amounts:
    """Return the number format of a metric."""
    if results.is_fraction(data, metric):
        return Amounts(0.01, "%", True)
    return Amounts(*results.prefixed(data[metric].values, results.unit(data, metric)), False)


def standard_deviations(values: np.ndarray) -> np.ndarray:
    """Return the standard deviation over the last axis; NaN for fewer than two values."""
    several = np.sum(np.isfinite(values), axis=-1) > 1
    return np.where(several, results.pooled_statistic(values, "std"), np.nan)


def chips(data: "xarray.Dataset", metric: str) -> int:
    """Return the number of values per point in a complete sweep."""
    return int(np.prod([data.sizes[d] for d in data[metric].dims if d in results.POOLED]))


def count(number: int, noun: str) -> str:
    """Format a count: ``"1 chip"``, ``"40 chips"``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def verdict(data: "xarray.Dataset", metric: str) -> list[str]:
    """Return the summary of one metric, a list of sentences."""
    lines = []
    missing = results.gaps(data, metric)
    if results.computed_fraction(data, metric) < 1:
        lines.append(f"Incomplete: {missing}. All numbers and figures show the results so far.")
    elif missing:
        lines.append(f"{missing[0].upper()}{missing[1:]}.")
    if not np.any(np.isfinite(data[metric].values)):
        return lines or ["No results yet."]
    lines += [*_ends(data, metric), *_ageing(data, metric)]
    return [*lines, results.extrapolation(data)] if results.extrapolation(data) else lines


def _reference_time(data: "xarray.Dataset", metric: str) -> int | None:
    """Return the index of one year after programming, or of the last time with results; None without times."""
    if "time" not in data[metric].dims:
        return None
    values = results.pooled(data, metric, ["time"])
    computed = np.flatnonzero(np.any(np.isfinite(values), axis=1))
    seconds = data["time"].values.astype(float)
    year = computed[np.isclose(seconds[computed], TIMES_S["year"], rtol=0.01)]
    return int(year[0] if year.size else computed[np.argmax(seconds[computed])])


def _ends(data: "xarray.Dataset", metric: str) -> list[str]:
    """Describe the best and the worst point at one time, and the digital model compared with the best."""
    at = _reference_time(data, metric)
    now = data if at is None else data.isel(time=at)
    when = "" if at is None else f"{results.value_label(data, 'time', at)} after programming: "
    over = results.axes(now, metric)
    values, amount_format = results.pooled(now, metric, over), amounts(data, metric)
    means, spread = results.pooled_statistic(values), standard_deviations(values)
    sign = -1 if results.lower_is_better(metric) else 1
    best, worst = (np.unravel_index(pick(sign * means), means.shape) for pick in (np.nanargmax, np.nanargmin))
    words = results.metric_words(data, metric)
    n = ("up to " if results.gaps(data, metric) else "") + count(chips(data, metric), "chip")

    def describe_point(index: tuple) -> str:
        indices = dict(zip(over, map(int, index), strict=True))
        place, mark = results.point_labels(data, indices), f" {MARK}" * results.is_extrapolated(now, indices)
        return (
            amount_format.with_unit(amount_format.pair(means[index], spread[index]))
            + mark
            + (f" ({place})" if place else "")
        )

    if not over:
        lines = [_sentence(f"{when}{words}: {describe_point(())}, mean and standard deviation over {n}.")]
    else:
        first, second = ("Best", "Worst") if results.has_direction(data, metric) else ("Highest", "Lowest")
        n_points = count(int(np.sum(np.isfinite(means))), "point")
        lines = [
            _sentence(f"{when}{words}, mean and standard deviation over {n} at each of {n_points}."),
            f"{first}: {describe_point(best)}{_alike(values, best)}.",
            f"{second}: {describe_point(worst)}.",
        ]
    exact = _exact(now, metric, dict(zip(over, map(int, best), strict=True)))
    if exact is not None:
        away = means[best] - exact
        where = f"{amount_format.distance(away)} {'above' if away > 0 else 'below'} it"
        subject = (
            "this" if not over else "the best point" if results.has_direction(data, metric) else "the highest point"
        )
        lines.append(
            f"The digital model has {amount_format.with_unit(amount_format.mean(exact))}; {subject} is {where}."
        )
    return lines


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def _alike(values: np.ndarray, best: tuple) -> str:
    """Count the points within two standard errors of the best, as a phrase."""
    n = np.sum(np.isfinite(values), axis=-1)
    means, variances = results.pooled_statistic(values), standard_deviations(values) ** 2 / np.maximum(n, 1)
    close = np.abs(means - means[best]) <= 2 * np.sqrt(variances + variances[best])
    others = int(np.sum(close)) - 1
    if others < 1:
        return ""
    return f"; {count(others, 'other point')} within two standard errors of it"


def _exact(data: "xarray.Dataset", metric: str, indices: dict[str, int]) -> float | None:
    exact = results.digital(data, metric)
    if exact is None:
        return None
    value = float(exact.isel({d: i for d, i in indices.items() if d in exact.dims}).mean())
    return value if np.isfinite(value) else None


def _ageing(data: "xarray.Dataset", metric: str) -> list[str]:
    """Describe the change from the first to the last time: the mean over points, and the largest change."""
    if "time" not in results.axes(data, metric):
        return []
    over = [axis for axis in results.axes(data, metric) if axis != "time"]
    values = results.pooled(data, metric, [*over, "time"])
    order = np.argsort(data["time"].values)
    means = results.pooled_statistic(values)[..., order]
    is_complete = np.isfinite(means[..., 0]) & np.isfinite(means[..., -1])
    if not np.any(is_complete):
        return []
    amount_format = amounts(data, metric)
    change = np.where(is_complete, means[..., -1] - means[..., 0], 0.0)
    first, last = (results.value_label(data, "time", int(order[i])) for i in (0, -1))
    before, after = (
        amount_format.with_unit(amount_format.mean(float(means[..., i][is_complete].mean()))) for i in (0, -1)
    )
    after += f" {MARK}" * results.is_extrapolated(data, {"time": int(order[-1])})
    start = f"From {first} to {last} after programming the mean"
    if not over:
        return [f"{start} changes from {before} to {after}."]
    largest_change = np.unravel_index(np.argmax(np.abs(change)), change.shape)
    place = results.point_labels(data, dict(zip(over, map(int, largest_change), strict=True)))
    direction = "up" if change[largest_change] > 0 else "down"
    indices = dict(zip([*over, "time"], [*map(int, largest_change), int(order[-1])], strict=True))
    mark = f" {MARK}" * results.is_extrapolated(data, indices)
    return [f"{start} over all points changes from {before} to {after}; most at {place}, {direction} by "
            f"{amount_format.distance(float(change[largest_change]))}{mark}."]  # fmt: skip
