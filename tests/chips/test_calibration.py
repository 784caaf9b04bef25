"""Converter ranges: each method against its definition, on the lines that the ADCs really see."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from analogsim import ADC, DAC, Hardware, InputError, calibrate, preset, program, range_report
from analogsim.chips import adc_inputs
from analogsim.chips.adc_inputs import MagnitudeSample
from analogsim.chips.calibration import least_error, shifted
from analogsim.converters import SARADC, BitSerialDAC, CyclicADC, PipelineADC, RampADC
from analogsim.devices import BitSlices, Crossbar, Differential, DigitalMemory, GenericCell, MultiCell, Offset
from analogsim.linen import AnalogConv, AnalogDense, dot_general_hook
from analogsim.nnx import AnalogLinear
from tests.support.models import MLP

CELL = GenericCell(g_min="1 uS", g_max="21 uS")  # R = 20 uS, g_min/R = 0.05


def dense(hardware, n_out):
    return nn.Dense(n_out, use_bias=False, dot_general_cls=dot_general_hook(hardware))


def ranges_of(hardware, weights, x, **how):
    weights, x = np.asarray(weights, np.float32), np.asarray(x, np.float32)
    variables = {"params": {"kernel": weights}}
    calibrated = calibrate(dense(hardware, weights.shape[1]), variables, x, **how)
    found = calibrated["ranges"]["analog"]
    return float(found["input"]), np.asarray(found["output"])


def report_of(hardware, weights, x, calibrated):
    weights, x = np.asarray(weights, np.float32), np.asarray(x, np.float32)
    ranges = dict(zip(("input", "output"), (np.asarray(found, np.float32) for found in calibrated), strict=True))
    variables = {"params": {"kernel": weights}, "ranges": {"analog": ranges}}
    return range_report(dense(hardware, weights.shape[1]), variables, x)[0]


@functools.cache
def small_network():
    """A network of two layers, its variables and 60 examples."""
    model, x = MLP(preset("pcm")), np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
    return model, jax.jit(model.init)(jax.random.key(1), x), x


@functools.cache
def calibrated_by_max():
    model, variables, x = small_network()
    return calibrate(model, variables, x, method="max")


def changed(variables, **ranges):
    """The same variables with other ranges of the first layer."""
    first = {"analog": {**variables["ranges"]["Dense_0"]["analog"], **ranges}}
    return {**variables, "ranges": {**variables["ranges"], "Dense_0": first}}


def array(mapping, **other):
    return Hardware(store=Crossbar(cell=CELL, mapping=mapping), adc=ADC(bits=8), **other)


EVEN = np.linspace(-1, 1, 8001)[:, None]  # inputs spread evenly, one row, weight 1: the line is the input


def test_percentiles_of_even_inputs():
    hardware = Hardware(adc=ADC(bits=8))
    found, output = ranges_of(hardware, [[2.0]], 3 * EVEN, quantile=0.9)
    assert found == pytest.approx(2.7, rel=1e-3)  # 90 % of |x| <= 3 are within 2.7
    assert output == pytest.approx(1.1 * 1.0, rel=1e-3)  # without a DAC nothing is clipped: |x| / 2.7 up to 1.11, 90 %
    found, output = ranges_of(hardware, [[2.0]], 3 * EVEN, quantile=0.9, margin=2)
    assert output == pytest.approx(2.0, rel=1e-3)
    with_dac = Hardware(adc=ADC(bits=8), dac=DAC(bits=12))
    assert ranges_of(with_dac, [[2.0]], 3 * EVEN, quantile=0.5, margin=1)[1] == pytest.approx(1.0, rel=1e-3)


def test_max():
    assert ranges_of(Hardware(adc=ADC(), dac=DAC(bits=12)), [[2.0]], [[0.5], [-4.0], [1.0]], method="max")[0] == 4
    # Two rows of one tile: x = (1, 1/2) on weights (1, 1) of the first column, (1, -1) of the second.
    output = ranges_of(Hardware(adc=ADC()), [[1.0, 1.0], [1.0, -1.0]], [[2.0, 1.0]], method="max")[1]
    assert output == pytest.approx(1.1 * 1.5)


def test_a_model_that_decides_by_its_values():
    class Decides(nnx.Module):
        def __init__(self):
            self.layer = AnalogLinear(4, 3, hardware=preset("pcm"), rngs=nnx.Rngs(0))

        def __call__(self, x):
            return self.layer(x if float(x.sum()) > 0 else 2 * x)

    model, x = Decides(), -np.linspace(0, 3, 400, dtype=np.float32).reshape(100, 4)
    calibrate(model, None, x, method="max")
    assert float(model.layer.dot_general.input_range.get_value()) == 6.0


def test_a_layer_of_zeros_gets_ranges_of_one():
    assert ranges_of(Hardware(adc=ADC()), [[0.0]], [[0.0]]) == (1.0, 1.1)


@pytest.mark.parametrize("bits", [3, 4])
def test_least_error_of_gaussian_values(bits):
    """The best range of a mid-tread converter for Gaussian values, by a fine search over their density."""
    grid = np.linspace(0, 8, 8001)
    density = np.exp(-(grid**2) / 2)
    levels = 2 ** (bits - 1) - 1

    def error(bound):
        codes = np.round(np.clip(grid, 0, bound) / bound * levels)
        return np.sum(np.abs(codes * bound / levels - grid) * density)

    tried = np.linspace(0.8, 4, 161)
    errors = [error(bound) for bound in tried]
    values = np.random.default_rng(0).standard_normal((40000, 1))
    hardware = Hardware(adc=ADC(bits=bits), dac=DAC(bits=16))
    found, output = ranges_of(hardware, [[1.0]], values, method="error")
    # The minimum is flat: what counts is that the error is the least, within the scatter of 40 000 values.
    assert error(float(output) * found) < 1.01 * min(errors)
    assert 0.85 < float(output) * found / tried[np.argmin(errors)] < 1.15
    assert error(1.2 * tried[np.argmin(errors)]) > 1.01 * min(errors)  # so a wrong range would not have passed


def test_error_beats_both_neighbours():
    values = np.abs(np.random.default_rng(1).laplace(size=5000))

    def convert(v, bound):
        return jnp.round(jnp.clip(v, 0, bound) / bound * 7) / 7 * bound

    best = least_error(values, convert)

    def error(bound):
        return np.mean(np.abs(np.round(np.clip(values, 0, bound) / bound * 7) / 7 * bound - values))

    every = min(error(b) for b in np.linspace(0.2, values.max(), 400))
    assert error(best) <= 1.01 * every
    assert least_error(np.zeros(3), convert) == 0.0


def test_ranges_of_two_slices_by_hand():
    """w = 7/15 and 1 on widths (2, 2): digits 7 = (3, 1) and 15 = (3, 3), least significant first.

    x = 1 on the first row, 0 on the second: the low slice's line is 3/3 = 1; the high slice's 1/3. Its range must be
    1/3, and the low slice's 1/3 times the smallest power of two that makes it at least 1: 4/3.
    """
    hardware = array(Differential(slices=BitSlices(widths=(2, 2))))
    weights = [[7 / 15], [1.0]]
    _, output = ranges_of(hardware, weights, [[1.0, 0.0]], method="max", margin=1)
    np.testing.assert_allclose(output, [4 / 3, 1 / 3], rtol=1e-5)
    row = report_of(hardware, weights, [[1.0, 0.0]], (1.0, output))
    np.testing.assert_allclose(row.output_range, [4 / 3, 1 / 3], rtol=1e-5)
    assert row.outputs_clipped == (0.0, 0.0)


def test_slices_of_unequal_width_shift_in_digits():
    """Widths (3, 1): a line of one cell is 7 steps of the low slice and 1 of the high. Both lines are at most 1.

    In digits of the sum the high slice has 1 * 8 and the low one 7, so that the low range must be 8/7: one code of it
    is then exactly one eighth of one code of the high slice.
    """
    hardware = array(Differential(slices=BitSlices(widths=(3, 1))))
    _, output = ranges_of(hardware, [[1.0]], [[1.0]], method="max", margin=1)
    np.testing.assert_allclose(output, [8 / 7, 1.0], rtol=1e-5)


@pytest.mark.parametrize(
    ("limits", "factors"), [([1.0, 0.3, 0.11], [1, 2, 4]), ([5.0, 0.2], [1, 1]), ([0.0, 2.0], [1, 1])]
)
def test_shifted_ranges(limits, factors):
    found = shifted(limits, factors)
    counted = found * factors
    shifts = np.log2(counted / counted.max())
    np.testing.assert_allclose(shifts, np.round(shifts), atol=1e-12)
    used = np.asarray(limits) > 0
    assert np.all(found[used] >= np.asarray(limits)[used] * (1 - 1e-5))
    assert np.all(found[used] < 2 * np.asarray(limits)[used])


def test_digital_subtraction_covers_each_cell_of_a_pair():
    """Two-sided, G+- = g_min + R (1 +- w)/2: for w = 1/2 the lines are 0.05 + 0.75 and 0.05 + 0.25."""
    hardware = array(Differential(sides=2, subtraction="digital"))
    weights = [[1.0], [0.5]]  # the column's scale is 1
    _, output = ranges_of(hardware, weights, [[0.0, 1.0]], method="max", margin=1)
    assert output == pytest.approx(0.8, rel=1e-5)
    assert output.shape == ()  # one group: one number


@pytest.mark.parametrize("subtraction", ["digital", "unit column"])
def test_offset_mappings_are_measured_with_their_constant_part(subtraction):
    """G = g_min + R (1 + w)/2. Inputs 1, 1 on w = 1, -1: lines 0.05 * 2 + 1 + 0; the unit column 0.05 * 2 + 1/2 * 2."""
    hardware = array(Offset(subtraction=subtraction))
    _, output = ranges_of(hardware, [[1.0], [-1.0]], [[1.0, 1.0]], method="max", margin=1)
    assert output == pytest.approx(1.1, rel=1e-5)
    # All weights -1: the outputs' own lines carry 0.1 only, a unit column still 1.1.
    _, output = ranges_of(hardware, [[-1.0], [-1.0]], [[1.0, 1.0]], method="max", margin=1)
    assert output == pytest.approx(1.1 if subtraction == "unit column" else 0.1, rel=1e-5)


def test_unused_columns_of_a_tile_do_not_count():
    """Three outputs on tiles of two columns: the fourth column holds 0, which offset cells read as 0.05 + 1/2."""
    hardware = array(Offset(), columns=2)
    _, output = ranges_of(hardware, -np.ones((1, 3)), [[1.0]], method="max", margin=1)
    assert output == pytest.approx(0.05, rel=1e-5)


def test_every_step_of_a_bit_serial_input_is_measured():
    """x = (1, 8/15) in 4 magnitude bits: 1111 and 1000. In the top step both rows are driven fully: 2 cells.

    The whole product is only 1 + 8/15.
    """
    serial = array(Differential(), dac=BitSerialDAC(bits=5, slice_bits=1))
    assert ranges_of(serial, np.ones((2, 1)), [[1.0, 8 / 15]], method="max", margin=1)[1] == pytest.approx(2.0)
    summed = array(Differential(), dac=BitSerialDAC(bits=5, slice_bits=1, accumulation="analog"))
    found = ranges_of(summed, np.ones((2, 1)), [[1.0, 8 / 15]], method="max", margin=1)[1]
    assert found == pytest.approx(1 + 8 / 15, rel=1e-5)


def test_full_scale():
    """Three rows, all cells on: 3; an offset cell that is on carries g_max/R = 1.05."""
    tiled = array(Differential(), rows=2)  # three rows on two tiles are twice two
    for hardware, most in ((array(Differential()), 3), (array(Offset()), 3.15), (tiled, 2)):
        found = ranges_of(hardware, 0.1 * np.ones((3, 2)), np.ones((1, 3)), method="full")[1]
        assert found == pytest.approx(most), hardware


@pytest.mark.parametrize("mapping", ["differential", "offset"])
def test_granular_ranges_convert_without_error(mapping):
    """One-bit inputs on two-bit cells: lines are whole thirds, seven rows fit 8 bits, nothing is lost."""
    slices = BitSlices(widths=(2, 2))
    cell = GenericCell(g_min="0 S", g_max="20 uS", programming_sigma=0.0)
    store = Crossbar(cell=cell, mapping=(Differential if mapping == "differential" else Offset)(slices=slices))
    hardware = Hardware(store=store, adc=ADC(bits=8), dac=BitSerialDAC(bits=6, slice_bits=1))
    rng = np.random.default_rng(0)
    full = 15 if mapping == "differential" else 7
    weights = np.float32(rng.integers(-full, full + 1, (7, 3)) / full)
    x = np.float32(rng.integers(-31, 32, (20, 7)) / 31)
    weights[0], x[0, 0] = 1, 1
    calibrated = ranges_of(hardware, weights, x, method="granular", quantile=1)
    np.testing.assert_allclose(calibrated[1], np.full(6, 127 / 3), rtol=1e-6)
    assert report_of(hardware, weights, x, calibrated).enob > (18.0, 18.0)  # float32 rounding is all that is lost
    layer = dense(hardware, 3)
    variables = {
        "params": {"kernel": weights},
        "ranges": {"analog": dict(zip(("input", "output"), calibrated, strict=True))},
    }
    chip = program(layer, variables, jax.random.key(0), x)
    y = jax.jit(layer.apply)(chip.variables, x, rngs={"analog": jax.random.key(1)})
    np.testing.assert_allclose(y, x @ weights, atol=1e-5)


def test_granular_steps_of_other_hardware():
    """Digital 3-bit weights are thirds, 3-bit codes too: a step of 1/9. A sum in the wires has the sum's own step."""
    digital = Hardware(store=DigitalMemory(bits=3), adc=ADC(bits=8), dac=DAC(bits=3))
    assert ranges_of(digital, [[1.0]], [[1.0]], method="granular")[1] == pytest.approx(127 / 9)
    wires = array(Differential(slices=BitSlices(widths=(2, 2), sum="analog")), dac=DAC(bits=3))
    assert ranges_of(wires, [[1.0]], [[1.0]], method="granular")[1] == pytest.approx(127 / 45)
    halves = array(Differential(sides=2, subtraction="digital", slices=BitSlices(widths=(3,))), dac=DAC(bits=3))
    assert ranges_of(halves, [[1.0]], [[1.0]], method="granular")[1] == pytest.approx(127 / 42)
    for hardware, message in (
        (array(Differential(), dac=DAC()), "its weights are not sliced"),
        (array(Differential(slices=BitSlices())), "its inputs are not quantised"),
    ):
        with pytest.raises(InputError, match=message):
            ranges_of(hardware, [[1.0]], [[1.0]], method="granular")


def test_copies_share_one_range():
    hardware = array(Differential(slices=MultiCell(significance=(3.0, 1.0), sum="digital")))
    _, output = ranges_of(hardware, [[1.0], [0.5]], [[0.0, 1.0]], method="max", margin=1)
    assert output == pytest.approx(0.5)


def test_the_signal_path_takes_a_range_a_line():
    """Ranges (4/3, 1/3) of two slices, 8 bits: w = 7/15 and x = 1 read 7/15 exactly to half a step of each slice."""
    store = Crossbar(
        cell=GenericCell(g_min="0 S", g_max="20 uS", programming_sigma=0.0),
        mapping=Differential(slices=BitSlices(widths=(2, 2))),
    )
    hardware = Hardware(store=store, adc=ADC(bits=8))
    layer, weights = dense(hardware, 2), np.float32([[7 / 15, 1.0], [1.0, 1.0]])
    x = np.float32([[1.0, 0.0]])
    variables = {"params": {"kernel": weights}}
    carried = jax.jit(layer.apply)

    def read(low, high):
        ranges = {"analog": {"input": 1.0, "output": np.float32([low, low, high, high])}}
        chip = program(layer, {**variables, "ranges": ranges}, jax.random.key(0), x)
        return np.asarray(carried(chip.variables, x, rngs={"analog": jax.random.key(1)}))[0]

    np.testing.assert_allclose(read(2.0, 2.0), [7 / 15, 1.0], atol=0.01)
    np.testing.assert_allclose(read(0.5, 2.0), [7 / 15 - 0.5 * 3 / 15, 1 - 0.5 * 3 / 15], atol=0.01)  # low digits clip
    np.testing.assert_allclose(read(2.0, 0.25), [3 / 15 + 0.25 * 12 / 15] * 2, atol=0.01)  # high digits clip


def test_ranges_for_other_lines_are_refused():
    hardware = array(Differential(slices=BitSlices(widths=(2, 2))))
    variables = {"params": {"kernel": np.ones((1, 2))}, "ranges": {"analog": {"input": 1.0, "output": np.ones(2)}}}
    read = functools.partial(dense(hardware, 2).apply, rngs={"analog": jax.random.key(0)})
    with pytest.raises(InputError, match="must be one number, or one for each of the tiles' 4 readout lines"):
        jax.eval_shape(read, variables, np.ones((1, 1), np.float32))


def test_a_layer_that_the_sample_does_not_reach_is_named():
    class Experts(nn.Module):
        @nn.compact
        def __call__(self, x):
            layers = [AnalogDense(2, hardware=Hardware(), name=name) for name in ("one", "two")]
            if self.is_initializing():
                return [layer(x) for layer in layers]
            return nn.cond(x[0, 0] > 0, lambda m, x: layers[0](x), lambda m, x: layers[1](x), self, x)

    x = np.ones((3, 2), np.float32)
    variables = jax.jit(Experts().init)(jax.random.key(0), x)
    with pytest.raises(InputError, match="layer two: no value of x reaches it"):
        calibrate(Experts(), variables, x)


@pytest.mark.parametrize("bits", [6, 8])
def test_effective_bits_of_an_ideal_converter(bits):
    """Values spread evenly over the range: rms r/sqrt(3), error step/sqrt(12), step = 2 r/(2^b - 2)."""
    row = report_of(Hardware(adc=ADC(bits=bits)), [[1.0]], EVEN, (1.0, 1.0))
    sndr = 20 * np.log10((1 / np.sqrt(3)) / (2 / (2**bits - 2) / np.sqrt(12)))
    assert row.enob[0] == pytest.approx((sndr - 10 * np.log10(1.5)) / (20 * np.log10(2)), abs=0.02)
    # A full-scale sine: that is how the number is defined, up to the two codes that mid-tread gives away.
    sine = np.sin(np.linspace(0, 2 * np.pi, 8001))[:, None]
    row = report_of(Hardware(adc=ADC(bits=bits)), [[1.0]], sine, (1.0, 1.0))
    assert row.enob[0] == pytest.approx(bits + np.log2(1 - 2 / 2**bits), abs=0.05)


@pytest.mark.parametrize("adc", [RampADC, SARADC, PipelineADC, CyclicADC])
def test_circuits_convert_as_designed(adc):
    """Mid-rise: step 2 r/2^b. What fabrication would draw plays no part, also where every line has its own range."""
    hardware = Hardware(adc=adc(bits=6, comparator_offset=0.01))
    row = report_of(hardware, [[1.0, 0.5]], EVEN, (1.0, [1.0, 0.5]))
    sndr = 20 * np.log10((1 / np.sqrt(3)) / (2 / 2**6 / np.sqrt(12)))
    # Both columns are the input itself (each has its own digital scale): the second is clipped at half.
    assert row.outputs_clipped[0] == pytest.approx(0.25, abs=2e-3)
    row = report_of(hardware, [[1.0, 0.5]], EVEN, (1.0, [1.0, 1.0]))
    assert row.enob[0] == pytest.approx((sndr - 10 * np.log10(1.5)) / (20 * np.log10(2)), abs=0.02)
    _, output = ranges_of(hardware, [[1.0]], EVEN, method="error")
    assert output == pytest.approx(1.0, abs=0.03)  # even values: the largest range that clips nothing
    assert ranges_of(array(Differential(slices=BitSlices(widths=(2,))), dac=DAC(bits=3)).replace(adc=adc(bits=6)),
                     [[1.0]], [[1.0]], method="granular")[1] == pytest.approx(32 / 9)  # fmt: skip


def test_clipped_shares():
    """Even values, range 0.8 of them: a fifth is clipped, and int (|x| - 0.8)^2 = 0.2^3/3 is what it costs."""
    row = report_of(Hardware(adc=ADC(bits=12)), [[1.0]], EVEN, (1.0, 0.8))
    assert row.outputs_clipped[0] == pytest.approx(0.2, abs=1e-3)
    sndr = 10 * np.log10((1 / 3) / (0.2**3 / 3))
    assert row.enob[0] == pytest.approx((sndr - 10 * np.log10(1.5)) / (20 * np.log10(2)), abs=0.01)
    row = report_of(Hardware(adc=ADC(), dac=DAC()), [[1.0]], EVEN, (0.5, 1.0))
    assert row.inputs_clipped == pytest.approx(0.5, abs=1e-3)
    assert row.input_range == 0.5


def test_reports_print_a_table():
    layer = AnalogDense(3, hardware=preset("pcm"))
    x = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    variables = {"params": {"kernel": x[:4, :3], "bias": x[4, :3]}}
    text = str(range_report(layer, variables, x))
    assert "(the model itself)" in text
    assert "per example" in text
    calibrated = calibrate(layer, variables, x)
    text = str(range_report(layer, calibrated, x))
    assert f"{float(calibrated['ranges']['analog']['output']):.4g}" in text
    no_adc = range_report(AnalogDense(3, hardware=preset("int8")), variables, x)
    assert "no ADC" in str(no_adc)
    assert no_adc[0].output_range == ()


def test_large_samples_pass_in_parts(monkeypatch):
    """Batches of examples and chunks of lines give the same ranges as the whole."""
    model = AnalogConv(4, (3, 3), use_bias=False, hardware=Hardware(adc=ADC(bits=8), dac=DAC(bits=8), rows=10))
    rng = np.random.default_rng(0)
    x, kernel = (rng.normal(size=shape).astype(np.float32) for shape in ((9, 5, 5, 2), (3, 3, 2, 4)))
    variables = {"params": {"kernel": kernel}}
    whole = calibrate(model, variables, x, quantile=0.9)["ranges"]
    ranged = {**variables, "ranges": whole}
    first = range_report(model, ranged, x)
    dense, _, vectors = small_network()
    monkeypatch.setattr(adc_inputs, "_CHUNK", 1000)  # about two images, or 40 vectors
    parts = calibrate(model, variables, x, quantile=0.9, batch_size=5)["ranges"]
    chunks = calibrate(dense, calibrated_by_max(), vectors, method="max")["ranges"]
    for one, other in ((whole, parts), (calibrated_by_max()["ranges"], chunks)):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), one, other)
    (one,), (other,) = first, range_report(model, ranged, x, batch_size=5)
    np.testing.assert_allclose(one.enob, other.enob, rtol=1e-4)


def test_distributions_are_thinned_out_evenly(monkeypatch):
    monkeypatch.setattr(adc_inputs, "_SAMPLE", 20000)
    seen = MagnitudeSample()
    for part in np.array_split(np.random.default_rng(3).permutation(np.linspace(-1, 1, 200001)), 37):
        seen.add(part)
    assert seen.largest == 1.0
    assert 5000 < seen.values.size <= 20000
    # A quantile of n even values scatters by sqrt(q (1 - q)/n).
    for q in (0.5, 0.9):
        assert abs(np.quantile(seen.values, q) - q) < 4 * np.sqrt(q * (1 - q) / seen.values.size)


def test_batches_and_the_report_of_what_they_clip():
    model, variables, x = small_network()
    whole = calibrate(model, variables, x)
    batches, report = calibrate(model, variables, [jnp.asarray(x[:20]), x[20:45], x[45:]], report=True)
    jax.tree.map(np.testing.assert_array_equal, whole, batches)
    assert [row.layer for row in report] == ["Dense_0", "Dense_1"]
    assert report.clipping() == ()
    assert [row.inputs_clipped for row in range_report(model, whole, x)] == [row.inputs_clipped for row in report]
    with pytest.raises(
        InputError, match=r"x: batch 1 holds examples of shape \(\(3,\),\), the first batch of \(\(8,\),\)"
    ):
        calibrate(model, variables, [x, x[:, :3]])


def test_a_range_that_clips_everything_is_told_by_name():
    model, _, x = small_network()
    said = range_report(model, changed(calibrated_by_max(), input=1e-3, output=1e-5), x).clipping()
    assert len(said) == 2
    assert said[0].startswith("layer Dense_0: its input range 0.001 clips")
    assert said[1].startswith("layer Dense_0: its output range 1e-05 clips")


def test_input_ranges_may_stay():
    model, uncalibrated, x = small_network()
    before = calibrated_by_max()["ranges"]["Dense_0"]["analog"]
    half = float(before["input"]) / 2
    kept = calibrate(model, changed(calibrated_by_max(), input=half), x, method="max", keep_inputs=True)
    after = kept["ranges"]["Dense_0"]["analog"]
    assert float(after["input"]) == half
    # Codes that are twice as large fill twice as much of the lines, less what is clipped.
    assert 1.2 < float(after["output"]) / float(before["output"]) <= 2.0 + 1e-5
    with pytest.raises(InputError, match=r"keep_inputs = True: layer Dense_0 has no input range"):
        calibrate(model, uncalibrated, x, keep_inputs=True)


def test_adc_inputs_of_zero_are_converted_exactly():
    hardware = Hardware(adc=ADC(bits=8, range=1.0))
    assert report_of(hardware, np.zeros((4, 2)), np.ones((3, 4)), (1.0, 1.0)).enob == (np.inf,)
