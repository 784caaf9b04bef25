"""Hardware that is changed for everything inside a ``with`` block, whatever model it stands in.

A description is frozen into the layers that were built with it. Schedules, sweeps and slopes want to change one number
of it, often a traced one, for one call of the model. The change is made where a layer asks what it runs on, so that it
reaches layers whose hardware is written down inside a model's code, too.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import jax

from analogsim.devices.errors import InputError
from analogsim.hardware import Hardware


class _Change:
    """A change and those around it. Every one is its own: a compiled function is never reused under another."""

    def __init__(self, change: Callable[[str, Hardware], Hardware], outer: "_Change | None"):
        self.change, self.outer = change, outer

    def __call__(self, path: str, hardware: Hardware) -> Hardware:
        before = hardware if self.outer is None else self.outer(path, hardware)
        after = self.change(path, before)
        if not isinstance(after, Hardware):
            raise InputError(f"layer {path}: the change of its hardware gave {after!r}: must be a Hardware")
        return after


# Part of jax's cache key, compared by identity.
_change = jax.make_user_context(None)


@contextlib.contextmanager
def altered(change: Callable[[str, Hardware], Hardware]) -> Iterator[None]:
    """Inside this block, every analog layer runs on ``change(path, hardware)`` in the place of its own hardware.

    Enter it inside of the function that is compiled: a function compiled outside is compiled again for every block.
    Blocks nest, the inner one changes what the outer one gives. A programmed chip keeps the cells that it has, only its
    converters follow.

    Args:
      change: ``change(path, hardware) -> hardware``; numbers in it may be traced.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from analogsim import preset
      >>> from analogsim.linen import AnalogDense
      >>> layer, x = AnalogDense(3, hardware=preset("pcm")), jnp.ones((2, 4))
      >>> variables = layer.init(jax.random.key(0), x)
      >>> @jax.jit
      ... def output(noise):
      ...     with altered(lambda path, hardware: hardware.replace(**{"adc.noise": noise})):
      ...         return layer.apply(variables, x, rngs={"analog": jax.random.key(1)})
      >>> output(0.0).shape, output(0.5).shape      # one compilation
      ((2, 3), (2, 3))
    """
    if not callable(change):
        raise InputError(f"change = {change!r}: must be a function change(path, hardware) that gives a Hardware")
    with _change(_Change(change, _change.value)):
        yield


def in_force(hardware: Hardware, path: str) -> Hardware:
    """What a layer runs on here and now."""
    change = _change.value
    return hardware if change is None else change(path, hardware)


def unaltered() -> Any:
    """A context in which the change is forgotten, for compiled parts that were handed their hardware already."""
    return _change(None)
