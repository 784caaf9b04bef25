"""Resistive RAM against the published relaxation polynomials, worked here without our code.

sigma(x, t) = sum_k c_k(t) x^k in uS with x = g/40 uS, at 1 s, 1 day and 2 days: W. Wan et al., Nature 608, 504 (2022),
doi 10.1038/s41586-022-04992-8. Samples are held to four standard errors.
"""

import functools
import math

import jax
import numpy as np
import pytest
from scipy import stats

from analogsim import InputError
from analogsim.devices import Crossbar, ReRAM
from tests.support.cells import N, equal, program, read, read_sampled, stored
from tests.support.sampling import assert_moments, censored

TIMES_S = {"1 s": 1.0, "1 day": 86400.0, "2 days": 172800.0}
COEFFICIENTS = {
    "1 s": (0.348, 16.030, -43.853, 45.393, -16.815),
    "1 day": (0.701, 22.086, -50.773, 47.095, -16.458),
    "2 days": (0.782, 20.274, -43.507, 37.062, -11.934),
}
#: (x, time): sigma in uS, each a sum of five products by hand, such as
#: 0.348 + 8.015 - 10.96325 + 5.674125 - 1.0509375 at x = 0.5 after 1 s.
SIGMA = {
    (0.0, "1 s"): 0.348,
    (0.0, "1 day"): 0.701,
    (0.0, "2 days"): 0.782,
    (0.25, "1 s"): 2.25826953,  # 0.348 + 4.0075 - 2.7408125 + 0.709265625 - 0.06568359
    (0.25, "1 day"): 3.72075781,  # 0.701 + 5.5215 - 3.1733125 + 0.735859375 - 0.06428906
    (0.25, "2 days"): 3.66378906,  # 0.782 + 5.0685 - 2.7191875 + 0.57909375 - 0.04661719
    (0.5, "1 s"): 2.0229375,
    (0.5, "1 day"): 3.909,  # 0.701 + 11.043 - 12.69325 + 5.886875 - 1.028625
    (0.5, "2 days"): 3.929125,  # 0.782 + 10.137 - 10.87675 + 4.63275 - 0.745875
    (0.75, "1 s"): 1.53298828,  # 0.348 + 12.0225 - 24.6673125 + 19.150171875 - 5.32037109
    (0.75, "1 day"): 3.36647656,  # 0.701 + 16.5645 - 28.5598125 + 19.868203125 - 5.20741406
    (0.75, "2 days"): 3.37435156,  # 0.782 + 15.2055 - 24.4726875 + 15.63553125 - 3.77599219
    (1.0, "1 s"): 1.103,
    (1.0, "1 day"): 2.651,
    (1.0, "2 days"): 2.677,
}


def sigma(x: float, time: str) -> float:
    """The published standard deviation in uS."""
    return sum(c * x**k for k, c in enumerate(COEFFICIENTS[time]))


deviation = jax.jit(lambda cell, target, time_s: cell.conductance_std(target, time_s))


def deviation_us(cell: ReRAM, target_us: float, time_s: float) -> np.ndarray:
    return np.asarray(deviation(cell, np.full(1, target_us * 1e-6, np.float32), time_s)) * 1e6


def conductances(cell, state, time_s):
    return read(cell, state, time_s).mean


@functools.cache
def programmed(x: float):
    """``N`` cells written to x."""
    return program(ReRAM(), jax.random.fold_in(jax.random.key(1), int(100 * x)), equal(40 * x))


@pytest.mark.parametrize(("x", "time"), SIGMA)
def test_the_standard_deviation_is_the_published_polynomial(x, time):
    assert sigma(x, time) == pytest.approx(SIGMA[x, time], rel=1e-7)
    ours = deviation_us(ReRAM(), 40 * x, TIMES_S[time])
    np.testing.assert_allclose(ours, SIGMA[x, time], rtol=2e-5)  # float32 sum of terms up to 25 times its result


@pytest.mark.parametrize("time", TIMES_S)
@pytest.mark.parametrize("x", [0.25, 0.5, 0.75, 1.0])
def test_cells_have_the_published_mean_and_standard_deviation(x, time):
    g = np.asarray(conductances(ReRAM(), programmed(x), TIMES_S[time]), np.float64) * 1e6
    # Smallest margin: 10 uS with a spread of 3.7 uS is cut at -2.7 sigma; the cut moves both moments by less than 1 %.
    assert_moments(g, *censored(40 * x, SIGMA[x, time]))


def test_the_deviation_is_gaussian_and_independent_between_cells():
    z = np.asarray(conductances(ReRAM(), programmed(0.5), 1.0), np.float64) * 1e6 - 20
    assert abs(stats.skew(z)) < 4 * math.sqrt(6 / N)
    assert abs(stats.kurtosis(z)) < 4 * math.sqrt(24 / N)
    assert stats.kstest(z / SIGMA[0.5, "1 s"], "norm").pvalue > 1e-4
    assert abs(np.corrcoef(z[:-1], z[1:])[0, 1]) < 4 / math.sqrt(N)


@pytest.mark.parametrize("time", TIMES_S)
def test_a_zero_target_is_half_normal(time):
    g = np.asarray(conductances(ReRAM(), programmed(0.0), TIMES_S[time]), np.float64) * 1e6
    s = SIGMA[0.0, time]
    assert_moments(g, s / math.sqrt(2 * math.pi), s * math.sqrt(0.5 - 0.5 / math.pi))
    assert abs(np.mean(g == 0) - 0.5) < 4 * 0.5 / math.sqrt(N)


@pytest.mark.parametrize(
    ("time_s", "one", "two", "share"),
    [
        (math.sqrt(86400.0), "1 s", "1 day", 0.5),  # the geometric midpoints
        (math.sqrt(86400.0 * 172800.0), "1 day", "2 days", 0.5),
        (10.0, "1 s", "1 day", 0.2025766),  # ln 10 / ln 86400 = 2.302585 / 11.366743
        (129600.0, "1 day", "2 days", 0.5849625),  # log2 1.5
    ],
)
@pytest.mark.parametrize("x", [0.25, 0.5, 1.0])
def test_between_measurements_the_standard_deviation_is_linear_in_log_time(x, time_s, one, two, share):
    expected = (1 - share) * SIGMA[x, one] + share * SIGMA[x, two]
    np.testing.assert_allclose(deviation_us(ReRAM(), 40 * x, time_s), expected, rtol=3e-5)


@pytest.mark.parametrize("time_s", [0.0, 1e-6, 0.5, 1.0])
def test_before_one_second_the_value_at_one_second_holds(time_s):
    np.testing.assert_allclose(deviation_us(ReRAM(), 20.0, time_s), 2.0229375, rtol=2e-5)


def test_a_cell_keeps_its_deviate_for_life():
    state = programmed(0.75)
    before = (np.asarray(conductances(ReRAM(), state, 1.0)) * 1e6 - 30) / SIGMA[0.75, "1 s"]
    for time in TIMES_S:
        now = (np.asarray(conductances(ReRAM(), state, TIMES_S[time])) * 1e6 - 30) / SIGMA[0.75, time]
        np.testing.assert_allclose(now, before, atol=2e-4)
    np.testing.assert_array_equal(conductances(ReRAM(), state, 1.0), conductances(ReRAM(), state, 1.0))


def test_the_polynomial_takes_the_absolute_conductance():
    # 12.5 uS is x = 0.3125 of 40 uS, whatever g_max: 0.348 + 5.009375 - 4.28251953 + 1.38528442 - 0.16036034.
    cell = ReRAM(g_max=25e-6)
    np.testing.assert_allclose(deviation_us(cell, 12.5, 1.0), 2.29977956, rtol=2e-5)
    # The same through a crossbar: a weight of 0.5 on 25 uS, whose idle partner is half-normal with 0.348 uS.
    store = Crossbar(cell=cell)
    w = np.asarray(stored(store, jax.random.key(2), np.full((N, 1), 0.5, np.float32), 1.0).mean, np.float64)
    idle_mean, idle_variance = 0.348 / math.sqrt(2 * math.pi), 0.348**2 * (0.5 - 0.5 / math.pi)
    std = math.sqrt(2.29977956**2 + idle_variance) / 25
    assert_moments(w, (12.5 - idle_mean) / 25, std)


def test_programming_noise_multiplies_the_standard_deviation_at_every_time():
    state = programmed(0.5)
    for time in TIMES_S.values():
        one, half = (np.asarray(conductances(ReRAM(programming_noise=s), state, time)) - 20e-6 for s in (0.5, 0.25))
        np.testing.assert_allclose(half, 0.5 * one, rtol=1e-3, atol=1e-11)
        np.testing.assert_array_equal(conductances(ReRAM(programming_noise=0.0), state, time), equal(20))


def test_gradients_with_respect_to_the_coefficients_are_the_powers_of_x():
    # dg/dc_k = x^k xi at 1 s, and nothing from the coefficients of later times.
    state = programmed(0.75)
    gradients = jax.jit(jax.grad(lambda cell: cell.read(state, 1.0).mean.sum()))(ReRAM())
    total = float(np.asarray(state.deviate, np.float64).sum())
    np.testing.assert_allclose(gradients.sigma_1s, [total * 0.75**k for k in range(5)], rtol=1e-3)
    np.testing.assert_allclose([*gradients.sigma_1day, *gradients.sigma_2days], 0, atol=1e-3 * abs(total))


def test_reading_is_noiseless_and_says_so():
    cell, state = ReRAM(), programmed(0.5)
    expected = read(cell, state, 1.0)
    assert expected.variance is None
    np.testing.assert_array_equal(read_sampled(cell, state, 1.0, jax.random.key(3)).mean, expected.mean)
    assert cell.time_limit_s == 172800.0


def test_a_conductance_beyond_the_measured_window_is_refused():
    with pytest.raises(InputError, match=r"ReRAM.g_max = 5e-05: must be .* at most 4e-05 .*unit: S"):
        ReRAM(g_max="50 uS")
