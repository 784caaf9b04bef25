"""The energy breakdown of one inference: a sum of items, each a count times joules per action.

    E = sum over items of count * unit_energy_j

Every item has a typical energy per action and, if the literature gives a range, a low and a high one. The three mean
the same everywhere:

    low, high   the ends of the figures that sources report for the same quantity, or a stated physical bound
    typical     the measured value if the range surrounds one, else the middle estimate of a source, else the
                geometric mean of the ends

Typical is therefore an end only if there is no range, or if ``EnergyItem.at_end`` says why. The range of a breakdown is
the sum of the low and of the high ends of its items. Nothing else enters its joules, so a breakdown always adds up.
"""

import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from analogsim.base.errors import InputError
from analogsim.base.literature import Source
from analogsim.base.units import show
from analogsim.energy.omissions import Omission
from analogsim.hardware.citation import Use


@dataclasses.dataclass(frozen=True, kw_only=True)
class EnergyItem:
    """The energy of one kind of action in one layer.

    Attributes:
      component: the component that acts, such as ``"ADC"``.
      action: the action, such as ``"convert"``.
      count: actions per inference (or amount of ``unit``); a float, as some are means over the sample.
      unit: unit of the count (``"S"``, ``"B"``, ``"MAC"``, ``"s"``), ``""`` for a pure number.
      unit_energy_j: typical joules per action or unit.
      unit_energy_low_j, unit_energy_high_j: joules per action at the ends of the range; None if no range is known.
      at_end: why typical is an end of the range, if it is one.
      sources: sources of the energy per action.
      layer: path of the layer, ``""`` if the item belongs to the whole model.
      waits: True if it is spent while nothing is computed or moved: launches, latency, idle parts.

    Example:
      >>> picojoules = (1e-12, 2e-12, 4e-12)
      >>> item = EnergyItem.of_range("ADC", "convert", 256, "", picojoules, (Source(note="an example"),))
      >>> [show(joules, "J") for joules in (item.energy_low_j, item.energy_j, item.energy_high_j)]
      ['256 pJ', '512 pJ', '1.02 nJ']
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

    @classmethod
    def of_range(
        cls, component: str, action: str, count: Any, unit: str, joules: Sequence[Any], sources: tuple[Source, ...],
        **options: Any,
    ) -> "EnergyItem":  # fmt: skip
        """Return an item whose energy per unit of ``count`` is ``joules``: low, typical, high."""
        low_j, typical_j, high_j = joules
        return cls(
            component=component, action=action, count=count, unit=unit, unit_energy_low_j=low_j,
            unit_energy_j=typical_j, unit_energy_high_j=high_j, sources=sources, **options,
        )  # fmt: skip

    @property
    def source(self) -> str:
        """The sources of the energy per action, as one string."""
        return "; ".join(map(str, self.sources))

    def cited(self, source: Source) -> Use:
        """Return the energy per action as ``analogsim.cite`` lists it under one of its sources."""
        per_unit = show(float(self.unit_energy_j), "J") + (f"/{self.unit}" if self.unit else "")
        return Use("", f"{self.component} ({self.action})", per_unit, source)

    @property
    def energy_j(self) -> Any:
        """Typical joules per inference."""
        return self.count * self.unit_energy_j

    @property
    def energy_low_j(self) -> Any:
        """Joules per inference at the low end of the range."""
        return self.count * (self.unit_energy_j if self.unit_energy_low_j is None else self.unit_energy_low_j)

    @property
    def energy_high_j(self) -> Any:
        """Joules per inference at the high end of the range."""
        return self.count * (self.unit_energy_j if self.unit_energy_high_j is None else self.unit_energy_high_j)


@dataclasses.dataclass(frozen=True)
class UnsupportedSystem:
    """A system that cannot hold the model at a batch size, with the reason."""

    system: str
    batch: int
    reason: str


class ModelDoesNotFit(InputError):
    """A system cannot hold the model and has no energy breakdown; ``compare`` reports it in a row of its table.

    Raised by ``System.breakdown``. The row shows the message, without ``"<system>: "`` at its beginning.
    """


@dataclasses.dataclass(frozen=True, kw_only=True)
class EnergyBreakdown:
    """The energy of one inference on one system, item by item.

    Attributes:
      system: name of the system.
      batch: examples that are computed together.
      items: the energy items.
      latency_s: seconds from the start of the batch to its last result; None if not known.
      note: meaning of the range, in one sentence.
      excludes: costs that this breakdown excludes, in addition to those that every breakdown excludes.
      bound: the activity that takes most of the time (``"arithmetic"``, ``"memory"``, ``"launches"``, ``"latency"``,
        ``"reads"``), ``""`` if not known.
      omits: parts of the model's computation that are not counted; empty if all are.
      per: the event that stands for one multiply-accumulate of the model on this system, for ratios.

    Example:
      >>> item = EnergyItem(component="ADC", action="convert", count=1000, unit="", unit_energy_j=2e-12, sources=())
      >>> chip = EnergyBreakdown(system="chip", batch=4, items=(item,), latency_s=1e-6, note="", excludes="")
      >>> show(chip.energy_typical_j, "J"), show(chip.power_w, "W")     # 1000 x 2 pJ; 4 x 2 nJ in 1 us
      ('2 nJ', '8 mW')
    """

    system: str
    batch: int
    items: tuple[EnergyItem, ...]
    latency_s: float | None
    note: str
    excludes: str
    bound: str = ""
    omits: tuple[Omission, ...] = ()
    per: str = "MAC"

    def cited_values(self) -> Iterator[tuple[str, list[Use]]]:
        """Yield the system's name with its energies per action and their sources, for ``analogsim.cite``."""
        uses = (item.cited(source) for item in self.items for source in item.sources)
        yield self.system, list(dict.fromkeys(uses))  # layers share energies per action

    @property
    def energy_typical_j(self) -> float:
        """Joules per inference with every energy per action at its typical value."""
        return math.fsum(item.energy_j for item in self.items)

    @property
    def energy_low_j(self) -> float:
        """Joules per inference at the low end of every item's range."""
        return math.fsum(item.energy_low_j for item in self.items)

    @property
    def energy_high_j(self) -> float:
        """Joules per inference at the high end of every item's range."""
        return math.fsum(item.energy_high_j for item in self.items)

    @property
    def power_w(self) -> float | None:
        """Mean electrical power in watts while the batch is computed, typical; None if the time is not known."""
        return self.batch * self.energy_typical_j / self.latency_s if self.latency_s else None

    @property
    def idle_fraction(self) -> float:
        """Fraction of the typical energy that is spent while nothing is computed or moved; 0 if there is no energy."""
        total_j = self.energy_typical_j
        return math.fsum(item.energy_j for item in self.items if item.waits) / total_j if total_j else 0.0

    @property
    def includes(self) -> str:
        """The counted components and actions, as one string."""
        return ", ".join(dict.fromkeys(f"{item.component} ({item.action})" for item in self.items))


def one_per_system(breakdowns: Iterable[EnergyBreakdown]) -> tuple[EnergyBreakdown, ...]:
    """Return each system's breakdown at its last batch size, for statements about the system itself."""
    return tuple({breakdown.system: breakdown for breakdown in breakdowns}.values())


def merge_items(items: Iterable[EnergyItem]) -> tuple[EnergyItem, ...]:
    """Convert items to plain float64 numbers, and join those that differ only in their count.

    Raises:
      InputError: if a count or an energy is not one finite, non-negative number, or typical lies outside its range.
    """
    joined: dict[EnergyItem, float] = {}
    for item in items:
        count = _number(item.count, item)
        unit_energy_j = _number(item.unit_energy_j, item)
        low_j, high_j = (
            None if end is None else _number(end, item) for end in (item.unit_energy_low_j, item.unit_energy_high_j)
        )
        _check_range(item, unit_energy_j, low_j, high_j)
        # Plain floats: JAX's arrays are not hashable, and their float32 sums over many layers would lose digits.
        same = dataclasses.replace(
            item, count=0.0, unit_energy_j=unit_energy_j, unit_energy_low_j=low_j, unit_energy_high_j=high_j
        )
        joined[same] = joined.get(same, 0.0) + count
    return tuple(dataclasses.replace(item, count=count) for item, count in joined.items())


def across_layers(items: Iterable[EnergyItem]) -> tuple[EnergyItem, ...]:
    """Join equal actions of all layers, for a breakdown of the whole model."""
    return merge_items(dataclasses.replace(item, layer="") for item in items)


_ROUNDING = 1e-12  # the geometric mean of two equal ends may differ from them by rounding


def _check_range(item: EnergyItem, unit_energy_j: float, low_j: float | None, high_j: float | None) -> None:
    low_j, high_j = unit_energy_j if low_j is None else low_j, unit_energy_j if high_j is None else high_j
    if not low_j * (1 - _ROUNDING) <= unit_energy_j <= high_j * (1 + _ROUNDING):
        raise InputError(
            f"{_where(item)}: typical {unit_energy_j:.3g} J must lie between {low_j:.3g} and {high_j:.3g} J"
        )


def _where(item: EnergyItem) -> str:
    return f"{item.component} ({item.action})" + (f" of layer {item.layer}" if item.layer else "")


def _number(value: Any, item: EnergyItem) -> float:
    where = _where(item)
    if np.size(value) != 1:
        raise InputError(
            f"{where}: has {np.size(value)} values; the energy account takes hardware with one value per field"
        )
    number = float(np.asarray(value).item())
    if not (math.isfinite(number) and number >= 0):
        raise InputError(
            f"{where}: is {number}; weights, inputs and energies must be finite and non-negative (unit: J)"
        )
    return number
