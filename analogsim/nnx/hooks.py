"""What fills the matmul hooks of NNX layers: modules that hold a layer's chip, ranges and noise, no parameters.

A hook knows two things of its layer: how an input meets the kernel when the layer is called, and, without an input,
which matrix the kernel is when a chip is programmed. What it computes in each mode is ``analogsim.layers.layer``.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from analogsim.base.errors import InputError, nearest
from analogsim.hardware.hardware import Hardware
from analogsim.hardware.override import effective_hardware
from analogsim.layers import layer
from analogsim.layers.options import caster
from analogsim.signal_path.operators import Lookup, convolution, dot_general, einsum, for_numbers
from analogsim.signal_path.operators.convolution import towards_features
from analogsim.signal_path.programmed import ChipArray
from analogsim.signal_path.ranges import Ranges

MODES = ("train", "chip", "digital")

#: Where a hook keeps the fields of ``Ranges``.
RANGES = {
    "input": "input_range", "output": "output_range", "weight": "weight_range", "scale": "output_scale",
    "middle": "output_middle",
}  # fmt: skip


@nnx.register_variable_name("analog")
class ProgrammedVariable(nnx.Variable):
    """One layer's array on a chip, as it is read now."""


@nnx.register_variable_name("ranges")
class RangeVariable(nnx.Variable):
    """One calibrated range of a layer."""


class KernelVariable(ProgrammedVariable):
    """The kernel that reached a layer's hook in one call; where what is programmed goes, this goes."""


def check_rngs(rngs: Any, where: str) -> None:
    """Refuse what is no ``nnx.Rngs``, with the remedy."""
    if not isinstance(rngs, nnx.Rngs):
        raise InputError(f"{where}: rngs = {rngs!r}: must be nnx.Rngs, for example nnx.Rngs(0)")


def attach(module: nnx.Module, hardware: Hardware, *, stream: nnx.RngStream | None = None, path: str = "") -> None:
    """Fill the matmul hook of one ``nnx.Linear``, ``LinearGeneral``, ``Einsum`` or ``Conv`` in place.

    Args:
      module: the layer.
      hardware: what its kernel is stored on.
      stream: its noise; without one it cannot be trained hardware-aware.
      path: its name in messages until the whole model is seen.
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
    """State of a filled hook: hardware, mode, chip, ranges, noise stream."""

    equation: str | None = None

    def __init__(self, hardware: Hardware, *, stream: nnx.RngStream | None, path: str):
        self.hardware = nnx.data(hardware)
        self.mode = "train"
        self.path = path
        self.array: ProgrammedVariable | None = nnx.data(None)
        self.input_range: RangeVariable | None = nnx.data(None)
        self.output_range: RangeVariable | None = nnx.data(None)
        self.weight_range: RangeVariable | None = nnx.data(None)
        self.output_scale: RangeVariable | None = nnx.data(None)
        self.output_middle: RangeVariable | None = nnx.data(None)
        self.place: RangeVariable | None = nnx.data(None)
        self.captured_kernel: KernelVariable | None = nnx.data(None)
        self.stream = nnx.data(stream)

    @property
    def runs_on(self) -> Hardware:
        """The hardware, as ``analogsim.override_hardware`` has it here."""
        return effective_hardware(self.hardware, self.path)

    @property
    def ranges(self) -> Ranges:
        """The layer's ranges and scale."""
        variables = {name: getattr(self, attribute) for name, attribute in RANGES.items()}
        return Ranges(**{name: None if value is None else value.get_value() for name, value in variables.items()})

    def set_range(self, name: str, value: Any) -> None:
        """Set one field of the ranges; None takes it away."""
        setattr(self, RANGES[name], nnx.data(None if value is None else RangeVariable(jnp.asarray(value))))

    def set_view(self, mode: str | None = None):
        """Where the product is computed.

        Args:
          mode: 'train' (a fresh chip each call), 'chip' (the loaded chip) or 'digital'.
        """
        self.mode = self.mode if mode is None else _check_mode(mode)

    def _run(self, operator: Any, x: jax.Array, kernel: jax.Array, precision: Any) -> jax.Array:
        hardware, place = self.runs_on, None if self.place is None else self.place.get_value()
        operator = for_numbers(operator, x, kernel, self.path, hardware)
        call = layer.LayerCall(self.path, hardware, operator, x, kernel, self.ranges, self, place, precision)
        return layer.forward(call, exact=self.mode == "digital")

    # What a call of the layer asks of its state: see ``layer.LayerState``.
    key_hint = ""
    tracks_ranges = True

    def chip_array(self) -> ChipArray | None:
        """What the loaded chip gives the layer; None in training."""
        if self.mode != "chip":
            return None
        if self.array is None:
            raise InputError(f"layer {self.path}: mode 'chip' without a chip; load one with on_chip(model, chip)")
        return self.array.get_value()

    def keys(self) -> tuple[jax.Array | None, None]:
        """The next key of the noise stream, of which a fresh chip is fabricated, too."""
        if self.stream is None and self.mode == "train" and layer.needs_key(self.runs_on):
            raise InputError(f"layer {self.path} has no noise stream: build or convert it with rngs=nnx.Rngs(0)")
        return None if self.stream is None else self.stream(), None

    def store_ranges(self, ranges: dict[str, jax.Array]) -> None:
        """Keep ranges that follow the values."""
        for name, value in ranges.items():
            variable = getattr(self, RANGES[name])
            if variable is None:
                self.set_range(name, value)
            else:
                variable.set_value(value)

    def capture_kernel(self, kernel: jax.Array) -> bool:
        """Keep the kernel that reached the layer, where ``nnx.matrices`` has made a place for it."""
        if self.captured_kernel is None:
            return False
        self.captured_kernel.set_value(kernel.astype(self.captured_kernel.get_value().dtype))
        return True

    def layout(self, module: Any, kernel_shape: tuple[int, ...]) -> tuple[Any, str]:
        """How inputs will meet the module's kernel of this shape, and the name of that parameter."""
        raise NotImplementedError


class AnalogDotGeneral(AnalogOp):
    """Stands in for ``lax.dot_general`` inside a Linear or LinearGeneral."""

    def __call__(self, x, kernel, dimension_numbers, precision=None, **options):
        (x_contract, kernel_contract), _ = dimension_numbers
        cast = caster(options, self.path)
        _check_width([x.shape[d] for d in x_contract], [kernel.shape[d] for d in kernel_contract], self.path)
        operator = dot_general(dimension_numbers, x.ndim, kernel.shape, self.runs_on)
        return cast(self._run(operator, x, kernel, precision))

    def layout(self, module, kernel_shape):
        batch, contract = (
            (len(module.batch_axis), len(module.axis)) if isinstance(module, nnx.LinearGeneral) else (0, 1)
        )
        of_batch, of_rows = tuple(range(batch)), tuple(range(batch, batch + contract))
        dims = ((of_rows, of_rows), (of_batch, of_batch))  # of an input with just these axes
        return dot_general(dims, batch + contract, kernel_shape, self.runs_on), "kernel"


class AnalogEinsum(AnalogOp):
    """Stands in for ``jnp.einsum`` of an input and a kernel, which is laid out as the layer's own equation has it."""

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
        return self.by_equation(module.einsum_str, kernel_shape), "kernel"

    def by_equation(self, equation: str, kernel_shape: tuple[int, ...]) -> Any:
        """The operator for an input whose ellipsis stands for no axis."""
        of_x = equation.replace(" ", "").partition(",")[0].replace("...", "")
        return einsum(equation, jnp.zeros((1,) * len(of_x)), kernel_shape, self.runs_on, self.path)[0]


class AnalogAttend(AnalogEinsum):
    """Products of queries with all rows of a table, which an array of its own holds the other way round."""

    equation = "...d,nd->...n"

    def layout(self, module, kernel_shape):
        return self.by_equation(self.equation, kernel_shape), "embedding"


class AnalogConvGeneralDilated(AnalogOp):
    """Stands in for ``lax.conv_general_dilated``."""

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
        return convolution(kernel_shape, (1,) * n, "VALID", None, None, None, groups, self.runs_on), "kernel"


class AnalogTake(AnalogOp):
    """Stands in for ``jnp.take`` of a table's rows."""

    def __call__(self, table, numbers):
        return self._run(Lookup(table.shape[0]), numbers, table, None)

    def layout(self, module, kernel_shape):
        return Lookup(kernel_shape[0]), "embedding"


#: Hooks that Flax gives, by the type of layer: the attribute, and what fills it.
HOOKS: dict[type, tuple[str, type[AnalogOp]]] = {
    nnx.Linear: ("dot_general", AnalogDotGeneral),
    nnx.LinearGeneral: ("dot_general", AnalogDotGeneral),
    nnx.Einsum: ("einsum_op", AnalogEinsum),
    nnx.Conv: ("conv_general_dilated", AnalogConvGeneralDilated),
}


def written(module: Any, name: str, kernel: jax.Array) -> jax.Array:
    """The kernel as the layer multiplies with it: masked, turned round for a transposed convolution."""
    if name == "kernel" and getattr(module, "mask", None) is not None:
        kernel = kernel * module.mask
    if getattr(module, "transpose_kernel", False):
        kernel = towards_features(kernel)
    return kernel


def _check_width(sizes: list[int], expected_sizes: list[int], path: str) -> None:
    if sizes != expected_sizes:
        raise InputError(
            f"layer {path}: the input's width does not fit the model's parameters: it has {sizes[0]} features, the "
            f"kernel takes {expected_sizes[0]}"
            if len(sizes) == len(expected_sizes) == 1
            else f"layer {path}: the input's axes {tuple(sizes)} do not fit the kernel's {tuple(expected_sizes)}"
        )


def _check_mode(mode: str) -> str:
    if mode not in MODES:
        raise InputError(f"mode = {mode!r}: must be one of {', '.join(MODES)}; {nearest(str(mode), MODES)}")
    return mode
