"""The account of analog hardware: counts from the tiling and joules of tiny matrices, worked by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx

from analogsim import ADC, DAC, EnergyTable, Hardware, InputError, preset
from analogsim import nnx as analog_nnx
from analogsim.converters import BitSerialDAC
from analogsim.devices import PCM, Action, BitSlices, Crossbar, Differential, DigitalMemory, Offset
from analogsim.energy import compare
from analogsim.energy.chip import analog_items, conversion_energy
from analogsim.energy.chip.tile_work import read_fractions, tile_work
from analogsim.energy.work import layer_work
from analogsim.linen import AnalogConv, AnalogDense
from tests.energy.energy_models import dense, line, mlp


def crossbar(rows=512, columns=512, sides=1, g_min=0.0, **more):
    store = Crossbar(cell=PCM(g_max=25e-6, g_min=g_min), mapping=Differential(sides=sides))
    return Hardware(name="test", store=store, rows=rows, columns=columns, **more)


def test_cell_read_of_two_by_two():
    # Columns already reach 1. Siemens: (1 + 0.5 + 0.25 + 1) * 25 uS = 68.75 uS; <x^2> = (1 + 0.25)/2 = 0.625.
    # Energy: 68.75 uS * 0.625 * (0.2 V)^2 * 100 ns = 0.171875 pJ.
    read = line(dense([[1.0, -0.5], [0.25, 1.0]], [[1.0, 0.5]], crossbar()), "cells")
    assert read.count == pytest.approx(42.96875e-6, rel=1e-6)
    assert read.energy_j == pytest.approx(0.171875e-12, rel=1e-6)


def test_columns_are_scaled_before_they_are_read():
    # Column maxima 2 and 0.1: normalised (1, -0.5) and (1, 0.5). Siemens 3 * 25 uS, <x^2> = 1: 75 uS * 4e-9 V^2 s.
    read = line(dense([[2.0, 0.1], [-1.0, 0.05]], [[3.0, 3.0]], crossbar()), "cells")
    assert read.energy_j == pytest.approx(0.3e-12, rel=1e-6)


def test_inputs_count_by_their_own_tile():
    # Two rows a tile. The first tile's inputs are 1 (weights 1, 1), the second's are 0 (weights 1, 0.5).
    read = line(dense([[1.0], [1.0], [0.2], [0.1]], [[1.0, 1.0, 0.0, 0.0]], crossbar(rows=2)), "cells")
    assert read.count == pytest.approx(2 * 25e-6, rel=1e-6)


def test_what_a_tile_has_too_many_is_not_read():
    # Two-sided pairs draw 2 g_min + window whatever the weight: 3 x 2 weights, all driven, and not the fourth row.
    hardware = crossbar(rows=2, sides=2, g_min=5e-6)
    read = line(dense(np.ones((3, 2)), np.ones((1, 3)), hardware), "cells")
    assert read.count == pytest.approx(6 * (2 * 5e-6 + 20e-6), rel=1e-6)


def test_inputs_beyond_the_calibrated_range_are_clipped():
    # Range 2: inputs 4 and 1 become 1 and 0.5, <x^2> = 0.625; both weights 1: 50 uS * 0.625.
    ranges = {"input": jnp.float32(2.0), "output": jnp.float32(1.0)}
    hardware = crossbar(dac=DAC(bits=8), adc=ADC(bits=8))
    read = line(dense([[1.0], [1.0]], [[4.0, 1.0]], hardware, ranges), "cells")
    assert read.count == pytest.approx(50e-6 * 0.625, rel=1e-6)


def test_word_lines_charge_every_cell_of_a_driven_row():
    # 2 x 2 weights on pairs: 8 cells, <x^2> = 0.625: 5 full swings of 0.35 fF * (0.2 V)^2 = 0.014 fJ.
    lines = line(dense([[1.0, -0.5], [0.25, 1.0]], [[1.0, 0.5]], crossbar()), "word lines")
    assert lines.count == pytest.approx(5.0, rel=1e-6)
    assert lines.energy_j == pytest.approx(5 * 0.014e-15, rel=1e-6)


@pytest.mark.parametrize(
    ("n_in", "n_out", "rows", "columns", "r", "c"),
    [(700, 6, 512, 512, 2, 1), (700, 6, 700, 6, 1, 1), (700, 6, 350, 4, 2, 2), (701, 6, 700, 6, 2, 1)],
)
def test_conversions_follow_the_tiles(n_in, n_out, rows, columns, r, c):
    hardware = crossbar(rows, columns, dac=DAC(bits=8), adc=ADC(bits=8))
    result = dense(np.ones((n_in, n_out)), np.ones((1, n_in)), hardware)
    assert line(result, "ADC").count == n_out * r
    assert line(result, "DAC").count == n_in * c
    assert line(result, "digital").count == n_out * r
    assert line(result, "digital").energy_j == pytest.approx(n_out * r * 1.54e-12)
    assert line(result, "buffer").count == n_in + n_out
    assert result.arrays.tiles == r * c
    assert result.arrays.utilisation == pytest.approx(n_in * n_out / (r * c * rows * columns))


def test_counts_are_per_inference_not_per_sample():
    weights, x = np.ones((6, 4)), np.ones((5, 6))
    hardware = crossbar(dac=DAC(bits=8), adc=ADC(bits=8))
    assert line(dense(weights, x, hardware), "ADC").count == 4
    sequence = line(dense(weights, np.ones((5, 7, 6)), hardware), "ADC")  # seven tokens an example
    assert sequence.count == 28


@pytest.mark.parametrize(("bits", "width"), [(4, 1.0), (8, 1.0), (12, 1.5)])
def test_buffer_words_are_as_wide_as_the_converter_and_at_least_a_byte(bits, width):
    hardware = crossbar(dac=DAC(bits=bits), adc=ADC(bits=8))
    result = line(dense(np.ones((6, 4)), np.ones((1, 6)), hardware), "buffer")
    assert result.count == 6 * width + 4
    assert result.energy_j == pytest.approx((6 * width + 4) * 1.16e-12)


def test_without_converters_there_are_none_to_pay_for():
    result = dense(np.ones((6, 4)), np.ones((1, 6)), crossbar())
    assert [entry.component for entry in result.hardware.items] == ["cells", "word lines", "buffer", "memory"]
    assert line(result, "buffer").count == 4 * (6 + 4)  # float32
    assert result.hardware.energy_low_j == result.hardware.energy_high_j


def test_digital_store_pays_for_arithmetic_and_weights_only():
    # int8, all of 7 nm: 24 MAC at 0.1 pJ, 24 B at 1.75 pJ, 4 scales at 0.72 pJ, 6 B in (8 bits) and 4 * 4 B out at
    # 0.94 pJ, and the same 22 B from and to the memory outside at 64 pJ; the weights stay on the chip.
    result = dense(np.ones((6, 4)), np.ones((1, 6)), preset("int8"))
    expected = 24 * 0.1e-12 + 24 * 1.75e-12 + 4 * 0.72e-12 + 22 * 0.94e-12 + 22 * 64e-12
    assert result.hardware.energy_typical_j == pytest.approx(expected, rel=1e-9)
    assert result.arrays is None
    # Dispatch; 22 B at 25.6 GB/s; 24 MAC at 256 G/s.
    assert result.hardware.latency_s == pytest.approx(5e-6 + 22 / 25.6e9 + 24 / 256e9)


def test_mlp_counts():
    result = compare(*mlp(), systems=(), batch=1)
    total = {}
    for entry in result.hardware.items:
        total[entry.component] = total.get(entry.component, 0) + entry.count
    assert total["ADC"] == 74
    assert total["DAC"] == 128
    assert total["buffer"] == 128 + 74
    assert result.macs == 4736
    assert result.other_parameters == 74  # the biases


def test_latency_is_the_reads_one_after_another():
    result = dense(np.ones((6, 4)), np.ones((2, 7, 6)), crossbar(adc=ADC(bits=8)))
    assert result.hardware.latency_s == pytest.approx(5e-6 + 7 * 100e-9)  # after the dispatch
    model, variables, x = mlp()
    at_256 = compare(model, variables, x, systems=(), batch=256).hardware
    # The preset reads as long as its noise model says; 74 biases and 64 rectifiers take the digital unit 0.54 ns.
    assert at_256.latency_s == pytest.approx(5e-6 + 256 * (2 * 250e-9 + 138 / 256e9))


def test_writing_is_reported_apart():
    # pcm: 2 cells a weight at 1.5 nJ.
    result = compare(*mlp(), systems=(), batch=1)
    assert result.arrays.cells == 2 * 4736
    assert result.arrays.write_energy_j == pytest.approx(2 * 4736 * 1.5e-9)
    unknown = compare(*mlp(preset("pcm", **{"energy_table.cell_write_j": None})), systems=(), batch=1)
    assert unknown.arrays.write_energy_j is None
    assert "not known (EnergyTable.cell_write_j)" in " ".join(str(unknown).split())
    assert unknown.hardware.energy_typical_j == result.hardware.energy_typical_j


def test_more_bits_cost_more():
    energies = []
    for bits in (4, 6, 8, 10, 12):
        hardware = preset("pcm", **{"adc.bits": bits, "dac.bits": bits})
        breakdown = dense(np.ones((6, 4)), np.ones((1, 6)), hardware).hardware
        energies.append((breakdown.energy_low_j, breakdown.energy_typical_j, breakdown.energy_high_j))
    assert np.all(np.diff(energies, axis=0) > 0)


def test_low_and_high_change_the_adc_and_the_rest_of_the_chip():
    breakdown = dense(np.ones((6, 4)), np.ones((1, 6)), preset("pcm")).hardware
    down = 4 * (2.06188e-12 - 0.27648e-12 + 38e-12)
    up = 4 * (4.2867e-12 - 2.06188e-12 + (192 - 38) * 1e-12)
    assert breakdown.energy_typical_j - breakdown.energy_low_j == pytest.approx(down, rel=1e-4)
    assert breakdown.energy_high_j - breakdown.energy_typical_j == pytest.approx(up, rel=1e-4)


def test_a_chips_own_overhead_has_no_range():
    own = dense(np.ones((6, 4)), np.ones((1, 6)), preset("pcm", **{"energy_table.overhead_j": "5 pJ"}))
    rest = line(own, "rest of the chip")
    assert (rest.energy_low_j, rest.energy_j, rest.energy_high_j) == pytest.approx((20e-12,) * 3)
    assert rest.source == "set by this hardware: EnergyTable.overhead_j"


def test_first_convolution_of_alexnet():
    # 227 x 227 x 3, 96 filters of 11 x 11, stride 4: 55 x 55 positions of 363 x 96 = 105,415,200 MAC.
    model = AnalogConv(96, (11, 11), strides=4, padding="VALID", use_bias=False, hardware=preset("pcm"))
    variables = {"params": {"kernel": jnp.ones((11, 11, 3, 96))}}
    result = compare(model, variables, jnp.ones((1, 227, 227, 3)), systems=(), batch=1)
    assert result.macs == 105_415_200
    assert line(result, "ADC").count == 3025 * 96
    assert line(result, "DAC").count == 3025 * 363
    assert result.hardware.latency_s == pytest.approx(5e-6 + 3025 * 250e-9)


def _small_convolution(rows, x):
    """The one use of a 3 x 3 window on one channel, images padded."""
    model = AnalogConv(1, (3, 3), padding="SAME", use_bias=False, hardware=crossbar(rows=rows))
    (layer,) = layer_work.count(model, {"params": {"kernel": jnp.ones((3, 3, 1, 1))}}, x).layers
    return layer.use


@pytest.mark.parametrize("rows", [512, 4])
def test_a_convolution_s_padding_drives_no_row(rows):
    # 3 x 3 window over a padded 3 x 3 image of ones: 4 * 4 + 4 * 6 + 9 = 49 of 81 patch entries are 1.
    use = _small_convolution(rows, jnp.ones((5, 3, 3, 1)))
    heights = [9] if rows == 512 else [3, 3, 3]
    driven = sum(h * m for h, m in zip(heights, read_fractions(use), strict=True))
    assert driven == pytest.approx(49 / 9, rel=1e-6)


def test_large_samples_are_summed_in_parts(monkeypatch):
    use = _small_convolution(4, np.random.default_rng(3).normal(size=(5, 3, 3, 1)).astype(np.float32))
    whole = read_fractions(use)
    monkeypatch.setattr("analogsim.energy.chip.tile_work._NUMBERS_AT_ONCE", 2 * 9 * 9)
    assert read_fractions(use) == pytest.approx(whole, rel=1e-6)


class Twice(nn.Module):
    @nn.compact
    def __call__(self, x):
        layer = AnalogDense(6, use_bias=False, hardware=preset("pcm"))
        return layer(layer(x))


class Stack(nn.Module):
    """Three layers of one path, scanned over their stacked weights."""

    @nn.compact
    def __call__(self, x):
        def step(module, carry):
            return AnalogDense(6, use_bias=False, hardware=preset("pcm"), name="step")(carry), None

        scan = nn.scan(step, variable_axes={"params": 0}, split_rngs={"params": True}, length=3)
        return scan(self, x)[0]


@pytest.mark.parametrize(("model", "passes", "matrices"), [(Twice(), 2, 1), (Stack(), 3, 3)])
def test_a_matrix_is_held_once_however_often_it_is_used(model, passes, matrices):
    x = jnp.ones((2, 6))
    result = compare(model, model.init(jax.random.key(0), x), x, systems=(), batch=1)
    assert sum(entry.count for entry in result.hardware.items if entry.component == "ADC") == 6 * passes
    assert result.macs == 36 * passes
    assert result.arrays.cells == 2 * 36 * matrices
    assert result.other_parameters == 0


def test_nnx_model_has_the_same_breakdown():
    layer = analog_nnx.AnalogLinear(6, 4, hardware=preset("pcm"), rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(5), (3, 6))
    result = compare(layer, None, x, systems=(), batch=1)
    kernel = layer.kernel[...]
    four_biases_j = 4 * 0.722e-12
    plain_j = dense(kernel, x, preset("pcm")).hardware.energy_typical_j
    assert result.hardware.energy_typical_j == pytest.approx(plain_j + four_biases_j, rel=1e-9)
    assert result.other_parameters == 4


def test_the_breakdown_is_differentiable_in_the_prices():
    # d/dk1 of (n_out R) (k1 b + k2 4^b) Vdd^2 = 4 * 8 * 0.81
    model = AnalogDense(4, hardware=preset("pcm"))
    x = jnp.ones((1, 6))
    (layer,) = layer_work.count(model, model.init(jax.random.key(0), x), x).layers
    per_vector = tile_work(layer.use)

    def energy_j(k1):
        hardware = layer.use.hardware.replace(**{"energy_table.adc_capacitance_f": k1})
        use = layer.use._replace(hardware=hardware)
        return analog_items.total_j(analog_items.layer_items(layer.__class__(use, 1, 6, 24), per_vector))

    assert jax.grad(energy_j)(310e-15) == pytest.approx(4 * 8 * 0.81, rel=1e-5)


def test_changed_prices_do_not_carry_the_default_s_citation():
    energy_table = EnergyTable(mac_j=1e-12)
    assert [str(s) for s in energy_table.sources("mac_j")] == ["set by this hardware: EnergyTable.mac_j"]
    (published,) = EnergyTable().sources("mac_j")
    assert [paper.doi for paper in published.papers] == ["10.1109/ISSCC.2014.6757323", "10.1109/ISCA52012.2021.00010"]


def test_a_full_core_costs_what_the_measured_chip_takes():
    # IBM's 64-core chip, 14 nm PCM, 256 x 256, 8 bits (doi 10.1038/s41928-023-01010-1, abstract): one-phase reads at
    # 9.76 TOPS/W are 2 * 65536 / 9.76e12 = 13.4 nJ a product, four-phase reads at 2.48 TOPS/W 52.9 nJ. Calibrated:
    # the rest of the chip is what the components leave of these two. The components alone are less.
    weights = jax.random.normal(jax.random.key(0), (256, 256))
    x = jax.random.uniform(jax.random.key(1), (8, 256), minval=-1.0)
    # The measured core has no memory outside: 512 numbers of a byte to and from it come on top.
    result = dense(weights, x, preset("pcm", rows=256, columns=256))
    breakdown, outside_j = result.hardware, line(result, "memory").energy_j
    assert outside_j == pytest.approx(512 * 64e-12)
    assert breakdown.energy_typical_j - outside_j == pytest.approx(13.4e-9, rel=0.05)
    assert breakdown.energy_high_j - outside_j == pytest.approx(52.9e-9, rel=0.05)
    assert 13.4e-9 / 8 < breakdown.energy_low_j - outside_j < 13.4e-9 / 4


class Unpriced(DigitalMemory):
    def cost(self, weights, read_fraction):
        return (Action("photon", 1.0, "J"),)


class WrongUnit(DigitalMemory):
    def cost(self, weights, read_fraction):
        return (Action("mac", 1.0, "FLOP"),)


def test_an_action_without_a_price_is_refused():
    with pytest.raises(
        InputError, match="Unpriced: action 'photon' has no known energy; known: cell read, hold, laser, mac"
    ):
        dense(np.ones((2, 2)), np.ones((1, 2)), Hardware(store=Unpriced()))
    with pytest.raises(InputError, match="action 'mac' is counted in 'FLOP': must be in 'MAC'"):
        dense(np.ones((2, 2)), np.ones((1, 2)), Hardware(store=WrongUnit()))


def test_values_that_are_no_numbers_are_refused():
    with pytest.raises(InputError, match=r"cells \(read\) of layer .*: is nan"):
        dense([[np.nan, 1.0]], [[1.0]], preset("pcm"))
    with pytest.raises(InputError, match=r"sample-and-hold .*has 2 values"):
        dense([[1.0]], [[1.0]], preset("pcm", **{"adc.bits": jnp.array([6, 8])}))


def test_a_readout_for_drift_compensation_by_hand():
    # 3 x 2 on tiles of 2 rows: tiles of 2 and 1 rows. Weights all 1: every pair holds 25 + 0 uS. Each row once at 0.2 V
    # for 250 ns; 6 pairs are 150 uS. Every row converts both lines of its tile: 3 x 2 conversions, 3 DAC drives.
    hardware = preset("pcm", rows=2, columns=512)
    p = hardware.energy_table
    arrays = dense(np.ones((3, 2)), np.full((1, 3), 0.1), hardware).arrays
    cells_j = 150e-6 * 0.2**2 * 250e-9
    lines_j = 12 * p.line_capacitance_f * 0.2**2
    conversion_j = conversion_energy.band_j(p, 8)[1] + p.sample_hold_j(8) + p.overhead_j
    expected = cells_j + lines_j + 3 * p.dac_energy_j(8) + 6 * conversion_j
    assert arrays.calibration_energy_j == pytest.approx(expected, rel=1e-5)
    again = dense(np.ones((3, 2)), np.full((1, 3), 0.1), hardware.replace(calibration_reads=5.0)).arrays
    assert again.calibration_energy_j == pytest.approx(5 * expected, rel=1e-5)
    quiet = dense(np.ones((3, 2)), np.ones((1, 3)), hardware.replace(drift_compensation="none"))
    assert quiet.arrays.calibration_energy_j == 0.0
    assert "one readout for drift compensation" not in str(quiet)


@pytest.mark.parametrize(
    ("mapping", "accumulation", "conversions", "cells"),
    [
        (Differential(), "analog", 2, 12),
        (Differential(), "digital", 2 * 7, 12),
        (Differential(subtraction="digital"), "digital", 4 * 7, 12),
        (Differential(slices=BitSlices(widths=(4, 3))), "digital", 4 * 7, 24),
        (Offset(), "analog", 2, 6),
        (Offset(subtraction="unit column"), "digital", 3 * 7, 9),
    ],
)
def test_every_line_and_step_is_converted(mapping, accumulation, conversions, cells):
    # 3 x 2 weights on one tile; 8 bits are 7 slices of one bit. Energy of the rows: the bits that are one.
    hardware = preset("pcm", **{"store.mapping": mapping, "dac": BitSerialDAC(bits=8, accumulation=accumulation)})
    breakdown = dense(
        np.ones((3, 2)), np.array([[1.0, 85 / 127, 0.0]]), hardware
    )  # 127, 85 = 1010101, 0: 7 + 4 + 0 ones
    assert line(breakdown, "ADC").count == conversions
    assert line(breakdown, "DAC").count == 3 * 7
    assert breakdown.arrays.cells == cells
    targets = mapping.conductances(jnp.ones((3, 2)), 0.0, 25e-6)
    assert line(breakdown, "cells").count == pytest.approx(float(targets.sum()) * 11 / 3, rel=1e-5)
    assert breakdown.hardware.latency_s == pytest.approx(5e-6 + 7 * 250e-9)


def test_reads_that_are_repeated_are_said_to_be_left_out():
    managed = preset("pcm", bound_management="iterative")
    once, again = (dense(np.ones((3, 2)), np.ones((1, 3)), hardware) for hardware in (preset("pcm"), managed))
    assert "reads that bound management repeats" in again.excludes
    assert "bound management" not in once.excludes
    assert again.hardware.energy_typical_j == once.hardware.energy_typical_j
