"""Numbers of a hardware description by dotted name: list, select and shift them.

A number is a field that is a pytree leaf and holds one value (``adc.noise``), or one entry of a tuple of fit
coefficients (``store.cell.drift_mean[0]``). Structure (sizes, schemes, slices) is not: it selects another program.
"""

import dataclasses
import fnmatch
import functools
import numbers
from typing import Any, NamedTuple

import jax
import numpy as np

from analogsim.base import field_rules
from analogsim.base.description import Description
from analogsim.base.errors import InputError, nearest
from analogsim.base.field_rules import Rule, rule_of
from analogsim.hardware.hardware import Hardware

#: Fields of ``Hardware`` that do not affect the output of a programmed chip.
_NOT_ON_CHIP = ("energy_table", "training", "training_noise_scale", "input_range", "output_range")

#: Names of calibrated ranges, which are selected like numbers of the hardware.
RANGES = {"input": "ranges.input", "output": "ranges.output", "weight": "ranges.weight"}

#: Range in the converter's description, used if the model is not calibrated.
ADC_RANGE = "adc.range"


class HardwareNumber(NamedTuple):
    """A number: its value, None if the effect is absent, and the rule of its field (unit, bounds)."""

    value: Any
    rule: Rule

    @property
    def is_integer(self) -> bool:
        """Whether the field takes integers only."""
        return isinstance(self.rule, field_rules.Number) and self.rule.integer

    def allows(self, value: float) -> bool:
        """Return whether the field takes this value."""
        return not isinstance(self.rule, field_rules.Number) or bool(self.rule.admits(np.float64(value)))


class SelectedNumbers(NamedTuple):
    """The numbers that a user selected.

    Attributes:
      layers: ``{path: {name: HardwareNumber}}``; numbers that are None are left out.
      ranges: names of calibrated ranges.
      absent: selected names that are None in every layer.
    """

    layers: dict[str, dict[str, HardwareNumber]]
    ranges: list[str]
    absent: list[str]

    @property
    def names(self) -> list[str]:
        """Names of all numbers and ranges, in the order of the layers."""
        return [*dict.fromkeys(name for numbers in self.layers.values() for name in numbers), *self.ranges]


def numbers_of(item: Description, above: str = "") -> dict[str, HardwareNumber]:
    """Return the numbers of a description by dotted name, ``above`` as its prefix; those of a tuple have an index.

    Example:
      >>> from analogsim.devices import ReRAM
      >>> sorted(numbers_of(ReRAM()))[:4]
      ['g_max', 'g_min', 'programming_noise', 'sigma_1day[0]']
    """
    by_name: dict[str, HardwareNumber] = {}
    for f in dataclasses.fields(item):  # type: ignore[arg-type]
        value, name = getattr(item, f.name), f"{above}{f.name}"
        if isinstance(value, Description):
            by_name |= numbers_of(value, f"{name}.")
        elif rule_of(f).is_static:
            continue
        elif isinstance(value, tuple):
            by_name |= {f"{name}[{i}]": HardwareNumber(v, rule_of(f)) for i, v in enumerate(value) if _is_number(v)}
        elif value is None or _is_number(value):
            by_name[name] = HardwareNumber(value, rule_of(f))
    return by_name


def shifted(hardware: Hardware, shifts: dict[str, Any]) -> Hardware:
    """Return the hardware with ``shifts[name]`` added to the number of this dotted name; shifts may be traced.

    Example:
      >>> from analogsim import preset
      >>> shifted(preset("pcm"), {"adc.noise": 0.01, "store.cell.drift_mean[1]": 0.0055}).store.cell.drift_mean
      (0.0244, -0.01)
    """
    changes: dict[str, Any] = {}
    for name, amount in shifts.items():
        base, _, index = name.partition("[")
        # Several coefficients of one tuple may be shifted: each change starts from the tuple changed so far.
        value: Any = changes.get(base, functools.reduce(getattr, base.split("."), hardware))
        if index:
            i = int(index[:-1])
            changes[base] = (*value[:i], value[i] + amount, *value[i + 1 :])
        else:
            changes[base] = value + amount
    return hardware.replace(**changes)


def choose(hardware: dict[str, Hardware], parameters: Any, ranges: list[str]) -> SelectedNumbers:
    """Select numbers of the hardware by name.

    Args:
      hardware: hardware of every layer, by path.
      parameters: names or patterns; ``"all"``; None for all except single coefficients of fits.
      ranges: names of the calibrated ranges that the model has.

    Raises:
      InputError: for a name that no layer has, or if all selected numbers are None.
    """
    every = {path: _of_layer(h) for path, h in hardware.items()}
    names = dict.fromkeys(name for layer_numbers in every.values() for name in layer_numbers) | dict.fromkeys(ranges)
    values = {name: [f[name].value for f in every.values() if name in f] for name in names}
    absent = {name for name in names if name not in ranges and all(v is None for v in values[name])}
    selected = _selected(parameters, list(names), absent, "ranges.output" in ranges)
    layers = {
        path: {name: n for name, n in layer_numbers.items() if name in selected and n.value is not None}
        for path, layer_numbers in every.items()
    }
    named = [] if parameters is None or parameters == "all" else sorted(selected & absent)
    return SelectedNumbers(layers, [name for name in ranges if name in selected], named)


def _of_layer(hardware: Hardware) -> dict[str, HardwareNumber]:
    return {name: n for name, n in numbers_of(hardware).items() if name.split(".")[0] not in _NOT_ON_CHIP}


def _selected(parameters: Any, names: list[str], absent: set[str], calibrated: bool) -> set[str]:
    idle = {ADC_RANGE} if calibrated else set()  # replaced by the calibrated range
    if parameters is None:
        return {name for name in names if "[" not in name} - absent - idle
    if isinstance(parameters, str) and parameters == "all":
        return set(names) - absent - idle
    if isinstance(parameters, str) or not all(isinstance(p, str) for p in parameters):
        raise InputError(
            f"parameters = {parameters!r}: must be names or patterns, for example ('adc.noise',), or 'all'"
        )
    selected: set[str] = set()
    for pattern in parameters:
        # A bracket is the index of a coefficient here, but begins a set of characters in fnmatch.
        matching = {name for name in names if fnmatch.fnmatchcase(name.replace("[", "("), pattern.replace("[", "("))}
        if not matching:
            raise InputError(
                f"parameters: {pattern!r} is not a number of the hardware; {nearest(pattern, sorted(names))}"
            )
        if matching == idle:
            raise InputError(
                f"parameters: {pattern!r}: is replaced by calibrated ranges in this model; select 'ranges.output'"
            )
        selected |= matching - idle
    if not selected or selected <= absent:
        raise InputError(
            f"parameters: {', '.join(map(repr, sorted(selected)))} is None in every layer, so that the effect is "
            f"absent; give it a value"
        )
    return selected


def _is_number(value: Any) -> bool:
    if isinstance(value, jax.Array):
        return value.ndim == 0
    return isinstance(value, numbers.Real) and not isinstance(value, bool)
