"""Cells that are not ohmic behind resistive lines, against a dense Newton's method on the node equations in NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from analogsim import InputError
from analogsim.devices import MiloReRAM
from analogsim.devices.crossbar import nonlinear_wires
from analogsim.devices.crossbar.nonlinear_wires import sinh_law, solve_nonlinear
from analogsim.devices.crossbar.wires import solve
from tests.support.circuits import KINDS, close, lines, nodal, nodal_newton, wide

LINES = lines(300.0, 200.0)  # they take half of the voltage
LINES_KINDS = KINDS | {"right, top": LINES.replace(driven_from="right", read_at="top", source_ohm=20.0)}


def mixed(share, cubic, quintic, sinh, scale, g, u):
    """Chain laws as numbers of one, so that they share a compilation."""
    return g * (u * (share + cubic * u**2 + quintic * u**4) + sinh * scale * jnp.sinh(u / scale))


OHMIC = Partial(mixed, 1.0, 0.0, 0.0, 0.0, 1.0)


def voltages(batch, n_in, largest=0.5):
    return np.random.default_rng(1).uniform(-largest, largest, (batch, n_in))


def milo_array(n_in, n_out):
    return np.random.default_rng(2).uniform(50e-6, 225e-6, (n_in, n_out))


def milo(g):
    """a2 and a3 as published, for conductances from 50 to 225 uS."""
    x = np.log10(g)
    return np.polyval([1.388e-4, 1.541e-3, 5.711e-3, 7.063e-3], x), np.polyval([8.871e-5, 6.7919e-4, 1.2968e-3], x)


def milo_current(g, u):
    a2, a3 = milo(g)
    return g * u + a2 * u * np.abs(u) + a3 * u**3


def milo_gradient(g, u):
    a2, a3 = milo(g)
    return g + 2 * a2 * np.abs(u) + 3 * a3 * u**2


def sinh_current(scale):
    return lambda g, u: g * scale * np.sinh(u / scale)


def sinh_gradient(scale):
    return lambda g, u: g * np.cosh(u / scale)


#: law, the same in NumPy, its gradient
LAWS = {
    "ohmic": (OHMIC, lambda g, u: g * u, lambda g, u: g),
    "milo": (MiloReRAM().current, milo_current, milo_gradient),
    "sinh": (sinh_law(0.2), sinh_current(0.2), sinh_gradient(0.2)),
    "steep sinh": (sinh_law(0.04), sinh_current(0.04), sinh_gradient(0.04)),
    "selector": (
        Partial(mixed, 0.0, 0.0, 0.0, 1e-8, 0.03),
        lambda g, u: 3e-10 * g * np.sinh(u / 0.03),
        lambda g, u: 1e-8 * g * np.cosh(u / 0.03),
    ),
    "quintic": (
        Partial(mixed, 1.0, 3.0, 20.0, 0.0, 1.0),
        lambda g, u: g * u + 3 * g * u**3 + 20 * g * u**5,
        lambda g, u: g * (1 + 9 * u**2 + 100 * u**4),
    ),
}


def check(wires, law, tolerance):
    ours, current, gradient = LAWS[law]
    g, v = milo_array(6, 5), voltages(3, 6)
    found = solve_nonlinear(wires, g, v, ours)
    for k in range(3):
        word, bit, cells = nodal_newton(wires, g, v[k], current, gradient)
        close(found.word_v[k], word, tolerance)
        close(found.bit_v[k], bit, tolerance)
        close(found.currents[k], cells.sum(0), tolerance)
    return found


# --- solutions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("law", LAWS)
@wide
def test_every_law_against_a_dense_newton(law):
    found = check(LINES, law, 1e-9)
    assert np.all(found.residual <= 1e-12)


@pytest.mark.parametrize("kind", LINES_KINDS)
@wide
def test_every_kind_of_line_against_a_dense_newton(kind):
    check(LINES_KINDS[kind], "sinh", 1e-9)


@pytest.mark.parametrize("law", ["sinh", "steep sinh"])
def test_float32(law):
    found = check(LINES, law, 2e-5)
    assert found.currents.dtype == jnp.float32


@wide
def test_ohmic_cells_are_the_linear_network():
    g, v = milo_array(6, 5), voltages(3, 6)
    found, linear = solve_nonlinear(LINES, g, v, OHMIC), solve(LINES, g, v)
    close(found.currents, linear.currents, 1e-11)
    close(found.word_v, linear.word_v, 1e-11)
    close(found.bit_v, linear.bit_v, 1e-11)


def one_cell(siemens, volt):
    """Of 6 x 5 the cell that is nearest to its driver and its readout; the others are open."""
    g, v = np.zeros((6, 5)), np.zeros((3, 6))
    g[5, 0], v[0, 5] = siemens, volt
    return g, v


@wide
def test_one_cell_by_hand():
    # 300 + 200 ohm and u + 500 G V0 sinh(u/V0) = V: chosen u = 0.3 V, V0 = 0.1 V, G = 1e-4 S.
    current = 1e-5 * np.sinh(3.0)
    found = solve_nonlinear(LINES, *one_cell(1e-4, 0.3 + 500 * current), sinh_law(0.1))
    np.testing.assert_allclose(np.asarray(found.currents)[0, 0], current, rtol=1e-11)
    word, bit = np.asarray(found.word_v), np.asarray(found.bit_v)
    np.testing.assert_allclose((word - bit)[0, 5, 0], 0.3, rtol=1e-11)


@wide
def test_perfect_lines_are_the_law_itself():
    g, v = milo_array(6, 5), voltages(3, 6)
    found = solve_nonlinear(LINES_KINDS["perfect"], g, v, MiloReRAM().current)
    np.testing.assert_allclose(found.currents, milo_current(g, v[:, :, None]).sum(1), rtol=1e-12)


def test_a_larger_array_in_float32():
    wires = lines(12.0, 12.0)
    g, v = np.random.default_rng(0).uniform(1e-6, 1e-4, (32, 32)), voltages(11, 32)  # 8 vectors, then 3
    found = solve_nonlinear(wires, g, v, sinh_law(0.25))
    assert int(found.iterations) <= 4
    word, bit, cells = nodal_by_secants(wires, g, v[9])
    close(np.asarray(found.currents)[9], cells.sum(0), 2e-5)
    close(np.asarray(found.word_v)[9] - np.asarray(found.bit_v)[9], word - bit, 2e-5)


def nodal_by_secants(wires, g, sources):
    """The sinh law of scale 0.25 V by linear nodal analysis: secant conductances until nothing changes."""
    secant = g
    for _ in range(60):
        word, bit, _ = nodal(wires, secant, sources)
        new = g * np.sinh((word - bit) / 0.25) / ((word - bit) / 0.25)
        done = np.max(np.abs(new / secant - 1)) < 1e-9
        secant = new
        if done:
            return word, bit, secant * (word - bit)
    raise AssertionError("the reference did not converge")


def test_dark_inputs_and_empty_cells():
    g, v = milo_array(6, 5), voltages(3, 6)
    g[2, 3] = 0.0
    v[1] = 0.0
    with jax.enable_x64(True):
        found = solve_nonlinear(LINES, g, v, MiloReRAM().current)
    np.testing.assert_array_equal(np.asarray(found.currents)[1], 0)
    assert np.all(np.isfinite(found.currents))
    np.testing.assert_array_equal(solve_nonlinear(LINES, np.zeros((6, 5)), v, sinh_law(0.1)).currents, 0)


def test_vectors_do_not_disturb_each_other():
    g, v = milo_array(6, 5), voltages(3, 6)
    v[0] *= 0.02  # converges in fewer steps than the others
    together = np.asarray(solve_nonlinear(LINES, g, v, sinh_law(0.05)).currents)
    alone = np.asarray(solve_nonlinear(LINES, g, v * [[1], [0], [0]], sinh_law(0.05)).currents)
    close(together[0], alone[0], 2e-6)


# --- derivatives -----------------------------------------------------------------------------------------------------


def weighted(wires, g, v, scale):
    """A smooth number that depends on every output."""
    currents = solve_nonlinear(wires, g, v, sinh_law(scale)).currents * 1e5
    return jnp.sum(jnp.sin(currents) + currents**2 / 50)


compiled = jax.jit(jax.value_and_grad(weighted, (0, 1, 2, 3)))


def value_and_gradients(*arguments):
    """Of arrays: a Python number would be another type, and another compilation."""
    return compiled(*jax.tree.map(np.asarray, arguments))


def arguments(wires):
    return wires, milo_array(4, 3), voltages(2, 4, 0.3), 0.2


def central(function, x, at, size):
    """Difference of fourth order."""
    total = 0.0
    for steps, weight in ((2, -1 / 12), (1, 2 / 3), (-1, -2 / 3), (-2, 1 / 12)):
        moved = np.array(x, np.float64)
        moved[at] += steps * size
        total += weight * float(function(moved))
    return total / size


@pytest.mark.slow
@pytest.mark.parametrize("source_ohm", [20.0, 0.0])
@wide
def test_gradients_against_finite_differences(source_ohm):
    given = arguments(LINES.replace(source_ohm=source_ohm))
    leaves, tree = jax.tree.flatten(given)
    for k, (leaf, gradient) in enumerate(zip(leaves, jax.tree.leaves(value_and_gradients(*given)[1]), strict=True)):
        if np.ndim(leaf) == 0 and leaf == 0:
            continue  # no resistance below zero

        def moved(x, k=k):
            return value_and_gradients(*jax.tree.unflatten(tree, [*leaves[:k], x, *leaves[k + 1 :]]))[0]

        size = 2e-3 * np.max(np.abs(leaf))
        expected = [central(moved, np.asarray(leaf), at, size) for at in np.ndindex(np.shape(leaf))]
        close(np.ravel(gradient), expected, 1e-6)


@wide
def test_second_derivatives():
    wires, g, v, scale = arguments(LINES.replace(source_ohm=20.0))
    direction = milo_array(4, 3) * 1e-2

    @jax.jit
    def curve(g):
        return jax.jvp(jax.grad(lambda g: weighted(wires, g, v, scale)), (g,), (direction,))[1]

    ends = [np.asarray(value_and_gradients(wires, g + sign * 1e-2 * direction, v, scale)[1][1]) for sign in (1, -1)]
    close(curve(g), (ends[0] - ends[1]) / 2e-2, 1e-6)


@wide
def test_numbers_that_a_law_closes_over_have_gradients_too():
    wires, g, v, scale = arguments(LINES.replace(source_ohm=20.0))

    @jax.jit
    @jax.grad
    def gradient(scale):
        def law(g, u):
            return g * scale * jnp.sinh(u / scale)

        currents = solve_nonlinear(wires, g, v, law).currents * 1e5
        return jnp.sum(jnp.sin(currents) + currents**2 / 50)

    expected = float(value_and_gradients(wires, g, v, scale)[1][3])
    assert float(gradient(scale)) == pytest.approx(expected, rel=1e-9)


@wide
def test_the_published_numbers_of_a_cell_have_forward_derivatives():
    cell, g, v = MiloReRAM(), milo_array(4, 3), voltages(1, 4)

    def total(constant):
        new = cell.replace(current_square=(constant, *cell.current_square[1:]))
        return jnp.sum(solve_nonlinear(LINES, g, v, new.current).currents) * 1e6

    both = jax.jit(lambda constant: jax.jvp(total, (constant,), (1.0,)))
    at = cell.current_square[0]
    expected = float(both(at + 1e-7)[0] - both(at - 1e-7)[0]) / 2e-7
    assert float(both(at)[1]) == pytest.approx(expected, rel=1e-6)


# --- transformations -------------------------------------------------------------------------------------------------


def test_arrays_chips_and_laws_under_vmap_and_jit():
    g = np.stack([milo_array(6, 5), milo_array(6, 5)[::-1]])
    v = np.stack([voltages(3, 6), voltages(3, 6)[::-1]])
    together = solve_nonlinear(LINES, g, v, sinh_law(0.2))
    assert together.currents.shape == (2, 3, 5)
    assert together.word_v.shape == together.bit_v.shape == (2, 3, 6, 5)
    assert together.iterations.shape == (2,)
    assert together.residual.shape == (2, 3)
    mapped = jax.jit(jax.vmap(lambda g, v, s: solve_nonlinear(LINES, g, v, sinh_law(s)).currents))(
        g, v, np.array([0.2, 0.1])
    )
    for k, scale in enumerate((0.2, 0.1)):
        alone = solve_nonlinear(LINES, g[k], v[k], sinh_law(scale)).currents
        close(np.asarray(mapped)[k], alone, 1e-5)
    close(np.asarray(together.currents)[0], np.asarray(mapped)[0], 1e-5)


def test_laws_of_one_kind_share_a_compilation():
    g, v = milo_array(6, 5), voltages(3, 6)
    with jax.enable_x64(True):
        first = solve_nonlinear(LINES, g, v, MiloReRAM().current).currents
        before = nonlinear_wires._solve._cache_size()
        cell = MiloReRAM(current_square=(-7e-6, *MiloReRAM().current_square[1:]))
        other = solve_nonlinear(LINES, g, v, cell.current).currents
        assert nonlinear_wires._solve._cache_size() == before
    assert np.any(np.asarray(first) != np.asarray(other))


# --- never silently wrong --------------------------------------------------------------------------------------------


def test_an_unfinished_solution_raises():
    g, v = milo_array(6, 5), voltages(3, 6)
    with pytest.raises(InputError, match=r"max_iterations = 1: .*residual"):
        solve_nonlinear(LINES, g, v, sinh_law(0.1), max_iterations=1)


def test_an_unfinished_solution_is_nan_where_nothing_can_be_raised():
    g, v = milo_array(6, 5), voltages(3, 6)

    @jax.jit
    @functools.partial(jax.grad, has_aux=True)
    def gradient(g):
        found = solve_nonlinear(LINES, g, v, sinh_law(0.1), max_iterations=1)
        return jnp.sum(found.currents), found

    by_cell, found = gradient(g)
    for x in (found.currents, found.word_v, found.bit_v, by_cell):
        assert np.all(np.isnan(x))
    assert np.all(np.asarray(found.residual) > 2e-6)


def test_a_law_that_overflows_on_the_way_is_found_by_shorter_steps():
    # At the full input the current would be g 4 mV e^125, beyond float32.
    found = solve_nonlinear(lines(1e5, 0.0), *one_cell(1e-7, 0.5), sinh_law(0.004))
    u = float(np.asarray(found.word_v)[0, 5, 0])
    assert float(np.asarray(found.currents)[0, 0]) == pytest.approx((0.5 - u) / 1e5, rel=1e-4)
    assert u + 1e5 * 1e-7 * 0.004 * np.sinh(u / 0.004) == pytest.approx(0.5, rel=1e-3)


@wide
def test_a_law_without_a_number_is_refused():
    g, v = milo_array(6, 5), voltages(3, 6)
    with pytest.raises(InputError, match="residual is nan"):
        solve_nonlinear(LINES, g, v, Partial(mixed, np.nan, 0.0, 0.0, 0.0, 1.0))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: solve_nonlinear(LINES, -np.ones((2, 2)), np.ones((1, 2)), OHMIC), "g = -1: must be finite and at"),
        (lambda: solve_nonlinear(LINES, np.ones((2, 2)), np.ones((1, 3)), OHMIC), r"v has shape \(1, 3\): must be"),
        (lambda: solve_nonlinear(LINES, np.ones((2, 2)), np.ones((1, 2)), 3.0), "law = 3.0: must be a function of"),
        (lambda: solve_nonlinear(3.0, np.ones((2, 2)), np.ones((1, 2)), OHMIC), "wires = 3.0: must be a Wires"),
        (lambda: solve_nonlinear(LINES, np.ones((2, 2)), np.ones((1, 2)), OHMIC, max_iterations=0), "max_iterations"),
        (lambda: solve_nonlinear(LINES, np.ones((2, 2)), np.ones((1, 2)), lambda g, u: 0.0), "law returns shape"),
        (lambda: sinh_law(0.0), r"scale_v = 0: must be greater than 0 \(unit: V\)"),
        (lambda: sinh_law(-1.0), r"scale_v = -1: must be greater than 0 \(unit: V\)"),
    ],
)
def test_bad_inputs_are_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
