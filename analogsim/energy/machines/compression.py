"""Storage formats of sparse weights: the bits of a tensor with zeros.

n elements, z of them not zero, values of v bits, a matrix of R rows and C columns, p = bits that count to n:

    dense      n v                            CSR   z (v + bits of a column) + (R + 1) p
    bitmask    n + z v                        CSC   z (v + bits of a row) + (C + 1) p
    2:4        n / 4 (2 v + 2 * 2)            COO   z (v + bits of a row + bits of a column)
    run length ceil(pairs / 3) words of 3 (5 + v) + 1 bits, a pair for every value that is not zero and for every 32nd
               zero of a run

Run length: Eyeriss, whose 64-bit words hold three pairs of a 5-bit run and a 16-bit value and a last bit that ends the
code (Chen et al., IEEE J. Solid-State Circuits 52, 127 (2017), doi 10.1109/JSSC.2016.2616357). 2:4: two of every four
weights and where they stood (Mishra et al., arXiv 2104.08378). Counting a tensor's shape and z as known, as every
decoder does, nothing else is stored.

Memory traffic shrinks by the ratio. Whether arithmetic shrinks too is another question: a digital array may gate a
product with zero, a crossbar reads all its cells at once and converts a column unless all of it is zero.
"""

import dataclasses
import math
from typing import Any, Protocol

import numpy as np

from analogsim.base.checks import check_fraction, check_integer
from analogsim.base.errors import InputError, brief
from analogsim.base.literature import Source, cited

#: What each format's layout rests on; bitmask, CSR, CSC and COO are common knowledge.
SOURCES: dict[str, Source] = {
    "run_length": cited("chen2017", note="three 5-bit runs with 16-bit values a 64-bit word", recalled=True),
    "two_four": cited("mishra2021", note="two values and two 2-bit indices for every four weights"),
}


class StorageFormat(Protocol):
    """A storage format: the bits of an actual array, and those to expect of independent zeros."""

    def bits(self, array: Any, value_bits: float) -> float:
        """Bits that ``array`` takes, exactly. An array that is no matrix is one of rows along its last axis."""

    def expected_bits(self, n: int | tuple[int, ...], density: float, value_bits: float) -> float:
        """Mean bits of n elements (or of that shape) of which each is not zero with probability ``density``."""


def ratio(storage: StorageFormat, array: Any, value_bits: float) -> float:
    """Return the compression ratio of ``array`` against dense; below one if the format costs more than it saves.

    Raises:
      InputError: for an empty array, one that is not of numbers, or one the format cannot hold.

    Example:
      >>> ratio(Bitmask(), np.array([0, 0, 0, 5]), value_bits=16)
      3.2
    """
    return Dense().bits(array, value_bits) / storage.bits(array, value_bits)


def expected_ratio(storage: StorageFormat, n: int | tuple[int, ...], density: float, value_bits: float) -> float:
    """Return the expected compression ratio of n elements, each nonzero with probability ``density``.

    Example:
      >>> round(expected_ratio(RunLength(), 10**6, 0.25, value_bits=16), 1)
      3.0
    """
    return Dense().expected_bits(n, density, value_bits) / storage.expected_bits(n, density, value_bits)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dense:
    """Every value, zero or not: n v bits.

    Example:
      >>> Dense().bits(np.zeros((4, 8)), value_bits=16)
      512
    """

    def bits(self, array: Any, value_bits: float) -> float:
        """n v."""
        return _nonzero(array).size * _value_bits(value_bits)

    def expected_bits(self, n: int | tuple[int, ...], density: float, value_bits: float) -> float:
        """The same: a zero takes as much as any value."""
        _density(density)
        return math.prod(_shape(n)) * _value_bits(value_bits)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bitmask:
    """One bit an element that says whether it is zero, then the others: n + z v bits.

    Example:
      >>> Bitmask().bits(np.array([0, 0, 0, 5]), value_bits=16)
      20
    """

    def bits(self, array: Any, value_bits: float) -> float:
        """n + z v."""
        nonzero = _nonzero(array)
        return nonzero.size + _count(nonzero) * _value_bits(value_bits)

    def expected_bits(self, n: int | tuple[int, ...], density: float, value_bits: float) -> float:
        """n + n density v."""
        size = math.prod(_shape(n))
        return size + size * _density(density) * _value_bits(value_bits)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CSR:
    """Compressed sparse rows: values with their columns, and where every row begins: z (v + c) + (R + 1) p bits.

    Example:
      >>> CSR().bits(np.array([[0, 0, 0, 5], [0, 6, 0, 0]]), value_bits=16)  # 2 * (16 + 2) + 3 * 4
      48
    """

    def bits(self, array: Any, value_bits: float) -> float:
        """z (v + c) + (R + 1) p."""
        nonzero = _nonzero(array)
        return _by_rows(*_matrix(nonzero.shape), _count(nonzero), value_bits)

    def expected_bits(self, n: int | tuple[int, ...], density: float, value_bits: float) -> float:
        """The same with z = n density; a plain n is one row."""
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
        """z (v + r) + (C + 1) p."""
        nonzero = _nonzero(array)
        return CSR().bits(nonzero.reshape(_matrix(nonzero.shape)).T, value_bits)

    def expected_bits(self, n: int | tuple[int, ...], density: float, value_bits: float) -> float:
        """The same with z = n density; a plain n is one row."""
        rows, columns = _matrix(_shape(n))
        return CSR().expected_bits((columns, rows), density, value_bits)


@dataclasses.dataclass(frozen=True, kw_only=True)
class COO:
    """Coordinates: every value with its row and its column: z (v + r + c) bits.

    Example:
      >>> COO().bits(np.array([[0, 0, 0, 5], [0, 6, 0, 0]]), value_bits=16)  # 2 * (16 + 1 + 2)
      38
    """

    def bits(self, array: Any, value_bits: float) -> float:
        """z (v + r + c)."""
        nonzero = _nonzero(array)
        return _count(nonzero) * _with_coordinates(nonzero.shape, value_bits)

    def expected_bits(self, n: int | tuple[int, ...], density: float, value_bits: float) -> float:
        """The same with z = n density; a plain n is one row."""
        shape = _shape(n)
        return math.prod(shape) * _density(density) * _with_coordinates(shape, value_bits)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunLength:
    """Pairs of (how many zeros, the value after them), packed into words with one bit that ends the code.

    A pair's value may be a zero: so a run that is too long for its bits goes on in the next pair, and so the zeros at
    the end are stored. With values of 16 bits a word has the 64 bits of Eyeriss.

    Attributes:
      run_bits: of a run; 5 hold up to 31 zeros.
      pairs_per_word: pairs that share a word. The last word is sent whole, however many it holds.

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
        """How many pairs ``array`` takes, its elements in C order."""
        nonzero = _nonzero(array).reshape(-1)
        where = np.flatnonzero(nonzero)
        period = 2**self.run_bits  # a pair of the longest run and a zero stands for so many zeros
        runs = np.diff(where, prepend=-1) - 1
        trailing = nonzero.size - 1 - (int(where[-1]) if where.size else -1)
        return where.size + int(np.sum(runs // period)) + math.ceil(trailing / period)

    def bits(self, array: Any, value_bits: float) -> float:
        """Whole words for all the pairs of ``array``."""
        return math.ceil(self.pairs(array) / self.pairs_per_word) * self._word_bits(value_bits)

    def expected_bits(self, n: int | tuple[int, ...], density: float, value_bits: float) -> float:
        """Mean of a long array: n density / (1 - (1 - density)^32) pairs, a third of a word each.

        A pair ends at the first value that is not zero or at the 32nd zero: it covers (1 - (1 - density)^32) / density
        elements on average. Exact per element for large n; a short array adds up to one word for its end.
        """
        size = math.prod(_shape(n))
        period = 2**self.run_bits
        if _density(density) == 0:
            pairs = size / period
        elif density == 1:
            pairs = size
        else:
            pairs = size * density / -math.expm1(period * math.log1p(-density))
        return pairs * self._word_bits(value_bits) / self.pairs_per_word

    def _word_bits(self, value_bits: float) -> float:
        return self.pairs_per_word * (self.run_bits + _value_bits(value_bits)) + 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class TwoFour:
    """Of every four neighbours at most two are not zero; two values and their places are stored: n / 4 (2 v + 4) bits.

    A group with fewer stores zeros: the size does not depend on the values.

    Attributes:
      axis: along which four neighbours make a group; the last but one is the inputs of ``[n_in, n_out]``, over which a
        product sums. A vector has only one.

    Example:
      >>> TwoFour().bits(np.array([0, 3, 0, 5, 0, 0, 0, 6]), value_bits=16)
      72
    """

    axis: int = -2

    def bits(self, array: Any, value_bits: float) -> float:
        """n / 4 (2 v + 4); refuses an array that is not 2:4 and names its first group that is not."""
        nonzero = _nonzero(array)
        axis = self._axis(nonzero.shape)
        along = np.moveaxis(nonzero, axis, -1)
        counts = along.reshape(*along.shape[:-1], -1, 4).sum(axis=-1)
        if (counts > 2).any():
            *others, group = (int(i) for i in np.argwhere(counts > 2)[0])
            where = [str(i) for i in others]
            where.insert(axis, f"{4 * group}:{4 * group + 4}")
            raise InputError(
                f"TwoFour: the group [{', '.join(where)}] has {counts[(*others, group)]} values that are not zero; "
                "an array is 2:4 where every four neighbours along the axis have at most 2"
            )
        return nonzero.size // 4 * (2 * _value_bits(value_bits) + 4)

    def expected_bits(self, n: int | tuple[int, ...], density: float, value_bits: float) -> float:
        """The same for every density up to a half; an array that is denser cannot be 2:4."""
        shape = _shape(n)
        self._axis(shape)
        if _density(density) > 0.5:
            raise InputError(f"density = {density!r}: a 2:4 array has a density of at most 0.5")
        return math.prod(shape) // 4 * (2 * _value_bits(value_bits) + 4)

    def _axis(self, shape: tuple[int, ...]) -> int:
        """The axis of the groups, counted from the front."""
        axis = 0 if len(shape) == 1 else self.axis
        if not -len(shape) <= axis < len(shape):
            raise InputError(f"TwoFour.axis = {axis!r}: must be an axis of the array, whose shape is {shape}")
        if shape[axis] % 4:
            raise InputError(f"TwoFour: the shape {shape} has {shape[axis]} along axis {axis}; must be a multiple of 4")
        return axis % len(shape)


#: Every format with its usual settings, by name.
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
    """Where ``array`` is not zero; a vector at least."""
    values = np.atleast_1d(np.asarray(array))
    if values.size == 0 or values.dtype.kind not in "biufcV" or values.dtype.names:  # V: bfloat16 and its like
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
        raise InputError(f"n = {n!r}: must be a number of elements or a shape, of integers of at least 1")
    return tuple(int(length) for length in shape)


def _matrix(shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns: the last axis is the columns, all others together the rows; a vector is one row."""
    return math.prod(shape[:-1]), shape[-1]


def _index_bits(values: int) -> int:
    """Bits that tell so many values apart."""
    return (values - 1).bit_length()


def _by_rows(rows: int, columns: int, count: float, value_bits: float) -> float:
    """z (v + c) + (R + 1) p; a pointer may take any value from 0 to R C."""
    return count * (_value_bits(value_bits) + _index_bits(columns)) + (rows + 1) * _index_bits(rows * columns + 1)


def _with_coordinates(shape: tuple[int, ...], value_bits: float) -> float:
    return _value_bits(value_bits) + sum(map(_index_bits, _matrix(shape)))
