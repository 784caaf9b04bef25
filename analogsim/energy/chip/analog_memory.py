"""The memories of the analog hardware: the buffer of the chip, and the memory outside of it.

    memory    bytes of least traffic (``traffic``) with ``EnergyTable.buffer_bytes`` on the chip, one example at a time
    buffer    maps of s bytes at  e(s) = e(8 kB) (e(1 MB) / e(8 kB))^(log(s / 8 kB) / log(128)),  8 kB to 1 MB

Weights of analog layers are in their tiles and pass nowhere. Those of layers kept digital, and of digital memories,
stay in the buffer from one inference to the next where all of them fit beside the maps; else they are read again. Maps
are as wide as a layer's converters, and at least a byte; what no analog layer does is computed in 32 bits. What enters
and leaves the model, a key-value cache included, passes the outside memory in any case. Beside a tile stands a buffer
of 8 kB (``analog_lines``); maps that are larger come from, and go to, a larger one: banks of at most 1 MB, so large
that they hold the operation's maps. Prices: ``EnergyTable.buffer_j_per_byte`` (8 kB),
``EnergyTable.weight_fetch_j_per_byte`` (1 MB), ``EnergyTable.memory_j_per_byte``.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from analogsim.energy.breakdown import EnergyItem
from analogsim.energy.chip.analog_lines import byte_widths
from analogsim.energy.chip.tile_work import TileWork
from analogsim.energy.work.layer_work import LayerWork
from analogsim.energy.work.operations import Operation, Operations
from analogsim.energy.work.traffic import TrafficPlan, moving, needs, plan
from analogsim.hardware.energy_table import EnergyTable

SMALL_BYTES, LARGE_BYTES = 2.0**13, 2.0**20  #: capacities that ``EnergyTable`` has a price for
_WORD = 4.0  # bytes of a number that no analog layer computes

Done = Sequence[tuple[LayerWork, TileWork]]


def plan_of(done: Done, operations: Operations, energy_table: EnergyTable) -> TrafficPlan:
    """The traffic of one example, operation by operation."""
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
        return _known(work.quantities.get("weight fetch", 0.0)) / words

    def map_bytes(op: Operation) -> tuple[float, float]:
        if op.layer not in by_path:
            return _WORD, _WORD
        inputs, outputs = (_known(width) for width in byte_widths(by_path[op.layer][0].use.hardware))
        return (_WORD if op.kind == "lookup" else inputs), outputs

    return plan(needs(operations, weight_bytes, map_bytes), 1, energy_table.buffer_bytes)


def memory_lines(found: TrafficPlan, operations: Operations, energy_table: EnergyTable) -> list[EnergyItem]:
    """What an example's numbers take outside of the chip, and in buffers larger than those beside the tiles."""
    outside = found.maps + (0.0 if found.stays else found.weights)
    lines = [
        EnergyItem(
            component="memory",
            action="transfer",
            count=outside,
            unit="B",
            unit_energy_j=energy_table.memory_j_per_byte,
            sources=energy_table.sources("memory_j_per_byte"),
        )
    ]
    large = [
        (moved.touched, moved.touched / op.repeats)
        for op, moved in zip(moving(operations), found.moved, strict=True)
        if op.layer and moved.touched > SMALL_BYTES * op.repeats
    ]
    return [line for line in [*lines, *sized_line("buffer", "large maps", large, energy_table)] if line.count]


def sized_line(
    component: str, action: str, moved: Sequence[tuple[float, float]], energy_table: EnergyTable
) -> list[EnergyItem]:
    """Bytes from memories of so many bytes each, as one line at their mean price."""
    count = math.fsum(number for number, _ in moved)
    if not count:
        return []
    unit_energy_j = sum(number / count * buffer_j_per_byte(energy_table, size) for number, size in moved)
    only_small = all(size <= SMALL_BYTES for _, size in moved)
    fields = ("buffer_j_per_byte",) if only_small else ("buffer_j_per_byte", "weight_fetch_j_per_byte")
    return [EnergyItem(component=component, action=action, count=count, unit="B", unit_energy_j=unit_energy_j,
                 sources=energy_table.sources(*fields))]  # fmt: skip


def buffer_j_per_byte(energy_table: EnergyTable, size_bytes: float) -> Any:
    """Joules a byte of a buffer that holds so much: between the prices of 8 kB and of a bank of 1 MB."""
    held = min(max(size_bytes, SMALL_BYTES), LARGE_BYTES, max(float(energy_table.buffer_bytes), SMALL_BYTES))
    share = math.log(held / SMALL_BYTES) / math.log(LARGE_BYTES / SMALL_BYTES)
    if share == 0.0:
        return energy_table.buffer_j_per_byte
    return energy_table.buffer_j_per_byte ** (1 - share) * energy_table.weight_fetch_j_per_byte**share


def _known(width: Any) -> float:
    """A number of bytes; one where it is traced, since counts are constants of a derivative, or is refused later."""
    return 1.0 if isinstance(width, jax.core.Tracer) or np.size(width) != 1 else float(np.asarray(width).item())
