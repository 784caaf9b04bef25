"""What converter ranges do to the values that occur: how much they clip, and how many bits are left.

The effective number of bits of a converter is that of an ideal one which a full-scale sine loses as much to,

    ENOB = (SNDR - 10 log10 1.5) / (20 log10 2)       SNDR = 20 log10(rms signal / rms error)       (IEEE Std 1241)

with the error of rounding and clipping. Here the signal is what the lines really carry, noise left out: a b-bit
converter reaches b - 0.3 for values spread evenly over its range, and less where most values are small beside it.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np

from analogsim.base.errors import InputError
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
from analogsim.models.bound import bind
from analogsim.signal_path.ranges import largest_column_sum


@dataclasses.dataclass(frozen=True)
class LayerRanges:
    """Ranges of one layer and what they do. What an ADC does is given for every slice of the weights.

    Attributes:
      layer: its path; an entry of a stack of layers has its index in brackets.
      input_range: largest input that passes, in its own units; None where each example has its own.
      inputs_clipped: share of the inputs beyond it.
      output_range: largest value that each slice's ADCs convert, in fully driven cells; empty without an ADC.
      outputs_clipped: share of the conversions beyond it.
      enob: effective number of bits of the conversion; infinite where it is exact.
      output_middle: what each slice's range is about, where it is not zero; empty where all are. A range with two ends
        is from output_middle - output_range to output_middle + output_range.
    """

    layer: str
    input_range: float | None
    inputs_clipped: float
    output_range: tuple[float, ...]
    outputs_clipped: tuple[float, ...]
    enob: tuple[float, ...]
    output_middle: tuple[float, ...] = ()

    def ends(self, s: int) -> str:
        """The range of a slice in words: its limit, or both of its ends."""
        if not self.output_middle:
            return f"{self.output_range[s]:.4g}"
        half, middle = self.output_range[s], self.output_middle[s]
        return f"{middle - half:.4g} to {middle + half:.4g}"


@dataclasses.dataclass(frozen=True)
class RangeReport:
    """One row a layer; prints as a table."""

    layers: tuple[LayerRanges, ...]

    def __iter__(self) -> Iterator[LayerRanges]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, index: int) -> LayerRanges:
        return self.layers[index]

    def clipping(self, fraction: float = 0.5) -> tuple[str, ...]:
        """A sentence for every layer that clips more than ``fraction`` of its inputs or conversions."""
        found = []
        for layer in self.layers:
            if layer.inputs_clipped > fraction:
                found.append(
                    f"layer {layer.layer}: its input range {layer.input_range:.4g} clips {layer.inputs_clipped:.0%} of "
                    f"its inputs; calibrate it again"
                )
            for s, clipped in enumerate(layer.outputs_clipped):
                if clipped > fraction:
                    found.append(
                        f"layer {layer.layer}: its output range {layer.ends(s)} clips {clipped:.0%} of its "
                        f"conversions; calibrate it again"
                    )
        return tuple(found)

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


def range_report(model: Any, variables: Any, x: Any, *, batch_size: int | None = None, **options: Any) -> RangeReport:
    """What every layer's converter ranges do to the values that ``x`` gives rise to.

    Args:
      model, variables: a Linen model with analog layers and its variables (of ``calibrate``; without calibrated ranges,
        the hardware's own hold), or an NNX model and None.
      x: representative inputs (``analogsim.Inputs``), ``[n, ...]`` each, or a list of batches of them.
      batch_size: examples that pass together, as for ``calibrate``.
      **options: keyword arguments of the model's call, for example ``train=False``; those that hold arrays are inputs.

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
    name, places = _namer(model, variables, x, options)
    layers: dict[str, _Tally] = {}
    for use in ForwardPasses(model, variables, x, batch_size, options, places=places):
        row = name(use)
        if row not in layers:
            layers[row] = _Tally(use)
        layers[row].add(use)
    return RangeReport(tuple(tally.row(layer) for layer, tally in layers.items()))


def _namer(model: Any, variables: Any, x: Any, options: dict[str, Any]) -> tuple[Callable[[Any], str], bool]:
    """What a use's row is called, and whether entries of stacks of layers can be told apart."""
    try:
        places = bind(model, variables, options=options).places(x)
    except InputError:  # a transformation does not pass ranges on: its layers have none, and share a row
        return lambda use: use.path, False
    names = {}
    for layer, numbers in places.items():
        names.update({int(n): layer + _index(i, numbers.shape) for i, n in enumerate(numbers.ravel())})
    return lambda use: names[int(use.place)], True


def _index(number: int, shape: tuple[int, ...]) -> str:
    return str([int(i) for i in np.unravel_index(number, shape)]) if shape else ""


def range_in_force(use: Any) -> tuple[Any, Any]:
    """The ADCs' range and its middle (None for 0): as calibrated, else their own, else of the weights."""
    hardware = use.hardware
    if use.ranges.output is not None:
        return use.ranges.output, use.ranges.middle
    own, middle = hardware.adc.range, hardware.adc.middle
    if use.is_lookup and middle is None:
        fullest = float(largest_column_sum(hardware.store))
        return fullest if own is None else min(float(own), fullest), None
    if own is not None:
        return own, middle
    lines = ideal_columns(hardware, use.weights, tile_rows=use.operator.tile_rows, weight_range=use.ranges.weight)
    return float(full_scale_of(lines)), None


class _Tally:
    """Sums over what a layer's converters saw."""

    def __init__(self, use: Any):
        self.readout: ColumnReadout = readout(use.hardware, *use.weights.shape)
        self.adc = None if use.hardware.adc is None else nominal(use.hardware.adc)
        slices = len(self.readout.used) if self.adc is not None else 0
        self.bound = None if use.ranges.input is None else float(use.ranges.input)
        self.inputs, self.inputs_clipped = 0, 0
        self.count, self.clipped, self.signal, self.error = np.zeros((4, slices))
        limit, middle = (np.inf, None) if self.adc is None else range_in_force(use)
        self.limit = np.broadcast_to(np.asarray(limit, float), (self.readout.n_columns,))
        self.is_about_zero = middle is None
        moved = 0.0 if middle is None else integer_steps(self.adc, np.asarray(middle), np.asarray(limit))
        self.middle = np.broadcast_to(np.asarray(moved, float), (self.readout.n_columns,))
        self.n_out = use.weights.shape[1]

    def add(self, use: Any) -> None:
        """Count one use of the layer in."""
        x = np.asarray(input_values(use))
        self.inputs += x.size
        if self.bound is not None and use.hardware.dac is not None:
            self.inputs_clipped += int(np.sum(np.abs(x) > np.float32(self.bound)))
        if self.adc is None:
            return
        found, limits, middles = self._lines_of(use)
        for values in adc_input_values(use, use.ranges):
            limit, middle = (
                np.tile(a, values.shape[1] // found.n_columns).astype(values.dtype) for a in (limits, middles)
            )
            y = values - middle
            error = np.asarray(self.adc.convert(jnp.asarray(y), jnp.asarray(limit), None), np.float64) - y
            for s, lines in enumerate(found.used):
                self.count[s] += y[:, lines].size
                self.clipped[s] += np.sum(np.abs(y[:, lines]) > limit[lines])
                self.signal[s] += np.sum(values[:, lines].astype(np.float64) ** 2)
                self.error[s] += np.sum(error[:, lines] ** 2)

    def _lines_of(self, use: Any) -> tuple[ColumnReadout, np.ndarray, np.ndarray]:
        """The lines of a use, their ranges and the middles of these.

        The last matrix of a stack may have fewer outputs than the others.
        """
        if use.weights.shape[1] == self.n_out:
            return self.readout, self.limit, self.middle
        found, every = readout(use.hardware, *use.weights.shape), self.readout.map
        alike = [
            (every.slice == s) & (every.output == o) for s, o in zip(found.map.slice, found.map.output, strict=True)
        ]
        limits, middles = (np.array([a[lines][0] for lines in alike]) for a in (self.limit, self.middle))
        return found, limits, middles

    def row(self, name: str) -> LayerRanges:
        """The layer's row."""
        with np.errstate(divide="ignore", invalid="ignore"):
            sndr_db = 10 * np.log10(self.signal / self.error)
        return LayerRanges(
            layer=name,
            input_range=self.bound,
            inputs_clipped=self.inputs_clipped / self.inputs,
            output_range=tuple(self._of_slice(self.limit, s) for s in range(len(self.count))),
            outputs_clipped=tuple(float(share) for share in self.clipped / np.maximum(self.count, 1)),
            output_middle=()
            if self.is_about_zero
            else tuple(self._of_slice(self.middle, s) for s in range(len(self.count))),
            enob=tuple(float(bits) for bits in effective_bits(sndr_db)),
        )

    def _of_slice(self, of_lines: np.ndarray, s: int) -> float:
        return float(of_lines[self.readout.map.slice == s][0])
