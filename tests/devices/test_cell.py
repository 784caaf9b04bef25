"""Moments of a Gaussian that is cut off at zero, against quadrature and against their own identities."""

import math

import jax
import numpy as np
import pytest
from scipy import integrate, stats

from analogsim.devices.crossbar.cell import non_negative

RATIOS = np.array([0.0, 0.01, 0.1, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 29.9, 30.1, 100.0, 1e4])
#: mean/sigma: (mean/sigma, variance/sigma^2) of the cut Gaussian. Zero: 1/sqrt(2 pi) and 1/2 - 1/(2 pi).
#: One: Phi(1) + phi(1) = 0.841344746 + 0.241970725, and 2 Phi(1) + phi(1) - mean^2. Three: alike.
HELD = {0.0: (0.398942280, 0.340845057), 1.0: (1.083315471, 0.751087808), 3.0: (3.000382154, 0.997503494)}


def by_quadrature(mean: float, sigma: float) -> tuple[float, float]:
    """Mean and variance of max(N(mean, sigma^2), 0), integrated over the kept half in units of sigma."""
    a = mean / sigma
    low, high = max(-a, -12.0), 12.0
    below = stats.norm.cdf(-a)
    first, _ = integrate.quad(lambda z: (a + z) * stats.norm.pdf(z), low, high, epsabs=0, epsrel=1e-12)
    second, _ = integrate.quad(lambda z: (a + z - first) ** 2 * stats.norm.pdf(z), low, high, epsabs=0, epsrel=1e-12)
    return first * sigma, (second + first**2 * below) * sigma**2


moments = jax.jit(non_negative)


@pytest.mark.parametrize("sigma", [1e-9, 1e-6, 1.0])
def test_moments_are_those_of_quadrature(sigma):
    mean, variance = np.array([by_quadrature(ratio * sigma, sigma) for ratio in RATIOS]).T
    ours = moments((RATIOS * sigma).astype(np.float32), np.float32(sigma))
    np.testing.assert_allclose(ours.mean, mean, rtol=1e-6)
    # Relative error of the variance, which a difference of second moments would lose at ratios of 1e3 and more.
    np.testing.assert_allclose(ours.variance, variance, rtol=3e-6)


def test_moments_at_known_points():
    mean, variance = np.array(list(HELD.values())).T
    ours = moments(np.float32(list(HELD)) * np.float32(2e-6), np.float32(2e-6))
    np.testing.assert_allclose(np.asarray(ours.mean, np.float64) / 2e-6, mean, rtol=1e-6)
    np.testing.assert_allclose(np.asarray(ours.variance, np.float64) / 4e-12, variance, rtol=3e-6)


def test_without_spread_nothing_changes():
    means = np.float32([0.0, 1e-9, 25e-6])
    ours = moments(means, np.float32(0.0))
    np.testing.assert_array_equal(ours.mean, means)
    np.testing.assert_array_equal(ours.variance, 0.0)


def test_float64_keeps_its_precision():
    ratios = np.array([0.5, 3.0, 8.0])
    mean, variance = np.array([by_quadrature(ratio, 1.0) for ratio in ratios]).T
    with jax.enable_x64(True):
        ours = moments(ratios, np.float64(1.0))
    assert ours.mean.dtype == np.float64
    np.testing.assert_allclose(ours.mean, mean, rtol=1e-12)
    np.testing.assert_allclose(ours.variance, variance, rtol=1e-11)


gradients_of_mean = jax.jit(jax.grad(lambda m, s: non_negative(m, s).mean, (0, 1)))
gradients_of_variance = jax.jit(jax.grad(lambda m, s: non_negative(m, s).variance, (0, 1)))


@pytest.mark.parametrize("ratio", [0.0, 0.3, 1.0, 2.5, 6.0])
def test_gradients_are_the_closed_forms(ratio):
    # E' = Phi dm + phi ds;  Var = E2 - E^2 with E2' = 2 E dm + 2 s Phi ds (Stein's lemma).
    sigma = 2.0
    cdf, pdf = stats.norm.cdf(ratio), stats.norm.pdf(ratio)
    mean = sigma * (ratio * cdf + pdf)
    by_mean, by_sigma = gradients_of_mean(ratio * sigma, sigma)
    assert float(by_mean) == pytest.approx(cdf, rel=1e-5)
    assert float(by_sigma) == pytest.approx(pdf, rel=1e-4, abs=1e-7)
    by_mean, by_sigma = gradients_of_variance(ratio * sigma, sigma)
    assert float(by_mean) == pytest.approx(2 * mean * (1 - cdf), rel=1e-4, abs=1e-6)
    assert float(by_sigma) == pytest.approx(2 * sigma * cdf - 2 * mean * pdf, rel=1e-4)


@pytest.mark.parametrize(("mean", "sigma"), [(25e-6, 0.0), (0.0, 0.0), (25e-6, 1e-12), (0.0, 1e-6), (1e-3, 1e-9)])
def test_gradients_are_finite_everywhere(mean, sigma):
    # A sweep that starts at zero noise asks for the gradient there: E' = dm, Var' = 0 where nothing fluctuates.
    of_mean, of_variance = gradients_of_mean(mean, sigma), gradients_of_variance(mean, sigma)
    assert all(math.isfinite(float(s)) for s in (*of_mean, *of_variance))
    if mean > 0:
        assert float(of_mean[0]) == pytest.approx(1.0)
        assert float(of_variance[1]) == pytest.approx(2 * sigma, rel=1e-3)
