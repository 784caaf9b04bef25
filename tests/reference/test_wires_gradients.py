"""Gradients through wire resistance: finite differences, the adjoint formula, second derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analogsim.devices.crossbar.wires import effective_conductance, solve
from tests.support.circuits import EQUAL, KINDS, close, nodal, random_array, random_voltages, wide


def weighted(wires, g, v):
    """A smooth number that depends on every output."""
    currents = solve(wires, g, v).currents * 1e6
    return jnp.sum(jnp.sin(currents) + currents**2 / 50)


def weights(currents):
    """Its gradients by the currents, which are in A."""
    return 1e6 * (np.cos(currents * 1e6) + currents * 1e6 / 25)


compiled = jax.jit(jax.value_and_grad(weighted, (0, 1, 2)))


def value_and_gradients(*arguments):
    """Of arrays: a Python number would be another type, and another compilation."""
    return compiled(*jax.tree.map(np.asarray, arguments))


@jax.jit
def matrix_gradients(wires, g, weight):
    """Gradients of the weighted sum of the matrix, by the lines and by the cells."""
    return jax.grad(lambda wires, g: jnp.sum(effective_conductance(wires, g) * weight), (0, 1))(wires, g)


def difference(function, x, at, size):
    """Central difference of second order; one-sided at zero, below which there are no resistances."""
    weights = {1: 0.5, -1: -0.5} if x[at] else {0: -1.5, 1: 2.0, 2: -0.5}
    total = 0.0
    for steps, weight in weights.items():
        moved = np.array(x, np.float64)
        moved[at] += steps * size
        total += weight * function(moved)
    return total / size


@pytest.mark.parametrize("name", ["equal", "perfect words", "perfect bits", "perfect", "severe"])
@wide
def test_gradients_against_finite_differences(name):
    arguments = (KINDS[name], random_array(4, 3), random_voltages(2, 4))
    leaves, tree = jax.tree.flatten(arguments)
    _, gradients = value_and_gradients(*arguments)
    for k, (leaf, gradient) in enumerate(zip(leaves, jax.tree.leaves(gradients), strict=True)):

        def moved(x, k=k):
            return float(value_and_gradients(*jax.tree.unflatten(tree, [*leaves[:k], x, *leaves[k + 1 :]]))[0])

        size = 1e-3 if np.ndim(leaf) == 0 else 1e-10 if np.max(leaf) < 1e-3 else 1e-5
        expected = [difference(moved, np.asarray(leaf), at, size) for at in np.ndindex(np.shape(leaf))]
        close(np.ravel(gradient), expected, 2e-6)


by_cell = jax.jit(jax.jacfwd(lambda g, wires, v: solve(wires, g, v).currents))


@pytest.mark.parametrize("name", ["equal", "perfect words", "no ends"])
@wide
def test_gradients_are_the_adjoint_formula(name):
    wires, g, v = KINDS[name], random_array(4, 3), random_voltages(2, 4)
    seen = [nodal(wires, g, np.zeros(4), one) for one in np.eye(3)]  # one volt at one readout
    expected = np.empty((2, 3, 4, 3))
    for b in range(2):
        word, bit, _ = nodal(wires, g, v[b])
        expected[b] = [-(word - bit) * (one_word - one_bit) for one_word, one_bit, _ in seen]
    forward = np.asarray(by_cell(g, wires, v))
    for b, k in np.ndindex(2, 3):
        close(forward[b, k], expected[b, k], 1e-9)
    currents = np.array([nodal(wires, g, one)[2].sum(0) for one in v])
    backward = value_and_gradients(wires, g, v)[1][1]
    close(backward, np.einsum("bk,bkij->ij", weights(currents), expected), 1e-9)


@wide
def test_the_matrix_has_gradients_too():
    wires, g, v = KINDS["equal"], random_array(4, 3), random_voltages(2, 4)  # more inputs than outputs: turned round
    currents = v @ np.asarray(effective_conductance(wires, g))
    ours = matrix_gradients(wires, g, v.T @ weights(currents))
    for a, b in zip(*map(jax.tree.leaves, (ours, value_and_gradients(wires, g, v)[1][:2])), strict=True):
        close(a, b, 1e-9)


@wide
def test_second_derivatives():
    wires, g, v = EQUAL, random_array(4, 3), random_voltages(2, 4)
    direction = random_array(4, 3, seed=7)

    @jax.jit
    def curve(g):
        return jax.jvp(jax.grad(lambda g: weighted(wires, g, v)), (g,), (direction,))[1]

    ends = [np.asarray(value_and_gradients(wires, g + sign * 1e-5 * direction, v)[1][1]) for sign in (1, -1)]
    close(curve(g), (ends[0] - ends[1]) / 2e-5, 1e-6)


@wide
def test_more_resistance_or_less_conductance_never_helps():
    # Rayleigh: with all inputs at one voltage, the array is one resistor made of resistors.
    by_wires, by_cells = matrix_gradients(KINDS["no ends"], random_array(4, 3), np.ones((4, 3)))
    assert np.all(by_cells > 0)
    assert all(gradient < 0 for gradient in jax.tree.leaves(by_wires))
    g = random_array(7, 5)
    matrix = np.asarray(effective_conductance(KINDS["severe"], g))
    assert np.all(matrix > 0)
    assert np.all(matrix.sum(0) < g.sum(0))
    assert np.all(matrix.sum(1) < g.sum(1))
