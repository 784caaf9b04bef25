"""HfO2 cells written by IGVVA-100: sigma = 4.782321 - 0.009107 G in uS (V. Milo et al., IRPS 2021, Fig. 4).

Their current is I = G V + a2 V^2 + a3 V^3 with a2 and a3 cubic polynomials of log10 G.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analogsim import InputError
from analogsim.devices import Crossbar, MiloReRAM
from tests.support.cells import N, equal, program, read_sampled, stored
from tests.support.sampling import assert_moments, censored

#: Spread in uS by hand; 4.327 and 2.733 at the ends are stated beside the published fit.
SPREAD = {50.0: 4.326971, 62.5: 4.2131335, 76.2: 4.0883676, 93.9: 3.9271737, 110.0: 3.780551, 225.0: 2.733246}

current = jax.jit(lambda cell, g, u: cell.current(g, u))


@pytest.mark.parametrize("target", SPREAD)
def test_programming_has_the_published_standard_deviation(target):
    assert 4.782321 - 0.009107 * target == pytest.approx(SPREAD[target], rel=1e-7)
    state = program(MiloReRAM(), jax.random.fold_in(jax.random.key(1), int(target)), equal(target))
    assert_moments(np.asarray(state.conductance) * 1e6, *censored(target, SPREAD[target]))


def test_programming_noise_multiplies_and_is_cut_at_zero():
    state = program(MiloReRAM(programming_noise=20.0), jax.random.key(2), equal(50.0))
    assert_moments(np.asarray(state.conductance) * 1e6, *censored(50.0, 20 * SPREAD[50.0]))


def test_reading_changes_nothing():
    cell = MiloReRAM()
    state = program(cell, jax.random.key(3), equal(100.0))
    for time_s in (0.0, 1.0):
        now = read_sampled(cell, state, time_s, jax.random.key(4))
        assert now.variance is None
        np.testing.assert_array_equal(now.mean, state.conductance)


def test_weights_of_a_crossbar_carry_the_error_of_both_cells():
    # A weight of 0.5 is 137.5 uS against 50 uS: independent errors of 3.530109 and 4.326971 uS over 175 uS.
    store = Crossbar(cell=MiloReRAM())
    w = stored(store, jax.random.key(5), np.full((N, 1), 0.5, np.float32), 1.0).mean
    assert_moments(w, 0.5, math.hypot(3.5301085, 4.326971) / 175)


@pytest.mark.parametrize(
    ("bad", "message"), [(dict(g_min=0.0), "at least 5e-05"), (dict(g_max=1e-3), "at most 0.000225")]
)
def test_conductances_outside_of_the_data_are_refused(bad, message):
    with pytest.raises(InputError, match=message):
        MiloReRAM(**bad)


# --- current ---------------------------------------------------------------------------------------------------------

#: I/(G V) at 0.5 V, as stated beside the published polynomials (0.9665 at 110 uS, rounded up).
HALF_VOLT = {62.5: 0.847, 76.2: 0.912, 93.9: 0.950, 110.0: 0.967, 225.0: 0.996}


@pytest.mark.parametrize("level", HALF_VOLT)
def test_the_current_is_the_published_one(level):
    cell, g = MiloReRAM(), np.float32(level * 1e-6)
    up, down, small = (float(current(cell, g, u)) for u in (0.5, -0.5, 1e-4))
    assert up / (level * 0.5e-6) == pytest.approx(HALF_VOLT[level], abs=6e-4)
    assert down == -up
    assert small == pytest.approx(level * 1e-10, rel=1e-4)
    assert cell.voltage_limit_v == 0.5


def test_coefficients_are_in_si_units():
    # By hand for 100 uS, log10 G = -4: a2 = 7.063e-3 - 4 x 5.711e-3 + 16 x 1.541e-3 - 64 x 1.388e-4 = -8.2e-6 A/V^2,
    # a3 = 1.2968e-3 - 4 x 6.7919e-4 + 16 x 8.871e-5 = -6e-7 A/V^3.
    coefficients = jax.jit(MiloReRAM().current_coefficients)
    g = np.linspace(50e-6, 225e-6, 8)
    square, cube = coefficients(np.full(8, 100e-6, np.float32))
    np.testing.assert_allclose(square, -8.2e-6, rtol=1e-5)
    np.testing.assert_allclose(cube, -6e-7, rtol=1e-5)
    with jax.enable_x64(True):
        square, cube = coefficients(g)
    x = np.log10(g)
    np.testing.assert_allclose(square, np.polyval([1.388e-4, 1.541e-3, 5.711e-3, 7.063e-3], x), rtol=1e-9)
    np.testing.assert_allclose(cube, np.polyval([8.871e-5, 6.7919e-4, 1.2968e-3], x), rtol=1e-9)


def test_the_current_never_falls_with_the_voltage():
    g, u = np.linspace(0.0, 400e-6, 81, dtype=np.float32), np.linspace(-0.5, 0.5, 41, dtype=np.float32)
    by_voltage = jax.vmap(jax.vmap(jax.grad(MiloReRAM().current, 1), (None, 0)), (0, None))
    gradient = np.asarray(jax.jit(by_voltage)(g, u))
    assert np.all(gradient[1:] > 0.4 * g[1:, None])
    np.testing.assert_array_equal(gradient[0], 0)


def test_beyond_the_written_range_the_shape_of_the_nearer_end_is_kept():
    cell = MiloReRAM()
    for inside, outside in ((50e-6, 20e-6), (225e-6, 300e-6)):
        shape = [float(current(cell, np.float32(g), 0.4)) / g for g in (inside, outside)]
        assert shape[1] == pytest.approx(shape[0], rel=1e-6)
    assert float(current(cell, np.float32(0.0), 0.4)) == 0.0
    assert np.isfinite(jax.jit(jax.grad(cell.current))(0.0, 0.4))


def test_the_current_of_narrow_conductances_is_computed_in_float32():
    g = jnp.asarray([64e-6], jnp.bfloat16)
    exact = current(MiloReRAM(), np.float32(g[0]), 0.5)
    np.testing.assert_allclose(current(MiloReRAM(), g, np.float32(0.5)), exact, rtol=1e-3)
