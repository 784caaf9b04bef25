"""GPU, Eyeriss and brain against their published formulae, worked by hand."""

import dataclasses
import itertools

import numpy as np
import pytest

from analogsim import InputError
from analogsim.energy import FORMATS, STORAGE, Operations, devices
from analogsim.energy.machines import brain, digital, eyeriss
from analogsim.energy.machines.row_stationary import accesses
from analogsim.energy.machines.systems import chosen
from analogsim.energy.work import layer_work
from tests.energy.energy_models import mlp, shapes

H100 = devices()["H100"]

#: AlexNet's convolutions: inputs and outputs of the matrix, positions, words of the image. Two have groups.
ALEXNET = (
    (363, 96, 55 * 55, 227 * 227 * 3),
    (1200, 256, 27 * 27, 27 * 27 * 96),
    (2304, 384, 13 * 13, 13 * 13 * 256),
    (1728, 384, 13 * 13, 13 * 13 * 384),
    (1728, 256, 13 * 13, 13 * 13 * 384),
)


@pytest.fixture(scope="module")
def digits():
    return layer_work.count(*mlp())


SHRINK = (4 / 7) ** 0.5  # prices of 7 nm at 4 nm
MAC_J, ADD_J, SRAM_J = 0.59e-12 * SHRINK, 0.38e-12 * SHRINK, 1.75e-12 * SHRINK
HBM3_J = 8 * 28**0.5 * 1e-12  # a byte: 4 pJ a bit of the device, 7 with interface and controller; their geometric mean
# 4736 MAC; 74 biases and 64 rectifiers; 2 * 4736 B of weights; 64 + 64 + 64 + 10 numbers of 2 B stay on the chip, of
# which the first 64 and the last 10 also pass the memory; operands 2 * 4736 * 2 B / 128.
ON_CHIP_J = 4736 * MAC_J + 138 * ADD_J + (148 + 404) * SRAM_J


def test_h100_one_digit(digits):
    # A dispatch of 5 us and two launches of 3 us; 0.2 * 700 W * 11 us = 1.54 mJ. High: 700 W while 9,620 B pass at
    # 0.8 * 3.35 TB/s, 3.59 ns, and 0.3 * 700 W in what is left of the 11 us. Low: weights stay.
    breakdown = digital.breakdown(H100, digits, 1)
    assert breakdown.latency_s == pytest.approx(11e-6)
    assert breakdown.energy_low_j == pytest.approx(ON_CHIP_J + 148 * 32e-12, rel=1e-9)
    assert breakdown.energy_typical_j == pytest.approx(1540e-6 + ON_CHIP_J + (9472 + 148) * HBM3_J, rel=1e-9)
    moving_s = 9620 / (0.8 * 3.35e12)
    assert breakdown.energy_high_j == pytest.approx(700 * moving_s + 210 * (11e-6 - moving_s), rel=1e-9)
    assert breakdown.idle_fraction == pytest.approx(140 * (11e-6 - moving_s) / breakdown.energy_typical_j, rel=1e-9)
    assert breakdown.bound == "launches"
    assert "extrapolated: 4 nm from 7 nm" in breakdown.note


def test_h100_256_digits(digits):
    # Bytes a digit: 9472 / 256 + 148 = 185. Still 11 us, shared by 256.
    breakdown = digital.breakdown(H100, digits, 256)
    assert breakdown.energy_low_j == pytest.approx(ON_CHIP_J + 148 * 32e-12, rel=1e-9)
    assert breakdown.energy_typical_j == pytest.approx(ON_CHIP_J + 185 * HBM3_J + 1540e-6 / 256, rel=1e-9)
    moving_s = 256 * 185 / (0.8 * 3.35e12)
    assert breakdown.energy_high_j == pytest.approx((700 * moving_s + 210 * (11e-6 - moving_s)) / 256, rel=1e-9)


def test_a_machine_that_works_all_the_time_waits_for_its_dispatch_alone():
    breakdown = digital.breakdown(H100, shapes((16384, 16384, 1, 16384)), 1)
    (waiting,) = [line for line in breakdown.items if line.waits]
    assert waiting.count == pytest.approx(5e-6)
    assert breakdown.idle_fraction == pytest.approx(140 * 5e-6 / breakdown.energy_typical_j)


def test_h100_large_layer_is_bound_by_memory_then_by_arithmetic():
    # 16384 x 16384: 268,435,456 weights. Batch 1: 2 * (268,435,456 + 32,768) B / (0.8 * 3.35 TB/s) = 200.35 us,
    # after 5 us of dispatch.
    work = shapes((16384, 16384, 1, 16384))
    one = digital.breakdown(H100, work, 1)
    assert one.latency_s == pytest.approx(205.35e-6, rel=1e-4)
    assert one.bound == "memory"
    # 536,936,448 B * 42.33 pJ = 22.729 mJ; 140 W * 205.35 us = 28.749 mJ; operands 2 * 268,435,456 * 2 B / 128.
    on_chip = 268_435_456 * MAC_J + (8_388_608 + 65_536) * SRAM_J
    assert one.energy_typical_j == pytest.approx(on_chip + 22.729e-3 + 28.749e-3, rel=1e-4)
    assert one.energy_high_j == pytest.approx(700 * 200.35e-6 + 210 * 5e-6, rel=1e-4)
    # Batch 1024: 2 * 268,435,456 * 1024 FLOP / (0.6 * 989.4 TFLOP/s) = 926.07 us.
    many = digital.breakdown(H100, work, 1024)
    assert many.latency_s == pytest.approx(931.07e-6, rel=1e-4)
    assert many.bound == "arithmetic"


@pytest.mark.parametrize("gpu", devices().values(), ids=devices())
@pytest.mark.parametrize("layers", [((64, 10, 1, 64),), ((4096, 4096, 1, 4096),), ALEXNET])
def test_energy_falls_with_the_batch(gpu, layers):
    if gpu.memory is None and layers[0][0] == 4096:
        pytest.skip("16.8 MB of weights do not fit its 8 MB")
    breakdowns = [digital.breakdown(gpu, shapes(*layers), b) for b in (1, 2, 7, 64, 512, 4096)]
    for small, large in itertools.pairwise(breakdowns):
        # Low counts no time: a batch that is cut into fewer pieces, to launch less often, moves more for it.
        assert large.energy_low_j <= small.energy_low_j * (1.05 if gpu.launch_s else 1 + 1e-12)
        assert large.latency_s / large.batch <= small.latency_s / small.batch * (1 + 1e-12)
        assert large.energy_typical_j <= small.energy_typical_j * (1 + 1e-12)
        assert large.energy_high_j <= small.energy_high_j * (1 + 1e-12)
    assert all(b.energy_low_j <= b.energy_typical_j <= b.energy_high_j for b in breakdowns)


def test_a_matrix_that_is_used_again_is_read_once():
    once = shapes((8, 8, 1, 8))
    (first,) = once.operations.all
    again = dataclasses.replace(first, new_weight_words=0)
    twice = dataclasses.replace(once, operations=Operations((first, again)))
    bf16 = FORMATS["bf16"]
    for work, kept in ((once, 0), (twice, 2 * 16)):
        moved = digital.traffic(H100, bf16, work, 1)
        assert (moved.weights, moved.maps, moved.on_chip_maps) == (2 * 64, 2 * 16, kept)
    assert digital.time_s(H100, bf16, twice, 1, digital.traffic(H100, bf16, twice, 1))[0] == pytest.approx(11e-6)


def test_maps_that_do_not_fit_pass_the_memory():
    # 20 million numbers in and out of one example at 2 B exceed half of 50 MB.
    work = shapes((10, 10, 2_000_000, 20_000_000))
    moved = digital.traffic(H100, FORMATS["bf16"], work, 3)
    assert (moved.maps, moved.on_chip_maps) == (3 * 2 * 40_000_000, 0)


def test_an_arithmetic_the_machine_lacks_is_refused(digits):
    with pytest.raises(InputError, match=r"TPU v1: has no bf16 arithmetic .for bf16.; its peaks: int8"):
        digital.breakdown(devices()["TPU v1"], digits, 1, "bf16")
    with pytest.raises(InputError, match=r"number_format = 'fp9': did you mean 'fp8'\?"):
        digital.breakdown(H100, digits, 1, "fp9")


def test_weights_that_do_not_fit_a_chip_without_memory_are_refused():
    with pytest.raises(InputError, match=r"Edge TPU: 16.8 MB of weights and maps do not fit its 8 MB"):
        digital.breakdown(devices()["Edge TPU"], shapes((4096, 4096, 1, 4096)), 1)


def test_smaller_numbers_take_fewer_bytes_and_joules():
    work = shapes((16384, 16384, 1, 16384))
    breakdowns = [digital.breakdown(H100, work, 1, name) for name in ("fp32", "bf16", "int8", "msfp16")]
    typical = [b.energy_typical_j for b in breakdowns]
    assert typical[0] > typical[1] > typical[3] > typical[2]
    assert typical[1] > 1.9 * typical[2]  # bound by memory: half the bytes, half the joules


def test_compressed_weights_shrink_the_traffic_by_their_ratio():
    # Half zeros: a bitmask takes 1 + 16 / 2 = 9 bits a weight of 16.
    kernel = np.ones((64, 64), np.float32)
    kernel[::2] = 0
    work = dataclasses.replace(shapes((64, 64, 1, 64)), kernels=(kernel,))
    plain, packed = (digital.breakdown(H100, work, 1, weights=w) for w in (None, STORAGE["bitmask"]))
    memory = [next(x.count for x in b.items if x.component == "memory") for b in (plain, packed)]
    assert memory == pytest.approx([2 * 4096 + 2 * 128, 2 * 4096 * 9 / 16 + 2 * 128])
    with pytest.raises(InputError, match="only shapes are known"):
        digital.breakdown(H100, shapes((64, 64, 1, 64)), 1, weights=STORAGE["bitmask"])


def test_eyeriss_one_digit(digits):
    # Fully connected, batch 1: weights pass once, and so do inputs and outputs where all filters fit the buffer.
    # 64 x 64 and 64 x 10: 4736 weights; inputs 64 + 64, outputs 64 + 10.
    breakdown = eyeriss.breakdown(digits, 1)
    lines = {(x.component, x.action): x.count for x in breakdown.items}
    assert lines["arithmetic", "MAC"] == 4736
    assert lines["register file", "access"] == 4 * 4736
    assert lines["arithmetic", "other result"] == 138
    assert lines["DRAM", "access"] == 4736 + 202
    assert lines["buffer", "access"] >= 4736 + 202
    # A word of 16 bits from its DRAM: 200 units, between memories of 8 and 70 pJ a bit; the rest in units, between
    # those of the fifth and the first layer of AlexNet as measured.
    words = {(x.component, x.action): x for x in breakdown.items}["DRAM", "access"]
    low, typical, high = (breakdown_j - 4938 * unit_energy_j for breakdown_j, unit_energy_j in zip(
        (breakdown.energy_low_j, breakdown.energy_typical_j, breakdown.energy_high_j),
        (16 * 8e-12, 200 * eyeriss.UNIT_J, 16 * 70e-12), strict=True))  # fmt: skip
    assert words.energy_high_j == pytest.approx(4938 * 1120e-12)
    assert (low / typical, high / typical) == pytest.approx(
        (eyeriss.UNIT_LOW_J / eyeriss.UNIT_J, eyeriss.UNIT_HIGH_J / eyeriss.UNIT_J), rel=1e-9
    )
    assert eyeriss.breakdown(digits, 256).energy_high_j < breakdown.energy_high_j


def test_eyeriss_s_ends_are_two_of_its_measured_layers():
    # 236 mW for 10.5 ms and 332 mW for 20.9 ms, over the accesses of these layers; all five together give the typical.
    totals = [g * accesses(plane, k).chip for plane, g, k in eyeriss.ALEXNET]
    assert pytest.approx(0.236 * 10.5e-3 / totals[4], rel=1e-9) == eyeriss.UNIT_LOW_J
    assert pytest.approx(0.332 * 20.9e-3 / totals[0], rel=1e-9) == eyeriss.UNIT_HIGH_J
    five_j = 0.332 * 20.9e-3 + 0.288 * 41.9e-3 + 0.266 * 23.6e-3 + 0.235 * 18.4e-3 + 0.236 * 10.5e-3
    assert pytest.approx(five_j / sum(totals), rel=2e-3) == eyeriss.UNIT_J
    # A whole layer costs what it was measured to cost at one of the ends.
    assert totals[0] * eyeriss.UNIT_HIGH_J == pytest.approx(6.94e-3, rel=1e-3)


def ends(breakdown):
    return breakdown.energy_low_j, breakdown.energy_typical_j, breakdown.energy_high_j


def test_an_arriving_spike_bears_its_share_of_the_whole_brain(digits):
    # 20 W over 1.5e14 synapses at 4 Hz and at 0.16 Hz: 33.3 and 833 fJ, 167 fJ between; no vesicle's 8 fJ among them.
    breakdown = brain.breakdown(brain.Brain(), digits, 1)
    assert ends(breakdown) == pytest.approx([4736 * each for each in (33.333e-15, 166.67e-15, 833.33e-15)], rel=1e-4)
    assert breakdown.latency_s is None
    assert breakdown.per == "arriving spike"
    for words in ("all-in", "20 W", "0.16 to 4 Hz"):
        assert words in breakdown.note, words


def test_a_released_vesicle_is_another_definition(digits):
    # 1.64e5 ATP at 30 and 50 kJ/mol over 6.022e23: 8.17 and 13.6 fJ, of the vesicle alone.
    breakdown = brain.vesicles(digits, 1)
    low, high = (1.64e5 * kj * 1e3 / 6.02214076e23 for kj in (30, 50))
    assert (low, high) == pytest.approx((8e-15, 14e-15), rel=0.03)  # as published
    assert ends(breakdown) == pytest.approx([4736 * each for each in (low, (low * high) ** 0.5, high)])
    assert breakdown.per == "released vesicle"
    assert "marginal" in breakdown.note


def test_a_brain_of_one_s_own(digits):
    mine = brain.Brain(name="mine", power_w=17.0, synapses=1e14, rate_hz=2.0)
    assert mine.event_j == pytest.approx((85e-15,) * 3)  # 17 W / (1e14 x 2 Hz)
    (found,) = chosen(mine)
    breakdown = found.breakdown(digits, 1)
    assert ends(breakdown) == pytest.approx((4736 * 85e-15,) * 3)
    assert "17 W among 1e+14 synapses at a mean rate of 2 Hz" in breakdown.note
    assert "given" in breakdown.items[0].source
    assert brain.Brain(rate_hz=(1, 4)).event_j[2] == pytest.approx(20 / 1.5e14)
    for bad, words in ((dict(rate_hz=(4, 1)), "must be one rate, or the lowest and the highest"),
                       (dict(rate_hz=0), r"Brain.rate_hz = 0: must be greater than 0 and finite .unit: Hz."),
                       (dict(power_w=-1), r"Brain.power_w = -1: .* .unit: W."),
                       (dict(rate_hz=(1, 2, 3)), "the lowest and the highest")):  # fmt: skip
        with pytest.raises(InputError, match=words):
            brain.Brain(**bad)
