"""A microring: its response against the textbook's cosines, its width found numerically, the inverse of a weight."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq

from analogsim.devices import InputError
from analogsim.devices.photonic.ring import RINGS, Ring

PHASES = np.linspace(-7, 7, 1001)
ODD = Ring(r1=0.9, r2=0.8, amplitude=0.95)


def textbook(ring, phase):
    """Drop and through in float64, as Bogaerts et al. write them."""
    r1, r2, a, cosine = ring.r1, ring.r2, ring.amplitude, np.cos(phase)
    below = 1 - 2 * r1 * r2 * a * cosine + (r1 * r2 * a) ** 2
    through = ((r2 * a) ** 2 - 2 * r1 * r2 * a * cosine + r1**2) / below
    return (1 - r1**2) * (1 - r2**2) * a / below, through


def lossless(width_m, **fields):
    """A symmetric ring without loss, of this linewidth."""
    x = np.pi * width_m / Ring(**fields).fsr_m  # (1 - p) / sqrt p
    r = (np.sqrt(x**2 + 4) - x) / 2  # sqrt p
    return Ring(r1=r, r2=r, amplitude=1.0, **fields)


@pytest.mark.parametrize("ring", [Ring(), ODD, *(make() for make in RINGS.values())])
def test_response_is_the_textbooks(ring):
    drop, through = textbook(ring, PHASES)
    with jax.enable_x64(True):
        np.testing.assert_allclose(ring.drop(PHASES), drop, rtol=1e-9)
        np.testing.assert_allclose(ring.through(PHASES), through, rtol=1e-9, atol=1e-13)
        np.testing.assert_allclose(ring.weight(PHASES), drop - through, atol=1e-9)
    np.testing.assert_allclose(ring.weight(PHASES.astype(np.float32)), drop - through, atol=5e-5)


def test_no_light_is_lost_without_loss_and_some_with_it():
    closed = ODD.replace(amplitude=1.0)
    with jax.enable_x64(True):
        np.testing.assert_allclose(closed.drop(PHASES) + closed.through(PHASES), 1, atol=1e-14)
        both = np.asarray(ODD.drop(PHASES) + ODD.through(PHASES))
    assert both[500] < both[400] < 1  # most at resonance, where light turns most often


def test_all_is_dropped_at_critical_coupling():
    ring = Ring(r1=0.95 * 0.98, r2=0.95, amplitude=0.98)
    assert abs(float(ring.through(0.0))) < 1e-9


@pytest.mark.parametrize(("name", "tolerance"), [("silicon 5 um", 1e-4), ("TorchONN 5 um, low Q", 0.011)])
def test_linewidth_is_where_half_the_light_is_dropped(name, tolerance):
    ring = RINGS[name]()
    peak = textbook(ring, 0.0)[0]
    half = brentq(lambda m: textbook(ring, 2 * np.pi * m / ring.fsr_m)[0] - peak / 2, 0, ring.fsr_m / 2, xtol=1e-18)
    assert 2 * half == pytest.approx(ring.fwhm_m, rel=tolerance)
    assert ring.quality == pytest.approx(ring.wavelength_m / (2 * half), rel=tolerance)


def test_response_repeats_with_the_free_spectral_range():
    ring = Ring()
    assert ring.fsr_m == pytest.approx(1.55e-6**2 / (4.2 * 2 * np.pi * 5e-6))  # 18.2 nm
    assert ring.finesse == pytest.approx(ring.fsr_m / ring.fwhm_m)
    assert float(ring.weight(ring.phase(0.03e-9 + ring.fsr_m))) == pytest.approx(
        float(ring.weight(ring.phase(0.03e-9))), abs=1e-4
    )


def test_weight_is_lorentzian_near_the_resonance_of_a_fine_ring():
    ring = Ring(r1=0.999, r2=0.999, amplitude=1.0)
    d = np.linspace(-5, 5, 101)
    np.testing.assert_allclose(ring.weight(ring.phase(ring.detuning_of(d))), 2 / (1 + d**2) - 1, atol=1e-5)
    w = np.linspace(-0.9, 0.9, 19)
    found = ring.half_widths(ring.detuning_m(ring.phase_for(w)))
    np.testing.assert_allclose(found, np.sqrt((1 - w) / (1 + w)), rtol=1e-4)


@pytest.mark.parametrize(("kelvin", "change"), [(0.1, -0.098), (1.0, -0.61)])
def test_a_warm_ring_loses_its_weight(kelvin, change):
    ring = lossless(0.155e-9)  # Q = 10^4
    assert ring.quality == pytest.approx(1e4, rel=1e-6)
    phase = ring.phase_for(0.0) + ring.phase(ring.shift_m(kelvin))
    assert float(ring.weight(phase)) == pytest.approx(change, abs=0.005 * kelvin + 5e-4)
    assert ring.warming_k(ring.shift_m(kelvin)) == pytest.approx(kelvin)


@pytest.mark.parametrize(("apart_m", "decibels"), [(0.8e-9, -20.3), (0.4e-9, -14.4)])
def test_neighbouring_channel_leaks(apart_m, decibels):
    ring = lossless(0.155e-9)
    assert 10 * np.log10(float(ring.drop(ring.phase(apart_m)))) == pytest.approx(decibels, abs=0.05)


@pytest.mark.parametrize("ring", [Ring(), ODD, *(make() for make in RINGS.values())])
@pytest.mark.parametrize(("wide", "tolerance"), [(False, 2e-6), (True, 1e-12)])
def test_weight_of_the_phase_for_a_weight_is_that_weight(ring, wide, tolerance):
    lowest, highest = (float(end) for end in ring.reach())
    with jax.enable_x64(wide):
        wanted = jnp.linspace(lowest, highest, 101)[1:-1]
        np.testing.assert_allclose(ring.weight(ring.phase_for(wanted)), wanted, atol=tolerance)


def test_weights_out_of_reach_take_the_nearest_phase():
    ring = Ring()
    np.testing.assert_allclose(ring.phase_for(jnp.array([1.0, -1.0, -5.0])), [0, np.pi, np.pi], atol=1e-6)
    lowest, highest = ring.reach(0.4e-9)
    assert float(lowest) == pytest.approx(float(ring.weight(ring.phase(0.4e-9))))
    assert float(highest) == pytest.approx(float(ring.weight(0.0)))
    assert float(ring.reach(1e-6)[0]) == pytest.approx(float(ring.reach()[0]), abs=1e-6)  # half the range at most
    assert float(ring.reach()[0]) == pytest.approx(float(ring.weight(np.pi)), abs=1e-6)


def test_slope_of_the_phase_is_finite_everywhere():
    w = jnp.array([-1.0, -0.5, 0.0, 0.5, float(Ring().reach()[1]), 1.0])
    slope = jax.vmap(jax.grad(Ring().phase_for))(w)
    assert np.isfinite(slope).all()
    with jax.enable_x64(True):  # against the slope of the weight
        angle = Ring().phase_for(0.3)
        assert float(jax.grad(Ring().phase_for)(0.3) * jax.grad(Ring().weight)(angle)) == pytest.approx(1, abs=1e-9)
    by_hardware = jax.grad(lambda ring: ring.weight(ring.phase(0.1e-9)))(Ring())
    assert all(np.isfinite(leaf) for leaf in jax.tree.leaves(by_hardware))


def test_published_rings():
    assert {name for name in RINGS} >= {"silicon 5 um", "silicon 10 um"}
    for name, quality in (("high", 4548), ("medium", 675), ("low", 303)):
        ring = RINGS[f"TorchONN 5 um, {name} Q"]()
        assert ring.quality == pytest.approx(quality, abs=0.5)
        assert ring.fsr_m == pytest.approx(32.03e-9, rel=1e-4)
    assert RINGS["silicon 10 um"]().fsr_m == pytest.approx(9.104e-9, rel=1e-4)
    assert RINGS["silicon 10 um"]().quality == pytest.approx(1e4, rel=0.02)
    assert Ring().fsr_m / 0.8e-9 > 16
    assert Ring().finesse > 100


@pytest.mark.parametrize(
    ("name", "value"),
    [*itertools.product(["r1", "r2"], [0.0, 1.0, 1.1, -0.5, np.nan]), ("amplitude", 1.01), ("amplitude", 0.0),
     ("radius_m", 0.0), ("radius_m", -5e-6), ("group_index", 1.0), ("wavelength_m", 0.0), ("shift_m_per_k", -1e-11)],
)  # fmt: skip
def test_impossible_rings_are_refused(name, value):
    with pytest.raises(InputError, match=rf"Ring\.{name}"):
        Ring(**{name: value})
