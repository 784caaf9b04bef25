"""Tensor-train algorithms: decomposition of a matrix, rounding to lower ranks, decoding.

Functions take and return sequences of cores ``[r_(k-1), m_k, n_k, r_k]``. Thresholds are relative Frobenius errors: a
train of d cores within eps ||W||_F of W may lose eps ||W||_F / sqrt(d - 1) at each of its d - 1 cuts, because squared
losses add up (Oseledets 2011, theorem 2.2 and algorithms 1 and 2). Concrete arrays are computed by NumPy in double
precision, where ranks may depend on the values; traced arrays by ``jax.numpy``, where ranks must be given.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from analogsim.base.checks import check_integer
from analogsim.base.dtypes import wide
from analogsim.base.errors import InputError
from analogsim.factors.layout import CoreLayout

Choose = Callable[[int, Any], int]


def interleaved(w: Any, modes_in: tuple[int, ...], modes_out: tuple[int, ...]) -> Any:
    """Reshape a matrix ``[n_in, n_out]`` into a tensor ``[m_1 n_1, ..., m_d n_d]``."""
    d = len(modes_in)
    order = [axis for k in range(d) for axis in (k, d + k)]
    sizes = [m * n for m, n in zip(modes_in, modes_out, strict=True)]
    return w.reshape(*modes_in, *modes_out).transpose(order).reshape(sizes)


def train_of(w: Any, modes_in: tuple[int, ...], modes_out: tuple[int, ...], choose: Choose, xp: Any = np) -> list[Any]:
    """Decompose a matrix into a train by successive singular value decompositions (TT-SVD).

    Args:
      w: ``[n_in, n_out]``.
      modes_in, modes_out: modes of inputs and outputs.
      choose: ``choose(k, s)`` returns how many of the singular values s of cut k to keep.
      xp: ``numpy``, or ``jax.numpy`` for traced matrices.

    Returns:
      Cores, all but the last with orthonormal columns ``[r_(k-1) m_k n_k, r_k]``. The squared error is the sum of the
      squares of all dropped singular values.
    """
    rest, rank, cores = interleaved(w, modes_in, modes_out), 1, []
    for k, (m, n) in enumerate(zip(modes_in[:-1], modes_out[:-1], strict=True)):
        u, s, v = xp.linalg.svd(rest.reshape(rank * m * n, -1), full_matrices=False)
        keep = choose(k, s)
        cores.append(u[:, :keep].reshape(rank, m, n, keep))
        rest, rank = s[:keep, None] * v[:keep], keep
    cores.append(rest.reshape(rank, modes_in[-1], modes_out[-1], 1))
    return cores


def truncation_rank(s: np.ndarray, delta: float, at_most: int | None = None, noise: float = 0.0) -> int:
    """Return how many singular values to keep so that the norm of the dropped ones is at most ``delta``; at least one.

    ``at_most`` is a cap. A value below ``noise`` times the largest is rounding error and always dropped; each is judged
    alone, since many small values together are not rounding error.
    """
    # Summed from the smallest value up: a difference of large sums would lose the small tails.
    tails = np.sqrt(np.cumsum(s[::-1] ** 2))[::-1]  # tails[i]: norm of the dropped values if i are kept
    count = int(min(np.sum(tails > delta), np.sum(s > noise * s[0])))
    return max(1, count if at_most is None else min(count, at_most))


def decode(factors: Sequence[jax.Array]) -> jax.Array:
    """Return the matrix ``[n_in, n_out]`` that cores represent.

    Args:
      factors: cores ``[r_(k-1), m_k, n_k, r_k]``.

    Raises:
      InputError: if the cores do not form a train.

    Example:
      >>> import jax.numpy as jnp
      >>> decode((jnp.ones((1, 2, 3, 4)), jnp.ones((4, 2, 1, 1)))).shape
      (4, 3)
    """
    layout = CoreLayout.of(factors)
    tensor = factors[0]
    for core in factors[1:]:
        tensor = jnp.tensordot(tensor, core, axes=1, precision="highest")  # [1, m_1, n_1, ..., m_k, n_k, r_k]
    d = layout.cores
    order = [1 + 2 * k for k in range(d)] + [2 + 2 * k for k in range(d)]
    return tensor.transpose(0, *order, 2 * d + 1).reshape(layout.n_in, layout.n_out)


def rounded(
    cores: Sequence[jax.Array], *, rel_error: float | None = None, rank: int | None = None
) -> tuple[jax.Array, ...]:
    """Round a train to lower ranks, from the cores alone.

    A sweep of QR decompositions from the right makes the cores orthonormal, then singular value decompositions from
    the left truncate: the result equals a decomposition of the matrix, at a cost that grows with the ranks and not with
    the matrix.

    Args:
      cores: a train.
      rel_error: largest error relative to the Frobenius norm of the train's matrix.
      rank: cap of every rank; the only possible target within ``jax.jit``, since shapes must be known.

    Returns:
      Cores of the same dtype. Concrete cores are computed in double precision, traced ones in single or better;
      rounding the cores to their dtype adds an error, about 0.3 % in bfloat16.

    Raises:
      InputError: unless exactly one target is given, for a target out of range, for ``rel_error`` within ``jax.jit``,
        or if the cores do not form a train.

    Example:
      >>> import jax.numpy as jnp
      >>> twice = (jnp.ones((1, 2, 3, 2)), jnp.ones((2, 4, 1, 1)))     # two equal terms
      >>> [core.shape for core in rounded(twice, rel_error=1e-6)]
      [(1, 2, 3, 1), (1, 4, 1, 1)]
    """
    layout = CoreLayout.of(cores)
    if (rel_error is None) == (rank is None):
        raise InputError("rounded: give one of rel_error and rank")
    if rank is not None:
        check_integer(rank, "rank")
    if rel_error is not None:
        check_error(rel_error, "rel_error")
    traced = any(isinstance(core, jax.core.Tracer) for core in cores)
    if traced and rank is None:
        raise InputError("rounded: within jax.jit shapes must be known, and rel_error leaves them open; give rank")
    if traced:
        ranks = layout.with_rank(rank or 1).ranks
        swept = _swept(_wide(cores), lambda k, s: min(ranks[k], s.shape[0]), jnp)
        return tuple(core.astype(old.dtype) for core, old in zip(swept, cores, strict=True))
    dtype = cores[0].dtype
    known = [np.asarray(core, np.float64) for core in cores]
    size = max(math.prod(core.shape) for core in known)
    noise = rounding_noise(dtype if rel_error is None else np.float64, size)
    delta = 0.0 if rel_error is None else rel_error * float(norm(known, np)) / math.sqrt(max(layout.cores - 1, 1))
    return tuple(
        jnp.asarray(core, dtype) for core in _swept(known, lambda k, s: truncation_rank(s, delta, rank, noise), np)
    )


def _wide(cores: Sequence[jax.Array]) -> list[jax.Array]:
    """Promote cores to at least float32: decompositions exist in single and double precision only."""
    return [wide(core) for core in cores]


def _swept(cores: list[Any], choose: Choose, xp: Any) -> list[Any]:
    # `_orthogonal` sweeps from the left; on the reversed train that is from the right.
    cores = [core.transpose(3, 1, 2, 0) for core in reversed(cores)]  # the train reversed
    cores = [core.transpose(3, 1, 2, 0) for core in reversed(_orthogonal(cores, xp))]
    for k in range(len(cores) - 1):
        r, m, n, _ = cores[k].shape
        u, s, v = xp.linalg.svd(cores[k].reshape(r * m * n, -1), full_matrices=False)
        keep = choose(k, s)
        cores[k] = u[:, :keep].reshape(r, m, n, keep)
        cores[k + 1] = _product(xp, s[:keep, None] * v[:keep], cores[k + 1])
    return cores


def _orthogonal(cores: list[Any], xp: Any) -> list[Any]:
    cores = list(cores)
    for k in range(len(cores) - 1):
        r, m, n, _ = cores[k].shape
        q, triangle = xp.linalg.qr(cores[k].reshape(r * m * n, -1))
        cores[k] = q.reshape(r, m, n, q.shape[1])
        cores[k + 1] = _product(xp, triangle, cores[k + 1])
    return cores


def _product(xp: Any, a: Any, b: Any) -> Any:
    """Contract the last axis of ``a`` with the first of ``b``."""
    # A new gauge must not change the matrix, and GPUs multiply float32 in lower precision by default.
    return np.tensordot(a, b, axes=1) if xp is np else jnp.tensordot(a, b, axes=1, precision="highest")


def left_orthogonal(cores: Sequence[jax.Array]) -> tuple[jax.Array, ...]:
    """Return cores of the same matrix with orthonormal columns ``[r_(k-1) m_k n_k, r_k]``, all but the last.

    Optimiser steps leave this gauge; this function restores it without changing ranks (a rank above what its modes
    allow is reduced to that). Differentiable, and usable under ``jax.jit``.

    Args:
      cores: a train, ``[r_(k-1), m_k, n_k, r_k]`` each.

    Raises:
      InputError: if the cores do not form a train.

    Example:
      >>> cores = left_orthogonal((jnp.ones((1, 2, 1, 1)), jnp.ones((1, 1, 2, 1))))
      >>> [round(float(jnp.linalg.norm(core)), 3) for core in cores]     # the last core takes the norm of the matrix
      [1.0, 2.0]
    """
    CoreLayout.of(cores)
    orthogonal = _orthogonal(_wide(cores), jnp)
    return tuple(core.astype(old.dtype) for core, old in zip(orthogonal, cores, strict=True))


def balanced(cores: Sequence[jax.Array]) -> tuple[jax.Array, ...]:
    """Return cores of the same matrix with similar root mean squares, as suits an optimiser with one step size.

    Cores are multiplied by powers of two whose product is 1, so that no number is rounded and the matrix is the same to
    the last bit; root mean squares are then within a factor of two of each other. If a core is all zeros, the cores are
    returned unchanged. The factors are constants in derivatives.

    Args:
      cores: a train, ``[r_(k-1), m_k, n_k, r_k]`` each.

    Example:
      >>> cores = balanced((jnp.full((1, 2, 1, 1), 8.0), jnp.full((1, 1, 2, 1), 0.5)))     # factors 1/4 and 4
      >>> [float(core.max()) for core in cores]
      [2.0, 2.0]
    """
    wide = _wide([jax.lax.stop_gradient(core) for core in cores])
    logs = jnp.log2(jnp.stack([jnp.sqrt(jnp.mean(jnp.square(core))) for core in wide]))
    log_factors = jnp.mean(logs) - logs
    log_factors = jnp.where(jnp.all(jnp.isfinite(log_factors)), log_factors, 0.0)
    floor_exponents = jnp.floor(log_factors)  # round the largest remainders up, so that the exponents sum to 0
    order = jnp.argsort(jnp.argsort(floor_exponents - log_factors))
    is_up = order.astype(logs.dtype) < -jnp.sum(floor_exponents)
    exponents = floor_exponents + is_up.astype(logs.dtype)
    factors = jnp.ldexp(jnp.ones(len(wide), log_factors.dtype), exponents.astype(jnp.int32))
    # Multiplied in float32: a large power of two is infinite in float16.
    return tuple((core.astype(f.dtype) * f).astype(core.dtype) for core, f in zip(cores, factors, strict=True))


def norm(cores: Sequence[Any], xp: Any = jnp) -> Any:
    """Return the Frobenius norm of the matrix, from its cores."""
    return xp.sqrt(xp.maximum(grams(cores, xp)[-1][0, 0], 0.0))


def grams(cores: Sequence[Any], xp: Any = jnp) -> list[Any]:
    """Return the Gram matrices ``[r_k, r_k]`` of the first k cores, contracted over all modes, for k = 0 to d."""
    products = [xp.ones((1, 1))]
    with jax.default_matmul_precision("highest"):  # which NumPy's einsum does not take as an argument
        for core in cores:
            products.append(xp.einsum("ab,aijc,bijd->cd", products[-1], core, core))
    return products


def initial(key: jax.Array, layout: CoreLayout, variance: float | None = None, dtype: DTypeLike = jnp.float32) -> tuple:
    """Draw random cores whose matrix has entries of the given variance and mean 0.

    An entry is a sum over prod_k r_k products of d independent numbers, so that a standard deviation of
    (variance / prod_k r_k)^(1 / (2 d)) in the cores gives it. At low ranks entries are heavy-tailed, and the sample
    variance of one draw varies.

    Args:
      key: one key.
      layout: modes and ranks.
      variance: of the matrix's entries; None for 1 / n_in, as in Flax's dense layers.
      dtype: of the cores.

    Returns:
      The cores, with the shapes ``layout.shapes``.

    Raises:
      InputError: if the variance is negative or not finite.

    Example:
      >>> import jax
      >>> [core.shape for core in initial(jax.random.key(0), CoreLayout((4, 4), (2, 3), (5,)))]
      [(1, 4, 2, 5), (5, 4, 3, 1)]
    """
    std = core_std(layout, 1 / layout.n_in if variance is None else check_variance(variance, "variance"))
    keys = jax.random.split(key, layout.cores)
    return tuple(std * jax.random.normal(own, shape, dtype) for own, shape in zip(keys, layout.shapes, strict=True))


def core_std(layout: CoreLayout, variance: float) -> float:
    """Return the standard deviation of the core entries that gives the matrix's entries this variance."""
    return (variance / math.prod(layout.ranks)) ** (1 / (2 * layout.cores))


def rounding_noise(dtype: DTypeLike, size: int) -> float:
    """Return the fraction of the largest singular value below which a singular value is rounding error.

    It is that of double precision, in which decompositions are computed, or of single precision, whose rounding makes a
    low-rank product numerically full rank. Narrower dtypes count as exact: bfloat16's rounding, 0.4 %, is as large as
    the content of many matrices, which must not be dropped without a request.
    """
    double = float(np.finfo(np.float64).eps) * math.sqrt(size)
    return max(double, min(float(jnp.finfo(dtype).eps), float(np.finfo(np.float32).eps)))


def check_variance(value: Any, where: str) -> Any:
    """Return a variance, checked to be finite and at least 0; arrays are not checked."""
    if isinstance(value, (jax.Array, jax.core.Tracer)):
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not 0 <= value < math.inf:
        raise InputError(f"{where} = {value!r}: must be a finite number and at least 0")
    return value


def check_error(value: Any, where: str) -> float:
    """Return a relative error, checked to be at least 0 and below 1."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.floating)) or not 0 <= value < 1:
        raise InputError(f"{where} = {value!r}: must be at least 0 and less than 1 (relative, Frobenius norm)")
    return float(value)
