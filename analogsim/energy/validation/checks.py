"""One published figure beside ours, and the table of published points."""

import csv
import dataclasses
import functools
import importlib.resources
from typing import Any

from analogsim.base.errors import InputError

KINDS = ("identity", "roll-up", "calibrated", "uncalibrated", "part", "bound")

#: What a published figure counts: all power of the chip or macro at a stated load, what one more event adds, the named
#: parts alone, the best point with every unit busy, or the mean of a real application (with its waiting).
SCOPES = ("all-in", "marginal", "part", "peak", "sustained")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Check:
    """One published number compared with ours.

    Attributes:
      system, quantity: what it is of.
      ours, theirs: both in ``unit``.
      unit: as published.
      kind: one of ``KINDS``.
      tolerance: largest relative deviation of an identity, a roll-up or a calibrated point; the largest factor of an
        uncalibrated one or of a whole over its part; a bound has none.
      calibrated_on: what the model was fitted to; ``""`` for nothing.
      how_known: how theirs is known: measured, derived, read off a figure, recalled.
      source: the publication.
      scope: what theirs counts, one of ``SCOPES``: figures of different scope are never added up.
      rests_on: the constants of the account that enter ours and that theirs can contradict, ``"module:name"``; empty
        for bookkeeping.
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
            raise InputError(f"Check.rests_on = {self.rests_on!r}: must be empty, as a row of kind {self.kind} is "
                             f"arithmetic on published numbers")  # fmt: skip

    @property
    def ratio(self) -> float:
        """Ours over theirs."""
        return self.ours / self.theirs

    @property
    def counts(self) -> bool:
        """Whether it can contradict the account; else it is bookkeeping."""
        return bool(self.rests_on)

    @property
    def is_recalled(self) -> bool:
        """Whether theirs was written from memory and is still to be checked."""
        return "recalled" in self.how_known

    @property
    def holds(self) -> bool:
        """Whether it is as near as its kind demands."""
        if self.kind == "bound":
            return self.ours >= self.theirs
        if self.kind == "part":
            return 1 / self.tolerance <= self.ratio <= 1
        if self.kind == "uncalibrated":
            return 1 / self.tolerance <= self.ratio <= self.tolerance
        return abs(self.ratio - 1) <= self.tolerance

    def to_dict(self) -> dict[str, Any]:
        """As plain numbers and strings."""
        return dataclasses.asdict(self) | {"ratio": self.ratio, "holds": self.holds, "counts": self.counts}


@functools.cache
def points() -> dict[tuple[str, str, str], dict[str, str]]:
    """Every published point by system, condition and quantity."""
    table = importlib.resources.files("analogsim.energy.validation") / "data" / "points.csv"
    with table.open(encoding="utf-8") as file:
        return {(row["system"], row["condition"], row["quantity"]): row for row in csv.DictReader(file)}


def point(system: str, condition: str, quantity: str) -> float:
    """The value of one published point, in its own unit."""
    return float(points()[system, condition, quantity]["value"])
