"""Moments of a Gaussian that is cut off at zero, against quadrature and against their own identities."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from analogsim.devices.crossbar.cell import non_negative

RATIOS = [0.0, 0.01, 0.1, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 29.9, 30.1, 100.0, 1e4]
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
@pytest.mark.parametrize("ratio", RATIOS)
def test_moments_are_those_of_quadrature(ratio, sigma):
    mean, variance = by_quadrature(ratio * sigma, sigma)
    ours = moments(jnp.float32(ratio * sigma), jnp.float32(sigma))
    assert float(ours.mean) == pytest.approx(mean, rel=1e-6)
    # Relative error of the variance, which a difference of second moments would lose at ratios of 1e3 and more.
    assert float(ours.variance) == pytest.approx(variance, rel=3e-6)


@pytest.mark.parametrize("ratio", HELD)
def test_moments_at_known_points(ratio):
    ours = moments(jnp.float32(ratio * 2e-6), jnp.float32(2e-6))
    assert float(ours.mean) / 2e-6 == pytest.approx(HELD[ratio][0], rel=1e-6)
    assert float(ours.variance) / 4e-12 == pytest.approx(HELD[ratio][1], rel=3e-6)


@pytest.mark.parametrize("mean", [0.0, 1e-9, 25e-6])
def test_without_spread_nothing_changes(mean):
    ours = moments(jnp.float32(mean), jnp.float32(0.0))
    assert float(ours.mean) == np.float32(mean)
    assert float(ours.variance) == 0.0


def test_float64_keeps_its_precision():
    with jax.enable_x64(True):
        for ratio in (0.5, 3.0, 8.0):
            mean, variance = by_quadrature(ratio, 1.0)
            ours = non_negative(jnp.float64(ratio), jnp.float64(1.0))
            assert ours.mean.dtype == jnp.float64
            assert float(ours.mean) == pytest.approx(mean, rel=1e-12)
            assert float(ours.variance) == pytest.approx(variance, rel=1e-11)


slopes_of_mean = jax.jit(jax.grad(lambda m, s: non_negative(m, s).mean, (0, 1)))
slopes_of_variance = jax.jit(jax.grad(lambda m, s: non_negative(m, s).variance, (0, 1)))


@pytest.mark.parametrize("ratio", [0.0, 0.3, 1.0, 2.5, 6.0])
def test_slopes_are_the_closed_forms(ratio):
    # E' = Phi dm + phi ds;  Var = E2 - E^2 with E2' = 2 E dm + 2 s Phi ds (Stein's lemma).
    sigma = 2.0
    cdf, pdf = stats.norm.cdf(ratio), stats.norm.pdf(ratio)
    mean = sigma * (ratio * cdf + pdf)
    by_mean, by_sigma = slopes_of_mean(ratio * sigma, sigma)
    assert float(by_mean) == pytest.approx(cdf, rel=1e-5)
    assert float(by_sigma) == pytest.approx(pdf, rel=1e-4, abs=1e-7)
    by_mean, by_sigma = slopes_of_variance(ratio * sigma, sigma)
    assert float(by_mean) == pytest.approx(2 * mean * (1 - cdf), rel=1e-4, abs=1e-6)
    assert float(by_sigma) == pytest.approx(2 * sigma * cdf - 2 * mean * pdf, rel=1e-4)


@pytest.mark.parametrize(("mean", "sigma"), [(25e-6, 0.0), (0.0, 0.0), (25e-6, 1e-12), (0.0, 1e-6), (1e-3, 1e-9)])
def test_slopes_are_finite_everywhere(mean, sigma):
    # A sweep that starts at zero noise asks for the slope there: E' = dm, Var' = 0 where nothing fluctuates.
    of_mean, of_variance = slopes_of_mean(mean, sigma), slopes_of_variance(mean, sigma)
    assert all(math.isfinite(float(s)) for s in (*of_mean, *of_variance))
    if mean > 0:
        assert float(of_mean[0]) == pytest.approx(1.0)
        assert float(of_variance[1]) == pytest.approx(2 * sigma, rel=1e-3)
