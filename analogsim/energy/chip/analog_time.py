"""Latency of an inference on the analog hardware, step by step, as for digital systems (``machines.timing``).

    T = dispatch + batch * sum over steps of ( max(reads, memory) + digital )

    reads      of the step's analog layers: layers with separate tiles in parallel (gates, queries and keys, the
               branches of a block), the vectors and passes of one layer in sequence
    memory     bytes to and from the external memory / ``EnergyTable.memory_byte_per_s``, while tiles are read
    digital    multiply-accumulates, additions and multiplications of the digital unit /
               ``EnergyTable.digital_op_per_s``:
               attention, digital layers and weight stores, activation functions, norms; tiles wait for it

Examples of a batch run in sequence. Dispatch happens once per batch, ``EnergyTable.dispatch_s``. Idle parts draw power:
weights that need holding power (phases, rings, qubits) and buffers that store the maps.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

from analogsim.energy.breakdown import EnergyItem
from analogsim.energy.chip.analog_items import STORE_SOURCE, larger, read_s
from analogsim.energy.chip.tile_work import ACTIONS, TileWork
from analogsim.energy.work.layer_work import LayerWork
from analogsim.energy.work.operations import Operation, Operations
from analogsim.energy.work.traffic import TrafficPlan
from analogsim.hardware.energy_table import EnergyTable


@dataclasses.dataclass(frozen=True)
class AnalogTime:
    """The time of one example in seconds; traced if the read time is.

    Attributes:
      reads_s: time in which tiles are read.
      memory_s: time in which tiles wait for the external memory.
      digital_s: time in which tiles wait for the digital unit.
    """

    reads_s: Any
    memory_s: Any
    digital_s: Any

    @property
    def seconds(self) -> Any:
        """Seconds of one example, without dispatch."""
        return self.reads_s + self.waiting_s

    @property
    def waiting_s(self) -> Any:
        """Seconds in which no tile is read."""
        return self.memory_s + self.digital_s

    def bound(self, dispatch_s: float, batch: int) -> str:
        """Return the activity that takes most of a batch's time."""
        spent = {
            "reads": batch * float(self.reads_s), "memory": batch * float(self.memory_s),
            "digital unit": batch * float(self.digital_s), "dispatch": float(dispatch_s),
        }  # fmt: skip
        return max(spent, key=lambda name: spent[name])


def example_time(
    done: Sequence[tuple[LayerWork, TileWork]], operations: Operations, moved: TrafficPlan, energy_table: EnergyTable
) -> AnalogTime:
    """Return the time of one example, without dispatch."""
    of_layer: dict[str, Any] = {}
    for layer, work in done:
        if work.is_analog and layer.use.is_first:  # the remaining members of a group run in parallel
            of_layer[layer.use.path] = of_layer.get(layer.use.path, 0.0) + read_s(layer)
    weights = _total_weights(operations, of_layer)
    reads: dict[Any, dict[str, Any]] = {}
    digital: dict[Any, float] = {}
    memory: dict[Any, float] = {}
    # `moved` has one entry per operation that is not elementwise, in the same order.
    next_moved, products = iter(moved.moved), 0
    for op in operations.all:
        products += op.kind != "elementwise"
        step = (op.loop, products if op.step is None else op.step)
        if op.kind != "elementwise":
            op_moved = next(next_moved)
            memory[step] = memory.get(step, 0.0) + op_moved.maps + (0.0 if moved.stays else op_moved.weights)
        if op.layer in of_layer:
            if op.kind != "elementwise":
                of_step = reads.setdefault(step, {})
                layer_s = of_layer[op.layer] * _weight(op) / weights[op.layer]
                of_step[op.layer] = of_step.get(op.layer, 0.0) + layer_s
        else:
            other = op.total_additions + op.total_multiplications if op.results else 0
            digital[step] = digital.get(step, 0.0) + (op.total_macs + other) / operations.examples
    total = AnalogTime(0.0, 0.0, 0.0)
    for step in dict.fromkeys((*reads, *memory, *digital)):
        reads_s: Any = 0.0
        for layer_s in reads.get(step, {}).values():
            reads_s = larger(reads_s, layer_s)
        transfer_s = memory.get(step, 0.0) / energy_table.memory_byte_per_s
        total = AnalogTime(
            total.reads_s + reads_s,
            total.memory_s + larger(transfer_s - reads_s, 0.0),
            total.digital_s + digital.get(step, 0.0) / energy_table.digital_op_per_s,
        )
    return total


def waiting_items(
    done: Sequence[tuple[LayerWork, TileWork]],
    time: AnalogTime,
    moved: TrafficPlan,
    energy_table: EnergyTable,
    batch: int,
) -> list[EnergyItem]:
    """Return the energy per example drawn while no tile is read, by weights with holding power and by buffers."""
    waits_s = time.waiting_s + energy_table.dispatch_s / batch
    items = [
        EnergyItem(component=action.component, action=f"{action.action}, waiting",
             count=layer.matrices * quantity * waits_s, unit=f"{action.unit} s",
             unit_energy_j=action.unit_energy_j(layer.use.hardware.energy_table), layer=layer.use.path, waits=True,
             sources=layer.use.hardware.energy_table.sources(*action.fields) or STORE_SOURCE)
        for layer, work in done
        for action, quantity in ((ACTIONS[name], quantity) for name, quantity in work.quantities.items())
        if action.is_power and layer.new_weights
    ]  # fmt: skip
    if any(work.is_analog and layer.use.hardware.adc is not None for layer, work in done):
        items.append(
            EnergyItem(component="leakage", action="buffers, waiting", count=moved.largest * time.waiting_s, unit="B s",
                 unit_energy_j=energy_table.buffer_leakage_w_per_byte, waits=True,
                 sources=energy_table.sources("buffer_leakage_w_per_byte"))
        )  # fmt: skip
    return items


def _weight(op: Operation) -> float:
    """Return the weight of an operation when a layer's read time is divided among its operations."""
    return op.repeats * op.output_words


def _total_weights(operations: Operations, of_layer: dict[str, Any]) -> dict[str, float]:
    totals = dict.fromkeys(of_layer, 0.0)
    for op in operations.all:
        if op.layer in totals and op.kind != "elementwise":
            totals[op.layer] += _weight(op)
    return totals
