"""Converter ranges from data: one digital pass over a few hundred examples, once, before programming.

A range that covers every value wastes codes on outliers; one that is too small clips. The ADC's range is measured on
what it converts (``analogsim.chips.adc_inputs``), by one of

    percentile   the quantile of the absolute values; 99.98 % keeps clipping negligible
    max          the largest absolute value
    error        the range with the least mean absolute error of the converter, found over quantiles whose tails are
                 spaced logarithmically, and refined between its neighbours
    granular     one code (LSB) for the smallest step that the sum of digital cells and inputs can make
    full         what a tile gives with all of its cells on and all of its rows driven: nothing ever clips

Where a weight is cut into slices that are added after conversion, digital logic adds them by shifting. The ranges of
slices may then differ by powers of two only: with q_p the slice's own range and q the most significant slice's,

    range_p = q / 2^floor(log2(q / q_p)) >= q_p        (for widths s_p, of range and q in digits, times 2^s_p - 1)

T. P. Xiao et al., IEEE CAS Magazine 22, 26 (2022), arXiv 2109.01262.
"""

import functools
import numbers
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from analogsim.base.errors import InputError, nearest
from analogsim.chips.adc_inputs import (
    ColumnReadout,
    ForwardPasses,
    MagnitudeSample,
    adc_input_values,
    check_finite,
    checked_sample,
    input_values,
    largest_adc_inputs,
    nominal,
    readout,
    smallest_input_step,
)
from analogsim.converters import TabulatedADC, quantise
from analogsim.hardware.rules import holder
from analogsim.models.bound import Sample, bind, front_end_of
from analogsim.signal_path.ranges import Ranges

METHODS = ("percentile", "max", "error", "granular", "full")


def calibrate(
    model: Any,
    variables: Any,
    x: Any,
    *,
    method: str = "percentile",
    quantile: float = 0.9998,
    margin: float | None = None,
    batch_size: int | None = None,
    report: bool = False,
    keep_inputs: bool = False,
    symmetric: bool = True,
    **options: Any,
) -> Any:
    """Choose every layer's converter ranges from the data in ``x``.

    Args:
      model, variables: a Linen model with analog layers and its variables, or an NNX model and None.
      x: representative inputs (``analogsim.Inputs``), ``[n, ...]`` each, or a list of batches of them.
      method: ``"percentile"``, ``"max"``, ``"error"``, ``"granular"`` or ``"full"`` (see the module) for the ADC's
        range. Input ranges are found alike by the first three, else by percentile.
      quantile: share of the absolute values that stays inside the range, by percentile.
      margin: the ADC's range is this much larger, room for what noise and drift add; None for 1.1 by percentile and
        max, otherwise 1.
      batch_size: examples that pass together, which bounds memory; None for about a million inputs, at least 512
        examples. Ranges depend on it only where the model computes with statistics of its batch.
      keep_inputs: leave the ranges of inputs as they are, for example learned, and find those of outputs for them.
      symmetric: False gives the ADCs' range two ends of its own, one below and one above zero (or at zero), for
        ``"percentile"`` and ``"max"``: lines of one sign, as those of ``Offset`` behind a rectifier, gain up to one
        bit, lines about zero nothing. It asks for ADCs whose range can be shifted, and adds ``middle``, what the range
        is about, to the layer's ranges; ``output`` is half its width.
      report: also give what the ranges do to ``x``, the share that each layer clips (``range_report``).
      **options: keyword arguments of the model's call, for example ``train=False``; those that hold arrays are inputs.

    Returns:
      For Linen, the variables with a ``ranges`` collection (which also remembers the input's shape, so that
      ``program`` needs no ``x``): each layer's ``input``, in the units of its input, and ``output``, in fully driven
      cells: one number, or one a readout line where weights are sliced. For NNX, nothing: the ranges are set in the
      model. With ``report``, both and the report.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from analogsim import preset
      >>> from analogsim.linen import AnalogDense
      >>> layer, x = AnalogDense(3, hardware=preset("pcm")), jnp.linspace(-2, 2, 400).reshape(100, 4)
      >>> variables = calibrate(layer, layer.init(jax.random.key(0), x), x)
      >>> round(float(variables["ranges"]["analog"]["input"]), 2)
      2.0
    """
    rule = _Rule(method, quantile, margin, symmetric)
    x, options = checked_sample(x, options)
    places = bind(model, variables, options=options).places(x)
    passes = ForwardPasses(model, variables, x, batch_size, options, places=True)
    layers: dict[int, _Layer] = {}
    for use in passes:
        check_finite(use.x, f"layer {use.path}: its input")
        check_finite(use.weights, f"layer {use.path}: its kernel")
        key = int(use.place)
        if key not in layers:
            layers[key] = _Layer(use, rule)
            layers[key].input_range = _held(use) if keep_inputs else 1.0
            if layers[key].input_range is None:  # before the rest of the data passes
                raise InputError(f"keep_inputs = True: layer {use.path} has no input range; calibrate it first")
        layers[key].inputs.add(input_values(use))
    for layer in layers.values():
        if not keep_inputs:
            layer.input_range = rule.input_range(layer.inputs, layer.hardware)
    for use in passes if rule.needs_lines else ():
        layer = layers[int(use.place)]
        for values in adc_input_values(use, Ranges(layer.input_range)):
            for s, lines in enumerate(layer.lines_used(use)):
                if rule.symmetric:
                    layer.lines[s].add(values[:, lines])
                else:
                    layer.lines[s].add(np.maximum(values[:, lines], 0))
                    layer.below[s].add(np.minimum(values[:, lines], 0))
    ranges = {path: _stacked([layers.get(int(n)) for n in numbers.ravel()], numbers.shape, path)
              for path, numbers in places.items()
              # Every table of an NNX model may be attended to; only a run shows which one is.
              if holder(path) == path or any(int(n) in layers for n in numbers.ravel())}  # fmt: skip
    calibrated = front_end_of(model).set_ranges(model, variables, ranges, Sample.of(x))
    return (calibrated, _reported(model, calibrated, x, batch_size, options)) if report else calibrated


def _reported(model: Any, variables: Any, x: Any, batch_size: int | None, options: dict[str, Any]) -> Any:
    from analogsim.chips.range_report import range_report

    return range_report(model, variables, x, batch_size=batch_size, **options)


def _held(use: Any) -> float | None:
    """The input range that a layer has; for one of a stack, its own entry."""
    return None if use.ranges.input is None else float(use.ranges.input)


class _Layer:
    """What one layer's converters saw; a layer that is used several times has seen it all."""

    def __init__(self, use: Any, rule: "_Rule"):
        self.path, self.hardware, self.rule = use.path, use.hardware, rule
        n_in, n_out = use.weights.shape
        self.n_out = n_out
        self.rows = 1 if use.is_lookup else -(-n_in // use.grid[0])  # driven at once
        self.readout: ColumnReadout = readout(use.hardware, n_in, n_out)
        self.inputs = MagnitudeSample()
        self.lines = [
            MagnitudeSample() for _ in self.readout.used
        ]  # magnitudes; of ranges with two ends, those above zero
        self.below = [MagnitudeSample() for _ in self.readout.used]
        self.input_range: float | None = None

    def lines_used(self, use: Any) -> list[np.ndarray]:
        """The lines of this use, slice by slice; the last matrix of a stack may have fewer outputs."""
        same = use.weights.shape[1] == self.n_out
        return (self.readout if same else readout(use.hardware, *use.weights.shape)).used

    def output_range(self) -> dict[str, jax.Array | None]:
        """One number, or one a line ``[n_columns]`` for sliced weights; in fully driven cells."""
        half, middle = self.rule.output_ranges(self)
        return {"output": self._by_line(half), "middle": None if middle is None else self._by_line(middle)}

    def _by_line(self, limits: np.ndarray) -> jax.Array:
        return jnp.asarray(limits[0] if len(limits) == 1 else limits[self.readout.map.slice], jnp.float32)


class _Rule:
    """How ranges are chosen."""

    def __init__(self, method: Any, quantile: Any, margin: Any, symmetric: Any):
        if method not in METHODS:
            hint = nearest(str(method), METHODS)
            raise InputError(f"method = {method!r}: must be one of {', '.join(METHODS)}; {hint}")
        if not _is_number(quantile) or not 0.5 <= quantile <= 1:
            raise InputError(f"quantile = {quantile!r}: must be at least 0.5 and at most 1")
        if margin is not None and not (_is_number(margin) and 1 <= margin < float("inf")):
            raise InputError(f"margin = {margin!r}: must be finite and at least 1")
        if not isinstance(symmetric, (bool, np.bool_)):
            raise InputError(f"symmetric = {symmetric!r}: must be True or False")
        if not symmetric and method not in ("percentile", "max"):
            raise InputError(f"symmetric = False: method must be 'percentile' or 'max', not {method!r}")
        self.method, self.quantile, self.symmetric = method, float(quantile), bool(symmetric)
        self.margin = (1.1 if method in ("percentile", "max") else 1.0) if margin is None else float(margin)
        self.needs_lines = method in ("percentile", "max", "error")

    def measured(self, seen: MagnitudeSample, convert: Callable[[Any, Any], Any] | None) -> float:
        """The range for a distribution, without margin; 0 for one of zeros. ``convert`` is None without a converter."""
        if self.method == "max":
            return seen.largest
        if self.method == "error" and convert is not None:
            return least_error(seen.values, convert)
        return float(np.quantile(seen.values, self.quantile))

    def input_range(self, seen: MagnitudeSample, hardware: Any) -> float:
        """Largest input, in its own units; 1 for a layer that saw only zeros."""
        dac = hardware.dac
        return self.measured(seen, None if dac is None else Partial(_rounded, dac)) or 1.0

    def ends(self, layer: _Layer) -> tuple[np.ndarray, np.ndarray]:
        """Half the width and the middle of each slice's range, which holds zero: no input is to give no output.

        By percentile, each end leaves half as much of the values out as the one limit of magnitudes does.
        """
        share = (1 + self.quantile) / 2

        def end(seen: MagnitudeSample) -> float:
            return seen.largest if self.method == "max" else float(np.quantile(seen.values, share))

        high, low = (self.margin * np.array([end(seen) for seen in side]) for side in (layer.lines, layer.below))
        return (high + low) / 2, (high - low) / 2

    def output_ranges(self, layer: _Layer) -> tuple[np.ndarray, np.ndarray | None]:
        """Largest value of each slice's lines, with margin; of a range with two ends half its width, and its middle."""
        adc, lines = layer.hardware.adc, layer.readout
        if not self.symmetric:
            half, middle = self.ends(layer)
            return shifted(half, lines.map.factor), middle
        if self.method == "granular" and adc is not None:
            return self.margin * _granular(layer, adc), None
        if self.method == "full" or not self.needs_lines:
            limits = largest_adc_inputs(layer.hardware, layer.rows, lines)
        else:
            convert = None if adc is None else Partial(_one_line, nominal(adc))
            limits = np.array([self.measured(seen, convert) for seen in layer.lines])
        return self.margin * shifted(limits, lines.map.factor), None


def _rounded(dac: Any, v: jax.Array, bound: Any) -> jax.Array:
    """Inputs ``[n]`` as the DAC drives them."""
    return quantise(v, dac.bits, bound)


def _one_line(adc: Any, v: jax.Array, bound: Any) -> jax.Array:
    """Conversion of values ``[n]`` by one line's converter."""
    return adc.convert(v[:, None], bound, None)[:, 0]


@jax.jit
def _mean_error(convert: Partial, v: jax.Array, bound: Any) -> jax.Array:
    """Compiled once for all layers that have as many values and the same kind of converter."""
    return jnp.mean(jnp.abs(convert(v, bound) - v))


def shifted(limits: Any, factors: Any) -> np.ndarray:
    """Ranges that are at least ``limits`` and whose steps, times what the slices count, differ by powers of two.

    Args:
      limits: each slice's own range; 0 where a slice is not used.
      factors: what each slice counts. The slice with the largest ``limit * factor`` keeps its own range.

    Example:
      >>> shifted([3.0, 1.0], [1.0, 4.0]).tolist()      # 4 or 2 or 1 are powers of two from 1: the smallest >= 3 is 4
      [4.0, 1.0]
    """
    counted = np.asarray(limits, float) * factors
    most = counted.max()
    if most == 0:
        return np.ones_like(counted)
    # The tiny addend keeps rounding from doubling a range that is a power of two away already.
    shifts = np.floor(np.log2(most / np.where(counted > 0, counted, most)) + 1e-6)
    return most / 2.0**shifts / factors


def least_error(values: np.ndarray, convert: Callable[[Any, Any], Any]) -> float:
    """The range with the least mean absolute error of ``convert(values, range)``; 0 if all values are 0.

    Example:
      >>> two_codes = lambda v, bound: jnp.where(v > bound / 2, bound, 0.0)
      >>> round(least_error(np.array([0.0, 0.0, 1.0, 1.0, 1.0, 4.0]), two_codes), 3)      # 4 is worth clipping
      1.0
    """
    values = np.abs(values)
    top = float(values.max())
    if top == 0:
        return 0.0
    error = functools.partial(_mean_error, convert if isinstance(convert, Partial) else Partial(convert))
    tails = np.geomspace(0.5, 1 / values.size, 24)
    tried = np.unique([*np.quantile(values, 1 - tails), top])
    tried = tried[tried > 0]
    held = jnp.asarray(values)
    for refined in (False, True, True):
        errors = [float(error(held, bound)) for bound in tried]
        best = int(np.argmin(errors))
        if not refined or len(tried) > 1:
            around = tried[max(best - 1, 0)], tried[min(best + 1, len(tried) - 1)]
            found, tried = float(tried[best]), np.unique([*np.geomspace(*around, 9), tried[best]])
    return found


def _granular(layer: _Layer, adc: Any) -> np.ndarray:
    """Ranges in which one code is the smallest step of a line."""
    if isinstance(adc, TabulatedADC):
        raise InputError("method = 'granular': the ADC's steps come from a table and are not all alike")
    steps, driven = layer.readout.map.step, smallest_input_step(layer.hardware.dac)
    if steps is None or driven is None:
        what = "weights are not cut into digits (mapping.slices)" if steps is None else "inputs are not quantised (dac)"
        raise InputError(f"method = 'granular': layer {layer.path} has no smallest step of its outputs, its {what}")
    return steps * driven / float(adc.lsb)


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _stacked(layers: list[Any], shape: tuple[int, ...], path: str) -> dict[str, jax.Array]:
    if None in layers:
        raise InputError(f"layer {path}: nothing of x reaches it; calibrate with inputs that make use of every layer")
    inputs = jnp.asarray([layer.input_range for layer in layers], jnp.float32).reshape(shape)
    output_ranges = [layer.output_range() for layer in layers]
    stacked: dict[str, Any] = {"input": inputs, "middle": None}  # None: what an earlier calibration found
    for name in output_ranges[0]:
        if output_ranges[0][name] is not None:
            values = jnp.stack([one[name] for one in output_ranges])
            stacked[name] = values.reshape(*shape, *values.shape[1:])
    return stacked
