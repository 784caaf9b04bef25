"""Weights as fading pulses: photon statistics by closed forms and by independent draws in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from analogsim import InputError
from analogsim.devices import AtomicMemory, Cavity, DelayLine, FadingLight, RecirculatingLoop
from tests.support.sampling import assert_moments

LINE = DelayLine()
HALF_S = float(LINE.lifetime_s * np.log(2))
WEIGHTS = np.float32([[0.5, -1.0, 0.0], [0.25, 1.0, -0.75]])
MANY = 50_000


@jax.jit
def sampled(store, weight, time_s, key):
    """Many reads of one weight."""
    state = store.program(None, jnp.full((1, MANY), weight))
    return store.read(state, time_s, key).mean[0]


@jax.jit
def held(store, time_s, key=None, weights=WEIGHTS):
    return store.read(store.program(None, weights), time_s, key)


def test_mean_fades_and_gain_keeps_it():
    store = FadingLight(medium=LINE)
    np.testing.assert_array_equal(held(store, 0.0).mean, WEIGHTS)
    np.testing.assert_allclose(held(store, HALF_S).mean, WEIGHTS / 2, rtol=1e-5)
    np.testing.assert_array_equal(held(FadingLight(), 1.0).mean, WEIGHTS)


def test_variance_without_gain_is_that_of_the_photons_left():
    store = FadingLight(medium=LINE, photons=200.0)
    np.testing.assert_allclose(held(store, HALF_S).variance, np.abs(WEIGHTS) / 2 / 200, rtol=1e-5)
    dark = held(store.replace(dark_counts=3.0), HALF_S)
    np.testing.assert_allclose(dark.variance, (100 * np.abs(WEIGHTS) + 6) / 200**2, rtol=1e-5)


def test_variance_with_gain():
    medium = RecirculatingLoop(loss_db=0.54, spontaneous_emission=1.5)
    store = FadingLight(medium=medium, photons=5e4, dark_counts=7.0)
    passes = 40
    n = passes * 1.5 * (10**0.054 - 1)
    per_pulse = [5e4 * part * (1 + 2 * n) + n * (n + 1) + 7 for part in (np.abs(WEIGHTS), 0.0)]
    variance = held(store, passes * medium.pass_s).variance
    np.testing.assert_allclose(variance, sum(per_pulse) / 5e4**2, rtol=1e-5)


def test_enough_light_is_exact():
    store = FadingLight(photons=1e9)
    np.testing.assert_allclose(held(store, 0.0, jax.random.key(0)).mean, WEIGHTS, atol=2e-4)
    assert np.asarray(held(store, 0.0).variance).max() <= 1.001e-9


@pytest.mark.parametrize("photons", [0.5, 3.0, 12.0])
def test_low_counts_are_poisson(key, photons):
    store = FadingLight(medium=LINE, photons=photons)
    counted = np.asarray(sampled(store, 0.8, HALF_S, key)) * photons
    mean = 0.8 * photons / 2
    np.testing.assert_allclose(counted, counted.round(), atol=1e-5)
    assert_moments(counted, mean, np.sqrt(mean))
    zeros = np.exp(-mean)
    assert abs(np.mean(counted == 0) - zeros) < 4 * np.sqrt(zeros * (1 - zeros) / MANY)
    numbers = np.arange(int(mean + 3 * np.sqrt(mean)) + 1)
    shares = np.array([np.mean(counted.round() == k) for k in numbers])
    expected = stats.poisson.pmf(numbers, mean)
    assert np.all(np.abs(shares - expected) < 4.5 * np.sqrt(expected / MANY))


@pytest.mark.parametrize("weight", [0.6, -0.6])
def test_reads_have_the_moments_that_are_claimed(key, weight):
    for medium, dark in ((LINE, 0.0), (LINE, 2.0), (RecirculatingLoop(), 2.0)):
        store = FadingLight(medium=medium, photons=300.0, dark_counts=dark)
        moments = held(store, HALF_S, weights=np.full_like(WEIGHTS, weight))
        values = sampled(store, weight, HALF_S, key)
        assert_moments(values, float(moments.mean[0, 0]), np.sqrt(float(moments.variance[0, 0])))


@pytest.mark.parametrize("photons", [2e3, 1.9e4, 2.1e4, 1e6, 1e9])
def test_many_photons_keep_their_standard_deviation(key, photons):
    # On both sides of 10,000 counts, where Gaussians take over from Poisson numbers.
    values = np.asarray(sampled(FadingLight(medium=LINE, photons=photons), 0.5, 0.0, key), np.float64)
    assert_moments(values, 0.5, np.sqrt(0.5 / photons))
    assert abs(stats.skew(values) - 1 / np.sqrt(0.5 * photons)) < 4.5 * np.sqrt(6 / MANY)


def test_gain_is_a_displaced_thermal_state(key):
    """Complex Gaussian noise of N photons around a field of n_0, counted as Poisson numbers, drawn here."""
    rng = np.random.default_rng(5)
    medium = RecirculatingLoop(spontaneous_emission=2.0)
    store = FadingLight(medium=medium, photons=400.0)
    time_s = 30 * medium.pass_s
    n = float(medium.added_photons(time_s))
    assert n > 5

    def pulse(photons):
        noise = np.sqrt(n / 2) * (rng.normal(size=MANY) + 1j * rng.normal(size=MANY))
        return rng.poisson(np.abs(np.sqrt(photons) + noise) ** 2)

    drawn = (pulse(400.0 * 0.7) - pulse(0.0)) / 400
    moments = held(store, time_s, weights=np.full_like(WEIGHTS, 0.7))
    sigma = np.sqrt(float(moments.variance[0, 0]))
    assert_moments(drawn, float(moments.mean[0, 0]), sigma)
    assert_moments(sampled(store, 0.7, time_s, key), 0.7, sigma)


def test_an_empty_pulse_is_dark():
    store = FadingLight(medium=LINE, photons=10.0)
    assert np.all(np.asarray(sampled(store, 0.0, 0.0, jax.random.key(2))) == 0)


def test_light_leaves_the_line():
    store = FadingLight(medium=LINE)
    limit = store.time_limit_s
    assert limit == pytest.approx(20e3 * 1.468 / 299792458)
    assert np.all(np.isfinite(held(store, limit).mean))
    for key in (None, jax.random.key(0)):
        assert np.all(np.isnan(held(store, limit * 1.01, key).mean))
    assert FadingLight().time_limit_s is None
    assert FadingLight(medium=AtomicMemory(), rate_hz=1e6).time_limit_s is None


@pytest.mark.parametrize("medium", [Cavity(), AtomicMemory(), RecirculatingLoop(bandwidth_hz=5e8)])
def test_pulses_shorter_than_the_medium_takes_are_refused(medium):
    with pytest.raises(
        InputError, match=rf"rate_hz = 1e\+09: must be at most .* the bandwidth of the {type(medium).__name__}"
    ):
        FadingLight(medium=medium)
    assert FadingLight(medium=medium, rate_hz=medium.bandwidth_hz).rate_hz == medium.bandwidth_hz


def test_a_tile_of_more_inputs_than_pulses_is_refused():
    with pytest.raises(InputError, match=r"rows = 1: must be at least 2"):
        FadingLight(rows=1).program(None, WEIGHTS)


def test_costs():
    store = FadingLight(photons=1e6, rows=2)
    actions = {a.name: (float(a.quantity), a.unit) for a in store.cost(WEIGHTS, 0.1)}
    assert actions["laser"] == (pytest.approx(3.5 * 1e6 * 1.28158e-19, rel=1e-5), "J")
    assert actions["modulator"] == (12, "symbol")
    assert actions["receiver"] == (3, "sample")
    assert actions["hold"] == (pytest.approx(6 * 173.26e-9, rel=1e-3), "W")
    assert store.n_cells(2, 3) == 12
    assert store.noise(None, None, None) is None
    assert dict((a.name, a.quantity) for a in FadingLight(medium=LINE).cost(WEIGHTS, 0.1))["hold"] == 0


def test_time_and_number_of_media():
    store = FadingLight(rows=2000, rate_hz=1e9)
    assert store.read_time_s == pytest.approx(2e-6)
    assert float(store.media(8)) == 2 * 8 * 3  # 979 pulses fit into a loop
    assert float(FadingLight(medium=Cavity(), rate_hz=1e5, rows=4).media(8)) == 2 * 8 * 4


@pytest.mark.parametrize("medium", [LINE, RecirculatingLoop()], ids=["line", "loop"])
def test_gradients(medium, key):
    store, time_s = FadingLight(medium=medium, photons=50.0), 1e-5

    def total(weights, store, time_s, key):
        moments = store.read(store.program(None, weights), time_s, key)
        return jnp.sum(moments.mean) if moments.variance is None else jnp.sum(moments.variance)

    gradients = jax.jit(jax.grad(total, (0, 1, 2)))
    for at in (None, key):
        assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradients(WEIGHTS, store, 0.0, at)))
    left, added = float(medium.efficiency(time_s)), float(medium.added_photons(time_s))
    expected = np.where(WEIGHTS < 0, -1, 1) * left * (1 + 2 * added) / 50
    np.testing.assert_allclose(gradients(WEIGHTS, store, time_s, None)[0], expected, rtol=1e-5)
    if medium is LINE:  # a count has the gradient of its mean
        np.testing.assert_allclose(gradients(WEIGHTS, store, time_s, key)[0], left, rtol=1e-5)


def test_maps_over_hardware_and_keys(key):
    weights = np.full((1, 2000), 0.5, np.float32)

    def read(photons, key):
        store = FadingLight(medium=LINE, photons=photons)
        return store.read(store.program(None, weights), 1e-5, key).mean

    photons = np.float32([10.0, 1000.0, 1e6])
    found = jax.jit(jax.vmap(read))(photons, jax.random.split(key, 3))
    assert found.shape == (3, 1, 2000)
    expected = np.sqrt(0.5 * float(LINE.efficiency(1e-5)) / photons)
    np.testing.assert_allclose(np.asarray(found)[:, 0].std(-1), expected, rtol=4 / np.sqrt(2 * 2000))


def test_double_precision(key):
    with jax.enable_x64(True):
        store, weights = FadingLight(medium=LINE), WEIGHTS.astype(np.float64)
        moments = held(store, 2e-5, weights=weights)
        np.testing.assert_allclose(moments.mean, weights * np.exp(-2e-5 / LINE.lifetime_s), rtol=1e-14)
        drawn = jax.eval_shape(lambda w: store.read(store.program(None, w), 2e-5, key).mean, weights)
        assert moments.variance.dtype == drawn.dtype == jnp.float64
