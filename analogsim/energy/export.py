"""A comparison as plain numbers and strings, and as arrays over systems and batch sizes."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from analogsim.energy import coverage
from analogsim.energy.breakdown import EnergyBreakdown, EnergyItem, UnsupportedSystem
from analogsim.energy.chip.arrays import AnalogArrays
from analogsim.energy.ratios import ratios
from analogsim.energy.work.layer_work import Workload

if TYPE_CHECKING:
    import xarray

_OF_ARRAYS = ("tiles", "cells", "utilisation", "area_m2", "write_energy_j", "calibration_energy_j")
_OF_SYSTEM = (
    "system", "batch", "energy_low_j", "energy_typical_j", "energy_high_j", "latency_s", "power_w", "idle_fraction",
    "note", "excludes", "per",
)  # fmt: skip
_OF_ITEM = (
    "layer",
    "component",
    "action",
    "count",
    "unit",
    "waits",
    "at_end",
    "unit_energy_j",
    "energy_low_j",
    "energy_typical_j",
    "energy_high_j",
    "source",
)


def as_dict(
    breakdowns: Sequence[EnergyBreakdown],
    arrays: AnalogArrays | None,
    work: Workload,
    unsupported: Sequence[UnsupportedSystem],
) -> dict[str, Any]:
    """Return systems, energy items, arrays and omissions as a dictionary; quantities in SI units, unit in the name."""
    return {
        "work": {
            "macs": work.macs,
            "analog_macs": work.analog_macs,
            "other_results": work.operations.results / work.operations.examples,
            "values": "from data" if work.has_values else "assumed",
        },
        "systems": [_system(breakdown, work.macs) for breakdown in breakdowns],
        "unsupported": [dataclasses.asdict(unfit_system) for unfit_system in unsupported],
        "ratios": [dataclasses.asdict(ratio) for ratio in ratios(breakdowns)],
        "items": [_item(breakdown, item) for breakdown in breakdowns for item in breakdown.items],
        "arrays": None if arrays is None else _arrays(arrays),
    }


def _values(item: Any, names: Iterable[str]) -> dict[str, Any]:
    return {name: getattr(item, name) for name in names}


def _system(breakdown: EnergyBreakdown, macs: float) -> dict[str, Any]:
    counted = macs - sum(omission.count for omission in breakdown.omits if omission.unit == "MAC")
    return _values(breakdown, _OF_SYSTEM) | {
        "macs_per_s_per_w": counted / breakdown.energy_typical_j,  # only those that the breakdown counts
        "omits": [dataclasses.asdict(omission) for omission in breakdown.omits],
    }


def _item(breakdown: EnergyBreakdown, item: EnergyItem) -> dict[str, Any]:
    of_item = {name: getattr(item, "energy_j" if name == "energy_typical_j" else name) for name in _OF_ITEM}
    return _values(breakdown, ("system", "batch")) | of_item


def _arrays(arrays: AnalogArrays) -> dict[str, Any]:
    parts = [{"part": p.name, "count": p.count, "area_m2": p.count * p.area_m2} for p in arrays.parts]
    return _values(arrays, _OF_ARRAYS) | {"parts": parts}


def as_dataset(
    breakdowns: Sequence[EnergyBreakdown], work: Workload, unsupported: Sequence[UnsupportedSystem]
) -> "xarray.Dataset":
    """Return arrays over (system, batch): low, typical and high joules; seconds. NaN if not known or no fit."""
    import xarray

    breakdown_of = {(breakdown.system, breakdown.batch): breakdown for breakdown in breakdowns}
    systems = list(
        dict.fromkeys([breakdown.system for breakdown in breakdowns] + [entry.system for entry in unsupported])
    )
    batches = list(dict.fromkeys(breakdown.batch for breakdown in breakdowns))

    def array(value: Callable[[EnergyBreakdown], float], long_name: str, units: str) -> tuple:
        values = [[value(breakdown_of[s, b]) if (s, b) in breakdown_of else math.nan for b in batches] for s in systems]
        return ("system", "batch"), np.array(values, np.float64), {"long_name": long_name, "units": units}

    return xarray.Dataset(
        {
            "energy_low_j": array(lambda b: b.energy_low_j, "energy per inference, low", "J"),
            "energy_typical_j": array(lambda b: b.energy_typical_j, "energy per inference, typical", "J"),
            "energy_high_j": array(lambda b: b.energy_high_j, "energy per inference, high", "J"),
            "idle_fraction": array(lambda b: b.idle_fraction, "fraction of the typical energy spent waiting", "1"),
            "latency_s": array(
                lambda b: math.nan if b.latency_s is None else b.latency_s, "from batch to last result", "s"
            ),
        },
        coords={
            "system": systems,
            "batch": ("batch", batches, {"long_name": "examples computed together", "units": "1"}),
        },
        attrs={
            "macs": work.macs,
            "includes": coverage.includes(breakdowns),
            "excludes": coverage.excludes(breakdowns, work),
        },
    )
