"""Weights on several cells: digits, copies, offsets, and how they become weights again. Numbers worked by hand."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analogsim import InputError
from analogsim.devices import BitSlices, Crossbar, Differential, GenericCell, Moments, MultiCell, Offset
from tests.support.cells import stored

WINDOW = (2e-6, 22e-6)
SLICES = {
    "one": None,
    "digits": BitSlices(widths=(2, 4, 1)),
    "digits, analog sum": BitSlices(widths=(2, 4, 1), sum="analog"),
    "copies": MultiCell(significance=(4.0, 1.0)),
    "copies, digital sum": MultiCell(sum="digital"),
}
MAPPINGS = {
    f"{type(m).__name__} {m.subtraction} {getattr(m, 'sides', '')} {name}": m
    for name, s in SLICES.items()
    for m in (
        Differential(slices=s),
        Differential(slices=s, sides=2),
        Differential(slices=s, subtraction="digital"),
        Offset(slices=s),
        Offset(slices=s, subtraction="unit column"),
    )
}


conductances = jax.jit(lambda mapping, weights: mapping.conductances(weights, *WINDOW))


def test_digits_of_a_signed_weight_by_hand():
    # 7 bits, 127 levels: -91/127 is 91 = 1|0110|11 in binary, cut into widths 2, 4, 1 from the least significant end.
    planes = jax.tree.map(np.asarray, jax.jit(BitSlices(widths=(2, 4, 1)).signed)(np.float32([[-91 / 127]])))
    np.testing.assert_allclose(planes.values[:, 0, 0], [-3 / 3, -6 / 15, -1.0], rtol=1e-6)
    # A digit's full scale times its place, over 127: 3, 15 * 4 and 1 * 64.
    np.testing.assert_allclose(planes.factors, np.array([3, 60, 64]) / 127, rtol=1e-6)
    assert float(planes.constant) == 0


def test_digits_of_an_offset_weight_by_hand():
    # 8 bits: -0.25 is round(-0.25 * 127) + 128 = 96 = 0110|0000; zero is 128 = 1000|0000.
    planes = jax.tree.map(np.asarray, jax.jit(BitSlices(widths=(4, 4)).offset)(np.float32([[-0.25, 0.0, 1.0, -1.0]])))
    np.testing.assert_allclose(planes.values[:, 0] * 15, [[0, 0, 15, 1], [6, 8, 15, 0]], atol=1e-5)
    np.testing.assert_allclose(planes.factors, np.array([15, 240]) / 127, rtol=1e-6)
    np.testing.assert_allclose(planes.constant, 128 / 127, rtol=1e-6)
    np.testing.assert_allclose(planes.zero * 15, [0, 8], atol=1e-6)


@pytest.mark.parametrize("widths", [(1, 1, 1), (3,), (2, 5), (1, 6, 3)])
@pytest.mark.parametrize("signed", [True, False])
def test_every_level_comes_back(widths, signed):
    bits = sum(widths)
    top = 2**bits - 1 if signed else 2 ** (bits - 1) - 1
    weights = np.arange(-top, top + 1, dtype=np.float32)[None] / np.float32(top)
    slices = BitSlices(widths=widths)
    planes = jax.tree.map(np.asarray, jax.jit(slices.signed if signed else slices.offset)(weights))
    back = np.tensordot(planes.factors, planes.values, 1) - planes.constant
    np.testing.assert_allclose(back, weights, atol=2e-6)
    full = (2 ** np.array(widths) - 1)[:, None, None]
    np.testing.assert_allclose(planes.values * full, np.round(planes.values * full), atol=1e-5)  # whole digits


def test_rounding_is_to_the_nearest_level():
    held = jax.jit(BitSlices(widths=(2,)).signed)(np.float32([[0.49, 0.51, -0.16, -0.17]])).values  # levels are thirds
    np.testing.assert_allclose(np.asarray(held)[0, 0] * 3, [1, 2, 0, -1], atol=1e-6)


def test_copies_count_by_significance():
    planes = jax.tree.map(np.asarray, jax.jit(MultiCell(significance=(3.0, 1.0)).signed)(np.float32([[0.4]])))
    np.testing.assert_allclose(planes.values[:, 0, 0], [0.4, 0.4], rtol=1e-6)
    np.testing.assert_allclose(planes.factors, [0.75, 0.25], rtol=1e-6)


#: mapping: conductances in uS of the weight 0.25 on a window of 2 to 22 uS, in the order of the arrays.
CONDUCTANCES = [
    (Offset(), [2 + 20 * 0.625]),
    (Offset(subtraction="unit column"), [2 + 20 * 0.625]),
    # round(0.25 * 127) + 128 = 160 = 10|100000 in widths 6, 2
    (Offset(slices=BitSlices(widths=(6, 2))), [2 + 20 * 32 / 63, 2 + 20 * 2 / 3]),
    # round(0.25 * 255) = 64 = 01|000000: plus cells 0 and 1/3, minus cells idle
    (Differential(slices=BitSlices(widths=(6, 2))), [2, 2 + 20 / 3, 2, 2]),
    (Differential(slices=BitSlices(widths=(6, 2)), sides=2), [12, 12 + 10 / 3, 12, 12 - 10 / 3]),
    (Differential(slices=MultiCell()), [7, 7, 2, 2]),
]


@pytest.mark.parametrize(("mapping", "expected"), CONDUCTANCES)
def test_conductances_by_hand(mapping, expected):
    targets = np.asarray(conductances(mapping, np.full((1, 1), 0.25, np.float32)))
    np.testing.assert_allclose(targets[:, 0, 0] * 1e6, expected, rtol=1e-5)


def test_a_unit_column_holds_zeros():
    targets = np.asarray(conductances(Offset(subtraction="unit column"), np.float32([[0.3, -1.0]])))
    np.testing.assert_allclose(targets[0, 0, 2] * 1e6, 12.0, rtol=1e-6)


X = np.linspace(-1, 1, 12, dtype=np.float32).reshape(2, 6)
WEIGHTS = np.random.default_rng(20).uniform(-1, 1, (6, 3)).astype(np.float32)


@functools.cache
def carried(name):
    """Weights on conductances and through the lines, and through the way of a gradient: all of one mapping."""
    mapping = MAPPINGS[name]

    @jax.jit
    def run(weights, x):
        drive = jnp.sum(x, -1, keepdims=True)
        targets = mapping.conductances(weights, *WINDOW)
        held = mapping.columns(Moments(targets, targets**2), *WINDOW)
        lines = mapping.to_columns(weights)
        dark, lit = (mapping.combine(y, drive, *WINDOW) for y in (jnp.zeros((2, lines.shape[1])), x @ lines))
        return targets, held, mapping.combine(x @ held.mean, drive, *WINDOW), lines, lit - dark

    return jax.tree.map(np.asarray, run(np.round(WEIGHTS * 63) / 63, X))


@pytest.mark.parametrize("name", MAPPINGS)
def test_conductances_become_the_weights_again(name):
    mapping, (targets, held, y, _, _) = MAPPINGS[name], carried(name)
    assert targets.min() >= WINDOW[0] * (1 - 1e-6)
    assert targets.max() <= WINDOW[1] * (1 + 1e-6)
    assert targets.size == mapping.n_cells(6, 3)
    assert held.mean.shape == held.variance.shape == (6, mapping.n_columns(3))
    step = 0.5 / 63 if "digits" in name else 1e-6  # half a level of an offset digit; signed ones are finer
    np.testing.assert_allclose(y, X @ (np.round(WEIGHTS * 63) / 63), atol=6 * step + 1e-5)


@pytest.mark.parametrize("name", MAPPINGS)
def test_where_a_gradient_enters_combines_to_the_whole(name):
    *_, lines, y = carried(name)
    assert lines.shape == (6, MAPPINGS[name].n_columns(3))
    np.testing.assert_allclose(y, X @ (np.round(WEIGHTS * 63) / 63), atol=1e-5)


#: mapping: variance of an output, in units of the variance of one cell over the squared window. A digit's variance
#: counts with its factor squared; an offset output has twice the gradient, a unit column adds its own cell.
VARIANCES = [
    (Differential(), 2.0),
    (Differential(subtraction="digital"), 2.0),
    (Differential(slices=MultiCell()), 2 * 2 * 0.25),
    (Differential(slices=MultiCell(significance=(3.0, 1.0))), 2 * (0.75**2 + 0.25**2)),
    (Differential(slices=BitSlices(widths=(4, 4))), 2 * (15**2 + 240**2) / 255**2),
    (Offset(), 4.0),
    (Offset(subtraction="unit column"), 8.0),
    (Offset(slices=BitSlices(widths=(4, 4))), (15**2 + 240**2) / 127**2),
    (Offset(slices=MultiCell(), subtraction="unit column"), 2 * 4 * 2 * 0.25),
]


@pytest.mark.parametrize(("mapping", "expected"), VARIANCES)
def test_variances_of_cells_add_up(mapping, expected):
    deviation = 1e-7

    @jax.jit
    def variances_and_gradients():
        targets = mapping.conductances(jnp.zeros((1, 1)), *WINDOW)
        lines = mapping.columns(Moments(targets, jnp.full_like(targets, deviation**2)), *WINDOW)
        return lines.variance[0], jax.jacobian(lambda y: mapping.combine(y, jnp.ones((1,)), *WINDOW)[0])(lines.mean[0])

    # The output is linear in the lines: its variance is that of the lines times the squared gradients.
    variances, gradients = (np.asarray(a, np.float64) for a in variances_and_gradients())
    assert gradients**2 @ variances / (deviation / 20e-6) ** 2 == pytest.approx(expected, rel=1e-4)


def test_writing_errors_of_equal_copies_average(key):
    # Four pairs per weight: the standard deviation of a weight falls to one half. 30000 weights of 0.5; four standard
    # errors.
    n = 30_000
    spreads = {}
    for copies in (1, 4):
        mapping = Differential(slices=MultiCell(significance=(1.0,) * copies))
        store = Crossbar(cell=GenericCell(g_min=5e-6, programming_sigma=0.02), mapping=mapping)
        weights = np.asarray(stored(store, key, np.full((n, 1), 0.5, np.float32), 0.0).mean, np.float64)
        spreads[copies] = weights.std()
    # Each cell 0.02 g_max = 0.5 uS on a window of 20 uS; two cells a pair.
    one = np.sqrt(2) * 0.5 / 20
    for copies, deviation in spreads.items():
        assert deviation == pytest.approx(one / np.sqrt(copies), rel=4 / np.sqrt(2 * n))


BAD = [
    (lambda: BitSlices(widths=()), "BitSlices.widths = "),
    (lambda: BitSlices(widths=(0, 4)), "integers between 1 and 16 that sum to at most 23"),
    (lambda: BitSlices(widths=[4, 4]), "must be a tuple"),
    (lambda: BitSlices(widths=(2.0,)), "integers"),
    (lambda: BitSlices(widths=(16, 16)), "sum to at most 23"),
    (lambda: Offset(slices=BitSlices(widths=(1,))), "at least 2 bits"),
    (lambda: MultiCell(significance=()), "MultiCell.significance = "),
    (lambda: MultiCell(significance=(1.0, -1.0)), "greater than 0"),
    (lambda: MultiCell(significance=2), "must be a tuple"),
]


@pytest.mark.parametrize(("build", "message"), BAD, ids=itertools.count())
def test_what_cannot_be_is_refused(build, message):
    with pytest.raises(InputError, match=message):
        build()
