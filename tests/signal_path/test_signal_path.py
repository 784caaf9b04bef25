"""The one signal path: range, DAC, store, noise, ADC, scale, sum. Worked by hand wherever a number can be."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from analogsim import ADC, DAC, Hardware, InputError, preset
from analogsim.devices import (
    PCM,
    Crossbar,
    Differential,
    DigitalMemory,
    ReRAM,
)
from analogsim.layers.layer import needs_key
from analogsim.signal_path import Ranges, multiply, program
from analogsim.signal_path.driving import encode
from analogsim.signal_path.operators import MatrixProduct
from analogsim.signal_path.tile_row import is_random
from tests.support.signal_path import Trembling, draw, ones, run

DAY_S = 86400.0


# --- ideal hardware --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scaling", ["column", "tile"])
def test_ideal_hardware_is_exact_however_it_is_cut(data, scaling):
    weights, x = data
    exact = np.asarray(x, np.float64) @ np.asarray(weights, np.float64)
    sizes = [(12, 7), (5, 7), (12, 3), (4, 2), (1, 1)]
    cuts = [Hardware(rows=rows, columns=columns, scaling=scaling) for rows, columns in sizes]
    outputs = jax.jit(lambda cuts: [run(hardware, weights, x) for hardware in cuts])(cuts)
    for size, y in zip(sizes, outputs, strict=True):
        assert y.shape == (5, 7)
        np.testing.assert_allclose(y, exact, atol=12 * 4e-7 * np.abs(exact).max(), err_msg=f"tiles of {size}")


def test_noiseless_cells_are_exact_too(data, key):
    weights, x = data
    store = Crossbar(cell=ReRAM(programming_noise=0.0, g_min="1 uS"), mapping=Differential(sides=2))
    exact = x.astype(np.float64) @ weights
    np.testing.assert_allclose(run(Hardware(store=store, rows=5), weights, x, key, DAY_S), exact, atol=2e-5)


def test_inputs_of_any_rank_pass(data):
    weights, x = data
    deep, flat, one = (np.asarray(run(preset("int8"), weights, inputs)) for inputs in (x.reshape(5, 1, 1, 12), x, x[0]))
    assert deep.shape == (5, 1, 1, 7)
    np.testing.assert_allclose(deep[:, 0, 0], flat, rtol=1e-6)
    np.testing.assert_allclose(one, flat[0], rtol=1e-6)


def test_any_axes_may_be_contracted():
    # [2, 3, 4] with a kernel [4, 3, 5, 2] over (3, 4): the matrix has rows (3, 4) in the order they are named.
    x, kernel = draw(2, 3, 4), draw(4, 3, 5, 2, seed=21)
    operator = MatrixProduct((1, 2), (1, 0), 3, kernel.shape)

    @jax.jit
    def products(x, kernel):
        hardware = Hardware()
        reading = program(hardware, operator.matrix(kernel), None).read(0.0)
        inputs = operator.inputs(x)
        assert operator.vectors(inputs) == 2
        y = operator.outputs(multiply(hardware, reading, inputs, operator, key=None))
        return y, operator.digital(x, kernel, None)

    for y in products(x, kernel):
        np.testing.assert_allclose(y, np.einsum("bij,jiop->bop", x, kernel), atol=1e-5)


# --- input range and DAC ---------------------------------------------------------------------------------------------


def test_the_dac_rounds_by_hand():
    # 3 bits: codes k/3. x/2 = 1, 0.35, -0.6, 0.1 -> 1, 1/3, -2/3, 0. Times 2 and summed with 1, 2, 4, 8:
    # 2 (1 + 2/3 - 8/3) = -2.
    y = run(Hardware(dac=DAC(bits=3)), np.float32([[1], [2], [4], [8]]), np.float32([[2.0, 0.7, -1.2, 0.2]]))
    np.testing.assert_allclose(y, [[-2.0]], rtol=1e-6)


def test_the_rounding_error_of_an_output_is_that_of_theory():
    # n inputs within +-1, 5 bits: step 1/15; y of ones has the standard deviation sqrt(n) step/sqrt(12). One input
    # is 1, without error.
    n, vectors = 65, 20_000
    x = np.random.default_rng(20).uniform(-1, 1, (vectors, n)).astype(np.float32)
    x[:, 0] = 1
    error = np.asarray(run(Hardware(dac=DAC(bits=5)), ones(n, 1), x)) - x.sum(1, keepdims=True)
    std = math.sqrt(64) / 15 / math.sqrt(12)
    assert abs(error.mean()) < 4 * std / math.sqrt(vectors)
    assert abs(error.std() / std - 1) < 4 / math.sqrt(2 * vectors)


@pytest.mark.parametrize("hardware", [preset("int8"), Hardware(dac=DAC(bits=4), adc=ADC(bits=6, range=3.0))])
def test_the_range_of_an_example_is_its_own(data, hardware):
    weights, x = data
    # A sixth example that is silent, that is loud, and one that is alone among silent ones: one program for all.
    batches = np.append(x, 0 * x[:1], 0), np.append(x, 1e4 * x[:1], 0), np.append(0 * x, x[2:3], 0)
    together, loud, alone = (np.asarray(run(hardware, weights, batch)) for batch in batches)
    np.testing.assert_array_equal(together[:5], loud[:5])
    np.testing.assert_allclose(together[2], alone[5], rtol=1e-6)
    np.testing.assert_allclose(loud[5], 1e4 * together[0], rtol=1e-5)  # and it scales with the example


def test_silence_is_silent(data):
    weights, _ = data
    np.testing.assert_array_equal(run(preset("int8"), weights, np.zeros((5, 12), np.float32)), np.zeros((5, 7)))


def test_calibrated_ranges_are_used():
    weights, x = ones(4, 1), np.float32([[3.0, -0.5, 0.2, 0.0]])
    hardware = Hardware(dac=DAC(bits=16), adc=ADC(bits=16, range=5.0))
    np.testing.assert_allclose(run(hardware, weights, x), [[2.7]], rtol=1e-3)
    # The input range of 1 clips 3 to 1: 1 - 0.5 + 0.2.
    np.testing.assert_allclose(run(hardware, weights, x, ranges=Ranges(1.0, None)), [[0.7]], rtol=1e-3)
    # In units of the input range the sum is 0.7; an output range of 0.4 clips it.
    np.testing.assert_allclose(run(hardware, weights, x, ranges=Ranges(1.0, 0.4)), [[0.4]], rtol=1e-6)
    # An input range of 2 clips 3 to 2: (2 - 0.5 + 0.2)/2 = 0.85, clipped at 0.4, times 2.
    np.testing.assert_allclose(run(hardware, weights, x, ranges=Ranges(2.0, 0.4)), [[0.8]], rtol=1e-6)


def test_gradients_reach_every_input_whole(data):
    # The straight-through gradient of the whole path is the matrix, for the largest input of an example, too.
    weights, x = data
    hardware = Hardware(dac=DAC(bits=8), adc=ADC(bits=8, range=100.0))
    gradient = jax.jit(jax.grad(lambda a: run(hardware, weights, a).sum()))(x)
    np.testing.assert_allclose(gradient, np.broadcast_to(weights.sum(1), x.shape), rtol=1e-4, atol=1e-5)


def test_the_largest_input_keeps_its_gradient_however_its_range_is_rounded(data):
    # Compiled together with what computes it, an input may come out a last bit larger than the range taken from it.
    x = data[1]
    short = np.abs(x).max(axis=-1, keepdims=True) * np.float32(1 - 2**-22)
    gradient = jax.grad(lambda a, clips: encode(preset("int8"), a, short, clips=clips).sum())
    own, calibrated = jax.jit(lambda a: (gradient(a, False), gradient(a, True)))(x)
    np.testing.assert_allclose(own, np.broadcast_to(1 / short, x.shape), rtol=1e-6)
    np.testing.assert_array_equal(calibrated == 0, np.abs(x) > short)


def test_gradients_reach_the_weights(data):
    weights, x = data
    operator = MatrixProduct((1,), (0,), 2, weights.shape)

    def loss(w):
        hardware = preset("pcm", rows=4)
        reading = program(hardware, w, jax.random.key(3)).read(DAY_S).trained_by(w, hardware.store)
        y = multiply(hardware, reading, x, operator, key=jax.random.key(4), ranges=Ranges(10.0, 100.0))
        return y.sum()

    # Straight through: the gradient is the input as the DAC drove it, steps of 10/127.
    expected = np.broadcast_to(np.round(np.asarray(x) * 12.7).sum(0)[:, None] / 12.7, weights.shape)
    np.testing.assert_allclose(jax.jit(jax.grad(loss))(weights), expected, rtol=1e-4, atol=1e-4)


# --- ADC -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "expected"), [(10, 4.0), (5, 8.0), (2, 10.0)])
def test_every_tile_clips_at_the_range(rows, expected):
    # Ten fully driven cells on a range of four: one tile passes 4, two tiles of five 4 each, five tiles of two all.
    hardware = Hardware(rows=rows, adc=ADC(bits=12, range=4.0))
    np.testing.assert_allclose(run(hardware, ones(10, 1), ones(1, 10)), [[expected]], rtol=1e-3)


def test_range_and_scales_multiply_back():
    # Weights of 3, inputs of 2: ten cells are fully driven again; the range of 4 passes 4 x 3 x 2.
    hardware = Hardware(adc=ADC(bits=12, range=4.0))
    y = run(hardware, np.float32([[3, -3]] * 10), 2 * ones(1, 10))
    np.testing.assert_allclose(y, [[24.0, -24.0]], rtol=1e-6)


def test_the_adc_rounds_by_hand():
    # 3 bits on 3: codes are integers. Column sums 1.4, 1.6, -0.4 of weights up to 1 -> 1, 2, 0.
    weights = np.float32([[1.0, 1.0, 1.0], [0.4, 0.6, -1.0], [0.0, 0.0, -0.4]])
    y = run(Hardware(adc=ADC(bits=3, range=3.0)), weights, ones(1, 3))
    np.testing.assert_allclose(y, [[1.0, 2.0, 0.0]], atol=1e-6)


@pytest.mark.parametrize("rows", [10, 1])
def test_converter_noise_has_the_standard_deviation_of_its_definition(key, rows):
    # Noise s a conversion, weights up to 3, inputs up to 2, R tiles: s x 3 x 2 x sqrt(R).
    n, noise = 20_000, 0.25
    hardware = Hardware(rows=rows, adc=ADC(bits=16, range=20.0, noise=noise))
    y = np.asarray(run(hardware, np.float32([[3, 1, -3]] * 10), 2 * ones(n, 10), key), np.float64)
    std = noise * np.array([3.0, 1.0, 3.0]) * 2 * math.sqrt(10 / rows)
    assert np.all(np.abs(y.mean(0) - [60, 20, -60]) < 4 * std / math.sqrt(n))
    assert np.all(np.abs(y.std(0) / std - 1) < 4 / math.sqrt(2 * n))
    assert np.abs(np.corrcoef(y.T) - np.eye(3)).max() < 4 / math.sqrt(n)
    assert abs(np.corrcoef(y[:-1, 0], y[1:, 0])[0, 1]) < 4 / math.sqrt(n)


@pytest.mark.parametrize("rows", [4, 2])
def test_read_noise_has_the_standard_deviation_of_its_definition(key, rows):
    # Inputs 1, 2, -2, 4 (squared length 25) on weights up to 3 that tremble by 0.05 of it: 0.05 x 3 x 5, on any tiles.
    n = 20_000
    x = np.float32([1, 2, -2, 4]) * ones(n, 1)
    weights = np.float32([[3], [1], [-3], [3]])
    y = np.asarray(run(Hardware(store=Trembling(tremble=0.05), rows=rows), weights, x, key), np.float64)
    assert abs(y.mean() - 23) < 4 * 0.75 / math.sqrt(n)
    assert abs(y.std() / 0.75 - 1) < 4 / math.sqrt(2 * n)


def test_noise_of_detection_is_added(key):
    # What the store's own noise() promises: 0.3 a tile in normalised units, with weights of 2 on two tiles.
    n = 20_000
    store = Trembling(tremble=0.0, hiss=0.3)
    y = np.asarray(run(Hardware(store=store, rows=2), 2 * ones(4, 1), ones(n, 4), key), np.float64)
    std = 0.3 * 2 * math.sqrt(2)
    assert abs(y.mean() - 8) < 4 * std / math.sqrt(n)
    assert abs(y.std() / std - 1) < 4 / math.sqrt(2 * n)


def test_converter_and_read_noise_add_in_variance(key):
    # w = 0.5 of a column whose largest is 1; G+ = 12.5 uS reads with 0.72216373 uS at t = 0 (tests/devices). Two such
    # cells and the full one, 0.92044146 uS, driven with 0.8: variance 0.64 (2 x 0.72216373^2 + 0.92044146^2)/25^2.
    n = 50_000
    cell = PCM(programming_noise=0.0, reading_s=1e6)  # a reading of many days: all its noise is fast
    hardware = Hardware(store=Crossbar(cell=cell), adc=ADC(bits=20, range=10.0, noise=0.03))
    x = np.float32(0.8) * ones(n, 3)
    y = np.asarray(run(hardware, np.float32([[0.5], [0.5], [1.0]]), x, key, ranges=Ranges(1.0, None)), np.float64)
    std = math.sqrt(0.64 * (2 * 0.72216373**2 + 0.92044146**2) / 625 + 0.03**2)
    assert abs(y.mean() - 1.6) < 4 * std / math.sqrt(n)
    assert abs(y.std() / std - 1) < 4 / math.sqrt(2 * n)


def test_noise_that_is_drawn_needs_a_key(data, key):
    weights, x = data
    noisy, quiet = preset("ideal", adc=ADC(noise=0.1)), preset("ideal", adc=ADC())
    assert needs_key(noisy)
    assert needs_key(preset("pcm"))
    assert not needs_key(quiet)
    assert not needs_key(preset("int8"))
    assert is_random(noisy, program(noisy, weights, None).read(0.0))
    with pytest.raises(InputError, match="has read or converter noise and needs a random key"):
        run(noisy, weights, x)
    # ReRAM is random when it is programmed, not when it is read.
    reram = preset("reram", **{"adc.noise": None})
    assert not is_random(reram, program(reram, weights, key).read(0.0))


# --- dtypes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hardware", "dtype"),
    [
        (preset("int8"), jnp.float16),
        (Hardware(store=Trembling(tremble=0.1), rows=5, dac=DAC(), adc=ADC(noise=0.04)), jnp.bfloat16),
    ],
)
def test_the_output_has_the_dtype_of_the_input(data, key, hardware, dtype):
    weights, x = (a.astype(dtype) for a in data)
    y = run(hardware, weights, x, key)
    assert y.dtype == dtype
    wide = run(hardware, weights.astype(np.float32), x.astype(np.float32), key)
    assert wide.dtype == jnp.float32
    # Sums are carried in float32: the half-precision result is the float32 result of the same numbers, rounded once.
    # Two programs may sum in another order: a number beside a tie may go to either neighbour.
    eps = float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(np.float32(y), np.float32(wide), rtol=0.5 * eps + 1e-5, atol=1e-6)


def test_float64_keeps_its_precision(data):
    with jax.enable_x64(True):
        weights, x = (a.astype(np.float64) for a in data)
        y = run(Hardware(rows=5, scaling="tile"), weights, x)
        assert y.dtype == jnp.float64
        np.testing.assert_allclose(y, x @ weights, rtol=0, atol=1e-13)


def test_float32_results_do_not_depend_on_x64(data, key):
    weights, x = data
    hardware = Hardware(store=Trembling(tremble=0.1), dac=DAC(), adc=ADC(bits=24, noise=0.04))
    narrow = run(hardware, weights, x, key, DAY_S)
    with jax.enable_x64(True):
        wide = run(hardware, weights, x, key, DAY_S)
        assert wide.dtype == jnp.float32
    np.testing.assert_allclose(narrow, wide, rtol=1e-5, atol=1e-5)


# --- keys ------------------------------------------------------------------------------------------------------------

#: Random reads and conversions, and 24 bits: a difference in rounding is not blown up to a whole code.
FINE = Hardware(store=Trembling(tremble=0.1), rows=5, adc=ADC(bits=24, range=20.0, noise=0.04))


def test_one_key_one_result_under_jit_vmap_and_scan(data):
    weights, x = data
    keys = jax.random.split(jax.random.key(8), 3)
    one = np.stack([run(FINE, weights, x, k, DAY_S) for k in keys])
    how = {
        "jit of vmap": jax.jit(jax.vmap(lambda k: run(FINE, weights, x, k, DAY_S)))(keys),
        "scan": lax.scan(lambda c, k: (c, run(FINE, weights, x, k, DAY_S)), 0, keys)[1],
    }
    for name, y in how.items():
        np.testing.assert_allclose(y, one, rtol=1e-5, atol=2e-5, err_msg=name)
    assert np.abs(one[0] - one[1]).max() > 0.01


def test_switching_one_noise_off_leaves_the_others(data, key):
    # Every source has its own stream: the cells of a chip are the same whether or not its reads are noisy.
    weights, _ = data
    loud = program(preset("pcm"), weights, key).state.cells
    quiet = program(preset("pcm", **{"store.cell.read_noise": 0.0, "store.cell.drift": 0.0}), weights, key).state.cells
    np.testing.assert_array_equal(loud.conductance, quiet.conductance)
    assert np.abs(quiet.read_noise).max() == np.abs(quiet.drift_exponent).max() == 0.0
    exact = program(preset("pcm", **{"store.cell.programming_noise": 0.0}), weights, key).state.cells
    high = np.asarray(exact.conductance) > 12e-6  # where the exponent's law is flat, it shows the draw alone
    exponents = (np.asarray(cells.drift_exponent)[high] for cells in (exact, loud))
    np.testing.assert_allclose(*exponents, rtol=0.05)


# --- sweeps and sensitivities ----------------------------------------------------------------------------------------


def test_a_sweep_over_noise_levels_is_one_compilation(data, key):
    weights, x = data
    traces = []

    @jax.jit
    def output(hardware):
        traces.append(hardware)
        return run(hardware, weights, x, key, DAY_S)

    for level in (0.0, 0.5, 1, 2.0):
        changes = {"store.cell.read_noise": level, "store.cell.programming_noise": level, "adc.noise": 0.01 * level}
        changes |= {"training.time_s": level, "adc.bits": 8 - round(level), "dac.bits": 6}
        output(preset("pcm", **changes))
    assert len(traces) == 1


def test_a_sweep_under_vmap_equals_a_loop(data, key):
    weights, x = data
    levels = np.float32([0.0, 0.5, 2.0])

    @jax.jit
    def output(level):
        return run(FINE.replace(**{"store.tremble": level, "adc.noise": level}), weights, x, key)

    swept = np.asarray(jax.jit(jax.vmap(output))(levels))
    for level, y in zip(levels, swept, strict=True):
        np.testing.assert_allclose(y, output(level), rtol=1e-5, atol=2e-5)


# --- whole path ------------------------------------------------------------------------------------------------------


def test_the_whole_path_against_numpy(data):
    """Range, DAC, 6-bit weights on tiles, ADC, scale, sum: a second implementation, code for code."""
    weights, x = (np.asarray(a, np.float64) for a in data)
    hardware = Hardware(store=DigitalMemory(bits=6), rows=4, dac=DAC(bits=5), adc=ADC(bits=7, range=2.5))
    largest = np.abs(x).max(axis=1, keepdims=True)
    codes = np.round(x / largest * 15) / 15
    expected = np.zeros((5, 7))
    for tile in range(3):
        part = weights[4 * tile : 4 * tile + 4]
        scale = np.abs(part).max(axis=0)
        held = np.round(part / scale * 31) / 31
        analog = codes[:, 4 * tile : 4 * tile + 4] @ held
        expected += np.round(np.clip(analog, -2.5, 2.5) / 2.5 * 63) / 63 * 2.5 * scale
    y = np.asarray(run(hardware, *data))
    # A sum within rounding of a tie may fall to either code: one step of one tile.
    off = np.abs(y - expected * largest)
    assert np.mean(off > 1e-5) < 0.05
    assert off.max() < 2.5 / 63 * np.abs(weights).max() * largest.max() * 1.01
