"""Weights to conductances and back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analogsim.devices import PCM, Crossbar, Differential, InputError, Moments

WINDOWS = [(0.0, 25e-6), (2e-6, 22e-6), (9e-6, 88.2e-6)]

#: (sides, weight): (G+, G-) in uS on a window of 2 to 22 uS.
PAIRS = {
    (1, 0.25): (7.0, 2.0),
    (1, -0.5): (2.0, 12.0),
    (1, 0.0): (2.0, 2.0),
    (1, 1.0): (22.0, 2.0),
    (2, 0.25): (14.5, 9.5),
    (2, -0.5): (7.0, 17.0),
    (2, 0.0): (12.0, 12.0),
    (2, -1.0): (2.0, 22.0),
}


@pytest.mark.parametrize(("sides", "weight"), PAIRS)
def test_conductances_are_those_of_the_formula(sides, weight):
    pair = Differential(sides=sides).conductances(jnp.full((1, 1), weight), 2e-6, 22e-6)
    assert pair.shape == (2, 1, 1)
    np.testing.assert_allclose(pair[:, 0, 0] * 1e6, PAIRS[sides, weight], rtol=1e-6)


@pytest.mark.parametrize("sides", [1, 2])
@pytest.mark.parametrize(("g_min", "g_max"), WINDOWS)
def test_recombination_gives_the_weights_back(key, sides, g_min, g_max):
    weights = jax.random.uniform(key, (13, 7), minval=-1, maxval=1)
    mapping = Differential(sides=sides)
    pair = mapping.conductances(weights, g_min, g_max)
    assert float(pair.min()) >= g_min * (1 - 1e-6)
    assert float(pair.max()) <= g_max * (1 + 1e-6)
    back = mapping.lines(Moments(pair), g_min, g_max)
    np.testing.assert_allclose(back.mean, weights, atol=1e-6)
    assert back.variance is None


def test_one_side_stays_at_the_bottom_and_two_sides_keep_their_sum(key):
    weights = jax.random.uniform(key, (13, 7), minval=-1, maxval=1)
    idle = Differential(sides=1).conductances(weights, 2e-6, 22e-6).min(axis=0)
    np.testing.assert_allclose(idle, 2e-6, rtol=1e-6)
    total = Differential(sides=2).conductances(weights, 2e-6, 22e-6).sum(axis=0)
    np.testing.assert_allclose(total, 24e-6, rtol=1e-6)


@pytest.mark.parametrize("sides", [1, 2])
def test_variances_of_a_pair_add(sides):
    # (3 + 1) uS^2 / (20 uS)^2 = 0.01
    cells = Moments(jnp.zeros((2, 1, 1)), jnp.array([3e-12, 1e-12]).reshape(2, 1, 1))
    back = Differential(sides=sides).lines(cells, 2e-6, 22e-6)
    np.testing.assert_allclose(back.variance, 0.01, rtol=1e-6)


@pytest.mark.parametrize("sides", [1, 2])
def test_two_cells_a_weight(sides):
    assert Differential(sides=sides).cells(784, 10) == 15680
    assert Crossbar(mapping=Differential(sides=sides)).cells(3, 5) == 30


@pytest.mark.parametrize("sides", [1, 2])
def test_a_noiseless_crossbar_with_a_leaky_cell_holds_its_weights(key, sides):
    cell = PCM(g_min=2e-6, programming_noise=0.0, read_noise=0.0, drift=0.0)
    store = Crossbar(cell=cell, mapping=Differential(sides=sides))
    weights = jax.random.uniform(key, (13, 7), minval=-1, maxval=1)
    held = jax.jit(lambda k, w: store.read(store.program(k, w), 1e6))(key, weights)
    np.testing.assert_allclose(held.mean, weights, atol=1e-6)
    np.testing.assert_array_equal(held.variance, jnp.zeros((13, 7)))


@pytest.mark.parametrize("sides", [0, 3, -1, "one"])
def test_other_sides_are_refused(sides):
    with pytest.raises(InputError, match=r"Differential.sides = .*: must be one of 1, 2"):
        Differential(sides=sides)


@pytest.mark.parametrize("g_min", [25e-6, 30e-6])
def test_an_empty_window_is_refused(g_min):
    with pytest.raises(InputError, match=r"PCM.g_min = .*: must be less than g_max = 2.5e-05"):
        Crossbar(cell=PCM(g_min=g_min))
