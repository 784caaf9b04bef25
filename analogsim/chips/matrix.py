"""Products with a matrix and with its transpose on programmed tiles, outside of any network.

    forward     x -> X x      [..., d] to [..., P]       an array that holds X^T, inputs by outputs
    transposed  a -> X^T a    [..., P] to [..., d]       a second array, that holds X

Each array is written, calibrated, aged and read as a layer's is; both together hold 2 P d weights. One array read in
both directions would hold half of them; it is not modelled: the digital scales of its columns and the converters at
its edges serve one direction.
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

_CALIBRATED = 512  # unit vectors at most, from which the ranges of the transposed product are taken


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class ProgrammedMatrix(ByValue):
    """A product with one programmed matrix: called with ``[..., n_in]`` and the key of this call's noise. A pytree.

    Attributes:
      cells: the matrix as it was written, fixed for life.
      array: what its tiles hold at one age.
      ranges: of the converters.
    """

    cells: ProgrammedTiles
    array: ChipArray
    ranges: Ranges

    def __call__(self, x: jax.Array, key: jax.Array | None = None) -> jax.Array:
        if key is None and is_random(self.array.hardware, self.array.reading):
            raise InputError(
                "key = None: these arrays draw noise whenever they are read; give the product a random key, of a "
                "memory by retrieve(query, key=...)"
            )
        if jnp.ndim(x) < 1 or jnp.shape(x)[-1] != self.cells.n_in:
            raise InputError(f"x of shape {jnp.shape(x)}: must be [..., {self.cells.n_in}]")
        return multiply(self.array.hardware, self.array.reading, jnp.asarray(x), Vectors(), key=key, ranges=self.ranges)

    def at(self, time: Any, compensation: str | None = None) -> "ProgrammedMatrix":
        """The same array at another age; arguments as of ``Chip.at``."""
        time_s = check_time(time, self.cells)
        check_compensation(compensation)
        array = ChipArray.read(self.cells, time_s, compensation)
        check_solved(array)
        return dataclasses.replace(self, array=array)


class ProgrammedPair(NamedTuple):
    """A matrix and its transpose on two arrays: the pair ``products=`` of ``DenseAssociativeMemory``.

    Attributes:
      forward: X x.
      transposed: X^T a.
    """

    forward: ProgrammedMatrix
    transposed: ProgrammedMatrix

    def at(self, time: Any, compensation: str | None = None) -> "ProgrammedPair":
        """The same arrays at another age; arguments as of ``Chip.at``."""
        return ProgrammedPair(*(product.at(time, compensation) for product in self))


def program_matrix(
    matrix: jax.Array, hardware: Hardware, *, key: jax.Array, inputs: jax.Array, weights: jax.Array | None = None
) -> ProgrammedPair:
    """Program a matrix and its transpose, each on an array of its own, with converter ranges from data.

    Args:
      matrix: X, ``[P, d]``, for example the patterns of a memory.
      hardware: of both arrays.
      key: of fabrication and writing.
      inputs: what the forward product is given, ``[n, d]``: its converters' ranges are taken from them.
      weights: what the transposed product is given, ``[n, P]``, likewise; None: single rows of X.

    Returns:
      The two products right after programming; ``.at("1 day")`` ages them. What they give has the dtype of their
      input, float32 for whole numbers and truth values.

    Raises:
      InputError: for a matrix that is none, or samples that do not fit it.

    Example:
      >>> from analogsim import preset
      >>> from analogsim.devices import DenseAssociativeMemory
      >>> patterns = jax.random.normal(jax.random.key(0), (50, 64)) / 8
      >>> noisy = patterns + 0.05 * jax.random.normal(jax.random.key(1), (50, 64))
      >>> held = program_matrix(patterns, preset("pcm"), key=jax.random.key(2), inputs=noisy)
      >>> memory = DenseAssociativeMemory(patterns, products=held.at("1 day"))
      >>> bool(jnp.all(memory.nearest(noisy, key=jax.random.key(3)) == jnp.arange(50)))
      True
    """
    matrix = wide(matrix)
    if matrix.ndim != 2:
        raise InputError(f"matrix of shape {matrix.shape}: must be [P, d]")
    check_one_key(key)
    n_rows, n_columns = matrix.shape
    if weights is None:
        weights = jnp.eye(n_rows, dtype=matrix.dtype)[:_CALIBRATED]
    for name, sample, width in (("inputs", inputs, n_columns), ("weights", weights, n_rows)):
        if jnp.ndim(sample) != 2 or jnp.shape(sample)[1] != width:
            raise InputError(f"{name} of shape {jnp.shape(sample)}: must be [n, {width}] for a matrix {matrix.shape}")
    return ProgrammedPair(
        _programmed(matrix.T, hardware, stream(key, "forward"), inputs),
        _programmed(matrix, hardware, stream(key, "transposed"), weights),
    )


def _programmed(kernel: jax.Array, hardware: Hardware, key: jax.Array, sample: jax.Array) -> ProgrammedMatrix:
    layer = AnalogDense(kernel.shape[1], use_bias=False, hardware=hardware)
    found = calibrate(layer, {"params": {"kernel": kernel}}, sample)["ranges"]["analog"]
    # Not the layer's own programming: there the hardware's numbers are part of what is compiled.
    cells = programmed.program(hardware, kernel, key)
    check_finite(cells)
    array = ChipArray.read(cells, 0.0)
    check_solved(array)
    return ProgrammedMatrix(cells, array, Ranges(found["input"], found["output"], middle=found.get("middle")))
