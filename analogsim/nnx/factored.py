"""NNX layers whose kernel is stored as cores: ``TensorTrainLinear``, ``LowRankLinear`` and compressed Linear layers.

Every core is an attribute ``core_0``, ``core_1``, ... of its layer. It is a LinearGeneral with the parameter ``kernel``
``[r_(k-1), m_k, n_k, r_k]``, and so has a path, tiles, ranges and a chip like every layer.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from analogsim.base.dtypes import to_rank
from analogsim.base.errors import InputError
from analogsim.factors.codec import Codec, LowRank, TensorTrain
from analogsim.factors.contraction import check_contraction, contract
from analogsim.factors.layout import CoreLayout
from analogsim.factors.trains import check_variance, core_std, decode
from analogsim.hardware.hardware import Hardware
from analogsim.layers import modes
from analogsim.layers.options import caster
from analogsim.nnx.hooks import RANGES, AnalogOp, attach, check_rngs, stack_axes
from analogsim.nnx.layers import analog_stream

_zeros = nnx.initializers.zeros_init()


class Core(nnx.LinearGeneral):
    """One core of a layer: the matrix ``[r_(k-1) m_k, n_k r_k]``."""


class FactoredLinear(nnx.Module):
    """A linear layer whose kernel is stored as cores.

    Args:
      layout: modes and ranks.
      rngs: initialises cores and bias.
      features: shape of the outputs, of which the product is ``n_out``.
      axis: axes of the input that are contracted.
      use_bias, dtype, param_dtype, precision, bias_init: as for ``nnx.Linear``.
      variance: variance of the entries of the initial matrix, by default 1 / n_in.
      contraction: how the digital layer multiplies, as for ``codecs.apply``; on hardware always core after core.

    Attributes:
      core_0, core_1, ...: the cores.
      bias: a parameter, or None.
      stands_for: class of the layer that was compressed to this one, or None.

    Raises:
      InputError: for an unknown ``contraction`` or an invalid ``variance``.

    Example:
      >>> layer = FactoredLinear(CoreLayout((8, 8), (4, 4), (2,)), rngs=nnx.Rngs(0), features=(16,))
      >>> [core.shape for core in layer.cores], layer.layout.params
      ([(1, 8, 4, 2), (2, 8, 4, 1)], 128)
    """

    bias: nnx.Param | None

    def __init__(
        self, layout: CoreLayout, *, rngs: nnx.Rngs, features: tuple[int, ...], axis: tuple[int, ...] = (-1,),
        use_bias: bool = True, dtype: Any = None, param_dtype: Any = jnp.float32, precision: Any = None,
        bias_init: Any = _zeros, variance: float | None = None, contraction: str = "auto",
    ):  # fmt: skip
        check_contraction(contraction)
        self.stands_for: type | None = None
        self.modes_in, self.modes_out = layout.modes_in, layout.modes_out
        self.axis, self.features, self.contraction = axis, features, contraction
        self.dtype, self.precision = dtype, precision
        draw = nnx.initializers.normal(
            core_std(layout, 1 / layout.n_in if variance is None else check_variance(variance, "variance"))
        )
        for k, (left, m, n, right) in enumerate(layout.shapes):
            core = Core(
                (left, m), (n, right), axis=(-2, -1), use_bias=False, dtype=dtype, param_dtype=param_dtype,
                precision=precision, kernel_init=draw, rngs=rngs,
            )  # fmt: skip
            setattr(self, f"core_{k}", core)
        self.bias = nnx.data(nnx.Param(bias_init(rngs.params(), features, param_dtype)) if use_bias else None)

    @property
    def cores(self) -> tuple[jax.Array, ...]:
        """Arrays of the cores in order, ``[r_(k-1), m_k, n_k, r_k]``."""
        return tuple(core.kernel[...] for core in self._layers())

    @property
    def layout(self) -> CoreLayout:
        """Modes and current ranks of the cores."""
        return CoreLayout.of(self.cores)

    def set_cores(self, cores: Sequence[jax.Array]) -> None:
        """Replace the cores, in place.

        Args:
          cores: arrays ``[r_(k-1), m_k, n_k, r_k]`` with the layer's modes; their ranks may differ.

        Raises:
          InputError: for cores with other modes.
        """
        layout = CoreLayout.of(cores)
        if (layout.modes_in, layout.modes_out) != (self.modes_in, self.modes_out):
            raise InputError(f"cores: {layout}: must have the layer's modes {self.modes_in} and {self.modes_out}")
        for core, kernel in zip(self._layers(), cores, strict=True):
            left, m, n, right = kernel.shape
            # ``stack_axes`` compares the kernel with these sizes, to tell a stack of layers from a single one.
            core.in_features, core.out_features = (left, m), (n, right)
            core.kernel = nnx.Param(jnp.asarray(kernel))

    def forget_ranges(self) -> None:
        """Remove the cores' calibrated ranges and chip, in place, for example after ``set_cores``."""
        for core in self._layers():
            if isinstance(op := core.dot_general, AnalogOp):
                op.array = nnx.data(None)
                for name in RANGES:
                    op.set_range(name, None)

    def __call__(self, inputs: jax.Array, out_sharding: Any = None) -> jax.Array:
        x = inputs  # the name of the argument is that of nnx.Linear
        caster({"out_sharding": out_sharding}, type(self).__name__)  # raises if it is given
        layout, cores = self.layout, self._layers()
        axes = tuple(sorted(axis % x.ndim for axis in self.axis))  # nnx.LinearGeneral sorts them, too
        batch = [size for axis, size in enumerate(x.shape) if axis not in axes]
        flat = jnp.moveaxis(x, axes, range(-len(axes), 0)).reshape(*batch, math.prod(x.shape[axis] for axis in axes))
        if flat.shape[-1] != layout.n_in:
            raise InputError(
                f"x: shape {x.shape}: the input's width does not fit the model's parameters: it has "
                f"{flat.shape[-1]} features, the cores take {layout.n_in}"
            )
        if self._decodes(layout, math.prod(flat.shape[:-1])):
            operands: list[jax.Array] = list(nnx.nn.dtypes.promote_dtype((flat, *self.cores), dtype=self.dtype))
            y = jnp.matmul(operands[0], decode(operands[1:]), precision=self.precision)
        else:
            y = contract(flat, layout, lambda k, t: cores[k](t))
        y = y.reshape(*y.shape[:-1], *self.features)
        if self.bias is None:
            return y
        y, bias = nnx.nn.dtypes.promote_dtype((y, self.bias[...]), dtype=self.dtype)
        return y + to_rank(bias, y.ndim)

    def _layers(self) -> list[Any]:
        return [getattr(self, f"core_{k}") for k in range(len(self.modes_in))]

    def _decodes(self, layout: CoreLayout, vectors: int) -> bool:
        """Return whether to decode the matrix, instead of multiplying with one core after another."""
        analog = any(isinstance(core.dot_general, AnalogOp) for core in self._layers())
        if analog or modes.current() is not None or self.contraction == "factored":
            return False
        return self.contraction == "dense" or not layout.by_cores(vectors)


_TENSOR_TRAIN, _LOW_RANK = TensorTrain(rank=8), LowRank(rank=8)


def TensorTrainLinear(
    in_features: int,
    out_features: int,
    *,
    rngs: nnx.Rngs,
    codec: Codec = _TENSOR_TRAIN,
    hardware: Hardware | None = None,
    **options: Any,
) -> FactoredLinear:
    """Build a linear layer whose kernel is a tensor train, to be trained from scratch.

    Cores of high rank may hold more numbers than the kernel of a small matrix; ``analogsim.summary`` points this out.

    Args:
      in_features, out_features: size of the matrix.
      rngs: initialises cores and bias, and seeds the noise streams of the cores.
      codec: modes, and ranks by ``rank``, ``max_params`` or ``max_fraction``.
      hardware: hardware that stores every core on separate tiles; None for a digital layer.
      **options: ``use_bias``, ``dtype``, ``param_dtype``, ``precision``, ``bias_init``, ``variance`` and
        ``contraction`` of ``FactoredLinear``.

    Returns:
      a layer that maps ``[..., in_features]`` to ``[..., out_features]``.

    Raises:
      InputError: if ``rngs`` is not ``nnx.Rngs``, or ``codec`` is not a codec that fits the matrix.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> layer = TensorTrainLinear(64, 16, rngs=nnx.Rngs(0))
      >>> layer(jnp.ones((2, 64))).shape, layer.layout.modes_in
      ((2, 16), (4, 4, 4))
    """
    return _scratch("TensorTrainLinear", in_features, out_features, rngs, codec, hardware, options)


def LowRankLinear(
    in_features: int,
    out_features: int,
    *,
    rngs: nnx.Rngs,
    codec: Codec = _LOW_RANK,
    hardware: Hardware | None = None,
    **options: Any,
) -> FactoredLinear:
    """Build a linear layer whose kernel is a product of two narrow matrices, to be trained from scratch.

    Args:
      in_features, out_features: size of the matrix.
      rngs: initialises cores and bias, and seeds the noise streams of the cores.
      codec: rank, by ``rank``, ``max_params`` or ``max_fraction``.
      hardware: hardware that stores each of the two matrices on separate tiles; None for a digital layer.
      **options: as for ``TensorTrainLinear``.

    Returns:
      a layer that maps ``[..., in_features]`` to ``[..., out_features]``.

    Raises:
      InputError: if ``rngs`` is not ``nnx.Rngs``, or ``codec`` is not a codec that fits the matrix.

    Example:
      >>> from flax import nnx
      >>> [core.shape for core in LowRankLinear(64, 16, rngs=nnx.Rngs(0)).cores]
      [(1, 64, 1, 8), (8, 1, 16, 1)]
    """
    return _scratch("LowRankLinear", in_features, out_features, rngs, codec, hardware, options)


def _scratch(name: str, n_in: int, n_out: int, rngs: Any, codec: Any, hardware: Any, options: Any) -> FactoredLinear:
    check_rngs(rngs, name)
    if not isinstance(codec, Codec):
        raise InputError(f"{name}: codec = {codec!r}: must be a codec such as TensorTrain(rank=8)")
    layer = FactoredLinear(codec.layout(n_in, n_out), rngs=rngs, features=(n_out,), **options)
    if hardware is not None:
        for core in layer._layers():
            attach(core, hardware, stream=analog_stream(rngs))
    return layer


def factored(layer: Any, cores: Sequence[jax.Array], contraction: str) -> FactoredLinear:
    """Build the layer that replaces an ``nnx.Linear`` or ``LinearGeneral``, with cores instead of its kernel.

    Args:
      layer: the layer to replace; its bias is shared, not copied.
      cores: arrays ``[r_(k-1), m_k, n_k, r_k]`` that multiply to its kernel.
      contraction: see ``FactoredLinear``.
    """
    compressed = FactoredLinear(
        CoreLayout.of(cores),
        rngs=nnx.Rngs(0),  # replaced by ``cores``
        features=_features(layer),
        axis=tuple(layer.axis) if isinstance(layer, nnx.LinearGeneral) else (-1,),
        use_bias=False,
        dtype=layer.dtype,
        param_dtype=layer.param_dtype,
        precision=layer.precision,
        contraction=contraction,
    )
    compressed.set_cores(cores)
    compressed.stands_for = type(layer)
    compressed.bias = nnx.data(layer.bias)
    return compressed


def why_dense(layer: Any, within: tuple[Any, ...] = ()) -> str:
    """Return the reason why a layer inside the modules ``within`` cannot be compressed; ``""`` if it can."""
    if isinstance(layer, Core):
        return "it is a core already"
    if type(layer) not in (nnx.Linear, nnx.LinearGeneral):
        return "codecs compress Linear and LinearGeneral only"
    if getattr(layer, "batch_axis", None):
        return "it has one matrix per entry of its batch axes"
    if isinstance(layer.dot_general, AnalogOp):
        return "it is analog already; compress the plain model, then convert the result"
    if stack_axes(layer) != ():
        return "it is a stack of layers"
    if layer.dot_general not in (None, jax.lax.dot_general) or getattr(layer, "dot_general_cls", None) is not None:
        return "its matmul hook dot_general is already set"
    if layer.promote_dtype is not nnx.nn.dtypes.promote_dtype:
        return "it has a custom promote_dtype"
    if getattr(layer, "preferred_element_type", None) is not None:
        return "its preferred_element_type is set"
    if any(isinstance(module, (nnx.WeightNorm, nnx.SpectralNorm)) for module in within):
        return "its kernel is normalised before it multiplies (WeightNorm, SpectralNorm)"
    return ""


def kernel_matrix(layer: Any) -> jax.Array:
    """Return the kernel as ``[n_in, n_out]``."""
    return layer.kernel[...].reshape(-1, math.prod(_features(layer)))


def _features(layer: Any) -> tuple[int, ...]:
    return tuple(layer.out_features) if isinstance(layer, nnx.LinearGeneral) else (layer.out_features,)
