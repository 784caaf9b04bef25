"""Tables of a measured standard deviation: CSV files, rows arranged as a grid, errors that name line and column."""

import csv
import os
from typing import Any

import numpy as np

from analogsim.base.errors import InputError
from analogsim.base.field_rules import Number

#: Columns of a table, with unit and allowed range.
COLUMNS = {
    "conductance_s": Number(unit="S", ge=0, le=1),
    "sigma_s": Number(unit="S", ge=0, le=1),
    "time_s": Number(unit="s", gt=0, le=1e12),
}


def read_csv(path: str | os.PathLike) -> list[tuple[str, tuple]]:
    """Return the rows of a CSV file, each with a label of its line for error messages.

    Args:
      path: a file with a header of the names in ``COLUMNS``, in any order.

    Raises:
      InputError: if the file cannot be read, or for a wrong header or number of columns.
    """
    try:
        # utf-8-sig, because spreadsheets may begin a file with a byte-order mark.
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            lines = [(f"{path}, line {reader.line_num}", row) for row in reader if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as CSV ({error})") from None
    names = [name.strip() for name in lines[0][1]] if lines else []
    if sorted(names) != sorted(COLUMNS):
        raise InputError(f"{path}, line 1: the header must be {','.join(COLUMNS)}, not {','.join(names) or 'empty'}")
    for where, row in lines[1:]:
        if len(row) != len(names):
            raise InputError(f"{where}: has {len(row)} columns, must have {len(names)} ({','.join(names)})")
    order = [names.index(name) for name in COLUMNS]
    return [(where, tuple(row[i] for i in order)) for where, row in lines[1:]]


def grid(rows: list[tuple[str, tuple]], table: str) -> dict[str, Any]:
    """Arrange rows as axes and a matrix.

    Args:
      rows: labels and (conductance, sigma, time) of each row, in any order.
      table: name of the table for error messages.

    Returns:
      The fields of ``MeasuredCell``: ``conductance`` ``[n_g]`` (S), ``time_s`` ``[n_t]``, ``sigma`` ``[n_t, n_g]`` (S).

    Raises:
      InputError: for bad values, repeated rows and missing pairs of conductance and time.
    """
    sigmas: dict[tuple[float, float], float] = {}
    for where, row in rows:
        if len(row) != len(COLUMNS):
            raise InputError(f"{where}: has {len(row)} values, must have {len(COLUMNS)} ({', '.join(COLUMNS)})")
        values = zip(row, COLUMNS.items(), strict=True)
        checked = (float(rule.check(v, f"{where}, column {name}")) for v, (name, rule) in values)
        # Rounded to nine digits, so that 25 * 1e-6 and 2.5e-5, which differ in the last bit, are one grid point.
        g, sigma, t = (float(f"{v:.9g}") for v in checked)
        if (t, g) in sigmas:
            raise InputError(f"{where}: repeats conductance {g:g} S at time {t:g} s")
        sigmas[t, g] = sigma
    times, conductances = (sorted({place[i] for place in sigmas}) for i in (0, 1))
    if len(conductances) < 2:
        raise InputError(f"{table}: has {len(conductances)} conductances, must have 2 or more")
    for t in times:
        for g in conductances:
            if (t, g) not in sigmas:
                raise InputError(f"{table}: has no row for conductance {g:g} S at time {t:g} s; give every pair")
    matrix = np.array([[sigmas[t, g] for g in conductances] for t in times])
    return dict(conductance=np.array(conductances), time_s=np.array(times), sigma=matrix)
