"""HERMES phase-change cells against the published fit, worked here without our code.

    sigma_P = c0 + c1 x + c2 x^2 + c3 x^3 uS      x = g/20.7 uS (two pairs a weight) or g/10.35 uS (one)
    nu      = |N(mu(x), sigma(x)^2)|              g(t) = g_P ((t + t0)/t0)^-nu, t0 = 300 s or 200 s
    sigma_R = g(t) Q(x) sqrt(ln((t + t0 + 512 ns)/1024 ns))

M. Le Gallo et al., Nat. Electron. 6, 680 (2023); R. Khaddam-Aljameh et al., JSSC 57 (2022); A. Vasilopoulos et al.,
IEEE Trans. Electron Devices (2023); constants as in aihwkit. Samples are held to four standard errors.
"""

import functools
import math

import jax
import numpy as np
import pytest

from analogsim import InputError
from analogsim.devices import Crossbar, HermesPCM, describe, sources
from tests.support.cells import WEIGHTS, equal, over, program, read, read_sampled, stored
from tests.support.sampling import assert_moments, censored, of_gaussian

G = {2: 20.7, 1: 10.35}
T0 = {2: 300.0, 1: 200.0}
CELLS = {2: HermesPCM(), 1: HermesPCM.one_pair()}
#: (pairs, x): programming spread in uS, a sum of four products by hand.
PROGRAMMING = {
    (2, 0.0): 0.16603222,
    (2, 0.25): 0.88876033,  # 0.16603222 + 1.17951617 - 0.53006328 + 0.07327522
    (2, 0.5): 0.99101320,  # 0.16603222 + 2.35903234 - 2.12025313 + 0.58620177
    (2, 1.0): 1.09269857,
    (1, 0.0): 0.15781817,
    (1, 0.25): 0.61449022,  # 0.15781817 + 0.58110979 - 0.13519427 + 0.01075653
    (1, 0.5): 0.86531293,  # 0.15781817 + 1.16221958 - 0.54077710 + 0.08605227
    (1, 1.0): 1.00756712,
}
#: (pairs, x): mu, sigma of nu and Q. ln 0.01 = -4.6051702, ln 0.09 = -2.4079456, ln 0.2 = -1.6094379.
FITS = {
    (2, 0.01): (0.13, 0.04, 0.04),  # 0.16002 and 0.04818 and 0.04698, all clipped
    (2, 0.09): (0.07498749, 0.02247296, 0.02127296),
    (2, 0.2): (0.069336, 0.01313042, 0.0154552),  # Q: 0.0000552 - 0.00112 + 0.00422 + 0.0123
    (2, 0.5): (0.0564, 0.009, 0.0167125),  # mu: -0.0109 - 0.0063 + 0.0736
    (2, 1.0): (0.0174, 0.0048, 0.0123),
    (1, 0.09): (0.07498749, 0.02659535, 0.02258198),
    (1, 0.2): (0.069336, 0.01701325, 0.0192832),  # Q: 0.0005312 - 0.005408 + 0.01536 + 0.0088
    (1, 0.5): (0.0564, 0.012075, 0.0217),  # sigma: -0.004125 + 0.0058 + 0.0104
    (1, 1.0): (0.0174, 0.0055, 0.0168),
}
#: (pairs, x, t): read noise in uS, by hand: G x Q times the root of ln((t + t0 + 5.12e-7)/1.024e-6).
READ_NOISE = {
    (2, 0.5, 0.0): 0.7637475,  # 10.35 x 0.0167125 x sqrt(19.4955765)
    (2, 1.0, 86400.0): 1.2771681,  # 20.7 x 0.0123 x sqrt(25.1620032)
    (1, 0.5, 0.0): 0.4906528,  # 5.175 x 0.0217 x sqrt(19.0901115)
    (1, 0.09, 31557600.0): 0.1172302,  # 0.9315 x 0.02258198 x sqrt(31.0591254)
}


@functools.cache
def programmed(pairs: int, x: float, **off):
    """``N`` cells written to x, without programming noise if asked."""
    cell = CELLS[pairs].replace(**off)
    key = jax.random.fold_in(jax.random.key(pairs), int(1000 * x))
    return cell, program(cell, key, equal(G[pairs] * x))


@pytest.mark.parametrize(("pairs", "x"), PROGRAMMING)
def test_programming_has_the_published_mean_and_standard_deviation(pairs, x):
    cell, state = programmed(pairs, x)
    exact = sum(float(c) * 1e6 * x**k for k, c in enumerate(cell.programming_sigma))
    assert exact == pytest.approx(PROGRAMMING[pairs, x], rel=1e-7)
    assert_moments(np.asarray(state.conductance) * 1e6, *censored(G[pairs] * x, PROGRAMMING[pairs, x]))


at = jax.jit(lambda branch, x: branch.at(x))


@pytest.mark.parametrize(("pairs", "x"), FITS)
def test_the_branches_are_the_published_ones(pairs, x):
    cell = CELLS[pairs]
    ours = [float(at(branch, np.float32(x))) for branch in (cell.drift_mean, cell.drift_std, cell.read_noise_fit)]
    assert ours == pytest.approx(FITS[pairs, x], rel=2e-5)


@pytest.mark.parametrize(("pairs", "x"), FITS)
def test_a_day_of_drift_is_the_expectation_of_the_power_law(pairs, x):
    mu, sigma, _ = FITS[pairs, x]
    cell, state = programmed(pairs, x, programming_noise=0.0, read_noise=0.0)
    assert_moments(state.drift_exponent, *of_gaussian(lambda z: np.abs(mu + sigma * z)))
    ratio = (86400 + T0[pairs]) / T0[pairs]
    kept = np.asarray(read(cell, state, 86400.0).mean, np.float64) / (G[pairs] * x * 1e-6)
    assert_moments(kept, *of_gaussian(lambda z: ratio ** -np.abs(mu + sigma * z)))


@pytest.mark.parametrize(("pairs", "x", "time_s"), READ_NOISE)
def test_read_noise_has_the_published_standard_deviation(pairs, x, time_s):
    sigma = G[pairs] * x * FITS[pairs, x][2] * math.sqrt(math.log((time_s + T0[pairs] + 512e-9) / 1024e-9))
    assert sigma == pytest.approx(READ_NOISE[pairs, x, time_s], rel=1e-6)
    cell, state = programmed(pairs, x, programming_noise=0.0, drift=0.0)
    mean, std = censored(G[pairs] * x, sigma)
    expected = read(cell, state, time_s)
    np.testing.assert_allclose(np.asarray(expected.mean) * 1e6, mean, rtol=1e-5)
    np.testing.assert_allclose(np.sqrt(expected.variance) * 1e6, std, rtol=1e-5)
    assert_moments(np.asarray(read_sampled(cell, state, time_s, jax.random.key(9)).mean) * 1e6, mean, std)


def test_drift_and_noise_follow_the_conductance_that_was_reached():
    _, state = programmed(1, 0.2)
    x = np.asarray(state.conductance, np.float64) / 10.35e-6
    q = np.where(
        x < 0.1591,
        np.clip(0.0038 - 0.0078 * np.log(np.maximum(x, 1e-7)), 0.0179, 0.04),
        0.0088 + 0.0768 * x - 0.1352 * x**2 + 0.0664 * x**3,
    )
    inside = np.abs(x - 0.1591) > 1e-5
    np.testing.assert_allclose(np.asarray(state.read_noise)[inside], q[inside], rtol=1e-4)


def test_beyond_the_window_the_fit_holds_its_last_value():
    cell = CELLS[1]
    for branch in (cell.drift_mean, cell.drift_std, cell.read_noise_fit):
        assert float(at(branch, np.float32(1.4))) == float(at(branch, np.float32(1.0))) > 0


def test_time_zero_is_what_was_programmed_and_one_exponent_rules_a_life():
    cell, state = programmed(2, 0.5, read_noise=0.0)
    np.testing.assert_array_equal(read(cell, state, 0.0).mean, state.conductance)
    for t in (60.0, 86400.0, 315576000.0):
        nu = -np.log(np.asarray(read(cell, state, t).mean, np.float64) / np.asarray(state.conductance)) / math.log1p(
            t / 300
        )
        np.testing.assert_allclose(nu, state.drift_exponent, rtol=1e-3, atol=1e-6)


def test_the_fit_takes_the_absolute_conductance():
    # A smaller window does not change a cell: 10.35 uS of 20.7 uS is x = 0.5 whatever g_max.
    small = HermesPCM(g_max="15 uS")
    a, b = (program(c, jax.random.key(5), equal(10.35)) for c in (HermesPCM(), small))
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_two_devices_are_programmed_more_precisely_than_one():
    # Relative to the window, over all targets: the purpose of the second device.
    errors = {}
    for pairs, cell in CELLS.items():
        target = over(0.0, G[pairs])
        state = program(cell, jax.random.key(6), target)
        errors[pairs] = np.std(np.asarray(state.conductance, np.float64) - target) / (G[pairs] * 1e-6)
    assert errors[2] < 0.7 * errors[1]


def test_a_crossbar_of_hermes_cells_reads_back_its_weights():
    store = Crossbar(cell=HermesPCM.one_pair(programming_noise=0.0, drift=0.0))
    np.testing.assert_allclose(stored(store, jax.random.key(0), WEIGHTS, 3600.0).mean, WEIGHTS, atol=1e-6)


def test_every_constant_names_its_source():
    assert sources(HermesPCM())
    published = [s for s in sources(HermesPCM.one_pair()) if not s.startswith("assumed")]  # how long a reading lasts
    assert published
    assert all("Le Gallo" in s for s in published)
    assert "drift_mean: Branches" in describe(HermesPCM())
    assert HermesPCM.one_pair(drift=0.0).drift == 0.0


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: HermesPCM(g_max="25 uS"), r"HermesPCM.g_max = 2.5e-05: must be at most fit_g_max = 2.07e-05"),
        (lambda: HermesPCM.one_pair(g_max="20 uS"), r"g_max = 2e-05: must be at most fit_g_max = 1.035e-05"),
    ],
)
def test_values_outside_of_the_fit_are_refused(build, message):
    with pytest.raises(InputError, match=message):
        build()
