"""Modules for the matmul hooks of NNX layers; they hold a layer's chip, ranges and noise stream, and no parameters.

A hook defines how its layer multiplies the kernel with an input, and which matrix a chip is programmed with when there
is no input. ``analogsim.layers.layer`` computes the output in each mode.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.lax import PrecisionLike

from analogsim.base.errors import InputError, nearest
from analogsim.base.random import own_key
from analogsim.hardware.hardware import Hardware
from analogsim.hardware.override import effective_hardware
from analogsim.hardware.rules import ROOT
from analogsim.layers import layer
from analogsim.layers.options import caster
from analogsim.signal_path.operators import Lookup, convolution, dot_general, einsum, for_numbers
from analogsim.signal_path.operators.convolution import towards_features
from analogsim.signal_path.programmed import ChipArray
from analogsim.signal_path.ranges import Ranges

MODES = ("train", "chip", "digital")

#: Attributes of a hook by the field of ``Ranges`` that they store.
RANGES = {
    "input": "input_range",
    "output": "output_range",
    "weight": "weight_range",
    "scale": "output_scale",
    "middle": "output_middle",
}


@nnx.register_variable_name("analog")
class ProgrammedVariable(nnx.Variable):
    """One layer's array on a chip, as read at one time (``ChipArray``). ``load`` stores it in ``AnalogOp.array``."""


@nnx.register_variable_name("ranges")
class RangeVariable(nnx.Variable):
    """One calibrated range of a layer. ``AnalogOp.set_range`` stores it in the layer's hook."""


class KernelVariable(ProgrammedVariable):
    """The kernel that reached a layer's hook in one call; filters select it together with programmed arrays."""


def check_rngs(rngs: Any, where: str) -> None:
    """Raise ``InputError`` unless ``rngs`` is ``nnx.Rngs``."""
    if not isinstance(rngs, nnx.Rngs):
        raise InputError(f"{where}: rngs = {rngs!r}: must be nnx.Rngs, for example nnx.Rngs(0)")


def attach(module: nnx.Module, hardware: Hardware, *, stream: nnx.RngStream | None = None, path: str = "") -> None:
    """Fill the matmul hook of one ``nnx.Linear``, ``LinearGeneral``, ``Einsum`` or ``Conv``, in place.

    Args:
      module: the layer.
      hardware: hardware that stores its kernel.
      stream: its noise stream, required for hardware-aware training.
      path: its path in messages, until ``analog_ops`` sees the whole model; by default the name of its class.

    Raises:
      InputError: if ``hardware`` is not a ``Hardware``, or the layer has no matmul hook.

    Example:
      >>> from analogsim import preset
      >>> layer = nnx.Linear(4, 3, rngs=nnx.Rngs(0))
      >>> attach(layer, preset("pcm"), stream=nnx.Rngs(1)["analog"].fork())
      >>> layer(jnp.ones((2, 4))).shape
      (2, 3)
    """
    path = path or type(module).__name__
    if not isinstance(hardware, Hardware):
        raise InputError(f"hardware = {hardware!r}: must be a Hardware such as preset('pcm'), or None")
    for kind, (name, hook) in HOOKS.items():
        if isinstance(module, kind):
            op = hook(hardware, stream=stream, path=path)
            if isinstance(module, nnx.Einsum):
                op.equation = module.einsum_str
            setattr(module, name, nnx.data(op))
            return
    known = ", ".join(kind.__name__ for kind in HOOKS)
    raise InputError(f"{type(module).__name__} has no matmul hook; known: {known}")


class AnalogOp(nnx.Module):
    """Base class of hooks, with their state: hardware, mode, chip, ranges and noise stream.

    Implements the parts of ``layers.layer.LayerState`` that calls of NNX layers use; programming and numbering of
    ranges happen outside of calls (``nnx.chips``). ``attach`` builds the hook that fits a layer.

    Args:
      hardware: hardware that stores the layer's kernel.
      stream: the layer's noise stream, required for hardware-aware training.
      path: path of the layer in messages.
    """

    #: The first equation of an ``nnx.Einsum``, which determines how its kernel is laid out on tiles.
    equation: str | None = None

    def __init__(self, hardware: Hardware, *, stream: nnx.RngStream | None, path: str):
        # Flax 0.12 decides on first assignment whether an attribute is data or static. Without nnx.data, None and
        # Hardware would be static, and a static attribute refuses a Variable, and arrays (swept values).
        self.hardware = nnx.data(hardware)
        self.mode = "train"
        self.path = path
        self.array: ProgrammedVariable | None = nnx.data(None)
        for attribute in RANGES.values():
            setattr(self, attribute, nnx.data(None))
        self.place: RangeVariable | None = nnx.data(None)
        self.captured_kernel: KernelVariable | None = nnx.data(None)
        self.stream = nnx.data(stream)

    @property
    def runs_on(self) -> Hardware:
        """The layer's hardware, after overrides by ``analogsim.override_hardware``."""
        return effective_hardware(self.hardware, self.path)

    @property
    def ranges(self) -> Ranges:
        """The layer's calibrated ranges and output scale."""
        variables = {name: getattr(self, attribute) for name, attribute in RANGES.items()}
        return Ranges(**{name: None if value is None else value.get_value() for name, value in variables.items()})

    def set_range(self, name: str, value: Any) -> None:
        """Set one field of ``Ranges``; None removes it."""
        setattr(self, RANGES[name], nnx.data(None if value is None else RangeVariable(jnp.asarray(value))))

    def set_view(self, mode: str | None = None):
        """Select how the product is computed; called by ``nnx.view``.

        Args:
          mode: 'train' (a fresh chip per call), 'chip' (the loaded chip) or 'digital'.
        """
        # nnx.view_info parses the lines below "Args:", so they keep the form "name: description".
        if mode is not None:
            if mode not in MODES:
                raise InputError(f"mode = {mode!r}: must be one of {', '.join(MODES)}; {nearest(str(mode), MODES)}")
            self.mode = mode

    def _run(self, operator: Any, x: jax.Array, kernel: jax.Array, precision: PrecisionLike) -> jax.Array:
        hardware, place = self.runs_on, None if self.place is None else self.place.get_value()
        operator = for_numbers(operator, x, kernel, self.path, hardware)
        call = layer.LayerCall(self.path, hardware, operator, x, kernel, self.ranges, self, place, precision)
        return layer.forward(call, exact=self.mode == "digital")

    # From here: ``layer.LayerState``.
    key_hint = ""
    tracks_ranges = True

    def chip_array(self) -> ChipArray | None:
        """Return the layer's array on the loaded chip; None in training."""
        if self.mode != "chip":
            return None
        if self.array is None:
            raise InputError(f"layer {self.path}: mode 'chip' without a chip; load one with on_chip(model, chip)")
        return self.array.get_value()

    def keys(self) -> tuple[jax.Array | None, None]:
        """Return the next key of the noise stream; a fresh chip is fabricated from it, too."""
        if self.stream is None and self.mode == "train" and layer.needs_key(self.runs_on):
            raise InputError(f"layer {self.path} has no noise stream: build or convert it with rngs=nnx.Rngs(0)")
        return None if self.stream is None else _next_key(self.stream), None

    def store_ranges(self, ranges: dict[str, jax.Array]) -> None:
        """Store tracked ranges."""
        for name, value in ranges.items():
            variable = getattr(self, RANGES[name])
            if variable is None:
                self.set_range(name, value)
            else:  # keep the Variable: a loop of steps needs the same structure before and after
                variable.set_value(value)

    def capture_kernel(self, kernel: jax.Array) -> bool:
        """Store the kernel that reached the layer if ``nnx.matrices`` has made a place for it."""
        if self.captured_kernel is None:
            return False
        # Loops carry the Variable, and JAX requires that a carry keeps its dtype.
        self.captured_kernel.set_value(kernel.astype(self.captured_kernel.get_value().dtype))
        return True

    def layout(self, module: nnx.Module, kernel_shape: tuple[int, ...]) -> Any:
        """Return the operator that maps a layer's kernel of this shape to its matrix on tiles, without an input."""
        raise NotImplementedError


def _next_key(stream: nnx.RngStream) -> jax.Array:
    """Return the next key of a stream, as calling it does, but derived in fewer operations."""
    count = stream.count[...]
    stream.count[...] = count + 1
    return jax.random.fold_in(own_key(stream.key[...]), count)


class AnalogDotGeneral(AnalogOp):
    """Replaces ``lax.dot_general`` inside a Linear or LinearGeneral."""

    def __call__(self, x, kernel, dimension_numbers, precision=None, **options):
        (x_contract, kernel_contract), _ = dimension_numbers
        cast = caster(options, self.path)
        _check_width([x.shape[d] for d in x_contract], [kernel.shape[d] for d in kernel_contract], self.path)
        operator = dot_general(dimension_numbers, x.ndim, kernel.shape, self.runs_on)
        return cast(self._run(operator, x, kernel, precision))

    def layout(self, module, kernel_shape):
        batch, contract = 0, 1
        if isinstance(module, nnx.LinearGeneral):
            batch, contract = len(module.batch_axis), len(module.axis)
        of_batch, of_rows = tuple(range(batch)), tuple(range(batch, batch + contract))
        dims = ((of_rows, of_rows), (of_batch, of_batch))  # for an input that has only these axes
        return dot_general(dims, batch + contract, kernel_shape, self.runs_on)


class AnalogEinsum(AnalogOp):
    """Replaces ``jnp.einsum`` of an input and a kernel; the layer's equation determines the layout of the kernel."""

    def __call__(self, equation, x, kernel, precision=None, **options):
        cast = caster(options, self.path)
        operator, x = einsum(equation, x, kernel.shape, self.runs_on, self.path)
        first = self.equation
        if first not in (None, equation) and operator.layout != self.by_equation(first, kernel.shape).layout:
            raise InputError(
                f"layer {self.path}: einsum {equation!r}: the array of this layer is laid out for {first!r}; use a "
                f"layer for each"
            )
        return cast(self._run(operator, x, kernel, precision))

    def layout(self, module, kernel_shape):
        return self.by_equation(module.einsum_str, kernel_shape)

    def by_equation(self, equation: str, kernel_shape: tuple[int, ...]) -> Any:
        """Return the operator for an input whose ellipsis stands for no axes."""
        of_x = equation.replace(" ", "").partition(",")[0].replace("...", "")
        return einsum(equation, jnp.zeros((1,) * len(of_x)), kernel_shape, self.runs_on, self.path)[0]


class AnalogAttend(AnalogEinsum):
    """Products of queries with all rows of a table, which a separate array stores transposed."""

    equation = "...d,nd->...n"

    def layout(self, module, kernel_shape):
        return self.by_equation(self.equation, kernel_shape)


class AnalogConvGeneralDilated(AnalogOp):
    """Replaces ``lax.conv_general_dilated``."""

    def __call__(
        self, x, kernel, strides, padding, lhs_dilation=None, rhs_dilation=None,
        dimension_numbers=None, feature_group_count=1, precision=None, **options,
    ):  # fmt: skip
        cast = caster(options, self.path)
        _check_width([x.shape[-1]], [kernel.shape[-2] * feature_group_count], self.path)
        operator = convolution(
            kernel.shape, strides, padding, lhs_dilation, rhs_dilation, dimension_numbers, feature_group_count,
            self.runs_on,
        )  # fmt: skip
        return cast(self._run(operator, x, kernel, precision))

    def layout(self, module, kernel_shape):
        groups, n = getattr(module, "feature_group_count", 1), len(kernel_shape) - 2
        if getattr(module, "transpose_kernel", False):
            kernel_shape = (*kernel_shape[:-2], kernel_shape[-1], kernel_shape[-2])
        return convolution(kernel_shape, (1,) * n, "VALID", None, None, None, groups, self.runs_on)


class AnalogTake(AnalogOp):
    """Replaces ``jnp.take`` of a table's rows."""

    def __call__(self, table, numbers):
        return self._run(Lookup(table.shape[0]), numbers, table, None)

    def layout(self, module, kernel_shape):
        return Lookup(kernel_shape[0])


#: Flax's matmul hooks by class of layer: the attribute, and the module that fills it.
HOOKS: dict[type[nnx.Module], tuple[str, type[AnalogOp]]] = {
    nnx.Linear: ("dot_general", AnalogDotGeneral),
    nnx.LinearGeneral: ("dot_general", AnalogDotGeneral),
    nnx.Einsum: ("einsum_op", AnalogEinsum),
    nnx.Conv: ("conv_general_dilated", AnalogConvGeneralDilated),
}


def path_of(parts: tuple) -> str:
    """Return the path of a module, ``"layers/0"``, from its key in ``nnx.iter_modules``."""
    return "/".join(map(str, parts)) or ROOT


def matrix_of(module: Any) -> nnx.Param:
    """Return the parameter of a layer that is its matrix: the kernel, or the table of an Embed."""
    return module.embedding if isinstance(module, nnx.Embed) else module.kernel


def single_shape(module: Any) -> tuple[int, ...]:
    """Return the shape of the kernel of one layer of a stack, from the settings of the layer."""
    if isinstance(module, nnx.Embed):
        return (module.num_embeddings, module.features)
    if isinstance(module, nnx.Linear):
        return (module.in_features, module.out_features)
    if isinstance(module, nnx.LinearGeneral):
        return (*module.batch_axis.values(), *module.in_features, *module.out_features)
    return tuple(module.kernel_shape)


def stack_axes(module: nnx.Module) -> tuple[int, ...] | None:
    """Return the leading axes along which ``nnx.vmap`` stacked a layer; None if it stacked along other axes."""
    single, shape = single_shape(module), matrix_of(module)[...].shape
    lead = len(shape) - len(single)
    return None if lead < 0 or shape[lead:] != single else shape[:lead]


def written(module: Any, kernel: jax.Array) -> jax.Array:
    """Return the kernel that the layer multiplies with: masked, and flipped for a transposed convolution."""
    if isinstance(module, nnx.Embed):
        return kernel
    if getattr(module, "mask", None) is not None:
        kernel = kernel * module.mask
    return towards_features(kernel) if getattr(module, "transpose_kernel", False) else kernel


def _check_width(sizes: list[int], expected_sizes: list[int], path: str) -> None:
    if sizes != expected_sizes:
        raise InputError(
            f"layer {path}: the input's width does not fit the model's parameters: it has {sizes[0]} features, the "
            f"kernel takes {expected_sizes[0]}"
            if len(sizes) == len(expected_sizes) == 1
            else f"layer {path}: the input's axes {tuple(sizes)} do not fit the kernel's {tuple(expected_sizes)}"
        )
