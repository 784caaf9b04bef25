"""Products of complex numbers on tiles, whose voltages and currents are real."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from analogsim.base.dtypes import wide
from analogsim.base.errors import InputError
from analogsim.signal_path.hardware_spec import TileHardware
from analogsim.signal_path.operators.convolution import Convolution, GroupedConvolution, with_channels
from analogsim.signal_path.operators.operator import Operator
from analogsim.signal_path.operators.product import MatrixProduct
from analogsim.signal_path.operators.stack import Stack


def for_numbers(
    operator: Operator | Stack, x: jax.Array, kernel: jax.Array, path: str, hardware: TileHardware
) -> Operator | Stack:
    """Return the operator itself for real numbers; for complex ones, the same product on a real matrix.

    Args:
      operator: the operator of the layer.
      x: its input.
      kernel: its kernel.
      path: path of the layer, for messages.
      hardware: the hardware of the kernel.

    Raises:
      InputError: for complex matrices along batch axes, and rows of a complex table.
    """
    done = isinstance(operator, (ComplexProduct, ComplexConvolution, ComplexGroupedConvolution))
    if done or not (jnp.iscomplexobj(x) or jnp.iscomplexobj(kernel)):
        return operator
    if isinstance(operator, (Convolution, GroupedConvolution)):
        has_complex_kernel = jnp.iscomplexobj(kernel)
        real = with_channels(operator, 2, hardware) if has_complex_kernel else operator
        kind = ComplexConvolution if isinstance(operator, Convolution) else ComplexGroupedConvolution
        return kind(operator, real, has_complex_kernel)
    if not isinstance(operator, MatrixProduct):
        raise InputError(
            f"layer {path}: dtype {kernel.dtype}: a {type(operator).__name__} must be real on analog hardware"
        )
    return ComplexProduct(operator, jnp.iscomplexobj(kernel))


def real_matrix(matrix: jax.Array) -> jax.Array:
    """Return a matrix of real numbers with the same products.

    Args:
      matrix: ``[..., n_in, n_out]``.

    Returns:
      A real matrix itself; a complex one C + iD as [[C, D], [-D, C]], ``[..., 2 n_in, 2 n_out]``.
    """
    if not jnp.iscomplexobj(matrix):
        return matrix
    # Inputs are row vectors: (a, b) [[C, D], [-D, C]] = (a C - b D, a D + b C), the parts of (a + ib)(C + iD).
    of_real = jnp.concatenate([matrix.real, matrix.imag], axis=-1)
    of_imaginary = jnp.concatenate([-matrix.imag, matrix.real], axis=-1)
    return jnp.concatenate([of_real, of_imaginary], axis=-2)


@dataclasses.dataclass(frozen=True)
class ComplexProduct:
    """A matrix product of complex numbers on real tiles.

    A complex kernel takes four times the cells: (Re x, Im x) drives the rows of [[Re W, Im W], [-Im W, Re W]]. Complex
    inputs of a real kernel are two vectors, read in sequence.
    """

    of: MatrixProduct
    complex_kernel: bool

    tile_rows = None

    def inputs(self, x):
        x = self.of.inputs(x)
        join = jnp.concatenate if self.complex_kernel else jnp.stack
        return join([x.real, x.imag], axis=-1 if self.complex_kernel else 0)

    def matrix(self, kernel):
        return real_matrix(self.of.matrix(kernel))

    def parts(self, x, r, unfold=False):
        return self.of.parts(x, r, unfold)

    def product(self, part, tile, precision):
        return self.of.product(part, tile, precision)

    def outputs(self, y):
        y = wide(y)  # there is no complex number of half precision
        real, imaginary = jnp.split(y, 2, axis=-1) if self.complex_kernel else (y[0], y[1])
        return self.of.outputs(jax.lax.complex(real, imaginary))

    def example_axes(self, x):
        return (-1,)

    def vectors(self, x):
        return math.prod(x.shape[:-1])

    def digital(self, x, kernel, precision):
        return self.of.digital(x, kernel, precision)


@dataclasses.dataclass(frozen=True)
class ComplexConvolution:
    """A convolution of complex numbers on real tiles.

    With a complex kernel, images of twice as many channels, (Re x, Im x) in each group, are convolved with the kernel
    [[Re K, Im K], [-Im K, Re K]] along its channels and features. Complex images of a real kernel are two images.
    """

    of: Any
    real: Any
    complex_kernel: bool

    @property
    def _groups(self) -> int:
        return sum(self.of.members) if isinstance(self.of, GroupedConvolution) else 1

    @property
    def tile_rows(self):
        return self.real.tile_rows

    def rows_in_use(self):
        return self.real.rows_in_use()

    def inputs(self, x):
        if not self.complex_kernel:
            return self.real.inputs(jnp.concatenate([x.real, x.imag]))
        of_groups = x.reshape(*x.shape[:-1], self._groups, -1)
        both = jnp.concatenate([of_groups.real, of_groups.imag], axis=-1)
        return self.real.inputs(both.reshape(*x.shape[:-1], -1))

    def matrix(self, kernel):
        if not self.complex_kernel:
            return self.real.matrix(kernel)
        of_groups = jnp.moveaxis(kernel.reshape(*kernel.shape[:-1], self._groups, -1), -2, 0)
        both = jnp.moveaxis(real_matrix(of_groups), 0, -2)  # [*window, 2 channels, groups, 2 features]
        return self.real.matrix(both.reshape(*both.shape[:-2], -1))

    def parts(self, x, r, unfold=False):
        return self.real.parts(x, r, unfold)

    def product(self, part, tile, precision):
        return self.real.product(part, tile, precision)

    def outputs(self, y):
        y = self.real.outputs(y)
        y = wide(y)  # there is no complex number of half precision
        if not self.complex_kernel:
            return jax.lax.complex(*jnp.split(y, 2))
        real, imaginary = jnp.split(y.reshape(*y.shape[:-1], self._groups, -1), 2, axis=-1)
        return jax.lax.complex(real, imaginary).reshape(*y.shape[:-1], -1)

    def example_axes(self, x):
        return self.real.example_axes(x)

    def vectors(self, x):
        return self.real.vectors(x)

    def digital(self, x, kernel, precision):
        return self.of.digital(x, kernel, precision)


@dataclasses.dataclass(frozen=True)
class ComplexGroupedConvolution(ComplexConvolution):
    """A grouped convolution of complex numbers on real tiles, a stack."""

    @property
    def one(self):
        return self.real.one

    @property
    def members(self):
        return self.real.members

    def member(self, groups):
        return self.real.member(groups)

    def unpadded(self, groups, x, matrix):
        return self.real.unpadded(groups, x, matrix)
