"""Interferometers and meshes of them: closed forms, unitarity, taking apart and putting together."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analogsim import InputError
from analogsim.devices.photonic.interferometer import theta_for, transfer
from analogsim.devices.photonic.layouts import UNIVERSAL, layout
from analogsim.devices.photonic.mesh import Couplers, Phases, decompose, haar, rebuild
from tests.devices.photonic.double import in_double

QUARTER = np.pi / 4


@jax.jit
def cell(theta, phi, a=0.0, b=0.0):
    t = transfer(theta, phi, a, b)
    return jnp.array([[t.t11, t.t12], [t.t21, t.t22]])


def set_and_lit(u, known, real, topology):
    """What a mesh with the ``real`` couplers is when it is set for ``known`` ones."""
    return rebuild(decompose(u, topology, known), topology, real)


in_double_by_topology = {name: in_double(functools.partial(set_and_lit, topology=name)) for name in UNIVERSAL}


def couplers(sigma, where, seed=0):
    return Couplers(*sigma * np.random.default_rng(seed).normal(size=(2, *where.occupied.shape)))


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
        np.testing.assert_allclose(cell(theta, phi, *errors), by_factors(theta, phi, *errors), atol=1e-6)


def test_an_ideal_cell_is_the_published_closed_form():
    theta, phi = 0.7, 2.1
    s, c, turn = np.sin(theta / 2), np.cos(theta / 2), np.exp(1j * phi)
    expected = 1j * np.exp(1j * theta / 2) * np.array([[turn * s, c], [turn * c, -s]])
    found = cell(theta, phi)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    # t = pi/2 - theta/2 is the angle of Clements et al., whose cell has cos t on its diagonal.
    np.testing.assert_allclose(abs(found[0, 0]), np.cos(np.pi / 2 - theta / 2), atol=1e-6)


def test_the_straight_power_is_reached_between_its_bounds_and_nowhere_else():
    a, b = 0.15, 0.1
    low, high = np.sin(a + b) ** 2, np.cos(a - b) ** 2
    every = np.linspace(0, 1, 21)
    for wanted, theta in zip(every, np.asarray(jax.jit(theta_for)(every, a, b)), strict=True):
        got = abs(by_factors(theta, 0.0, a, b)[0, 0]) ** 2
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
    with pytest.raises(InputError, match="n = 6: must be a power of two for a butterfly"):
        layout(6, "butterfly")


def test_a_butterfly_of_even_splitters_is_flat():
    # Every input spreads over all outputs alike, as in the fast Fourier transform.
    where = layout(8, "butterfly")
    half = np.full(where.occupied.shape, np.pi / 2, np.float32)
    u = jax.jit(lambda phases: rebuild(phases, "butterfly"))(Phases(half, 0 * half, np.zeros(8, np.float32)))
    np.testing.assert_allclose(np.abs(u) ** 2, 1 / 8, atol=1e-6)


@pytest.mark.parametrize("topology", UNIVERSAL)
@pytest.mark.parametrize("n", [1, 2, 7, 16])
def test_taking_apart_and_putting_together_is_exact_in_double_precision(n, topology, key):
    def there_and_back(key):
        u = haar(key, n, jnp.complex128)
        return u, rebuild(decompose(u, topology), topology)

    u, found = in_double(there_and_back)(key)
    np.testing.assert_allclose(u.conj().T @ u, np.eye(n), atol=1e-13)
    np.testing.assert_allclose(found, u, atol=1e-12)


@pytest.mark.parametrize(
    "matrix", [np.eye(6), np.eye(6)[::-1], np.diag([1, -1, 1j, 1, 1, -1j]), np.roll(np.eye(6), 2, 0)]
)
def test_cells_that_only_cross_or_pass_have_no_free_phase(matrix):
    u, ideal = matrix.astype(complex), couplers(0.0, layout(6))
    np.testing.assert_allclose(in_double_by_topology["rectangular"](u, ideal, ideal), u, atol=1e-12)


def test_sixty_four_modes_in_single_precision(key):
    @jax.jit
    def there_and_back(key):
        u = haar(key, 64)
        return u, rebuild(decompose(u))

    u, found = there_and_back(key)
    error = np.linalg.norm(np.asarray(found) - u) / 8  # sqrt(64)
    assert error < 5e-5


@pytest.mark.parametrize("topology", UNIVERSAL)
def test_known_errors_of_couplers_are_worked_around_exactly_within_reach(topology):
    n, mesh = 6, in_double_by_topology[topology]
    errors, ideal = (couplers(sigma, layout(n, topology)) for sigma in (0.01, 0.0))
    drawn = np.random.default_rng(1).normal(size=(2, n, n))
    u = np.linalg.qr(drawn[0] + 1j * drawn[1])[0]
    # Only where a cell would have to cross or pass more perfectly than it can.
    np.testing.assert_allclose(mesh(u, errors, errors), u, atol=1e-10)
    assert np.linalg.norm(mesh(u, ideal, errors) - u) / np.sqrt(n) > 0.01


def test_unknown_errors_do_what_the_published_scaling_says(key):
    # ||dU||_F / sqrt(N) = sqrt(2 (N - 1)) sigma; measured to lie 1 to 5 % below for 16 and 32 modes.
    n, sigma = 24, 0.01
    where = layout(n)

    @jax.jit
    @jax.vmap
    def error(k):
        u = haar(jax.random.fold_in(k, 0), n)
        errors = Couplers(*sigma * jax.random.normal(jax.random.fold_in(k, 1), (2, *where.occupied.shape)))
        return jnp.linalg.norm(rebuild(decompose(u), couplers=errors) - u) / np.sqrt(n)

    ratio = np.mean(error(jax.random.split(key, 20))) / (np.sqrt(2 * (n - 1)) * sigma)
    assert 0.92 < ratio < 1.01


def test_meshes_keep_power_and_losses_take_their_share(key):
    n = 9

    @jax.jit
    def lossy_ones(key):
        u = haar(key, n)
        phases = decompose(u)
        return u, *(rebuild(phases, cell_loss_db=0.5, balanced=balanced) for balanced in (True, False))

    u, lossy, uneven = (np.asarray(m) for m in lossy_ones(key))
    np.testing.assert_allclose(lossy, u * 10 ** (-0.5 * n / 20), atol=2e-6)  # N columns, every path alike
    power = np.sum(np.abs(uneven) ** 2, axis=0)
    assert (power < 1).all()
    assert power.max() / power.min() > 1.02  # edges meet fewer cells


def test_they_are_differentiable_and_map_over_stacks(key):
    @jax.jit
    @jax.vmap
    def there_and_back(key):
        u = haar(key, 4)
        phases = decompose(u)
        return u, phases, rebuild(phases)

    us, phases, found = there_and_back(jax.random.split(key, 3))
    np.testing.assert_allclose(found, us, atol=1e-5)
    one = jax.tree.map(lambda a: np.asarray(a)[0], phases)

    @jax.jit
    @jax.value_and_grad
    def power(theta):
        return jnp.abs(rebuild(one._replace(theta=theta))[0, 1]) ** 2

    gradient, step = power(one.theta)[1], np.zeros_like(one.theta)
    step[1, 0] = 1e-2
    up, down = (power(one.theta + sign * step)[0] for sign in (1, -1))
    np.testing.assert_allclose(gradient[1, 0], (up - down) / 2e-2, atol=1e-3)


def test_what_is_not_unitary_is_refused():
    with pytest.raises(InputError, match=r"unitary: U\^dagger U differs from 1 by 3: must be unitary"):
        decompose(2 * np.eye(4))
    with pytest.raises(InputError, match=r"shape \(2, 3\): must be square"):
        decompose(np.ones((2, 3)))
    with pytest.raises(InputError, match="topology = 'round': must be one of rectangular, triangular"):
        decompose(np.eye(2), "round")
    with pytest.raises(InputError, match="a butterfly represents only some matrices"):
        decompose(np.eye(4), "butterfly")
