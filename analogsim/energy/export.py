"""A comparison as plain numbers and strings, and as arrays over systems and batch sizes."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from analogsim.energy import coverage
from analogsim.energy.bill import Bill, Line, Unfit
from analogsim.energy.chip.arrays import Arrays
from analogsim.energy.ratios import ratios
from analogsim.energy.work.layer_work import Workload

if TYPE_CHECKING:
    import xarray

_OF_ARRAYS = ("tiles", "cells", "used_share", "area_m2", "write_energy_j", "calibration_energy_j")
_OF_SYSTEM = (
    "system", "batch", "energy_low_j", "energy_typical_j", "energy_high_j", "latency_s", "power_w", "waiting_share",
    "note", "excludes", "per",
)  # fmt: skip
_OF_LINE = (
    "layer", "component", "action", "count", "unit", "waits", "at_end", "each_j", "energy_low_j", "energy_typical_j",
    "energy_high_j", "source",
)  # fmt: skip


def as_dict(bills: Sequence[Bill], arrays: Arrays | None, work: Workload, unfit: Sequence[Unfit]) -> dict[str, Any]:
    """Systems, lines, arrays and what is left out; every quantity in SI units, its unit in the name."""
    return {
        "work": {
            "macs": work.macs,
            "analog_macs": work.analog_macs,
            "other_results": work.operations.results / work.operations.examples,
            "values": "from data" if work.has_values else "assumed",
        },
        "systems": [_system(bill, work.macs) for bill in bills],
        "unfit": [dataclasses.asdict(unfit_system) for unfit_system in unfit],
        "ratios": [dataclasses.asdict(ratio) for ratio in ratios(bills)],
        "lines": [_line(bill, line) for bill in bills for line in bill.lines],
        "arrays": None if arrays is None else _arrays(arrays),
    }


def _values(item: Any, names: Iterable[str]) -> dict[str, Any]:
    return {name: getattr(item, name) for name in names}


def _system(bill: Bill, macs: float) -> dict[str, Any]:
    counted = macs - sum(omission.count for omission in bill.omits if omission.unit == "MAC")
    return _values(bill, _OF_SYSTEM) | {
        "macs_per_s_per_w": counted / bill.energy_typical_j,  # of those that the bill counts
        "omits": [dataclasses.asdict(omission) for omission in bill.omits],
    }


def _line(bill: Bill, line: Line) -> dict[str, Any]:
    of_line = {name: getattr(line, "energy_j" if name == "energy_typical_j" else name) for name in _OF_LINE}
    return _values(bill, ("system", "batch")) | of_line


def _arrays(arrays: Arrays) -> dict[str, Any]:
    parts = [{"part": p.name, "count": p.count, "area_m2": p.count * p.area_m2} for p in arrays.parts]
    return _values(arrays, _OF_ARRAYS) | {"parts": parts}


def as_dataset(bills: Sequence[Bill], work: Workload, unfit: Sequence[Unfit]) -> "xarray.Dataset":
    """Arrays over (system, batch): joules low, typical and high; seconds. NaN: not known, or the model does not fit."""
    import xarray

    bill_of = {(bill.system, bill.batch): bill for bill in bills}
    systems = list(dict.fromkeys([bill.system for bill in bills] + [entry.system for entry in unfit]))
    batches = list(dict.fromkeys(bill.batch for bill in bills))

    def array(value: Callable[[Bill], float], long_name: str, units: str) -> tuple:
        values = [[value(bill_of[s, b]) if (s, b) in bill_of else math.nan for b in batches] for s in systems]
        return ("system", "batch"), np.array(values, np.float64), {"long_name": long_name, "units": units}

    return xarray.Dataset(
        {
            "energy_low_j": array(lambda b: b.energy_low_j, "energy of an inference, low", "J"),
            "energy_typical_j": array(lambda b: b.energy_typical_j, "energy of an inference, typical", "J"),
            "energy_high_j": array(lambda b: b.energy_high_j, "energy of an inference, high", "J"),
            "waiting_share": array(lambda b: b.waiting_share, "share of the typical energy that waits", "1"),
            "latency_s": array(
                lambda b: math.nan if b.latency_s is None else b.latency_s, "from batch to last result", "s"
            ),
        },
        coords={
            "system": systems,
            "batch": ("batch", batches, {"long_name": "examples computed together", "units": "1"}),
        },
        attrs={"macs": work.macs, "includes": coverage.includes(bills), "excludes": coverage.excludes(bills, work)},
    )
