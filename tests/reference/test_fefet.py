"""FeFET against its ladder of levels, worked here without our code.

32 levels between 1/(45 559 kohm) = 39.75353 nS and 1/559 kohm = 1788.909 nS on y(x) = (1 - e^(-x/a))/(1 - e^(-1/a)),
whose label 1.75 means max (y - x) = 0.07 sqrt(2) 1.75 (M. Jerry et al., IEDM 2017; NeuroSim's table; IEEE TCAD 37, 3067
(2018)).
"""

import math

import jax
import numpy as np
import pytest
from scipy import optimize

from analogsim import InputError
from analogsim.devices import Crossbar, FeFET
from tests.support.cells import N, equal, over, program, stored
from tests.support.sampling import assert_moments, censored

ON, OFF = 1788.90877, 39.7535281  # nS: 1e9/559e3, and that over 45
SIGMA = 8.7457762  # nS: 0.005 of the window, 1749.15524 nS

programming_error = jax.jit(lambda cell, target: cell.programming_error(target))


def written(cell, key, target) -> np.ndarray:
    """Conductances in nS."""
    return np.asarray(program(cell, key, target).conductance, np.float64) * 1e9


def bow(a: float) -> float:
    """Largest distance of the curve from a straight line; its gradient is 1 where e^(-x/a) = a (1 - e^(-1/a))."""
    full = 1 - math.exp(-1 / a)
    x = -a * math.log(a * full)
    return (1 - math.exp(-x / a)) / full - x


def levels() -> np.ndarray:
    """The 32 conductances in nS."""
    a = optimize.brentq(lambda a: bow(a) - 0.07 * math.sqrt(2) * 1.75, 0.1, 10, xtol=1e-13)
    p = np.arange(32)
    return OFF + (ON - OFF) * (1 - np.exp(-p / 31 / a)) / (1 - math.exp(-1 / a))


def test_the_curvature_has_the_published_label():
    assert bow(FeFET().curvature) == pytest.approx(0.07 * math.sqrt(2) * 1.75, rel=1e-7)
    # The same equation at the anchors of the label's table: 1 and 2.4.
    assert bow(1.251653) == pytest.approx(0.0989949, rel=1e-5)
    assert bow(0.499181) == pytest.approx(0.2375879, rel=1e-5)


def test_the_window_is_that_of_the_resistances():
    cell = FeFET()
    assert cell.g_max * 1e9 == pytest.approx(ON, rel=1e-8)
    assert cell.g_max / cell.g_min == pytest.approx(45, rel=1e-12)
    # With a = 0.702081: (1 - e^-0.0459467)/(1 - e^-1.4243374) = 0.0449071/0.7593327 of 1749.155 nS; then twice as many.
    assert levels()[:3] == pytest.approx([39.75353, 143.1983, 241.9978], rel=1e-5)


def test_a_target_is_written_as_the_nearest_level():
    target = over(FeFET().g_min * 1e6, FeFET().g_max * 1e6)
    reached, wanted = written(FeFET(noise=0.0), jax.random.key(0), target), target.astype(np.float64) * 1e9
    ladder = levels()
    distance = np.abs(wanted[:, None] - ladder).min(axis=1)
    np.testing.assert_allclose(np.abs(reached - wanted), distance, atol=2e-3)
    np.testing.assert_allclose(np.unique(reached.round(2)), ladder.round(2), atol=0.011)


@pytest.mark.parametrize("p", [1, 16, 29])
def test_a_level_has_the_noise_of_one_pulse(p):
    key = jax.random.fold_in(jax.random.key(1), p)
    assert_moments(written(FeFET(), key, equal(levels()[p] * 1e-3)), levels()[p], SIGMA)


def test_the_ends_of_the_window():
    low, high = (np.full(N, g, np.float32) for g in (FeFET().g_min, FeFET().g_max))
    erased = program(FeFET(), jax.random.key(2), low).conductance
    np.testing.assert_array_equal(erased, low)  # no pulse, no noise
    top = written(FeFET(), jax.random.key(2), high)
    assert_moments(ON - top, *censored(0.0, SIGMA))


@pytest.mark.parametrize("place", [0.0, 0.3, 0.5, 0.8])
def test_rms_error_is_rounding_and_noise(place):
    low, high = levels()[[7, 8]]
    g = low + place * (high - low)
    expected = math.hypot(min(place, 1 - place) * (high - low), SIGMA)
    ours = float(programming_error(FeFET(), np.float32(g * 1e-9))) * 1e9
    assert ours == pytest.approx(expected, rel=1e-4)
    twice = float(programming_error(FeFET(programming_noise=2.0), np.float32(low * 1e-9))) * 1e9
    assert twice == pytest.approx(2 * SIGMA, rel=1e-4)


def test_a_crossbar_holds_weights_and_has_no_data_later():
    store = Crossbar(cell=FeFET(noise=0.0))
    ladder = (levels() - OFF) / (ON - OFF)
    weights = np.stack([ladder, -ladder], axis=1).astype(np.float32)
    for time_s in (0.0, 1.0):
        np.testing.assert_allclose(stored(store, jax.random.key(3), weights, time_s).mean, weights, atol=2e-6)
    assert np.all(np.isnan(stored(store, jax.random.key(3), weights, 2.0).mean))


def test_noise_and_levels_may_be_swept():
    target = np.full(2000, levels()[20] * 1e-9, np.float32)

    def conductances(noise):
        return FeFET(noise=noise).program(jax.random.key(4), target).conductance

    one, other = np.asarray(jax.jit(jax.vmap(conductances))(np.array([0.002, 0.004], np.float32))).std(axis=1)
    assert other / one == pytest.approx(2, rel=1e-3)
    two = FeFET(levels=2, noise=0.0)
    reached = [written(two, jax.random.key(5), equal(g))[0] for g in (0.9, 0.95)]
    np.testing.assert_allclose(reached, [OFF, ON], rtol=1e-6)  # the middle is 914.33 nS


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (dict(g_max="2 uS"), r"FeFET.g_max = 2e-06: must be within window"),
        (dict(window=(1e-6, 1e-6)), r"FeFET.window = .*: must begin with its smaller end"),
    ],
)
def test_bad_values_are_refused(bad, message):
    with pytest.raises(InputError, match=message):
        FeFET(**bad)
