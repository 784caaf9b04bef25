"""Ramp, SAR, pipeline and cyclic converters: code for code what a second implementation in NumPy gives."""

import functools

import jax
import numpy as np
import pytest
from adc_kinds import convert, fabricate
from circuits_numpy import pipeline, plain_levels, ramp, sar, split_levels, value

from analogsim.base import normal, stream
from analogsim.converters import SARADC, CyclicADC, PipelineADC, RampADC
from analogsim.converters.capacitor_dac import all_codes, capacitor_dac
from tests.support.sampling import assert_moments

LINES, GROUP, BOUND = 5, 2, 3.0
X = np.random.default_rng(5).uniform(-1.05, 1.05, (600, LINES)).astype(np.float32)


_drawn = jax.jit(lambda key, name, shape: normal(stream(key, name), shape), static_argnums=(1, 2))


def drawn(key, name, spread, shape):
    """The parts that a converter draws, from the stream of their name."""
    return spread * np.asarray(_drawn(key, name, shape), np.float64)


@functools.partial(jax.jit, static_argnames=("signed", "split"))
def dac_of(deviations, signed, split):
    """A capacitor DAC with these relative deviations of its capacitors."""
    return capacitor_dac(deviations, signed=signed, split=split)


def assert_same_codes(adc, key, code_of):
    """``code_of(x, line)`` is the second implementation; inputs too close to a threshold for float32 are left out."""
    y = np.asarray(convert(adc, X * np.float32(BOUND), BOUND, fabricate(adc, key, LINES)), np.float64)
    compared = 0
    for line in range(LINES):
        x = np.clip((X[:, line] * np.float32(BOUND)).astype(np.float64) / BOUND, -1, 1)
        expected, below, above = (code_of(x + shift, line) for shift in (0, -3e-6, 3e-6))
        clear = below == above
        np.testing.assert_allclose(y[clear, line], BOUND * value(expected[clear], adc.bits), rtol=1e-6)
        compared += clear.sum()
    assert compared > 0.98 * X.size


def decibels(gain_db):
    return np.inf if gain_db is None else 10 ** (gain_db / 20)


@pytest.mark.parametrize(
    ("bits", "signed", "gain_db"),
    [(8, True, 38.0), (2, True, None), (11, False, 70.0)],
)
def test_ramp(key, bits, signed, gain_db):
    adc = RampADC(bits=bits, signed=signed, amplifier_gain_db=gain_db, capacitor_mismatch=0.05, comparator_offset=0.02)
    eps = drawn(key, "capacitor mismatch", 0.05, (bits + 2, 1))[:, 0]
    offsets = drawn(key, "comparator offset", 0.02, (LINES,))
    levels = plain_levels(eps, bits, signed, decibels(gain_db))
    assert_same_codes(adc, key, lambda x, line: ramp(x, levels, offsets[line]))


@pytest.mark.parametrize("bits", [4, 9])
def test_ramp_without_mismatch(key, bits):
    adc = RampADC(bits=bits, amplifier_gain_db=30.0, comparator_offset=0.1)
    offsets = drawn(key, "comparator offset", 0.1, (LINES,))
    levels = plain_levels(np.zeros(bits + 2), bits, True, decibels(30))
    assert_same_codes(adc, key, lambda x, line: ramp(x, levels, offsets[line]))


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize(
    ("bits", "signed", "gain_db"), [(8, True, 38.0), (8, False, None), (3, True, 30.0), (5, False, 40.0)]
)
def test_sar(key, bits, signed, gain_db, split):
    adc = SARADC(
        bits=bits,
        signed=signed,
        split=split,
        amplifier_gain_db=gain_db,
        capacitor_mismatch=0.06,
        comparator_offset=0.01,
        sharing=GROUP,
    )
    eps = drawn(key, "capacitor mismatch", 0.06, (bits + 2, 3))
    offsets = drawn(key, "comparator offset", 0.01, (3,))
    levels = split_levels if split else plain_levels
    tables = [levels(eps[:, i], bits, signed, decibels(gain_db)) for i in range(3)]
    assert_same_codes(adc, key, lambda x, line: sar(x, tables[line // GROUP], offsets[line // GROUP]))


@pytest.mark.parametrize("kind", [PipelineADC, CyclicADC])
@pytest.mark.parametrize(("bits", "gain_db", "parasitic"), [(8, 45.0, 0.7), (2, None, None)])
def test_pipeline_and_cyclic(key, kind, bits, gain_db, parasitic):
    adc = kind(
        bits=bits,
        amplifier_gain_db=gain_db,
        parasitic_capacitance=parasitic,
        capacitor_mismatch=0.03,
        comparator_offset=0.05,
        sharing=GROUP,
    )
    stages = bits - 1 if kind is PipelineADC else 1
    c1, c2 = 1 + drawn(key, "capacitor mismatch", 0.03, (2, stages, 3))
    offsets = drawn(key, "comparator offset", 0.05, (2 * stages + 1, 3))

    def code_of(x, line):
        n = line // GROUP
        parts = (c1[:, n], c2[:, n], offsets[:stages, n], offsets[stages:-1, n])
        chain = [np.broadcast_to(part, (bits - 1,)) for part in parts]  # a cyclic converter's one stage again and again
        return pipeline(x, *chain, offsets[-1, n], parasitic or 0.0, decibels(gain_db))

    assert_same_codes(adc, key, code_of)


def test_a_signed_dac_by_hand():
    # 3 bits, mismatches 0.1, 0.2, -0.1 and 0.3 in the feedback: C = 1.1, 2 + 0.2 sqrt 2, 4 - 0.2, C_fb = 4 + 0.6.
    dac = jax.tree.map(np.asarray, dac_of(np.float32([[0.1], [0.2], [-0.1], [0.3], [9.0]]), signed=True, split=False))
    c = np.array([1.1, 2 + 0.2 * 2**0.5, 3.8])
    np.testing.assert_allclose(dac.voltage[:, 0], c / 3.8, rtol=1e-6)
    np.testing.assert_allclose(dac.load[:, 0], c / 4.6, rtol=1e-6)
    # Codes 0 .. 7 stand for -4 .. 3.
    by_code = jax.jit(lambda voltage: all_codes(voltage, signed=True, odd=True))(dac.voltage[:, 0])
    expected = np.array([-3.8, -c[0] - c[1], -c[1], -c[0], 0, c[0], c[1], c[0] + c[1]]) / 3.8
    np.testing.assert_allclose(by_code, expected, rtol=1e-6)


@pytest.mark.parametrize("bits", [2, 3, 8, 13])
def test_nominal_dacs_are_binary_to_the_last_digit(bits):
    kinds = [dict(signed=signed, split=split) for signed in (False, True) for split in (False, True)]
    dacs = jax.jit(lambda deviations: [dac_of(deviations, **kind) for kind in kinds])(
        np.zeros((bits + 2, 1), np.float32)
    )
    exact = 2.0 ** np.arange(bits) / 2 ** (bits - 1)
    for kind, dac in zip(kinds, dacs, strict=True):
        np.testing.assert_array_equal(np.asarray(dac.voltage)[:, 0], exact, err_msg=str(kind))


def test_a_bridge_that_is_too_large_makes_the_lower_bits_heavy():
    # 4 bits, signed, h = 2: C_L = 1, 2 and an end of 1, C_M = 1, bridge 4/3 (1 + d): C_Ltot = 4, C_Mtot = 1.
    bridge = 4 / 3 * 1.1
    deviation = (bridge - 4 / 3) / (4 / 3) ** 0.5
    dac = dac_of(np.float32([[0], [0], [0], [0], [0], [deviation]]), signed=True, split=True)
    whole = (4 + bridge) * (1 + bridge) - bridge**2
    expected = [bridge / whole, 2 * bridge / whole, (4 + bridge) / whole, 1]
    np.testing.assert_allclose(np.asarray(dac.voltage)[:, 0], expected, rtol=1e-6)


def test_parts_are_gaussian_with_the_standard_deviation_of_theory(key):
    lines = 20_000
    stages = PipelineADC(bits=2, capacitor_mismatch=0.01, comparator_offset=0.02).fabricate(key, lines)
    # C2/C1 of two N(1, s^2): mean 1 + s^2, spread sqrt(2) s to first order.
    assert_moments(stages.ratio, 1.0001, 0.01 * 2**0.5)
    for offset in (stages.upper, stages.lower, stages.last):
        assert_moments(offset, 0.0, 0.02)
    register = SARADC(bits=4, signed=False, capacitor_mismatch=0.01).fabricate(key, lines)
    # 2 C_n/C_fb: relative variance s^2 (1/2^n + 1/2^b).
    for n in range(4):
        nominal = 2.0**n / 8
        assert_moments(np.asarray(register.dac.voltage[n]) / nominal, 1.0 + 1e-4 / 16, 0.01 * (2.0**-n + 1 / 16) ** 0.5)
    assert_moments(RampADC(comparator_offset=0.03).fabricate(key, lines).offsets, 0.0, 0.03)


def test_sources_draw_from_their_own_streams(key):
    both = fabricate(SARADC(bits=4, capacitor_mismatch=0.02, comparator_offset=0.01), key, 3)
    capacitors = fabricate(SARADC(bits=4, capacitor_mismatch=0.02), key, 3)
    comparators = fabricate(SARADC(bits=4, comparator_offset=0.01), key, 3)
    np.testing.assert_array_equal(both.dac.voltage, capacitors.dac.voltage)
    np.testing.assert_array_equal(both.offsets, comparators.offsets)


@pytest.mark.parametrize("kind", [SARADC, PipelineADC, CyclicADC])
def test_lines_that_share_a_converter_are_equal_and_others_independent(key, kind):
    adc = kind(bits=4, capacitor_mismatch=0.02, comparator_offset=0.01, sharing=3)
    many = jax.jit(lambda key: jax.vmap(lambda k: adc.fabricate(k, 8))(jax.random.split(key, 4000)))
    chips = many(key)  # groups of 3, 3 and 2
    for part in jax.tree.leaves(chips):
        part = np.asarray(part).reshape(4000, -1, 8)
        for first, last in ((0, 2), (3, 5), (6, 7)):
            np.testing.assert_array_equal(part[..., first], part[..., last])
        if np.ptp(part[:, 0, 0]) > 0:  # a signed DAC's last voltage is the reference itself
            for a, b in ((0, 3), (3, 6), (0, 6)):
                assert abs(np.corrcoef(part[:, 0, a], part[:, 0, b])[0, 1]) < 4 / 4000**0.5


def test_ramp_lines_share_the_dac_but_not_the_comparator(key):
    x = np.float32(np.linspace(-1, 1, 2001)[:, None] * np.ones(3))
    dac_only, both = (
        RampADC(bits=6, capacitor_mismatch=0.1),
        RampADC(bits=6, capacitor_mismatch=0.1, comparator_offset=0.1),
    )
    shared, own = (np.asarray(convert(adc, x, 1.0, fabricate(adc, key, 3))) for adc in (dac_only, both))
    np.testing.assert_array_equal(shared[:, 0], shared[:, 2])
    assert (own[:, 0] != own[:, 2]).any()


def test_redundancy_forgives_the_stages_comparators_but_not_the_last():
    x = np.linspace(-1, 1, 4001, dtype=np.float32)[:, None]
    adc = PipelineADC(bits=6, comparator_offset=0.01)
    state = jax.tree.map(np.asarray, fabricate(adc, jax.random.key(1), 1))
    state = jax.tree.map(np.zeros_like, state)._replace(ratio=state.ratio, inverse_feedback=state.inverse_feedback)
    ideal = np.asarray(convert(adc, x, 1.0, state))
    wrong = state._replace(upper=state.upper + np.float32(0.2), lower=state.lower - np.float32(0.2))
    np.testing.assert_array_equal(convert(adc, x, 1.0, wrong), ideal)
    # The last comparator decides at zero of a residue that is 2^(b-1) times as large: 0.5 there is half an LSB less.
    late = np.asarray(convert(adc, x, 1.0, state._replace(last=state.last + np.float32(0.5))))
    assert (ideal - late).mean() == pytest.approx(0.5 / 2**5, rel=0.02)


@pytest.mark.parametrize("split", [False, True])
def test_a_binary_search_is_monotonic_whatever_the_capacitors(key, split):
    adc = SARADC(bits=8, split=split, capacitor_mismatch=0.25)
    y = convert(adc, np.linspace(-1, 1, 4001, dtype=np.float32)[:, None], 1.0, fabricate(adc, key, 40))
    assert (np.diff(y, axis=0) >= 0).all()


def test_a_ramp_is_monotonic_where_its_levels_are(key):
    adc = RampADC(bits=6, capacitor_mismatch=0.15)
    x = np.linspace(-1, 1, 4001, dtype=np.float32)[:, None]
    for seed in range(20):
        state = fabricate(adc, jax.random.fold_in(key, seed), 1)
        y = np.asarray(convert(adc, x, 1.0, state))
        ascending = (np.diff(state.codes) > 0).all()
        assert ascending == (np.diff(y, axis=0) >= 0).all()
