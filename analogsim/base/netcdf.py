"""netCDF files of results, written whole and sealed: the last line of the file is the SHA-256 of all bytes before it.

HDF5, and so every reader of netCDF, ignores what follows its own end. A seal there covers attributes, labels and
numbers alike, and does not travel into other files as an attribute would, when somebody changes a dataset and saves it.
A file without a seal, which another program wrote or changed, is read; who reads it says that it cannot be checked.
"""

import contextlib
import hashlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analogsim.base import files
from analogsim.base.errors import InputError, brief, reason_of

if TYPE_CHECKING:
    import xarray

_MARK = b"\nanalogsim results, sha256 of all before: "
_LENGTH = len(_MARK) + 64 + 1
#: What is said of a file without a seal.
UNSEALED = (
    "has no checksum, so that damage to it would not be noticed: something else than analogsim wrote or changed it "
    "(analogsim.sweeps.save_results writes files with one)"
)
_MOST_CHANGED = 8  # bytes of the mark that may be damaged while it still is one


def content(data: "xarray.Dataset") -> bytes:
    """The bytes of a sealed netCDF file."""
    with _without_dask():
        raw = bytes(data.to_netcdf(engine="h5netcdf"))  # in memory: HDF5 fails noisily on a full disk
    return raw + _MARK + hashlib.sha256(raw).hexdigest().encode() + b"\n"


def save_results(data: "xarray.Dataset", path: str | os.PathLike) -> Path:
    """Write a dataset of results as a sealed netCDF file, whole or not at all.

    ``analogsim.report``, ``analogsim.sweep`` and ``load_results`` check the seal, and refuse the file where a byte of
    it has changed since. What ``dataset.to_netcdf`` writes has no seal, and is read with a warning.

    Args:
      data: of ``analogsim.evaluate``, ``analogsim.sweep`` or an energy comparison's ``to_dataset()``.
      path: the file, ``.nc``; one that is there is replaced.

    Returns:
      the path.

    Raises:
      InputError: where it is no dataset, or the file cannot be written; what was there is as it was.

    Example:
      >>> import tempfile, xarray
      >>> from analogsim.sweeps import load_results
      >>> file = Path(tempfile.mkdtemp()) / "scores.nc"
      >>> data = xarray.Dataset({"score": ("chip", [0.9, 0.8])})
      >>> float(load_results(save_results(data, file)).score[1])
      0.8
      >>> whole = file.read_bytes()
      >>> _ = file.write_bytes(whole.replace(b"score", b"scare"))
      >>> load_results(file)                                             # doctest: +ELLIPSIS
      Traceback (most recent call last):
      analogsim.base.errors.InputError: ...scores.nc: is not as it was written, by its checksum; it is damaged...
    """
    if not hasattr(data, "data_vars"):
        raise InputError(f"data = {brief(data)}: must be an xarray.Dataset")
    if not isinstance(path, str | os.PathLike) or not str(path).endswith(".nc"):
        raise InputError(f"path = {brief(path)}: must be the path of a file that ends in .nc")
    return files.write(path, content(data))


def is_sealed(path: Path) -> bool:
    """Whether a file has a seal, and so was checked.

    Raises:
      InputError: where the bytes are not those that were sealed.
      OSError: where it cannot be read.
    """
    raw = path.read_bytes()
    end, mark = raw[-_LENGTH:], _MARK
    if end.startswith(mark) and end[len(mark) :] == hashlib.sha256(raw[:-_LENGTH]).hexdigest().encode() + b"\n":
        return True
    changed = sum(a != b for a, b in zip(end, mark, strict=False)) if len(end) == _LENGTH else len(mark)
    if changed <= _MOST_CHANGED or mark in raw[-2 * _LENGTH :]:
        raise InputError(
            f"{path}: is not as it was written, by its checksum; it is damaged: make it again, or take another copy"
        )
    return False


def read(path: Path) -> "tuple[xarray.Dataset, bool]":
    """Read a netCDF file of results into memory, and say whether it is sealed.

    Raises:
      InputError: if it cannot be read, or its bytes are not those that were sealed.
    """
    import xarray

    try:
        sealed = is_sealed(path)  # first: HDF5 complains of damage in its own words
        # Times are seconds after programming, and never dates.
        return xarray.load_dataset(path, engine="h5netcdf", decode_times=False, decode_timedelta=False), sealed
    except InputError:
        raise
    except Exception as error:  # of many kinds, by what is damaged
        raise InputError(f"{path}: cannot be read as netCDF ({reason_of(error)})") from None


def _without_dask() -> Any:
    """xarray would ask a Dask client for a lock, by the name of a file, which memory has none of."""
    if "dask" not in sys.modules:
        return contextlib.nullcontext()
    import dask

    return dask.config.set(scheduler="synchronous")
