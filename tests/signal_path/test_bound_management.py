"""Bound management: examples that overflow an ADC are read again with a wider input range, each on its own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analogsim import ADC, DAC, Hardware, InputError, preset
from analogsim.converters import BitSerialDAC
from analogsim.linen import AnalogConv, AnalogDense
from analogsim.signal_path import multiply, program
from analogsim.signal_path.operators import MatrixProduct

#: Eight weights of one: a full input drives a line to 8, twice the range of 3.9 and a little more.
ONES = np.ones((8, 1), np.float32)
OPERATOR = MatrixProduct((1,), (0,), 2, (8, 1))
PLAIN = Hardware(adc=ADC(bits=12, range=3.9))
MANAGED = PLAIN.replace(bound_management="iterative")


@jax.jit
def run(hardware, x):
    return multiply(hardware, program(hardware, ONES, None).read(0.0), x, OPERATOR, key=None)


def test_an_overflowing_example_is_read_with_a_wider_range():
    x = np.float32([[1] * 8, [1, 1] + [0] * 6])  # lines at 8 and 2
    step = 3.9 / 2047
    np.testing.assert_allclose(run(PLAIN, x), [[3.9], [2.0]], atol=step / 2)
    # 8 -> 4 -> 2: the range doubles twice, and so does the step, twice; the other example keeps its own.
    y = np.asarray(run(MANAGED, x), np.float64)[:, 0]
    assert y[0] == pytest.approx(8.0, abs=4 * step / 2 * 1.01)
    assert y[1] == pytest.approx(2.0, abs=step / 2 * 1.01)
    assert (y[0] / (4 * step)) == pytest.approx(round(y[0] / (4 * step)), abs=1e-3)


def test_one_overflow_does_not_change_the_other_examples():
    x = np.random.default_rng(0).uniform(-0.3, 1, (7, 8)).astype(np.float32)
    x[6] = 0
    alone = np.asarray(run(MANAGED, x))
    x[6] = 1
    np.testing.assert_array_equal(alone[:6], run(MANAGED, x)[:6])


def test_every_step_of_a_serial_input_counts():
    x = np.full((2, 8), 85 / 127, np.float32)  # 1010101: each driven bit reaches the full 8
    hardware = MANAGED.replace(dac=BitSerialDAC(bits=8), adc=ADC(bits=12, range=8.1))
    assert float(run(hardware, x)[0, 0]) == pytest.approx(8 * 85 / 127, rel=2e-3)


def test_tiles_and_images_are_managed_too():
    image = np.ones((2, 4, 4, 1), np.float32)
    image[1] = 0
    image[1, 0, 0] = 1
    kernel = {"params": {"kernel": np.ones((3, 3, 1, 1), np.float32)}}
    hardware = Hardware(dac=DAC(bits=12), adc=ADC(bits=12, range=2.0), bound_management="iterative")

    def convolve(hardware):
        return jax.jit(AnalogConv(1, (3, 3), hardware=hardware, use_bias=False).apply)(kernel, image)

    expected = convolve(None)
    for rows in (9, 4):
        np.testing.assert_allclose(convolve(hardware.replace(rows=rows)), expected, atol=0.03, err_msg=f"{rows} rows")


def test_it_ends_after_ten_doublings():
    # A range of 1e-3 is never reached by 8 within a factor of 1024: what is left is clipped at 1024 ranges.
    y = run(MANAGED.replace(adc=ADC(bits=12, range=1e-3)), np.ones((2, 8), np.float32))
    assert float(y[0, 0]) == pytest.approx(1.024, rel=1e-3)


def test_noise_gradients_and_jit_pass():
    hardware = preset("pcm", bound_management="iterative", **{"adc.range": 1.0})
    rng = np.random.default_rng(0)
    x, kernel = (rng.normal(size=shape).astype(np.float32) for shape in ((4, 40), (40, 5)))

    def run(kernel, hardware):
        layer = AnalogDense(5, hardware=hardware, use_bias=False)
        return layer.apply({"params": {"kernel": kernel}}, x, rngs={"analog": jax.random.key(2)})

    @jax.jit
    def gradients_and_outputs(kernel):
        gradients, with_it = jax.grad(lambda k: (jnp.sum((y := run(k, hardware)) ** 2), y), has_aux=True)(kernel)
        return gradients, with_it, run(kernel, hardware.replace(bound_management="none"))

    gradients, with_it, clipped = map(np.asarray, gradients_and_outputs(kernel))
    assert np.all(np.isfinite(gradients))
    assert np.abs(with_it - x @ kernel).mean() < np.abs(clipped - x @ kernel).mean()


def test_without_an_adc_there_is_nothing_to_manage():
    with pytest.raises(InputError, match="bound_management = 'iterative': must be 'none' where no ADC overflows"):
        Hardware(bound_management="iterative")
