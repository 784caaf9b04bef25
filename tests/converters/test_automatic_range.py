"""The range of ADCs that are given none: from the weights of the tiles, near enough to the best for every mapping."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analogsim import ADC, DAC, Hardware, calibrate, preset, program, range_report
from analogsim.converters import PipelineADC
from analogsim.converters.ranges import full_scale_of
from analogsim.devices import BitSlices, Crossbar, Differential, GenericCell, Offset
from analogsim.linen import AnalogDense
from analogsim.signal_path import Ranges, multiply
from analogsim.signal_path import program as program_tiles
from analogsim.signal_path.lookup import lookup
from analogsim.signal_path.operators import Lookup, MatrixProduct
from analogsim.signal_path.programmed import ideal_columns
from analogsim.training import AdditiveNoise

KEY = jax.random.key(0)
MAPPINGS = {
    "pair": Differential(),
    "digital difference": Differential(subtraction="digital"),
    "offset": Offset(),
    "unit column": Offset(subtraction="unit column"),
    "slices": Differential(slices=BitSlices(widths=(2, 2, 3))),
}


def by_hand(lines):
    """The rule, line by line, in float64."""
    found = []
    for tile in np.asarray(lines, np.float64).reshape(-1, *lines.shape[-2:]):
        for line in tile.T:
            likely = max(2 * np.sqrt(line @ line), abs(line.sum()) / 2 + np.sqrt(line @ line))
            found.append(min(np.abs(line).sum(), likely))
    return max(found)


@pytest.mark.parametrize(
    ("line", "range_"),
    [
        ([1.0, -1.0], 2.0),  # all that two cells hold
        (np.ones(100), 60.0),  # half of them in the mean, and 10 of spread
        (np.full(100, 0.5), 30.0),  # cells of an offset at a weight of zero
        (np.tile([1.0, -1.0], 50), 20.0),  # twice the norm
        (np.zeros(3), 1.0),
    ],
)
def test_lines_by_hand(line, range_):
    found = full_scale_of(np.float32(line)[:, None])
    assert float(found) == pytest.approx(range_, rel=1e-6)


def test_it_is_what_evenly_spread_codes_need():
    # 3.5 standard deviations (2 sqrt(3) = 3.46), for codes about zero and for those behind a rectifier.
    rng = np.random.default_rng(0)
    lines = rng.uniform(-1, 1, (400, 1))
    constant = lines / 2 + 0.5
    for line, codes in ((lines, rng.uniform(-1, 1, (4000, 400))), (constant, rng.uniform(0, 1, (4000, 400)))):
        y = (codes @ line).ravel()
        # A spread from 4000 values is known to 1.1 %.
        assert by_hand(line) == pytest.approx(y.mean() + 2 * np.sqrt(3) * y.std(), rel=0.05)


@pytest.mark.parametrize("n_in", [2, 16, 128, 512])
@pytest.mark.parametrize("name", MAPPINGS)
def test_it_is_near_the_best_range(name, n_in):
    # A converter of 8 bits in NumPy, on what the lines carry, for normal and uniform weights and inputs: the error is
    # at most 3 times the least that any one range has, where 10 cells are hundreds of times off. Signed inputs of lines
    # with a constant part would do with a fraction of the range that all-positive ones need.
    rng = np.random.default_rng(n_in)
    hardware = Hardware(store=Crossbar(cell=GenericCell(), mapping=MAPPINGS[name]))
    for kind in ("normal", "uniform"):
        draw = rng.normal if kind == "normal" else (lambda size: rng.uniform(-1, 1, size))
        lines = np.asarray(LINES(hardware, np.float32(draw(size=(n_in, 16)))))[0, 0].astype(np.float64)
        own = by_hand(lines)
        for signed in (True, False):
            x = draw(size=(200, n_in))
            x = x if signed else np.abs(x)
            y = (x / np.abs(x).max(1, keepdims=True)) @ lines

            def error(bound, y=y):
                step = bound / 127
                return np.sqrt(np.mean((np.round(np.clip(y, -bound, bound) / step) * step - y) ** 2))

            best = min(error(bound) for bound in np.geomspace(0.2, 600, 60))
            constant = name in ("offset", "unit column", "digital difference")
            assert error(own) < (16 if constant and signed else 3.0) * best, (kind, signed, own)


LINES = jax.jit(ideal_columns)


@jax.jit
def run(hardware, kernel, x, ranges=Ranges(), time_s=0.0):  # noqa: B008
    operator = MatrixProduct((1,), (0,), 2, kernel.shape)
    held = program_tiles(hardware, kernel, KEY).read(time_s)
    return multiply(hardware, held, x, operator, key=KEY, ranges=ranges), held.full_scale


RNG = np.random.default_rng(5)
KERNEL, X = RNG.normal(size=(24, 6)).astype(np.float32), RNG.normal(size=(9, 24)).astype(np.float32)


@pytest.mark.parametrize("adc", [ADC(), PipelineADC(bits=8)], ids=str)
def test_a_layer_without_ranges_takes_it(adc):
    hardware = Hardware(rows=8, columns=3, dac=DAC(), adc=adc, store=Crossbar(cell=GenericCell(), mapping=Offset()))
    y, found = run(hardware, KERNEL, X)
    expected = by_hand(np.asarray(LINES(hardware, KERNEL)))
    assert float(found) == pytest.approx(expected, rel=1e-6)
    given, none = run(hardware.replace(**{"adc.range": float(found)}), KERNEL, X)
    assert none is None  # an explicit number stays, and nothing is computed
    np.testing.assert_allclose(y, given, atol=1e-6)
    calibrated, _ = run(hardware, KERNEL, X, Ranges(None, jnp.float32(2.0)))
    explicit, _ = run(hardware.replace(**{"adc.range": 2.0}), KERNEL, X)
    np.testing.assert_allclose(calibrated, explicit, atol=1e-6)


def test_it_stays_as_cells_drift():
    hardware = preset("pcm")
    fresh, old = (float(run(hardware, KERNEL, X, time_s=t)[1]) for t in (0.0, 3e7))
    assert fresh == old == pytest.approx(by_hand(np.asarray(LINES(hardware, KERNEL))), rel=1e-6)


def test_two_inputs_and_an_offset_are_read_well():
    # 8 bits, as good as calibrated: two inputs lose step/sqrt(12) of 2/127; 128 rectified inputs of an offset no more
    # than a seventh of the signal, not 12 times it.
    x, kernel = np.abs(RNG.normal(size=(500, 128))).astype(np.float32), RNG.normal(size=(128, 8)).astype(np.float32)
    y, _ = run(Hardware(dac=DAC(), adc=ADC()), kernel[:2], x[:, :2])
    exact = x[:, :2] @ kernel[:2]
    assert np.sqrt(np.mean((y - exact) ** 2) / np.mean(exact**2)) < 0.012
    y, _ = run(Hardware(dac=DAC(), adc=ADC(), store=Crossbar(cell=GenericCell(), mapping=Offset())), kernel, x)
    exact = x @ kernel
    assert np.sqrt(np.mean((y - exact) ** 2) / np.mean(exact**2)) < 0.16


def test_a_table_is_read_at_the_range_of_one_cell():
    @jax.jit
    def read(hardware):
        held = program_tiles(hardware, KERNEL, KEY).read(0.0)
        return lookup(hardware, held, np.arange(24), Lookup(24), key=KEY, dtype=jnp.float32)

    hardware = Hardware(adc=ADC(bits=8), store=Crossbar(cell=GenericCell(), mapping=Offset()))
    # One cell of an offset carries at most 1, and counts twice.
    np.testing.assert_allclose(read(hardware), read(hardware.replace(**{"adc.range": 1.0})), atol=1e-6)
    step = 2 * np.abs(KERNEL).max(0) / 127
    assert (np.abs(np.asarray(read(hardware)) - KERNEL) < 0.51 * step).all()


def test_training_report_and_chips_agree():
    kernel = {"params": {"kernel": KERNEL}}
    hardware = Hardware(rows=8, dac=DAC(), adc=ADC(), store=Crossbar(cell=GenericCell()))
    expected = by_hand(np.asarray(LINES(hardware, KERNEL)))
    layer = AnalogDense(6, use_bias=False, hardware=hardware)
    chip = program(layer, kernel, KEY, X)
    assert float(chip.readings["analog"]["array"].reading.full_scale) == pytest.approx(expected, rel=1e-6)
    assert range_report(layer, kernel, X)[0].output_range == pytest.approx((expected,), rel=1e-6)
    modified = AdditiveNoise(std=0.1).reading(hardware, jnp.asarray(KERNEL), KEY, None, None)
    assert float(modified.full_scale) == pytest.approx(expected, rel=1e-6)
    found = calibrate(layer, kernel, X)
    assert range_report(layer, found, X)[0].output_range == (float(found["ranges"]["analog"]["output"]),)


def test_calibrated_layers_pay_nothing_for_it():
    def size(adc):
        layer = AnalogDense(6, use_bias=False, hardware=Hardware(dac=DAC(), adc=adc))
        ranges = {"analog": {"input": np.float32(1), "output": np.float32(2)}}
        compiled = jax.jit(layer.apply).lower({"params": {"kernel": KERNEL}, "ranges": ranges}, X).compile()
        return compiled.as_text().count(" = ")

    assert size(ADC()) == size(ADC(range=10.0))
