"""Read descriptions from the tables of a TOML file; every error gives its line.

``kind`` names the class of a table; the other keys are the fields that differ from the defaults of the class. A table
without ``kind`` changes fields of the existing description, from the preset or the default. A key can be a dotted
name, ``"cell.g_max" = "20 uS"``, and ``"none"`` stands for None. Lists become tuples, or arrays in fields that hold a
table of measurements; a complex number is ``{ re = 1.0, im = -2.0 }``.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

from analogsim.base.description import Description
from analogsim.base.errors import InputError, brief, nearest_of, printable
from analogsim.base.field_rules import Nested, Rule, default_of, rule_of
from analogsim.base.toml_lines import Path
from analogsim.base.toml_text import TomlFile
from analogsim.hardware.kinds import fitting

_DEEPEST = 20  # tables within tables; Hardware needs 5
_MISTAKES = (TypeError, ValueError, ArithmeticError, LookupError, AttributeError)


class Node(NamedTuple):
    """A value of the file with its location: ``{name: Node}`` for a table, ``[Node]`` for a list, or a plain value."""

    value: Any
    path: Path  #: location in the file, which gives the line

    @property
    def plain(self) -> Any:
        """The value without locations."""
        if isinstance(self.value, dict):
            return {name: node.plain for name, node in self.value.items()}
        return [node.plain for node in self.value] if isinstance(self.value, list) else self.value

    def at(self, field: Path) -> Path:
        """Return the location of a field, or of the innermost part of the file that contains it."""
        node = self
        for part in field:
            inside = dict(enumerate(node.value)) if isinstance(node.value, list) else node.value
            if not isinstance(inside, dict) or part not in inside:
                break
            node = inside[part]
        return node.path


def grow(file: TomlFile, raw: Any, path: Path = (), depth: int = 0) -> Node:
    """Return a part of a file as nodes, with dotted names expanded to nested tables.

    Raises:
      InputError: for tables nested more than 20 deep, dates, integers beyond 64 bits, or a key given twice.
    """
    if depth > _DEEPEST:
        raise file.error(path, f"tables and lists are nested more than {_DEEPEST} deep")
    if isinstance(raw, list):
        return Node([grow(file, item, (*path, i), depth + 1) for i, item in enumerate(raw)], path)
    if not isinstance(raw, dict):
        if not isinstance(raw, (bool, int, float, str)):
            raise file.error(path, f"{_last(path)} = {raw}: must not be a date or a time of day")
        # Python reads integers of any size, which arrays cannot hold.
        if type(raw) is int and not -(2**63) <= raw < 2**63:
            raise file.error(path, f"{_last(path)}: integers must have at most 64 bits")
        return Node(raw, path)
    table = Node({}, path)
    for name, item in raw.items():
        parts = name.split(".")
        if not all(parts):
            raise file.error((*path, name), f"{printable(name)!r} names no field")
        if depth + len(parts) > _DEEPEST:
            raise file.error((*path, name), f"tables and lists are nested more than {_DEEPEST} deep")
        _put(file, table, parts, grow(file, item, (*path, name), depth + len(parts)))
    return table


def _put(file: TomlFile, table: Node, parts: list[str], item: Node) -> None:
    name, rest = parts[0], parts[1:]
    if rest:
        inner = table.value.setdefault(name, Node({}, item.path))
        if not isinstance(inner.value, dict):
            raise file.error(item.path, f"{_last(item.path)}: {printable(name)!r} is not a table and has no fields")
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
    """Builds descriptions from the tables of one file.

    Attributes:
      file: the parsed file.
      kinds: the classes that the file can name, by name.
    """

    file: TomlFile
    kinds: Mapping[str, type[Description]]

    def table(self, node: Node, cls: type[Description], base: Description | None = None) -> Any:
        """Return a table as a ``cls``; fields that it does not set come from ``base``, or from the defaults."""
        fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
        values = {} if base is None else {name: getattr(base, name) for name in fields}
        for name, child in node.value.items():
            if name in fields:
                default = values.get(name, default_of(fields[name]))
                values[name] = self._field(child, f"{cls.__name__}.{name}", rule_of(fields[name]), default)
            else:
                values[name] = child.plain
        return self.build(node, cls, values)

    def build(self, node: Node, cls: type[Description], values: Mapping[str, Any]) -> Any:
        """Return ``cls(**values)``; an error of its checks gets the line of the field that it refers to."""
        try:
            return cls(**values)
        except InputError as error:
            raise self.file.error(node.at(error.field), error) from None
        except _MISTAKES as error:
            raise self.file.error(node.path, f"{cls.__name__}: cannot hold these values ({error})") from None

    def _field(self, node: Node, where: str, rule: Rule, base: Any) -> Any:
        """Return the value of a field, which its class checks; ``base`` is its value without the file."""
        if rule.takes_none and node.value == "none":
            return None
        if isinstance(rule, Nested):
            if isinstance(node.value, dict):
                return self.described(node, where, rule, base)
            kinds, none = ", ".join(fitting(rule, self.kinds)), ', or "none"' * rule.takes_none
            shown = "a list" if isinstance(node.value, list) else brief(node.value)
            raise self.file.error(node.path, f"{where} = {shown}: must be a table with a kind ({kinds}){none}")
        return self._plain(node, where) if type(rule) is Rule else node.plain

    def described(self, node: Node, where: str, rule: Rule, base: Any = None) -> Any:
        """Return a table as a description: of the class that it names, or as a changed copy of ``base``.

        Args:
          node: the table.
          where: name of the table in messages, ``"Hardware.store"``.
          rule: rule of the field that contains the table.
          base: value of the field without the file; None if there is none.

        Raises:
          InputError: for a missing ``kind``, an unknown class, or one that the field does not accept.
        """
        fields = {name: child for name, child in node.value.items() if name != "kind"}
        fit = fitting(rule, self.kinds)
        named = node.value.get("kind")
        if named is not None:
            if named.value not in fit:
                shown = printable(str(named.plain))
                wrong = f"class {shown!r} does not fit here" if shown in self.kinds else f"unknown class {shown!r}"
                raise self.file.error(named.path, f"{where}.kind: {wrong}; {nearest_of(shown, fit)}")
            return self.table(Node(fields, node.path), self.kinds[named.value])
        if isinstance(base, Description):
            return self.table(Node(fields, node.path), type(base), base)
        if isinstance(rule, Nested) and len(rule.kinds) == 1:
            return self.table(Node(fields, node.path), rule.kinds[0])
        requirement = (
            f"needs a kind, one of {', '.join(fit)}" if isinstance(rule, Nested) else "is a table without a kind"
        )
        raise self.file.error(node.path, f"{where}: {requirement}")

    def _plain(self, node: Node, where: str) -> Any:
        """Convert the value of a field without a rule: lists to tuples, ``re``/``im`` to complex, kinds to classes."""
        if isinstance(node.value, list):
            return tuple(self._plain(item, f"{where}[{i}]") for i, item in enumerate(node.value))
        if not isinstance(node.value, dict):
            return node.value
        if set(node.value) == {"re", "im"}:
            parts = [node.value[name].value for name in ("re", "im")]
            if all(type(part) in (int, float) for part in parts):
                return complex(*parts)
        return self.described(node, where, Rule())


def _last(path: Path) -> str:
    return printable(".".join(map(str, path)))
