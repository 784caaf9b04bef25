"""Open a results file and recognise its kind."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from analogsim.base import netcdf
from analogsim.base.errors import InputError, brief, shorter
from analogsim.plot import dataset as results

if TYPE_CHECKING:
    import xarray

_ENERGY = ("energy_low_j", "energy_typical_j", "energy_high_j")


def load(path: str | os.PathLike[str]) -> "tuple[xarray.Dataset, bool]":
    """Return the dataset of a netCDF file in memory, and whether its checksum confirms its bytes.

    Raises:
      InputError: if there is no file, it cannot be read, or its bytes have changed since it was written.
    """
    if not isinstance(path, (str, os.PathLike)) or not os.fspath(path):
        raise InputError(f"results = {brief(path)}: must be a dataset or the path of a netCDF file")
    file = Path(path)
    if file.is_dir():
        raise InputError(f"{file}: is a folder; give the path of a file, for example {file / 'results.nc'}")
    if not file.exists():
        raise InputError(f"{file}: does not exist")
    return netcdf.read(file)


def kind(data: "xarray.Dataset", name: str) -> str:
    """Return ``"energy"`` for an energy comparison, ``"scores"`` for a sweep or an evaluation.

    Raises:
      InputError: for any other dataset; ``name`` names it in the message.
    """
    if all(part in data and data[part].dims == ("system", "batch") for part in _ENERGY):
        return "energy"
    if any(set(results.POOLED) & set(data[metric].dims) for metric in results.metrics(data)):
        return "scores"
    variables = ", ".join(map(str, data.data_vars)) or "nothing"
    raise InputError(
        f"{name}: is not a result of analogsim.sweep, analogsim.evaluate or analogsim.energy: it holds "
        f"{shorter(variables, 120)}, and no numbers over 'chip'"
    )
