"""CMO/HfOx resistive memory against the published fit, worked here without our code. Conductances in uS.

    sigma_P = 0.0112185391 + 0.01129027418 g (2 %)        0.00081107 + 0.00106879 g (0.2 %)
    relaxation: mean -0.08900206 ln t, spread 0.41183342 + 0.04201137 ln t
    sigma_R = 0.0277316483 log10(g) sqrt(ln((t + 1 us)/2 us))

D. F. Falcone et al., arXiv 2502.04524 (2025); D. Lombardo et al., DRC 2024; constants as in aihwkit. Samples are held
to four standard errors.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analogsim import InputError
from analogsim.devices import CMOReRAM, Crossbar
from tests.support.cells import WEIGHTS, N, equal, program, read, read_sampled, stored
from tests.support.sampling import assert_moments, censored

#: (acceptance, target): programming spread in uS, by hand.
PROGRAMMING = {
    (0.02, 9.0): 0.11283101,  # 0.01121854 + 0.10161247
    (0.02, 50.0): 0.57573225,  # 0.01121854 + 0.56451371
    (0.02, 88.2): 1.00702072,  # 0.01121854 + 0.99580218
    (0.002, 9.0): 0.01043018,  # 0.00081107 + 0.00961911
    (0.002, 50.0): 0.05425057,  # 0.00081107 + 0.05343950
    (0.002, 88.2): 0.09507835,  # 0.00081107 + 0.09426728
}
#: time in s: mean and standard deviation of the relaxation in uS. ln 3600 = 8.1886891, ln 86400 = 11.3667427,
#: ln 315576000 = 19.5699101.
RELAXATION = {
    0.0: (0.0, 0.41183342),
    1.0: (0.0, 0.41183342),
    3600.0: (-0.72881020, 0.75585147),
    86400.0: (-1.01166352, 0.88936585),
    315576000.0: (-1.74176231, 1.23399215),
}
#: (target, time): read noise in uS, by hand: 0.0277316483 x log10 g x root of the logarithm.
READ_NOISE = {
    (50.0, 0.0): 0.0,
    (50.0, 1.0): 0.17067403,
    (10.0, 1.0): 0.10045736,
    (50.0, 86400.0): 0.23315668,
}


@functools.cache
def programmed(cell_id: str, target: float):
    """``N`` cells: "exact" are written exactly and read without noise."""
    cell = CMOReRAM(programming_noise=0.0, read_noise=0.0) if cell_id == "exact" else CMOReRAM()
    return cell, program(cell, jax.random.fold_in(jax.random.key(1), int(10 * target)), equal(target))


@pytest.mark.parametrize(("acceptance", "target"), PROGRAMMING)
def test_programming_has_the_published_standard_deviation(acceptance, target):
    state = program(CMOReRAM(acceptance=acceptance), jax.random.key(2), equal(target))
    assert_moments(np.asarray(state.conductance) * 1e6, target, PROGRAMMING[acceptance, target])


@pytest.mark.parametrize("time_s", RELAXATION)
@pytest.mark.parametrize("target", [20.0, 80.0])
def test_relaxation_is_that_of_the_fit_whatever_the_conductance(target, time_s):
    cell, state = programmed("exact", target)
    shift, sigma = RELAXATION[time_s]
    log_t = math.log(max(time_s, 1.0))
    assert (-0.08900206 * log_t, 0.41183342 + 0.04201137 * log_t) == pytest.approx((shift, sigma), rel=1e-6)
    assert_moments(np.asarray(read(cell, state, time_s).mean) * 1e6, target + shift, sigma)


def test_the_errors_of_writing_and_relaxing_are_independent():
    cell, state = programmed("whole", 50.0)
    g = np.asarray(read(cell, state, 86400.0).mean, np.float64) * 1e6
    assert_moments(g, 50 - 1.01166352, math.hypot(0.57573225, 0.88936585))
    assert abs(np.corrcoef(state.conductance, state.deviate)[0, 1]) < 4 / math.sqrt(N)


@pytest.mark.parametrize(("target", "time_s"), READ_NOISE)
def test_read_noise_has_the_published_standard_deviation(target, time_s):
    cell = CMOReRAM(programming_noise=0.0, relaxation=0.0)
    log = math.log((time_s + 1e-6) / 2e-6)
    sigma = 0.0277316483 * math.log10(target) * math.sqrt(max(log, 0.0))
    assert sigma == pytest.approx(READ_NOISE[target, time_s], rel=1e-6)
    state = program(cell, jax.random.key(3), equal(target))
    now = read(cell, state, time_s)
    np.testing.assert_allclose(np.asarray(now.mean) * 1e6, target, rtol=1e-6)
    np.testing.assert_allclose(np.sqrt(now.variance) * 1e6, sigma, rtol=1e-4, atol=1e-9)
    sample = np.asarray(read_sampled(cell, state, time_s, jax.random.key(4)).mean) * 1e6
    if sigma > 0:
        assert_moments(sample, target, sigma)
    else:
        np.testing.assert_array_equal(sample, np.asarray(now.mean) * 1e6)


def test_a_cell_keeps_its_deviate_for_life():
    cell, state = programmed("exact", 20.0)
    for t in (315576000.0, 3600.0, 0.5, 86400.0):
        shift, sigma = RELAXATION[max(t, 1.0)]
        z = (np.asarray(read(cell, state, t).mean, np.float64) * 1e6 - 20 - shift) / sigma
        np.testing.assert_allclose(z, state.deviate, atol=2e-5)


def test_conductances_are_cut_at_zero_only():
    # Ten times the relaxation of ten years: 9 - 17.42 uS with a spread of 12.34 uS.
    cell = CMOReRAM(programming_noise=0.0, read_noise=0.0, relaxation=10.0)
    state = program(cell, jax.random.key(5), equal(9))
    g = np.asarray(read(cell, state, 315576000.0).mean) * 1e6
    assert_moments(g, *censored(9 - 17.4176231, 12.3399215))
    assert g.max() > 9


def test_gradients_are_finite_at_time_zero():
    _, state = programmed("whole", 50.0)

    @jax.jit
    @functools.partial(jax.grad, argnums=(0, 1))
    def gradients_of(cell, time_s):
        return jnp.sum(jnp.sqrt(cell.read(state, time_s).variance + 1e-14))

    gradients = gradients_of(CMOReRAM(), 0.0)
    assert all(np.isfinite(leaf) for leaf in jax.tree.leaves(gradients))


def test_a_crossbar_of_these_cells_reads_back_its_weights():
    store = Crossbar(cell=CMOReRAM(programming_noise=0.0, relaxation=0.0))
    np.testing.assert_allclose(stored(store, jax.random.key(0), WEIGHTS, 3600.0).mean, WEIGHTS, atol=1e-6)
    assert store.time_limit_s == 315576000.0


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (dict(g_min=0.0), r"CMOReRAM.g_min = 0: must be at least 9e-06 .*unit: S"),
        (dict(g_max="100 uS"), r"CMOReRAM.g_max = 0.0001: must be .* at most 8.82e-05"),
        (dict(acceptance=0.01), r"CMOReRAM.acceptance = 0.01: must be one of 0.002, 0.02"),
    ],
)
def test_values_outside_of_the_data_are_refused(bad, message):
    with pytest.raises(InputError, match=message):
        CMOReRAM(**bad)
