"""``analogsim train``: run a recipe with progress bars; write a table, a report and a checkpoint."""

import dataclasses
import functools
import time
from pathlib import Path
from typing import Any

import jax

import analogsim
from analogsim import plot, report, save
from analogsim.base import files, netcdf
from analogsim.base.description import describe
from analogsim.chips.checkpoint.folder import check_free
from analogsim.hardware.citation import cite
from analogsim.plot import dataset as results_data
from analogsim.training.recipes.lifetime import lifetime_json, lifetime_table, table_rows, verdict
from analogsim.training.recipes.recipe import load_recipe
from analogsim.training.recipes.run import Outcome, run_recipe, smoke


def run(
    name: str, *, out: Path | None = None, fast: bool = False, chips: int | None = None, key: int = 0,
    as_json: bool = False,
) -> Path:  # fmt: skip
    """Run a recipe and return the path of the report.

    Args:
      name: name of a built-in recipe, or path of a TOML file.
      out: folder for the report, the results, the recipe and the checkpoint; by default named after the recipe.
      fast: smoke test; its accuracies are meaningless.
      chips: number of chips per network; overrides the recipe.
      key: random seed.
      as_json: print JSON to standard output, and tables to standard error.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    started = time.perf_counter()
    recipe = load_recipe(name)
    if fast:
        recipe = smoke(recipe)
    if chips is not None:
        recipe = dataclasses.replace(recipe, evaluate=recipe.evaluate.replace(chips=chips))
    folder = files.output_folder(Path(name).stem if out is None else out)
    check_free(folder / "network", overwrite=True)  # before hours of training
    console = Console(stderr=as_json)
    console.print(recipe.title, style="bold")
    columns = (TextColumn("{task.description:36}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        tasks: list[Any] = []

        def stage(label: str, total: int) -> None:
            tasks.append(progress.add_task(label, total=total))

        outcome = run_recipe(
            recipe, key=jax.random.key(key), on_stage=stage, on_progress=lambda: progress.advance(tasks[-1])
        )
    console.print(lifetime_table(outcome.results, fast, "test examples"))
    console.print(verdict(outcome.results, fast, "test examples"))
    page = _write(folder, outcome, fast, key)
    console.print(f"Wrote {page.parent}/: report.html, results.nc, recipe.toml, network/", soft_wrap=True)
    if as_json:
        print(lifetime_json(outcome.results, page))
    console.print(f"{time.perf_counter() - started:.0f} s")
    return page


def _write(folder: Path, outcome: Outcome, fast: bool, key: int) -> Path:
    """Write results, recipe, checkpoint and report."""
    recipe, results = outcome.recipe, outcome.results
    text = recipe.to_toml()
    results.attrs |= {"key": key, "recipe": text, "analogsim": analogsim.__version__}
    files.write(folder / "results.nc", netcdf.content(results), "--out ")
    files.write(folder / "recipe.toml", text, "--out ")
    save(folder / "network", outcome.model, outcome.variables["hardware-aware"], overwrite=True)
    page = folder / "report.html"
    lead = f"{outcome.data.about}; made with analogsim {analogsim.__version__}, key {key}"
    return files.write(page, report.page(recipe.title, lead, _sections(outcome, fast, text)), "--out ")


def _sections(outcome: Outcome, fast: bool, text: str) -> list[tuple[str, str]]:
    results = outcome.results
    n = results.sizes["chip"] * results.sizes["seed"]
    header = ["network", "drift compensation", "digital", *map(str, results.time_label.values)]
    figure = report.figure(
        functools.partial(plot.drift, results, percent=True),
        "Accuracy of the plain and the hardware-aware network versus time after programming",
        f"Lines: means over {n} sampled chips of each network. Dotted: the digital networks.",
        phone=(3.6, 5.2),
    )
    late = results_data.extrapolation(results)
    caption = "Accuracy in %, mean ± standard deviation over chips" + (f". {late}" if late else "")
    table = report.table(header, table_rows(results), caption, (0, 1))
    sections = [
        ("In short", report.paragraph(verdict(results, fast, "test examples"))),
        ("Accuracy after programming", figure + table),
    ]
    clipping = outcome.tuned.clipping
    if clipping is not None:
        sections.append(("Converter ranges after training", report.preformatted(str(clipping))))
    return [
        *sections,
        ("Recipe", report.preformatted(text)),
        ("Hardware", report.preformatted(describe(outcome.recipe.hardware))),
        ("Papers", report.preformatted(cite(outcome.recipe.hardware).text)),
    ]
