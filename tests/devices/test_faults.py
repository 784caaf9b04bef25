"""Fabrication faults against the binomial law, order statistics and the lognormal, worked here without our code."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from analogsim import InputError
from analogsim.devices import PCM, Faults, Moments
from analogsim.devices.crossbar.faults import HEALTHY, STUCK_AT, STUCK_OFF, STUCK_ON, FabricatedCells
from tests.support.sampling import assert_moments

CHIPS, SHAPE = 2000, (2, 32, 16)
CELLS = math.prod(SHAPE)
KINDS = {"stuck_on": STUCK_ON, "stuck_off": STUCK_OFF, "stuck_at": STUCK_AT}
KEYS = jax.random.split(jax.random.key(0), CHIPS)
fabricate = jax.jit(Faults.fabricate, static_argnums=2)
apply = jax.jit(Faults.apply)


@jax.jit
def counts(faults):
    """Cells of each kind on every chip: ``[chips, 4]``."""

    def one(key):
        codes = faults.fabricate(key, SHAPE).codes
        return jnp.stack([jnp.sum(codes == code) for code in (HEALTHY, *KINDS.values())])

    return jax.vmap(one)(KEYS)


@pytest.mark.parametrize(
    "rates",
    [
        dict(stuck_on=0.3, stuck_off=0.2),  # large, so that a product of the two would show
        dict(stuck_on=0.0175, stuck_off=0.0904, stuck_at=0.05),
        dict(stuck_on=0.1),
        dict(stuck_off=0.1),
        dict(stuck_at=0.1),
    ],
)
def test_the_numbers_of_stuck_cells_are_multinomial(rates):
    found = np.asarray(counts(Faults(**rates)), np.float64)
    assert np.all(found.sum(axis=1) == CELLS)
    for kind, code in KINDS.items():
        r = rates.get(kind, 0.0)
        if r == 0:
            assert np.all(found[:, code] == 0)
            continue
        assert_moments(found[:, code], CELLS * r, math.sqrt(CELLS * r * (1 - r)))
        # The shape: skewness (1 - 2 r)/sqrt(N r (1 - r)), whose standard error is sqrt(6/chips).
        skew = (1 - 2 * r) / math.sqrt(CELLS * r * (1 - r))
        assert abs(stats.skew(found[:, code]) - skew) < 4 * math.sqrt(6 / CHIPS)
    if "stuck_off" in rates and "stuck_on" in rates:
        on, off = rates["stuck_on"], rates["stuck_off"]
        covariance = np.cov(found[:, STUCK_ON], found[:, STUCK_OFF])[0, 1]
        deviation = CELLS * math.sqrt(on * (1 - on) * off * (1 - off))
        assert abs(covariance + CELLS * on * off) < 4 * deviation / math.sqrt(CHIPS)


def test_every_place_is_equally_likely():
    codes = jax.jit(jax.vmap(lambda key: Faults(stuck_off=0.2).fabricate(key, SHAPE).codes))(KEYS)
    hits = np.sum(np.asarray(codes) == STUCK_OFF, axis=0).ravel()
    chi_square = np.sum((hits - 0.2 * CHIPS) ** 2) / (CHIPS * 0.2 * 0.8)
    assert abs(chi_square - CELLS) < 4 * math.sqrt(2 * CELLS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_share_of_one_is_exact(kind):
    assert np.all(np.asarray(counts(Faults(**{kind: 1.0})))[:, KINDS[kind]] == CELLS)


def test_a_share_of_zero_is_exact():
    assert np.all(np.asarray(counts(Faults()))[:, HEALTHY] == CELLS)


def test_shares_that_add_up_to_one_leave_no_healthy_cell():
    assert np.all(np.asarray(counts(Faults(stuck_on=0.7, stuck_off=0.2, stuck_at=0.1)))[:, HEALTHY] == 0)


def columns_kept(n_columns: int, spare: int, cells: int, rate: float) -> float:
    """Mean number of stuck cells in the best ``n_columns`` columns: E[X_(k)] = sum_x P(X_(k) > x), summed over k <= n.

    P(X_(k) > x) = P(fewer than k of all columns have at most x stuck cells), each with probability F(x).
    """
    x = np.arange(cells + 1)
    below = stats.binom.cdf(x, cells, rate)
    return sum(stats.binom.cdf(k - 1, n_columns + spare, below).sum() for k in range(1, n_columns + 1))


@pytest.mark.parametrize("spare", [1, 4])
def test_spare_columns_help_as_order_statistics_say(spare):
    cells, n_columns, rate = SHAPE[0] * SHAPE[1], SHAPE[2], 0.05
    faults = Faults(stuck_on=0.02, stuck_off=0.03, spare_columns=spare)
    codes = jax.jit(jax.vmap(lambda key: faults.fabricate(key, SHAPE).codes))(KEYS)
    by_column = np.sum(np.asarray(codes) != HEALTHY, axis=(1, 2)).astype(np.float64)
    drawn = np.random.default_rng(1).binomial(cells, rate, size=(200_000, n_columns + spare))
    simulated = np.sort(drawn, axis=1)[:, :n_columns].sum(axis=1)
    expected = columns_kept(n_columns, spare, cells, rate)
    assert abs(simulated.mean() - expected) < 4 * simulated.std() / math.sqrt(simulated.size)
    assert expected < 0.95 * n_columns * cells * rate  # what is tested is not small
    assert_moments(by_column.sum(axis=1), expected, simulated.std())
    # No position is better than another, although the worst columns are tied most of the time.
    error = by_column.std() / math.sqrt(CHIPS)
    assert np.abs(by_column.mean(axis=0) - by_column.mean()).max() < 4.5 * error


def test_the_worst_columns_go_and_the_others_keep_their_order():
    key, rates = jax.random.key(3), dict(stuck_on=0.1, stuck_at=0.1, device_variation=0.2)
    n_in, made, spare = 8, 12, 5
    everything = np.asarray(fabricate(Faults(**rates), key, (2, n_in, made)).codes)
    fabric = fabricate(Faults(**rates, spare_columns=spare), key, (2, n_in, made - spare))
    kept, place = np.asarray(fabric.codes), []
    for column in range(kept.shape[2]):
        start = place[-1] + 1 if place else 0
        place.append(next(j for j in range(start, made) if np.array_equal(everything[..., j], kept[..., column])))
    bad = (everything != HEALTHY).sum(axis=(0, 1))
    gone = [j for j in range(made) if j not in place]
    assert min(bad[gone]) >= max(bad[place])
    assert fabric.factor.shape == kept.shape


@pytest.mark.parametrize("deviation", [0.05, 0.7])
def test_the_scale_is_lognormal_of_mean_one(deviation):
    fabric = fabricate(Faults(device_variation=deviation), jax.random.key(4), (2, 500, 100))
    factor = np.asarray(fabric.factor, np.float64).ravel()
    u = math.sqrt(math.log(1 + deviation**2))
    assert_moments(factor, 1.0, deviation)
    assert_moments(np.log(factor), -(u**2) / 2, u)
    assert stats.kstest((np.log(factor) + u**2 / 2) / u, "norm").pvalue > 1e-4


def test_the_standard_deviation_has_its_gradient_also_at_zero():
    # f = exp(u xi - u^2/2) with u = s to first order: df/ds = xi at s = 0, and (f(s) - 1)/s tends to it.
    def factor(s):
        return Faults(device_variation=s).fabricate(jax.random.key(5), (1, 400, 250)).factor

    both = jax.jit(lambda s: jax.jvp(factor, (s,), (jnp.ones_like(s),)))
    value, gradient = both(0.0)
    np.testing.assert_array_equal(value, 1.0)
    assert_moments(gradient, 0.0, 1.0)
    u, s = math.sqrt(math.log(1.09)), 0.3
    value, gradient = both(s)
    xi = np.log(np.asarray(value, np.float64)) / u + u / 2  # df/ds = f (xi - u) du/ds, du/ds = s/(u (1 + s^2))
    np.testing.assert_allclose(gradient, value * (xi - u) * s / (u * 1.09), rtol=1e-3, atol=1e-5)


def test_stuck_cells_hold_their_values_and_the_others_what_they_held():
    codes = np.array([[[HEALTHY, STUCK_ON], [STUCK_OFF, STUCK_AT]]], np.int8)
    mean = np.float32([[[7e-6, 8e-6], [9e-6, 10e-6]]])
    fabric, moments = FabricatedCells(codes, None), Moments(mean, mean**2)
    faults = Faults(stuck_at_conductance="60 uS")
    held = apply(faults, fabric, moments, 2e-6, 25e-6)
    np.testing.assert_array_equal(held.mean, np.float32([[[7e-6, 25e-6], [2e-6, 60e-6]]]))
    np.testing.assert_array_equal(held.variance, [[[mean[0, 0, 0] ** 2, 0.0], [0.0, 0.0]]])
    assert jax.eval_shape(faults.apply, fabric, Moments(mean), 2e-6, 25e-6).variance is None
    held = apply(faults.replace(off_conductance="0.5 uS"), fabric, moments, 2e-6, 25e-6)
    np.testing.assert_array_equal(held.mean, np.float32([[[7e-6, 25e-6], [0.5e-6, 60e-6]]]))


def test_stuck_cells_do_not_age():
    faults, cell = Faults(stuck_on=0.2, stuck_off=0.2, stuck_at=0.1, stuck_at_conductance=3e-6), PCM()
    fabric = fabricate(faults, jax.random.key(6), SHAPE)
    stuck = np.asarray(fabric.codes) != HEALTHY

    @jax.jit
    def life(time_s):
        plain = cell.read(cell.program(jax.random.key(7), np.full(SHAPE, 15e-6, np.float32)), time_s)
        return plain, faults.apply(fabric, plain, cell.g_min, cell.g_max)

    (_, young), (plain, old) = (jax.tree.map(np.asarray, life(t)) for t in (0.0, 315576000.0))
    np.testing.assert_array_equal(young.mean[stuck], old.mean[stuck])
    np.testing.assert_array_equal(old.variance[stuck], 0.0)
    for ours, cells in zip(old[:2], plain[:2], strict=True):
        np.testing.assert_array_equal(ours[~stuck], cells[~stuck])


def test_same_key_same_tile_and_every_effect_its_own_stream():
    faults, key = Faults(stuck_on=0.1, device_variation=0.1), jax.random.key(8)
    one, outside_jit = fabricate(faults, key, SHAPE), faults.fabricate(key, SHAPE)
    jax.tree.map(np.testing.assert_array_equal, one, fabricate(faults, key, SHAPE))
    np.testing.assert_array_equal(one.codes, outside_jit.codes)
    np.testing.assert_allclose(one.factor, outside_jit.factor, rtol=3e-7)
    np.testing.assert_array_equal(one.codes, fabricate(faults.replace(device_variation=None), key, SHAPE).codes)
    other = fabricate(faults.replace(stuck_on=0.0), key, SHAPE)
    healthy = np.asarray(one.codes) == HEALTHY
    np.testing.assert_array_equal(np.asarray(one.factor)[healthy], np.asarray(other.factor)[healthy])
    assert np.all(np.asarray(one.factor)[~healthy] == 1)  # nothing scales a stuck value
    assert not np.array_equal(one.codes, fabricate(faults, jax.random.key(9), SHAPE).codes)


def test_chips_and_shares_are_axes_of_vmap():
    faults = Faults(stuck_off=0.1, spare_columns=2, device_variation=0.1)
    together = jax.jit(jax.vmap(lambda key: faults.fabricate(key, SHAPE)))(KEYS[:3])
    together = jax.tree.map(np.asarray, together)
    for i in range(3):
        alone = fabricate(faults, KEYS[i], SHAPE)
        np.testing.assert_array_equal(together.codes[i], alone.codes)
        np.testing.assert_allclose(together.factor[i], alone.factor, rtol=1e-6)
    rates = (0.0, 0.5, 1.0)
    swept = jax.jit(jax.vmap(lambda r: Faults(stuck_on=r).fabricate(KEYS[0], SHAPE).codes))(np.float32(rates))
    np.testing.assert_array_equal(swept, [fabricate(Faults(stuck_on=r), KEYS[0], SHAPE).codes for r in rates])


def test_gradients_pass_the_healthy_cells_times_their_scale():
    faults = Faults(stuck_on=0.2, device_variation=0.3)
    fabric = fabricate(faults, jax.random.key(10), SHAPE)

    def total(conductance):
        return jnp.sum(faults.apply(fabric, Moments(faults.scale(fabric, conductance)), 0.0, 25e-6).mean)

    gradient = jax.jit(jax.grad(total))(np.full(SHAPE, 10e-6, np.float32))
    codes, factor = np.asarray(fabric.codes), np.asarray(fabric.factor)
    np.testing.assert_array_equal(gradient, np.where(codes == HEALTHY, factor, 0.0))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_dtypes_stay(dtype):
    faults = Faults(stuck_on=0.2, device_variation=0.3)
    fabric, g = fabricate(faults, jax.random.key(11), SHAPE), np.full(SHAPE, 10e-6, dtype)

    @jax.jit
    def held_by(g):
        return faults.apply(fabric, Moments(faults.scale(fabric, g), g), jnp.float32(0), jnp.float32(25e-6))

    held = held_by(g)
    assert (held.mean.dtype, held.variance.dtype) == (dtype, dtype)
    codes, factor = np.asarray(fabric.codes), np.asarray(fabric.factor)
    np.testing.assert_allclose(
        np.asarray(held.mean).astype(np.float32),
        np.where(codes == STUCK_ON, 25e-6, 10e-6 * factor),
        rtol=4 * float(jnp.finfo(dtype).eps),
    )


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (
            dict(stuck_on=0.6, stuck_off=0.3, stuck_at=0.2),
            r"stuck_on \+ stuck_off \+ stuck_at = 1.1: must be at most 1",
        ),
        (dict(stuck_on=jnp.array([0.1, 0.8]), stuck_at=0.5), r"stuck_on \+ stuck_off \+ stuck_at = 1.3: must be at"),
    ],
)
def test_bad_values_are_refused(bad, message):
    with pytest.raises(InputError, match=message):
        Faults(**bad)


@pytest.mark.parametrize("shape", [(2, 3), 4, (2, 0, 3), (2, 3.0, 4), "abc"])
def test_bad_shapes_are_refused(shape):
    with pytest.raises(InputError, match="must be three integers >= 1"):
        Faults().fabricate(jax.random.key(0), shape)


def test_a_missing_key_and_another_array_are_refused():
    with pytest.raises(InputError, match="key = None"):
        Faults().fabricate(None, SHAPE)
    fabric = FabricatedCells(np.zeros(SHAPE, np.int8), None)
    with pytest.raises(InputError, match=r"moments.mean of shape \(1, 32, 16\): must have the fabric's shape"):
        Faults().apply(fabric, Moments(np.ones((1, 32, 16))), 0.0, 1.0)
