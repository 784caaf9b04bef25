"""Associative memories: steps, energies and algebra against numpy; how much is recalled, by theory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analogsim.devices import DenseAssociativeMemory, InputError
from analogsim.devices.quantum import associative

X = jax.random.normal(jax.random.key(1), (12, 20)) / np.sqrt(20)


def test_one_step_and_the_energy_against_numpy():
    memory, query = DenseAssociativeMemory(X, beta=3.0), jax.random.normal(jax.random.key(2), (5, 20))
    x, xi = np.asarray(X, np.float64), np.asarray(query, np.float64)
    weights = np.exp(3 * xi @ x.T)
    expected = weights / weights.sum(1, keepdims=True) @ x
    np.testing.assert_allclose(memory.retrieve(query), expected, atol=1e-6)
    energy = -np.log(weights.sum(1)) / 3 + (xi**2).sum(1) / 2 + np.log(12) / 3 + (x**2).sum(1).max() / 2
    np.testing.assert_allclose(memory.energy(query), energy, atol=1e-5)
    np.testing.assert_allclose(memory.retrieve(query, 3), memory.retrieve(memory.retrieve(query, 2)), atol=1e-6)


def test_no_step_raises_the_energy():
    memory, state = DenseAssociativeMemory(X, beta=8.0), jax.random.normal(jax.random.key(3), (30, 20))
    before = np.inf
    for _ in range(6):
        energy = np.asarray(memory.energy(state))
        assert np.all(energy <= before + 1e-5)
        assert np.all(energy >= -1e-5)
        before, state = energy, memory.retrieve(state)


def test_patterns_are_found_with_the_default_beta_and_not_with_that_of_attention():
    memory = DenseAssociativeMemory(X)
    query = X + 0.02 * jax.random.normal(jax.random.key(4), X.shape)
    np.testing.assert_array_equal(memory.nearest(query), np.arange(12))
    assert float(jnp.max(jnp.linalg.norm(memory.retrieve(query, 2) - X, axis=1))) < 0.1
    attention = DenseAssociativeMemory(X, beta=1 / np.sqrt(20))
    assert float(jnp.max(jnp.std(attention.retrieve(query), axis=0))) < 0.05  # all alike
    gram = np.asarray(X @ X.T)
    others = np.where(np.eye(12, dtype=bool), -np.inf, gram).max(1)
    np.testing.assert_allclose(associative.separation(X), np.diag(gram) - others, atol=1e-6)
    expected = (np.log(12) + 8) / np.median(np.diag(gram) - others)
    assert float(associative.memory_beta(X)) == pytest.approx(expected, rel=1e-5)


def test_a_thousand_patterns_need_more_than_eight():
    # Separation 0.64 as in the reference: beta = 8 is too small for 1000 patterns, 32 is enough.
    found = {
        beta: float(associative.dense_recall(jax.random.key(5), 1000, 128, beta, noise=0.05)) for beta in (8.0, 32.0)
    }
    assert found[8.0] < 0.05
    assert found[32.0] > 0.95


def test_recall_stays_for_many_more_patterns_than_dimensions():
    assert float(associative.dense_recall(jax.random.key(6), 500, 64, noise=0.05)) > 0.95


def test_products_may_be_done_elsewhere():
    calls = []

    def forward(x):
        calls.append("X")
        return x @ X.T

    def transposed(a):
        calls.append("X^T")
        return a @ X

    memory = DenseAssociativeMemory(X, beta=5.0, products=(forward, transposed))
    query = X[:3] + 0.1
    np.testing.assert_allclose(memory.retrieve(query, 2), DenseAssociativeMemory(X, 5.0).retrieve(query, 2), atol=1e-6)
    assert calls == ["X", "X^T"] * 2


def test_memories_are_traced_and_differentiated():
    def error(patterns, beta):
        memory = DenseAssociativeMemory(patterns, beta)
        return jnp.sum((memory.retrieve(X[0] + 0.1) - X[0]) ** 2)

    with jax.enable_x64(True):
        wide = jnp.asarray(np.asarray(X), jnp.float64)
        slope = jax.jit(jax.grad(error, argnums=1))(wide, 2.0)
        assert float(slope) == pytest.approx(float(error(wide, 2.0 + 1e-5) - error(wide, 2.0 - 1e-5)) / 2e-5, rel=1e-5)
        assert np.all(np.isfinite(jax.jit(jax.grad(lambda p: error(p, None)))(wide)))


def test_impossible_memories_are_refused():
    with pytest.raises(InputError, match="with at least 2 patterns"):
        DenseAssociativeMemory(X[:1])
    with pytest.raises(InputError, match=r"beta = 0.0: must be greater than 0"):
        DenseAssociativeMemory(X, beta=0.0)
    with pytest.raises(InputError, match="at most n_known = 4"):
        associative.holographic_recall(jax.random.key(0), 5, 16, 4)


def test_classical_network_against_numpy():
    rng = np.random.default_rng(0)
    x = rng.choice([-1.0, 1.0], size=(3, 30))
    weights = x.T @ x / 30
    np.fill_diagonal(weights, 0)
    np.testing.assert_allclose(associative.hebbian(jnp.asarray(x)), weights, atol=1e-6)
    state = np.where(rng.random(30) < 0.15, -x[1], x[1])
    expected = state.copy()
    for _ in range(4):
        for i in range(30):
            drive = weights[i] @ expected
            expected[i] = np.sign(drive) if abs(drive) > 1e-9 else expected[i]
    found = associative.settle(jnp.asarray(weights), jnp.asarray(state), 4)
    np.testing.assert_array_equal(found, expected)


def test_classical_capacity():
    recall = jax.jit(associative.hopfield_recall, static_argnums=(1, 2))
    d = 200
    below, above = (float(recall(jax.random.key(7), int(load * d), d)) for load in (0.10, 0.20))
    assert below > 0.95  # 0.138 d lies between
    assert above < 0.6
    assert float(recall(jax.random.key(8), 10, d, 0.15)) == 1


@pytest.mark.parametrize("d", [64, 65])
def test_binding_is_a_circular_convolution(d):
    keys = associative.unitary_keys(jax.random.key(0), 3, d)
    spectrum = np.abs(np.fft.fft(np.asarray(keys)))
    np.testing.assert_allclose(spectrum, 1, atol=1e-5)
    value = np.asarray(jax.random.normal(jax.random.key(1), (d,)))
    a = np.asarray(keys[0])
    expected = [sum(a[j] * value[(i - j) % d] for j in range(d)) for i in range(d)]
    bound = associative.bind(keys[0], jnp.asarray(value))
    np.testing.assert_allclose(bound, expected, atol=1e-5)
    np.testing.assert_allclose(associative.unbind(bound, keys[0]), value, atol=1e-5)


@pytest.mark.parametrize("pairs", [2, 32])
def test_pairs_leave_one_over_the_root_of_their_number(pairs):
    d = 4096
    keys = associative.unitary_keys(jax.random.key(2), pairs, d)
    values = jax.random.normal(jax.random.key(3), (pairs, d))

    @jax.jit
    def cosines_of(keys, values):
        held = associative.bundle(associative.bind(keys, values))
        return associative.cosine(associative.unbind(held, keys), values)

    cosines = np.asarray(cosines_of(keys, values))
    np.testing.assert_allclose(cosines, 1 / np.sqrt(pairs), atol=5 / np.sqrt(d))
    phases = jnp.exp(2j * jnp.pi * jax.random.uniform(jax.random.key(4), (2 * pairs, d)))
    cosines = cosines_of(phases[:pairs], phases[pairs:])
    np.testing.assert_allclose(cosines, 1 / np.sqrt(pairs), atol=5 / np.sqrt(d))


@pytest.mark.parametrize("phasors", [False, True])
def test_holographic_recall_falls_with_the_number_of_pairs(phasors):
    recall = jax.jit(associative.holographic_recall, static_argnums=(1, 2, 3, 4))
    found = [float(recall(jax.random.key(9), k, 256, 256, phasors)) for k in (4, 200)]
    assert found[0] == 1
    assert found[1] < 0.7
    assert float(associative.cosine(jnp.zeros(4), jnp.ones(4))) == 0


def test_sampled_products_have_mean_and_error():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(4, 30)) * rng.gamma(1.0, size=30), rng.normal(size=(30, 3))
    samples, many = 8, 4000
    draw = jax.jit(jax.vmap(lambda k: associative.sampled_product(k, jnp.asarray(a), jnp.asarray(b), samples)))
    found = np.asarray(draw(jax.random.split(jax.random.key(10), many)), np.float64)
    error = (found.mean(0) - a @ b) / (found.std(0) / np.sqrt(many))
    assert np.abs(error).max() < 4.5
    squared = ((found - a @ b) ** 2).sum((1, 2))
    power = (a**2).sum(0)
    expected = (power.sum() * (b**2).sum() - ((a @ b) ** 2).sum()) / samples  # exact for these shares
    assert abs(squared.mean() - expected) < 4.5 * squared.std() / np.sqrt(many)
    assert squared.mean() < (a**2).sum() * (b**2).sum() / samples


@pytest.mark.parametrize("phasors", [False, True])
def test_cleanup_takes_the_largest_cosine(phasors):
    known = jax.random.normal(jax.random.key(8), (30, 16)) * jnp.arange(1, 31)[:, None]  # lengths must not count
    noisy = known[:7] / 5 + 0.3 * jax.random.normal(jax.random.key(9), (7, 16))
    if phasors:
        known, noisy = (a * jnp.exp(1j * jax.random.uniform(jax.random.key(10), (16,))) for a in (known, noisy))
    expected = jnp.argmax(associative.cosine(noisy[:, None, :], known), axis=-1)
    np.testing.assert_array_equal(associative.cleanup(noisy, known), expected)
    assert int(associative.cleanup(noisy[0], known)) == int(expected[0])
