"""Samples against published moments: what tests of anything random share."""

import math
from collections.abc import Callable

import numpy as np


def moments(values) -> tuple[float, float, float, float]:
    """Mean and standard deviation of a sample, and the standard error of each."""
    values = np.asarray(values, np.float64)
    mean, std = values.mean(), values.std()
    kurtosis = np.mean((values - mean) ** 4) / std**4
    return mean, std, std / math.sqrt(values.size), std * math.sqrt((kurtosis - 1) / (4 * values.size))


def assert_moments(values, mean: float, std: float, errors: float = 4.0) -> None:
    """Mean and spread of a sample, each within four standard errors."""
    m, s, mean_error, std_error = moments(values)
    assert abs(m - mean) < errors * mean_error, f"mean {m:.6g}, expected {mean:.6g} +- {mean_error:.2g}"
    assert abs(s - std) < errors * std_error, f"std {s:.6g}, expected {std:.6g} +- {std_error:.2g}"


def assert_alike(ours, theirs, errors: float = 4.0) -> None:
    """Mean and spread of two samples, each within four standard errors of their difference."""
    (m1, s1, em1, es1), (m2, s2, em2, es2) = moments(ours), moments(theirs)
    assert abs(m1 - m2) < errors * math.hypot(em1, em2), f"means {m1:.6g} and {m2:.6g}"
    assert abs(s1 - s2) < errors * math.hypot(es1, es2), f"stds {s1:.6g} and {s2:.6g}"


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
