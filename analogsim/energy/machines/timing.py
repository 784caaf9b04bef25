"""Latency of a digital device: the sum over dependent steps of the bound of each.

    T = dispatch + sum over steps of runs * max(arithmetic, memory, floor)

    arithmetic    2 MAC / (0.6 P) + (additions + multiplications) / (0.6 V)      P: products, V: everything else
    memory        bytes of the step (``traffic``) / (0.8 B)
    floor         launches * t_launch on a GPU; on a TPU (rows + columns) / clock, the fill of its systolic array, and
                  the latency of the memory where inputs or outputs pass it

Operations of one step need nothing of each other (``Operation.step``): queries, keys and values, an LSTM's gates, the
branches of a block. They are one launch, as libraries join them. So many launches per step are assumed on a GPU:

    products        one; bias, rectifier, residual sum and other arithmetic by adds and products is fused into it
    functions,      one more for all arithmetic up to the next product, if it has a function (exp, tanh, GELU's erf, a
    sums            division) or a sum along an axis: softmax, a norm, a pooling each launch
    recurrence      but none for the functions of a loop that uses the same weights every time (an LSTM's gates), which
                    libraries fuse into the step

A batch that is worked through in pieces launches for each of them. Dispatch is once per batch: from the host's call to
the first instruction.
"""

import dataclasses

from analogsim.energy.machines.digital_devices import Device
from analogsim.energy.work.layer_work import Workload
from analogsim.energy.work.operations import Operation
from analogsim.energy.work.primitives import ALONG_AN_AXIS
from analogsim.energy.work.traffic import Moved

COMPUTE_EFFICIENCY = 0.6
MEMORY_EFFICIENCY = 0.8
FUSED_MULTIPLICATIONS = 2  #: that a result may take to be fused into a product; functions take more


@dataclasses.dataclass(frozen=True)
class Timing:
    """Seconds of a whole batch.

    Attributes:
      seconds: from its dispatch to its last result.
      busy_s: in which something is computed or moved.
      bounds: seconds by what bounds them: ``"arithmetic"``, ``"memory"``, ``"launches"`` or ``"latency"``,
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
    """Operations that need nothing of each other, for the whole batch and all runs."""

    runs: float = 0.0
    pieces: int = 1
    mac: float = 0.0
    other: float = 0.0
    memory: float = 0.0
    waits_for_memory: bool = False
    products: bool = False
    own_kernel: bool = False
    along_an_axis: bool = False
    recurrent: bool = False

    def add(self, op: Operation, times: float, moved: Moved | None) -> None:
        self.runs = max(self.runs, op.repeats)
        self.mac += times * op.macs
        self.other += times / op.repeats * (op.total_additions + op.total_multiplications) if op.results else 0.0
        if moved is None:
            if op.per_example:  # a norm's own numbers are folded into it
                self.along_an_axis |= op.primitive in ALONG_AN_AXIS
                is_function = op.multiplications > FUSED_MULTIPLICATIONS * op.results
                self.own_kernel |= is_function or op.primitive in ALONG_AN_AXIS
            return
        self.products = True
        self.pieces = max(self.pieces, moved.pieces)
        self.memory += moved.weights + moved.maps
        self.waits_for_memory |= moved.maps > 0
        distinct = op.new_weight_words if op.distinct_weight_words is None else op.distinct_weight_words
        self.recurrent |= bool(op.loop) and 0 < distinct < op.repeats * op.weight_words

    @property
    def launches(self) -> float:
        """Kernels of all runs."""
        own = self.own_kernel and not (self.recurrent and not self.along_an_axis)
        return self.runs * self.pieces * (self.products + own)


def timing(device: Device, peak_op_per_s: float, work: Workload, batch: int, moved: tuple[Moved, ...]) -> Timing:
    """Return the time of a batch on a digital device."""
    steps: dict[tuple[tuple[int, ...], int], _Step] = {}
    of_each = iter(moved)
    after = 0  # products so far, for operations that do not say which step they are of
    for op in work.operations.all:
        times = op.repeats * (batch / work.operations.examples if op.per_example else 1)
        after += op.kind != "elementwise"
        step = steps.setdefault((op.loop, after if op.step is None else op.step), _Step())
        step.add(op, times, None if op.kind == "elementwise" else next(of_each))
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
    """Latency of the array and of the memory, in all runs."""
    if not step.products:
        return 0.0
    each_s = device.fill_s + (device.latency_s if step.waits_for_memory else 0.0)
    return step.runs * step.pieces * each_s
