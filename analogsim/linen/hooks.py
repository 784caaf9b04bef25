"""What fills the matmul hooks of Linen layers: modules that hold no parameters, only a layer's chip and ranges.

A hook is the child ``analog`` of its layer; its variables are ``analog/<layer>/analog/array`` (the chip) and
``ranges/<layer>/analog/input`` and ``output``. What its layer computes in each mode is ``analogsim.layers.layer``.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.core.scope import LazyRng

from analogsim.base.errors import InputError
from analogsim.hardware.hardware import Hardware
from analogsim.hardware.override import effective_hardware
from analogsim.layers import layer
from analogsim.layers.options import caster
from analogsim.linen.lifting import RECIPE
from analogsim.signal_path.operators import Lookup, convolution, dot_general, einsum, for_numbers
from analogsim.signal_path.programmed import ChipArray, ProgrammedTiles
from analogsim.signal_path.ranges import Ranges


def dot_general_hook(hardware: Hardware) -> Any:
    """What goes into a Linen layer's ``dot_general_cls`` (Dense, DenseGeneral, attention projections)."""
    return functools.partial(AnalogDotGeneral, hardware=hardware, name="analog")


def conv_hook(hardware: Hardware) -> Any:
    """What goes into a Linen convolution's ``conv_general_dilated_cls``."""
    return functools.partial(AnalogConvGeneralDilated, hardware=hardware, name="analog")


class AnalogDotGeneral(nn.Module):
    """Stands in for ``lax.dot_general`` inside a layer."""

    hardware: Hardware

    @nn.compact
    def __call__(self, x, kernel, dimension_numbers, precision=None, **options):
        cast = caster(options, _path(self))
        hardware = effective_hardware(self.hardware, _path(self))
        operator = dot_general(dimension_numbers, x.ndim, kernel.shape, hardware)
        return cast(_run(self, hardware, operator, x, kernel, precision))


class AnalogConvGeneralDilated(nn.Module):
    """Stands in for ``lax.conv_general_dilated`` inside a layer."""

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
    """Stands in for ``jnp.einsum`` of an input and a kernel."""

    hardware: Hardware

    @nn.compact
    def __call__(self, equation, x, kernel, precision=None, **options):
        cast = caster(options, _path(self))
        hardware = effective_hardware(self.hardware, _path(self))
        operator, x = einsum(equation, x, kernel.shape, hardware, _path(self))
        self._check_layout(equation, operator)
        return cast(_run(self, hardware, operator, x, kernel, precision))

    def _check_layout(self, equation: str, operator: Any) -> None:
        """One array serves equations that take its rows and columns alike."""
        scope: Any = self.scope
        layouts = vars(scope.root).setdefault("analog_layouts", {})
        first, layout = layouts.setdefault(_path(self), (equation, operator.layout))
        if layout != operator.layout:
            raise InputError(
                f"layer {_path(self)}: einsum {equation!r}: its array is laid out for {first!r}; give the product a "
                f"layer, or a name, of its own, for a second array"
            )


class AnalogTake(nn.Module):
    """Stands in for ``jnp.take`` of a table's rows."""

    hardware: Hardware

    @nn.compact
    def __call__(self, table, numbers):
        hardware = effective_hardware(self.hardware, _path(self))
        return _run(self, hardware, Lookup(table.shape[0]), numbers, table, None)


def layer_path(module: nn.Module) -> str:
    """Where a layer's variables are: ``"encoder/Dense_0"``.

    Read off the chain of scopes, because ``module.path`` keeps the old path of layers that ``nn.share_scope`` moved.
    """
    names: list[str] = []
    scope = module.scope
    while scope is not None and scope.parent is not None:
        names.insert(0, str(scope.name))
        scope = scope.parent
    # The chain ends at the model, or at a module that a transformation such as nn.scan runs in a scope of its own.
    above = [] if scope is None else list(scope.path)
    return "/".join([*above, *names]) or "(the model itself)"


def _is_lifted(module: nn.Module) -> bool:
    """Whether the layer runs inside a transformation that passes on only what it is told to (``nn.scan``)."""
    scope = module.scope
    while scope is not None and scope.parent is not None:
        scope = scope.parent
    return scope is not None and bool(scope.path)


def _path(hook: nn.Module) -> str:
    return layer_path(hook).rpartition("/")[0] or "(the model itself)"


def _run(module: Any, hardware: Hardware, operator: Any, x: jax.Array, kernel: jax.Array, precision: Any) -> jax.Array:
    path = _path(module)
    operator = for_numbers(operator, x, kernel, path, hardware)
    if module.is_initializing():
        return operator.digital(x, kernel, precision)
    place = module.get_variable("ranges", "place")
    state = _State(module)
    return layer.forward(layer.LayerCall(path, hardware, operator, x, kernel, _ranges(module), state, place, precision))


class _State:
    """A layer's chip, keys and ranges in the scope of its hook: a ``layer.LayerState``."""

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
        return module.make_rng("analog") if module.has_rng("analog") else None, _chip_key(module)

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
        name = "rewritten" if again else "array"
        if module.has_variable("analog", name):  # a module called twice is one array
            return
        key = _chip_key(module)
        if key is None and _is_lifted(module) and layer.needs_key(call.hardware):
            raise InputError(f"layer {call.path} needs a random key to be programmed{_NOT_SPLIT}")
        reprogram = module.get_variable("analog", "array") if again else None
        if again and reprogram is None:
            raise InputError(f"reprogram: the chip has no layer {call.path}; write a chip of this model again")
        cells = layer.write(call.hardware, call.operator, call.kernel, key, reprogram, call.ranges)
        module.put_variable("analog", name, cells)

    def mark_place(self) -> None:
        _check_passed_on(self._module, "ranges")
        self._module.put_variable("ranges", "place", jnp.zeros(()))


_NOT_SPLIT = f"; it runs inside a transformation (nn.scan, nn.vmap) that does not pass the key on; {RECIPE}"


def _chip_key(module: nn.Module) -> jax.Array | None:
    """What fabrication is drawn from: the same for every use of the layer in one call, unlike ``make_rng``."""
    rngs = {} if module.scope is None else module.scope.rngs
    rng = rngs.get("chip", rngs.get("analog"))
    return None if rng is None else LazyRng.create(rng, 1).as_jax_rng()  # what the first make_rng gives


def _check_passed_on(module: nn.Module, collection: str) -> None:
    if not module.is_mutable_collection(collection):
        raise InputError(
            f"layer {_path(module)}: runs inside a transformation (nn.scan, nn.vmap) that does not pass the collection "
            f"'{collection}' on; {RECIPE}"
        )


def _ranges(module: nn.Module) -> Ranges:
    return Ranges(*(module.get_variable("ranges", name) for name in Ranges._fields))
