"""Linen layers to build analog models with: factories of the plain layers, their hooks filled."""

from typing import Any

from flax import linen as nn

from analogsim.base.errors import InputError
from analogsim.hardware.hardware import Hardware
from analogsim.linen.hooks import conv_hook, dot_general_hook


def AnalogDense(features: int, *, hardware: Hardware | None, **options: Any) -> nn.Dense:
    """``flax.linen.Dense`` on analog hardware.

    Args:
      features: number of outputs.
      hardware: what the kernel is stored on, ``preset("pcm")``; None is the plain digital layer.
      **options: everything else that ``flax.linen.Dense`` takes.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from analogsim import preset
      >>> layer = AnalogDense(3, hardware=preset("pcm"))
      >>> variables = layer.init(jax.random.key(0), jnp.ones((1, 4)))
      >>> layer.apply(variables, jnp.ones((2, 4)), rngs={"analog": jax.random.key(1)}).shape
      (2, 3)
    """
    if hardware is None:
        return nn.Dense(features, **options)
    _check_hardware(hardware, "AnalogDense")
    return nn.Dense(features, dot_general_cls=dot_general_hook(hardware), **options)


def AnalogConv(features: int, kernel_size: Any, *, hardware: Hardware | None, **options: Any) -> nn.Conv:
    """``flax.linen.Conv`` (1, 2 or 3 spatial dimensions) on analog hardware.

    Strides, padding, dilation and groups are those of ``flax.linen.Conv``.

    Args:
      features: number of output channels.
      kernel_size: the window.
      hardware: what the kernel is stored on; None is the plain digital layer.
      **options: everything else that ``flax.linen.Conv`` takes.
    """
    if hardware is None:
        return nn.Conv(features, kernel_size, **options)
    _check_hardware(hardware, "AnalogConv")
    return nn.Conv(features, kernel_size, conv_general_dilated_cls=conv_hook(hardware), **options)


def _check_hardware(hardware: Any, where: str) -> None:
    if not isinstance(hardware, Hardware):
        raise InputError(f"{where}: hardware = {hardware!r}: must be a Hardware such as preset('pcm'), or None")
