"""Shots: multinomial counts by mean, covariance and chi-square; the surrogate; roots of counts by sums in numpy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from analogsim import InputError
from analogsim.devices.quantum import shots_for
from analogsim.devices.quantum.shot_noise import (
    MOST_SHOTS,
    counts,
    frequency_error,
    gaussian_frequencies,
    modulus_error,
    root_moments,
)

P = np.array([0.4, 0.0, 0.25, 0.1, 0.15, 0.002, 0.048, 0.05])
MANY = 20_000

_drawn = jax.jit(jax.vmap(lambda key, shots: counts(key, P.astype(np.float32), shots), in_axes=(0, None)))
roots = jax.jit(root_moments)


@functools.cache
def drawn(shots):
    """Counts ``[MANY, 8]``."""
    return np.asarray(_drawn(jax.random.split(jax.random.key(20), MANY), shots), np.float64)


@pytest.mark.parametrize("shots", [1, 30, 5000])
def test_counts_are_multinomial(shots):
    found = drawn(shots)
    assert np.all(found.sum(1) == shots)
    assert np.all(found == found.round())
    assert np.all(found[:, 1] == 0)
    covariance = shots * (np.diag(P) - np.outer(P, P))
    error = (found.mean(0) - shots * P) / np.sqrt(np.maximum(np.diag(covariance), 1e-12) / MANY)
    assert np.abs(error).max() < 4.5
    centred = found - shots * P
    products = np.einsum("si,sj->sij", centred, centred)
    deviation = products.std(0) / np.sqrt(MANY) + 1e-9
    assert np.abs((products.mean(0) - covariance) / deviation).max() < 5
    # All shots together are one draw of MANY times as many.
    kept = P > 0
    test = stats.chisquare(found.sum(0)[kept], MANY * shots * P[kept])
    assert test.pvalue > 1e-4


def test_each_count_is_binomial():
    found = drawn(30)[:, 2].astype(int)
    expected = MANY * stats.binom.pmf(np.arange(31), 30, 0.25)
    kept = expected > 5
    seen = np.bincount(found, minlength=31)
    observed, wanted = [*seen[kept], seen[~kept].sum()], [*expected[kept], expected[~kept].sum()]
    assert stats.chisquare(observed, wanted).pvalue > 1e-4


def test_squared_error_of_shares():
    shots = 5000
    shares = drawn(shots) / shots
    squared = ((shares - P) ** 2).sum(1)
    expected = float(frequency_error(P, shots))
    assert expected == pytest.approx((1 - (P**2).sum()) / shots, rel=1e-6)
    assert abs(squared.mean() - expected) < 4 * squared.std() / np.sqrt(MANY)


def test_modulus_error_of_many_shots():
    shots = 20_000
    squared = ((np.sqrt(drawn(shots) / shots) - np.sqrt(P)) ** 2).sum(1)
    # Seven values that occur; the rarest is expected 40 times.
    assert abs(squared.mean() - modulus_error(7, shots)) < 4 * squared.std() / np.sqrt(MANY) + 3e-7
    assert modulus_error(16, shots) == pytest.approx(15 / 80_000)


def test_shots_for_an_error():
    assert shots_for(1024, 0.01) == pytest.approx(2.5575e6)
    assert modulus_error(1024, 2_557_500) == pytest.approx(0.01**2)
    for n, error in ((0, 0.1), (4, 0.0), (4, float("nan"))):
        with pytest.raises(InputError, match="must be at least 1 and greater than 0"):
            shots_for(n, error)


@pytest.mark.parametrize("shots", [0, -3, 1.5, float("nan"), MOST_SHOTS + 1])
def test_impossible_shots_are_refused(shots):
    for call in (lambda: counts(jax.random.key(0), np.ones(2) / 2, shots), lambda: modulus_error(4, shots)):
        with pytest.raises(InputError, match=r"shots = .*: must be an integer between 1 and 16777216"):
            call()


def test_the_surrogate_has_mean_and_covariance(key):
    shots = 50
    draw = jax.jit(jax.vmap(lambda k: gaussian_frequencies(k, P.astype(np.float32), shots)))
    found = np.asarray(draw(jax.random.split(key, MANY)), np.float64)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)
    covariance = (np.diag(P) - np.outer(P, P)) / shots
    products = np.einsum("si,sj->sij", found - P, found - P)
    assert np.abs((products.mean(0) - covariance) / (products.std(0) / np.sqrt(MANY) + 1e-12)).max() < 5
    assert np.abs((found.mean(0) - P) / np.sqrt(np.diag(covariance) / MANY + 1e-14)).max() < 4.5


def test_gradients_of_counts_and_of_the_surrogate(key):
    p = P.astype(np.float32)
    gradient = jax.jit(jax.grad(lambda q: counts(key, q, 100)[3]))(p)
    np.testing.assert_allclose(gradient, 100 * np.eye(8)[3])
    with jax.enable_x64(True):
        weights = np.arange(8.0)

        @jax.jit
        @jax.value_and_grad
        def total(q):
            return jnp.sum(weights * gaussian_frequencies(key, q, 100))

        found = np.asarray(total(P)[1])
        assert np.all(np.isfinite(found))
        step = 1e-6 * np.eye(8)[2]
        assert found[2] == pytest.approx(float(total(P + step)[0] - total(P - step)[0]) / 2e-6, rel=1e-6)


def _by_sum(p, shots):
    k = np.arange(shots + 1)
    chance = stats.binom.pmf(k, shots, p)
    mean = (chance * np.sqrt(k)).sum()
    return mean, (chance * (np.sqrt(k) - mean) ** 2).sum(), (chance * (np.sqrt(k + 1) - np.sqrt(k))).sum()


@pytest.mark.parametrize("shots", [64, 1000, 20_000])
def test_moments_of_roots_by_sums(shots):
    expected = np.array([0.0, 1e-3, 0.1, 1.0, 5.0, 15.9, 16.1, 30.0, 0.5 * shots, 0.97 * shots])
    p = np.minimum(expected / shots, 0.99)
    found = roots(p.astype(np.float32), shots)
    mean, variance, step = np.array([_by_sum(each, shots) for each in p]).T
    np.testing.assert_allclose(found.mean, mean, rtol=3e-4, atol=1e-6)
    np.testing.assert_allclose(found.variance, variance, rtol=0.02, atol=2e-6)
    np.testing.assert_allclose(found.step, step, rtol=0.01)


def test_moments_of_roots_have_gradients():
    with jax.enable_x64(True):
        p = np.array([0.0, 1e-5, 1e-3, 0.012, 0.3, 1.0])
        both = jax.jit(jax.value_and_grad(lambda q, shots: sum(map(jnp.sum, root_moments(q, shots))), (0, 1)))

        def totals(q, shots):
            return float(both(q, shots)[0])

        by_p, by_shots = both(p, 1000.0)[1]
        assert np.all(np.isfinite(by_p))
        for i in range(1, 5):
            step = 1e-7 * np.eye(6)[i] * float(p[i]) * 100
            change = (totals(p + step, 1000.0) - totals(p - step, 1000.0)) / (2 * step[i])
            assert float(by_p[i]) == pytest.approx(change, rel=1e-5)
        change = (totals(p, 1000.01) - totals(p, 999.99)) / 0.02
        assert float(by_shots) == pytest.approx(change, rel=1e-4)


def test_batches_and_types(key):
    p = np.broadcast_to(P.astype(jnp.bfloat16), (3, 8))
    found = jax.jit(counts)(key, p, 100)
    assert found.shape == (3, 8)
    assert found.dtype == jnp.float32
    assert np.all(np.asarray(found).sum(-1) == 100)
    assert len({tuple(row) for row in np.asarray(found).tolist()}) == 3  # drawn apart


def test_more_shots_raise_every_count_by_its_share():
    p = np.float32([0.5, 0.25, 0.25, 0.0])
    gradient = jax.jit(lambda shots: jax.jvp(lambda s: counts(jax.random.key(0), p, s), (shots,), (1.0,))[1])
    np.testing.assert_allclose(gradient(1000.0), p)
    with pytest.raises(InputError, match="sum to 1"):
        counts(jax.random.key(0), np.array([-0.5, 1.0]), 100)
