"""Latency of a digital device: the sum over dependent steps of the largest of three lower bounds.

    T = dispatch + sum over steps of runs * max(arithmetic, memory, floor)

    arithmetic    2 MAC / (0.6 P) + (additions + multiplications) / (0.6 V)      P: rate of products, V: all other
    memory        bytes of the step (``traffic``) / (0.8 B)
    floor         launches * t_launch on a GPU; on a TPU (rows + columns) / clock, the fill of its systolic array, and
                  the latency of the memory if inputs or outputs pass it

Operations of one step are independent (``Operation.step``): queries, keys and values, the gates of an LSTM, the
branches of a block. They take one launch, as libraries join them. Assumed launches per step on a GPU:

    products        one; bias, rectifier, residual sum and other additions and multiplications are fused into it
    functions,      one more for all arithmetic up to the next product if it has a function (exp, tanh, GELU's erf, a
    sums            division) or a sum along an axis: softmax, a norm and a pooling each launch
    recurrence      none for the functions of a loop that reuses its weights (the gates of an LSTM), which libraries
                    fuse into the step

A batch that is processed in pieces launches once per piece. Dispatch, from the host's call to the first instruction,
occurs once per batch.
"""

import dataclasses

from analogsim.energy.machines.digital_devices import Device
from analogsim.energy.work.layer_work import Workload
from analogsim.energy.work.operations import Operation
from analogsim.energy.work.primitives import ALONG_AN_AXIS
from analogsim.energy.work.traffic import Moved

COMPUTE_EFFICIENCY = 0.6
MEMORY_EFFICIENCY = 0.8
FUSED_MULTIPLICATIONS = 2  #: most multiplications per result that are fused into a product; functions take more


@dataclasses.dataclass(frozen=True)
class Timing:
    """The time of a whole batch.

    Attributes:
      seconds: time from the dispatch to the last result.
      busy_s: time in which something is computed or moved.
      bounds: seconds by the limiting activity: ``"arithmetic"``, ``"memory"``, ``"launches"`` or ``"latency"``,
        ``"dispatch"``.
    """

    seconds: float
    busy_s: float
    bounds: dict[str, float]

    @property
    def bound(self) -> str:
        """The activity that takes most of the time."""
        return max(self.bounds, key=lambda name: self.bounds[name])


@dataclasses.dataclass
class _Step:
    """Independent operations, for the whole batch and all runs."""

    runs: float = 0.0
    pieces: int = 1
    mac: float = 0.0
    other: float = 0.0
    memory: float = 0.0
    waits_for_memory: bool = False
    products: bool = False
    separate_kernel: bool = False
    along_an_axis: bool = False
    recurrent: bool = False

    def add(self, op: Operation, times: float, moved: Moved | None) -> None:
        self.runs = max(self.runs, op.repeats)
        self.mac += times * op.macs
        self.other += times / op.repeats * (op.total_additions + op.total_multiplications) if op.results else 0.0
        if moved is None:
            if op.per_example:  # arithmetic on weights alone (such as the scale of a norm) is folded beforehand
                self.along_an_axis |= op.primitive in ALONG_AN_AXIS
                is_function = op.multiplications > FUSED_MULTIPLICATIONS * op.results
                self.separate_kernel |= is_function or op.primitive in ALONG_AN_AXIS
            return
        self.products = True
        self.pieces = max(self.pieces, moved.pieces)
        self.memory += moved.weights + moved.maps
        self.waits_for_memory |= moved.maps > 0
        distinct = op.new_weight_words if op.distinct_weight_words is None else op.distinct_weight_words
        self.recurrent |= bool(op.loop) and 0 < distinct < op.repeats * op.weight_words

    @property
    def launches(self) -> float:
        """Number of kernel launches in all runs."""
        separate = self.separate_kernel and not (self.recurrent and not self.along_an_axis)
        return self.runs * self.pieces * (self.products + separate)


def timing(device: Device, peak_op_per_s: float, work: Workload, batch: int, moved: tuple[Moved, ...]) -> Timing:
    """Return the time of a batch on a digital device.

    Args:
      device: the digital device.
      peak_op_per_s: its peak rate in the number format of the work, two operations per multiply-accumulate.
      work: the work of the model.
      batch: examples computed together.
      moved: traffic of every operation that is not elementwise, in order (``digital.Traffic.moved``).
    """
    steps: dict[tuple[tuple[int, ...], int], _Step] = {}
    next_moved = iter(moved)
    products = 0  # counted so far: the step of operations that state none
    for op in work.operations.all:
        times = op.repeats * (batch / work.operations.examples if op.per_example else 1)
        products += op.kind != "elementwise"
        step = steps.setdefault((op.loop, products if op.step is None else op.step), _Step())
        step.add(op, times, None if op.kind == "elementwise" else next(next_moved))
    bounds = {"arithmetic": 0.0, "memory": 0.0, "launches" if device.launch_s else "latency": 0.0}
    bounds["dispatch"] = device.dispatch_s
    busy_s = 0.0
    for step in steps.values():
        arithmetic_s = 2.0 * step.mac / (COMPUTE_EFFICIENCY * peak_op_per_s)
        arithmetic_s += step.other / (COMPUTE_EFFICIENCY * device.vector_op_per_s)
        memory_s = step.memory / (MEMORY_EFFICIENCY * device.byte_per_s)
        floor_s = max(step.launches * device.launch_s, _fill_s(device, step))
        name = "launches" if device.launch_s else "latency"
        seconds, bound = max((arithmetic_s, "arithmetic"), (memory_s, "memory"), (floor_s, name))
        bounds[bound] += seconds
        busy_s += max(arithmetic_s, memory_s)
    return Timing(sum(bounds.values()), busy_s, bounds)


def _fill_s(device: Device, step: _Step) -> float:
    """Return the latency of the array and of the memory in all runs."""
    if not step.products:
        return 0.0
    return step.runs * step.pieces * (device.fill_s + (device.latency_s if step.waits_for_memory else 0.0))
