"""Eyeriss v1, a digital accelerator of 65 nm with 16-bit words: accesses times relative costs.

    E = e1 (1 N_MAC + 1 N_RF + 6 N_buffer + 200 N_DRAM)

Relative costs of an access: MAC 1, register file 1, neighbouring element 2, 108 kB buffer 6, DRAM 200 (Chen, Emer and
Sze, ISCA 2016, doi 10.1109/ISCA.2016.40, recalled). The unit e1 is calibrated once on the measured chip (Chen et al.,
IEEE J. Solid-State Circuits 52, 127 (2017), doi 10.1109/JSSC.2016.2616357): 278 mW at 34.7 frames a second on AlexNet's
convolutions is 8.01 mJ a frame, 12.0 pJ a MAC, without DRAM, which is another chip. With four register accesses a MAC
(input, weight, sum read and written) and the published buffer traffic (208.5 MB for a batch of four, recalled)

    12.0 pJ = e1 (1 + 4 + 6 * 0.0391)      e1 = 2.30 pJ

so e1 carries the chip's clock, control and network too, whose hops between elements are not counted apart.
"""

from analogsim.devices.papers import cited
from analogsim.energy.bill import Bill, Line, settle
from analogsim.energy.workload import LayerWork, Workload

ALEXNET_CONV_MACS = 665_784_864  #: five convolutions, two of them in groups, one image
MEASURED_J_PER_MAC = 278e-3 / 34.7 / ALEXNET_CONV_MACS  #: chip without DRAM

REGISTERS_PER_MAC = 4.0
BUFFER_WORDS_PER_MAC = 208.5e6 / 2 / (4 * ALEXNET_CONV_MACS)  #: two bytes a word, batch of four

COST_REGISTER, COST_BUFFER, COST_DRAM = 1.0, 6.0, 200.0  #: relative to a MAC

#: Joules of one MAC (and of one register access), clock and control included.
UNIT_J = MEASURED_J_PER_MAC / (1.0 + COST_REGISTER * REGISTERS_PER_MAC + COST_BUFFER * BUFFER_WORDS_PER_MAC)

_SOURCES = (
    cited("chen2016", note="ratios", recalled=True),
    cited("chen2017", note="unit from the measured chip"),
    cited("chen2017", note="its buffer traffic on AlexNet", recalled=True),
)


def _traffic_words(layer: LayerWork, batch: int) -> float:
    """Numbers that must reach or leave the chip an example: weights once a batch, inputs and outputs once each."""
    return layer.weights_read(batch) / batch + layer.input_words + layer.output_words


def _buffer_words(layer: LayerWork, batch: int) -> float:
    """Buffer accesses an example.

    Every number passes the buffer, written once and read once. Convolutions come back to it more often than that: the
    measured traffic a MAC is the least that is charged.
    """
    return max(2.0 * _traffic_words(layer, batch), BUFFER_WORDS_PER_MAC * layer.macs)


def bill(work: Workload, batch: int) -> Bill:
    """Low: the chip alone. Typical and high: with its DRAM, which every layer's inputs and outputs pass."""
    buffer_words = sum(_buffer_words(layer, batch) for layer in work.layers)
    dram_words = sum(_traffic_words(layer, batch) for layer in work.layers)
    rows = (
        ("arithmetic", "MAC", work.macs, 1.0, 1.0),
        ("register file", "access", REGISTERS_PER_MAC * work.macs, COST_REGISTER, COST_REGISTER),
        ("buffer", "access", buffer_words, COST_BUFFER, COST_BUFFER),
        ("DRAM", "access", dram_words, COST_DRAM, 0.0),
    )
    lines = [
        Line(
            component=component,
            action=action,
            count=count,
            unit="",
            each_j=cost * UNIT_J,
            each_low_j=low * UNIT_J,
            sources=_SOURCES,
        )
        for component, action, count, cost, low in rows
    ]
    return Bill(
        system="Eyeriss",
        batch=batch,
        lines=settle(lines),
        latency_s=None,
        note="16-bit chip of 65 nm; low: without DRAM, high: with it",
        excludes="idle elements where a layer does not fill the array, gains from zeros and from compression",
    )
