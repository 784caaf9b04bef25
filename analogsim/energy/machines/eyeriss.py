"""Eyeriss v1, a digital accelerator of 65 nm with 16-bit words: accesses of its dataflow times relative costs.

    E = e1 (1 N_MAC + 1 N_registers + 2 N_hops + 6 N_buffer + 200 N_DRAM)

The counts are those of ``row_stationary``, layer by layer, in the mapping of least energy. Relative costs: Chen, Emer
and Sze, ISCA 2016, doi 10.1109/ISCA.2016.40, recalled. The unit e1 is calibrated once on the measured chip (Chen et
al., IEEE J. Solid-State Circuits 52, 127 (2017), doi 10.1109/JSSC.2016.2616357): 278 mW at 34.7 frames a second on
AlexNet's convolutions is 8.01 mJ a frame, 12.0 pJ a MAC, without DRAM, which is another chip. In the chip's own
mappings, at a batch of four, a MAC comes with 4 register accesses, 0.087 hops and 0.040 buffer accesses, so that

    12.0 pJ = e1 (1 + 4 + 2 * 0.087 + 6 * 0.040)      e1 = 2.22 pJ

and e1 carries the chip's clock and control. Each of the five layers alone, with its measured power and time, gives an
e1 of its own: 1.52 pJ (the fifth) to 3.11 pJ (the first), which are low and high. The DRAM of relative cost 200 takes
28 pJ a bit; low and high are memories of 8 (LPDDR4) and 70 pJ a bit (DDR3, ``number_formats``). How long layers wait
for the memory outside is not known: a bill has no time; ``counts`` gives that of the multiply-accumulates at 200 MHz on
the elements in use.
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


#: AlexNet's convolutions at the measured batch of four: one group, groups, and the chip's mapping. The mappings are
#: recalled; that of the third layer is taken to be the fourth's, whose planes have the same size.
ALEXNET = (
    (_alexnet(3, 96, 227, 11, 4, 55, 0), 1, DataflowMapping(m=96, n=1, e=7, p=16, q=1, r=1, t=2)),
    (_alexnet(48, 128, 31, 5, 1, 27, 2), 2, DataflowMapping(m=64, n=1, e=27, p=16, q=2, r=1, t=1)),
    (_alexnet(256, 384, 15, 3, 1, 13, 1), 1, DataflowMapping(m=64, n=4, e=13, p=16, q=3, r=2, t=2)),
    (_alexnet(192, 192, 15, 3, 1, 13, 1), 2, DataflowMapping(m=64, n=4, e=13, p=16, q=3, r=2, t=2)),
    (_alexnet(192, 128, 15, 3, 1, 13, 1), 2, DataflowMapping(m=64, n=4, e=13, p=16, q=3, r=2, t=2)),
)

#: Joules of one multiply-accumulate (and of one register access), clock and control included.
UNIT_J = 4 * ALEXNET_CONV_MACS * MEASURED_J_PER_MAC / sum(g * accesses(plane, k).chip for plane, g, k in ALEXNET)

#: Measured on the five layers: watts and seconds a batch of four; recalled, their sums agree with the published totals.
_MEASURED = ((0.332, 20.9e-3), (0.288, 41.9e-3), (0.266, 23.6e-3), (0.235, 18.4e-3), (0.236, 10.5e-3))
_EACH_J = [w * s / (g * accesses(plane, k).chip) for (w, s), (plane, g, k) in zip(_MEASURED, ALEXNET, strict=True)]
UNIT_LOW_J, UNIT_HIGH_J = min(_EACH_J), max(_EACH_J)  #: by the layer that takes least and the one that takes most
WORD_BITS = 16

_SOURCES = (
    cited("chen2016", note="ratios", recalled=True),
    cited("chen2017", note="unit from the measured chip, in mappings that are recalled"),
)


def counts(work: Workload, batch: int) -> tuple[Accesses, float]:
    """Return the accesses of a whole batch, and its seconds."""
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
    """One matrix or group of an operation for a batch, and how many of these."""
    assert op.shape is not None
    plane, copies = planes(op.shape)
    if not op.per_example:
        return plane, copies
    if not op.weight_words:  # two activations: every example has matrices of its own
        return plane, copies * times
    images = max(1, round(plane.images * times))
    return dataclasses.replace(plane, images=images), copies * plane.images * times / images


def breakdown(work: Workload, batch: int) -> EnergyBreakdown:
    """Return the energy breakdown of one inference; every layer's inputs and outputs pass the DRAM."""
    found, _ = counts(work, batch)
    results = sum(
        op.total_results * (batch / work.operations.examples if op.per_example else 1) for op in work.operations.all
    )
    chip = (UNIT_LOW_J, UNIT_J, UNIT_HIGH_J)
    dram = (WORD_BITS * DRAM["LPDDR4"].low_j_per_bit, COST_DRAM * UNIT_J, WORD_BITS * DRAM["DDR3"].high_j_per_bit)
    rows = (
        ("arithmetic", "MAC", found.macs, 1.0, chip),
        ("arithmetic", "other result", results, 1.0, chip),
        ("register file", "access", REGISTERS_PER_MAC * found.macs, COST_REGISTER, chip),
        ("array", "hop", found.hops, COST_HOP, chip),
        ("buffer", "access", found.buffer, COST_BUFFER, chip),
        ("DRAM", "access", found.dram, 1.0, dram),
    )
    lines = [
        EnergyItem(
            component=component,
            action=action,
            count=count / batch,
            unit="",
            unit_energy_j=cost * typical_j,
            unit_energy_low_j=cost * low_j,
            unit_energy_high_j=cost * high_j,
            sources=_SOURCES + ((DRAM["LPDDR4"].source, DRAM["DDR3"].source) if component == "DRAM" else ()),
        )
        for component, action, count, cost, (low_j, typical_j, high_j) in rows
    ]
    return EnergyBreakdown(
        system="Eyeriss",
        batch=batch,
        items=merge_items(lines),
        latency_s=None,
        note="16-bit chip of 65 nm; low and high: by the measured layers of AlexNet that take least and most, with "
        "DRAM of 8 and 70 pJ a bit",
        excludes="gains from zeros and from compression; how long it waits for its memory, and so its time",
    )
