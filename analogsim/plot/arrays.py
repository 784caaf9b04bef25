"""A map of what the arrays of one layer hold: the weights they stand for, or the conductances of their cells."""

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from analogsim.base.checks import check_integer
from analogsim.base.errors import InputError, brief, nearest
from analogsim.base.extrapolation import extrapolates
from analogsim.base.units import show_time
from analogsim.chips.chip import Chip
from analogsim.models.bound import leaves_of
from analogsim.plot import axes
from analogsim.signal_path.programmed import ChipArray, ProgrammedTiles

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SHOWS = ("weights", "conductance")


def array(
    held: Any, layer: str | None = None, show: str = "weights", array: int = 0, ax: "Axes | None" = None
) -> "Axes":
    """A map of what the arrays of one layer hold: inputs from top to bottom, outputs from left to right.

    Args:
      held: a matrix ``[n_in, n_out]``; a ``Chip``, at its age; or one programmed matrix, ``ProgrammedTiles`` (drawn
        right after programming) or ``ChipArray``.
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
    if show not in _SHOWS:
        raise InputError(f"show = {brief(show)}: must be 'weights' or 'conductance'")
    check_integer(array, "array", ge=0)
    chip_array = _chip_array(held, layer)
    grid: tuple[int, ...] = (1, 1)
    if chip_array is None:
        if show == "conductance":
            raise InputError("show = 'conductance': a matrix has none; give a chip or a programmed matrix")
        matrix, title = _matrix(held), ""
    else:
        reading = chip_array.reading
        grid = reading.mean.shape[:2]
        age = "right after programming" if not float(reading.time_s) else f"{_age(chip_array)} after programming"
        title = f"{grid[0]} x {grid[1]} tiles, {age}" if max(grid) > 1 else f"one tile, {age}"
        if show == "weights":
            matrix = np.asarray(_weights(chip_array))
        else:
            arrays = np.asarray(_conductances(chip_array)) * 1e6
            check_integer(array, "array", ge=0, le=len(arrays) - 1)
            matrix, title = arrays[array], f"array {array + 1} of {len(arrays)}, {title}"
    return _draw(matrix, grid, title, show, ax)


def _age(chip_array: ChipArray) -> str:
    time_s = float(chip_array.reading.time_s)
    return show_time(time_s) + (" (extrapolated)" if extrapolates(chip_array.hardware, time_s) else "")


def _chip_array(held: Any, layer: Any) -> ChipArray | None:
    """What one matrix holds at its time; None for a matrix of numbers."""
    if isinstance(held, Chip):
        found = dict(leaves_of(ChipArray, held.readings))
        if layer is None and len(found) > 1:
            raise InputError(f"layer = None: the chip has {len(found)} layers; give one of {', '.join(found)}")
        name = next(iter(found)) if layer is None else layer
        if name not in found:
            raise InputError(f"layer = {brief(layer)}: the chip has no such layer; {nearest(str(layer), found)}")
        held = found[name]
    elif layer is not None:
        raise InputError(f"layer = {brief(layer)}: must be None, since only a chip has layers")
    if isinstance(held, ProgrammedTiles):
        _check_one(held.scale)
        held = ChipArray.read(held, 0.0, None, False)
    if not isinstance(held, ChipArray):
        return None
    _check_one(held.reading.scale)
    return held


def _check_one(scale: Any) -> None:
    if np.ndim(scale) != 4:
        raise InputError(
            f"held: is a stack of {np.prod(np.shape(scale)[:-4]):.0f} matrices (chips, groups or scanned layers), a "
            f"map shows one; take it with jax.tree.map(lambda a: a[0], ...)"
        )


def _matrix(held: Any) -> np.ndarray:
    try:
        matrix = np.empty(0) if np.iscomplexobj(held) else np.asarray(held, dtype=float)
    except (TypeError, ValueError):
        matrix = np.empty(0)
    if matrix.ndim != 2 or not matrix.size:
        raise InputError(
            f"held = {brief(held)}: must be a matrix [n_in, n_out] of real numbers, a chip or a programmed matrix"
        )
    return matrix


def _weights(array: ChipArray) -> jax.Array:
    """The matrix ``[n_in, n_out]`` that the tiles multiply with, without converters: what each input alone gives."""
    reading, store = array.reading, array.hardware.store

    def outputs(lines: jax.Array, gain: jax.Array) -> jax.Array:
        return store.combine(lines * gain, jnp.ones((lines.shape[0], 1), lines.dtype))

    gain = jnp.ones_like(reading.mean[:, :, :1]) if reading.gain is None else reading.gain
    held = jax.vmap(jax.vmap(outputs))(reading.mean, jnp.broadcast_to(gain, reading.mean[:, :, :1].shape))
    return _joined(held * reading.scale)[: reading.n_in, : reading.n_out]


def _conductances(array: ChipArray) -> jax.Array:
    """Siemens of the cells, means over reads, ``[arrays, inputs, columns]``: the tiles joined in their places."""
    reading, store = array.reading, array.hardware.store
    states = reading.state
    cell, faults = getattr(store, "cell", None), getattr(store, "faults", None)
    cells = getattr(states, "cells", None)
    if cell is None or cells is None:
        raise InputError(
            f"show = 'conductance': a {type(store).__name__} holds no cells with conductances; show='weights' works"
        )

    def one(state: Any) -> jax.Array:
        moments = jax.lax.map(lambda s: cell.read(s, reading.time_s), state.cells)
        if faults is not None and state.fabric is not None:
            moments = faults.apply(state.fabric, moments, cell.g_min, cell.g_max)
        return moments.mean

    conductances = jax.vmap(jax.vmap(one))(states)  # [R, C, arrays, rows, columns]
    joined = jnp.stack([_joined(conductances[:, :, i]) for i in range(conductances.shape[2])])
    is_uniform = joined.shape[2] == -(-reading.n_out // conductances.shape[1]) * conductances.shape[1]
    return joined[:, : reading.n_in, : reading.n_out if is_uniform else None]


def _joined(tiled: jax.Array) -> jax.Array:
    """``[R, C, rows, columns]`` to ``[R rows, C columns]``."""
    r, c, rows, columns = tiled.shape
    return tiled.transpose(0, 2, 1, 3).reshape(r * rows, c * columns)


def _draw(matrix: np.ndarray, grid: tuple[int, ...], title: str, show: str, ax: "Axes | None") -> "Axes":
    from matplotlib.ticker import MaxNLocator

    rows, columns = matrix.shape
    tall = float(np.clip(rows / columns, 0.4, 1.6))
    ax = axes.axes_or_new(ax, 5.6, 0.9 + 4.2 * tall)
    weights = show == "weights"
    if weights:
        most = float(np.nanmax(np.abs(matrix))) or 1.0
        how: dict[str, Any] = {"cmap": "RdBu_r", "vmin": -most, "vmax": most}
    else:
        how = {"cmap": "viridis", "vmin": 0.0}
    image = ax.imshow(matrix, aspect="auto", extent=(0, columns, rows, 0), interpolation="auto", **how)
    line = "black" if weights else "white"
    # As ``programmed.cut``: even parts, of which only the last may be shorter.
    for i in range(1, grid[0]):
        ax.axhline(i * -(-rows // grid[0]), color=line, linewidth=1.2)
    for i in range(1, grid[1]):
        ax.axvline(i * -(-columns // grid[1]), color=line, linewidth=1.2)
    ax.set(xlabel="outputs" if weights else "columns of cells", ylabel="inputs")
    ax.grid(False)
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    ax.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    wide = axes.width(ax)  # the colour bar will take some of it
    below = wide < axes.NARROW
    figure: Any = ax.get_figure(root=True)
    bar = figure.colorbar(image, ax=ax, location="bottom" if below else "right", fraction=0.05, pad=0.02)
    bar.set_label("weight" if weights else "conductance (µS)")
    bar.outline.set_visible(False)
    if title and not ax.get_title(loc="left"):
        ax.set_title(axes.wrapped(title, 1.15 * wide), fontsize=10, fontweight="normal", loc="left")
    return ax
