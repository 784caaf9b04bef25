"""Values at a layer's converters: its inputs at the DACs, and the noise-free values of its columns at the ADCs.

An ADC converts a column of a tile, sum_i x_i g_ij over the rows i, with the codes x that the DAC drives (one slice of
their bits at a time if every step is converted) and the target conductances g of the cells, constant parts included.
Wire resistance, non-linear I-V curves, mismatch of the converters and everything random are left out. Data pass in
batches of examples and in chunks of a few million numbers, which bounds the memory.
"""

import collections
import functools
import math
import numbers
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from analogsim.base.call_inputs import Inputs, apart, as_inputs, input_name, inputs_of, map_examples
from analogsim.base.checks import check_integer
from analogsim.base.compiled import compiled
from analogsim.base.dtypes import wide
from analogsim.base.errors import InputError
from analogsim.base.processes import all_finite, whole
from analogsim.base.types import PyTree
from analogsim.devices.protocol import ColumnMap
from analogsim.hardware.hardware import Hardware
from analogsim.layers.layer import LayerUse
from analogsim.models.bound import observe
from analogsim.signal_path import programmed
from analogsim.signal_path.path import column_products
from analogsim.signal_path.ranges import Ranges
from analogsim.signal_path.tiling import grid

_BATCH = 2**20  # input numbers that pass through the model together
_CHUNK = 2**22  # numbers computed together for one layer that is too large for a group
_GROUP = 2**24  # numbers of the ADC inputs of several layers that one program returns
_SAMPLE = 2**21  # numbers stored of one distribution; a larger one is thinned at random


class ForwardPasses:
    """Digital passes of data through a model, in one batch or, if the data are large, in several.

    Each iteration runs the model on all data and yields a ``LayerUse`` per batch and use of an analog layer; with
    ``places``, ``LayerUse.place`` identifies the entries of a stack of layers. Other arguments are as in ``calibrate``.
    """

    def __init__(
        self, model: Any, variables: PyTree, x: Inputs, batch_size: int | None, options: dict[str, Any], places: bool
    ):
        if batch_size is not None:
            check_integer(batch_size, "batch_size")
        self._observe = lambda batch: observe(model, variables, batch, places=places, **options)
        args, _ = apart(x)
        n = args[0].shape[0] if args and args[0].ndim else 1
        can_split = all(a.ndim and a.shape[0] == n for a in args)  # not if an input has no axis of examples
        largest = max(512, _BATCH * n // max(sum(a.size for a in args), 1))
        size = (largest if batch_size is None else int(batch_size)) if can_split else n
        self._batches = (
            [map_examples(lambda a, i=i: a[i : i + size], x) for i in range(0, n, size)] if n > size else [x]
        )
        self._uses: list[LayerUse] | None = None  # of a single batch, so that it is run only once

    def __iter__(self) -> Iterator[LayerUse]:
        for uses in self.batches():
            yield from uses

    def batches(self) -> Iterator[list[LayerUse]]:
        """Run the model on all data and yield the uses of every batch."""
        if len(self._batches) > 1:
            yield from map(self._observe, self._batches)
            return
        if self._uses is None:
            self._uses = self._observe(self._batches[0])
        yield self._uses


def checked_sample(x: Any, options: Mapping[str, Any]) -> tuple[Inputs, dict[str, Any]]:
    """Split a user's data, or a list of batches of them, into the inputs and the static options of a call.

    Raises:
      InputError: for no or empty arrays, NaN or infinity, or batches of different shapes.
    """
    is_batches = isinstance(x, list) and bool(x) and not all(isinstance(b, (list, numbers.Number)) for b in x)
    sample, rest = inputs_of(_joined([as_inputs(batch) for batch in x]) if is_batches else x, options)
    for path, a in jax.tree_util.tree_leaves_with_path(sample):
        name = input_name(path, len(sample.args))
        if a.size == 0:
            raise InputError(f"{name} has shape {a.shape}: must hold at least one example")
        check_finite(a, name)
    if not jax.tree.leaves(sample):
        raise InputError("x: must hold at least one array of numbers")
    return sample, rest


def _joined(batches: list[Inputs]) -> Inputs:
    """Concatenate batches; ``Shared`` inputs are taken from the first."""
    shapes = [tuple(a.shape[1:] for a in apart(batch)[0]) for batch in batches]
    structures: list[Any] = [jax.tree.structure(batch) for batch in batches]
    odd = [i for i, shape in enumerate(shapes) if shape != shapes[0] or structures[i] != structures[0]]
    if odd:
        raise InputError(
            f"x: batch {odd[0]} holds examples of shape {shapes[odd[0]]}, the first batch of {shapes[0]}: must be equal"
        )
    return map_examples(lambda *parts: jnp.concatenate(parts), *batches)


def check_finite(values: jax.Array, what: str) -> None:
    """Raise ``InputError`` for NaN and infinity, from which no range follows; ``what`` names the values."""
    if jnp.issubdtype(values.dtype, jnp.inexact) and not all_finite(values):
        raise InputError(f"{what} holds NaN or infinity; ranges need finite numbers")


def first_not_finite(uses: Iterable[LayerUse]) -> str | None:
    """Return the first layer input, kernel or output that is not finite, as ``"layer a/b: its output"``; or None."""
    for use in uses:
        for values, what in ((use.x, "input"), (use.weights, "kernel")):
            if jnp.issubdtype(values.dtype, jnp.inexact) and not all_finite(values):
                return f"layer {use.path}: its {what}"
        is_product = use.x.shape[-1:] == use.weights.shape[:1]  # not for lookups and most convolutions
        if is_product and not bool(jnp.all(jnp.isfinite(use.x @ use.weights))):
            return f"layer {use.path}: its output"
    return None


class MagnitudeSample:
    """Distribution of absolute values: the largest, and all values or, if there are too many, a random sample."""

    def __init__(self) -> None:
        self.largest = 0.0
        self._parts: list[np.ndarray] = []
        self._fraction = 1.0
        self._rng = np.random.default_rng(0)  # a fixed seed: the same data give the same sample

    def add(self, values: Any) -> None:
        """Add values of any shape."""
        new = np.abs(whole(values)).ravel()
        if not new.size:
            return
        self.largest = max(self.largest, float(new.max()))
        # New values are thinned like all before: every value is in the sample with the same probability.
        self._parts.append(new if self._fraction == 1 else new[self._rng.random(new.size) < self._fraction])
        while sum(part.size for part in self._parts) > _SAMPLE:
            self._fraction /= 2
            values = np.concatenate(self._parts)
            self._parts = [values[self._rng.random(values.size) < 0.5]]

    @property
    def values(self) -> np.ndarray:
        """The sample, ``[m]``; one zero if nothing was added."""
        return np.concatenate(self._parts) if self._parts else np.zeros(1)


class ColumnReadout(NamedTuple):
    """Grouping of the columns of a layer's tiles.

    Attributes:
      map: grouping of the columns of one tile.
      used: for each slice, indices of its used columns among all ``C n_columns`` columns of a row of tiles.
      n_columns: number of columns of one tile.
    """

    map: ColumnMap
    used: list[np.ndarray]
    n_columns: int


def readout(hardware: Hardware, n_in: int, n_out: int) -> ColumnReadout:
    """Return the grouping of the columns of a layer with an ``n_in`` x ``n_out`` matrix."""
    _, c = grid(n_in, n_out, hardware)
    columns, store = -(-n_out // c), hardware.store
    column_map = store.column_map(columns)
    outputs_per_tile = np.clip(n_out - columns * np.arange(c), 0, columns)[:, None]  # outputs of each tile
    in_use = (column_map.output < outputs_per_tile) & (outputs_per_tile > 0)
    used = [np.flatnonzero(in_use & (column_map.slice == s)) for s in range(len(column_map.factor))]
    return ColumnReadout(column_map, used, len(column_map.slice))


def input_values(use: LayerUse) -> Any:
    """Return a layer's inputs in the dtype of the signal path, at least float32; 1 for a lookup's word lines."""
    if use.is_lookup:
        return np.ones(1, np.float32)
    return use.x if use.x.dtype in (jnp.float32, jnp.float64) else wide(use.x)


def adc_inputs(
    uses: list[LayerUse], ranges: Callable[[LayerUse], Ranges]
) -> Iterator[tuple[LayerUse, Iterator[np.ndarray]]]:
    """Yield every use of a batch, in order, with its noise-free ADC inputs, computed by one program for all layers.

    Layers whose values are too many together are split into several programs. A layer that is used several times, as in
    a loop, has one of its own, which all of its uses share, so that programs do not grow with the number of steps.

    Args:
      uses: uses of layers in one batch of examples.
      ranges: returns the ranges of a use; only the input range counts.

    Yields:
      a use, and its ADC inputs for a few examples at a time, ``[conversions, C n_columns]``.
    """
    pending = {i: group for group in _groups(uses) for i in group}
    done: dict[int, np.ndarray] = {}
    for i, use in enumerate(uses):
        if i not in pending:
            yield use, adc_input_values(use, ranges(use))
            continue
        if i not in done:
            done.update(zip(pending[i], _group_products([uses[n] for n in pending[i]], ranges), strict=True))
        yield use, _Job.of(use).chunks(done.pop(i))


def adc_input_values(use: LayerUse, ranges: Ranges) -> Iterator[np.ndarray]:
    """Yield the noise-free ADC inputs of a layer for a few examples at a time, ``[conversions, C n_columns]``."""
    if use.is_lookup:
        yield from _rows_of_table(use)
        return
    job = _Job.of(use)
    for start in range(0, job.examples, job.chunk):
        # Shapes are those of whole inputs, so that the reshaping below is a part of the program.
        part = use.x if job.chunk >= job.examples else job.flat(input_values(use))[start : start + job.chunk]
        (y,) = _products((use.operator,), [(use.hardware, part, use.weights, use.ranges.weight, ranges.input)])
        yield from job.chunks(whole(y))


class _Job(NamedTuple):
    """Sizes of the ADC inputs of one use.

    Attributes:
      examples: number of examples, or of vectors if the operator multiplies vectors.
      chunk: number of examples that pass together.
      size: count of numbers computed for all examples.
      outputs: count of ADC inputs of all examples.
      width: number of columns of a row of tiles, ``C n_columns``.
      joins: whether the axes before the last are joined.
    """

    examples: int
    chunk: int
    size: float
    outputs: float
    width: int
    joins: bool

    @classmethod
    def of(cls, use: LayerUse) -> "_Job":
        operator, hardware, shape = use.operator, use.hardware, np.shape(use.x)
        joins = operator.example_axes(use.x) == (-1,)
        examples = math.prod(shape[:-1]) if joins else shape[0]
        of_weights = functools.partial(_columns_of, operator=operator)
        r, c, _, n_columns = jax.eval_shape(of_weights, hardware, use.weights, use.ranges.weight).shape
        steps = 1 if hardware.dac is None else hardware.dac.conversions
        # An example holds several vectors if its operator forms them, such as the windows of a convolution.
        vectors, outputs = use.vectors, r * steps * c * n_columns
        size = vectors * max(use.weights.shape[0], outputs)
        chunk = max(1, int(_CHUNK / (size / examples))) if examples else 1
        return cls(examples, chunk, size, vectors * outputs, c * n_columns, joins)

    def flat(self, x: jax.Array) -> jax.Array:
        return x.reshape(-1, x.shape[-1]) if self.joins else x

    def chunks(self, y: np.ndarray) -> Iterator[np.ndarray]:
        """Yield ``[R, steps, examples, ..., C n_columns]`` in chunks of examples.

        Values of a chunk are ordered by rows of tiles first. The thinning of samples depends on the order, so it is the
        same whether or not the chunks were computed together.
        """
        for start in range(0, y.shape[2], self.chunk):
            yield y[:, :, start : start + self.chunk].reshape(-1, self.width)


def _groups(uses: list[LayerUse]) -> list[list[int]]:
    """Return the indices of uses whose ADC inputs one program computes."""
    counts = collections.Counter((use.path, use.member) for use in uses)
    groups: list[list[int]] = []
    room = 0.0
    for i, use in enumerate(uses):
        if use.is_lookup or counts[use.path, use.member] > 1:
            continue
        job = _Job.of(use)
        if job.size > _GROUP:
            continue
        if not groups or job.outputs > room:
            groups.append([])
            room = _GROUP
        groups[-1].append(i)
        room -= job.outputs
    return groups


def _group_products(uses: list[LayerUse], ranges: Callable[[LayerUse], Ranges]) -> list[np.ndarray]:
    args = [(use.hardware, use.x, use.weights, use.ranges.weight, ranges(use).input) for use in uses]
    return [whole(y) for y in _products(tuple(use.operator for use in uses), args)]


def _rows_of_table(use: LayerUse) -> Iterator[np.ndarray]:
    """Yield the ADC inputs for the rows of a table that a lookup reads, ``[conversions, C n_columns]``."""
    columns = whole(ideal_columns(use.hardware, use.weights, weight_range=use.ranges.weight))
    tile, row = (whole(a).ravel() for a in use.operator.places(use.x, columns.shape[2]))
    dac: Any = use.hardware.dac
    full = jnp.ones(1)
    steps = [full] if dac is None or dac.conversions == 1 else dac.steps(full)[0]
    chunk = max(1, _CHUNK // (columns.shape[1] * columns.shape[3]))
    for start in range(0, len(tile), chunk):
        batch = slice(start, start + chunk)
        values = columns[tile[batch], :, row[batch]].reshape(len(tile[batch]), -1)
        for step in steps:
            yield float(step[0]) * values


def _columns_of(hardware: Hardware, weights: jax.Array, weight_range: Any, operator: Any) -> jax.Array:
    return programmed.ideal_columns(hardware, weights, operator.tile_rows, weight_range)


@compiled(static=("operators",))
def _products(
    operators: tuple[Any, ...], args: list[tuple[Hardware, jax.Array, jax.Array, Any, Any]]
) -> list[jax.Array]:
    """Return the outputs of ideal columns of several layers, in one program.

    Args:
      operators: of each layer.
      args: hardware, inputs, weights, weight range and input range of each layer.
    """
    outputs = []
    for operator, (hardware, x, weights, weight_range, input_range) in zip(operators, args, strict=True):
        x = wide(x)
        if operator.example_axes(x) == (-1,):
            x = x.reshape(-1, x.shape[-1])
        tiles = _columns_of(hardware, weights, weight_range, operator)
        outputs.append(column_products(hardware, x, tiles, input_range, operator))
    return outputs


#: ``programmed.ideal_columns``, compiled.
ideal_columns = jax.jit(programmed.ideal_columns, static_argnames="tile_rows")


#: Fields of converters with errors that fabrication draws for each converter.
_FABRICATED = ("gain_error", "offset_error", "capacitor_mismatch", "comparator_offset")


def nominal(adc: Any) -> Any:
    """Return the converter as designed: without errors drawn at fabrication, with its codes and finite gain."""
    drawn = [name for name in _FABRICATED if getattr(adc, name, None) is not None]
    return adc.replace(**dict.fromkeys(drawn)) if drawn else adc


def smallest_input_step(dac: Any) -> float | None:
    """Return the smallest code above 0 that drives a row in one conversion; None if inputs are not quantised."""
    if dac is None or isinstance(dac.bits, jax.core.Tracer):
        return None
    bits = dac.slice_bits if dac.conversions > 1 else int(dac.bits) - 1
    return 1 / (2**bits - 1)


def largest_adc_inputs(hardware: Hardware, rows: int, readout: ColumnReadout) -> np.ndarray:
    """Return the largest possible ADC input of each slice, ``[n_slices]``, in fully driven cells.

    All ``rows`` are driven fully, and every cell of the column is at the end of its window.
    """
    columns = int(readout.map.output.max()) + 1
    extremes = jnp.stack([jnp.ones(columns), -jnp.ones(columns)])
    largest = np.max(np.abs(np.asarray(hardware.store.ideal_columns(extremes))), axis=0)
    return rows * np.array([largest[readout.map.slice == s].max() for s in range(len(readout.map.factor))])
