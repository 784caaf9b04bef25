"""Digital memory: exact, or rounded to 2^b - 1 symmetric levels."""

import jax
import numpy as np
import pytest

from analogsim.devices import DigitalMemory


@jax.jit
def late_and_fresh(store, weights, key):
    state = store.program(None, weights)
    late = store.read(state, 1e9, key)
    assert late.variance is None
    return late.mean, store.read(state, 0.0).mean


def held(bits, weights):
    """What is read back, and that it is the same at any time and without noise."""
    late, fresh = late_and_fresh(DigitalMemory(bits=bits), weights, jax.random.key(0))
    np.testing.assert_array_equal(late, fresh)
    return np.asarray(late)


def test_without_bits_it_is_exact():
    weights = np.random.default_rng(20).normal(size=(5, 3)).astype(np.float32)
    np.testing.assert_array_equal(held(None, weights), weights)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_levels_are_the_multiples_of_one_step(bits):
    levels = 2 ** (bits - 1) - 1  # 1, 3, 7, 127
    values = np.unique(held(bits, np.linspace(-1, 1, 4001, dtype=np.float32)[:, None]))
    np.testing.assert_allclose(values, np.arange(-levels, levels + 1) / levels, atol=1e-7)
    assert values.size == 2**bits - 1
    assert 0.0 in values


def test_full_scale_is_a_level_at_every_number_of_bits():
    for bits in range(2, 25):
        found = held(bits, np.float32([[-1.0, 0.0, 1.0]]))
        np.testing.assert_array_equal(found, [[-1.0, 0.0, 1.0]], err_msg=f"{bits} bits")


def test_rounding_error_is_uniform():
    # 6 bits: step 1/31, error within half of it, spread step/sqrt(12) with a relative standard error of sqrt(0.2/n).
    weights = np.random.default_rng(20).uniform(-1, 1, (200_000, 1)).astype(np.float32)
    error = held(6, weights).astype(np.float64) - weights
    step = 1 / 31
    assert np.abs(error).max() <= step / 2 * (1 + 1e-5)
    assert abs(error.mean()) < 4 * step / np.sqrt(12 * error.size)
    assert abs(error.std() / (step / np.sqrt(12)) - 1) < 4 * np.sqrt(0.2 / error.size)


def test_cost_is_one_operation_and_one_fetch_a_weight():
    actions = {a.name: (a.quantity, a.unit) for a in DigitalMemory(bits=6).cost(np.zeros((10, 20), np.float32), 1.0)}
    assert actions == {"mac": (200, "MAC"), "weight fetch": (150.0, "B")}  # 200 x 6 bits
    assert DigitalMemory().cost(np.zeros((10, 20), np.float32), 1.0)[1].quantity == 800  # four bytes a float
    assert DigitalMemory().n_cells(10, 20) == 200
