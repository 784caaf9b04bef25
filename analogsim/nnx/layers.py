"""Build analog NNX layers: plain layers with filled matmul hooks."""

from typing import Any

import jax
from flax import nnx

from analogsim.base.random import stored_key, stream
from analogsim.hardware.hardware import Hardware
from analogsim.nnx.hooks import attach, check_rngs


def AnalogLinear(
    in_features: int, out_features: int, *, hardware: Hardware | None, rngs: nnx.Rngs, **options: Any
) -> nnx.Linear:
    """Build an ``nnx.Linear`` on analog hardware.

    Args:
      in_features, out_features: size of the kernel.
      hardware: hardware that stores the kernel, such as ``preset("pcm")``; None for a digital layer.
      rngs: initialises the parameters exactly as ``nnx.Linear`` does, and seeds the layer's noise stream.
      **options: other arguments of ``nnx.Linear``.

    Returns:
      a layer that maps ``[..., in_features]`` to ``[..., out_features]``.

    Raises:
      InputError: if ``rngs`` is not ``nnx.Rngs``, or ``hardware`` is not a ``Hardware``.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> from analogsim import preset
      >>> layer = AnalogLinear(4, 3, hardware=preset("pcm"), rngs=nnx.Rngs(0))
      >>> layer(jnp.ones((2, 4))).shape
      (2, 3)
    """
    check_rngs(rngs, "AnalogLinear")
    linear = nnx.Linear(in_features, out_features, rngs=rngs, **options)
    if hardware is not None:
        attach(linear, hardware, stream=analog_stream(rngs))
    return linear


def AnalogConv(
    in_features: int, out_features: int, kernel_size: Any, *, hardware: Hardware | None, rngs: nnx.Rngs, **options: Any
) -> nnx.Conv:
    """Build an ``nnx.Conv`` on analog hardware, also with groups.

    Args:
      in_features, out_features: numbers of input and output channels.
      kernel_size: size of the window per spatial dimension.
      hardware, rngs: as for ``AnalogLinear``.
      **options: as for ``nnx.Conv``.

    Returns:
      a layer that maps ``[..., *spatial, in_features]`` to ``[..., *spatial, out_features]``.

    Example:
      >>> import jax.numpy as jnp
      >>> from analogsim import preset
      >>> layer = AnalogConv(2, 3, (3,), hardware=preset("pcm"), rngs=nnx.Rngs(0))
      >>> layer(jnp.ones((1, 8, 2))).shape
      (1, 8, 3)
    """
    check_rngs(rngs, "AnalogConv")
    conv = nnx.Conv(in_features, out_features, kernel_size, rngs=rngs, **options)
    if hardware is not None:
        attach(conv, hardware, stream=analog_stream(rngs))
    return conv


def analog_stream(rngs: nnx.Rngs) -> nnx.RngStream:
    """Return a noise stream for one layer: forked from ``rngs["analog"]`` if there is one, else from ``params``."""
    if "analog" in rngs:
        return rngs["analog"].fork()
    # A fork would advance the stream ``params``, and later layers would not get the digital model's parameters. Folding
    # in its count gives every layer a separate stream, because each has just drawn its parameters from it.
    source = rngs["params"]
    own = jax.random.fold_in(stream(source.key[...], "analog"), source.count[...])
    return nnx.RngStream(stored_key(own, source.key[...]), tag="analog")
