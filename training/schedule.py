"""Schedules of the noise level in hardware-aware training: one compiled step for all levels."""

from contextlib import AbstractContextManager

from analogsim.base.checks import check_number
from analogsim.base.types import Numeric
from analogsim.hardware.override import override_hardware


def scaled_noise(noise_scale: Numeric) -> AbstractContextManager[None]:
    """Scale the non-idealities of hardware-aware training inside a ``with`` block.

    The factor applies to the weight changes by ``Hardware.training`` and to converter noise; quantisation steps are not
    scaled. The factor may be traced: enter the block inside the compiled function.

    Args:
      noise_scale: factor of at least 0; 0 trains on ideal cells, 1 on the hardware as described.

    Returns:
      a context manager.

    Raises:
      InputError: for a negative or non-finite number.

    Example:
      >>> import jax, jax.numpy as jnp, optax
      >>> from analogsim import preset
      >>> from analogsim.linen import AnalogDense
      >>> layer, x = AnalogDense(3, hardware=preset("pcm")), jnp.ones((2, 4))
      >>> variables, ramp = layer.init(jax.random.key(0), x), optax.linear_schedule(0.0, 1.0, 100)
      >>> @jax.jit
      ... def output(step):
      ...     with scaled_noise(ramp(step)):
      ...         return layer.apply(variables, x, rngs={"analog": jax.random.key(step)})
      >>> output(0).shape, output(50).shape      # one compilation
      ((2, 3), (2, 3))
    """
    check_number(noise_scale, "noise_scale", ge=0)
    return override_hardware(lambda path, hardware: hardware.replace(training_noise_scale=noise_scale))
