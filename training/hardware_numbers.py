"""The numbers of a hardware description by dotted name: which there are, which are asked for, and how to shift them.

A number is a field that is a pytree leaf and holds one value (``adc.noise``), or one entry of a tuple of a fit's
coefficients (``store.cell.drift_mean[0]``). Structure (sizes, schemes, slices) is none: it selects another program.
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

#: Fields of ``Hardware`` that no programmed chip's output depends on.
_ELSEWHERE = ("energy_table", "training", "training_noise_scale", "input_range", "output_range")

#: Calibrated ranges, named beside the hardware's own numbers.
RANGES = {"input": "ranges.input", "output": "ranges.output", "weight": "ranges.weight"}

#: The converter's own range: in force where nothing is calibrated.
ADC_RANGE = "adc.range"


class HardwareNumber(NamedTuple):
    """One number: its value (None where the effect is absent), and the rule of its field (unit, bounds)."""

    value: Any
    rule: Rule

    @property
    def is_integer(self) -> bool:
        """Whether only integers are allowed."""
        return isinstance(self.rule, field_rules.Number) and self.rule.integer

    def allows(self, value: float) -> bool:
        """Whether the field takes this value."""
        return not isinstance(self.rule, field_rules.Number) or bool(self.rule.admits(np.float64(value)))


class SelectedNumbers(NamedTuple):
    """What is asked for.

    Attributes:
      layers: ``{path: {name: HardwareNumber}}``, without those that are absent; a layer has only its own.
      ranges: names of calibrated ranges.
      absent: names that were asked for and are None in every layer.
    """

    layers: dict[str, dict[str, HardwareNumber]]
    ranges: list[str]
    absent: list[str]

    @property
    def names(self) -> list[str]:
        """Of all numbers, in the order of the layers."""
        return [*dict.fromkeys(name for found in self.layers.values() for name in found), *self.ranges]


def numbers_of(item: Description, above: str = "") -> dict[str, HardwareNumber]:
    """The numbers of a description by dotted name, tuples by index.

    Example:
      >>> from analogsim.devices import ReRAM
      >>> sorted(numbers_of(ReRAM()))[:4]
      ['g_max', 'g_min', 'programming_noise', 'sigma_1day[0]']
    """
    found: dict[str, HardwareNumber] = {}
    for f in dataclasses.fields(item):  # type: ignore[arg-type]
        value, name = getattr(item, f.name), f"{above}{f.name}"
        if isinstance(value, Description):
            found |= numbers_of(value, f"{name}.")
        elif rule_of(f).is_static:
            continue
        elif isinstance(value, tuple):
            found |= {f"{name}[{i}]": HardwareNumber(v, rule_of(f)) for i, v in enumerate(value) if _is_number(v)}
        elif value is None or _is_number(value):
            found[name] = HardwareNumber(value, rule_of(f))
    return found


def shifted(hardware: Any, shifts: dict[str, Any]) -> Any:
    """Hardware whose numbers are changed by these amounts, by dotted name; amounts may be traced.

    Example:
      >>> from analogsim import preset
      >>> shifted(preset("pcm"), {"adc.noise": 0.01, "store.cell.drift_mean[1]": 0.0055}).store.cell.drift_mean
      (0.0244, -0.01)
    """
    changes: dict[str, Any] = {}
    for name, amount in shifts.items():
        base, _, index = name.partition("[")
        value = changes.get(base, functools.reduce(getattr, base.split("."), hardware))
        if index:
            i = int(index[:-1])
            changes[base] = (*value[:i], value[i] + amount, *value[i + 1 :])
        else:
            changes[base] = value + amount
    return hardware.replace(**changes)


def choose(hardware: dict[str, Any], parameters: Any, ranges: list[str]) -> SelectedNumbers:
    """The numbers that are asked for.

    Args:
      hardware: what every layer runs on, by path.
      parameters: names or patterns; ``"all"``; None for all but the single coefficients of fits.
      ranges: names of the calibrated ranges that the model has.
    """
    every = {path: _of_layer(h) for path, h in hardware.items()}
    names = dict.fromkeys(name for layer_numbers in every.values() for name in layer_numbers) | dict.fromkeys(ranges)
    values = {name: [f[name].value for f in every.values() if name in f] for name in names}
    absent = {name for name in names if name not in ranges and all(v is None for v in values[name])}
    selected = _wanted(parameters, list(names), absent, "ranges.output" in ranges)
    layers = {
        path: {name: n for name, n in layer_numbers.items() if name in selected and n.value is not None}
        for path, layer_numbers in every.items()
    }
    named = [] if parameters is None or parameters == "all" else sorted(selected & absent)
    return SelectedNumbers(layers, [name for name in ranges if name in selected], named)


def _of_layer(hardware: Any) -> dict[str, HardwareNumber]:
    return {name: n for name, n in numbers_of(hardware).items() if name.split(".")[0] not in _ELSEWHERE}


def _wanted(parameters: Any, names: list[str], absent: set[str], calibrated: bool) -> set[str]:
    idle = {ADC_RANGE} if calibrated else set()  # a calibrated range stands in its place
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
        # Brackets are those of a coefficient here, not a set of characters.
        matching = {name for name in names if fnmatch.fnmatchcase(name.replace("[", "("), pattern.replace("[", "("))}
        if not matching:
            raise InputError(f"parameters: {pattern!r} is no number of the hardware; {nearest(pattern, sorted(names))}")
        if matching == idle:
            raise InputError(
                f"parameters: {pattern!r}: calibrated ranges stand in its place in this model; ask for 'ranges.output'"
            )
        selected |= matching - idle
    if not selected or selected <= absent:
        raise InputError(
            f"parameters: {', '.join(map(repr, sorted(selected)))} is None in every layer, the effect is absent; "
            f"give it a value"
        )
    return selected


def _is_number(value: Any) -> bool:
    if isinstance(value, jax.Array):
        return value.ndim == 0
    return isinstance(value, numbers.Real) and not isinstance(value, bool)
