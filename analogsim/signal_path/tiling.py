"""A weight matrix cut into tiles and scaled to what cells hold.

A matrix ``[n_in, n_out]`` becomes ``[R, C, rows, columns]``: R tiles share the inputs between them and C the outputs.
The cut is even (784 inputs on 512-row tiles are twice 392, not 512 and 272), which wastes the fewest cells, unless the
operator asks for so many rows per tile. Each column of a tile, or each tile, is normalised to [-1, 1] by a digital
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
    """How many tiles hold an ``n_in`` x ``n_out`` matrix: (along the inputs, along the outputs).

    ``tile_rows`` is how many rows each tile takes, where the operator asks for that (``Operator.tile_rows``).
    """
    return -(-n_in // (tile_rows or hardware.rows)), -(-n_out // hardware.columns)


def spans(n: int, parts: int) -> list[tuple[int, int]]:
    """The even cut of n rows or columns: from where to where each part goes."""
    size = -(-n // parts)
    return [(i * size, min((i + 1) * size, n)) for i in range(parts)]


def cut(weights: Float[Array, "n_in n_out"], tiles: tuple[int, ...]) -> Float[Array, "R C rows columns"]:
    """``[n_in, n_out]`` to ``[R, C, rows, columns]``; what a tile has too many is zero."""
    (n_in, n_out), (r, c) = weights.shape, tiles
    padded = jnp.pad(weights, ((0, -n_in % r), (0, -n_out % c)))
    rows, columns = padded.shape[0] // r, padded.shape[1] // c
    return padded.reshape(r, rows, c, columns).transpose(0, 2, 1, 3)


def cut_inputs(x: Float[Array, "*batch n_in"], r: int) -> Float[Array, "R *batch rows"]:
    """``[..., n_in]`` to ``[R, ..., rows]``, zero where a tile has more rows than inputs are left."""
    padded = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, -x.shape[-1] % r)])
    return jnp.moveaxis(padded.reshape(*x.shape[:-1], r, padded.shape[-1] // r), -2, 0)


def normalise(
    weights: Float[Array, "n_in n_out"], hardware: TileHardware, tile_rows: int | None = None, weight_range: Any = None
) -> tuple[Float[Array, "R C rows columns"], Float[Array, "R C 1 _"]]:
    """Tiles of weights in [-1, 1], ``[R, C, rows, columns]``, and their scales ``[R, C, 1, columns or 1]``.

    The largest weight of a column (or tile) takes all of a cell's window. A column of zeros has next to no scale, so
    that neither its cells' noise nor its converter's is heard (``straight_through.scale_of``). With a ``weight_range``
    r it is r times the largest weight that does; for r < 1 the weights beyond it are clipped.
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
