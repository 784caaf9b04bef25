"""An energy bill: lines of (how often) x (joules each), for one inference.

    E = sum over lines of count * unit_energy_j

Every line has a typical price and, where the literature leaves one open, a low and a high one, which mean the same
everywhere:

    low, high   the ends of what sources report for the same quantity, or a stated physical bound
    typical     the measured value where the range lies around one, else the middle estimate of a source, else the
                geometric mean of the ends

so that typical is an end only where there is no range, or where ``EnergyItem.at_end`` says why. A bill's range is the
sum of its lines' lows and highs. The joules of a bill are its lines and nothing else, so a breakdown always adds up.
"""

import dataclasses
import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from analogsim.base.errors import InputError
from analogsim.base.literature import Source
from analogsim.base.units import show
from analogsim.energy.omissions import Omission
from analogsim.hardware.citation import Use


@dataclasses.dataclass(frozen=True, kw_only=True)
class EnergyItem:
    """One kind of action in one layer.

    Attributes:
      component: what does it, ``"ADC"``.
      action: what it does, ``"convert"``.
      count: how often an inference needs it (or how much of ``unit``); a float, as some are means over the sample.
      unit: what the count is in (``"S"``, ``"B"``, ``"MAC"``, ``"s"``), ``""`` for a pure number.
      unit_energy_j: joules of one, typical.
      unit_energy_low_j, unit_energy_high_j: joules of one at the ends of the range; None where no range is known.
      at_end: why typical is an end of a range, where it is one.
      sources: where the price comes from.
      layer: path of the layer, ``""`` where it belongs to the whole model.
      waits: whether it is spent while nothing is computed or moved: launches, latency, idle parts.
    """

    component: str
    action: str
    count: Any
    unit: str
    unit_energy_j: Any
    sources: tuple[Source, ...]
    unit_energy_low_j: Any = None
    unit_energy_high_j: Any = None
    layer: str = ""
    waits: bool = False
    at_end: str = ""

    @property
    def source(self) -> str:
        """Where the price comes from, as text."""
        return "; ".join(map(str, self.sources))

    def cited(self, source: Source) -> Use:
        """The price as ``analogsim.cite`` lists it under one of its sources."""
        price = show(float(self.unit_energy_j), "J") + (f"/{self.unit}" if self.unit else "")
        return Use("", f"{self.component} ({self.action})", price, source)

    @property
    def energy_j(self) -> Any:
        """Joules an inference, typical."""
        return self.count * self.unit_energy_j

    @property
    def energy_low_j(self) -> Any:
        """Joules an inference, low end."""
        return self.count * (self.unit_energy_j if self.unit_energy_low_j is None else self.unit_energy_low_j)

    @property
    def energy_high_j(self) -> Any:
        """Joules an inference, high end."""
        return self.count * (self.unit_energy_j if self.unit_energy_high_j is None else self.unit_energy_high_j)


@dataclasses.dataclass(frozen=True)
class UnsupportedSystem:
    """A system that cannot hold the model at a batch size, and why."""

    system: str
    batch: int
    reason: str


class ModelDoesNotFit(InputError):
    """A machine that cannot hold a model, so that there is no bill; a comparison says so in its row."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EnergyBreakdown:
    """What one inference costs on one system.

    Attributes:
      system: name of the system.
      batch: examples that are computed together.
      lines: everything that is counted.
      latency_s: from the start of the batch to its last result; None where not known.
      note: what the range spans, in one line.
      excludes: what this system's account leaves out beyond what every account leaves out.
      bound: what most of the time is spent on (``"arithmetic"``, ``"memory"``, ``"launches"``, ``"latency"``,
        ``"reads"``), ``""`` where that is not known.
      omits: what of the model's own computation it does not count; empty where it counts all.
      per: what one multiply-accumulate of the model stands for on this system, for ratios.
    """

    system: str
    batch: int
    lines: tuple[EnergyItem, ...]
    latency_s: float | None
    note: str
    excludes: str
    bound: str = ""
    omits: tuple[Omission, ...] = ()
    per: str = "MAC"

    def cited_values(self) -> Iterator[tuple[str, list[Use]]]:
        """The system's name and the prices of its lines with their sources, for ``analogsim.cite``."""
        uses = (line.cited(source) for line in self.lines for source in line.sources)
        yield self.system, list(dict.fromkeys(uses))  # layers share their prices

    @property
    def energy_typical_j(self) -> float:
        """Joules an inference with every price at its typical value."""
        return math.fsum(line.energy_j for line in self.lines)

    @property
    def energy_low_j(self) -> float:
        """Joules an inference at the low end of every line's range."""
        return math.fsum(line.energy_low_j for line in self.lines)

    @property
    def energy_high_j(self) -> float:
        """Joules an inference at the high end of every line's range."""
        return math.fsum(line.energy_high_j for line in self.lines)

    @property
    def power_w(self) -> float | None:
        """Mean electrical power while the batch is computed, typical; None where the time is not known."""
        return self.batch * self.energy_typical_j / self.latency_s if self.latency_s else None

    @property
    def idle_fraction(self) -> float:
        """Share of the typical energy that is spent while nothing is computed or moved; 0 for a bill of no energy."""
        total_j = self.energy_typical_j
        return math.fsum(line.energy_j for line in self.lines if line.waits) / total_j if total_j else 0.0

    @property
    def includes(self) -> str:
        """What is counted, from the lines themselves."""
        return ", ".join(dict.fromkeys(f"{line.component} ({line.action})" for line in self.lines))


def one_per_system(breakdowns: Iterable[EnergyBreakdown]) -> tuple[EnergyBreakdown, ...]:
    """The bill of every system at its last batch size, for what is said of the system itself."""
    return tuple({breakdown.system: breakdown for breakdown in breakdowns}.values())


def merge_items(lines: Iterable[EnergyItem]) -> tuple[EnergyItem, ...]:
    """Lines as plain float64 numbers, those that differ only in their count joined.

    Raises:
      InputError: where a count or price is not one finite, non-negative number, or typical lies outside of its range.
    """
    joined: dict[EnergyItem, float] = {}
    for line in lines:
        count = _number(line.count, line)
        unit_energy_j = _number(line.unit_energy_j, line)
        low_j, high_j = (
            None if end is None else _number(end, line) for end in (line.unit_energy_low_j, line.unit_energy_high_j)
        )
        _check_range(line, unit_energy_j, low_j, high_j)
        same = dataclasses.replace(
            line, count=0.0, unit_energy_j=unit_energy_j, unit_energy_low_j=low_j, unit_energy_high_j=high_j
        )
        joined[same] = joined.get(same, 0.0) + count
    return tuple(dataclasses.replace(line, count=count) for line, count in joined.items())


def across_layers(lines: Iterable[EnergyItem]) -> tuple[EnergyItem, ...]:
    """The lines of a whole model: equal actions of all layers together."""
    return merge_items(dataclasses.replace(line, layer="") for line in lines)


_ROUNDING = 1e-12  # of a mean of equal ends


def _check_range(line: EnergyItem, unit_energy_j: float, low_j: float | None, high_j: float | None) -> None:
    low_j, high_j = unit_energy_j if low_j is None else low_j, unit_energy_j if high_j is None else high_j
    if not low_j * (1 - _ROUNDING) <= unit_energy_j <= high_j * (1 + _ROUNDING):
        raise InputError(f"{_where(line)}: typical {unit_energy_j:.3g} J lies outside of {low_j:.3g} to {high_j:.3g} J")


def _where(line: EnergyItem) -> str:
    return f"{line.component} ({line.action})" + (f" of layer {line.layer}" if line.layer else "")


def _number(value: Any, line: EnergyItem) -> float:
    where = _where(line)
    if np.size(value) != 1:
        raise InputError(f"{where}: has {np.size(value)} values; an account takes hardware with one value a field")
    number = float(np.asarray(value).item())
    if not (math.isfinite(number) and number >= 0):
        raise InputError(f"{where}: comes to {number}; weights, inputs and prices must be finite (unit: J)")
    return number
