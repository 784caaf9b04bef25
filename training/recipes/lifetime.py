"""Two networks over a life: accuracy tables and a verdict in words, from the dataset that ``evaluate`` gives.

The datasets here have ``score`` over (seed, network, compensation, chip, time) and ``digital`` over (seed, network);
the networks are a plain and a hardware-aware one.
"""

import json
from typing import Any

from analogsim.base.extrapolation import EXTRAPOLATED, MARK
from analogsim.plot import dataset as results_data

#: The networks that are compared.
NETWORKS = ("plain", "hardware-aware")


def mean_and_std(results: Any, network: str, compensation: str, time_index: int) -> tuple[float, float]:
    """Accuracy in per cent over all chips and seeds: mean and standard deviation."""
    scores = 100 * results.score.sel(network=network, compensation=compensation).isel(time=time_index).values
    return float(scores.mean()), float(scores.std())


def digital_accuracy(results: Any, network: str) -> float:
    """Accuracy of the exact network in per cent, mean over seeds."""
    return 100 * float(results.digital.sel(network=network).mean())


def points(difference: float) -> str:
    """A difference of percentages in words: ``points(-0.61)`` is ``"0.61 points below"``."""
    return f"{abs(difference):.2f} points {'above' if difference > 0 else 'below'}"


def verdict(results: Any, fast: bool, examples: str) -> str:
    """What is left after a year (or the last time before it), in three sentences; ``examples`` names the test data."""
    if fast:
        return "Smoke run: the networks were hardly trained; run without --fast for accuracies that mean something."
    labels = [str(label) for label in results.time_label.values]
    index = labels.index("1 year") if "1 year" in labels else len(labels) - 1
    n = results.sizes["chip"] * results.sizes["seed"]
    kinds = [str(c) for c in results.compensation.values]
    with_name = "drift-compensated chips" if "global" in kinds else "chips"
    figures = []
    for network in reversed(NETWORKS):
        digital = digital_accuracy(results, network)
        first, *others = (
            mean_and_std(results, network, c, index)[0] for c in ("global", "none", "column") if c in kinds
        )
        bare = f"; without compensation it is {points(others[0] - digital)}" if others and "none" in kinds else ""
        figures.append((network, first, points(first - digital), digital, bare))
    (aware, with_, gap, digital, bare), second = figures[0], figures[1]
    when = {"1 year": "A year"}.get(labels[index], labels[index])
    late = " This age is extrapolated, not measured." * results_data.is_extrapolated(results, {"time": index})
    return (
        f"{when} after programming, the {aware} network on {with_name} is right on {with_:.2f} % of the {examples}, "
        f"{gap} its exact {digital:.2f} %{bare}. The {second[0]} network is right on {second[1]:.2f} %, {second[2]} "
        f"its exact {second[3]:.2f} %{second[4].replace(' it is', ',')}. All are means over {n} chips.{late}"
    )


def table_rows(results: Any) -> list[list[str]]:
    """Return a row per network and compensation: names, digital accuracy, mean and standard deviation at every time."""
    rows = []
    for network in NETWORKS:
        for compensation in map(str, results.compensation.values):
            cells = [mean_and_std(results, network, compensation, i) for i in range(results.sizes["time"])]
            exact = f"{digital_accuracy(results, network):.2f}"
            marks = [f" {MARK}" * results_data.is_extrapolated(results, {"time": i}) for i in range(len(cells))]
            texts = [f"{mean:.2f} ± {std:.2f}{mark}" for (mean, std), mark in zip(cells, marks, strict=True)]
            rows.append([network, compensation, exact, *texts])
    return rows


def as_text_of_json(results: Any, page: Any) -> str:
    """Where the results are, and the accuracies of every network, compensation and time in per cent."""
    rows = [
        {
            "network": network,
            "compensation": str(compensation),
            "time_s": float(time_s),
            "exact": digital_accuracy(results, network),
            **({EXTRAPOLATED: late} if (late := results_data.is_extrapolated(results, {"time": i})) else {}),
            **dict(zip(("mean", "std"), mean_and_std(results, network, str(compensation), i), strict=True)),
        }
        for network in NETWORKS
        for compensation in results.compensation.values
        for i, time_s in enumerate(results.time.values)
    ]
    files = {"report": str(page), "results": str(page.with_name("results.nc"))}
    return json.dumps({**files, "accuracy_percent": rows}, indent=2)


def lifetime_table(results: Any, fast: bool, examples: str) -> Any:
    """Accuracy over a life as a rich table that fits 80 columns: a row a time, a column a network and compensation."""
    import rich.box
    from rich.table import Table

    n = f"{results.sizes['chip']} chips x {results.sizes['seed']} start{'s' if results.sizes['seed'] > 1 else ''}"
    smoke = " (smoke run, hardly trained)" if fast else ""
    title = f"Accuracy on {examples} in %, mean ± standard deviation over {n}{smoke}"
    table = Table(title=title, title_justify="left", title_style="bold", box=rich.box.SIMPLE)
    table.add_column("after\nprogramming", no_wrap=True)
    lines = table_rows(results)
    drift = {"global": "compensated", "none": "uncompensated", "column": "by column"}
    for network, compensation, *_ in lines:
        # Broken at the hyphen: five columns of this width fit a narrow terminal.
        table.add_column(network.replace("-", "-\n") + "\n" + drift[compensation], justify="right", no_wrap=True)
    for i, name in enumerate(["digital", *map(str, results.time_label.values)]):
        table.add_row(name, *(line[2 + i] for line in lines))
    table.caption = results_data.extrapolation(results) or None
    return table
