"""Cells of many levels: errors by simulation and by scipy, binomial photons, informations by plain sums."""

import jax
import numpy as np
import pytest
from scipy import stats

from analogsim import InputError
from analogsim.devices import FockQudit, MultiLevelCell
from analogsim.devices.quantum.multilevel import capacity_bits, mutual_information_bits

decided_by = jax.jit(lambda cell, read: cell.decide(read))
#: Confusion, chance of an error and bits of a cell; confusion, survival and bits of a qudit.
of_cell = jax.jit(lambda cell: (cell.confusion(), cell.error(), cell.bits()))
of_qudit = jax.jit(lambda qudit, time: (qudit.confusion(time), qudit.survival(time), qudit.bits(time)))
capacity = jax.jit(capacity_bits)


def _information(given):
    joint = given / len(given)
    alone = joint.sum(0)
    kept = joint > 0
    return (joint[kept] * np.log2((joint / joint.sum(1, keepdims=True) / np.where(alone > 0, alone, 1))[kept])).sum()


@pytest.mark.parametrize(("levels", "sigma"), [(2, 0.4), (8, 0.05), (16, 0.05)])
def test_levels_by_simulation(levels, sigma):
    cell = MultiLevelCell(levels=levels, sigma=sigma)
    many = 100_000
    rng = np.random.default_rng(levels)
    written = rng.integers(0, levels, many)
    read = written / (levels - 1) + sigma * rng.normal(size=many)
    decided = np.asarray(decided_by(cell, read.astype(np.float32)))
    table = np.zeros((levels, levels))
    np.add.at(table, (written, decided), 1)
    confusion, chance, _ = of_cell(cell)
    expected = np.asarray(confusion) * table.sum(1, keepdims=True)
    kept = expected > 5
    assert stats.chi2.sf(((table - expected)[kept] ** 2 / expected[kept]).sum(), kept.sum() - levels) > 1e-4
    wrong, chance = np.mean(decided != written), float(chance)
    assert abs(wrong - chance) < 4 * np.sqrt(chance * (1 - chance) / many)


def test_levels_by_closed_forms():
    confusion, error, bits = (np.asarray(v, np.float64) for v in of_cell(MultiLevelCell(levels=8, sigma=0.03)))
    place, half = np.arange(8) / 7, 1 / 14
    for i in range(8):
        edges = np.concatenate([[-np.inf], place[:-1] + half, [np.inf]])
        np.testing.assert_allclose(confusion[i], np.diff(stats.norm.cdf(edges, place[i], 0.03)), atol=1e-6)
    assert error == pytest.approx(2 * (7 / 8) * stats.norm.sf(half / 0.03), rel=1e-5)
    assert 1 - np.trace(confusion) / 8 == pytest.approx(error, abs=1e-6)
    assert bits == pytest.approx(_information(confusion), abs=1e-5)
    rare = np.asarray(of_cell(MultiLevelCell(levels=4, sigma=0.02))[0])
    assert rare[1, 2] == pytest.approx(stats.norm.sf((1 / 6) / 0.02), rel=1e-3)  # 4e-17, not rounded away
    assert rare[2, 1] == pytest.approx(rare[1, 2], rel=1e-5)


def test_levels_in_the_limits():

    def bits_of(levels, sigma):
        return float(of_cell(MultiLevelCell(levels=levels, sigma=sigma))[2])

    assert bits_of(16, 1e-4) == pytest.approx(4, abs=1e-5)
    assert bits_of(16, 10.0) < 0.01 * 4
    bits = [bits_of(n, 0.05) for n in (4, 16, 64)]
    assert max(bits) < np.log2(1 + 1 / 0.05)  # more levels than the noise allows gain nothing
    both = jax.jit(jax.value_and_grad(lambda sigma: MultiLevelCell(sigma=sigma).bits()))
    ends = [float(both(0.05 + s)[0]) for s in (1e-3, -1e-3)]
    assert float(both(0.05)[1]) == pytest.approx((ends[0] - ends[1]) / 2e-3, rel=0.01)


@pytest.mark.parametrize("levels", [2, 5, 128])
def test_photons_are_binomial(levels):
    qudit = FockQudit(levels=levels, lifetime_s=1e-3)
    eta = np.exp(-0.3)
    n = np.arange(levels)
    expected = stats.binom.pmf(n[None, :], n[:, None], eta)
    found, survived, bits = (np.asarray(v, np.float64) for v in of_qudit(qudit, 0.3e-3))
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=1e-7)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-4)
    survival = (1 - eta**levels) / (levels * (1 - eta))
    assert survived == pytest.approx(survival, rel=1e-5)
    assert np.trace(found) / levels == pytest.approx(survival, rel=1e-4)
    assert bits == pytest.approx(_information(expected), abs=1e-4)


def test_photons_in_the_limits():
    qudit = FockQudit(levels=8)
    (_, survived, bits), (_, in_the_end, none) = (of_qudit(qudit, time) for time in (0.0, 1.0))
    assert float(survived) == 1
    assert float(bits) == pytest.approx(3, abs=1e-6)
    assert float(in_the_end) == pytest.approx(1 / 8)
    assert float(none) == pytest.approx(0, abs=1e-5)
    by_bits, by_survival = jax.jit(lambda t: (jax.grad(qudit.bits)(t), jax.grad(qudit.survival)(t)))(0.0)
    assert np.isfinite(by_bits)
    assert float(by_survival) == pytest.approx(-3.5e3, rel=1e-5)  # the mean number over tau


def test_capacity():
    given = np.float32([[1.0, 0.0], [0.3, 0.7]])
    bits, used = capacity(given)
    g = 0.3
    assert float(bits) == pytest.approx(np.log2(1 + (1 - g) * g ** (g / (1 - g))), abs=1e-5)
    assert float(used.sum()) == pytest.approx(1, abs=1e-6)
    flip = np.float32([[0.9, 0.1], [0.1, 0.9]])
    assert float(capacity(flip)[0]) == pytest.approx(1 + 0.1 * np.log2(0.1) + 0.9 * np.log2(0.9), abs=1e-5)
    qudit = FockQudit(levels=4)
    even, best = jax.jit(lambda time: (qudit.bits(time), qudit.capacity(time)))(2e-4)
    assert float(even) < float(best) <= 2
    assert float(jax.jit(mutual_information_bits)(given, used)) == pytest.approx(float(bits), abs=1e-6)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: FockQudit(levels=129), "between 2 and 128"),
        (lambda: FockQudit().bits(-1.0), "time_s = -1.0: must be at least 0"),
    ],
)
def test_impossible_cells_are_refused(build, message):
    with pytest.raises(InputError, match=message):
        build()


def test_text_is_read():
    assert FockQudit(lifetime_s="2 ms").lifetime_s == 2e-3
