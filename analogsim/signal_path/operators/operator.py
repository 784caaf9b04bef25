"""The interface of operators, for the signal path, programming, calibration and energy."""

from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import PrecisionLike

from analogsim.signal_path.tiling import spans


class Operator(Protocol):
    """Maps inputs and kernel of a layer to products with a matrix ``[n_in, n_out]`` on ``[R, C, rows, columns]``."""

    @property
    def tile_rows(self) -> int | None:
        """Rows per tile, if the operator determines how inputs are cut; None for an even cut of the rows."""
        ...

    def inputs(self, x: jax.Array) -> jax.Array:
        """Return the layer's input in the operator's layout."""
        ...

    def matrix(self, kernel: jax.Array) -> jax.Array:
        """Return the kernel as ``[n_in, n_out]``."""
        ...

    def parts(self, x: jax.Array, r: int, unfold: bool = False) -> jax.Array:
        """Return the drive of each of ``r`` tiles along the inputs, stacked along a new leading axis.

        ``unfold`` requires input vectors ``[R, ..., rows]``, where a convolution would otherwise keep its image.
        """
        ...

    def product(self, part: jax.Array, tile: jax.Array, precision: PrecisionLike) -> jax.Array:
        """Return the partial sums ``[..., C, columns]`` of one part with its row of tiles ``[C, rows, columns]``."""
        ...

    def outputs(self, y: jax.Array) -> jax.Array:
        """Return ``[..., n_out]`` in the layer's output layout."""
        ...

    def example_axes(self, x: jax.Array) -> tuple[int, ...]:
        """Return the axes of an input that one example (one input vector, one image) spans."""
        ...

    def vectors(self, x: jax.Array) -> int:
        """Return the number of matrix-vector products of the input."""
        ...

    def digital(self, x: jax.Array, kernel: jax.Array, precision: PrecisionLike) -> jax.Array:
        """Return the layer's exact result."""
        ...


def rows_in_use(operator: Any, n_in: int, r: int) -> list[np.ndarray]:
    """Return the rows of each tile that hold weights of a matrix.

    Args:
      operator: the operator of the layer.
      n_in: number of inputs of the matrix.
      r: number of tiles along the inputs.

    Returns:
      Indices of the rows, one array per tile.
    """
    if operator.tile_rows is not None:
        return operator.rows_in_use()
    return [np.arange(bottom - top) for top, bottom in spans(n_in, r)]


def partial_sums(operator: Operator, x: jax.Array, tiles: jax.Array, precision: PrecisionLike) -> list[jax.Array]:
    """Return the sums of every tile.

    Args:
      operator: the operator of the layer.
      x: its input.
      tiles: matrices of the tiles, ``[R, C, rows, columns]``.
      precision: matmul precision.

    Returns:
      R arrays ``[..., C, columns]``.
    """
    parts = operator.parts(x, tiles.shape[0])
    return [operator.product(part, tile, precision) for part, tile in zip(parts, tiles, strict=True)]


def matmul(x: jax.Array, tile: jax.Array, precision: PrecisionLike) -> jax.Array:
    """Multiply vectors ``[..., rows]`` with a row of tiles ``[C, rows, columns]`` in one product."""
    c, rows, columns = tile.shape
    side_by_side = tile.transpose(1, 0, 2).reshape(rows, c * columns)
    flat = x.reshape(-1, rows)  # one plain matrix product, also in the backward pass
    return jnp.matmul(flat, side_by_side, precision=precision).reshape(*x.shape[:-1], c, columns)
