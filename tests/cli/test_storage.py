"""What stores are good for: bits, reads and lifetimes against closed forms."""

import json
import math
import re
import time

import numpy as np
import pytest
from typer.testing import CliRunner

from analogsim import FreshChip, Hardware, InputError, preset, presets
from analogsim import storage as comparison
from analogsim.cli.app import app
from analogsim.devices import AmplitudeStore, Crossbar, DelayLine, DigitalMemory, FadingLight, GenericCell
from analogsim.storage import _USES, storage


def cell_hardware(**cell):
    """Cells whose every effect is a number; a conductance of 1 is the largest weight."""
    return Hardware(name="cells", store=Crossbar(cell=GenericCell(**cell)), rows=64, columns=64)


def row_of(found, name):
    return next(row for row in found.rows if row.name == name)


@pytest.mark.parametrize("bits", [4, 8])
def test_rounding_gives_back_its_bits_for_ever(bits):
    (row,) = storage(64, stores=[Hardware(store=DigitalMemory(bits=bits), rows=64, columns=64)], bits=3).rows
    # Levels 2/(2^b - 2) apart: an error of a twelfth of that squared under weights of power 1/3.
    step = 2 / (2**bits - 2)
    np.testing.assert_allclose(row.bits, 0.5 * np.log2(1 + (1 / 3) / (step**2 / 12)), atol=0.05)
    assert row.reads == 1
    assert row.outlasts_data
    assert row.lifetime_s > 3e8
    assert row.cells == 64


def test_noise_of_reads_averages_and_that_of_writing_does_not():
    # Read noise of 5 % of a conductance: SNR = 1/0.05^2, and R reads for 8 bits bring it to 4^8 - 1.
    read = storage(100, time=0, bits=8, stores=[cell_hardware(read_noise=0.05)]).rows[0]
    assert read.bits == pytest.approx(0.5 * np.log2(1 + 400), abs=0.02)
    assert read.reads == pytest.approx((4**8 - 1) / 400, rel=0.03)
    assert read.max_bits > read.bits + 1
    # Writing errs by 5 % of the largest conductance in both cells, the empty one cut at zero: s^2 (1 + 1/2).
    written = storage(100, time=0, bits=8, stores=[cell_hardware(programming_sigma=0.05)]).rows[0]
    # The cut adds s phi to the empty cell's mean, phi = 1/sqrt(2 pi): it stays beside what is common to all weights.
    assert written.bits == pytest.approx(0.5 * np.log2(1 + (1 / 3) / (1.5 * 0.05**2)), abs=0.08)
    assert written.max_bits == pytest.approx(written.bits, abs=0.01)
    assert math.isinf(written.reads)


def test_light_that_fades_is_told_by_fewer_photons():
    """Without gain a weight is eta w with eta n_0 |w| photons: SNR = eta n_0 E w^2 / E|w|, the loss itself known."""
    line = FadingLight(medium=DelayLine(), photons=1e3, rows=64)
    hardware = Hardware(name="line", store=line, rows=64, columns=64, training=FreshChip(time_s=1e-6))
    (row,) = storage(64, time="50 us", bits=4, stores=[hardware]).rows
    for found, time_s in ((row.bits_at_first, 0.0), (row.bits, 50e-6)):
        snr = float(DelayLine().efficiency(time_s)) * 1e3 * (1 / 3) / (1 / 2)
        assert found == pytest.approx(0.5 * np.log2(1 + snr), abs=0.03)
    assert row.destructive_read
    assert row.copies == row.reads * row.cells
    assert row.write_j > 0


@pytest.fixture(scope="module")
def every_store():
    """All presets beside each other: a million weights, read after a day, four bits wanted."""
    return storage()


def test_a_store_that_holds_nothing_gives_no_bits(every_store):
    noise = preset("quantum-register", **{"store.register.two_qubit_error": 0.9})
    (row,) = storage(64, time=0, stores=[noise]).rows
    assert row.bits < 0.05
    assert row.lifetime_s == 0
    decayed = row_of(every_store, "quantum-register")
    assert decayed.bits < 0.05
    assert math.isinf(decayed.reads)
    assert decayed.lifetime_s < 1e-4


def test_registers_count_copies_and_holevos_bound():
    hardware = preset("quantum-register")
    (row,) = storage(1024, time=0, bits=3, stores=[hardware]).rows
    assert row.destructive_read
    assert row.cells == 1024 // 8 * 4  # four qubits a register of eight weights
    assert row.copies == row.reads * hardware.store.shots * 1024 / 8
    assert math.isfinite(row.copies)
    assert row.min_copies == pytest.approx(1024 * 3 / 4)  # N b / n over registers of n = 4 qubits
    assert row.hold_w == pytest.approx(512 * 25e3 / 1000)  # each qubit's share of the machine
    assert 0 < row.lifetime_s < 20e-6  # after 20 us a bit is missing
    assert row.bits == row.bits_at_first
    assert isinstance(hardware.store, AmplitudeStore)


def test_data_that_end_are_not_extrapolated(every_store):
    found = storage(stores=["reram"], time="1 year")
    (row,) = found.rows
    assert row.bits is None
    assert math.isinf(row.reads)
    assert row.lifetime_s == row_of(every_store, "reram").lifetime_s == pytest.approx(2 * 86400)
    assert "no data" in str(found)


def test_the_key_alone_decides(every_store):
    first = row_of(every_store, "pcm").bits
    assert storage(stores=["pcm"], key=0).rows[0].bits == first  # whatever is compared beside it
    assert storage(stores=["pcm"], key=4).rows[0].bits != first


def test_the_table_has_every_store(every_store):
    table = str(every_store)
    for name in presets():
        assert (name in table) == (name != "ideal")
    assert max(map(len, table.splitlines())) <= 120
    for word in " ".join(_USES.values()).split():
        assert word in table.split(), word  # not cut off at the edge


def test_the_command_compares_every_store(every_store, monkeypatch):
    asked = []

    def measured(*args, progress, **options):
        asked.append((args, options))
        progress(0, 9)
        progress(4, 9)
        return every_store

    monkeypatch.setattr(comparison, "storage", measured)
    done = CliRunner().invoke(app, ["storage"])
    assert done.exit_code == 0, done.output
    assert done.stdout == f"{every_store}\n"
    assert re.fullmatch(r"measuring stores [━╸╺ ]+ 4/9 0:00:0\d\n", done.stderr)  # a bar while it is measured
    assert asked == [((1_000_000,), dict(time="1 day", bits=4.0, stores=None, key=0))]


def test_no_more_stores_are_measured_at_a_time_than_there_are_processors(every_store, monkeypatch):
    """XLA complains of a program that compiles for two minutes, as one of nine at a time does on two processors."""
    running, most, told = [], [], []

    def row(hardware, *how):
        running.append(hardware)
        most.append(len(running))
        time.sleep(0.02)
        running.remove(hardware)
        return every_store.rows[0]

    monkeypatch.setattr(comparison, "_row", row)
    monkeypatch.setattr(comparison, "usable_cpus", lambda: 2)
    found = storage(progress=lambda done, total: told.append((done, total)))
    assert max(most) == 2
    assert told == [(i, len(found.rows)) for i in range(len(found.rows) + 1)]


def test_a_mistake_in_one_store_ends_the_others(monkeypatch):
    begun = []

    def row(hardware, *how):
        begun.append(hardware)
        if len(begun) == 1:
            raise InputError("no such store")
        time.sleep(0.1)  # what has begun when the mistake is seen

    monkeypatch.setattr(comparison, "_row", row)
    monkeypatch.setattr(comparison, "usable_cpus", lambda: 1)
    with pytest.raises(InputError, match="no such store"):
        storage()
    assert len(begun) < len(presets()) - 1


def test_the_command_writes_json():
    arguments = ["storage", "--weights", "10", "--time", "1 s", "--stores", "int8, reram", "--bits", "3", "--json"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert [row["name"] for row in found["stores"]] == ["int8", "reram"]
    assert (found["weights"], found["required_bits"], found["time_s"]) == (10, 3.0, 1.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(weights=0), "weights = 0: must be an integer of at least 1"),
        (dict(weights=1.5), "weights = 1.5"),
        (dict(bits=0), "bits = 0: must be greater than 0 and at most 24"),
        (dict(time=-1), "must be finite and at least 0"),
        (dict(stores=["pmc"]), "did you mean 'pcm'"),
        (dict(stores=[3]), "stores: 3: must be the name of a preset"),
        (dict(stores=[]), "stores = []"),
        (dict(key="a"), "key = 'a': must be an integer"),
    ],
    ids=str,
)
def test_bad_input_is_one_sentence(change, message):
    with pytest.raises(InputError) as error:
        storage(**change)
    assert message in str(error.value)
