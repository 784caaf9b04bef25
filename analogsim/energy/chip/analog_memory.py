"""Memory of the analog hardware: the on-chip buffer and the external memory.

    memory    minimum traffic in bytes (``traffic``) with ``EnergyTable.buffer_bytes`` on the chip, example by example
    buffer    maps of s bytes at  e(s) = e(8 kB) (e(1 MB) / e(8 kB))^(log(s / 8 kB) / log(128)),  8 kB to 1 MB

Weights of analog layers stay in their tiles. Weights of digital layers and of digital weight stores stay in the buffer
from one inference to the next if all of them fit next to the maps; otherwise every inference reads them. Maps are as
wide as a layer's converters, and at least a byte; work outside of analog layers is computed in 32 bits. Inputs and
outputs of the model, a key-value cache included, pass the external memory in any case. Each tile has a buffer of 8 kB
(``analog_items``); larger maps use a larger one: banks of at most 1 MB, large enough for the maps of the operation.
Energies: ``EnergyTable.buffer_j_per_byte`` (8 kB), ``EnergyTable.weight_fetch_j_per_byte`` (1 MB),
``EnergyTable.memory_j_per_byte``.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from analogsim.energy.breakdown import EnergyItem
from analogsim.energy.chip.analog_items import byte_widths
from analogsim.energy.chip.tile_work import TileWork
from analogsim.energy.work.layer_work import LayerWork
from analogsim.energy.work.operations import Operation, Operations
from analogsim.energy.work.traffic import TrafficPlan, moving, needs, plan
from analogsim.hardware.energy_table import EnergyTable

SMALL_BYTES, LARGE_BYTES = 2.0**13, 2.0**20  #: capacities for which ``EnergyTable`` has an energy
_WORD = 4.0  # bytes per number outside of analog layers

Done = Sequence[tuple[LayerWork, TileWork]]


def plan_of(done: Done, operations: Operations, energy_table: EnergyTable) -> TrafficPlan:
    """Return the traffic of one example, operation by operation."""
    by_path: dict[str, tuple[LayerWork, TileWork]] = {}
    for layer, work in done:
        by_path.setdefault(layer.use.path, (layer, work))

    def weight_bytes(op: Operation) -> float:
        if op.layer not in by_path:
            return _WORD
        layer, work = by_path[op.layer]
        if work.is_analog:
            return 0.0
        words = layer.use.weights.shape[1] if layer.use.is_lookup else math.prod(layer.use.weights.shape)
        # Only what passes the external memory: fetches from the 1 MB bank are actions of the store (`layer_items`).
        return _known(work.quantities.get("weight fetch", 0.0)) / words

    def map_bytes(op: Operation) -> tuple[float, float]:
        if op.layer not in by_path:
            return _WORD, _WORD
        inputs, outputs = (_known(width) for width in byte_widths(by_path[op.layer][0].use.hardware))
        return (_WORD if op.kind == "lookup" else inputs), outputs

    return plan(needs(operations, weight_bytes, map_bytes), 1, energy_table.buffer_bytes)


def memory_items(traffic: TrafficPlan, operations: Operations, energy_table: EnergyTable) -> list[EnergyItem]:
    """Return the energy items per example of the external memory and of buffers larger than those of the tiles."""
    transferred = traffic.maps + (0.0 if traffic.stays else traffic.weights)
    items = [
        EnergyItem(
            component="memory",
            action="transfer",
            count=transferred,
            unit="B",
            unit_energy_j=energy_table.memory_j_per_byte,
            sources=energy_table.sources("memory_j_per_byte"),
        )
    ]
    # On top of the tiles' buffers, which all maps pass (`layer_items`). Operands of digital work have their buffer in
    # `rest_items`: charging them here would count them twice.
    large = [
        (moved.touched, moved.touched / op.repeats)
        for op, moved in zip(moving(operations), traffic.moved, strict=True)
        if op.layer and moved.touched > SMALL_BYTES * op.repeats
    ]
    return [item for item in [*items, *sized_item("buffer", "large maps", large, energy_table)] if item.count]


def sized_item(
    component: str, action: str, moved: Sequence[tuple[float, float]], energy_table: EnergyTable
) -> list[EnergyItem]:
    """Return one item for pairs (bytes moved, size of the memory in bytes), at their mean energy per byte."""
    count = math.fsum(number for number, _ in moved)
    if not count:
        return []
    unit_energy_j = sum(number / count * buffer_j_per_byte(energy_table, size) for number, size in moved)
    only_small = all(size <= SMALL_BYTES for _, size in moved)
    fields = ("buffer_j_per_byte",) if only_small else ("buffer_j_per_byte", "weight_fetch_j_per_byte")
    return [EnergyItem(component=component, action=action, count=count, unit="B", unit_energy_j=unit_energy_j,
                 sources=energy_table.sources(*fields))]  # fmt: skip


def buffer_j_per_byte(energy_table: EnergyTable, size_bytes: float) -> Any:
    """Return the joules per byte of a buffer of this size, interpolated between 8 kB and a bank of 1 MB."""
    capacity = min(max(size_bytes, SMALL_BYTES), LARGE_BYTES, max(float(energy_table.buffer_bytes), SMALL_BYTES))
    exponent = math.log(capacity / SMALL_BYTES) / math.log(LARGE_BYTES / SMALL_BYTES)
    if exponent == 0.0:
        return energy_table.buffer_j_per_byte
    return energy_table.buffer_j_per_byte ** (1 - exponent) * energy_table.weight_fetch_j_per_byte**exponent


def _known(width: Any) -> float:
    """Return a number of bytes as float; 1 if traced (counts are constants of a derivative) or rejected later."""
    return 1.0 if isinstance(width, jax.core.Tracer) or np.size(width) != 1 else float(np.asarray(width).item())
