"""What a sweep varies: axes over numbers, over structure and over time.

    leaf        a field of the hardware that is a pytree leaf and takes one number at every point ("adc.bits",
                "store.cell.read_noise"): all its points run in one compiled program
    structure   anything else that selects another program: a size ("rows"), a scheme ("drift_compensation"), a part
                that is absent (None) or of another kind ({"pcm": Crossbar(cell=PCM()), "mesh": MZIMesh()}), or the
                whole hardware ("hardware"): compiled once a point
    time        ages of the same chips

Every point is tried on the hardware before anything is computed, so that a value out of range costs no time.
"""

import dataclasses
import numbers
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from analogsim.devices.description import Description
from analogsim.devices.errors import InputError, brief, nearest
from analogsim.devices.units import seconds, show, show_time
from analogsim.hardware import Hardware
from analogsim.presets import preset

#: Names that are no fields of the hardware.
TIME, HARDWARE, CHIP = "time", "hardware", "chip"

_LATEST_S = 1e12  # as chips are read at most


@dataclasses.dataclass(frozen=True)
class Axis:
    """One dimension of a sweep.

    Attributes:
      name: as the user wrote it; fields that change together are joined by ", ".
      kind: ``"leaf"``, ``"structure"`` or ``"time"``.
      labels: the coordinate: numbers, or texts.
      changes: at every point, what is set, ``({"adc.bits": 6}, ...)``; of "time", nothing.
      unit, about: of the coordinate.
    """

    name: str
    kind: str
    labels: tuple
    changes: tuple[dict[str, Any], ...]
    unit: str = ""
    about: str = ""

    def __len__(self) -> int:
        return len(self.labels)


def axes_of(over: Any, targets: Sequence[Hardware], structural: Sequence[str] = ()) -> tuple[Axis, ...]:
    """Checked axes, in the order of ``over``.

    Args:
      over: ``{name: values}``. A name is a dotted field of the hardware, "time", or "hardware"; a tuple of names
        changes fields together, its values being tuples. Values are a sequence, or a mapping from labels to values.
      targets: every hardware that the sweep changes; a field has to be in at least one of them.
      structural: names whose points are compiled apart although they are numbers.

    Raises:
      InputError: for an unknown field, a value out of range, the same value twice, or no value.
    """
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
    if any(axis.name == HARDWARE for axis in axes) and len(fields) > 1:
        _check_on_every(axes, targets)
    return axes


def _title(name: Any) -> str:
    return ", ".join(name) if isinstance(name, tuple) else str(name)


def _axis(name: Any, values: Any, targets: Sequence[Hardware], structural: bool) -> Axis:
    title = _title(name)
    labelled = isinstance(values, Mapping)
    if isinstance(values, str) or not (labelled or isinstance(values, Sequence | np.ndarray | jax.Array)):
        raise InputError(
            f"over: {title} = {brief(values)}: must be a sequence of values, or a mapping from labels to them"
        )
    labels: list[Any] = [str(label) for label in values] if labelled else []
    points = list(values.values()) if labelled else [_plain(v) for v in values]
    if not points:
        raise InputError(f"over: {title}: has no value")
    if title == CHIP:
        raise InputError("over: 'chip' is always an axis; say how many by chips=...")
    if title == TIME:
        return _times(points, labels)
    if title == HARDWARE:
        return _whole_hardware(points, labels)
    names = name if isinstance(name, tuple) else (name,)
    if not all(isinstance(n, str) and n for n in names):
        raise InputError(f"over: {brief(name)}: must be the dotted name of a field, or a tuple of such names")
    changes = [dict(zip(names, _together(title, names, point), strict=True)) for point in points]
    fields = {n: rules_of(n, targets) for n in names}
    checked = [_tried(change, targets, title) for change in changes]
    leaf = not structural and all(_is_leaf(fields[n], change[n]) for change in checked for n in names)
    if not labels:
        labels = [_label(names, change, fields) for change in checked]
    _check_distinct(title, labels)
    unit = fields[names[0]].get("unit", "") if len(names) == 1 and not isinstance(labels[0], str) else ""
    about = fields[names[0]].get("doc", "") if len(names) == 1 else "changed together"
    return Axis(title, "leaf" if leaf else "structure", tuple(labels), tuple(checked), unit, about)


def _plain(value: Any) -> Any:
    """A NumPy or JAX number as Python's."""
    return value.item() if isinstance(value, np.generic | np.ndarray | jax.Array) and np.ndim(value) == 0 else value


def _together(title: str, names: tuple, point: Any) -> tuple:
    if len(names) == 1:
        return (point,)
    if not isinstance(point, Sequence) or isinstance(point, str) or len(point) != len(names):
        raise InputError(f"over: {title} = {brief(point)}: must be a tuple of {len(names)} values, one a name")
    return tuple(point)


def _times(points: list, labels: list) -> Axis:
    times_s = [float(seconds(t, "over: time")) for t in points]  # type: ignore[arg-type]
    if max(times_s) > _LATEST_S:
        raise InputError(f"over: time = {max(times_s):g}: must be at most {_LATEST_S:g} (unit: s after programming)")
    _check_distinct(TIME, [float(np.float32(t)) for t in times_s])  # as chips are read
    del labels
    return Axis(TIME, "time", tuple(times_s), ({},) * len(points), "s", "time after programming")


def _whole_hardware(points: list, labels: list) -> Axis:
    found = [preset(point) if isinstance(point, str) else point for point in points]
    for point in found:
        if not isinstance(point, Hardware):
            raise InputError(f"over: hardware = {brief(point)}: must be a Hardware, or the name of a preset")
    names = labels or [p if isinstance(p, str) else p.name for p in points]
    _check_distinct(HARDWARE, names)
    return Axis(HARDWARE, "structure", tuple(names), tuple({HARDWARE: h} for h in found), "", "what the layers run on")


def _check_distinct(title: str, labels: Sequence) -> None:
    for label in labels:
        if list(labels).count(label) > 1:
            shown = show_time(label) if title == TIME else repr(label)
            raise InputError(f"over: {title}: {shown} is given more than once")


def rules_of(name: str, targets: Sequence[Hardware]) -> Any:
    """Rules of a field by its dotted name, from the first hardware that has it."""
    problem: InputError | None = None
    for target in targets:
        try:
            return _rules(target, name)
        except InputError as error:
            problem = problem or error
    if problem is None:
        raise InputError(f"over: '{name}': there is no analog hardware whose field it could be")
    raise InputError(f"over: {problem}")


def _rules(item: Any, name: str) -> Any:
    head, _, rest = name.partition(".")
    fields = {f.name: f for f in dataclasses.fields(item)}
    if head not in fields:
        raise InputError(f"{type(item).__name__} has no field '{head}'; {nearest(head, fields)}")
    if not rest:
        return fields[head].metadata
    inner = getattr(item, head)
    if not isinstance(inner, Description):
        raise InputError(f"{type(item).__name__}.{head} = {inner!r} has no fields of its own (asked: {rest})")
    return _rules(inner, rest)


def has_field(item: Hardware, name: str) -> bool:
    """Whether the hardware has the field of this dotted name.

    Example:
      >>> has_field(preset("pcm"), "adc.bits"), has_field(preset("int8"), "adc.bits")
      (True, False)
    """
    try:
        _rules(item, name)
    except InputError:
        return False
    return True


def changed(item: Hardware, change: Mapping[str, Any]) -> Hardware:
    """The hardware with a point's changes, those of fields that it has; values may be traced."""
    if HARDWARE in change:
        item = change[HARDWARE]
    own = {name: value for name, value in change.items() if name != HARDWARE and has_field(item, name)}
    return item.replace(**own) if own else item


def _tried(change: dict[str, Any], targets: Sequence[Hardware], title: str) -> dict[str, Any]:
    """The change with its values as the fields hold them: ``"20 uS"`` is a number of siemens."""
    checked = dict(change)
    for target in targets:
        own = {name: value for name, value in change.items() if has_field(target, name)}
        try:
            made = target.replace(**own)
        except InputError as error:
            raise InputError(f"over: {title}: {error}") from None
        checked |= {name: _value(made, name) for name in own}
    return checked


def _check_on_every(axes: tuple[Axis, ...], targets: Sequence[Hardware]) -> None:
    """Refuse fields that a hardware of the axis "hardware" has and does not take the values of."""
    whole = next(axis for axis in axes if axis.name == HARDWARE)
    for axis in axes:
        for change in axis.changes if axis.name not in (HARDWARE, TIME) else ():
            for point in whole.changes:
                if not any(has_field(point[HARDWARE], name) for name in change):
                    raise InputError(f"over: {axis.name}: the hardware '{point[HARDWARE].name}' has no such field")
                _tried(change, [point[HARDWARE]], axis.name)


def _value(item: Any, name: str) -> Any:
    for part in name.split("."):
        item = getattr(item, part)
    return item


def _is_leaf(rules: Any, value: Any) -> bool:
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return number and not rules.get("is_static") and not rules.get("kind") and not rules.get("methods")


def _label(names: tuple, change: dict[str, Any], fields: Any) -> Any:
    """A number where one number is set; else a text."""
    value = change[names[0]]
    if len(names) == 1 and isinstance(value, numbers.Real) and not isinstance(value, bool):
        return value
    return ", ".join(_text(change[n], fields[n].get("unit", "")) for n in names)


def _text(value: Any, unit: str) -> str:
    if value is None:
        return "none"
    if isinstance(value, str):
        return value
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        return show(float(value), unit, 6)
    text = repr(value) if isinstance(value, Description) else brief(value)
    return text if len(text) <= 60 else type(value).__name__
