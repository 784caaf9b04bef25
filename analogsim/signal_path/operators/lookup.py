"""Lookup of rows: the operator of an embedding with a table ``[n_rows, n_out]``.

    y = table[number]

is the product of the table with a one-hot vector, and an array computes it as such: the word line of the row is driven
at full scale, in the one row of tiles that holds it, and the columns of those tiles are converted. The other tiles are
idle. The table is cut, scaled and programmed like any matrix.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp

from analogsim.base.dtypes import promoted


@dataclasses.dataclass(frozen=True)
class Lookup:
    """Looks up rows of a table by number, ``[...]`` integers to ``[..., n_out]``.

    As in Flax, negative numbers count from the end, numbers beyond the table give NaN, and a table with one row returns
    it for every number.
    """

    n_rows: int

    tile_rows = None

    def inputs(self, x):
        return x

    def matrix(self, kernel):
        return kernel

    def outputs(self, y):
        return y

    def vectors(self, x):
        return math.prod(x.shape)

    def digital(self, x, kernel, precision):
        del precision
        return jnp.take(kernel, jnp.zeros_like(x) if self.n_rows == 1 else x, axis=0)

    def places(self, x: jax.Array, rows: int) -> tuple[jax.Array, jax.Array]:
        """Return the tile along the inputs and the row in it of each number, for tiles of ``rows`` rows."""
        x = self._signed(x)
        row = jnp.clip(jnp.where(x < 0, x + self.n_rows, x), 0, self.n_rows - 1)
        return row // rows, row % rows

    def in_table(self, x: jax.Array) -> jax.Array:
        """Return which numbers are rows of the table."""
        x = self._signed(x)
        return ((x >= -self.n_rows) & (x < self.n_rows)) | (self.n_rows == 1)

    def _signed(self, x: jax.Array) -> jax.Array:
        """Return the numbers in a signed type that holds all rows; large unsigned ones stay beyond the table."""
        if jnp.issubdtype(x.dtype, jnp.unsignedinteger):
            x = jnp.minimum(x.astype(promoted(x.dtype, jnp.uint32)), self.n_rows).astype(jnp.int32)
        return x.astype(promoted(x.dtype, jnp.int32))
