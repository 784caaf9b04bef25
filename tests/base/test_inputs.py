"""Input codes as amplitudes, pulse widths and slices of bits; worked by hand and against plain NumPy."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import analogsim
from analogsim import ADC, DAC, Hardware, InputError
from analogsim.converters import BitSerialDAC, PulseWidthDAC
from analogsim.devices import BitSlices, Crossbar, Differential, DigitalMemory, GenericCell, Offset
from analogsim.linen import AnalogDense
from analogsim.signal_path import multiply, program
from analogsim.signal_path.operators import MatrixProduct
from analogsim.training import scaled_noise
from tests.support.sampling import assert_moments

OPERATOR = MatrixProduct((1,), (0,), 2, (6, 3))
NOISY = GenericCell(g_min=5e-6, read_noise=0.02)


def case():
    rng = np.random.default_rng(1)
    weights, x = rng.normal(size=(6, 3)), np.round(rng.uniform(-1, 1, (4, 6)) * 63) / 63
    x[:, 0] = 1  # so that the range of every example is 1
    return np.float32(weights), np.float32(x)


def run(hardware):
    return product(hardware, *case(), jax.random.key(3))


@jax.jit
def product(hardware, weights, inputs, key):
    reading = program(hardware, weights, key).read(0.0, read_noise=False)
    return multiply(hardware, reading, inputs, OPERATOR, key=None)


# --- slices -----------------------------------------------------------------------------------------------------------


#: What is driven in each step and what it counts, as one compiled program.
steps = jax.jit(lambda dac, codes: dac.steps(codes))


def test_slices_by_hand():
    # 7 bits: 6 magnitude bits, 63 levels. 45 = 1011|01 with 4 bits at a time: digits 13 and 2, full scales 15 and 15.
    parts, factors = steps(BitSerialDAC(bits=7, slice_bits=4), np.float32([45 / 63, -45 / 63]))
    np.testing.assert_allclose(parts, [[13 / 15, -13 / 15], [2 / 15, -2 / 15]], rtol=1e-6)
    np.testing.assert_allclose(factors, [15 / 63, 15 * 16 / 63], rtol=1e-6)


@pytest.mark.parametrize(("bits", "slice_bits", "reads"), [(8, 1, 7), (8, 2, 4), (8, 7, 1), (9, 3, 3), (2, 1, 1)])
def test_slices_add_up_to_every_code(bits, slice_bits, reads):
    top = 2 ** (bits - 1) - 1
    codes = np.float32(np.arange(-top, top + 1) / top)
    dac = BitSerialDAC(bits=bits, slice_bits=slice_bits)
    parts, factors = steps(dac, codes)
    assert len(parts) == len(factors) == dac.reads == reads
    parts, factors = np.asarray(parts), np.asarray(factors, np.float64)
    np.testing.assert_allclose(factors @ parts, codes, atol=1e-6)
    assert np.abs(parts).max() <= 1 + 1e-6


@pytest.mark.parametrize("accumulation", ["digital", "analog"])
@pytest.mark.parametrize("store", [DigitalMemory(), Crossbar(cell=GenericCell(), mapping=Offset())])
def test_slices_of_the_input_change_nothing_on_perfect_hardware(accumulation, store):
    weights, x = case()
    dac = BitSerialDAC(bits=7, slice_bits=2, accumulation=accumulation)
    np.testing.assert_allclose(run(Hardware(store=store, dac=dac, rows=4)), x @ weights, atol=5e-6)


def test_slices_of_input_and_weight_are_integer_arithmetic():
    # Weights of 4 + sign bits as 2 + 2, inputs of 6 + sign bits as 2 + 2 + 2: every line carries an integer of
    # (1/3)(1/3); ADCs that resolve them exactly give the exact integer product.
    weights, x = case()
    mapping = Differential(slices=BitSlices(widths=(2, 2)))
    adc = ADC(bits=7, range=63 / 9)  # 63 codes a side, one for each ninth; six rows of 9 ninths are at most 54
    hardware = Hardware(store=Crossbar(cell=GenericCell(), mapping=mapping), dac=BitSerialDAC(bits=7, slice_bits=2))
    scale = np.abs(weights).max(0)
    held = np.round(weights / scale * 15) / 15
    np.testing.assert_allclose(run(hardware), x @ (held * scale), atol=3e-6)
    np.testing.assert_allclose(run(hardware.replace(adc=adc)), x @ (held * scale), atol=3e-6)


# --- converters in between --------------------------------------------------------------------------------------------


def quantised(y, bits, bound):
    top = 2 ** (bits - 1) - 1
    return np.round(np.clip(y, -bound, bound) / bound * top) / top * bound


def test_digital_accumulation_converts_every_step_and_every_slice():
    # The whole path once more in NumPy.
    weights, x = (np.asarray(a, np.float64) for a in case())
    mapping = Differential(slices=BitSlices(widths=(3, 2)), subtraction="digital")
    hardware = Hardware(
        store=Crossbar(cell=GenericCell(g_min=5e-6), mapping=mapping),
        dac=BitSerialDAC(bits=5, slice_bits=2), adc=ADC(bits=5, range=4.1),
    )  # fmt: skip
    scale = np.abs(weights).max(0)
    k = np.round(np.abs(weights) / scale * 31)
    code = np.round(np.abs(x) * 15)
    expected = np.zeros((4, 3))
    for place, width in ((1, 3), (8, 2)):
        digit = np.floor(k / place) % 2**width / (2**width - 1) * np.sign(weights)
        for step in (1, 4):
            part = np.floor(code / step) % 4 / 3 * np.sign(x)
            factor = (2**width - 1) * place / 31 * 3 * step / 15
            for sign in (1, -1):
                line = part @ (np.maximum(sign * digit, 0) + 5 / 20)  # the floor g_min/(g_max - g_min) is in both
                expected += sign * factor * quantised(line, 5, 4.1)
    np.testing.assert_allclose(run(hardware), expected * scale, atol=1e-5)


def test_analog_accumulation_converts_once():
    weights, x = case()
    hardware = Hardware(dac=BitSerialDAC(bits=7, slice_bits=1, accumulation="analog"), adc=ADC(bits=5, range=4.0))
    scale = np.abs(weights).max(0)
    expected = quantised(x @ (weights / scale), 5, 4.0) * scale
    np.testing.assert_allclose(run(hardware), expected, atol=1e-5)


# --- noise ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dac", "squares"),
    [
        # One read: noise of a row goes with its code. Two steps: 45 = 13 + 2 * 16.
        (DAC(bits=7), (45 / 63) ** 2),
        (PulseWidthDAC(bits=7), (45 / 63) ** 2),
        (BitSerialDAC(bits=7, slice_bits=4), (13**2 + 32**2) / 63**2),
        (BitSerialDAC(bits=7, slice_bits=4, accumulation="analog"), (13**2 + 32**2) / 63**2),
    ],
)
def test_read_noise_of_a_code_by_hand(dac, squares):
    # One input at full code that keeps the range at 1 on a weight of zero: both its cells read at g_min. Six rows:
    # row 0 at 1 with weight 0, row 1 at 45/63 with weight 1, the others dark.
    weights, x = np.float32([[0], [1], [0], [0], [0], [0]]), np.float32([[1, 45 / 63, 0, 0, 0, 0]])
    operator, n = MatrixProduct((1,), (0,), 2, (6, 1)), 40_000

    @jax.jit
    def outputs(dac, weights, x, key, read_key):
        hardware = Hardware(store=Crossbar(cell=NOISY), dac=dac)
        reading = program(hardware, weights, key).read(0.0)
        return jax.vmap(lambda k: multiply(hardware, reading, x, operator, key=k)[0, 0])(jax.random.split(read_key, n))

    y = np.asarray(outputs(dac, weights, x, jax.random.key(0), jax.random.key(1)), np.float64)
    # g_max 25 and g_min 5 uS, 2 % of each: in units of the window of 20 uS.
    cell = 0.02**2 * np.array([2 * 5**2, 25**2 + 5**2]) / 20**2
    steps = [1.0] if dac.reads == 1 else [15 / 63, 48 / 63]  # the full code: 63 = 15 + 3 * 16
    of_full = sum(s**2 for s in steps)
    assert y.mean() == pytest.approx(45 / 63, abs=4 * y.std() / np.sqrt(n))
    assert y.var() == pytest.approx(cell @ [of_full, squares], rel=4 * np.sqrt(2 / n))


# --- gradients, cost, bad input ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("accumulation", ["digital", "analog"])
def test_gradients_pass_the_slices_whole(accumulation):
    weights, x = case()
    hardware = Hardware(dac=BitSerialDAC(bits=7, slice_bits=2, accumulation=accumulation), adc=ADC(bits=12, range=20.0))
    head = np.cos(np.arange(3, dtype=np.float32))
    x[:, 1:] *= np.float32(0.9)

    def loss(w, x):
        reading = program(hardware, w, None).read(0.0).trained_by(w, hardware.store)
        return jnp.sum(multiply(hardware, reading, x, OPERATOR, key=None) @ head)

    of_w, of_x = jax.jit(jax.grad(loss, (0, 1)))(weights, x)
    np.testing.assert_allclose(of_w, np.outer(x.sum(0), head), atol=0.03)
    # Column 0 holds the range of every example, through which no gradient is passed: the others see plain gradients.
    np.testing.assert_allclose(np.asarray(of_x)[:, 1:], np.tile(weights @ head, (4, 1))[:, 1:], atol=1e-4)


@pytest.mark.parametrize(
    ("dac", "expected"),
    [
        (DAC(bits=7), (45 / 63) ** 2),
        (PulseWidthDAC(bits=7), 45 / 63),
        (BitSerialDAC(bits=7, slice_bits=1), 4.0),  # 45 = 101101: four full reads
        (BitSerialDAC(bits=7, slice_bits=4), (13 / 15) ** 2 + (2 / 15) ** 2),
    ],
)
def test_what_a_row_spends(dac, expected):
    energy = jax.jit(lambda dac, codes: dac.energy(codes))(dac, np.float32([45 / 63, -45 / 63]))
    np.testing.assert_allclose(energy, expected, rtol=1e-5)


def test_bad_slices_are_refused():
    with pytest.raises(InputError, match=r"BitSerialDAC.slice_bits = 8: must be at most bits - 1 = 7"):
        BitSerialDAC(bits=8, slice_bits=8)


def test_input_noise_arrives_through_the_weights():
    # Of std s times the input range r on every row: the outputs vary by s r sqrt(sum_i W_ij^2).
    weights = np.float32([[0.5, -1.0], [1.0, 0.25], [-0.75, 0.5]])
    hardware = Hardware(dac=DAC(bits=24, noise=0.1))
    layer = AnalogDense(2, hardware=hardware, use_bias=False)
    x = np.broadcast_to(np.float32([0.5, -1.0, 0.0]), (8000, 3))
    variables = {"params": {"kernel": weights}, "ranges": {"analog": {"input": 2.0}}}
    chip = analogsim.program(layer, variables, jax.random.key(0), x[:1])
    rngs = {"analog": jax.random.key(1)}
    for held in (variables, chip.variables):  # in training and on a chip
        y = np.asarray(jax.jit(layer.apply)(held, x, rngs=rngs))
        for j in range(2):
            expected = 0.1 * 2.0 * np.sqrt(float((weights[:, j] ** 2).sum()))
            assert_moments(y[:, j], float((x[0] @ weights)[j]), expected)
    with pytest.raises(InputError, match="needs a random key"):
        jax.eval_shape(layer.apply, variables, x[:2])
    with scaled_noise(0.0):
        exact = jax.jit(lambda variables, x: layer.apply(variables, x, rngs=rngs))(variables, x[:2])
    np.testing.assert_allclose(exact, x[:2] @ weights, atol=1e-5)


def test_where_input_noise_is_not_modelled_it_is_refused():
    with pytest.raises(InputError, match=r"BitSerialDAC.noise = 0.1: must be None"):
        BitSerialDAC(noise=0.1)
    table = analogsim.convert(nn.Embed(4, 3), Hardware(dac=DAC(noise=0.1)))
    variables, rngs = {"params": {"embedding": np.ones((4, 3), np.float32)}}, {"analog": jax.random.key(0)}
    with pytest.raises(InputError, match=r"DAC.noise: must be None for a lookup"):
        jax.eval_shape(lambda variables, ids: table.apply(variables, ids, rngs=rngs), variables, np.array([1]))
