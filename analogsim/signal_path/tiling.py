"""A weight matrix cut into tiles and scaled to the window of the cells.

A matrix ``[n_in, n_out]`` becomes ``[R, C, rows, columns]``: R tiles share the inputs between them and C the outputs.
The cut is even (784 inputs on 512-row tiles are twice 392, not 512 and 272), which wastes the fewest cells, unless the
operator requires a number of rows per tile. Each column of a tile, or each tile, is normalised to [-1, 1] by a digital
scale that the output is multiplied with again. A stack of matrices ``[S, n_in, n_out]`` has tiles for each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from analogsim.base.straight_through import clip, scale_of
from analogsim.signal_path.hardware_spec import TileHardware

if TYPE_CHECKING:
    from jaxtyping import Array, Float


def grid(n_in: int, n_out: int, hardware: TileHardware, tile_rows: int | None = None) -> tuple[int, int]:
    """Return the number of tiles of an ``n_in`` x ``n_out`` matrix: (along the inputs, along the outputs).

    ``tile_rows`` is the number of rows per tile, if the operator requires one (``Operator.tile_rows``).
    """
    return -(-n_in // (tile_rows or hardware.rows)), -(-n_out // hardware.columns)


def spans(n: int, parts: int) -> list[tuple[int, int]]:
    """Return the (start, stop) of each part if n rows or columns are cut evenly."""
    size = -(-n // parts)
    return [(i * size, min((i + 1) * size, n)) for i in range(parts)]


def cut(weights: Float[Array, "n_in n_out"], tiles: tuple[int, ...]) -> Float[Array, "R C rows columns"]:
    """Cut ``[n_in, n_out]`` into tiles ``[R, C, rows, columns]``, padded with zeros."""
    (n_in, n_out), (r, c) = weights.shape, tiles
    padded = jnp.pad(weights, ((0, -n_in % r), (0, -n_out % c)))
    rows, columns = padded.shape[0] // r, padded.shape[1] // c
    return padded.reshape(r, rows, c, columns).transpose(0, 2, 1, 3)


def cut_inputs(x: Float[Array, "*batch n_in"], r: int) -> Float[Array, "R *batch rows"]:
    """Cut inputs ``[..., n_in]`` into ``[R, ..., rows]``, padded with zeros."""
    padded = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, -x.shape[-1] % r)])
    return jnp.moveaxis(padded.reshape(*x.shape[:-1], r, padded.shape[-1] // r), -2, 0)


def normalise(
    weights: Float[Array, "n_in n_out"], hardware: TileHardware, tile_rows: int | None = None, weight_range: Any = None
) -> tuple[Float[Array, "R C rows columns"], Float[Array, "R C 1 _"]]:
    """Return tiles of weights in [-1, 1], ``[R, C, rows, columns]``, and their scales ``[R, C, 1, columns or 1]``.

    The largest weight of a column (or tile) uses the full window of a cell; with a ``weight_range`` r, r times the
    largest weight does, and for r < 1 larger weights are clipped. A column of zeros has a negligible scale, which
    suppresses the noise of its cells and converter (``straight_through.scale_of``).
    """
    n_in, n_out = weights.shape
    tiled = cut(weights, grid(n_in, n_out, hardware, tile_rows))
    axes = (-2,) if hardware.scaling == "column" else (-2, -1)
    largest = jnp.max(jnp.abs(tiled), axis=axes, keepdims=True)
    scale = scale_of(largest)
    if weight_range is None:
        return tiled / scale, scale
    scale = scale * jnp.asarray(weight_range, scale.dtype)
    return clip(tiled / scale, 1.0), scale


def over_tiles(function):
    return jax.vmap(jax.vmap(function))
