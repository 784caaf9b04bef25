"""Interferometers and meshes of them: closed forms, unitarity, taking apart and putting together."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analogsim.devices import InputError
from analogsim.devices.photonic.interferometer import theta_for, transfer
from analogsim.devices.photonic.layouts import layout
from analogsim.devices.photonic.mesh import Couplers, Phases, decompose, haar, rebuild

QUARTER = np.pi / 4


def as_matrix(cell):
    return np.array([[cell.t11, cell.t12], [cell.t21, cell.t22]])


def by_factors(theta, phi, a=0.0, b=0.0):
    """The product of couplers and phases, written out in NumPy."""

    def coupler(angle):
        return np.array([[np.cos(angle), 1j * np.sin(angle)], [1j * np.sin(angle), np.cos(angle)]])

    return (
        coupler(QUARTER + b) @ np.diag([np.exp(1j * theta), 1]) @ coupler(QUARTER + a) @ np.diag([np.exp(1j * phi), 1])
    )


@pytest.mark.parametrize("errors", [(0.0, 0.0), (0.1, -0.05)])
def test_a_cell_is_the_product_of_its_parts(errors):
    for theta, phi in ((0.0, 0.0), (1.3, 4.0), (np.pi, 2.0)):
        np.testing.assert_allclose(as_matrix(transfer(theta, phi, *errors)), by_factors(theta, phi, *errors), atol=1e-6)


def test_an_ideal_cell_is_the_published_closed_form():
    theta, phi = 0.7, 2.1
    s, c, turn = np.sin(theta / 2), np.cos(theta / 2), np.exp(1j * phi)
    expected = 1j * np.exp(1j * theta / 2) * np.array([[turn * s, c], [turn * c, -s]])
    np.testing.assert_allclose(as_matrix(transfer(theta, phi)), expected, atol=1e-6)
    # t = pi/2 - theta/2 is the angle of Clements et al., whose cell has cos t on its diagonal.
    np.testing.assert_allclose(abs(as_matrix(transfer(theta, phi))[0, 0]), np.cos(np.pi / 2 - theta / 2), atol=1e-6)


def test_the_straight_power_is_reached_between_its_bounds_and_nowhere_else():
    a, b = 0.15, 0.1
    low, high = np.sin(a + b) ** 2, np.cos(a - b) ** 2
    for wanted in np.linspace(0, 1, 21):
        got = abs(by_factors(float(theta_for(wanted, a, b)), 0.0, a, b)[0, 0]) ** 2
        np.testing.assert_allclose(got, np.clip(wanted, low, high), atol=1e-6)


@pytest.mark.parametrize("n", [3, 5, 8, 9])
def test_layouts_are_those_of_the_papers(n):
    rectangular, triangular = layout(n), layout(n, "triangular")
    cells = n * (n - 1) // 2
    assert rectangular.occupied.sum() == triangular.occupied.sum() == cells
    assert rectangular.columns == n
    assert triangular.columns == 2 * n - 3
    for where in (rectangular, triangular):
        assert sorted(where.order[0]) == list(range(n))
        np.testing.assert_array_equal(where.column % 2, where.mode % 2)


def test_a_butterfly_pairs_modes_by_powers_of_two():
    where = layout(8, "butterfly")
    assert (where.columns, where.occupied.sum()) == (3, 12)  # N log2(N) / 2
    for c, order in enumerate(where.order):
        np.testing.assert_array_equal(order[1::2] - order[0::2], 2**c)
    with pytest.raises(InputError, match="n = 6: a butterfly has a power of two of modes"):
        layout(6, "butterfly")


def test_a_butterfly_of_even_splitters_is_flat():
    # Every input spreads over all outputs alike, as in the fast Fourier transform.
    where = layout(8, "butterfly")
    half = jnp.full(where.occupied.shape, jnp.pi / 2)
    u = rebuild(Phases(half, 0 * half, jnp.zeros(8)), "butterfly")
    np.testing.assert_allclose(abs(u) ** 2, 1 / 8, atol=1e-6)


@pytest.mark.parametrize("topology", ["rectangular", "triangular"])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 16])
def test_taking_apart_and_putting_together_is_exact_in_double_precision(n, topology, key):
    with jax.enable_x64(True):
        u = haar(key, n, jnp.complex128)
        np.testing.assert_allclose(u.conj().T @ u, np.eye(n), atol=1e-13)
        np.testing.assert_allclose(rebuild(decompose(u, topology), topology), u, atol=1e-12)


@pytest.mark.parametrize(
    "matrix", [np.eye(6), np.eye(6)[::-1], np.diag([1, -1, 1j, 1, 1, -1j]), np.roll(np.eye(6), 2, 0)]
)
def test_cells_that_only_cross_or_pass_have_no_free_phase(matrix):
    with jax.enable_x64(True):
        u = jnp.asarray(matrix, jnp.complex128)
        np.testing.assert_allclose(rebuild(decompose(u)), u, atol=1e-12)


def test_sixty_four_modes_in_single_precision(key):
    u = haar(key, 64)
    error = jnp.linalg.norm(rebuild(decompose(u)) - u) / 8  # sqrt(64)
    assert error < 5e-5


@pytest.mark.parametrize("topology", ["rectangular", "triangular"])
def test_known_errors_of_couplers_are_worked_around_exactly_within_reach(topology, key):
    with jax.enable_x64(True):
        n, where = 6, layout(6, topology)
        errors = Couplers(*0.01 * jax.random.normal(key, (2, *where.occupied.shape)))
        u = haar(jax.random.key(1), n, jnp.complex128)
        found = decompose(u, topology, errors)
        # Only where a cell would have to cross or pass more perfectly than it can.
        np.testing.assert_allclose(rebuild(found, topology, errors), u, atol=1e-10)
        plain = rebuild(decompose(u, topology), topology, errors)
        assert jnp.linalg.norm(plain - u) / np.sqrt(n) > 0.01


def test_unknown_errors_do_what_the_published_scaling_says(key):
    # ||dU||_F / sqrt(N) = sqrt(2 (N - 1)) sigma; measured to lie 1 to 5 % below for 16 and 32 modes.
    n, sigma = 24, 0.01
    where = layout(n)

    @jax.vmap
    def error(k):
        u = haar(jax.random.fold_in(k, 0), n)
        errors = Couplers(*sigma * jax.random.normal(jax.random.fold_in(k, 1), (2, *where.occupied.shape)))
        return jnp.linalg.norm(rebuild(decompose(u), couplers=errors) - u) / np.sqrt(n)

    ratio = error(jax.random.split(key, 20)).mean() / (np.sqrt(2 * (n - 1)) * sigma)
    assert 0.92 < ratio < 1.01


def test_meshes_keep_power_and_losses_take_their_share(key):
    n = 9
    u = haar(key, n)
    phases = decompose(u)
    lossy = rebuild(phases, cell_loss_db=0.5)
    np.testing.assert_allclose(lossy, u * 10 ** (-0.5 * n / 20), atol=2e-6)  # N columns, every path alike
    uneven = rebuild(phases, cell_loss_db=0.5, balanced=False)
    power = jnp.sum(jnp.abs(uneven) ** 2, axis=0)
    assert (power < 1).all()
    assert power.max() / power.min() > 1.02  # edges meet fewer cells


def test_they_are_differentiable_and_map_over_stacks(key):
    us = jax.vmap(lambda k: haar(k, 4))(jax.random.split(key, 3))
    phases = jax.jit(jax.vmap(decompose))(us)
    np.testing.assert_allclose(jax.vmap(rebuild)(phases), us, atol=1e-5)
    one = jax.tree.map(lambda a: a[0], phases)

    def power(theta):
        return jnp.abs(rebuild(one._replace(theta=theta))[0, 1]) ** 2

    slope, step = jax.grad(power)(one.theta), 1e-2
    bumped = one.theta.at[1, 0].add(step), one.theta.at[1, 0].add(-step)
    np.testing.assert_allclose(slope[1, 0], (power(bumped[0]) - power(bumped[1])) / (2 * step), atol=1e-3)


def test_what_is_not_unitary_is_refused():
    with pytest.raises(InputError, match=r"unitary: U\^dagger U differs from 1 by 3: must be unitary"):
        decompose(2 * jnp.eye(4))
    with pytest.raises(InputError, match=r"shape \(2, 3\): must be square"):
        decompose(jnp.ones((2, 3)))
    with pytest.raises(InputError, match="topology = 'round': must be one of rectangular, triangular"):
        decompose(jnp.eye(2), "round")
    with pytest.raises(InputError, match="a butterfly holds only some matrices"):
        decompose(jnp.eye(4), "butterfly")
