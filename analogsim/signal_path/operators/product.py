"""Matrix products of Dense, DenseGeneral and Einsum, which call ``lax.dot_general`` and ``jnp.einsum``.

An einsum equation with one kernel is a matrix product. Each letter has one role:

    in the input, the kernel and not the output     contracted: the matrix's rows
    in the kernel and the output only               free: the matrix's columns
    in the input and the output only                free: the vectors
    in all three                                    a batch axis: a matrix for every entry (``stack``)

A letter that only the input has is summed over digitally, before the rows are driven.
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from analogsim.base.errors import InputError
from analogsim.signal_path.hardware_spec import TileHardware
from analogsim.signal_path.operators.operator import Operator, matmul
from analogsim.signal_path.operators.stack import BatchedProduct
from analogsim.signal_path.tiling import cut_inputs


@dataclasses.dataclass(frozen=True)
class MatrixProduct:
    """``lax.dot_general`` without batch dimensions: the kernel's contracted axes are the matrix's rows.

    Attributes:
      x_contract, kernel_contract: axes that are summed over.
      x_ndim, kernel_shape: of the operands.
      order: permutation of the output axes; None for the vectors' axes, then the kernel's.
    """

    x_contract: tuple[int, ...]
    kernel_contract: tuple[int, ...]
    x_ndim: int
    kernel_shape: tuple[int, ...]
    order: tuple[int, ...] | None = None

    tile_rows = None

    @property
    def layout(self) -> tuple[tuple[int, ...], ...]:
        """The kernel's axes for batches and for rows of the matrix, in order."""
        return (), self.kernel_contract

    @property
    def _x_free(self) -> list[int]:
        return [d for d in range(self.x_ndim) if d not in self.x_contract]

    @property
    def _kernel_free(self) -> list[int]:
        return [d for d in range(len(self.kernel_shape)) if d not in self.kernel_contract]

    def inputs(self, x):
        moved = x.transpose(*self._x_free, *self.x_contract)
        return moved.reshape(*moved.shape[: len(self._x_free)], math.prod(x.shape[d] for d in self.x_contract))

    def matrix(self, kernel):
        n_in = math.prod(kernel.shape[d] for d in self.kernel_contract)
        return kernel.transpose(*self.kernel_contract, *self._kernel_free).reshape(n_in, -1)

    def parts(self, x, r, unfold=False):
        return cut_inputs(x, r)

    def product(self, part, tile, precision):
        return matmul(part, tile, precision)

    def outputs(self, y):
        return _ordered(y.reshape(*y.shape[:-1], *(self.kernel_shape[d] for d in self._kernel_free)), self.order)

    def example_axes(self, x):
        return (-1,)

    def vectors(self, x):
        return math.prod(x.shape[:-1])

    def digital(self, x, kernel, precision):
        dims = ((self.x_contract, self.kernel_contract), ((), ()))
        return _ordered(lax.dot_general(x, kernel, dims, precision=precision), self.order)


def _ordered(y: jax.Array, order: tuple[int, ...] | None) -> jax.Array:
    return y if order is None else y.transpose(order)


def dot_general(
    dimension_numbers: Any, x_ndim: int, kernel_shape: tuple[int, ...], hardware: TileHardware, order: Any = None
) -> Operator | BatchedProduct:
    """Return the operator of ``lax.dot_general(x, kernel, dimension_numbers)``.

    Args:
      dimension_numbers: contracted and batch axes, as of ``lax.dot_general``.
      x_ndim: number of axes of ``x``.
      kernel_shape: shape of the kernel.
      hardware: the hardware of the kernel.
      order: permutation of the output axes; None for none.
    """
    (x_contract, kernel_contract), (x_batch, kernel_batch) = dimension_numbers
    plain: dict[str, Any] = dict(
        x_contract=tuple(x_contract), kernel_contract=tuple(kernel_contract), x_ndim=x_ndim,
        kernel_shape=tuple(kernel_shape), order=order,
    )  # fmt: skip
    if not x_batch:
        return MatrixProduct(**plain)
    return BatchedProduct.on(hardware, **plain, x_batch=tuple(x_batch), kernel_batch=tuple(kernel_batch))


def einsum(
    equation: str, x: jax.Array, kernel_shape: tuple[int, ...], hardware: TileHardware, path: str
) -> tuple[Any, Any]:
    """Return the operator of ``jnp.einsum(equation, x, kernel)``, and ``x`` summed over the axes that only it has.

    Args:
      equation: explicit, with two operands: ``"...d,dhk->...hk"``.
      x: the input.
      kernel_shape: shape of the kernel, the second operand.
      hardware: the hardware of the kernel.
      path: path of the layer, for messages.

    Raises:
      InputError: for a repeated letter in one operand, a letter that the kernel alone has and sums over, or an axis of
        one in the kernel that an ellipsis repeats.
    """
    of_x, of_kernel, of_y = letters(equation, x.ndim, len(kernel_shape))
    for operand in (of_x, of_kernel):
        if len(set(operand)) < len(operand):
            raise InputError(f"layer {path}: einsum {equation!r}: a letter twice in one operand is no matrix product")
    x = _broadcast(equation, x, of_x, dict(zip(of_kernel, kernel_shape, strict=True)), path)
    alone = [letter for letter in of_kernel if letter not in of_x + of_y]
    if alone:
        raise InputError(
            f"layer {path}: einsum {equation!r}: the kernel alone has '{alone[0]}' and sums over it; sum it beforehand"
        )
    own = tuple(i for i, letter in enumerate(of_x) if letter not in of_kernel + of_y)
    if own:
        x, of_x = jnp.sum(x, axis=own), "".join(letter for i, letter in enumerate(of_x) if i not in own)
    batch = [letter for letter in of_x if letter in of_kernel and letter in of_y]
    contract = [letter for letter in of_x if letter in of_kernel and letter not in of_y]
    dims = tuple(
        tuple(tuple(operand.index(letter) for letter in some) for operand in (of_x, of_kernel))
        for some in (contract, batch)
    )
    result = (
        batch + [c for c in of_x if c not in batch + contract] + [c for c in of_kernel if c not in batch + contract]
    )
    order = tuple(result.index(letter) for letter in of_y)
    return dot_general(dims, x.ndim, kernel_shape, hardware, None if order == tuple(range(len(order))) else order), x


def _broadcast(equation: str, x: jax.Array, of_x: str, of_kernel: dict[str, int], path: str) -> jax.Array:
    """Broadcast axes of length 1 of ``x`` in the ellipsis to those of the kernel."""
    wide = [of_kernel.get(c, n) if c not in equation else n for c, n in zip(of_x, x.shape, strict=True)]
    for n, wanted in zip(x.shape, wide, strict=True):
        if n not in (1, wanted):
            raise InputError(
                f"layer {path}: einsum {equation!r}: the ellipsis has {n} entries in the input and {wanted} in the "
                f"kernel; each entry needs a separate matrix"
            )
    return x if tuple(wide) == x.shape else jnp.broadcast_to(x, wide)


def letters(equation: str, x_ndim: int, kernel_ndim: int) -> tuple[str, str, str]:
    """Return the letters of input, kernel and output; an ellipsis expands to capitals that the equation lacks."""
    operands, of_y = equation.replace(" ", "").split("->")
    of_x, of_kernel = operands.split(",")
    free = [c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if c not in equation]
    wide = {
        o: n - len(o.replace("...", "")) if "..." in o else 0 for o, n in ((of_x, x_ndim), (of_kernel, kernel_ndim))
    }
    filled = "".join(free[: max(wide.values())])  # an ellipsis names its axes from the right, as in broadcasting

    def expand(operand: str, n: int) -> str:
        return operand.replace("...", filled[len(filled) - n :])

    return expand(of_x, wide[of_x]), expand(of_kernel, wide[of_kernel]), expand(of_y, len(filled))


def explicit(equation: str) -> str:
    """Return the equation with its output; the default output is the letters that occur once, sorted."""
    equation = equation.replace(" ", "")
    if equation.count(",") != 1:
        raise InputError(f"einsum {equation!r}: must have two operands, the input and the parameter")
    if "->" in equation:
        return equation
    used = equation.replace(",", "").replace("...", "")
    rest = "".join(sorted(letter for letter in set(used) if used.count(letter) == 1))
    return f"{equation}->{'...' if '...' in equation else ''}{rest}"
