"""Descriptions from the tables of a TOML file; every mistake is named with its line.

A table says by ``kind`` which class it describes, and gives the fields that differ from the class's defaults. Without
``kind`` it changes fields of what stands there already: the preset's, or the default's. A key may be a dotted name,
``"cell.g_max" = "20 uS"``, and ``"none"`` stands for None. Lists become tuples, or arrays in fields that hold a table
of measurements; a complex number is ``{ re = 1.0, im = -2.0 }``.
"""

import dataclasses
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from analogsim.base.description import Description, check_value
from analogsim.base.errors import InputError, brief, nearest, nearest_of
from analogsim.base.toml_lines import Path
from analogsim.base.toml_text import TomlFile
from analogsim.hardware.kinds import fitting, takes_description, takes_none

_DEEPEST = 20  # tables within tables; Hardware needs 5
_MISTAKES = (TypeError, ValueError, ArithmeticError, LookupError, AttributeError)


class Node(NamedTuple):
    """What stands at one place: ``{name: Node}`` for a table, ``[Node]`` for a list, or a plain value."""

    value: Any
    path: Path  #: in the file, for its line


class _Phrase:
    """Stands for something in the messages of ``check_value``."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def grow(file: TomlFile, raw: Any, path: Path = (), depth: int = 0) -> Node:
    """A part of a file with dotted names taken apart, every value with its place."""
    if depth > _DEEPEST:
        raise file.error(path, f"tables and lists are nested more than {_DEEPEST} deep")
    if isinstance(raw, list):
        return Node([grow(file, item, (*path, i), depth + 1) for i, item in enumerate(raw)], path)
    if not isinstance(raw, dict):
        if not isinstance(raw, (bool, int, float, str)):
            raise file.error(path, f"{_last(path)} = {raw}: a date or a time of day is no value here")
        if type(raw) is int and not -(2**63) <= raw < 2**63:
            raise file.error(path, f"{_last(path)}: whole numbers must have at most 64 bits")
        return Node(raw, path)
    found = Node({}, path)
    for name, item in raw.items():
        parts = name.split(".")
        if not all(parts):
            raise file.error((*path, name), f"{_shown(name)!r} names no field")
        if depth + len(parts) > _DEEPEST:
            raise file.error((*path, name), f"tables and lists are nested more than {_DEEPEST} deep")
        _put(file, found, parts, grow(file, item, (*path, name), depth + len(parts)))
    return found


def _put(file: TomlFile, table: Node, parts: list[str], item: Node) -> None:
    name, rest = parts[0], parts[1:]
    if rest:
        inner = table.value.setdefault(name, Node({}, item.path))
        if not isinstance(inner.value, dict):
            raise file.error(item.path, f"{_last(item.path)}: {_shown(name)!r} is no table, it has no fields")
        _put(file, inner, rest, item)
    elif name not in table.value:
        table.value[name] = item
    elif isinstance(item.value, dict) and isinstance(table.value[name].value, dict):
        for key, value in item.value.items():
            _put(file, table.value[name], [key], value)
    else:
        raise file.error(item.path, f"{_last(item.path)}: is given twice")


@dataclasses.dataclass(frozen=True)
class Reader:
    """Builds descriptions from the tables of one file, out of the classes it knows."""

    file: TomlFile
    kinds: Mapping[str, type[Description]]

    def table(self, node: Node, cls: type[Description], base: Description | None = None) -> Any:
        """A table as a ``cls``: its fields over those of ``base``, or over the defaults."""
        fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
        self._known(node, cls, node.value)
        values = {} if base is None else {name: getattr(base, name) for name in fields}
        for name, child in node.value.items():
            values[name] = self._field(child, cls, fields[name], values.get(name, _default(fields[name])))
        return self.made(node, cls, values)

    def made(self, node: Node, cls: type[Description], values: Mapping[str, Any]) -> Any:
        """``cls(**values)``; what its checks refuse is named with the line of the field they speak of."""
        self._known(node, cls, values)
        try:
            return cls(**values)
        except InputError as error:
            raise self.file.error(blamed(node, cls.__name__, str(error), values), error) from None
        except _MISTAKES as error:
            raise self.file.error(node.path, f"{cls.__name__}: cannot hold these values ({error})") from None

    def _known(self, node: Node, cls: type[Description], names: Iterable[str]) -> None:
        """Refuse names that are no fields, with their lines."""
        fields = [f.name for f in dataclasses.fields(cls)]  # type: ignore[arg-type]
        for name in names:
            if name not in fields:
                path = node.value[name].path if name in node.value else (*node.path, name)
                raise self.file.error(path, f"{cls.__name__} has no field '{_shown(name)}'; {nearest(name, fields)}")

    def _field(self, node: Node, cls: type[Description], f: dataclasses.Field, base: Any) -> Any:
        """The value of one field, by its rule; ``base`` is what it holds without the file."""
        rule, where, value = f.metadata, f"{cls.__name__}.{f.name}", node.value
        if takes_none(rule) and value == "none":
            return None
        if takes_description(rule):
            if not isinstance(value, dict):
                kinds = ", ".join(fitting(rule, self.kinds))
                shown = "a list" if isinstance(value, list) else brief(value)
                none = ', or "none"' if takes_none(rule) else ""
                raise self.file.error(node.path, f"{where} = {shown}: must be a table with a kind ({kinds}){none}")
            return self.described(node, where, rule, base)
        if _is_numeric(rule) and isinstance(value, list) and rule.get("length") is None and f.default is _MISSING:
            return self._array(node, where, rule)
        if isinstance(value, dict) and not _is_open(rule):
            return self._checked(_Phrase("a table"), node, where, rule)
        if _is_open(rule):
            return self._checked(self._plain(node, where), node, where, rule)
        if rule.get("choices") is not None:
            # Python holds True for 1 and 1.0 for 1; a choice is given as it is listed.
            same = [c for c in rule["choices"] if type(c) is type(value) and c == value]
            return same[0] if same else self._checked(_Phrase(brief(_raw(node))), node, where, rule)
        return self._checked(_raw(node), node, where, rule)

    def _checked(self, value: Any, node: Node, where: str, rule: Mapping[str, Any]) -> Any:
        try:
            return check_value(value, where, rule)
        except InputError as error:
            raise self.file.error(node.path, error) from None

    def described(self, node: Node, where: str, rule: Mapping[str, Any], base: Any = None) -> Any:
        """A table as a description: of the class that it names, or with changes to what stands there.

        Args:
          node: the table.
          where: what messages call it, ``"Hardware.store"``.
          rule: of the field that it stands in (``dataclasses.Field.metadata``).
          base: what stands there without the file; None for nothing.
        """
        rest = {name: child for name, child in node.value.items() if name != "kind"}
        fit = fitting(rule, self.kinds)
        named = node.value.get("kind")
        if named is not None:
            if named.value not in fit:
                shown, hint = _shown(str(_raw(named))), nearest_of(str(_raw(named)), fit)
                known = "does not fit here" if shown in self.kinds else "is no known class"
                raise self.file.error(named.path, f"{where}.kind = {shown!r}: {known}; {hint}")
            return self.table(Node(rest, node.path), self.kinds[named.value])
        if isinstance(base, Description):
            return self.table(Node(rest, node.path), type(base), base)
        if isinstance(rule.get("kind"), type):
            return self.table(Node(rest, node.path), rule["kind"])
        asked = f"needs a kind, one of {', '.join(fit)}" if takes_description(rule) else "is a table without a kind"
        raise self.file.error(node.path, f"{where}: {asked}")

    def _array(self, node: Node, where: str, rule: Mapping[str, Any]) -> np.ndarray:
        """Nested lists of numbers, or of texts with units, as an array of float64."""

        def numbers(part: Node) -> Any:
            if isinstance(part.value, list):
                return [numbers(item) for item in part.value]
            return self._checked(_Phrase("a table") if isinstance(part.value, dict) else part.value, part, where, rule)

        try:
            return np.array(numbers(node), np.float64)
        except InputError:
            raise
        except ValueError:
            raise self.file.error(node.path, f"{where}: rows must have equally many numbers") from None

    def _plain(self, node: Node, where: str) -> Any:
        """What a field without rules holds: values as they are, tuples, complex numbers, descriptions by their kind."""
        if isinstance(node.value, list):
            return tuple(self._plain(item, f"{where}[{i}]") for i, item in enumerate(node.value))
        if not isinstance(node.value, dict):
            return node.value
        if set(node.value) == {"re", "im"}:
            parts = [node.value[name].value for name in ("re", "im")]
            if all(type(part) in (int, float) for part in parts):
                return complex(*parts)
        return self.described(node, where, {}, None)


def blamed(node: Node, name: str, message: str, values: Mapping[str, Any] | None = None) -> Path:
    """The place of the field that a message speaks of as ``Class.field.field``, or of the whole table.

    Args:
      node: the table that was read.
      name: the class that it describes.
      message: what the class's checks said.
      values: the descriptions within, of whose fields the message may speak as well.
    """
    tables = _tables(node, name, values or {})
    for kind, dotted in re.findall(r"\b(\w+)((?:\.\w+)+)", message):
        found = start = tables.get(kind, node)
        for part in dotted[1:].split(".") if kind in tables else ():
            if not isinstance(found.value, dict) or part not in found.value:
                break
            found = found.value[part]
        if found is not start:
            return found.path
    return node.path


def _tables(node: Node, name: str, values: Mapping[str, Any]) -> dict[str, Node]:
    """The tables of a table, itself included, by the classes that they describe; of two the outer."""
    found = {name: node}
    for field, value in values.items():
        inner = node.value.get(field)
        if isinstance(value, Description) and inner is not None and isinstance(inner.value, dict):
            found = _tables(inner, type(value).__name__, vars(value)) | found
    return found


_MISSING: Any = dataclasses.MISSING


def _default(f: dataclasses.Field) -> Any:
    if callable(f.default_factory):
        return f.default_factory()
    return None if f.default is _MISSING else f.default


def _is_numeric(rule: Mapping[str, Any]) -> bool:
    bounded = any(rule.get(bound) is not None for bound in ("gt", "ge", "lt", "le"))
    return not rule.get("is_static") and (bounded or bool(rule.get("integer")))


def _is_open(rule: Mapping[str, Any]) -> bool:
    """Whether ``check_value`` lets everything pass."""
    bounded = any(rule.get(bound) is not None for bound in ("gt", "ge", "lt", "le"))
    return not (bounded or rule.get("integer") or rule.get("text") or rule.get("choices") is not None)


def _raw(node: Node) -> Any:
    """The value without places."""
    if isinstance(node.value, dict):
        return _Phrase("a table")
    return [_raw(item) for item in node.value] if isinstance(node.value, list) else node.value


def _last(path: Path) -> str:
    return _shown(".".join(map(str, path)))


def _shown(name: str) -> str:
    """A name that may be anything, on one short line."""
    text = name if name.isprintable() else repr(name)[1:-1]
    return text if len(text) <= 80 else f"{text[:80]}…"
