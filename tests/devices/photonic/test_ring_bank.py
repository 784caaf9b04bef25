"""Banks of rings: the cascade against a double loop, what compensation leaves, moments against reads, noise."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analogsim import InputError
from analogsim.devices import Photodiode, Ring, RingBank
from analogsim.devices.photonic import RINGS
from analogsim.devices.photonic.light import BOLTZMANN, CHARGE
from analogsim.devices.photonic.ring import cascade, linear_in_own_ring
from analogsim.devices.photonic.ring_bank import LOCK_BITS

SPACING_M = 0.8e-9
EXACT = RingBank(lock_bits=24, locking="pid")  # what is left of the lock does not show

#: One compilation for each structure.
program = jax.jit(lambda store, key, weights: store.program(key, weights))
read = jax.jit(lambda store, state, key=None: store.read(state, 0.0, key))


cascade_of = jax.jit(cascade)


@jax.jit
def by_own_ring(ring, shifts, spacing_m):
    """Weights of a bank as functions of each channel's own ring."""
    c, b, e = linear_in_own_ring(ring, shifts, spacing_m)
    phase = ring.phase(shifts)
    return c + b * ring.drop(phase) + e * ring.through(phase)


def held(store, key, weights):
    return read(store, program(store, key, weights))


def uniform(n_in, n_out, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).uniform(-1, 1, (n_in, n_out)).astype(dtype)


def double_loop(ring, shifts, spacing_m):
    """Drop and through of one bus in float64, ring after ring."""
    n = len(shifts)
    drop, through = np.zeros(n), np.zeros(n)
    for i in range(n):
        left = 1.0
        for k in range(n):
            phase = 2 * np.pi * (i * spacing_m - k * spacing_m - shifts[k]) / ring.fsr_m
            r1, r2, a = ring.r1, ring.r2, ring.amplitude
            below = 1 - 2 * r1 * r2 * a * np.cos(phase) + (r1 * r2 * a) ** 2
            drop[i] += left * (1 - r1**2) * (1 - r2**2) * a / below
            left *= ((r2 * a) ** 2 - 2 * r1 * r2 * a * np.cos(phase) + r1**2) / below
        through[i] = left
    return drop, through


@pytest.mark.parametrize(("ring", "spacing_m"), [(Ring(), 0.8e-9), (RINGS["TorchONN 5 um, low Q"](), 2e-9)])
def test_cascade_is_the_double_loop(ring, spacing_m):
    shifts = np.random.default_rng(3).uniform(-0.5e-9, 0.5e-9, (4, 9))
    expected = np.stack([double_loop(ring, row, spacing_m) for row in shifts], 1)
    with jax.enable_x64(True):
        np.testing.assert_allclose(cascade_of(ring, shifts, spacing_m), expected, atol=1e-12)
        weight = by_own_ring(ring, shifts, spacing_m)
        np.testing.assert_allclose(weight, expected[0] - expected[1], atol=1e-12)
    np.testing.assert_allclose(cascade_of(ring, shifts.astype(np.float32), spacing_m), expected, atol=1e-5)


def test_channels_a_free_spectral_range_apart_are_one():
    ring = Ring()
    drop, through = cascade_of(ring, np.zeros((1, 2), np.float32), ring.fsr_m)
    passed = float(ring.through(0.0))
    np.testing.assert_allclose(through[0], passed**2, atol=1e-5)
    np.testing.assert_allclose(drop[0], float(ring.drop(0.0)) * (1 + passed), atol=1e-5)


def test_wide_spacing_holds_the_wanted_matrix():
    fine = Ring(r1=0.998, r2=0.998, amplitude=0.9999)  # FWHM of 0.024 nm
    errors = []
    for spacing_m in (0.5e-9, 1e-9, 2e-9):
        store = EXACT.replace(ring=fine, channels=4, spacing_m=spacing_m, precompensated=False)
        weights = uniform(4, 16)
        errors.append(np.abs(held(store, None, weights).mean - weights).max())
    assert errors[-1] < 1e-3
    assert errors[0] > 2 * errors[1] > 4 * errors[2]


def test_precompensation_takes_spectral_crosstalk_away():
    weights = uniform(16, 16)
    alone = np.abs(held(EXACT.replace(precompensated=False), None, weights).mean - weights)
    solved = np.abs(held(EXACT, None, weights).mean - weights)
    assert 0.02 < np.sqrt((alone**2).mean()) < 0.05
    assert solved.max() < 4e-6


def test_precompensation_is_solved_to_the_precision_of_float64():
    with jax.enable_x64(True):
        weights = uniform(8, 4, dtype=np.float64)
        mean = held(EXACT, None, weights).mean
        assert mean.dtype == jnp.float64
        np.testing.assert_allclose(mean, weights, atol=1e-10)  # the curvature of 24 bits is below this


def test_extremes_are_held_as_far_as_crosstalk_lets_them():
    weights = np.tile(np.float32([1.0, 0.0, -1.0, 0.0]), (16, 4))
    mean = held(EXACT, None, weights).mean
    np.testing.assert_allclose(mean[:, :2], weights[:, :2], atol=4e-6)
    np.testing.assert_allclose(mean[:, 2::4], -1, atol=0.006)
    whole = held(EXACT.replace(full_scale=1.0), None, weights).mean
    assert np.abs(whole[:, 2::4] + 1).max() > 0.05  # a bank has no room to compensate what it holds at its limit
    np.testing.assert_allclose(held(EXACT, None, 3 * weights).mean, mean, atol=4e-6)  # clipped


def test_gain_is_what_an_isolated_ring_reaches():
    store = EXACT.replace(full_scale=1.0)
    drop, through = double_loop(store.ring, [SPACING_M / 2], SPACING_M)
    peak = np.subtract(*double_loop(store.ring, [0.0], SPACING_M))[0]
    gain = float(program(store, None, np.zeros((16, 16), np.float32)).gain)
    assert gain == pytest.approx(1 / min(peak, (through - drop)[0]), rel=1e-5)


def test_detunings_stay_within_half_a_channel():
    state = program(EXACT.replace(crosstalk=None), None, uniform(8, 4))
    assert float(state.commands.min()) >= 0
    assert float(state.commands.max()) <= SPACING_M / 2 * (1 + 1e-6)


def test_thermal_crosstalk_and_its_compensation():
    weights, share, length = uniform(8, 4), 0.1, 2.0
    clean = program(EXACT.replace(crosstalk=None), None, weights)
    known = EXACT.replace(crosstalk=share, crosstalk_length=length)
    np.testing.assert_allclose(held(known, None, weights).mean, weights, atol=5e-6)
    blind = known.replace(compensated=False)
    state = program(blind, None, weights)
    np.testing.assert_array_equal(state.commands, clean.commands)
    warmed = np.asarray(clean.commands, np.float64)
    shifts = warmed.copy()
    for k in range(8):
        for other in range(8):
            if k != other:
                shifts[:, k] += share * math.exp(-(abs(k - other) - 1) / length) * warmed[:, other]
    expected = np.stack([np.subtract(*double_loop(blind.ring, row, SPACING_M)) for row in shifts], 1)
    np.testing.assert_allclose(read(blind, state).mean, expected * float(state.gain), atol=1e-5)
    assert np.abs(read(blind, state).mean - weights).max() > 0.1


def test_moments_are_those_of_many_reads():
    reads = 4000
    store = RingBank(lock_bits=5)  # half widths of 1/16: far enough for the response's curvature
    state = program(store, None, uniform(8, 4))
    moments = read(store, state)
    sample = jax.jit(jax.vmap(lambda key: store.read(state, 0.0, key).mean))
    drawn = np.asarray(sample(jax.random.split(jax.random.key(5), reads)), np.float64)
    sigma = drawn.std(0)
    np.testing.assert_array_less(np.abs(drawn.mean(0) - moments.mean), 4 * sigma / math.sqrt(reads))
    kurtosis = ((drawn - drawn.mean(0)) ** 4).mean(0) / sigma**4
    error = sigma * np.sqrt((kurtosis - 1) / (4 * reads))
    # Neighbours, which the moments leave out, add a few 1e-3 where a weight itself hardly moves.
    np.testing.assert_array_less(np.abs(sigma - np.sqrt(moments.variance)), 4 * error + 2e-3)
    assert read(store, state, jax.random.key(5)).variance is None


def test_quadrature_is_the_integral():
    store = RingBank(lock_bits=3, channels=1)
    state = program(store, None, np.float32([[-0.4, 0.2, 0.7]]))
    z = np.linspace(-9, 9, 4001)
    density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi) * (z[1] - z[0])
    shifts = np.asarray(state.commands[:, 0], np.float64) + store.residual_m * z[:, None]
    weight = float(state.gain) * np.stack(
        [[np.subtract(*double_loop(store.ring, [shift], SPACING_M))[0] for shift in row] for row in shifts]
    )
    mean = density @ weight
    np.testing.assert_allclose(read(store, state).mean[0], mean, atol=1e-4)
    np.testing.assert_allclose(read(store, state).variance[0], density @ (weight - mean) ** 2, rtol=1e-3)


@pytest.mark.parametrize(("locking", "bits", "kelvin"), [("dither", 9.0, 3.84e-3), ("pid", 11.3, 0.781e-3)])
def test_a_lock_has_its_bits_of_precision(locking, bits, kelvin):
    store = RingBank(locking=locking)
    state = program(store, None, np.zeros((16, 16), np.float32))
    deviation = np.sqrt(read(store, state).variance) / float(state.gain)
    np.testing.assert_allclose(1 - np.log2(deviation), bits, atol=0.1)  # range of 2 over the standard deviation
    assert LOCK_BITS[locking] == bits
    assert float(store.residual_k) == pytest.approx(kelvin, rel=2e-3)
    assert store.ring.half_widths(store.residual_m) == pytest.approx(2 ** (1 - bits))


def test_open_rings_share_one_ambient_for_life():
    store = RingBank(locking="open", ambient_k=0.5)
    weights = uniform(8, 4)
    state = program(store, jax.random.key(1), weights)
    moments, again = read(store, state), read(store, state, jax.random.key(9))
    assert moments.variance is None
    np.testing.assert_array_equal(moments.mean, again.mean)
    shift = 0.5 * float(state.ambient) * 0.08e-9
    tuned = np.asarray(program(EXACT.replace(crosstalk=None), None, weights).commands, np.float64)
    expected = np.stack([np.subtract(*double_loop(store.ring, row + shift, SPACING_M)) for row in tuned], 1)
    np.testing.assert_allclose(moments.mean, expected * float(state.gain), atol=2e-5)
    ambients = jax.jit(jax.vmap(lambda key: store.program(key, weights).ambient))
    drawn = np.asarray(ambients(jax.random.split(jax.random.key(2), 2000)))
    assert abs(float(drawn.mean())) < 4 / math.sqrt(2000)
    assert abs(float(drawn.std()) - 1) < 4 / math.sqrt(4000)
    with pytest.raises(InputError, match="random key"):
        program(store, None, weights)


def test_a_tenth_of_a_kelvin_takes_a_tenth_of_a_zero_weight():
    # Q = 10^4: the gradient is -1 a half width, and 0.1 K shifts by 0.008 of 0.079 nm.
    store = RingBank(locking="open", channels=1, full_scale=1.0)
    state = program(store, jax.random.key(0), np.zeros((1, 1), np.float32))._replace(ambient=np.float32(1))
    assert float(read(store, state).mean[0, 0] / state.gain) == pytest.approx(-0.098, abs=0.002)


def test_noise_is_that_of_two_diodes_in_two_symbols(key):
    diode = Photodiode(relative_intensity_noise_db=-125.0, dark_current_a=2e-6)
    store = RingBank(detector=diode, laser_w=2e-3)
    weights, x = uniform(8, 4), np.float32([0.9, -0.7, 0.0, 0.3, -1.0, 0.5, 0.2, -0.1])
    state = program(store, None, weights)
    claimed = np.asarray(store.noise(x, x @ weights, state))
    rng, draws, bandwidth = np.random.default_rng(0), 20_000, 2.5e9
    power = 2e-3 / 32 * np.stack([np.maximum(x, 0), np.maximum(-x, 0)])  # [symbol, input]
    flicker = 1 + math.sqrt(10**-12.5 * bandwidth) * rng.standard_normal((draws, 2, 8))
    dark = 2 * CHARGE * 2e-6 * bandwidth + 4 * BOLTZMANN * 300 / 5e3 * bandwidth
    currents = []
    for port in (state.ports.drop, state.ports.through):
        current = (power * flicker) @ np.asarray(port, np.float64)  # [draws, symbol, output]
        shot = 2 * CHARGE * current * bandwidth
        currents.append(current + np.sqrt(shot + dark) * rng.standard_normal(current.shape))
    difference = currents[0] - currents[1]
    y = float(state.gain) * (difference[:, 0] - difference[:, 1]) / (2e-3 / 32)
    np.testing.assert_allclose(y.std(0), claimed, rtol=4 / math.sqrt(2 * draws))
    np.testing.assert_allclose(y.mean(0), x @ weights, atol=4 * claimed.max() / math.sqrt(draws))


def test_noise_falls_with_light_and_is_none_without_diodes():
    weights, x = uniform(8, 4), np.ones((5, 8), np.float32)
    state = program(RingBank(), None, weights)
    noise = [RingBank(laser_w=laser_w).noise(x, x @ weights, state) for laser_w in (1e-8, 1e-7)]
    assert noise[0].shape == (5, 4)
    np.testing.assert_allclose(noise[0] / noise[1], 10, rtol=0.05)  # thermal
    assert RingBank(detector=None).noise(x, x @ weights, state) is None


def test_more_inputs_than_channels_are_refused():
    weights = np.zeros((17, 2), np.float32)
    for call in (
        lambda: RingBank().program(None, weights),
        lambda: RingBank().cost(weights, 1.0),
        lambda: jax.jit(lambda store, w: store.program(None, w))(RingBank(), weights),
    ):
        with pytest.raises(InputError, match=r"17 inputs.*16 channels.*Hardware\.rows = 16"):
            call()
    assert RingBank().most_channels == 22  # 18.2 nm / 0.8 nm
    assert RingBank(channels=22).channels == 22
    with pytest.raises(InputError, match=r"RingBank\.channels = 23.*at most 22"):
        RingBank(channels=23)


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"locking": "open", "lock_bits": 8}, "lock_bits"),
     ({"spacing_m": 0.1e-9}, r"spacing_m.*both signs")],
)  # fmt: skip
def test_impossible_banks_are_refused(fields, message):
    with pytest.raises(InputError, match=rf"RingBank\.{message}"):
        RingBank(**fields)
    with pytest.raises(InputError, match="complex"):
        RingBank().program(None, np.ones((2, 2), np.complex64))


def test_costs_are_those_of_light_converters_and_heaters():
    store = RingBank(laser_w=5e-3, rate_hz=2e9, tuning_w=0.155e-3)
    found = {action.name: (action.quantity, action.unit) for action in store.cost(np.zeros((10, 4), np.float32), 0.3)}
    assert found["laser"] == (pytest.approx(5e-12), "J")  # 5 mW for 1 ns
    assert found["modulator"] == (20, "symbol")
    assert found["receiver"] == (8, "sample")
    assert found["hold"] == (pytest.approx(6.2e-3), "W")  # 40 rings
    assert store.n_cells(10, 4) == 40
    assert store.time_limit_s is None
    assert store.read_time_s == pytest.approx(1e-9)


def test_derivative_of_the_weights_passes_straight():
    probe = uniform(8, 4, seed=7)
    gradient = jax.jit(jax.grad(lambda w: jnp.sum(probe * held(RingBank(), None, w).mean)))(uniform(8, 4))
    np.testing.assert_allclose(gradient, probe, rtol=1e-6)


@pytest.mark.parametrize(("locking", "precompensated"), [("open", False), ("dither", True)])
def test_every_number_has_a_finite_gradient(locking, precompensated):
    weights = np.float32([[1.0, -1.0, 0.0], [0.5, 2.0, -0.5]])
    x = np.float32([0.0, -1.0])

    def total(store):
        state = store.program(jax.random.key(0), weights)
        moments = store.read(state, 0.0)
        noise = jnp.sum(store.noise(x, x @ moments.mean, state))
        return jnp.sum(moments.mean**2) + noise + (0 if moments.variance is None else jnp.sum(moments.variance))

    gradient = jax.jit(jax.grad(total))(RingBank(locking=locking, precompensated=precompensated))
    assert all(np.isfinite(leaf) for leaf in jax.tree.leaves(gradient))
    assert abs(float(gradient.ring.shift_m_per_k if locking == "open" else gradient.laser_w)) > 0


def test_precision_sweeps_without_another_compilation():
    weights = uniform(4, 2)

    def deviation(bits):
        store = RingBank(lock_bits=bits)
        return jnp.sqrt(store.read(store.program(None, weights), 0.0).variance)

    spreads = jax.jit(jax.vmap(deviation))(jnp.array([8.0, 9.0, 10.0]))
    np.testing.assert_allclose(spreads[0] / spreads[1], 2, rtol=0.01)
    np.testing.assert_allclose(spreads[1] / spreads[2], 2, rtol=0.01)


def test_channels_at_no_distance_are_refused_in_words():
    for spacing_m in (5e-324, 1e-300, 1e-12):
        with pytest.raises(InputError, match=r"RingBank.spacing_m = .*use a spacing wider than the linewidth"):
            RingBank(spacing_m=spacing_m)
