"""Associative memories: steps, energies and algebra against numpy; how much is recalled, by theory."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analogsim import InputError
from analogsim.devices import DenseAssociativeMemory
from analogsim.devices.quantum import associative

X = np.asarray(jax.random.normal(jax.random.key(1), (12, 20))) / np.float32(np.sqrt(20))  # well apart, all of them

recall = jax.jit(associative.dense_recall, static_argnums=(1, 2))
cosine = jax.jit(associative.cosine)


@functools.partial(jax.jit, static_argnames="n_steps")
def retrieved(query, beta, n_steps=1):
    return DenseAssociativeMemory(X, beta).retrieve(query, n_steps)


@jax.jit
def energy_of(state, beta):
    return DenseAssociativeMemory(X, beta).energy(state)


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_one_step_and_the_energy_against_numpy():
    query = normal(2, 12, 20)
    x, xi = X.astype(np.float64), query.astype(np.float64)
    weights = np.exp(3 * xi @ x.T)
    expected = weights / weights.sum(1, keepdims=True) @ x
    np.testing.assert_allclose(retrieved(query, 3.0), expected, atol=1e-6)
    energy = -np.log(weights.sum(1)) / 3 + (xi**2).sum(1) / 2 + np.log(12) / 3 + (x**2).sum(1).max() / 2
    np.testing.assert_allclose(energy_of(query, 3.0), energy, atol=1e-5)
    np.testing.assert_allclose(retrieved(query, 3.0, 2), retrieved(retrieved(query, 3.0), 3.0), atol=1e-6)


def test_no_step_raises_the_energy():
    state, before = normal(3, 12, 20), np.inf
    for _ in range(6):
        energy = np.asarray(energy_of(state, 8.0))
        assert np.all(energy <= before + 1e-5)
        assert np.all(energy >= -1e-5)
        before, state = energy, retrieved(state, 8.0)


def test_patterns_are_found_with_the_default_beta_and_not_with_that_of_attention():
    query = X + 0.02 * normal(4, *X.shape)
    beta = float(jax.jit(associative.memory_beta)(X))
    nearest = jax.jit(lambda query: DenseAssociativeMemory(X).nearest(query))
    np.testing.assert_array_equal(nearest(query), np.arange(12))
    assert np.linalg.norm(retrieved(query, None, 2) - X, axis=1).max() < 0.1
    np.testing.assert_allclose(retrieved(query, None, 2), retrieved(query, beta, 2), atol=1e-6)
    attention = 1 / np.sqrt(20)
    assert np.std(retrieved(query, attention), axis=0).max() < 0.05  # all alike
    gram = X @ X.T
    others = np.where(np.eye(12, dtype=bool), -np.inf, gram).max(1)
    np.testing.assert_allclose(jax.jit(associative.separation)(X), np.diag(gram) - others, atol=1e-6)
    expected = (np.log(12) + 8) / np.median(np.diag(gram) - others)
    assert beta == pytest.approx(expected, rel=1e-5)


def test_a_thousand_patterns_need_more_than_eight():
    # Separation 0.64 as in the reference: beta = 8 is too small for 1000 patterns, 32 is enough.
    found = {beta: float(recall(jax.random.key(5), 1000, 128, beta, 0.05)) for beta in (8.0, 32.0)}
    assert found[8.0] < 0.05
    assert found[32.0] > 0.95


def test_recall_stays_for_many_more_patterns_than_dimensions():
    assert float(recall(jax.random.key(6), 500, 64, None, 0.05)) > 0.95


def test_products_may_be_done_elsewhere():
    calls = []

    def forward(x):
        calls.append("X")
        return x @ X.T

    def transposed(a):
        calls.append("X^T")
        return a @ X

    memory = DenseAssociativeMemory(X, beta=5.0, products=(forward, transposed))
    query = X + np.float32(0.1)
    found = jax.jit(lambda query: memory.retrieve(query, 2))(query)
    np.testing.assert_allclose(found, retrieved(query, 5.0, 2), atol=1e-6)
    assert calls == ["X", "X^T"] * 2


def test_memories_are_traced_and_differentiated():
    def error(patterns, beta):
        memory, stored = DenseAssociativeMemory(patterns, beta), X[0].astype(patterns.dtype)
        return jnp.sum((memory.retrieve(stored + 0.1) - stored) ** 2)

    with jax.enable_x64(True):
        wide = X.astype(np.float64)
        by_beta = jax.jit(jax.value_and_grad(error, argnums=1))
        up, down = (float(by_beta(wide, 2.0 + step)[0]) for step in (1e-5, -1e-5))
        assert float(by_beta(wide, 2.0)[1]) == pytest.approx((up - down) / 2e-5, rel=1e-5)
        assert np.all(np.isfinite(jax.jit(jax.grad(lambda p: error(p, None)))(wide)))


def test_impossible_memories_are_refused():
    with pytest.raises(InputError, match="with at least 2 patterns"):
        DenseAssociativeMemory(X[:1])
    with pytest.raises(InputError, match=r"beta = 0.0: must be greater than 0"):
        DenseAssociativeMemory(X, beta=0.0)
    with pytest.raises(InputError, match="at most n_candidates = 4"):
        associative.holographic_recall(jax.random.key(0), 5, 16, 4)


def test_classical_network_against_numpy():
    rng = np.random.default_rng(0)
    x = rng.choice([-1.0, 1.0], size=(3, 30))
    weights = x.T @ x / 30
    np.fill_diagonal(weights, 0)
    np.testing.assert_allclose(jax.jit(associative.hebbian)(x), weights, atol=1e-6)
    state = np.where(rng.random(30) < 0.15, -x[1], x[1])
    expected = state.copy()
    for _ in range(4):
        for i in range(30):
            drive = weights[i] @ expected
            expected[i] = np.sign(drive) if abs(drive) > 1e-9 else expected[i]
    found = jax.jit(lambda weights, state: associative.settle(weights, state, 4))(weights, state)
    np.testing.assert_array_equal(found, expected)


def test_classical_capacity():
    hopfield_recall = jax.jit(associative.hopfield_recall, static_argnums=(1, 2))
    d = 200
    below, above = (float(hopfield_recall(jax.random.key(7), int(load * d), d)) for load in (0.10, 0.20))
    assert below > 0.95  # 0.138 d lies between
    assert above < 0.6
    assert float(hopfield_recall(jax.random.key(8), 10, d, 0.15)) == 1


@pytest.mark.parametrize("d", [64, 65])
def test_binding_is_a_circular_convolution(d):
    keys = np.asarray(jax.jit(associative.unitary_keys, static_argnums=(1, 2))(jax.random.key(0), 3, d))
    spectrum = np.abs(np.fft.fft(keys))
    np.testing.assert_allclose(spectrum, 1, atol=1e-5)
    value, a = normal(1, d), keys[0]
    expected = [sum(a[j] * value[(i - j) % d] for j in range(d)) for i in range(d)]
    bound = jax.jit(associative.bind)(a, value)
    np.testing.assert_allclose(bound, expected, atol=1e-5)
    np.testing.assert_allclose(jax.jit(associative.unbind)(bound, a), value, atol=1e-5)


@pytest.mark.parametrize("pairs", [2, 32])
def test_pairs_leave_one_over_the_root_of_their_number(pairs):
    d = 4096

    @jax.jit
    def cosines_of(keys, values):
        held = associative.bundle(associative.bind(keys, values))
        return associative.cosine(associative.unbind(held, keys), values)

    keys = jax.jit(associative.unitary_keys, static_argnums=(1, 2))(jax.random.key(2), pairs, d)
    np.testing.assert_allclose(cosines_of(keys, normal(3, pairs, d)), 1 / np.sqrt(pairs), atol=5 / np.sqrt(d))
    phases = np.exp(2j * np.pi * np.random.default_rng(4).uniform(size=(2, pairs, d))).astype(np.complex64)
    np.testing.assert_allclose(cosines_of(*phases), 1 / np.sqrt(pairs), atol=5 / np.sqrt(d))


@pytest.mark.parametrize("phasors", [False, True])
def test_holographic_recall_falls_with_the_number_of_pairs(phasors):
    holographic_recall = jax.jit(associative.holographic_recall, static_argnums=(1, 2, 3, 4))
    found = [float(holographic_recall(jax.random.key(9), k, 256, 256, phasors)) for k in (4, 200)]
    assert found[0] == 1
    assert found[1] < 0.7
    assert float(cosine(np.zeros(4, np.float32), np.ones(4, np.float32))) == 0


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
    assert expected < (a**2).sum() * (b**2).sum() / samples


@pytest.mark.parametrize("phasors", [False, True])
def test_cleanup_takes_the_largest_cosine(phasors):
    known = normal(8, 30, 16) * np.arange(1, 31, dtype=np.float32)[:, None]  # lengths must not count
    noisy = known[:7] / 5 + np.float32(0.3) * normal(9, 7, 16)
    if phasors:
        turned = np.exp(1j * np.random.default_rng(10).uniform(0, 2 * np.pi, 16)).astype(np.complex64)
        known, noisy = known * turned, noisy * turned
    expected = np.argmax(cosine(noisy[:, None, :], known), axis=-1)
    cleanup = jax.jit(associative.cleanup)
    np.testing.assert_array_equal(cleanup(noisy, known), expected)
    assert int(cleanup(noisy[0], known)) == expected[0]
