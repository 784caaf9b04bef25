"""The report of a results file: summary, figures, tables, hardware, provenance."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analogsim import plot
from analogsim.base import files, netcdf
from analogsim.base.errors import InputError, brief
from analogsim.base.extrapolation import EXTRAPOLATED
from analogsim.base.units import show
from analogsim.plot import dataset as results
from analogsim.report import figures as figures
from analogsim.report import file as results_file
from analogsim.report import html
from analogsim.report import tables as results_tables
from analogsim.report import wording as words

if TYPE_CHECKING:
    import xarray

_MOST_METRICS = 4
_VERSIONS = ("analogsim", "jax", "numpy", "python", "backend", "key")
_KNOWN = (*_VERSIONS, EXTRAPOLATED, "title", "evaluate", "hardware", "hardware_json", "sources", "inputs", "complete")


def write(path_or_dataset: Any, out: str | Path | None = None) -> Path:
    """Write a self-contained report of results, as ``analogsim report`` does: summary, figures, tables, hardware.

    Args:
      path_or_dataset: dataset of ``analogsim.sweep``, ``analogsim.evaluate``, the quickstart or an energy comparison's
        ``to_dataset()``, or the netCDF file it was saved to.
      out: path of the page, ``.html``; by default next to the file, with its name. An existing page is replaced.

    Returns:
      the path of the page.

    Raises:
      InputError: for a file that is missing, unreadable or not of results, or a page that cannot be written.

    Example:
      >>> import tempfile, numpy as np, xarray
      >>> scores = ("adc.bits", "chip"), np.random.default_rng(0).uniform(0.8, 0.9, (3, 20))
      >>> data = xarray.Dataset({"accuracy": scores}, {"adc.bits": [4, 6, 8]})
      >>> write(data, Path(tempfile.mkdtemp()) / "report.html").name
      'report.html'
    """
    warning: list[tuple[str, str]] = []
    if hasattr(path_or_dataset, "data_vars"):
        data, name = path_or_dataset, "results"
        if out is None:
            raise InputError("out = None: must be the path of the page, for example 'report.html'")
    else:
        (data, is_sealed), name = results_file.load(path_or_dataset), str(path_or_dataset)
        if not is_sealed:
            warning = [("Warning", html.paragraph(f"{Path(name).name} {netcdf.UNSEALED}."))]
    target = _target(out, name)
    file, kind = Path(name).name if name != "results" else "results.nc", results_file.kind(data, name)
    files.output_folder(target.parent)  # checked before the figures are drawn
    sections = (_energy if kind == "energy" else _scores)(data)
    lead = _text(data, "evaluate") or f"Made from {file}"
    title = _text(data, "title") or _title(data)
    page = html.page(title, lead, [*warning, *sections, *_made(data, file)])
    return files.write(target, page, "--out ")


def _target(out: Any, name: str) -> Path:
    """Return the path of the page: by default next to the results, with their name; never over the results."""
    if out is None:
        return Path(name).with_suffix(".html")
    if not isinstance(out, (str, os.PathLike)) or not os.fspath(out):
        raise InputError(f"out = {brief(out)}: must be the path of the page, for example 'report.html'")
    target = Path(out)
    if target.is_dir():
        raise InputError(f"--out {target}: is a folder; give the path of a page, for example {target / 'report.html'}")
    if target.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"--out {target}: must end in .html")
    return target


def _text(data: "xarray.Dataset", name: str) -> str:
    """Return an attribute as a string; empty if missing."""
    value = data.attrs.get(name)
    if value is None:
        return ""
    return str(value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value)


def _title(data: "xarray.Dataset") -> str:
    if "system" in data.dims:
        return "Energy per inference"
    return f"{results.metric_words(data, results.chosen_metric(data))}".capitalize()


def _scores(data: "xarray.Dataset") -> list[tuple[str, str]]:
    """Return the sections of a sweep: summary, axes, and figures and tables of every metric."""
    first = results.chosen_metric(data)
    metrics = [first, *(m for m in results.metrics(data) if m != first)][:_MOST_METRICS]
    sections = [
        ("Summary", html.bullets(list(dict.fromkeys(line for m in metrics for line in words.verdict(data, m)))))
    ]
    varied = results_tables.axes_table(data, first)
    if varied:
        sections.append(("What was varied", varied))
    for metric in metrics:
        drawn = figures.pictures(data, metric)
        for heading, pictures in drawn if metric == first else drawn[:1]:  # figures of further metrics look much alike
            shown = (html.figure(p.draw, p.alt, p.caption, p.size, p.phone) for p in pictures)
            sections.append((heading, "".join(shown)))
    for metric in metrics:
        name = results.metric_words(data, metric)
        heading = "Numbers" if len(metrics) == 1 else f"Numbers: {name}"
        sections.append((heading, results_tables.points_table(data, metric)))
    return sections


def _energy(data: "xarray.Dataset") -> list[tuple[str, str]]:
    """Return the sections of an energy comparison: summary, bars, curves over the batch size, table, exclusions."""
    bars = len(plot_rows(data))
    shown = html.figure(
        lambda ax: plot.energy(data, ax), "Energy per inference of each system, from low to high",
        size=(10.4, 1.2 + 0.36 * bars), phone=(3.6, 1.8 + 0.36 * bars),
    )  # fmt: skip
    sections = [("Summary", html.bullets(_energy_verdict(data))), ("Systems compared", shown)]
    if data.sizes["batch"] > 1:
        curve = html.figure(lambda ax: plot.energy_batch(data, ax), "Energy per inference versus batch size",
                              "Lines: typical. Band: low to high.", phone=(3.6, 4.6))  # fmt: skip
        sections.append(("Versus batch size", curve))
    rows = []
    for i, system in enumerate(data["system"].values):
        for j, batch in enumerate(data["batch"].values):
            at = data.isel(system=i, batch=j)
            low, typical, high = (show(float(at[f"energy_{k}_j"]), "J") for k in ("low", "typical", "high"))
            late = float(at["latency_s"]) if "latency_s" in at else np.nan
            rows.append([str(system), f"{batch}", low, typical, high, show(late, "s") if np.isfinite(late) else "–"])
    header = ["system", "batch", "low", "typical", "high", "latency of a batch"]
    sections.append(("Numbers", html.table(header, rows, "Energy per inference", (0,))))
    for name, heading in (("includes", "Included"), ("excludes", "Excluded")):
        if _text(data, name):
            sections.append((heading, html.bullets(_text(data, name).splitlines())))
    return sections


def plot_rows(data: "xarray.Dataset") -> set[tuple[str, float]]:
    """Return the bars of the figure; a system whose energy does not depend on the batch size has one."""
    typical = data["energy_typical_j"].transpose("system", "batch").values
    return {(str(s), float(f"{e:.5g}")) for s, row in zip(data["system"].values, typical, strict=True) for e in row}


def _energy_verdict(data: "xarray.Dataset") -> list[str]:
    """Describe the first system, and the others as multiples of it, at the smallest batch size."""
    at = data.isel(batch=int(np.argmin(data["batch"].values)))
    names = [str(system) for system in at["system"].values]
    low, typical, high = (at[f"energy_{k}_j"].values.astype(float) for k in ("low", "typical", "high"))
    lines = [
        f"{names[0]}: {show(typical[0], 'J')} per inference, {show(low[0], 'J')} to {show(high[0], 'J')}, at batch "
        f"size {at['batch'].item()}."
    ]
    for name, value, least, most in zip(names[1:], typical[1:], low[1:], high[1:], strict=True):
        if np.isfinite(value) and typical[0] > 0:
            lines.append(
                f"{name}: {show(value, 'J')}, {show(least, 'J')} to {show(most, 'J')}; typically "
                f"{_times(value / typical[0])}."
            )
    return lines


def _times(ratio: float) -> str:
    """Format a ratio: ``"640,000 times as much"``, ``"12.8 times less"``."""
    if ratio == 0:
        return "nothing"
    number = float(f"{max(ratio, 1 / ratio):.3g}")
    return f"{number:,.10g} times {'as much' if ratio >= 1 else 'less'}"


def _made(data: "xarray.Dataset", file: str) -> list[tuple[str, str]]:
    """Return the sections on hardware, papers, versions and inputs, and how to load the file."""
    sections = []
    for name, heading in (("hardware", "Hardware"), ("sources", "Papers")):
        if _text(data, name):
            sections.append((heading, html.preformatted(_text(data, name))))
    rows = [[name, _text(data, name)] for name in _VERSIONS if _text(data, name)] + _inputs(data)
    long = []
    for other in map(str, data.attrs):
        if other in _KNOWN or ("system" in data.dims and other in ("includes", "excludes")):
            continue
        text = _text(data, other)
        if len(text) > 200 or "\n" in text:
            long.append((other[0].upper() + other[1:], html.preformatted(text)))
        elif text:
            rows.append([other, text])
    sections += long
    if rows:
        sections.append(("Provenance", html.table(["item", "value"], rows, text=(0, 1))))
    return [*sections, ("Load the numbers", _loading(data, file))]


def _inputs(data: "xarray.Dataset") -> list[list[str]]:
    """Return the hashes of the inputs as rows."""
    text = _text(data, "inputs")
    try:
        hashes = json.loads(text) if text else {}
    except ValueError:
        hashes = text
    if isinstance(hashes, dict):
        return [[f"input {name}", value if isinstance(value, str) else json.dumps(value)]
                for name, value in hashes.items()]  # fmt: skip
    return [["inputs", text]]


def _loading(data: "xarray.Dataset", file: str) -> str:
    """Return Python code that loads the file, and a note on its attributes."""
    if "system" in data.dims:
        last = "print(ds.energy_typical_j.to_pandas())"
    else:
        metric = results.chosen_metric(data)
        chips = [d for d in data[metric].dims if d in results.POOLED]
        last = f"print(ds[{metric!r}].mean({chips!r}))"
    code = f'import xarray\nds = xarray.load_dataset({file!r}, engine="h5netcdf")\n{last}'
    also = "ds.attrs holds the sections below the tables as text" + (
        ", and the hardware also as JSON, ds.attrs['hardware_json']." if "hardware_json" in data.attrs else "."
    )
    return html.preformatted(code) + (html.paragraph(also, note=True) if data.attrs else "")
