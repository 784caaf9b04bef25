"""Stored qubits against full matrices in numpy, closed forms, limits and, where installed, QuTiP and PennyLane."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analogsim import InputError
from analogsim.devices import Qubit
from analogsim.devices.quantum import density_after, probabilities_after, trajectory_after
from analogsim.devices.quantum.channels import on_every_bit
from tests.devices.quantum.by_hand import evolved, random_density, random_state

QUBIT = Qubit(t1_s=100e-6, t2_s=80e-6, depolarising=0.03)
TIME = 35e-6

density = jax.jit(density_after)
diagonal = jax.jit(probabilities_after)
kraus = jax.jit(lambda qubit, time: qubit.kraus(time))


def test_kraus_operators_are_complete_and_those_of_the_book():
    for time in (0.0, TIME, 1.0):
        for operators in kraus(QUBIT, time):
            k = np.asarray(operators)
            np.testing.assert_allclose(np.einsum("kji,kjl->il", k.conj(), k), np.eye(2), atol=1e-6)
    damping, dephasing, depolarising = map(np.asarray, kraus(QUBIT, TIME))
    g, rate = 1 - np.exp(-0.35), 1 / 80e-6 - 1 / 200e-6
    np.testing.assert_allclose(damping, [[[1, 0], [0, np.sqrt(1 - g)]], [[0, np.sqrt(g)], [0, 0]]], atol=1e-6)
    lost = 1 - np.exp(-2 * TIME * rate)
    np.testing.assert_allclose(dephasing, [np.diag([1, np.sqrt(1 - lost)]), np.diag([0, np.sqrt(lost)])], atol=1e-6)
    np.testing.assert_allclose(depolarising[2], np.sqrt(0.01) * np.array([[0, -1j], [1j, 0]]), atol=1e-7)


def test_one_qubit_by_closed_form():
    rho = np.array([[0.3, 0.2 - 0.1j], [0.2 + 0.1j, 0.7]])
    found = np.asarray(density(rho.astype(np.complex64), QUBIT, TIME))
    excited = 0.7 * np.exp(-0.35)
    excited = excited + 0.02 * (1 - 2 * excited)  # 2p/3 of flips
    np.testing.assert_allclose(np.diag(found), [1 - excited, excited], atol=1e-6)
    np.testing.assert_allclose(found[0, 1], (0.2 - 0.1j) * np.exp(-35 / 80) * (1 - 0.04), atol=1e-6)


@pytest.mark.parametrize("n", [1, 3, 6])
def test_registers_against_full_matrices(n):
    rho = random_density(n)
    with jax.enable_x64(True):
        found = np.asarray(density(rho, QUBIT, TIME))
    np.testing.assert_allclose(found, evolved(rho, 100e-6, 80e-6, 0.03, TIME), atol=1e-14)


def test_trace_positivity_and_symmetry_stay():
    for time in (1e-6, 1e-4, 1.0):
        found = np.asarray(density(random_density(3, seed=3).astype(np.complex64), QUBIT, time))
        assert np.trace(found) == pytest.approx(1, abs=2e-6)
        np.testing.assert_allclose(found, found.conj().T, atol=1e-7)
        assert np.linalg.eigvalsh(found).min() > -1e-6


def test_nothing_happens_at_once_and_everything_in_the_end():
    clean, rho = QUBIT.replace(depolarising=0.0), random_density(3).astype(np.complex64)
    np.testing.assert_allclose(density(rho, clean, 0.0), rho, atol=1e-7)
    ground = np.zeros((8, 8))
    ground[0, 0] = 1
    np.testing.assert_allclose(density(rho, clean, 1.0), ground, atol=1e-6)
    worst = density(rho, QUBIT.replace(depolarising=0.75), 0.0)  # p = 3/4 leaves nothing of a qubit
    np.testing.assert_allclose(worst, np.eye(8) / 8, atol=1e-6)


@pytest.mark.parametrize("n", [1, 3, 6])
def test_the_diagonal_goes_its_own_way(n):
    rho = random_density(n, seed=n)
    single = rho.astype(np.complex64)
    found = diagonal(np.diag(single).real, QUBIT, TIME)
    np.testing.assert_allclose(found, np.diag(density(single, QUBIT, TIME)).real, atol=1e-6)
    with jax.enable_x64(True):
        p = diagonal(np.diag(rho).real, QUBIT, TIME)
        np.testing.assert_allclose(p, np.diag(density(rho, QUBIT, TIME)).real, atol=1e-12)
        np.testing.assert_allclose(p, np.diag(evolved(rho, 100e-6, 80e-6, 0.03, TIME)).real, atol=1e-12)


def test_bits_are_numbered_from_the_most_significant():
    flip = np.float32([[0, 1], [1, 0]])
    np.testing.assert_array_equal(jax.jit(on_every_bit)(np.arange(8, dtype=np.float32), flip), np.arange(7, -1, -1))
    one = np.float32([0, 0, 1, 0])  # bits 10
    after = diagonal(one, Qubit(t1_s=1.0, t2_s=1.0, depolarising=0.0), 1.0)
    np.testing.assert_allclose(after, [1 - np.exp(-1), 0, np.exp(-1), 0], atol=1e-6)


def test_a_large_register_sums_to_one():
    p = np.random.default_rng(0).dirichlet(np.ones(2**14)).astype(np.float32)
    assert np.sum(diagonal(p, QUBIT, TIME)) == pytest.approx(1, abs=1e-5)


def test_trajectories_average_to_the_density_matrix(key):
    psi, qubit = random_state(2), QUBIT.replace(depolarising=0.2)
    many = 20_000
    draw = jax.jit(jax.vmap(lambda k: trajectory_after(jnp.asarray(psi), qubit, TIME, k)))
    states = np.asarray(draw(jax.random.split(key, many)))
    np.testing.assert_allclose(np.linalg.norm(states, axis=1), 1, atol=1e-5)
    outer = np.einsum("si,sj->sij", states, states.conj())
    expected = evolved(np.outer(psi, psi.conj()), 100e-6, 80e-6, 0.2, TIME)
    error = outer.mean(0) - expected
    for part in (np.real, np.imag):
        deviation = part(outer).std(0) / np.sqrt(many) + 1e-9
        assert np.abs(part(error) / deviation).max() < 4.5


def test_jit_vmap_and_gradients():
    p = np.diag(random_density(3)).real.astype(np.float32)
    lifetimes = np.float32([50e-6, 100e-6, 200e-6])
    found = jax.jit(jax.vmap(lambda t1: probabilities_after(p, Qubit(t1_s=t1, t2_s=40e-6), TIME)))(lifetimes)
    for t1, row in zip(lifetimes, found, strict=True):
        np.testing.assert_allclose(row, diagonal(p, Qubit(t1_s=float(t1), t2_s=40e-6), TIME), atol=1e-6)

    with jax.enable_x64(True):
        rho = random_density(2)

        def purity(t1, t2, depolarising, time):
            after = density_after(rho, Qubit(t1_s=t1, t2_s=t2, depolarising=depolarising), time)
            return jnp.sum(jnp.abs(after) ** 2)

        at = (100e-6, 80e-6, 0.03, TIME)
        both = jax.jit(jax.value_and_grad(purity, argnums=(0, 1, 2, 3)))
        for i, gradient in enumerate(both(*at)[1]):
            step = at[i] * 1e-5
            ends = [both(*at[:i], at[i] + s * step, *at[i + 1 :])[0] for s in (1, -1)]
            assert float(gradient) == pytest.approx(float(ends[0] - ends[1]) / (2 * step), rel=1e-6)
        assert np.all(np.isfinite(both(100e-6, 80e-6, 0.0, 0.0)[1]))


def test_kraus_operators_have_finite_gradients_at_once():
    clean = QUBIT.replace(depolarising=0.0)
    gradient = jax.jit(jax.grad(lambda t: sum(jnp.sum(jnp.abs(k)) for k in clean.kraus(t))))
    assert np.isfinite(gradient(0.0))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (dict(t1_s=10e-6, t2_s=30e-6), r"Qubit.t2_s = 30 µs: must be at most 20 µs, twice t1_s.*\(unit: s\)"),
        (dict(depolarising=0.8), "at most 0.75"),
    ],
)
def test_impossible_qubits_are_refused(fields, message):
    with pytest.raises(InputError, match=message):
        Qubit(**fields)


def test_text_is_read_and_the_limit_itself_allowed():
    assert Qubit(t1_s="50 us", t2_s="100 us") == Qubit(t1_s=50e-6, t2_s=100e-6)
    assert np.isinf(Qubit(t1_s=50e-6, t2_s=100e-6).dephasing_time_s)
    assert float(Qubit().dephasing_time_s) == pytest.approx(1 / (1 / 80e-6 - 1 / 200e-6), rel=1e-5)


def test_impossible_registers_are_refused():
    with pytest.raises(InputError, match=r"time_s = -1.0: must be at least 0 \(unit: s\)"):
        probabilities_after(np.ones(2) / 2, QUBIT, -1.0)
    with pytest.raises(InputError, match="time_s = nan"):
        density_after(np.eye(2) / 2, QUBIT, float("nan"))
    with pytest.raises(InputError, match="3 values: must be a power of two"):
        probabilities_after(np.ones(3) / 3, QUBIT, 0.0)
    with pytest.raises(InputError, match="must be a square matrix"):
        density_after(np.ones((2, 4)), QUBIT, 0.0)
    with pytest.raises(InputError, match=r"11 qubits: must be at most 10.*use trajectory_after"):
        density_after(jax.ShapeDtypeStruct((2048, 2048), jnp.complex64), QUBIT, 0.0)
    with pytest.raises(InputError, match="must be one vector"):
        trajectory_after(np.eye(2), QUBIT, 0.0, jax.random.key(0))
    with pytest.raises(InputError, match="must be a random key"):
        trajectory_after(np.ones(2), QUBIT, 0.0, 3)


def test_qutip_solves_the_same_master_equation():
    qutip = pytest.importorskip("qutip")
    t1, t2 = 1.0, 0.8  # seconds: the solver's tolerances are absolute
    lower = qutip.basis(2, 0) * qutip.basis(2, 1).dag()
    number = lower.dag() * lower
    rate = 1 / t2 - 1 / (2 * t1)
    jumps = []
    for k in range(2):
        for operator in (np.sqrt(1 / t1) * lower, np.sqrt(2 * rate) * number):
            jumps.append(qutip.tensor([operator if i == k else qutip.qeye(2) for i in range(2)]))
    rho = random_density(2, seed=5)
    start = qutip.Qobj(rho, dims=[[2, 2], [2, 2]])
    zero = qutip.tensor([qutip.qzero(2)] * 2)
    options = dict(atol=1e-12, rtol=1e-10)
    solved = qutip.mesolve(zero, start, [0, 0.35], c_ops=jumps, options=options).states[-1].full()
    with jax.enable_x64(True):
        found = density(rho, Qubit(t1_s=t1, t2_s=t2, depolarising=0.0), 0.35)
    np.testing.assert_allclose(found, solved, atol=1e-9)


@pytest.mark.filterwarnings("ignore")
def test_pennylane_has_the_same_channels():
    qml = pytest.importorskip("pennylane")
    g, lost = 1 - np.exp(-0.35), 1 - np.exp(-2 * TIME * (1 / 80e-6 - 1 / 200e-6))
    psi = random_state(3, seed=2)

    @qml.qnode(qml.device("default.mixed", wires=3))
    def circuit():
        qml.StatePrep(psi, wires=range(3))
        for wire in range(3):
            qml.AmplitudeDamping(g, wires=wire)
            qml.PhaseDamping(lost, wires=wire)
            qml.DepolarizingChannel(0.03, wires=wire)
        return qml.state()

    with jax.enable_x64(True):
        found = density(np.outer(psi, psi.conj()), QUBIT, TIME)
    np.testing.assert_allclose(found, circuit(), atol=1e-10)
