"""How the account meets published machines: our number, theirs, their ratio, and what was calibrated.

    for check in validation():
        print(check.system, check.quantity, check.ratio, check.holds)
    print(table())                  # also: analogsim energy --validate

Six kinds, and what each has to hold:

    identity       arithmetic on published numbers                      1 %
    roll-up        a published table of parts summed up                 0.5 %
    calibrated     a model fitted to some points, asked for the others  25 % each; 15 % on average of a system
    uncalibrated   formulae with their default prices                   a factor that is stated: as wrong as that
    part           components alone, of a whole chip                    at most all of it, at least a stated share
    bound          the model must not lie below the measurement         no tolerance

Only some rows can contradict the account: those in which a constant of it (``Check.rests_on``) meets a number that it
was not read from. A tenth or ten times that constant makes such a row miss, and a test does so with every one. The
others are bookkeeping: arithmetic on the numbers of one publication or of two, points that a constant was fitted to by
itself, bands built from the price they would test. They show slips of copying, and are never counted as agreement.
"""

import csv
import dataclasses
import functools
import importlib.resources
from typing import TYPE_CHECKING, Any

from analogsim.base.errors import InputError
from analogsim.base.tables import as_text, plain, simple_table

if TYPE_CHECKING:
    import rich.table

KINDS = ("identity", "roll-up", "calibrated", "uncalibrated", "part", "bound")

#: What a published figure counts: all power of the chip or macro at a stated load, what one more event adds, the named
#: parts alone, the best point with every unit busy, or the mean of a real application (with its waiting).
SCOPES = ("all-in", "marginal", "part", "peak", "sustained")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Check:
    """One published number beside ours.

    Attributes:
      system, quantity: what it is of.
      ours, theirs: both in ``unit``.
      unit: as published.
      kind: one of ``KINDS``.
      tolerance: largest deviation as a share, of an identity, a roll-up or a calibrated point; the largest factor of an
        uncalibrated one or of a whole over its part; a bound has none.
      calibrated_on: what the model was fitted to; ``""`` for nothing.
      known: how theirs is known.
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
    known: str
    source: str
    scope: str
    rests_on: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, known in (("kind", KINDS), ("scope", SCOPES)):
            if getattr(self, name) not in known:
                raise InputError(f"Check.{name} = {getattr(self, name)!r}: must be one of {', '.join(known)}")
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
        return "recalled" in self.known

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
        """As plain numbers and texts."""
        return dataclasses.asdict(self) | {"ratio": self.ratio, "holds": self.holds, "counts": self.counts}


@functools.cache
def points() -> dict[tuple[str, str, str], dict[str, str]]:
    """Every published point by system, condition and quantity."""
    table = importlib.resources.files("analogsim.energy") / "data" / "validation_reference_points.csv"
    with table.open(encoding="utf-8") as file:
        return {(row["system"], row["condition"], row["quantity"]): row for row in csv.DictReader(file)}


def point(system: str, condition: str, quantity: str) -> float:
    """The value of one published point, in its own unit."""
    return float(points()[system, condition, quantity]["value"])


@functools.cache
def validation() -> tuple[Check, ...]:
    """All checks, system by system."""
    from analogsim.energy import published, published_digital, published_macros

    return (*published.checks(), *published_macros.checks(), *published_digital.checks())


def table() -> "rich.table.Table":
    """One row a check: those that can contradict the account, then bookkeeping."""
    found = simple_table("The account beside published machines")
    for name in ("system", "quantity", "ours", "theirs", "ratio", "kind"):
        right = name in ("ours", "theirs", "ratio")
        width = 12 if name == "kind" else None
        found.add_column(name, justify="right" if right else "left", no_wrap=right, min_width=width)
    last = ""
    every = sorted(validation(), key=lambda check: not check.counts)  # stable
    for check, before in zip(every, [None, *every[:-1]], strict=True):
        if before and (check.system != last or check.counts != before.counts):
            found.add_section()
        if not check.counts and (before is None or before.counts):
            found.add_row("BOOKKEEPING", "what cannot contradict the account")
            found.add_section()
            last = ""
        found.add_row(
            "" if check.system == last else plain(check.system),
            plain(check.quantity + (", recalled" if check.is_recalled else "")),
            f"{check.ours:.4g}",
            f"{check.theirs:.4g} {'' if check.unit == '1' else check.unit}".strip(),
            f"{check.ratio:.3g}",
            plain(
                check.kind
                + ("" if check.holds else " MISSED")
                + (f" on {check.calibrated_on}" if check.calibrated_on else "")
            ),
        )
        last = check.system
    found.caption = _summary()
    return found


def _summary() -> str:
    every = validation()
    parts = []
    for kind in KINDS:
        own = [c for c in every if c.kind == kind and c.counts]
        far = max((max(c.ratio, 1 / c.ratio) for c in own if c.kind != "bound"), default=1.0)
        tail = "" if kind == "bound" else f", farthest a factor of {far:.3g}"
        if own:
            parts.append(f"{kind}: {sum(c.holds for c in own)} of {len(own)} hold{tail}")
    counted = sum(c.counts for c in every)
    recalled = sum(c.is_recalled for c in every)
    return (
        f"{counted} rows can contradict the account (above BOOKKEEPING). {'; '.join(parts)}. "
        f"The other {len(every) - counted} are bookkeeping. "
        f"Of the published numbers {recalled} are recalled and still to be checked."
    )


def markdown() -> str:
    """Tables for a README, one row a system and kind with the range of ratios: what counts, then bookkeeping."""
    every = validation()
    counted = [check for check in every if check.counts]
    others = [check for check in every if not check.counts]
    return (
        f"{_rows_of(counted)}\n\nBookkeeping, {len(others)} points that cannot contradict the account: arithmetic on "
        f"published numbers, points that fitted a constant by themselves, bands built from the price they would test."
        f"\n\n{_rows_of(others)}"
    )


def _rows_of(checks: list[Check]) -> str:
    groups: dict[tuple[str, str], list[Check]] = {}
    for check in checks:
        groups.setdefault((check.system, check.kind), []).append(check)
    lines = ["| system | what | kind | ours / theirs | calibrated on |", "| --- | --- | --- | --- | --- |"]
    for (system, kind), own in groups.items():
        what = own[0].quantity if len(own) == 1 else f"{len(own)} points: {_common(own)}"
        low, high = min(c.ratio for c in own), max(c.ratio for c in own)
        ratio = f"{low:.3g}" if f"{low:.3g}" == f"{high:.3g}" else f"{low:.3g} to {high:.3g}"
        marks = " (recalled)" if any(c.is_recalled for c in own) else ""
        fitted = "; ".join(dict.fromkeys(c.calibrated_on for c in own if c.calibrated_on)) or "nothing"
        lines.append(f"| {system} | {what}{marks} | {kind} | {ratio} | {fitted} |")
    return "\n".join(lines)


def _common(checks: list[Check]) -> str:
    names = dict.fromkeys(check.quantity.split(",")[0] for check in checks)
    return ", ".join(list(names)[:4]) + (" ..." if len(names) > 4 else "")


def text() -> str:
    """The table as plain text."""
    return as_text(table(), width=150)
