"""Data sheets: complete, sourced, never filled in; and every closed programming error against sampled cells."""

import math

import jax
import numpy as np
import pytest

from analogsim import InputError
from analogsim.devices import CELLS, ECRAM, PCM, SONOS, DataSheet, FeFET, GenericCell, MeasuredCell, datasheet
from analogsim.devices.crossbar.datasheet import Datum
from tests.support.cells import N, equal, program, read

NAMES = [name for name in CELLS if name != "measured"]
TABLE = [(0.0, 0.1e-6, 1.0), (20e-6, 0.5e-6, 1.0), (0.0, 0.2e-6, 3600.0), (20e-6, 0.9e-6, 3600.0)]


@pytest.mark.parametrize("name", NAMES)
def test_every_cell_has_a_sheet_of_sourced_figures(name):
    cell = CELLS[name]()
    sheet = datasheet(cell)
    assert sheet.conductance.value == (cell.g_min, cell.g_max)
    assert sheet.retention
    assert sheet.modelled
    assert sheet.not_modelled
    assert 0 < len(sheet.short) <= 18
    for datum in vars(sheet).values():
        if isinstance(datum, Datum):
            assert datum.source
            ends = datum.value if isinstance(datum.value, tuple) else (datum.value,)
            assert list(ends) == sorted(ends)
            assert datum.recalled == any(word in str(datum.source) for word in ("recalled", "assumed"))


def test_what_follows_from_the_cell_follows_it():
    assert datasheet(PCM()).on_off.value == math.inf
    assert datasheet(PCM(g_min="1 uS")).on_off.value == pytest.approx(25)
    assert datasheet(PCM()).validity is None  # a law without an end
    assert datasheet(SONOS()).validity.value == 432000.0
    assert datasheet(FeFET()).on_off.value == pytest.approx(45)
    assert datasheet(FeFET(levels=8)).levels.value == 8
    assert (datasheet(ECRAM()).levels.value, datasheet(ECRAM.metal_oxide()).levels.value) == (1000, 7089)
    assert datasheet(PCM()).levels is None


def test_energies_are_those_of_the_pulses():
    pcm, reram = datasheet(PCM()), datasheet(CELLS["reram"]())
    # SET 150 uA, 150 ns and RESET 300 uA, 40 ns in 21 kohm; 1 us at 1.75 V and 20 uS, 8.52 times.
    assert pcm.pulse_energy.value == pytest.approx((150e-6**2 * 21e3 * 150e-9, 300e-6**2 * 21e3 * 40e-9), rel=0.01)
    assert reram.pulse_energy.value == pytest.approx(1.75**2 * 20e-6 * 1e-6, rel=0.01)
    assert reram.write_energy.value == pytest.approx(8.52 * 1.75**2 * 20e-6 * 1e-6, rel=0.05)


def test_nothing_is_filled_in():
    sonos = datasheet(SONOS())
    assert sonos.write_energy is sonos.pulse_width is sonos.endurance is sonos.temperature is None
    flash = datasheet(CELLS["flash"]())
    assert flash.temperature.value == (298.15, 358.15)
    assert flash.conductance.recalled  # its scale is assumed


def test_classes_that_need_data_and_cells_of_a_user():
    assert datasheet(MeasuredCell).conductance is None
    assert datasheet(MeasuredCell.from_rows(TABLE)).validity.value == 3600.0

    class Mine(PCM):
        """A user's own."""

    sheet = datasheet(Mine())
    assert isinstance(sheet, DataSheet)
    assert (sheet.technology, sheet.write_energy) == ("Mine", None)
    assert sheet.conductance.value == (0.0, 25e-6)


programming_error = jax.jit(lambda cell, target: cell.programming_error(target))


@pytest.mark.parametrize("name", [*NAMES, "measured"])
def test_the_closed_programming_error_is_that_of_sampled_cells(name):
    cell = MeasuredCell.from_rows(TABLE) if name == "measured" else CELLS[name]()
    if name == "generic":
        cell = GenericCell(error="proportional", programming_sigma=0.05)
    if hasattr(cell, "read_noise"):
        cell = cell.replace(read_noise=0.0)
    targets = equal(1e6 * (float(cell.g_min) + 0.6 * float(cell.g_max - cell.g_min)))
    reached = np.asarray(read(cell, program(cell, jax.random.key(0), targets), 0.0).mean, np.float64)
    square = (reached - targets) ** 2
    rms, closed = math.sqrt(square.mean()), float(programming_error(cell, targets[0]))
    assert abs(rms - closed) < 4 * square.std() / math.sqrt(N) / (2 * rms)


def test_changes_pass_through_the_second_fits():
    assert CELLS["ecram-oxide"](blind_pulses=0).blind_pulses == 0
    with pytest.raises(InputError, match="PCM has no field 'gmax'"):
        CELLS["pcm-crosssim"](gmax=1)
