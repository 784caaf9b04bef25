"""Linen layers whose kernel is stored as cores: ``TensorTrainDense``, ``LowRankDense``, and compressed plain layers.

Every core is a child ``core_0``, ``core_1``, ... of its layer: a DenseGeneral with the parameter ``kernel``
``[r_(k-1), m_k, n_k, r_k]``. It has a matrix, a path, tiles, ranges and a chip like any other layer, and rules select
it by its path or by the path of its layer.
"""

import dataclasses
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.lax import PrecisionLike
from jax.typing import DTypeLike

from analogsim.base.checks import check_integer
from analogsim.base.dtypes import to_rank
from analogsim.base.errors import InputError
from analogsim.factors.codec import Codec, CodecDoesNotFit, LowRank, TensorTrain
from analogsim.factors.contraction import check_contraction, contract
from analogsim.factors.layout import CoreLayout
from analogsim.factors.trains import check_variance, core_std, decode
from analogsim.hardware.hardware import Hardware
from analogsim.layers import modes
from analogsim.linen.hooks import AnalogDotGeneral, check_hardware, dot_general_hook, layer_path

#: The conversion in force while a Linen model runs: (its cache key, whether it has rules), or None. Part of JAX's cache
#: key: a block that is compiled inside the model (nn.jit, nn.remat) is never reused under other rules.
conversion: Any = jax.make_user_context(None)


class Core(nn.DenseGeneral):
    """One core of a layer: the matrix ``[r_(k-1) m_k, n_k r_k]``."""


def core_options(layout: CoreLayout, k: int, variance: float) -> dict[str, Any]:
    """Return the fields of core k, initialised so that the entries of the decoded matrix have this variance."""
    _, _, n, right = layout.shapes[k]
    draw = nn.initializers.normal(core_std(layout, variance))
    return {"features": (n, right), "axis": (-2, -1), "use_bias": False, "kernel_init": draw}


class FactoredDense(nn.Module):
    """A dense layer whose kernel is stored as cores, trained from scratch or loaded.

    Parameters are ``core_0/kernel``, ``core_1/kernel``, ... and ``bias``. If the variables already contain cores, their
    ranks are used instead of the codec's, so that training may round cores between steps. Cores of high rank may hold
    more numbers than the kernel of a small matrix; ``analogsim.summary`` reports such layers.

    Attributes:
      features: number of outputs.
      codec: modes, and ranks by ``rank``, ``max_params`` or ``max_fraction``.
      hardware: stores every core on separate tiles; None is digital, unless ``convert`` selects the cores.
      use_bias, dtype, param_dtype, precision, bias_init: as for ``nn.Dense``.
      variance: variance of the entries of the initial matrix; None for 1 / n_in, as ``nn.Dense``.
      contraction: how the digital layer multiplies: ``"factored"``, ``"dense"``, or ``"auto"`` for the one with fewer
        multiply-accumulates (``codecs.apply``). On hardware always core by core.
    """

    features: int
    codec: Codec = TensorTrain(rank=8)
    hardware: Hardware | None = None
    use_bias: bool = True
    dtype: Any = None
    param_dtype: Any = jnp.float32
    precision: PrecisionLike = None
    bias_init: Any = nn.initializers.zeros_init()
    variance: float | None = None
    contraction: str = "auto"

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        self._check()
        x = inputs  # callers may pass it by the name that nn.Dense gives it
        layout = layout_in_variables(self, self.codec.modes(x.shape[-1], self.features))
        if layout is None:
            layout = self.codec.layout(x.shape[-1], self.features)
        variance = 1 / layout.n_in if self.variance is None else self.variance
        hook = {} if self.hardware is None else {"dot_general_cls": dot_general_hook(self.hardware)}
        common = {"dtype": self.dtype, "param_dtype": self.param_dtype, "precision": self.precision, **hook}
        cores = [Core(**core_options(layout, k, variance), **common, name=f"core_{k}") for k in range(layout.cores)]
        if self.hardware is None and decodes(self, layout, x, self.contraction):
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
        check_hardware(self.hardware, name)
        check_contraction(self.contraction)
        check_integer(self.features, f"{name}.features")
        if self.variance is not None:
            check_variance(self.variance, f"{name}.variance")


class TensorTrainDense(FactoredDense):
    """A dense layer whose kernel is a tensor train; see ``FactoredDense`` for its fields.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from analogsim.codecs import TensorTrain
      >>> layer = TensorTrainDense(16, codec=TensorTrain(rank=3, cores=2))
      >>> params = layer.init(jax.random.key(0), jnp.ones((1, 64)))["params"]
      >>> params["core_0"]["kernel"].shape, params["core_1"]["kernel"].shape, params["bias"].shape
      ((1, 8, 4, 3), (3, 8, 4, 1), (16,))
    """


class LowRankDense(FactoredDense):
    """A dense layer whose kernel is a product of two narrow matrices; see ``FactoredDense`` for its fields.

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
    """The layers of a model that have cores instead of kernels.

    Attributes:
      layers: their paths and layouts; if the variables already contain cores, their ranks are used.
      contraction: how layers that stay digital multiply, as for ``FactoredDense``.
    """

    layers: tuple[tuple[str, CoreLayout], ...] = ()
    contraction: str = "auto"

    def of(self, path: str) -> CoreLayout | None:
        """Return the layout of a layer; None if it is dense."""
        return dict(self.layers).get(path)


def encoded(layer: Any, inputs: jax.Array, *, layout: CoreLayout, contraction: str) -> jax.Array:
    """Compute a call of ``nn.Dense`` or ``nn.DenseGeneral`` whose variables contain cores instead of a kernel.

    Args:
      layer: the layer.
      inputs: as the layer takes them, under the same name, because callers may pass them by keyword.
      layout: modes of the cores, and ranks for initialisation.
      contraction: as for ``FactoredDense``.

    Raises:
      InputError: if the variables contain a kernel, or cores of other modes, or if the input's width does not fit.
    """
    if layer.has_variable("params", "kernel"):
        raise InputError(
            f"layer {layer_path(layer)}: these variables hold its kernel, but the compressed model needs cores; pass "
            f"the variables that codecs.compress returned"
        )
    flat, features = flattened(layer, inputs)
    layout = layout_in_variables(layer, (layout.modes_in, layout.modes_out)) or layout
    if flat.shape[-1] != layout.n_in:
        raise InputError(
            f"layer {layer_path(layer)}: the input's width does not fit the model's parameters: it has "
            f"{flat.shape[-1]} features, the cores take {layout.n_in}"
        )
    if decodes(layer, layout, flat, contraction):
        return finished(layer, dense(layer, flat, layer.dtype, layer.precision), features)
    common = {name: getattr(layer, name) for name in ("dtype", "param_dtype", "precision", "promote_dtype")}

    def multiply(k: int, t: jax.Array) -> jax.Array:
        scope = layer.scope.push(f"core_{k}", reuse=True)
        return Core(**core_options(layout, k, 1 / layout.n_in), **common, parent=scope)(t)

    return finished(layer, contract(flat, layout, multiply), features)


def is_worth_it(layer: nn.Module, codec: Codec, within: tuple[Any, ...] = ()) -> bool:
    """Return whether a layer can be stored as cores, and the cores take fewer numbers than its kernel."""
    if why_dense(layer, within):
        return False
    try:
        layout = codec.layout(*kernel_matrix(layer).shape)
    except CodecDoesNotFit:
        return False
    return layout.params < layout.dense


def why_dense(layer: nn.Module, within: tuple[Any, ...] = ()) -> str:
    """Return why a layer cannot be stored as cores; ``""`` if it can. ``within`` are the modules that contain it."""
    if isinstance(layer, Core):
        return "it is already a core"
    kind = next((kind for kind in (nn.Dense, nn.DenseGeneral) if isinstance(layer, kind)), None)
    if kind is None:
        return "codecs compress Dense and DenseGeneral only"
    derived = type(layer).__mro__[: type(layer).__mro__.index(kind)]
    if any(name in vars(c) for c in derived for name in ("__call__", "param")):
        return f"its class overrides __call__ or param of {kind.__name__}"
    if getattr(layer, "batch_dims", ()):
        return "it has one matrix per entry of its batch axes"
    if layer.dot_general is not None or layer.dot_general_cls is not None:
        return "its matmul hook dot_general is already set"
    if layer.promote_dtype is not nn.dtypes.promote_dtype:
        return "it has a custom promote_dtype"
    if getattr(layer, "preferred_element_type", None) is not None:
        return "its preferred_element_type is set"
    if any(isinstance(module, (nn.WeightNorm, nn.SpectralNorm)) for module in within):
        return "its kernel is normalised before it multiplies (WeightNorm, SpectralNorm)"
    return ""


def kernel_matrix(layer: nn.Module) -> jax.Array:
    """Return the kernel of a Dense or DenseGeneral as a matrix ``[n_in, n_out]``."""
    kernel = nn.meta.unbox(layer.get_variable("params", "kernel"))
    features = 1 if isinstance(layer, nn.Dense) else len(_tuple(layer.features))
    return kernel.reshape(math.prod(kernel.shape[: kernel.ndim - features]), -1)


def encoding(layer: Any, hardware: Hardware, codec: Codec, inputs: jax.Array) -> jax.Array:
    """Compute a call of Dense or DenseGeneral on hardware, with its kernel compressed to cores in the call."""
    flat, features = flattened(layer, inputs)
    flat, kernel, _ = layer.promote_dtype(flat, kernel_matrix(layer), None, dtype=layer.dtype)
    cores = codec.encode(kernel)
    dims = (((flat.ndim + 1, flat.ndim + 2), (0, 1)), ((), ()))  # t is [..., done, ahead, r_(k-1), m_k]

    def multiply(k: int, t: jax.Array) -> jax.Array:
        scope = layer.scope.push(f"core_{k}", reuse=True).push("analog", reuse=True)
        modes.current_or_default().list_kind("/".join((*layer.scope.path, f"core_{k}")), Core.__name__)
        return AnalogDotGeneral(hardware, parent=scope)(t, cores[k], dims, layer.precision)

    return finished(layer, contract(flat, CoreLayout.of(cores), multiply), features)


def flattened(layer: nn.Module, x: jax.Array) -> tuple[jax.Array, tuple[int, ...]]:
    """Return a layer's input as vectors ``[..., n_in]``, and the shape of the features of its output."""
    if isinstance(layer, nn.Dense):
        return x, (layer.features,)
    axes = sorted(axis % x.ndim for axis in _tuple(layer.axis))  # the kernel's axes are sorted like this
    x = jnp.moveaxis(x, axes, range(-len(axes), 0))
    lead = x.ndim - len(axes)
    return x.reshape(*x.shape[:lead], math.prod(x.shape[lead:])), _tuple(layer.features)


def finished(layer: Any, y: jax.Array, features: tuple[int, ...]) -> jax.Array:
    """Return ``y`` ``[..., n_out]`` with the bias added, in the shape of the layer's output."""
    y = y.reshape(*y.shape[:-1], *features)
    if not layer.use_bias:
        return y
    return with_bias(y, layer.scope.param("bias", layer.bias_init, features, layer.param_dtype), layer.dtype)


def with_bias(y: jax.Array, bias: Any, dtype: DTypeLike) -> jax.Array:
    """Return ``y`` plus the bias, in the layer's dtype."""
    y, bias = nn.dtypes.promote_dtype(y, nn.meta.unbox(bias), dtype=dtype)
    return y + to_rank(bias, y.ndim)


def layout_in_variables(layer: nn.Module, layer_modes: tuple[tuple[int, ...], tuple[int, ...]]) -> CoreLayout | None:
    """Return the layout of the cores in a layer's variables; None if there are none yet.

    Raises:
      InputError: if their modes are not ``layer_modes``, (for inputs, for outputs).
    """
    cores = cores_in_variables(layer)
    if not cores:
        return None
    layout = CoreLayout.of(cores)
    if (layout.modes_in, layout.modes_out) != tuple(map(tuple, layer_modes)):
        raise InputError(
            f"layer {layer_path(layer)}: its cores are {layout}, but the layer's modes are {tuple(layer_modes[0])} for "
            f"inputs and {tuple(layer_modes[1])} for outputs"
        )
    return layout


def cores_in_variables(layer: Any) -> list[jax.Array]:
    """Return the cores in a layer's variables, in order."""
    params = layer.scope.variables().get("params", {})
    cores: list[jax.Array] = []
    while (core := params.get(f"core_{len(cores)}")) is not None:
        cores.append(nn.meta.unbox(core["kernel"]))
    return cores


def decodes(layer: nn.Module, layout: CoreLayout, x: jax.Array, contraction: str) -> bool:
    """Return whether the layer multiplies with the decoded matrix, which only a digital layer may."""
    has_rules = conversion.value is not None and conversion.value[1]
    # While initialising, only a call of the cores creates their parameters; rules and modes act on calls of layers.
    if layer.is_initializing() or has_rules or modes.current() is not None or contraction == "factored":
        return False
    return contraction == "dense" or not layout.by_cores(math.prod(x.shape[:-1]))


def dense(layer: nn.Module, x: jax.Array, dtype: DTypeLike, precision: PrecisionLike) -> jax.Array:
    """Return the product of ``x`` ``[..., n_in]`` with the decoded matrix."""
    x, *cores = nn.dtypes.promote_dtype(x, *cores_in_variables(layer), dtype=dtype)
    return jnp.matmul(x, decode(cores), precision=precision)


def _tuple(value: Any) -> tuple[int, ...]:
    return (value,) if isinstance(value, int) else tuple(value)
