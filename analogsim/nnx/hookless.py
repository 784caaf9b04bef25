"""Twins of the NNX layers that have no matmul hook in Flax (0.12): subclasses with an analog ``__call__``.

A twin shares the attributes of the layer that it replaces, so that it is selected, filtered, saved and loaded like it.
"""

from typing import Any

import jax.numpy as jnp
from flax import nnx
from flax.nnx.nn.linear import canonicalize_padding

from analogsim.base.dtypes import to_rank
from analogsim.layers.options import caster
from analogsim.nnx.hooks import AnalogAttend, AnalogConvGeneralDilated, AnalogOp, AnalogTake
from analogsim.signal_path.operators.convolution import dimension_numbers, per_dimension, transposed


class AnalogConvTranspose(nnx.ConvTranspose):
    """``nnx.ConvTranspose`` that computes its convolution with ``analog_op``."""

    analog_op: AnalogConvGeneralDilated

    def __call__(self, inputs):  # as in Flax 0.12, except for the convolution
        n = len(self.kernel_size)
        kernel = self.kernel[...] if self.mask is None else self.kernel[...] * self.mask
        batch = inputs.shape[: inputs.ndim - n - 1]
        x = inputs.reshape(-1, *inputs.shape[len(batch) :])
        bias = None if self.bias is None else self.bias[...]
        x, kernel, bias = self.promote_dtype((x, kernel, bias), dtype=self.dtype)

        def convolve(x, kernel, strides, pads, input_dilation, kernel_dilation):
            return self.analog_op(
                x, kernel, strides, pads, input_dilation, kernel_dilation, dimension_numbers(x.ndim),
                precision=self.precision, preferred_element_type=self.preferred_element_type,
            )  # fmt: skip

        y = transposed(
            x, kernel, convolve,
            strides=per_dimension(self.strides, n), padding=canonicalize_padding(self.padding, n),
            kernel_dilation=per_dimension(self.kernel_dilation, n), transpose_kernel=self.transpose_kernel,
        )  # fmt: skip
        y = y if bias is None else y + to_rank(bias, y.ndim)
        return y.reshape(*batch, *y.shape[1:])


class AnalogEmbed(nnx.Embed):
    """``nnx.Embed`` that uses ``analog_op`` for lookups and ``attend_op`` for products; None keeps either digital."""

    analog_op: AnalogTake | None
    attend_op: AnalogAttend | None

    def __call__(self, inputs, out_sharding=None):
        if self.analog_op is None:
            return super().__call__(inputs, out_sharding)
        caster({"out_sharding": out_sharding}, self.analog_op.path)  # raises if it is given
        if not jnp.issubdtype(inputs.dtype, jnp.integer):
            raise ValueError("Input type must be an integer or unsigned integer.")  # Flax's own message
        (table,) = self.promote_dtype((self.embedding[...],), dtype=self.dtype, inexact=False)
        return self.analog_op(table, inputs)

    def attend(self, query, out_sharding=None):
        if self.attend_op is None:
            return super().attend(query, out_sharding)
        query, table = self.promote_dtype((query, self.embedding[...]), dtype=self.dtype)
        return self.attend_op(AnalogAttend.equation, query, table, out_sharding=out_sharding)


#: Twins by the class of layer that they replace.
TWINS: dict[type, type] = {nnx.ConvTranspose: AnalogConvTranspose, nnx.Embed: AnalogEmbed}


def twin(kind: type, module: nnx.Module, **ops: AnalogOp | None) -> Any:
    """Return a module of class ``kind`` that shares the attributes of ``module``, with these hooks by attribute.

    None for a hook keeps the one that the module already has.
    """
    copy: Any = object.__new__(kind)
    for name, value in vars(module).items():
        # Flax's __setattr__ would classify the attributes again; its records of the module are among those copied.
        object.__setattr__(copy, name, value)
    for name, op in ops.items():
        if op is not None or name not in vars(copy):
            setattr(copy, name, nnx.data(op))
    return copy


def original(module: nnx.Module) -> Any:
    """Return the plain layer that a twin replaced."""
    plain = twin(next(kind for kind, analog in TWINS.items() if type(module) is analog), module)
    for name in ("analog_op", "attend_op"):
        if name in vars(plain):
            delattr(plain, name)
    return plain
