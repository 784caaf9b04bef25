"""Axes of a sweep: over numbers, over structure and over time.

    leaf        a hardware field that is a pytree leaf and takes one number per point ("adc.bits",
                "store.cell.read_noise"): all its points run in one compiled program
    structure   everything that changes the program: a size ("rows"), a scheme ("drift_compensation"), a part that
                is None or of another class ({"pcm": PCM(), "fefet": FeFET()}), or the whole hardware
                ("hardware"): compiled once per point
    time        ages of the same chips

Before anything is computed, each value is checked by the rule of its field, and ``check_points`` builds the hardware of
the grid's points: values out of range, or that do not go together, are refused at once.
"""

import dataclasses
import itertools
import math
import numbers
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from analogsim.base.description import Description
from analogsim.base.errors import InputError, brief, nearest
from analogsim.base.field_rules import Nested, Rule, rule_of
from analogsim.base.units import seconds, show, show_time
from analogsim.hardware.hardware import Hardware
from analogsim.hardware.presets import preset

#: Axis names that are not hardware fields.
TIME, HARDWARE, CHIP = "time", "hardware", "chip"

_LATEST_S = 1e12  # the limit for reading chips


@dataclasses.dataclass(frozen=True)
class Axis:
    """One dimension of a sweep.

    Attributes:
      name: as given by the user; fields that change together are joined by ", ".
      kind: ``"leaf"``, ``"structure"`` or ``"time"``.
      labels: the coordinate, numbers or strings.
      changes: the fields set at every point, ``({"adc.bits": 6}, ...)``; empty for "time".
      unit, about: unit and description of the coordinate.
      texts: for "time", the ages as strings.
    """

    name: str
    kind: str
    labels: tuple
    changes: tuple[dict[str, Any], ...]
    unit: str = ""
    about: str = ""
    texts: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)


def axes_of(over: Any, targets: Sequence[Hardware], structural: Sequence[str] = ()) -> tuple[Axis, ...]:
    """Return the checked axes, in the order of ``over``.

    Args:
      over: ``{name: values}``. A name is a dotted hardware field, "time", or "hardware"; a tuple of names changes
        several fields together, with tuples as values. Values are a sequence, or a mapping from labels to values.
      targets: all hardware that the sweep changes; a field must exist in at least one of them.
      structural: names of number fields whose points are compiled separately.

    Raises:
      InputError: for an unknown field, a value out of range, a duplicate value, or no value.
    """
    if isinstance(structural, str) or not isinstance(structural, Sequence):
        raise InputError(f"structural = {brief(structural)}: must be a sequence of swept names")
    if not isinstance(over, Mapping):
        raise InputError(f"over = {brief(over)}: must be a mapping from names to values, {{'adc.bits': [4, 6, 8]}}")
    unknown = [name for name in structural if name not in over]
    if unknown:
        raise InputError(f"structural: '{unknown[0]}' is not swept; {nearest(str(unknown[0]), map(_title, over))}")
    axes = tuple(_axis(name, values, targets, name in structural) for name, values in over.items())
    fields = [name for axis in axes for name in {n for change in axis.changes for n in change}]
    for name in fields:
        clash = [other for other in fields if other != name and f"{other}.".startswith(f"{name}.")]
        if fields.count(name) > 1 or clash:
            raise InputError(f"over: '{clash[0] if clash else name}' is set by two axes")
    return axes


def _title(name: Any) -> str:
    return ", ".join(name) if isinstance(name, tuple) else str(name)


def _axis(name: Any, values: Any, targets: Sequence[Hardware], structural: bool) -> Axis:
    title = _title(name)
    labelled = isinstance(values, Mapping)
    plain = isinstance(values, np.ndarray | jax.Array) and values.ndim == 1
    if isinstance(values, str) or not (labelled or plain or isinstance(values, Sequence)):
        raise InputError(
            f"over: {title} = {brief(values)}: must be a sequence of values, or a mapping from labels to them"
        )
    labels: list[Any] = [str(label) for label in values] if labelled else []
    points = list(values.values()) if labelled else [_plain(v) for v in values]
    if not points:
        raise InputError(f"over: {title}: has no value")
    if title == CHIP:
        raise InputError("over: 'chip' is always an axis; set the number of chips with chips=...")
    if title == TIME:
        return _times(points, labels)
    if title == HARDWARE:
        return _whole_hardware(points, labels)
    names = name if isinstance(name, tuple) else (name,)
    if not all(isinstance(n, str) and n for n in names):
        raise InputError(f"over: {brief(name)}: must be the dotted name of a field, or a tuple of such names")
    changes = [dict(zip(names, _together(title, names, point), strict=True)) for point in points]
    rules = {n: rule_at(n, targets) for n in names}
    checked = [_checked(change, targets, title) for change in changes]
    leaf = not structural and all(_is_leaf(rules[n], change[n]) for change in checked for n in names)
    if not labels:
        labels = [_label(names, change, rules) for change in checked]
    _check_distinct(title, labels)
    if leaf:
        for n in names:
            _check_precision(title, [change[n] for change in checked], alone=len(names) == 1)
    unit = rules[names[0]].unit if len(names) == 1 and not isinstance(labels[0], str) else ""
    about = rules[names[0]].doc if len(names) == 1 else "changed together"
    return Axis(title, "leaf" if leaf else "structure", tuple(labels), tuple(checked), unit, about)


def _plain(value: Any) -> Any:
    """Convert a NumPy or JAX scalar to a Python number."""
    return value.item() if isinstance(value, np.generic | np.ndarray | jax.Array) and np.ndim(value) == 0 else value


def _together(title: str, names: tuple, point: Any) -> tuple:
    if len(names) == 1:
        return (point,)
    if not isinstance(point, Sequence) or isinstance(point, str) or len(point) != len(names):
        raise InputError(f"over: {title} = {brief(point)}: must be a tuple of {len(names)} values, one per name")
    return tuple(point)


def _times(points: list, labels: list) -> Axis:
    times_s: list[float] = []
    for point in points:
        if np.ndim(point) != 0:
            raise InputError(f"over: time = {brief(point)}: must be a number of seconds, or a string such as '1 day'")
        # Adding 0.0 turns -0.0 into 0.0.
        times_s.append(float(seconds(point, "over: time")) + 0.0)  # type: ignore[arg-type]
    if max(times_s) > _LATEST_S:
        raise InputError(f"over: time = {max(times_s):g}: must be at most {_LATEST_S:g} (unit: s after programming)")
    # Programs take times in float32, in which two close ages may be equal.
    _check_distinct(TIME, [float(np.float32(t)) for t in times_s])
    texts = tuple(labels) or tuple(map(show_time, times_s))
    return Axis(TIME, "time", tuple(times_s), ({},) * len(points), "s", "time after programming", texts)


def _whole_hardware(points: list, labels: list) -> Axis:
    hardware = [preset(point) if isinstance(point, str) else point for point in points]
    for point in hardware:
        if not isinstance(point, Hardware):
            raise InputError(f"over: hardware = {brief(point)}: must be a Hardware, or the name of a preset")
    names = labels or [p if isinstance(p, str) else p.name for p in points]
    _check_distinct(HARDWARE, names)
    return Axis(
        HARDWARE, "structure", tuple(names), tuple({HARDWARE: h} for h in hardware), "", "hardware of the analog layers"
    )


def _check_distinct(title: str, labels: Sequence) -> None:
    for label in labels:
        if list(labels).count(label) > 1:
            shown = show_time(label) if title == TIME else repr(label)
            raise InputError(f"over: {title}: {shown} is given more than once")


def rule_at(name: str, targets: Sequence[Hardware]) -> Rule:
    """Return the rule of a dotted field, from the first hardware that has it.

    Raises:
      InputError: if none has it.
    """
    problem: InputError | None = None
    for target in targets:
        try:
            return _rule(target, name)
        except InputError as error:
            problem = problem or error
    if problem is None:
        raise InputError(f"over: '{name}': no analog layer has this field")
    raise InputError(f"over: {problem}")


def _rule(item: Any, name: str) -> Rule:
    head, _, rest = name.partition(".")
    fields = {f.name: f for f in dataclasses.fields(item)}
    if head not in fields:
        raise InputError(f"{type(item).__name__} has no field '{head}'; {nearest(head, fields)}")
    if not rest:
        return rule_of(fields[head])
    inner = getattr(item, head)
    if not isinstance(inner, Description):
        raise InputError(f"{type(item).__name__}.{head} = {inner!r} has no fields (requested: {rest})")
    return _rule(inner, rest)


def has_field(item: Hardware, name: str) -> bool:
    """Return whether the hardware has the field of this dotted name.

    Example:
      >>> has_field(preset("pcm"), "adc.bits"), has_field(preset("int8"), "adc.bits")
      (True, False)
    """
    try:
        _rule(item, name)
    except InputError:
        return False
    return True


def changed(item: Hardware, change: Mapping[str, Any]) -> Hardware:
    """Return the hardware with the changes of a point; changes of fields that it lacks are skipped.

    Args:
      item: the hardware.
      change: values by dotted field, possibly traced; "hardware" replaces ``item``.
    """
    if HARDWARE in change:
        item = change[HARDWARE]
    fields = {name: value for name, value in change.items() if name != HARDWARE and has_field(item, name)}
    return item.replace(**fields) if fields else item


def _checked(change: dict[str, Any], targets: Sequence[Hardware], title: str) -> dict[str, Any]:
    """Return the change with each value checked and converted by its field's rule: ``"20 uS"`` becomes 2e-5."""
    checked = dict(change)
    for name, value in change.items():
        owner = next(target for target in targets if has_field(target, name))
        for part in name.split(".")[:-1]:
            owner = getattr(owner, part)
        try:
            where = f"{type(owner).__name__}.{name.rpartition('.')[2]}"
            checked[name] = rule_at(name, targets).check(value, where)
        except InputError as error:
            raise InputError(f"over: {title}: {error}") from None
    return checked


#: A grid of at most this many points is built and checked completely.
_TRIED = 4000


def check_points(axes: Sequence[Axis], targets: Sequence[Hardware]) -> None:
    """Build the hardware of the grid's points, to refuse missing fields and values that do not go together.

    In a grid of more than 4,000 points, only all pairs of values of any two axes are built.

    Raises:
      InputError: for the first point that is refused.
    """
    fields = [axis for axis in axes if axis.name != TIME]
    if math.prod(map(len, fields)) <= _TRIED:
        points: Iterable[tuple] = itertools.product(*(axis.changes for axis in fields))
    else:
        firsts = tuple(axis.changes[0] for axis in fields)
        points = itertools.chain.from_iterable(
            ((*firsts[:i], one, *firsts[i + 1 : j], other, *firsts[j + 1 :])
             for one in fields[i].changes for other in fields[j].changes)
            for i, j in itertools.combinations(range(len(fields)), 2)
        )  # fmt: skip
    for point in points:
        change = {name: value for part in point for name, value in part.items()}
        for target in targets:
            _try(change, target)


def _try(change: dict[str, Any], target: Hardware) -> None:
    whole = change.get(HARDWARE, target)
    absent = [name for name in change if name != HARDWARE and not has_field(whole, name)]
    if HARDWARE in change and absent:
        raise InputError(f"over: {absent[0]}: the hardware '{whole.name}' has no such field")
    try:
        changed(target, change)
    except InputError as error:
        point = ", ".join(f"{name} = {_text(value, '')}" for name, value in change.items())
        raise InputError(f"over: at {point}: {error}") from None


def _check_precision(title: str, values: list, alone: bool) -> None:
    """Refuse numbers that single precision, in which programs are compiled, cannot hold or tell apart."""
    single = [np.float32(value) for value in values]
    for value, rounded in zip(values, single, strict=True):
        if not np.isfinite(rounded) or (rounded == 0) != (value == 0):
            raise InputError(
                f"over: {title}: {value!r} is out of the range of single precision; add the field to structural="
            )
    if alone and len(set(single)) < len(single):
        raise InputError(f"over: {title}: two values are equal in single precision; add the field to structural=")


def _is_leaf(rule: Rule, value: Any) -> bool:
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return number and not rule.is_static and not isinstance(rule, Nested)


def _label(names: tuple, change: dict[str, Any], rules: dict[str, Rule]) -> Any:
    """Return the value if a single number is set, else a string."""
    value = change[names[0]]
    if len(names) == 1 and isinstance(value, numbers.Real) and not isinstance(value, bool):
        return value
    return ", ".join(_text(change[n], rules[n].unit) for n in names)


def _text(value: Any, unit: str) -> str:
    if value is None:
        return "none"
    if isinstance(value, str):
        return value
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        return show(float(value), unit, 6)
    text = repr(value) if isinstance(value, Description) else brief(value)
    return text if len(text) <= 60 else type(value).__name__
