"""How a layer's inputs meet its weight matrix: a matrix product or a convolution.

Both turn the kernel into one matrix ``[n_in, n_out]`` and multiply inputs with its tiles ``[R, C, rows, columns]``, one
row of tiles at a time, giving partial sums ``[..., C, columns]``. A convolution whose patch fits the rows of one tile
runs as a convolution: quantising the image equals quantising its patches, and nothing is unfolded.
"""

import dataclasses
import math
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax import lax

from analogsim.devices.errors import InputError
from analogsim.tiles import cut_inputs


class Operator(Protocol):
    """What the signal path needs to know of a layer."""

    def inputs(self, x: jax.Array) -> jax.Array:
        """The layer's input in the operator's own layout."""
        ...

    def matrix(self, kernel: jax.Array) -> jax.Array:
        """The kernel as ``[n_in, n_out]``."""
        ...

    def parts(self, x: jax.Array, r: int, unfold: bool = False) -> jax.Array:
        """What each of ``r`` tiles along the inputs is driven with, stacked along a new leading axis.

        ``unfold`` asks for input vectors ``[R, ..., rows]``, where a convolution of one tile would keep its image.
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


def partial_sums(operator: Operator, x: jax.Array, tiles: jax.Array, precision: Any) -> list[jax.Array]:
    """Every tile's own sums: R arrays ``[..., C, columns]`` for tiles ``[R, C, rows, columns]``."""
    parts = operator.parts(x, tiles.shape[0])
    return [operator.product(part, tile, precision) for part, tile in zip(parts, tiles, strict=True)]


def _matmul(x: jax.Array, tile: jax.Array, precision: Any) -> jax.Array:
    c, rows, columns = tile.shape
    side_by_side = tile.transpose(1, 0, 2).reshape(rows, c * columns)
    return jnp.matmul(x, side_by_side, precision=precision).reshape(*x.shape[:-1], c, columns)


def convolution(
    kernel_shape: tuple[int, ...],
    strides: Any,
    padding: Any,
    input_dilation: Any,
    kernel_dilation: Any,
    dimension_numbers: Any,
    groups: int,
    path: str,
) -> "Convolution":
    """The operator of a call to ``lax.conv_general_dilated``, or an InputError for what hardware cannot do."""
    if groups != 1:
        raise InputError(
            f"layer {path}: feature_group_count = {groups}: must be 1, convolutions in groups do not run on analog "
            f"hardware; keep this layer digital"
        )
    return Convolution(
        strides=tuple(strides),
        padding=padding if isinstance(padding, str) else tuple(map(tuple, padding)),
        input_dilation=None if input_dilation is None else tuple(input_dilation),
        kernel_dilation=None if kernel_dilation is None else tuple(kernel_dilation),
        dimension_numbers=dimension_numbers,
        window=tuple(kernel_shape[:-2]),
        channels=kernel_shape[-2],
    )


def refuse_options(options: dict[str, Any], path: str) -> None:
    """Refuse what a Flax layer passes to its matmul hook beyond what hardware can honour."""
    for name, value in options.items():
        if value is not None:
            raise InputError(f"layer {path}: {name} = {value!r} is not supported on analog hardware")


def batched(path: str) -> InputError:
    """What a layer with a matrix of its own for every entry of a batch axis is told."""
    return InputError(
        f"layer {path}: batch axes (batch_dims, batch_axis): a matrix for every batch entry does not run on analog "
        f"hardware; keep this layer digital"
    )


@dataclasses.dataclass(frozen=True)
class MatrixProduct:
    """``lax.dot_general`` without batch dimensions: the kernel's contracted axes are the matrix's rows."""

    x_contract: tuple[int, ...]
    kernel_contract: tuple[int, ...]
    x_ndim: int
    kernel_shape: tuple[int, ...]

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
        return _matmul(part, tile, precision)

    def outputs(self, y):
        return y.reshape(*y.shape[:-1], *(self.kernel_shape[d] for d in self._kernel_free))

    def example_axes(self, x):
        return (-1,)

    def vectors(self, x):
        return math.prod(x.shape[:-1])

    def digital(self, x, kernel, precision):
        dims = ((self.x_contract, self.kernel_contract), ((), ()))
        return lax.dot_general(x, kernel, dims, precision=precision)


def for_numbers(operator: Operator, x: jax.Array, kernel: jax.Array, path: str) -> Operator:
    """The operator itself for real numbers; for complex ones, the same product on a real matrix.

    Raises:
      InputError: for a complex convolution.
    """
    if not (jnp.iscomplexobj(x) or jnp.iscomplexobj(kernel)):
        return operator
    if not isinstance(operator, MatrixProduct):
        raise InputError(f"layer {path}: a convolution of dtype {kernel.dtype}: must be real on analog hardware")
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
    """A matrix product of complex numbers, which voltages and currents are not, on real tiles.

    A complex kernel takes four times the cells: (Re x, Im x) drives the rows of [[Re W, Im W], [-Im W, Re W]]. Complex
    inputs of a real kernel are two vectors, read one after the other.
    """

    of: MatrixProduct
    complex_kernel: bool

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
        return self.of.outputs(lax.complex(real, imaginary))

    def example_axes(self, x):
        return (-1,)

    def vectors(self, x):
        return math.prod(x.shape[:-1])

    def digital(self, x, kernel, precision):
        return self.of.digital(x, kernel, precision)


@dataclasses.dataclass(frozen=True)
class Convolution:
    """``lax.conv_general_dilated`` with channels last and kernel ``[*window, n_channels, n_out]``."""

    strides: tuple[int, ...]
    padding: Any
    input_dilation: tuple[int, ...] | None
    kernel_dilation: tuple[int, ...] | None
    dimension_numbers: Any
    window: tuple[int, ...]
    channels: int

    def inputs(self, x):
        return x

    def matrix(self, kernel):
        return kernel.reshape(-1, kernel.shape[-1])

    def parts(self, x, r, unfold=False):
        if r == 1 and not unfold and math.prod(self.window) > 1:
            return x[None]
        return cut_inputs(self._patches(x), r)

    def product(self, part, tile, precision):
        c, rows, columns = tile.shape
        if part.shape[-1] == rows:  # unfolded: an image would have fewer channels than a patch has entries
            return _matmul(part, tile, precision)
        kernel = tile.transpose(1, 0, 2).reshape(*self.window, self.channels, c * columns)
        y = self.digital(part, kernel, precision)
        return y.reshape(*y.shape[:-1], c, columns)

    def _patches(self, x):
        """``[batch, *positions, n_in]`` with the rows in the matrix's order (window first, then channel)."""
        patches = lax.conv_general_dilated_patches(
            x, self.window, self.strides, self.padding, self.input_dilation, self.kernel_dilation,
            dimension_numbers=self.dimension_numbers, precision=lax.Precision.HIGHEST,
        )  # fmt: skip
        shape = patches.shape[:-1]
        return patches.reshape(*shape, self.channels, -1).swapaxes(-1, -2).reshape(*shape, -1)

    def outputs(self, y):
        return y

    def example_axes(self, x):
        return tuple(range(1, x.ndim))

    def vectors(self, x):
        window = (*self.window, self.channels, 1)
        kernel = jax.ShapeDtypeStruct(window, x.dtype)
        return math.prod(jax.eval_shape(lambda a, k: self.digital(a, k, None), x, kernel).shape)

    def digital(self, x, kernel, precision):
        return lax.conv_general_dilated(
            x, kernel, self.strides, self.padding, self.input_dilation, self.kernel_dilation,
            dimension_numbers=self.dimension_numbers, precision=precision,
        )  # fmt: skip
