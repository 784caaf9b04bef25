"""Measures of converters, on converters whose transfer curve is known."""

import math

import jax
import numpy as np
import pytest
from adc_kinds import fabricate

from analogsim import ADC, InputError
from analogsim.converters import SARADC, CyclicADC, PipelineADC, RampADC
from analogsim.converters.quality import effective_bits, errors, linearity, transfer_curve

CIRCUITS = [RampADC, SARADC, PipelineADC, CyclicADC]


class Smooth:
    """A converter with the curve x + a x^3 + c and next to no steps."""

    bits, codes, lsb = 8, 256, 2 / 256

    def __init__(self, cubic=0.0, gain=1.0, offset=0.0):
        self.cubic, self.gain, self.offset = cubic, gain, offset

    def convert(self, y, bound, state):
        return self.gain * y + self.cubic * y**3 + self.offset


def measured(measure, adc, state=None, **how):
    """A measure of a converter as one compiled program, in NumPy."""
    return jax.tree.map(np.asarray, jax.jit(lambda state: measure(adc, state, **how))(state))


@pytest.mark.parametrize("kind", CIRCUITS)
@pytest.mark.parametrize("signal", ["sine", "ramp"])
def test_an_ideal_circuit_has_all_its_bits(kind, signal):
    # Error power of rounding LSB^2/12, signal 2^(2b) LSB^2/8: SINAD = 20 log10(2) b + 10 log10(1.5) dB.
    assert measured(effective_bits, kind(bits=9), signal=signal)[0] == pytest.approx(9, abs=0.02)


def test_a_mid_tread_converter_has_one_code_less():
    # 2^b - 2 steps from end to end.
    assert measured(effective_bits, ADC(bits=7), signal="ramp")[0] == pytest.approx(math.log2(126), abs=2e-3)
    assert measured(effective_bits, ADC(bits=8))[0] == pytest.approx(math.log2(254), abs=0.02)
    assert measured(effective_bits, ADC(bits=12, style="mid-rise"))[0] == pytest.approx(12, abs=0.02)


@pytest.mark.parametrize("a", [1e-1, 1e-3])
def test_distortion_of_a_sine(a):
    # sin^3 = (3 sin - sin 3t)/4: what is left of a x^3 is a third harmonic of amplitude a/4 beside 1 + 3a/4.
    sinad_db = 20 * math.log10((1 + 0.75 * a) / (a / 4))
    found = measured(effective_bits, Smooth(cubic=a))[0]
    assert found == pytest.approx((sinad_db - 10 * math.log10(1.5)) / (20 * math.log10(2)), abs=0.005)


def test_distortion_of_a_ramp():
    # x^3 on [-1, 1] less its best line 3x/5: 1/7 - 9/25/3 = 4/175. The sine beside it has the fitted gain.
    a = 0.01
    sinad_db = 10 * math.log10((1 + 0.6 * a) ** 2 / 2 / (a**2 * 4 / 175))
    found = measured(effective_bits, Smooth(cubic=a), signal="ramp")[0]
    assert found == pytest.approx((sinad_db - 10 * math.log10(1.5)) / (20 * math.log10(2)), abs=0.005)


def test_gain_and_offset_cost_no_effective_bits():
    plain = measured(effective_bits, Smooth(cubic=0.01))
    np.testing.assert_allclose(measured(effective_bits, Smooth(cubic=0.008, gain=0.8, offset=0.1)), plain, rtol=1e-4)


def test_errors_are_in_lsb():
    ideal = measured(errors, SARADC(bits=7), points=64)
    assert ideal.rms[0] == pytest.approx(1 / math.sqrt(12), rel=1e-3)
    assert ideal.largest[0] == pytest.approx(0.5 - 0.5 / 64, rel=1e-3)
    # Constant 0.01 V_ref is 1.28 LSB of 8 bits. A gain of 1 + g has g/LSB at the ends, over sqrt(3) in the mean.
    shifted = measured(errors, Smooth(offset=0.01))
    assert shifted.rms[0] == pytest.approx(1.28, rel=1e-4)
    steeper = measured(errors, Smooth(gain=1.01))
    assert steeper.rms[0] == pytest.approx(1.28 / math.sqrt(3), rel=1e-3)
    assert steeper.largest[0] == pytest.approx(1.28, rel=1e-3)


@pytest.mark.parametrize("adc", [ADC(bits=5), ADC(bits=5, style="mid-rise"), *(kind(bits=5) for kind in CIRCUITS)])
def test_an_ideal_converter_is_linear(adc):
    found = measured(linearity, adc)
    assert found.dnl.shape == (adc.codes - 2, 1)
    assert found.inl.shape == (adc.codes - 1, 1)
    np.testing.assert_allclose(found.dnl, 0, atol=1e-5)
    np.testing.assert_allclose(found.inl, 0, atol=1e-4)


def test_a_heavy_most_significant_capacitor_widens_the_middle_code():
    # Unsigned, 5 bits: the top bit is d LSB too heavy, so that only the code below the middle is wider, by d.
    adc, d = SARADC(bits=5, signed=False, capacitor_mismatch=0.0), 0.75
    state = fabricate(adc, jax.random.key(0), 2)
    heavy = np.array(state.dac.voltage)
    heavy[-1, 1] += d * 2 / 32
    found = measured(linearity, adc, state._replace(dac=state.dac._replace(voltage=heavy)), points=256)
    # The converter still ends at its range: the last code is narrower, and DNL leaves it out.
    mean = 1 + d / 30
    expected = np.full(30, 1 / mean - 1)
    expected[15 - 1] = (1 + d) / mean - 1
    np.testing.assert_allclose(found.dnl[:, 1], expected, atol=0.005)
    np.testing.assert_allclose(found.dnl[:, 0], 0, atol=1e-5)
    # INL climbs to the middle from below, falls by what is too wide, and ends at zero.
    np.testing.assert_allclose(found.inl[[0, -1], 1], 0, atol=1e-3)
    assert np.argmax(abs(found.inl[:, 1])) in (14, 15)


def test_a_missing_code_has_a_dnl_of_minus_one():
    adc = SARADC(bits=5, signed=False, capacitor_mismatch=0.0)
    state = fabricate(adc, jax.random.key(0), 1)
    light = np.array(state.dac.voltage)
    light[-1] -= 1.5 * 2 / 32  # the middle starts before the code below it
    found = measured(linearity, adc, state._replace(dac=state.dac._replace(voltage=light)))
    assert found.dnl[15 - 1, 0] == -1


def test_linearity_ignores_offset_and_gain(key):
    adc = ADC(bits=6, style="mid-rise", gain_error=0.002, offset_error=0.3)  # within the end codes, which do not count
    state = fabricate(adc, key, 3)
    dnl = measured(linearity, adc, state, points=200).dnl
    np.testing.assert_allclose(dnl, 0, atol=0.011)  # two edges of one sample each
    assert measured(errors, adc, state).largest.max() > 0.6


def test_transfer_curve_covers_the_range_evenly():
    curve = measured(transfer_curve, RampADC(bits=4), points=10)
    assert curve.inputs.shape == (160,)
    assert curve.outputs.shape == (160, 1)
    np.testing.assert_allclose(curve.inputs, np.arange(-159, 160, 2) / 160, rtol=1e-6)


def test_measures_under_vmap_are_those_of_every_chip(key):
    adc = SARADC(bits=6, capacitor_mismatch=0.05)
    keys = jax.random.split(key, 4)
    bits_of = lambda k: effective_bits(adc, adc.fabricate(k, 2))  # noqa: E731
    pair = jax.jit(lambda keys: (jax.vmap(bits_of)(keys), bits_of(keys[2])))(keys)
    together, alone = map(np.asarray, pair)
    assert together.shape == (4, 2)
    np.testing.assert_allclose(together[2], alone, rtol=1e-4)
    assert (together < 6.02).all()
    assert together.min() < 5.9


def test_bad_requests_are_refused():
    with pytest.raises(InputError, match="signal = 'square'"):
        effective_bits(ADC(), signal="square")
    with pytest.raises(InputError, match="points = 0"):
        transfer_curve(ADC(), points=0)
    with pytest.raises(InputError, match="at least 4 codes"):
        linearity(ADC(bits=2))
