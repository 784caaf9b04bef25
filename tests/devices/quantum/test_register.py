"""Registers: preparation, read-out and overlaps by closed forms and full matrices in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analogsim import InputError
from analogsim.devices import AmplitudeRegister, Qubit
from analogsim.devices.quantum.register import encoded, qubits_for
from tests.devices.quantum.by_hand import evolved

PERFECT = AmplitudeRegister(
    qubit=Qubit(t1_s=100e-6, t2_s=80e-6, depolarising=0.0), two_qubit_error=0.0, readout_error=0.0
)
VECTOR = np.float32([0.5, -1.0, 0.0, 2.0, 0.25])

probabilities = jax.jit(lambda register, amplitudes, time: register.probabilities(amplitudes, time))
encode = jax.jit(lambda register, vector: register.encode(vector))


@jax.jit
def overlap(register, first, second):
    return register.overlap(register.encode(first), second, 0.0)


def test_encoding():
    held = encode(PERFECT, VECTOR)
    norm = np.sqrt((VECTOR**2).sum())
    assert float(held.norm) == pytest.approx(norm, rel=1e-6)
    np.testing.assert_allclose(held.amplitudes, [*(VECTOR / norm), 0, 0, 0], atol=1e-7)
    assert [qubits_for(n) for n in (1, 2, 3, 4, 5, 1024, 1025)] == [1, 1, 2, 2, 3, 10, 11]


@pytest.mark.parametrize(
    ("vector", "message"),
    [
        (np.zeros(4), "all zeros: no state"),
        (np.array([1.0, np.nan, np.inf]), "2 of 3 values are not finite"),
        (np.ones((2, 2)), r"vector of shape \(2, 2\)"),
        (np.ones(2, complex), "must be real"),
    ],
)
def test_what_no_register_holds_is_refused(vector, message):
    with pytest.raises(InputError, match=message):
        PERFECT.encode(vector)


def test_traced_zeros_are_guarded():
    def first(v):
        held = PERFECT.encode(v)
        return held.amplitudes[0] * 3 + held.norm

    value, gradient = jax.jit(jax.value_and_grad(first))(np.zeros(3, np.float32))
    assert value == 3
    assert np.all(np.isfinite(gradient))
    columns = jax.jit(encoded)(np.float32([[0, 3], [0, 4]]))
    np.testing.assert_allclose(columns.norm, [0, 5])
    np.testing.assert_allclose(columns.amplitudes, [[1, 0.6], [0, 0.8]], atol=1e-7)


def test_gradients_of_encoding():
    with jax.enable_x64(True):
        v, weights = VECTOR.astype(np.float64), np.arange(8.0)

        @jax.jit
        @jax.value_and_grad
        def total(u):
            held = encoded(u)
            return weights @ held.amplitudes + held.norm

        found = total(v)[1]
        for i in range(5):
            step = 1e-6 * np.eye(5)[i]
            assert float(found[i]) == pytest.approx(float(total(v + step)[0] - total(v - step)[0]) / 2e-6, abs=1e-8)


def test_preparation():
    register = AmplitudeRegister(two_qubit_error=0.005, gate_s="200 ns")
    assert [register.gates(n) for n in (1, 2, 10)] == [0, 2, 1022]
    assert float(register.fidelity(10)) == pytest.approx(0.995**1022, rel=1e-4)  # 0.6 %
    assert float(register.fidelity(1)) == 1
    assert register.preparation_s(10) == pytest.approx(204.4e-6)  # longer than T1
    a = np.float32([0.6, 0, 0.8, 0])
    share = 0.995**2
    found = jax.jit(register.prepared)(a)
    np.testing.assert_allclose(found, share * np.outer(a, a) + (1 - share) / 4 * np.eye(4), atol=1e-6)


@jax.jit
def otherwise(register, amplitudes, read, time):
    """The confusion of a bit, what is read corrected by it, what would be read without errors, and the density."""
    plain = register.probabilities(amplitudes, time, read_out=False)
    return register.confusion(), register.corrected(read), plain, register.density(amplitudes, time)


@pytest.mark.parametrize("time", [0.0, 30e-6])
def test_probabilities_against_full_matrices(time):
    register = AmplitudeRegister(
        qubit=Qubit(t1_s=100e-6, t2_s=80e-6, depolarising=0.02), two_qubit_error=0.01, readout_error=0.03,
        excited_readout_error=0.06,
    )  # fmt: skip
    single = np.float32([*(VECTOR / np.linalg.norm(VECTOR)), 0, 0, 0])
    a = single.astype(np.float64)
    share = 0.99**6
    rho = share * np.outer(a, a) + (1 - share) / 8 * np.eye(8)
    rho = evolved(rho, 100e-6, 80e-6, 0.02, time)
    one = np.array([[0.97, 0.06], [0.03, 0.94]])
    confusion = np.kron(np.kron(one, one), one)
    found = probabilities(register, single, time)
    np.testing.assert_allclose(found, confusion @ np.diag(rho).real, atol=1e-6)
    assert float(found.sum()) == pytest.approx(1, abs=1e-6)
    told, corrected, plain, density = otherwise(register, single, found, time)
    np.testing.assert_allclose(told, one, atol=1e-7)
    np.testing.assert_allclose(corrected, np.diag(rho).real, atol=2e-6)
    np.testing.assert_allclose(plain, np.diag(density).real, atol=1e-6)


def test_four_equal_values_are_off_by_28_percent_after_half_of_t1():
    """Infinite shots, known signs: damping alone. Each bit's moduli overlap with the equal ones by c."""
    p = probabilities(PERFECT, np.full(4, 0.5, np.float32), 50e-6)
    g = 1 - np.exp(-0.5)
    c = (np.sqrt(1 + g) + np.sqrt(1 - g)) / 2
    error = np.linalg.norm(np.sqrt(np.asarray(p)) - 0.5)
    assert error == pytest.approx(np.sqrt(2 - 2 * c**2), rel=1e-4)
    assert round(error, 2) == 0.28
    for n in (1, 3, 8):  # and by more on more qubits
        p = np.asarray(probabilities(PERFECT, np.full(2**n, 2 ** (-n / 2), np.float32), 50e-6))
        assert np.linalg.norm(np.sqrt(p) - 2 ** (-n / 2)) == pytest.approx(np.sqrt(2 - 2 * c**n), rel=1e-4)


def test_moduli_from_shots(key):
    register = PERFECT.replace(readout_error=0.1)
    held = encode(register, np.float32([3, 0, -4, 0]))
    read = jax.jit(lambda k, invert: register.read(held, 0.0, 200_000, k, invert), static_argnums=1)
    expected = 5 * np.sqrt(np.kron([[0.9, 0.1], [0.1, 0.9]], [[0.9, 0.1], [0.1, 0.9]]) @ [0.36, 0, 0.64, 0])
    np.testing.assert_allclose(read(key, False), expected, atol=0.03)
    inverted = np.asarray(read(key, True))
    np.testing.assert_allclose(inverted, [3, 0, 4, 0], atol=0.2)  # the root of a noisy zero
    np.testing.assert_allclose(inverted[[0, 2]], [3, 4], atol=0.03)


def test_overlaps(key):
    a, b = np.float32([1.0, 2.0, -1.0, 0.5]), np.float32([0.5, 1.0, 1.0, -1.0])
    cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    assert float(overlap(PERFECT, a, b)) == pytest.approx(cosine**2, abs=1e-6)
    assert float(overlap(PERFECT, a, a)) == pytest.approx(1, abs=1e-6)
    noisy = PERFECT.replace(two_qubit_error=0.1)
    share = 0.81**2
    assert float(overlap(noisy, a, b)) == pytest.approx(share * cosine**2 + (1 - share) / 4, abs=1e-6)
    shots = 400_000
    held = encode(PERFECT, a)
    drawn = float(jax.jit(lambda key: PERFECT.overlap(held, b, 0.0, shots, key))(key))
    assert abs(drawn - cosine**2) < 4 * np.sqrt(cosine**2 * (1 - cosine**2) / shots)
    with pytest.raises(InputError, match="8 amplitudes: must be as many as the stored 4"):
        jax.eval_shape(lambda: PERFECT.overlap(held, np.ones(8, np.float32), 0.0))
    with pytest.raises(InputError, match="key = None"):
        jax.eval_shape(lambda: PERFECT.overlap(held, b, 0.0, 100))


def test_impossible_registers_are_refused():
    for fields, message in (
        (dict(readout_error=0.5), "less than 0.5"),
        (dict(two_qubit_error=1.0), "less than 1"),
    ):
        with pytest.raises(InputError, match=message):
            AmplitudeRegister(**fields)
    assert AmplitudeRegister(readout_s="2 us").readout_s == 2e-6


def test_overlap_is_read_with_the_errors_of_the_read_out():
    """Two equal states of two qubits: all bits are 0, and each is read as that with 1 - e."""
    perfect = AmplitudeRegister(qubit=Qubit(depolarising=0.0), two_qubit_error=0.0, readout_error=0.0)
    a = np.float32([0.5, 0.1, -0.3, 0.8])
    for error in (0.0, 0.1, 0.4):
        register = perfect.replace(readout_error=error)
        np.testing.assert_allclose(overlap(register, a, a), (1 - error) ** 2, rtol=1e-5)
    b = np.float32([1, 0, 0, 0])
    cosine = a[0] / np.linalg.norm(a)
    np.testing.assert_allclose(overlap(perfect, a, b), cosine**2, rtol=1e-5)
    held = encode(perfect, a)
    with pytest.raises(InputError, match="must be real"):
        perfect.overlap(held, np.array([1, 1j, 0, 0]), 0.0)
    with pytest.raises(InputError, match="all zeros"):
        perfect.overlap(held, np.zeros(4, np.float32), 0.0)


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_vectors_of_any_size_have_a_length(size):
    held = encode(AmplitudeRegister(), np.float32([3, 4]) * np.float32(size))
    np.testing.assert_allclose(held.norm, 5 * size, rtol=1e-6)
    np.testing.assert_allclose(held.amplitudes, [0.6, 0.8], rtol=1e-6)


def test_impossible_coherence_is_refused_in_arrays_too():
    with pytest.raises(InputError, match="twice t1_s"):
        Qubit(t1_s=jnp.array(1e-6), t2_s=jnp.array(1e-3))
    traced = jax.jit(lambda t2: Qubit(t1_s=1e-6, t2_s=t2).coherence(5e-6))(1e-3)
    np.testing.assert_allclose(traced, np.exp(-2.5), rtol=1e-5)  # what damping leaves, not more


@pytest.mark.parametrize("first", [1.0, -1.0])
@pytest.mark.parametrize("rest", [0.0, 1e-6, 1e-4, 1e-3])
def test_overlaps_with_a_state_close_to_a_basis_state(first, rest):
    equal, close = np.ones(4, np.float32), np.float32([first, rest, rest, rest])
    assert float(overlap(PERFECT, close, close)) == pytest.approx(1, abs=1e-6)
    cosine = (first + 3 * rest) / np.sqrt(4 * (1 + 3 * rest**2))
    assert float(overlap(PERFECT, equal, close)) == pytest.approx(cosine**2, abs=1e-6)
