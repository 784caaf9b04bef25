"""GPU, Eyeriss and brain against their published formulae, worked by hand."""

import itertools

import pytest

from analogsim.energy import brain, digital, eyeriss, workload
from tests.energy.energy_models import mlp, shapes

H100 = digital.GPUS["H100"]

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
    return workload.count(*mlp())


def test_h100_one_digit(digits):
    # 4736 MAC; weights 2 * 4736 B, activations 2 * (64 + 64 + 64 + 10) = 404 B: 9876 B at 32 pJ.
    # Two launches of 3 us bound the time; 0.2 * 700 W * 6 us = 840 uJ; 700 W * 6 us = 4.2 mJ.
    bill = digital.bill(H100, digits, 1)
    assert bill.latency_s == pytest.approx(6e-6)
    assert bill.energy_low_j == pytest.approx(4736 * 0.59e-12 + 9876 * 32e-12, rel=1e-9)
    assert bill.energy_typical_j == pytest.approx(840e-6 + 3.188e-7, rel=1e-4)
    assert bill.energy_high_j == pytest.approx(4.2e-3, rel=1e-9)
    assert "kernel launches" in bill.note


def test_h100_256_digits(digits):
    # Bytes a digit: 9472 / 256 + 404 = 441. Still 6 us, shared by 256.
    bill = digital.bill(H100, digits, 256)
    assert bill.energy_low_j == pytest.approx(4736 * 0.59e-12 + 441 * 32e-12, rel=1e-9)
    assert bill.energy_typical_j == pytest.approx(bill.energy_low_j + 840e-6 / 256, rel=1e-9)
    assert bill.energy_high_j == pytest.approx(4.2e-3 / 256, rel=1e-9)


def test_h100_large_layer_is_bound_by_memory_then_by_arithmetic():
    # 16384 x 16384: 268,435,456 weights. Batch 1: 2 * (268,435,456 + 32,768) B / (0.8 * 3.35 TB/s) = 200.35 us.
    work = shapes((16384, 16384, 1, 16384))
    one = digital.bill(H100, work, 1)
    assert one.latency_s == pytest.approx(200.35e-6, rel=1e-4)
    assert "memory traffic" in one.note
    # 268,435,456 * 0.59 pJ = 158.38 uJ; 536,936,448 B * 32 pJ = 17.182 mJ; 140 W * 200.35 us = 28.049 mJ.
    assert one.energy_typical_j == pytest.approx(158.38e-6 + 17.182e-3 + 28.049e-3, rel=1e-4)
    assert one.energy_high_j == pytest.approx(700 * 200.35e-6, rel=1e-4)
    # Batch 1024: 2 * 268,435,456 * 1024 FLOP / (0.6 * 989.4 TFLOP/s) = 926.07 us.
    many = digital.bill(H100, work, 1024)
    assert many.latency_s == pytest.approx(926.07e-6, rel=1e-4)
    assert "arithmetic" in many.note


@pytest.mark.parametrize("gpu", digital.GPUS.values(), ids=digital.GPUS)
@pytest.mark.parametrize("layers", [((64, 10, 1, 64),), ((4096, 4096, 1, 4096),), ALEXNET])
def test_gpu_energy_falls_with_the_batch(gpu, layers):
    bills = [digital.bill(gpu, shapes(*layers), b) for b in (1, 2, 7, 64, 512, 4096)]
    for small, large in itertools.pairwise(bills):
        assert large.energy_low_j <= small.energy_low_j * (1 + 1e-12)
        assert large.energy_typical_j <= small.energy_typical_j * (1 + 1e-12)
        assert large.energy_high_j <= small.energy_high_j * (1 + 1e-12)
    assert all(b.energy_low_j <= b.energy_typical_j <= b.energy_high_j for b in bills)


def test_a_matrix_that_is_used_again_is_read_once():
    once = shapes((8, 8, 1, 8))
    first = once.layers[0]
    again = type(first)(first.use, 1, 8, 0)
    twice = type(once)((first, again), 0)
    assert digital.traffic_bytes(once, 1) == 2 * (64 + 16)
    assert digital.traffic_bytes(twice, 1) == 2 * (64 + 32)
    assert digital.time_s(H100, twice, 1)[0] == pytest.approx(6e-6)


def test_eyeriss_returns_its_own_measurement():
    # 278 mW / 34.7 frames/s = 8.01 mJ a frame; 666 million MAC a frame: 12.0 pJ a MAC, DRAM not included.
    work = shapes(*ALEXNET)
    assert work.macs == 105_415_200 + 223_948_800 + 149_520_384 + 112_140_288 + 74_760_192
    bill = eyeriss.bill(work, 4)
    assert bill.energy_low_j == pytest.approx(8.01e-3, rel=0.01)
    assert bill.energy_low_j / work.macs == pytest.approx(12.0e-12, rel=0.01)


def test_eyeriss_unit():
    # 12.03 pJ / (1 + 4 + 6 * 0.03915) = 12.03 / 5.2349 = 2.30 pJ
    assert pytest.approx(2.30e-12, rel=0.005) == eyeriss.UNIT_J
    assert pytest.approx(0.0391, rel=0.005) == eyeriss.BUFFER_WORDS_PER_MAC


def test_eyeriss_memory_traffic_of_alexnet_is_near_the_measured():
    # Published: 0.0029 DRAM accesses a MAC for a batch of four. Ours leaves out refetches: less, but within a fifth.
    work = shapes(*ALEXNET)
    (dram,) = [entry for entry in eyeriss.bill(work, 4).lines if entry.component == "DRAM"]
    assert 0.8 * 0.0029 < dram.count / work.macs < 0.0029


def test_eyeriss_one_digit(digits):
    # Fully connected, batch 1: every weight passes once. Words: 4736 + 202 = 4938.
    unit = 12.033e-12 / 5.23487
    bill = eyeriss.bill(digits, 1)
    on_chip = unit * (5 * 4736 + 6 * 2 * 4938)
    assert bill.energy_low_j == pytest.approx(on_chip, rel=1e-3)
    assert bill.energy_typical_j == pytest.approx(on_chip + unit * 200 * 4938, rel=1e-3)
    assert bill.energy_high_j == bill.energy_typical_j
    assert eyeriss.bill(digits, 256).energy_high_j < bill.energy_high_j


def test_brain_band(digits):
    bill = brain.bill(digits, 1)
    assert bill.energy_low_j == pytest.approx(4736 * 8e-15)
    assert bill.energy_high_j == pytest.approx(4736 * 0.8e-12)
    assert bill.energy_typical_j == pytest.approx(4736 * 80e-15)  # geometric middle
    assert bill.latency_s is None


def test_brain_band_holds_the_whole_brain_s_power():
    # 20 W over 1e15, 1e14 and 1.5e14 * 0.16 Hz events a second: 20 fJ, 200 fJ, 0.83 pJ.
    assert brain.LOW_J < 20 / 1e15 < 20 / 1e14 < brain.HIGH_J
    assert pytest.approx(20 / (1.5e14 * 0.16), rel=0.05) == brain.HIGH_J
