"""Modules that fill the matmul hooks of Linen layers; they have no parameters, only the layer's chip and ranges.

A hook is the child ``analog`` of its layer; its variables are ``analog/<layer>/analog/array`` (the chip) and
``ranges/<layer>/analog/input`` and ``output``. ``analogsim.layers.layer`` says what it computes in each mode.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.core.scope import LazyRng
from jax.lax import PrecisionLike

from analogsim.base.errors import InputError
from analogsim.base.random import stream
from analogsim.hardware.hardware import Hardware
from analogsim.hardware.override import effective_hardware
from analogsim.hardware.rules import ROOT
from analogsim.layers import layer
from analogsim.layers.options import caster
from analogsim.linen.lifting import RECIPE
from analogsim.signal_path.operators import Lookup, convolution, dot_general, einsum, for_numbers
from analogsim.signal_path.programmed import ChipArray, ProgrammedTiles
from analogsim.signal_path.ranges import Ranges


def dot_general_hook(hardware: Hardware) -> Any:
    """Return a value for ``dot_general_cls`` of a Linen layer (Dense, DenseGeneral, attention projections).

    Args:
      hardware: hardware that stores the layer's kernel.

    Example:
      >>> from analogsim import preset
      >>> layer = nn.DenseGeneral((2, 4), dot_general_cls=dot_general_hook(preset("pcm")))
      >>> jax.eval_shape(layer.init, jax.random.key(0), jnp.ones((1, 3)))["params"]["kernel"].shape
      (3, 2, 4)
    """
    return functools.partial(AnalogDotGeneral, hardware=hardware, name="analog")


def conv_hook(hardware: Hardware) -> Any:
    """Return a value for ``conv_general_dilated_cls`` of a Linen convolution.

    Args:
      hardware: hardware that stores the layer's kernel.

    Example:
      >>> from analogsim import preset
      >>> layer = nn.Conv(3, (5,), conv_general_dilated_cls=conv_hook(preset("pcm")))
      >>> jax.eval_shape(layer.init, jax.random.key(0), jnp.ones((1, 8, 2)))["params"]["kernel"].shape
      (5, 2, 3)
    """
    return functools.partial(AnalogConvGeneralDilated, hardware=hardware, name="analog")


def check_hardware(hardware: Any, where: str) -> None:
    """Raise ``InputError`` if ``hardware`` is neither a ``Hardware`` nor None; ``where`` names the layer."""
    if hardware is not None and not isinstance(hardware, Hardware):
        raise InputError(f"{where}: hardware = {hardware!r}: must be a Hardware such as preset('pcm'), or None")


class AnalogDotGeneral(nn.Module):
    """Replaces ``lax.dot_general`` in a layer; takes the same arguments. ``dot_general_hook`` builds it for a layer.

    Example:
      >>> from analogsim import preset
      >>> axes = (((1,), (0,)), ((), ()))
      >>> AnalogDotGeneral(hardware=preset("ideal")).apply({}, jnp.ones((1, 4)), jnp.ones((4, 3)), axes).tolist()
      [[4.0, 4.0, 4.0]]
    """

    hardware: Hardware

    @nn.compact
    def __call__(self, x, kernel, dimension_numbers, precision=None, **options):
        cast = caster(options, _path(self))
        hardware = effective_hardware(self.hardware, _path(self))
        operator = dot_general(dimension_numbers, x.ndim, kernel.shape, hardware)
        return cast(_run(self, hardware, operator, x, kernel, precision))


class AnalogConvGeneralDilated(nn.Module):
    """Replaces ``lax.conv_general_dilated`` in a layer; takes the same arguments. ``conv_hook`` builds it for a layer.

    Example:
      >>> from analogsim import preset
      >>> x, kernel, names = jnp.ones((1, 8, 2)), jnp.ones((5, 2, 3)), ("NWC", "WIO", "NWC")
      >>> hook = AnalogConvGeneralDilated(hardware=preset("ideal"))
      >>> hook.apply({}, x, kernel, (1,), "VALID", dimension_numbers=names)[0, 0].tolist()
      [10.0, 10.0, 10.0]
    """

    hardware: Hardware

    @nn.compact
    def __call__(
        self, x, kernel, strides, padding, lhs_dilation=None, rhs_dilation=None,
        dimension_numbers=None, feature_group_count=1, precision=None, **options,
    ):  # fmt: skip
        cast = caster(options, _path(self))
        hardware = effective_hardware(self.hardware, _path(self))
        operator = convolution(
            kernel.shape, strides, padding, lhs_dilation, rhs_dilation, dimension_numbers, feature_group_count,
            hardware,
        )  # fmt: skip
        return cast(_run(self, hardware, operator, x, kernel, precision))


class AnalogEinsum(nn.Module):
    """Replaces ``jnp.einsum`` of an input and a kernel."""

    hardware: Hardware

    @nn.compact
    def __call__(self, equation, x, kernel, precision=None, **options):
        cast = caster(options, _path(self))
        hardware = effective_hardware(self.hardware, _path(self))
        operator, x = einsum(equation, x, kernel.shape, hardware, _path(self))
        self._check_layout(equation, operator)
        return cast(_run(self, hardware, operator, x, kernel, precision))

    def _check_layout(self, equation: str, operator: Any) -> None:
        """Raise ``InputError`` if the layer's array is already used by an equation with other rows and columns."""
        scope: Any = self.scope
        # Flax creates a new root scope for every apply or bind; the record lives as long as its variables.
        layouts = vars(scope.root).setdefault("analog_layouts", {})
        first, layout = layouts.setdefault(_path(self), (equation, operator.layout))
        if layout != operator.layout:
            raise InputError(
                f"layer {_path(self)}: einsum {equation!r}: its array is laid out for {first!r}; give the product a "
                f"separate layer or name for a second array"
            )


class AnalogTake(nn.Module):
    """Replaces ``jnp.take`` of the rows of a table ``[rows, features]``."""

    hardware: Hardware

    @nn.compact
    def __call__(self, table, numbers):
        hardware = effective_hardware(self.hardware, _path(self))
        return _run(self, hardware, Lookup(table.shape[0]), numbers, table, None)


def layer_path(module: nn.Module) -> str:
    """Return the path of a module's variables, ``"encoder/Dense_0"``.

    The path is read from the chain of scopes, because ``nn.share_scope`` (Flax 0.12) leaves ``module.path`` as it was.
    """
    names: list[str] = []
    scope = module.scope
    while scope is not None and scope.parent is not None:
        names.insert(0, str(scope.name))
        scope = scope.parent
    # The chain ends at the model, or at a module that a transformation such as nn.scan runs in a new root scope.
    above = [] if scope is None else list(scope.path)
    return "/".join([*above, *names]) or ROOT


def root_scope(module: nn.Module) -> Any:
    """Return the outermost scope around a module; None if it is not bound."""
    scope: Any = module.scope
    while scope is not None and scope.parent is not None:
        scope = scope.parent
    return scope


def _is_lifted(module: nn.Module) -> bool:
    """Return whether the layer runs inside a transformation, which passes on only what it names (``nn.scan``)."""
    root = root_scope(module)
    return root is not None and bool(root.path)


def _path(hook: nn.Module) -> str:
    return layer_path(hook).rpartition("/")[0] or ROOT


def _run(
    module: Any, hardware: Hardware, operator: Any, x: jax.Array, kernel: jax.Array, precision: PrecisionLike
) -> jax.Array:
    path = _path(module)
    operator = for_numbers(operator, x, kernel, path, hardware)
    # init makes the collection 'ranges' mutable: tracked ranges would start from the example input.
    if module.is_initializing():
        return operator.digital(x, kernel, precision)
    place = module.get_variable("ranges", "place")
    state = _State(module)
    return layer.forward(layer.LayerCall(path, hardware, operator, x, kernel, _ranges(module), state, place, precision))


class _State:
    """The chip, keys and ranges of a layer, stored in the scope of its hook; implements ``layer.LayerState``."""

    def __init__(self, module: Any):
        self._module = module

    @property
    def key_hint(self) -> str:
        return _NOT_SPLIT if _is_lifted(self._module) else ""

    def chip_array(self) -> ChipArray | None:
        array = self._module.get_variable("analog", "array")
        if isinstance(array, ProgrammedTiles):
            raise InputError(
                f"layer {_path(self._module)}: these variables hold programmed cells, not a reading; pass "
                f"chip.variables"
            )
        return array

    def keys(self) -> tuple[jax.Array | None, jax.Array | None]:
        module = self._module
        # Without has_rng, Flax would fall back to the stream 'params'.
        return _next_key(module) if module.has_rng("analog") else None, _chip_key(module)

    @property
    def tracks_ranges(self) -> bool:
        return self._module.is_mutable_collection("ranges")

    def store_ranges(self, ranges: dict[str, jax.Array]) -> None:
        for name, value in ranges.items():
            self._module.put_variable("ranges", name, value)

    def capture_kernel(self, kernel: jax.Array) -> bool:
        return False

    def write(self, call: layer.LayerCall, again: bool) -> None:
        module = self._module
        _check_passed_on(module, "analog")
        # 'array' already holds the old tiles, so that it cannot tell whether this call has written the layer.
        name = "rewritten" if again else "array"
        if module.has_variable("analog", name):  # a layer that is called twice is one array
            return
        key = _chip_key(module)
        if key is None and _is_lifted(module) and layer.needs_key(call.hardware):
            raise InputError(f"layer {call.path} needs a random key to be programmed{_NOT_SPLIT}")
        reprogram = module.get_variable("analog", "array") if again else None
        if again and reprogram is None:
            raise InputError(f"reprogram: the chip has no layer {call.path}; pass a chip of this model")
        cells = layer.write(call.hardware, call.operator, call.kernel, key, reprogram, call.ranges)
        module.put_variable("analog", name, cells)

    def mark_place(self) -> None:
        _check_passed_on(self._module, "ranges")
        # A scalar: transformations stack it like the ranges of the layer, so that its shape becomes that of the stack.
        self._module.put_variable("ranges", "place", jnp.zeros(()))


_NOT_SPLIT = f"; it runs inside a transformation (nn.scan, nn.vmap) that does not pass on the key; {RECIPE}"


def _next_key(module: nn.Module) -> jax.Array:
    """Return the next key of the stream 'analog', as ``make_rng`` does, but derived in fewer operations."""
    scope: Any = module.scope
    scope.rng_counters["analog"] += 1
    return _derived(LazyRng.create(scope.rngs["analog"], scope.rng_counters["analog"]))


def _chip_key(module: nn.Module) -> jax.Array | None:
    """Return the key of fabrication: unlike ``_next_key``, the same for every use of the layer in one call."""
    rngs = {} if module.scope is None else module.scope.rngs
    rng = rngs.get("chip", rngs.get("analog"))
    return None if rng is None else _derived(LazyRng.create(rng, 1))  # as the first _next_key


def _derived(rng: LazyRng) -> jax.Array:
    """Return the key of a layer: that of the model with the layer's path and count, which are static, folded in."""
    return stream(rng.rng, repr(rng.suffix))


def _check_passed_on(module: nn.Module, collection: str) -> None:
    if not module.is_mutable_collection(collection):
        raise InputError(
            f"layer {_path(module)}: runs inside a transformation (nn.scan, nn.vmap) that does not pass on the "
            f"collection '{collection}'; {RECIPE}"
        )


def _ranges(module: nn.Module) -> Ranges:
    return Ranges(*(module.get_variable("ranges", name) for name in Ranges._fields))
