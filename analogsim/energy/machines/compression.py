"""Storage formats of sparse weights: the number of bits of a tensor with zeros.

For n elements of v bits, z of them nonzero, in a matrix of R rows and C columns, with p bits that can count to n:

    dense      n v                            CSR   z (v + bits of a column) + (R + 1) p
    bitmask    n + z v                        CSC   z (v + bits of a row) + (C + 1) p
    2:4        n / 4 (2 v + 2 * 2)            COO   z (v + bits of a row + bits of a column)
    run length ceil(pairs / 3) words of 3 (5 + v) + 1 bits, one pair per nonzero value and per 32nd zero of a run

Run length is the code of Eyeriss, whose 64-bit words hold three pairs of a 5-bit run and a 16-bit value, and one bit
that marks the end (Chen et al., IEEE J. Solid-State Circuits 52, 127 (2017), doi 10.1109/JSSC.2016.2616357). 2:4 stores
two of every four weights and their positions (Mishra et al., arXiv 2104.08378). The decoder knows the tensor's shape
and z; nothing else is stored.

Memory traffic shrinks by the compression ratio. Arithmetic need not: a digital array may skip products with zero, but a
crossbar reads all its cells at once, and converts a column unless all of its cells are zero.
"""

import dataclasses
import math
from typing import Any, Protocol

import numpy as np

from analogsim.base.checks import check_fraction, check_integer
from analogsim.base.errors import InputError, brief
from analogsim.base.literature import Source, cited

#: Publications of the layouts; bitmask, CSR, CSC and COO are common knowledge.
SOURCES: dict[str, Source] = {
    "run_length": cited("chen2017", note="three 5-bit runs with 16-bit values per 64-bit word", recalled=True),
    "two_four": cited("mishra2021", note="two values and two 2-bit indices for every four weights"),
}


class StorageFormat(Protocol):
    """A storage format: the exact number of bits of an array, and the expected one for independent zeros."""

    def bits(self, array: Any, value_bits: float) -> float:
        """Return the exact number of bits of ``array``, a matrix whose last axis is the columns and the rest rows."""

    def expected_bits(self, n: int | tuple[int, ...], density: float, value_bits: float) -> float:
        """Return the mean bits of n elements (or of shape n), each nonzero with probability ``density``."""


def ratio(storage: StorageFormat, array: Any, value_bits: float) -> float:
    """Return the bits of ``array`` stored dense over those in this format; below 1 if the format needs more.

    Args:
      storage: the format, a value of ``STORAGE``.
      array: any shape; only the positions of its zeros matter.
      value_bits: bits per value.

    Raises:
      InputError: for an array that is empty, not numeric, or not representable in the format.

    Example:
      >>> ratio(Bitmask(), np.array([0, 0, 0, 5]), value_bits=16)
      3.2
    """
    return Dense().bits(array, value_bits) / storage.bits(array, value_bits)


def expected_ratio(storage: StorageFormat, n: int | tuple[int, ...], density: float, value_bits: float) -> float:
    """Return the compression ratio to expect of n elements, each nonzero with probability ``density``.

    Example:
      >>> round(expected_ratio(RunLength(), 10**6, 0.25, value_bits=16), 1)
      3.0
    """
    return Dense().expected_bits(n, density, value_bits) / storage.expected_bits(n, density, value_bits)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dense:
    """Uncompressed storage of every value: n v bits.

    Example:
      >>> Dense().bits(np.zeros((4, 8)), value_bits=16)
      512
    """

    def bits(self, array: Any, value_bits: float) -> float:
        """Return n v."""
        return _nonzero(array).size * _value_bits(value_bits)

    def expected_bits(self, n: int | tuple[int, ...], density: float, value_bits: float) -> float:
        """Return n v, at any density."""
        _density(density)
        return math.prod(_shape(n)) * _value_bits(value_bits)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bitmask:
    """One bit per element that marks nonzero values, followed by these values: n + z v bits.

    Example:
      >>> Bitmask().bits(np.array([0, 0, 0, 5]), value_bits=16)
      20
    """

    def bits(self, array: Any, value_bits: float) -> float:
        """Return n + z v."""
        nonzero = _nonzero(array)
        return nonzero.size + _count(nonzero) * _value_bits(value_bits)

    def expected_bits(self, n: int | tuple[int, ...], density: float, value_bits: float) -> float:
        """Return n + n density v."""
        size = math.prod(_shape(n))
        return size + size * _density(density) * _value_bits(value_bits)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CSR:
    """Compressed sparse rows, values with column indices and row pointers: z (v + c) + (R + 1) p bits.

    Example:
      >>> CSR().bits(np.array([[0, 0, 0, 5], [0, 6, 0, 0]]), value_bits=16)  # 2 * (16 + 2) + 3 * 4
      48
    """

    def bits(self, array: Any, value_bits: float) -> float:
        """Return z (v + c) + (R + 1) p."""
        nonzero = _nonzero(array)
        return _by_rows(*_matrix(nonzero.shape), _count(nonzero), value_bits)

    def expected_bits(self, n: int | tuple[int, ...], density: float, value_bits: float) -> float:
        """Return the same with z = n density; an integer n is one row."""
        shape = _shape(n)
        return _by_rows(*_matrix(shape), math.prod(shape) * _density(density), value_bits)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CSC:
    """Compressed sparse columns: ``CSR`` of the transposed matrix.

    Example:
      >>> CSC().bits(np.array([[0, 0, 0, 5], [0, 6, 0, 0]]), value_bits=16)  # 2 * (16 + 1) + 5 * 4
      54
    """

    def bits(self, array: Any, value_bits: float) -> float:
        """Return z (v + r) + (C + 1) p."""
        nonzero = _nonzero(array)
        return CSR().bits(nonzero.reshape(_matrix(nonzero.shape)).T, value_bits)

    def expected_bits(self, n: int | tuple[int, ...], density: float, value_bits: float) -> float:
        """Return the same with z = n density; an integer n is one row."""
        rows, columns = _matrix(_shape(n))
        return CSR().expected_bits((columns, rows), density, value_bits)


@dataclasses.dataclass(frozen=True, kw_only=True)
class COO:
    """Coordinate format, values with row and column indices: z (v + r + c) bits.

    Example:
      >>> COO().bits(np.array([[0, 0, 0, 5], [0, 6, 0, 0]]), value_bits=16)  # 2 * (16 + 1 + 2)
      38
    """

    def bits(self, array: Any, value_bits: float) -> float:
        """Return z (v + r + c)."""
        nonzero = _nonzero(array)
        return _count(nonzero) * _with_coordinates(nonzero.shape, value_bits)

    def expected_bits(self, n: int | tuple[int, ...], density: float, value_bits: float) -> float:
        """Return the same with z = n density; an integer n is one row."""
        shape = _shape(n)
        return math.prod(shape) * _density(density) * _with_coordinates(shape, value_bits)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunLength:
    """Run-length code: pairs of (number of zeros, next value), packed into words with one bit that marks the end.

    The value of a pair may itself be zero, for runs that are longer than the run field can count and for trailing
    zeros. With 16-bit values a word has 64 bits, as in Eyeriss.

    Attributes:
      run_bits: bits of the run field; 5 count up to 31 zeros.
      pairs_per_word: pairs per word. The last word is stored whole even if it is not full.

    Example:
      >>> RunLength().bits(np.array([0, 0, 12, 0, 0, 0, 0, 53, 0, 0, 22]), value_bits=16)
      64
    """

    run_bits: int = 5
    pairs_per_word: int = 3

    def __post_init__(self) -> None:
        for name, value, most in (("run_bits", self.run_bits, 32), ("pairs_per_word", self.pairs_per_word, 1024)):
            check_integer(value, f"RunLength.{name}", le=most)

    def pairs(self, array: Any) -> int:
        """Return the number of pairs that encode ``array``, its elements in C order."""
        nonzero = _nonzero(array).reshape(-1)
        where = np.flatnonzero(nonzero)
        period = 2**self.run_bits  # zeros encoded by one pair of the longest run and a zero
        runs = np.diff(where, prepend=-1) - 1
        trailing = nonzero.size - 1 - (int(where[-1]) if where.size else -1)
        return where.size + int(np.sum(runs // period)) + math.ceil(trailing / period)

    def bits(self, array: Any, value_bits: float) -> float:
        """Return the bits of all words, the last one whole."""
        return math.ceil(self.pairs(array) / self.pairs_per_word) * self._word_bits(value_bits)

    def expected_bits(self, n: int | tuple[int, ...], density: float, value_bits: float) -> float:
        """Return the mean bits of a long array: n density / (1 - (1 - density)^32) pairs, a third of a word each.

        A pair ends at the first nonzero value or at the 32nd zero, so it covers (1 - (1 - density)^32) / density
        elements on average. Exact per element for large n; a short array needs up to one more word at its end.
        """
        size = math.prod(_shape(n))
        period = 2**self.run_bits
        if _density(density) == 0:
            pairs = size / period
        elif density == 1:
            pairs = size
        else:
            # 1 - (1 - density)^period; at small densities the plain difference would cancel.
            pairs = size * density / -math.expm1(period * math.log1p(-density))
        return pairs * self._word_bits(value_bits) / self.pairs_per_word

    def _word_bits(self, value_bits: float) -> float:
        return self.pairs_per_word * (self.run_bits + _value_bits(value_bits)) + 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class TwoFour:
    """2:4 structured sparsity, two values and their positions for every four neighbours: n / 4 (2 v + 4) bits.

    At most two of the four may be nonzero. A group with fewer stores zeros: the size does not depend on the values.

    Attributes:
      axis: the axis along which four neighbours form a group; the default is the inputs of ``[n_in, n_out]``, over
        which a product sums. A vector has only one axis.

    Example:
      >>> TwoFour().bits(np.array([0, 3, 0, 5, 0, 0, 0, 6]), value_bits=16)
      72
    """

    axis: int = -2

    def bits(self, array: Any, value_bits: float) -> float:
        """Return n / 4 (2 v + 4); raise ``InputError`` with the first group that has more than two nonzero values."""
        nonzero = _nonzero(array)
        axis = self._axis(nonzero.shape)
        along = np.moveaxis(nonzero, axis, -1)
        counts = along.reshape(*along.shape[:-1], -1, 4).sum(axis=-1)
        if (counts > 2).any():
            *others, group = (int(i) for i in np.argwhere(counts > 2)[0])
            index = [str(i) for i in others]
            index.insert(axis, f"{4 * group}:{4 * group + 4}")
            raise InputError(
                f"TwoFour: the group [{', '.join(index)}] has {counts[(*others, group)]} nonzero values; every four "
                "neighbours along the axis may have at most 2"
            )
        return nonzero.size // 4 * (2 * _value_bits(value_bits) + 4)

    def expected_bits(self, n: int | tuple[int, ...], density: float, value_bits: float) -> float:
        """Return n / 4 (2 v + 4) for any density up to 0.5; a denser array cannot be 2:4."""
        shape = _shape(n)
        self._axis(shape)
        if _density(density) > 0.5:
            raise InputError(f"density = {density!r}: a 2:4 array has a density of at most 0.5")
        return math.prod(shape) // 4 * (2 * _value_bits(value_bits) + 4)

    def _axis(self, shape: tuple[int, ...]) -> int:
        """Return the axis of the groups, counted from the front."""
        axis = 0 if len(shape) == 1 else self.axis
        if not -len(shape) <= axis < len(shape):
            raise InputError(f"TwoFour.axis = {axis!r}: must be an axis of the array, whose shape is {shape}")
        if shape[axis] % 4:
            raise InputError(f"TwoFour: the shape {shape} has {shape[axis]} along axis {axis}; must be a multiple of 4")
        return axis % len(shape)


#: Storage formats with their default settings, by name.
STORAGE: dict[str, StorageFormat] = {
    "dense": Dense(),
    "bitmask": Bitmask(),
    "csr": CSR(),
    "csc": CSC(),
    "coo": COO(),
    "run_length": RunLength(),
    "two_four": TwoFour(),
}


def _nonzero(array: Any) -> np.ndarray:
    values = np.atleast_1d(np.asarray(array))
    if values.size == 0 or values.dtype.kind not in "biufcV" or values.dtype.names:  # V: bfloat16 and the like
        raise InputError(f"array = {brief(array)}: must be an array of numbers with at least one element")
    return values != 0


def _count(nonzero: np.ndarray) -> int:
    return int(np.count_nonzero(nonzero))


def _value_bits(value_bits: float) -> float:
    if not (isinstance(value_bits, int | float) and 0 < value_bits <= 64):
        raise InputError(f"value_bits = {value_bits!r}: must be above 0 and at most 64 (unit: bit)")
    return value_bits


def _density(density: float) -> float:
    check_fraction(density, "density")
    return density


def _shape(n: int | tuple[int, ...]) -> tuple[int, ...]:
    shape = n if isinstance(n, tuple) else (n,)
    if not (shape and all(isinstance(length, int | np.integer) and length >= 1 for length in shape)):
        raise InputError(f"n = {n!r}: must be a number of elements or a shape, in integers >= 1")
    return tuple(int(length) for length in shape)


def _matrix(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return rows and columns: the last axis is the columns, all others together the rows; a vector is one row."""
    return math.prod(shape[:-1]), shape[-1]


def _index_bits(values: int) -> int:
    """Return the bits that distinguish this number of values."""
    # In integers: ceil(log2(n)) in floating point is wrong for some large n.
    return (values - 1).bit_length()


def _by_rows(rows: int, columns: int, count: float, value_bits: float) -> float:
    """Return z (v + c) + (R + 1) p; a pointer may take any value from 0 to R C."""
    return count * (_value_bits(value_bits) + _index_bits(columns)) + (rows + 1) * _index_bits(rows * columns + 1)


def _with_coordinates(shape: tuple[int, ...], value_bits: float) -> float:
    return _value_bits(value_bits) + sum(map(_index_bits, _matrix(shape)))
