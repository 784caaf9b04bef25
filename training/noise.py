"""Weight noise for any Flax model, analog or digital, applied inside the loss before the model is called.

    noisy = modified_weights(key, params, AdditiveNoise(std=0.05))
    logits = model.apply({"params": noisy}, x)

Each kernel W is treated as if it were written onto one tile: every column relative to its largest weight. The change
affects only the forward pass; the gradient with respect to W ignores it. In analog layers modifiers act tile by tile,
``preset("pcm", training=AdditiveNoise(std=0.05))``.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from analogsim.base.checks import check_number
from analogsim.base.errors import InputError
from analogsim.base.random import check_one_key
from analogsim.base.straight_through import scale_of
from analogsim.base.types import Numeric, PyTree
from analogsim.hardware.weight_modifier import WeightModifier
from analogsim.hardware.weight_modifiers import AdditiveNoise, DeviceNoise
from analogsim.training.selection import is_kernel, map_selected


def modified_weights(
    key: jax.Array, params: PyTree, modifier: WeightModifier, *, noise_scale: Numeric = 1.0, where: Any = is_kernel
) -> Any:
    """Return parameters with kernels changed by a modifier, for use inside a loss function.

    Args:
      key: random key, a new one for every step or micro-batch; one per example under ``jax.vmap``.
      params: tree of parameters; kernels are ``[..., n_out]``.
      modifier: a modifier that draws once per step and needs no device, such as ``AdditiveNoise`` or ``DropConnect``.
      noise_scale: factor of the change; may be traced (a schedule).
      where: ``where(path, leaf) -> bool`` selects the leaves; by default those named ``kernel``.

    Returns:
      a tree of the same structure; leaves that are not selected are unchanged.

    Raises:
      InputError: for a modifier of devices or one that draws per example, or if no leaf is selected.

    Example:
      >>> params = {"Dense_0": {"kernel": jnp.ones((4, 3)), "bias": jnp.zeros(3)}}
      >>> noisy = modified_weights(jax.random.key(0), params, AdditiveNoise(std=0.05))
      >>> bool((noisy["Dense_0"]["bias"] == 0).all()), bool((noisy["Dense_0"]["kernel"] == 1).any())
      (True, False)
    """
    check_one_key(key)
    check_number(noise_scale, "noise_scale", ge=0)
    if not isinstance(modifier, WeightModifier) or isinstance(modifier, DeviceNoise) or modifier.draw != "step":
        raise InputError(
            f"modifier = {modifier!r}: must be a weight modifier that draws once per step, for example "
            f"AdditiveNoise(std=0.05); device noise and noise per example are drawn in analog layers"
        )

    def change(index: int, leaf: jax.Array) -> jax.Array:
        tile = lax.stop_gradient(leaf).reshape(1, 1, -1, leaf.shape[-1])
        largest = jnp.max(jnp.abs(tile), axis=-2, keepdims=True)
        scale = scale_of(largest)
        # Folded by the index of the leaf: kernels of equal shape must not share their noise.
        noisy = modifier.weights(jax.random.fold_in(key, index), tile / scale, scale, noise_scale)
        return leaf + ((noisy.mean - tile / scale) * scale).reshape(leaf.shape).astype(leaf.dtype)

    return map_selected(change, params, where)


def weight_noise(
    key: jax.Array, params: PyTree, std: Numeric, *, relative_to: str = "column", where: Any = is_kernel
) -> Any:
    """Add Gaussian noise to kernels: W + std max|W| xi, with the maximum over each column or the whole kernel.

    Args:
      key, params, where: see ``modified_weights``.
      std: standard deviation relative to the largest weight; may be traced (a schedule).
      relative_to: ``"column"`` (largest weight of each output) or ``"layer"`` (largest weight of the kernel).

    Returns:
      a tree of the same structure; leaves that are not selected are unchanged.

    Raises:
      InputError: for a negative or non-finite ``std``, or if no leaf is selected.

    Example:
      >>> params = {"kernel": jnp.ones((4, 3))}
      >>> bool((weight_noise(jax.random.key(0), params, 0.05)["kernel"] == 1).any())
      False
    """
    check_number(std, "std", ge=0)
    return modified_weights(key, params, AdditiveNoise(std=std, relative_to=relative_to), where=where)
