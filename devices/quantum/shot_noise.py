"""Shot noise: statistics of the outcome frequencies when a register is read S times.

    counts ~ multinomial(S, p),  frequencies p^ = counts / S,  cov(p^) = (diag(p) - p p^T) / S
    E||p^ - p||^2 = (1 - sum p^2) / S

The moduli of the amplitudes, sqrt(p^), each have the standard deviation 1/(2 sqrt S) if S p is large: over N values
E|| sqrt(p^) - sqrt(p) ||^2 -> (N - 1)/(4 S), hence S = (N - 1)/(4 eps^2) shots for an error eps of a unit vector.

``counts`` draws multinomial numbers qubit by qubit: a binomial draw divides the shots with one value of the first bits
between the two values of the next bit. This is exact, and takes n steps instead of a list of S outcomes.
``gaussian_frequencies`` has the same mean and covariance and derivatives with respect to p; its frequencies may be
negative.

``root_moments`` gives the mean, the variance and the forward difference of sqrt(K) for a binomial K: by sums over K
below 16 expected counts, where an outcome may not occur at all, and above by the delta method,

    E sqrt(K) = sqrt(m) (1 - q/(8 m) + (q (1 - 2p)/16 - 15 q^2/128)/m^2),  m = S p,  q = 1 - p
    Var sqrt(K) = q/4 - (q^2/64 + q (1 - 2p)/8 - 15 q^2/64)/m
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from analogsim.base.dtypes import wide
from analogsim.base.errors import InputError
from analogsim.base.field_rules import Number
from analogsim.base.random import normal
from analogsim.base.types import Numeric
from analogsim.devices.quantum.channels import qubits_of

#: Largest number of shots: float32 represents all integers up to here.
MOST_SHOTS = 2**24

_RARE = 16.0  # expected counts from which the delta method is used
_TERMS = 56  # of the sums: the probability of more counts, with 16 expected, is 1e-14


def check_shots(shots: Numeric) -> None:
    """Refuse a number of shots that is not an integer between 1 and ``MOST_SHOTS``, if it is concrete."""
    if not isinstance(shots, jax.core.Tracer):
        Number(integer=True, ge=1, le=MOST_SHOTS).check(shots, "shots")


def shots_for(n_values: int, error: float) -> float:
    """Return the shots for a relative error of a vector's moduli: (N - 1)/(4 error^2).

    Args:
      n_values: N, number of amplitudes of the register.
      error: square root of the expected squared error summed over all moduli, for a vector of norm 1.

    Example:
      >>> f"{shots_for(1024, 0.01):.3g}"
      '2.56e+06'
    """
    if n_values < 1 or not 0 < error < math.inf:
        raise InputError(f"n_values = {n_values}, error = {error}: must be at least 1 and greater than 0")
    return (n_values - 1) / (4 * error**2)


def frequency_error(probabilities: jax.Array, shots: Numeric) -> jax.Array:
    """Return E||p^ - p||^2 ``[...]`` of the frequencies for probabilities ``[..., N]``: (1 - sum p^2)/S, exactly."""
    check_shots(shots)
    return (1 - jnp.sum(probabilities**2, axis=-1)) / shots


def modulus_error(n_values: int, shots: Numeric) -> Numeric:
    """Return E|| sqrt(p^) - sqrt(p) ||^2 over N values for S much larger than N: (N - 1)/(4 S)."""
    check_shots(shots)
    return (n_values - 1) / (4 * shots)


def check_probabilities(probabilities: jax.Array) -> None:
    """Refuse values that are negative or do not sum to 1 along the last axis, if they are concrete."""
    if isinstance(probabilities, jax.core.Tracer):
        return
    values = np.asarray(probabilities, np.float64)
    if not np.all(values >= -1e-6) or not np.all(np.abs(values.sum(-1) - 1) < 1e-2):
        raise InputError("probabilities: must be at least 0 and sum to 1 along the last axis")


@jax.custom_jvp
def _counted(key: jax.Array, probabilities: jax.Array, shots: jax.Array) -> jax.Array:
    size, lead = probabilities.shape[-1], probabilities.shape[:-1]
    n = qubits_of(size, "probabilities")
    start = jnp.zeros((*lead, size), probabilities.dtype).at[..., 0].set(shots)
    if n == 0:
        return start

    def halved(drawn: jax.Array, level: tuple) -> tuple[jax.Array, None]:
        probability, number = level
        here = drawn[..., : size // 2]
        # After k bits the first 2^k entries hold all shots. Stacking appends the new bit as the lowest of the index.
        low = jax.random.binomial(jax.random.fold_in(key, number), here, probability, dtype=here.dtype)
        low = jnp.where(here > 0, low, 0.0)
        return jnp.stack([low, here - low], axis=-1).reshape(drawn.shape), None

    return jax.lax.scan(halved, start, (_zero_probabilities(probabilities, n), jnp.arange(n)))[0]


def _zero_probabilities(probabilities: jax.Array, n: int) -> jax.Array:
    """Probability that each qubit is 0 given the bits before it, ``[n, ..., 2^(n-1)]``, padded for one ``scan``."""
    lead, conditionals = probabilities.shape[:-1], []
    for k in range(n):
        sums = probabilities.reshape(*lead, 2**k, 2, -1).sum(-1)
        total = sums.sum(-1)
        zero = jnp.where(total > 0, sums[..., 0] / jnp.where(total > 0, total, 1.0), 1.0)
        padding = [(0, 0)] * len(lead) + [(0, 2 ** (n - 1) - 2**k)]
        conditionals.append(jnp.pad(jnp.clip(zero, 0.0, 1.0), padding, constant_values=1.0))
    return jnp.stack(conditionals)


@_counted.defjvp
def _derivative_of_the_mean(primals, tangents):
    (key, probabilities, shots), (_, moved, more) = primals, tangents
    return _counted(key, probabilities, shots), moved * shots + probabilities * more


def counts(key: jax.Array, probabilities: jax.Array, shots: Numeric) -> jax.Array:
    """Draw multinomial counts of the outcomes of S shots; the derivative with respect to p is that of the mean.

    Args:
      key: one random key.
      probabilities: ``[..., 2^n]``, each row summing to 1; rows are drawn independently.
      shots: S, at least 1; may be traced.

    Returns:
      Integers ``[..., 2^n]`` in the dtype of the probabilities (at least float32), each row summing to S.

    Example:
      >>> int(counts(jax.random.key(0), jnp.array([0.5, 0.25, 0.25, 0.0]), 1000).sum())
      1000
    """
    check_shots(shots)
    check_probabilities(probabilities)
    probabilities = wide(probabilities)
    return _counted(key, probabilities, jnp.asarray(shots, probabilities.dtype))


def gaussian_frequencies(key: jax.Array, probabilities: jax.Array, shots: Numeric) -> jax.Array:
    """Draw Gaussian frequencies ``[..., N]`` with the mean and covariance of multinomial ones; differentiable in p, S.

    p + (sqrt(p) z - p sum(sqrt(p) z)) / sqrt(S) with z standard normal has the covariance (diag(p) - p p^T)/S and sums
    to 1.

    Example:
      >>> float(gaussian_frequencies(jax.random.key(0), jnp.array([0.5, 0.5]), 100).sum())
      1.0
    """
    check_shots(shots)
    seen = probabilities > 0
    root = jnp.where(seen, jnp.sqrt(jnp.where(seen, probabilities, 1.0)), 0.0)
    moved = root * normal(key, probabilities.shape, probabilities.dtype)
    moved = moved - probabilities * jnp.sum(moved, axis=-1, keepdims=True)
    return probabilities + moved / jnp.sqrt(jnp.asarray(shots, probabilities.dtype))


class RootMoments(NamedTuple):
    """Mean and variance of sqrt(K) for a binomial K, and E sqrt(K + 1) - E sqrt(K); any shape."""

    mean: jax.Array
    variance: jax.Array
    step: jax.Array


def root_moments(probability: jax.Array, shots: Numeric) -> RootMoments:
    """Return the moments of the square root of a binomial count; see the module. For at least 64 shots.

    Derivatives are computed in forward mode, so that they store one array each instead of all terms of the sums.

    Args:
      probability: p, any shape.
      shots: S, broadcast to ``probability``.

    Example:
      >>> moments = root_moments(jnp.array([0.0, 0.5]), 10_000)
      >>> moments.mean.round(2).tolist(), moments.variance.round(3).tolist()
      ([0.0, 70.70999908447266], [0.0, 0.125])
    """
    return _with_derivatives(probability, jnp.broadcast_to(jnp.asarray(shots, probability.dtype), probability.shape))


@jax.custom_jvp
def _with_derivatives(probability: jax.Array, shots: jax.Array) -> RootMoments:
    return _root_moments(probability, shots)


@_with_derivatives.defjvp
def _jvp(primals, tangents):
    (probability, shots), ones = primals, jnp.ones_like(primals[0])
    value, by_probability = jax.jvp(lambda p: _root_moments(p, shots), (probability,), (ones,))
    _, by_shots = jax.jvp(lambda s: _root_moments(probability, s), (shots,), (ones,))
    return value, jax.tree.map(lambda a, b: a * tangents[0] + b * tangents[1], by_probability, by_shots)


def _root_moments(p: jax.Array, shots: jax.Array) -> RootMoments:
    expected = shots * p
    rare = expected < _RARE
    # Each branch gets harmless arguments where the other is selected: NaN derivatives would pass the selection.
    few = _summed(jnp.where(rare, p, 0.0), shots)
    many = jnp.where(rare, _RARE, expected)
    likely = jnp.where(rare, 0.0, p)
    q = 1 - likely
    first, second = q / 8, q * (1 - 2 * likely) / 16 - 15 * q**2 / 128
    root = jnp.sqrt(many)
    mean = root * (1 - first / many + second / many**2)
    variance = q / 4 - (q**2 / 64 + 2 * second) / many
    step = (1 + (3 * q - 2) / (8 * many)) / (2 * root)
    return RootMoments(
        jnp.where(rare, few.mean, mean), jnp.where(rare, few.variance, variance), jnp.where(rare, few.step, step)
    )


def _summed(p: jax.Array, shots: jax.Array) -> RootMoments:
    """Moments by summation over counts, for p <= 1/4: the probability of zero counts is then at least e^-19."""
    p = jnp.minimum(p, 0.25)
    odds = p / (1 - p)

    def add(k: Any, carry: tuple) -> tuple:
        chance, root, next_root = carry
        number = jnp.asarray(k, p.dtype)
        root = root + chance * jnp.sqrt(number)
        next_root = next_root + chance * jnp.sqrt(number + 1)
        # The ratio of successive probabilities: factorials and powers would leave float32's range.
        return chance * odds * jnp.maximum(shots - number, 0.0) / (number + 1), root, next_root

    none = jnp.exp(shots * jnp.log1p(-p))
    zero = jnp.zeros_like(none)
    _, root, next_root = jax.lax.fori_loop(0, _TERMS, add, (none, zero, zero))
    # E (sqrt K)^2 = E K = S p exactly, so that only the mean is summed.
    return RootMoments(root, jnp.maximum(shots * p - root**2, 0.0), next_root - root)
