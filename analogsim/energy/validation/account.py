"""Evaluation of ``data/checks.toml``: published figures, and computed values from the models that its rows name."""

import functools
import importlib.resources
import math
import operator
import tomllib
from typing import Any

from analogsim.energy.machines import neuromorphic
from analogsim.energy.machines.number_formats import mac_j
from analogsim.energy.training_runs import training_runs
from analogsim.energy.validation import analog_machines, digital_machines, laws
from analogsim.energy.validation.checks import Check, point, points

#: Models that a row may name.
MODELS = {
    model.__name__: model
    for model in (
        laws.over_supply, laws.over_output, laws.on_a_line, laws.per_device, laws.word_lines_fj, laws.sum_of_fractions,
        analog_machines.isaac_figure, analog_machines.product_nj, analog_machines.hermes_measured_nj,
        analog_machines.conversion_j, analog_machines.embedded_adc_pj,
        digital_machines.eyeriss_mean_power_mw, digital_machines.eyeriss_frames_per_s,
        digital_machines.eyeriss_buffer_mb, digital_machines.eyeriss_power_mw, digital_machines.eyeriss_frame_mj,
        digital_machines.eyeriss_dram_words_per_mac, digital_machines.roofline_tops, mac_j,
        digital_machines.spike_fj, digital_machines.vesicle_fj, digital_machines.spiking_j,
        digital_machines.truenorth_w, digital_machines.truenorth_event_j, digital_machines.training_mwh,
    )
}  # fmt: skip
_REFERENCES = ("machine", "point", "figure", "run", "rows")  # keys of a row that are not fields of Check


@functools.cache
def validation() -> tuple[Check, ...]:
    """Return all checks, one per row of ``data/checks.toml``; computed once and cached.

    Example:
      >>> next(check for check in validation() if check.system == "ISAAC").holds
      True
    """
    file = importlib.resources.files("analogsim.energy.validation") / "data" / "checks.toml"
    data = tomllib.loads(file.read_text(encoding="utf-8"))
    return tuple(_check(group | row, data) for group in data["group"] for row in group["rows"])


def _check(row: dict[str, Any], data: dict[str, Any]) -> Check:
    machine = row.get("machine", "")
    fields = {"system": machine, "calibrated_on": "", "tolerance": data["tolerance"].get(row["kind"])}
    fields |= _published(row, machine)
    fields |= {name: value for name, value in row.items() if name not in _REFERENCES}
    for name in ("ours", "theirs"):
        fields[name] = quantity(fields[name], machine)
    fields["rests_on"] = tuple(data["constants"][row["rests_on"]]) if "rests_on" in row else ()
    return Check(**fields)


def _published(row: dict[str, Any], machine: str) -> dict[str, Any]:
    """Return the fields of a check from the point, figure or run that its row refers to; empty without a reference."""
    if "point" in row:
        entry = points()[_key(row["point"], machine)]
        return {
            "system": entry["system"],
            "quantity": f"{entry['quantity'].replace('_', ' ')}, {entry['condition']}",
            "theirs": float(entry["value"]),
            "unit": entry["unit"],
            "how_known": entry["how_known"],
            "source": entry["source"],
            "scope": entry["scope"],
        }
    if "figure" in row:
        chip, name, index = row["figure"]
        figure = [f for f in neuromorphic.published() if (f.chip, f.quantity) == (chip, name)][index]
        how_known = "recalled" if "recalled" in figure.source else "read second-hand"
        return {
            "quantity": f"{chip}, {name}",
            "theirs": figure.value,
            "unit": figure.unit,
            "how_known": how_known,
            "source": figure.source,
            "scope": figure.kind,
        }
    if "run" in row:
        run = training_runs()[row["run"]]
        how_known = "recalled" if run.is_recalled else "read"
        return {
            "quantity": run.name,
            "theirs": run.reported_mwh,
            "unit": "MWh",
            "how_known": how_known,
            "source": run.source,
            "scope": "all-in",
        }
    return {}


def _key(reference: str, machine: str) -> tuple[str, str, str]:
    condition, name = reference.rsplit(" | ", 1)
    system, _, condition = condition.rpartition(" | ")
    return system or machine, condition, name


def quantity(term: Any, machine: str) -> float:
    """Return the value of a quantity in ``data/checks.toml``.

    Args:
      term: a number, a point, a list, or a table with ``times`` and ``over``, or with ``model`` and its arguments.
      machine: system of the points that do not name one.

    Example:
      >>> quantity({"times": [3, [1, 2]], "over": [{"times": [2, 2.0]}]}, "ISAAC")
      2.25
    """
    if isinstance(term, str):
        return point(*_key(term, machine))
    if isinstance(term, list):
        return sum(quantity(part, machine) for part in term)
    if not isinstance(term, dict):
        return term
    if "model" in term:
        arguments = {name: _argument(value, machine) for name, value in term.items() if name != "model"}
        return MODELS[term["model"]](**arguments)
    product = math.prod(quantity(factor, machine) for factor in term["times"])
    return functools.reduce(operator.truediv, (quantity(d, machine) for d in term.get("over", ())), product)


def _argument(value: Any, machine: str) -> Any:
    """Return an argument of a model: the value of a point, everything else unchanged."""
    if isinstance(value, list):
        return [_argument(item, machine) for item in value]
    return quantity(value, machine) if isinstance(value, str) and " | " in value else value
