"""Analog layers for Flax NNX: the plain layers with their own matmul hook filled.

    class MLP(nnx.Module):
        def __init__(self, rngs):
            self.hidden = AnalogLinear(64, 64, hardware=preset("pcm"), rngs=rngs)
            self.out = AnalogLinear(64, 10, hardware=preset("pcm"), rngs=rngs)

``AnalogLinear`` returns a ``flax.nnx.Linear``; its parameters are the digital model's. A layer runs in one of three
modes, which ``nnx.view(model, mode="digital")`` or ``model.set_attributes(mode=...)`` selects: ``"train"`` (a fresh
chip every call, the default), ``"chip"`` (the programmed chip that ``on_chip`` loads) and ``"digital"``. Noise comes
from each layer's own stream, forked from ``rngs`` at construction; plain ``jax.jit`` does not advance NNX streams and
would repeat the same noise every call, ``nnx.jit`` does. Every use of a layer advances its stream: while training, a
layer that is used twice in one pass runs on two fresh chips (on a programmed chip it is one array, in Linen always).

Layers that ``nnx.vmap`` stacks along the first axis and ``nnx.scan`` runs are one array and one pair of ranges each.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from analogsim import layer, modes, tiles
from analogsim.chip import Chip, check_key
from analogsim.devices.errors import InputError, nearest
from analogsim.devices.random import stream
from analogsim.hardware import Hardware
from analogsim.operators import MatrixProduct, Operator, batched, convolution, real_matrix, refuse_options
from analogsim.signal_path import Ranges

MODES = ("train", "chip", "digital")


@nnx.register_variable_name("analog")
class Programmed(nnx.Variable):
    """One layer's array on a chip, as it is read now."""


@nnx.register_variable_name("ranges")
class Range(nnx.Variable):
    """One calibrated range of a layer."""


def AnalogLinear(
    in_features: int, out_features: int, *, hardware: Hardware | None, rngs: nnx.Rngs, **options: Any
) -> nnx.Linear:
    """``flax.nnx.Linear`` on analog hardware.

    Args:
      in_features, out_features: size of the kernel.
      hardware: what the kernel is stored on, ``preset("pcm")``; None is the plain digital layer.
      rngs: initialises the parameters exactly as ``nnx.Linear`` does, and seeds the layer's own noise stream.
      **options: everything else that ``flax.nnx.Linear`` takes.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> from analogsim import preset
      >>> layer = AnalogLinear(4, 3, hardware=preset("pcm"), rngs=nnx.Rngs(0))
      >>> layer(jnp.ones((2, 4))).shape
      (2, 3)
    """
    check_rngs(rngs, "AnalogLinear")
    linear = nnx.Linear(in_features, out_features, rngs=rngs, **options)
    if hardware is not None:
        attach(linear, hardware, stream=_own_stream(rngs))
    return linear


def AnalogConv(
    in_features: int, out_features: int, kernel_size: Any, *, hardware: Hardware | None, rngs: nnx.Rngs, **options: Any
) -> nnx.Conv:
    """``flax.nnx.Conv`` on analog hardware; a convolution in groups is refused when it is called."""
    check_rngs(rngs, "AnalogConv")
    conv = nnx.Conv(in_features, out_features, kernel_size, rngs=rngs, **options)
    if hardware is not None:
        attach(conv, hardware, stream=_own_stream(rngs))
    return conv


def check_rngs(rngs: Any, where: str) -> None:
    """Refuse what is no ``nnx.Rngs``, with the remedy."""
    if not isinstance(rngs, nnx.Rngs):
        raise InputError(f"{where}: rngs = {rngs!r}: must be nnx.Rngs, for example nnx.Rngs(0)")


def _own_stream(rngs: nnx.Rngs) -> nnx.RngStream:
    """A noise stream for one layer that leaves the stream which draws parameters as it was.

    The parameters of the layers built after this one are then those of the digital model. The default stream's count
    differs from layer to layer, because each has just drawn its parameters from it.
    """
    if "analog" in rngs:
        return rngs["analog"].fork()
    source = rngs["params"]
    return nnx.RngStream(jax.random.fold_in(stream(source.key[...], "analog"), source.count[...]), tag="analog")


def attach(module: nnx.Module, hardware: Hardware, *, stream: nnx.RngStream | None = None, path: str = "") -> None:
    """Fill the matmul hook of one ``nnx.Linear``, ``nnx.LinearGeneral`` or ``nnx.Conv`` in place.

    Args:
      module: the layer.
      hardware: what its kernel is stored on.
      stream: its noise; without one it cannot be trained hardware-aware.
      path: its name in messages until the whole model is seen.
    """
    path = path or type(module).__name__
    if not isinstance(hardware, Hardware):
        raise InputError(f"hardware = {hardware!r}: must be a Hardware such as preset('pcm'), or None")
    if isinstance(module, nnx.Conv):
        module.conv_general_dilated = nnx.data(AnalogConvGeneralDilated(hardware, stream=stream, path=path))
    elif isinstance(module, (nnx.Linear, nnx.LinearGeneral)):
        module.dot_general = nnx.data(AnalogDotGeneral(hardware, stream=stream, path=path))
    else:
        raise InputError(f"{type(module).__name__} has no matmul hook; known: Linear, LinearGeneral, Conv")


class AnalogOp(nnx.Module):
    """State of a filled hook: hardware, mode, chip, ranges, noise stream."""

    def __init__(self, hardware: Hardware, *, stream: nnx.RngStream | None, path: str):
        self.hardware = nnx.data(hardware)
        self.mode = "train"
        self.path = path
        self.array: Programmed | None = nnx.data(None)
        self.input_range: Range | None = nnx.data(None)
        self.output_range: Range | None = nnx.data(None)
        self.place: Range | None = nnx.data(None)
        self.stream = nnx.data(stream)

    def set_view(self, mode: str | None = None):
        """Where the product is computed.

        Args:
          mode: 'train' (a fresh chip each call), 'chip' (the loaded chip) or 'digital'.
        """
        self.mode = self.mode if mode is None else _check_mode(mode)

    def _run(self, operator: Operator, x: jax.Array, kernel: jax.Array, precision: Any) -> jax.Array:
        exact = self.mode == "digital"
        reading = None
        if self.mode == "chip":
            if self.array is None:
                raise InputError(f"layer {self.path}: mode 'chip' without a chip; load one with on_chip(model, chip)")
            reading = self.array.get_value()
        ranges = Ranges(*(r if r is None else r.get_value() for r in (self.input_range, self.output_range)))
        draws = not exact and not isinstance(modes.current(), (modes.Digital, modes.Observing))
        if draws and self.stream is None and self.mode == "train" and layer.needs_key(self.hardware):
            raise InputError(f"layer {self.path} has no noise stream: build or convert it with rngs=nnx.Rngs(0)")
        key = self.stream() if draws and self.stream is not None else None
        return layer.forward(
            self.hardware, operator, x, kernel,
            path=self.path, reading=reading, ranges=ranges, key=key, precision=precision, exact=exact,
            place=None if self.place is None else self.place.get_value(),
        )  # fmt: skip


class AnalogDotGeneral(AnalogOp):
    """Stands in for ``lax.dot_general`` inside a layer."""

    def __call__(self, x, kernel, dimension_numbers, precision=None, **other):
        (x_contract, kernel_contract), (batch, _) = dimension_numbers
        if batch:
            raise batched(self.path)
        refuse_options(other, self.path)
        _check_width([x.shape[d] for d in x_contract], [kernel.shape[d] for d in kernel_contract], self.path)
        operator = MatrixProduct(tuple(x_contract), tuple(kernel_contract), x.ndim, kernel.shape)
        return self._run(operator, x, kernel, precision)


class AnalogConvGeneralDilated(AnalogOp):
    """Stands in for ``lax.conv_general_dilated``."""

    def __call__(
        self, x, kernel, strides, padding, lhs_dilation=None, rhs_dilation=None,
        dimension_numbers=None, feature_group_count=1, precision=None, **other,
    ):  # fmt: skip
        refuse_options(other, self.path)
        _check_width([x.shape[-1]], [kernel.shape[-2] * feature_group_count], self.path)
        operator = convolution(
            kernel.shape, strides, padding, lhs_dilation, rhs_dilation, dimension_numbers, feature_group_count,
            self.path,
        )  # fmt: skip
        return self._run(operator, x, kernel, precision)


def _check_width(given: list[int], wanted: list[int], path: str) -> None:
    if given != wanted:
        raise InputError(
            f"layer {path}: the input's width does not fit the model's parameters: it has {given[0]} features, the "
            f"kernel takes {wanted[0]}"
            if len(given) == len(wanted) == 1
            else f"layer {path}: the input's axes {tuple(given)} do not fit the kernel's {tuple(wanted)}"
        )


def analog_ops(model: nnx.Module) -> dict[str, tuple[nnx.Module, AnalogOp]]:
    """Every analog layer of a model with its filled hook, by the layer's path; each hook learns its path."""
    found = {}
    for path, module in nnx.iter_modules(model):
        for hook in ("dot_general", "conv_general_dilated"):
            op = getattr(module, hook, None)
            if isinstance(op, AnalogOp):
                op.path = "/".join(map(str, path)) or "(the model itself)"
                found[op.path] = (module, op)
    return found


def stack_shape(module: Any, path: str) -> tuple[int, ...]:
    """Leading axes of a layer that ``nnx.vmap`` stacked: ``()`` for a plain layer, ``(3,)`` for three in a stack."""
    if isinstance(module, nnx.Conv):
        own = (*module.kernel_shape,)
    elif isinstance(module, nnx.Linear):
        own = (module.in_features, module.out_features)
    else:
        own = (*module.in_features, *module.out_features)
    shape = module.kernel[...].shape
    lead = len(shape) - len(own)
    if lead < 0 or shape[lead:] != own:
        raise InputError(
            f"layer {path}: its kernel of shape {shape} is not a stack of kernels {own} along the first axes; stack "
            f"layers with nnx.vmap(..., out_axes=0)"
        )
    return shape[:lead]


def kernel_matrix(module: Any, path: str) -> jax.Array:
    """The kernel of a Linear, LinearGeneral or Conv as ``[*stack, n_in, n_out]``, in its real form if it is complex."""
    kernel, lead = module.kernel[...], stack_shape(module, path)
    n_out = math.prod(module.out_features) if isinstance(module, nnx.LinearGeneral) else kernel.shape[-1]
    return real_matrix(kernel.reshape(*lead, -1, n_out))


def program(
    model: nnx.Module, key: jax.Array, onto: dict[str, tiles.Programmed] | None = None
) -> dict[str, tiles.Programmed]:
    """Every analog layer's kernel written onto fresh tiles, or onto these again, by the layer's path."""
    cells = {}
    if onto is not None and onto.keys() != analog_ops(model).keys():
        raise InputError(
            f"onto: the chip holds layers {sorted(onto)}, the model has {sorted(analog_ops(model))}; write a chip of "
            f"this model again"
        )
    for path, (module, op) in analog_ops(model).items():
        weights, own = kernel_matrix(module, path), stream(key, path)
        write, lead = functools.partial(tiles.program, op.hardware), weights.shape[:-2]
        for _ in lead:
            write = jax.vmap(write)
        keys = jax.random.split(own, lead) if lead else own
        cells[path] = write(weights, keys, None if onto is None else onto[path])
    return cells


def load(model: nnx.Module, readings: dict[str, tiles.Reading], key: jax.Array | None = None) -> None:
    """Put readings into the model's hooks, in place, and run them from now on; ``key`` restarts their noise streams."""
    ops = analog_ops(model)
    if readings.keys() != ops.keys():
        raise InputError(f"the chip holds layers {sorted(readings)}, the model has {sorted(ops)}; program one for it")
    for path, (module, op) in ops.items():
        op.array = nnx.data(Programmed(readings[path]))
        op.mode = "chip"
        if key is not None:
            own, lead = stream(key, path), stack_shape(module, path)
            fresh = nnx.RngStream(jax.random.split(own, lead) if lead else own, tag="analog")
            fresh.count[...] = jnp.zeros(lead, fresh.count[...].dtype)  # each of a stack counts its own draws
            op.stream = nnx.data(fresh)


def mark_places(model: nnx.Module) -> None:
    """Number the entries of every stack of layers, in place, so that ``observe`` can tell them apart."""
    for path, (module, op) in analog_ops(model).items():
        lead = stack_shape(module, path)
        op.place = nnx.data(Range(jnp.arange(math.prod(lead)).reshape(lead)))


def set_ranges(model: nnx.Module, path: str, input_range: jax.Array, output_range: jax.Array) -> None:
    """Give one layer its calibrated ranges, in place."""
    op = analog_ops(model)[path][1]
    op.input_range, op.output_range = nnx.data(Range(input_range)), nnx.data(Range(output_range))


def on_chip(model: nnx.Module, chip: Any, key: jax.Array | None = None) -> nnx.Module:
    """A copy of the model whose analog layers run on a programmed chip, at the time the chip is read at.

    Args:
      model: the model that the chip was programmed for. It is left as it is.
      chip: from ``analogsim.program(model, key=key)``, aged with ``chip.at("1 year")``.
      key: noise of the reads from now on; None keeps the model's own streams.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from flax import nnx
      >>> import analogsim
      >>> layer = AnalogLinear(4, 3, hardware=analogsim.preset("pcm"), rngs=nnx.Rngs(0))
      >>> chip = analogsim.program(layer, key=jax.random.key(1))
      >>> on_chip(layer, chip.at("1 day"))(jnp.ones((2, 4))).shape
      (2, 3)
    """
    if not isinstance(model, nnx.Module):
        raise InputError(f"model = {type(model).__name__}: must be a flax.nnx module")
    if not isinstance(chip, Chip):
        raise InputError(f"chip = {chip!r}: must be a chip from analogsim.program(model, key=key)")
    if key is not None:
        check_key(key)
    copy = nnx.clone(model)
    load(copy, chip.readings, key)
    return copy


def _check_mode(mode: str) -> str:
    if mode not in MODES:
        raise InputError(f"mode = {mode!r}: must be one of {', '.join(MODES)}; {nearest(str(mode), MODES)}")
    return mode
