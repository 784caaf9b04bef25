"""The tables and the figure of a run."""

import pathlib
from typing import Any

from analogsim.base.tables import as_text, plain, simple_table
from tests.benchmarks.agreement import TOLERANCE
from tests.benchmarks.results import Results, about

#: Columns of the tables where they are not printed on a terminal: rows stay in one line.
WIDTH = 170
#: Colours of the default cycle that stay apart for the colour-blind, and markers that do in print.
STYLES = (("#444444", "o"), ("#0072B2", "s"), ("#D55E00", "^"), ("#009E73", "D"))


def tables(results: Results) -> list[Any]:
    """Tables of rows and of agreements, for rich.

    Args:
      results: a run.
    """
    measured = simple_table("Medians beside what they are compared with")
    for column in ("benchmark", "what"):
        measured.add_column(column)
    for column in ("value", "ratio", "target", ""):
        measured.add_column(column, justify="right")
    measured.add_column("beside")
    for row in results.rows:
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        verdict = {None: "", True: "met", False: "missed"}[row.reached]
        measured.add_row(
            row.item, plain(row.name), f"{number(row.value)} {row.unit}", ratio, target(row), verdict, plain(row.beside)
        )
    parts = [measured] if results.rows else []
    if results.agreements:
        agreed = simple_table("Outputs of both sides: mean ± spread, clipped fraction of inputs, spread between draws")
        agreed.caption = f"Agreement: {TOLERANCE}. Without it a ratio of times says nothing."
        for column in ("benchmark", "what", "outputs", "beside", "outputs", "agree"):
            agreed.add_column(column)
        for one in results.agreements:
            sides = [outputs(one.ours), outputs(one.reference)]
            agreed.add_row(
                one.item, plain(one.name), sides[0], plain(one.beside), sides[1], "yes" if one.agree else "NO"
            )
        parts.append(agreed)
    return parts


def text(results: Results) -> str:
    """The tables as plain text, with the machine and versions below.

    Args:
      results: a run.
    """
    return as_text(*tables(results), footer(results), width=WIDTH)


def footer(results: Results) -> str:
    """Machine, versions, date, peers and why some could not run."""
    found = about()
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    lines = [
        f"{found['processor']}, {found['cores']} cores, {found['device']}; {found['date']}; commit {found['commit']}",
        versions,
    ]
    for package, kept in results.peers.items():
        lines += [f"{package}: " + ", ".join(f"{name} {v}" for name, v in kept.items() if isinstance(v, str))]
        lines += [f"{package}, {item}: did not run: {error}" for item, error in kept.get("errors", {}).items()]
    return plain("\n".join(lines))


def number(value: float) -> str:
    """Three significant digits, in full above a thousand."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def target(row: Any) -> str:
    """Limits of a row."""
    parts = [] if row.at_least is None else [f"≥ {row.at_least:g}"]
    parts += [] if row.at_most is None else [f"≤ {row.at_most:g}"]
    return ", ".join(parts)


def outputs(found: Any) -> str:
    """Mean, spread, clipped fraction and noise."""
    clipped = "" if found.clipped is None else f", {found.clipped:.2%} clipped"
    noise = "" if found.noise is None else f", noise {found.noise:.3g}"
    return f"{found.mean:.3g} ± {found.spread:.3g}{clipped}{noise}"


def figure(results: Results, file: pathlib.Path) -> None:
    """Draw cost against size on logarithmic axes, a panel for each size.

    Args:
      results: a run with curves.
      file: image to write; its suffix is the format.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullLocator, ScalarFormatter, StrMethodFormatter

    panels: dict[str, list[Any]] = {}
    for curve in results.curves:
        panels.setdefault(curve.size, []).append(curve)
    columns = min(2, max(1, len(panels)))
    lines = max(1, -(-len(panels) // columns))
    drawn = Figure(figsize=(4.6 * columns, 3.4 * lines), layout="constrained")
    axes = drawn.subplots(lines, columns, squeeze=False).ravel()
    for axis, (size, curves) in zip(axes, panels.items(), strict=False):
        series = [(name, points) for curve in curves for name, points in curve.points.items() if points]
        for (colour, marker), (name, points) in zip(STYLES, series, strict=False):
            axis.loglog(*zip(*points, strict=True), color=colour, marker=marker, markersize=4, label=name)
        axis.set_xlabel(size)
        axis.set_ylabel(curves[0].cost)
        sizes = sorted({x for _, points in series for x, _ in points})
        if sizes[-1] < 1000:  # few powers of ten: the sizes themselves
            axis.set_xticks(sizes)
            axis.xaxis.set_major_formatter(ScalarFormatter())
            axis.xaxis.set_minor_locator(NullLocator())
        costs = [y for _, points in series for _, y in points]
        axis.set_ylim(top=max(costs) * (max(costs) / min(costs)) ** 0.1 * 1.25 ** len(series))  # room for the legend
        if max(costs) < 100 * min(costs):  # few powers of ten: also twice and five times them
            axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axis.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axis.yaxis.set_minor_locator(NullLocator())
        axis.grid(alpha=0.3, which="major")
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False, fontsize=8)
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    drawn.savefig(file, dpi=150)
