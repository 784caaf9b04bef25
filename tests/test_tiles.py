"""A matrix on tiles: cutting, scaling, reading, drift compensation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analogsim import Hardware, preset
from analogsim.devices import PCM, Crossbar, DigitalMemory
from analogsim.tiles import cut, cut_inputs, grid, normalise, program

DAY_S, YEAR_S = 86400.0, 31557600.0

#: Every cell drifts by the same law, nu = 0.05, and nothing is random.
PLAIN_DRIFT = PCM(
    programming_noise=0.0, read_noise=0.0, drift_mean_range=(0.05, 0.05), drift_spread_range=(0.0, 0.0)
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
    assert cut(jnp.zeros((n_in, n_out)), tiles).shape == (*tiles, rows, -(-n_out // tiles[1]))


@pytest.mark.parametrize("tiles", [(1, 1), (2, 1), (3, 2), (7, 5), (4, 3)])
def test_cutting_loses_nothing_and_meets_the_inputs(key, tiles):
    weights, x = jax.random.normal(key, (7, 5)), jnp.arange(14.0).reshape(2, 7)
    pieces, parts = cut(weights, tiles), cut_inputs(x, tiles[0])
    assert parts.shape == (2, tiles[0], pieces.shape[2])
    back = np.asarray(pieces.transpose(0, 2, 1, 3)).reshape(tiles[0] * pieces.shape[2], -1)
    np.testing.assert_array_equal(back[:7, :5], weights)
    assert np.all(back[7:] == 0)
    assert np.all(back[:, 5:] == 0)
    np.testing.assert_array_equal(np.asarray(parts).reshape(2, -1)[:, :7], x)
    product = np.einsum("bri,rcio->bco", parts, pieces).reshape(2, -1)[:, :5]
    np.testing.assert_allclose(product, np.asarray(x) @ np.asarray(weights), rtol=1e-5, atol=1e-5)


def test_column_scales_are_the_largest_of_each_column_of_a_tile():
    weights = jnp.array([[1.0, -8.0], [-3.0, 0.0], [0.5, 2.0], [0.25, -1.0]])
    tiled, scale = normalise(weights, Hardware(rows=2))
    np.testing.assert_array_equal(scale[:, 0, 0, :], [[3.0, 8.0], [0.5, 2.0]])
    np.testing.assert_allclose(tiled[0, 0], [[1 / 3, -1.0], [-1.0, 0.0]])
    np.testing.assert_allclose(tiled[1, 0], [[1.0, 1.0], [0.5, -0.5]])


def test_tile_scales_are_the_largest_of_each_tile():
    weights = jnp.array([[1.0, -8.0], [-3.0, 0.0], [0.5, 2.0], [0.25, -1.0]])
    tiled, scale = normalise(weights, Hardware(rows=2, scaling="tile"))
    assert scale.shape == (2, 1, 1, 1)
    np.testing.assert_array_equal(scale.ravel(), [8.0, 2.0])
    np.testing.assert_allclose(tiled[0, 0], [[0.125, -1.0], [-0.375, 0.0]])


def reading_of(hardware, weights, time_s=0.0):
    """What the tiles hold, scales multiplied in again: ``[n_in, n_out]``."""
    held = program(hardware, weights, jax.random.key(0)).read(time_s)
    whole = held.mean * held.scale
    return np.asarray(whole.transpose(0, 2, 1, 3).reshape(whole.shape[0] * whole.shape[2], -1))[: weights.shape[0]]


def test_every_tile_along_the_outputs_has_its_own_scale():
    # Three bits on tiles of two columns: levels 0, 1/3, 2/3, 1 of 0.3 in the first tile, of 30 in the second.
    weights = jnp.array([[0.1, 0.2, 10.0, 20.0], [0.3, -0.1, 30.0, -10.0]])
    hardware = Hardware(store=DigitalMemory(bits=3), rows=2, columns=2, scaling="tile")
    np.testing.assert_allclose(reading_of(hardware, weights)[:, :4], weights, rtol=1e-6)


def test_a_column_of_zeros_stays_zero_and_a_nan_stays_visible():
    _, scale = normalise(jnp.array([[0.0, jnp.nan], [0.0, 1.0]]), Hardware())
    assert float(scale[0, 0, 0, 0]) == 1.0
    assert np.isnan(scale[0, 0, 0, 1])


def test_half_precision_weights_are_held_in_float32():
    held = program(Hardware(), jnp.array([[0.1, 0.3]], jnp.bfloat16), None)
    assert held.scale.dtype == held.read(0.0).mean.dtype == jnp.float32


# --- drift compensation ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("time_s", [0.0, 3600.0, DAY_S, YEAR_S])
def test_compensation_of_uniform_drift_is_the_inverse_power_law(key, time_s):
    # Every cell lost ((t + 20)/20)^-0.05, so the factor is ((t + 20)/20)^0.05: 1.5198 after a day.
    hardware = Hardware(store=Crossbar(cell=PLAIN_DRIFT), drift_compensation="global")
    weights = jax.random.normal(key, (6, 4))
    array = program(hardware, weights, key)
    factor = np.asarray(array.read(time_s).scale / array.scale)
    np.testing.assert_allclose(factor, ((time_s + 20) / 20) ** 0.05, rtol=1e-5)
    if time_s == DAY_S:
        np.testing.assert_allclose(factor, 1.519775, rtol=1e-5)  # 4321^0.05
    whole = array.read(time_s)
    np.testing.assert_allclose((whole.mean * whole.scale)[0, 0], weights, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scaling", ["column", "tile"])
def test_compensation_restores_the_mean_readout_of_every_tile(key, scaling):
    hardware = Hardware(store=Crossbar(cell=PCM()), rows=8, scaling=scaling, drift_compensation="global")
    # A tile of large weights beside one of small: they drift differently, so their factors differ.
    weights = jax.random.normal(key, (24, 6)) * jnp.repeat(jnp.array([1.0, 0.05, 1.0]), 8)[:, None]
    weights = weights.at[8].set(3.0)
    array = program(hardware, weights, key)
    fresh, aged = array.read(0.0, "none"), array.read(YEAR_S, "none")
    by_hand = np.abs(fresh.mean).mean(axis=(-2, -1)) / np.abs(aged.mean).mean(axis=(-2, -1))
    now = array.read(YEAR_S)
    np.testing.assert_allclose((now.scale / array.scale)[:, :, 0, 0], by_hand, rtol=1e-5)
    np.testing.assert_array_equal(now.mean, aged.mean)  # the cells are what they are; only the output is scaled
    assert by_hand.min() > 1.5
    assert np.ptp(by_hand) > 0.05


def test_tiles_along_the_outputs_are_compensated_one_by_one(key):
    # Two tiles of four columns, all programmed to 0.9 on the left, to 0.05 on the right but for one row: PCM drifts
    # faster at low conductance, so one factor for both would leave each wrong.
    weights = jnp.full((8, 8), 0.9).at[1:, 4:].set(0.05)
    hardware = Hardware(store=Crossbar(cell=PCM()), columns=4, drift_compensation="global")
    array = program(hardware, weights, key)

    def columns(a):  # [1, C, rows or 1, columns or 1] to [rows or 1, 8], however the tiles are stored
        a = np.broadcast_to(a, (*a.shape[:3], 8 // a.shape[1]))
        return np.concatenate(list(a[0]), axis=-1)

    fresh, aged = (np.abs(columns(array.read(t, "none").mean)) for t in (0.0, YEAR_S))
    left, right = (fresh[:, half].mean() / aged[:, half].mean() for half in (slice(0, 4), slice(4, 8)))
    factor = columns(array.read(YEAR_S).scale / array.scale)[0]
    np.testing.assert_allclose(factor, [left] * 4 + [right] * 4, rtol=1e-5)


def test_compensation_reduces_the_error_of_an_aged_array(key):
    weights = jax.random.normal(key, (64, 32))
    array = program(preset("pcm"), weights, key)

    def error(compensation):
        held = array.read(YEAR_S, compensation)
        return float(jnp.linalg.norm((held.mean * held.scale)[0, 0] - weights) / jnp.linalg.norm(weights))

    # nu is 0.05 to 0.1: uncompensated, 51 % to 76 % of every weight is lost ((t + 20)/20 = 1577881).
    assert 0.45 < error("none") < 0.8
    assert error("global") < error("none") / 2


def test_the_caller_overrides_the_hardware(key):
    array = program(preset("pcm"), jax.random.normal(key, (8, 4)), key)
    np.testing.assert_array_equal(array.read(DAY_S, "none").scale, array.scale)
    np.testing.assert_array_equal(array.read(DAY_S, "global").scale, array.read(DAY_S).scale)
    assert array.read(DAY_S, read_noise=False).variance is None
    np.testing.assert_allclose(array.read(DAY_S, read_noise=False).mean, array.read(DAY_S).mean, rtol=1e-6)


@pytest.mark.parametrize("nonzero", [20_000, 400, 1])
def test_compensation_does_nothing_to_what_did_not_change(nonzero):
    # A sparse matrix in a store that does not drift: however small its mean readout, the factor is one.
    weights = jnp.zeros(40_000).at[:nonzero].set(1.0).reshape(200, 200)
    array = program(Hardware(drift_compensation="global"), weights, None)
    np.testing.assert_allclose(array.read(YEAR_S).scale, array.scale, rtol=1e-6)


def test_a_matrix_of_zeros_is_no_division_by_zero():
    array = program(Hardware(drift_compensation="global"), jnp.zeros((4, 3)), None)
    held = array.read(DAY_S)
    assert np.all(np.isfinite(held.scale))
    np.testing.assert_array_equal(held.mean * held.scale, np.zeros((1, 1, 4, 3)))


# --- randomness and gradients ----------------------------------------------------------------------------------------


def test_every_tile_is_its_own_draw_and_one_tile_draws_like_the_first_of_many(key):
    weights = jnp.full((16, 4), 0.5)
    one = program(Hardware(store=Crossbar(cell=PCM())), weights[:8], key)
    two = program(Hardware(store=Crossbar(cell=PCM()), rows=8), weights, key)
    np.testing.assert_allclose(two.state.conductance[0], one.state.conductance[0], rtol=1e-6, atol=1e-13)
    plus = two.state.conductance[:, 0, 0]  # the cells that carry the weight, one array a tile
    assert not np.any(plus[0] == plus[1])


def test_gradients_reach_the_weights_as_if_multiplied_directly(key):
    weights, x = jax.random.normal(key, (6, 4)), jnp.arange(6.0)

    def output(w):
        held = program(preset("pcm", rows=2), w, key).read(DAY_S).trained_by(w)
        return (jnp.einsum("ri,rcio->ro", x.reshape(3, 2), held.mean) * held.scale[:, 0, 0]).sum()

    np.testing.assert_allclose(jax.jit(jax.grad(output))(weights), jnp.outer(x, jnp.ones(4)), rtol=1e-5)


def test_an_array_is_a_pytree_that_can_be_stacked(key):
    weights = jax.random.normal(key, (6, 4))
    keys = jax.random.split(key, 3)
    chips = jax.jit(jax.vmap(lambda k: program(preset("pcm"), weights, k)))(keys)
    aged = jax.jit(jax.vmap(lambda chip: chip.read(DAY_S).mean))(chips)
    assert aged.shape == (3, 1, 1, 6, 4)
    alone = jax.jit(lambda k: program(preset("pcm"), weights, k).read(DAY_S).mean)(keys[1])
    np.testing.assert_allclose(aged[1], alone, rtol=1e-6)
