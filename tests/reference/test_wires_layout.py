"""Lines driven from and read at either side, and differential pairs on common word lines, against nodal analysis."""

import itertools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analogsim import InputError
from analogsim.devices import Wires
from analogsim.devices.crossbar.wires import approximate_conductance, effective_conductance, interleave, separate, solve
from tests.support.circuits import close, lines, nodal, random_array, random_voltages, wide

SIDES = list(itertools.product(("left", "right"), ("bottom", "top")))
BASE = Wires(word_line_ohm=20.0, bit_line_ohm=7.0, source_ohm=2.0, terminal_ohm=50.0)  # no two resistances alike


def flipped(x, wires, rows=None, columns=None):
    """What stands in the picture with drivers on the left and readout at the bottom, from the actual one."""
    if rows is not None and wires.read_at == "top":
        x = np.flip(x, rows)
    if columns is not None and wires.driven_from == "right":
        x = np.flip(x, columns)
    return x


# --- sides -----------------------------------------------------------------------------------------------------------
# Left and bottom are held to nodal analysis in test_wires.


def outputs(sides, g, v):
    return nodal(BASE.replace(driven_from=sides[0], read_at=sides[1]), g, v)[2].sum(0)


@pytest.mark.parametrize("sides", SIDES[1:], ids=str)
@wide
def test_other_layouts_against_nodal_analysis(sides):
    wires, g, v = BASE.replace(driven_from=sides[0], read_at=sides[1]), random_array(6, 5), random_voltages(2, 6)
    found = solve(wires, g, v)
    matrix = np.asarray(effective_conductance(wires, g))
    for k in range(2):
        word, bit, cells = nodal(wires, g, v[k])
        close(np.asarray(found.word_v)[k], word, 1e-11)
        close(np.asarray(found.bit_v)[k], bit, 1e-11)
        close(np.asarray(found.currents)[k], cells.sum(0), 1e-11)
        close(v[k] @ matrix, cells.sum(0), 1e-11)


def test_the_sides_matter_here():
    g, v = random_array(6, 5), random_voltages(2, 6)
    for one, other in itertools.combinations([outputs(sides, g, v[0]) for sides in SIDES], 2):
        assert np.max(np.abs(one - other)) > 1e-3 * np.max(np.abs(one))


@pytest.mark.parametrize("sides", SIDES[1:], ids=str)
@wide
def test_stored_solutions_seen_in_a_mirror(sides):
    data = np.load(pathlib.Path(__file__).parent / "ir_drop" / "ir_drop_4x3_rw2p93_rb0p5.npz")
    r_word, r_bit = float(data["r_wordline"]), float(data["r_bitline"])
    wires = lines(r_word, r_bit).replace(driven_from=sides[0], read_at=sides[1])
    # Of a 6 x 5 array the 4 x 3 cells that are nearest to drivers and readouts; the others are open.
    g, v = np.pad(data["G"], ((2, 0), (0, 2))), np.pad(data["V"], ((2, 0), (0, 0)))
    found = solve(wires, flipped(g, wires, 0, 1), flipped(v, wires, 0).T)
    currents = flipped(np.asarray(found.currents), wires, None, 1)
    np.testing.assert_allclose(currents[:, :3], data["I_out"], rtol=1e-9)
    for ours, stored in ((found.word_v, data["V_wordline"]), (found.bit_v, data["V_bitline"])):
        seen = flipped(np.moveaxis(np.asarray(ours), 0, -1), wires, 0, 1)
        np.testing.assert_allclose(seen[2:, :3], stored, rtol=1e-9)


estimate = jax.jit(approximate_conductance)


@pytest.mark.parametrize("sides", SIDES[1:], ids=str)
def test_the_estimate_is_mirrored_too(sides):
    wires, g = BASE.replace(driven_from=sides[0], read_at=sides[1]), random_array(6, 5)
    plain = np.asarray(estimate(BASE, flipped(g, wires, 0, 1)))
    np.testing.assert_allclose(estimate(wires, g), flipped(plain, wires, 0, 1), rtol=1e-6)


def test_a_side_is_structure():
    assert len(jax.tree.leaves(BASE)) == 4
    with pytest.raises(InputError, match=r"Wires.driven_from = 'top': must be one of 'left', 'right'"):
        BASE.replace(driven_from="top")
    with pytest.raises(InputError, match=r"Wires.read_at = 'left': must be one of 'bottom', 'top'"):
        BASE.replace(read_at="left")
    with pytest.raises(InputError, match=r"Wires.method = 'dmr': must be one of 'exact', 'approximate'"):
        BASE.replace(method="dmr")


# --- differential pairs on common word lines -------------------------------------------------------------------------


def test_interleaving_alternates_and_separating_undoes_it():
    pair = np.arange(2 * 3 * 2 * 4).reshape(3, 2, 2, 4)  # three arrays of pairs, 2 x 4 each
    joined = interleave(pair)
    assert joined.shape == (3, 2, 8)
    for column in range(8):
        np.testing.assert_array_equal(joined[:, :, column], pair[:, column % 2, :, column // 2])
    np.testing.assert_array_equal(separate(joined), pair)


@wide
def test_pairs_on_common_word_lines_against_nodal_analysis():
    plus, minus = random_array(6, 4, seed=3), random_array(6, 4, seed=4)
    v = random_voltages(1, 6)[0]
    columns = np.stack([plus, minus], -1).reshape(6, 8)  # + - + - ...
    output = nodal(BASE, columns, v)[2].sum(0)
    apart = np.stack([nodal(BASE, g, v)[2].sum(0) for g in (plus, minus)])

    pair = np.stack([plus, minus])
    ours = np.asarray(effective_conductance(BASE, pair))
    joined = v @ np.asarray(separate(effective_conductance(BASE, interleave(pair))))
    close(joined, [output[0::2], output[1::2]], 1e-11)
    close(v @ ours, apart, 1e-11)
    # What sharing a word line of twice the length takes from the outputs, as nodal analysis has it.
    lost = np.stack([output[0::2], output[1::2]]) - apart
    close(joined - v @ ours, lost, 1e-9)
    assert np.max(np.abs(lost)) > 0.02 * np.max(np.abs(apart))


@wide
def test_perfect_word_lines_do_not_mind_being_shared():
    pair = np.stack([random_array(6, 4, seed=3), random_array(6, 4, seed=4)])
    wires = lines(0.0, 7.0)
    joined = separate(effective_conductance(wires, interleave(pair)))
    np.testing.assert_allclose(joined, effective_conductance(wires, pair), rtol=1e-11)


def test_pairs_under_jit_and_grad():
    pair = np.stack([random_array(6, 4, seed=3), random_array(6, 4, seed=4)])
    gradient = jax.jit(jax.grad(lambda pair: jnp.sum(separate(interleave(pair) ** 2)[0])))(pair)
    np.testing.assert_allclose(gradient, np.stack([2 * pair[0], np.zeros((6, 4))]), rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: interleave(np.ones((3, 4, 5))), r"pair has shape \(3, 4, 5\): must be \[..., 2, n_in, n_out\]"),
        (lambda: interleave(np.ones((2, 5))), r"pair has shape \(2, 5\)"),
        (lambda: separate(np.ones((4, 5))), r"columns have shape \(4, 5\): must be \[..., n_in, 2 n_out\]"),
        (lambda: separate(np.ones(6)), r"columns have shape \(6,\)"),
    ],
)
def test_bad_pairs_are_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
