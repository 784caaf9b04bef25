"""8-bit circuits against reference behaviour: error of a published implementation of the models, and closed forms.

The table holds what an open implementation of Spear et al. 2023 (doi 10.1109/JXCDC.2023.3315134) gave in 20 draws of
one converter: root mean square error over draws and inputs, and mean of every draw's largest error, in LSB. Its inputs
are not known. Its ideal value of 0.300 (a dense ramp has 1/sqrt(12) = 0.289) is that of five inputs a code, one of them
on the threshold, (0.25 + 2 * 0.09 + 2 * 0.01)/5 = 0.3^2: the inputs taken here.
"""

import math

import jax
import numpy as np
import pytest
from adc_kinds import convert, fabricate

from analogsim.converters import SARADC, CyclicADC, PipelineADC, RampADC

X = np.linspace(-1, 1, 5 * 256 + 1, dtype=np.float32)
DENSE = np.float32((np.arange(40 * 256) + 0.5) / (20 * 256) - 1)
DRAWS = 400

#: name: (converter, rms, mean of the largest error). Amplifiers without a gain had 100 dB there.
DRAWN = {
    "ramp, capacitors 3 %": (RampADC(capacitor_mismatch=0.03), 0.390, 0.849),
    "SAR, capacitors 3 %": (SARADC(capacitor_mismatch=0.03), 0.416, 0.928),
    "split SAR, capacitors 3 %": (SARADC(capacitor_mismatch=0.03, split=True), 0.606, 1.224),
    "pipeline, capacitors 1 %": (PipelineADC(capacitor_mismatch=0.01), 0.499, 1.179),
    "cyclic, capacitors 1 %": (CyclicADC(capacitor_mismatch=0.01), 0.481, 0.902),
    "ramp, comparator 1 %": (RampADC(comparator_offset=0.01), 1.336, 1.380),
}


@jax.jit
def errors_of(adc, keys, x=X):
    """Mean square and largest error of each draw, in LSB."""
    error = jax.vmap(lambda key: adc.convert(x[:, None], 1.0, adc.fabricate(key, 1))[:, 0] - x)(keys) * 128
    return (error**2).mean(1), abs(error).max(1)


@pytest.mark.parametrize("name", DRAWN)
def test_errors_of_circuits_with_mismatch(key, name):
    adc, rms, largest = DRAWN[name]
    squares, maxima = (np.asarray(e, np.float64).reshape(-1, 20) for e in errors_of(adc, jax.random.split(key, DRAWS)))
    # 20 sets of 20 draws: how far one such set lies from the mean of all.
    for sets, expected in ((np.sqrt(squares.mean(1)), rms), (maxima.mean(1), largest)):
        deviation = sets.std(ddof=1)
        assert deviation < 0.2 * expected
        assert abs(sets.mean() - expected) < 2.5 * deviation


@pytest.mark.parametrize(
    ("adc", "rms", "largest"),
    [
        (RampADC(), 0.300, 0.502),
        (SARADC(), 0.300, 0.502),
        (PipelineADC(), 0.300, 0.502),
        (RampADC(amplifier_gain_db=40.0), 1.303, 2.969),
        (SARADC(amplifier_gain_db=40.0), 1.297, 2.969),
    ],
)
def test_errors_of_circuits_without_mismatch(adc, rms, largest):
    error = np.asarray(convert(adc, X, 1.0, None) - X, np.float64) * 128
    assert np.sqrt((error**2).mean()) == pytest.approx(rms, rel=0.006)
    assert abs(error).max() == pytest.approx(largest, rel=0.03)


@pytest.mark.parametrize(("signed", "units"), [(True, 128), (False, 256)])
@pytest.mark.parametrize("kind", [RampADC, SARADC])
def test_capacitor_mismatch_adds_the_variance_of_the_sums(key, kind, signed, units):
    # In LSB, with m of the M units of the reference switched, a level's variance is s^2 (m + m^2/M), in the mean over m
    # s^2 (M/2 + M/3). It comes on top of the rounding error.
    adc = kind(capacitor_mismatch=0.01, signed=signed)
    squares, _ = errors_of(adc, jax.random.split(key, DRAWS), DENSE)
    added, expected = np.asarray(squares) - 1 / 12, 0.01**2 * (units / 2 + units / 3)
    assert abs(added.mean() - expected) < 4 * added.std() / math.sqrt(DRAWS)
    assert added.std() / math.sqrt(DRAWS) < 0.08 * expected


def test_comparator_offset_of_a_ramp_shifts_every_code(key):
    # Variance of the offset, in LSB, beside the rounding error. Inputs at the ends saturate: 1 % of them.
    squares, _ = errors_of(RampADC(comparator_offset=0.01), jax.random.split(key, DRAWS), DENSE)
    squares = np.asarray(squares, np.float64)
    assert abs(squares.mean() - (1 / 12 + 1.28**2)) < 4 * squares.std() / math.sqrt(DRAWS)


def test_first_stage_of_a_pipeline_by_hand():
    # Only the first stage is off, C2/C1 = 1 + d. Its residue is wrong by d (V - 1) above +V_ref/4, by d V in the middle
    # and by d (V + 1) below, in LSB of its own 128 to V_ref; the stage doubles, so at the input it is half as much.
    d = 0.02
    adc = PipelineADC(capacitor_mismatch=0.0)
    state = fabricate(adc, jax.random.key(0), 1)
    ratio = np.array(state.ratio)
    ratio[0] = 1 + d
    v = np.linspace(-0.99, 0.99, 20_001, dtype=np.float32)
    error = (np.asarray(convert(adc, v[:, None], 1.0, state._replace(ratio=ratio)))[:, 0] - v) * 128
    expected = 64 * d * (v - np.where(v >= 0.25, 1, np.where(v >= -0.25, 0, -1)))
    assert abs(error - expected).max() < 0.51
    assert (error - expected).mean() == pytest.approx(0, abs=0.01)
