"""What the signal path, programming, calibration and energy need to know of a layer."""

from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from analogsim.signal_path.tiling import spans


class Operator(Protocol):
    """How a layer's inputs meet its weight matrix ``[n_in, n_out]``, on tiles ``[R, C, rows, columns]``."""

    @property
    def tile_rows(self) -> int | None:
        """Rows that each tile takes, where the operator says how inputs are cut; None for an even cut of the rows."""
        ...

    def inputs(self, x: jax.Array) -> jax.Array:
        """The layer's input in the operator's own layout."""
        ...

    def matrix(self, kernel: jax.Array) -> jax.Array:
        """The kernel as ``[n_in, n_out]``."""
        ...

    def parts(self, x: jax.Array, r: int, unfold: bool = False) -> jax.Array:
        """What each of ``r`` tiles along the inputs is driven with, stacked along a new leading axis.

        ``unfold`` asks for input vectors ``[R, ..., rows]``, where a convolution would keep its image.
        """
        ...

    def product(self, part: jax.Array, tile: jax.Array, precision: Any) -> jax.Array:
        """Partial sums ``[..., C, columns]`` of one part with its row of tiles ``[C, rows, columns]``."""
        ...

    def outputs(self, y: jax.Array) -> jax.Array:
        """``[..., n_out]`` in the layer's output layout."""
        ...

    def example_axes(self, x: jax.Array) -> tuple[int, ...]:
        """Axes of an input that one example (one input vector, one image) spans."""
        ...

    def vectors(self, x: jax.Array) -> int:
        """How many matrix-vector products the input stands for."""
        ...

    def digital(self, x: jax.Array, kernel: jax.Array, precision: Any) -> jax.Array:
        """The layer's exact result."""
        ...


def rows_in_use(operator: Any, n_in: int, r: int) -> list[np.ndarray]:
    """For each of ``r`` tiles along the inputs, which of its rows hold weights of an ``n_in`` x n_out matrix."""
    if operator.tile_rows is not None:
        return operator.rows_in_use()
    return [np.arange(bottom - top) for top, bottom in spans(n_in, r)]


def partial_sums(operator: Operator, x: jax.Array, tiles: jax.Array, precision: Any) -> list[jax.Array]:
    """Every tile's own sums: R arrays ``[..., C, columns]`` for tiles ``[R, C, rows, columns]``."""
    parts = operator.parts(x, tiles.shape[0])
    return [operator.product(part, tile, precision) for part, tile in zip(parts, tiles, strict=True)]


def matmul(x: jax.Array, tile: jax.Array, precision: Any) -> jax.Array:
    """Vectors ``[..., rows]`` with a row of tiles ``[C, rows, columns]``, in one product."""
    c, rows, columns = tile.shape
    side_by_side = tile.transpose(1, 0, 2).reshape(rows, c * columns)
    flat = x.reshape(-1, rows)  # products of plain matrices, backwards too
    return jnp.matmul(flat, side_by_side, precision=precision).reshape(*x.shape[:-1], c, columns)
