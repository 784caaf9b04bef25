"""Digital memory: exact, or rounded to 2^b - 1 symmetric levels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analogsim.devices import DigitalMemory, InputError


def held(bits, weights):
    """What is read back, and that it is the same at any time and without noise."""
    store = DigitalMemory(bits=bits)
    state = store.program(None, weights)
    moments = store.read(state, 1e9, jax.random.key(0))
    assert moments.variance is None
    np.testing.assert_array_equal(moments.mean, store.read(state, 0.0).mean)
    return np.asarray(moments.mean)


def test_without_bits_it_is_exact(key):
    weights = jax.random.normal(key, (5, 3))
    np.testing.assert_array_equal(held(None, weights), weights)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_levels_are_the_multiples_of_one_step(bits):
    levels = 2 ** (bits - 1) - 1  # 1, 3, 7, 127
    values = np.unique(held(bits, jnp.linspace(-1, 1, 4001)[:, None]))
    np.testing.assert_allclose(values, np.arange(-levels, levels + 1) / levels, atol=1e-7)
    assert values.size == 2**bits - 1
    assert 0.0 in values


@pytest.mark.parametrize("bits", range(2, 25))
def test_full_scale_is_a_level_at_every_number_of_bits(bits):
    np.testing.assert_array_equal(held(bits, jnp.array([[-1.0, 0.0, 1.0]])), [[-1.0, 0.0, 1.0]])


def test_rounding_error_is_uniform(key):
    # 6 bits: step 1/31, error within half of it, spread step/sqrt(12) with a relative standard error of sqrt(0.2/n).
    weights = jax.random.uniform(key, (200_000, 1), minval=-1, maxval=1)
    error = held(6, weights).astype(np.float64) - np.asarray(weights)
    step = 1 / 31
    assert np.abs(error).max() <= step / 2 * (1 + 1e-5)
    assert abs(error.mean()) < 4 * step / np.sqrt(12 * error.size)
    assert abs(error.std() / (step / np.sqrt(12)) - 1) < 4 * np.sqrt(0.2 / error.size)


def test_cost_is_one_operation_and_one_fetch_a_weight():
    actions = {a.name: (a.quantity, a.unit) for a in DigitalMemory(bits=6).cost(jnp.zeros((10, 20)), 1.0)}
    assert actions == {"mac": (200, "MAC"), "weight fetch": (150.0, "B")}  # 200 x 6 bits
    assert DigitalMemory().cost(jnp.zeros((10, 20)), 1.0)[1].quantity == 800  # four bytes a float
    assert DigitalMemory().cells(10, 20) == 200


@pytest.mark.parametrize("bits", [0, 1, -3, 25, 7.5, "eight", float("nan"), True])
def test_impossible_numbers_of_bits_are_refused(bits):
    with pytest.raises(InputError, match=r"DigitalMemory\.bits"):
        DigitalMemory(bits=bits)
