"""Accuracy of two networks over the lifetime of their chips: tables, and a summary in words.

The datasets here have ``score`` over (seed, network, compensation, chip, time) and ``digital`` over (seed, network), as
``evaluate`` returns them for a plain and a hardware-aware network.
"""

import json
import pathlib
import typing

from analogsim.base.extrapolation import EXTRAPOLATED, MARK
from analogsim.plot import dataset as results_data

if typing.TYPE_CHECKING:
    import xarray
    from rich.table import Table

#: The networks that are compared.
NETWORKS = ("plain", "hardware-aware")


def mean_and_std(results: "xarray.Dataset", network: str, compensation: str, time_index: int) -> tuple[float, float]:
    """Return mean and standard deviation of the accuracy over all chips and seeds, in per cent."""
    scores = 100 * results.score.sel(network=network, compensation=compensation).isel(time=time_index).values
    return float(scores.mean()), float(scores.std())


def digital_accuracy(results: "xarray.Dataset", network: str) -> float:
    """Return the accuracy of the digital network, mean over seeds, in per cent."""
    return 100 * float(results.digital.sel(network=network).mean())


def points(difference: float) -> str:
    """Describe a difference of percentages: ``points(-0.61)`` is ``"0.61 points below"``."""
    return f"{abs(difference):.2f} points {'above' if difference > 0 else 'below'}"


def verdict(results: "xarray.Dataset", fast: bool, examples: str) -> str:
    """Summarise the accuracy after one year, or at the last time if the results do not contain one year.

    Args:
      results: see the module.
      fast: whether the networks were hardly trained, so that accuracies mean nothing.
      examples: name of the test data, ``"test digits"``.
    """
    if fast:
        return "Smoke run: the networks were hardly trained; run without --fast for meaningful accuracies."
    labels = [str(label) for label in results.time_label.values]
    index = labels.index("1 year") if "1 year" in labels else len(labels) - 1
    compensations = [str(c) for c in results.compensation.values]
    shown = next(c for c in ("global", "none", "column") if c in compensations)

    def figures(network: str) -> tuple[float, str]:
        digital = digital_accuracy(results, network)
        accuracy = mean_and_std(results, network, shown, index)[0]
        text = f"{points(accuracy - digital)} its digital {digital:.2f} %"
        if shown != "none" and "none" in compensations:
            text += f"; without compensation, {points(mean_and_std(results, network, 'none', index)[0] - digital)}"
        return accuracy, text

    (plain, plain_text), (aware, aware_text) = map(figures, NETWORKS)
    when = {"1 year": "A year"}.get(labels[index], labels[index])
    chips = "drift-compensated chips" if shown == "global" else "chips"
    late = " This age is extrapolated, not measured." * results_data.is_extrapolated(results, {"time": index})
    return (
        f"{when} after programming, the {NETWORKS[1]} network on {chips} classifies {aware:.2f} % of the {examples} "
        f"correctly, {aware_text}. The {NETWORKS[0]} network classifies {plain:.2f} % correctly, {plain_text}. "
        f"All values are means over {results.sizes['chip'] * results.sizes['seed']} chips.{late}"
    )


def table_rows(results: "xarray.Dataset") -> list[list[str]]:
    """Return a row per network and compensation: both names, digital accuracy, mean ± standard deviation per time."""
    rows = []
    for network in NETWORKS:
        for compensation in map(str, results.compensation.values):
            cells = [mean_and_std(results, network, compensation, i) for i in range(results.sizes["time"])]
            digital = f"{digital_accuracy(results, network):.2f}"
            marks = [f" {MARK}" * results_data.is_extrapolated(results, {"time": i}) for i in range(len(cells))]
            texts = [f"{mean:.2f} ± {std:.2f}{mark}" for (mean, std), mark in zip(cells, marks, strict=True)]
            rows.append([network, compensation, digital, *texts])
    return rows


def lifetime_json(results: "xarray.Dataset", page: pathlib.Path) -> str:
    """Format file names and the accuracies of every network, compensation and time, in per cent, as JSON."""
    rows = [
        {
            "network": network,
            "compensation": str(compensation),
            "time_s": float(time_s),
            "digital": digital_accuracy(results, network),
            **({EXTRAPOLATED: late} if (late := results_data.is_extrapolated(results, {"time": i})) else {}),
            **dict(zip(("mean", "std"), mean_and_std(results, network, str(compensation), i), strict=True)),
        }
        for network in NETWORKS
        for compensation in results.compensation.values
        for i, time_s in enumerate(results.time.values)
    ]
    files = {"report": str(page), "results": str(page.with_name("results.nc"))}
    return json.dumps({**files, "accuracy_percent": rows}, indent=2)


def lifetime_table(results: "xarray.Dataset", fast: bool, examples: str) -> "Table":
    """Return the accuracy over the lifetime as a rich table that fits 80 characters, with one row per time."""
    import rich.box
    from rich.table import Table

    n = f"{results.sizes['chip']} chips x {results.sizes['seed']} start{'s' if results.sizes['seed'] > 1 else ''}"
    smoke = " (smoke run, hardly trained)" if fast else ""
    title = f"Accuracy on {examples} in %, mean ± standard deviation over {n}{smoke}"
    table = Table(title=title, title_justify="left", title_style="bold", box=rich.box.SIMPLE)
    table.add_column("after\nprogramming", no_wrap=True)
    rows = table_rows(results)
    drift = {"global": "compensated", "none": "uncompensated", "column": "by column"}
    for network, compensation, *_ in rows:
        # With a line break at the hyphen, five columns fit 80 characters.
        table.add_column(network.replace("-", "-\n") + "\n" + drift[compensation], justify="right", no_wrap=True)
    for i, name in enumerate(["digital", *map(str, results.time_label.values)]):
        table.add_row(name, *(row[2 + i] for row in rows))
    table.caption = results_data.extrapolation(results) or None
    return table
