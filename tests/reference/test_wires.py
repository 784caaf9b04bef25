"""Wire resistance against stored solutions, ladders worked by hand and a nodal solve that shares nothing with ours."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analogsim import InputError
from analogsim.devices import Wires
from analogsim.devices.crossbar import line_solver
from analogsim.devices.crossbar.wires import approximate_conductance, effective_conductance, solve
from tests.support.circuits import EQUAL, KINDS, close, lines, nodal, random_array, random_voltages, wide

FILES = sorted((pathlib.Path(__file__).parent / "ir_drop").glob("*.npz"))
# Takes many steps.
HARD = lines(500.0, 500.0)

# --- stored solutions ------------------------------------------------------------------------------------------------


@functools.cache
def stored(path):
    data = dict(np.load(path))
    return data, lines(float(data["r_wordline"]), float(data["r_bitline"]))


def in_one_shape(data):
    """Cells and voltages of a stored solution, a small one at the near ends of 16 x 16 lines and with dark vectors.

    Cells beyond it are open, so that no current flows there: the same circuit, and one program for most files.
    """
    g, v = data["G"], data["V"].T
    missing = [max(size - have, 0) for size, have in zip((16, 16, 4), (*g.shape, len(v)), strict=True)]
    return np.pad(g, ((missing[0], 0), (0, missing[1]))), np.pad(v, ((0, missing[2]), (missing[0], 0)))


def near_end(found, data):
    """Currents, and voltages as they are stored, of the cells that the file has."""
    m, n = data["G"].shape
    batch = data["V"].shape[1]
    word, bit = (np.moveaxis(np.asarray(x)[:batch, -m:, :n], 0, -1) for x in (found.word_v, found.bit_v))
    return np.asarray(found.currents)[:batch, :n], word, bit


def test_there_are_stored_solutions():
    assert len(FILES) == 6


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_the_stored_solutions_obey_kirchhoff(path):
    data, wires = stored(path)
    *_, cells = nodal(wires, data["G"], data["V"][:, 0])
    np.testing.assert_allclose(cells.sum(0), data["I_out"][0], rtol=1e-9)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
@wide
def test_stored_solutions_in_float64(path):
    data, wires = stored(path)
    m, n = data["G"].shape
    g, v = in_one_shape(data)
    found, matrix = solve(wires, g, v), np.asarray(effective_conductance(wires, g))
    assert found.currents.dtype == jnp.float64
    currents, word, bit = near_end(found, data)
    np.testing.assert_allclose(currents, data["I_out"], rtol=1e-9)
    np.testing.assert_allclose(data["V"].T @ matrix[-m:, :n], data["I_out"], rtol=1e-9)
    if "V_wordline" in data:
        np.testing.assert_allclose(word, data["V_wordline"], rtol=1e-9)
        np.testing.assert_allclose(bit, data["V_bitline"], rtol=1e-9)
        close(data["G"][:, :, None] * (word - bit), data["I_device"], 1e-9)
    else:  # rounded to float32 in the file
        np.testing.assert_allclose(word[..., 0], data["V_wordline_ex0"], rtol=1e-7)
        np.testing.assert_allclose(bit[..., 0], data["V_bitline_ex0"], rtol=1e-7)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_stored_solutions_in_float32(path):
    data, wires = stored(path)
    m, n = data["G"].shape
    g, v = in_one_shape(data)
    found, matrix = solve(wires, g, v), effective_conductance(wires, g)
    assert found.currents.dtype == matrix.dtype == jnp.float32
    currents, _, _ = near_end(found, data)
    np.testing.assert_allclose(currents, data["I_out"], rtol=1e-4)
    close(currents, data["I_out"], 5e-6)
    close(data["V"].T @ np.asarray(matrix, np.float64)[-m:, :n], data["I_out"], 5e-6)


# --- by hand ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
@wide
def test_one_cell_is_three_resistors_in_a_row(name):
    wires = KINDS[name]
    source = wires.word_line_ohm if wires.source_ohm is None else wires.source_ohm
    terminal = wires.bit_line_ohm if wires.terminal_ohm is None else wires.terminal_ohm
    ours = effective_conductance(wires, np.full((1, 1), 1e-3))
    np.testing.assert_allclose(ours, 1 / (source + 1e3 + terminal), rtol=1e-14)


@wide
def test_ladders_of_two_cells():
    # All resistors 1 ohm. A row at 11 V: 3 ohm beyond the second segment, beside 2 ohm make 6/5, with the first
    # segment 11/5: 5 A enter and leave 6 V, of which 3 A take the first cell and 2 A the second.
    # A column: 11 V on the top row meet 2 + 1 + (2 beside 1) = 11/3 ohm, 3 A, of which 2 A reach the ground. On the
    # bottom row they meet 2 + (1 beside 3) = 11/4 ohm, 4 A, of which 3 A reach the ground.
    ohms = Wires(word_line_ohm=1.0, bit_line_ohm=1.0)
    np.testing.assert_allclose(effective_conductance(ohms, np.ones((2, 1))), [[2 / 11], [3 / 11]], rtol=1e-14)
    found = solve(ohms, np.ones((1, 2)), np.array([[11.0]]))
    np.testing.assert_allclose(found.currents, [[3.0, 2.0]], rtol=1e-14)
    np.testing.assert_allclose(found.word_v, [[[6.0, 4.0]]], rtol=1e-14)
    np.testing.assert_allclose(found.bit_v, [[[3.0, 2.0]]], rtol=1e-14)


@wide
def test_a_long_uniform_row_decays_exponentially():
    # Far from its end every node of a ladder divides alike: u_j = x^(j+1) with x + 1/x = 2 + rG, here rG = 0.1.
    step = 1 + 0.05 - np.sqrt(1.05**2 - 1)
    wires = Wires(word_line_ohm=100.0, bit_line_ohm=0.0)
    row = np.asarray(effective_conductance(wires, np.full((1, 400), 1e-3)))[0]
    np.testing.assert_allclose(row[:100], 1e-3 * step ** np.arange(1, 101), rtol=1e-12)


# --- the independent solver ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
@wide
def test_every_kind_of_line_against_the_nodal_solve(name):
    wires, g = KINDS[name], random_array(7, 5)
    g[2, 3] = 0.0  # an open cell
    found, matrix = solve(wires, g, np.eye(7)), effective_conductance(wires, g)
    for k in range(7):
        word, bit, cells = nodal(wires, g, np.eye(7)[k])
        close(found.word_v[k], word, 1e-11)
        close(found.bit_v[k], bit, 1e-11)
        close(found.currents[k], cells.sum(0), 1e-11)
    assert np.all(found.residual <= 1e-12)
    np.testing.assert_allclose(matrix, found.currents, rtol=1e-10, atol=1e-20)
    # Fewer inputs than outputs: the matrix is found from unit voltages at the inputs, not at the outputs.
    flat = random_array(5, 7)
    flat[2, 3] = 0.0
    expected = [nodal(wires, flat, one)[2].sum(0) for one in np.eye(5)]
    close(effective_conductance(wires, flat), expected, 1e-11)


@pytest.mark.parametrize("name", KINDS)
def test_float32_keeps_its_digits_on_every_kind_of_line(name):
    wires, g, v = KINDS[name], random_array(16, 16), random_voltages(4, 16)
    with jax.enable_x64(True):
        exact = solve(wires, g, v)
    found = solve(wires, g, v)
    close(found.currents, exact.currents, 5e-6)
    close(found.word_v, exact.word_v, 5e-6)


@pytest.mark.parametrize(("ohm", "gain"), [(1e5, 5.4), (1e6, 38.0)])
def test_float32_keeps_its_digits_where_lines_lose_most_of_the_voltage(ohm, gain):
    # Segments as resistive as the cells (10 kohm to 1 Mohm) and ten times more: f and E B^-1 f of the solver are up to
    # ``gain`` times their difference s, so that their rounding leaves residuals of 6e-7 and 5e-6 of s, more or less by
    # processor. Such arrays are neither refused, nor lose more digits than a few units in the last place of f.
    wires, g, v = lines(ohm, ohm), random_array(16, 16), random_voltages(4, 16)
    with jax.enable_x64(True):
        exact, matrix = solve(wires, g, v), effective_conductance(wires, g)
    found = solve(wires, g, v)
    assert np.all(found.residual <= 1e-6)  # rounding makes less than half of what is accepted
    close(found.currents, exact.currents, 4 * 2**-23 * gain)
    close(effective_conductance(wires, g), matrix, 4 * 2**-23 * gain)


def test_a_large_array_is_solved_a_few_vectors_at_a_time():
    g, v = random_array(64, 64), random_voltages(21, 64)  # 21 does not divide into equal rounds
    found = solve(EQUAL, g, v)
    assert found.residual.shape == (21,)
    assert int(found.iterations) <= 8
    close(found.currents, v @ np.asarray(effective_conductance(EQUAL, g), np.float64), 1e-5)
    close(found.currents[20], nodal(EQUAL, g, v[20])[2].sum(0), 1e-5)


@pytest.mark.parametrize("ohm", [0.0, 1e-4, 1e-2, 10.0])
def test_starting_with_the_slow_modes_changes_only_the_number_of_steps(ohm):
    for g in (random_array(24, 20) * 1e4, np.zeros((24, 20))):
        plain, helped = (with_modes(jnp.asarray(g, jnp.float32), ohm, use) for use in (False, True))
        assert np.all(helped.residual <= 2e-6)
        np.testing.assert_allclose(helped.currents, plain.currents, rtol=1e-4, atol=1e-6 * np.max(plain.currents))
        assert int(helped.iterations) <= int(plain.iterations)
        if ohm == 1e-2 and g.any():
            assert int(helped.iterations) <= int(plain.iterations) - 2


@functools.partial(jax.jit, static_argnames="use")
def with_modes(g, ohm, use):
    net = line_solver.network(g[:, :, None], jnp.full(20, ohm, g.dtype), jnp.full(24, ohm, g.dtype))
    modes = line_solver.slow_modes(net) if use else None
    return line_solver.fields(net, jnp.eye(24, dtype=g.dtype), 2e-6, 300, nodes=False, slow=modes)


def test_a_larger_array_starts_with_its_slow_modes():
    # As many cells as call for slow modes, and as few vectors.
    wires, g = lines(2.93, 0.2), random_array(520, 64)
    matrix, gradient = by_one_number(wires, g, 1.0)
    matrix = np.asarray(matrix, np.float64)
    v = random_voltages(1, 520)[0]
    close(v @ matrix, nodal(wires, g, v)[2].sum(0), 5e-6)
    # With one volt at every input the array is one resistor: a common factor of its cells changes the current by the
    # power that the cells take.
    word, bit, cells = nodal(wires, g, np.ones(520))
    close(matrix.sum(0), cells.sum(0), 5e-6)
    assert float(gradient) == pytest.approx(np.sum(g * (word - bit) ** 2), rel=1e-4)


@jax.jit
def by_one_number(wires, g, s):
    """The matrix, and the gradient of its sum by a common factor of the cells."""
    matrix, vjp = jax.vjp(lambda s: effective_conductance(wires, s * g), s)
    return matrix, vjp(jnp.ones_like(matrix))[0]


# --- physics ---------------------------------------------------------------------------------------------------------


@wide
def test_perfect_lines_give_the_cells_themselves():
    g, v = random_array(7, 5), random_voltages(7, 7)
    perfect = solve(KINDS["perfect"], g, v)
    close(perfect.currents, v @ g, 1e-13)
    np.testing.assert_array_equal(perfect.bit_v, 0)
    assert int(perfect.iterations) == 0
    for ohm in (1e-3, 1e-6, 1e-9, 1e-15):
        matrix = effective_conductance(lines(ohm, ohm), g)
        # At first order a cell misses sum_k R_k G_k of its two lines, at most (1 + ... + 5 + 1 + ... + 7) r 100 uS.
        np.testing.assert_allclose(matrix, g, rtol=43e-4 * ohm + 1e-14)


@pytest.mark.parametrize("name", ["equal", "different", "severe"])
@wide
def test_no_current_is_lost(name):
    wires, g, v = KINDS[name], random_array(7, 5), random_voltages(7, 7)
    found = solve(wires, g, v)
    word, bit, currents = (np.asarray(x) for x in (found.word_v, found.bit_v, found.currents))
    source = wires.word_line_ohm if wires.source_ohm is None else wires.source_ohm
    entering = (v - word[..., 0]) / source
    np.testing.assert_allclose(entering.sum(1), currents.sum(1), rtol=1e-9)
    cells = g * (word - bit)
    close(cells.sum(2), entering, 1e-10)
    close(cells.sum(1), currents, 1e-10)


@wide
def test_reciprocity():
    g = random_array(7, 5)
    wires, turned = lines(5.0, 11.0, 2.0, 3.0), lines(11.0, 5.0, 3.0, 2.0)
    matrix = effective_conductance(wires, g)
    other = np.asarray(effective_conductance(turned, g[::-1, ::-1].T))
    np.testing.assert_allclose(other[::-1, ::-1].T, matrix, rtol=1e-12)


@wide
def test_results_scale_with_the_units():
    g, v = random_array(7, 5), np.eye(7)
    found = np.asarray(solve(EQUAL, g, v).currents)
    for unit in (1e-9, 1e9):
        wires = lines(2.93 / unit, 2.93 / unit)
        np.testing.assert_allclose(solve(wires, g * unit, v).currents, found * unit, rtol=1e-10)
        np.testing.assert_allclose(solve(EQUAL, g, v * unit).currents, found * unit, rtol=1e-10)


def test_tiny_and_dark_arrays_in_float32():
    g, v = random_array(7, 5), random_voltages(7, 7)
    v[1] = 0.0
    small = np.asarray(solve(lines(3e6, 3e6), g * 1e-6, v * 1e-6).currents, np.float64)
    close(small * 1e12, solve(lines(3.0, 3.0), g, v).currents, 1e-5)
    np.testing.assert_array_equal(small[1], 0)
    np.testing.assert_array_equal(effective_conductance(EQUAL, np.zeros((7, 5))), 0)


def test_tiny_gradients_in_float32():
    g, v = random_array(7, 5), random_voltages(3, 7)
    gradient = jax.jit(jax.grad(lambda g, unit: jnp.sum(solve(HARD, g, v).currents) * unit))
    close(np.asarray(gradient(g, 1e-24), np.float64) * 1e24, gradient(g, 1.0), 1e-5)


# --- transformations -------------------------------------------------------------------------------------------------


@jax.jit
def mapped(ohm, g):
    """Matrices of arrays ``[..., arrays, 7, 5]``, each with its own resistance, by vmap."""
    one = jax.vmap(lambda r, g: effective_conductance(lines(r, r, 0.0), g))
    return jax.vmap(one, (None, 0))(ohm, g)


def arrays_and_voltages():
    g = np.stack([random_array(7, 5, seed) for seed in range(6)]).reshape(2, 3, 7, 5)
    return g, np.stack([random_voltages(7, 7, seed) for seed in range(6)]).reshape(2, 3, 7, 7)


def test_arrays_chips_and_resistances_under_vmap_and_jit():
    g, v = arrays_and_voltages()
    together = solve(EQUAL, g, v)
    assert together.currents.shape == (2, 3, 7, 5)
    assert together.word_v.shape == together.bit_v.shape == (2, 3, 7, 7, 5)
    assert together.iterations.shape == (2, 3)
    assert together.residual.shape == (2, 3, 7)
    close(np.asarray(together.currents)[0, 1], solve(EQUAL, g[0, 1], v[0, 1]).currents, 1e-6)
    matrices = np.asarray(effective_conductance(EQUAL, g))
    close(matrices[1, 2], effective_conductance(EQUAL, g[1, 2]), 1e-6)

    ohms = np.array([0.0, 1.0, 300.0], np.float32)
    found = np.asarray(mapped(ohms, g))
    for chip, array in np.ndindex(2, 3):
        alone = effective_conductance(lines(float(ohms[array]), float(ohms[array]), 0.0), g[chip, array])
        close(found[chip, array], alone, 1e-5)


def test_float32_results_do_not_depend_on_x64():
    g, v = random_array(7, 5).astype(np.float32), random_voltages(7, 7).astype(np.float32)
    narrow = solve(EQUAL, g, v)
    with jax.enable_x64(True):
        found = solve(EQUAL, g, v)
        assert {x.dtype.name for x in found} == {"float32", "int32"}
        assert estimate(EQUAL, g).dtype == jnp.float32
    close(found.currents, narrow.currents, 1e-6)


estimate = jax.jit(approximate_conductance)


def test_narrow_conductances_are_computed_in_float32():
    g = jnp.asarray(random_array(7, 5), jnp.bfloat16)
    assert effective_conductance(EQUAL, g).dtype == jnp.float32


# --- never silently wrong --------------------------------------------------------------------------------------------


def test_an_unfinished_solution_raises():
    g, v = random_array(16, 16), random_voltages(4, 16)
    with pytest.raises(InputError, match=r"max_iterations = 1: .*residual"):
        effective_conductance(HARD, g, max_iterations=1)
    with pytest.raises(InputError, match=r"max_iterations = 1: .*residual"):
        solve(HARD, g, v, max_iterations=1)
    with pytest.raises(InputError, match="residual"):
        solve(HARD, g, v, tolerance=1e-12)  # more than float32 can give


@jax.jit
def unfinished(g, v):
    """The solution, the matrix and its gradient, all after one step."""

    def total(g):
        matrix = effective_conductance(HARD, g, max_iterations=1)
        return jnp.sum(matrix), matrix

    (_, matrix), gradient = jax.value_and_grad(total, has_aux=True)(g)
    return solve(HARD, g, v, max_iterations=1), matrix, gradient


def test_an_unfinished_solution_is_nan_where_nothing_can_be_raised():
    found, matrix, gradient = unfinished(random_array(16, 16), random_voltages(2, 16))
    assert np.all(np.isnan(found.currents))
    assert np.all(np.isnan(found.word_v))
    assert np.all(np.isnan(found.bit_v))
    assert np.all(found.residual > 2e-6)
    assert np.all(np.isnan(matrix))
    assert np.all(np.isnan(gradient))


def test_a_nan_that_cannot_be_checked_stays_a_nan():
    g, _ = arrays_and_voltages()
    g[1, 2, 2, 2] = np.nan
    found = np.isnan(mapped(np.array([0.0, 1.0, 300.0], np.float32), g))
    assert np.all(found[1, 2])
    assert not np.any(found[0])
    assert not np.any(found[1, :2])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: effective_conductance(EQUAL, [[1e-6, -1e-6]]),
            r"g = -1e-06: must be finite and at least 0 \(unit: S\)",
        ),
        (lambda: effective_conductance(EQUAL, np.full((2, 2), np.nan)), "g = nan: must be finite and at least 0"),
        (lambda: effective_conductance(EQUAL, np.ones(3)), r"g has shape \(3,\): must be \[..., n_in, n_out\]"),
        (lambda: effective_conductance(EQUAL, np.ones((0, 3))), r"g has shape \(0, 3\)"),
        (lambda: effective_conductance(EQUAL, np.ones((2, 2), complex)), "g has dtype complex64: must be real"),
        (lambda: approximate_conductance(EQUAL, np.ones(3)), r"g has shape \(3,\)"),
        (lambda: effective_conductance(2.93, np.ones((2, 2))), "wires = 2.93: must be a Wires description"),
        (
            lambda: effective_conductance(Wires(word_line_ohm=np.ones(2), bit_line_ohm=1.0), np.ones((2, 2))),
            r"Wires.word_line_ohm has shape \(2,\): must be one number \(unit: ohm\); use jax.vmap",
        ),
        (lambda: solve(EQUAL, np.ones((3, 2)), np.ones(3)), r"v has shape \(3,\): must be \[batch, 3\]"),
        (lambda: solve(EQUAL, np.ones((3, 2)), np.ones((5, 2))), r"v has shape \(5, 2\): must be \[batch, 3\]"),
        (lambda: solve(EQUAL, np.ones((4, 3, 2)), np.ones((2, 5, 3))), r"must be \[4, batch, 3\]"),
        (lambda: solve(EQUAL, np.ones((1, 1)), np.full((1, 1), np.inf)), r"v = inf: must be finite \(unit: V\)"),
        (lambda: solve(EQUAL, np.ones((1, 1)), np.ones((1, 1)), max_iterations=0), "max_iterations = 0"),
        (lambda: solve(EQUAL, np.ones((1, 1)), np.ones((1, 1)), tolerance=0.0), "tolerance = 0.0"),
    ],
)
def test_bad_inputs_are_named(call, message):
    with pytest.raises(InputError, match=message):
        call()


# --- the estimate ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "ohm", "error", "ignoring"), [(64, 1.0, 0.008, 0.15), (128, 1.0, 0.03, 0.57), (128, 2.93, 0.11, 1.54)]
)
def test_the_estimate_has_the_documented_error(size, ohm, error, ignoring):
    wires, g = lines(ohm, ohm), random_array(size, size)
    exact = np.asarray(effective_conductance(wires, g), np.float64)
    found = np.asarray(estimate(wires, g), np.float64)
    off = [np.linalg.norm(m - exact) / np.linalg.norm(exact) for m in (found, g)]
    assert off == pytest.approx([error, ignoring], rel=0.06)


@wide
def test_the_estimate_is_exact_to_first_order():
    g = np.full((7, 5), 5e-5)  # equal cells are their own mean

    def gradient(function):
        return jax.jit(jax.jacfwd(lambda r: function(lines(r, 2 * r, 3 * r), g)))(0.0)

    exact, estimate = gradient(effective_conductance), gradient(approximate_conductance)
    np.testing.assert_allclose(estimate, exact, rtol=1e-12)
    # By hand for the cell nearest to both terminals: every current of its lines crosses the first segments.
    assert float(exact[-1, 0]) == pytest.approx(-(5e-5**2) * (5 * 3 + 7 * 2), rel=1e-12)
