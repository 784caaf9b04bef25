"""netCDF files of results, written atomically and sealed: the last line is the SHA-256 of all bytes before it.

HDF5, and so every netCDF reader, ignores bytes after the end of its data. A seal there covers attributes, labels and
numbers, and unlike an attribute it is not copied into other files when a dataset is changed and saved. A file without a
seal, written or changed by another program, is still read, with a warning that it cannot be checked.
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
#: Warning about a file without a seal.
UNSEALED = (
    "has no checksum, so that damage to it would not be noticed: another program wrote or changed it "
    "(analogsim.sweeps.save_results writes files with one)"
)
_MOST_CHANGED = 8  # damaged bytes of the mark up to which the file still counts as sealed


def content(data: "xarray.Dataset") -> bytes:
    """Return the bytes of a sealed netCDF file."""
    with _without_dask():
        raw = bytes(data.to_netcdf(engine="h5netcdf"))  # in memory: on a full disk, HDF5 prints an error stack
    return raw + _MARK + hashlib.sha256(raw).hexdigest().encode() + b"\n"


def save_results(data: "xarray.Dataset", path: str | os.PathLike) -> Path:
    """Write a dataset of results atomically as a sealed netCDF file.

    ``analogsim.report``, ``analogsim.sweep`` and ``load_results`` verify the seal, and raise an error if a byte of it
    has changed. Files written by ``dataset.to_netcdf`` have no seal and are read with a warning.

    Args:
      data: dataset from ``analogsim.evaluate``, ``analogsim.sweep`` or an energy comparison's ``to_dataset()``.
      path: path of the file, ``.nc``; an existing file is replaced.

    Returns:
      the path.

    Raises:
      InputError: if ``data`` is not a dataset, or the file cannot be written; an existing file is then unchanged.

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
      analogsim.base.errors.InputError: ...scores.nc: does not match its checksum; the file is damaged...
    """
    if not hasattr(data, "data_vars"):
        raise InputError(f"data = {brief(data)}: must be an xarray.Dataset")
    if not isinstance(path, str | os.PathLike) or not str(path).endswith(".nc"):
        raise InputError(f"path = {brief(path)}: must be the path of a file that ends in .nc")
    return files.write(path, content(data))


def is_sealed(path: Path) -> bool:
    """Return whether a file has a seal; a seal is verified.

    Raises:
      InputError: if the file does not match its seal.
      OSError: if the file cannot be read.
    """
    raw = path.read_bytes()
    end, mark = raw[-_LENGTH:], _MARK
    if end.startswith(mark) and end[len(mark) :] == hashlib.sha256(raw[:-_LENGTH]).hexdigest().encode() + b"\n":
        return True
    changed = sum(a != b for a, b in zip(end, mark, strict=False)) if len(end) == _LENGTH else len(mark)
    if changed <= _MOST_CHANGED or mark in raw[-2 * _LENGTH :]:
        raise InputError(
            f"{path}: does not match its checksum; the file is damaged: create it again, or use another copy"
        )
    return False


def read(path: Path) -> "tuple[xarray.Dataset, bool]":
    """Read a netCDF file of results into memory.

    Returns:
      the dataset, and whether the file is sealed.

    Raises:
      InputError: if the file cannot be read, or does not match its seal.
    """
    import xarray

    try:
        sealed = is_sealed(path)  # first, because HDF5 reports damage in its own words
        # Times are seconds after programming, and never dates.
        return xarray.load_dataset(path, engine="h5netcdf", decode_times=False, decode_timedelta=False), sealed
    except InputError:
        raise
    except Exception as error:  # of many kinds, depending on the damaged part
        raise InputError(f"{path}: cannot be read as netCDF ({reason_of(error)})") from None


def _without_dask() -> Any:
    """Return a context without a Dask client, of which xarray would request a lock by the name of a file."""
    if "dask" not in sys.modules:
        return contextlib.nullcontext()
    import dask

    return dask.config.set(scheduler="synchronous")
