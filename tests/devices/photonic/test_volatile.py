"""Media that hold light for a while, against the closed forms of the papers and published examples."""

import jax
import numpy as np
import pytest

from analogsim import InputError
from analogsim.devices import AtomicMemory, Cavity, DelayLine, RecirculatingLoop
from analogsim.devices.photonic import hold_costs

C, PHOTON = 299792458.0, 1.28158e-19
MEDIA = [DelayLine(), RecirculatingLoop(), RecirculatingLoop(amplified=False), Cavity(), AtomicMemory()]
PASSIVE = [medium for medium in MEDIA if not medium.amplified]


efficiency = jax.jit(lambda medium, time_s: medium.efficiency(time_s))


@pytest.mark.parametrize("medium", PASSIVE, ids=lambda m: type(m).__name__)
def test_lifetime_is_where_one_part_in_e_is_left(medium):
    first = float(medium.efficiency(0.0))
    assert first == pytest.approx(0.87 if isinstance(medium, AtomicMemory) else 1.0)
    assert float(medium.efficiency(medium.lifetime_s)) == pytest.approx(first / np.e, rel=1e-5)


@pytest.mark.parametrize("medium", MEDIA, ids=lambda m: type(m).__name__)
def test_light_only_fades(medium):
    shares = np.asarray(efficiency(medium, np.linspace(0, 5e-4, 50)))
    assert np.all(np.diff(shares) <= 0)
    assert np.all((shares >= 0) & (shares <= 1))
    assert np.asarray(medium.added_photons(np.zeros(3))).tolist() == [0.0, 0.0, 0.0]


def test_delay_line():
    line = DelayLine(length_m=1000.0, loss_db_per_m=0.2e-3, group_index=1.5)
    assert line.time_limit_s == pytest.approx(1000 * 1.5 / C)
    assert float(line.efficiency(line.time_limit_s)) == pytest.approx(10 ** (-0.02), rel=1e-6)  # 0.2 dB
    assert line.capacity(1e9) == pytest.approx(1e9 * 1500 / C)
    assert line.hold_w(1e6) == 0.0


def test_ideal_fibre_line():
    assert DelayLine().lifetime_s == pytest.approx(125e-6, rel=0.002)  # 0.17 dB/km
    half_s = {loss: DelayLine(loss_db_per_m=loss * 1e-3).lifetime_s * np.log(2) for loss in (0.15, 0.2)}
    assert half_s[0.15] == pytest.approx(98e-6, rel=0.01)  # "about 100 us" of Cho et al. is the best fibre
    assert half_s[0.2] == pytest.approx(74e-6, rel=0.01)


def test_passive_loop_loses_decibels_a_pass():
    loop = RecirculatingLoop(loss_db=0.3, length_m=100.0, group_index=1.5, amplified=False)
    pass_s = 150 / C
    np.testing.assert_allclose(loop.efficiency(pass_s * np.arange(5)), 10 ** (-0.03 * np.arange(5)), rtol=1e-6)
    assert float(loop.added_photons(1e-3)) == 0.0
    assert loop.hold_w(1e6) == 0.0
    assert float(loop.emission_w(1e-3)) == 0.0


def test_gain_makes_up_for_the_loss_and_adds_photons():
    loop = RecirculatingLoop(loss_db=0.54, spontaneous_emission=2.0)
    times = loop.pass_s * np.array([1.0, 10.0, 100.0])
    np.testing.assert_array_equal(loop.efficiency(times), 1.0)
    # Followed pass by pass: the loss takes its share of the noise, too, and gain brings it back.
    gain, noise, seen = 10**0.054, 0.0, []
    for _ in range(100):
        noise = noise / gain * gain + 2.0 * (gain - 1)
        seen.append(noise)
    np.testing.assert_allclose(loop.added_photons(times), [seen[0], seen[9], seen[99]], rtol=1e-5)
    np.testing.assert_allclose(
        loop.emission_w(times[2]), 2 * 2.0 * PHOTON * (gain - 1) * loop.bandwidth_hz * 100, rtol=1e-4
    )


def test_power_of_gain():
    loop = RecirculatingLoop()  # 200 m, 0.54 dB a pass, 10 %
    pass_s = 200 * 1.468 / C
    assert loop.hold_w(1e6) == pytest.approx(1e6 * PHOTON * (10**0.054 - 1) / (0.1 * pass_s), rel=1e-4)
    assert loop.hold_w(1e6) == pytest.approx(173e-9, rel=0.003)
    assert loop.capacity(1e9) == pytest.approx(979, abs=1)


def test_cavity():
    cavity = Cavity()
    assert cavity.lifetime_s == pytest.approx(0.347e-6, rel=0.001)
    assert cavity.loss_db_per_m == pytest.approx(0.062, abs=0.0005)
    assert cavity.bandwidth_hz == pytest.approx(C / 1.55e-6 / 4.22e8)
    assert cavity.lifetime_s * cavity.bandwidth_hz == pytest.approx(1 / (2 * np.pi))
    # A guide with that loss keeps light as long.
    line = DelayLine(loss_db_per_m=cavity.loss_db_per_m, group_index=1.48)
    assert line.lifetime_s == pytest.approx(cavity.lifetime_s)
    assert cavity.capacity(1e9) == 1.0


def test_atoms_and_the_shape_of_their_decay():
    assert float(AtomicMemory(exponent=1.0).efficiency(0.6e-3)) == pytest.approx(0.477, abs=5e-4)
    assert float(AtomicMemory().efficiency(0.6e-3)) == pytest.approx(0.607, abs=5e-4)
    assert AtomicMemory(modes=8.0).capacity(1e5) == 8.0


@pytest.mark.parametrize("medium", MEDIA, ids=lambda m: type(m).__name__)
def test_gradients_are_numbers_at_time_zero(medium):
    gradients = jax.jit(jax.grad(lambda m, t: m.efficiency(t) + m.added_photons(t), (0, 1)))(medium, 0.0)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradients))
    traced = jax.jit(lambda m, t: (m.efficiency(t), m.lifetime_s, m.bandwidth_hz, m.hold_w(1e6), m.capacity(1e5)))
    for found, known in zip(traced(medium, 1e-6), traced.__wrapped__(medium, 1e-6), strict=True):
        np.testing.assert_allclose(found, known, rtol=1e-5)


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        (DelayLine, dict(group_index=0.5), "at least 1"),
        (RecirculatingLoop, dict(spontaneous_emission=0.9), "at least 1"),
        (RecirculatingLoop, dict(wall_plug_efficiency=1.1), "at most 1"),
        (Cavity, dict(lifetime_s=1.0), "no field"),
        (AtomicMemory, dict(read_efficiency=1.2), "at most 1"),
    ],
)
def test_impossible_media_are_refused(kind, fields, message):
    with pytest.raises(InputError, match=message):
        kind(**fields)


def test_table_of_hold_costs():
    rows = {row.medium.split(",")[0]: row for row in hold_costs() if "aggressive" not in row.medium}
    expected = {
        "interferometer": (True, 49.54e-3, 10e-6, None),
        "ring": (True, 3.1e-3, 10e-6, None),
        "phase-change film": (False, 0.0, 1e5, 13.4e-12),
        "fibre loop with gain": (True, 173e-9, 125e-6, 0.128e-12),
        "silicon-nitride cavity": (True, 0.0, 0.347e-6, 0.128e-12),
        "cold atoms": (True, None, 1e-3, None),
        "superconducting qubit": (True, 25.0, 1e-4, None),
    }
    assert list(rows) == list(expected)
    for name, numbers in expected.items():
        row = rows[name]
        for found, known in zip((row.volatile, row.hold_w, row.lifetime_s, row.write_j), numbers, strict=True):
            assert found == (known if known is None else pytest.approx(known, rel=0.004))
        assert str(row.source)
    assert [row.hold_w for row in hold_costs() if "aggressive" in row.medium] == [0.155e-3]
