"""The energy breakdown of the analog hardware: its items (``analog_items``), its arrays, and its deployment.

A sum of components is not a chip. IBM's 64-core PCM chip (M. Le Gallo et al., Nat. Electron. 6, 680 (2023), doi
10.1038/s41928-023-01010-1: 9.76 and 2.48 TOPS/W) takes 13.4 nJ for a 256 x 256 product of 8 bits read in one phase and
52.9 nJ in four, of which the components explain about 3.6 nJ. The remainder per conversion, (13.4 - 3.6)/256 = 38 pJ
and (52.9 - 3.6)/256 = 192 pJ, is the typical and the high energy of the rest of the chip; low is zero, components
alone. Low and high also replace the energy of the ADC by the floor and the median of published ones
(``conversion_energy``). A measured core has no external memory, so its traffic is a separate item (``analog_memory``),
as for every system.
"""

from collections.abc import Sequence
from typing import Any

from analogsim.energy.breakdown import EnergyBreakdown, merge_items
from analogsim.energy.chip.analog_items import hold_items, layer_items
from analogsim.energy.chip.analog_memory import memory_items, plan_of
from analogsim.energy.chip.analog_time import example_time, waiting_items
from analogsim.energy.chip.arrays import AnalogArrays, arrays_of
from analogsim.energy.chip.deployment import Deployment
from analogsim.energy.chip.digital_unit import rest_items
from analogsim.energy.chip.tile_work import tile_work
from analogsim.energy.work.layer_work import Workload

_ANALOG_EXCLUDES = "clock and control, except as the rest of one measured chip (zero at the low end)"
_DIGITAL_EXCLUDES = (
    "leakage, clock, control and network on the chip; weights are read from a 1 MB bank regardless of their number, "
    "again for every vector"
)
_BY_SHAPE = "values of weights and inputs are assumed (uniform inputs, normal weights)"


def breakdowns(
    work: Workload, batches: Sequence[int], deployment: Deployment | None = None
) -> tuple[list[EnergyBreakdown], AnalogArrays | None]:
    """Return the hardware's breakdown at every batch size, and its arrays (None if no layer is analog).

    Weights stay in place, so an inference costs the same in any batch, except for the power that holds weights while
    the batch is dispatched. For the latency see ``analog_time``.

    Args:
      work: the work of the model.
      batches: batch sizes.
      deployment: how the chip is used, to amortise programming and calibration; None to leave them out.
    """
    layers = [(layer, tile_work(layer.use)) for layer in work.layers]
    energy_table = work.layers[0].use.hardware.energy_table
    items = [item for layer, per_vector in layers for item in layer_items(layer, per_vector)]
    moved = plan_of(layers, work.operations, energy_table)
    merge_items(items)  # rejects invalid numbers before the time is computed from them
    time = example_time(layers, work.operations, moved, energy_table)
    items += hold_items(layers, time.reads_s) + rest_items(work.operations, energy_table)
    items += memory_items(moved, work.operations, energy_table)
    charged = merge_items(items)
    arrays = arrays_of(layers)
    if deployment is not None:
        charged += merge_items(deployment.items(arrays))
    converts = any(item.component == "ADC" for item in charged)
    has_rest = any(item.component == "rest of the chip" and item.unit_energy_j > 0 for item in charged)
    repeats = any(layer.use.hardware.bound_management != "none" for layer, _ in layers)
    kinds = dict.fromkeys(per_vector.is_analog for _, per_vector in layers)
    left_out = [_ANALOG_EXCLUDES if is_analog else _DIGITAL_EXCLUDES for is_analog in kinds]
    if repeats:
        left_out.append("reads that bound management repeats")
    if deployment is None and arrays is not None:
        left_out.append("writing the weights and readouts for drift compensation, both reported separately")
    if work.operations.uncounted:
        left_out.append("arithmetic of " + ", ".join(name for name, _ in work.operations.uncounted))
    note = (
        "low: components alone, best ADC; typical and high: with the rest of a measured chip"
        if has_rest
        else "sum of components, not of a chip; low and high: the best and the median ADC"
        if converts
        else "sum of components, not of a chip; no range is known"
    )
    note += "" if work.has_values else f"; {_BY_SHAPE}"
    common: dict[str, Any] = dict(
        system=" + ".join(dict.fromkeys(layer.use.hardware.name for layer in work.layers)),
        note=note,
        excludes="; ".join(left_out),
    )
    per_batch = [
        EnergyBreakdown(
            batch=b,
            items=(*charged, *merge_items(waiting_items(layers, time, moved, energy_table, b))),
            latency_s=float(energy_table.dispatch_s + b * time.seconds),
            bound=time.bound(energy_table.dispatch_s, b),
            **common,
        )
        for b in batches
    ]
    return per_batch, arrays
