"""What passes between a chip and the memory outside of it, operation by operation, for a whole batch.

One on-chip capacity C holds what is to be used again: weights, or the maps (inputs and outputs) that one operation
leaves to the next. What is used once streams by and takes no room of it: weights that are not kept, and what the model
is given from outside (its inputs, a key-value cache), which is read once in any case. Operations are worked through in
groups of neighbours; in a group, b examples at a time, the batch of B in p = ceil(B / b) pieces:

    in a group      maps stay on the chip; they fit:           b m <= C          m: one example's, of the largest one
    weights         read with every piece                      p * sum of W
                    or kept for the whole batch                sum of W          if  sum of W + b m <= C
                    or, of a loop, kept for its runs           p * sum of W      if  loop's W + b m <= C
    between groups  the maps of the whole batch are written and read again
    alone           an operation whose maps do not fit (or that gains by it) passes them all through the memory:
                    min(W ceil(B I / C) + B I + B O,  W + B I ceil(W / C) + B O)       I, O: one example's

Of all ways to cut the operations into groups, each with its b, the one of least bytes is taken: a shortest path. So
more capacity never means more bytes, and a larger batch never fewer in total. Where every piece of an operation costs a
launch, what the memory could have moved meanwhile (``piece_bytes``) is counted beside the bytes: small pieces would
save bytes and lose more time. Neighbours are taken to hand their maps
on; what is taken up again later (residual sums, values of attention) is not in m, and arithmetic between products
is fused into them. Rows of tables are fetched each time they are asked for.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from analogsim.energy.work.operations import Operation, Operations


class Need(NamedTuple):
    """What one operation asks of the memories, in bytes; maps are of one example (of all, where they are shared).

    Attributes:
      weights: of one run.
      distinct: weights of all runs, each once.
      new: of these, what no operation before it has read.
      leaves: which weights these are: those that an earlier operation of the group has kept are there already.
      inputs, outputs: of one run.
      outside: of the inputs of all runs, what comes from outside of the model for the first time.
      runs: one after another.
      loop: the loops that it stands in.
      shared: whether it depends on no example, and runs once a batch.
      fetches: whether it fetches rows of a table, ``weights`` bytes an example and run.
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
    """Bytes of one operation for a whole batch.

    Attributes:
      weights: read from outside memory.
      maps: inputs and outputs through it.
      touched: inputs and outputs, wherever they are.
      pieces: in how many parts the batch is worked through.
    """

    weights: float
    maps: float
    touched: float
    pieces: int


@dataclasses.dataclass(frozen=True)
class TrafficPlan:
    """The traffic of least bytes.

    Attributes:
      moved: of each operation that moves something, in order.
      largest: bytes of the largest maps, of the examples that are worked through together.
      stays: whether all weights fit beside them, so that they may be there from the batch before.
    """

    moved: tuple[Moved, ...]
    largest: float
    stays: bool

    @property
    def weights(self) -> float:
        """Bytes of weights from outside memory."""
        return math.fsum(m.weights for m in self.moved)

    @property
    def maps(self) -> float:
        """Bytes of inputs and outputs through outside memory."""
        return math.fsum(m.maps for m in self.moved)

    @property
    def touched(self) -> float:
        """Bytes of all inputs and outputs."""
        return math.fsum(m.touched for m in self.moved)


def moving(operations: Operations) -> tuple[Operation, ...]:
    """The operations that move numbers: all but arithmetic that is fused into them."""
    return tuple(op for op in operations.all if op.kind != "elementwise")


def needs(
    operations: Operations,
    weight_bytes: Callable[[Operation], float],
    map_bytes: Callable[[Operation], tuple[float, float]],
) -> list[Need]:
    """What each operation that moves something asks for, with so many bytes a weight, an input and an output."""
    known = any(op.new_input_words for op in operations.all)  # else: what the first operation reads comes from outside
    found: list[Need] = []
    for op in moving(operations):
        share = 1 / operations.examples if op.per_example else 1.0
        byte, (byte_in, byte_out) = weight_bytes(op), map_bytes(op)
        first = not known and not any(not need.shared for need in found)
        outside = op.repeats * op.input_words if first else op.new_input_words
        distinct = op.new_weight_words if op.distinct_weight_words is None else op.distinct_weight_words
        fetches = op.kind == "lookup"
        found.append(
            Need(
                weights=byte * op.weight_words * (share if fetches else 1.0),
                distinct=byte * distinct,
                new=byte * op.new_weight_words,
                leaves=op.weight_leaves,
                inputs=byte_in * op.input_words * share,
                outputs=byte_out * op.output_words * share,
                outside=byte_in * min(outside, op.repeats * op.input_words) * share,
                runs=op.repeats,
                loop=op.loop,
                shared=not op.per_example,
                fetches=fetches,
            )
        )
    return found


def plan(asked: Sequence[Need], batch: int, capacity: float, piece_bytes: float = 0.0) -> TrafficPlan:
    """The way through the operations that moves the fewest bytes; see the module.

    Args:
      asked: the operations, in order.
      batch: examples.
      capacity: bytes on the chip for what is used again.
      piece_bytes: bytes that one run of an operation on one piece of the batch stands for, beside those that it moves.
    """
    return _plan(tuple(asked), batch, float(capacity), float(piece_bytes))


@functools.lru_cache(maxsize=256)
def _plan(operation_needs: tuple[Need, ...], batch: int, capacity: float, piece_bytes: float) -> TrafficPlan:
    n = len(operation_needs)
    min_bytes = [0.0] + [math.inf] * n
    way: list[tuple[int, bool]] = [(0, False)] * (n + 1)  # start of the last group, and whether it is one of its own
    for i in range(n):
        by_itself = (
            min_bytes[i] + _bytes(_alone(operation_needs[i], batch, capacity)) + piece_bytes * operation_needs[i].runs
        )
        if by_itself < min_bytes[i + 1]:
            min_bytes[i + 1], way[i + 1] = by_itself, (i, True)
        group = _Group(operation_needs, i, batch, capacity, piece_bytes)
        for j in range(i, n):
            if not group.takes(operation_needs[j]):
                break
            cost = min_bytes[i] + group.cost(j)
            if cost < min_bytes[j + 1]:
                min_bytes[j + 1], way[j + 1] = cost, (i, False)
    moved: list[Moved] = []
    end = n
    while end:
        start, is_alone = way[end]
        moved = (
            [_alone(operation_needs[start], batch, capacity)]
            if is_alone
            else _Group(operation_needs, start, batch, capacity, piece_bytes).moved(end - 1)
        ) + moved
        end = start
    whole_group = _Group(operation_needs, 0, batch, capacity)
    stays = all([whole_group.takes(need) for need in operation_needs]) and whole_group.room(whole_group.distinct) > 0
    pieces = max((m.pieces for m in moved), default=1)
    return TrafficPlan(tuple(moved), whole_group.fixed + math.ceil(batch / pieces) * whole_group.each, stays)


def _times(need: Need, batch: int) -> float:
    return 1 if need.shared else batch


def _fetched(need: Need, batch: int) -> float:
    return need.weights * need.runs * _times(need, batch) if need.fetches else 0.0


def _touched(need: Need, batch: int) -> float:
    return _times(need, batch) * need.runs * (need.inputs + need.outputs)


def _bytes(moved: Moved) -> float:
    return moved.weights + moved.maps


def _alone(need: Need, batch: int, capacity: float) -> Moved:
    """An operation whose maps all pass the memory: weights again for pieces of the inputs, or the other way round."""
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
    """In how many parts of the capacity something is held; one if it fits, or if there is no capacity to speak of."""
    return max(1, math.ceil(size / capacity)) if capacity else 1


class _Group:
    """Neighbouring operations whose maps stay on the chip, while it grows by one at a time."""

    def __init__(self, asked: tuple[Need, ...], start: int, batch: int, capacity: float, piece_bytes: float = 0.0):
        self.asked, self.start, self.batch, self.capacity = asked, start, batch, capacity
        self.piece_bytes, self.runs = piece_bytes, 0.0
        self.each = self.fixed = 0.0  # bytes of the largest maps: of an example, and of what is shared
        self.streamed = self.once = self.distinct = self.outside = self.fetched = 0.0
        self.kept: dict[frozenset[int], float] = {}
        self.of_loop: dict[tuple[int, ...], float] = {}

    def takes(self, need: Need) -> bool:
        """Add an operation; False, and the group is at its end, where one example's maps do not fit."""
        maps = need.inputs + need.outputs - need.outside / need.runs
        self.runs += need.runs
        if need.shared:
            self.fixed = max(self.fixed, maps)
        else:
            self.each = max(self.each, maps)
        self.outside += _times(need, self.batch) * need.outside
        if need.fetches:
            self.fetched += _fetched(need, self.batch)
        else:
            self.streamed += max(need.runs * need.weights, need.distinct)
            self.once += need.distinct
            added = self.added(need)
            self.distinct += added
            self.kept[need.leaves] = self.kept.get(need.leaves, 0.0) + added
            if need.loop:
                self.of_loop[need.loop] = self.of_loop.get(need.loop, 0.0) + need.distinct
        return self.room(0.0) > 0

    def added(self, need: Need) -> float:
        """Bytes of weights that no operation of the group has kept so far."""
        before = need.distinct - need.new  # read by an operation before it, of this group or of another
        return need.new + max(0.0, before - self.kept.get(need.leaves, 0.0))

    def room(self, weights: float) -> int:
        """How many examples fit beside so many bytes of weights; 0 where not even one does."""
        left = self.capacity - self.fixed - weights
        if left < 0:
            return 0
        return self.batch if self.each * self.batch <= left else int(left // self.each)

    def ways(self) -> list[tuple[float, int, str]]:
        """Bytes of weights and of what the pieces stand for, pieces and name of the ways that fit."""
        loops = max(self.of_loop.values(), default=0.0)
        tried = ((0.0, self.streamed, "streamed"), (loops, self.once, "loops"), (self.distinct, None, "kept"))
        found = []
        for held, a_piece, name in tried:
            fitting = self.room(held)
            if fitting:
                pieces = -(-self.batch // fitting)
                weights = self.distinct if a_piece is None else pieces * a_piece
                found.append((weights + pieces * self.runs * self.piece_bytes, pieces, name))
        return found

    def cost(self, end: int) -> float:
        """Bytes of the group if it ends here."""
        return min(self.ways())[0] + self.fetched + self.outside + self.entering() + self.leaving(end)

    def entering(self) -> float:
        """Bytes that the first operation reads again, which the one before it has written."""
        need = self.asked[self.start]
        if not self.start:
            return 0.0
        before = self.asked[self.start - 1]
        read = need.runs * need.inputs - need.outside
        if before.loop != need.loop:  # what a loop carries round stays in it
            read = min(read, max(before.runs * before.outputs, need.inputs))
        return _times(need, self.batch) * max(read, 0.0)

    def leaving(self, end: int) -> float:
        """Bytes that the last operation writes."""
        need = self.asked[end]
        return _times(need, self.batch) * need.runs * need.outputs

    def moved(self, end: int) -> list[Moved]:
        """What each operation moves if the group, empty so far, ends there."""
        whole = _Group(self.asked, self.start, self.batch, self.capacity, self.piece_bytes)
        for need in self.asked[self.start : end + 1]:
            whole.takes(need)
        _, pieces, name = min(whole.ways())
        found = []
        for k in range(self.start, end + 1):
            need = self.asked[k]
            if need.fetches:
                weights = _fetched(need, self.batch)
            elif name == "streamed":
                weights = pieces * max(need.runs * need.weights, need.distinct)
            else:
                weights = self.added(need) if name == "kept" else pieces * need.distinct
            maps = _times(need, self.batch) * need.outside
            maps += self.entering() if k == self.start else 0.0
            maps += self.leaving(end) if k == end else 0.0
            self.takes(need)
            found.append(Moved(weights, maps, _touched(need, self.batch), pieces))
        return found
