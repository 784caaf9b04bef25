"""NNX layers whose matmul Flax gives no hook to: the same layers with a call of their own.

A twin is of a subclass of the layer's class and shares its attributes, so that it is found, filtered, saved and loaded
as the layer it is.
"""

from typing import Any

import jax.numpy as jnp
from flax import nnx
from flax.nnx.nn.linear import canonicalize_padding

from analogsim.layers.options import caster
from analogsim.nnx.hooks import AnalogAttend, AnalogConvGeneralDilated, AnalogOp, AnalogTake
from analogsim.signal_path.operators.convolution import dimension_numbers, per_dimension, transposed


class AnalogConvTranspose(nnx.ConvTranspose):
    """``nnx.ConvTranspose`` with ``analog_op`` in the place of its convolution."""

    analog_op: AnalogConvGeneralDilated

    def __call__(self, inputs):
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
        y = y if bias is None else y + bias
        return y.reshape(*batch, *y.shape[1:])


class AnalogEmbed(nnx.Embed):
    """``nnx.Embed`` with ``analog_op`` for lookups and ``attend_op`` for products; None leaves either digital."""

    analog_op: AnalogTake | None
    attend_op: AnalogAttend | None

    def __call__(self, inputs, out_sharding=None):
        if self.analog_op is None:
            return super().__call__(inputs, out_sharding)
        caster({"out_sharding": out_sharding}, self.analog_op.path)  # refuses it
        if not jnp.issubdtype(inputs.dtype, jnp.integer):
            raise ValueError("Input type must be an integer or unsigned integer.")  # as Flax has it
        (table,) = self.promote_dtype((self.embedding[...],), dtype=self.dtype, inexact=False)
        return self.analog_op(table, inputs)

    def attend(self, query, out_sharding=None):
        if self.attend_op is None:
            return super().attend(query, out_sharding)
        query, table = self.promote_dtype((query, self.embedding[...]), dtype=self.dtype)
        return self.attend_op(AnalogAttend.equation, query, table, out_sharding=out_sharding)


#: Twins of Flax's layers.
TWINS: dict[type, type] = {nnx.ConvTranspose: AnalogConvTranspose, nnx.Embed: AnalogEmbed}


def twin(kind: type, module: nnx.Module, **ops: AnalogOp | None) -> Any:
    """The module as one of a twin's class, with these hooks; its attributes are shared, hooks that it has stay."""
    made: Any = object.__new__(kind)
    for name, value in vars(module).items():
        object.__setattr__(made, name, value)
    for name, op in ops.items():
        if op is not None or name not in vars(made):
            setattr(made, name, nnx.data(op))
    return made


def original(module: Any) -> Any:
    """The plain layer behind a twin."""
    kind = next(kind for kind, analog in TWINS.items() if type(module) is analog)
    made = twin(kind, module)
    for name in ("analog_op", "attend_op"):
        if name in vars(made):
            delattr(made, name)
    return made
