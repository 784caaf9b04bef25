"""Weight noise: train with perturbed weights so that the network stops relying on exact ones.

Each kernel W becomes W + s max|W| xi, xi ~ N(0, 1) fresh every step, with the maximum taken over each output column
(the range that a column's cells share) or over the whole kernel. The noise is added in the forward pass only: the
gradient reaches W as if it were absent. Joshi et al. (Nat. Commun. 11, 2473 (2020), doi 10.1038/s41467-020-16108-9)
trained with s matched to the device's relative conductance error.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from analogsim.devices.errors import InputError
from analogsim.devices.random import check_one_key, normal
from analogsim.training.selection import check_number, is_kernel, map_selected


def weight_noise(key: jax.Array, params: Any, std: Any, *, relative_to: str = "column", where: Any = is_kernel) -> Any:
    """Parameters with Gaussian noise on the kernels, for use inside a loss function.

    Args:
      key: fresh every step.
      params: a tree of parameters; kernels are ``[..., n_out]``.
      std: noise relative to the largest weight; a number or traced (a schedule).
      relative_to: ``"column"`` (largest weight of each output) or ``"kernel"`` (largest of the kernel).
      where: ``where(path, leaf) -> bool`` chooses the leaves; by default those named ``kernel``.

    Returns:
      A tree of the same structure. Leaves that are not chosen are returned as they are.

    Example:
      >>> params = {"Dense_0": {"kernel": jnp.ones((4, 3)), "bias": jnp.zeros(3)}}
      >>> noisy = weight_noise(jax.random.key(0), params, 0.05)
      >>> bool((noisy["Dense_0"]["bias"] == 0).all()), bool((noisy["Dense_0"]["kernel"] == 1).any())
      (True, False)
    """
    check_one_key(key)
    check_number(std, "std", "at least 0 (relative to the largest weight)", allowed=lambda v: v >= 0)
    if relative_to not in ("column", "kernel"):
        raise InputError(f"relative_to = {relative_to!r}: must be one of 'column', 'kernel'")

    def perturb(index: int, leaf: jax.Array) -> jax.Array:
        axes = tuple(range(leaf.ndim - 1)) if relative_to == "column" else None
        largest = jnp.max(jnp.abs(leaf), axis=axes, keepdims=True)
        noise = std * largest * normal(jax.random.fold_in(key, index), leaf.shape).astype(leaf.dtype)
        return leaf + lax.stop_gradient(noise)

    return map_selected(perturb, params, where)
