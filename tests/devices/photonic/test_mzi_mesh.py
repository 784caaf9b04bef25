"""The mesh as a weight store: exact without errors, each error by its distribution, noise by sampled reads."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analogsim import InputError
from analogsim.devices import Homodyne, MZIMesh, PhaseShifter
from analogsim.devices.photonic.grid import ShifterGrid
from tests.devices.photonic.double import in_double

PERFECT = PhaseShifter(bits=None, crosstalk=None, offset_rad=0.0, drift_rad=0.0)
IDEAL = MZIMesh(shifter=PERFECT, splitter_rad=0.0, detector=None)


def program(store, weights, key):
    return store.program(key, weights)


def read_now(store, state):
    return store.read(state, 0.0)


def fields_now(store, state):
    """The complex matrix ``[n_in, n_out]``, gain included."""
    return store.fields(state, 0.0)[0]


programmed, read, fields = (jax.jit(f) for f in (program, read_now, fields_now))
programmed_exactly, read_exactly, fields_exactly = (in_double(f) for f in (program, read_now, fields_now))


def held(store, weights, key):
    return np.asarray(read(store, programmed(store, weights, key)).mean)


def off_by(found, wanted):
    """Relative to the matrix, by Frobenius norms."""
    return np.linalg.norm(np.asarray(found) - wanted) / np.linalg.norm(wanted)


def error(store, weights, key):
    return off_by(held(store, weights, key), weights)


def error_in_double(store, weights, key):
    return off_by(read_exactly(store, programmed_exactly(store, weights, key)).mean, weights)


def drawn(seed, *shape, dtype=np.float32):
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(dtype)


def drawn_complex(seed, *shape, dtype=np.float32):
    return drawn(seed, *shape, dtype=dtype) + 1j * drawn(seed + 1, *shape, dtype=dtype)


@pytest.mark.parametrize(
    ("shape", "topology"),
    [((6, 6), "rectangular"), ((3, 8), "triangular"), ((4, 1), "rectangular"), ((1, 1), "triangular")],
)
def test_without_errors_it_holds_any_matrix_exactly(shape, topology, key):
    store, weights = IDEAL.replace(topology=topology), drawn(1, *shape, dtype=float)
    moments = read_exactly(store, programmed_exactly(store, weights, key))
    np.testing.assert_allclose(moments.mean, weights, atol=1e-12)
    assert moments.variance is None


@pytest.mark.parametrize(
    ("shape", "topology"), [((5, 3), "rectangular"), ((5, 3), "triangular"), ((1, 4), "triangular")]
)
def test_without_errors_its_fields_hold_any_complex_matrix_exactly(shape, topology, key):
    store, weights = IDEAL.replace(topology=topology), drawn_complex(1, *shape, dtype=float)
    np.testing.assert_allclose(fields_exactly(store, programmed_exactly(store, weights, key)), weights, atol=1e-12)


@pytest.mark.parametrize("topology", ["rectangular", "triangular"])
@pytest.mark.parametrize("shape", [(6, 6), (5, 3), (3, 8), (1, 4), (4, 1), (1, 1)])
def test_every_cell_has_two_shifters_and_every_output_of_a_mesh_one(shape, topology):
    cells, attenuators = (n * (n - 1) // 2 for n in shape), min(shape)
    assert ShifterGrid(*shape, topology).mask.sum() == 2 * sum(cells) + sum(shape) + attenuators


def test_a_matrix_of_zeros_is_held_by_closed_attenuators(key):
    np.testing.assert_allclose(held(IDEAL, np.zeros((8, 4), np.float32), key), 0.0, atol=1e-6)


@pytest.mark.slow
def test_single_precision_keeps_five_digits(key):
    assert error(IDEAL, drawn(1, 32, 32), key) < 2e-5


def test_balanced_losses_are_given_back_by_the_gain_and_unbalanced_ones_distort(key):
    weights = drawn(1, 6, 6, dtype=float)
    largest = np.linalg.svd(weights)[1][0]
    # 6 columns in each mesh and the attenuator's cell, 0.3 dB each.
    gain = programmed_exactly(IDEAL, weights, key).gain
    np.testing.assert_allclose(gain, largest * 10 ** (13 * 0.3 / 20), rtol=1e-9)
    assert IDEAL.path_loss_db(6, 6) == pytest.approx(13 * 0.3)
    assert 0.005 < error_in_double(IDEAL.replace(balanced=False), weights, key) < 0.1
    assert error_in_double(IDEAL.replace(arm_imbalance_db=0.1), weights, key) > 0.01


def test_known_couplers_are_set_around_and_unknown_ones_are_not(key):
    weights, store = drawn_complex(1, 12, 12), IDEAL.replace(splitter_rad=0.01)
    known, unknown = (
        off_by(fields(store, programmed(store.replace(error_aware=aware), weights, key)), weights)
        for aware in (True, False)
    )
    assert known < 0.003
    # sqrt(2 (N - 1)) sigma of the matrix for each of two meshes.
    assert unknown == pytest.approx(np.sqrt(2 * 2 * 11) * 0.01, rel=0.2)


def test_of_real_weights_detectors_see_only_the_second_order_of_couplers(key):
    weights, store = drawn(1, 12, 12), IDEAL.replace(splitter_rad=0.01, error_aware=False)
    matrix = np.asarray(fields(store, programmed(store, weights, key)))
    first_order = np.linalg.norm(matrix.imag) / np.linalg.norm(weights)
    assert first_order == pytest.approx(np.sqrt(2 * 2 * 11) * 0.01, rel=0.2)
    assert off_by(matrix.real, weights) < 0.15 * first_order


def test_offsets_and_drift_have_their_standard_deviation_on_every_shifter(key):
    store = IDEAL.replace(shifter=PERFECT.replace(offset_rad=0.02, drift_rad=0.001))
    grid = ShifterGrid(32, 32, "rectangular")

    @jax.jit
    def off(times):
        phases = jax.random.uniform(jax.random.key(1), grid.shape, maxval=2 * np.pi)
        state = store.driven(store.fabricate(key, 32, 32), phases, jnp.ones(()), jnp.zeros((32, 32)))
        return jax.vmap(lambda t: store.phases(state, t) - phases)(times)

    now, later = np.asarray(off(np.array([0.0, 400.0])))[:, grid.mask]
    n = now.size
    assert now.std() == pytest.approx(0.02, rel=4 / np.sqrt(2 * n))
    assert (later - now).std() == pytest.approx(0.001 * 20, rel=4 / np.sqrt(2 * n))  # the root of 400 s
    assert abs(now.mean()) < 4 * 0.02 / np.sqrt(n)


@pytest.mark.slow
def test_error_of_the_converters_follows_the_rule_of_thumb(key):
    # sqrt(N) (pi / sqrt 3) / 2^b of the matrix for each of two meshes, of which the detectors see the real part: half.
    n, bits = 16, 8
    store = IDEAL.replace(shifter=PERFECT.replace(bits=bits))
    found = [error(store, drawn(i, n, n), key) for i in range(6)]
    assert np.mean(found) / (np.sqrt(n) * np.pi / np.sqrt(3) / 2**bits) == pytest.approx(1.0, abs=0.3)


@pytest.mark.slow
def test_noise_of_phases_has_the_moments_of_sampled_reads(key):
    store = IDEAL.replace(shifter=PERFECT.replace(noise_rad=0.01), splitter_rad=0.03)
    state = programmed(store, drawn(1, 6, 5), key)
    moments = read(store, state)
    sampled = jax.jit(jax.vmap(lambda k: store.read(state, 0.0, k).mean))
    reads = np.asarray(sampled(jax.random.split(jax.random.key(9), 4000)))
    deviation = np.sqrt(moments.variance)
    assert (np.abs(reads.mean(0) - moments.mean) / deviation).max() < 4.5 / np.sqrt(4000)
    np.testing.assert_allclose(reads.std(0) / deviation, 1.0, atol=0.06)


def test_the_mean_of_noisy_phases_is_damped_exactly(key):
    # One input, one output: no cell but the attenuator and two phases; e^(i phi) shrinks by e^(-sigma^2/2) three times
    # where the attenuator is open, of which its own phase carries all the light.
    sigma = 0.5
    # T11 of the open attenuator is (e^(i theta) - 1)/2: half of it has the noise of theta.
    damped = np.exp(-(sigma**2) / 2)
    expected = damped**2 * (1 + damped) / 2
    store = IDEAL.replace(topology="triangular")
    state = programmed_exactly(store, np.ones((1, 1)), key)
    noisy = store.replace(shifter=PERFECT.replace(noise_rad=sigma))
    assert fields_exactly(noisy, state)[0, 0].real == pytest.approx(expected, rel=1e-12)


def test_detection_adds_the_quantum_limit_behind_the_gain(key):
    detector = Homodyne()
    store, weights = IDEAL.replace(detector=detector), drawn(1, 8, 4)
    state = programmed(IDEAL, weights, key)  # detectors play no part in it
    noise = jax.jit(lambda y: store.noise(jnp.ones((3, 8)), y, state))
    y = np.zeros((3, 4), np.float32)
    sigma = np.asarray(state.gain * detector.sigma(store.laser_w / 8, store.rate_hz))
    np.testing.assert_allclose(noise(y), np.full((3, 4), sigma), rtol=1e-6)
    relative = detector.relative_sigma(store.rate_hz)
    np.testing.assert_allclose(noise(y + 1e3), np.full((3, 4), np.hypot(sigma, 1e3 * relative)), rtol=1e-5)
    assert IDEAL.noise(y, y, state) is None
    # Twice the loss of every cell: the noise grows as the light shrinks.
    deeper = IDEAL.replace(shifter_loss_db=0.2, coupler_loss_db=0.1)
    ratio = programmed(deeper, weights, key).gain / state.gain
    np.testing.assert_allclose(ratio, 10 ** (0.3 * (8 + 4 + 1) / 20), rtol=1e-5)


def test_a_mesh_attenuates_and_never_amplifies(key):
    weights = drawn(1, 8, 4)
    fabric = programmed(IDEAL, weights, key).fabric
    least = float(np.linalg.norm(weights, 2))

    @jax.jit
    def with_gain(largest):
        phases, gain = IDEAL.phases_for(weights, largest=largest)
        return IDEAL.driven(fabric, phases, gain, jnp.zeros((8, 4)))

    state = with_gain(2 * least)  # half of the field is enough
    np.testing.assert_allclose(read(IDEAL, state).mean, weights, atol=1e-5)
    said = r"largest = 0\.1: must be at least ([\d.]+), .*never amplifies"
    with pytest.raises(InputError, match=said) as refused:
        IDEAL.phases_for(weights, largest=0.1)
    assert float(re.search(said, str(refused.value))[1]) == pytest.approx(least, rel=1e-5)
    assert np.isnan(with_gain(0.1).gain)


def test_writing_again_keeps_the_fabric(key):
    store, weights = IDEAL.replace(splitter_rad=0.02), drawn(1, 8, 4)
    first = programmed(store, weights, key)
    again = jax.jit(store.program)(jax.random.key(8), -weights, first)
    jax.tree.map(np.testing.assert_array_equal, first.fabric, again.fabric)
    assert not np.allclose(first.commands, again.commands)


def test_gradients_reach_weights_and_the_hardwares_numbers(key):
    weights = drawn(1, 6, 6)  # two meshes of one size are one program

    def off(written, splitter, offset, loss):
        store = MZIMesh(splitter_rad=splitter, shifter=PhaseShifter(offset_rad=offset), shifter_loss_db=loss)
        difference = store.read(store.program(key, written), 0.0).mean - weights
        return jnp.mean(difference**2), difference

    gradients, difference = jax.jit(jax.grad(off, argnums=(0, 1, 2, 3), has_aux=True))(weights, 0.02, 0.01, 0.1)
    # What is held moves by as much as what is written, however phases are found.
    np.testing.assert_allclose(gradients[0], 2 * difference / weights.size, rtol=1e-6)
    assert all(np.isfinite(s) for s in gradients[1:])
    assert gradients[2] > 0


def test_what_a_product_costs():
    weights = drawn(1, 8, 4)
    actions = {a.name: (float(a.quantity), a.unit) for a in MZIMesh().cost(weights, 1.0)}
    assert actions["laser"] == (pytest.approx(10e-3 / 5e9), "J")
    assert actions["modulator"] == (8, "symbol")
    assert actions["receiver"] == (4, "sample")
    # Two phases in 28 + 6 cells, 8 + 4 at the outputs, 4 attenuators: about a half-wave power each.
    watts, unit = actions["hold"]
    assert unit == "W"
    assert 0.3 < watts / ((2 * (28 + 6) + 12 + 4) * 24.77e-3) < 1.2
    assert MZIMesh().n_cells(8, 4) == 28 + 6 + 4
    assert MZIMesh().n_cells(64, 64) == 2 * 2016 + 64


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"laser_w": 5.0}, r"MZIMesh\.laser_w = 5: must be .*0\.1"),
    ],
)
def test_bad_input(changes, message):
    with pytest.raises(InputError, match=message):
        MZIMesh(**changes)


def test_a_butterfly_and_a_missing_key_are_refused(key):
    with pytest.raises(InputError, match="a butterfly represents only some matrices"):
        # Traced alone: it is refused for what it is, before anything is compiled.
        jax.eval_shape(MZIMesh(topology="butterfly").program, key, np.ones((4, 4)))
    with pytest.raises(InputError, match="key = None: interferometers are fabricated with errors"):
        MZIMesh().program(None, np.ones((4, 4)))
