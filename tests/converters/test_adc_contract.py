"""What every ADC promises: exact ideal codes and ties, dtypes, stacks of tiles, and refusal of bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from adc_kinds import IDEAL, REAL

from analogsim import InputError
from analogsim.converters import ADC, SARADC, CyclicADC, PipelineADC, RampADC

STATES = {name: adc.fabricate(jax.random.key(3), 4) for name, adc in REAL.items()}
ideal = pytest.mark.parametrize("adc", IDEAL.values(), ids=IDEAL)
real = pytest.mark.parametrize("name", REAL)


@ideal
@pytest.mark.parametrize("bound", [1.0, 10.0, 7.25])
def test_values_on_a_threshold_belong_to_the_code_above(adc, bound):
    # Thresholds of 6 bits are the multiples of 1/32 of the range: +-V_ref/4 and all residues on it are among them.
    k = np.arange(-32, 33)
    x = np.float32(bound) * np.float32(k / 32)
    expected = np.minimum(k + 0.5, 31.5) / 32 * bound
    np.testing.assert_allclose(adc.convert(x[:, None], bound, None)[:, 0], expected, rtol=1e-6)
    just_below = np.where(x[1:] == 0, np.float32(-1e-30), np.nextafter(x[1:], np.float32(-np.inf)))
    np.testing.assert_allclose(
        adc.convert(just_below[:, None], bound, None)[:, 0], (k[1:] - 0.5) / 32 * bound, rtol=1e-6
    )


@pytest.mark.parametrize("kind", [PipelineADC, CyclicADC])
def test_a_quarter_of_the_range_keeps_its_code(kind):
    # 4 bits, reference 1: 0.25 lies in [0.25, 0.375), -0.25 in [-0.25, -0.125).
    y = kind(bits=4).convert(jnp.array([[0.25], [-0.25]]), 1.0, None)
    np.testing.assert_array_equal(y[:, 0], [0.3125, -0.1875])


@pytest.mark.parametrize("kind", [RampADC, SARADC, PipelineADC, CyclicADC])
@pytest.mark.parametrize("bits", [2, 14])
def test_ideal_circuits_are_the_uniform_converter(kind, bits):
    x = np.concatenate([np.linspace(-1.2, 1.2, 2003), np.arange(-(2**13), 2**13 + 1, 37) / 2**13]).astype(np.float32)
    expected = ADC(bits=bits, style="mid-rise").convert(x, 1.0, None)
    np.testing.assert_array_equal(kind(bits=bits).convert(x, 1.0, None), expected)
    # Equation y(k): the end codes are half a step from the range.
    assert float(expected.max()) == 1 - 0.5**bits
    assert float(expected.min()) == -1 + 0.5**bits


@real
def test_nothing_beyond_the_range_changes_the_output(name):
    adc, state = REAL[name], STATES[name]
    x = jnp.array([-np.inf, -1e30, -2.5, 2.5, 1e30, np.inf])[:, None] * jnp.ones(4)
    y = np.asarray(adc.convert(x, 2.5, state))
    assert np.isfinite(y).all()
    assert (y[:3] == y[0]).all()
    assert (y[3:] == y[-1]).all()
    assert (y[0] < -2.2).all()
    assert (y[-1] > 2.2).all()


@real
def test_not_a_number_stays_visible(name):
    y = REAL[name].convert(jnp.array([0.3, np.nan, 0.3, 0.3]), 1.0, STATES[name])
    np.testing.assert_array_equal(np.isnan(y), [False, True, False, False])


@real
def test_the_range_only_scales(name):
    x = jax.random.uniform(jax.random.key(1), (50, 4), minval=-1.1, maxval=1.1)
    one = REAL[name].convert(x, 1.0, STATES[name])
    np.testing.assert_array_equal(REAL[name].convert(4 * x, 4.0, STATES[name]), 4 * one)
    each = jnp.array([1.0, 2.0, 4.0, 8.0, 16.0])[:, None, None]
    np.testing.assert_array_equal(REAL[name].convert(each * x, each, STATES[name]), each * one)


@real
def test_bfloat16_is_converted_in_float32(name):
    x = jax.random.uniform(jax.random.key(1), (50, 4), jnp.bfloat16, minval=-1, maxval=1)
    y = REAL[name].convert(x, 1.0, STATES[name])
    assert y.dtype == jnp.float32
    np.testing.assert_array_equal(y, REAL[name].convert(x.astype(jnp.float32), 1.0, STATES[name]))


@pytest.mark.parametrize("name", ["ramp", "split SAR", "pipeline", "mid-rise"])
def test_float64_is_converted_in_float64(name):
    x = np.random.default_rng(0).uniform(-1, 1, (50, 4))
    narrow = REAL[name].convert(jnp.asarray(x, jnp.float32), 1.0, STATES[name])
    with jax.enable_x64(True):
        y = REAL[name].convert(jnp.asarray(x), 1.0, STATES[name])
        assert y.dtype == jnp.float64
        np.testing.assert_allclose(y, narrow, atol=1e-6)


@real
def test_tiles_under_vmap_are_converted_one_by_one(name):
    adc, keys = REAL[name], jax.random.split(jax.random.key(8), 3)
    y = jax.random.uniform(jax.random.key(9), (7, 3, 4), minval=-1, maxval=1)
    states = jax.vmap(lambda key: adc.fabricate(key, 4))(keys)
    together = jax.jit(jax.vmap(adc.convert, in_axes=(1, None, 0), out_axes=1))(y, 1.0, states)
    for i, key in enumerate(keys):
        np.testing.assert_array_equal(together[:, i], adc.convert(y[:, i], 1.0, adc.fabricate(key, 4)))


@real
def test_same_key_same_parts_and_another_key_others(name):
    again, other = (REAL[name].fabricate(jax.random.key(k), 4) for k in (3, 4))
    for a, b in zip(jax.tree.leaves(STATES[name]), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(a, b)
    assert any((a != b).any() for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(other), strict=True))


def test_mismatch_is_swept_without_a_compilation():
    def spread(mismatch):
        adc = SARADC(bits=6, capacitor_mismatch=mismatch)
        return adc.fabricate(jax.random.key(0), 500).dac.voltage[0].std()

    swept = jax.jit(jax.vmap(spread))(jnp.array([0.0, 0.01, 0.02]))
    # C_0/C_5 with the relative variance s^2 (1 + 1/32).
    np.testing.assert_allclose(swept, np.array([0, 0.01, 0.02]) / 32 * (33 / 32) ** 0.5, rtol=0.15)


@ideal
def test_without_imperfections_nothing_is_drawn(adc):
    assert adc.fabricate(None, 4) is None
    assert adc.replace(noise=0.1).fabricate(None, 4) is None


@real
def test_a_key_and_a_state_are_asked_for_where_they_matter(name):
    with pytest.raises(InputError, match="key = None"):
        REAL[name].fabricate(None, 4)
    with pytest.raises(InputError, match="state = None"):
        REAL[name].convert(jnp.zeros(4), 1.0, None)


@pytest.mark.parametrize("lines", [0, -1, 2.0, "4", None, True])
@pytest.mark.parametrize("adc", [ADC(), RampADC(), PipelineADC(comparator_offset=0.01)])
def test_impossible_numbers_of_lines_are_refused(adc, lines):
    with pytest.raises(InputError, match=r"lines = .*: must be a whole number and at least 1"):
        adc.fabricate(jax.random.key(0), lines)


@pytest.mark.parametrize("kind", [RampADC, SARADC, PipelineADC, CyclicADC])
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (dict(bits=0), "a whole number and at least 2 and at most 14"),
        (dict(bits=40), "at most 14"),
        (dict(bits=15), "at most 14"),
        (dict(bits=7.5), "a whole number"),
        (dict(bits="eight"), "expected a number"),
        (dict(bits=None), "must be one number"),
        (dict(range=0.0), "greater than 0"),
        (dict(noise=-1.0), "at least 0"),
        (dict(capacitor_mismatch=-0.01), "at least 0 and at most 0.25"),
        (dict(capacitor_mismatch=0.3), "at most 0.25"),
        (dict(comparator_offset=-0.1), "at least 0 and at most 1"),
        (dict(amplifier_gain_db=0.0), r"greater than 0 and at most 300 \(unit: dB\)"),
        (dict(comparator_ofset=0.1), "did you mean 'comparator_offset'"),
    ],
)
def test_impossible_circuits_are_refused(kind, bad, message):
    with pytest.raises(InputError, match=message):
        kind(**bad)


@pytest.mark.parametrize(
    ("kind", "bad"),
    [
        (SARADC, dict(split="yes")),
        (SARADC, dict(sharing=0)),
        (PipelineADC, dict(sharing=2.5)),
        (CyclicADC, dict(sharing=None)),
        (RampADC, dict(signed="no")),
        (RampADC, dict(sharing=2)),  # its DAC serves all lines, its comparators one each
        (PipelineADC, dict(split=True)),
        (PipelineADC, dict(parasitic_capacitance=-0.1)),
        (ADC, dict(style="mid-air")),
        (ADC, dict(gain_error=-0.1)),
        (ADC, dict(offset_error=-0.1)),
    ],
)
def test_impossible_designs_are_refused(kind, bad):
    with pytest.raises(InputError, match=next(iter(bad))):
        kind(**bad)


def test_gain_is_read_with_its_unit():
    assert SARADC(amplifier_gain_db="60 dB").amplifier_gain_db == 60.0
