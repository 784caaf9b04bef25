"""How the analog layers of a model behave while it is called.

Without a mode, what the caller passes decides: a programmed chip is read, a random key alone means hardware-aware
training on a fresh chip per call. A mode overrides this for everything inside a ``with`` block. Modes are part of jax's
compilation-cache key, so a function that was compiled in one mode is compiled anew in another.
"""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from analogsim.base.blocks import Block, Scope


class Mode:
    """What an analog layer does instead of its product on hardware. Equal modes share compiled programs.

    Modes that collect something are equal to themselves alone: never a cached trace.
    """

    #: Whether layers write their own variables, so that loops of the model run their body once.
    writes = False

    def apply(self, call: Any) -> jax.Array:
        """The output of one call of a layer, ``analogsim.layers.layer.LayerCall``."""
        return call.digital()


@dataclasses.dataclass(frozen=True)
class DigitalMode(Mode):
    """Analog layers compute exactly, as the plain layers they are."""


class OutliningMode(Mode):
    """Analog layers compute exactly and note their shapes while a function of the model is traced."""

    def __init__(self):
        self.uses: list[Any] = []

    def apply(self, call: Any) -> jax.Array:
        self.uses += call.uses(by_shape=True)
        return call.digital()


class CollectingMode(OutliningMode):
    """The same with arrays: what passes through layers while a function of the model runs or is traced.

    Only where the layers are called directly: what a loop or ``remat`` traces does not outlive it.
    """

    def apply(self, call: Any) -> jax.Array:
        self.uses += call.uses()
        return call.digital()


class KernelCapture(Mode):
    """Analog layers compute exactly, and NNX layers keep the kernels that reach them; see ``nnx.matrices``.

    ``kept`` are the paths of those that were called.
    """

    def __init__(self):
        self.kept: set[str] = set()

    def apply(self, call: Any) -> jax.Array:
        if call.state.keep(call.kernel):
            self.kept.add(call.path)
        return call.digital()


@dataclasses.dataclass(frozen=True)
class ProgrammingMode(Mode):
    """Analog layers write their kernels onto tiles and leave them in the model's state.

    Fresh tiles, or, ``again``, the ones that the state holds already.
    """

    again: bool = False
    writes = True

    def apply(self, call: Any) -> jax.Array:
        call.state.write(call, self.again)
        return call.digital()


@dataclasses.dataclass(frozen=True)
class PlacingMode(Mode):
    """Analog layers leave a mark where their calibrated ranges belong in the model's variables."""

    writes = True

    def apply(self, call: Any) -> jax.Array:
        call.state.mark_place()
        return call.digital()


class ObservingMode(Mode):
    """Analog layers compute exactly and note what passes.

    Where values are not known yet (``nn.remat``, ``jax.vmap``, a loop), a callback notes them when they are.
    """

    def __init__(self):
        self._calls: list[Any] = []

    def apply(self, call: Any) -> jax.Array:
        arrays = {name: getattr(call, name) for name in ("x", "kernel", "ranges", "place")}

        def note(values: dict[str, Any]) -> None:
            self._calls.append(call._replace(**values, state=None))

        if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(arrays)):
            jax.debug.callback(note, arrays)
        else:
            note(arrays)
        return call.digital()

    @property
    def uses(self) -> list[Any]:
        """Everything that was noted, in order."""
        jax.effects_barrier()
        return [use for call in self._calls for use in call.on_device().uses()]


class ListedLayer(NamedTuple):
    """One analog layer of a model, by shapes.

    Attributes:
      path: the layer's path.
      hardware, operator: what it runs on, and how its inputs meet its kernel.
      kernel: shape of its kernel.
      matrices: shape of what the tiles hold, ``(n_in, n_out)`` or ``(S, n_in, n_out)``.
    """

    path: str
    hardware: Any
    operator: Any
    kernel: tuple[int, ...]
    matrices: tuple[int, ...]


class InventoryMode(Mode):
    """Analog layers note themselves and give zeros without touching their kernels: an inventory by shapes.

    What products with parameters are left are those that no analog layer does. ``digital`` has the layers that stay
    digital: their class, the shape of their kernel and why; ``kinds`` the classes of all by path.
    """

    def __init__(self):
        self.layers: list[ListedLayer] = []
        self.digital: dict[str, tuple[str, tuple[int, ...], str]] = {}
        self.order: dict[str, None] = {}
        self.kinds: dict[str, str] = {}

    def leave(self, path: str, kind: str, shape: tuple[int, ...], why: str) -> None:
        """Note a layer that stays digital."""
        self.digital[path] = (kind, shape, why)
        self.order[path] = None

    def apply(self, call: Any) -> jax.Array:
        """Note the layer, and give zeros like its output that depend on its input."""
        operator, kernel = call.operator, call.kernel
        matrices = jax.eval_shape(operator.matrix, kernel).shape
        self.layers.append(ListedLayer(call.path, call.hardware, operator, kernel.shape, matrices))
        self.order[call.path] = None
        y = jax.eval_shape(lambda a, k: operator.digital(a, k, None), call.x, kernel)
        return jnp.zeros(y.shape, y.dtype) + 0 * jnp.sum(call.x).astype(y.dtype)


_mode = Scope(jax.make_user_context(None), lambda modes: modes[-1])


def current() -> Any:
    """The mode in force, or None."""
    return _mode.value


@contextlib.contextmanager
def enter(mode: Any) -> Iterator[None]:
    """Put ``mode`` in force."""
    opened = _mode.enter(mode)
    try:
        yield
    finally:
        _mode.leave(opened)


def digital() -> contextlib.AbstractContextManager[None]:
    """Inside this block, analog layers compute exactly: the digital baseline of the same model and parameters.

    It is in force in this thread, for what is traced or computed until it is left, and reaches functions that were
    compiled outside. A program that was compiled ahead of time stays what it is, a thread that is started inside begins
    without the block, and an ``await`` inside is refused: ``analogsim.base.blocks`` says what holds for generators and
    the rest.

    Raises:
      InputError: on leaving it, after an ``await`` inside or in another thread; as the decorator of a coroutine or a
        generator function.

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
    return Block(_mode, DigitalMode, "digital()")
