"""Traffic between a chip and its external memory, operation by operation, for a whole batch.

An on-chip capacity C holds data that is used again: weights, or the maps (inputs and outputs) that one operation passes
to the next. Data that is used once streams through and takes no capacity: weights that are not retained, and the inputs
of the model (and its key-value cache), which are read once in any case. Operations are processed in groups of
neighbours; within a group, b examples at a time, the batch of B in p = ceil(B / b) pieces:

    in a group      maps stay on the chip; they fit:           b m <= C          m: largest maps of one example
    weights         read with every piece                      p * sum of W
                    or retained for the whole batch            sum of W          if  sum of W + b m <= C
                    or, in a loop, retained for its runs       p * sum of W      if  loop's W + b m <= C
    between groups  the maps of the whole batch are written to memory and read back
    alone           an operation whose maps do not fit (or that gains by it) passes them all through the memory:
                    min(W ceil(B I / C) + B I + B O,  W + B I ceil(W / C) + B O)       I, O: of one example

The plan is the partition into groups, each with its b, that moves the fewest bytes (a shortest path). More capacity
therefore never means more bytes, and a larger batch never fewer in total. If each piece of an operation costs a
launch, the bytes that the memory could have moved meanwhile (``piece_bytes``) are added: small pieces would save bytes
and lose more time. Each operation is assumed to pass its maps to the next; data that is used again later (residual
sums, values of attention) is not in m, and arithmetic between products is fused into them. Rows of tables are fetched
on every lookup.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from analogsim.energy.work.operations import Operation, Operations


class Need(NamedTuple):
    """Bytes that one operation reads and writes, with maps per example (per batch, if ``shared``).

    Attributes:
      weights: weights of one run.
      distinct: distinct weights of all runs.
      new: distinct weights that no earlier operation has read.
      leaves: indices of the weights; those that an earlier operation of the group has retained are on the chip.
      inputs, outputs: maps of one run.
      outside: inputs of all runs that come from outside of the model for the first time.
      runs: number of sequential runs.
      loop: indices of the enclosing loops.
      shared: True if it does not depend on the examples and runs once per batch.
      fetches: True if it fetches rows of a table, ``weights`` bytes per example and run.
    """

    weights: float
    distinct: float
    new: float
    leaves: frozenset[int]
    inputs: float
    outputs: float
    outside: float
    runs: float
    loop: tuple[int, ...]
    shared: bool
    fetches: bool


class Moved(NamedTuple):
    """Bytes that one operation moves for a whole batch.

    Attributes:
      weights: weights read from the external memory.
      maps: inputs and outputs that pass the external memory.
      touched: all inputs and outputs, on the chip or not.
      pieces: number of pieces in which the batch is processed.
    """

    weights: float
    maps: float
    touched: float
    pieces: int


@dataclasses.dataclass(frozen=True)
class TrafficPlan:
    """The schedule that moves the fewest bytes.

    Attributes:
      moved: bytes of each operation that moves data, in order.
      largest: bytes of the largest maps, for the examples that are processed together.
      stays: True if all weights fit next to these maps, so that they may stay from the previous batch.
    """

    moved: tuple[Moved, ...]
    largest: float
    stays: bool

    @property
    def weights(self) -> float:
        """Bytes of weights read from the external memory."""
        return math.fsum(m.weights for m in self.moved)

    @property
    def maps(self) -> float:
        """Bytes of inputs and outputs that pass the external memory."""
        return math.fsum(m.maps for m in self.moved)

    @property
    def touched(self) -> float:
        """Bytes of all inputs and outputs, on the chip or not."""
        return math.fsum(m.touched for m in self.moved)


def moving(operations: Operations) -> tuple[Operation, ...]:
    """Return the operations that move data: all except elementwise arithmetic, which is fused into them."""
    return tuple(op for op in operations.all if op.kind != "elementwise")


def needs(
    operations: Operations,
    weight_bytes: Callable[[Operation], float],
    map_bytes: Callable[[Operation], tuple[float, float]],
) -> list[Need]:
    """Return the bytes that each operation of ``moving`` reads and writes.

    Args:
      operations: the operations of one run.
      weight_bytes: returns the bytes per weight of an operation.
      map_bytes: returns the bytes per input and per output of an operation.
    """
    # If no operation records inputs from outside, the inputs of the first one are taken as such.
    records_outside = any(op.new_input_words for op in operations.all)
    result: list[Need] = []
    for op in moving(operations):
        per_example = 1 / operations.examples if op.per_example else 1.0
        byte, (byte_in, byte_out) = weight_bytes(op), map_bytes(op)
        first = not records_outside and not any(not need.shared for need in result)
        outside = op.repeats * op.input_words if first else op.new_input_words
        distinct = op.new_weight_words if op.distinct_weight_words is None else op.distinct_weight_words
        fetches = op.kind == "lookup"
        result.append(
            Need(
                weights=byte * op.weight_words * (per_example if fetches else 1.0),
                distinct=byte * distinct,
                new=byte * op.new_weight_words,
                leaves=op.weight_leaves,
                inputs=byte_in * op.input_words * per_example,
                outputs=byte_out * op.output_words * per_example,
                outside=byte_in * min(outside, op.repeats * op.input_words) * per_example,
                runs=op.repeats,
                loop=op.loop,
                shared=not op.per_example,
                fetches=fetches,
            )
        )
    return result


def plan(operation_needs: Sequence[Need], batch: int, capacity: float, piece_bytes: float = 0.0) -> TrafficPlan:
    """Return the schedule of the operations that moves the fewest bytes; see the module.

    Args:
      operation_needs: bytes of each operation, in order (``needs``).
      batch: number of examples.
      capacity: bytes on the chip for data that is used again.
      piece_bytes: cost in bytes of one run of an operation on one piece of the batch, added to the bytes it moves.

    Returns:
      The bytes of each operation, and their sums.

    Example:
      >>> import jax.numpy as jnp
      >>> from analogsim.energy import workload
      >>> work = workload(lambda w, x: x @ w, jnp.ones((4, 3)), jnp.ones((2, 4)), examples=2)
      >>> float32 = needs(work, weight_bytes=lambda op: 4.0, map_bytes=lambda op: (4.0, 4.0))
      >>> traffic = plan(float32, batch=8, capacity=1e6)
      >>> traffic.weights, traffic.maps     # 4 x 3 weights once; 8 x (4 + 3) inputs and outputs
      (48.0, 224.0)
    """
    return _plan(tuple(operation_needs), batch, float(capacity), float(piece_bytes))


@functools.lru_cache(maxsize=256)
def _plan(operation_needs: tuple[Need, ...], batch: int, capacity: float, piece_bytes: float) -> TrafficPlan:
    n = len(operation_needs)
    min_bytes = [0.0] + [math.inf] * n
    # Start of the last group of the best partition of the first i operations; True if that is an operation alone.
    last: list[tuple[int, bool]] = [(0, False)] * (n + 1)
    for i in range(n):
        need = operation_needs[i]
        alone = min_bytes[i] + _bytes(_alone(need, batch, capacity)) + piece_bytes * need.runs
        if alone < min_bytes[i + 1]:
            min_bytes[i + 1], last[i + 1] = alone, (i, True)
        group = _Group(operation_needs, i, batch, capacity, piece_bytes)
        for j in range(i, n):
            if not group.takes(operation_needs[j]):
                break
            cost = min_bytes[i] + group.cost(j)
            if cost < min_bytes[j + 1]:
                min_bytes[j + 1], last[j + 1] = cost, (i, False)
    moved: list[Moved] = []
    end = n
    while end:
        start, is_alone = last[end]
        if is_alone:
            part = [_alone(operation_needs[start], batch, capacity)]
        else:
            part = _Group(operation_needs, start, batch, capacity, piece_bytes).moved(end - 1)
        moved = part + moved
        end = start
    whole_group = _Group(operation_needs, 0, batch, capacity)
    # A list, not a generator: the sizes below need all operations, also those after the first that does not fit.
    stays = all([whole_group.takes(need) for need in operation_needs]) and whole_group.room(whole_group.distinct) > 0
    pieces = max((m.pieces for m in moved), default=1)
    return TrafficPlan(tuple(moved), whole_group.fixed + math.ceil(batch / pieces) * whole_group.per_example, stays)


def _times(need: Need, batch: int) -> float:
    return 1 if need.shared else batch


def _fetched(need: Need, batch: int) -> float:
    return need.weights * need.runs * _times(need, batch) if need.fetches else 0.0


def _touched(need: Need, batch: int) -> float:
    return _times(need, batch) * need.runs * (need.inputs + need.outputs)


def _bytes(moved: Moved) -> float:
    return moved.weights + moved.maps


def _alone(need: Need, batch: int, capacity: float) -> Moved:
    """Return the traffic of an operation whose maps all pass the memory: weights per piece of inputs, or reverse."""
    if need.fetches:
        return Moved(_fetched(need, batch), _touched(need, batch), _touched(need, batch), 1)
    inputs = _times(need, batch) * need.inputs
    all_weights, all_inputs = need.runs * need.weights, need.runs * inputs
    outputs = _touched(need, batch) - all_inputs
    ways = [(all_weights * _parts(inputs, capacity), all_inputs)]
    if need.weights:
        ways.append((all_weights, all_inputs * _parts(need.weights, capacity)))
    if need.distinct <= capacity:
        ways.append((need.distinct, all_inputs))
    weights, read = min(ways, key=sum)
    return Moved(weights, read + outputs, _touched(need, batch), 1)


def _parts(size: float, capacity: float) -> float:
    """Return the number of pieces of at most the capacity; 1 if the data fits, or without a capacity."""
    return max(1, math.ceil(size / capacity)) if capacity else 1


class _Group:
    """Neighbouring operations whose maps stay on the chip; grows by one operation at a time."""

    def __init__(
        self, operation_needs: tuple[Need, ...], start: int, batch: int, capacity: float, piece_bytes: float = 0.0
    ):
        self.operation_needs, self.start, self.batch, self.capacity = operation_needs, start, batch, capacity
        self.piece_bytes, self.runs = piece_bytes, 0.0
        self.per_example = self.fixed = 0.0  # bytes of the largest maps: per example, and shared
        self.streamed = self.once = self.distinct = self.outside = self.fetched = 0.0
        self.retained: dict[frozenset[int], float] = {}
        self.of_loop: dict[tuple[int, ...], float] = {}

    def takes(self, need: Need) -> bool:
        """Add an operation; return False if the maps of one example no longer fit, which ends the group."""
        maps = need.inputs + need.outputs - need.outside / need.runs
        self.runs += need.runs
        if need.shared:
            self.fixed = max(self.fixed, maps)
        else:
            self.per_example = max(self.per_example, maps)
        self.outside += _times(need, self.batch) * need.outside
        if need.fetches:
            self.fetched += _fetched(need, self.batch)
        else:
            self.streamed += max(need.runs * need.weights, need.distinct)
            self.once += need.distinct
            added = self.added(need)
            self.distinct += added
            self.retained[need.leaves] = self.retained.get(need.leaves, 0.0) + added
            if need.loop:
                self.of_loop[need.loop] = self.of_loop.get(need.loop, 0.0) + need.distinct
        return self.room(0.0) > 0

    def added(self, need: Need) -> float:
        """Return the bytes of weights that the group has not retained so far."""
        before = need.distinct - need.new  # read by an earlier operation, of this group or of another
        return need.new + max(0.0, before - self.retained.get(need.leaves, 0.0))

    def room(self, weights: float) -> int:
        """Return how many examples fit next to the given bytes of weights; 0 if not even one does."""
        left = self.capacity - self.fixed - weights
        if left < 0:
            return 0
        return self.batch if self.per_example * self.batch <= left else int(left // self.per_example)

    def ways(self) -> list[tuple[float, int, str]]:
        """Return (bytes of weights and pieces, number of pieces, name) of every option that fits.

        ``min`` breaks ties by name: weights retained for the batch before the loop before streamed.
        """
        loops = max(self.of_loop.values(), default=0.0)
        tried = ((0.0, self.streamed, "streamed"), (loops, self.once, "loops"), (self.distinct, None, "batch"))
        options = []
        for retained, per_piece, name in tried:
            fitting = self.room(retained)
            if fitting:
                pieces = -(-self.batch // fitting)
                weights = self.distinct if per_piece is None else pieces * per_piece
                options.append((weights + pieces * self.runs * self.piece_bytes, pieces, name))
        return options

    def cost(self, end: int) -> float:
        """Return the bytes of the group if it ends at operation ``end``."""
        return min(self.ways())[0] + self.fetched + self.outside + self.entering() + self.leaving(end)

    def entering(self) -> float:
        """Return the bytes that the first operation reads from the memory because the previous one wrote them."""
        need = self.operation_needs[self.start]
        if not self.start:
            return 0.0
        before = self.operation_needs[self.start - 1]
        read = need.runs * need.inputs - need.outside
        if before.loop != need.loop:  # the carry of a loop stays in it
            read = min(read, max(before.runs * before.outputs, need.inputs))
        return _times(need, self.batch) * max(read, 0.0)

    def leaving(self, end: int) -> float:
        """Return the bytes that the last operation writes."""
        need = self.operation_needs[end]
        return _times(need, self.batch) * need.runs * need.outputs

    def moved(self, end: int) -> list[Moved]:
        """Return the bytes that each operation moves if the group, still empty, ends at operation ``end``."""
        group = _Group(self.operation_needs, self.start, self.batch, self.capacity, self.piece_bytes)
        for need in self.operation_needs[self.start : end + 1]:
            group.takes(need)
        _, pieces, name = min(group.ways())
        result = []
        for k in range(self.start, end + 1):
            need = self.operation_needs[k]
            if need.fetches:
                weights = _fetched(need, self.batch)
            elif name == "streamed":
                weights = pieces * max(need.runs * need.weights, need.distinct)
            else:
                weights = self.added(need) if name == "batch" else pieces * need.distinct
            maps = _times(need, self.batch) * need.outside
            maps += self.entering() if k == self.start else 0.0
            maps += self.leaving(end) if k == end else 0.0
            self.takes(need)
            result.append(Moved(weights, maps, _touched(need, self.batch), pieces))
        return result
