"""Override the hardware of all analog layers inside a ``with`` block.

A layer holds a frozen description of its hardware. Schedules, sweeps and gradients change a number of it, often to a
traced value, for one call of the model. The override is applied when a layer looks up its effective hardware, so it
also reaches layers whose hardware is defined inside the code of a model.
"""

import contextlib
from collections.abc import Callable, Iterator

import jax

from analogsim.base.blocks import Block, Scope
from analogsim.base.errors import InputError
from analogsim.hardware.hardware import Hardware


class _Override:
    """A change of hardware, compared by identity, so that a function compiled under one is not reused under another."""

    def __init__(self, change: Callable[[str, Hardware], Hardware] | None):
        self.change = change  # None cancels the enclosing overrides

    def __call__(self, path: str, hardware: Hardware) -> Hardware:
        after = self.change(path, hardware) if self.change is not None else hardware
        if not isinstance(after, Hardware):
            raise InputError(f"layer {path}: change returned {after!r}: must be a Hardware")
        return after


_CANCEL = _Override(None)


def _joined(changes: list[_Override]) -> tuple[_Override, ...] | None:
    """Return the changes in force, those after the last cancellation; None for none, which is the initial context."""
    first = max((i + 1 for i, change in enumerate(changes) if change is _CANCEL), default=0)
    return tuple(changes[first:]) or None


# jax.make_user_context makes the changes part of the key of JAX's compilation caches, compared by identity.
_changes = Scope(jax.make_user_context(None), _joined)


def override_hardware(change: Callable[[str, Hardware], Hardware]) -> contextlib.AbstractContextManager[None]:
    """Replace the hardware of every analog layer by ``change(path, hardware)`` inside a ``with`` block.

    Enter the block inside the compiled function; a function that is compiled outside is compiled again for every block.
    Blocks nest: the inner change is applied to the result of the outer one. A programmed chip keeps its cells, only its
    converters are affected. For threads, generators, coroutines and programs compiled ahead of time, see ``digital``
    and ``analogsim.base.blocks``.

    Args:
      change: ``change(path, hardware) -> hardware``, with the path of the layer; numbers in it may be traced.

    Returns:
      a context manager.

    Raises:
      InputError: if ``change`` is not a function or does not return a Hardware; when the block is left, as ``digital``.

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
        raise InputError(f"change = {change!r}: must be a function change(path, hardware) that returns a Hardware")
    return Block(_changes, lambda: _Override(change), "override_hardware(...)")


def effective_hardware(hardware: Hardware, path: str) -> Hardware:
    """Return a layer's hardware with the overrides in force applied; ``path`` is the path of the layer."""
    for change in _changes.value or ():
        hardware = change(path, hardware)
    return hardware


@contextlib.contextmanager
def without_overrides() -> Iterator[None]:
    """Cancel all overrides inside a ``with`` block, for compiled parts whose hardware already includes them."""
    opened = _changes.enter(_CANCEL)
    try:
        yield
    finally:
        _changes.leave(opened)
