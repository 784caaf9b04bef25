"""Arrays that several processes hold together.

With ``jax.distributed`` one program runs in every process, and a process holds the parts of an array that lie on its
own devices. NumPy cannot see the others. What the library decides on the host (is a weight finite, which range fits
the inputs) must come out alike in all processes, because they all run the next program, or all raise. So the decision
is computed on the devices, or the values are collected by all processes at once. Every process must get here.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def is_here(array: Any) -> bool:
    """Return whether this process can see all values of an array: on its own devices, or the same on every device.

    Example:
      >>> is_here(jnp.ones(3)), is_here(np.ones(3)), is_here(2.0)
      (True, True, True)
    """
    if not isinstance(array, jax.Array) or isinstance(array, jax.core.Tracer):
        return True
    return array.is_fully_addressable or array.is_fully_replicated


def all_finite(array: Any) -> bool:
    """Return whether an array holds neither NaN nor infinity. Nothing of its size is collected.

    Args:
      array: of numbers, any shape; if several processes hold it, all of them must ask.

    Example:
      >>> all_finite(jnp.ones(3)), all_finite(jnp.array([1.0, jnp.nan]))
      (True, False)
    """
    if is_here(array):
        # By NumPy: outside of a compiled function, jax.numpy compiles every operation for every shape.
        return bool(np.all(np.isfinite(np.asarray(array))))
    return bool(_all_finite(array))


@jax.jit
def _all_finite(array: jax.Array) -> jax.Array:
    return jnp.all(jnp.isfinite(array))


def whole(array: Any) -> np.ndarray:
    """Return the whole array in NumPy, in every process; for results and statistics, which are small.

    Args:
      array: anything that ``np.asarray`` takes; if several processes hold it, all of them must ask.

    Example:
      >>> whole(jnp.arange(3)).tolist()
      [0, 1, 2]
    """
    if is_here(array):
        return np.asarray(array)
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.process_allgather(array, tiled=True))
