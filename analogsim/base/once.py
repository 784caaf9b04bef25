"""Compute the results of a function once, however often they are used.

XLA fuses cheap-looking operations into each of their uses. On CPUs that repeats random numbers, powers and logarithms,
which then cost several times as much; an optimization barrier does not prevent it. A call that may not be inlined does:
its results are stored. It holds for one program; a program that is differentiated stores them for the backward pass.
"""

from collections.abc import Callable
from typing import Any

import jax
from jax.experimental.xla_metadata import set_xla_metadata

from analogsim.base.types import PyTree


def once(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of arrays that computes its results once for all of their uses.

    Example:
      >>> float(once(lambda x: 2 * x)(3.0))
      6.0
    """
    compiled = jax.jit(function)
    return lambda *args: stored(compiled(*args))


def stored(results: PyTree) -> PyTree:
    """Store the results of a call of a function under ``jax.jit``, inside of a program that is being traced.

    Nothing is needed outside of one, where results are stored anyway, and on devices other than CPUs.
    """
    leaves = jax.tree.leaves(results)
    if jax.default_backend() != "cpu" or not any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
        return results
    # The mark is that of the call, so that one of its results is enough.
    marked = [set_xla_metadata(leaf, inlineable="false") for leaf in leaves[:1]]
    return jax.tree.unflatten(jax.tree.structure(results), [*marked, *leaves[1:]])
