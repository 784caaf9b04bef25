"""A measured cell against its own table, interpolated here without our code, and the messages for bad tables."""

import math

import jax
import numpy as np
import pytest

from analogsim import InputError
from analogsim.devices import Crossbar, MeasuredCell
from tests.support.cells import WEIGHTS, equal, program, read, stored
from tests.support.sampling import assert_moments, censored

#: Conductance (uS), spread (uS), time (s), in no order.
ROWS = [(25, 1.2, 3600), (0, 0.1, 1), (10, 0.9, 1), (25, 0.6, 1), (0, 0.4, 3600), (10, 1.5, 3600), (25, 2.0, 86400),
        (10, 1.9, 86400), (0, 0.5, 86400)]  # fmt: skip
TABLE = [(g * 1e-6, s * 1e-6, t) for g, s, t in ROWS]
#: (conductance, time): spread in uS, by hand.
SPREAD = {
    (10.0, 1.0): 0.9,
    (10.0, 3600.0): 1.5,
    (25.0, 86400.0): 2.0,
    (5.0, 1.0): 0.5,
    (16.0, 1.0): 0.78,  # 0.9 - 0.4 x 0.3
    (10.0, 60.0): 1.2,  # the geometric middle of 1 s and 1 h
    (5.0, 60.0): 0.725,  # (0.5 + 0.95)/2
    (10.0, 36000.0): 1.7898111,  # 1.5 + 0.4 x ln 10/ln 24
    (10.0, 0.0): 0.9,  # before the first measurement
    (16.0, 86400.0): 1.94,
}
CSV = "conductance_s,sigma_s,time_s\n" + "".join(f"{g} uS,{s}e-6,{t} s\n" for g, s, t in ROWS)

deviation = jax.jit(lambda cell, target, time_s: cell.conductance_std(target, time_s))


def deviation_us(cell: MeasuredCell, target_us: float, time_s: float) -> float:
    return float(deviation(cell, np.float32(target_us * 1e-6), time_s)) * 1e6


@pytest.fixture
def cell():
    return MeasuredCell.from_rows(TABLE)


def write(folder, text: str):
    path = folder / "cell.csv"
    path.write_text(text)
    return path


@pytest.mark.parametrize(("target", "time_s"), SPREAD)
def test_the_standard_deviation_is_that_of_the_table(cell, target, time_s):
    assert deviation_us(cell, target, time_s) == pytest.approx(SPREAD[target, time_s], rel=2e-6)


@pytest.mark.parametrize(("target", "time_s"), [(0.0, 1.0), (5.0, 60.0), (16.0, 86400.0)])
def test_cells_have_the_measured_standard_deviation(cell, target, time_s):
    state = program(cell, jax.random.key(1), equal(target))
    sigma = 0.1 if target == 0 else SPREAD[target, time_s]
    assert_moments(np.asarray(read(cell, state, time_s).mean) * 1e6, *censored(target, sigma))


def test_the_window_and_the_last_time_are_those_of_the_table(cell):
    assert (float(cell.g_min), float(cell.g_max), cell.time_limit_s) == pytest.approx((0.0, 25e-6, 86400.0))
    store = Crossbar(cell=cell.replace(programming_noise=0.0))
    np.testing.assert_allclose(stored(store, jax.random.key(0), WEIGHTS, 0.0).mean, WEIGHTS, atol=1e-6)


def test_a_cell_keeps_its_deviate_for_life(cell):
    state = program(cell, jax.random.key(2), equal(16.0))
    for time_s in (86400.0, 0.0, 1.0):
        now = read(cell, state, time_s)
        assert now.variance is None
        z = (np.asarray(now.mean, np.float64) * 1e6 - 16) / SPREAD[16.0, max(time_s, 1.0)]
        np.testing.assert_allclose(z, state.deviate, atol=2e-5)


def test_the_table_is_made_of_leaves(cell):
    # At 5 uS and 60 s four entries count a quarter each; the rest do not matter.
    gradient = jax.jit(jax.grad(lambda c: c.conductance_std(np.float32(5e-6), 60.0)))(jax.tree.map(np.float32, cell))
    np.testing.assert_allclose(gradient.sigma, [[0.25, 0.25, 0], [0.25, 0.25, 0], [0, 0, 0]], atol=1e-6)

    def louder(noise):
        return cell.replace(programming_noise=noise).conductance_std(np.float32(10e-6), 1.0)

    swept = jax.jit(jax.vmap(louder))(np.arange(3, dtype=np.float32))
    np.testing.assert_allclose(np.asarray(swept) * 1e6, 0.9, rtol=1e-5)


def test_one_time_and_two_conductances_are_enough():
    cell = MeasuredCell.from_rows([(0.0, 1e-6, 1.0), (1e-5, 2e-6, 1.0)])
    for time_s in (0.0, 1.0):
        assert deviation_us(cell, 5.0, time_s) == pytest.approx(1.5, rel=1e-6)


@pytest.mark.parametrize("text", [CSV, "\ufeff" + CSV, CSV.replace("\n", "\r\n"), CSV.replace("\n", "\n\n")])
def test_a_csv_file_is_the_same_table(cell, tmp_path, text):
    (tmp_path / "cell.csv").write_bytes(text.encode())
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), MeasuredCell.from_csv(tmp_path / "cell.csv"), cell
    )


def test_conductances_that_differ_in_the_last_bit_are_one():
    assert 25 * 1e-6 != 2.5e-5
    cell = MeasuredCell.from_rows([(0.0, 0.0, 1.0), (25 * 1e-6, 1e-6, 1.0), (0.0, 0.0, 2.0), (2.5e-5, 1e-6, 2.0)])
    assert cell.sigma.shape == (2, 2)


def test_columns_may_come_in_any_order(tmp_path):
    cell = MeasuredCell.from_csv(write(tmp_path, "time_s,conductance_s,sigma_s\n1 min,0,0.1 uS\n60,10 uS,0.2 uS\n"))
    assert (cell.time_limit_s, float(cell.g_max)) == (60.0, 1e-5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (CSV.replace("0.9e-6", "large"), r"cell.csv, line 4, column sigma_s = 'large': expected a number"),
        (CSV.replace("10 uS,0.9", "10 uA,0.9"), r"line 4, column conductance_s = '10 uA': unknown unit 'uA'"),
        (CSV.replace("0.9e-6", "-0.9e-6"), r"line 4, column sigma_s = -9e-07: must be at least 0 .*unit: S"),
        (CSV.replace("0.9e-6,1 s", "0.9e-6,0 s"), r"line 4, column time_s = 0: must be greater than 0 .*unit: s"),
        (CSV.replace("0.9e-6,1 s", "0.9e-6"), r"line 4: has 2 columns, must have 3"),
        (CSV.replace("0.9e-6", ""), r"line 4, column sigma_s = '': expected a number"),
        (CSV + "0 uS,0.1e-6,1\n", r"line 11: repeats conductance 0 S at time 1 s"),
        (CSV.replace("0 uS,0.1e-6,1 s\n", "", 1), r"cell.csv: has no row for conductance 0 S at time 1 s"),
        (CSV.replace("sigma_s", "sigma"), r"line 1: the header must be conductance_s,sigma_s,time_s, not .*sigma,"),
        ("", r"line 1: the header must be .* not empty"),
        ("conductance_s,sigma_s,time_s\n", r"has 0 conductances, must have 2 or more"),
    ],
)
def test_a_bad_file_is_refused_by_line_and_column(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        MeasuredCell.from_csv(write(tmp_path, text))


def test_other_bad_tables_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"missing.csv: cannot be read as CSV"):
        MeasuredCell.from_csv(tmp_path / "missing.csv")
    with pytest.raises(InputError, match=r"row 1: has 2 values, must have 3"):
        MeasuredCell.from_rows([(0.0, 1e-6, 1.0), (1e-5, 2e-6)])  # type: ignore[list-item]
    with pytest.raises(InputError, match=r"row 1, column sigma_s = nan"):
        MeasuredCell.from_rows([(0.0, 1e-6, 1.0), (1e-5, math.nan, 1.0)])
    axis = np.array([1e-6, 2e-6])
    with pytest.raises(InputError, match=r"MeasuredCell.conductance = .*: must be ascending"):
        MeasuredCell(conductance=axis[::-1], time_s=np.array([1.0]), sigma=axis[None])
    with pytest.raises(InputError, match=r"MeasuredCell.sigma has shape \(2,\): must be \[n_t, n_g\] = \(1, 2\)"):
        MeasuredCell(conductance=axis, time_s=np.array([1.0]), sigma=axis)
