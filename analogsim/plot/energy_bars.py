"""Figures of an energy comparison: one bar per system, and curves versus batch size."""

from typing import TYPE_CHECKING, Any

import numpy as np

from analogsim.base.errors import InputError, brief, shorter
from analogsim.base.units import show
from analogsim.plot import axes

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes


#: Idle fraction above which labels state it, as ``analogsim.energy.waiting`` does in words.
MOST = 0.5


def energy(data: "xarray.Dataset | Any", ax: "Axes | None" = None) -> "Axes":
    """Draw the energy per inference on a logarithmic axis: bars from low to high estimate, dots at the typical one.

    Args:
      data: result of ``analogsim.energy.compare(...)``, or its ``to_dataset()``.
      ax: axes to draw on; by default new ones.

    Returns:
      the axes.

    Raises:
      InputError: if ``data`` is another object, or ``ax`` is not matplotlib axes.

    Example:
      >>> import xarray
      >>> names = ("energy_low_j", "energy_typical_j", "energy_high_j")
      >>> joules = (("system", "batch"), [[2e-6], [5e-5]])
      >>> data = xarray.Dataset(dict.fromkeys(names, joules), {"system": ["chip", "GPU"], "batch": [1]})
      >>> [label.get_text() for label in energy(data).get_yticklabels()]     # from the bottom
      ['GPU', 'chip']
    """
    table: Any = data.to_dataset() if hasattr(data, "breakdowns") else data
    if not all(hasattr(table, name) for name in ("energy_low_j", "energy_typical_j", "energy_high_j")):
        raise InputError(f"data = {brief(data)}: must be the result of analogsim.energy.compare")
    rows = _energy_rows(table)
    ax = axes.axes_or_new(ax, 7.2, max(3.3, 1.0 + 0.3 * len(rows)))
    narrow = axes.width(ax) < axes.NARROW
    longest = 22 if narrow else 48
    for y, (_, low, typical, high, colour, waits) in enumerate(reversed(rows)):
        ax.plot([low, high], [y, y], color=colour, linewidth=9, alpha=0.35, solid_capstyle="butt")
        ax.plot([typical], [y], "o", color=colour, markersize=7)
        between = "\n" if narrow else ", "
        said = show(typical, "J", 2) + (f"{between}{min(100 * waits, 99.9):.3g} % waits" if waits > MOST else "")
        ax.annotate(
            said, (high, y), xytext=(8, 0), textcoords="offset points", va="center", fontsize=8 if "\n" in said else 9
        )
    ax.set_yticks(range(len(rows)), [_name(row[0], longest) for row in reversed(rows)])
    ax.set_xscale("log")
    low, high = ax.get_xlim()
    if any(row[5] > MOST for row in rows):
        high *= (high / low) ** 0.1  # these labels are longer
    ax.set_xlim(low, high * 10)  # room for the labels
    first, last = np.ceil(np.log10(low)), np.floor(np.log10(high * 10))
    step = 6 if narrow and last - first > 8 else 3  # one tick per SI prefix, or per two
    decades = 10.0 ** np.arange(3 * np.ceil(first / 3), last + 1, step)
    ax.set_xticks(decades, [show(d, "J", 1) for d in decades])
    ax.xaxis.minorticks_off()
    if axes.width(ax) < axes.NARROW:
        ax.set_xlabel("energy per inference\n(bar: range, dot: typical)", fontsize=9)
    elif axes.width(ax) < axes.WIDE:
        ax.set_xlabel("energy per inference (bar: range, dot: typical)")
    else:
        ax.set_xlabel("energy per inference (bar: low to high estimate, dot: typical)")
    ax.grid(axis="y", visible=False)
    return ax


def _name(label: str, longest: int) -> str:
    """Return a system and its batch size, with a long name shortened."""
    system, comma, batch = label.rpartition(", batch ")
    return axes.plain(f"{shorter(system, longest - 11)}{comma}{batch}" if comma else shorter(label, longest))


def energy_batch(data: "xarray.Dataset | Any", ax: "Axes | None" = None) -> "Axes":
    """Draw the typical energy per inference versus batch size; the first system has a band from low to high.

    The bands of all systems would overlap: the bars of ``energy`` show them.

    Args:
      data: result of ``analogsim.energy.compare(..., batch=(1, 4, 16, 64, 256))``, or its ``to_dataset()``.
      ax: axes to draw on; by default new ones.

    Returns:
      the axes.

    Raises:
      InputError: if ``data`` is another object or has one batch size only, or ``ax`` is not matplotlib axes.

    Example:
      >>> import xarray
      >>> names = ("energy_low_j", "energy_typical_j", "energy_high_j")
      >>> joules = (("system", "batch"), [[2e-6, 2e-6], [5e-5, 1e-5]])
      >>> data = xarray.Dataset(dict.fromkeys(names, joules), {"system": ["chip", "GPU"], "batch": [1, 16]})
      >>> energy_batch(data).get_xlabel()
      'batch size'
    """
    table: Any = data.to_dataset() if hasattr(data, "breakdowns") else data
    if not all(hasattr(table, name) for name in ("energy_low_j", "energy_typical_j", "energy_high_j")):
        raise InputError(f"data = {brief(data)}: must be the result of analogsim.energy.compare")
    ax = axes.axes_or_new(ax, 6.4, 4.0)
    batches = table.batch.values
    if len(batches) < 2:
        raise InputError(f"data: has one batch size, {batches[0]}; a curve needs several: compare(..., batch=(1, 16))")
    ends = []
    for i, system in enumerate(table.system.values):
        low, typical, high = (table[f"energy_{k}_j"].isel(system=i).values for k in ("low", "typical", "high"))
        colour, dash = axes.COLOURS[i % len(axes.COLOURS)], ("-", "--", ":")[i // len(axes.COLOURS) % 3]
        if i == 0:
            ax.fill_between(batches, low, high, color=colour, alpha=0.13, linewidth=0)
        ax.plot(batches, typical, dash, color=colour, marker="o", markersize=4)
        if np.isfinite(typical[-1]):  # else the model does not fit the system
            ends.append((float(typical[-1]), axes.plain(shorter(str(system), 24)), colour))
    ax.set_xscale("log", base=2)
    ax.set_xticks(batches, [str(b) for b in batches])
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    step = 3 if np.log10(high / low) > 4 else 1  # one tick an SI prefix, or a decade
    decades = 10.0 ** np.arange(np.ceil(np.log10(low) / step) * step, np.log10(high) + 1e-9, step)
    ax.set_yticks(decades, [show(d, "J", 1) for d in decades])
    ax.minorticks_off()
    _label_ends(ax, batches[-1], ends)
    ax.set_xlabel("batch size")
    ax.set_ylabel("energy per inference")
    return ax


def _label_ends(ax: "Axes", x: float, ends: list[tuple[float, str, str]]) -> None:
    """Label the lines at their right ends; labels that would overlap are spread around their mean."""
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


def _energy_rows(data: "xarray.Dataset") -> list[tuple]:
    rows = []
    for i, system in enumerate(data.system.values):
        low, typical, high = (data[f"energy_{k}_j"].isel(system=i).values for k in ("low", "typical", "high"))
        waits = data["idle_fraction"].isel(system=i).values if "idle_fraction" in data else np.zeros_like(low)
        # Relative alone: the default absolute tolerance would be 10 nJ.
        same = all(np.allclose(e, e[0], rtol=1e-6, atol=0) for e in (low, typical, high))
        for j, batch in enumerate(data.batch.values):
            if (same and j) or not np.isfinite(typical[j]):
                continue  # a system whose energy does not depend on the batch is one row
            label = str(system) if same else f"{system}, batch {batch}"
            rows.append((label, low[j], typical[j], high[j], axes.COLOURS[i % len(axes.COLOURS)], waits[j]))
    return rows
