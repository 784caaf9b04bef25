"""Tables of a measured spread: a CSV file read line by line, rows arranged as a grid, bad values named by place."""

import csv
import os
from typing import Any

import numpy as np

from analogsim.base.errors import InputError
from analogsim.base.field_rules import Number

#: Columns of a table: unit and allowed range.
COLUMNS = {
    "conductance_s": Number(unit="S", ge=0, le=1),
    "sigma_s": Number(unit="S", ge=0, le=1),
    "time_s": Number(unit="s", gt=0, le=1e12),
}


def read_csv(path: str | os.PathLike) -> list[tuple[str, tuple]]:
    """The rows of a CSV file, each with the words that name its line."""
    try:
        # A spreadsheet may begin its file with a byte-order mark.
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
    """Rows as axes and a matrix; refuses bad values, repetitions and gaps."""
    found: dict[tuple[float, float], float] = {}
    for where, row in rows:
        if len(row) != len(COLUMNS):
            raise InputError(f"{where}: has {len(row)} values, must have {len(COLUMNS)} ({', '.join(COLUMNS)})")
        values = zip(row, COLUMNS.items(), strict=True)
        checked = (float(rule.check(v, f"{where}, column {name}")) for v, (name, rule) in values)
        # To nine digits, so that 25 * 1e-6 and 2.5e-5, which differ in the last bit, are one place of the grid.
        g, sigma, t = (float(f"{v:.9g}") for v in checked)
        if (t, g) in found:
            raise InputError(f"{where}: repeats conductance {g:g} S at time {t:g} s")
        found[t, g] = sigma
    times, conductances = (sorted({place[i] for place in found}) for i in (0, 1))
    if len(conductances) < 2:
        raise InputError(f"{table}: has {len(conductances)} conductances, must have 2 or more")
    for t in times:
        for g in conductances:
            if (t, g) not in found:
                raise InputError(f"{table}: has no row for conductance {g:g} S at time {t:g} s; give every pair")
    matrix = np.array([[found[t, g] for g in conductances] for t in times])
    return dict(conductance=np.array(conductances), time_s=np.array(times), sigma=matrix)
