"""Analog layers for Flax Linen: the plain layers with their own matmul hook filled.

    class MLP(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.relu(AnalogDense(64, hardware=preset("pcm"))(x))
            return AnalogDense(10, hardware=preset("pcm"))(x)

``AnalogDense`` returns a ``flax.linen.Dense``: parameter names, paths (``Dense_0``), shapes, initial draws and dtypes
are the digital model's, and its checkpoints load unchanged. What the caller passes decides how a layer runs:

    model.apply(variables, x, rngs={"analog": key})                 a fresh chip every call (hardware-aware training)
    model.apply(chip.variables, x, rngs={"analog": key})            the programmed chip
    with analogsim.digital(): model.apply(variables, x)             exact

Chips live in the collection ``analog``, calibrated ranges in ``ranges``; nothing is added to ``params``. A layer that
one call uses several times is one chip in it, with fresh read noise at every use.

Flax's transformations pass on only what they are told to. A hand-written ``nn.scan`` over layers (``nn.vmap`` alike)
lists the collections and the noise, here with a chip and ranges a layer; ``nn.RNN``, whose steps share one matrix,
has its chip and ranges in common, and fabricates from a stream of its own, which the steps share too:

    nn.scan(Block, variable_axes={"params": 0, "analog": 0, "ranges": 0},
            split_rngs={"params": True, "analog": True}, length=3)
    nn.RNN(cell, variable_broadcast=["params", "analog", "ranges"],
           split_rngs={"params": False, "analog": True, "chip": False})
    model.apply(variables, x, rngs={"analog": noise_key, "chip": chip_key})     training the RNN on one chip a call
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.core.scope import LazyRng

from analogsim import layer, modes, tiles
from analogsim.devices.errors import InputError
from analogsim.hardware import Hardware
from analogsim.operators import MatrixProduct, Operator, batched, convolution, real_matrix, refuse_options
from analogsim.signal_path import Ranges

__all__ = ["AnalogConv", "AnalogConvGeneralDilated", "AnalogDense", "AnalogDotGeneral"]


def AnalogDense(features: int, *, hardware: Hardware | None, **options: Any) -> nn.Dense:
    """``flax.linen.Dense`` on analog hardware.

    Args:
      features: number of outputs.
      hardware: what the kernel is stored on, ``preset("pcm")``; None is the plain digital layer.
      **options: everything else that ``flax.linen.Dense`` takes.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from analogsim import preset
      >>> layer = AnalogDense(3, hardware=preset("pcm"))
      >>> variables = layer.init(jax.random.key(0), jnp.ones((1, 4)))
      >>> layer.apply(variables, jnp.ones((2, 4)), rngs={"analog": jax.random.key(1)}).shape
      (2, 3)
    """
    if hardware is None:
        return nn.Dense(features, **options)
    _check_hardware(hardware, "AnalogDense")
    return nn.Dense(features, dot_general_cls=dot_general_hook(hardware), **options)


def AnalogConv(features: int, kernel_size: Any, *, hardware: Hardware | None, **options: Any) -> nn.Conv:
    """``flax.linen.Conv`` (1, 2 or 3 spatial dimensions) on analog hardware.

    Strides, padding and dilation are those of ``flax.linen.Conv``; a convolution in groups is refused.

    Args:
      features: number of output channels.
      kernel_size: the window.
      hardware: what the kernel is stored on; None is the plain digital layer.
      **options: everything else that ``flax.linen.Conv`` takes.
    """
    if hardware is None:
        return nn.Conv(features, kernel_size, **options)
    _check_hardware(hardware, "AnalogConv")
    return nn.Conv(features, kernel_size, conv_general_dilated_cls=conv_hook(hardware), **options)


def dot_general_hook(hardware: Hardware) -> Any:
    """What goes into a Linen layer's ``dot_general_cls`` (Dense, DenseGeneral, attention projections)."""
    return functools.partial(AnalogDotGeneral, hardware=hardware, name="analog")


def conv_hook(hardware: Hardware) -> Any:
    """What goes into a Linen convolution's ``conv_general_dilated_cls``."""
    return functools.partial(AnalogConvGeneralDilated, hardware=hardware, name="analog")


def _check_hardware(hardware: Any, where: str) -> None:
    if not isinstance(hardware, Hardware):
        raise InputError(f"{where}: hardware = {hardware!r}: must be a Hardware such as preset('pcm'), or None")


class AnalogDotGeneral(nn.Module):
    """Stands in for ``lax.dot_general`` inside a layer."""

    hardware: Hardware

    @nn.compact
    def __call__(self, x, kernel, dimension_numbers, precision=None, **other):
        (x_contract, kernel_contract), (batch, _) = dimension_numbers
        if batch:
            raise batched(_path(self))
        refuse_options(other, _path(self))
        operator = MatrixProduct(tuple(x_contract), tuple(kernel_contract), x.ndim, kernel.shape)
        return _run(self, operator, x, kernel, precision)


class AnalogConvGeneralDilated(nn.Module):
    """Stands in for ``lax.conv_general_dilated`` inside a layer."""

    hardware: Hardware

    @nn.compact
    def __call__(
        self, x, kernel, strides, padding, lhs_dilation=None, rhs_dilation=None,
        dimension_numbers=None, feature_group_count=1, precision=None, **other,
    ):  # fmt: skip
        refuse_options(other, _path(self))
        operator = convolution(
            kernel.shape, strides, padding, lhs_dilation, rhs_dilation, dimension_numbers, feature_group_count,
            _path(self),
        )  # fmt: skip
        return _run(self, operator, x, kernel, precision)


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


def _run(module: nn.Module, operator: Operator, x: jax.Array, kernel: jax.Array, precision: Any) -> jax.Array:
    hardware = module.hardware
    if module.is_initializing():
        return operator.digital(x, kernel, precision)
    mode = modes.current()
    if isinstance(mode, modes.Placing):
        _check_passed_on(module, "ranges", "a range")
        module.put_variable("ranges", "place", jnp.zeros(()))
        return operator.digital(x, kernel, precision)
    if isinstance(mode, modes.Programming):
        _check_passed_on(module, "analog", "an array")
        name = "rewritten" if mode.again else "array"
        if not module.has_variable("analog", name):  # a module called twice is one array
            key = _chip_key(module)
            if key is None and _is_lifted(module) and layer.needs_key(hardware):
                raise InputError(f"layer {_path(module)} needs a random key to be programmed{_NOT_SPLIT}")
            onto = module.get_variable("analog", "array") if mode.again else None
            if mode.again and onto is None:
                raise InputError(f"onto: the chip has no layer {_path(module)}; write a chip of this model again")
            module.put_variable(
                "analog", name, tiles.program(hardware, real_matrix(operator.matrix(kernel)), key, onto)
            )
        return operator.digital(x, kernel, precision)
    reading = module.get_variable("analog", "array") if module.has_variable("analog", "array") else None
    if isinstance(reading, tiles.Programmed):
        raise InputError(
            f"layer {_path(module)}: these variables hold programmed cells, not a reading; pass chip.variables"
        )
    return layer.forward(
        hardware, operator, x, kernel,
        path=_path(module), reading=reading, ranges=_ranges(module), precision=precision,
        chip_key=_chip_key(module), key=module.make_rng("analog") if module.has_rng("analog") else None,
        place=module.get_variable("ranges", "place"), key_hint=_NOT_SPLIT if _is_lifted(module) else "",
    )  # fmt: skip


_NOT_SPLIT = (
    "; it runs inside nn.scan, nn.RNN or nn.vmap, whose split_rngs must list 'analog' for the key to arrive: "
    "split_rngs={'params': ..., 'analog': True}"
)


def _chip_key(module: nn.Module) -> jax.Array | None:
    """What fabrication is drawn from: the same for every use of the layer in one call, unlike ``make_rng``."""
    rngs = {} if module.scope is None else module.scope.rngs
    rng = rngs.get("chip", rngs.get("analog"))
    return None if rng is None else LazyRng.create(rng, 1).as_jax_rng()  # what the first make_rng gives


def _check_passed_on(module: nn.Module, collection: str, what: str) -> None:
    if not module.is_mutable_collection(collection):
        raise InputError(
            f"layer {_path(module)}: runs inside nn.scan, nn.RNN or nn.vmap, which does not pass the collection "
            f"'{collection}' on; add '{collection}': 0 to its variable_axes ({what} each), or '{collection}' to its "
            f"variable_broadcast ({what} for all)"
        )


def _ranges(module: nn.Module) -> Ranges:
    return Ranges(*(module.get_variable("ranges", name) for name in Ranges._fields))
