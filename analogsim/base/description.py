"""Frozen, validated hardware descriptions that are JAX pytrees.

A description is a keyword-only frozen dataclass. Its physical numbers are pytree leaves, so they may be
traced: swept under ``jax.vmap``, differentiated under ``jax.grad``, without a recompilation. What chooses the
program (sizes, schemes) is static. Values are checked when a description is built. A traced number has no value yet:
where a compiled program finds it outside of its range, the field becomes NaN, and so does all that follows from it.
What comes out of the program is named where it is first seen as numbers: ``program``, ``Chip.at``, ``evaluate`` and
``sweep`` refuse hardware with such a field. They refuse numbers, too, that were put into a finished description by
``jax.tree.map`` or ``jax.vmap``, which pass all checks by. Rules that join several fields are checked on numbers alone,
unless a class says otherwise.

    class Wire(Description):
        resistance: float = field(default=2.93, unit="ohm", ge=0, doc="resistance of one segment")
        sides: int = static(default=1, choices=(1, 2), doc="driven from one side or from both")

    Wire(resistance="3 ohm")          # strings are read in the field's unit
    Wire(resistence=3)                # InputError: Wire has no field 'resistence'; did you mean 'resistance'?
    Wire(resistance=-1)               # InputError: Wire.resistance = -1.0: must be at least 0 (unit: ohm)
"""

import dataclasses
import numbers
import typing
from typing import Any, Self, dataclass_transform

import jax
import jax.numpy as jnp
import numpy as np

from analogsim.base.equality import ByValue, equal, in_short
from analogsim.base.errors import InputError, brief, nearest
from analogsim.base.literature import Source
from analogsim.base.units import parse, show, show_time

_MISSING: Any = dataclasses.MISSING


def field(
    *,
    default: Any = _MISSING,
    factory: Any = _MISSING,
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
    """A physical quantity (a pytree leaf), or a description within a description.

    Args:
      default: value where the user gives none.
      factory: a function that makes the default, for nested descriptions.
      unit: SI unit, shown in messages and read from strings.
      gt, ge, lt, le: allowed range (exclusive or inclusive).
      integer: whether only whole numbers are allowed.
      optional: whether None (the effect is absent) is allowed.
      methods, kind: for a nested description, what it must be able to do, or its class (or a union of classes).
      doc: one line that says what it is.
      counts: when it counts, where it does not change every result: ``"with locking = 'open'"``. Shown after ``doc``.
      source: where the default value comes from: ``cited("joshi2020")``, or a string.
    """
    meta: dict[str, Any] = dict(is_static=False, unit=unit, gt=gt, ge=ge, lt=lt, le=le, integer=integer)
    length = len(default) if isinstance(default, tuple) else None
    meta |= dict(optional=optional, methods=methods, kind=kind, length=length, choices=None, source=source)
    meta |= dict(doc=f"{doc}; counts {counts}" if counts else doc, counts=counts)
    return dataclasses.field(default=default, default_factory=factory, metadata=meta)


def static(
    *,
    default: Any = _MISSING,
    choices: tuple | None = None,
    ge: float | None = None,
    le: float | None = None,
    integer: bool = False,
    label: bool = False,
    doc: str = "",
    source: Source | str = "",
) -> Any:
    """Structure: a hashable value that selects the compiled program (a size, a scheme, a name).

    The source of a field with ``choices`` is that of all its choices. A ``label`` is for people: what differs in it
    alone is of one structure (``structure_difference``). It still is part of the pytree, so that a compiled program
    gives back the label that came in; another label therefore compiles once more.
    """
    meta: dict[str, Any] = dict(is_static=True, unit="", gt=None, ge=ge, lt=None, le=le, integer=integer)
    meta |= dict(optional=False, choices=choices, text=isinstance(default, str), label=label, doc=doc, source=source)
    return dataclasses.field(default=default, metadata=meta)


#: The scope of checks of traced numbers: arithmetic that no machine does (``energy.workload`` leaves it out).
CHECKS = "description checks"


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field, static))
class Description(ByValue):
    """Base of every description; see the module's docstring. Subclasses become frozen keyword-only dataclasses.

    Descriptions are equal by value, arrays included (``devices.equality``), and may be keys of dictionaries.

    A subclass may define ``check(self)`` for rules that join several fields; it runs after the fields' own checks.
    """

    def __init_subclass__(cls) -> None:
        data: Any = dataclasses.dataclass(frozen=True, kw_only=True, repr=False, eq=False)(cls)
        fields = dataclasses.fields(data)
        names = {f.name for f in fields}
        plain_init = data.__init__

        def checked_init(self, *unnamed, **values):
            if unnamed:
                example = f"{cls.__name__}({fields[0].name}=...)" if fields else f"{cls.__name__}()"
                raise InputError(f"{cls.__name__} takes its fields by name, {example}, not {brief(unnamed[0])} alone")
            for name in values.keys() - names:
                raise InputError(f"{cls.__name__} has no field '{name}'; {nearest(name, names)}")
            missing = [f.name for f in fields if _required(f) and f.name not in values]
            if missing:
                raise InputError(f"{cls.__name__} needs a value for '{missing[0]}'")
            plain_init(self, **values)

        data.__init__ = checked_init
        cls.__doc__ = typing.cast("str", _Docstring((cls.__doc__ or "").rstrip()))
        _register(data, fields)

    def __post_init__(self) -> None:
        with jax.named_scope(CHECKS):
            for f in dataclasses.fields(self):  # type: ignore[arg-type]
                value = check_value(getattr(self, f.name), f"{type(self).__name__}.{f.name}", f.metadata)
                object.__setattr__(self, f.name, value)
            self.check()

    def check(self) -> None:
        """Rules that join several fields; nothing by default."""

    def replace(self, **changes: Any) -> Self:
        """A copy with fields changed, nested ones by dotted name: ``hw.replace(**{"store.cell.g_max": 2e-5})``."""
        nested: dict[str, dict[str, Any]] = {}
        direct: dict[str, Any] = {}
        for name, value in changes.items():
            head, _, rest = name.partition(".")
            if rest:
                nested.setdefault(head, {})[rest] = value
            else:
                direct[head] = value
        fields = {f.name: f for f in dataclasses.fields(self)}  # type: ignore[arg-type]
        names = list(fields)
        for head, inner in nested.items():
            if head not in names:
                raise InputError(f"{type(self).__name__} has no field '{head}'; {nearest(head, names)}")
            base = direct.get(head, getattr(self, head))
            if not isinstance(base, Description):
                asked = next(iter(inner))
                raise InputError(f"{type(self).__name__}.{head} = {base!r} has no fields of its own (asked: {asked})")
            direct[head] = base.replace(**inner)
        kept = {name: getattr(self, name) for name in names if name not in direct}
        if not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(kept)):
            return type(self)(**kept | direct)
        # What is traced was checked when it came in: no second check in the compiled program.
        for name in direct.keys() - fields.keys():
            raise InputError(f"{type(self).__name__} has no field '{name}'; {nearest(name, names)}")
        made = object.__new__(type(self))
        with jax.named_scope(CHECKS):
            for name, f in fields.items():
                where = f"{type(self).__name__}.{name}"
                value = check_value(direct[name], where, f.metadata) if name in direct else kept[name]
                object.__setattr__(made, name, value)
            made.check()
        return made

    def demand(self, name: str, holds: Any, message: str) -> None:
        """For ``check``: refuse with this message unless ``holds``; the field is NaN wherever a traced one does not."""
        if isinstance(holds, jax.core.Tracer):
            object.__setattr__(self, name, jnp.where(holds, getattr(self, name), jnp.nan))
        elif not np.all(holds):
            raise InputError(message)

    @classmethod
    def published(cls) -> tuple[Self, ...]:
        """What the fields' sources stand behind: the defaults, and a class's other published sets of values."""
        return () if any(map(_required, dataclasses.fields(cls))) else (cls(),)  # type: ignore[arg-type]

    def model_sources(self) -> tuple[Source, ...]:
        """Where the equations come from, beyond the sources of the fields; nothing by default."""
        return ()

    def __repr__(self) -> str:
        """Only what differs from the defaults: short, and it can be pasted back but for large arrays."""
        parts = []
        for f in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, f.name)
            if _required(f) or not _same(value, _default(f)):
                parts.append(f"{f.name}={value!r}" if isinstance(value, Description) else f"{f.name}={in_short(value)}")
        return f"{type(self).__name__}({', '.join(parts)})"


def _required(f: dataclasses.Field) -> bool:
    return f.default is _MISSING and f.default_factory is _MISSING


class _Docstring:
    """A class's docstring with its fields, composed when it is read, as their sources name papers of a file."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __get__(self, instance: Any, owner: Any) -> str:
        return f"{self.text}\n\n    Fields:\n" + "\n".join(map(_field_help, dataclasses.fields(owner))) + "\n"


def _field_help(f: dataclasses.Field) -> str:
    """One field for ``help()``: name, default, unit, meaning, source."""
    default = "" if _required(f) else f" = {_default(f)!r}"
    unit = f" {f.metadata['unit']}" if f.metadata.get("unit") else ""
    source = f" [{f.metadata['source']}]" if f.metadata.get("source") else ""
    return f"      {f.name}{default}{unit}: {f.metadata.get('doc', '')}{source}"


def _default(f: dataclasses.Field) -> Any:
    return f.default_factory() if callable(f.default_factory) else f.default


def _register(cls: type, fields: tuple) -> None:
    leaves = tuple(f.name for f in fields if not f.metadata["is_static"])
    statics = tuple(f.name for f in fields if f.metadata["is_static"])

    def flatten_with_keys(self):
        children = [(jax.tree_util.GetAttrKey(n), getattr(self, n)) for n in leaves]
        return children, tuple(getattr(self, n) for n in statics)

    def flatten(self):
        return [getattr(self, n) for n in leaves], tuple(getattr(self, n) for n in statics)

    def unflatten(aux: tuple, children: Any) -> Any:
        # Bypasses __init__: inside JAX the leaves may be tracers, stacks or placeholders: not values to check.
        self: Any = object.__new__(cls)
        for name, value in zip(leaves + statics, (*children, *aux), strict=True):
            object.__setattr__(self, name, value)
        return self

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)


def check_value(value: Any, where: str, rule: Any) -> Any:
    """``value`` in canonical form, or an InputError that names the field, the value, the range and the unit."""
    if rule.get("choices") is not None:
        for choice in rule["choices"]:
            if _is_choice(value, choice):
                return choice
        allowed = ", ".join(map(repr, rule["choices"]))
        one_of = "one of " if len(rule["choices"]) > 1 else ""
        raise InputError(f"{where} = {brief(value)}: must be {one_of}{allowed}")
    if value is None and rule.get("optional"):
        return None
    if rule.get("kind"):
        if not isinstance(value, rule["kind"]):
            kinds = " or ".join(kind.__name__ for kind in typing.get_args(rule["kind"]) or (rule["kind"],))
            raise InputError(f"{where} = {value!r}: must be of kind {kinds}{_or_none(rule)}")
        return value
    if rule.get("methods"):
        if not all(hasattr(value, m) for m in rule["methods"]) or isinstance(value, type):
            raise InputError(
                f"{where} = {value!r}: must be a description that has {', '.join(rule['methods'])}{_or_none(rule)}"
            )
        return value
    if rule.get("text"):
        if not isinstance(value, str):
            raise InputError(f"{where} = {value!r}: must be a text")
        return value
    if not _is_ranged(rule):
        return value
    if isinstance(value, str):
        value = parse(value, rule.get("unit", ""), where)
    if rule.get("length") is not None:
        if not isinstance(value, (tuple, list)) or len(value) != rule["length"]:
            raise InputError(f"{where} = {value!r}: must be {rule['length']} numbers{_unit(rule)}")
        return tuple(check_value(v, where, {**rule, "length": None}) for v in value)
    if rule.get("is_static") and not isinstance(value, numbers.Real):  # an array could not choose a program
        raise InputError(f"{where} = {value!r}: must be one number, {_range(rule)}")
    if isinstance(value, jax.core.Tracer):  # its value is not known yet
        return _nan_outside(value, where, rule)
    concrete = _concrete(value, where, rule)
    bad = concrete[~_allowed(concrete, rule)]
    if bad.size:
        raise InputError(f"{where} = {bad.flat[0]:.6g}: must be {_range(rule)}{_unit(rule)}")
    if isinstance(value, numbers.Real):  # one type a field, so that equal values share a compilation
        return int(float(value)) if rule.get("integer") else float(value)
    return value


def _is_choice(value: Any, choice: Any) -> bool:
    """Whether this is the choice, of the same kind: True is no number, and 1.0 no number of something."""
    for kind in ((bool, np.bool_), (str,), numbers.Integral, numbers.Real):
        if isinstance(choice, kind):
            return isinstance(value, kind) and isinstance(value, bool) == isinstance(choice, bool) and value == choice
    return value is choice


def _nan_outside(value: jax.Array, where: str, rule: Any) -> jax.Array:
    """A traced number as it is, or NaN where it is none that the field takes."""
    if value.dtype == bool or not jnp.issubdtype(value.dtype, jnp.number) or jnp.iscomplexobj(value):
        raise InputError(f"{where}: a traced {value.dtype}: must be a number, {_range(rule)}{_unit(rule)}")
    return jnp.where(_allowed(value, rule, jnp), value, jnp.nan)


def _concrete(value: Any, where: str, rule: Any) -> np.ndarray:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (numbers.Real, np.ndarray, jax.Array)):
        kind = "" if rule.get("integer") else "a number, "
        raise InputError(f"{where} = {value!r}: must be {kind}{_range(rule)}{_unit(rule)}{_or_none(rule)}")
    return np.atleast_1d(np.asarray(value, dtype=np.float64))


def _allowed(v: Any, rule: Any, xp: Any = np) -> Any:
    """Where numbers are those that a field takes; its limits are rounded as the numbers are."""
    ok = xp.isfinite(v)
    for bound, compare in (("gt", xp.greater), ("ge", xp.greater_equal), ("lt", xp.less), ("le", xp.less_equal)):
        if rule.get(bound) is not None:
            ok &= compare(v, xp.asarray(rule[bound], v.dtype))
    return ok & (v == xp.round(v)) if rule.get("integer") else ok


def _range(rule: Any) -> str:
    words = [
        f"{word} {rule[bound]:g}"
        for bound, word in (("gt", "greater than"), ("ge", "at least"), ("lt", "less than"), ("le", "at most"))
        if rule.get(bound) is not None
    ]
    whole = ["a whole number"] if rule.get("integer") else ["finite"] if not words else []
    return " and ".join(whole + words)


def _or_none(rule: Any) -> str:
    return ", or None" if rule.get("optional") else ""


def _unit(rule: Any) -> str:
    return f" (unit: {rule['unit']})" if rule.get("unit") else ""


def structure_difference(a: Any, b: Any, ignoring: tuple[str, ...] = ()) -> tuple[str, Any, Any] | None:
    """The first field in which two descriptions differ as structure: its dotted name and both values.

    Numbers of fields do not count, nor labels, nor the fields ``ignoring`` of the outermost description.
    """
    if type(a) is not type(b) or not isinstance(a, Description):
        same = type(a) is type(b) and len(a) == len(b) if isinstance(a, tuple) else _outline(a) == _outline(b)
        if same and isinstance(a, tuple):
            found = [(i, structure_difference(v, w)) for i, (v, w) in enumerate(zip(a, b, strict=True))]
            return next(((f"[{i}]{_below(inner[0])}", *inner[1:]) for i, inner in found if inner), None)
        return None if same else ("", a, b)
    for f in dataclasses.fields(a):  # type: ignore[arg-type]
        v, w = getattr(a, f.name), getattr(b, f.name)
        if f.name in ignoring or f.metadata.get("label"):
            continue
        if f.metadata["is_static"]:
            if not equal(v, w):
                return f.name, v, w
        elif inner := structure_difference(v, w):
            return f.name + _below(inner[0]), *inner[1:]
    return None


def _below(name: str) -> str:
    return f".{name}" if name and not name.startswith("[") else name


def _outline(value: Any) -> str:
    """The structure of what is no description: a number is like another."""
    return f"{type(value)}" if isinstance(value, Description) else str(jax.tree.structure(value))


def _same(a: Any, b: Any) -> bool:
    return type(a) is type(b) and equal(a, b)


def describe(item: Any, indent: int = 0) -> str:
    """A description as indented text, every field with its value, unit and meaning."""
    pad = "  " * indent
    lines = [f"{pad}{type(item).__name__}"] if indent == 0 else []
    for f in dataclasses.fields(item):
        value, doc = getattr(item, f.name), f.metadata.get("doc", "")
        if dataclasses.is_dataclass(value):
            lines.append(f"{pad}  {f.name}: {type(value).__name__}")
            lines.append(describe(value, indent + 1))
        else:
            lines.append(
                f"{pad}  {f.name} = {pretty(value, f.metadata.get('unit', ''))}" + (f"   {doc}" if doc else "")
            )
    return "\n".join(line for line in lines if line)


def pretty(value: Any, unit: str) -> str:
    """A field's value with its unit, for people: ``25 µS``."""
    if isinstance(value, tuple):
        return "(" + ", ".join(pretty(v, unit) for v in value) + ")"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value} {unit}".strip()
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        if unit == "s":  # the seconds of a read with a prefix, a month as a month
            return show_time(float(value), digits=4)
        return show(float(value), unit, digits=4)
    return repr(value)


def check_numbers(item: Any, where: str) -> None:
    """Refuse a description that holds a number outside of its field's range, past all checks; ``where`` begins the
    message.

    Raises:
      InputError: for the first such field. A NaN stands for a traced number that was refused in a compiled program.
    """
    for f in dataclasses.fields(item):
        value, rule = getattr(item, f.name), f.metadata
        if isinstance(value, Description):
            check_numbers(value, where)
        elif not rule["is_static"] and rule.get("kind") is None and rule.get("choices") is None and _is_ranged(rule):
            for number in value if isinstance(value, tuple) else (value,):
                if not isinstance(number, (jax.Array, np.ndarray)) or isinstance(number, jax.core.Tracer):
                    continue  # a Python number was checked
                array = np.atleast_1d(np.asarray(number))
                bad = array[~_allowed(array, rule)]
                if bad.size:
                    hint = " (nan stands for a traced number that is not allowed)" if np.isnan(bad.flat[0]) else ""
                    raise InputError(
                        f"{where}{type(item).__name__}.{f.name} = {bad.flat[0]:.6g}: must be {_range(rule)}"
                        f"{_unit(rule)}{hint}"
                    )


def _is_ranged(rule: Any) -> bool:
    return any(rule.get(b) is not None for b in ("gt", "ge", "lt", "le")) or bool(rule.get("integer"))


def check_one_value(item: Any) -> None:
    """Refuse a description that holds several values where one layer takes one: a sweep that nothing maps over.

    Inside ``jax.vmap`` every field holds one value. Fields without a default, such as a measured table, are arrays by
    nature and pass.
    """
    for f in dataclasses.fields(item):
        value = getattr(item, f.name)
        if isinstance(value, Description):
            check_one_value(value)
        elif not f.metadata["is_static"] and (isinstance(f.default, (int, float, tuple)) or _one_number_or_none(f)):
            shapes = [np.shape(v) for v in (value if isinstance(value, tuple) else (value,)) if hasattr(v, "shape")]
            if any(shapes):
                raise InputError(
                    f"{type(item).__name__}.{f.name}: an array of shape {next(filter(None, shapes))}: a layer takes "
                    f"one value; sweep the others with jax.vmap over the hardware"
                )


def _one_number_or_none(f: dataclasses.Field) -> bool:
    return f.default is None and any(f.metadata.get(bound) is not None for bound in ("gt", "ge", "lt", "le"))


def sources(item: Any) -> list[str]:
    """Where the numbers of a description come from: every distinct source of its fields, nested ones included.

    These are the sources of the default values; ``analogsim.cite`` also tells which values are still the defaults.
    """
    found: dict[str, None] = {}
    for f in dataclasses.fields(item):
        value = getattr(item, f.name)
        if dataclasses.is_dataclass(value):
            found |= dict.fromkeys(sources(value))
        elif f.metadata.get("source"):
            found[str(f.metadata["source"])] = None
    return list(found)
