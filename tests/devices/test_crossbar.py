"""A crossbar as a weight store: its moments against sampling every cell, and its cost.

Read noise in output space, y = M x + sqrt(V x^2) xi, claims the exact mean and variance of perturbing every cell. Here
every cell is perturbed, many times, and the two are compared; the tolerance is four standard errors.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from analogsim import Hardware, InputError
from analogsim.devices import PCM, Crossbar, Differential, GenericCell, ReRAM
from analogsim.signal_path import Reading, multiply
from analogsim.signal_path.operators import MatrixProduct
from tests.support.cells import N, program, read, stored

ROWS, COLUMNS, READS = 64, 4, 20_000
DAY_S = 86400.0
OPERATOR = MatrixProduct((1,), (0,), 2, (ROWS, COLUMNS))


@functools.cache
def case():
    """A programmed array, two equal inputs, and what both ways of reading it give: ``[reads, 2, columns]``."""
    store = Crossbar(cell=PCM())
    # Small weights among them: the cut at zero, which makes the noise asymmetric, must show in both ways alike.
    weights = np.linspace(-1, 1, ROWS * COLUMNS, dtype=np.float32).reshape(ROWS, COLUMNS) ** 3
    state = program(store, jax.random.key(1), weights)
    x = np.tile(np.cos(np.arange(ROWS, dtype=np.float32)), (2, 1))
    keys = jax.random.split(jax.random.key(2), READS)

    def sample(key):
        one, other = jax.random.split(key)  # every vector is its own read
        return jnp.stack([x[0] @ store.read(state, DAY_S, one).mean, x[1] @ store.read(state, DAY_S, other).mean])

    moments = read(store, state, DAY_S)
    reading = Reading(
        state=state, mean=np.asarray(moments.mean)[None, None],
        variance=np.asarray(moments.variance)[None, None], curvature=None, converters=None, gain=None,
        scale=np.ones((1, 1, 1, COLUMNS), np.float32), time_s=DAY_S, n_in=ROWS, n_out=COLUMNS,
    )  # fmt: skip
    every_cell = jax.jit(functools.partial(jax.lax.map, sample, batch_size=1000))(keys)
    output_space = jax.jit(jax.vmap(lambda k: multiply(Hardware(store=store), reading, x, OPERATOR, key=k)))(keys)
    return moments, x[0], np.asarray(every_cell, np.float64), np.asarray(output_space, np.float64)


@pytest.mark.parametrize("way", ["every cell", "output space"])
def test_outputs_have_the_mean_and_variance_of_the_moments(way):
    moments, x, every_cell, output_space = case()
    y = every_cell if way == "every cell" else output_space
    mean = np.asarray(x, np.float64) @ np.asarray(moments.mean, np.float64)
    std = np.sqrt(np.asarray(x, np.float64) ** 2 @ np.asarray(moments.variance, np.float64))
    for vector in (0, 1):
        assert np.all(np.abs(y[:, vector].mean(axis=0) - mean) < 4 * std / math.sqrt(READS))
        assert np.all(np.abs(y[:, vector].std(axis=0) / std - 1) < 4 / math.sqrt(2 * READS))


def test_both_ways_have_the_same_shape():
    _, _, every_cell, output_space = case()
    for y in (every_cell[:, 0], output_space[:, 0]):
        assert np.all(np.abs(stats.kurtosis(y, axis=0)) < 4 * math.sqrt(24 / READS))
    for column in range(COLUMNS):
        assert stats.ks_2samp(every_cell[:, 0, column], output_space[:, 0, column]).pvalue > 1e-4


def test_columns_and_vectors_fluctuate_independently():
    for y in case()[2:]:
        correlation = np.corrcoef(y.reshape(READS, -1).T)
        assert np.abs(correlation - np.eye(2 * COLUMNS)).max() < 4.5 / math.sqrt(READS)  # the largest of 28


def test_the_moments_of_one_pair_by_hand():
    # w = 0.5, x = 0.8 at t = 0: G+ = 12.5 uS, Q = 0.0088/0.5^0.65 = 0.01380869, sqrt(ln 4.0000005e7) = 4.18382481, so
    # s+ = 0.72216367 uS; G- = 0: no conductance, no noise. y has mean 0.4 and spread 0.8 x 0.72216367/25.
    store = Crossbar(cell=PCM(programming_noise=0.0))
    moments = stored(store, jax.random.key(3), np.full((1, 2), 0.5, np.float32), 0.0)
    np.testing.assert_allclose(0.8 * np.asarray(moments.mean), 0.4, rtol=1e-6)
    np.testing.assert_allclose(0.8 * np.sqrt(moments.variance), 0.8 * 0.72216367 / 25, rtol=1e-5)


def test_the_cells_of_a_pair_are_written_independently():
    # w = 0 on two sides: both at 12.5 uS, x = 0.5, sigma = 0.26348 + 0.9825 - 0.293275 = 0.952705 uS, so the weight has
    # the standard deviation sqrt(2) 0.952705/25 = 0.05389313.
    store = Crossbar(cell=PCM(drift=0.0, read_noise=0.0), mapping=Differential(sides=2))
    state = program(store, jax.random.key(5), np.zeros((N, 1), np.float32))
    plus, minus = np.asarray(state.cells.conductance, np.float64).reshape(2, N)
    assert abs(np.corrcoef(plus, minus)[0, 1]) < 4 / math.sqrt(N)
    w = np.asarray(read(store, state, 0.0).mean, np.float64)
    assert abs(w.mean()) < 4 * 0.05389313 / math.sqrt(N)
    assert abs(w.std() / 0.05389313 - 1) < 4 / math.sqrt(2 * N)
    store = Crossbar(mapping=Differential(sides=2))
    exponents = program(store, jax.random.key(5), np.zeros((N, 1), np.float32)).cells.drift_exponent
    assert abs(np.corrcoef(np.asarray(exponents).reshape(2, N))[0, 1]) < 4 / math.sqrt(N)


def test_every_cell_of_a_pair_drifts_on_its_own():
    # w = 1 on two sides: G+ = 25 uS drifts, G- = 0 does not. With nu = 0.05: w(1 day) = 4321^-0.05 = 0.65799226.
    cell = PCM(
        programming_noise=0.0, read_noise=0.0, drift_mean_range=(0.05, 0.05), drift_std_range=(0.0, 0.0)
    )  # fmt: skip
    store = Crossbar(cell=cell, mapping=Differential(sides=2))
    held = stored(store, jax.random.key(4), np.float32([[1.0, 0.2]]), DAY_S).mean
    np.testing.assert_allclose(held, [[0.65799226, 0.2 * 0.65799226]], rtol=1e-5)


def test_cost_is_the_conductance_that_the_squared_voltage_sees():
    # Weights 1 and -0.5 on 2 to 22 uS, one-sided: (22 + 2) + (2 + 12) = 38 uS; a mean square input of 0.25.
    store = Crossbar(cell=PCM(g_min=2e-6, g_max=22e-6))
    (action,) = store.cost(np.float32([[1.0, -0.5]]), 0.25)
    assert (action.name, action.unit) == ("cell read", "S")
    assert float(action.quantity) == pytest.approx(9.5e-6, rel=1e-6)


def test_programming_needs_a_key():
    with pytest.raises(InputError, match="key = None"):
        Crossbar().program(None, jnp.ones((1, 1)))


def test_a_store_is_no_cell():
    # It can be programmed and read, but has no window of conductances to map weights to.
    with pytest.raises(InputError, match=r"Crossbar.cell = Crossbar\(\): must be a description with "):
        Crossbar(cell=Crossbar())


def test_beyond_the_data_a_traced_time_reads_nan_not_a_guess():
    store = Crossbar(cell=ReRAM())
    times, weights = np.float32([0, 172_800, 172_801]), np.full((2, 2), 0.5, np.float32)
    means = jax.jit(jax.vmap(lambda t: stored(store, jax.random.key(0), weights, t).mean))(times)
    assert np.isfinite(np.asarray(means)[:2]).all()
    assert np.isnan(np.asarray(means)[2]).all()


@pytest.mark.parametrize("cell", [GenericCell(), GenericCell(spectrum="1/f"), PCM(), ReRAM()])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_moments_before_programming_have_the_dtype_of_the_weights(cell, dtype):
    with jax.enable_x64(dtype == "float64"):
        moments = jax.eval_shape(Crossbar(cell=cell).expected, jnp.ones((2, 2), dtype), 60.0)
    assert {a.dtype.name for a in moments} == {dtype}
