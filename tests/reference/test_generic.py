"""The generic cell against its own closed forms, worked here without our code.

sigma = s g_max, s g or s g_max^2/g; g(t) = g_P (1 + t/t0)^-|N(mean, spread^2)|; sigma_R = r g(t), times
sqrt(ln((t + t0 + t_read)/(2 t_read))) for a 1/f spectrum. Samples are held to four standard errors.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analogsim import InputError
from analogsim.devices import Crossbar, GenericCell
from tests.support.cells import WEIGHTS, N, equal, over, program, read, read_sampled, stored
from tests.support.sampling import assert_moments, censored, of_gaussian

#: (law, target in uS): spread in uS for s = 0.04 and g_max = 25 uS.
SPREAD = {
    ("independent", 0.0): 1.0,
    ("independent", 10.0): 1.0,
    ("independent", 25.0): 1.0,
    ("proportional", 0.0): 0.0,
    ("proportional", 10.0): 0.4,
    ("proportional", 25.0): 1.0,
    ("inverse", 5.0): 5.0,  # a fifth of g_max: five times the standard deviation at g_max; cut at -1 sigma
    ("inverse", 10.0): 2.5,
    ("inverse", 25.0): 1.0,
}
#: The state-independent statistics: nu = |0.1 + 0.05 xi|, 1/f noise of 0.04 g sqrt(ln((t + 20.00000025)/5e-7)).
STATE_INDEPENDENT = dict(programming_sigma=0.2 / 25, drift_mean=0.1, drift_std=0.05, read_noise=0.04, spectrum="1/f")
#: time: (mean of (1 + t/20)^-nu over cells, growth of the noise), the first by quadrature, the second by hand.
LIFE = {0.0: 4.183825, 3600.0: 4.764755, 86400.0: 5.086809, 31557600.0: 5.637019}


programming_error = jax.jit(lambda cell, target: cell.programming_error(target))


def test_by_default_the_cell_is_ideal():
    target = over(0.0, 25.0)
    state = program(GenericCell(), jax.random.key(0), target)
    for time_s in (0.0, 1.0, 1e9):
        now = read(GenericCell(), state, time_s)
        np.testing.assert_array_equal(now.mean, target)
        np.testing.assert_array_equal(now.variance, 0.0)
        np.testing.assert_array_equal(read_sampled(GenericCell(), state, time_s, jax.random.key(1)).mean, target)


def test_an_ideal_crossbar_holds_its_weights_exactly():
    store = Crossbar(cell=GenericCell())
    np.testing.assert_allclose(stored(store, jax.random.key(0), WEIGHTS, 1e6).mean, WEIGHTS, rtol=2e-7)


@pytest.mark.parametrize(("law", "target"), SPREAD)
def test_the_standard_deviation_follows_the_chosen_law(law, target):
    cell = GenericCell(error=law, programming_sigma=0.04, g_min=1e-6)
    closed = np.asarray(programming_error(cell, equal(target))) * 1e6
    np.testing.assert_allclose(closed, SPREAD[law, target], rtol=1e-5)
    written = np.asarray(program(cell, jax.random.key(2), equal(target)).conductance) * 1e6
    if SPREAD[law, target] == 0:
        np.testing.assert_array_equal(written, 0.0)
    else:
        assert_moments(written, *censored(target, SPREAD[law, target]))


def test_an_inverse_error_stops_growing_below_g_min():
    cell = GenericCell(error="inverse", programming_sigma=0.04, g_min=5e-6)
    np.testing.assert_allclose(np.asarray(programming_error(cell, over(0.0, 5.0))) * 1e6, 5.0, rtol=1e-5)


@pytest.mark.parametrize("time_s", LIFE)
def test_the_state_independent_statistics(time_s):
    cell = GenericCell(**STATE_INDEPENDENT).replace(programming_sigma=0.0)
    growth = math.sqrt(math.log((time_s + 20 + 250e-9) / 500e-9))
    assert growth == pytest.approx(LIFE[time_s], rel=1e-6)
    state = program(cell, jax.random.key(3), equal(15))
    now = read(cell.replace(read_noise=0.0), state, time_s)
    kept = np.asarray(now.mean, np.float64) / 15e-6
    if time_s == 0:
        np.testing.assert_allclose(kept, 1.0, rtol=1e-6)
    else:
        assert_moments(kept, *of_gaussian(lambda z: (1 + time_s / 20) ** -np.abs(0.1 + 0.05 * z)))
    # Relative noise is the same for all cells: 0.04 x growth, cut off at zero.
    mean, std = censored(1.0, 0.04 * growth)
    noisy, quiet = read(cell, state, time_s), np.asarray(now.mean)
    np.testing.assert_allclose(np.asarray(noisy.mean) / quiet, mean, rtol=1e-5)
    np.testing.assert_allclose(np.sqrt(noisy.variance) / quiet, std, rtol=1e-5)
    sample = np.asarray(read_sampled(cell, state, time_s, jax.random.key(4)).mean) / quiet
    assert_moments(sample, mean, std)


@pytest.mark.parametrize("time_s", [0.0, 86400.0])
def test_white_noise_does_not_grow(time_s):
    cell = GenericCell(read_noise=0.02)
    state = program(cell, jax.random.key(5), equal(10))
    np.testing.assert_allclose(np.sqrt(read(cell, state, time_s).variance) * 1e6, 0.2, rtol=1e-5)


def test_one_exponent_rules_a_life_in_any_order():
    cell = GenericCell(drift_mean=0.05, drift_std=0.03, programming_sigma=0.01)
    state = program(cell, jax.random.key(6), equal(15))
    for t in (315576000.0, 0.0, 60.0, 86400.0):
        expected = np.asarray(state.conductance, np.float64) * (1 + t / 20) ** -np.asarray(
            state.drift_exponent, np.float64
        )
        np.testing.assert_allclose(read(cell, state, t).mean, expected, rtol=2e-5)


def test_gradients_at_the_ideal_cell_are_those_of_the_closed_forms():
    # d g(t)/d mean = -g ln(1 + t/20), d g_P/d s = g_max xi, both where everything is zero.
    target = equal(10)
    written = program(GenericCell(programming_sigma=0.01), jax.random.key(7), target).conductance
    xi = (np.asarray(written) - target) / 25e-8

    def total(cell):
        return jnp.mean(cell.read(cell.program(jax.random.key(7), target), 180.0).mean)

    gradient = jax.jit(jax.grad(total))(GenericCell())
    assert float(gradient.drift_mean) == pytest.approx(-10e-6 * math.log(10), rel=1e-4)
    assert float(gradient.programming_sigma) == pytest.approx(25e-6 * float(np.mean(xi)), rel=1e-2, abs=1e-9)


def test_a_sweep_is_one_compiled_program():
    def error(sigma):
        cell = GenericCell(programming_sigma=sigma)
        return jnp.std(cell.program(jax.random.key(8), equal(15)).conductance) * 1e6

    swept = jax.jit(jax.vmap(error))(jnp.array([0.0, 0.01, 0.02]))
    np.testing.assert_allclose(swept, [0.0, 0.25, 0.5], rtol=4 / math.sqrt(2 * N), atol=1e-7)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (dict(error="inverse"), "GenericCell.g_min = 0: must be greater than 0 if error = 'inverse'"),
    ],
)
def test_bad_values_are_refused(bad, message):
    with pytest.raises(InputError, match=message):
        GenericCell(**bad)
