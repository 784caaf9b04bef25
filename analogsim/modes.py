"""How the analog layers of a model behave while it is called.

Without a mode, what the caller passes decides: a programmed chip is read, a random key alone means hardware-aware
training on a fresh chip a call. A mode overrides this for everything inside a ``with`` block. Modes are part of jax's
compilation-cache key, so a function that was compiled in one mode is compiled anew in another.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax


class Digital:
    """Analog layers compute exactly, as the plain layers they are."""

    def __eq__(self, other):
        return isinstance(other, Digital)

    def __hash__(self):
        return hash(Digital)


class Programming:
    """Analog layers write their kernels onto tiles and leave them in the model's state.

    Fresh tiles, or, ``again``, the ones that the state holds already.
    """

    def __init__(self, again: bool = False):
        self.again = again

    def __eq__(self, other):
        return isinstance(other, Programming) and self.again == other.again

    def __hash__(self):
        return hash((Programming, self.again))


class Placing:
    """Analog layers leave a mark where their calibrated ranges belong in the model's variables."""

    def __eq__(self, other):
        return isinstance(other, Placing)

    def __hash__(self):
        return hash(Placing)


class Observing:
    """Analog layers compute exactly and note what passes. Every observation is its own mode: never a cached trace."""

    def __init__(self):
        self.uses: list[Any] = []


_mode = jax.make_user_context(None)


def current() -> Any:
    """The mode in force, or None."""
    return _mode.value


def enter(mode: Any) -> Any:
    """A context manager that puts ``mode`` in force."""
    return _mode(mode)


@contextlib.contextmanager
def digital() -> Iterator[None]:
    """Inside this block, analog layers compute exactly: the digital baseline of the same model and parameters.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from analogsim import digital, preset
      >>> from analogsim.linen import AnalogDense
      >>> layer = AnalogDense(3, hardware=preset("pcm"))
      >>> variables = layer.init(jax.random.key(0), jnp.ones((1, 4)))
      >>> with digital():
      ...     layer.apply(variables, jnp.ones((1, 4))).shape
      (1, 3)
    """
    with _mode(Digital()):
        yield
