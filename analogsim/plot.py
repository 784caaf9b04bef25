"""Figures in one call each: readable labels with units, bands for spread, colours that the colour-blind can tell apart.

Every function takes ``ax=None``, draws on it (or on a new figure's) and returns it. No function runs a simulation.
"""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from analogsim.devices.errors import InputError, brief
from analogsim.devices.units import show, show_time

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes

    from analogsim.energy import Comparison

#: Okabe and Ito's palette.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")

_NARROW, _WIDE = 4.0, 7.0  # inches of axes: a phone's, a page's

_STYLE: dict[Any, Any] = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "figure.dpi": 110,
    "svg.hashsalt": "analogsim",
}


@contextlib.contextmanager
def style() -> Iterator[None]:
    """The house style for figures made inside the block."""
    import matplotlib

    with matplotlib.rc_context(_STYLE):
        yield


def new_axes(width: float = 6.4, height: float = 4.0) -> "Axes":
    """Axes of a new figure that belongs to no window and needs no display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with style():
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        return figure.add_subplot()


def axes_or_new(ax: Any, width: float = 6.4, height: float = 4.0) -> "Axes":
    """The axes that a caller gave, refused where they are none, or those of a new figure."""
    if ax is None:
        return new_axes(width, height)
    if not hasattr(ax, "fill_between"):
        raise InputError(f"ax = {brief(ax)}: must be matplotlib axes, for example plot.new_axes()")
    return ax


def drift(data: "xarray.Dataset", ax: "Axes | None" = None, percent: bool = True) -> "Axes":
    """Score over time after programming: mean over chips; the band about a solid line holds 90 % of its chips.

    Args:
      data: from ``analogsim.evaluate``: ``score`` over time and chip; ``chip`` and ``seed`` are pooled, every other
        dimension (compensation, network...) becomes a line of its own. ``digital`` is drawn dotted, a line for each
        network.
      ax: where to draw.
      percent: label the axis in per cent, for accuracies.
    """
    if not all(hasattr(data, name) for name in ("score", "time")):
        raise InputError(f"data = {brief(data)}: must be the dataset that analogsim.evaluate returns")
    ax = axes_or_new(ax)
    scale = 100 if percent else 1
    pooled = [d for d in data.score.dims if d in ("chip", "seed")]
    split = [d for d in data.score.dims if d not in (*pooled, "time")]
    time = data.time.values
    lines = data.score.stack(line=split) if split else data.score.expand_dims(line=["score"])
    for index, name in enumerate(lines.line.values):
        values = scale * lines.isel(line=index).transpose("time", *pooled).values.reshape(len(time), -1)
        colour, dash = _line_style(index, lines, split)
        label = ", ".join(map(_line_label, split, name if isinstance(name, tuple) else (name,)))
        if dash == "-":  # of a pair of lines only the solid one has a band: more of them could not be told apart
            low, high = np.quantile(values, [0.05, 0.95], axis=1)
            ax.fill_between(time, low, high, color=colour, alpha=0.13, linewidth=0)
        ax.plot(time, values.mean(axis=1), dash, color=colour, marker="o", markersize=4, label=label)
    if "digital" in data:
        _draw_digital(ax, data.digital, scale, lines, split)
    ax.set_xscale("log")
    ax.set_xticks(time, [show_time(float(t)) for t in time])
    ax.xaxis.minorticks_off()
    ax.tick_params(axis="x", labelsize=9)
    if _width(ax) < _NARROW:  # the late times stand close together
        for tick in ax.get_xticklabels():
            tick.set(rotation=50, ha="right", rotation_mode="anchor")
    ax.set_xlabel("time after programming")
    ax.set_ylabel("accuracy (%)" if percent else "score")
    _legend(ax)
    return ax


def _width(ax: "Axes") -> float:
    """Inches that the axes have for themselves and their labels."""
    return ax.get_figure(root=True).get_figwidth() * ax.get_position().width  # type: ignore[union-attr]


def _legend(ax: "Axes") -> None:
    """Beside wide axes, below narrow ones, where it covers no line; within axes of the usual size."""
    if _width(ax) < _NARROW:
        figure: Any = ax.get_figure(root=True)
        if len(figure.axes) == 1:
            figure.legend(fontsize=9, loc="outside lower center")
        else:
            ax.legend(fontsize=8)
    elif _width(ax) > _WIDE:
        ax.legend(fontsize=10, loc="center left", bbox_to_anchor=(1.01, 0.5))
    else:
        ax.legend(fontsize=9)


def _draw_digital(ax: "Axes", digital: Any, scale: float, lines: Any, split: list) -> None:
    """The exact score as a dotted line; where networks differ, one line each, in the network's colour."""
    pooled = digital.mean([d for d in digital.dims if d not in split])
    if not pooled.dims:
        ax.axhline(scale * float(pooled), color="#555555", linestyle=":", linewidth=1.4, label="exact digital")
        return
    stacked = pooled.stack(line=pooled.dims)
    for value in stacked:
        name = [value.coords[d].item() for d in pooled.dims]
        first = next(i for i in range(lines.sizes["line"]) if _matches(lines.isel(line=i), pooled.dims, name))
        colour, _ = _line_style(first, lines, split)
        label = ", ".join(map(_line_label, pooled.dims, name)) + ", exact digital"
        ax.axhline(scale * float(value), color=colour, linestyle=":", linewidth=1.4, label=label)


def _matches(line: Any, dims: Any, names: list) -> bool:
    return all(line.coords[d].item() == name for d, name in zip(dims, names, strict=True))


def _line_style(index: int, lines: Any, split: list) -> tuple[str, str]:
    """Colour by the first split dimension, dash by the second, so that pairs are seen as pairs."""
    if len(split) < 2:
        return COLOURS[index % len(COLOURS)], "-"
    inner = len(np.unique(lines[split[1]].values))
    return COLOURS[(index // inner) % len(COLOURS)], ("--", "-", "-.", ":")[index % inner % 4]


def _line_label(dimension: Any, value: Any) -> str:
    if dimension == "compensation":
        return "no compensation" if value == "none" else f"{value} compensation"
    return str(value)


def energy(data: "xarray.Dataset | Comparison", ax: "Axes | None" = None) -> "Axes":
    """Energy of one inference on a logarithmic axis: a bar from the low to the high estimate, a dot at the typical one.

    Args:
      data: from ``analogsim.energy.compare(...)``, as it is or as its ``to_dataset()``.
      ax: where to draw.
    """
    table: Any = data.to_dataset() if hasattr(data, "bills") else data
    if not all(hasattr(table, name) for name in ("energy_low_j", "energy_typical_j", "energy_high_j")):
        raise InputError(f"data = {brief(data)}: must be what analogsim.energy.compare returns")
    rows = _energy_rows(table)
    ax = axes_or_new(ax, 7.2, max(3.3, 1.0 + 0.3 * len(rows)))
    for y, (_, low, typical, high, colour) in enumerate(reversed(rows)):
        ax.plot([low, high], [y, y], color=colour, linewidth=9, alpha=0.35, solid_capstyle="butt")
        ax.plot([typical], [y], "o", color=colour, markersize=7)
        ax.annotate(
            show(typical, "J", 2), (high, y), xytext=(8, 0), textcoords="offset points", va="center", fontsize=9
        )
    ax.set_yticks(range(len(rows)), [row[0] for row in reversed(rows)])
    ax.set_xscale("log")
    low, high = ax.get_xlim()
    ax.set_xlim(low, high * 10)  # room for the labels
    first, last = np.ceil(np.log10(low)), np.floor(np.log10(high * 10))
    decades = 10.0 ** np.arange(3 * np.ceil(first / 3), last + 1, 3)  # one tick an SI prefix
    ax.set_xticks(decades, [show(d, "J", 1) for d in decades])
    ax.xaxis.minorticks_off()
    if _width(ax) < _NARROW:
        ax.set_xlabel("energy of one inference\n(bar: range, dot: typical)", fontsize=9)
    elif _width(ax) < _WIDE:
        ax.set_xlabel("energy of one inference (bar: range, dot: typical)")
    else:
        ax.set_xlabel("energy of one inference (bar: low to high estimate, dot: typical)")
    ax.grid(axis="y", visible=False)
    return ax


def energy_batch(data: "xarray.Dataset | Comparison", ax: "Axes | None" = None) -> "Axes":
    """Energy of one inference over the batch size: typical estimates as lines; the hardware's has a band, low to high.

    The bands of all systems would cover each other: the bars of ``energy`` show them.

    Args:
      data: from ``analogsim.energy.compare(..., batch=(1, 4, 16, 64, 256))``, or its ``to_dataset()``.
      ax: where to draw.
    """
    table: Any = data.to_dataset() if hasattr(data, "bills") else data
    if not all(hasattr(table, name) for name in ("energy_low_j", "energy_typical_j", "energy_high_j")):
        raise InputError(f"data = {brief(data)}: must be what analogsim.energy.compare returns")
    ax = axes_or_new(ax, 6.4, 4.0)
    batches = table.batch.values
    if len(batches) < 2:
        raise InputError(f"data: has one batch size, {batches[0]}; a curve needs several: compare(..., batch=(1, 16))")
    ends = []
    for i, system in enumerate(table.system.values):
        low, typical, high = (table[f"energy_{k}_j"].isel(system=i).values for k in ("low", "typical", "high"))
        colour, dash = COLOURS[i % len(COLOURS)], ("-", "--", ":")[i // len(COLOURS) % 3]
        if i == 0:
            ax.fill_between(batches, low, high, color=colour, alpha=0.13, linewidth=0)
        ax.plot(batches, typical, dash, color=colour, marker="o", markersize=4)
        ends.append((float(typical[-1]), str(system), colour))
    ax.set_xscale("log", base=2)
    ax.set_xticks(batches, [str(b) for b in batches])
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    step = 3 if np.log10(high / low) > 4 else 1  # one tick an SI prefix, or a decade
    decades = 10.0 ** np.arange(np.ceil(np.log10(low) / step) * step, np.log10(high) + 1e-9, step)
    ax.set_yticks(decades, [show(d, "J", 1) for d in decades])
    ax.minorticks_off()
    _label_ends(ax, batches[-1], ends)
    ax.set_xlabel("examples computed together (batch)")
    ax.set_ylabel("energy of one inference")
    return ax


def _label_ends(ax: "Axes", x: float, ends: list[tuple[float, str, str]]) -> None:
    """Names of the lines at their right ends; names that would cover each other are spread about their middle."""
    low, high = np.log(ax.get_ylim())
    figure: Any = ax.get_figure(root=True)
    height = 0.17 / (figure.get_figheight() * ax.get_position().height) * (high - low)  # of a line of text
    clusters: list[tuple[float, list[tuple[float, str, str]]]] = []  # middle, members
    for end in sorted(ends):
        middle, members = np.log(end[0]), [end]
        while clusters and middle - clusters[-1][0] < height * (len(members) + len(clusters[-1][1])) / 2:
            _, others = clusters.pop()
            members = others + members
            middle = float(np.mean([np.log(value) for value, _, _ in members]))
        clusters.append((middle, members))
    for middle, members in clusters:
        for place, (_, name, colour) in enumerate(members):
            y = np.exp(middle + height * (place - (len(members) - 1) / 2))
            ax.annotate(name, (x, y), xytext=(8, 0), textcoords="offset points", va="center", color=colour, fontsize=9)


def sensitivity(found: Any, ax: "Axes | None" = None, rows: int = 10) -> "Axes":
    """What a little more or less of every number does to the loss, the largest effects on top, with standard errors.

    Args:
      found: from ``analogsim.training.sensitivity(...)``.
      ax: where to draw.
      rows: how many changes.
    """
    if not hasattr(found, "ranking"):
        raise InputError(f"found = {brief(found)}: must be what analogsim.training.sensitivity returns")
    ranking = found.ranking[:rows][::-1]
    ax = axes_or_new(ax, 7.2, 0.9 + 0.36 * len(ranking))
    means = [mean for _, _, mean, _ in ranking]
    errors = [error if np.isfinite(error) else 0.0 for *_, error in ranking]
    colours = [COLOURS[1] if mean > 0 else COLOURS[0] for mean in means]
    places = range(len(ranking))
    ax.barh(places, means, xerr=errors, color=colours, height=0.62, error_kw={"ecolor": "#333333", "capsize": 3})
    ax.axvline(0, color="#333333", linewidth=0.8)
    ax.set_yticks(places, [f"{name}, {change}" for name, change, _, _ in ranking], fontsize=9)
    ax.grid(axis="y", visible=False)
    ax.locator_params(axis="x", nbins=5)
    n = found.data.sizes["chip"]
    spread = f", with standard errors over {n} chips" if n > 1 else ""
    ax.set_xlabel(f"change of the loss of {float(found.data.loss.mean()):.3g}{spread}", fontsize=9)
    ax.tick_params(axis="x", labelsize=9)
    return ax


def mesh(store: Any, state: Any, ax: "Axes | None" = None) -> "Axes":
    """A programmed interferometer mesh as it lies on the chip; see ``analogsim.light_figure``.

    Args:
      store: an ``MZIMesh``.
      state: what its ``program`` gave for one tile.
      ax: where to draw.
    """
    from analogsim import light_figure

    return light_figure.mesh(store, state, ax)


def hold(ax: "Axes | None" = None) -> "Axes":
    """Power that holds one analog value in light, and how long it stays without, medium by medium."""
    from analogsim import light_figure

    return light_figure.hold(ax)


def _energy_rows(data: "xarray.Dataset") -> list[tuple]:
    rows = []
    for i, system in enumerate(data.system.values):
        low, typical, high = (data[f"energy_{k}_j"].isel(system=i).values for k in ("low", "typical", "high"))
        # Relative alone: the default absolute tolerance would be 10 nJ.
        same = all(np.allclose(e, e[0], rtol=1e-6, atol=0) for e in (low, typical, high))
        for j, batch in enumerate(data.batch.values):
            if (same and j) or not np.isfinite(typical[j]):
                continue  # a system whose energy does not depend on the batch is one row
            label = str(system) if same else f"{system}, batch {batch}"
            rows.append((label, low[j], typical[j], high[j], COLOURS[i % len(COLOURS)]))
    return rows
