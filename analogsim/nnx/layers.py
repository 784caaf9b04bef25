"""NNX layers to build analog models with: the plain layers, their hooks filled."""

from typing import Any

import jax
from flax import nnx

from analogsim.base.random import stream
from analogsim.hardware.hardware import Hardware
from analogsim.nnx.hooks import attach, check_rngs


def AnalogLinear(
    in_features: int, out_features: int, *, hardware: Hardware | None, rngs: nnx.Rngs, **options: Any
) -> nnx.Linear:
    """``flax.nnx.Linear`` on analog hardware.

    Args:
      in_features, out_features: size of the kernel.
      hardware: what the kernel is stored on, ``preset("pcm")``; None is the plain digital layer.
      rngs: initialises the parameters exactly as ``nnx.Linear`` does, and seeds the layer's own noise stream.
      **options: everything else that ``flax.nnx.Linear`` takes.

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
    """``flax.nnx.Conv`` on analog hardware, in groups too."""
    check_rngs(rngs, "AnalogConv")
    conv = nnx.Conv(in_features, out_features, kernel_size, rngs=rngs, **options)
    if hardware is not None:
        attach(conv, hardware, stream=analog_stream(rngs))
    return conv


def analog_stream(rngs: nnx.Rngs) -> nnx.RngStream:
    """A noise stream for one layer that leaves the stream which draws parameters as it was.

    The parameters of the layers built after this one are then those of the digital model. The default stream's count
    differs from layer to layer, because each has just drawn its parameters from it.
    """
    if "analog" in rngs:
        return rngs["analog"].fork()
    source = rngs["params"]
    return nnx.RngStream(jax.random.fold_in(stream(source.key[...], "analog"), source.count[...]), tag="analog")
