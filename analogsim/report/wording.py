"""What a sweep found, in sentences: best and worst point, the exact model beside them, what ages, what is missing."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from analogsim.base.extrapolation import MARK
from analogsim.base.units import TIMES_S
from analogsim.plot import dataset as results

if TYPE_CHECKING:
    import xarray


class Amounts(NamedTuple):
    """How the numbers of a metric are written: divided by a factor, with so many decimals, with a unit behind."""

    factor: float
    unit: str
    share: bool

    def mean(self, value: float) -> str:
        """A mean, without its unit."""
        if not np.isfinite(value):
            return "–"
        return f"{value / self.factor:.2f}" if self.share else f"{value / self.factor:.4g}"

    def pair(self, value: float, spread: float) -> str:
        """``"93.21 ± 0.40"``, or the mean alone where there is no spread, without the unit."""
        if not np.isfinite(value) or not np.isfinite(spread):
            return self.mean(value)
        digits = f"{spread / self.factor:.2f}" if self.share else f"{spread / self.factor:.2g}"
        return f"{self.mean(value)} ± {digits}"

    def with_unit(self, text: str) -> str:
        """A text of this kind with the unit."""
        return f"{text} {self.unit}".strip()

    def distance(self, difference: float) -> str:
        """A difference without its sign: shares differ by points."""
        return self.with_unit(self.mean(abs(difference))) if not self.share else f"{self.mean(abs(difference))} points"


def amounts(data: "xarray.Dataset", metric: str) -> Amounts:
    """How to write a metric's numbers."""
    if results.is_share(data, metric):
        return Amounts(0.01, "%", True)
    return Amounts(*results.prefixed(data[metric].values, results.unit(data, metric)), False)


def spreads(values: np.ndarray) -> np.ndarray:
    """Standard deviation over the last axis; NaN where fewer than two values are there, which have none."""
    several = np.sum(np.isfinite(values), axis=-1) > 1
    return np.where(several, results.over_chips(values, "std"), np.nan)


def chips(data: "xarray.Dataset", metric: str) -> int:
    """How many values every point has when all is computed."""
    return int(np.prod([data.sizes[d] for d in data[metric].dims if d in results.POOLED]))


def count(number: int, noun: str) -> str:
    """``"1 chip"``, ``"40 chips"``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def verdict(data: "xarray.Dataset", metric: str) -> list[str]:
    """Sentences about one metric."""
    lines = []
    missing = results.gaps(data, metric)
    if results.computed_share(data, metric) < 1:
        lines.append(f"Unfinished: {missing}. Every number and figure is of what is there so far.")
    elif missing:
        lines.append(f"{missing[0].upper()}{missing[1:]}.")
    if not np.any(np.isfinite(data[metric].values)):
        return lines or ["Nothing is computed yet."]
    lines += [*_ends(data, metric), *_ageing(data, metric)]
    return [*lines, results.extrapolation(data)] if results.extrapolation(data) else lines


def _reference_time(data: "xarray.Dataset", metric: str) -> int | None:
    """Index of a year after programming, or of the last time with results; None without times."""
    if "time" not in data[metric].dims:
        return None
    values = results.pooled(data, metric, ["time"])
    known = np.flatnonzero(np.any(np.isfinite(values), axis=1))
    seconds = data["time"].values.astype(float)
    year = known[np.isclose(seconds[known], TIMES_S["year"], rtol=0.01)]
    return int(year[0] if year.size else known[np.argmax(seconds[known])])


def _ends(data: "xarray.Dataset", metric: str) -> list[str]:
    """Best and worst point at one time, and the exact model beside the best."""
    at = _reference_time(data, metric)
    now = data if at is None else data.isel(time=at)
    when = "" if at is None else f"{results.value_label(data, 'time', at)} after programming: "
    over = results.axes(now, metric)
    values, amount_format = results.pooled(now, metric, over), amounts(data, metric)
    means, spread = results.over_chips(values), spreads(values)
    sign = -1 if results.lower_is_better(metric) else 1
    best, worst = (np.unravel_index(pick(sign * means), means.shape) for pick in (np.nanargmax, np.nanargmin))
    words = results.metric_words(data, metric)
    n = ("up to " if results.gaps(data, metric) else "") + count(chips(data, metric), "chip")

    def said(index: tuple) -> str:
        indices = dict(zip(over, map(int, index), strict=True))
        place, mark = results.point_labels(data, indices), f" {MARK}" * results.is_extrapolated(now, indices)
        return (
            amount_format.with_unit(amount_format.pair(means[index], spread[index]))
            + mark
            + (f" ({place})" if place else "")
        )

    if not over:
        lines = [_sentence(f"{when}{words}: {said(())}, mean and standard deviation over {n}.")]
    else:
        first, second = ("Best", "Worst") if results.has_direction(data, metric) else ("Highest", "Lowest")
        n_points = count(int(np.sum(np.isfinite(means))), "point")
        lines = [
            _sentence(f"{when}{words}, mean and standard deviation over {n} at each of {n_points}."),
            f"{first}: {said(best)}{_alike(values, best)}.",
            f"{second}: {said(worst)}.",
        ]
    exact = _exact(now, metric, dict(zip(over, map(int, best), strict=True)))
    if exact is not None:
        away = means[best] - exact
        where = f"{amount_format.distance(away)} {'above' if away > 0 else 'below'} it"
        subject = (
            "this" if not over else "the best point" if results.has_direction(data, metric) else "the highest point"
        )
        lines.append(
            f"The exact digital model has {amount_format.with_unit(amount_format.mean(exact))}; {subject} is {where}."
        )
    return lines


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def _alike(values: np.ndarray, best: tuple) -> str:
    """How many points cannot be told from the best by so many chips."""
    n = np.sum(np.isfinite(values), axis=-1)
    means, variances = results.over_chips(values), spreads(values) ** 2 / np.maximum(n, 1)
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
    """From the first to the last time, at the point that changes most and over all."""
    if "time" not in results.axes(data, metric):
        return []
    over = [axis for axis in results.axes(data, metric) if axis != "time"]
    values = results.pooled(data, metric, [*over, "time"])
    order = np.argsort(data["time"].values)
    means = results.over_chips(values)[..., order]
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
        return [f"{start} goes from {before} to {after}."]
    largest_change = np.unravel_index(np.argmax(np.abs(change)), change.shape)
    place = results.point_labels(data, dict(zip(over, map(int, largest_change), strict=True)))
    direction = "up" if change[largest_change] > 0 else "down"
    indices = dict(zip([*over, "time"], [*map(int, largest_change), int(order[-1])], strict=True))
    mark = f" {MARK}" * results.is_extrapolated(data, indices)
    return [f"{start} over all points goes from {before} to {after}; most at {place}, {direction} by "
            f"{amount_format.distance(float(change[largest_change]))}{mark}."]  # fmt: skip
