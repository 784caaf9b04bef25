"""A matrix on tiles: cutting, scaling, reading, drift compensation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analogsim import Hardware
from analogsim.base.straight_through import LEAST_SCALE
from analogsim.devices import PCM, Crossbar, DigitalMemory
from analogsim.signal_path import program
from analogsim.signal_path.tiling import cut, cut_inputs, grid, normalise

RNG = np.random.default_rng(20)
DAY_S, YEAR_S = 86400.0, 31557600.0

#: Tests share it and the size of the weights, six tiles, so that each function compiles once.
PCM_ON_TILES = Hardware(store=Crossbar(cell=PCM()), rows=8, columns=3, drift_compensation="global")

#: Every cell drifts by the same law, nu = 0.05, and nothing is random.
PLAIN_DRIFT = PCM(
    programming_noise=0.0, read_noise=0.0, drift_mean_range=(0.05, 0.05), drift_std_range=(0.0, 0.0)
)  # fmt: skip


@pytest.mark.parametrize(
    ("n_in", "n_out", "tiles", "rows"),
    [
        (512, 512, (1, 1), 512),
        (513, 512, (2, 1), 257),
        (784, 10, (2, 1), 392),  # not 512 and 272
        (1025, 1024, (3, 2), 342),
        (1, 1, (1, 1), 1),
    ],
)
def test_a_matrix_is_cut_evenly(n_in, n_out, tiles, rows):
    hardware = Hardware(rows=512, columns=512)
    assert grid(n_in, n_out, hardware) == tiles
    matrix = jax.ShapeDtypeStruct((n_in, n_out), np.float32)
    assert jax.eval_shape(lambda weights: cut(weights, tiles), matrix).shape == (*tiles, rows, -(-n_out // tiles[1]))


@pytest.mark.parametrize("tiles", [(1, 1), (2, 1), (3, 2), (7, 5), (4, 3)])
def test_cutting_loses_nothing_and_meets_the_inputs(tiles):
    weights, x = RNG.normal(size=(7, 5)).astype(np.float32), np.arange(14, dtype=np.float32).reshape(2, 7)
    pieces, parts = map(np.asarray, jax.jit(lambda w, x: (cut(w, tiles), cut_inputs(x, tiles[0])))(weights, x))
    assert parts.shape == (tiles[0], 2, pieces.shape[2])
    back = pieces.transpose(0, 2, 1, 3).reshape(tiles[0] * pieces.shape[2], -1)
    np.testing.assert_array_equal(back[:7, :5], weights)
    assert np.all(back[7:] == 0)
    assert np.all(back[:, 5:] == 0)
    np.testing.assert_array_equal(np.concatenate(list(parts), axis=-1)[:, :7], x)
    product = np.einsum("rbi,rcio->bco", parts, pieces).reshape(2, -1)[:, :5]
    np.testing.assert_allclose(product, x @ weights, rtol=1e-5, atol=1e-5)


def normalised(hardware, weights):
    return map(np.asarray, jax.jit(normalise)(np.float32(weights), hardware))


def test_column_scales_are_the_largest_of_each_column_of_a_tile():
    weights = [[1.0, -8.0], [-3.0, 0.0], [0.5, 2.0], [0.25, -1.0]]
    tiled, scale = normalised(Hardware(rows=2), weights)
    np.testing.assert_array_equal(scale[:, 0, 0, :], [[3.0, 8.0], [0.5, 2.0]])
    np.testing.assert_allclose(tiled[0, 0], [[1 / 3, -1.0], [-1.0, 0.0]])
    np.testing.assert_allclose(tiled[1, 0], [[1.0, 1.0], [0.5, -0.5]])


def test_tile_scales_are_the_largest_of_each_tile():
    weights = [[1.0, -8.0], [-3.0, 0.0], [0.5, 2.0], [0.25, -1.0]]
    tiled, scale = normalised(Hardware(rows=2, scaling="tile"), weights)
    assert scale.shape == (2, 1, 1, 1)
    np.testing.assert_array_equal(scale.ravel(), [8.0, 2.0])
    np.testing.assert_allclose(tiled[0, 0], [[0.125, -1.0], [-0.375, 0.0]])


def whole(held):
    """What a reading holds, scales and compensation multiplied in again, as one matrix ``[n_in, n_out]``."""
    gain = 1.0 if held.gain is None else np.asarray(held.gain)
    tiled = np.asarray(held.mean) * gain * np.asarray(held.scale)
    return tiled.transpose(0, 2, 1, 3).reshape(tiled.shape[0] * tiled.shape[2], -1)[: held.n_in, : held.n_out]


def test_every_tile_along_the_outputs_has_its_own_scale():
    # Three bits on tiles of two columns: levels 0, 1/3, 2/3, 1 of 0.3 in the first tile, of 30 in the second.
    weights = np.float32([[0.1, 0.2, 10.0, 20.0], [0.3, -0.1, 30.0, -10.0]])
    hardware = Hardware(store=DigitalMemory(bits=3), rows=2, columns=2, scaling="tile")
    np.testing.assert_allclose(whole(program(hardware, weights, None).read(0.0)), weights, rtol=1e-6)


def test_a_column_of_zeros_stays_zero_and_a_nan_stays_visible():
    _, scale = normalised(Hardware(), [[0.0, np.nan], [0.0, 1.0]])
    assert scale[0, 0, 0, 0] == LEAST_SCALE
    assert np.isnan(scale[0, 0, 0, 1])


def test_half_precision_weights_are_held_in_float32():
    held = jax.eval_shape(lambda weights: program(Hardware(), weights, None).read(0.0), np.ones((1, 2), jnp.bfloat16))
    assert held.scale.dtype == held.mean.dtype == jnp.float32


# --- drift compensation ----------------------------------------------------------------------------------------------


@pytest.fixture
def weights():
    """``[24, 6]`` on tiles of eight rows and three columns; the small weights of two of them drift faster."""
    weights = np.random.default_rng(20).normal(size=(24, 6)).astype(np.float32)
    weights[9:16] *= 0.05
    weights[1:8, 3:] *= 0.02
    weights[::8] = 3
    return weights


@pytest.mark.parametrize("time_s", [0.0, 3600.0, DAY_S, YEAR_S])
def test_compensation_of_uniform_drift_is_the_inverse_power_law(weights, key, time_s):
    # Every cell lost ((t + 20)/20)^-0.05, so the factor is ((t + 20)/20)^0.05: 4321^0.05 after a day.
    array = program(PCM_ON_TILES.replace(**{"store.cell": PLAIN_DRIFT}), weights, key)
    held = array.read(time_s)
    np.testing.assert_allclose(held.gain, ((time_s + 20) / 20) ** 0.05 * np.ones((3, 2, 1, 1)), rtol=1e-5)
    if time_s == DAY_S:
        np.testing.assert_allclose(held.gain, 1.519775 * np.ones((3, 2, 1, 1)), rtol=1e-5)
    np.testing.assert_allclose(whole(held), weights, rtol=1e-5, atol=1e-6)


def test_compensation_restores_the_mean_readout_of_every_tile(weights, key):
    array = program(PCM_ON_TILES.replace(drift_estimator="mean absolute"), weights, key)
    fresh, aged = array.read(0.0, "none", False), array.read(YEAR_S, "none", False)
    by_hand = np.abs(np.asarray(fresh.mean)).mean(axis=(-2, -1)) / np.abs(np.asarray(aged.mean)).mean(axis=(-2, -1))
    now = array.read(YEAR_S, None, False)
    assert by_hand.shape == (3, 2)
    np.testing.assert_allclose(np.asarray(now.gain)[:, :, 0, 0], by_hand, rtol=1e-5)
    # The cells are what they are; only the output is scaled.
    np.testing.assert_allclose(now.mean, aged.mean, rtol=1e-6, atol=1e-9)
    assert by_hand.min() > 1.5
    assert np.ptp(by_hand) > 0.05


def test_compensation_reduces_the_error_of_an_aged_array(weights, key):
    array = program(PCM_ON_TILES, weights, key)

    def error(compensation):
        held = array.read(YEAR_S, compensation)
        return np.linalg.norm(whole(held) - weights) / np.linalg.norm(weights)

    # nu is 0.05 to 0.1: uncompensated, 51 % to 76 % of every weight is lost ((t + 20)/20 = 1577881).
    assert 0.45 < error("none") < 0.8
    assert error("global") < error("none") / 2


def test_compensation_of_every_column_restores_its_own_mean_readout(weights, key):
    array = program(PCM_ON_TILES.replace(drift_estimator="mean absolute"), weights, key)
    fresh, aged = array.read(0.0, "none", False), array.read(YEAR_S, "none", False)
    by_hand = np.abs(np.asarray(fresh.mean)).mean(axis=-2) / np.abs(np.asarray(aged.mean)).mean(axis=-2)
    now = array.read(YEAR_S, "column", False)
    np.testing.assert_allclose(np.asarray(now.gain)[:, :, 0], by_hand, rtol=1e-5)
    assert np.ptp(by_hand[0, 0]) > 0.01  # columns drift differently: one factor a tile is another answer


def test_the_caller_overrides_the_hardware(weights, key):
    array = program(PCM_ON_TILES, weights, key)
    assert array.read(DAY_S, "none").gain is None
    np.testing.assert_allclose(array.read(DAY_S, "global").gain, array.read(DAY_S).gain, rtol=1e-6)


def test_expected_readings_are_those_without_the_noise(weights, key):
    array = program(PCM_ON_TILES, weights, key)
    quiet = array.read(DAY_S, read_noise=False)
    assert quiet.variance is None
    expected = jax.vmap(jax.vmap(lambda s: PCM_ON_TILES.store.read(s, DAY_S)))(array.state)
    np.testing.assert_allclose(quiet.mean, expected.mean, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("nonzero", [20_000, 400, 1])
def test_compensation_does_nothing_to_what_did_not_change(nonzero):
    # A sparse matrix in a store that does not drift: however small its mean readout, the factor is one.
    weights = np.float32(np.arange(40_000) < nonzero).reshape(200, 200)
    array = program(Hardware(drift_compensation="global"), weights, None)
    np.testing.assert_allclose(array.read(YEAR_S).gain, 1.0, rtol=1e-6)


def test_a_matrix_of_zeros_is_no_division_by_zero():
    array = program(Hardware(drift_compensation="global"), np.zeros((4, 3), np.float32), None)
    held = array.read(DAY_S)
    assert np.all(np.isfinite(np.asarray(held.scale) * np.asarray(held.gain)))
    np.testing.assert_array_equal(whole(held), np.zeros((4, 3)))


# --- randomness and gradients ----------------------------------------------------------------------------------------


def test_every_tile_is_its_own_draw(key):
    array = program(PCM_ON_TILES, np.full((24, 6), 0.5, np.float32), key)
    cells = np.asarray(array.state.cells.conductance)[:, :, 0].reshape(
        6, -1
    )  # the cells that carry the weight, by tile
    assert np.unique(cells).size == cells.size
