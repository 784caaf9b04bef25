"""Samples against published moments: what the tests of memory cells share."""

import math
from collections.abc import Callable

import numpy as np


def assert_moments(values, mean: float, std: float, errors: float = 4.0) -> None:
    """Mean and spread of a sample, each within four standard errors."""
    values = np.asarray(values, np.float64)
    m, s = values.mean(), values.std()
    kurtosis = np.mean((values - m) ** 4) / s**4
    mean_error, std_error = s / math.sqrt(values.size), s * math.sqrt((kurtosis - 1) / (4 * values.size))
    assert abs(m - mean) < errors * mean_error, f"mean {m:.6g}, expected {mean:.6g} +- {mean_error:.2g}"
    assert abs(s - std) < errors * std_error, f"std {s:.6g}, expected {std:.6g} +- {std_error:.2g}"


def of_gaussian(function: Callable) -> tuple[float, float]:
    """Mean and standard deviation of ``function(z)`` for a standard Gaussian z, by quadrature."""
    z = np.linspace(-12, 12, 240_001)
    density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    value = function(z)
    mean = np.trapezoid(value * density, z)
    return mean, math.sqrt(np.trapezoid((value - mean) ** 2 * density, z))


def censored(mean: float, sigma: float) -> tuple[float, float]:
    """Mean and standard deviation of max(N(mean, sigma^2), 0)."""
    return of_gaussian(lambda z: np.maximum(mean + sigma * z, 0))
