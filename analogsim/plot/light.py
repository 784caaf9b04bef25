"""Figures of photonic stores: the layout of a programmed mesh, and the static power of memory media."""

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from analogsim.base.errors import InputError, brief
from analogsim.base.units import show, show_time
from analogsim.devices.photonic.grid import ShifterGrid
from analogsim.devices.photonic.hold_costs import hold_costs
from analogsim.devices.photonic.layouts import layout
from analogsim.devices.photonic.mzi_mesh import MeshState, MZIMesh
from analogsim.plot import axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_GREY = "#8a8a8a"


def mesh(store: MZIMesh, state: MeshState, ax: "Axes | None" = None) -> "Axes":
    """Draw the layout of a mesh: light runs from left to right, each crossing is a cell coloured by its phase theta.

    Args:
      store: the mesh.
      state: state of one tile, from ``store.program`` (``MZIMesh`` has an example).
      ax: axes to draw on; by default new ones.

    Returns:
      the axes.

    Raises:
      InputError: for another store, a state of several tiles, or if ``ax`` is not matplotlib axes.

    Program one tile, draw it and save the figure::

        store = MZIMesh()
        mesh(store, store.program(key, weights)).figure.savefig("mesh.png")
    """
    if not isinstance(store, MZIMesh) or not isinstance(state, MeshState) or np.ndim(state.commands) != 2:
        raise InputError(f"mesh = {brief(store)}: must be an MZIMesh, with the state of one tile from its program")
    n_in, n_out = state.weight_gradient.shape
    grid = ShifterGrid(n_in, n_out, store.topology)
    first, attenuator, last = grid.parted(store.phases(state, 0.0) % (2 * np.pi))
    columns = grid.columns + 3
    ax = axes.axes_or_new(ax, max(5.0, 1.6 + 0.32 * columns), 1.2 + 0.32 * max(n_in, n_out))
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    colours = ScalarMappable(Normalize(0, 2), cmap="twilight")
    start = layout(n_in, store.topology).columns
    _draw_columns(ax, n_in, store.topology, np.asarray(first.theta), 0.0, colours)
    _draw_columns(ax, n_out, store.topology, np.asarray(last.theta), start + 2.0, colours)
    for mode, theta in enumerate(np.asarray(attenuator)):
        ax.plot([start, start + 2], [-mode, -mode], color=_GREY, linewidth=1, zorder=1)
        ax.scatter(start + 1, -mode, s=46, marker="s", color=colours.to_rgba(theta / np.pi), zorder=3, edgecolor="k",
                   linewidth=0.6)  # fmt: skip
    end = start + 2 + layout(n_out, store.topology).columns
    for x, name in ((start / 2, "V†"), (start + 1, "Σ"), ((start + 2 + end) / 2, "U")):
        ax.annotate(name, (x, 0.9), ha="center", va="bottom", fontsize=12)
    for modes, x, word in ((n_in, -0.5, "in"), (n_out, end + 0.5, "out")):
        for mode in {0, modes - 1}:
            ax.annotate(
                f"{word} {mode + 1}", (x, -mode), ha="right" if word == "in" else "left", va="center", fontsize=9
            )
    ax.set(xlim=(-1.6, end + 1.8), ylim=(-max(n_in, n_out) + 0.4, 1.9), xticks=[], yticks=[])
    ax.grid(False)
    for side in ax.spines.values():
        side.set_visible(False)
    bar = ax.figure.colorbar(colours, ax=ax, fraction=0.025, pad=0.01, ticks=[0, 0.5, 1, 1.5, 2])
    tall = ax.get_figure(root=True).get_figheight()  # type: ignore[union-attr]
    bar.set_label(axes.wrapped("θ / π (0 and 2 cross, 1 passes straight)", 0.75 * tall))
    return ax


def _draw_columns(ax: "Axes", n: int, topology: str, theta: np.ndarray, left: float, colours: Any) -> None:
    """Draw waveguides and cells of one mesh, starting at ``left``."""
    where = layout(n, topology)
    xs, ys, values = [], [], []
    for column in range(where.columns):
        x = left + column
        apart = set(range(n))
        for slot in np.flatnonzero(where.occupied[column]):
            upper, lower = where.order[column, 2 * slot : 2 * slot + 2]
            apart -= {int(upper), int(lower)}
            ax.plot([x, x + 1], [-upper, -lower], color=_GREY, linewidth=1, zorder=1)
            ax.plot([x, x + 1], [-lower, -upper], color=_GREY, linewidth=1, zorder=1)
            xs.append(x + 0.5)
            ys.append(-(upper + lower) / 2)
            values.append(theta[column, slot] / np.pi)
        for mode in apart:
            ax.plot([x, x + 1], [-mode, -mode], color=_GREY, linewidth=1, zorder=1)
    if xs:
        ax.scatter(xs, ys, s=46, color=colours.to_rgba(np.array(values)), zorder=3, edgecolor="k", linewidth=0.6)


def hold_power(ax: "Axes | None" = None) -> "Axes":
    """Draw the static power that holds one analog value in each medium, and the retention without power or refresh.

    Args:
      ax: axes to draw on; by default new ones.

    Returns:
      the axes.

    Raises:
      InputError: if ``ax`` is not matplotlib axes.

    Example:
      >>> hold_power().get_xlabel()
      'static power per value (W)'
    """
    rows = hold_costs()
    ax = axes.axes_or_new(ax, 8.0, 0.9 + 0.42 * len(rows))
    narrow = axes.width(ax) < axes.NARROW
    least = min(row.hold_w for row in rows if row.hold_w) / 30
    most = max(row.hold_w for row in rows if row.hold_w)
    for i, row in enumerate(rows):
        colour = axes.COLOURS[1] if row.volatile else axes.COLOURS[2]
        ax.barh(i, row.hold_w or 0, left=0, height=0.55, color=colour)
        power = (
            "whole apparatus, not per value" if row.hold_w is None else show(row.hold_w, "W") if row.hold_w else "none"
        )
        stays = f"stays {show_time(row.lifetime_s)}" + ("" if row.volatile else " or more")
        at = max(row.hold_w or 0, least)
        said = f"{power}\n{stays}" if narrow else f"{power}; {stays}"
        size = 7 if narrow else 9
        ax.annotate(said, (at, i), textcoords="offset points", xytext=(6, 0), va="center", fontsize=size)
    ax.set_xscale("log")
    ax.set(xlim=(least, most * (1e9 if narrow else 3e4)), xlabel="static power per value (W)")
    ax.set_yticks(range(len(rows)), [textwrap.fill(row.medium, 20) if narrow else row.medium for row in rows])
    if narrow:
        ax.tick_params(axis="y", labelsize=7)
    ax.invert_yaxis()
    ax.grid(False, axis="y")
    return ax
