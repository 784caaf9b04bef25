"""What the converters of a layer see: its inputs, and the values of its readout lines without noise.

An ADC converts a line of a tile: sum_i x_i g_ij over the tile's rows, with the codes x that the DAC really drives (one
slice of their bits at a time, where every step is converted) and the target conductances of the cells, constant parts
included; line resistance, curved I-V, converters' mismatch and everything random are left out. Everything passes in
batches of examples and a few million numbers at a time, so that memory stays bounded.
"""

import numbers
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from analogsim.base.call_inputs import Inputs, apart, as_inputs, input_name, inputs_of, map_examples
from analogsim.base.checks import check_integer
from analogsim.base.dtypes import wide
from analogsim.base.errors import InputError
from analogsim.devices.protocol import ColumnMap
from analogsim.layers.layer import LayerUse
from analogsim.models.bound import observe
from analogsim.signal_path import programmed
from analogsim.signal_path.path import column_products
from analogsim.signal_path.ranges import Ranges
from analogsim.signal_path.tiling import grid

_BATCH = 2**20  # numbers that enter the model together
_AT_ONCE = 2**22  # numbers computed together
_KEPT = 2**21  # numbers kept of one distribution; more are thinned out at random


class ForwardPasses:
    """A sample carried through a model, as often as asked: all at once, or in batches where it is large.

    Every round yields each layer's uses, with ``place`` telling the entries of a stack of layers apart.
    """

    def __init__(self, model: Any, variables: Any, x: Any, batch_size: Any, options: dict[str, Any], places: bool):
        if batch_size is not None:
            check_integer(batch_size, "batch_size")
        self._observe = lambda batch: observe(model, variables, batch, places=places, **options)
        args, _ = apart(x)
        n = args[0].shape[0] if args and args[0].ndim else 1
        alike = all(a.ndim and a.shape[0] == n for a in args)  # an input without examples cannot be cut
        largest = max(512, _BATCH * n // max(sum(a.size for a in args), 1))
        size = (largest if batch_size is None else int(batch_size)) if alike else n
        self._batches = (
            [map_examples(lambda a, i=i: a[i : i + size], x) for i in range(0, n, size)] if n > size else [x]
        )
        self._noted: list[LayerUse] | None = None

    def __iter__(self) -> Iterator[LayerUse]:
        if len(self._batches) > 1:
            for batch in self._batches:
                yield from self._observe(batch)
            return
        if self._noted is None:
            self._noted = self._observe(self._batches[0])
        yield from self._noted


def checked_sample(x: Any, options: Mapping[str, Any]) -> tuple[Inputs, dict[str, Any]]:
    """The sample as a call's inputs, and the call's options; refuses what is no data.

    A list of batches becomes one sample.
    """
    is_batches = isinstance(x, list) and bool(x) and not all(isinstance(b, (list, numbers.Number)) for b in x)
    sample, rest = inputs_of(_joined([as_inputs(batch) for batch in x]) if is_batches else x, options)
    for path, a in jax.tree_util.tree_leaves_with_path(sample):
        name = input_name(path, len(sample.args))
        if a.size == 0:
            raise InputError(f"{name} has shape {a.shape}: must hold at least one example")
        check_finite(a, name)
    if not jax.tree.leaves(sample):
        raise InputError("x: holds no array of numbers; a calibration needs data")
    return sample, rest


def _joined(batches: list[Inputs]) -> Inputs:
    """Batches one after the other; what they share is that of the first."""
    shapes = [tuple(a.shape[1:] for a in apart(batch)[0]) for batch in batches]
    structures: list[Any] = [jax.tree.structure(batch) for batch in batches]
    odd = [i for i, shape in enumerate(shapes) if shape != shapes[0] or structures[i] != structures[0]]
    if odd:
        raise InputError(
            f"x: batch {odd[0]} holds examples of shape {shapes[odd[0]]}, the first batch of {shapes[0]}: must be alike"
        )
    return map_examples(lambda *parts: jnp.concatenate(parts), *batches)


def check_finite(values: jax.Array, what: str) -> None:
    """Refuse NaN and infinity: a range that is taken from them means nothing."""
    if jnp.issubdtype(values.dtype, jnp.inexact) and not bool(jnp.all(jnp.isfinite(values))):
        raise InputError(f"{what} holds NaN or infinity; ranges are taken from finite numbers only")


def first_not_finite(uses: Iterable[LayerUse]) -> str | None:
    """The first input or output of an analog layer that is not finite, in words."""
    for use in uses:
        for values, what in ((use.x, "input"), (use.weights, "kernel")):
            if jnp.issubdtype(values.dtype, jnp.inexact) and not bool(jnp.all(jnp.isfinite(values))):
                return f"layer {use.path}: its {what}"
        fits = use.x.shape[-1:] == use.weights.shape[:1]  # a lookup has no product
        if fits and not bool(jnp.all(jnp.isfinite(use.x @ use.weights))):
            return f"layer {use.path}: its output"
    return None


class MagnitudeSample:
    """The distribution of absolute values: the largest one, and all of them or, of very many, a random share."""

    def __init__(self) -> None:
        self.largest = 0.0
        self._parts: list[np.ndarray] = []
        self._share = 1.0
        self._rng = np.random.default_rng(0)  # thins out the same way every time

    def add(self, values: Any) -> None:
        """Count these values in."""
        new = np.abs(np.asarray(values)).ravel()
        if not new.size:
            return
        self.largest = max(self.largest, float(new.max()))
        self._parts.append(new if self._share == 1 else new[self._rng.random(new.size) < self._share])
        while sum(part.size for part in self._parts) > _KEPT:
            self._share /= 2
            everything = np.concatenate(self._parts)
            self._parts = [everything[self._rng.random(everything.size) < 0.5]]

    @property
    def values(self) -> np.ndarray:
        """What was kept."""
        return np.concatenate(self._parts) if self._parts else np.zeros(1)


class ColumnReadout(NamedTuple):
    """The lines of a layer's tiles.

    Attributes:
      map: how the lines of one tile are grouped.
      used: for every slice, its lines among all ``C n_columns`` lines of a row of tiles, without unused columns.
      n_columns: lines of one tile.
    """

    map: ColumnMap
    used: list[np.ndarray]
    n_columns: int


def readout(hardware: Any, n_in: int, n_out: int) -> ColumnReadout:
    """How the lines of a layer of this size are grouped."""
    _, c = grid(n_in, n_out, hardware)
    columns, store = -(-n_out // c), hardware.store
    column_map = store.column_map(columns)
    outputs_per_tile = np.clip(n_out - columns * np.arange(c), 0, columns)[:, None]  # outputs of each tile
    in_use = (column_map.output < outputs_per_tile) & (outputs_per_tile > 0)
    used = [np.flatnonzero(in_use & (column_map.slice == s)) for s in range(len(column_map.factor))]
    return ColumnReadout(column_map, used, len(column_map.slice))


def input_values(use: LayerUse) -> jax.Array:
    """The layer's inputs in the width that the signal path computes in; a lookup drives word lines fully."""
    if use.is_lookup:
        return jnp.ones(1)
    return wide(use.x)


def adc_input_values(use: LayerUse, ranges: Ranges) -> Iterator[np.ndarray]:
    """What the ADCs see, a few examples at a time: ``[conversions, C n_columns]``."""
    if use.is_lookup:
        yield from _rows_of_table(use)
        return
    x, operator, hardware = input_values(use), use.operator, use.hardware
    if operator.example_axes(x) == (-1,):
        x = x.reshape(-1, x.shape[-1])
    held = ideal_columns(hardware, use.weights, tile_rows=operator.tile_rows, weight_range=use.ranges.weight)
    r, c, _, lines = held.shape
    steps = 1 if hardware.dac is None else hardware.dac.conversions
    per_example = use.vectors / len(x) * max(use.weights.shape[0], r * steps * c * lines)
    at_once = max(1, int(_AT_ONCE / per_example))
    for start in range(0, len(x), at_once):
        y = column_products(hardware, x[start : start + at_once], held, ranges.input, operator)
        yield np.asarray(y).reshape(-1, c * lines)


def _rows_of_table(use: LayerUse) -> Iterator[np.ndarray]:
    """What the lines carry for the rows of a table that are looked up, ``[conversions, C n_columns]``."""
    table_columns = np.asarray(ideal_columns(use.hardware, use.weights, weight_range=use.ranges.weight))
    tile, row = (np.asarray(a).ravel() for a in use.operator.places(use.x, table_columns.shape[2]))
    dac: Any = use.hardware.dac
    full = jnp.ones(1)
    steps = [full] if dac is None or dac.conversions == 1 else dac.steps(full)[0]
    at_once = max(1, _AT_ONCE // (table_columns.shape[1] * table_columns.shape[3]))
    for start in range(0, len(tile), at_once):
        batch = slice(start, start + at_once)
        lines = table_columns[tile[batch], :, row[batch]].reshape(len(tile[batch]), -1)
        for step in steps:
            yield float(step[0]) * lines


#: ``programmed.ideal_columns``, compiled.
ideal_columns = jax.jit(programmed.ideal_columns, static_argnames="tile_rows")


#: What converters are fabricated with, and differ in from line to line.
_FABRICATED = ("gain_error", "offset_error", "capacitor_mismatch", "comparator_offset")


def nominal(adc: Any) -> Any:
    """The converter as it was designed: what fabrication draws is left out, its steps and its amplifier stay."""
    drawn = [name for name in _FABRICATED if getattr(adc, name, None) is not None]
    return adc.replace(**dict.fromkeys(drawn)) if drawn else adc


def smallest_input_step(dac: Any) -> float | None:
    """The smallest code that can drive a row in one conversion; None where inputs are not quantised."""
    if dac is None or isinstance(dac.bits, jax.core.Tracer):
        return None
    bits = dac.slice_bits if dac.conversions > 1 else int(dac.bits) - 1
    return 1 / (2**bits - 1)


def largest_adc_inputs(hardware: Any, rows: int, readout: ColumnReadout) -> np.ndarray:
    """The most that a line of each slice can carry: every one of its cells conducts and is driven fully."""
    columns = int(readout.map.output.max()) + 1
    both = jnp.stack([jnp.ones(columns), -jnp.ones(columns)])
    most = np.max(np.abs(np.asarray(hardware.store.ideal_columns(both))), axis=0)
    return rows * np.array([most[readout.map.slice == s].max() for s in range(len(readout.map.factor))])
