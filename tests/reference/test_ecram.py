"""ECRAM against its steps and its write, worked here without our code, and against pulses given one by one in numpy.

Up steps s (1 - c_up w/w_max), down steps s (1 - c_down w/w_min), each times (1 + sigma xi); rms error of a write that
is read until k pulses are missing: s sqrt(1/12 + k sigma^2 + k^2 delta^2). Lithium: s 0.002, w -0.8276..1.1724, slopes
0.1153/0.5085, sigma 0.3 (J. Tang et al., IEDM 2018); metal oxide: 2.8214e-4, -0.8286..1.1714, 0.4152/0.7342, 2.0 (S.
Kim et al., IEDM 2019); delta 0.1. With the window of 15-30 uS one unit of w is 7.5 uS.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from analogsim.devices import ECRAM, Crossbar, InputError
from tests.sampling import assert_moments, censored

N = 100_000
OXIDE = ECRAM.metal_oxide()
#: (cell, direction, conductance in uS): step in nS by hand, 7500 nS times s times the slope's factor.
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

program = jax.jit(lambda cell, key, target: cell.program(key, target).conductance)
MIDDLE = 21.207  # uS, where up and down steps are equal


def cell_of(name: str, **changes) -> ECRAM:
    return (ECRAM if name == "lithium" else ECRAM.metal_oxide)(**changes)


@pytest.mark.parametrize(("name", "approach", "g"), STEPS)
def test_steps_and_their_slopes(name, approach, g):
    ours = cell_of(name, approach=approach).step_at(jnp.float32(g * 1e-6))
    assert float(ours) * 1e9 == pytest.approx(STEPS[name, approach, g], rel=3e-6)


@pytest.mark.parametrize(("name", "k"), RMS)
def test_a_write_leaves_rounding_and_the_noise_of_the_last_pulses(name, k):
    cell = cell_of(name, blind_pulses=k)
    step = {"lithium": 15.0, "oxide": 7500 * 2.8214e-4}[name]  # nS; the oxide's w = 0 is 7.5 0.0010 uS higher
    g = MIDDLE if name == "lithium" else 15 + 7.5 * 0.8286
    target = jnp.full(N, g * 1e-6)
    error = (np.asarray(program(cell, jax.random.key(1), target), np.float64) - float(target[0])) * 1e9
    assert_moments(error, 0.0, step * RMS[name, k])
    assert float(cell.programming_error(target[0])) * 1e9 == pytest.approx(step * RMS[name, k], rel=1e-5)


def test_read_to_the_end_the_error_is_uniform_in_half_a_step():
    target = jnp.full(N, MIDDLE * 1e-6)
    cell = ECRAM(blind_pulses=0)
    error = (np.asarray(program(cell, jax.random.key(2), target), np.float64) - float(target[0])) * 1e9 / 15
    assert np.abs(error).max() < 0.5005
    assert stats.kstest(error, stats.uniform(-0.5, 1).cdf).pvalue > 1e-4


def by_pulses(rng, n: int, k: int, step: float, slope: tuple, bounds: tuple, sigma: float) -> np.ndarray:
    """Errors, in units of w, of ``n`` cells written to w = 0.3 pulse by pulse from some 60 steps below."""
    target = 0.3
    size = 1 + 0.1 * rng.standard_normal(n)  # every cell's own
    nominal = step * (1 - slope[0] * target / bounds[1])
    w = target - nominal * (60 + 5 * rng.standard_normal(n))
    writing = np.ones(n, bool)

    def pulse(where, up):
        factor = 1 - slope[0] * w / bounds[1] if up else -(1 - slope[1] * w / bounds[0])
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
        (dict(step=0.002, slope=(0.1153, 0.5085), bounds=(-0.8276, 1.1724), sigma=0.3), 1),
        (dict(step=0.002, slope=(0.1153, 0.5085), bounds=(-0.8276, 1.1724), sigma=0.3), 5),
        (dict(step=2.8214e-4, slope=(0.4152, 0.7342), bounds=(-0.8286, 1.1714), sigma=2.0), 1),
    ],
)
def test_the_error_is_that_of_pulses_given_one_by_one(fit, k):
    error = by_pulses(np.random.default_rng(3), 20_000, k, **fit)
    expected = math.sqrt(1 / 12 + k * fit["sigma"] ** 2 + (0.1 * k) ** 2)
    # A cell that arrives from below with noisy steps is last read a little late: its rounding is not quite centred.
    assert abs(error.mean()) < 0.06
    assert np.sqrt(np.mean(error**2)) == pytest.approx(expected, rel=0.04)


def test_the_ends_of_the_window():
    low = program(ECRAM(), jax.random.key(4), jnp.full(N, 15e-6))
    np.testing.assert_array_equal(low, np.float32(15e-6))  # erased: no pulse, no error
    near = program(ECRAM(), jax.random.key(4), jnp.full(N, 15.005e-6))  # within half of 16.2 nS
    np.testing.assert_array_equal(near, np.float32(15e-6))
    high = np.asarray(program(ECRAM(), jax.random.key(4), jnp.full(N, 30e-6)), np.float64)
    assert high.max() == np.float32(30e-6)
    assert abs(np.mean(high == np.float32(30e-6)) - 0.5) < 4 * 0.5 / math.sqrt(N)
    down = ECRAM(approach="down")
    np.testing.assert_array_equal(program(down, jax.random.key(4), jnp.full(N, 30e-6)), np.float32(30e-6))


def test_programming_noise_multiplies_and_zero_is_exact():
    target = jnp.linspace(15e-6, 30e-6, 1001)
    np.testing.assert_array_equal(program(ECRAM(programming_noise=0.0), jax.random.key(5), target), target)
    inside = target[5:-50]
    one, two = (program(ECRAM(programming_noise=p), jax.random.key(5), inside) for p in (1.0, 2.0))
    np.testing.assert_allclose(two - inside, 2 * (one - inside), rtol=1e-2, atol=1e-11)


def test_weights_of_a_crossbar():
    # A weight of -0.4138 is 21.207 uS against the erased 15 uS, whose cell has no error: 6.422616 nS over 15 uS.
    store = Crossbar(cell=ECRAM())
    state = jax.jit(store.program)(jax.random.key(6), jnp.full((N, 1), -0.4138))
    now = jax.jit(store.read)(state, 1.0)
    assert now.variance is None
    assert_moments((np.asarray(now.mean, np.float64) + 0.4138) * 1e4, 0.0, 15e-3 * RMS["lithium", 1] / 15 * 1e4)
    assert np.all(np.isnan(jax.jit(store.read)(state, 1.001).mean))  # no retention data
    np.testing.assert_array_equal(jax.jit(store.read)(state, 0.0).mean, now.mean)


def test_noise_sweeps_and_slopes():
    target = jnp.full(2000, 20e-6)
    sweep = jax.vmap(lambda s: ECRAM(step_noise=s, blind_pulses=1).programming_error(target[0]))(jnp.array([0.0, 0.3]))
    assert float(sweep[1] / sweep[0]) == pytest.approx(math.sqrt((1 / 12 + 0.1) / (1 / 12 + 0.01)), rel=1e-5)
    # d rms/d sigma = s sigma/sqrt(1/12 + sigma^2 + delta^2); s at 20 uS: 15 (1 + 0.1153 0.16093/1.1724) nS.
    slope = jax.grad(lambda s: ECRAM(step_noise=s).programming_error(target[0]))(0.3)
    assert float(slope) * 1e9 == pytest.approx(15 * (1 + 0.1153 * 0.1609333 / 1.1724) * 0.3 / 0.42817442, rel=1e-4)
    for k in (0, 1):
        of_mean = jax.grad(
            lambda s, k=k: program(ECRAM(step_noise=s, blind_pulses=k), jax.random.key(0), target).mean()
        )
        assert np.isfinite(of_mean(0.0))


def test_the_cut_gaussian_of_a_noisy_oxide_at_its_upper_end():
    # 2.0 dominates 1/12: at the end half of a nearly Gaussian error is cut, 1.237466 nS a step.
    cell, sigma = OXIDE.replace(blind_pulses=4), 1.237466 * math.sqrt(1 / 12 + 16 + 0.16)
    below = (30e-6 - np.asarray(program(cell, jax.random.key(7), jnp.full(N, 30e-6)), np.float64)) * 1e9
    assert_moments(below, *censored(float((30e-6 - np.float64(np.float32(30e-6))) * 1e9), sigma))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (dict(g_max="40 uS"), r"ECRAM.g_max = 4e-05: must be within window = \(1.5e-05, 3e-05\) \(unit: S\)"),
        (dict(g_min=0.0), r"ECRAM.g_min = 0: must be within window"),
        (dict(window=(3e-5, 1e-5)), r"ECRAM.window = .*: must begin with its smaller end"),
        (dict(bounds=(0.5, 1.0)), r"ECRAM.bounds = .*: must be one below and one above 0"),
        (dict(slopes=(1.0, 0.1)), r"ECRAM.slopes = 1: must be .* less than 1"),
        (dict(blind_pulses=1.5), r"ECRAM.blind_pulses = 1.5: must be a whole number"),
        (dict(approach="sideways"), r"ECRAM.approach = 'sideways': must be one of 'up', 'down'"),
    ],
)
def test_bad_values_are_refused(bad, message):
    with pytest.raises(InputError, match=message):
        ECRAM(**bad)
