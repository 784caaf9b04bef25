"""Linen layers whose kernel is held as cores: ``TensorTrainDense``, ``LowRankDense``, and plain layers once encoded.

Every core is a child ``core_0``, ``core_1``, ... of its layer, a DenseGeneral in its own right with the parameter
``kernel`` ``[r_(k-1), m_k, n_k, r_k]``. So it has a matrix, a path, tiles, ranges and a chip as every layer has, and
rules select it by its own path or by its layer's.
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from analogsim.base.checks import check_integer
from analogsim.base.errors import InputError
from analogsim.factors.codec import Codec, CodecDoesNotFit, LowRank, TensorTrain
from analogsim.factors.contraction import check_contraction, contract
from analogsim.factors.layout import CoreLayout
from analogsim.factors.trains import check_variance, core_std, decode
from analogsim.hardware.hardware import Hardware
from analogsim.layers import modes
from analogsim.linen.conversion_scope import is_converting
from analogsim.linen.hooks import AnalogDotGeneral, dot_general_hook, layer_path


class Core(nn.DenseGeneral):
    """One core of a layer: the matrix ``[r_(k-1) m_k, n_k r_k]``."""


def core_options(layout: CoreLayout, k: int, variance: float) -> dict[str, Any]:
    """What makes a DenseGeneral core k, drawn so that the whole matrix has entries of this variance."""
    _, _, n, right = layout.shapes[k]
    draw = nn.initializers.normal(core_std(layout, variance))
    return {"features": (n, right), "axis": (-2, -1), "use_bias": False, "kernel_init": draw}


class FactoredDense(nn.Module):
    """A dense layer whose kernel is held as cores, trained from scratch or loaded.

    Parameters are ``core_0/kernel``, ``core_1/kernel``, ... and ``bias``. Ranks are those of the parameters where there
    are any, so that rounding between steps needs no other module. Initial cores give a matrix with entries of variance
    1 / n_in, as of ``nn.Dense``. Cores of high rank for a small matrix may hold more numbers than its kernel would:
    ``analogsim.summary`` says where they do.

    Attributes:
      features: outputs.
      codec: modes, and ranks by ``rank``, ``max_params`` or ``max_fraction``.
      hardware: what every core is stored on, on tiles of its own; None is digital, until ``convert`` says otherwise.
      use_bias, dtype, param_dtype, precision, bias_init: as of ``nn.Dense``.
      variance: of the initial matrix's entries; None for 1 / n_in.
      contraction: of the digital layer: ``"factored"``, ``"dense"``, or ``"auto"`` for what takes fewer
        multiply-accumulates (``codecs.apply``). On hardware always core after core.
    """

    features: int
    codec: Codec = TensorTrain(rank=8)
    hardware: Hardware | None = None
    use_bias: bool = True
    dtype: Any = None
    param_dtype: Any = jnp.float32
    precision: Any = None
    bias_init: Any = nn.initializers.zeros_init()
    variance: float | None = None
    contraction: str = "auto"

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        self._check()
        x = inputs  # named as in nn.Dense
        layout = layout_in_variables(self, self.codec.modes(x.shape[-1], self.features))
        if layout is None:
            layout = self.codec.layout(x.shape[-1], self.features)
        variance = 1 / layout.n_in if self.variance is None else self.variance
        hook = {} if self.hardware is None else {"dot_general_cls": dot_general_hook(self.hardware)}
        common = {"dtype": self.dtype, "param_dtype": self.param_dtype, "precision": self.precision, **hook}
        cores = [Core(**core_options(layout, k, variance), **common, name=f"core_{k}") for k in range(layout.cores)]
        if self.hardware is None and writes_out(self, layout, x, self.contraction):
            y = dense(self, x, self.dtype, self.precision)
        else:
            y = contract(x, layout, lambda k, t: cores[k](t))
        if not self.use_bias:
            return y
        return with_bias(y, self.param("bias", self.bias_init, (self.features,), self.param_dtype), self.dtype)

    def _check(self) -> None:
        name = type(self).__name__
        if not isinstance(self.codec, Codec):
            raise InputError(f"{name}: codec = {self.codec!r}: must be a codec such as TensorTrain(rank=8)")
        if self.hardware is not None and not isinstance(self.hardware, Hardware):
            raise InputError(f"{name}: hardware = {self.hardware!r}: must be a Hardware such as preset('pcm'), or None")
        check_contraction(self.contraction)
        check_integer(self.features, f"{name}.features")
        if self.variance is not None:
            check_variance(self.variance, f"{name}.variance")


class TensorTrainDense(FactoredDense):
    """A dense layer with its kernel as a tensor train; see ``FactoredDense``.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from analogsim.codecs import TensorTrain
      >>> layer = TensorTrainDense(16, codec=TensorTrain(rank=3, cores=2))
      >>> params = layer.init(jax.random.key(0), jnp.ones((1, 64)))["params"]
      >>> params["core_0"]["kernel"].shape, params["core_1"]["kernel"].shape, params["bias"].shape
      ((1, 8, 4, 3), (3, 8, 4, 1), (16,))
    """


class LowRankDense(FactoredDense):
    """A dense layer with its kernel as a product of two narrow matrices; see ``FactoredDense``.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> layer = LowRankDense(16)
      >>> params = layer.init(jax.random.key(0), jnp.ones((1, 64)))["params"]
      >>> params["core_0"]["kernel"].shape, params["core_1"]["kernel"].shape
      ((1, 64, 1, 8), (8, 1, 16, 1))
    """

    codec: Codec = LowRank(rank=8)


@dataclasses.dataclass(frozen=True)
class Encoding:
    """Which layers of a model have cores in the place of kernels.

    Attributes:
      layers: their paths and layouts; ranks are those of the variables where there are any.
      contraction: of layers that stay digital, as of ``FactoredDense``.
    """

    layers: tuple[tuple[str, CoreLayout], ...] = ()
    contraction: str = "auto"

    def of(self, path: str) -> CoreLayout | None:
        """The layout of one layer; None where it is dense."""
        return dict(self.layers).get(path)


def encoded(layer: Any, inputs: jax.Array, *, layout: CoreLayout, contraction: str) -> jax.Array:
    """The call of a ``nn.Dense`` or ``nn.DenseGeneral`` whose kernel the variables hold as cores.

    ``inputs`` is named as in these layers, whose callers may name it.
    """
    if layer.has_variable("params", "kernel"):
        raise InputError(
            f"layer {layer_path(layer)}: these variables hold its kernel, and the compressed model runs on cores; pass "
            f"the variables that codecs.compress gave"
        )
    flat, features = flattened(layer, inputs)
    layout = layout_in_variables(layer, (layout.modes_in, layout.modes_out)) or layout
    if flat.shape[-1] != layout.n_in:
        raise InputError(
            f"layer {layer_path(layer)}: the input's width does not fit the model's parameters: it has "
            f"{flat.shape[-1]} features, the cores take {layout.n_in}"
        )
    if writes_out(layer, layout, flat, contraction):
        return finished(layer, dense(layer, flat, layer.dtype, layer.precision), features)
    common = {name: getattr(layer, name) for name in ("dtype", "param_dtype", "precision", "promote_dtype")}

    def multiply(k: int, t: jax.Array) -> jax.Array:
        own = layer.scope.push(f"core_{k}", reuse=True)
        return Core(**core_options(layout, k, 1 / layout.n_in), **common, parent=own)(t)

    return finished(layer, contract(flat, layout, multiply), features)


def is_worth_it(layer: Any, codec: Codec, within: tuple[Any, ...] = ()) -> bool:
    """Whether a layer is one that a codec holds, and takes fewer numbers as cores of the codec's ranks."""
    if why_dense(layer, within):
        return False
    try:
        layout = codec.layout(*kernel_matrix(layer).shape)
    except CodecDoesNotFit:
        return False
    return layout.params < layout.dense


def why_dense(layer: Any, within: tuple[Any, ...] = ()) -> str:
    """Why a layer cannot be held as cores; nothing where it can."""
    if isinstance(layer, Core):
        return "it is a core already"
    kind = next((kind for kind in (nn.Dense, nn.DenseGeneral) if isinstance(layer, kind)), None)
    if kind is None:
        return "codecs hold Dense and DenseGeneral"
    own = type(layer).__mro__[: type(layer).__mro__.index(kind)]
    if any(name in vars(c) for c in own for name in ("__call__", "param")):
        return f"it is of a subclass of {kind.__name__} that computes by code of its own"
    if getattr(layer, "batch_dims", ()):
        return "it has a matrix for every entry of its batch axes"
    if layer.dot_general is not None or layer.dot_general_cls is not None:
        return "its matmul hook is taken by something else"
    if layer.promote_dtype is not nn.dtypes.promote_dtype:
        return "it has a promote_dtype of its own"
    if getattr(layer, "preferred_element_type", None) is not None:
        return "it has a preferred_element_type"
    if any(isinstance(module, (nn.WeightNorm, nn.SpectralNorm)) for module in within):
        return "its kernel is normalised before it multiplies (WeightNorm, SpectralNorm)"
    return ""


def kernel_matrix(layer: Any) -> jax.Array:
    """The kernel of a Dense or DenseGeneral as ``[n_in, n_out]``."""
    kernel = nn.meta.unbox(layer.get_variable("params", "kernel"))
    features = 1 if isinstance(layer, nn.Dense) else len(_tuple(layer.features))
    return kernel.reshape(math.prod(kernel.shape[: kernel.ndim - features]), -1)


def encoding(layer: Any, hardware: Hardware, codec: Codec, inputs: jax.Array) -> jax.Array:
    """The call of a Dense or DenseGeneral whose kernel becomes cores on its way to the hardware."""
    flat, features = flattened(layer, inputs)
    flat, kernel, _ = layer.promote_dtype(flat, kernel_matrix(layer), None, dtype=layer.dtype)
    cores = codec.encode(kernel)
    dims = (((flat.ndim + 1, flat.ndim + 2), (0, 1)), ((), ()))  # rank and digit come last, behind two axes of digits

    def multiply(k: int, t: jax.Array) -> jax.Array:
        scope = layer.scope.push(f"core_{k}", reuse=True).push("analog", reuse=True)
        if isinstance(modes.current(), modes.InventoryMode):
            modes.current().kinds["/".join(filter(None, (*layer.scope.path, f"core_{k}")))] = Core.__name__
        return AnalogDotGeneral(hardware, parent=scope)(t, cores[k], dims, layer.precision)

    return finished(layer, contract(flat, CoreLayout.of(cores), multiply), features)


def flattened(layer: Any, x: jax.Array) -> tuple[jax.Array, tuple[int, ...]]:
    """A layer's input as vectors ``[..., n_in]``, and the shape of its features."""
    if isinstance(layer, nn.Dense):
        return x, (layer.features,)
    axes = sorted(axis % x.ndim for axis in _tuple(layer.axis))  # the kernel's order, whatever the layer's
    x = jnp.moveaxis(x, axes, range(-len(axes), 0))
    lead = x.ndim - len(axes)
    return x.reshape(*x.shape[:lead], math.prod(x.shape[lead:])), _tuple(layer.features)


def finished(layer: Any, y: jax.Array, features: tuple[int, ...]) -> jax.Array:
    """``[..., n_out]`` as the layer gives it, with its bias."""
    y = y.reshape(*y.shape[:-1], *features)
    if not layer.use_bias:
        return y
    return with_bias(y, layer.scope.param("bias", layer.bias_init, features, layer.param_dtype), layer.dtype)


def with_bias(y: jax.Array, bias: Any, dtype: Any) -> jax.Array:
    """``y`` plus the bias, in the layer's type."""
    y, bias = nn.dtypes.promote_dtype(y, nn.meta.unbox(bias), dtype=dtype)
    return y + bias


def layout_in_variables(layer: nn.Module, layer_modes: tuple[tuple[int, ...], tuple[int, ...]]) -> CoreLayout | None:
    """The layout of the cores that a layer's variables hold; None where there are none yet.

    Raises:
      InputError: where they are of other modes than the layer's.
    """
    cores = cores_in_variables(layer)
    if not cores:
        return None
    layout = CoreLayout.of(cores)
    if (layout.modes_in, layout.modes_out) != tuple(map(tuple, layer_modes)):
        raise InputError(
            f"layer {layer_path(layer)}: its cores are {layout}, and the layer's modes are "
            f"{tuple(layer_modes[0])} for inputs and {tuple(layer_modes[1])} for outputs"
        )
    return layout


def cores_in_variables(layer: Any) -> list[jax.Array]:
    """The cores in a layer's variables, in order."""
    params = layer.scope.variables().get("params", {})
    cores: list[jax.Array] = []
    while (core := params.get(f"core_{len(cores)}")) is not None:
        cores.append(nn.meta.unbox(core["kernel"]))
    return cores


def writes_out(layer: nn.Module, layout: CoreLayout, x: jax.Array, contraction: str) -> bool:
    """Whether the layer multiplies with the matrix itself, which only a digital layer may."""
    if layer.is_initializing() or is_converting() or modes.current() is not None or contraction == "factored":
        return False
    return contraction == "dense" or not layout.by_cores(math.prod(x.shape[:-1]))


def dense(layer: nn.Module, x: jax.Array, dtype: Any, precision: Any) -> jax.Array:
    """The product with the matrix, written out."""
    x, *cores = nn.dtypes.promote_dtype(x, *cores_in_variables(layer), dtype=dtype)
    return jnp.matmul(x, decode(cores), precision=precision)


def _tuple(value: Any) -> tuple[int, ...]:
    return (value,) if isinstance(value, int) else tuple(value)
