"""The mesh as a weight store: exact without errors, each error by its distribution, noise by sampled reads."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analogsim.devices import Homodyne, InputError, MZIMesh, PhaseShifter
from analogsim.devices.photonic.mzi_mesh import Grid

PERFECT = PhaseShifter(bits=None, crosstalk=None, offset_rad=0.0, drift_rad=0.0)
IDEAL = MZIMesh(shifter=PERFECT, splitter_rad=0.0, detector=None)


def held(store, weights, key, time_s=0.0):
    return store.read(store.program(key, weights), time_s).mean


def error(store, weights, key, time_s=0.0):
    """Relative to the matrix, by Frobenius norms."""
    return float(jnp.linalg.norm(held(store, weights, key, time_s) - weights) / jnp.linalg.norm(weights))


def drawn(key, *shape):
    return jax.random.uniform(key, shape, minval=-1, maxval=1)


@pytest.mark.parametrize("topology", ["rectangular", "triangular"])
@pytest.mark.parametrize("shape", [(6, 6), (5, 3), (3, 8), (1, 4), (4, 1), (1, 1)])
def test_without_errors_it_holds_any_matrix_exactly(shape, topology, key):
    with jax.enable_x64(True):
        store, weights = IDEAL.replace(topology=topology), drawn(key, *shape)
        np.testing.assert_allclose(held(store, weights, key), weights, atol=1e-12)
        complex_ones = weights + 1j * drawn(jax.random.key(1), *shape)
        matrix, variance = store.fields(store.program(key, complex_ones), 0.0)
        np.testing.assert_allclose(matrix, complex_ones, atol=1e-12)
        assert variance is None


def test_a_matrix_of_zeros_is_held_by_closed_attenuators(key):
    np.testing.assert_allclose(held(IDEAL, jnp.zeros((4, 3)), key), 0.0, atol=1e-6)


@pytest.mark.slow
def test_single_precision_keeps_five_digits(key):
    assert error(IDEAL, drawn(key, 32, 32), key) < 2e-5


def test_balanced_losses_are_given_back_by_the_gain_and_unbalanced_ones_distort(key):
    with jax.enable_x64(True):
        weights = drawn(key, 6, 6)
        state = IDEAL.program(key, weights)
        largest = np.linalg.svd(np.asarray(weights))[1][0]
        # 6 columns in each mesh and the attenuator's cell, 0.3 dB each.
        np.testing.assert_allclose(state.gain, largest * 10 ** (13 * 0.3 / 20), rtol=1e-9)
        assert IDEAL.path_loss_db(6, 6) == pytest.approx(13 * 0.3)
        assert 0.005 < error(IDEAL.replace(balanced=False), weights, key) < 0.1
        assert error(IDEAL.replace(arm_imbalance_db=0.1), weights, key) > 0.01


def test_known_couplers_are_set_around_and_unknown_ones_are_not(key):
    weights = drawn(key, 12, 12) + 1j * drawn(jax.random.key(1), 12, 12)
    store, off = IDEAL.replace(splitter_rad=0.01), []
    for aware in (True, False):
        changed = store.replace(error_aware=aware)
        matrix, _ = changed.fields(changed.program(key, weights), 0.0)
        off.append(jnp.linalg.norm(matrix - weights) / jnp.linalg.norm(weights))
    assert off[0] < 0.003
    # sqrt(2 (N - 1)) sigma of the matrix for each of two meshes.
    assert off[1] == pytest.approx(np.sqrt(2 * 2 * 11) * 0.01, rel=0.2)


def test_of_real_weights_detectors_see_only_the_second_order_of_couplers(key):
    weights, store = drawn(key, 12, 12), IDEAL.replace(splitter_rad=0.01, error_aware=False)
    matrix, _ = store.fields(store.program(key, weights), 0.0)
    first_order = jnp.linalg.norm(jnp.imag(matrix)) / jnp.linalg.norm(weights)
    assert first_order == pytest.approx(np.sqrt(2 * 2 * 11) * 0.01, rel=0.2)
    assert error(store, weights, key) < 0.15 * first_order


def test_offsets_and_drift_have_their_spread_on_every_shifter(key):
    store = IDEAL.replace(shifter=PERFECT.replace(offset_rad=0.02, drift_rad=0.001))
    grid = Grid(8, 8, "rectangular")

    def off(k, time_s):
        state = store.program(k, drawn(key, 8, 8))
        return (store.phases(state, time_s) - state.commands)[grid.held]

    keys = jax.random.split(key, 20)
    now, later = (jax.vmap(off, in_axes=(0, None))(keys, t).ravel() for t in (0.0, 400.0))
    n = now.size
    assert now.std() == pytest.approx(0.02, rel=4 / np.sqrt(2 * n))
    assert (later - now).std() == pytest.approx(0.001 * 20, rel=4 / np.sqrt(2 * n))  # the root of 400 s
    assert abs(now.mean()) < 4 * 0.02 / np.sqrt(n)


@pytest.mark.slow
def test_error_of_the_converters_follows_the_rule_of_thumb(key):
    # sqrt(N) (pi / sqrt 3) / 2^b of the matrix for each of two meshes, of which the detectors see the real part: half.
    n, bits = 16, 8
    store = IDEAL.replace(shifter=PERFECT.replace(bits=bits))
    found = [error(store, drawn(jax.random.fold_in(key, i), n, n), key) for i in range(6)]
    assert np.mean(found) / (np.sqrt(n) * np.pi / np.sqrt(3) / 2**bits) == pytest.approx(1.0, abs=0.3)


@pytest.mark.slow
def test_noise_of_phases_has_the_moments_of_sampled_reads(key):
    store = IDEAL.replace(shifter=PERFECT.replace(noise_rad=0.01), splitter_rad=0.03)
    weights = drawn(key, 6, 5)
    state = store.program(key, weights)
    moments = store.read(state, 0.0)
    reads = jax.vmap(lambda k: store.read(state, 0.0, k).mean)(jax.random.split(jax.random.key(9), 4000))
    spread = jnp.sqrt(moments.variance)
    assert float((jnp.abs(reads.mean(0) - moments.mean) / spread).max()) < 4.5 / np.sqrt(4000)
    np.testing.assert_allclose(reads.std(0) / spread, 1.0, atol=0.06)


def test_the_mean_of_noisy_phases_is_damped_exactly(key):
    # One input, one output: no cell but the attenuator and two phases; e^(i phi) shrinks by e^(-sigma^2/2) three times
    # where the attenuator is open, of which its own phase carries all the light.
    sigma = 0.5
    store = IDEAL.replace(shifter=PERFECT.replace(noise_rad=sigma))
    state = store.program(key, jnp.ones((1, 1)))
    # T11 of the open attenuator is (e^(i theta) - 1)/2: half of it has the noise of theta.
    damped = np.exp(-(sigma**2) / 2)
    expected = damped**2 * (1 + damped) / 2
    assert float(store.read(state, 0.0).mean[0, 0]) == pytest.approx(expected, rel=1e-5)


def test_detection_adds_the_quantum_limit_behind_the_gain(key):
    store = MZIMesh(shifter=PERFECT, splitter_rad=0.0, detector=Homodyne())
    weights = drawn(key, 8, 4)
    state = store.program(key, weights)
    x, y = jnp.ones((3, 8)), jnp.zeros((3, 4))
    sigma = state.gain * store.detector.sigma(store.laser_w / 8, store.rate_hz)
    np.testing.assert_allclose(store.noise(x, y, state), jnp.full((3, 4), sigma), rtol=1e-6)
    relative = store.detector.relative_sigma(store.rate_hz)
    bright = store.noise(x, y + 1e3, state)
    np.testing.assert_allclose(bright, np.hypot(sigma, 1e3 * relative), rtol=1e-5)
    assert store.replace(detector=None).noise(x, y, state) is None
    # Twice the loss of every cell: the noise grows as the light shrinks.
    deeper = store.replace(shifter_loss_db=0.2, coupler_loss_db=0.1)
    ratio = deeper.program(key, weights).gain / state.gain
    np.testing.assert_allclose(ratio, 10 ** (0.3 * (8 + 4 + 1) / 20), rtol=1e-5)


def test_a_mesh_attenuates_and_never_amplifies(key):
    weights = drawn(key, 5, 5)
    largest = float(np.linalg.norm(np.asarray(weights), 2))
    phases, gain = IDEAL.phases_for(weights, largest=2 * largest)  # half of the field is enough
    state = IDEAL.driven(IDEAL.fabricate(key, 5, 5), phases, gain, jnp.zeros((5, 5)))
    np.testing.assert_allclose(IDEAL.read(state, 0.0).mean, weights, atol=1e-5)
    with pytest.raises(InputError, match=rf"largest = 0\.1: must be at least {largest:.4g}.*never amplifies"):
        IDEAL.phases_for(weights, largest=0.1)
    assert np.isnan(jax.jit(lambda s: IDEAL.phases_for(weights, largest=s)[1])(0.1))


def test_writing_again_keeps_the_fabric(key):
    store, weights = MZIMesh(), drawn(key, 5, 5)
    first = store.program(key, weights)
    again = store.program(jax.random.key(8), -weights, first)
    jax.tree.map(np.testing.assert_array_equal, first.fabric, again.fabric)
    assert not np.allclose(first.commands, again.commands)


def test_gradients_reach_weights_and_the_hardwares_numbers(key):
    weights = drawn(key, 6, 4)
    slope = jax.grad(lambda w: (held(MZIMesh(), w, key) * 2.0).sum())(weights)
    np.testing.assert_allclose(slope, 2.0, rtol=1e-6)

    def off(splitter, offset, loss):
        store = MZIMesh(splitter_rad=splitter, shifter=PhaseShifter(offset_rad=offset), shifter_loss_db=loss)
        return jnp.mean((held(store, weights, key) - weights) ** 2)

    slopes = jax.jit(jax.grad(off, argnums=(0, 1, 2)))(0.02, 0.01, 0.1)
    assert all(np.isfinite(s) for s in slopes)
    assert slopes[1] > 0


def test_what_a_product_costs(key):
    weights = drawn(key, 8, 4)
    actions = {a.name: (float(a.quantity), a.unit) for a in MZIMesh().cost(weights, 1.0)}
    assert actions["laser"] == (pytest.approx(10e-3 / 5e9), "J")
    assert actions["modulator"] == (8, "symbol")
    assert actions["receiver"] == (4, "sample")
    # Two phases in 28 + 6 cells, 8 + 4 at the outputs, 4 attenuators: about a half-wave power each.
    watts, unit = actions["hold"]
    assert unit == "W"
    assert 0.3 < watts / ((2 * (28 + 6) + 12 + 4) * 24.77e-3) < 1.2
    assert MZIMesh().cells(8, 4) == 28 + 6 + 4
    assert MZIMesh().cells(64, 64) == 2 * 2016 + 64


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"laser_w": 5.0}, r"MZIMesh\.laser_w = 5: must be .*0\.1"),
        ({"topology": "star"}, r"MZIMesh\.topology = 'star'"),
        ({"splitter_rad": -0.1}, r"MZIMesh\.splitter_rad = -0\.1"),
        ({"shifter_loss_db": -1}, r"MZIMesh\.shifter_loss_db = -1"),
    ],
)
def test_bad_input(changes, message):
    with pytest.raises(InputError, match=message):
        MZIMesh(**changes)


def test_a_butterfly_and_a_missing_key_are_refused(key):
    with pytest.raises(InputError, match="a butterfly holds only some matrices"):
        MZIMesh(topology="butterfly").program(key, jnp.ones((4, 4)))
    with pytest.raises(InputError, match="key = None: interferometers are fabricated with errors"):
        MZIMesh().program(None, jnp.ones((4, 4)))
