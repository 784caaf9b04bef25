"""``analogsim sweep``: run a sweep file with a progress bar, print a table, and write a resumable results file."""

import contextlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax

from analogsim.base.errors import InputError
from analogsim.base.extrapolation import EXTRAPOLATED, MARK
from analogsim.base.toml_text import TomlFile
from analogsim.base.units import show
from analogsim.cli import interrupts
from analogsim.plot import dataset as results_data
from analogsim.sweeps import chip_statistics, sweep
from analogsim.sweeps.results import ResultsFile
from analogsim.training.recipes.sweep_file import EXAMPLE, load_sweep, parse_sweep

if TYPE_CHECKING:
    import xarray

_MOST_ROWS = 40


def run(
    file: Path | None,
    *,
    out: Path,
    resume: bool = True,
    chips: int | None = None,
    key: int | None = None,
    workers: int = 0,
    dask: str | None = None,
    as_json: bool = False,
) -> Path:
    """Run a sweep file and return the path of the results.

    Args:
      file: TOML; None for the example that ``--example`` prints.
      out: netCDF file of the results; trained networks are saved in a folder next to it.
      resume: resume an existing results file.
      chips, key: number of chips per point and random seed; override the file.
      workers: number of worker processes on this computer; 0 uses the current process.
      dask: address of a Dask scheduler.
      as_json: print the statistics as JSON instead of a table.
    """
    from rich.console import Console

    console = Console(stderr=as_json)
    sweep_file = parse_sweep(TomlFile.parse(EXAMPLE, "the example")) if file is None else load_sweep(file)
    settings = sweep_file.settings.replace(**{n: v for n, v in (("chips", chips), ("key", key)) if v is not None})
    sweep_file = type(sweep_file)(sweep_file.recipe, sweep_file.aware, sweep_file.over, settings)
    if sweep_file.recipe.title and not as_json:
        console.print(sweep_file.recipe.title, style="bold", markup=False)
    ResultsFile(out).check(resume)  # before a network is trained
    with _executor(workers, dask) as executor:
        scores = sweep_file.scores(out.with_suffix(".networks"), lambda text: console.print(f"{text} ..."))
        data = sweep(
            scores,
            sweep_file.hardware,
            over=sweep_file.over,
            chips=settings.chips,
            key=jax.random.key(settings.key),
            path=out,
            resume=resume,
            executor=executor,
            title=sweep_file.recipe.title,
        )
    if as_json:
        statistics = _for_json(chip_statistics(data).to_dict(encoding=False))
        print(json.dumps({"path": str(out), "statistics": statistics}, default=str, allow_nan=False))
        return out
    console.print(table(data))
    console.print(f"Wrote {out}; analogsim report {out} makes a page of it", soft_wrap=True, highlight=False)
    return out


def _for_json(item: Any) -> Any:
    """Replace NaN and infinity, which JSON cannot hold, with null."""
    if isinstance(item, dict):
        return {name: _for_json(value) for name, value in item.items()}
    if isinstance(item, (list, tuple)):
        return [_for_json(value) for value in item]
    return None if isinstance(item, float) and not math.isfinite(item) else item


def table(data: "xarray.Dataset") -> Any:
    """Tabulate mean and standard deviation over chips: one row per point, one column per age."""
    from analogsim.base.tables import plain, simple_table

    statistics = chip_statistics(data)
    metric = next(name for name in statistics.data_vars if "statistic" in statistics[name].dims)
    values = statistics[metric]
    rows = [d for d in values.dims if d not in ("statistic", "time")]
    n = data.sizes["chip"]
    shares = bool(((values >= 0) & (values <= 1)).all()) and data[metric].attrs.get("units") == "1"
    words = f"{data[metric].attrs.get('long_name', metric)}{' (%)' if shares else ''}"
    result_table = simple_table(f"{words}, mean ± standard deviation of {n} chips" if n > 1 else f"{words}, one chip")
    for name in rows:
        words = str(name) if len(str(name)) < 12 else str(name).rpartition(".")[2].replace("_", " ")
        result_table.add_column(plain(words), justify="right")
    times = _columns(values, str(metric))
    for label in times:
        result_table.add_column(label, justify="right", no_wrap=True)
    if "energy_j" in data:
        result_table.add_column("per inference", justify="right")
    points = values.stack(point=rows) if rows else values.expand_dims(point=[0], axis=-1)
    for i in range(min(points.sizes["point"], _MOST_ROWS)):
        point = points.isel(point=i)
        labels = [_label(point[name].item(), str(data[name].attrs.get("units", ""))) for name in rows]
        energy = [show(_energy(data, point, rows), "J", 3)] if "energy_j" in data else []
        result_table.add_row(*map(plain, labels), *_marked(_cells(point, shares), point), *energy)
    digital = data.get("digital")
    notes = [] if digital is None else [f"digital model: {_number(float(digital), shares)}"]
    if points.sizes["point"] > _MOST_ROWS:
        notes.append(f"{points.sizes['point'] - _MOST_ROWS} more rows are in the file")
    notes += [text for text in (results_data.extrapolation(data),) if text]
    result_table.caption = "\n".join(notes) or None
    return result_table


def _columns(values: Any, metric: str) -> list[str]:
    """Return the times as headings, or the metric without times."""
    times = range(values.sizes["time"]) if "time" in values.dims else []
    return [results_data.value_label(values, "time", i) for i in times] or [metric]


def _marked(cells: list[str], point: Any) -> list[str]:
    """Mark the extrapolated numbers of one row."""
    late = point.coords.get(EXTRAPOLATED)
    if late is None:
        return cells
    return [f"{c} {MARK}" if x else c for c, x in zip(cells, late.values.reshape(-1), strict=True)]


def _cells(point: Any, shares: bool) -> list[str]:
    mean, std = (point.sel(statistic=name).values.reshape(-1) for name in ("mean", "std"))
    numbers = [(_number(m, shares), s, _number(s, shares)) for m, s in zip(mean, std, strict=True)]
    return [m if s != s else f"{m} ± {words}" for m, s, words in numbers]


def _number(value: float, shares: bool) -> str:
    return f"{100 * value:.2f}" if shares else f"{value:.4g}"


def _energy(data: "xarray.Dataset", point: Any, rows: list) -> float:
    return float(data["energy_j"].sel({name: point[name].item() for name in rows}))


def _label(value: Any, unit: str) -> str:
    return show(float(value), unit, 4) if isinstance(value, (int, float)) else str(value)


@contextlib.contextmanager
def _executor(workers: int, dask: str | None) -> Iterator[Any]:
    """Yield the executor that the options ask for, or None for this process."""
    if workers and dask:
        raise InputError("--workers, --dask: give only one")
    if dask:
        try:
            from distributed import Client
        except ImportError:
            raise InputError("--dask: needs the extra 'cluster': pip install 'analogsim-jax[cluster]'") from None
        try:
            client = Client(dask, timeout="10s")
        except (OSError, ValueError, TimeoutError) as error:
            raise InputError(f"--dask {dask}: no scheduler answers there ({error})") from None
        with client:
            yield client
    elif workers:
        if workers < 0:
            raise InputError(f"--workers {workers}: must be at least 0")
        pool = interrupts.pool_of_processes(workers)
        try:
            yield pool
        finally:  # on Ctrl-C, do not wait for running blocks
            pool.shutdown(wait=False, cancel_futures=True)
    else:
        yield None
