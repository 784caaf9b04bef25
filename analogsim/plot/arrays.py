"""A map of the arrays of one layer: their weights, or the conductances of their cells."""

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from analogsim.base.checks import check_integer
from analogsim.base.errors import InputError, brief, nearest
from analogsim.base.extrapolation import extrapolates
from analogsim.base.types import PyTree
from analogsim.base.units import show_time
from analogsim.chips.chip import Chip
from analogsim.models.bound import leaves_of
from analogsim.plot import axes
from analogsim.signal_path.programmed import ChipArray, ProgrammedTiles

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SHOWS = ("weights", "conductance")


def array(
    source: Any, layer: str | None = None, show: str = "weights", array: int = 0, ax: "Axes | None" = None
) -> "Axes":
    """Draw a map of the arrays of one layer: inputs from top to bottom, outputs from left to right, tiles outlined.

    Args:
      source: a matrix ``[n_in, n_out]``; a ``Chip``, at its age; or one programmed matrix, ``ProgrammedTiles`` (drawn
        right after programming) or ``ChipArray``.
      layer: path of the layer of a chip, as listed by ``analogsim.summary``; optional if the chip has one layer.
      show: ``"weights"``, the mean over reads including digital scales; or ``"conductance"``, the cells of one array of
        every tile in microsiemens.
      array: index of the array of each tile, for conductances: of a differential pair 0 is the positive and 1 the
        negative side; the arrays of weight slices follow in order.
      ax: axes to draw on; by default new ones.

    Returns:
      the axes.

    Raises:
      InputError: for an object without a matrix, with several of them (a stack of chips), or without conductances.

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
    chip_array = _chip_array(source, layer)
    grid: tuple[int, ...] = (1, 1)
    if chip_array is None:
        if show == "conductance":
            raise InputError("show = 'conductance': a plain matrix has none; pass a chip or a programmed matrix")
        matrix, title = _matrix(source), ""
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


def _chip_array(source: Any, layer: Any) -> ChipArray | None:
    """Return the array of one matrix at its time; None for a plain matrix."""
    if isinstance(source, Chip):
        found = dict(leaves_of(ChipArray, source.readings))
        if layer is None and len(found) > 1:
            raise InputError(f"layer = None: the chip has {len(found)} layers; choose one of {', '.join(found)}")
        name = next(iter(found)) if layer is None else layer
        if name not in found:
            raise InputError(f"layer = {brief(layer)}: the chip has no such layer; {nearest(str(layer), found)}")
        source = found[name]
    elif layer is not None:
        raise InputError(f"layer = {brief(layer)}: must be None unless source is a chip")
    if isinstance(source, ProgrammedTiles):
        _check_one(source.scale)
        source = ChipArray.read(source, 0.0, None, False)
    if not isinstance(source, ChipArray):
        return None
    _check_one(source.reading.scale)
    return source


def _check_one(scale: Any) -> None:
    if np.ndim(scale) != 4:
        raise InputError(
            f"source: is a stack of {np.prod(np.shape(scale)[:-4]):.0f} matrices (chips, groups or scanned layers), a "
            f"map shows one; select it with jax.tree.map(lambda a: a[0], ...)"
        )


def _matrix(source: Any) -> np.ndarray:
    try:
        matrix = np.empty(0) if np.iscomplexobj(source) else np.asarray(source, dtype=float)
    except (TypeError, ValueError):
        matrix = np.empty(0)
    if matrix.ndim != 2 or not matrix.size:
        raise InputError(
            f"source = {brief(source)}: must be a matrix [n_in, n_out] of real numbers, a chip or a programmed matrix"
        )
    return matrix


def _weights(array: ChipArray) -> jax.Array:
    """Return the matrix ``[n_in, n_out]`` of the tiles, without converters: the outputs for unit inputs."""
    reading, store = array.reading, array.hardware.store

    def outputs(lines: jax.Array, gain: jax.Array) -> jax.Array:
        return store.combine(lines * gain, jnp.ones((lines.shape[0], 1), lines.dtype))

    gain = jnp.ones_like(reading.mean[:, :, :1]) if reading.gain is None else reading.gain
    held = jax.vmap(jax.vmap(outputs))(reading.mean, jnp.broadcast_to(gain, reading.mean[:, :, :1].shape))
    return _joined(held * reading.scale)[: reading.n_in, : reading.n_out]


def _conductances(array: ChipArray) -> jax.Array:
    """Return the mean conductances of the cells, ``[arrays, inputs, columns]`` in S, with the tiles joined."""
    reading, store = array.reading, array.hardware.store
    states = reading.state
    cell, faults = getattr(store, "cell", None), getattr(store, "faults", None)
    cells = getattr(states, "cells", None)
    if cell is None or cells is None:
        raise InputError(
            f"show = 'conductance': a {type(store).__name__} has no cells with conductances; use show='weights'"
        )

    def one(state: PyTree) -> jax.Array:
        moments = jax.lax.map(lambda s: cell.read(s, reading.time_s), state.cells)
        if faults is not None and state.fabric is not None:
            moments = faults.apply(state.fabric, moments, cell.g_min, cell.g_max)
        return moments.mean

    conductances = jax.vmap(jax.vmap(one))(states)  # [R, C, arrays, rows, columns]
    joined = jnp.stack([_joined(conductances[:, :, i]) for i in range(conductances.shape[2])])
    is_uniform = joined.shape[2] == -(-reading.n_out // conductances.shape[1]) * conductances.shape[1]
    return joined[:, : reading.n_in, : reading.n_out if is_uniform else None]


def _joined(tiled: jax.Array) -> jax.Array:
    """Join tiles ``[R, C, rows, columns]`` to one matrix ``[R rows, C columns]``."""
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
    # Tile borders as in ``programmed.cut``: equal parts, of which only the last may be shorter.
    for i in range(1, grid[0]):
        ax.axhline(i * -(-rows // grid[0]), color=line, linewidth=1.2)
    for i in range(1, grid[1]):
        ax.axvline(i * -(-columns // grid[1]), color=line, linewidth=1.2)
    ax.set(xlabel="outputs" if weights else "columns of cells", ylabel="inputs")
    ax.grid(False)
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    ax.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    wide = axes.width(ax)  # measured before the colour bar takes a part
    below = wide < axes.NARROW
    figure: Any = ax.get_figure(root=True)
    bar = figure.colorbar(image, ax=ax, location="bottom" if below else "right", fraction=0.05, pad=0.02)
    bar.set_label("weight" if weights else "conductance (µS)")
    bar.outline.set_visible(False)
    if title and not ax.get_title(loc="left"):
        ax.set_title(axes.wrapped(title, 1.15 * wide), fontsize=10, fontweight="normal", loc="left")
    return ax
