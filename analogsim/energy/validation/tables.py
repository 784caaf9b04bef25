"""The checks as tables: all rows for a terminal, and rows grouped by system and kind for a README."""

from typing import TYPE_CHECKING

from analogsim.base.tables import as_text, plain, simple_table
from analogsim.energy.validation.account import validation
from analogsim.energy.validation.checks import KINDS, Check

if TYPE_CHECKING:
    import rich.table


def table() -> "rich.table.Table":
    """Return one row per check, first those that can contradict the account; the caption counts how many hold.

    Example:
      >>> [column.header for column in table().columns]
      ['system', 'quantity', 'computed', 'published', 'ratio', 'kind']
    """
    rows = simple_table("The energy account compared with published systems")
    for name in ("system", "quantity", "computed", "published", "ratio", "kind"):
        right = name in ("computed", "published", "ratio")
        width = 12 if name == "kind" else None
        rows.add_column(name, justify="right" if right else "left", no_wrap=right, min_width=width)
    last = ""
    checks = sorted(validation(), key=lambda check: not check.counts)  # stable
    for check, before in zip(checks, [None, *checks[:-1]], strict=True):
        if before and (check.system != last or check.counts != before.counts):
            rows.add_section()
        if not check.counts and (before is None or before.counts):
            rows.add_row("BOOKKEEPING", "rows that cannot contradict the account")
            rows.add_section()
            last = ""
        rows.add_row(
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
    rows.caption = _summary()
    return rows


def _summary() -> str:
    checks = validation()
    parts = []
    for kind in KINDS:
        of_kind = [c for c in checks if c.kind == kind and c.counts]
        far = max((max(c.ratio, 1 / c.ratio) for c in of_kind if c.kind != "bound"), default=1.0)
        tail = "" if kind == "bound" else f", at most a factor of {far:.3g} off"
        if of_kind:
            parts.append(f"{kind}: {sum(c.holds for c in of_kind)} of {len(of_kind)} hold{tail}")
    counted = sum(c.counts for c in checks)
    recalled = sum(c.is_recalled for c in checks)
    return (
        f"{counted} rows can contradict the account (above BOOKKEEPING). {'; '.join(parts)}. "
        f"The other {len(checks) - counted} are bookkeeping. "
        f"{recalled} of the published numbers are recalled and still need to be verified."
    )


def markdown() -> str:
    """Return Markdown tables for a README, one row per system and kind with the range of ratios; bookkeeping last.

    Example:
      >>> markdown().splitlines()[0]
      '| system | quantity | kind | computed / published | calibrated on |'
    """
    counted = [check for check in validation() if check.counts]
    bookkeeping = [check for check in validation() if not check.counts]
    return (
        f"{_rows_of(counted)}\n\nBookkeeping, {len(bookkeeping)} points that cannot contradict the account: arithmetic "
        f"on published numbers, points that alone determined a constant, ranges built from the figure they would test."
        f"\n\n{_rows_of(bookkeeping)}"
    )


def _rows_of(checks: list[Check]) -> str:
    groups: dict[tuple[str, str], list[Check]] = {}
    for check in checks:
        groups.setdefault((check.system, check.kind), []).append(check)
    lines = ["| system | quantity | kind | computed / published | calibrated on |", "| --- | --- | --- | --- | --- |"]
    for (system, kind), group in groups.items():
        quantity = group[0].quantity if len(group) == 1 else f"{len(group)} points: {_common(group)}"
        low, high = min(c.ratio for c in group), max(c.ratio for c in group)
        ratio = f"{low:.3g}" if f"{low:.3g}" == f"{high:.3g}" else f"{low:.3g} to {high:.3g}"
        marks = " (recalled)" if any(c.is_recalled for c in group) else ""
        fitted = "; ".join(dict.fromkeys(c.calibrated_on for c in group if c.calibrated_on)) or "nothing"
        lines.append(f"| {system} | {quantity}{marks} | {kind} | {ratio} | {fitted} |")
    return "\n".join(lines)


def _common(checks: list[Check]) -> str:
    names = dict.fromkeys(check.quantity.split(",")[0] for check in checks)
    return ", ".join(list(names)[:4]) + (" ..." if len(names) > 4 else "")


def text() -> str:
    """Return the table as plain text.

    Example:
      >>> text().splitlines()[0]
      'The energy account compared with published systems'
    """
    return as_text(table(), width=150)
