"""The one signal path: range, DAC, store, noise, ADC, scale, sum. Worked by hand wherever a number can be."""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from analogsim import ADC, DAC, Hardware, InputError, preset
from analogsim.base import normal
from analogsim.devices import (
    PCM,
    Action,
    Crossbar,
    Description,
    Differential,
    DigitalMemory,
    Moments,
    OneColumnPerOutput,
    ReRAM,
    field,
)
from analogsim.layers.layer import needs_key
from analogsim.linen import AnalogConv
from analogsim.signal_path import Ranges, multiply, program
from analogsim.signal_path.driving import encode
from analogsim.signal_path.operators import Convolution, MatrixProduct
from analogsim.signal_path.tile_row import is_random

DAY_S = 86400.0


class Trembling(OneColumnPerOutput, Description):
    """The simplest store that is not ours: every weight trembles with one spread, detection adds one noise.

    Nothing is random when it is programmed, so the statistics of reading are known by hand.
    """

    tremble: float = field(default=0.0, ge=0, le=10, doc="spread of a weight from read to read")
    hiss: float | None = field(default=None, ge=0, le=10, optional=True, doc="spread of what detection adds")

    draws_at_program = False

    @property
    def detects_noise(self):
        return self.hiss is not None

    def program(self, key, weights):
        return weights

    def read(self, state, time_s, key=None):
        if key is None:
            return Moments(state, jnp.full_like(state, self.tremble**2))
        return Moments(state + self.tremble * normal(key, state.shape))

    def noise(self, x, y, state):
        return None if self.hiss is None else jnp.full_like(y, self.hiss)

    def cost(self, weights, read_fraction):
        return (Action("cell read", weights.size, "S"),)

    def n_cells(self, n_in, n_out):
        return n_in * n_out


@jax.jit
def run(hardware, weights, x, key=None, time_s=0.0, ranges=Ranges()):  # noqa: B008
    """One product on freshly programmed tiles."""
    operator = MatrixProduct((x.ndim - 1,), (0,), x.ndim, weights.shape)
    reading = program(hardware, weights, key).read(time_s)
    return multiply(hardware, reading.trained_by(weights, hardware.store), x, operator, key=key, ranges=ranges)


def draw(*shape, seed=20):
    """Normal numbers from NumPy, which compiles nothing."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def ones(*shape):
    return np.ones(shape, np.float32)


@pytest.fixture
def data():
    """Weights ``[12, 7]`` and inputs ``[5, 12]``."""
    return draw(12, 7), draw(5, 12, seed=21)


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
    # n inputs within +-1, 5 bits: step 1/15; y of ones has the spread sqrt(n) step/sqrt(12). One input is 1: no error.
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
    # The straight-through slope of the whole path is the matrix, for the largest input of an example as for the others.
    weights, x = data
    hardware = Hardware(dac=DAC(bits=8), adc=ADC(bits=8, range=100.0))
    slope = jax.jit(jax.grad(lambda a: run(hardware, weights, a).sum()))(x)
    np.testing.assert_allclose(slope, np.broadcast_to(weights.sum(1), x.shape), rtol=1e-4, atol=1e-5)


def test_the_largest_input_keeps_its_slope_however_its_range_is_rounded(data):
    # Compiled together with what computes it, an input may come out a last bit larger than the range taken from it.
    x = data[1]
    short = np.abs(x).max(axis=-1, keepdims=True) * np.float32(1 - 2**-22)
    slope = jax.grad(lambda a, clips: encode(preset("int8"), a, short, clips=clips).sum())
    own, calibrated = jax.jit(lambda a: (slope(a, False), slope(a, True)))(x)
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

    # Straight through: the slope is the input as the DAC drove it, steps of 10/127.
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
    # 3 bits on 3: codes are whole numbers. Column sums 1.4, 1.6, -0.4 of weights up to 1 -> 1, 2, 0.
    weights = np.float32([[1.0, 1.0, 1.0], [0.4, 0.6, -1.0], [0.0, 0.0, -0.4]])
    y = run(Hardware(adc=ADC(bits=3, range=3.0)), weights, ones(1, 3))
    np.testing.assert_allclose(y, [[1.0, 2.0, 0.0]], atol=1e-6)


@pytest.mark.parametrize("rows", [10, 1])
def test_converter_noise_has_the_spread_of_its_definition(key, rows):
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
def test_read_noise_has_the_spread_of_its_definition(key, rows):
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


FIELDS = [
    "store.cell.read_noise", "store.cell.programming_noise", "store.cell.drift", "store.cell.drift_reference_s",
    "store.cell.read_time_s", "store.cell.g_min", "store.cell.g_max", "adc.noise",
]  # fmt: skip


@functools.cache
def sensitivity():
    """Hardware with every kind of noise, and its mean squared output with the slope for each of its leaves."""
    key = jax.random.key(9)
    weights, x = draw(12, 7), draw(30, 12, seed=21)
    weights[0] = 0  # cells in RESET, where logarithms and powers are at their worst
    # 24 bits, so that the staircase is finer than the differences.
    hardware = Hardware(store=Crossbar(cell=PCM(g_min=5e-6, g_max=20e-6)), adc=ADC(bits=24, range=20.0, noise=0.3))
    loss = lambda h: (run(h, weights, x, key, DAY_S) ** 2).mean()  # noqa: E731
    return hardware, jax.jit(jax.value_and_grad(loss, allow_int=True))


@pytest.mark.parametrize("name", FIELDS)
def test_the_slope_with_respect_to_the_hardware_is_that_of_finite_differences(name):
    hardware, loss = sensitivity()
    leaf = lambda h: functools.reduce(getattr, name.split("."), h)  # noqa: E731
    # Conductances move cells across the cut at zero, a kink that a large step would smear.
    step, value = 0.005 if ".g_" in name else 0.05, leaf(hardware)
    up, down = (float(loss(hardware.replace(**{name: value * (1 + sign * step)}))[0]) for sign in (1, -1))
    by_jax = float(leaf(loss(hardware)[1])) * value
    # Float32 sums leave a few 1e-7 of the loss, divided by the step.
    assert by_jax == pytest.approx((up - down) / (2 * step), rel=0.02, abs=1e-6 * up / step)
    assert abs(by_jax) > 1e-4 * up


@pytest.mark.parametrize(
    "off", [None, "store.cell.programming_noise", "store.cell.read_noise", "store.cell.drift", "adc.noise"]
)
def test_every_leaf_of_the_hardware_has_a_finite_slope(off):
    # Also where a sweep over a noise level begins: at none.
    hardware, loss = sensitivity()
    slopes = loss(hardware.replace(**{off: 0.0} if off else {}, **{"store.cell.g_min": 0.0}))[1]
    for path, value in jax.tree_util.tree_leaves_with_path(slopes):
        if value.dtype != jax.dtypes.float0:
            assert np.isfinite(value), jax.tree_util.keystr(path)


def test_the_slope_of_converter_noise_by_hand():
    # E y^2 = signal^2 + (s scale range)^2 with scale 3 and range 2, so d/ds = 2 s x 36 x mean of xi^2.
    n, noise = 20_000, 0.5
    weights, x = 3 * ones(4, 1), np.float32([2, -2, 2, -2]) * ones(n, 1)

    def power(s):
        hardware = Hardware(adc=ADC(bits=24, range=100.0, noise=s))
        return (run(hardware, weights, x, jax.random.key(10)) ** 2).mean()

    slope = float(jax.jit(jax.grad(power))(noise))
    assert abs(slope / (2 * noise * 36) - 1) < 4 * math.sqrt(2 / n)


# --- convolutions ----------------------------------------------------------------------------------------------------

#: Input, window, strides, padding, input dilation, kernel dilation.
CONVOLUTIONS = {
    "1-D": ((2, 11, 3), (3,), (2,), "VALID", None, (2,)),
    "2-D": ((2, 7, 6, 3), (3, 3), (2, 2), "SAME", None, None),
    "2-D odd": ((1, 7, 5, 2), (2, 3), (3, 1), ((1, 2), (0, 1)), (1, 2), (1, 2)),
    "3-D": ((1, 4, 5, 3, 2), (2, 3, 2), (1, 2, 1), "SAME", None, None),
}


def convolution(case, n_out=4):
    """A case of ``CONVOLUTIONS`` as (operator, input, kernel), in the layout that Flax uses."""
    shape, window, strides, padding, input_dilation, kernel_dilation = CONVOLUTIONS[case]
    dims = len(window)
    spatial = "DHW"[-dims:]
    kernel_shape = (*window, shape[-1], n_out)
    layout = (f"N{spatial}C", f"{spatial}IO", f"N{spatial}C")
    numbers = lax.conv_dimension_numbers(shape, kernel_shape, layout)
    operator = Convolution(strides, padding, input_dilation, kernel_dilation, numbers, window, shape[-1])
    return operator, draw(*shape), draw(*kernel_shape, seed=21)


@functools.partial(jax.jit, static_argnames="operator")
def convolve(hardware, operator, x, kernel, key=None):
    reading = program(hardware, operator.matrix(kernel), key).read(0.0)
    return operator.outputs(multiply(hardware, reading, operator.inputs(x), operator, key=key))


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_a_convolution_on_ideal_hardware_is_the_convolution(case):
    operator, x, kernel = convolution(case)
    n_in = math.prod(kernel.shape[:-1])

    @jax.jit
    def outputs(x, kernel):
        exact = lax.conv_general_dilated(
            x, kernel, operator.strides, operator.padding, operator.input_dilation, operator.kernel_dilation,
            dimension_numbers=operator.dimension_numbers, precision=lax.Precision.HIGHEST,
        )  # fmt: skip
        return exact, [convolve(Hardware(rows=-(-n_in // tiles)), operator, x, kernel) for tiles in (1, 3)]

    exact, on_tiles = outputs(x, kernel)
    for tiles, y in zip((1, 3), on_tiles, strict=True):
        assert y.shape == exact.shape
        np.testing.assert_allclose(y, exact, atol=3e-5, err_msg=f"{tiles} tiles")
    assert operator.vectors(x) == math.prod(exact.shape[:-1])


@pytest.mark.parametrize("case", ["1-D", "2-D"])
def test_quantising_the_image_equals_quantising_its_patches(case):
    operator, x, kernel = convolution(case)
    n_in = math.prod(kernel.shape[:-1])
    whole, cut = (convolve(Hardware(rows=r, dac=DAC(bits=4)), operator, x, kernel) for r in (n_in, -(-n_in // 2)))
    np.testing.assert_allclose(whole, cut, atol=3e-5)
    # Against patches quantised one by one in numpy: 4 bits, seven steps to the largest value of each image.
    largest = np.abs(x).max(axis=tuple(range(1, x.ndim)), keepdims=True)
    codes = np.float32(np.round(np.asarray(x / largest, np.float64) * 7) / 7 * largest)
    np.testing.assert_allclose(whole, jax.jit(operator.digital)(codes, kernel, None), atol=3e-5)


def test_the_range_of_an_image_is_its_own():
    operator, x, kernel = convolution("2-D")
    hardware = Hardware(dac=DAC(bits=4), adc=ADC(bits=8, range=6.0))
    louder = x * np.float32([1, 1000]).reshape(2, 1, 1, 1)
    loud, quiet = (np.asarray(convolve(hardware, operator, images, kernel)) for images in (louder, x))
    np.testing.assert_array_equal(loud[0], quiet[0])


def test_noise_of_detection_does_not_change_what_is_detected():
    # Detection needs the input vectors, so the image is unfolded into patches, which must be the same convolution.
    operator, x, kernel = convolution("2-D")
    silent = Hardware(store=Trembling(hiss=0.0), dac=DAC(bits=4))
    y = convolve(silent, operator, x, kernel, jax.random.key(12))
    np.testing.assert_allclose(y, convolve(Hardware(dac=DAC(bits=4)), operator, x, kernel), atol=3e-5)


@pytest.mark.parametrize("rows", [6, 3])
def test_read_noise_of_a_convolution_is_that_of_its_patches(rows):
    # A window of two on three channels and inputs of 2, -1, 1: a patch has the squared length 12, so cells that tremble
    # by 0.04 of a weight of 1.5 give y the spread 0.04 x 1.5 x sqrt(12).
    n = 4001
    numbers = lax.conv_dimension_numbers((1, n, 3), (2, 3, 5), ("NWC", "WIO", "NWC"))
    operator = Convolution((1,), "VALID", None, None, numbers, (2,), 3)
    x = np.float32([2, -1, 1]) * ones(1, n, 1)
    hardware = Hardware(store=Trembling(tremble=0.04), rows=rows)
    y = np.asarray(convolve(hardware, operator, x, 1.5 * ones(2, 3, 5), jax.random.key(12)), np.float64)
    std = 0.04 * 1.5 * math.sqrt(12)
    assert y.shape == (1, n - 1, 5)
    assert abs(y.mean() - 2 * 2 * 1.5) < 4 * std / math.sqrt(y.size)
    assert abs(y.std() / std - 1) < 4 / math.sqrt(2 * y.size)
    # Neighbouring positions share inputs but not reads.
    assert abs(np.corrcoef(y[0, :-1, 0], y[0, 1:, 0])[0, 1]) < 4 / math.sqrt(n)


def test_flax_convolutions_pass_what_the_operator_expects():
    def outputs(padding, variables, x):
        options = dict(padding=padding, strides=(2, 1), kernel_dilation=(1, 2), use_bias=False)
        analog = AnalogConv(4, (3, 3), hardware=Hardware(rows=10), **options)
        return analog.apply(variables, x), nn.Conv(4, (3, 3), **options).apply(variables, x)

    paddings = ("SAME", "VALID", "CIRCULAR", 1)
    every = jax.jit(lambda variables, x: [outputs(padding, variables, x) for padding in paddings])
    pairs = every({"params": {"kernel": draw(3, 3, 3, 4)}}, draw(2, 6, 6, 3, seed=21))
    for padding, (analog, digital) in zip(paddings, pairs, strict=True):
        np.testing.assert_allclose(analog, digital, atol=2e-5, err_msg=f"padding {padding}")


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
