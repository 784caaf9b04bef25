"""The photonic tensor core against powers, currents and noise that are worked here in numpy, electron by electron."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analogsim import InputError
from analogsim.devices import OpticalPCM, Photodiode, PhotonicTensorCore
from analogsim.devices.photonic import FILMS
from analogsim.devices.photonic.tensor_core import CoreState, crossbar_loss_db
from tests.support.sampling import assert_moments

EXACT = OpticalPCM(levels=None, programming_error=0.0)
Q, K_B = 1.602176634e-19, 1.380649e-23
DARK = Photodiode(dark_current_a=0.0, load_ohm=1e9, temperature_k=1e-3, relative_intensity_noise_db=-250.0)
T_MAX, T_MIN = (np.exp(-4 * np.pi * k * 0.05 * 4e-6 / 1.55e-6) for k in (0.045, 0.83))


program = jax.jit(lambda store, key, weights: store.program(key, weights))
read = jax.jit(lambda store, state, time_s, key=None: store.read(state, time_s, key))
noise = jax.jit(lambda store, x, y, state: store.noise(x, y, state))
PAIRS = 60_000  # where the spread over many pairs of cells is looked at


def held_after(store, key, weights, time_s=0.0):
    return np.asarray(read(store, program(store, key, weights), time_s).mean)


def random_weights(shape=(8, 5), seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def random_inputs(shape=(4, 8), seed=1):
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def transmissions(state: CoreState) -> np.ndarray:
    return np.asarray(state.cells.transmission, np.float64)


def rail_powers(store, state, x):
    """Power at each detector, [pass, rail, batch, n_out], from the crossbar's own formula."""
    cells = transmissions(state)
    n_in, n_out = cells.shape[1:]
    loss = 10 ** (-store.insertion_loss_db / 10) / (n_in * 2 * n_out)
    power = store.laser_w / n_in * loss
    parts = np.stack([np.maximum(x, 0), np.maximum(-x, 0)]).astype(np.float64)
    return power * np.einsum("pbi,rij->prbj", parts, cells), power * (T_MAX - T_MIN)


def test_exact_without_errors(key):
    weights = random_weights()
    store = PhotonicTensorCore(film=EXACT)
    held = read(store, program(store, key, weights), 1e6)
    assert held.variance is None
    np.testing.assert_allclose(held.mean, weights, atol=1e-6)


def test_currents_subtract_to_the_product(key):
    store, x = PhotonicTensorCore(film=EXACT), random_inputs()
    state = program(store, key, random_weights())
    powers, unit = rail_powers(store, state, np.asarray(x))
    found = (powers[0, 0] - powers[0, 1] - powers[1, 0] + powers[1, 1]) / unit
    np.testing.assert_allclose(x @ read(store, state, 0.0).mean, found, atol=1e-5)
    np.testing.assert_allclose(store.full_power_w(8, 5) * (T_MAX - T_MIN), unit, rtol=1e-5)


def test_a_weight_is_a_pair_of_cells(key):
    state = program(PhotonicTensorCore(film=EXACT), key, np.float32([[0.5, -1.0, 0.0]]))
    plus, minus = transmissions(state)
    np.testing.assert_allclose(plus[0], [(T_MAX + T_MIN) / 2, T_MIN, T_MIN], rtol=1e-5)
    np.testing.assert_allclose(minus[0], [T_MIN, T_MAX, T_MIN], rtol=1e-5)


def test_levels_of_a_weight(key):
    store = PhotonicTensorCore(film=OpticalPCM(levels=5, programming_error=0.0))
    weights = np.linspace(-1, 1, 400, dtype=np.float32)[:, None]  # none lies half-way
    held = held_after(store, key, weights)
    np.testing.assert_allclose(held, np.round(weights * 4) / 4, atol=1e-6)
    np.testing.assert_allclose(np.unique(held.round(5)), np.linspace(-1, 1, 9), atol=1e-5)
    log = store.replace(film=OpticalPCM(levels=4, spacing="log", programming_error=0.0))
    held = np.unique(held_after(log, key, np.abs(weights)).round(5))
    grid = 0.872 ** np.arange(4)
    np.testing.assert_allclose(held, np.sort((grid - grid[-1]) / (1 - grid[-1])), atol=1e-5)


def test_programming_noise_of_a_pair(key):
    # Half full scale is far from both ends of its cell; the other cell stands at its end, half of its errors cut off.
    film = EXACT.replace(programming_error=0.02)
    store = PhotonicTensorCore(film=film)
    held = held_after(store, key, np.full((1, PAIRS), 0.5, np.float32))
    cut_mean, cut_var = 0.02 / np.sqrt(2 * np.pi), 0.02**2 * (0.5 - 0.5 / np.pi)
    assert_moments(held, 0.5 - cut_mean, np.sqrt(0.02**2 + cut_var))


def test_common_drift_cancels_and_spread_does_not(key):
    store = PhotonicTensorCore(film=EXACT.replace(drift=0.01))
    weights = random_weights()
    np.testing.assert_allclose(held_after(store, key, weights, 999.0), weights, atol=2e-6)
    store = store.replace(**{"film.drift_std": 0.003})
    held = held_after(store, key, np.full((1, PAIRS), 0.5, np.float32), 999.0)
    assert_moments(held, 0.5, 3 * 0.003 * np.sqrt(2) / (T_MAX - T_MIN))


def test_read_noise_is_what_is_sampled(key):
    store = PhotonicTensorCore(film=EXACT, read_noise=0.05)
    state = program(store, key, np.full((1, PAIRS), 0.25, np.float32))
    held = read(store, state, 0.0)
    np.testing.assert_allclose(held.variance, 2 * 0.05**2, rtol=1e-6)
    sampled = read(store, state, 0.0, key)
    assert sampled.variance is None
    assert_moments(sampled.mean, 0.25, np.sqrt(2) * 0.05)


@pytest.mark.parametrize("detector", [Photodiode(), Photodiode(relative_intensity_noise_db=-110.0, load_ohm=1e6)])
def test_noise_is_the_sum_over_four_samples(key, detector):
    store, x = PhotonicTensorCore(detector=detector, rate_hz=5e9), random_inputs()
    state = program(store, key, random_weights())
    powers, unit = rail_powers(store, state, np.asarray(x))
    bandwidth = 2.5e9
    shot = 2 * Q * (powers + 25e-9) * bandwidth
    thermal = 4 * K_B * 300 / detector.load_ohm * bandwidth
    between = powers[:, 0] - powers[:, 1]  # a pass's rails share the laser's fluctuation
    intensity = 10 ** (detector.relative_intensity_noise_db / 10) * bandwidth * between**2
    variance = (shot.sum((0, 1)) + 4 * thermal + intensity.sum(0)) / unit**2
    y = x @ np.asarray(read(store, state, 0.0).mean)
    np.testing.assert_allclose(noise(store, x, y, state), np.sqrt(variance), rtol=2e-4)


def test_shot_noise_against_counted_electrons(key):
    """Electrons of every sample are drawn as Poisson numbers; their differences have the claimed standard deviation."""
    store = PhotonicTensorCore(film=EXACT, detector=DARK, laser_w=3e-5)
    state = program(store, key, random_weights())
    x = random_inputs((1, 8))
    powers, unit = rail_powers(store, state, np.asarray(x))
    electrons = powers[:, :, 0] / Q / store.rate_hz  # 1 A/W, integrated over a sample
    assert electrons.mean() < 1000
    drawn = np.random.default_rng(3).poisson(electrons, (20_000, *electrons.shape))
    y = (drawn[:, 0, 0] - drawn[:, 0, 1] - drawn[:, 1, 0] + drawn[:, 1, 1]) * Q * store.rate_hz / unit
    mean = x @ np.asarray(read(store, state, 0.0).mean)
    sigma = noise(store, x, mean, state)
    for j in range(5):
        assert_moments(y[:, j], float(mean[0, j]), float(sigma[0, j]))


def test_intensity_noise_against_a_fluctuating_laser(key):
    loud = DARK.replace(relative_intensity_noise_db=-130.0)
    store = PhotonicTensorCore(film=EXACT, detector=loud, laser_w=1.0)
    state = program(store, key, random_weights())
    x = random_inputs((1, 8))
    powers, unit = rail_powers(store, state, np.asarray(x))
    brightness = 1 + np.sqrt(1e-13 * store.rate_hz / 2) * np.random.default_rng(3).normal(size=(20_000, 2, 1))
    between = brightness * (powers[:, 0, 0] - powers[:, 1, 0]) / unit
    y = between[:, 0] - between[:, 1]
    mean = x @ np.asarray(read(store, state, 0.0).mean)
    quiet = store.replace(**{"detector.relative_intensity_noise_db": -250.0})
    sigma = np.sqrt(np.asarray(noise(store, x, mean, state)) ** 2 - np.asarray(noise(quiet, x, mean, state)) ** 2)
    for j in range(5):
        assert_moments(y[:, j], float(mean[0, j]), float(sigma[0, j]))


def test_quiet_detection(key):
    store = PhotonicTensorCore(detector=None)
    state = program(store, key, random_weights())
    x, y = np.ones((4, 8), np.float32), np.ones((4, 5), np.float32)
    assert store.noise(x, y, state) is None
    bright = PhotonicTensorCore(laser_w=10.0, insertion_loss_db=0.0, detector=DARK)
    assert np.all(noise(bright, x, y, state) < 0.01)


def test_loss_of_dividing_and_combining():
    assert crossbar_loss_db(16, 16) == pytest.approx(24.08, abs=0.01)
    assert crossbar_loss_db(64, 64) == pytest.approx(36.12, abs=0.01)
    store = PhotonicTensorCore(laser_w=16e-3, insertion_loss_db=0.0)
    assert float(store.full_power_w(16, 8)) == pytest.approx(1e-3 / 256, rel=1e-5)  # 16 columns are 8 outputs


def test_costs_and_wavelengths():
    store = PhotonicTensorCore(laser_w=0.02, rate_hz=4e9, wavelengths=4)
    actions = {a.name: (a.quantity, a.unit) for a in store.cost(np.zeros((10, 20), np.float32), 0.3)}
    assert actions == {
        "laser": (0.02 * 2 / 4e9, "J"),
        "modulator": (20, "symbol"),
        "receiver": (80, "sample"),
        "hold": (0.0, "W"),
    }
    assert store.read_time_s == pytest.approx(2 / 16e9)
    assert store.n_cells(10, 20) == 400
    assert store.write_j(10, 20) == pytest.approx(400 * 13.4e-12)
    assert store.time_limit_s is None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (dict(film=FILMS["Sb2Se3"]()), "are phase shifters"),
    ],
)
def test_impossible_cores_are_refused(fields, message):
    with pytest.raises(InputError, match=message):
        PhotonicTensorCore(**fields)
    with pytest.raises(InputError, match="key"):
        PhotonicTensorCore().program(None, np.ones((2, 2), np.float32))


def test_gradients_pass_the_levels(key):
    store, x = PhotonicTensorCore(), random_inputs()

    def loss(weights, store, x):
        state = store.program(key, weights)
        y = x @ store.read(state, 10.0).mean
        return jnp.sum(y + store.noise(x, y, state))

    weights, dark = random_weights(), x.copy()
    weights[0, 0], dark[0] = 0.0, 0.0
    by_weights, by_store, by_x = jax.jit(jax.grad(loss, (0, 1, 2), allow_int=True))(weights, store, dark)
    for leaf in jax.tree.leaves((by_weights, by_store, by_x)):
        assert leaf.dtype == jax.dtypes.float0 or np.all(np.isfinite(leaf))
    plain = jax.jit(jax.grad(lambda w: jnp.sum(x @ store.read(store.program(key, w), 10.0).mean)))(weights)
    np.testing.assert_allclose(plain, np.broadcast_to(x.sum(0)[:, None], (8, 5)), atol=1e-5)


def test_maps_over_chips_and_hardware(key):
    weights, keys = random_weights(), jax.random.split(key, 3)

    def held(store, error, key):
        store = store.replace(**{"film.programming_error": error})
        return store.read(store.program(key, weights), 0.0).mean

    sweep = jax.vmap(jax.vmap(held, (None, None, 0)), (None, 0, None))
    errors = np.float32([0.0, 0.1])
    found = jax.jit(sweep)(PhotonicTensorCore(), errors, keys)
    assert found.shape == (2, 3, 8, 5)
    assert np.asarray(found[0]).std(0).max() < 1e-6 < np.asarray(found[1]).std(0).min()
    alone = PhotonicTensorCore(film=OpticalPCM(programming_error=0.1))
    np.testing.assert_allclose(found[1, 2], held_after(alone, keys[2], weights), atol=1e-5)


def test_double_precision(key):
    with jax.enable_x64(True):
        weights = np.random.default_rng(0).uniform(-1, 1, (8, 5))
        store = PhotonicTensorCore(film=EXACT)
        x = np.ones((1, 8))

        @jax.jit
        def used(weights):
            state = store.program(key, weights)
            return store.read(state, 5.0).mean, store.noise(x, x @ weights, state)

        held, sigma = used(weights)
        np.testing.assert_allclose(held, weights, atol=1e-14)
        assert sigma.dtype == jnp.float64
