"""SONOS cells against the published spreads, worked here without our code. Currents in nA at 0.1 V: 1 nA is 10 nS.

sigma = A_t (1 - exp(-I/B_t)) after t = 0..5 days, read noise 12.58037 (1 - exp(-I/215.36557)): V. Agrawal et al., IEDM
2022, 21.7.1; constants as in CrossSim. Samples are held to four standard errors.
"""

import functools
import math

import jax
import numpy as np
import pytest

from analogsim import InputError
from analogsim.devices import SONOS, Crossbar
from tests.support.cells import WEIGHTS, equal, program, read, read_sampled, stored
from tests.support.sampling import assert_moments, censored

DAY_S = 86400.0
A = (19.88665, 25.59102, 28.72753, 31.04318, 33.76214, 34.57909)
B = (176.3115, 186.85544, 193.56834, 198.90332, 204.77023, 207.34309)
#: (current, days): spread in nA. At time zero as stated beside the published fit; later by hand from A (1 - exp(-I/B)).
SPREAD = {
    (50.0, 0): 4.910,
    (200.0, 0): 13.491,
    (800.0, 0): 19.674,
    (1600.0, 0): 19.884,
    (50.0, 1): 6.00815,
    (200.0, 1): 16.81612,
    (200.0, 3): 19.68583,
    (1600.0, 5): 34.56369,
}
#: current: read noise in nA, by hand.
READ_NOISE = {50.0: 2.60644, 200.0: 7.61005, 1600.0: 12.57290}

conductance_std = jax.jit(lambda cell, target, time_s: cell.conductance_std(target, time_s))


def deviation_na(current: float, time_s: float) -> float:
    """The cell's spread in nA."""
    return float(conductance_std(SONOS(), np.float32(current * 1e-8), time_s)) * 1e8


QUIET = SONOS(read_noise=0.0)


@functools.cache
def programmed(current: float):
    """``N`` cells written to a current in nA."""
    return program(SONOS(), jax.random.fold_in(jax.random.key(1), int(current)), equal(current / 100))


@pytest.mark.parametrize(("current", "days"), SPREAD)
def test_cells_have_the_published_mean_and_standard_deviation(current, days):
    sigma = A[days] * (1 - math.exp(-current / B[days]))
    assert sigma == pytest.approx(SPREAD[current, days], abs=6e-4)
    assert deviation_na(current, days * DAY_S) == pytest.approx(sigma, rel=1e-5)
    assert_moments(np.asarray(read(QUIET, programmed(current), days * DAY_S).mean) * 1e8, *censored(current, sigma))


@pytest.mark.parametrize("days", [0.25, 1.5, 4.9])
def test_between_days_the_constants_are_linear_in_time(days):
    i, share = int(days), days - int(days)
    a, b = ((1 - share) * c[i] + share * c[i + 1] for c in (A, B))
    expected = a * (1 - math.exp(-200 / b))
    assert deviation_na(200.0, days * DAY_S) == pytest.approx(expected, rel=1e-5)


def test_a_small_current_is_cut_at_zero():
    # The standard deviation of small currents is about I A/B, 0.17 I after five days: enlarged tenfold, half of a
    # Gaussian is lost.
    cell = SONOS(programming_noise=10.0, read_noise=0.0)
    state = program(cell, jax.random.key(2), equal(0.2))
    sigma = 10 * A[5] * (1 - math.exp(-20 / B[5]))
    assert_moments(np.asarray(read(cell, state, 5 * DAY_S).mean) * 1e8, *censored(20.0, sigma))


def test_a_cell_that_is_off_stays_off():
    state = program(SONOS(), jax.random.key(3), equal(0.0))
    now = read(SONOS(), state, 5 * DAY_S)
    np.testing.assert_array_equal(now.mean, 0.0)
    np.testing.assert_array_equal(now.variance, 0.0)


@pytest.mark.parametrize("current", READ_NOISE)
def test_read_noise_has_the_published_standard_deviation(current):
    sigma = 12.58037 * (1 - math.exp(-current / 215.36557))
    assert sigma == pytest.approx(READ_NOISE[current], rel=2e-6)
    cell = SONOS(programming_noise=0.0)
    for time_s in (0.0, 3 * DAY_S):
        now = read(cell, programmed(current), time_s)
        np.testing.assert_allclose(np.sqrt(now.variance) * 1e8, sigma, rtol=1e-4)
    sample = read_sampled(cell, programmed(current), 0.0, jax.random.key(4)).mean
    assert_moments(np.asarray(sample) * 1e8, *censored(current, sigma))


def test_read_noise_follows_the_current_that_was_reached():
    now = read(SONOS(), programmed(200.0), DAY_S)
    reached = np.asarray(read(QUIET, programmed(200.0), DAY_S).mean, np.float64) * 1e8
    np.testing.assert_allclose(np.sqrt(now.variance) * 1e8, 12.58037 * (1 - np.exp(-reached / 215.36557)), rtol=1e-4)


def test_a_cell_keeps_its_deviate_for_life():
    state = programmed(800.0)
    for days in (5, 0, 2, 1):
        sigma = A[days] * (1 - math.exp(-800 / B[days]))
        z = (np.asarray(read(QUIET, state, days * DAY_S).mean, np.float64) * 1e8 - 800) / sigma
        np.testing.assert_allclose(z, state.deviate, atol=2e-5)


def test_gradients_with_respect_to_the_published_constants():
    # d sigma/dA_1 = 1 - exp(-I/B_1) after one day, and nothing from the other days.
    gradient = jax.jit(jax.grad(lambda c: c.conductance_std(np.float32(200e-8), DAY_S)))(SONOS())
    np.testing.assert_allclose(gradient.std_limit, [0, 1 - math.exp(-200 / B[1]), 0, 0, 0, 0], atol=1e-6)


def test_a_crossbar_of_sonos_cells_ends_after_five_days():
    store = Crossbar(cell=SONOS(programming_noise=0.0))
    np.testing.assert_allclose(stored(store, jax.random.key(0), WEIGHTS, 0.0).mean, WEIGHTS, atol=1e-6)
    assert store.time_limit_s == 432000.0


def test_currents_beyond_the_fit_are_refused():
    with pytest.raises(InputError, match=r"SONOS.g_max = 2e-05: must be .* at most 1.8e-05 .*unit: S"):
        SONOS(g_max="20 uS")
