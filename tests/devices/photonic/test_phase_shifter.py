"""Phase shifters: converters, crosstalk and its compensation, power."""

import jax
import numpy as np
import pytest

from analogsim import InputError
from analogsim.devices import PhaseShifter
from analogsim.devices.photonic import SHIFTERS

TURN = 2 * np.pi
HELD = np.ones((9, 6), bool)
HELD[1::2, 1::2] = False


def turned(phases):
    """Distance from a whole turn."""
    return np.abs((np.asarray(phases, np.float64) + np.pi) % TURN - np.pi)


def plain_leak(commands, g, length):
    """Crosstalk by two loops, within three steps of the grid."""
    out, (rows, width) = np.zeros_like(commands), commands.shape
    for i in range(rows):
        for j in range(width):
            for k in range(max(0, i - 3), min(rows, i + 4)):
                for m in range(max(0, j - 3), min(width, j + 4)):
                    if (i, j) != (k, m):
                        out[i, j] += g * np.exp(-(np.hypot(i - k, j - m) - 1) / length) * commands[k, m]
    return out


@jax.jit
def phases_of(shifter, commands, held):
    return shifter.phases(commands, held)


@jax.jit
def commands_for(shifter, phases, held):
    return shifter.commands(phases, held)


def wanted(seed=0, dtype=np.float32):
    return np.where(HELD, np.random.default_rng(seed).uniform(0, TURN, HELD.shape), 0.0).astype(dtype)


def in_a_row(shifter, phases):
    """Commands for ``[n]`` phases, one shifter each."""
    return np.asarray(commands_for(shifter, phases[None], np.ones((1, len(phases)), bool)))[0]


def test_crosstalk_is_the_sum_over_neighbours():
    shifter = PhaseShifter(crosstalk=0.02, crosstalk_length=0.7)
    commands = wanted()
    expected = np.where(HELD, commands + plain_leak(commands.astype(np.float64), 0.02, 0.7), 0)
    np.testing.assert_allclose(phases_of(shifter, commands, HELD), expected, rtol=1e-5)


@pytest.mark.parametrize("crosstalk", [0.01, 0.05])
def test_compensation_gives_the_wanted_phases_but_for_whole_turns(crosstalk):
    with jax.enable_x64(True):
        shifter = PhaseShifter(bits=None, crosstalk=crosstalk)
        phases = wanted(dtype=np.float64)
        commands = np.asarray(commands_for(shifter, phases, HELD))
        assert (commands >= 0).all()
        off = np.where(HELD, turned(phases_of(shifter, commands, HELD) - phases), 0)
        assert np.median(off) < (1e-9 if crosstalk == 0.01 else 1e-7)
        # A heater cannot cool: the few places whose neighbours already give more than is wanted keep the rest.
        assert (off > 1e-6).mean() < 0.05


def test_without_compensation_neighbours_stay():
    shifter = PhaseShifter(bits=None, crosstalk=0.01, compensated=False)
    np.testing.assert_allclose(commands_for(shifter, wanted(), HELD), wanted(), rtol=1e-6)


@pytest.mark.parametrize("bits", [1, 3, 8])
def test_a_converter_uniform_in_phase_has_as_many_levels_in_a_turn(bits):
    phases = np.linspace(0, TURN, 100_000, dtype=np.float32)
    commands = in_a_row(PhaseShifter(bits=bits, crosstalk=None), phases)
    np.testing.assert_allclose(np.unique(np.round(commands, 5)), np.arange(2**bits) * TURN / 2**bits, atol=1e-4)
    assert turned(commands - phases).max() <= TURN / 2**bits / 2 + 1e-5  # a turn is none: half a step at most


def test_rounding_of_uniform_phases_has_the_standard_deviation_of_a_step():
    # Uniform within a step: step / sqrt(12).
    phases = np.random.default_rng(1).uniform(0, TURN, 100_000).astype(np.float32)
    error = in_a_row(PhaseShifter(bits=6, crosstalk=None), phases) - phases
    error = (error + np.pi) % TURN - np.pi
    np.testing.assert_allclose(error.std(), TURN / 64 / np.sqrt(12), rtol=0.01)


def test_a_converter_uniform_in_voltage_is_fine_for_small_phases_and_coarse_for_large_ones():
    phases = np.linspace(0.01, TURN - 0.01, 2001, dtype=np.float32)
    commands = in_a_row(PhaseShifter(bits=6, coding="voltage", crosstalk=None), phases)
    volts = 4.36 * np.sqrt(commands.astype(np.float64) / np.pi)
    step = 10.8 / 63
    np.testing.assert_allclose(volts / step, np.round(volts / step), atol=1e-3)
    # |d phi| <= 2 pi V dV / V_pi^2 with dV half a step, and its square.
    bound = np.pi / 4.36**2 * (2 * 4.36 * np.sqrt(phases / np.pi) * step / 2 + (step / 2) ** 2)
    assert (np.abs(commands - phases) <= bound * (1 + 1e-4)).all()


def test_holding_takes_the_half_wave_power_times_the_phase():
    assert float(PhaseShifter().hold_w(np.array([np.pi, np.pi / 2]))) == pytest.approx(1.5 * 24.77e-3)
    assert float(SHIFTERS["phase-change"]().hold_w(np.ones(5))) == 0
    for make in SHIFTERS.values():
        assert isinstance(make(), PhaseShifter)


def test_numbers_may_be_swept_and_differentiated():
    phases = wanted()

    def reached(crosstalk, bits):
        shifter = PhaseShifter(crosstalk=crosstalk, bits=bits)
        return shifter.phases(shifter.commands(phases, HELD), HELD).sum()

    values, gradients = jax.jit(jax.vmap(jax.value_and_grad(reached)))(
        np.float32([0.0, 0.01, 0.03]), np.array([4, 6, 8])
    )
    one = PhaseShifter(crosstalk=0.01, bits=6)
    alone = np.asarray(phases_of(one, commands_for(one, phases, HELD), HELD))
    np.testing.assert_allclose(values[1], alone.sum(), rtol=1e-5)
    assert np.isfinite(gradients).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crosstalk": 0.5}, r"PhaseShifter\.crosstalk = 0\.5: must be .*0\.05"),
        ({"coding": "voltage", "v_max": 5.0}, r"PhaseShifter\.v_max = 5: reaches a phase of 1\.3 pi"),
    ],
)
def test_bad_input(changes, message):
    with pytest.raises(InputError, match=message):
        PhaseShifter(**changes)
