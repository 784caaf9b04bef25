"""Phase-change films against formulas worked here in numpy: mixing, absorption, levels, errors of writing, drift."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analogsim import InputError
from analogsim.devices import OpticalPCM
from analogsim.devices.photonic import FILMS
from tests.support.sampling import assert_moments, censored

EXACT = dict(programming_error=0.0)
DEPTH = 4 * np.pi * 0.05 * 4e-6 / 1.55e-6  # -ln T for k = 1, by the default film


at_fraction = jax.jit(lambda film, f: (film.index(f), film.permittivity(f), film.transmission(f), film.phase(f)))
fraction_for = jax.jit(lambda film, transmission: film.fraction_for(transmission))
nearest_level = jax.jit(lambda film, transmission: film.nearest_level(transmission))
program = jax.jit(lambda film, key, target: film.program(key, target))
read = jax.jit(lambda film, state, time_s: film.read(state, time_s))


def mixed_index(fraction, amorphous=3.94 + 0.045j, crystalline=6.11 + 0.83j):
    """n + i k: the equation is linear in 1/(e + 2), as (e - 1)/(e + 2) = 1 - 3/(e + 2)."""
    left = [(n**2 - 1) / (n**2 + 2) for n in (amorphous, crystalline)]
    mixed = (1 - fraction) * left[0] + fraction * left[1]
    return np.sqrt(3 / (1 - mixed) - 2)


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_index_transmission_and_phase(fraction):
    film, expected = OpticalPCM(), mixed_index(fraction)
    index, permittivity, transmission, phase = at_fraction(film, fraction)
    np.testing.assert_allclose(index, expected, rtol=2e-6)
    np.testing.assert_allclose(permittivity, expected**2, rtol=2e-6)
    np.testing.assert_allclose(transmission, np.exp(-DEPTH * expected.imag), rtol=1e-5)
    np.testing.assert_allclose(phase, DEPTH / 2 * expected.real, rtol=2e-6)


def test_pure_phases_are_the_ends():
    film = OpticalPCM()
    ends = [at_fraction(film, fraction)[0] for fraction in (0.0, 1.0)]
    np.testing.assert_allclose(ends, [3.94 + 0.045j, 6.11 + 0.83j], rtol=2e-6)
    np.testing.assert_allclose([film.t_max, film.t_min], np.exp([-DEPTH * 0.045, -DEPTH * 0.83]), rtol=1e-6)
    np.testing.assert_allclose(film.t_low, film.t_min)


@pytest.mark.parametrize("name", FILMS)
def test_presets_transmit_within_their_ends(name):
    film = FILMS[name]()
    _, _, curve, phase = (np.asarray(v) for v in at_fraction(film, np.linspace(0, 1, 101, dtype=np.float32)))
    np.testing.assert_allclose(curve[[0, -1]], [film.t_max, film.t_min], rtol=1e-5)
    assert np.all((curve > 0) & (curve < 1))
    if name.startswith("G"):
        assert np.all(np.diff(curve) < 0)
    else:  # phases shift, and nothing is absorbed
        assert np.ptp(curve) < 1e-4
        assert phase[-1] - phase[0] > 0.3


def test_fraction_for_is_the_inverse():
    film, fractions = OpticalPCM(), np.linspace(0, 1, 101, dtype=np.float32)
    np.testing.assert_allclose(fraction_for(film, at_fraction(film, fractions)[2]), fractions, atol=3e-6)
    np.testing.assert_array_equal(fraction_for(film, np.float32([0, 1])), [1, 0])


def test_fraction_for_has_the_gradients_of_the_inverse():
    film, at = OpticalPCM(), 0.4

    def transmission(film, um, fraction):
        return film.replace(length_m=um * 1e-6).transmission(fraction)

    @jax.jit
    def back(film, um, wanted):
        return jax.grad(lambda um, w: film.replace(length_m=um * 1e-6).fraction_for(w), (0, 1))(um, wanted)

    wanted, (by_length, forward) = jax.jit(jax.value_and_grad(transmission, (1, 2)))(film, 4.0, at)
    gradient, backward = back(film, 4.0, float(wanted))
    np.testing.assert_allclose(backward, 1 / forward, rtol=1e-4)
    # At a fixed transmission a longer film is less crystalline: df/dL = -(dT/dL)/(dT/df).
    np.testing.assert_allclose(gradient, -by_length / forward, rtol=1e-4)
    shifting = FILMS["Sb2Se3"]()
    assert not np.isnan(back(shifting, shifting.length_m * 1e6, 0.999)[1])


@pytest.mark.parametrize("levels", [2, 8, 34])
def test_uniform_levels(levels):
    film = OpticalPCM(levels=levels)
    low, high = np.exp([-DEPTH * 0.83, -DEPTH * 0.045])
    wanted = np.linspace(low, high, 1000)  # none lies half-way
    reached = np.asarray(nearest_level(film, wanted.astype(np.float32)))
    grid = np.linspace(low, high, levels)
    np.testing.assert_allclose(reached, grid[np.abs(wanted[:, None] - grid).argmin(1)], atol=2e-6)
    assert np.unique(reached.round(5)).size == levels


def test_log_levels_transmit_a_share_of_the_one_above():
    film = OpticalPCM(levels=8, spacing="log")
    grid = np.exp(-DEPTH * 0.045) * 0.872 ** np.arange(8)
    np.testing.assert_allclose(film.t_low, grid[-1], rtol=1e-6)
    wanted = np.linspace(0, 1, 1000)  # beyond both ends, too
    reached = np.asarray(nearest_level(film, wanted.astype(np.float32)))
    np.testing.assert_allclose(reached, grid[np.abs(wanted[:, None] - grid).argmin(1)], atol=2e-6)
    np.testing.assert_allclose(nearest_level(film, grid.astype(np.float32)), grid, rtol=2e-6)


def test_writing_errs_as_a_share_of_the_contrast(key):
    film = OpticalPCM(levels=None, programming_error=0.03)
    low, high = np.exp([-DEPTH * 0.83, -DEPTH * 0.045])
    sigma = 0.03 * (high - low)
    inside = program(film, key, np.full(100_000, 0.5, np.float32)).transmission
    assert_moments(inside, 0.5, sigma)
    # At the end of what the film can do half of the errors are cut off.
    edge = program(film, key, np.full(100_000, low, np.float32)).transmission
    mean, std = censored(0.0, sigma)
    assert_moments(np.asarray(edge, np.float64) - low, mean, std)
    assert np.mean(np.asarray(edge) == edge.min()) == pytest.approx(0.5, abs=0.007)


def test_exact_without_errors():
    film = OpticalPCM(levels=None, **EXACT)
    target = np.linspace(0.3, 0.9, 50, dtype=np.float32)
    for key in (jax.random.key(1), None):
        np.testing.assert_array_equal(program(film, key, target).transmission, target)


def test_drift_is_logarithmic(key):
    film = OpticalPCM(levels=None, drift=0.01, drift_start_s=2.0, **EXACT)
    state = program(film, key, np.full(3, 0.6, np.float32))
    for time, lost in ((0.0, 0.0), (18.0, 0.01), (1998.0, 0.03)):
        np.testing.assert_allclose(read(film, state, time), 0.6 - lost, rtol=1e-5)
    assert read(film.replace(drift=0.9), state, 1e9).tolist() == [0.0, 0.0, 0.0]  # never below nothing
    np.testing.assert_array_equal(read(OpticalPCM(), state, 1e9), state.transmission)  # none unless given


def test_drift_spreads_from_cell_to_cell(key):
    film = OpticalPCM(levels=None, drift=0.01, drift_std=0.002, **EXACT)
    state = program(film, key, np.full(100_000, 0.6, np.float32))
    assert_moments(read(film, state, 999.0), 0.6 - 0.03, 0.006)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (dict(k_amorphous=1.0), "at most k_crystalline"),
        (dict(levels=34, spacing="log"), "spans 10 levels"),
        (dict(levels=None, spacing="log"), "without levels"),
    ],
)
def test_impossible_films_are_refused(fields, message):
    with pytest.raises(InputError, match=message):
        OpticalPCM(**fields)


def test_numbers_may_be_traced(key):
    def held(film, length):
        film = film.replace(length_m=length, levels=None)
        return film.read(film.program(key, np.full(4, 0.5, np.float32)), 10.0)

    lengths = np.float32([2e-6, 4e-6, 8e-6])
    together = jax.jit(jax.vmap(held, (None, 0)))(OpticalPCM(), lengths)
    np.testing.assert_allclose(together[2], jax.jit(held)(OpticalPCM(), 8e-6), rtol=1e-5)
    assert np.ptp(np.asarray(together[:, 0])) > 1e-3  # another contrast, another error
    gradients = jax.jit(jax.grad(lambda f: jnp.sum(held(f, 4e-6))))(OpticalPCM(levels=None, drift=0.01))
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradients))


def test_double_precision(key):
    with jax.enable_x64(True):
        film, fractions = OpticalPCM(), np.linspace(0, 1, 11)
        np.testing.assert_allclose(at_fraction(film, fractions)[0], mixed_index(np.linspace(0, 1, 11)), rtol=1e-14)
        back = fraction_for(film, at_fraction(film, fractions)[2])
        np.testing.assert_allclose(back, fractions, atol=1e-13)
        assert program(film, key, fractions).transmission.dtype == jnp.float64
