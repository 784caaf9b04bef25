"""Using less of a cell's window must change how weights are mapped, never what a cell does at a conductance."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analogsim import InputError
from analogsim.devices import (
    CELLS,
    ECRAM,
    PCM,
    CMOReRAM,
    Crossbar,
    Faults,
    FeFET,
    GenericCell,
    HermesPCM,
    MiloReRAM,
    ReRAM,
    WriteVerify,
)
from analogsim.devices.crossbar.cell import largest

#: Cells with less of their window in use, by the name of all of it. Of a measured cell the table is the window.
LESS = {name: make(g_max=make().g_min + 0.5 * (make().g_max - make().g_min)) for name, make in CELLS.items()
        if name not in ("measured", "generic")}  # fmt: skip
LESS["generic"] = GenericCell(
    g_max=10e-6, programming_sigma=0.02, sigma_conductance=25e-6, drift_mean=0.05, read_noise=0.1
)
WHOLE = {name: cell.replace(g_max=CELLS[name]().g_max) for name, cell in LESS.items()}


@jax.jit
def life(cell, targets):
    """Writing error, states and readings of cells written to ``targets``."""
    state = cell.program(jax.random.key(0), targets)
    return cell.programming_error(targets), state, cell.read(state, 1.0)


@pytest.mark.parametrize("name", LESS)
def test_a_cell_does_the_same_whatever_part_of_it_is_used(name):
    less, whole = LESS[name], WHOLE[name]
    assert less.g_max < whole.g_max
    targets = jnp.linspace(float(less.g_min), float(less.g_max), 16, dtype=jnp.float32)
    jax.tree.map(np.testing.assert_array_equal, life(less, targets), life(whole, targets))


def test_the_error_of_a_generic_cell_is_one_of_weights_unless_its_conductance_is_given():
    targets = jnp.float32([5e-6])
    for law, share in (("independent", 0.02 * 25), ("inverse", 0.02 * 25 * 25 / 5)):
        known = GenericCell(g_min="1 uS", g_max="10 uS", error=law, programming_sigma=0.02, sigma_conductance=25e-6)
        assert float(known.programming_error(targets)[0]) * 1e6 == pytest.approx(share, rel=1e-6)
        free = known.replace(sigma_conductance=None)
        assert float(free.programming_error(targets)[0]) * 1e6 == pytest.approx(
            share * 10 / 25 * (10 / 25 if law == "inverse" else 1), rel=1e-6
        )
    with pytest.raises(InputError, match="sigma_conductance = 1e-05: must be None if error = 'proportional'"):
        GenericCell(error="proportional", sigma_conductance=1e-5)


@pytest.mark.parametrize(
    ("cell", "most_us"),
    [(PCM(g_max="5 uS"), 25.0), (HermesPCM(g_max="5 uS"), 20.7), (HermesPCM.one_pair(g_max="5 uS"), 10.35),
     (ReRAM(g_max="5 uS"), 40.0), (CMOReRAM(g_max="20 uS"), 88.2), (MiloReRAM(g_max="80 uS"), 225.0),
     (ECRAM(g_max="20 uS"), 30.0), (FeFET(g_max="1 uS"), 1e6 / 559e3), (GenericCell(g_max="5 uS"), 5.0)],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_a_cell_that_is_stuck_on_conducts_all_that_it_can(cell, most_us):
    """Its filament, film or channel does not know what part of the window the weights use."""
    assert float(largest(cell)) * 1e6 == pytest.approx(most_us, rel=1e-6)


def test_stuck_cells_and_the_closed_loop_reach_beyond_the_part_in_use():
    stuck = Crossbar(cell=PCM(g_max="5 uS", read_noise=0.0), faults=Faults(stuck_on=0.5))
    held = jax.jit(lambda store: store.read(store.program(jax.random.key(1), jnp.zeros((50, 40))), 0.0).mean)(stuck)
    # Half of all cells are at 25 uS, five times the 5 uS in use, the others near zero, 0.26 uS or 0.05 of the window:
    # of 2,000 pairs a quarter holds 5, a quarter -5, half 0.
    for value, share in ((5.0, 0.25), (-5.0, 0.25), (0.0, 0.5)):
        found = np.mean(np.abs(np.asarray(held) - value) < 0.4)
        assert abs(found - share) < 4 * np.sqrt(share * (1 - share) / 2000)
    # A pulse that overshoots the 5 uS in use is not held back there: at the top of it some end above.
    loop = WriteVerify(window=0.2e-6, pulse_noise_floor=0.2e-6, max_pulses=200)
    store = Crossbar(cell=PCM(g_max="5 uS", drift=0.0), write_verify=loop)
    state = jax.jit(lambda store: store.program(jax.random.key(2), jnp.ones((50, 40))))(store)
    plus = np.asarray(state.cells.conductance)[0]
    assert np.all(state.accepted)
    # Held back at 5 uS, none would end above; the loop accepts up to 5.2 uS.
    assert 5.1e-6 < plus.max() <= 5.2e-6 * (1 + 1e-5)
