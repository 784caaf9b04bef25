"""Effects of converter ranges on data: clipped fractions and effective number of bits.

The effective number of bits of a converter is that of an ideal one with the same signal-to-noise-and-distortion ratio
for a full-scale sine,

    ENOB = (SNDR - 10 log10 1.5) / (20 log10 2)       SNDR = 20 log10(rms signal / rms error)       (IEEE Std 1241)

where the error is due to rounding and clipping. The signal is here the ADC inputs of the model without noise: a b-bit
converter reaches b - 0.3 for values uniform over its range, and less if most values are small compared with it.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np

from analogsim.base.errors import InputError
from analogsim.base.processes import whole
from analogsim.base.types import PyTree
from analogsim.base.units import effective_bits
from analogsim.chips.adc_inputs import (
    ColumnReadout,
    ForwardPasses,
    adc_input_values,
    checked_sample,
    ideal_columns,
    input_values,
    nominal,
    readout,
)
from analogsim.converters.ranges import full_scale_of, integer_steps
from analogsim.layers.layer import LayerUse
from analogsim.models.bound import bind
from analogsim.signal_path.ranges import largest_column_sum


@dataclasses.dataclass(frozen=True)
class LayerRanges:
    """Ranges of one layer and their effect on data; tuples have one entry per slice of the weights.

    Attributes:
      layer: path of the layer; an entry of a stack of layers has its index in brackets.
      input_range: largest input that passes, in the units of the input; None if each example has a separate range.
      inputs_clipped: fraction of inputs beyond it.
      output_range: largest value that the ADCs convert, in fully driven cells; empty without an ADC.
      outputs_clipped: fraction of conversions beyond it.
      enob: effective number of bits of the conversions; infinite if they are exact.
      output_middle: centre of the range, which extends from output_middle - output_range to output_middle +
        output_range; empty if all are 0.
    """

    layer: str
    input_range: float | None
    inputs_clipped: float
    output_range: tuple[float, ...]
    outputs_clipped: tuple[float, ...]
    enob: tuple[float, ...]
    output_middle: tuple[float, ...] = ()

    def ends(self, s: int) -> str:
        """Format the output range of slice ``s``: its limit, or both limits if the middle is not zero."""
        if not self.output_middle:
            return f"{self.output_range[s]:.4g}"
        half, middle = self.output_range[s], self.output_middle[s]
        return f"{middle - half:.4g} to {middle + half:.4g}"


@dataclasses.dataclass(frozen=True)
class RangeReport:
    """Ranges and their effects, one ``LayerRanges`` per layer; a sequence that prints as a table."""

    layers: tuple[LayerRanges, ...]

    def __iter__(self) -> Iterator[LayerRanges]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, index: int) -> LayerRanges:
        return self.layers[index]

    def clipping(self, fraction: float = 0.5) -> tuple[str, ...]:
        """Return a sentence for every range that clips more than ``fraction`` of its inputs or conversions."""
        sentences = []
        for layer in self.layers:
            if layer.inputs_clipped > fraction:
                sentences.append(
                    f"layer {layer.layer}: its input range {layer.input_range:.4g} clips {layer.inputs_clipped:.0%} of "
                    f"its inputs; recalibrate it"
                )
            for s, clipped in enumerate(layer.outputs_clipped):
                if clipped > fraction:
                    sentences.append(
                        f"layer {layer.layer}: its output range {layer.ends(s)} clips {clipped:.0%} of its "
                        f"conversions; recalibrate it"
                    )
        return tuple(sentences)

    def __str__(self) -> str:
        head = ("layer", "slice", "input range", "clipped", "output range", "clipped", "effective bits")
        rows = [head]
        for layer in self.layers:
            bound = "per example" if layer.input_range is None else f"{layer.input_range:.4g}"
            first = (layer.layer, "", bound, f"{layer.inputs_clipped:.2%}")
            if not layer.output_range:
                rows.append((*first, "no ADC", "", ""))
            for s, (clipped, enob) in enumerate(zip(layer.outputs_clipped, layer.enob, strict=True)):
                start = first if s == 0 else ("", "", "", "")
                number = str(s) if len(layer.output_range) > 1 else ""
                rows.append((start[0], number, *start[2:], layer.ends(s), f"{clipped:.2%}", f"{enob:.2f}"))
        widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
        lines = []
        for name, *others in rows:
            cells = [name.ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(others, widths[1:], strict=True))]
            lines.append("  ".join(cells).rstrip())
        return "\n".join(lines)


def range_report(
    model: Any, variables: PyTree, x: Any, *, batch_size: int | None = None, **options: Any
) -> RangeReport:
    """Report the effects of every layer's converter ranges on data.

    Args:
      model, variables: a Linen model with analog layers and its variables, or an NNX model and None. Layers without
        calibrated ranges use those of their hardware.
      x: representative inputs (``analogsim.Inputs``), ``[n, ...]`` each, or a list of batches of them.
      batch_size: number of examples that pass together, as for ``calibrate``.
      **options: keyword arguments of the model's call, for example ``train=False``; those with arrays count as inputs.

    Returns:
      The report, with one row per layer that ``x`` reaches.

    Raises:
      InputError: if the model has no analog layer, or ``x`` is empty or not finite.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from analogsim import calibrate, preset
      >>> from analogsim.linen import AnalogDense
      >>> layer, x = AnalogDense(3, hardware=preset("pcm")), jnp.linspace(-2, 2, 400).reshape(100, 4)
      >>> variables = calibrate(layer, layer.init(jax.random.key(0), x), x, method="max")
      >>> rows = range_report(layer, variables, x)
      >>> rows[0].inputs_clipped, rows[0].outputs_clipped
      (0.0, (0.0,))
    """
    x, options = checked_sample(x, options)
    name, places = _row_names(model, variables, x, options)
    layers: dict[str, _Tally] = {}
    for use in ForwardPasses(model, variables, x, batch_size, options, places=places):
        row = name(use)
        if row not in layers:
            layers[row] = _Tally(use)
        layers[row].add(use)
    return RangeReport(tuple(tally.row(layer) for layer, tally in layers.items()))


def _row_names(
    model: Any, variables: PyTree, x: Any, options: dict[str, Any]
) -> tuple[Callable[[LayerUse], str], bool]:
    """Return a function that names a use's row, and whether entries of stacks of layers can be told apart."""
    try:
        places = bind(model, variables, options=options).places(x)
    except InputError:  # a lifted transformation does not pass the collection "ranges": entries share one row
        return lambda use: use.path, False
    names = {}
    for layer, numbers in places.items():
        names.update({int(n): layer + _index(i, numbers.shape) for i, n in enumerate(numbers.ravel())})
    return lambda use: names[int(use.place)], True


def _index(number: int, shape: tuple[int, ...]) -> str:
    return str([int(i) for i in np.unravel_index(number, shape)]) if shape else ""


def range_in_force(use: LayerUse) -> tuple[Any, Any]:
    """Return the ADC range of a layer and its middle: calibrated, else fixed in the ADC, else from the weights.

    Returns:
      The half-width and the middle, in fully driven cells, one number or ``[n_columns]``; None for a middle of 0.
    """
    hardware = use.hardware
    if use.ranges.output is not None:
        return use.ranges.output, use.ranges.middle
    fixed, middle = hardware.adc.range, hardware.adc.middle
    if use.is_lookup and middle is None:
        largest = float(largest_column_sum(hardware.store))
        return largest if fixed is None else min(float(fixed), largest), None
    if fixed is not None:
        return fixed, middle
    columns = ideal_columns(hardware, use.weights, tile_rows=use.operator.tile_rows, weight_range=use.ranges.weight)
    return float(full_scale_of(columns)), None


class _Tally:
    """Counts and sums over the values at the converters of one layer."""

    def __init__(self, use: LayerUse):
        self.readout: ColumnReadout = readout(use.hardware, *use.weights.shape)
        self.adc = None if use.hardware.adc is None else nominal(use.hardware.adc)
        slices = len(self.readout.used) if self.adc is not None else 0
        self.bound = None if use.ranges.input is None else float(use.ranges.input)
        self.inputs, self.inputs_clipped = 0, 0
        self.count, self.clipped, self.signal, self.error = np.zeros((4, slices))
        limit, middle = (np.inf, None) if self.adc is None else range_in_force(use)
        self.limit = np.broadcast_to(np.asarray(limit, float), (self.readout.n_columns,))
        self.is_about_zero = middle is None
        centre = 0.0 if middle is None else integer_steps(self.adc, np.asarray(middle), np.asarray(limit))
        self.middle = np.broadcast_to(np.asarray(centre, float), (self.readout.n_columns,))
        self.n_out = use.weights.shape[1]

    def add(self, use: LayerUse) -> None:
        x = whole(input_values(use))
        self.inputs += x.size
        if self.bound is not None and use.hardware.dac is not None:
            self.inputs_clipped += int(np.sum(np.abs(x) > np.float32(self.bound)))
        if self.adc is None:
            return
        grouping, limits, middles = self._columns_of(use)
        for values in adc_input_values(use, use.ranges):
            # Limits have the dtype of the values: the converter clips at its limit rounded to this dtype.
            limit, middle = (
                np.tile(a, values.shape[1] // grouping.n_columns).astype(values.dtype) for a in (limits, middles)
            )
            y = values - middle
            error = np.asarray(self.adc.convert(jnp.asarray(y), jnp.asarray(limit), None), np.float64) - y
            for s, columns in enumerate(grouping.used):
                self.count[s] += y[:, columns].size
                self.clipped[s] += np.sum(np.abs(y[:, columns]) > limit[columns])
                self.signal[s] += np.sum(values[:, columns].astype(np.float64) ** 2)
                self.error[s] += np.sum(error[:, columns] ** 2)

    def _columns_of(self, use: LayerUse) -> tuple[ColumnReadout, np.ndarray, np.ndarray]:
        """Return the columns of a use, with the limits and middles of their ranges, ``[n_columns]``."""
        if use.weights.shape[1] == self.n_out:
            return self.readout, self.limit, self.middle
        # The last matrix of a stack may have fewer outputs than the first.
        grouping, first = readout(use.hardware, *use.weights.shape), self.readout.map
        same = [
            (first.slice == s) & (first.output == o)
            for s, o in zip(grouping.map.slice, grouping.map.output, strict=True)
        ]
        limits, middles = (np.array([a[columns][0] for columns in same]) for a in (self.limit, self.middle))
        return grouping, limits, middles

    def row(self, name: str) -> LayerRanges:
        # No error gives infinitely many effective bits, also for ADC inputs that are all zero.
        with np.errstate(divide="ignore", invalid="ignore"):
            sndr_db = np.where(self.error == 0, np.inf, 10 * np.log10(self.signal / self.error))
        return LayerRanges(
            layer=name,
            input_range=self.bound,
            inputs_clipped=self.inputs_clipped / self.inputs,
            output_range=self._of_slices(self.limit),
            outputs_clipped=tuple(float(fraction) for fraction in self.clipped / np.maximum(self.count, 1)),
            output_middle=() if self.is_about_zero else self._of_slices(self.middle),
            enob=tuple(float(bits) for bits in effective_bits(sndr_db)),
        )

    def _of_slices(self, of_columns: np.ndarray) -> tuple[float, ...]:
        return tuple(float(of_columns[self.readout.map.slice == s][0]) for s in range(len(self.count)))
