"""DAC and ADC: codes, rounding error and gradients against the ideal mid-tread converter.

b bits and range r: 2^b - 1 codes, step = r/(2^(b-1) - 1), error uniform in half a step, spread step/sqrt(12).
"""

import math

import jax
import numpy as np
import pytest
from scipy import stats

from analogsim import DAC
from analogsim.converters import quantise

round_to = jax.jit(quantise)


@pytest.mark.parametrize("bits", [2, 3, 4, 6, 8, 10])
def test_codes_are_the_multiples_of_one_step(bits):
    levels = 2 ** (bits - 1) - 1
    values = np.unique(round_to(np.linspace(-3, 3, 20_001, dtype=np.float32), bits, 2.0))
    assert values.size == 2**bits - 1
    np.testing.assert_allclose(values, 2.0 * np.arange(-levels, levels + 1) / levels, rtol=1e-6)
    np.testing.assert_array_equal(values, -values[::-1])  # symmetric, and zero is exact
    assert 0.0 in values


def test_full_scale_is_a_code_at_every_number_of_bits():
    for bits in range(2, 25):
        values = round_to(np.float32([-1, 0, 1]), bits, 1.0)
        np.testing.assert_array_equal(values, [-1.0, 0.0, 1.0], err_msg=f"{bits} bits")


@pytest.mark.parametrize("bits", [2, 4, 8, 12])
def test_rounding_error_is_uniform_with_the_standard_deviation_of_theory(bits):
    n, bound = 100_000, 3.0
    step = bound / (2 ** (bits - 1) - 1)
    x = np.random.default_rng(20).uniform(-bound, bound, n).astype(np.float32)
    error = np.asarray(round_to(x, bits, bound), np.float64) - x
    assert np.abs(error).max() <= step / 2 + 3e-7 * bound
    assert abs(error.mean()) < 4 * step / math.sqrt(12 * n)
    # A uniform variable has kurtosis 1.8, so its sampled spread has a relative standard error of sqrt(0.8/(4 n)).
    assert abs(error.std() / (step / math.sqrt(12)) - 1) < 4 * math.sqrt(0.2 / n)
    assert stats.kstest(error / step + 0.5, "uniform").pvalue > 1e-4


def test_values_by_hand():
    # 4 bits on +-7: codes are the integers; a tie goes to the even one; beyond the range it clips.
    x = np.float32([0.4, 0.5, 0.6, 1.5, -1.5, 2.5, 6.6, 7.0, 7.4, 100.0, -100.0, 0.0])
    np.testing.assert_array_equal(round_to(x, 4, 7.0), [0, 0, 1, 2, -2, 2, 7, 7, 7, 7, -7, 0])
    # 2 bits: three codes; 3 bits on +-1.5: step 0.5.
    np.testing.assert_array_equal(round_to(np.float32([0.49, 0.51, -0.51, 9.0]), 2, 1.0), [0, 1, -1, 1])
    np.testing.assert_array_equal(round_to(np.float32([0.3, -0.7, 1.2, 2.0]), 3, 1.5), [0.5, -0.5, 1.0, 1.5])


def test_rounding_is_odd_and_idempotent():
    x = np.random.default_rng(20).normal(size=1000).astype(np.float32)
    once = np.asarray(round_to(x, 7, 1.7))
    np.testing.assert_array_equal(round_to(-x, 7, 1.7), -once)
    np.testing.assert_array_equal(round_to(once, 7, 1.7), once)


def test_the_range_may_differ_from_row_to_row():
    x = np.float32([[0.9, 5.0], [0.9, 5.0]])
    np.testing.assert_allclose(round_to(x, 2, np.float32([[1.0], [4.0]])), [[1.0, 1.0], [0.0, 4.0]])


def test_traced_bits_equal_static_bits():
    x = np.random.default_rng(20).uniform(-1.2, 1.2, 500).astype(np.float32)
    swept = jax.jit(jax.vmap(lambda b: quantise(x, b, 1.0)))(np.arange(2, 13))
    static = jax.jit(lambda x: [quantise(x, b, 1.0) for b in range(2, 13)])(x)
    # Known levels may be divided by as multiplied with their inverse: the last digit differs, not the code.
    np.testing.assert_allclose(swept, static, rtol=1e-6)


# jax.grad of a sum gives every element's own gradient.
gradient = jax.jit(jax.grad(lambda x, bits, bound: quantise(x, bits, bound).sum(), argnums=(0, 2)))


def test_gradient_is_one_inside_and_zero_outside():
    x = np.float32([-5.0, -2.1, -1.9, -0.3, 0.0, 0.01, 1.99, 2.01, 50.0])
    by_x, _ = gradient(x, 4, 2.0)
    np.testing.assert_array_equal(by_x, [0, 0, 1, 1, 1, 1, 1, 0, 0])


def test_gradient_is_one_at_the_end_of_the_range():
    # An input range that follows the data puts the largest input exactly there: it must learn like the others.
    by_x, _ = gradient(np.float32([-2.0, 2.0]), 8, 2.0)
    np.testing.assert_array_equal(by_x, [1.0, 1.0])


@pytest.mark.parametrize(("x", "expected"), [(5.0, 1.0), (-5.0, -1.0), (0.3, 0.0), (-1.9, 0.0)])
def test_the_range_receives_the_gradient_of_what_was_clipped(x, expected):
    assert float(gradient(np.float32([x]), 8, 2.0)[1]) == expected


def test_the_range_sums_over_what_was_clipped():
    assert float(gradient(np.float32([5.0, 7.0, -3.0, 0.5, 9.0]), 8, 2.0)[1]) == 2.0  # three above, one below


def test_bits_have_no_gradient():
    by_bits = jax.jit(jax.grad(lambda bits: quantise(np.float32([0.3]), bits, 1.0).sum()))
    assert float(by_bits(8.0)) == 0.0


@pytest.mark.parametrize("bits", [8, 8.0, "8", np.int64(8), np.float32(8)])
def test_bits_become_a_plain_integer(bits):
    assert type(DAC(bits=bits).bits) is int
    assert DAC(bits=bits).bits == 8
