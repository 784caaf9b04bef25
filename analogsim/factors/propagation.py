"""First-order propagation of core errors to the matrix.

With all cores left of core k as a matrix L (one row per combination of the digits before it, r_(k-1) columns) and all
cores right of it as R, W = L G_k R. An independent random error of relative size e_k in the entries of G_k gives

    E ||dW||_F^2 = e_k^2 ||G_k||_F^2 ||L||_F^2 ||R||_F^2 / (r_(k-1) r_k)

and errors of different cores add in squares. Device errors are of this kind: programming noise, variation of drift,
read noise. Products of errors are neglected; they matter from some tens of per cent on.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from analogsim.base.dtypes import wide
from analogsim.base.errors import InputError
from analogsim.factors.layout import CoreLayout
from analogsim.factors.trains import grams


class Propagated(NamedTuple):
    """Error of a matrix from the errors of its cores, to first order. Returned by ``propagate_errors``.

    Attributes:
      relative: root mean square of ||dW||_F / ||W||_F.
      by_core: contribution of each core, ``[cores]``; their squares add up to that of ``relative``.
      bound: worst case over all errors of these sizes:
        sum_k e_k ||G_k||_F ||L||_2 ||R||_2 / ||W||_F.
    """

    relative: jax.Array
    by_core: jax.Array
    bound: jax.Array


def propagate_errors(cores: Sequence[jax.Array], core_errors: Any) -> Propagated:
    """Return the relative error of the matrix for relative errors of its cores, to first order.

    Args:
      cores: a train.
      core_errors: ||dG_k||_F / ||G_k||_F of each core, ``[cores]``, or one number for all.

    Returns:
      The error of the matrix, the contribution of each core, and the worst case.

    Raises:
      InputError: if the cores do not form a train, or ``core_errors`` has another shape.

    Example:
      >>> import jax
      >>> from analogsim.codecs import CoreLayout, initial
      >>> cores = initial(jax.random.key(0), CoreLayout((4, 4), (4, 4), (3,)))
      >>> round(float(propagate_errors(cores, 0.01).relative), 3)      # two cores of 1 % each
      0.014
    """
    layout = CoreLayout.of(cores)
    errors = jnp.asarray(core_errors, jnp.float32)
    if errors.shape not in ((), (layout.cores,)):
        raise InputError(
            f"core_errors: shape {errors.shape}: must be one number, or one for each of {layout.cores} cores"
        )
    errors = jnp.broadcast_to(errors, (layout.cores,))
    cores = [wide(core) for core in cores]
    left = grams(cores)
    right = grams([core.transpose(3, 1, 2, 0) for core in reversed(cores)])[::-1]
    matrix_norm = jnp.sqrt(jnp.maximum(left[-1][0, 0], 0.0))
    contributions, bounds = [], []
    for k, core in enumerate(cores):
        size, (r, _, _, s) = jnp.linalg.norm(core), core.shape
        before, after = left[k], right[k + 1]
        contributions.append(_relative(size * jnp.sqrt(jnp.trace(before) * jnp.trace(after) / (r * s)), matrix_norm))
        bounds.append(_relative(size * jnp.sqrt(_largest(before) * _largest(after)), matrix_norm))
    by_core = errors * jnp.stack(contributions)
    return Propagated(jnp.sqrt(jnp.sum(by_core**2)), by_core, jnp.sum(errors * jnp.stack(bounds)))


def _relative(error: jax.Array, whole: jax.Array) -> jax.Array:
    """Ratio of error and norm; for a zero matrix, 0 if the error is 0 (as with another zero core), else infinite."""
    return jnp.where(whole > 0, error / jnp.where(whole > 0, whole, 1.0), jnp.where(error > 0, jnp.inf, 0.0))


def _largest(gram: jax.Array) -> jax.Array:
    return jnp.linalg.eigvalsh(gram)[-1] if math.prod(gram.shape) > 1 else gram[0, 0]
