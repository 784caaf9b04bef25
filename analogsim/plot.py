"""Figures in one call each: readable labels with units, bands for spread, colours that the colour-blind can tell apart.

Every function takes ``ax=None``, draws on it (or on a new figure's) and returns it. No function runs a simulation.
"""

import contextlib
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from analogsim.devices.errors import InputError, brief
from analogsim.extrapolation import EXTRAPOLATED, MEANING

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes

    from analogsim.energy import Comparison

#: Okabe and Ito's palette.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")

#: Inches of axes: a phone's, a page's.
NARROW, WIDE = 4.0, 7.0

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


def width(ax: "Axes") -> float:
    """Inches that the axes have for themselves and their labels."""
    whole = ax.get_position(original=True)  # before cells of one size make it narrower
    return ax.get_figure(root=True).get_figwidth() * whole.width  # type: ignore[union-attr]


def plain(text: str) -> str:
    """A text that matplotlib draws as it is: a dollar begins no formula, an underscore hides no line of a legend."""
    inert = text.replace("$", r"\$")
    return f" {inert}" if inert.startswith("_") else inert


def wrapped(text: str, inches: float) -> str:
    """A label broken into lines that fit."""
    return "\n".join(textwrap.wrap(text, max(12, int(inches / 0.095)), break_long_words=inches < NARROW)) or text


def legend(ax: "Axes", handles: list, beside: bool = False) -> float:
    """Beside wide axes, below narrow ones, where it covers no line; within axes of the usual size if it is short.

    Args:
      ax: whose legend.
      handles: its entries.
      beside: keep it out of axes of the usual size too: it would cover what is no line.

    Returns:
      inches that it takes beside the axes.
    """
    longest = max(len(handle.get_label()) for handle in handles)
    if width(ax) < NARROW:
        figure: Any = ax.get_figure(root=True)
        if len(figure.axes) == 1:
            two = len(handles) > 4 and longest < 26
            figure.legend(handles=handles, fontsize=8 if two else 9, loc="outside lower center", ncols=2 if two else 1,
                          columnspacing=1.0)  # fmt: skip
        else:
            ax.legend(handles=handles, fontsize=8)
        return 0.0
    if width(ax) > WIDE or len(handles) > 7 or beside:
        size = 10 if len(handles) < 13 else 8
        ax.legend(handles=handles, fontsize=size, loc="center left", bbox_to_anchor=(1.01, 0.5))
        return 0.6 + 0.0075 * size * longest
    ax.legend(handles=handles, fontsize=9)
    return 0.0


def sweep(
    data: "xarray.Dataset",
    x: str | None = None,
    metric: str | None = None,
    ax: "Axes | None" = None,
    percent: bool | None = None,
) -> "Axes":
    """A metric over one axis of a sweep: means over chips as lines, bands that hold the middle 90 % of chips.

    Numbers that span decades are drawn on a logarithmic axis, which is broken at zero where zero is among them. Over
    names, means are points with bars. The exact model's value is dotted. What is not computed yet is left out, and the
    figure says how much there is.

    Args:
      data: from ``analogsim.sweep`` or ``analogsim.evaluate``: metrics over axes and ``chip`` (and ``seed``: pooled).
      x: the axis to go along; by default the numeric one with most values, time only where there is no other.
      metric: which of the dataset's metrics; by default ``score`` or ``accuracy``, or the first.
      ax: where to draw.
      percent: show the metric in per cent; by default where it is a share between 0 and 1 and no loss.

    Up to two other axes are told apart by colour and by dash; of the lines of one colour the solid one has a band.

    Raises:
      InputError: for no such dataset, axis or metric, or for more axes or values than a figure can show: take some
        with ``data.sel`` or ``data.isel``, or a mean.

    Example:
      >>> import numpy as np, xarray
      >>> scores = ("adc.bits", "chip"), np.random.default_rng(0).uniform(0.8, 0.9, (3, 20))
      >>> ax = sweep(xarray.Dataset({"accuracy": scores}, {"adc.bits": [4, 6, 8]}))
      >>> ax.get_xlabel(), ax.get_ylabel()
      ('ADC bits', 'accuracy (%)')
    """
    from analogsim import sweep_figure

    return sweep_figure.draw(data, x, metric, ax, percent)


def drift(
    data: "xarray.Dataset", ax: "Axes | None" = None, percent: bool | None = None, metric: str | None = None
) -> "Axes":
    """A metric over time after programming: ``sweep`` with ``x="time"``.

    Args:
      data: from ``analogsim.evaluate`` or ``analogsim.sweep``, over time and chip; ``chip`` and ``seed`` are pooled, up
        to two other dimensions (compensation, network, bits...) are told apart by colour and dash. ``digital`` is drawn
        dotted, a line for each network.
      ax: where to draw.
      percent: True for accuracies, whose axis is then called so; by default per cent where all values are shares.
      metric: which of the dataset's metrics.
    """
    from analogsim import sweep_figure

    if not hasattr(data, "data_vars") or "time" not in data.dims:
        raise InputError(f"data = {brief(data)}: must be the dataset that analogsim.evaluate returns")
    return sweep_figure.draw(data, "time", metric, ax, percent)


def heatmap(
    data: "xarray.Dataset",
    x: str | None = None,
    y: str | None = None,
    metric: str | None = None,
    statistic: str = "mean",
    ax: "Axes | None" = None,
    percent: bool | None = None,
    limits: tuple[float, float] | None = None,
) -> "Axes":
    """A statistic over chips on two axes of a sweep: one coloured cell a point, with its number where there is room.

    Args:
      data: from ``analogsim.sweep`` or ``analogsim.evaluate``.
      x, y: the two axes; by default the two numeric ones with most values, time last.
      metric: which of the dataset's metrics; by default ``score`` or ``accuracy``, or the first.
      statistic: over chips: ``"mean"``, ``"median"``, ``"std"``, ``"low"`` and ``"high"`` (5 % of chips are below, or
        above), ``"min"``, ``"max"``.
      ax: where to draw.
      percent: show the metric in per cent; by default where it is a share between 0 and 1 and no loss.
      limits: ends of the colours, as the dataset counts, so that several maps share them; by default this map's own.

    Cells are of one size, whatever the distances of the values. Up to 100 cells have numbers; cells that are not
    computed are hatched.

    Raises:
      InputError: for no such dataset, axis, metric or statistic, or for an axis beside the two that has several values.

    Example:
      >>> import numpy as np, xarray
      >>> scores = ("adc.bits", "dac.bits", "chip"), np.random.default_rng(0).uniform(0.8, 0.9, (3, 2, 20))
      >>> ax = heatmap(xarray.Dataset({"accuracy": scores}, {"adc.bits": [4, 6, 8], "dac.bits": [4, 8]}))
      >>> ax.get_xlabel(), ax.get_ylabel(), len(ax.texts)
      ('ADC bits', 'DAC bits', 6)
    """
    from analogsim import heat_figure

    return heat_figure.draw(data, x, y, metric, statistic, ax, percent, limits)


def array(
    held: Any, layer: str | None = None, show: str = "weights", array: int = 0, ax: "Axes | None" = None
) -> "Axes":
    """A map of what the arrays of one layer hold: inputs from top to bottom, outputs from left to right.

    Args:
      held: a matrix ``[n_in, n_out]``; a ``Chip``, at its age; or one programmed matrix, ``tiles.Programmed`` (drawn
        right after programming) or ``tiles.Reading``.
      layer: path of the layer of a chip, as ``analogsim.summary`` lists it; not needed where it has one.
      show: ``"weights"``, the means over reads of what the tiles and their digital scales stand for; or
        ``"conductance"``, the cells of one array of every tile in microsiemens.
      array: for conductances, which of a tile's arrays: of a differential pair 0 is the plus and 1 the minus side, and
        slices of weights follow one another.
      ax: where to draw.

    Borders of tiles are drawn as lines.

    Raises:
      InputError: for what holds no matrix, several of them (a stack of chips), or no conductances.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from analogsim import preset, program
      >>> from analogsim.linen import AnalogDense
      >>> dense, x = AnalogDense(6, hardware=preset("pcm", rows=4)), jnp.ones((1, 8))
      >>> chip = program(dense, dense.init(jax.random.key(0), x), jax.random.key(1), x)
      >>> array(chip.at("1 day"), show="conductance").get_title(loc="left")
      'array 1 of 2, 2 x 1 tiles, 1 day after programming'
    """
    from analogsim import array_figure

    return array_figure.draw(held, layer, show, array, ax)


def energy(data: "xarray.Dataset | Comparison", ax: "Axes | None" = None) -> "Axes":
    """Energy of one inference on a logarithmic axis: a bar from the low to the high estimate, a dot at the typical one.

    Args:
      data: from ``analogsim.energy.compare(...)``, as it is or as its ``to_dataset()``.
      ax: where to draw.
    """
    from analogsim import energy_figure

    return energy_figure.bars(data, ax)


def energy_batch(data: "xarray.Dataset | Comparison", ax: "Axes | None" = None) -> "Axes":
    """Energy of one inference over the batch size: typical estimates as lines; the hardware's has a band, low to high.

    The bands of all systems would cover each other: the bars of ``energy`` show them.

    Args:
      data: from ``analogsim.energy.compare(..., batch=(1, 4, 16, 64, 256))``, or its ``to_dataset()``.
      ax: where to draw.
    """
    from analogsim import energy_figure

    return energy_figure.over_batch(data, ax)


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
    late = f"\n{MEANING}" if found.data.attrs.get(EXTRAPOLATED) else ""
    ax.set_xlabel(f"change of the loss of {float(found.data.loss.mean()):.3g}{spread}{late}", fontsize=9)
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
