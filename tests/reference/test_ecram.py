"""ECRAM against its steps and its write, worked here without our code, and against pulses given one by one in numpy.

Up steps s (1 - c_up w/w_max), down steps s (1 - c_down w/w_min), each times (1 + sigma xi); rms error of a write that
is read until k pulses are missing: s sqrt(1/12 + k sigma^2 + k^2 delta^2). Lithium: s 0.002, w -0.8276..1.1724, c
0.1153/0.5085, sigma 0.3 (J. Tang et al., IEDM 2018); metal oxide: 2.8214e-4, -0.8286..1.1714, 0.4152/0.7342, 2.0 (S.
Kim et al., IEDM 2019); delta 0.1. With the window of 15-30 uS one unit of w is 7.5 uS.
"""

import math

import jax
import numpy as np
import pytest
from scipy import stats

from analogsim import InputError
from analogsim.devices import ECRAM, Crossbar
from tests.support.cells import N, equal, over, program, stored
from tests.support.sampling import assert_moments, censored

OXIDE = ECRAM.metal_oxide()
#: (cell, direction, conductance in uS): step in nS by hand, 7500 nS times s times the gradient's factor.
STEPS = {
    ("lithium", "up", 15.0): 16.220845,  # 15 (1 + 0.1153 0.8276/1.1724) = 15 (1 + 0.08138966)
    ("lithium", "up", 21.207): 15.0,  # w = 0: 15 + 7.5 0.8276 uS
    ("lithium", "up", 30.0): 13.2705,  # 15 (1 - 0.1153)
    ("lithium", "down", 15.0): 7.3725,  # 15 (1 - 0.5085)
    ("lithium", "down", 21.207): 15.0,
    ("lithium", "down", 30.0): 25.805386,  # 15 (1 + 0.5085 1.1724/0.8276) = 15 (1 + 0.72035904)
    ("oxide", "up", 15.0): 2.737525,  # 2.11605 (1 + 0.4152 0.8286/1.1714) = 2.11605 (1 + 0.29369575)
    ("oxide", "up", 30.0): 1.237466,  # 2.11605 (1 - 0.4152)
    ("oxide", "down", 30.0): 4.312396,  # 2.11605 (1 + 0.7342 1.1714/0.8286) = 2.11605 (1 + 1.03794637)
}
#: (cell, k): rms error in units of a step, by hand.
RMS = {
    ("lithium", 0): 0.28867513,  # sqrt(1/12)
    ("lithium", 1): 0.42817442,  # sqrt(1/12 + 0.09 + 0.01)
    ("lithium", 4): 0.77674535,  # sqrt(1/12 + 0.36 + 0.16)
    ("oxide", 1): 2.02320373,  # sqrt(1/12 + 4 + 0.01)
}

step_at = jax.jit(lambda cell, g: cell.step_at(g))
programming_error = jax.jit(lambda cell, target: cell.programming_error(target))
MIDDLE = 21.207  # uS, where up and down steps are equal


def written(cell, key, target) -> np.ndarray:
    return np.asarray(program(cell, key, target).conductance)


def cell_of(name: str, **changes) -> ECRAM:
    return (ECRAM if name == "lithium" else ECRAM.metal_oxide)(**changes)


@pytest.mark.parametrize(("name", "approach", "g"), STEPS)
def test_steps_and_their_gradients(name, approach, g):
    ours = step_at(cell_of(name, approach=approach), np.float32(g * 1e-6))
    assert float(ours) * 1e9 == pytest.approx(STEPS[name, approach, g], rel=3e-6)


@pytest.mark.parametrize(("name", "k"), RMS)
def test_a_write_leaves_rounding_and_the_noise_of_the_last_pulses(name, k):
    cell = cell_of(name, blind_pulses=k)
    step = {"lithium": 15.0, "oxide": 7500 * 2.8214e-4}[name]  # nS; the oxide's w = 0 is 7.5 0.0010 uS higher
    g = MIDDLE if name == "lithium" else 15 + 7.5 * 0.8286
    target = equal(g)
    error = (written(cell, jax.random.key(1), target).astype(np.float64) - float(target[0])) * 1e9
    assert_moments(error, 0.0, step * RMS[name, k])
    assert float(programming_error(cell, target[0])) * 1e9 == pytest.approx(step * RMS[name, k], rel=1e-5)


def test_read_to_the_end_the_error_is_uniform_in_half_a_step():
    target, cell = equal(MIDDLE), ECRAM(blind_pulses=0)
    error = (written(cell, jax.random.key(2), target).astype(np.float64) - float(target[0])) * 1e9 / 15
    assert np.abs(error).max() < 0.5005
    assert stats.kstest(error, stats.uniform(-0.5, 1).cdf).pvalue > 1e-4


def by_pulses(rng, n: int, k: int, step: float, gradient: tuple, bounds: tuple, sigma: float) -> np.ndarray:
    """Errors, in units of w, of ``n`` cells written to w = 0.3 pulse by pulse from some 60 steps below."""
    target = 0.3
    size = 1 + 0.1 * rng.standard_normal(n)  # every cell's own
    nominal = step * (1 - gradient[0] * target / bounds[1])
    w = target - nominal * (60 + 5 * rng.standard_normal(n))
    writing = np.ones(n, bool)

    def pulse(where, up):
        factor = 1 - gradient[0] * w / bounds[1] if up else -(1 - gradient[1] * w / bounds[0])
        noise = 1 + sigma * rng.standard_normal(n)
        w[where] += (step * size * factor * noise)[where]

    for _ in range(20_000):
        missing = np.round((target - w) / nominal)  # what the read says
        arrived = writing & (missing == k)
        for _ in range(k):
            pulse(arrived, up=True)
        writing &= ~arrived
        if not writing.any():
            break
        pulse(writing & (missing > k), up=True)
        pulse(writing & (missing < k), up=False)
    assert not writing.any()
    return (w - target) / nominal


@pytest.mark.parametrize(
    ("fit", "k"),
    [
        (dict(step=0.002, gradient=(0.1153, 0.5085), bounds=(-0.8276, 1.1724), sigma=0.3), 1),
        (dict(step=0.002, gradient=(0.1153, 0.5085), bounds=(-0.8276, 1.1724), sigma=0.3), 5),
        (dict(step=2.8214e-4, gradient=(0.4152, 0.7342), bounds=(-0.8286, 1.1714), sigma=2.0), 1),
    ],
)
def test_the_error_is_that_of_pulses_given_one_by_one(fit, k):
    error = by_pulses(np.random.default_rng(3), 20_000, k, **fit)
    expected = math.sqrt(1 / 12 + k * fit["sigma"] ** 2 + (0.1 * k) ** 2)
    # A cell that arrives from below with noisy steps is last read a little late: its rounding is not quite centred.
    assert abs(error.mean()) < 0.06
    assert np.sqrt(np.mean(error**2)) == pytest.approx(expected, rel=0.04)


def test_the_ends_of_the_window():
    key, up, down = jax.random.key(4), ECRAM(), ECRAM(approach="down")
    low, high = np.float32(15e-6), np.float32(30e-6)
    np.testing.assert_array_equal(written(up, key, equal(15.0)), low)  # erased: no pulse, no error
    np.testing.assert_array_equal(written(up, key, equal(15.005)), low)  # within half of 16.2 nS
    top = written(up, key, equal(30.0))
    assert top.max() == high
    assert abs(np.mean(top == high) - 0.5) < 4 * 0.5 / math.sqrt(N)
    np.testing.assert_array_equal(written(down, key, equal(30.0)), high)


def test_programming_noise_multiplies_and_zero_is_exact():
    target = over(15.0, 30.0)
    none, one, two = (written(ECRAM(programming_noise=p), jax.random.key(5), target) for p in (0.0, 1.0, 2.0))
    np.testing.assert_array_equal(none, target)
    inside = (target > 15.1e-6) & (target < 29.2e-6)
    np.testing.assert_allclose((two - target)[inside], 2 * (one - target)[inside], rtol=1e-2, atol=1e-11)


def test_weights_of_a_crossbar():
    # A weight of -0.4138 is 21.207 uS against the erased 15 uS, whose cell has no error: 6.422616 nS over 15 uS.
    store = Crossbar(cell=ECRAM())
    weights = np.full((N, 1), -0.4138, np.float32)
    soon, now, later = (stored(store, jax.random.key(6), weights, t) for t in (0.0, 1.0, 1.001))
    assert now.variance is None
    assert_moments((np.asarray(now.mean, np.float64) + 0.4138) * 1e4, 0.0, 15e-3 * RMS["lithium", 1] / 15 * 1e4)
    assert np.all(np.isnan(later.mean))  # no retention data
    np.testing.assert_array_equal(soon.mean, now.mean)


def test_noise_sweeps_and_gradients():
    target = np.full(2000, 20e-6, np.float32)

    def closed(sigma):
        return ECRAM(step_noise=sigma, blind_pulses=1).programming_error(target[0])

    sweep = np.asarray(jax.jit(jax.vmap(closed))(np.array([0.0, 0.3], np.float32)), np.float64)
    assert sweep[1] / sweep[0] == pytest.approx(math.sqrt((1 / 12 + 0.1) / (1 / 12 + 0.01)), rel=1e-5)
    # d rms/d sigma = s sigma/sqrt(1/12 + sigma^2 + delta^2); s at 20 uS: 15 (1 + 0.1153 0.16093/1.1724) nS.
    gradient = jax.jit(jax.grad(closed))(0.3)
    assert float(gradient) * 1e9 == pytest.approx(15 * (1 + 0.1153 * 0.1609333 / 1.1724) * 0.3 / 0.42817442, rel=1e-4)

    def sampled(sigma, k):
        return ECRAM(step_noise=sigma, blind_pulses=k).program(jax.random.key(0), target).conductance.mean()

    for k in (0, 1):
        assert np.isfinite(jax.jit(jax.grad(sampled), static_argnums=1)(0.0, k))


def test_the_cut_gaussian_of_a_noisy_oxide_at_its_upper_end():
    # 2.0 dominates 1/12: at the end half of a nearly Gaussian error is cut, 1.237466 nS a step.
    cell, sigma = OXIDE.replace(blind_pulses=4), 1.237466 * math.sqrt(1 / 12 + 16 + 0.16)
    below = (30e-6 - written(cell, jax.random.key(7), equal(30.0)).astype(np.float64)) * 1e9
    assert_moments(below, *censored(float((30e-6 - np.float64(np.float32(30e-6))) * 1e9), sigma))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (dict(g_max="40 uS"), r"ECRAM.g_max = 4e-05: must be within window = \(1.5e-05, 3e-05\) \(unit: S\)"),
        (dict(g_min=0.0), r"ECRAM.g_min = 0: must be within window"),
        (dict(window=(3e-5, 1e-5)), r"ECRAM.window = .*: must begin with its smaller end"),
        (dict(bounds=(0.5, 1.0)), r"ECRAM.bounds = .*: must be one below and one above 0"),
        (dict(step_decrease=(1.0, 0.1)), r"ECRAM.step_decrease = 1: must be .* less than 1"),
    ],
)
def test_bad_values_are_refused(bad, message):
    with pytest.raises(InputError, match=message):
        ECRAM(**bad)
