"""How hard training is made, as a schedule: one compiled step for all noise levels."""

from contextlib import AbstractContextManager
from typing import Any

from analogsim.base.checks import check_number
from analogsim.hardware.override import override_hardware


def scaled_noise(noise_scale: Any) -> AbstractContextManager[None]:
    """Inside this block, hardware-aware training deviates from ideal hardware ``noise_scale`` times as far.

    It scales what ``Hardware.training`` does to weights, and the noise of the converters; their steps stay. The level
    may be traced: enter the block inside the function that is compiled.

    Args:
      noise_scale: at least 0; 0 trains on ideal cells, 1 on the hardware as described.

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
    check_number(noise_scale, "level", ge=0)
    return override_hardware(lambda path, hardware: hardware.replace(training_noise_scale=noise_scale))
