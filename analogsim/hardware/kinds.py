"""The classes that a hardware file can name: every description that the package exports for use in ``Hardware``.

``KINDS`` is a plain dictionary, built once from the exports of ``devices``, ``converters`` and this package. A file
selects a class by its name in the dictionary; no name in a file is ever imported.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from analogsim import converters, devices
from analogsim.base.description import Description
from analogsim.base.errors import InputError, brief
from analogsim.base.field_rules import Nested, Rule
from analogsim.converters import range_rules
from analogsim.devices.crossbar.hermes import Branches
from analogsim.hardware import energy_table, fresh_chip, weight_modifiers


def _exported(*modules: Any) -> dict[str, type[Description]]:
    return {
        name: thing
        for module in modules
        for name, thing in sorted(vars(module).items())
        if isinstance(thing, type) and issubclass(thing, Description) and thing is not Description
    }


#: All known classes, by name.
KINDS: dict[str, type[Description]] = {
    **_exported(devices, converters, range_rules, fresh_chip, energy_table, weight_modifiers),
    "Branches": Branches,  # part of HermesPCM
}


def with_kinds(kinds: Mapping[str, type[Description]] | None) -> dict[str, type[Description]]:
    """Return the known classes together with a user's classes.

    Raises:
      InputError: if a class is not a ``Description``, its name is taken, or it has a field named ``kind``.
    """
    if kinds is not None and not isinstance(kinds, Mapping):
        raise InputError(f"kinds = {brief(kinds)}: must be a dictionary of classes by name, {{'MyCell': MyCell}}")
    for name, kind in (kinds or {}).items():
        if not (isinstance(kind, type) and issubclass(kind, Description)):
            raise InputError(
                f"kinds[{name!r}] = {brief(kind)}: must be a class made from analogsim.devices.Description"
            )
        if KINDS.get(name, kind) is not kind:
            raise InputError(f"kinds[{name!r}]: is the name of a class of analogsim; give yours another one")
        if any(f.name == "kind" for f in dataclasses.fields(kind)):  # type: ignore[arg-type]
            raise InputError(f"kinds[{name!r}]: has a field 'kind', the word by which a file names the class")
    return KINDS | dict(kinds or {})


def fitting(rule: Rule, kinds: Mapping[str, type[Description]]) -> list[str]:
    """Return the sorted names of the classes that a field with this rule accepts; all names if it accepts any value.

    Example:
      >>> fitting(Nested(kind=range_rules.RangeRule), KINDS)
      ['DynamicRange', 'LearnedRange', 'TrackedRange']
    """
    if not isinstance(rule, Nested):
        return sorted(kinds)
    if rule.kinds:
        return sorted(name for name, kind in kinds.items() if issubclass(kind, rule.kinds))
    return sorted(name for name, kind in kinds.items() if all(_has(kind, method) for method in rule.methods))


def _has(kind: type[Description], name: str) -> bool:
    return hasattr(kind, name) or any(f.name == name for f in dataclasses.fields(kind))  # type: ignore[arg-type]
