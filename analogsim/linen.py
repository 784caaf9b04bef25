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

Chips live in the collection ``analog``, calibrated ranges in ``ranges``; nothing is added to ``params``.
"""

import functools
from typing import Any

import jax
from flax import linen as nn
from jax import lax

from analogsim import layer, modes, tiles
from analogsim.devices.errors import InputError
from analogsim.hardware import Hardware
from analogsim.operators import MatrixProduct, Operator, convolution, refuse_options
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
    """Stands in for ``lax.dot_general``. Products of two activations stay digital: they hold no weight."""

    hardware: Hardware

    @nn.compact
    def __call__(self, x, kernel, dimension_numbers, precision=None, **other):
        (x_contract, kernel_contract), (batch, _) = dimension_numbers
        if batch:
            return lax.dot_general(x, kernel, dimension_numbers, precision=precision, **other)
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
    return "/".join(names) or "(the model itself)"


def _path(hook: nn.Module) -> str:
    return layer_path(hook).rpartition("/")[0] or "(the model itself)"


def _run(module: nn.Module, operator: Operator, x: jax.Array, kernel: jax.Array, precision: Any) -> jax.Array:
    hardware = module.hardware
    if module.is_initializing():
        return operator.digital(x, kernel, precision)
    mode = modes.current()
    if isinstance(mode, modes.Programming):
        name = "rewritten" if mode.again else "array"
        if not module.has_variable("analog", name):  # a module called twice is one array
            key = module.make_rng("analog") if module.has_rng("analog") else None
            onto = module.get_variable("analog", "array") if mode.again else None
            module.put_variable("analog", name, tiles.program(hardware, operator.matrix(kernel), key, onto))
        return operator.digital(x, kernel, precision)
    reading = module.get_variable("analog", "array") if module.has_variable("analog", "array") else None
    if isinstance(reading, tiles.Programmed):
        raise InputError(
            f"layer {_path(module)}: these variables hold programmed cells, not a reading; pass chip.variables"
        )
    return layer.forward(
        hardware, operator, x, kernel,
        path=_path(module), reading=reading, ranges=_ranges(module), precision=precision,
        key=module.make_rng("analog") if module.has_rng("analog") else None,
    )  # fmt: skip


def _ranges(module: nn.Module) -> Ranges:
    return Ranges(*(module.get_variable("ranges", name) for name in Ranges._fields))
