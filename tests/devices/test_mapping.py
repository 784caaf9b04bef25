"""Weights to conductances and back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analogsim import InputError
from analogsim.devices import PCM, Crossbar, Differential, Moments
from tests.support.cells import stored

conductances = jax.jit(lambda mapping, weights, g_min, g_max: mapping.conductances(weights, g_min, g_max))
lines = jax.jit(lambda mapping, cells, g_min, g_max: mapping.columns(cells, g_min, g_max))
#: Of most tests here, so that they share what is compiled.
WEIGHTS = np.random.default_rng(20).uniform(-1, 1, (13, 7)).astype(np.float32)
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
    pair = conductances(Differential(sides=sides), np.full_like(WEIGHTS, weight), 2e-6, 22e-6)
    assert pair.shape == (2, 13, 7)
    np.testing.assert_allclose(np.asarray(pair)[:, 0, 0] * 1e6, PAIRS[sides, weight], rtol=1e-6)


@pytest.mark.parametrize("sides", [1, 2])
@pytest.mark.parametrize(("g_min", "g_max"), WINDOWS)
def test_recombination_gives_the_weights_back(sides, g_min, g_max):
    mapping = Differential(sides=sides)
    pair = np.asarray(conductances(mapping, WEIGHTS, g_min, g_max))
    assert pair.min() >= g_min * (1 - 1e-6)
    assert pair.max() <= g_max * (1 + 1e-6)
    back = lines(mapping, Moments(pair), g_min, g_max)
    np.testing.assert_allclose(back.mean, WEIGHTS, atol=1e-6)
    assert back.variance is None


def test_one_side_stays_at_the_bottom_and_two_sides_keep_their_sum():
    idle = np.asarray(conductances(Differential(sides=1), WEIGHTS, 2e-6, 22e-6)).min(axis=0)
    np.testing.assert_allclose(idle, 2e-6, rtol=1e-6)
    total = np.asarray(conductances(Differential(sides=2), WEIGHTS, 2e-6, 22e-6)).sum(axis=0)
    np.testing.assert_allclose(total, 24e-6, rtol=1e-6)


@pytest.mark.parametrize("sides", [1, 2])
def test_variances_of_a_pair_add(sides):
    # (3 + 1) uS^2 / (20 uS)^2 = 0.01
    cells = Moments(np.zeros((2, 1, 1), np.float32), np.float32([3e-12, 1e-12]).reshape(2, 1, 1))
    back = lines(Differential(sides=sides), cells, 2e-6, 22e-6)
    np.testing.assert_allclose(back.variance, 0.01, rtol=1e-6)


@pytest.mark.parametrize("sides", [1, 2])
def test_two_cells_a_weight(sides):
    assert Differential(sides=sides).n_cells(784, 10) == 15680
    assert Crossbar(mapping=Differential(sides=sides)).n_cells(3, 5) == 30


@pytest.mark.parametrize("sides", [1, 2])
def test_a_noiseless_crossbar_with_a_leaky_cell_holds_its_weights(sides):
    cell = PCM(g_min=2e-6, programming_noise=0.0, read_noise=0.0, drift=0.0)
    store = Crossbar(cell=cell, mapping=Differential(sides=sides))
    held = stored(store, jax.random.key(0), WEIGHTS, 1e6)
    np.testing.assert_allclose(held.mean, WEIGHTS, atol=1e-6)
    np.testing.assert_array_equal(held.variance, np.zeros((13, 7)))


@pytest.mark.parametrize("g_min", [25e-6, 30e-6])
def test_an_empty_window_is_refused(g_min):
    with pytest.raises(InputError, match=r"PCM.g_min = .*: must be less than g_max = 2.5e-05"):
        Crossbar(cell=PCM(g_min=g_min))


def test_a_mapping_of_ones_own_decides_about_ideal_columns():
    class Halves(Differential):
        """Holds weights to the nearest half."""

        def conductances(self, weights, g_min, g_max):
            return super().conductances(jnp.round(weights * 2) / 2, g_min, g_max)

    weights = np.float32([[0.3, -0.9], [0.7, 0.2]])
    plain, own = (Crossbar(mapping=mapping).ideal_columns(weights) for mapping in (Differential(), Halves()))
    np.testing.assert_array_equal(plain, weights)
    np.testing.assert_allclose(own, [[0.5, -1.0], [0.5, 0.0]], atol=1e-6)
