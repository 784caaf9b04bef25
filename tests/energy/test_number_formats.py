"""Energies of arithmetic and memory against the two published tables, worked by hand."""

import dataclasses
import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analogsim import InputError
from analogsim.energy import FORMATS
from analogsim.energy.machines import number_formats
from analogsim.energy.machines.number_formats import DRAM, extrapolated, mac_j, sram_j_per_byte

KB, MB = 2**10, 2**20


# --- arithmetic ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "pj_45nm", "pj_7nm"),
    [
        ("fp32", 3.7 + 0.9, 1.31 + 0.38),
        ("fp16", 1.1 + 0.9, 0.34 + 0.38),
        ("bf16", 1.1 * 0.21 / 0.34 + 0.9, 0.21 + 0.38),  # no bf16 at 45 nm: assumed
        ("int8", 0.2 + 0.1, 0.07 + 0.03),
        ("int4", 0.05 + 0.1, 0.0175 + 0.03),
        ("fp8", 0.05 + 0.03 + 0.9, 0.0175 + 0.007 + 0.38),
        ("msfp12", 0.05 + 0.1 + 0.93 / 16, 0.0175 + 0.03 + 0.387 / 16),
        ("msfp16", 0.2 + 0.1 + 0.93 / 16, 0.07 + 0.03 + 0.387 / 16),
        ("mxfp4", 0.05 + 0.1 + 0.93 / 32, 0.0175 + 0.03 + 0.387 / 32),
    ],
)
def test_mac_at_the_tables(name, pj_45nm, pj_7nm):
    assert mac_j(name, 45) == pytest.approx(pj_45nm * 1e-12)
    assert mac_j(name, 7) == pytest.approx(pj_7nm * 1e-12)


def test_documentation_every_format_has_a_row_above():
    """A format that is added needs its row of published numbers."""
    assert list(FORMATS) == ["fp32", "bf16", "fp16", "fp8", "int8", "int4", "msfp12", "msfp16", "mxfp4"]
    assert all(name == made.name for name, made in FORMATS.items())


def test_bits_of_an_element():
    # Block floating point: bits of the element and its share of the 8-bit exponent.
    bits = {name: made.bits for name, made in FORMATS.items()}
    assert (bits["fp32"], bits["bf16"], bits["fp16"], bits["fp8"], bits["int8"], bits["int4"]) == (32, 16, 16, 8, 8, 4)
    assert (bits["msfp12"], bits["msfp16"], bits["mxfp4"]) == (4.5, 8.5, 4.25)


def test_mac_between_the_tables_is_a_power_law():
    # Halfway between the logarithms of 45 and 7 nm: the geometric mean of 0.3 and 0.1 pJ.
    assert mac_j("int8", math.sqrt(45 * 7)) == pytest.approx(math.sqrt(0.03) * 1e-12)
    # 28 nm: ln(45 / 28) / ln(45 / 7) = 0.25497; 4.6 pJ * (1.69 / 4.6)^0.25497 = 3.5635 pJ
    assert mac_j("fp32", 28) == pytest.approx(3.5635e-12, rel=1e-4)


def test_mac_below_7_nm_goes_with_the_square_root():
    assert mac_j("bf16", 5) == pytest.approx(0.59e-12 * math.sqrt(5 / 7))
    assert "5 nm from 7 nm with the square root" in extrapolated(5)


def test_mac_above_45_nm_goes_as_logic_at_0_9_v():
    # 65 nm: 3.755 * 0.81 - 4.398 * 0.9 + 1.975 = 1.05835; 45 nm: 1.103 * 0.81 - 0.362 * 0.9 + 0.2767 = 0.84433
    assert mac_j("int8", 65) == pytest.approx(0.3e-12 * 1.05835 / 0.84433, rel=1e-4)
    assert "65 nm from 45 nm as logic at 0.9 V (Stillmaker and Baas" in extrapolated(65)
    # 130 nm: 7.171 * 0.81 - 6.709 * 0.9 + 2.904 = 2.67441
    assert mac_j("int8", 130) == pytest.approx(0.3e-12 * 2.67441 / 0.84433, rel=1e-4)


@given(st.sampled_from(list(FORMATS)), st.floats(2, 130), st.floats(2, 130))
def test_an_older_process_takes_more(name, one, other):
    older, newer = max(one, other), min(one, other)
    assert mac_j(name, newer) <= mac_j(name, older) * (1 + 1e-12)


@pytest.mark.parametrize("node", [45, 7])
def test_the_tables_ends_join(node):
    for name in FORMATS:
        assert mac_j(name, node * 0.9999) == pytest.approx(mac_j(name, node), rel=1e-3)
        assert mac_j(name, node * 1.0001) == pytest.approx(mac_j(name, node), rel=1e-3)


def test_only_what_lies_beyond_the_tables_is_flagged():
    assert [extrapolated(node) for node in (45, 28.0, 7)] == ["", "", ""]
    assert all(extrapolated(node).startswith("extrapolated: ") for node in (2, 4, 6.9, 45.1, 130))


def test_documentation_assumptions_and_recalled_figures_say_so():
    """What the sources say of themselves; no number is tested."""
    assert all("(recalled)" in str(made.source) for made in FORMATS.values())
    assumed = {name for name, made in FORMATS.items() if made.source.note.startswith("assumption: ")}
    assert assumed == {"fp8", "int4", "msfp12", "msfp16", "mxfp4"}
    assert "assumption at 45 nm" in FORMATS["bf16"].source.note


def test_documentation_block_floating_point_misses_the_report():
    """Rouhani et al. (NeurIPS 2020): MSFP16 at a third of bfloat16's cost, MSFP12 at a quarter of int8's.

    Within half of that on both counts would be agreement. The model's energies overshoot the first a little and miss
    the second; its memory falls short of both. The numbers are held here so that nobody claims more.
    """
    # Picojoules at (45, 7 nm): bf16 1.5794, 0.59; msfp16 0.3581, 0.1242; int8 0.3, 0.1; msfp12 0.2081, 0.0717.
    first = {node: mac_j("bf16", node) / mac_j("msfp16", node) for node in (45, 7)}
    second = {node: mac_j("int8", node) / mac_j("msfp12", node) for node in (45, 7)}
    assert first == {45: pytest.approx(4.41, abs=0.01), 7: pytest.approx(4.75, abs=0.01)}
    assert second == {45: pytest.approx(1.44, abs=0.01), 7: pytest.approx(1.39, abs=0.01)}
    assert 1.5 < first[45] < 4.5 < first[7]  # 3 +- 50 %: inside with the assumed bf16 of 45 nm, outside at 7 nm
    assert second[7] < second[45] < 2.0  # 4 +- 50 %: outside
    assert FORMATS["bf16"].bits / FORMATS["msfp16"].bits == pytest.approx(1.88, abs=0.01)
    assert FORMATS["int8"].bits / FORMATS["msfp12"].bits == pytest.approx(1.78, abs=0.01)
    # Why: the multiplier alone shrinks by the 4, but int32 add and the block's sum are three quarters of msfp12.
    msfp12 = FORMATS["msfp12"]
    assert FORMATS["int8"].multiply_7nm_j / msfp12.multiply_7nm_j == pytest.approx(4)
    assert msfp12.accumulate_7nm_j / mac_j(msfp12, 7) == pytest.approx(0.756, abs=0.001)


def test_a_format_of_your_own():
    int2 = dataclasses.replace(FORMATS["int4"], name="int2", bits=2.0, multiply_45nm_j=0.0125e-12)
    assert mac_j(int2, 45) == pytest.approx(0.1125e-12)


# --- memory ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("capacity", "pj_45nm", "pj_7nm"), [(8 * KB, 10, 7.5), (32 * KB, 20, 8.5), (1 * MB, 100, 14)])
def test_sram_at_the_tables(capacity, pj_45nm, pj_7nm):
    # 64-bit reads
    assert sram_j_per_byte(capacity, 45) == pytest.approx(pj_45nm * 1e-12 / 8)
    assert sram_j_per_byte(capacity, 7) == pytest.approx(pj_7nm * 1e-12 / 8)


def test_sram_between_the_points():
    # 16 kB is halfway between the logarithms of 8 and 32 kB: sqrt(10 * 20) and sqrt(7.5 * 8.5) pJ.
    assert sram_j_per_byte(16 * KB, 45) == pytest.approx(math.sqrt(200) * 1e-12 / 8)
    assert sram_j_per_byte(16 * KB, 7) == pytest.approx(math.sqrt(63.75) * 1e-12 / 8)
    # Between the nodes: the geometric mean of the two.
    assert sram_j_per_byte(32 * KB, math.sqrt(315)) == pytest.approx(math.sqrt(20 * 8.5) * 1e-12 / 8)
    assert sram_j_per_byte(32 * KB, 5) == pytest.approx(8.5e-12 / 8 * math.sqrt(5 / 7))


def test_sram_beyond_the_points():
    # 2 kB: half of 8 kB's by the square root. 32 MB: 32 times 1 MB, once more what 32 kB to 1 MB brings.
    assert sram_j_per_byte(2 * KB, 45) == pytest.approx(5e-12 / 8)
    assert sram_j_per_byte(2 * KB, 7) == pytest.approx(3.75e-12 / 8)
    assert sram_j_per_byte(32 * MB, 45) == pytest.approx(100e-12 / 8 * 5)
    assert sram_j_per_byte(32 * MB, 7) == pytest.approx(14e-12 / 8 * 14 / 8.5)
    assert extrapolated(28, 2 * KB) == "extrapolated: a memory of 2 kB from those of 8 kB to 1 MB"
    assert extrapolated(28, 32 * KB) == extrapolated(45, 8 * KB) == extrapolated(7, MB) == ""
    assert extrapolated(5, 2 * MB).count("from") == 2


CAPACITIES, NODES = st.floats(KB, 64 * MB), st.floats(2, 130)


@given(CAPACITIES, CAPACITIES, NODES, NODES)
def test_a_larger_memory_and_an_older_process_take_more(size, other_size, node, other_node):
    small, large = sorted((size, other_size))
    newer, older = sorted((node, other_node))
    assert sram_j_per_byte(small, node) <= sram_j_per_byte(large, node) * (1 + 1e-12)
    assert sram_j_per_byte(size, newer) <= sram_j_per_byte(size, older) * (1 + 1e-12)


@pytest.mark.parametrize(
    ("name", "low_pj", "high_pj"),
    [
        ("DDR3", 70, 70),
        ("DDR4", 15, 20),
        ("LPDDR4", 8, 8),
        ("LPDDR5", 8, 8),
        ("GDDR5", 14, 14),
        ("HBM2", 3.9, 7),
        ("HBM2e", 3.9, 7),
        ("HBM3", 4, 7),
        ("HBM3e", 4, 7),
    ],
)
def test_dram(name, low_pj, high_pj):
    kind = DRAM[name]
    assert kind.name == name
    assert (kind.low_j_per_bit, kind.high_j_per_bit) == (pytest.approx(low_pj * 1e-12), pytest.approx(high_pj * 1e-12))


def test_documentation_dram_sources_say_what_is_assumed_or_recalled():
    """What the sources say of themselves; no number is tested."""
    assert {name for name, kind in DRAM.items() if "assum" in kind.source.note} == {"LPDDR5", "HBM2e", "HBM3", "HBM3e"}
    assert {name for name, kind in DRAM.items() if kind.source.recalled} == {"DDR4", "HBM3", "HBM3e"}


def test_memory_costs_more_the_farther_it_is():
    nearest = [sram_j_per_byte(size, 7) for size in (8 * KB, MB)] + [8 * DRAM["HBM2"].low_j_per_bit]
    assert all(near < far for near, far in itertools.pairwise([*nearest, 8 * DRAM["DDR4"].low_j_per_bit]))


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mac_j("int9", 7), r"number_format = 'int9': did you mean 'int\d'"),
        (lambda: mac_j("int8", 1), r"node_nm = 1: must be between 2 and 130 \(unit: nm\)"),
        (lambda: mac_j("int8", 7e-9), "node_nm = 7e-09"),
        (lambda: mac_j("int8", float("nan")), "node_nm = nan"),
        (lambda: mac_j("int8", "7 nm"), "node_nm = '7 nm'"),
        (
            lambda: sram_j_per_byte(512, 7),
            r"capacity_bytes = 512: must be between 1024 \(1 kB\) and 67108864 \(64 MB\)",
        ),
        (lambda: sram_j_per_byte(128 * MB, 7), "capacity_bytes = 134217728"),
        (lambda: sram_j_per_byte(MB, 180), "node_nm = 180"),
        (lambda: extrapolated(0), "node_nm = 0"),
        (lambda: extrapolated(7, 0), "capacity_bytes = 0"),
        (
            lambda: dataclasses.replace(FORMATS["int8"], peak="fp64"),
            "NumberFormat.peak = 'fp64': must be one of fp32, bf16",
        ),
        (
            lambda: dataclasses.replace(FORMATS["int8"], multiply_7nm_j=-1.0),
            r"NumberFormat.multiply_7nm_j = -1.0: must be a finite number above 0 \(unit: J\)",
        ),
        (
            lambda: dataclasses.replace(FORMATS["int8"], block=0),
            "NumberFormat.block = 0: must be a finite number above 0",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_peaks_are_columns_of_a_device():
    assert {made.peak for made in FORMATS.values()} <= set(number_formats.PEAKS)
    assert FORMATS["fp16"].peak == "bf16"
