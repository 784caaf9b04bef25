"""A published figure compared with the computed one, and the table of published points."""

import csv
import dataclasses
import functools
import importlib.resources
from typing import Any

from analogsim.base.errors import InputError

KINDS = ("identity", "roll-up", "calibrated", "uncalibrated", "part", "bound")

#: Scopes of a published figure: all power of the chip or macro at a stated load; one additional event; the named parts
#: alone; the best point, with every unit busy; the mean of a real application, including its waiting.
SCOPES = ("all-in", "marginal", "part", "peak", "sustained")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Check:
    """A published number compared with the computed one. Returned by ``validation``, which has an example.

    Attributes:
      system, quantity: the system, and the quantity that is compared.
      ours, theirs: the computed and the published value, both in ``unit``.
      unit: unit as published.
      kind: one of ``KINDS``.
      tolerance: largest relative deviation of an identity, a roll-up or a calibrated point; largest factor of an
        uncalibrated point, or of a whole over its part; not used by a bound.
      calibrated_on: data that the model was fitted to; ``""`` if it was not fitted.
      how_known: provenance of the published value: measured, derived, read off a figure, recalled.
      source: the publication.
      scope: scope of the published value, one of ``SCOPES``; figures of different scopes are never added.
      rests_on: constants of the account that the published value can contradict, as ``"module:name"``; empty for
        bookkeeping.

    Raises:
      InputError: for an unknown kind or scope, or constants of an identity or a roll-up.
    """

    system: str
    quantity: str
    ours: float
    theirs: float
    unit: str
    kind: str
    tolerance: float
    calibrated_on: str
    how_known: str
    source: str
    scope: str
    rests_on: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, allowed in (("kind", KINDS), ("scope", SCOPES)):
            if getattr(self, name) not in allowed:
                raise InputError(f"Check.{name} = {getattr(self, name)!r}: must be one of {', '.join(allowed)}")
        if self.rests_on and self.kind in ("identity", "roll-up"):
            raise InputError(f"Check.rests_on = {self.rests_on!r}: must be empty for a check of kind {self.kind!r}")

    @property
    def ratio(self) -> float:
        """Computed value over published value."""
        return self.ours / self.theirs

    @property
    def counts(self) -> bool:
        """True if the check can contradict the account; False for bookkeeping."""
        return bool(self.rests_on)

    @property
    def is_recalled(self) -> bool:
        """True if the published value was written from memory and still needs to be verified."""
        return "recalled" in self.how_known

    @property
    def holds(self) -> bool:
        """True if the computed value is within the tolerance of its kind."""
        if self.kind == "bound":
            return self.ours >= self.theirs
        if self.kind == "part":
            return 1 / self.tolerance <= self.ratio <= 1
        if self.kind == "uncalibrated":
            return 1 / self.tolerance <= self.ratio <= self.tolerance
        return abs(self.ratio - 1) <= self.tolerance

    def to_dict(self) -> dict[str, Any]:
        """Return all fields, ``ratio``, ``holds`` and ``counts`` as plain numbers and strings."""
        return dataclasses.asdict(self) | {"ratio": self.ratio, "holds": self.holds, "counts": self.counts}


@functools.cache
def points() -> dict[tuple[str, str, str], dict[str, str]]:
    """Return the rows of ``data/points.csv`` by (system, condition, quantity), each as ``{column: text}``.

    Example:
      >>> row = points()["PUMA", "1 GHz 16b", "efficiency"]
      >>> row["value"], row["unit"], row["kind"]
      ('0.837', 'TOPS/W', 'simulated')
    """
    table = importlib.resources.files("analogsim.energy.validation") / "data" / "points.csv"
    with table.open(encoding="utf-8") as file:
        return {(row["system"], row["condition"], row["quantity"]): row for row in csv.DictReader(file)}


def point(system: str, condition: str, quantity: str) -> float:
    """Return the value of a published point, in the unit of its row.

    Args:
      system, condition, quantity: key of the row in ``points()``.

    Raises:
      KeyError: if there is no such row.

    Example:
      >>> point("PUMA", "1 GHz 16b", "efficiency")     # TOPS/W
      0.837
    """
    return float(points()[system, condition, quantity]["value"])
