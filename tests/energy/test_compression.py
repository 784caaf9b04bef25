"""Sparse storage against encoders that write the bits out, decoders that read them back, and published ratios."""

import itertools
import math

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analogsim import InputError
from analogsim.energy import STORAGE
from analogsim.energy.machines import compression
from analogsim.energy.machines.compression import COO, CSC, CSR, Bitmask, Dense, RunLength, TwoFour

V = 4  #: bits of a value in the bit strings


def put(number, bits):
    """A number as so many binary digits."""
    assert 0 <= number < 2**bits
    return f"{number:0{bits}b}" if bits else ""


class Reader:
    """Takes numbers off a bit string; at the end nothing may be left."""

    def __init__(self, text):
        self.text, self.at = text, 0

    def take(self, bits):
        piece = self.text[self.at : self.at + bits]
        assert len(piece) == bits
        self.at += bits
        return int(piece, 2) if bits else 0

    def done(self):
        return self.at == len(self.text)


def width(values):
    """Smallest number of bits with as many codes as values, counted up."""
    return next(bits for bits in range(64) if 2**bits >= values)


# --- encoders and decoders -------------------------------------------------------------------------------------------


def encode_bitmask(matrix):
    flat = matrix.ravel().tolist()
    return "".join("1" if x else "0" for x in flat) + "".join(put(x, V) for x in flat if x)


def decode_bitmask(text, shape, count):
    reader = Reader(text)
    mask = [reader.take(1) for _ in range(math.prod(shape))]
    flat = [reader.take(V) if bit else 0 for bit in mask]
    assert reader.done()
    return np.reshape(flat, shape)


def encode_csr(matrix):
    rows, columns = matrix.shape
    pointers, body = [0], ""
    for row in matrix.tolist():
        kept = [(column, x) for column, x in enumerate(row) if x]
        body += "".join(put(column, width(columns)) + put(x, V) for column, x in kept)
        pointers.append(pointers[-1] + len(kept))
    return "".join(put(p, width(rows * columns + 1)) for p in pointers) + body


def decode_csr(text, shape, count):
    rows, columns = shape
    reader, matrix = Reader(text), np.zeros(shape, int)
    pointers = [reader.take(width(rows * columns + 1)) for _ in range(rows + 1)]
    for row, (start, end) in enumerate(itertools.pairwise(pointers)):
        for _ in range(end - start):
            column = reader.take(width(columns))
            matrix[row, column] = reader.take(V)
    assert reader.done()
    return matrix


def encode_coo(matrix):
    rows, columns = matrix.shape
    return "".join(
        put(i, width(rows)) + put(j, width(columns)) + put(int(matrix[i, j]), V)
        for i in range(rows)
        for j in range(columns)
        if matrix[i, j]
    )


def decode_coo(text, shape, count):
    reader, matrix = Reader(text), np.zeros(shape, int)
    for _ in range(count):
        i, j = reader.take(width(shape[0])), reader.take(width(shape[1]))
        matrix[i, j] = reader.take(V)
    assert reader.done()
    return matrix


def encode_run_length(flat, run_bits=5, per_word=3, v=V):
    pairs, run = [], 0
    for position, x in enumerate(flat):
        if x == 0 and run < 2**run_bits - 1 and position < len(flat) - 1:
            run += 1
        else:
            pairs.append((run, x))
            run = 0
    words = [pairs[i : i + per_word] for i in range(0, len(pairs), per_word)]
    text = ""
    for i, word in enumerate(words):
        filled = word + [(0, 0)] * (per_word - len(word))
        text += "".join(put(r, run_bits) + put(x, v) for r, x in filled) + ("1" if i == len(words) - 1 else "0")
    return text


def decode_run_length(text, n, run_bits=5, per_word=3, v=V):
    reader, flat, last = Reader(text), [], 0
    while not last:
        for _ in range(per_word):
            run = reader.take(run_bits)
            flat += [0] * run + [reader.take(v)]
        last = reader.take(1)
    assert reader.done()
    return flat[:n]  # what fills the last word lies beyond the known end


def encode_two_four(vector):
    text = ""
    for group in np.reshape(vector, (-1, 4)).tolist():
        kept = [i for i in range(4) if group[i]]
        kept += [i for i in range(4) if not group[i]][: 2 - len(kept)]
        text += "".join(put(group[i], V) + put(i, 2) for i in kept)
    return text


def decode_two_four(text, n):
    reader, flat = Reader(text), []
    for _ in range(n // 4):
        group = [0] * 4
        for _ in range(2):
            x = reader.take(V)
            group[reader.take(2)] = x
        flat += group
    assert reader.done()
    return flat


# --- exact bits, by writing them out ---------------------------------------------------------------------------------

VALUES = st.one_of(st.just(0), st.integers(0, 2**V - 1))


@st.composite
def matrices(draw):
    rows, columns = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    return np.reshape(draw(st.lists(VALUES, min_size=rows * columns, max_size=rows * columns)), (rows, columns))


@pytest.mark.parametrize(
    ("storage", "encode", "decode", "transposed"),
    [
        (Bitmask(), encode_bitmask, decode_bitmask, False),
        (CSR(), encode_csr, decode_csr, False),
        (CSC(), encode_csr, decode_csr, True),
        (COO(), encode_coo, decode_coo, False),
    ],
    ids=["bitmask", "csr", "csc", "coo"],
)
@given(matrix=matrices())
def test_bits_are_those_that_an_encoder_writes(storage, encode, decode, transposed, matrix):
    written = matrix.T if transposed else matrix
    text = encode(written)
    assert np.array_equal(decode(text, written.shape, np.count_nonzero(matrix)), written)
    assert storage.bits(matrix, V) == len(text)
    assert storage.bits(matrix.astype(float), V) == len(text)
    # Linear in the number of values that are not zero: the mean is exact.
    assert storage.expected_bits(matrix.shape, np.count_nonzero(matrix) / matrix.size, V) == pytest.approx(len(text))


SEQUENCES = st.lists(st.tuples(st.integers(0, 100), VALUES), min_size=1, max_size=12).map(
    lambda runs: list(itertools.chain.from_iterable([0] * zeros + [x] for zeros, x in runs))
)


@given(SEQUENCES, st.integers(1, 6), st.integers(1, 4))
def test_run_length_writes_every_run(flat, run_bits, per_word):
    text = encode_run_length(flat, run_bits, per_word)
    assert decode_run_length(text, len(flat), run_bits, per_word) == flat
    assert RunLength(run_bits=run_bits, pairs_per_word=per_word).bits(np.array(flat), V) == len(text)


@pytest.mark.parametrize(
    ("zeros", "pairs"),
    [(0, 1), (31, 1), (32, 2), (63, 2), (64, 3)],  # one pair holds 31 zeros and a value, which may be the 32nd zero
)
def test_a_long_run_takes_more_pairs(zeros, pairs):
    assert RunLength().pairs(np.array([0] * zeros + [7])) == pairs


def test_trailing_zeros_are_stored():
    assert [RunLength().pairs(np.zeros(n)) for n in (1, 32, 33, 64, 65)] == [1, 1, 2, 2, 3]
    assert RunLength().pairs(np.array([5, 0])) == 2


def test_eyeriss_word_has_64_bits():
    flat = [0, 0, 12, 0, 0, 0, 0, 53, 0, 0, 22]
    assert len(encode_run_length(flat, v=16)) == RunLength().bits(np.array(flat), 16) == 64
    assert RunLength().bits(np.ones(4), 16) == 128  # a fourth pair opens a second word


@st.composite
def two_four_vectors(draw):
    groups = draw(st.lists(st.tuples(st.permutations(range(4)), st.tuples(VALUES, VALUES)), min_size=1, max_size=8))
    vector = np.zeros((len(groups), 4), int)
    for row, (order, pair) in zip(vector, groups, strict=True):
        row[order[0]], row[order[1]] = pair
    return vector.ravel()


@given(two_four_vectors())
def test_two_four_writes_two_values_and_their_places(vector):
    text = encode_two_four(vector)
    assert decode_two_four(text, vector.size) == vector.tolist()
    assert TwoFour().bits(vector, V) == len(text)
    assert TwoFour().bits(np.stack([vector, vector], axis=1), V) == 2 * len(text)  # [n_in, n_out]: along the inputs
    assert TwoFour(axis=1).bits(vector[None], V) == len(text)
    assert TwoFour().expected_bits(vector.size, 0.5, V) == len(text)


def test_two_four_names_the_group():
    weights = np.zeros((8, 5))
    weights[[4, 5, 7], 3] = 1.0
    with pytest.raises(InputError, match=r"the group \[4:8, 3\] has 3 nonzero values"):
        TwoFour().bits(weights, 8)
    with pytest.raises(InputError, match=r"the group \[0:4\] has 4 nonzero values"):
        TwoFour().bits(np.ones(4), 8)
    kernel = np.zeros((3, 3, 8, 2))
    kernel[1, 2, 4:7, 1] = 1.0
    with pytest.raises(InputError, match=r"the group \[1, 2, 4:8, 1\] has 3"):
        TwoFour().bits(kernel, 8)


# --- ratios ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("density", "published"), [(1.0, 0.75), (0.5, 1.5), (0.25, 3.0), (0.1, 7.2), (0.01, 20.6)])
def test_run_length_ratio_of_16_bit_values(density, published):
    # Pairs a value of 16 bits that is not zero: 1 / (1 - q^32); 64 / 3 bits a pair. 10 %: 7.5 / 1.0356 = 7.24.
    assert compression.expected_ratio(RunLength(), 10**6, density, 16) == pytest.approx(published, rel=0.01)


@pytest.mark.parametrize("density", [1.0, 0.5, 0.1, 0.01, 0.001, 0.0])
def test_run_length_mean_of_actual_arrays(density):
    n = 300_000
    nonzero = np.random.default_rng(3).random(n) < density
    expected = RunLength().expected_bits(n, density, 16)
    assert RunLength().bits(nonzero, 16) == pytest.approx(expected, rel=0.015)


def test_run_length_at_the_ends_of_density():
    assert RunLength().expected_bits(3 * 32, 0.0, 16) == 64  # 32 zeros a pair
    assert RunLength().expected_bits(3 * 32, 1e-9, 16) == pytest.approx(64, rel=1e-6)
    assert RunLength().expected_bits(3, 1.0, 16) == 64
    assert RunLength().expected_bits(3, 1 - 1e-12, 16) == pytest.approx(64)


def test_ratios_worked_by_hand():
    weights = np.zeros((64, 32))
    weights[::2, ::4] = 1.0  # 256 of 2048: 12.5 %
    assert compression.ratio(Dense(), weights, 8) == 1
    assert compression.ratio(Bitmask(), weights, 8) == 16384 / (2048 + 256 * 8)
    assert compression.ratio(CSR(), weights, 8) == 16384 / (256 * (8 + 5) + 65 * 12)  # 12 bits count to 2048
    assert compression.ratio(CSC(), weights, 8) == 16384 / (256 * (8 + 6) + 33 * 12)
    assert compression.ratio(COO(), weights, 8) == 16384 / (256 * (8 + 5 + 6))
    assert compression.ratio(TwoFour(), weights, 8) == 64 / 40
    assert compression.expected_ratio(TwoFour(), 64, 0.125, 8) == 64 / 40


def test_arrays_of_every_kind():
    bf16 = jnp.array([0.0, -0.0, 1.5, 0.0], jnp.bfloat16)
    assert Bitmask().bits(bf16, 16) == Bitmask().bits([False, False, True, False], 16) == 4 + 16
    assert Bitmask().bits(np.float32(2.0), 16) == 17


def test_a_kernel_is_a_matrix_with_its_outputs_as_columns():
    kernel = np.zeros((3, 3, 4, 8))
    kernel[0, 0, 0, 0] = 1.0
    assert CSR().bits(kernel, 8) == CSR().bits(kernel.reshape(36, 8), 8) == 8 + 3 + 37 * 9
    assert CSR().expected_bits((3, 3, 4, 8), 0.0, 8) == 37 * 9


@pytest.mark.parametrize("name", STORAGE)
def test_a_sparser_array_never_takes_more(name):
    rng = np.random.default_rng(0)
    weights = rng.permuted(np.tile([1.0, 1.0, 0.0, 0.0], (16, 16)).reshape(16, 16, 4), axis=2).reshape(16, 64).T
    sizes, expected = [], []
    for density in (0.5, 0.3, 0.1, 0.0):
        weights = np.where(rng.random(weights.shape) < 2 * density, weights, 0.0)
        sizes.append(STORAGE[name].bits(weights, 8))
        expected.append(STORAGE[name].expected_bits(weights.shape, density, 8))
    assert sizes == sorted(sizes, reverse=True)
    assert expected == sorted(expected, reverse=True)


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STORAGE)
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: s.bits(np.zeros((0, 4)), 8), "array = .*at least one element"),
        (lambda s: s.bits(np.array(["a"] * 4), 8), "must be an array of numbers"),
        (lambda s: s.bits(np.zeros(4), 0), r"value_bits = 0: must be above 0 and at most 64 \(unit: bit\)"),
        (lambda s: s.bits(np.zeros(4), float("nan")), "value_bits = nan"),
        (lambda s: s.expected_bits(4, 1.5, 8), "density = 1.5: must be at least 0 and at most 1"),
        (lambda s: s.expected_bits(0, 0.5, 8), "n = 0: must be a number of elements or a shape"),
        (lambda s: s.expected_bits((4, 2.5), 0.5, 8), r"n = \(4, 2.5\)"),
    ],
)
def test_bad_input(name, call, message):
    with pytest.raises(InputError, match=message):
        call(STORAGE[name])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: TwoFour().bits(np.zeros((6, 4)), 8), r"the shape \(6, 4\) has 6 along axis -2; .* multiple of 4"),
        (lambda: TwoFour(axis=2).bits(np.zeros((4, 4)), 8), "TwoFour.axis = 2: must be an axis of the array"),
        (lambda: TwoFour().expected_bits(8, 0.6, 8), "density = 0.6: a 2:4 array has a density of at most 0.5"),
        (lambda: RunLength(run_bits=0), "RunLength.run_bits = 0: must be an integer between 1 and 32"),
        (lambda: RunLength(pairs_per_word=2.5), "RunLength.pairs_per_word = 2.5"),
    ],
)
def test_bad_settings(call, message):
    with pytest.raises(InputError, match=message):
        call()
