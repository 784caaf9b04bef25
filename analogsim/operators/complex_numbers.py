"""Products of complex numbers, which voltages and currents are not, on real tiles."""

import dataclasses
import math

import jax
import jax.numpy as jnp

from analogsim.devices.errors import InputError
from analogsim.operators.product import MatrixProduct
from analogsim.operators.protocol import Operator
from analogsim.operators.stack import Stack


def for_numbers(operator: Operator | Stack, x: jax.Array, kernel: jax.Array, path: str) -> Operator | Stack:
    """The operator itself for real numbers; for complex ones, the same product on a real matrix.

    Raises:
      InputError: for a complex convolution, or complex matrices along batch axes.
    """
    if not (jnp.iscomplexobj(x) or jnp.iscomplexobj(kernel)) or isinstance(operator, ComplexProduct):
        return operator
    if not isinstance(operator, MatrixProduct):
        raise InputError(
            f"layer {path}: dtype {kernel.dtype}: a {type(operator).__name__} must be real on analog hardware"
        )
    return ComplexProduct(operator, jnp.iscomplexobj(kernel))


def real_matrix(matrix: jax.Array) -> jax.Array:
    """What tiles hold of a matrix ``[..., n_in, n_out]``: itself, or its real form ``[..., 2 n_in, 2 n_out]``."""
    if not jnp.iscomplexobj(matrix):
        return matrix
    of_real = jnp.concatenate([matrix.real, matrix.imag], axis=-1)
    of_imaginary = jnp.concatenate([-matrix.imag, matrix.real], axis=-1)
    return jnp.concatenate([of_real, of_imaginary], axis=-2)


@dataclasses.dataclass(frozen=True)
class ComplexProduct:
    """A matrix product of complex numbers on real tiles.

    A complex kernel takes four times the cells: (Re x, Im x) drives the rows of [[Re W, Im W], [-Im W, Re W]]. Complex
    inputs of a real kernel are two vectors, read one after the other.
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
        y = y.astype(jnp.promote_types(y.dtype, jnp.float32))  # there is no complex number of half precision
        real, imaginary = jnp.split(y, 2, axis=-1) if self.complex_kernel else (y[0], y[1])
        return self.of.outputs(jax.lax.complex(real, imaginary))

    def example_axes(self, x):
        return (-1,)

    def vectors(self, x):
        return math.prod(x.shape[:-1])

    def digital(self, x, kernel, precision):
        return self.of.digital(x, kernel, precision)
