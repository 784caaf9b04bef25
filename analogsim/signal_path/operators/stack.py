"""Layers with several matrices and separate inputs: grouped convolution, products with batch axes.

A depthwise 3 x 3 convolution of 512 channels has 512 matrices of 9 x 1. One tile holds as many of them as fit,

    p = min(rows // n_in, columns // n_out)

along its diagonal (``Hardware.groups = "shared"``), so that all are read at once; the cells off the diagonal are
programmed to zero and have the usual errors. With ``"apart"`` every matrix has separate tiles. In both cases the layer
is a stack ``[S, n_in, n_out]`` of matrices, S = ceil(groups / p), and each member passes the signal path; the last
member is padded with zeros.
"""

import dataclasses
import math
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax import lax
from jax.lax import PrecisionLike

from analogsim.signal_path.hardware_spec import TileHardware
from analogsim.signal_path.operators.operator import Operator, matmul
from analogsim.signal_path.tiling import cut_inputs


class Stack(Protocol):
    """An operator of several matrices ``[S, n_in, n_out]``."""

    @property
    def one(self) -> Operator:
        """The operator of one member."""
        ...

    @property
    def members(self) -> tuple[int, ...]:
        """Number of groups of each member."""
        ...

    @property
    def tile_rows(self) -> int | None:
        """Rows per tile of every member, as in ``Operator``."""
        ...

    def inputs(self, x: jax.Array) -> jax.Array:
        """Return the inputs of every member, ``[S, ...]``, each in the layout of ``one``."""
        ...

    def matrix(self, kernel: jax.Array) -> jax.Array:
        """Return the members' matrices, ``[S, n_in, n_out]``."""
        ...

    def member(self, groups: int) -> Operator:
        """Return ``one`` for a member with this number of groups."""
        ...

    def unpadded(self, groups: int, x: jax.Array, matrix: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return inputs and matrix of a member without the padding for missing groups."""
        ...

    def outputs(self, y: jax.Array) -> jax.Array:
        """Return the layer's output from the members' ``[S, ..., n_out]``."""
        ...

    def digital(self, x: jax.Array, kernel: jax.Array, precision: PrecisionLike) -> jax.Array:
        """Return the layer's exact result."""
        ...


def members(groups: int, n_in: int, n_out: int, hardware: TileHardware) -> tuple[int, ...]:
    """Return the number of groups of each member of the stack, as even as possible.

    128 matrices of 9 x 1 on tiles of 512 rows, of which 56 would fit, are ``(43, 43, 42)``.
    """
    fit = min(hardware.rows // n_in, hardware.columns // n_out, groups) if hardware.groups == "shared" else 1
    each = -(-groups // -(-groups // max(fit, 1)))
    return tuple(min(each, groups - start) for start in range(0, groups, each))


def bundle(groups: jax.Array, sizes: tuple[int, ...], axis: int) -> jax.Array:
    """Cut an axis of groups into members, ``[..., G, ...]`` to ``[..., S, p, ...]``, padded with zeros."""
    missing = len(sizes) * sizes[0] - groups.shape[axis]
    padded = jnp.pad(groups, [(0, missing if d == axis else 0) for d in range(groups.ndim)])
    return padded.reshape(*groups.shape[:axis], len(sizes), sizes[0], *groups.shape[axis + 1 :])


def block_diagonal(blocks: jax.Array) -> jax.Array:
    """Place blocks along the diagonal, ``[S, p, ..., n_in, n_out]`` to ``[S, ..., p n_in, p n_out]``."""
    s, p, *window, n_in, n_out = blocks.shape
    on_diagonal = jnp.einsum("sp...io,pq->s...piqo", blocks, jnp.eye(p, dtype=blocks.dtype), precision="highest")
    return on_diagonal.reshape(s, *window, p * n_in, p * n_out)


@dataclasses.dataclass(frozen=True)
class Vectors:
    """Multiplies vectors ``[..., n_in]`` with a matrix without any change of layout."""

    tile_rows = None

    def inputs(self, x):
        return x

    def matrix(self, kernel):
        return kernel

    def parts(self, x, r, unfold=False):
        return cut_inputs(x, r)

    def product(self, part, tile, precision):
        return matmul(part, tile, precision)

    def outputs(self, y):
        return y

    def example_axes(self, x):
        return (-1,)

    def vectors(self, x):
        return math.prod(x.shape[:-1])

    def digital(self, x, kernel, precision):
        return jnp.matmul(x, kernel, precision=precision)


@dataclasses.dataclass(frozen=True)
class BatchedProduct:
    """``lax.dot_general`` with batch dimensions: a matrix for every entry of the batch axes.

    Attributes as of ``MatrixProduct``, and:
      x_batch, kernel_batch: axes with a matrix for every entry; the output begins with them.
      members: groups that each member of the stack holds.
    """

    x_contract: tuple[int, ...]
    kernel_contract: tuple[int, ...]
    x_ndim: int
    kernel_shape: tuple[int, ...]
    order: tuple[int, ...] | None
    x_batch: tuple[int, ...]
    kernel_batch: tuple[int, ...]
    members: tuple[int, ...] = (1,)

    one = Vectors()
    tile_rows = None

    @property
    def layout(self) -> tuple[tuple[int, ...], ...]:
        """As of ``MatrixProduct``."""
        return self.kernel_batch, self.kernel_contract

    @classmethod
    def on(cls, hardware: TileHardware, **fields: Any) -> "BatchedProduct":
        """Return the operator with as many matrices per tile as the hardware allows."""
        operator = cls(**fields)
        groups, n_in, n_out = (math.prod(operator._kernel_sizes(axes)) for axes in operator._kernel_axes)
        return dataclasses.replace(operator, members=members(groups, n_in, n_out, hardware))

    @property
    def _x_free(self) -> list[int]:
        return [d for d in range(self.x_ndim) if d not in self.x_contract + self.x_batch]

    @property
    def _kernel_axes(self) -> tuple[Any, Any, Any]:
        free = [d for d in range(len(self.kernel_shape)) if d not in self.kernel_contract + self.kernel_batch]
        return self.kernel_batch, self.kernel_contract, free

    def _kernel_sizes(self, axes: Any) -> list[int]:
        return [self.kernel_shape[d] for d in axes]

    def inputs(self, x):
        moved = x.transpose(*self.x_batch, *self._x_free, *self.x_contract)
        free = [x.shape[d] for d in self._x_free]
        vectors = moved.reshape(sum(self.members), *free, -1)  # [G, ..., n_in]
        side_by_side = jnp.moveaxis(bundle(vectors, self.members, 0), 1, -2)  # [S, ..., p, n_in]
        return side_by_side.reshape(len(self.members), *free, -1)

    def matrix(self, kernel):
        batch, rows, columns = self._kernel_axes
        n_in = math.prod(self._kernel_sizes(rows))
        matrices = kernel.transpose(*batch, *rows, *columns).reshape(sum(self.members), n_in, -1)
        return block_diagonal(bundle(matrices, self.members, 0))

    def member(self, groups):
        del groups
        return self.one

    def unpadded(self, groups, x, matrix):
        n_in, n_out = (size // self.members[0] * groups for size in matrix.shape)
        return x[..., :n_in], matrix[:n_in, :n_out]

    def outputs(self, y):
        batch, _, columns = self._kernel_axes
        free, n_out = y.shape[1:-1], math.prod(self._kernel_sizes(columns))
        groups = jnp.moveaxis(y.reshape(*y.shape[:-1], self.members[0], n_out), -2, 1)  # [S, p, ..., n_out]
        groups = groups.reshape(-1, *free, n_out)[: sum(self.members)]
        y = groups.reshape(*self._kernel_sizes(batch), *free, *self._kernel_sizes(columns))
        return y if self.order is None else y.transpose(self.order)

    def digital(self, x, kernel, precision):
        dims = ((self.x_contract, self.kernel_contract), (self.x_batch, self.kernel_batch))
        y = lax.dot_general(x, kernel, dims, precision=precision)
        return y if self.order is None else y.transpose(self.order)
