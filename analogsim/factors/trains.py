"""Tensor trains as mathematics: from a matrix to cores, from cores to smaller cores, and back to the matrix.

Functions take and give sequences of cores ``[r_(k-1), m_k, n_k, r_k]``. Thresholds are relative Frobenius errors: a
train of d cores that is to be within eps ||W||_F of W may lose eps ||W||_F / sqrt(d - 1) at each of its d - 1 cuts,
because squared losses add up (Oseledets 2011, theorem 2.2 and algorithms 1 and 2). Work on known numbers is done by
NumPy in double precision, where ranks may depend on the numbers; on traced ones by ``jax.numpy``, where ranks must be
given.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from analogsim.base.checks import check_integer
from analogsim.base.errors import InputError
from analogsim.factors.layout import CoreLayout

Choose = Callable[[int, Any], int]


def interleaved(w: Any, modes_in: tuple[int, ...], modes_out: tuple[int, ...]) -> Any:
    """A matrix ``[n_in, n_out]`` as a tensor ``[m_1 n_1, ..., m_d n_d]``."""
    d = len(modes_in)
    order = [axis for k in range(d) for axis in (k, d + k)]
    sizes = [m * n for m, n in zip(modes_in, modes_out, strict=True)]
    return w.reshape(*modes_in, *modes_out).transpose(order).reshape(sizes)


def train_of(w: Any, modes_in: tuple[int, ...], modes_out: tuple[int, ...], choose: Choose, xp: Any = np) -> list[Any]:
    """The train of a matrix by successive singular value decompositions (TT-SVD).

    Args:
      w: ``[n_in, n_out]``.
      modes_in, modes_out: what it is split by.
      choose: ``choose(k, s)``: how many of the singular values s of cut k are kept.
      xp: ``numpy``, or ``jax.numpy`` for traced matrices.

    Returns:
      Cores, all but the last with orthonormal columns ``[r_(k-1) m_k n_k, r_k]``. The squared error is the sum of the
      squares of all singular values that were dropped.
    """
    rest, rank, cores = interleaved(w, modes_in, modes_out), 1, []
    for k, (m, n) in enumerate(zip(modes_in[:-1], modes_out[:-1], strict=True)):
        u, s, v = xp.linalg.svd(rest.reshape(rank * m * n, -1), full_matrices=False)
        keep = choose(k, s)
        cores.append(u[:, :keep].reshape(rank, m, n, keep))
        rest, rank = s[:keep, None] * v[:keep], keep
    cores.append(rest.reshape(rank, modes_in[-1], modes_out[-1], 1))
    return cores


def kept(s: np.ndarray, delta: float, at_most: int | None = None, noise: float = 0.0) -> int:
    """How many singular values to keep so that the others together are at most ``delta``; one at least.

    ``at_most`` is a cap. A value below ``noise`` times the largest is rounding, and dropped in any case: each judged by
    itself, since many small ones together are no rounding.
    """
    tails = np.sqrt(np.cumsum(s[::-1] ** 2))[::-1]  # tails[i]: what is lost where i are kept
    count = int(min(np.sum(tails > delta), np.sum(s > noise * s[0])))
    return max(1, count if at_most is None else min(count, at_most))


def decode(factors: Sequence[jax.Array]) -> jax.Array:
    """The matrix ``[n_in, n_out]`` that cores stand for.

    Example:
      >>> import jax.numpy as jnp
      >>> decode((jnp.ones((1, 2, 3, 4)), jnp.ones((4, 2, 1, 1)))).shape
      (4, 3)
    """
    layout = CoreLayout.of(factors)
    whole = factors[0]
    for core in factors[1:]:
        whole = jnp.tensordot(whole, core, axes=1)  # [1, m_1, n_1, ..., m_k, n_k, r_k]
    d = layout.cores
    order = [1 + 2 * k for k in range(d)] + [2 + 2 * k for k in range(d)]
    return whole.transpose(0, *order, 2 * d + 1).reshape(layout.n_in, layout.n_out)


def rounded(
    cores: Sequence[jax.Array], *, rel_error: float | None = None, rank: int | None = None
) -> tuple[jax.Array, ...]:
    """The same matrix with lower ranks, found on the cores alone.

    A sweep of QR decompositions from the right makes the cores orthonormal, then singular value decompositions from
    the left drop what may go: the result of a decomposition of the whole matrix, at a cost that grows with the ranks
    and not with the matrix.

    Args:
      cores: a train.
      rel_error: how far the result may be from it, relative to its Frobenius norm.
      rank: cap of every rank; within ``jax.jit`` the only possible target, since shapes must be known.

    Returns:
      Cores of the same type. Known numbers are worked on in double precision, traced ones in single or better; rounding
      of the cores to their own type comes on top, some 0.3 % in bfloat16.

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
        most = layout.with_rank(rank or 1).ranks
        swept = _swept(_wide(cores), lambda k, s: min(most[k], s.shape[0]), jnp)
        return tuple(core.astype(old.dtype) for core, old in zip(swept, cores, strict=True))
    dtype = cores[0].dtype
    known = [np.asarray(core, np.float64) for core in cores]
    size = max(math.prod(core.shape) for core in known)
    noise = rounding_noise(dtype if rel_error is None else np.float64, size)
    delta = 0.0 if rel_error is None else rel_error * float(norm(known, np)) / math.sqrt(max(layout.cores - 1, 1))
    return tuple(jnp.asarray(core, dtype) for core in _swept(known, lambda k, s: kept(s, delta, rank, noise), np))


def _wide(cores: Sequence[jax.Array]) -> list[jax.Array]:
    """Decompositions are there in single and double precision only."""
    return [core.astype(jnp.promote_types(core.dtype, jnp.float32)) for core in cores]


def _swept(cores: list[Any], choose: Choose, xp: Any) -> list[Any]:
    cores = [core.transpose(3, 1, 2, 0) for core in reversed(cores)]  # the same train read from the other end
    cores = [core.transpose(3, 1, 2, 0) for core in reversed(_orthogonal(cores, xp))]
    for k in range(len(cores) - 1):
        r, m, n, _ = cores[k].shape
        u, s, v = xp.linalg.svd(cores[k].reshape(r * m * n, -1), full_matrices=False)
        keep = choose(k, s)
        cores[k] = u[:, :keep].reshape(r, m, n, keep)
        cores[k + 1] = xp.tensordot(s[:keep, None] * v[:keep], cores[k + 1], axes=1)
    return cores


def _orthogonal(cores: list[Any], xp: Any) -> list[Any]:
    cores = list(cores)
    for k in range(len(cores) - 1):
        r, m, n, _ = cores[k].shape
        q, triangle = xp.linalg.qr(cores[k].reshape(r * m * n, -1))
        cores[k] = q.reshape(r, m, n, q.shape[1])
        cores[k + 1] = xp.tensordot(triangle, cores[k + 1], axes=1)
    return cores


def left_orthogonal(cores: Sequence[jax.Array]) -> tuple[jax.Array, ...]:
    """The same matrix by cores whose columns ``[r_(k-1) m_k n_k, r_k]`` are orthonormal, all but the last.

    A step of an optimiser leaves any gauge behind; this puts it right without a change of ranks (where a rank exceeds
    what its modes allow, it falls to that). Differentiable, and fit for ``jax.jit``.
    """
    CoreLayout.of(cores)
    found = _orthogonal(_wide(cores), jnp)
    return tuple(core.astype(old.dtype) for core, old in zip(found, cores, strict=True))


def balanced(cores: Sequence[jax.Array]) -> tuple[jax.Array, ...]:
    """The same matrix by cores of like root mean square, as an optimiser with one step size for all wants them.

    Cores are multiplied by powers of two that cancel, so that no number is rounded and the matrix is the same to the
    last bit; root mean squares then lie within a factor of two of each other. Where a core is all zeros, nothing is
    moved. For derivatives the factors are constants.
    """
    wide = _wide([jax.lax.stop_gradient(core) for core in cores])
    logs = jnp.log2(jnp.stack([jnp.sqrt(jnp.mean(jnp.square(core))) for core in wide]))
    log_factors = jnp.mean(logs) - logs
    log_factors = jnp.where(jnp.all(jnp.isfinite(log_factors)), log_factors, 0.0)
    floor_exponents = jnp.floor(log_factors)  # largest remainders are rounded up, so that the exponents add up to 0
    order = jnp.argsort(jnp.argsort(floor_exponents - log_factors))
    exponents = floor_exponents + (order < -jnp.sum(floor_exponents))
    factors = jnp.ldexp(jnp.ones(len(wide), log_factors.dtype), exponents.astype(jnp.int32))
    return tuple((core * factor).astype(core.dtype) for core, factor in zip(cores, factors, strict=True))


def norm(cores: Sequence[Any], xp: Any = jnp) -> Any:
    """Frobenius norm of the matrix, from the cores."""
    return xp.sqrt(xp.maximum(grams(cores, xp)[-1][0, 0], 0.0))


def grams(cores: Sequence[Any], xp: Any = jnp) -> list[Any]:
    """For k = 0 to d, the products ``[r_k, r_k]`` of the first k cores with themselves, over all of their digits."""
    found = [xp.ones((1, 1))]
    for core in cores:
        found.append(xp.einsum("ab,aijc,bijd->cd", found[-1], core, core))
    return found


def initial(key: jax.Array, layout: CoreLayout, variance: float | None = None, dtype: Any = jnp.float32) -> tuple:
    """Random cores whose matrix has entries of the given variance and mean 0.

    An entry is a sum over prod_k r_k products of d independent numbers, so that a standard deviation of
    (variance / prod_k r_k)^(1 / (2 d)) in the cores gives it. At low ranks entries are heavy-tailed, and the variance
    of one draw scatters.

    Args:
      key: one key.
      layout: modes and ranks.
      variance: of the matrix's entries; None for 1 / n_in, as of Flax's own dense layers.
      dtype: of the cores.

    Example:
      >>> import jax
      >>> [core.shape for core in initial(jax.random.key(0), CoreLayout((4, 4), (2, 3), (5,)))]
      [(1, 4, 2, 5), (5, 4, 3, 1)]
    """
    std = core_std(layout, 1 / layout.n_in if variance is None else check_variance(variance, "variance"))
    keys = jax.random.split(key, layout.cores)
    return tuple(std * jax.random.normal(own, shape, dtype) for own, shape in zip(keys, layout.shapes, strict=True))


def core_std(layout: CoreLayout, variance: float) -> float:
    """Standard deviation of the numbers in cores whose matrix is to have this variance."""
    return (variance / math.prod(layout.ranks)) ** (1 / (2 * layout.cores))


def rounding_noise(dtype: Any, size: int) -> float:
    """A singular value below this share of the largest is rounding.

    That of double precision, in which decompositions are computed, or of single precision, by whose rounding a product
    of low rank is no longer quite one. Numbers of fewer bits are taken as exact: bfloat16's rounding, 0.4 %, is as
    large as what many a matrix holds, and nobody asked to drop that.
    """
    least = float(np.finfo(np.float64).eps) * math.sqrt(size)
    return max(least, min(float(jnp.finfo(dtype).eps), float(np.finfo(np.float32).eps)))


def check_variance(value: Any, where: str) -> Any:
    """A variance: a number, at least 0."""
    if isinstance(value, (jax.Array, jax.core.Tracer)):
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not 0 <= value < math.inf:
        raise InputError(f"{where} = {value!r}: must be a finite number and at least 0")
    return value


def check_error(value: Any, where: str) -> float:
    """A relative error: at least 0, below 1."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.floating)) or not 0 <= value < 1:
        raise InputError(f"{where} = {value!r}: must be at least 0 and less than 1 (relative, Frobenius norm)")
    return float(value)
