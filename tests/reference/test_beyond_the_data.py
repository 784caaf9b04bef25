"""Cells read later than they were measured, against the law of ``beyond`` worked in NumPy from the published tables.

sigma(t) = sigma(t_last) + [sigma(t_last) - sigma(t_last/10)] log10(t/t_last), at the conductance of the cell.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analogsim import Hardware, InputError, preset
from analogsim.devices import CELLS, SONOS, CMOReRAM, Crossbar, MeasuredCell, ReRAM
from tests.reference.test_reram import SIGMA
from tests.support.cells import program, read, stored
from tests.support.sampling import assert_moments, censored

DAY_S, YEAR_S = 86400.0, 31557600.0
RERAM, SONOS_ON = ReRAM(extrapolate=True), SONOS(extrapolate=True)
#: Rows of two conductances at three times, the last decade of which begins between the first two.
ROWS = [(1e-6, 0.2e-6, 1.0), (9e-6, 0.4e-6, 1.0), (1e-6, 0.3e-6, 100.0), (9e-6, 1.0e-6, 100.0),
        (1e-6, 0.25e-6, 200.0), (9e-6, 1.2e-6, 200.0)]  # fmt: skip
TABLE = MeasuredCell.from_rows(ROWS, extrapolate=True)


@jax.jit
def spreads(cell, target, times_s):
    """uS, ``[times, targets]``."""
    law = cell.conductance_std
    return jax.vmap(lambda t: law(target, t))(times_s) * 1e6


def ours(cell, target_us, *times_s):
    return np.asarray(spreads(cell, np.float32([target_us * 1e-6]), np.float32(times_s)), np.float64)[:, 0]


def reram_sigma(x, time_s):
    """uS, after two days. The decade begins between 1 s and 1 day: ln 17280 / ln 86400 = 0.8584077 of the way."""
    share = math.log(17280) / math.log(86400)
    begin = (1 - share) * SIGMA[x, "1 s"] + share * SIGMA[x, "1 day"]
    return max(SIGMA[x, "2 days"] + (SIGMA[x, "2 days"] - begin) * math.log10(time_s / 172800), 0)


def sonos_sigma(g_us, time_s):
    """uS, after five days. The decade begins half a day after programming, between the first two measurements."""
    law = lambda a, b: a * (1 - math.exp(-g_us / b))  # noqa: E731
    begin = law((0.1988665 + 0.2559102) / 2, (1.763115 + 1.8685544) / 2)
    last = law(0.3457909, 2.0734309)
    return last + (last - begin) * math.log10(time_s / 432000)


@pytest.mark.parametrize("x", [0.0, 0.25, 0.5, 1.0])
def test_reram_goes_on_along_its_last_decade(x):
    times = (20 * DAY_S, YEAR_S, 10 * YEAR_S)
    # float32 sums of terms up to 25 times their result, twice
    np.testing.assert_allclose(ours(RERAM, 40 * x, *times), [reram_sigma(x, t) for t in times], rtol=1e-4)


def test_the_values_of_reram_at_a_quarter_by_hand():
    # begin 0.1415923 x 2.25826953 + 0.8584077 x 3.72075781 = 3.51368; last 3.66378906; 0.15011 more a decade, though
    # sigma falls from one day to two.
    np.testing.assert_allclose(ours(RERAM, 10, 20 * DAY_S, YEAR_S), [3.81390, 3.66379 + 0.15011 * 2.26157], rtol=1e-4)


@pytest.mark.parametrize("g_us", [1.0, 4.0, 16.0])
def test_sonos_goes_on_along_its_last_decade(g_us):
    times = (50 * DAY_S, YEAR_S)
    np.testing.assert_allclose(ours(SONOS_ON, g_us, *times), [sonos_sigma(g_us, t) for t in times], rtol=2e-5)


def test_a_table_goes_on_at_every_conductance():
    # At 20 s the standard deviation is halfway up from 1 s to 100 s in log t times log 20 / log 100 = 0.650515:
    # 0.2650515 and 0.7903090 uS. 1000 times later 0.25 - 3 x 0.0150515 and 1.2 + 3 x 0.4096910; linear between them.
    low, high = 0.25 - 3 * 0.0150515, 1.2 + 3 * 0.4096910
    for g_us, wanted in ((1.0, low), (9.0, high), (5.0, (low + high) / 2)):
        np.testing.assert_allclose(ours(TABLE, g_us, 2e5), wanted, rtol=1e-5)


def test_a_falling_spread_ends_at_zero():
    # 0.25 - 0.0150515 a decade is gone after 16.6 decades; a tenfold fall is gone after one and a bit.
    falling = MeasuredCell.from_rows([(0, 1e-6, 1.0), (1e-6, 1e-6, 1.0), (0, 1e-7, 10.0), (1e-6, 1e-7, 10.0)],
                                     extrapolate=True)  # fmt: skip
    np.testing.assert_allclose(ours(falling, 0.5, 10 * 10**0.1, 1e2), [0.1 - 0.09, 0.0], atol=1e-6)


def test_a_table_of_less_than_a_decade_goes_on_along_all_of_it():
    short = MeasuredCell.from_rows([(0, 1e-6, 1.0), (1e-6, 1e-6, 1.0), (0, 2e-6, 2.0), (1e-6, 2e-6, 2.0)],
                                   extrapolate=True)  # fmt: skip
    np.testing.assert_allclose(ours(short, 0.5, 4.0, 8.0), [3.0, 4.0], rtol=1e-5)  # 1 uS more each time it doubles


@pytest.mark.parametrize(
    ("cell", "g_us"), [(RERAM, 10.0), (SONOS_ON, 4.0), (TABLE, 7.0)], ids=["reram", "sonos", "measured"]
)
def test_nothing_changes_until_the_last_measured_age_and_nothing_jumps_there(cell, g_us):
    end = cell.measured_until_s
    until = (0.0, 0.5, end / 10, end / 3, end)
    np.testing.assert_array_equal(ours(cell, g_us, *until), ours(cell.replace(extrapolate=False), g_us, *until))
    at, just_after = ours(cell, g_us, end, end * 1.001)
    assert at == pytest.approx(just_after, rel=2e-3)
    assert (cell.time_limit_s, cell.extrapolated_after_s) == (None, end)
    plain = cell.replace(extrapolate=False)
    assert (plain.time_limit_s, plain.extrapolated_after_s) == (end, None)


def test_sampled_cells_have_that_spread_and_the_closed_form_its_moments():
    state = program(RERAM, jax.random.key(0), np.full(100_000, 20e-6, np.float32))
    g = np.asarray(read(RERAM, state, YEAR_S).mean, np.float64) * 1e6
    sigma = reram_sigma(0.5, YEAR_S)
    assert_moments(g, *censored(20.0, sigma))
    mean, variance, _, _ = jax.jit(lambda cell, t: cell.moments(jnp.float32(20e-6), t))(RERAM, YEAR_S)
    assert float(mean) == pytest.approx(20e-6, rel=1e-4)
    assert float(variance) == pytest.approx((sigma * 1e-6) ** 2, rel=1e-3)


def test_a_crossbar_and_its_closed_form_agree_with_cells_after_a_year():
    # A pair of cells at x = 0.5 and 0, in units of 40 uS: the second is half-normal.
    store, w = Crossbar(cell=RERAM), np.full((100_000, 1), 0.5, np.float32)
    held = np.asarray(stored(store, jax.random.key(1), w, YEAR_S).mean, np.float64)
    idle = reram_sigma(0.0, YEAR_S)
    mean = 20 - idle / math.sqrt(2 * math.pi)
    std = math.hypot(reram_sigma(0.5, YEAR_S), idle * math.sqrt(0.5 - 0.5 / math.pi))
    assert_moments(held, mean / 40, std / 40)
    lines = jax.jit(lambda s, t: s.expected(jnp.float32([[0.5]]), t))(store, YEAR_S)
    assert float(lines.mean[0, 0]) == pytest.approx(mean / 40, rel=1e-3)
    assert float(lines.variance[0, 0]) == pytest.approx((std / 40) ** 2, rel=0.02)  # the table's interpolation
    assert store.extrapolated_after_s == 172800.0
    assert np.all(np.isnan(stored(Crossbar(cell=ReRAM()), jax.random.key(1), w, YEAR_S).mean))


def test_gradients_with_respect_to_the_age_and_the_measured_numbers():
    deviation = jax.jit(jax.grad(lambda cell, t: cell.conductance_std(jnp.float32(10e-6), t), argnums=(0, 1)))
    by_cell, by_time = deviation(RERAM, YEAR_S)
    share = math.log(17280) / math.log(86400)
    decades = math.log10(YEAR_S / 172800)
    per_decade = reram_sigma(0.25, 1728000) - SIGMA[0.25, "2 days"]
    assert float(by_time) == pytest.approx(per_decade * 1e-6 / (YEAR_S * math.log(10)), rel=1e-3)
    powers = np.array([0.25**k for k in range(5)])
    np.testing.assert_allclose(by_cell.sigma_2days, (1 + decades) * powers, rtol=1e-4)
    np.testing.assert_allclose(by_cell.sigma_1day, -decades * share * powers, rtol=1e-4)


def test_the_law_of_cmo_reram_goes_on():
    cell = CMOReRAM(extrapolate=True, programming_noise=0.0, read_noise=0.0)
    state = program(cell, jax.random.key(2), np.full(100_000, 50e-6, np.float32))
    g = np.asarray(read(cell, state, 100 * YEAR_S).mean, np.float64) * 1e6
    log_t = math.log(100 * YEAR_S)
    assert_moments(g, 50 - 0.08900206 * log_t, 0.41183342 + 0.04201137 * log_t)
    assert (cell.extrapolated_after_s, CMOReRAM().time_limit_s) == (315576000.0, 315576000.0)


def test_one_age_has_no_trend():
    with pytest.raises(InputError, match=r"MeasuredCell\.extrapolate = True: must be False for a table of one time"):
        MeasuredCell.from_rows(ROWS[:2], extrapolate=True)
    for name in ("milo", "flash", "ecram", "fefet"):
        with pytest.raises(InputError, match="has no field 'extrapolate'"):
            Crossbar(cell=CELLS[name]()).replace(**{"cell.extrapolate": True})


def test_hardware_trains_on_later_ages_only_where_they_are_asked_for():
    later = preset("reram", **{"store.cell.extrapolate": True, "training.time_s": "1 year"})
    assert later.extrapolated_after_s == 172800.0
    assert Hardware().extrapolated_after_s is None
    assert preset("pcm").extrapolated_after_s is None
    words = "store.cell.extrapolate=True continues the trend of the last decade"
    with pytest.raises(InputError, match=rf"Hardware.training: latest_s = 3.15576e\+07: .*{words}"):
        preset("reram", **{"training.time_s": "1 year"})
    with pytest.raises(InputError, match=r"has data only from 0 to 1 \(unit: s after programming\)$"):
        preset("reram", **{"store.cell": CELLS["milo"](), "training.time_s": "1 year"})
