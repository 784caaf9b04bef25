"""The slow share of 1/f noise against the spectrum, integrated here without our code.

The mean of N reads spaced by dt passes |H|^2 = (sin(pi f N dt)/(N sin(pi f dt)))^2 of the spectrum A/f, from
f_low = 1/(age + t_read) to f_high = 1/(2 t_read). In A, trapezoidal in ln f.
"""

import functools
import math

import jax
import numpy as np
import pytest

from analogsim.devices import (
    PCM,
    SONOS,
    CMOReRAM,
    Crossbar,
    Differential,
    Faults,
    GenericCell,
    HermesPCM,
    Offset,
    ReRAM,
    Wires,
)
from analogsim.devices.crossbar.one_over_f import slow_fraction
from tests.support.cells import WEIGHTS, stored

READ_S, READING_S = 250e-9, 1e-3
AGES_S = {"at once": 20.0, "a day": 86420.0, "a year": 31557620.0}  # 20 s of drift reference before time zero

share_of = jax.jit(slow_fraction)


def frequencies(age_s, points):
    return np.linspace(math.log(1 / (age_s + READ_S)), math.log(1 / (2 * READ_S)), points)


@functools.cache
def variance_of_mean(n, age_s):
    """Of n reads one after another."""
    u = frequencies(age_s, 2_000_001 if n > 100 else 200_001)
    s = np.sin(np.pi * np.exp(u) * READ_S)
    return np.trapezoid((np.sin(np.pi * np.exp(u) * n * READ_S) / (n * s)) ** 2, u)


def variance_by_parts(n, age_s):
    total = math.log((age_s + READ_S) / (2 * READ_S))
    share = float(share_of(np.float32(age_s), READ_S, READING_S))
    return total * (share + (1 - share) / n)


@pytest.mark.parametrize("age", AGES_S)
def test_one_read_and_the_mean_of_all_reads_of_a_reading_have_the_variance_of_the_spectrum(age):
    age_s = AGES_S[age]
    assert variance_by_parts(1, age_s) == pytest.approx(variance_of_mean(1, age_s), rel=1e-5)
    # 4,000 reads last the millisecond of a reading. As white noise they would be left with 1/4000 of the variance.
    # The white part's 1/N is all that the cut gets wrong: ln(2000)/4000 = 0.002 of about 10.
    assert variance_by_parts(4000, age_s) == pytest.approx(variance_of_mean(4000, age_s), rel=2e-3)


@pytest.mark.parametrize(("age", "most"), [("at once", 0.19), ("a day", 0.12), ("a year", 0.09)])
def test_between_them_the_standard_deviation_is_at_most_as_far_off_as_is_said(age, most):
    age_s = AGES_S[age]
    errors = [math.sqrt(variance_by_parts(n, age_s) / variance_of_mean(n, age_s)) - 1 for n in (2, 7, 16, 49, 400)]
    assert max(errors) < 0
    assert -most - 0.005 < min(errors) < -most + 0.01


@pytest.mark.parametrize("age", AGES_S)
def test_steps_of_one_product_fluctuate_nearly_alike(age):
    # Bits s = 0..n-1 count 2^s/(2^n - 1). Alike in all, they would have the variance of one read.
    u = frequencies(AGES_S[age], 400_001)
    for bits in (2, 7, 15):
        counts = 2.0 ** np.arange(bits) / (2**bits - 1)
        gain = sum(c * np.exp(2j * np.pi * np.exp(u) * s * READ_S) for s, c in enumerate(counts))
        error = math.sqrt(np.ptp(u) / np.trapezoid(np.abs(gain) ** 2, u)) - 1
        assert 0 < error < 0.05


def test_by_hand():
    # ln(exp(1.5 - 0.5772157)/(2 pi) x 20.00000025/1e-3) = ln(8009.59) = 8.988395, of ln(4.0000005e7) = 17.504390.
    assert float(share_of(np.float32(20.0), READ_S, 1e-3)) == pytest.approx(8.988395 / 17.504390, rel=1e-5)
    assert float(share_of(np.float32(20.0), READ_S, 10.0)) == 0  # longer than cells were watched: all is fast
    assert float(share_of(np.float32(20.0), READ_S, 1e-9)) == 1  # shorter than a read: all is slow
    gradient = jax.grad(lambda age: slow_fraction(age, 1e-6, 1e-3))(np.float32(0.0))  # no noise yet, for CMO/HfOx
    assert float(gradient) == 0


#: 1/f cells, age at time zero, duration of a read: after an hour.
ONE_OVER_F = {
    "PCM": (PCM(), 20.0, 250e-9),
    "HERMES": (HermesPCM(), 300.0, 512e-9),
    "CMO/HfOx": (CMOReRAM(), 0.0, 1e-6),
    "generic": (GenericCell(read_noise=0.02, spectrum="1/f"), 20.0, 250e-9),
}


def read_as_cells(cell, time_s):
    return stored(Crossbar(cell=cell), jax.random.key(0), WEIGHTS, time_s)


@pytest.mark.parametrize("name", ONE_OVER_F)
def test_every_cell_with_a_spectrum_says_what_is_slow(name):
    cell, start_s, read_s = ONE_OVER_F[name]
    held = read_as_cells(cell, 3600.0)
    age = 3600.0 + start_s + read_s
    expected = math.log(math.exp(1.5 - 0.5772156649) / (2 * math.pi) * age / 1e-3) / math.log(age / (2 * read_s))
    assert held.slow.shape == ()
    assert float(held.slow) == pytest.approx(expected, rel=1e-5)
    assert Crossbar(cell=cell).noise_persists


@pytest.mark.parametrize("cell", [SONOS(), ReRAM(), GenericCell(read_noise=0.02)])
def test_reads_of_cells_without_a_spectrum_are_independent(cell):
    assert read_as_cells(cell, 3600.0).slow is None
    assert not Crossbar(cell=cell).noise_persists


@pytest.mark.parametrize(
    "parts",
    [
        dict(mapping=Offset()),
        dict(mapping=Differential(subtraction="digital")),
        dict(faults=Faults(stuck_on=0.1)),
        dict(wires=Wires(word_line_ohm=1.0, bit_line_ohm=1.0)),
        dict(wires=Wires(word_line_ohm=1.0, bit_line_ohm=1.0), polarities="interleaved"),
    ],
    ids=["offset", "digital", "faults", "wires", "interleaved"],
)
def test_an_array_passes_the_share_on(parts):
    store = Crossbar(cell=PCM(), **parts)
    if "polarities" not in parts:  # by shapes alone: the number is the cell's
        assert jax.eval_shape(stored, store, jax.random.key(0), WEIGHTS, 0.0).slow.shape == ()
        return
    held = stored(store, jax.random.key(0), WEIGHTS, 0.0)
    assert float(held.slow) == pytest.approx(8.988395 / 17.504390, rel=1e-5)
