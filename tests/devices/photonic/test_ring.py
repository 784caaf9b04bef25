"""A microring: its response against the textbook's cosines, its width found numerically, the inverse of a weight."""

import jax
import numpy as np
import pytest
from scipy.optimize import brentq

from analogsim import InputError
from analogsim.devices import Ring
from analogsim.devices.photonic import RINGS

PHASES = np.linspace(-7, 7, 1001)
ODD = Ring(r1=0.9, r2=0.8, amplitude=0.95)


drop_of = jax.jit(lambda ring, phase: ring.drop(phase))
through_of = jax.jit(lambda ring, phase: ring.through(phase))
weight_of = jax.jit(lambda ring, phase: ring.weight(phase))
phase_for = jax.jit(lambda ring, weight: ring.phase_for(weight))
reach_of = jax.jit(lambda ring, apart_m=None: ring.reach() if apart_m is None else ring.reach(apart_m))


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
        np.testing.assert_allclose(drop_of(ring, PHASES), drop, rtol=1e-9)
        np.testing.assert_allclose(through_of(ring, PHASES), through, rtol=1e-9, atol=1e-13)
        np.testing.assert_allclose(weight_of(ring, PHASES), drop - through, atol=1e-9)
    np.testing.assert_allclose(weight_of(ring, PHASES.astype(np.float32)), drop - through, atol=5e-5)


def test_no_light_is_lost_without_loss_and_some_with_it():
    closed = ODD.replace(amplitude=1.0)
    with jax.enable_x64(True):
        whole, both = (np.asarray(drop_of(r, PHASES) + through_of(r, PHASES)) for r in (closed, ODD))
    np.testing.assert_allclose(whole, 1, atol=1e-14)
    assert both[500] < both[400] < 1  # most at resonance, where light turns most often


def test_all_is_dropped_at_critical_coupling():
    ring = Ring(r1=0.95 * 0.98, r2=0.95, amplitude=0.98)
    assert abs(float(through_of(ring, 0.0))) < 1e-9


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
    here, a_range_away = (float(weight_of(ring, ring.phase(m))) for m in (0.03e-9, 0.03e-9 + ring.fsr_m))
    assert a_range_away == pytest.approx(here, abs=1e-4)


def test_weight_is_lorentzian_near_the_resonance_of_a_fine_ring():
    ring = Ring(r1=0.999, r2=0.999, amplitude=1.0)
    d = np.linspace(-5, 5, 101)
    # 1 - r^2 is small: the ring's own numbers stay Python's, traced ones would be of single precision.
    np.testing.assert_allclose(jax.jit(ring.weight)(ring.phase(ring.detuning_of(d))), 2 / (1 + d**2) - 1, atol=1e-5)
    w = np.linspace(-0.9, 0.9, 19)
    found = ring.half_widths(ring.detuning_m(np.asarray(jax.jit(ring.phase_for)(w))))
    np.testing.assert_allclose(found, np.sqrt((1 - w) / (1 + w)), rtol=1e-4)


@pytest.mark.parametrize(("kelvin", "change"), [(0.1, -0.098), (1.0, -0.61)])
def test_a_warm_ring_loses_its_weight(kelvin, change):
    ring = lossless(0.155e-9)  # Q = 10^4
    assert ring.quality == pytest.approx(1e4, rel=1e-6)
    phase = float(phase_for(ring, 0.0)) + ring.phase(ring.shift_m(kelvin))
    assert float(weight_of(ring, phase)) == pytest.approx(change, abs=0.005 * kelvin + 5e-4)
    assert ring.warming_k(ring.shift_m(kelvin)) == pytest.approx(kelvin)


@pytest.mark.parametrize(("apart_m", "decibels"), [(0.8e-9, -20.3), (0.4e-9, -14.4)])
def test_neighbouring_channel_leaks(apart_m, decibels):
    ring = lossless(0.155e-9)
    assert 10 * np.log10(float(drop_of(ring, ring.phase(apart_m)))) == pytest.approx(decibels, abs=0.05)


@pytest.mark.parametrize("ring", [Ring(), ODD, *(make() for make in RINGS.values())])
@pytest.mark.parametrize(("wide", "tolerance"), [(False, 2e-6), (True, 1e-12)])
def test_weight_of_the_phase_for_a_weight_is_that_weight(ring, wide, tolerance):
    lowest, highest = (float(end) for end in reach_of(ring))
    with jax.enable_x64(wide):
        wanted = np.linspace(lowest, highest, 101)[1:-1].astype(np.float64 if wide else np.float32)
        np.testing.assert_allclose(weight_of(ring, phase_for(ring, wanted)), wanted, atol=tolerance)


def test_weights_out_of_reach_take_the_nearest_phase():
    ring = Ring()
    np.testing.assert_allclose(phase_for(ring, np.float32([1, -1, -5])), [0, np.pi, np.pi], atol=1e-6)
    lowest, highest = reach_of(ring, 0.4e-9)
    whole = float(reach_of(ring)[0])
    assert float(lowest) == pytest.approx(float(weight_of(ring, ring.phase(0.4e-9))))
    assert float(highest) == pytest.approx(float(weight_of(ring, 0.0)))
    assert float(reach_of(ring, 1e-6)[0]) == pytest.approx(whole, abs=1e-6)  # half the range at most
    assert whole == pytest.approx(float(weight_of(ring, np.pi)), abs=1e-6)


def test_gradient_of_the_phase_is_finite_everywhere():
    ring = Ring()
    w = np.float32([-1.0, -0.5, 0.0, 0.5, reach_of(ring)[1], 1.0])
    gradient = jax.jit(jax.vmap(jax.grad(ring.phase_for)))(w)
    assert np.isfinite(gradient).all()
    with jax.enable_x64(True):  # against the gradient of the weight
        angle, by_weight = jax.jit(jax.value_and_grad(ring.phase_for))(0.3)
        assert float(by_weight * jax.jit(jax.grad(ring.weight))(angle)) == pytest.approx(1, abs=1e-9)
    by_hardware = jax.jit(jax.grad(lambda ring: ring.weight(ring.phase(0.1e-9))))(ring)
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
    [("r1", 1.0), ("r2", 1.0), ("amplitude", 1.01), ("group_index", 1.0)],  # no coupling, gain, light in nothing
)
def test_what_no_ring_of_glass_does_is_refused(name, value):
    with pytest.raises(InputError, match=rf"Ring\.{name} = {value:g}: must be "):
        Ring(**{name: value})


@pytest.mark.parametrize(
    ("r1", "r2", "a"),
    [(1 - 2**-20, 1 - 2**-20, 1.0), (1 - 2**-20, 1 - 2**-18, 1 - 2**-22), (0.99999, 0.99998, 0.999999)],
)
def test_rings_of_a_narrow_line_keep_their_digits_in_float32(r1, r2, a):
    """The textbook's form in float64, of the numbers as float32 holds them: 1 - p is 2e-6, some 30 steps of float32."""
    small = Ring(r1=np.float32(r1), r2=np.float32(r2), amplitude=np.float32(a))
    held = [np.float64(np.float32(v)) for v in (r1, r2, a)]
    p = held[0] * held[1] * held[2]
    half_width = (1 - p) / np.sqrt(p)
    phase = np.float32(half_width * np.array([0.0, 0.3, 1.0, 5.0]))
    s = np.sin(phase.astype(np.float64) / 2) ** 2
    denominator = (1 - p) ** 2 + 4 * p * s
    drop = (1 - held[0] ** 2) * (1 - held[1] ** 2) * held[2] / denominator
    through = ((held[1] * held[2] - held[0]) ** 2 + 4 * p * s) / denominator
    narrow = jax.tree.map(np.float32, small)
    ports = jax.jit(lambda ring, phase: ring.ports(phase))(narrow, phase)
    # Ten roundings of 6e-8 on the way.
    np.testing.assert_allclose(ports.drop, drop, rtol=1e-6)
    np.testing.assert_allclose(ports.through, through, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(jax.jit(lambda ring: ring.half_width_rad)(narrow), half_width, rtol=1e-6)
