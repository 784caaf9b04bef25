"""Eyeriss v1, a digital accelerator in 65 nm with 16-bit words: accesses of its dataflow times relative costs.

    E = e1 (1 N_MAC + 1 N_registers + 2 N_hops + 6 N_buffer + 200 N_DRAM)

``row_stationary`` counts the accesses of each layer in the mapping of lowest energy. Relative costs: Chen, Emer and
Sze, ISCA 2016, doi 10.1109/ISCA.2016.40, recalled. The unit e1 is calibrated once on the measured chip (Chen et al.,
IEEE J. Solid-State Circuits 52, 127 (2017), doi 10.1109/JSSC.2016.2616357): 278 mW at 34.7 frames per second on
AlexNet's convolutions is 8.01 mJ per frame or 12.0 pJ per MAC, without DRAM, which is a separate chip. In the chip's
mappings, at a batch of four, a MAC comes with 4 register accesses, 0.087 hops and 0.040 buffer accesses, so that

    12.0 pJ = e1 (1 + 4 + 2 * 0.087 + 6 * 0.040)      e1 = 2.22 pJ

and e1 includes the chip's clock and control. The measured power and time of single layers give values from 1.52 pJ
(the fifth) to 3.11 pJ (the first), which are low and high. DRAM at a relative cost of 200 takes 28 pJ per bit; low and
high are 8 pJ per bit (LPDDR4) and 70 pJ per bit (DDR3, ``number_formats``). The time that layers wait for the external
memory is not known, so the energy breakdown has no latency; ``counts`` returns the time of the multiply-accumulates at
200 MHz on the elements in use.
"""

import dataclasses

from analogsim.base.literature import cited
from analogsim.energy.breakdown import EnergyBreakdown, EnergyItem, merge_items
from analogsim.energy.machines import row_stationary
from analogsim.energy.machines.number_formats import DRAM
from analogsim.energy.machines.row_stationary import (
    COST_BUFFER,
    COST_DRAM,
    COST_HOP,
    COST_REGISTER,
    REGISTERS_PER_MAC,
    Accesses,
    DataflowMapping,
    Plane,
    accesses,
    best,
    planes,
)
from analogsim.energy.work.layer_work import Workload
from analogsim.energy.work.operations import Operation

ALEXNET_CONV_MACS = 665_784_864  #: five convolutions, three of them in groups, one image
MEASURED_J_PER_MAC = 278e-3 / 34.7 / ALEXNET_CONV_MACS  #: chip without DRAM
CLOCK_HZ = 200e6


def _alexnet(channels: int, filters: int, size: int, window: int, stride: int, outputs: int, padding: int) -> Plane:
    return Plane(
        pixels=(size - 2 * padding) ** 2,
        images=4,
        channels=channels,
        filters=filters,
        rows_in=size,
        width_in=size,
        reach=window,
        taps_rows=window,
        taps_width=window,
        stride=stride,
        rows_out=outputs,
        width_out=outputs,
    )


#: AlexNet's convolutions at the measured batch of four: one group, number of groups, and the chip's mapping. The
#: mappings are recalled; the third layer is assumed to use that of the fourth, whose planes have the same size.
ALEXNET = (
    (_alexnet(3, 96, 227, 11, 4, 55, 0), 1, DataflowMapping(m=96, n=1, e=7, p=16, q=1, r=1, t=2)),
    (_alexnet(48, 128, 31, 5, 1, 27, 2), 2, DataflowMapping(m=64, n=1, e=27, p=16, q=2, r=1, t=1)),
    (_alexnet(256, 384, 15, 3, 1, 13, 1), 1, DataflowMapping(m=64, n=4, e=13, p=16, q=3, r=2, t=2)),
    (_alexnet(192, 192, 15, 3, 1, 13, 1), 2, DataflowMapping(m=64, n=4, e=13, p=16, q=3, r=2, t=2)),
    (_alexnet(192, 128, 15, 3, 1, 13, 1), 2, DataflowMapping(m=64, n=4, e=13, p=16, q=3, r=2, t=2)),
)

#: Joules per multiply-accumulate and per register access, clock and control included.
UNIT_J = 4 * ALEXNET_CONV_MACS * MEASURED_J_PER_MAC / sum(g * accesses(plane, k).chip for plane, g, k in ALEXNET)

#: Measured watts and seconds per batch of four of each layer; recalled, their sums agree with the published totals.
_MEASURED = ((0.332, 20.9e-3), (0.288, 41.9e-3), (0.266, 23.6e-3), (0.235, 18.4e-3), (0.236, 10.5e-3))
_LAYER_UNIT_J = [
    w * s / (g * accesses(plane, k).chip) for (w, s), (plane, g, k) in zip(_MEASURED, ALEXNET, strict=True)
]
UNIT_LOW_J, UNIT_HIGH_J = min(_LAYER_UNIT_J), max(_LAYER_UNIT_J)
WORD_BITS = 16

_SOURCES = (
    cited("chen2016", note="ratios", recalled=True),
    cited("chen2017", note="unit calibrated on the measured chip; mappings recalled"),
)


def counts(work: Workload, batch: int) -> tuple[Accesses, float]:
    """Return the accesses of a whole batch, and the seconds that its multiply-accumulates take."""
    n = work.operations.examples
    macs = hops = buffer = dram = seconds = 0.0
    for op in work.operations.all:
        if op.shape is not None:
            plane, copies = _for_batch(op, batch / n)
            access_counts = accesses(plane, best(plane))
            times = op.repeats * copies
            macs, hops = macs + times * access_counts.macs, hops + times * access_counts.hops
            buffer, dram = buffer + times * access_counts.buffer, dram + times * access_counts.dram
            elements = access_counts.utilisation * row_stationary.ROWS * row_stationary.COLUMNS
            seconds += times * access_counts.macs / (elements * CLOCK_HZ)
        elif op.kind == "lookup":
            words = op.repeats * batch / n * (op.weight_words + op.input_words + op.output_words)
            buffer, dram = buffer + 2 * words, dram + words
    return Accesses(macs=macs, hops=hops, buffer=buffer, dram=dram, utilisation=1.0), seconds


def _for_batch(op: Operation, times: float) -> tuple[Plane, float]:
    """Return one matrix or group of an operation for a batch, and their number."""
    assert op.shape is not None
    plane, copies = planes(op.shape)
    if not op.per_example:
        return plane, copies
    if not op.weight_words:  # two activations: every example has separate matrices
        return plane, copies * times
    images = max(1, round(plane.images * times))
    return dataclasses.replace(plane, images=images), copies * plane.images * times / images


def breakdown(work: Workload, batch: int) -> EnergyBreakdown:
    """Return the energy breakdown of one inference; the inputs and outputs of every layer pass the DRAM."""
    totals, _ = counts(work, batch)
    results = sum(
        op.total_results * (batch / work.operations.examples if op.per_example else 1) for op in work.operations.all
    )
    chip = (UNIT_LOW_J, UNIT_J, UNIT_HIGH_J)
    dram = (WORD_BITS * DRAM["LPDDR4"].low_j_per_bit, COST_DRAM * UNIT_J, WORD_BITS * DRAM["DDR3"].high_j_per_bit)
    rows = (
        ("arithmetic", "MAC", totals.macs, 1.0, chip),
        ("arithmetic", "other result", results, 1.0, chip),
        ("register file", "access", REGISTERS_PER_MAC * totals.macs, COST_REGISTER, chip),
        ("array", "hop", totals.hops, COST_HOP, chip),
        ("buffer", "access", totals.buffer, COST_BUFFER, chip),
        ("DRAM", "access", totals.dram, 1.0, dram),
    )
    dram_sources = (DRAM["LPDDR4"].source, DRAM["DDR3"].source)
    items = [
        EnergyItem.of_range(
            component,
            action,
            count / batch,
            "",
            [cost * unit_j for unit_j in range_j],
            _SOURCES + (dram_sources if component == "DRAM" else ()),
        )
        for component, action, count, cost, range_j in rows
    ]
    return EnergyBreakdown(
        system="Eyeriss",
        batch=batch,
        items=merge_items(items),
        latency_s=None,
        note="16-bit chip in 65 nm; low and high: unit energy of the measured AlexNet layers that take least and most, "
        "DRAM at 8 and 70 pJ per bit",
        excludes="gains from zeros and from compression; waiting for the memory, and so the latency",
    )
