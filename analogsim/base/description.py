"""Frozen, validated hardware descriptions that are JAX pytrees.

A description is a keyword-only frozen dataclass. Its physical numbers are pytree leaves, so they may be traced: swept
under ``jax.vmap`` or differentiated under ``jax.grad`` without recompilation. Fields that select the program (sizes,
schemes) are static. Values are checked when a description is built. A traced number has no value yet: if it is out of
range when the compiled program runs, the field becomes NaN, and so do all results that depend on it. ``program``,
``Chip.at``, ``evaluate`` and ``sweep`` refuse hardware with such a field, and for numbers that were put into
an existing description by ``jax.tree.map`` or ``jax.vmap``, which bypass the checks. Rules that involve several
fields are checked for concrete numbers only, unless a class states otherwise.

    class Wire(Description):
        resistance: float = field(default=2.93, unit="ohm", ge=0, doc="resistance of one segment")
        sides: int = static(default=1, choices=(1, 2), doc="driven from one side or from both")

    Wire(resistance="3 ohm")          # strings are read in the field's unit
    Wire(resistence=3)                # InputError: Wire has no field 'resistence'; did you mean 'resistance'?
    Wire(resistance=-1)               # InputError: Wire.resistance = -1: must be at least 0 (unit: ohm)
"""

import dataclasses
import functools
import numbers
import typing
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn, Self, dataclass_transform

import jax
import jax.numpy as jnp
import numpy as np

from analogsim.base.equality import ByValue, equal, in_short
from analogsim.base.errors import InputError, nearest, within
from analogsim.base.field_rules import MISSING, Choice, Nested, Number, Rule, String, default_of, is_required, rule_of
from analogsim.base.literature import Source
from analogsim.base.units import show, show_time


def field(
    *,
    default: Any = MISSING,
    factory: Any = MISSING,
    unit: str = "",
    gt: float | None = None,
    ge: float | None = None,
    lt: float | None = None,
    le: float | None = None,
    integer: bool = False,
    optional: bool = False,
    methods: tuple[str, ...] = (),
    kind: Any = None,
    doc: str = "",
    counts: str = "",
    source: Source | str = "",
) -> Any:
    """Declare a physical quantity (a pytree leaf) or a nested description.

    Args:
      default: default value.
      factory: function that returns the default, for nested descriptions.
      unit: SI unit, shown in messages and parsed from strings.
      gt, ge, lt, le: allowed range (exclusive or inclusive).
      integer: whether only integers are allowed.
      optional: whether None (the effect is absent) is allowed.
      methods, kind: for a nested description, the methods it must have, or its class (or a union of classes).
      doc: one line that explains the field.
      counts: condition under which the field has an effect: ``"with locking = 'open'"``. Shown after ``doc``.
      source: source of the default value: ``cited("joshi2020")``, or a string.

    Returns:
      A dataclass field, for the body of a ``Description``.

    Example:
      >>> class Wire(Description):
      ...     resistance: float = field(default=2.93, unit="ohm", ge=0, doc="resistance of one segment")
      >>> jax.tree.leaves(Wire()), Wire(resistance="3 kohm").resistance
      ([2.93], 3000.0)
    """
    rule: Rule
    shown: Any = dict(unit=unit, optional=optional, counts=counts, source=source)
    shown["doc"] = f"{doc}; counts {counts}" if counts else doc
    if kind or methods:
        rule = Nested(kind=kind, methods=methods, **shown)
    elif integer or any(end is not None for end in (gt, ge, lt, le)):
        length = len(default) if isinstance(default, tuple) else None
        is_table = default is MISSING and factory is MISSING
        rule = Number(gt=gt, ge=ge, lt=lt, le=le, integer=integer, length=length, is_table=is_table, **shown)
    else:
        rule = Rule(**shown)
    return dataclasses.field(default=default, default_factory=factory, metadata={"rule": rule})


def static(
    *,
    default: Any = MISSING,
    choices: tuple | None = None,
    ge: float | None = None,
    le: float | None = None,
    integer: bool = False,
    label: bool = False,
    doc: str = "",
    source: Source | str = "",
) -> Any:
    """Declare a static field: a hashable value that selects the compiled program (a size, a scheme, a name).

    The source of a field with ``choices`` applies to all its choices. A ``label`` is for people: descriptions that
    differ only in labels have the same structure (``structure_difference``). A label is still part of the pytree, so
    that a compiled program returns the label it was given; a different label therefore recompiles.

    Args:
      default: default value; if it is a string and there are no ``choices``, the field takes any string.
      choices: allowed values.
      ge, le: allowed range (inclusive).
      integer: whether only integers are allowed.
      label: whether the value is for people only.
      doc: one line that explains the field.
      source: source of the default value: ``cited("joshi2020")``, or a string.

    Returns:
      A dataclass field, for the body of a ``Description``.

    Example:
      >>> class Wire(Description):
      ...     sides: int = static(default=1, choices=(1, 2), doc="driven from one side or from both")
      >>> jax.tree.leaves(Wire(sides=2))
      []
      >>> Wire(sides=3)
      Traceback (most recent call last):
      analogsim.base.errors.InputError: Wire.sides = 3: must be one of 1, 2
    """
    rule: Rule
    shown: Any = dict(is_static=True, label=label, doc=doc, source=source)
    if choices is not None:
        rule = Choice(choices=choices, **shown)
    elif isinstance(default, str):
        rule = String(**shown)
    elif integer or ge is not None or le is not None:
        rule = Number(ge=ge, le=le, integer=integer, **shown)
    else:
        rule = Rule(**shown)
    return dataclasses.field(default=default, metadata={"rule": rule})


#: Named scope of checks of traced numbers, which ``energy.workload`` does not count as work of the hardware.
CHECKS = "description checks"


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field, static))
class Description(ByValue):
    """Base class of descriptions; subclasses become frozen keyword-only dataclasses. See the module's docstring.

    Descriptions are compared by value, arrays included (``base.equality``), and are hashable.

    A subclass may define ``check(self)`` for rules that involve several fields; it runs after the checks of the fields.

    Raises:
      InputError: for positional arguments, an unknown or missing field, or a value that a field does not allow.

    Example:
      >>> class Wire(Description):
      ...     resistance: float = field(default=2.93, unit="ohm", ge=0, doc="resistance of one segment")
      >>> Wire(resistance="3 kohm").resistance
      3000.0
      >>> Wire(resistance=-1)
      Traceback (most recent call last):
      analogsim.base.errors.InputError: Wire.resistance = -1: must be at least 0 (unit: ohm)
    """

    def __init_subclass__(cls) -> None:
        # eq=False: the generated __eq__ takes the truth of elementwise comparisons; ``ByValue`` compares whole arrays.
        data: Any = dataclasses.dataclass(frozen=True, kw_only=True, repr=False, eq=False)(cls)
        fields = dataclasses.fields(data)
        names = [f.name for f in fields]
        plain_init = data.__init__

        def checked_init(self, *unnamed, **values):
            if unnamed:
                example = f"{cls.__name__}({fields[0].name}=...)" if fields else f"{cls.__name__}()"
                raise InputError(
                    f"{cls.__name__} takes keyword arguments only, e.g. {example}; got {len(unnamed)} positional"
                )
            _check_names(cls, values, names)
            missing = [f.name for f in fields if is_required(f) and f.name not in values]
            if missing:
                raise InputError(f"{cls.__name__} needs a value for '{missing[0]}'")
            plain_init(self, **values)

        data.__init__ = checked_init
        cls.__doc__ = typing.cast("str", _Docstring((cls.__doc__ or "").rstrip()))
        _register(data, fields)

    def __post_init__(self) -> None:
        with jax.named_scope(CHECKS):
            for f in dataclasses.fields(self):  # type: ignore[arg-type]
                # The rule's value is stored: strings are parsed, traced numbers are NaN where out of range.
                object.__setattr__(self, f.name, _checked(type(self), f, getattr(self, f.name)))
            self.check()

    def check(self) -> None:
        """Check rules that involve several fields; does nothing by default."""

    def replace(self, **changes: Any) -> Self:
        """Return a copy with changed fields, nested ones by dotted name: ``hw.replace(**{"store.cell.g_max": 2e-5})``.

        Raises:
          InputError: for an unknown field, or a value that the field does not allow.
        """
        nested: dict[str, dict[str, Any]] = {}
        direct: dict[str, Any] = {}
        for name, value in changes.items():
            head, _, inner_name = name.partition(".")
            if inner_name:
                nested.setdefault(head, {})[inner_name] = value
            else:
                direct[head] = value
        fields = {f.name: f for f in dataclasses.fields(self)}  # type: ignore[arg-type]
        names = list(fields)
        for head, inner in nested.items():
            _check_names(type(self), [head], names)
            base = direct.get(head, getattr(self, head))
            if not isinstance(base, Description):
                first_name = next(iter(inner))
                raise InputError(
                    f"{type(self).__name__}.{head} = {base!r} has no fields (requested: {first_name})", (head,)
                )
            with within(head):
                direct[head] = base.replace(**inner)
        unchanged = {name: getattr(self, name) for name in names if name not in direct}
        if not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(unchanged)):
            return type(self)(**unchanged | direct)
        # Traced fields that stay were checked when they were set: a second check would add operations to the program.
        _check_names(type(self), direct, names)
        copy = object.__new__(type(self))
        with jax.named_scope(CHECKS):
            for name, f in fields.items():
                value = _checked(type(self), f, direct[name]) if name in direct else unchanged[name]
                object.__setattr__(copy, name, value)
            copy.check()
        return copy

    def demand(self, name: str, holds: Any, rule: str) -> None:
        """Call ``refuse`` unless ``holds``; if ``holds`` is traced, set the field to NaN where it is False."""
        if isinstance(holds, jax.core.Tracer):
            object.__setattr__(self, name, jnp.where(holds, getattr(self, name), jnp.nan))
        elif not np.all(holds):
            self.refuse(name, rule)

    def refuse(self, name: str, rule: str) -> NoReturn:
        """Raise an error about a field, for use in ``check``.

        Args:
          name: name of the field, dotted for a field of a nested description.
          rule: end of the message: ``"must be less than g_max = 2.5e-05 (unit: S)"``.

        Raises:
          InputError: always, with the field, its value and the rule.
        """
        *above, last = name.split(".")
        owner = functools.reduce(getattr, above, self)
        value = getattr(owner, last)
        given = f"{value:.6g}" if isinstance(value, float) else in_short(value)
        raise InputError(f"{type(owner).__name__}.{last} = {given}: {rule}", (*above, last))

    @classmethod
    def published(cls) -> tuple[Self, ...]:
        """Return the sets of values that the fields' sources support: the defaults, and other published sets."""
        return () if any(map(is_required, dataclasses.fields(cls))) else (cls(),)  # type: ignore[arg-type]

    def model_sources(self) -> tuple[Source, ...]:
        """Return sources of the equations, in addition to those of the fields; empty by default."""
        return ()

    def __repr__(self) -> str:
        """Return a repr with the fields that differ from their defaults; evaluable, except for large arrays."""
        parts = []
        for f in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, f.name)
            if is_required(f) or not _same(value, default_of(f)):
                parts.append(f"{f.name}={value!r}" if isinstance(value, Description) else f"{f.name}={in_short(value)}")
        return f"{type(self).__name__}({', '.join(parts)})"


def _checked(cls: type, f: dataclasses.Field, value: Any) -> Any:
    with within(f.name):
        return rule_of(f).check(value, f"{cls.__name__}.{f.name}")


def _check_names(cls: type, given: Iterable[str], names: Sequence[str]) -> None:
    for name in given:
        if name not in names:
            raise InputError(f"{cls.__name__} has no field {name!r}; {nearest(name, names)}", (name,))


class _Docstring:
    """Class docstring with a list of fields, composed on access: sources of fields refer to papers in a file."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __get__(self, instance: Any, owner: Any) -> str:
        return f"{self.text}\n\n    Fields:\n" + "\n".join(map(_field_help, dataclasses.fields(owner))) + "\n"


def _field_help(f: dataclasses.Field) -> str:
    """Format a field for ``help()``: name, default, unit, meaning, source."""
    rule, default = rule_of(f), "" if is_required(f) else f" = {default_of(f)!r}"
    unit, source = (f" {rule.unit}" if rule.unit else ""), (f" [{rule.source}]" if rule.source else "")
    return f"      {f.name}{default}{unit}: {rule.doc}{source}"


def _register(cls: type, fields: tuple) -> None:
    leaves = tuple(f.name for f in fields if not rule_of(f).is_static)
    statics = tuple(f.name for f in fields if rule_of(f).is_static)

    def flatten_with_keys(self):
        children = [(jax.tree_util.GetAttrKey(n), getattr(self, n)) for n in leaves]
        return children, tuple(getattr(self, n) for n in statics)

    def flatten(self):
        return [getattr(self, n) for n in leaves], tuple(getattr(self, n) for n in statics)

    def unflatten(aux: tuple, children: Any) -> Any:
        # Bypasses __init__: inside JAX, leaves may be tracers, stacks or placeholder objects that fail the checks.
        self: Any = object.__new__(cls)
        for name, value in zip(leaves + statics, (*children, *aux), strict=True):
            object.__setattr__(self, name, value)
        return self

    # ``flatten`` leaves out the paths, which jit and tree.map would otherwise build at every call without using them.
    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)


def structure_difference(a: Any, b: Any, ignoring: tuple[str, ...] = ()) -> tuple[str, Any, Any] | None:
    """Return the first structural difference of two descriptions: dotted name of the field and both values.

    Values of numbers are ignored, and so are labels and the fields ``ignoring`` of the outermost description.
    """
    if type(a) is not type(b) or not isinstance(a, Description):
        same = type(a) is type(b) and len(a) == len(b) if isinstance(a, tuple) else _outline(a) == _outline(b)
        if same and isinstance(a, tuple):
            parts = [(i, structure_difference(v, w)) for i, (v, w) in enumerate(zip(a, b, strict=True))]
            return next(((f"[{i}]{_below(inner[0])}", *inner[1:]) for i, inner in parts if inner), None)
        return None if same else ("", a, b)
    for f in dataclasses.fields(a):  # type: ignore[arg-type]
        v, w = getattr(a, f.name), getattr(b, f.name)
        if f.name in ignoring or rule_of(f).label:
            continue
        if rule_of(f).is_static:
            if not equal(v, w):
                return f.name, v, w
        elif inner := structure_difference(v, w):
            return f.name + _below(inner[0]), *inner[1:]
    return None


def _below(name: str) -> str:
    return f".{name}" if name and not name.startswith("[") else name


def _outline(value: Any) -> str:
    """Return the structure of a value; all numbers have the same."""
    return f"{type(value)}" if isinstance(value, Description) else str(jax.tree.structure(value))


def _same(a: Any, b: Any) -> bool:
    return type(a) is type(b) and equal(a, b)


def describe(item: Any, indent: int = 0) -> str:
    """Return a description as indented text: every field with value, unit and meaning.

    Args:
      item: a description.
      indent: level of indentation; at 0, the text begins with the name of the class.

    Example:
      >>> class Wire(Description):
      ...     resistance: float = field(default=2.93, unit="ohm", ge=0, doc="resistance of one segment")
      >>> print(describe(Wire()))
      Wire
        resistance = 2.93 ohm   resistance of one segment
    """
    pad = "  " * indent
    lines = [f"{pad}{type(item).__name__}"] if indent == 0 else []
    for f in dataclasses.fields(item):
        value, rule = getattr(item, f.name), rule_of(f)
        if dataclasses.is_dataclass(value):
            lines.append(f"{pad}  {f.name}: {type(value).__name__}")
            lines.append(describe(value, indent + 1))
        else:
            lines.append(f"{pad}  {f.name} = {pretty(value, rule.unit)}" + (f"   {rule.doc}" if rule.doc else ""))
    return "\n".join(line for line in lines if line)


def pretty(value: Any, unit: str) -> str:
    """Format a field's value with its unit: ``25 µS``."""
    if isinstance(value, tuple):
        return "(" + ", ".join(pretty(v, unit) for v in value) + ")"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value} {unit}".strip()
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        if unit == "s":  # short times with an SI prefix, long ones in calendar units
            return show_time(float(value), digits=4)
        return show(float(value), unit, digits=4)
    return repr(value)


def check_numbers(item: Any, where: str) -> None:
    """Check the numbers of a finished description, which may have bypassed the checks on construction.

    Args:
      item: a description.
      where: beginning of the message.

    Raises:
      InputError: for the first number out of range. A NaN stands for a traced number that was out of range in a
        compiled program.
    """
    hint = " (nan stands for a traced number that is not allowed)"
    for f in dataclasses.fields(item):
        value, rule = getattr(item, f.name), rule_of(f)
        if isinstance(value, Description):
            with within(f.name):
                check_numbers(value, where)
        elif isinstance(rule, Number) and not rule.is_static:
            for number in value if isinstance(value, tuple) else (value,):
                # Python numbers were checked on construction.
                if isinstance(number, (jax.Array, np.ndarray)) and not isinstance(number, jax.core.Tracer):
                    with within(f.name):
                        rule.check_numbers(np.asarray(number), f"{where}{type(item).__name__}.{f.name}", hint)


def check_one_value(item: Any) -> None:
    """Check that every field of a layer's description holds one value, not the values of a sweep.

    Inside ``jax.vmap`` every field holds one value. Fields without a default, such as a measured table, may be arrays.

    Raises:
      InputError: for the first field with an array of values.
    """
    for f in dataclasses.fields(item):
        value = getattr(item, f.name)
        if isinstance(value, Description):
            check_one_value(value)
        # A number as default tells a physical quantity from a table, for which an array is a single value.
        elif not rule_of(f).is_static and (isinstance(f.default, (int, float, tuple)) or _one_number_or_none(f)):
            shapes = [np.shape(v) for v in (value if isinstance(value, tuple) else (value,)) if hasattr(v, "shape")]
            if any(shapes):
                raise InputError(
                    f"{type(item).__name__}.{f.name}: an array of shape {next(filter(None, shapes))}: a layer takes "
                    f"one value; sweep the others with jax.vmap over the hardware"
                )


def _one_number_or_none(f: dataclasses.Field) -> bool:
    return f.default is None and isinstance(rule_of(f), Number)


def sources(item: Any) -> list[str]:
    """Return every distinct source of a description's fields, nested ones included.

    These are the sources of the default values; ``analogsim.cite`` also tells which values are still the defaults.

    Args:
      item: a description.

    Example:
      >>> class Wire(Description):
      ...     resistance: float = field(default=2.93, unit="ohm", ge=0, source="assumed")
      >>> sources(Wire())
      ['assumed']
    """
    distinct: dict[str, None] = {}  # a set that keeps the order
    for f in dataclasses.fields(item):
        value = getattr(item, f.name)
        if dataclasses.is_dataclass(value):
            distinct |= dict.fromkeys(sources(value))
        elif source := rule_of(f).source:
            distinct[str(source)] = None
    return list(distinct)
