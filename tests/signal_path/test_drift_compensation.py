"""Factors of drift compensation: what they restore, their bias by zero weights, the noise of calibrating reads."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from analogsim import ADC, Hardware, InputError
from analogsim.devices import PCM, BitSlices, Crossbar, Differential, GenericCell, Offset
from analogsim.signal_path import programmed
from tests.support.sampling import assert_moments

YEAR_S = 31557600.0
N = 192


@functools.cache
def drawn(density):
    """Normal weights ``[N, N]``, of which this share is not zero."""
    rng = np.random.default_rng(0)
    return np.float32(rng.normal(size=(N, N)) * (rng.random((N, N)) < density))


def depthwise():
    """Kernels of nine weights along the diagonal of one tile, whose other columns are empty."""
    held = np.zeros((N, N), np.float32)
    for column in range(N // 9):
        held[9 * column : 9 * column + 9, column] = np.random.default_rng(column).normal(size=9)
    return held


def pcm(estimator="projection", compensation="global", **parts):
    store = Crossbar(cell=PCM(), **parts)
    return Hardware(store=store, drift_compensation=compensation, drift_estimator=estimator)


@functools.partial(jax.jit, static_argnames="time_s")
def written_and_read(hardware, weights, key, time_s=YEAR_S):
    """Codes, what lines hold at once and later ``[rows, n_columns]``, and the factor; without the noise of reads."""
    held = programmed.program(hardware, weights, key)
    later = held.read(time_s, None, False)
    return held.codes, held.read(0.0, "none", False).mean[0, 0], later.mean[0, 0], later.gain[0, 0, 0]


def left(hardware, weights):
    """What is left of the weights' share of the lines after a year: sum T g W(t) / sum T W(0)."""
    _, before, now, gain = (
        np.asarray(a, np.float64) for a in written_and_read(hardware, weights, jax.random.key(0))[:4]
    )
    t = np.asarray(weights / np.abs(weights).max(axis=0, keepdims=True, initial=1e-30), np.float64)
    return float(np.sum(t * gain * now) / np.sum(t * before))


def left_in_numpy(weights, seed):
    """The same by the published estimator, written again: one-sided pairs of the published cell, many reads each."""
    rng = np.random.default_rng(seed)
    t = weights / np.abs(weights).max(axis=0, initial=1e-30)

    def cells(target):  # uS
        x = target / 25
        g = np.maximum(target + (0.26348 + 1.9650 * x - 1.1731 * x**2) * rng.standard_normal(x.shape), 0)
        log_x = np.log(np.maximum(g / 25, 1e-7))
        mu, sigma = np.clip(0.0244 - 0.0155 * log_x, 0.049, 0.1), np.clip(-0.0059 - 0.0125 * log_x, 0.008, 0.045)
        q = np.minimum(0.0088 / np.maximum(x, 1e-7) ** 0.65, 0.2)
        now = g * ((YEAR_S + 20) / 20) ** -np.abs(mu + sigma * rng.standard_normal(x.shape))
        # Reads are cut off at zero, which lifts the mean of the loudest cells: of max(1 + s xi, 0).
        s0, s1 = (q * math.sqrt(math.log((t + 20) / 500e-9)) for t in (0.0, YEAR_S))
        lift = [stats.norm.cdf(1 / s) + s * stats.norm.pdf(1 / s) for s in (s0, s1)]
        return g * lift[0], now * lift[1]

    (p0, p1), (m0, m1) = cells(25 * np.maximum(t, 0)), cells(25 * np.maximum(-t, 0))
    before, now = p0 - m0, p1 - m1
    return np.sum(t * now) / np.sum(t * before) * np.abs(before).mean() / np.abs(now).mean()


@pytest.mark.parametrize("density", [1.0, 0.1, 0.02])
def test_zero_weights_bias_the_published_factor_and_not_the_projection(density):
    weights = drawn(density)
    # 8-bit codes in the place of T: rounding of 1/254 a weight, independent of what drifts.
    assert left(pcm(), weights) == pytest.approx(1.0, abs=2e-3)
    published = left(pcm("mean absolute"), weights)
    others = [left_in_numpy(weights, seed) for seed in range(12)]
    assert abs(published - np.mean(others)) < 4 * np.std(others, ddof=1) * math.sqrt(1 + 1 / 12)
    assert published > {1.0: 1.0, 0.1: 1.03, 0.02: 1.08}[density]


def test_shared_groups_and_both_polarities_at_half_the_window_are_as_free_of_bias():
    assert left(pcm(), depthwise()) == pytest.approx(1.0, abs=2e-3)
    assert left(pcm("mean absolute"), depthwise()) > 1.05
    two_sided = Differential(sides=2)  # cells that hold zero conduct half the window, and err as much
    assert left(pcm(mapping=two_sided), drawn(0.1)) == pytest.approx(1.0, abs=2e-3)
    assert left(pcm("mean absolute", mapping=two_sided), drawn(0.1)) < 0.8


@pytest.mark.parametrize(
    ("mapping", "compensation"),
    [(Differential(slices=BitSlices(widths=(3, 4))), "global"), (Offset(), "column")],
    ids=["slices", "offset"],
)
def test_the_factor_by_hand(mapping, compensation):
    weights = drawn(0.1)[:, :3]
    hardware = pcm(compensation=compensation, mapping=mapping)
    codes, before, now, gain = (
        np.asarray(a, np.float64) for a in written_and_read(hardware, weights, jax.random.key(1))
    )
    t = weights / np.abs(weights).max(axis=0)
    if isinstance(mapping, Offset):
        lines, counts = (1 + t) / 2, np.ones(3)
    else:
        k = np.round(np.abs(t) * 127)
        lines = np.concatenate([np.sign(t) * np.mod(k, 8) / 7, np.sign(t) * np.floor(k / 8) / 15], axis=1)
        counts = np.repeat([7.0, 15.0 * 8], 3)
    np.testing.assert_allclose(codes[0, 0], np.round(127 * lines), atol=1.0)  # a tie may go either way
    numerator, denominator = (np.sum(codes[0, 0] * a, axis=0) for a in (before, now))
    expected = numerator / denominator
    if compensation == "global":
        expected = np.sum(counts**2 * numerator) / np.sum(counts**2 * denominator)
    np.testing.assert_allclose(gain, np.broadcast_to(expected, gain.shape), rtol=1e-5)


def test_a_line_of_zeros_is_left_as_it_is():
    weights = np.float32([[1.0, 0.0], [0.5, 0.0]])
    gain = written_and_read(pcm(compensation="column"), weights, jax.random.key(0))[3]
    assert gain[0] > 1.5
    assert gain[1] == 1


# --- calibrating reads -----------------------------------------------------------------------------------------------

ROWS, CHIPS, NOISE, ADC_NOISE = 16, 4000, 0.05, 0.04
W = np.linspace(0.2, 1.0, ROWS, dtype=np.float32)[:, None] * np.float32([1.0, -1.0])


@functools.partial(jax.jit, static_argnames="compensation")
def gains(hardware, keys, times_s, compensation="global"):
    """``[chip, time, lines or 1]``."""

    def chip(key):
        held = programmed.program(hardware, W, key)
        return jax.vmap(lambda t: held.read(t, compensation).gain[0, 0, 0])(times_s)

    return jax.vmap(chip)(keys)


def still(spectrum="white", **parts):
    """Cells that do not drift, behind a converter with noise."""
    cell = GenericCell(read_noise=NOISE, spectrum=spectrum)
    return Hardware(store=Crossbar(cell=cell), adc=ADC(bits=8, range=10.0, noise=ADC_NOISE), **parts)


def found(hardware, times_s=(60.0, 3600.0), compensation="global"):
    keys = jax.random.split(jax.random.key(3), CHIPS)
    return np.asarray(gains(hardware, keys, jnp.asarray(times_s), compensation), np.float64)


def expected_deviation(variance, weights):
    """Of sum T (W + noise) / sum T W, for entries with this variance."""
    return math.sqrt(np.sum(weights**2 * variance)) / np.sum(weights**2)


@pytest.mark.parametrize(("compensation", "reads"), [("global", 1.0), ("column", 1.0), ("global", 16.0)])
def test_a_factor_has_the_noise_of_its_calibrating_reads(compensation, reads):
    gain = found(still(calibration_reads=reads), compensation=compensation)
    of = np.asarray(W, np.float64) if compensation == "global" else np.asarray(W[:, :1], np.float64)
    # The readout after programming is as noisy: of g = (1 + a)/(1 + b), mean 1 + b^2 and spread sqrt(2) to first order.
    deviation = expected_deviation(((NOISE * of) ** 2 + ADC_NOISE**2) / reads, of)
    assert gain.shape == (CHIPS, 2, 1 if compensation == "global" else 2)
    assert_moments(gain[:, 0, 0], 1 + deviation**2, math.sqrt(2) * deviation * (1 + 1.5 * deviation**2))
    # Two times share what was read after programming: half of their variance.
    assert np.corrcoef(gain[:, 0, 0], gain[:, 1, 0])[0, 1] == pytest.approx(0.5, abs=4 * 0.75 / math.sqrt(CHIPS))


def test_the_published_readout_has_the_noise_of_its_reads():
    gain = found(still(calibration_reads=4.0, drift_estimator="mean absolute"), (60.0,))[:, 0, 0]
    # All weights are many spreads above zero: |W| is as noisy as W.
    deviation = math.sqrt(np.sum((NOISE * W) ** 2 + ADC_NOISE**2) / 4) / np.sum(np.abs(W))
    assert_moments(gain, 1 + deviation**2, math.sqrt(2) * deviation)


def test_what_fluctuates_slowly_stays_however_many_reads_are_averaged():
    of = np.asarray(W, np.float64)

    def slow(time_s):
        cut = math.exp(1.5 - 0.5772156649) / (2 * math.pi)
        return expected_deviation((NOISE * of) ** 2 * math.log(cut * (time_s + 20) / 1e-3), of)

    averaged = found(still("1/f", calibration_reads=1e9), (3600.0,))[:, 0, 0]
    both = math.hypot(slow(0.0), slow(3600.0))
    assert_moments(averaged, 1 + slow(3600.0) ** 2, both * (1 + 1.5 * both**2))
    # Without a number of reads the readout after programming is exact.
    exact = found(still("1/f"), (3600.0,))[:, 0, 0]
    assert_moments(1 / exact, 1.0, slow(3600.0))
    np.testing.assert_allclose(found(still(), (3600.0,)), 1.0, rtol=1e-6)


def test_calibrating_reads_follow_from_the_chip_and_the_time():
    hardware, key = still(calibration_reads=1.0), jax.random.key(4)
    held = programmed.program(hardware, W, key)
    first, again, later = (float(held.read(t, "global").gain[0, 0, 0, 0]) for t in (60.0, 60.0, 61.0))
    assert first == again != later
    with pytest.raises(InputError, match="calibrating reads draw noise"):
        programmed.program(Hardware(calibration_reads=1.0), W, None)
