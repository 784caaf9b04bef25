"""Figures of one memory cell, as in a device paper: programming error, retention over ten years, read noise.

All panels are sampled from the same cells with one key. If the cell has a closed form of the programming error
(``programming_error``), it is drawn with the samples.
"""

import dataclasses
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from analogsim.base.units import TIMES_S, show_time
from analogsim.devices.crossbar.cell import Cell
from analogsim.plot import axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TEN_YEARS_S = 10 * TIMES_S["year"]
#: Cells without retention data are read up to this age, s; see ``milo.py``.
NO_RETENTION_S = 1.0
_TICKS = {"1 s": 1.0, "1 min": 60.0, "1 h": 3600.0, "1 day": 86400.0, "1 mo": TIMES_S["month"], "1 yr": TIMES_S["year"],
          "10 yr": TEN_YEARS_S}  # fmt: skip
_LEVELS, _CELLS = 33, 2000
_SHOWN = np.array([4, 11, 18, 25, 32])  # levels shown in the retention panel

_program = jax.jit(lambda cell, key, target: cell.program(key, target))
_read = jax.jit(lambda cell, state, time_s: cell.read(state, time_s))
_life = jax.jit(lambda cell, state, times: jax.lax.map(lambda t: cell.read(state, t).mean, times))


class ProgrammingCurve(NamedTuple):
    """Programming error right after programming."""

    target: np.ndarray  #: targets of the sampled cells, S
    error: np.ndarray  #: their rms deviation from it, S
    curve_target: np.ndarray  #: targets of the closed form, S
    curve: np.ndarray | None  #: its rms deviation, S; None if the cell has no closed form


class RetentionCurve(NamedTuple):
    """Conductance of programmed levels over time, as quantiles over cells."""

    time_s: np.ndarray  #: ``[n_times]``
    target: np.ndarray  #: ``[n_levels]``, S
    low: np.ndarray  #: 5 % of cells lie below, ``[n_levels, n_times]``, S
    median: np.ndarray
    high: np.ndarray  #: 95 % of cells lie below


class ReadNoiseCurve(NamedTuple):
    """Standard deviation between reads, as medians over cells."""

    time_s: tuple[float, ...]
    conductance: np.ndarray  #: ``[n_times, n_levels]``, S
    sigma: np.ndarray  #: ``[n_times, n_levels]``, S


def programming(cell: Any, key: jax.Array) -> ProgrammingCurve:
    """Sample the rms programming error over the conductance window, without read noise."""
    if "read_noise" in _field_names(cell):
        cell = cell.replace(read_noise=0.0)
    target, state = _written(cell, key)
    error = np.sqrt(np.mean((np.asarray(_read(cell, state, 0.0).mean, np.float64) - target[:, None]) ** 2, axis=1))
    # Exclude the ends of the window, where conductances are clipped and the closed form does not hold.
    curve_target = np.linspace(float(cell.g_min), float(cell.g_max), 803, dtype=np.float32)[1:-1]
    closed = getattr(cell, "programming_error", None)
    return ProgrammingCurve(target, error, curve_target, None if closed is None else np.asarray(closed(curve_target)))


def retention(cell: Cell, key: jax.Array) -> RetentionCurve:
    """Sample five levels from 1 s to ten years, or to the last time with data, with the same cells at every time."""
    end = _end(cell)
    time_s = np.geomspace(min(1.0, end), end, 61 if end > 1 else 1)
    time_s[-1] = end  # geomspace may round beyond the data, which is refused
    measured_s = _measured_until(cell)
    time_s = time_s if measured_s is None else np.union1d(time_s, measured_s)
    target, state = _written(cell, key)
    target, state = target[_SHOWN], jax.tree.map(lambda rows: rows[_SHOWN], state)
    held = _life(cell, state, jnp.asarray(time_s, jnp.float32))
    quantiles = np.quantile(np.asarray(held, np.float64), [0.05, 0.5, 0.95], axis=2)
    return RetentionCurve(time_s, target, *np.swapaxes(quantiles, 1, 2))


def read_noise(cell: Cell, key: jax.Array) -> ReadNoiseCurve | None:
    """Sample the read noise over the window, 1 s after programming and at the end; None if reading is noiseless."""
    _, state = _written(cell, key)
    times = (min(1.0, _end(cell)), _end(cell))
    reads = [_read(cell, state, t) for t in times]
    if reads[0].variance is None or not any(np.any(np.asarray(r.variance) > 0) for r in reads):
        return None
    conductance = np.median([np.asarray(r.mean) for r in reads], axis=2)
    return ReadNoiseCurve(times, conductance, np.median([np.sqrt(np.asarray(r.variance)) for r in reads], axis=2))


def _written(cell: Cell, key: jax.Array) -> tuple[np.ndarray, Any]:
    """Program the cells of all panels; return targets over the window ``[levels]``, and state ``[levels, cells]``."""
    target = np.linspace(float(cell.g_min), float(cell.g_max), _LEVELS, dtype=np.float32)
    return target, _program(cell, key, jnp.tile(target[:, None], _CELLS))


def _end(cell: Cell) -> float:
    return TEN_YEARS_S if cell.time_limit_s is None else min(cell.time_limit_s, TEN_YEARS_S)


def _measured_until(cell: Cell) -> float | None:
    """Return the last measured age of a cell that extrapolates, s; None if nothing shown is extrapolated."""
    after_s = getattr(cell, "extrapolated_after_s", None)
    return None if after_s is None or after_s >= TEN_YEARS_S else float(after_s)


def draw(cell: Cell, title: str, key: jax.Array) -> "Axes":
    """Draw the three panels of one cell, and return the axes of the first; its ``.figure`` holds all three."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with axes.style():
        figure = Figure(figsize=(13.2, 4.3), layout="constrained")
        FigureCanvasAgg(figure)
        left, middle, right = figure.subplots(1, 3)
        figure.suptitle(title, x=0.008, ha="left", fontsize=13, fontweight="bold")
        draw_programming(programming(cell, key), left)
        draw_retention(retention(cell, key), cell.time_limit_s, middle, _measured_until(cell))
        draw_read_noise(read_noise(cell, key), right, _measured_until(cell))
    return left


def draw_programming(data: ProgrammingCurve, ax: "Axes") -> None:
    """Draw the rms programming error versus target conductance."""
    ax.set_title("(a) programming error")
    if not data.error.any() and (data.curve is None or not data.curve.any()):
        _say(ax, "Every cell meets its target exactly:\nthis model has no programming error.")
        return
    g, unit_g = _scale(data.target)
    e, unit_e = _scale(data.error if data.curve is None else np.concatenate([data.error, data.curve]))
    if data.curve is not None:
        ax.plot(
            data.curve_target * g, data.curve * e, color="#555555", linewidth=1.3, label="closed form, without clipping"
        )
    ax.plot(data.target * g, data.error * e, "o", color=axes.COLOURS[0], markersize=4.5, label="sampled cells")
    ax.set(xlabel=f"target conductance ({unit_g})", ylabel=f"rms error ({unit_e})")
    ax.set_ylim(0, 1.18 * e * max(data.error.max(), 0 if data.curve is None else data.curve.max()))
    ax.legend(fontsize=9, loc="upper left", ncols=2)


def draw_retention(
    data: RetentionCurve, time_limit_s: float | None, ax: "Axes", measured_until_s: float | None = None
) -> None:
    """Draw median and 5 to 95 % band of every level versus logarithmic time; times without data are grey.

    Beyond ``measured_until_s`` the model extrapolates: lines are dashed and bands paler.
    """
    ax.set_title("(b) conductance after programming")
    g, unit = _scale(data.target)
    for i in reversed(range(len(data.target))):
        colour = axes.COLOURS[i % len(axes.COLOURS)]
        if len(data.time_s) == 1:
            reach = [[(data.median[i, 0] - data.low[i, 0]) * g], [(data.high[i, 0] - data.median[i, 0]) * g]]
            ax.errorbar(data.time_s, data.median[i] * g, reach, color=colour, fmt="o", markersize=4, capsize=3)
        else:
            ax.plot(data.time_s[[0, -1]], [data.target[i] * g] * 2, ":", color=colour, linewidth=1.2)
            for part, dash, shade in _parts(data.time_s, measured_until_s):
                low, high = data.low[i, part] * g, data.high[i, part] * g
                ax.fill_between(data.time_s[part], low, high, color=colour, alpha=shade, linewidth=0)
                ax.plot(data.time_s[part], data.median[i, part] * g, dash, color=colour, linewidth=1.6)
    ax.set_xscale("log")
    ax.set_xlim(0.5, 2 * TEN_YEARS_S)
    ax.set_ylim(bottom=0)
    if time_limit_s is not None and time_limit_s < TEN_YEARS_S:
        ax.axvspan(time_limit_s * (1.25 if len(data.time_s) == 1 else 1), 2 * TEN_YEARS_S, color="#efefef", zorder=0.5)
        words = "no retention data:" if time_limit_s <= NO_RETENTION_S else "no data:"
        words += f"\nreading after {show_time(time_limit_s)}\nis refused"
        middle = np.sqrt(time_limit_s * 2 * TEN_YEARS_S)
        box = dict(facecolor="#efefef", edgecolor="none", pad=3)
        ax.text(middle, 0.5, words, transform=ax.get_xaxis_transform(), ha="center", va="center", fontsize=9, bbox=box)
    if measured_until_s is not None:
        _mark_extrapolated(measured_until_s, ax)
    ax.set_xticks(list(_TICKS.values()), list(_TICKS))
    ax.xaxis.minorticks_off()
    ax.tick_params(axis="x", labelsize=9)
    marks = "bar" if len(data.time_s) == 1 else "dotted: target, band"
    ax.set(xlabel=f"time ({marks}: 5 to 95 % of cells)", ylabel=f"conductance ({unit})")


def _parts(time_s: np.ndarray, measured_until_s: float | None) -> list[tuple[slice, str, float]]:
    """Return slice, dash and opacity of the measured and the extrapolated part, which share the last measured point."""
    if measured_until_s is None:
        return [(slice(None), "-", 0.18)]
    end = int(np.searchsorted(time_s, measured_until_s * (1 + 1e-9)))  # number of points up to the last measured age
    return [(slice(0, end), "-", 0.18), (slice(end - 1, None), "--", 0.07)]


def _mark_extrapolated(measured_until_s: float, ax: "Axes") -> None:
    """Draw a line at the last measured age, and a label beyond it."""
    ax.axvline(measured_until_s, color="#555555", linewidth=0.9)
    words = f"extrapolated\nafter {show_time(measured_until_s)}"
    middle = np.sqrt(measured_until_s * 2 * TEN_YEARS_S)
    ax.text(middle, 0.98, words, transform=ax.get_xaxis_transform(), ha="center", va="top", fontsize=9, color="#555555")
    ax.set_ylim(top=1.12 * ax.get_ylim()[1])


def draw_read_noise(data: ReadNoiseCurve | None, ax: "Axes", measured_until_s: float | None = None) -> None:
    """Draw the read noise versus conductance; dashed if the age is extrapolated."""
    ax.set_title("(c) read noise")
    if data is None:
        _say(ax, "This model has no read noise:\nevery read of a cell gives the same.")
        return
    g, unit_g = _scale(data.conductance)
    s, unit_s = _scale(data.sigma)
    same = np.allclose(data.sigma[0], data.sigma[1], rtol=0.02) and np.allclose(
        data.conductance[0], data.conductance[1], rtol=0.02
    )
    for i, time_s in enumerate(data.time_s[:1] if same else data.time_s):
        order = np.argsort(data.conductance[i])
        label = f"after {show_time(time_s)}" + (f" to {show_time(data.time_s[1])}" if same else "")
        late = measured_until_s is not None and data.time_s[1 if same else i] > measured_until_s
        ax.plot(data.conductance[i][order] * g, data.sigma[i][order] * s, "--o" if late and not same else "-o",
                color=axes.COLOURS[i], markersize=3.5, label=label + " (extrapolated)" * late)  # fmt: skip
    ax.set(xlabel=f"conductance ({unit_g})", ylabel=f"standard deviation of a read ({unit_s})")
    ax.set_xlim(left=0)
    ax.set_ylim(0, 1.18 * s * data.sigma.max())
    ax.legend(fontsize=9, loc="upper left", ncols=2)


def _say(ax: "Axes", words: str) -> None:
    """Write a message into a panel that has nothing to draw."""
    ax.set(xticks=[], yticks=[], facecolor="#f6f6f6")
    ax.grid(visible=False)
    for side in ("left", "bottom"):
        ax.spines[side].set_visible(False)
    ax.text(0.5, 0.5, words, transform=ax.transAxes, ha="center", va="center", color="#555555")


def _scale(values: Any) -> tuple[float, str]:
    """Return the factor and the prefixed unit for conductances of this size."""
    largest = float(np.max(np.abs(values)))
    for factor, unit in ((1.0, "S"), (1e3, "mS"), (1e6, "µS"), (1e9, "nS"), (1e12, "pS")):
        if largest * factor >= 1 or unit == "pS":
            break
    return factor, unit


def _field_names(cell: Cell) -> list[str]:
    return [f.name for f in dataclasses.fields(cell)] if dataclasses.is_dataclass(cell) else []
