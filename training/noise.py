"""Modified weights for any Flax model, analog or not: inside the loss, before the model is called.

    noisy = modified_weights(key, params, AdditiveNoise(std=0.05))
    logits = model.apply({"params": noisy}, x)

Each kernel W is taken as it would be written onto one tile: every output's column relative to its largest weight. The
change is made in the forward pass only: the gradient reaches W as if it were absent. In analog layers modifiers act
tile by tile, ``preset("pcm", training=AdditiveNoise(std=0.05))``.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from analogsim.base.checks import check_number
from analogsim.base.errors import InputError
from analogsim.base.random import check_one_key
from analogsim.base.straight_through import scale_of
from analogsim.hardware.weight_modifier import WeightModifier
from analogsim.hardware.weight_modifiers import AdditiveNoise, DeviceNoise
from analogsim.training.selection import is_kernel, map_selected


def modified_weights(
    key: jax.Array, params: Any, modifier: WeightModifier, *, noise_scale: Any = 1.0, where: Any = is_kernel
) -> Any:
    """Parameters whose kernels are changed by a modifier, for use inside a loss function.

    Args:
      key: fresh every step, or every micro-batch; one for each example under ``jax.vmap``.
      params: a tree of parameters; kernels are ``[..., n_out]``.
      modifier: one that draws by step and needs no device, such as ``AdditiveNoise`` or ``DropConnect``.
      noise_scale: multiplies the change; a number or traced (a schedule).
      where: ``where(path, leaf) -> bool`` chooses the leaves; by default those named ``kernel``.

    Returns:
      A tree of the same structure. Leaves that are not chosen are returned as they are.

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
            f"modifier = {modifier!r}: must be a modifier of weights that draws by step, for example "
            f"AdditiveNoise(std=0.05); noise of devices and of examples is drawn in analog layers"
        )

    def change(index: int, leaf: jax.Array) -> jax.Array:
        tile = lax.stop_gradient(leaf).reshape(1, 1, -1, leaf.shape[-1])
        largest = jnp.max(jnp.abs(tile), axis=-2, keepdims=True)
        scale = scale_of(largest)
        held = modifier.weights(jax.random.fold_in(key, index), tile / scale, scale, noise_scale)
        return leaf + ((held.mean - tile / scale) * scale).reshape(leaf.shape).astype(leaf.dtype)

    return map_selected(change, params, where)


def weight_noise(key: jax.Array, params: Any, std: Any, *, relative_to: str = "column", where: Any = is_kernel) -> Any:
    """``modified_weights`` by ``AdditiveNoise``: W + std max|W| xi, the maximum over each column or the whole kernel.

    Args:
      key, params, where: as of ``modified_weights``.
      std: noise relative to the largest weight; a number or traced (a schedule).
      relative_to: ``"column"`` (largest weight of each output) or ``"layer"`` (largest of the kernel).

    Example:
      >>> params = {"kernel": jnp.ones((4, 3))}
      >>> bool((weight_noise(jax.random.key(0), params, 0.05)["kernel"] == 1).any())
      False
    """
    check_number(std, "std", ge=0)
    return modified_weights(key, params, AdditiveNoise(std=std, relative_to=relative_to), where=where)
