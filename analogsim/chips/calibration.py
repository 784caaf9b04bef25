"""Converter ranges from data: one digital pass over a few hundred examples, before programming.

A range that covers every value wastes codes on outliers; a range that is too small clips. The ADC range is measured on
the ADC inputs (``analogsim.chips.adc_inputs``) by one of these methods:

    percentile   a quantile of the absolute values; 99.98 % keeps clipping negligible
    max          the largest absolute value
    error        the range with the smallest mean absolute error of the converter, searched over quantiles with
                 logarithmically spaced tails and refined between the neighbours of the best one
    granular     one code (LSB) per smallest step of the sum over digital cells and inputs
    full         the ADC input with all cells of a column on and all rows driven: nothing ever clips

If a weight is cut into slices that are added after conversion, digital logic adds them by shifting, so that ranges of
slices may differ by powers of two only. With q_p the range of slice p alone, and q that of the most significant slice,

    range_p = q / 2^floor(log2(q / q_p)) >= q_p

where range and q are counted in digits: for a slice of s_p bits, 2^s_p - 1 times their value in fully driven cells.

T. P. Xiao et al., IEEE CAS Magazine 22, 26 (2022), arXiv 2109.01262.
"""

import functools
import numbers
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from analogsim.base.errors import InputError, nearest
from analogsim.base.types import Numeric, PyTree
from analogsim.chips.adc_inputs import (
    ColumnReadout,
    ForwardPasses,
    MagnitudeSample,
    adc_inputs,
    check_finite,
    checked_sample,
    input_values,
    largest_adc_inputs,
    nominal,
    readout,
    smallest_input_step,
)
from analogsim.chips.range_report import range_report
from analogsim.converters import TabulatedADC, quantise
from analogsim.hardware.hardware import Hardware
from analogsim.hardware.rules import holder
from analogsim.layers.layer import LayerUse
from analogsim.models.bound import Sample, bind, front_end_of
from analogsim.signal_path.ranges import Ranges

METHODS = ("percentile", "max", "error", "granular", "full")


def calibrate(
    model: Any,
    variables: PyTree,
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
    """Choose the converter ranges of every layer from data.

    Args:
      model, variables: a Linen model with analog layers and its variables, or an NNX model and None.
      x: representative inputs (``analogsim.Inputs``), ``[n, ...]`` each, or a list of batches of them.
      method: how to choose ADC ranges: ``"percentile"``, ``"max"``, ``"error"`` (smallest conversion error),
        ``"granular"`` (one code per digital step) or ``"full"`` (no clipping); equations in the module. Input ranges
        use the same method for the first three, else the percentile.
      quantile: fraction of the absolute values inside the range, 0.5 to 1, for the percentile.
      margin: factor >= 1 on the ADC range, which leaves room for noise and drift; None for 1.1 by percentile and
        max, else 1.
      batch_size: number of examples that pass together, which bounds memory; None for about a million input numbers, at
        least 512 examples. It changes the ranges only of models that compute statistics of their batch.
      report: also return a ``RangeReport`` of the fractions of ``x`` that the ranges clip.
      keep_inputs: keep existing input ranges, such as learned ones, and choose only the output ranges for them.
      symmetric: False gives ADC ranges separate limits below and above zero (or at zero), with ``"percentile"`` and
        ``"max"`` and ADCs whose range can be shifted. Columns of one sign, as with ``Offset`` behind a rectifier, gain
        up to one bit; columns with values about zero gain nothing. Layers then also get the range ``middle``, the
        centre, and ``output`` is half the width.
      **options: keyword arguments of the model's call, for example ``train=False``; those with arrays count as inputs.

    Returns:
      For Linen, the variables with a ``ranges`` collection, which also stores the shape of ``x``, so that ``program``
      needs no ``x``. Each layer has ``input``, in the units of its input, and ``output``, in fully driven cells: one
      number, or ``[n_columns]`` for sliced weights. For NNX, None: the ranges are set in the model. With ``report``,
      a pair of this and the report.

    Raises:
      InputError: for data that are empty or not finite or do not reach every layer, an option out of range, a method
        that the hardware does not allow, or ``keep_inputs`` for a layer without an input range.

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
        place = int(use.place)
        if place not in layers:
            layers[place] = _Layer(use, rule)
            if keep_inputs and use.ranges.input is None:  # before the remaining data pass
                raise InputError(f"keep_inputs = True: layer {use.path} has no input range; calibrate it first")
            if keep_inputs:
                layers[place].input_range = float(use.ranges.input)
        layers[place].inputs.add(input_values(use))
    for layer in layers.values():
        if not keep_inputs:
            layer.input_range = rule.input_range(layer.inputs, layer.hardware)
    # A second pass, because ADC inputs depend on the input ranges that the first one gives.
    for uses in passes.batches() if rule.needs_values else ():
        for use, values in adc_inputs(uses, lambda use: Ranges(layers[int(use.place)].input_range)):
            layers[int(use.place)].add_adc_inputs(use, values)
    ranges = {}
    for path, indices in places.items():
        # An NNX table has a place for ``attend``, whether or not it is called; only a run shows which is.
        if holder(path) == path or any(int(n) in layers for n in indices.ravel()):
            ranges[path] = _stacked([layers.get(int(n)) for n in indices.ravel()], indices.shape, path)
    calibrated = front_end_of(model).set_ranges(model, variables, ranges, Sample.of(x))
    if not report:
        return calibrated
    return calibrated, range_report(model, calibrated, x, batch_size=batch_size, **options)


class _Layer:
    """Values at the converters of one layer, over all of its uses."""

    def __init__(self, use: LayerUse, rule: "_Rule"):
        self.path, self.hardware, self.rule = use.path, use.hardware, rule
        n_in, n_out = use.weights.shape
        self.n_out = n_out
        self.rows = 1 if use.is_lookup else -(-n_in // use.grid[0])  # driven at once
        self.readout: ColumnReadout = readout(use.hardware, n_in, n_out)
        self.input_range = 1.0
        self.inputs = MagnitudeSample()
        # ADC inputs of each slice: their magnitudes, or, for ranges with two limits, the parts above and below zero.
        self.columns = [MagnitudeSample() for _ in self.readout.used]
        self.below = [MagnitudeSample() for _ in self.readout.used]

    def add_adc_inputs(self, use: LayerUse, parts: Iterable[np.ndarray]) -> None:
        # The last matrix of a stack may have fewer outputs, and so other columns.
        is_like_first = use.weights.shape[1] == self.n_out
        used = (self.readout if is_like_first else readout(use.hardware, *use.weights.shape)).used
        for values in parts:
            for s, columns in enumerate(used):
                if self.rule.symmetric:
                    self.columns[s].add(values[:, columns])
                else:
                    self.columns[s].add(np.maximum(values[:, columns], 0))
                    self.below[s].add(np.minimum(values[:, columns], 0))

    def output_range(self) -> dict[str, np.ndarray | None]:
        """Return ``output`` and ``middle``: one number each, or ``[n_columns]`` for sliced weights."""
        half, middle = self.rule.output_ranges(self)
        return {"output": self._of_columns(half), "middle": None if middle is None else self._of_columns(middle)}

    def _of_columns(self, limits: np.ndarray) -> np.ndarray:
        return np.asarray(limits[0] if len(limits) == 1 else limits[self.readout.map.slice], np.float32)


class _Rule:
    """The checked options that choose ranges."""

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
        self.needs_values = method in ("percentile", "max", "error")

    def measured(self, sample: MagnitudeSample, convert: Partial | None) -> float:
        """Return the range for a distribution, without margin; ``convert`` is None without a converter."""
        if self.method == "max":
            return sample.largest
        if self.method == "error" and convert is not None:
            return least_error(sample.values, convert)
        return float(np.quantile(sample.values, self.quantile))

    def input_range(self, sample: MagnitudeSample, hardware: Hardware) -> float:
        """Return the input range, in the units of the input; 1 for a layer whose inputs are all zero."""
        dac = hardware.dac
        return self.measured(sample, None if dac is None else Partial(_rounded, dac)) or 1.0

    def limits(self, layer: _Layer) -> tuple[np.ndarray, np.ndarray]:
        """Return half the width and the middle of each slice's range, which includes zero: zero must convert to zero.

        Each of the two percentiles leaves out half of the fraction that the percentile of magnitudes does.
        """
        fraction = (1 + self.quantile) / 2

        def limit(sample: MagnitudeSample) -> float:
            return sample.largest if self.method == "max" else float(np.quantile(sample.values, fraction))

        high, low = (self.margin * np.array([limit(part) for part in side]) for side in (layer.columns, layer.below))
        return (high + low) / 2, (high - low) / 2

    def output_ranges(self, layer: _Layer) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the range of each slice with margin and its middle, ``[n_slices]``; None for ranges about zero."""
        adc, grouping = layer.hardware.adc, layer.readout
        if not self.symmetric:
            half, middle = self.limits(layer)
            return shifted(half, grouping.map.factor), middle
        if self.method == "granular" and adc is not None:
            return self.margin * _granular(layer, adc), None
        if self.method == "full" or not self.needs_values:
            largest = largest_adc_inputs(layer.hardware, layer.rows, grouping)
        else:
            convert = None if adc is None else Partial(_converted, nominal(adc))
            largest = np.array([self.measured(sample, convert) for sample in layer.columns])
        return self.margin * shifted(largest, grouping.map.factor), None


def _rounded(dac: Any, v: jax.Array, bound: Numeric) -> jax.Array:
    """Return inputs ``[n]`` as the DAC drives them."""
    return quantise(v, dac.bits, bound)


def _converted(adc: Any, v: jax.Array, bound: Numeric) -> jax.Array:
    """Convert values ``[n]`` with the ADC of one column."""
    return adc.convert(v[:, None], bound, None)[:, 0]


@jax.jit
def _mean_error(convert: Partial, v: jax.Array, bound: Numeric) -> jax.Array:
    """Return the mean error; compiled once per number of values and kind of converter, as ``Partial`` is a pytree."""
    return jnp.mean(jnp.abs(convert(v, bound) - v))


def shifted(limits: Any, factors: Any) -> np.ndarray:
    """Enlarge the ranges of slices until their steps, times the slices' factors, differ by powers of two.

    Args:
      limits: range of each slice alone, ``[n_slices]``; 0 for a slice that is not used.
      factors: factor of each slice in the sum, ``[n_slices]``. The largest ``limit * factor`` keeps its range.

    Returns:
      The ranges, ``[n_slices]``, each at least ``limits``; 1 if all limits are 0.

    Example:
      >>> shifted([3.0, 1.0], [1.0, 4.0]).tolist()  # from 1 * 4 by powers of two: 4, 2, 1; the smallest >= 3 is 4
      [4.0, 1.0]
    """
    weighted = np.asarray(limits, float) * factors
    largest = weighted.max()
    if largest == 0:
        return np.ones_like(weighted)
    # The small addend keeps rounding from doubling a range that already is a power of two away.
    shifts = np.floor(np.log2(largest / np.where(weighted > 0, weighted, largest)) + 1e-6)
    return largest / 2.0**shifts / factors


def least_error(values: np.ndarray, convert: Callable[[Any, Any], Any]) -> float:
    """Return the range with the smallest mean absolute error of ``convert(values, range)``.

    Args:
      values: ``[n]``; their absolute values are converted. If all are 0, the range is 0.
      convert: traceable function of absolute values ``[n]`` and a range.

    Example:
      >>> two_codes = lambda v, bound: jnp.where(v > bound / 2, bound, 0.0)
      >>> round(least_error(np.array([0.0, 0.0, 1.0, 1.0, 1.0, 4.0]), two_codes), 3)  # best to clip 4
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
    on_device = jnp.asarray(values)
    for refined in (False, True, True):
        errors = [float(error(on_device, bound)) for bound in tried]
        i = int(np.argmin(errors))
        if not refined or len(tried) > 1:
            neighbours = tried[max(i - 1, 0)], tried[min(i + 1, len(tried) - 1)]
            best, tried = float(tried[i]), np.unique([*np.geomspace(*neighbours, 9), tried[i]])
    return best


def _granular(layer: _Layer, adc: Any) -> np.ndarray:
    """Return the range of each slice in which one code is the smallest step of a column, ``[n_slices]``."""
    if isinstance(adc, TabulatedADC):
        raise InputError("method = 'granular': needs an ADC with equal steps, not a TabulatedADC")
    steps, driven = layer.readout.map.step, smallest_input_step(layer.hardware.dac)
    if steps is None or driven is None:
        reason = "weights are not sliced (mapping.slices)" if steps is None else "inputs are not quantised (dac)"
        raise InputError(f"method = 'granular': layer {layer.path} has no smallest output step, because its {reason}")
    return steps * driven / float(adc.lsb)


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _stacked(layers: list[_Layer | None], shape: tuple[int, ...], path: str) -> dict[str, jax.Array | None]:
    """Return the ranges of a layer, or of a stack of layers of this shape, by the fields of ``Ranges``."""
    reached = [layer for layer in layers if layer is not None]
    if len(reached) < len(layers):
        raise InputError(f"layer {path}: no value of x reaches it; calibrate with inputs that use every layer")
    # By NumPy and device_put: operations of jax.numpy, jnp.asarray of a number included, are compiled programs.
    inputs = np.asarray([layer.input_range for layer in reached], np.float32).reshape(shape)
    # None removes an earlier middle.
    stacked: dict[str, jax.Array | None] = {"input": jax.device_put(inputs), "middle": None}
    output_ranges: list[dict[str, Any]] = [layer.output_range() for layer in reached]
    for name, first in output_ranges[0].items():
        if first is not None:
            values = np.stack([ranges[name] for ranges in output_ranges])
            stacked[name] = jax.device_put(values.reshape((*shape, *values.shape[1:])))
    return stacked
