"""NOR flash: tuned to within 1 % of the target, drift of 3 % from 25 C to 85 C (X. Guo et al., arXiv 1611.03379)."""

import math

import jax
import numpy as np
import pytest
from scipy import stats

from analogsim import InputError
from analogsim.devices import Crossbar, NORFlash
from tests.support.cells import N, equal, over, program, read, stored
from tests.support.sampling import assert_moments

programming_error = jax.jit(lambda cell, target: cell.programming_error(target))


@pytest.mark.parametrize("target", [0.01, 0.3, 10.0])
def test_every_cell_is_within_the_tolerance_and_evenly_so(target):
    state = program(NORFlash(), jax.random.fold_in(jax.random.key(1), int(100 * target)), equal(target))
    error = np.asarray(state.conductance, np.float64) * 1e6 / target - 1
    assert np.abs(error).max() < 0.01 + 1e-6
    assert_moments(error * 100, 0.0, 1 / math.sqrt(3))
    assert stats.kstest(error, stats.uniform(-0.01, 0.02).cdf).pvalue > 1e-4
    ours = programming_error(NORFlash(), np.float32(target * 1e-6))
    assert float(ours) * 1e6 == pytest.approx(0.0057735 * target, rel=1e-5)  # 0.01/sqrt(3)


def test_the_window_is_three_decades():
    assert NORFlash().g_max / NORFlash().g_min == pytest.approx(1000, rel=1e-9)


@pytest.mark.parametrize(("celsius", "factor"), [(25.0, 1.0), (55.0, 1.015), (85.0, 1.03)])
def test_all_currents_move_together_with_temperature(celsius, factor):
    state = program(NORFlash(), jax.random.key(2), over(0.01, 10.0))
    for time_s in (0.0, 1.0):
        now = read(NORFlash(temperature=celsius + 273.15), state, time_s)
        assert now.variance is None
        np.testing.assert_allclose(np.asarray(now.mean) / np.asarray(state.conductance), factor, rtol=1e-6)


def test_temperature_is_written_with_its_unit_and_may_be_swept():
    assert NORFlash(temperature="350 K").temperature == 350.0
    state = program(NORFlash(), jax.random.key(3), equal(1.0))
    gradient = jax.jit(jax.grad(lambda t: NORFlash(temperature=t).read(state, 0.0).mean[0]))(300.0)
    assert float(gradient) / float(np.asarray(state.conductance)[0]) == pytest.approx(0.03 / 60, rel=1e-4)


def test_programming_noise_multiplies_and_zero_is_exact():
    target = over(0.01, 10.0)
    one, two, none = (
        np.asarray(program(NORFlash(programming_noise=p), jax.random.key(4), target).conductance)
        for p in (1.0, 2.0, 0.0)
    )
    np.testing.assert_array_equal(none, target)
    np.testing.assert_allclose(two / target - 1, 2 * (one / target - 1), atol=1e-6)


def test_weights_of_a_crossbar_carry_the_error_of_both_cells():
    # A weight of 1 is 10 uS against 10 nS: 0.577350 % of each, over 9.99 uS.
    store = Crossbar(cell=NORFlash())
    weights = np.ones((N, 1), np.float32)
    w, later = (np.asarray(stored(store, jax.random.key(5), weights, t).mean, np.float64) for t in (1.0, 60.0))
    assert_moments(w, 1.0, 0.0057735027 * math.hypot(10, 0.01) / 9.99)
    assert np.all(np.isnan(later))  # no retention data


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (
            dict(temperature=273.0),
            r"NORFlash.temperature = 273: must be at least 298.15 and at most 358.15 \(unit: K\)",
        ),
        (dict(temperature="360 K"), r"NORFlash.temperature = 360: must be"),
    ],
)
def test_bad_values_are_refused(bad, message):
    with pytest.raises(InputError, match=message):
        NORFlash(**bad)
