"""Hardware that is changed for everything inside a ``with`` block, whatever model it stands in.

A description is frozen into the layers that were built with it. Schedules, sweeps and slopes want to change one number
of it, often a traced one, for one call of the model. The change is made where a layer asks what it runs on, so that it
reaches layers whose hardware is written down inside a model's code, too.
"""

import contextlib
from collections.abc import Callable, Iterator

import jax

from analogsim.base.blocks import Block, Scope
from analogsim.base.errors import InputError
from analogsim.hardware.hardware import Hardware


class _Override:
    """A change. Every one is its own: a compiled function is never reused under another."""

    def __init__(self, change: Callable[[str, Hardware], Hardware] | None):
        self.change = change  # None forgets those around it

    def __call__(self, path: str, hardware: Hardware) -> Hardware:
        after = self.change(path, hardware) if self.change is not None else hardware
        if not isinstance(after, Hardware):
            raise InputError(f"layer {path}: the change of its hardware gave {after!r}: must be a Hardware")
        return after


_FORGET = _Override(None)


def _joined(changes: list[_Override]) -> tuple[_Override, ...] | None:
    """Those since the last that forgets; None for none, as where there is no block at all."""
    forgotten = max((i + 1 for i, change in enumerate(changes) if change is _FORGET), default=0)
    return tuple(changes[forgotten:]) or None


# Part of jax's cache key, compared by identity.
_changes = Scope(jax.make_user_context(None), _joined)


def override_hardware(change: Callable[[str, Hardware], Hardware]) -> contextlib.AbstractContextManager[None]:
    """Inside this block, every analog layer runs on ``change(path, hardware)`` in the place of its own hardware.

    Enter it inside of the function that is compiled: a function compiled outside is compiled again for every block.
    Blocks nest, the inner one changes what the outer one gives. A programmed chip keeps the cells that it has, only its
    converters follow. What holds for threads, generators, coroutines and programs that were compiled ahead of time
    stands at ``digital`` and in ``analogsim.base.blocks``.

    Args:
      change: ``change(path, hardware) -> hardware``; numbers in it may be traced.

    Raises:
      InputError: where the change is no function or gives no Hardware; on leaving it, as ``digital``.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from analogsim import preset
      >>> from analogsim.linen import AnalogDense
      >>> layer, x = AnalogDense(3, hardware=preset("pcm")), jnp.ones((2, 4))
      >>> variables = layer.init(jax.random.key(0), x)
      >>> @jax.jit
      ... def output(noise):
      ...     with override_hardware(lambda path, hardware: hardware.replace(**{"adc.noise": noise})):
      ...         return layer.apply(variables, x, rngs={"analog": jax.random.key(1)})
      >>> output(0.0).shape, output(0.5).shape      # one compilation
      ((2, 3), (2, 3))
    """
    if not callable(change):
        raise InputError(f"change = {change!r}: must be a function change(path, hardware) that gives a Hardware")
    return Block(_changes, lambda: _Override(change), "override_hardware(...)")


def effective_hardware(hardware: Hardware, path: str) -> Hardware:
    """What a layer runs on here and now."""
    for change in _changes.value or ():
        hardware = change(path, hardware)
    return hardware


@contextlib.contextmanager
def without_overrides() -> Iterator[None]:
    """A context in which the change is forgotten, for compiled parts that were handed their hardware already."""
    opened = _changes.enter(_FORGET)
    try:
        yield
    finally:
        _changes.leave(opened)
