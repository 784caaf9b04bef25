"""Results files carry a checksum over every byte, and whoever reads them checks it."""

import hashlib

import numpy as np
import pytest
import xarray

from analogsim import InputError, report
from analogsim.base.netcdf import content, is_sealed
from analogsim.sweeps import load_results, save_results
from tests.support.sweep_results import BITS, sweep_results


@pytest.fixture(scope="module")
def small():
    """A dataset of every kind of content: numbers, labels, text, attributes."""
    coords = {"network": ["plain", "aware"], "chip": [0, 1, 2]}
    scores = np.linspace(0.5, 0.9, 6).reshape(2, 3)
    return xarray.Dataset({"score": (("network", "chip"), scores)}, coords, {"title": "µ"})


@pytest.fixture(scope="module")
def sealed(small):
    return content(small)


def test_the_last_line_is_the_sha256_of_all_before(sealed):
    before, _, digest = sealed.rpartition(b"\nanalogsim results, sha256 of all before: ")
    assert digest == hashlib.sha256(before).hexdigest().encode() + b"\n"
    assert before.startswith(b"\x89HDF\r\n")


def test_any_changed_byte_is_refused(tmp_path, sealed):
    """Every 97th byte, and every byte of the seal itself."""
    file = tmp_path / "r.nc"
    for i in [*range(0, len(sealed) - 200, 97), *range(len(sealed) - 120, len(sealed))]:
        flipped = bytearray(sealed)
        flipped[i] ^= 4
        file.write_bytes(flipped)
        with pytest.raises(InputError, match=r"r\.nc: does not match its checksum; the file is damaged"):
            is_sealed(file)
    for damaged in (sealed[:-3], sealed + b"x", sealed[:500] + sealed[501:]):
        file.write_bytes(damaged)
        with pytest.raises(InputError, match="the file is damaged"):
            is_sealed(file)


def test_other_readers_find_the_same_numbers(tmp_path, small):
    file = save_results(small, tmp_path / "r.nc")
    xarray.testing.assert_identical(xarray.load_dataset(file, engine="h5netcdf"), small)
    xarray.testing.assert_identical(load_results(file), small)


def test_a_changed_dataset_saved_by_its_user_is_read_with_a_warning(tmp_path, small, sealed):
    (tmp_path / "r.nc").write_bytes(sealed)
    mine = load_results(tmp_path / "r.nc").isel(chip=[0]).assign_attrs(title="mine")
    mine.to_netcdf(tmp_path / "mine.nc", engine="h5netcdf")
    with pytest.warns(UserWarning, match=r"mine\.nc: has no checksum, so that damage to it would not be noticed"):
        assert load_results(tmp_path / "mine.nc").attrs["title"] == "mine"


def test_what_is_no_results_file_is_refused(tmp_path, small):
    for data, path, message in (
        (3, tmp_path / "r.nc", "data = 3: must be an xarray.Dataset"),
        (small, tmp_path / "r.csv", "must be the path of a file that ends in .nc"),
        (small, tmp_path / "none" / "r.nc", "cannot write there"),
    ):
        with pytest.raises(InputError, match=message):
            save_results(data, path)


def test_a_page_of_damaged_results_is_refused_and_one_of_unsealed_results_says_so(tmp_path):
    data = sweep_results({BITS: (4,)}, chips=3)
    file, page = save_results(data, tmp_path / "r.nc"), tmp_path / "r.html"
    whole = file.read_bytes()
    # A flipped bit in the middle of the scores: HDF5 itself sees nothing.
    scores = whole.find(data.accuracy.values.tobytes())
    flipped = bytearray(whole)
    flipped[scores + 6] ^= 8
    file.write_bytes(flipped)
    assert float(xarray.load_dataset(file, engine="h5netcdf").accuracy[0, 0]) != float(data.accuracy[0, 0])
    with pytest.raises(InputError, match="checksum; the file is damaged"):
        report.write(file)
    assert not page.exists()
    file.write_bytes(whole)
    assert "checksum" not in report.write(file).read_text()
    data.to_netcdf(tmp_path / "u.nc", engine="h5netcdf")
    text = report.write(tmp_path / "u.nc").read_text()
    assert "<h2>Warning</h2>" in text
    assert "u.nc has no checksum, so that damage to it would not be noticed" in text
