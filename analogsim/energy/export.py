"""A comparison as plain numbers and texts."""

import dataclasses
from typing import TYPE_CHECKING, Any

from analogsim.energy.bill import Bill, Line

if TYPE_CHECKING:
    from analogsim.energy.comparison import Comparison


def as_dict(comparison: "Comparison") -> dict[str, Any]:
    """Systems, lines, arrays and what is left out; every quantity in SI units, its unit in the name."""
    work, arrays = comparison.work, comparison.arrays
    return {
        "work": {
            "macs": comparison.macs,
            "analog_macs": work.analog_macs,
            "other_results": work.operations.results / work.operations.examples,
            "values": "from data" if work.has_values else "assumed",
        },
        "systems": [_system(bill, comparison.macs) for bill in comparison.bills],
        "unfit": [dataclasses.asdict(each) for each in comparison.unfit],
        "ratios": [dataclasses.asdict(ratio) for ratio in comparison.ratios],
        "lines": [_line(bill, line) for bill in comparison.bills for line in bill.lines],
        "arrays": None
        if arrays is None
        else {
            "tiles": arrays.tiles,
            "cells": arrays.cells,
            "used_share": arrays.used_share,
            "area_m2": arrays.area_m2,
            "write_energy_j": arrays.write_energy_j,
            "calibration_energy_j": arrays.calibration_energy_j,
            "parts": [{"part": p.name, "count": p.count, "area_m2": p.count * p.area_m2} for p in arrays.parts],
        },
    }


def _system(bill: Bill, macs: float) -> dict[str, Any]:
    counted = macs - sum(omission.count for omission in bill.omits if omission.unit == "MAC")
    return {
        "system": bill.system,
        "batch": bill.batch,
        "energy_low_j": bill.energy_low_j,
        "energy_typical_j": bill.energy_typical_j,
        "energy_high_j": bill.energy_high_j,
        "latency_s": bill.latency_s,
        "power_w": bill.power_w,
        "waiting_share": bill.waiting_share,
        "macs_per_s_per_w": counted / bill.energy_typical_j,  # of those that the bill counts
        "note": bill.note,
        "excludes": bill.excludes,
        "omits": [dataclasses.asdict(omission) for omission in bill.omits],
        "per": bill.per,
    }


def _line(bill: Bill, line: Line) -> dict[str, Any]:
    return {
        "system": bill.system,
        "batch": bill.batch,
        "layer": line.layer,
        "component": line.component,
        "action": line.action,
        "count": line.count,
        "unit": line.unit,
        "waits": line.waits,
        "at_end": line.at_end,
        "each_j": line.each_j,
        "energy_low_j": line.energy_low_j,
        "energy_typical_j": line.energy_j,
        "energy_high_j": line.energy_high_j,
        "source": line.source,
    }
