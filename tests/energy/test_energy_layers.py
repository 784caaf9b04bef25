"""The account of groups, batch axes, blocks of channels, transposed convolutions and tables, worked by hand.

Groups lie on the diagonal of a tile: read as one matrix, zeros included, but multiplied only where weights are. Tiles
have 20 rows and 6 columns throughout, and cells of 25 uS that are read with 0.2 V for 100 ns.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx

from analogsim import ADC, DAC, Hardware, convert, preset, summary
from analogsim.converters import BitSerialDAC
from analogsim.devices import PCM, Crossbar, Differential, Offset
from analogsim.energy import FORMATS, compare, devices
from analogsim.energy.machines import digital, eyeriss
from analogsim.energy.work import layer_work
from tests.energy.energy_models import line, of_ones

KEY = jax.random.key(40)
CONVERTERS = dict(dac=DAC(bits=8), adc=ADC(bits=8))


def crossbar(sides=1, g_min=0.0, mapping=None, **more):
    store = Crossbar(cell=PCM(g_max=25e-6, g_min=g_min), mapping=mapping or Differential(sides=sides))
    return Hardware(name="test", store=store, **(dict(rows=20, columns=6) | more))


def breakdown(layer, variables, x, hardware, **options):
    """The comparison of a layer on hardware; converted, its own parameters."""
    return compare(convert(layer, hardware), variables, x, **({"systems": (), "batch": 1} | options))


def total(comparison, component):
    return sum(entry.count for entry in comparison.hardware.items if entry.component == component)


# --- groups ----------------------------------------------------------------------------------------------------------

#: Five groups of 3 x 3 inputs and 2 outputs on 4 positions: three matrices of two, two and one group.
GROUPED = nn.Conv(10, (3,), feature_group_count=5, use_bias=False, padding="VALID")
ONES = np.ones((4, 6, 15), np.float32)


@pytest.mark.parametrize(
    ("groups", "tiles", "cells", "places"),
    [("shared", 3, 2 * (18 * 4 + 18 * 4 + 9 * 2), 3 * 120), ("apart", 5, 2 * 5 * 9 * 2, 5 * 120)],
)
def test_groups_are_billed_for_their_own_rows_and_lines(groups, tiles, cells, places):
    hardware = crossbar(groups=groups, **CONVERTERS)
    result = breakdown(GROUPED, of_ones(GROUPED, ONES), ONES, hardware, systems="brain")
    assert result.macs == 4 * 5 * 9 * 2  # not those of the zeros between the groups
    assert total(result, "DAC") == 4 * 45  # every input of a patch drives one row
    assert total(result, "ADC") == total(result, "digital") == 4 * 10  # every output is one line, no line is empty
    assert total(result, "buffer") == 4 * (45 + 10)
    # Weights of one, inputs of one: every pair draws 25 uS whatever the zeros around do.
    assert total(result, "cells") == pytest.approx(4 * 90 * 25e-6, rel=1e-6)
    assert total(result, "word lines") == pytest.approx(4 * cells, rel=1e-6)
    assert result.arrays.tiles == tiles
    assert result.arrays.cells == cells
    assert result.arrays.utilisation == pytest.approx(90 / places)
    assert result.other_parameters == 0
    (row,) = summary(convert(GROUPED, hardware), of_ones(GROUPED, ONES), ONES)
    assert (row.tiles, row.cells, row.adc_inputs) == (tiles, cells, 10)
    assert row.utilisation == pytest.approx(90 / places)


@pytest.mark.parametrize(("groups", "pairs"), [("shared", 162), ("apart", 90)])
def test_the_cells_between_groups_draw_current_too(groups, pairs):
    # Two-sided pairs draw 2 g_min + window whatever the weight, also the zeros off the diagonal.
    result = breakdown(GROUPED, of_ones(GROUPED, ONES), ONES, crossbar(sides=2, g_min=5e-6, groups=groups))
    assert total(result, "cells") == pytest.approx(4 * pairs * (2 * 5e-6 + 20e-6), rel=1e-6)


def test_groups_work_side_by_side():
    # Four positions, 100 ns each, on however many tiles; for a GPU one kernel of 3 us; after a dispatch of 5 us.
    times = []
    for groups in ("shared", "apart"):
        result = breakdown(GROUPED, of_ones(GROUPED, ONES), ONES, crossbar(groups=groups), systems="H100")
        own, gpu = result.breakdowns
        times.append((own.latency_s, gpu.latency_s))
        # 4 nm: 7 nm times (4/7)^0.5. In and out by the memory, weights stay, operands 2 * 360 * 2 B / 128.
        shrink, maps = (4 / 7) ** 0.5, 2 * (6 * 15 + 40)
        on_chip = 4 * 90 * 0.59e-12 + (2 * 360 * 2 / 128 + maps) * 1.75e-12
        assert gpu.energy_low_j == pytest.approx(on_chip * shrink + maps * 32e-12, rel=1e-9)
    np.testing.assert_allclose(times, [(5.4e-6, 8e-6)] * 2)


@pytest.mark.parametrize("groups", ["shared", "apart"])
def test_digital_memory_computes_no_zeros(groups):
    # int8: 90 MAC at 0.1 pJ and 90 B at 1.75 pJ a position.
    result = breakdown(GROUPED, of_ones(GROUPED, ONES), ONES, preset("int8", rows=20, columns=6, groups=groups))
    assert total(result, "arithmetic") == pytest.approx(360)
    assert total(result, "weight memory") == pytest.approx(360)


def test_a_depthwise_convolution_of_an_image():
    # 3 x 3 windows on 8 channels of 5 x 5, padded: 25 x 9 x 8 MACs; 72 weights, 200 numbers in and out.
    layer, x = nn.Conv(8, (3, 3), feature_group_count=8, use_bias=False), np.ones((3, 5, 5, 8), np.float32)
    result = breakdown(layer, of_ones(layer, x), x, crossbar(**CONVERTERS), systems=("H100", "Eyeriss"))
    assert result.macs == 25 * 9 * 8
    (memory,) = [entry for entry in result.breakdowns[1].items if entry.component == "memory"]
    assert memory.count == 2 * (72 + 200 + 200)
    (dram,) = [entry for entry in result.breakdowns[2].items if entry.component == "DRAM"]
    assert dram.count == 72 + 200 + 200
    assert result.hardware.latency_s == pytest.approx(5e-6 + 25 * 100e-9)


def test_batch_axes():
    # A matrix of 3 x 4 for each of 7 entries; six fit a tile by rows, one by columns.
    layer, x = nn.Einsum((7, 3, 4), "...gd,gdk->...gk", use_bias=False), np.ones((2, 7, 3), np.float32)
    result = breakdown(layer, of_ones(layer, x), x, crossbar(**CONVERTERS), systems="H100")
    assert result.macs == 7 * 12
    assert (total(result, "DAC"), total(result, "ADC"), result.arrays.tiles) == (21, 28, 7)
    assert result.breakdowns[1].latency_s == pytest.approx(8e-6)
    wide = breakdown(layer, of_ones(layer, x), x, crossbar(columns=12, **CONVERTERS))
    assert (total(wide, "DAC"), total(wide, "ADC"), wide.arrays.tiles, wide.macs) == (21, 28, 3, 84)
    assert wide.arrays.cells == 2 * (9 * 12 + 9 * 12 + 3 * 4)


# --- blocks of channels ----------------------------------------------------------------------------------------------


def test_the_last_block_of_channels_is_billed_as_far_as_it_is_filled():
    """Windows of 6 on 5 channels: two tiles of 3 and of 2 channels, 18 and 12 of 18 rows."""
    layer, x = nn.Conv(2, (6,), use_bias=False, padding="VALID"), np.ones((3, 7, 5), np.float32)
    x[..., 3:] = 0.5
    hardware = crossbar(**CONVERTERS)
    result = breakdown(layer, of_ones(layer, x), x, hardware)
    assert result.macs == 2 * 30 * 2
    assert total(result, "DAC") == 2 * 30
    assert total(result, "ADC") == 2 * 2 * 2  # both tiles
    assert result.arrays.cells == 2 * 60
    # Rows of the first tile are driven by 1, of the second by 1/2: 36 + 24/4 pairs of 25 uS, two positions.
    assert total(result, "cells") == pytest.approx(2 * (36 + 6) * 25e-6, rel=1e-6)
    assert total(result, "word lines") == pytest.approx(2 * 2 * (36 + 6), rel=1e-6)
    (row,) = summary(convert(layer, hardware), of_ones(layer, x), x)
    assert (row.tiles, row.cells, row.adc_inputs) == (2, 120, 4)


# --- transposed convolutions -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "met"),
    [
        # All of 4 inputs meet each of the 3 elements once, but for what SAME cuts off: 8 of the 9 output positions.
        (nn.ConvTranspose(2, (3,), strides=(2,), padding="VALID", use_bias=False), 4 * 3),
        (nn.ConvTranspose(2, (3,), strides=(2,), padding="SAME", use_bias=False), 4 * 3 - 1),
        (nn.ConvTranspose(2, (3,), strides=(1,), padding="VALID", use_bias=False), 4 * 3),
        (nn.Conv(2, (3,), input_dilation=2, padding=((0, 0),), use_bias=False), 8),
    ],
    ids=["valid", "same", "stride 1", "dilated"],
)
def test_zeros_between_inputs_are_multiplied_by_nobody(layer, met):
    """By a list of all pairs: an input at place p of the spread image meets the element that reaches it.

    A stride of one spreads nothing: there the six positions count their padding, as those of any convolution.
    """
    x = np.ones((5, 4, 6), np.float32)
    variables = of_ones(layer, x)
    result = breakdown(layer, variables, x, crossbar(**CONVERTERS))
    assert result.macs == (6 * 3 if layer.strides == (1,) else met) * 6 * 2
    outputs = jax.eval_shape(layer.apply, variables, x).shape[1]
    assert total(result, "ADC") == outputs * 2


# --- tables ----------------------------------------------------------------------------------------------------------

TABLE = nn.Embed(10, 5)
WEIGHTS = np.random.default_rng(2).normal(size=(10, 5)).astype(np.float32)
VARIABLES = {"params": {"embedding": jnp.asarray(WEIGHTS)}}
IDS = jnp.array([[0, 9], [-1, 4], [4, 4]])  # three examples of two lookups
SMALL = dict(rows=4, columns=3)  # 3 x 2 tiles


def siemens_of_rows():
    """Mean over the examples: |w| over the largest of its column and tile, times 25 uS."""
    scales = np.repeat([np.abs(WEIGHTS[i : i + 4]).max(0) for i in (0, 4, 8)], (4, 4, 2), axis=0)
    return (np.abs(WEIGHTS) / scales).sum(1)[np.asarray(IDS)].sum(1).mean() * 25e-6


def test_a_look_up_reads_one_row():
    result = breakdown(TABLE, VARIABLES, IDS, crossbar(**SMALL, **CONVERTERS))
    assert result.macs == 0
    read = line(result, "cells")
    assert read.count == pytest.approx(siemens_of_rows(), rel=1e-6)
    assert read.energy_j == pytest.approx(siemens_of_rows() * 0.2**2 * 100e-9, rel=1e-6)
    assert line(result, "word lines").count == 2 * 2 * 5  # both cells of five pairs, twice
    assert line(result, "ADC").count == line(result, "digital").count == 2 * 5
    assert not [entry for entry in result.hardware.items if entry.component == "DAC"]
    assert line(result, "buffer").count == 2 * (4 + 5)  # the number, and a byte for each output
    assert result.hardware.latency_s == pytest.approx(5e-6 + 2 * 100e-9)
    assert (result.arrays.tiles, result.arrays.cells) == (6, 100)
    assert result.arrays.utilisation == pytest.approx(50 / (6 * 12))
    assert result.other_parameters == 0


def test_a_readout_of_the_whole_table():
    # Every row once at full voltage, five lines each: |w| in units of 25 uS; an ADC takes 2.0619 pJ,
    # its sampling 12 k T 4^8 = 3.257 fJ, the rest 38 pJ.
    result = breakdown(TABLE, VARIABLES, IDS, crossbar(drift_compensation="global", **SMALL, **CONVERTERS))
    siemens = sum((np.abs(w) / np.abs(w).max(0)).sum() for w in (WEIGHTS[:4], WEIGHTS[4:8], WEIGHTS[8:])) * 25e-6
    expected = siemens * 0.2**2 * 100e-9 + 100 * 0.35e-15 * 0.2**2 + 50 * (2.06188e-12 + 3.257e-15 + 38e-12)
    assert result.arrays.calibration_energy_j == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("mapping", "lines", "cells"),
    [(Differential(subtraction="digital"), 10, 10), (Offset(), 5, 5), (Offset(subtraction="unit column"), 7, 7)],
)
def test_lines_of_a_row_on_other_mappings(mapping, lines, cells):
    result = breakdown(TABLE, VARIABLES, IDS, crossbar(mapping=mapping, **SMALL, **CONVERTERS))
    assert line(result, "ADC").count == 2 * lines
    assert line(result, "word lines").count == 2 * cells


def test_a_row_of_bits_is_read_bit_by_bit():
    # Seven magnitude bits, all one: seven reads at full voltage and, added up digitally, seven conversions.
    for accumulation, conversions in (("digital", 7), ("analog", 1)):
        dac = BitSerialDAC(bits=8, slice_bits=1, accumulation=accumulation)
        result = breakdown(TABLE, VARIABLES, IDS, crossbar(**SMALL, adc=ADC(bits=8), dac=dac))
        assert line(result, "cells").count == pytest.approx(7 * siemens_of_rows(), rel=1e-6)
        assert line(result, "word lines").count == pytest.approx(7 * 2 * 2 * 5)
        assert line(result, "ADC").count == conversions * 2 * 5
        assert result.hardware.latency_s == pytest.approx(5e-6 + 7 * 2 * 100e-9)


def test_a_digital_table_is_fetched_row_by_row():
    # int8: 2 x 5 bytes of rows at 1.75 pJ, no MAC.
    result = breakdown(TABLE, VARIABLES, IDS, preset("int8", **SMALL))
    assert line(result, "weight memory").count == 2 * 5
    assert not [entry for entry in result.hardware.items if entry.component == "arithmetic"]


@pytest.mark.parametrize("batch", [1, 8])
def test_other_machines_fetch_the_rows_not_the_table(batch):
    # An example asks for two numbers, fetches 2 x 5 weights and writes 2 x 5 outputs: 22 words, in any batch.
    work = layer_work.count(convert(TABLE, crossbar()), VARIABLES, IDS)
    moved = digital.traffic(devices()["H100"], FORMATS["bf16"], work, batch)
    assert (moved.weights, moved.memory) == (batch * 2 * 10, batch * 2 * 22)
    lines = {entry.action: entry.count for entry in eyeriss.breakdown(work, batch).items if entry.component != "buffer"}
    assert (lines["MAC"], lines["hop"]) == (0, 0)
    assert {x.component: x.count for x in eyeriss.breakdown(work, batch).items if x.action == "access"} == {
        "register file": 0, "buffer": 2 * 22, "DRAM": 22,
    }  # fmt: skip


class Tied(nn.Module):
    """Rows of a table in, products with all of its rows out, and a layer with bias in between."""

    @nn.compact
    def __call__(self, ids):
        table = nn.Embed(10, 5)
        return table.attend(nn.Dense(5)(table(ids)))


def test_a_table_that_is_attended_to_is_one_parameter_on_two_arrays():
    variables = of_ones(Tied(), IDS)
    result = breakdown(Tied(), variables, IDS, crossbar(**CONVERTERS))
    assert result.macs == 2 * (25 + 50)
    assert result.arrays.cells == 2 * (50 + 25 + 50)
    assert result.other_parameters == 5  # the bias


# --- a whole model ---------------------------------------------------------------------------------------------------


class Model(nn.Module):
    """An embedding, a grouped convolution, a transposed one and a head."""

    @nn.compact
    def __call__(self, ids):
        x = nn.Embed(30, 8)(ids)
        x = nn.relu(nn.Conv(12, (3,), feature_group_count=4)(x))
        x = nn.relu(nn.ConvTranspose(4, (2,), strides=(2,))(x))
        return nn.Dense(3)(x.mean(axis=1))


@pytest.mark.parametrize("name", ["pcm", "int8"])
def test_the_breakdown_of_a_whole_model_adds_up(name):
    ids = jax.random.randint(KEY, (6, 5), 0, 30)
    variables = of_ones(Model(), ids)
    result = breakdown(Model(), variables, ids, preset(name, rows=20, columns=6), systems=("H100", "Eyeriss", "brain"))
    # 5 positions of 4 x (6 x 3); 10 outputs of a 2-window that meet 5 inputs twice; the head.
    assert result.macs == 5 * 72 + 5 * 2 * 12 * 4 + 4 * 3
    assert result.other_parameters == 12 + 4 + 3  # biases
    for one in result.breakdowns:
        assert all(entry.count >= 0 and entry.unit_energy_j > 0 for entry in one.items)
        assert one.energy_typical_j == pytest.approx(sum(x.count * x.unit_energy_j for x in one.items), rel=1e-12)
        assert 0 < one.energy_low_j <= one.energy_typical_j <= one.energy_high_j
    layers = {entry.layer for entry in result.hardware.items} - {""}  # what belongs to the whole model
    assert layers == {"Embed_0", "Conv_0", "ConvTranspose_0", "Dense_0"}
    assert all(entry.count > 0 for entry in result.hardware.items)


def test_nnx_layers_have_the_same_breakdown():
    conv = nnx.Conv(15, 10, (3,), feature_group_count=5, use_bias=False, padding="VALID", rngs=nnx.Rngs(0))
    x = jax.random.normal(KEY, (4, 6, 15))
    hardware = crossbar(**CONVERTERS)
    theirs = breakdown(GROUPED, {"params": {"kernel": conv.kernel[...]}}, x, hardware)
    ours = compare(convert(conv, hardware), None, x, systems=(), batch=1)
    assert ours.hardware.energy_typical_j == theirs.hardware.energy_typical_j
    assert ours.arrays == theirs.arrays
