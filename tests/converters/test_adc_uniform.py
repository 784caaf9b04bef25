"""The uniform ADC with its two styles, and its gain and offset errors."""

import math

import jax
import numpy as np
import pytest
from adc_kinds import convert, fabricate

from analogsim import ADC, InputError
from analogsim.converters import quantise
from tests.support.sampling import assert_moments

mid_rise = jax.jit(lambda x, bits, bound: quantise(x, bits, bound, style="mid-rise"))


def test_without_errors_it_is_quantise():
    y = np.random.default_rng(20).normal(scale=3, size=(100, 4)).astype(np.float32)
    for style in ("mid-tread", "mid-rise"):
        adc = ADC(bits=5, style=style)
        rounded = jax.jit(lambda y, bits, bound, style=style: quantise(y, bits, bound, style=style))
        np.testing.assert_allclose(convert(adc, y, 2.0, None), rounded(y, adc.bits, 2.0), rtol=1e-6, err_msg=style)


@pytest.mark.parametrize("bits", [2, 3, 8, 12])
def test_mid_rise_codes_are_those_of_the_formula(bits):
    # y(k) = 2 r k/2^b - r (2^b - 1)/2^b
    values = np.unique(mid_rise(np.linspace(-3, 3, 40_001, dtype=np.float32), bits, 2.0))
    k = np.arange(2**bits)
    np.testing.assert_allclose(values, 4 * k / 2**bits - 2 * (2**bits - 1) / 2**bits, rtol=1e-6)


def test_mid_rise_by_hand():
    x = np.float32([-9.0, -2.0, -1.0, -0.1, 0.0, 0.9, 1.0, 1.9, 2.0, 9.0])
    expected = [-1.5, -1.5, -0.5, -0.5, 0.5, 0.5, 1.5, 1.5, 1.5, 1.5]
    np.testing.assert_array_equal(mid_rise(x, 2, 2.0), expected)


@pytest.mark.parametrize("bound", [0.1, 0.3, 7.7, 1e4, 3e-5])
@pytest.mark.parametrize("bits", [4, 11, 24])
def test_mid_rise_thresholds_are_whole_steps_at_any_range(bits, bound):
    k = np.random.default_rng(0).integers(-(2 ** (bits - 1)), 2 ** (bits - 1), 500)
    step = np.float32(bound) / np.float32(2 ** (bits - 1))
    y = mid_rise(k.astype(np.float32) * step, bits, np.float32(bound))
    np.testing.assert_array_equal(y, (k.astype(np.float32) + np.float32(0.5)) * step)


def test_mid_rise_error_is_uniform():
    x = np.random.default_rng(20).uniform(-1, 1, 40_001).astype(np.float32)
    error = np.asarray(mid_rise(x, 6, 1.0) - x) * 32
    assert abs(error).max() <= 0.5 + 1e-5
    assert_moments(error, 0.0, 1 / math.sqrt(12))


def test_mid_rise_bits_may_be_traced():
    x = np.random.default_rng(20).uniform(-1.1, 1.1, 500).astype(np.float32)
    levels = (2, 5, 8)
    swept = jax.jit(jax.vmap(lambda b: quantise(x, b, 1.0, style="mid-rise")))(np.array(levels))
    for bits, row in zip(levels, swept, strict=True):
        # With the number of bits written into the program. Codes are sums of powers of two: exact.
        fixed = jax.jit(lambda x, bits=bits: quantise(x, bits, 1.0, style="mid-rise"))
        np.testing.assert_array_equal(row, fixed(x))


def test_errors_are_drawn_for_every_line(key):
    state = fabricate(ADC(gain_error=0.02, offset_error=0.7), key, 40_000)
    assert_moments(state.gain, 0.0, 0.02)
    assert_moments(state.offset, 0.0, 0.7)
    assert abs(np.corrcoef(state.gain, state.offset)[0, 1]) < 4 / 200
    one = fabricate(ADC(gain_error=0.02), key, 40_000)
    assert one.offset is None
    np.testing.assert_array_equal(one.gain, state.gain)


@pytest.mark.parametrize(("style", "steps"), [("mid-tread", 127), ("mid-rise", 128)])
def test_errors_act_before_rounding(key, style, steps):
    adc = ADC(style=style, gain_error=0.1, offset_error=3.0)
    state, bound = fabricate(adc, key, 6), 5.0
    y = np.random.default_rng(1).uniform(-5, 5, (400, 6))
    shifted = y * (1 + np.asarray(state.gain, np.float64)) + np.asarray(state.offset, np.float64) * bound / steps
    in_steps = np.clip(shifted / bound * steps, -steps, steps)
    codes = np.round(in_steps) if style == "mid-tread" else np.clip(np.floor(in_steps), -128, 127) + 0.5
    found = np.asarray(convert(adc, y.astype(np.float32), bound, state)) / bound * steps
    from_threshold = abs(in_steps % 1 - (0.5 if style == "mid-tread" else np.round(in_steps % 1)))
    clear = (from_threshold > 1e-3) | (abs(in_steps) == steps)
    np.testing.assert_allclose(found[clear], codes[clear], atol=1e-3)
    assert clear.mean() > 0.99


def test_number_of_codes_and_step():
    assert (ADC(bits=8).codes, ADC(bits=8).lsb) == (255, 1 / 127)
    assert (ADC(bits=8, style="mid-rise").codes, ADC(bits=8, style="mid-rise").lsb) == (256, 1 / 128)


def test_unknown_styles_are_refused():
    with pytest.raises(InputError, match="style = 'mid-air': must be one of 'mid-tread', 'mid-rise'"):
        quantise(np.zeros(3, np.float32), 8, 1.0, style="mid-air")
