"""Weights in amplitudes: what is read by closed forms, its spread by many tomographies, its gradients and its costs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analogsim import InputError
from analogsim.devices import AmplitudeRegister, AmplitudeStore, Qubit
from analogsim.devices.quantum.accounting import wall_plug_j
from tests.devices.quantum.by_hand import evolved

CLEAN = AmplitudeRegister(
    qubit=Qubit(t1_s=100e-6, t2_s=80e-6, depolarising=0.0), two_qubit_error=0.0, readout_error=0.0
)
NOISY = AmplitudeRegister(
    qubit=Qubit(t1_s=100e-6, t2_s=80e-6, depolarising=2e-3), two_qubit_error=2e-3, readout_error=5e-3
)
WEIGHTS = np.float32([[0.5, -1.0, 0.0, 0.3], [1.0, 0.75, 0.0, 0.0], [-0.25, 0.0, 0.0, 0.0], [0.0, 0.5, 0.0, 0.0]])
MANY = 4000

moments = jax.jit(lambda store, weights, time: store.read(store.program(None, weights), time))
sampled = jax.jit(
    jax.vmap(lambda store, weights, time, key: store.read(store.program(None, weights), time, key).mean,
             in_axes=(None, None, None, 0))
)  # fmt: skip


@pytest.mark.parametrize("signs", ["differential", "known"])
def test_enough_shots_on_clean_qubits_are_exact(signs):
    store = AmplitudeStore(register=CLEAN, shots=2**24, signs=signs)
    held = moments(store, WEIGHTS, 0.0)
    np.testing.assert_allclose(held.mean, WEIGHTS, atol=1e-5)
    assert np.all(np.asarray(held.variance)[:, 2] == 0)


@pytest.mark.parametrize("signs", ["differential", "known"])
def test_what_is_read_against_full_matrices(signs):
    store = AmplitudeStore(register=NOISY, shots=2**24, signs=signs)
    n = 3 if signs == "differential" else 2
    found = np.asarray(moments(store, WEIGHTS, 20e-6).mean, np.float64)
    share = 0.998 ** (2**n - 2)
    one = np.array([[0.995, 0.005], [0.005, 0.995]])
    confusion = np.kron(np.kron(one, one), one) if n == 3 else np.kron(one, one)
    for j in (0, 1, 3):
        w = np.asarray(WEIGHTS[:, j], np.float64)
        norm = np.linalg.norm(w)
        a = np.concatenate([np.maximum(w, 0), np.maximum(-w, 0)]) if n == 3 else np.abs(w)
        rho = share * np.outer(a, a) / norm**2 + (1 - share) / 2**n * np.eye(2**n)
        root = np.sqrt(confusion @ np.diag(evolved(rho, 100e-6, 80e-6, 2e-3, 20e-6)).real)
        expected = norm * (root[:4] - root[4:] if n == 3 else np.sign(w) * root)
        np.testing.assert_allclose(found[:, j], expected, atol=2e-4)


@pytest.mark.parametrize(("signs", "shots"), [("differential", 400), ("known", 400), ("differential", 20_000)])
def test_moments_are_those_of_many_tomographies(key, signs, shots):
    store = AmplitudeStore(register=NOISY, shots=shots, signs=signs)
    held = moments(store, WEIGHTS, 5e-6)
    reads = np.asarray(sampled(store, WEIGHTS, 5e-6, jax.random.split(key, MANY)), np.float64)
    mean, variance = np.asarray(held.mean, np.float64), np.asarray(held.variance, np.float64)
    centred = (reads - reads.mean(0)) ** 2
    random = variance > 0
    assert np.abs((reads.mean(0) - mean)[random] / np.sqrt(variance[random] / MANY)).max() < 4.5
    # The delta method is off by some percent where a count is small, and for a column's only weight.
    allowed = 4.5 * centred.std(0) / np.sqrt(MANY) + 0.04 * variance
    assert np.all(np.abs(centred.mean(0) - variance) <= allowed)


def test_spread_is_that_of_the_shots():
    store = AmplitudeStore(register=CLEAN, shots=100_000)
    held = moments(store, np.full((64, 1), 0.5, np.float32), 0.0)
    norm = 0.5 * 8
    np.testing.assert_allclose(held.variance, norm**2 * (1 - 1 / 64) / 4e5, rtol=2e-3)


def test_damping_drains_a_column_to_its_first_weight():
    store = AmplitudeStore(register=CLEAN, shots=2**24)
    late = np.asarray(moments(store, WEIGHTS, 1.0).mean)
    norms = np.linalg.norm(np.asarray(WEIGHTS), axis=0)
    np.testing.assert_allclose(late[0], norms, atol=1e-5)
    np.testing.assert_allclose(late[1:], 0, atol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_columns_of_zeros_read_as_zeros(key, dtype):
    weights = WEIGHTS.astype(dtype)
    for signs in ("differential", "known"):
        store = AmplitudeStore(register=NOISY, signs=signs)
        held = moments(store, weights, 1e-5)
        few = jax.random.split(key, MANY)  # as in the test before: what is compiled is shared
        drawn = sampled(store, weights, 1e-5, few) if dtype == jnp.float32 or signs == "known" else held.mean[None]
        assert held.mean.dtype == held.variance.dtype == drawn.dtype == jnp.float32  # amplitudes of halves, too
        for each in (held.mean, held.variance, drawn[0]):
            assert np.all(np.isfinite(np.asarray(each, np.float32)))
            np.testing.assert_array_equal(np.asarray(each[:, 2], np.float32), 0)
        nothing = moments(store, np.zeros_like(weights), 1e-5)
        assert not np.any(np.asarray(nothing.mean, np.float32))


def test_a_nan_stays_visible():
    weights = WEIGHTS.copy()
    weights[1, 0] = np.nan
    held = moments(AmplitudeStore(register=NOISY), weights, 0.0)
    assert np.all(np.isnan(held.mean[:, 0]))
    assert np.all(np.isfinite(held.mean[:, 1:]))


def test_one_input_and_odd_numbers_of_inputs():
    for n_in in (1, 3):
        weights = np.random.default_rng(n_in).uniform(-1, 1, (n_in, 2)).astype(np.float32)
        held = moments(AmplitudeStore(register=CLEAN, shots=2**24), weights, 0.0)
        np.testing.assert_allclose(held.mean, weights, atol=1e-4)


def test_gradients_pass_straight_to_the_weights_and_through_the_physics(key):
    target = np.random.default_rng(3).normal(size=WEIGHTS.shape).astype(np.float32)

    def total(weights, t1, time, key):
        store = AmplitudeStore(register=NOISY.replace(**{"qubit.t1_s": t1}), shots=500)
        return jnp.sum(target * store.read(store.program(None, weights), time, key).mean)

    gradients = jax.jit(jax.grad(total, (0, 1, 2)))
    for at in (None, key):
        by_weight, by_t1, by_time = gradients(WEIGHTS, 100e-6, 2e-5, at)
        np.testing.assert_allclose(by_weight, target, rtol=1e-6)
        assert np.all(np.isfinite([by_t1, by_time]))
        assert np.all(np.isfinite(gradients(WEIGHTS, 100e-6, 0.0, at)[2]))
    with jax.enable_x64(True):
        wide, aim = WEIGHTS.astype(np.float64), target.astype(np.float64)
        store = AmplitudeStore(register=NOISY, shots=500)

        def read(t1, error, time):
            noisy = store.replace(**{"register.qubit.t1_s": t1, "register.readout_error": error})
            held = noisy.read(noisy.program(None, wide), time)
            return jnp.sum(aim * (held.mean + 30 * held.variance))

        both, at = jax.jit(jax.value_and_grad(read, (0, 1, 2))), (100e-6, 5e-3, 2e-5)
        for i, gradient in enumerate(both(*at)[1]):
            up, down = ([v * (1 + s * (i == j)) for j, v in enumerate(at)] for s in (1e-5, -1e-5))
            assert float(gradient) == pytest.approx(float(both(*up)[0] - both(*down)[0]) / (2e-5 * at[i]), rel=1e-5)


def test_maps_over_hardware_and_tiles():
    tiles = np.random.default_rng(0).uniform(-1, 1, (3, 4, 4)).astype(np.float32)
    errors = np.float32([0.0, 0.01, 0.1])

    def held(error, weights):
        store = AmplitudeStore(register=NOISY.replace(readout_error=error))
        return store.read(store.program(None, weights), 1e-6)

    found = jax.jit(jax.vmap(held))(errors, tiles)
    for i in range(3):
        alone = moments(AmplitudeStore(register=NOISY.replace(readout_error=float(errors[i]))), tiles[i], 1e-6)
        np.testing.assert_allclose(found.mean[i], alone.mean, atol=1e-6)
        np.testing.assert_allclose(found.variance[i], alone.variance, atol=1e-8)


def test_costs_and_times():
    register = AmplitudeRegister(gate_s="200 ns", readout_s="1 us")
    store = AmplitudeStore(register=register, shots=1000, rows=4)
    actions = {a.name: (float(a.quantity), a.unit) for a in store.cost(WEIGHTS, 0.1)}
    assert actions == {
        "qubit gate": (1000 * 4 * 6, "gate"),
        "qubit read": (1000 * 4 * 3, "read"),
        "qubit": (12, "qubit"),
        "weight fetch": (1000 * 4 * 7 * 2, "B"),
        "mac": (16, "MAC"),
    }
    assert store.n_cells(4, 4) == 12
    assert AmplitudeStore(signs="known").n_cells(4, 4) == 8
    assert store.read_time_s == pytest.approx(1000 * (6 * 200e-9 + 1e-6))
    assert (store.time_limit_s, store.noise(None, None, None)) == (None, None)


def test_the_report_says_what_it_is():
    register = AmplitudeRegister(gate_s=999e-6 / 1022, readout_s="1 us")
    report = AmplitudeStore(register=register, shots=2_560_000, rows=1024, signs="known").report(1024)
    assert (report.qubits, report.bits_per_copy, report.copies_for_full_readout) == (10, 10, 819.2)
    assert report.destructive_read
    assert report.wall_plug_j == pytest.approx(64e6, rel=1e-9)
    assert report.wall_plug_j == pytest.approx(wall_plug_j(2.56e6, 999e-6, 1e-6))
    assert report.modulus_error == pytest.approx(0.01, rel=1e-3)
    assert "not a memory of weights" in report.recommended_use


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (dict(shots=0), "shots = 0: must be an integer between 64"),
    ],
)
def test_impossible_stores_are_refused(fields, message):
    with pytest.raises(InputError, match=message):
        AmplitudeStore(**fields)


def test_impossible_calls_are_refused():
    with pytest.raises(InputError, match="rows = 2: must be at least 4, the inputs of the tile"):
        AmplitudeStore(rows=2).program(None, WEIGHTS)
    with pytest.raises(InputError, match="weights: complex"):
        AmplitudeStore().program(None, WEIGHTS + 0j)
    store = AmplitudeStore()
    with pytest.raises(InputError, match=r"time_s = -1e-06: must be at least 0"):
        store.read(store.program(None, WEIGHTS), -1e-6)
