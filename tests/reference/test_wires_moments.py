"""Fluctuating cells behind resistive lines: brute force, the exact first-order formula, and the estimate we use.

With Var G small, Var I_k = sum_ij (dI_k/dG_ij)^2 Var G_ij and dI_k/dG_ij = -(w - b)_ij (w' - b')_ij: the voltages for
the given inputs, and those with one volt at the k-th readout only.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analogsim import InputError
from analogsim.devices import Moments, Wires
from analogsim.devices.crossbar.wires import (
    approximate_conductance,
    effective_conductance,
    effective_moments,
    interleave,
    separate,
    solve,
)
from tests.support.circuits import close, lines, nodal, random_array, random_voltages, wide

STRONG = Wires(word_line_ohm=60.0, bit_line_ohm=40.0, source_ohm=5.0, terminal_ohm=100.0)


def across(wires, g, v):
    """Voltages across the cells, [batch, n_in, n_out]."""
    found = solve(wires, g, v)
    return np.asarray(found.word_v, np.float64) - np.asarray(found.bit_v, np.float64)


def from_the_readouts(wires, g):
    """Voltages across the cells for one volt at each readout, [n_out, n_in, n_out].

    They are the turned array's, seen in a mirror so that its drivers and readouts are on the same sides as the array's:
    left and bottom, or right and top.
    """
    assert (wires.driven_from, wires.read_at) in {("left", "bottom"), ("right", "top")}
    turned = wires.replace(
        word_line_ohm=wires.bit_line_ohm,
        bit_line_ohm=wires.word_line_ohm,
        source_ohm=wires.terminal_ohm,
        terminal_ohm=wires.source_ohm,
    )
    seen = across(turned, g[::-1, ::-1].T, np.eye(g.shape[1])[:, ::-1])
    return seen[:, ::-1, ::-1].swapaxes(1, 2)


estimated = jax.jit(effective_moments)


def estimated_variance(wires, g, variance):
    """The estimate, which does not depend on how the mean is found; so it is not found exactly."""
    return np.asarray(estimated(wires.replace(method="approximate"), Moments(g, variance)).variance, np.float64)


def exact_variance(wires, g, variance, v):
    """Variance of the outputs [batch, n_out] for given inputs, by the formula above."""
    seen = from_the_readouts(wires, g)
    return np.einsum("bij,ij,kij->bk", across(wires, g, v) ** 2, variance, seen**2, optimize=True)


# --- the exact formula -----------------------------------------------------------------------------------------------


@wide
def test_the_formula_has_the_gradients_of_nodal_analysis():
    g, v = random_array(6, 6), random_voltages(6, 6)  # as many vectors as the readouts are: one compilation
    unit = np.zeros((6, 6))
    unit[2, 1] = 1.0
    shifted = [nodal(STRONG, g + sign * 1e-9 * unit, v[0])[2].sum(0) for sign in (1, -1)]
    gradient = (shifted[0] - shifted[1]) / 2e-9
    np.testing.assert_allclose(exact_variance(STRONG, g, unit * 1e-12, v)[0], gradient**2 * 1e-12, rtol=1e-5)


@pytest.mark.slow
def test_brute_force_confirms_the_formula_and_the_estimate():
    wires = Wires(word_line_ohm=30.0, bit_line_ohm=20.0, source_ohm=5.0, driven_from="right", read_at="top")
    n_samples, deviation = 1000, 0.02
    g, v = random_array(32, 24), np.random.default_rng(5).standard_normal((64, 32))
    xi = np.random.default_rng(6).standard_normal((n_samples, 32, 24))
    with jax.enable_x64(True):
        matrices = np.asarray(effective_conductance(wires, g * (1 + deviation * xi)))
        expected = exact_variance(wires, g, (deviation * g) ** 2, v)
        estimate = v**2 @ estimated_variance(wires, g, (deviation * g) ** 2)
    sampled = np.var(np.einsum("bi,sij->sbj", v, matrices), axis=0, ddof=1)
    # A variance of n Gaussian samples is known to sqrt(2/n); the second order of 2 % fluctuations is far below.
    assert np.max(np.abs(sampled / expected - 1)) < 5.5 * np.sqrt(2 / n_samples)  # the largest of 1536
    # The columns fluctuate independently, so that the mean over them is known better.
    assert np.mean(sampled) / np.mean(expected) == pytest.approx(1, abs=4 * np.sqrt(2 / n_samples / 24))
    # Lines take most of the variance here; for inputs of either sign the estimate is a few per cent off.
    ignoring = v**2 @ (deviation * g) ** 2
    assert np.mean(ignoring) / np.mean(sampled) > 2
    assert np.mean(estimate) / np.mean(sampled) == pytest.approx(1, abs=0.06)


# --- the estimate ----------------------------------------------------------------------------------------------------


@functools.cache
def large(size, ohm):
    """Exact variances for inputs of either sign (their mean) and for inputs of one sign, and the estimates."""
    wires, g = lines(ohm, ohm), random_array(size, size)
    variance = (0.05 * g) ** 2
    seen = from_the_readouts(wires, g).reshape(size, -1) ** 2 * variance.ravel()
    from_each_input = across(wires, g, np.eye(size)).reshape(size, -1)  # voltages are linear in the inputs
    positive = np.random.default_rng(2).uniform(0.0, 0.2, (16, size))
    either_sign = (from_each_input**2 @ seen.T).sum(0)
    one_sign = (positive @ from_each_input) ** 2 @ seen.T
    found = estimated_variance(wires, g, variance)
    return either_sign, one_sign, found.sum(0), positive**2 @ found, variance.sum(0)


@pytest.mark.parametrize(
    ("size", "ohm", "error", "ignoring", "one_sign", "worst"),
    [(64, 1.0, 0.008, 0.32, 0.10, 0.15), (128, 2.93, 0.018, 9.1, 0.41, 0.83)],
)
def test_the_estimate_has_the_documented_error(size, ohm, error, ignoring, one_sign, worst):
    exact, exact_one_sign, found, found_one_sign, cells = large(size, ohm)
    assert np.mean(found / exact - 1) == pytest.approx(error, abs=0.002)
    assert np.all(found > exact)
    assert np.all(found < (1 + 2 * error) * exact)
    assert np.mean(cells / exact - 1) == pytest.approx(ignoring, rel=0.05)
    assert np.mean(found_one_sign / exact_one_sign - 1) == pytest.approx(one_sign, rel=0.05)
    assert np.max(found_one_sign / exact_one_sign - 1) == pytest.approx(worst, rel=0.1)
    assert np.all(found_one_sign > exact_one_sign)


@wide
def test_one_cell_by_hand():
    # M = 1/(1/G + R): dM/dG = 1/(1 + G R)^2. The word line passes 1/(1 + G R_w), the bit line 1/(1 + G R_b). The cell
    # beside it is open.
    found = estimated(lines(300.0, 100.0), Moments(np.array([[1e-3, 0.0]]), np.array([[1e-10, 0.0]])))
    np.testing.assert_allclose(found.mean, [[1e-3 / 1.4, 0.0]], rtol=1e-12)
    np.testing.assert_allclose(found.variance, [[1e-10 / (1.3 * 1.1) ** 2, 0.0]], rtol=1e-12)


@wide
def test_two_cells_on_one_word_line_by_hand():
    # Perfect bit lines: the far cell and its segment are 1/(1e4 + 200) S beside the near cell's 1e-4 S.
    cells = Moments(np.full((1, 2), 1e-4), np.array([[1e-12, 4e-12]]))
    near = 1 / (1 + 500 * (1e-4 + 1 / 10200))
    far = near / (1 + 200e-4)
    found = estimated(lines(200.0, 0.0, 500.0), cells)
    np.testing.assert_allclose(found.variance, [[1e-12 * near**2, 4e-12 * far**2]], rtol=1e-12)
    np.testing.assert_allclose(found.mean, [[1e-4 * near, 1e-4 * far]], rtol=1e-12)


def test_perfect_lines_change_nothing():
    g = random_array(6, 5)
    found = estimated(lines(0.0, 0.0), Moments(g, g**2 / 100))
    np.testing.assert_allclose(found.mean, g, rtol=1e-6)
    np.testing.assert_allclose(found.variance, g**2 / 100, rtol=1e-6)


def test_the_method_is_a_field():
    g = random_array(6, 5)
    cells = Moments(g, g**2 / 100)
    exact, estimate = (estimated(STRONG.replace(method=m), cells) for m in ("exact", "approximate"))
    # Other programs round differently; an exact solution is one to 2e-6 of the largest.
    close(exact.mean, effective_conductance(STRONG, g), 5e-6)
    np.testing.assert_allclose(estimate.mean, jax.jit(approximate_conductance)(STRONG, g), rtol=2e-6)
    assert np.max(np.abs(np.asarray(exact.mean) / np.asarray(estimate.mean) - 1)) > 1e-3
    np.testing.assert_allclose(exact.variance, estimate.variance, rtol=2e-6)


def test_arrays_pairs_noiseless_cells_and_transformations():
    wires = STRONG.replace(method="approximate")
    quick = jax.jit(lambda cells: effective_moments(wires, cells))
    g = np.stack([random_array(6, 4, seed=3), random_array(6, 4, seed=4)])
    assert jax.eval_shape(quick, Moments(g)).variance is None
    joined = jax.tree.map(interleave, Moments(g, g**2 / 100))
    found = jax.tree.map(separate, quick(joined))
    assert found.mean.shape == found.variance.shape == (2, 6, 4)
    both = np.asarray(quick(Moments(g, g**2 / 100)).variance)
    close(both[1], quick(Moments(g[1], g[1] ** 2 / 100)).variance, 1e-6)

    mapped = jax.jit(jax.vmap(quick))(Moments(g, g**2 / 100))
    close(mapped.variance, both, 1e-6)
    narrow = Moments(g.astype(jnp.bfloat16), (g**2 / 100).astype(jnp.bfloat16))
    close(quick(narrow).variance, both, 0.02)


@wide
def test_the_variance_has_gradients():
    g = random_array(4, 3)

    def total(ohm, g):
        wires = Wires(word_line_ohm=ohm, bit_line_ohm=2 * ohm, method="approximate")
        return jnp.sum(effective_moments(wires, Moments(g, jnp.full((4, 3), 1e-12))).variance) * 1e12

    both = jax.jit(jax.value_and_grad(total, (0, 1)))
    _, (by_ohm, by_cell) = both(100.0, g)
    ends = [float(both(100.0 + step, g)[0]) for step in (1e-3, -1e-3)]
    assert float(by_ohm) == pytest.approx((ends[0] - ends[1]) / 2e-3, rel=1e-6)
    moved = np.zeros((4, 3))
    moved[1, 2] = 1e-9
    ends = [float(both(100.0, g + sign * moved)[0]) for sign in (1, -1)]
    assert float(np.asarray(by_cell)[1, 2]) == pytest.approx((ends[0] - ends[1]) / 2e-9, 1e-6)
    assert np.isfinite(both(0.0, g)[1][0])


def test_bad_moments_are_named():
    g = random_array(6, 5)
    with pytest.raises(InputError, match=r"moments.variance has shape \(5,\): must be that of the mean, \(6, 5\)"):
        effective_moments(STRONG, Moments(g, np.ones(5)))
    with pytest.raises(InputError, match=r"moments.variance = -1: must be finite and at least 0 \(unit: S\^2\)"):
        effective_moments(STRONG, Moments(g, -np.ones((6, 5))))
    with pytest.raises(InputError, match=r"wires = 2.93: must be a Wires description"):
        effective_moments(2.93, Moments(g))
    with pytest.raises(InputError, match="g = -1e-06: must be finite and at least 0"):
        effective_moments(STRONG, Moments(-1e-6 * np.ones((6, 5)), np.ones((6, 5))))
