"""Detection of light: noise, effective bits, the power they take, quantum limits, photon counts."""

import jax
import numpy as np
import pytest

from analogsim import InputError
from analogsim.devices import Homodyne, Photodiode
from analogsim.devices.photonic.detection import clicks, counts, standard_quantum_limit
from analogsim.devices.photonic.light import photon_j

Q, K = 1.602176634e-19, 1.380649e-23


def test_a_photon_of_telecom_light():
    assert photon_j() == pytest.approx(1.28158e-19, rel=1e-5)
    # The published 50 zJ a multiplication are 0.39 photons.
    assert 50e-21 / photon_j() == pytest.approx(0.39, abs=0.005)


def test_the_variance_of_a_current_is_the_sum_of_its_four_parts():
    diode, power, bandwidth = Photodiode(), 2e-5, 3e9
    shot, dark = 2 * Q * 1.0 * power * bandwidth, 2 * Q * 25e-9 * bandwidth
    thermal, laser = 4 * K * 300 * bandwidth / 5e3, 1e-15 * power**2 * bandwidth
    np.testing.assert_allclose(diode.variance(power, bandwidth), shot + dark + thermal + laser, rtol=1e-6)


@pytest.mark.parametrize(("load", "expected"), [(50.0, 1.03e-3), (5e3, 10.3e-6)])
def test_where_shot_noise_takes_over(load, expected):
    assert float(Photodiode(load_ohm=load).shot_limit_w()) == pytest.approx(expected, rel=5e-3)


@pytest.mark.parametrize("bits", [1.0, 4.0, 6.5, 8.5])
def test_the_required_power_has_the_bits_that_were_asked_for(bits):
    diode = Photodiode()
    power = diode.required_power_w(bits)
    assert float(diode.enob(power)) == pytest.approx(bits, abs=1e-4)


def test_power_grows_by_two_or_by_four_a_bit_as_noise_is_thermal_or_shot():
    quiet = Photodiode(relative_intensity_noise_db=-250, dark_current_a=0)
    thermal, shot = quiet.replace(load_ohm=1.0), quiet.replace(load_ohm=1e9)
    # A bit is a factor of 4 in the signal's power over the noise. What is left of shot noise in the second allows 5e-4.
    assert shot.required_power_w(9) / shot.required_power_w(8) == pytest.approx(4, rel=1e-5)
    assert thermal.required_power_w(3) / thermal.required_power_w(2) == pytest.approx(2, rel=5e-4)


def test_effective_bits_are_those_of_a_full_scale_sine():
    # SNR = 1.5 4^b: the power of a sine of 2^b steps, 4^b/8, over that of rounding, 1/12.
    diode = Photodiode()
    for bits in (2, 6, 8):
        assert float(diode.snr(diode.required_power_w(bits))) == pytest.approx(1.5 * 4**bits, rel=1e-5)


def test_intensity_noise_is_a_limit_that_no_power_passes():
    # SNR < 1 / (RIN B) = 4e5, 56.02 dB, 9.01 bits.
    with pytest.raises(InputError, match=r"bits = 10: no power is enough.* less than 9\.01 bits"):
        Photodiode().required_power_w(10, 2.5e9)


def test_strict_bits_are_those_whose_rounding_equals_the_noise():
    diode = Photodiode()
    sigma = np.sqrt(float(diode.variance(1e-4)))
    assert float(diode.strict_bits(1e-4)) == pytest.approx(np.log2(1e-4 / (sigma * np.sqrt(12))), rel=1e-5)


def test_homodyne_detection_reaches_a_quarter_photon():
    # Without dark and thermal noise the variance of an amplitude of 1 is 1 / (4 eta n).
    detector = Homodyne(diode=Photodiode(dark_current_a=0, load_ohm=1e9, temperature_k=1e-3))
    photons = 1e-9 / photon_j() / 5e9
    eta = 1.0 * photon_j() / Q
    assert float(detector.efficiency()) == pytest.approx(eta, rel=1e-6)
    assert float(detector.sigma(1e-9, 5e9)) == pytest.approx(0.5 / np.sqrt(eta * photons), rel=1e-4)
    assert float(Homodyne().relative_sigma(5e9)) == pytest.approx(np.sqrt(1e-15 * 2.5e9), rel=1e-5)


def test_dark_and_thermal_noise_of_a_homodyne_pair_are_those_of_two_diodes():
    # 2 (2 q I_d + 4 k T / R_L) B over 4 R^2 P_LO P, where the oscillator's shot noise is nothing beside them.
    detector = Homodyne(diode=Photodiode(load_ohm=1.0), local_oscillator_w=1e-3)
    dark = 2 * (2 * Q * 25e-9 + 4 * K * 300 / 1.0) * 2.5e9
    shot = 2 * Q * 1e-3 * 2.5e9
    assert float(detector.sigma(1e-6, 5e9)) == pytest.approx(np.sqrt((dark + shot) / (4 * 1e-3 * 1e-6)), rel=1e-5)
    assert dark > 10 * shot


@pytest.mark.parametrize(("bits", "bandwidth"), [(0, 1e9), (-3, 1e9), (float("nan"), 1e9), (4, 0.0)])
def test_impossible_bits_and_bandwidths_are_refused(bits, bandwidth):
    with pytest.raises(InputError, match="must be greater than 0 and finite"):
        Photodiode().required_power_w(bits, bandwidth)


def test_the_quantum_limit_of_a_product_against_counted_photons(key):
    # Two fields interfere, two diodes count: n+- = |a +- x|^2 / 2, whose difference is 2 a x, summed over the terms.
    rng = np.random.default_rng(0)
    a, x, photons = rng.normal(size=20), rng.normal(size=20), 50.0
    unit = np.linalg.norm(a) * np.linalg.norm(x)
    a_field = a / np.linalg.norm(a) * np.sqrt(photons / 2)
    x_field = x / np.linalg.norm(x) * np.sqrt(photons / 2)
    counted = rng.poisson((a_field + x_field) ** 2 / 2, (20_000, 20)) - rng.poisson(
        (a_field - x_field) ** 2 / 2, (20_000, 20)
    )
    estimates = counted.sum(1) / photons * unit
    left, right = a[:, None].astype(np.float32), x.astype(np.float32)
    limited = jax.jit(jax.vmap(lambda k: standard_quantum_limit(k, left, right, photons)[0]))
    drawn = np.asarray(limited(jax.random.split(key, 20_000)))
    assert estimates.mean() == pytest.approx(a @ x, abs=4 * estimates.std() / np.sqrt(20_000))
    assert drawn.mean() == pytest.approx(a @ x, abs=4 * estimates.std() / np.sqrt(20_000))
    assert drawn.std() == pytest.approx(estimates.std(), rel=0.03)
    assert estimates.std() == pytest.approx(unit / np.sqrt(photons), rel=0.03)


@pytest.mark.parametrize("mean", [0.3, 5.0, 2e4, 1e8])
def test_counts_have_the_mean_and_standard_deviation_of_poisson(mean, key):
    drawn = np.asarray(jax.jit(counts)(key, np.full(50_000, mean, np.float32)), np.float64)
    assert drawn.mean() == pytest.approx(mean, abs=5 * np.sqrt(mean / 50_000) + 1e-7 * mean)
    assert drawn.std() == pytest.approx(np.sqrt(mean), rel=0.02)
    np.testing.assert_array_equal(drawn, np.round(drawn))
    if mean < 1:
        assert (drawn == 0).mean() == pytest.approx(np.exp(-mean), abs=0.01)


def test_counts_have_the_gradient_of_their_mean(key):
    gradient = jax.jit(jax.grad(lambda m: counts(key, m).sum()))(np.float32([0.5, 3.0, 1e6]))
    np.testing.assert_array_equal(gradient, 1.0)


def test_clicks_are_seen_with_their_probability(key):
    seen = np.asarray(jax.jit(lambda mean: clicks(key, mean, (100_000,)))(0.7))
    assert seen.mean() == pytest.approx(1 - np.exp(-0.7), abs=0.008)
