"""Modes: how the analog layers of a model behave while it is called.

Without a mode, the arguments of the call decide: a programmed chip is read; a random key alone means hardware-aware
training on a fresh chip per call. A mode overrides this inside a ``with`` block. Modes are part of JAX's compilation
cache key, so a function compiled in one mode is compiled again in another.
"""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from analogsim.base.blocks import Block, Scope


class Mode:
    """Base class: what an analog layer computes instead of its product on hardware.

    Equal modes share compiled programs. Modes that collect data compare by identity, so that no cached trace skips the
    collection.
    """

    #: Whether layers write their own variables, so that loops of the model run their body once.
    writes = False
    #: Whether the mode lists a model's layers; a converted model then reports them, and stray products are no error.
    lists_layers = False

    def apply(self, call: Any) -> jax.Array:
        """Return the output of one call of a layer, an ``analogsim.layers.layer.LayerCall``."""
        return call.digital()

    def list_kind(self, path: str, kind: str) -> None:
        """Record the class of a layer."""

    def leave(self, path: str, kind: str, shape: tuple[int, ...], why: str) -> None:
        """Record a layer that stays digital, with its class, the shape of its kernel and the reason."""


@dataclasses.dataclass(frozen=True)
class DigitalMode(Mode):
    """Analog layers compute the digital product, like plain Flax layers."""


class OutliningMode(Mode):
    """Analog layers compute the digital product and record their shapes while a function of the model is traced."""

    def __init__(self):
        self.uses: list[Any] = []

    def apply(self, call: Any) -> jax.Array:
        self.uses += call.uses(by_shape=True)
        return call.digital()


class CollectingMode(OutliningMode):
    """Like ``OutliningMode``, but records arrays while a function of the model runs or is traced.

    Works only for layers that are called directly: tracers of a loop or of ``remat`` must not leave their trace.
    """

    def apply(self, call: Any) -> jax.Array:
        self.uses += call.uses()
        return call.digital()


class KernelCapture(Mode):
    """Analog layers compute the digital product, and NNX layers store the kernels that reach them.

    ``captured`` collects the paths of the called layers. See ``nnx.matrices``.
    """

    def __init__(self):
        self.captured: set[str] = set()

    def apply(self, call: Any) -> jax.Array:
        if call.state.capture_kernel(call.kernel):
            self.captured.add(call.path)
        return call.digital()


@dataclasses.dataclass(frozen=True)
class ProgrammingMode(Mode):
    """Analog layers program their kernels onto tiles and store the tiles in the model's state.

    The tiles are new, or with ``again`` those that the state already contains.
    """

    again: bool = False
    writes = True

    def apply(self, call: Any) -> jax.Array:
        call.state.write(call, self.again)
        return call.digital()


@dataclasses.dataclass(frozen=True)
class PlacingMode(Mode):
    """Analog layers mark the place of their calibrated ranges in the model's variables."""

    writes = True

    def apply(self, call: Any) -> jax.Array:
        call.state.mark_place()
        return call.digital()


class ObservingMode(Mode):
    """Analog layers compute the digital product and record their inputs and kernels.

    Inside a trace (``nn.remat``, ``jax.vmap``, a loop), a callback records the values at run time.
    """

    def __init__(self):
        self._calls: list[Any] = []

    def apply(self, call: Any) -> jax.Array:
        arrays = {name: getattr(call, name) for name in ("x", "kernel", "ranges", "place")}

        def note(values: dict[str, Any]) -> None:
            # Without the state: it refers to the model's scope or module, which is not to be used after the call.
            self._calls.append(call._replace(**values, state=None))

        if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(arrays)):
            jax.debug.callback(note, arrays)
        else:
            note(arrays)
        return call.digital()

    @property
    def uses(self) -> list[Any]:
        """All recorded uses (``LayerUse``), in order."""
        jax.effects_barrier()  # debug callbacks run asynchronously
        return [use for call in self._calls for use in call.on_device().uses()]


class ListedLayer(NamedTuple):
    """The shapes of one analog layer of a model.

    Attributes:
      path: the layer's path.
      hardware, operator: its hardware, and the operator that maps its inputs and kernel to a matrix product.
      kernel: shape of its kernel.
      matrices: shape of the matrices on tiles, ``(n_in, n_out)`` or ``(S, n_in, n_out)``.
    """

    path: str
    hardware: Any
    operator: Any
    kernel: tuple[int, ...]
    matrices: tuple[int, ...]


class InventoryMode(Mode):
    """Each analog layer records its shapes and returns zeros without using its kernel.

    Products with parameters that remain in the trace thus belong to no analog layer. ``digital`` maps the paths of
    layers that stay digital to their class, kernel shape and reason; ``kinds`` maps all paths to classes.
    """

    lists_layers = True

    def __init__(self):
        self.layers: list[ListedLayer] = []
        self.digital: dict[str, tuple[str, tuple[int, ...], str]] = {}
        self.order: dict[str, None] = {}
        self.kinds: dict[str, str] = {}

    def list_kind(self, path: str, kind: str) -> None:
        self.kinds[path] = kind

    def leave(self, path: str, kind: str, shape: tuple[int, ...], why: str) -> None:
        self.digital[path] = (kind, shape, why)
        self.order[path] = None

    def apply(self, call: Any) -> jax.Array:
        """Record the layer and return zeros in the shape of its output, which depend on its input in the trace."""
        operator, kernel = call.operator, call.kernel
        matrices = jax.eval_shape(operator.matrix, kernel).shape
        self.layers.append(ListedLayer(call.path, call.hardware, operator, kernel.shape, matrices))
        self.order[call.path] = None
        y = jax.eval_shape(lambda a, k: operator.digital(a, k, None), call.x, kernel)
        # Plain zeros are constants: products of later layers would seem independent of data (``weight_products``).
        return jnp.zeros(y.shape, y.dtype) + 0 * jnp.sum(call.x).astype(y.dtype)


_mode = Scope(jax.make_user_context(None), lambda modes: modes[-1])


def current() -> Any:
    """Return the current mode, or None."""
    return _mode.value


def current_or_default() -> Mode:
    """Return the current mode, or a ``Mode`` that neither writes nor lists."""
    return _mode.value or Mode()


@contextlib.contextmanager
def enter(mode: Any) -> Iterator[None]:
    """Use ``mode`` inside the ``with`` block."""
    opened = _mode.enter(mode)
    try:
        yield
    finally:
        _mode.leave(opened)


def digital() -> contextlib.AbstractContextManager[None]:
    """Compute the digital baseline of a model: inside this ``with`` block, analog layers compute exact products.

    The block applies to the current thread, to everything that is traced or computed inside, also to functions that
    were compiled outside. It does not change programs compiled ahead of time or threads started inside, and ``await``
    inside is refused. See ``analogsim.base.blocks`` for generators and other cases.

    Returns:
      A context manager, which can also decorate a function.

    Raises:
      InputError: on leaving the block after an ``await`` inside or in another thread; if used as the decorator of a
        coroutine or generator function.

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
