"""What every ADC promises: exact ideal codes and ties, dtypes, stacks of tiles, and refusal of bad input."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from adc_kinds import IDEAL, REAL, convert, fabricate

from analogsim import ADC, InputError
from analogsim.converters import SARADC, CyclicADC, PipelineADC, RampADC

ideal = pytest.mark.parametrize("adc", IDEAL.values(), ids=IDEAL)
real = pytest.mark.parametrize("name", REAL)


@functools.cache
def state_of(name, seed=3):
    return fabricate(REAL[name], jax.random.key(seed))


def converted(name, y, bound):
    """Outputs of the four lines of one of the real converters, for inputs that are broadcast to ``[50, 4]``.

    All tests take this one shape, so that each kind is one program.
    """
    bounds = np.broadcast_to(np.float32(bound), (50, 1))
    return np.asarray(convert(REAL[name], np.broadcast_to(np.float32(y), (50, 4)), bounds, state_of(name)))


@ideal
@pytest.mark.parametrize("bound", [1.0, 10.0, 7.25])
def test_values_on_a_threshold_belong_to_the_code_above(adc, bound):
    # Thresholds of 6 bits are the multiples of 1/32 of the range: +-V_ref/4 and all residues on it are among them.
    k = np.arange(-32, 33)
    x = np.float32(bound) * np.float32(k / 32)
    expected = np.minimum(k + 0.5, 31.5) / 32 * bound
    np.testing.assert_allclose(convert(adc, x[:, None], bound, None)[:, 0], expected, rtol=1e-6)
    just_below = np.where(x == 0, np.float32(-1e-30), np.nextafter(x, np.float32(-np.inf)))
    expected = np.maximum(k - 0.5, -31.5) / 32 * bound
    np.testing.assert_allclose(convert(adc, just_below[:, None], bound, None)[:, 0], expected, rtol=1e-6)


@pytest.mark.parametrize("kind", [PipelineADC, CyclicADC])
def test_a_quarter_of_the_range_keeps_its_code(kind):
    # 4 bits, reference 1: 0.25 lies in [0.25, 0.375), -0.25 in [-0.25, -0.125).
    y = convert(kind(bits=4), np.float32([[0.25], [-0.25]]), 1.0, None)
    np.testing.assert_array_equal(y[:, 0], [0.3125, -0.1875])


@pytest.mark.parametrize("kind", [RampADC, SARADC, PipelineADC, CyclicADC])
@pytest.mark.parametrize("bits", [2, 14])
def test_ideal_circuits_are_the_uniform_converter(kind, bits):
    x = np.concatenate([np.linspace(-1.2, 1.2, 2003), np.arange(-(2**13), 2**13 + 1, 37) / 2**13]).astype(np.float32)
    expected = np.asarray(convert(ADC(bits=bits, style="mid-rise"), x, 1.0, None))
    np.testing.assert_array_equal(convert(kind(bits=bits), x, 1.0, None), expected)
    # Equation y(k): the end codes are half a step from the range.
    assert expected.max() == 1 - 0.5**bits
    assert expected.min() == -1 + 0.5**bits


@real
def test_nothing_beyond_the_range_changes_the_output(name):
    x = np.resize([-np.inf, -1e30, -2.5, 2.5, 1e30, np.inf], (50, 1))
    y = converted(name, x, 2.5)
    low, high = y[x[:, 0] < 0], y[x[:, 0] > 0]
    assert np.isfinite(y).all()
    assert (low == low[0]).all()
    assert (high == high[0]).all()
    assert (low < -2.2).all()
    assert (high > 2.2).all()


@real
def test_not_a_number_stays_visible(name):
    y = converted(name, [0.3, np.nan, 0.3, 0.3], 1.0)
    np.testing.assert_array_equal(np.isnan(y[0]), [False, True, False, False])


@real
def test_the_range_only_scales(name):
    x = np.random.default_rng(1).uniform(-1.1, 1.1, (50, 4)).astype(np.float32)
    one = converted(name, x, 1.0)
    np.testing.assert_array_equal(converted(name, 4 * x, 4.0), 4 * one)
    each = np.resize(np.float32([1, 2, 4, 8, 16]), (50, 1))  # ranges of their own
    np.testing.assert_array_equal(converted(name, each * x, each), each * one)


@real
def test_bfloat16_is_converted_in_float32(name):
    x = np.random.default_rng(1).uniform(-1, 1, (50, 4)).astype(jnp.bfloat16)
    y = convert(REAL[name], x, np.ones((50, 1), np.float32), state_of(name))
    assert y.dtype == jnp.float32
    np.testing.assert_allclose(y, converted(name, x, 1.0), rtol=1e-6)  # the same codes; two programs round apart


@pytest.mark.parametrize("name", ["ramp", "split SAR", "pipeline", "mid-rise"])
def test_float64_is_converted_in_float64(name):
    x = np.random.default_rng(0).uniform(-1, 1, (50, 4))
    narrow = converted(name, x, 1.0)
    with jax.enable_x64(True):
        y = convert(REAL[name], x, 1.0, state_of(name))
        assert y.dtype == jnp.float64
        np.testing.assert_allclose(y, narrow, atol=1e-6)


@real
def test_tiles_under_vmap_are_converted_one_by_one(name):
    adc, keys = REAL[name], [jax.random.key(seed) for seed in (8, 9, 10)]
    y = np.random.default_rng(9).uniform(-1, 1, (50, 3, 4)).astype(np.float32)
    bounds = np.ones((50, 1), np.float32)

    @jax.jit
    def tiles(y, keys):
        states = jax.vmap(lambda key: adc.fabricate(key, 4))(jnp.stack(keys))
        return jax.vmap(adc.convert, in_axes=(1, None, 0), out_axes=1)(y, bounds, states)

    together = np.asarray(tiles(y, keys))
    for i, key in enumerate(keys):
        alone = convert(adc, y[:, i], bounds, fabricate(adc, key))
        np.testing.assert_allclose(together[:, i], alone, rtol=1e-6)  # the same codes; two programs round apart


@real
def test_same_key_same_parts_and_another_key_others(name):
    once, other = (jax.tree.leaves(jax.tree.map(np.asarray, state_of(name, seed))) for seed in (3, 4))
    again = jax.tree.leaves(fabricate(REAL[name], jax.random.key(3)))
    for a, b in zip(once, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert any((a != b).any() for a, b in zip(once, other, strict=True))


def test_mismatch_is_swept_without_a_compilation():
    def deviation(mismatch):
        adc = SARADC(bits=6, capacitor_mismatch=mismatch)
        return adc.fabricate(jax.random.key(0), 500).dac.voltage[0].std()

    swept = jax.jit(jax.vmap(deviation))(np.float32([0.0, 0.01, 0.02]))
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
        REAL[name].convert(np.zeros(4, np.float32), 1.0, None)


@pytest.mark.parametrize("n_columns", [0, -1, 2.0, "4", None, True])
@pytest.mark.parametrize("adc", [ADC(), RampADC(), PipelineADC(comparator_offset=0.01)])
def test_impossible_numbers_of_columns_are_refused(adc, n_columns):
    with pytest.raises(InputError, match=r"n_columns = .*: must be an integer of at least 1"):
        adc.fabricate(jax.random.key(0), n_columns)


def test_circuits_have_at_most_14_bits():
    for kind in (RampADC, SARADC, PipelineADC, CyclicADC):
        with pytest.raises(InputError, match=rf"{kind.__name__}\.bits = 15: must be an integer between .* and 14"):
            kind(bits=15)


@pytest.mark.parametrize(
    ("kind", "bad"),
    [
        (RampADC, dict(sharing=2)),  # its DAC serves all lines, its comparators one each
        (PipelineADC, dict(split=True)),
    ],
)
def test_designs_without_a_part_refuse_its_fields(kind, bad):
    with pytest.raises(InputError, match=f"{kind.__name__} has no field '{next(iter(bad))}'"):
        kind(**bad)


def test_gain_is_read_with_its_unit():
    assert SARADC(amplifier_gain_db="60 dB").amplifier_gain_db == 60.0
