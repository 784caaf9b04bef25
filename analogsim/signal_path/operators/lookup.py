"""Stored rows: what an embedding asks of a table ``[n_rows, n_out]``.

    y = table[number]

is the product of the table with a vector that is 1 in one place, and that is how an array does it: the word line of
that row, in the one row of tiles that holds it, is driven at full scale, and the lines of those tiles are converted.
The other tiles rest. The table is cut, scaled and written like any matrix.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class Lookup:
    """Rows of a table by their numbers, ``[...]`` integers to ``[..., n_out]``.

    As Flax has it: numbers below zero count from the end, numbers beyond the table give NaN, and the row of a table of
    one is what every number gets.
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
        """For tiles of so many rows: which tile along the inputs holds each number, and in which of its rows."""
        x = self._signed(x)
        row = jnp.clip(jnp.where(x < 0, x + self.n_rows, x), 0, self.n_rows - 1)
        return row // rows, row % rows

    def known(self, x: jax.Array) -> jax.Array:
        """Whether each number is one of a row of the table."""
        x = self._signed(x)
        return ((x >= -self.n_rows) & (x < self.n_rows)) | (self.n_rows == 1)

    def _signed(self, x: jax.Array) -> jax.Array:
        """The numbers in a type that holds all rows and signs; large unsigned ones stay beyond the table."""
        if jnp.issubdtype(x.dtype, jnp.unsignedinteger):
            x = jnp.minimum(x.astype(jnp.promote_types(x.dtype, jnp.uint32)), self.n_rows).astype(jnp.int32)
        return x.astype(jnp.promote_types(x.dtype, jnp.int32))
