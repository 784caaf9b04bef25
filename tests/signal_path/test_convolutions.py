"""Convolutions on the signal path: the image's patches, their range, codes and noise."""

import functools
import math

import flax.linen as nn
import jax
import numpy as np
import pytest
from jax import lax

from analogsim import ADC, DAC, Hardware
from analogsim.linen import AnalogConv
from analogsim.signal_path import multiply, program
from analogsim.signal_path.operators import Convolution
from tests.support.signal_path import Trembling, draw, ones

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
    # by 0.04 of a weight of 1.5 give y the standard deviation 0.04 x 1.5 x sqrt(12).
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
