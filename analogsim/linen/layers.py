"""Functions that create Linen layers on analog hardware: the plain layers with their matmul hooks filled."""

from typing import Any

from flax import linen as nn

from analogsim.hardware.hardware import Hardware
from analogsim.linen.hooks import check_hardware, conv_hook, dot_general_hook


def AnalogDense(features: int, *, hardware: Hardware | None, **options: Any) -> nn.Dense:
    """Create a ``flax.linen.Dense`` on analog hardware, ``[..., n_in]`` to ``[..., features]``.

    Args:
      features: number of outputs.
      hardware: stores the kernel ``[n_in, features]``, ``preset("pcm")``; None for the plain digital layer.
      **options: all other fields of ``flax.linen.Dense``.

    Returns:
      The layer, with Flax's names, shapes, dtypes and initial values of parameters.

    Raises:
      InputError: if ``hardware`` is not a ``Hardware`` or None.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from analogsim import preset
      >>> layer = AnalogDense(3, hardware=preset("pcm"))
      >>> variables = layer.init(jax.random.key(0), jnp.ones((1, 4)))
      >>> layer.apply(variables, jnp.ones((2, 4)), rngs={"analog": jax.random.key(1)}).shape
      (2, 3)
    """
    check_hardware(hardware, "AnalogDense")
    hook = {} if hardware is None else {"dot_general_cls": dot_general_hook(hardware)}
    return nn.Dense(features, **hook, **options)


def AnalogConv(features: int, kernel_size: Any, *, hardware: Hardware | None, **options: Any) -> nn.Conv:
    """Create a ``flax.linen.Conv`` (1, 2 or 3 spatial dimensions) on analog hardware.

    Args:
      features: number of output channels.
      kernel_size: size of the window per spatial dimension, ``(3, 3)``.
      hardware: stores the kernel ``[*kernel_size, n_in / groups, features]``; None for the plain digital layer.
      **options: all other fields of ``flax.linen.Conv``, such as strides, padding, dilation and groups.

    Returns:
      The layer, with Flax's names, shapes, dtypes and initial values of parameters. It maps ``[..., *spatial, n_in]``
      to ``[..., *spatial, features]``.

    Raises:
      InputError: if ``hardware`` is not a ``Hardware`` or None.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from analogsim import preset
      >>> layer = AnalogConv(3, (5,), hardware=preset("ideal"))
      >>> y, variables = layer.init_with_output(jax.random.key(0), jnp.ones((1, 8, 2)))
      >>> y.shape, variables["params"]["kernel"].shape
      ((1, 8, 3), (5, 2, 3))
    """
    check_hardware(hardware, "AnalogConv")
    hook = {} if hardware is None else {"conv_general_dilated_cls": conv_hook(hardware)}
    return nn.Conv(features, kernel_size, **hook, **options)
