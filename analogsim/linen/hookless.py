"""Linen layers without a matmul hook, computed from their own parameters.

Einsum, ConvTranspose, ConvLocal, Embed and OptimizedLSTMCell. Each function repeats the layer's ``__call__`` (Flax
0.12) with one of our hooks instead of the product. Like the layer, it reads parameters with ``layer.param``, which a
subclass may override to compute its kernel. It never draws them: initialisation runs the layer's own code.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.linear import canonicalize_padding

from analogsim.base.dtypes import to_rank
from analogsim.hardware.hardware import Hardware
from analogsim.linen.hooks import AnalogConvGeneralDilated, AnalogEinsum, AnalogTake
from analogsim.signal_path.operators.convolution import dimension_numbers, per_dimension, transposed
from analogsim.signal_path.operators.product import letters


def _hook(kind: Any, layer: nn.Module, hardware: Hardware, *below: str) -> Any:
    """Return a hook as the child ``analog`` of the layer, or of a name below it."""
    # Pushing the scope by hand works outside of a compact method, too: nn.Embed defines its parameters in setup.
    scope: Any = layer.scope
    for name in (*below, "analog"):
        scope = scope.push(name, reuse=True)
    # A module whose parent is a scope lives in this scope itself, not in a child of it.
    return kind(hardware, parent=scope)


def einsum(layer: nn.Einsum, hardware: Hardware, inputs: jax.Array, einsum_str: str | None = None) -> jax.Array:
    """Compute ``nn.Einsum``: an einsum, and a bias along the letters that kernel and output share."""
    equation = layer.einsum_str if einsum_str is None else einsum_str
    assert equation is not None
    # Flax 0.12 marks a compact method as running before it calls interceptors, so that ``param`` is allowed here.
    kernel = layer.param("kernel", layer.kernel_init, tuple(layer.shape), layer.param_dtype)
    _, of_kernel, of_y = letters(equation, inputs.ndim, kernel.ndim)
    bias = None
    if layer.use_bias:
        sizes = dict(zip(of_kernel, kernel.shape, strict=True))
        shape = tuple(sizes[c] for c in of_y if c in sizes)
        bias = layer.param("bias", layer.bias_init, shape, layer.param_dtype)
    x, kernel, bias = layer.promote_dtype(inputs, kernel, bias, dtype=layer.dtype)
    hook = _hook(AnalogEinsum, layer, hardware)
    y = hook(equation, x, kernel, layer.precision, preferred_element_type=layer.preferred_element_type)
    if bias is None:
        return y
    return y + bias.reshape([size if c in of_kernel else 1 for c, size in zip(of_y, y.shape, strict=True)])


def conv_transpose(layer: nn.ConvTranspose, hardware: Hardware, inputs: jax.Array) -> jax.Array:
    """Compute ``nn.ConvTranspose`` for any number of spatial dimensions and batch axes."""
    window = (layer.kernel_size,) if isinstance(layer.kernel_size, int) else tuple(layer.kernel_size)
    n = len(window)
    shape = (layer.features, inputs.shape[-1]) if layer.transpose_kernel else (inputs.shape[-1], layer.features)
    kernel = layer.param("kernel", layer.kernel_init, (*window, *shape), layer.param_dtype)
    bias = layer.param("bias", layer.bias_init, (layer.features,), layer.param_dtype) if layer.use_bias else None
    if layer.mask is not None:
        kernel = kernel * layer.mask
    batch = inputs.shape[: inputs.ndim - n - 1]
    x: Any = inputs.reshape(-1, *inputs.shape[len(batch) :])
    operands: Any = layer.promote_dtype(x, kernel, bias, dtype=layer.dtype)
    x, kernel, bias = operands
    hook = _hook(AnalogConvGeneralDilated, layer, hardware)

    def convolve(x, kernel, strides, pads, input_dilation, kernel_dilation):
        return hook(
            x, kernel, strides, pads, input_dilation, kernel_dilation, dimension_numbers(x.ndim),
            precision=layer.precision, preferred_element_type=layer.preferred_element_type,
        )  # fmt: skip

    y = transposed(
        x, kernel, convolve,
        strides=per_dimension(layer.strides, n), padding=canonicalize_padding(layer.padding, n),
        kernel_dilation=per_dimension(layer.kernel_dilation, n), transpose_kernel=layer.transpose_kernel,
    )  # fmt: skip
    y = y if bias is None else y + to_rank(bias, y.ndim)
    return y.reshape(*batch, *y.shape[1:])


def conv_local(layer: nn.ConvLocal, hardware: Hardware, inputs: jax.Array) -> jax.Array:
    """Compute ``nn.ConvLocal``: every position of the output has a separate matrix, which multiplies its patch."""
    window = (layer.kernel_size,) if isinstance(layer.kernel_size, int) else tuple(layer.kernel_size)
    n = len(window)
    batch = inputs.shape[: inputs.ndim - n - 1]
    x, padding = padded(inputs.reshape(-1, *inputs.shape[len(batch) :]), layer.padding, window, layer.kernel_dilation)

    def patches(x: jax.Array) -> jax.Array:
        # JAX extracts patches by a convolution with a one-hot kernel, which in the default precision of GPUs and TPUs
        # would round the inputs.
        return jax.lax.conv_general_dilated_patches(
            x, window, per_dimension(layer.strides, n), padding, per_dimension(layer.input_dilation, n),
            per_dimension(layer.kernel_dilation, n),
            dimension_numbers=dimension_numbers(x.ndim), precision=jax.lax.Precision.HIGHEST,
        )  # fmt: skip

    _, *places, rows = jax.eval_shape(patches, x).shape
    kernel = layer.param("kernel", layer.kernel_init, (*places, rows, layer.features), layer.param_dtype)
    shape = (*places, layer.features)
    bias = layer.param("bias", layer.bias_init, shape, layer.param_dtype) if layer.use_bias else None
    if layer.mask is not None:
        kernel = kernel * layer.mask
    operands: Any = layer.promote_dtype(x, kernel, bias, dtype=layer.dtype)
    x, kernel, bias = operands
    xyz = "xyz"[:n]
    y = _hook(AnalogEinsum, layer, hardware)(f"b{xyz}k,{xyz}kf->b{xyz}f", patches(x), kernel, layer.precision)
    y = y if bias is None else y + to_rank(bias, y.ndim)
    return y.reshape(*batch, *y.shape[1:])


def padded(x: jax.Array, padding: Any, window: tuple[int, ...], dilation: Any) -> tuple[jax.Array, Any]:
    """Pad the input by Flax's rules; return it and the padding that remains for ``lax``."""
    padding = canonicalize_padding(padding, len(window))
    reach = [(w - 1) * d + 1 for w, d in zip(window, per_dimension(dilation, len(window)), strict=True)]
    if padding in ("CIRCULAR", "REFLECT"):
        pads = [(0, 0), *(((k - 1) // 2, k // 2) for k in reach), (0, 0)]
        return jnp.pad(x, pads, mode="wrap" if padding == "CIRCULAR" else "reflect"), "VALID"
    if padding == "CAUSAL":
        return jnp.pad(x, [(0, 0), (reach[0] - 1, 0), (0, 0)]), "VALID"
    return x, padding


def embed(layer: nn.Embed, hardware: Hardware, inputs: jax.Array) -> jax.Array:
    """Compute ``nn.Embed``: rows of the stored table."""
    if not jnp.issubdtype(inputs.dtype, jnp.integer):
        raise ValueError("Input type must be an integer or unsigned integer.")  # as Flax
    (table,) = layer.promote_dtype(layer.embedding, dtype=layer.dtype, inexact=False)
    return _hook(AnalogTake, layer, hardware)(table, inputs)


def attend(layer: nn.Embed, hardware: Hardware, query: jax.Array) -> jax.Array:
    """Compute ``nn.Embed.attend``: products with all rows of the table, stored transposed on a second array."""
    x, table = layer.promote_dtype(query, layer.embedding, dtype=layer.dtype)
    return _hook(AnalogEinsum, layer, hardware, "attend")("...d,nd->...n", x, table)


def lstm(layer: nn.OptimizedLSTMCell, carry: Any, inputs: jax.Array) -> Any:
    """Compute ``nn.OptimizedLSTMCell`` as the equivalent LSTMCell: one layer per gate, with the same parameters."""
    options = {name: getattr(layer, name) for name in ("gate_fn", "activation_fn", "dtype", "param_dtype")}
    scope: Any = layer.scope
    return nn.LSTMCell(layer.features, **options, parent=scope)(carry, inputs)
