"""Products with a matrix X ``[P, d]`` and its transpose on programmed tiles, outside of a network.

    forward     x -> X x      [..., d] to [..., P]       on an array that holds X^T, inputs by outputs
    transposed  a -> X^T a    [..., P] to [..., d]       on a second array, which holds X

Each array is programmed, calibrated, aged and read like that of a layer; together they hold 2 P d weights. One array
that is read in both directions would hold half of that. It is not modelled, because the digital scales of its columns
and the converters at its edges serve one direction.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from analogsim.base.dtypes import wide
from analogsim.base.equality import ByValue
from analogsim.base.errors import InputError
from analogsim.base.random import check_one_key, stream
from analogsim.chips.calibration import calibrate
from analogsim.chips.chip import check_compensation, check_finite, check_solved, check_time
from analogsim.hardware.hardware import Hardware
from analogsim.linen import AnalogDense
from analogsim.signal_path import programmed
from analogsim.signal_path.operators.stack import Vectors
from analogsim.signal_path.path import multiply
from analogsim.signal_path.programmed import ChipArray, ProgrammedTiles
from analogsim.signal_path.ranges import Ranges
from analogsim.signal_path.tile_row import is_random

_MAX_UNIT_VECTORS = 512  # that calibrate the transposed product without a sample


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class ProgrammedMatrix(ByValue):
    """The product with one programmed matrix ``[n_in, n_out]``, read at one time. A callable pytree.

    Attributes:
      cells: the programmed tiles, which do not change after programming.
      array: the reading of the tiles at one time.
      ranges: calibrated ranges of the converters.

    Example:
      >>> from analogsim import preset
      >>> x_matrix = jnp.array([[1.0, 2.0, 0.0], [0.0, 1.0, 3.0]])
      >>> pair = program_matrix(x_matrix, preset("ideal"), key=jax.random.key(0), inputs=jnp.eye(3))
      >>> pair.forward(jnp.array([1.0, 1.0, 1.0])).tolist()
      [3.0, 4.0]
    """

    cells: ProgrammedTiles
    array: ChipArray
    ranges: Ranges

    def __call__(self, x: jax.Array, key: jax.Array | None = None) -> jax.Array:
        """Return the product ``[..., n_out]``.

        Args:
          x: input vectors, ``[..., n_in]``.
          key: random key of this call's noise; None only for arrays without noise.

        Raises:
          InputError: for another shape, or if the key is required and None.
        """
        if key is None and is_random(self.array.hardware, self.array.reading):
            raise InputError(
                "key = None: these arrays draw noise at every read; pass a random key, for an associative memory with "
                "retrieve(query, key=...)"
            )
        if jnp.ndim(x) < 1 or jnp.shape(x)[-1] != self.cells.n_in:
            raise InputError(f"x of shape {jnp.shape(x)}: must be [..., {self.cells.n_in}]")
        return multiply(self.array.hardware, self.array.reading, jnp.asarray(x), Vectors(), key=key, ranges=self.ranges)

    def at(self, time: Any, compensation: str | None = None) -> "ProgrammedMatrix":
        """Return the same array, read at another time; arguments and errors as in ``Chip.at``."""
        time_s = check_time(time, self.cells)
        check_compensation(compensation)
        array = ChipArray.read(self.cells, time_s, compensation)
        check_solved(array)
        return dataclasses.replace(self, array=array)


class ProgrammedPair(NamedTuple):
    """Products with a matrix and its transpose on two arrays, for ``DenseAssociativeMemory(products=...)``.

    Attributes:
      forward: x -> X x, ``[..., d]`` to ``[..., P]``.
      transposed: a -> X^T a, ``[..., P]`` to ``[..., d]``.

    Example:
      >>> from analogsim import preset
      >>> x_matrix = jnp.array([[1.0, 2.0, 0.0], [0.0, 1.0, 3.0]])
      >>> pair = program_matrix(x_matrix, preset("ideal"), key=jax.random.key(0), inputs=jnp.eye(3))
      >>> pair.at("1 day").transposed(jnp.array([1.0, 1.0])).tolist()
      [1.0, 3.0, 3.0]
    """

    forward: ProgrammedMatrix
    transposed: ProgrammedMatrix

    def at(self, time: Any, compensation: str | None = None) -> "ProgrammedPair":
        """Return the same arrays, read at another time; arguments and errors as in ``Chip.at``."""
        return ProgrammedPair(*(product.at(time, compensation) for product in self))


def program_matrix(
    matrix: jax.Array, hardware: Hardware, *, key: jax.Array, inputs: jax.Array, weights: jax.Array | None = None
) -> ProgrammedPair:
    """Program a matrix and its transpose, each on a separate array, with converter ranges from data.

    Args:
      matrix: X, ``[P, d]``, for example the patterns of an associative memory.
      hardware: hardware of both arrays.
      key: random key of fabrication and programming.
      inputs: representative inputs of the forward product, ``[n, d]``, which calibrate its converters.
      weights: representative inputs of the transposed product, ``[n, P]``; None for unit vectors, which select rows.

    Returns:
      The two products right after programming; ``.at("1 day")`` ages them. Results have the dtype of the input, or
      float32 for integers and Booleans.

    Raises:
      InputError: if ``matrix`` is not ``[P, d]``, a sample does not fit it, or a value is not finite.

    Example:
      >>> from analogsim import preset
      >>> from analogsim.devices import DenseAssociativeMemory
      >>> patterns = jax.random.normal(jax.random.key(0), (50, 64)) / 8
      >>> noisy = patterns + 0.05 * jax.random.normal(jax.random.key(1), (50, 64))
      >>> pair = program_matrix(patterns, preset("pcm"), key=jax.random.key(2), inputs=noisy)
      >>> memory = DenseAssociativeMemory(patterns, products=pair.at("1 day"))
      >>> bool(jnp.all(memory.nearest(noisy, key=jax.random.key(3)) == jnp.arange(50)))
      True
    """
    matrix = wide(matrix)
    if matrix.ndim != 2:
        raise InputError(f"matrix of shape {matrix.shape}: must be [P, d]")
    check_one_key(key)
    n_rows, n_columns = matrix.shape
    if weights is None:
        weights = jnp.eye(n_rows, dtype=matrix.dtype)[:_MAX_UNIT_VECTORS]
    for name, sample, width in (("inputs", inputs, n_columns), ("weights", weights, n_rows)):
        if jnp.ndim(sample) != 2 or jnp.shape(sample)[1] != width:
            raise InputError(f"{name} of shape {jnp.shape(sample)}: must be [n, {width}] for a matrix {matrix.shape}")
    return ProgrammedPair(
        _programmed(matrix.T, hardware, stream(key, "forward"), inputs),
        _programmed(matrix, hardware, stream(key, "transposed"), weights),
    )


def _programmed(kernel: jax.Array, hardware: Hardware, key: jax.Array, sample: jax.Array) -> ProgrammedMatrix:
    layer = AnalogDense(kernel.shape[1], use_bias=False, hardware=hardware)
    ranges = calibrate(layer, {"params": {"kernel": kernel}}, sample)["ranges"]["analog"]
    # Tiles are programmed without the layer, in which the hardware's numbers are constants of the compiled program.
    cells = programmed.program(hardware, kernel, key)
    check_finite(cells)
    array = ChipArray.read(cells, 0.0)
    check_solved(array)
    return ProgrammedMatrix(cells, array, Ranges(ranges["input"], ranges["output"], middle=ranges.get("middle")))
