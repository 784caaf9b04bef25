"""Write descriptions as tables of a TOML file that ``toml_reader`` reads back to the same numbers.

Every field has its meaning as a comment. A number with a unit is written as a string with a convenient prefix
(``"25 uS"``) if that string parses to exactly the same number, else as the number in SI units.
"""

import dataclasses
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from analogsim.base.description import Description
from analogsim.base.errors import InputError, brief
from analogsim.base.field_rules import Choice, Nested, default_of, is_required, rule_of
from analogsim.base.toml_text import toml_header, toml_key, toml_value
from analogsim.base.units import parse, show, show_time
from analogsim.hardware.kinds import fitting

_WIDTH = 118
_COLUMN = 44  # rows up to this length have their comments aligned

#: Units that are written with prefixes; for the others (dB, K, nm) a prefix would confuse.
_PREFIXED = {"S", "s", "V", "A", "W", "J", "F", "Hz", "m", "m2", "ohm", "J/B", "J/bit", "W/B", "m2/B"}


@dataclasses.dataclass(frozen=True)
class Writer:
    """Writes descriptions of known classes.

    Attributes:
      kinds: the known classes, by name.
      all_fields: whether to write fields that hold their defaults, too.
    """

    kinds: Mapping[str, type[Description]]
    all_fields: bool

    def tables(self, item: Description, path: tuple[str, ...] = (), heading: str = "", kind: str = "") -> Iterator[str]:
        """Yield the table of a description and those of the descriptions inside it, each without an empty line.

        Args:
          item: the description to write.
          path: path of its table; () for the top of the file, which has no header.
          heading: the header line with its comment; "" at the top.
          kind: the line that names the class; "" at the top.
        """
        rows, inner = [], []
        for f in dataclasses.fields(item):  # type: ignore[arg-type]
            value = getattr(item, f.name)
            if not self.all_fields and is_default(value, f):
                continue
            if isinstance(value, Description):
                inner.append(([value], f, False))
            elif isinstance(value, tuple) and value and all(isinstance(v, Description) for v in value):
                inner.append((list(value), f, True))
            else:
                rows.append(self._row(item, f, value))
        lines = [*([heading] if heading else []), *([kind] if kind else []), *_aligned(rows)]
        if lines:
            yield "\n".join(lines)
        for values, f, several in inner:
            for value in values:
                below = (*path, f.name)
                comment = _comment(rule_of(f).doc)
                yield from self.tables(
                    value, below, _commented(toml_header(below, several), comment), self._kind(item, f, value)
                )

    def _kind(self, item: Description, f: dataclasses.Field, value: Description) -> str:
        """Return the line that names a class, with the alternatives as a comment."""
        name = type(value).__name__
        if self.kinds.get(name) is not type(value):
            raise InputError(
                f"{type(item).__name__}.{f.name} = {brief(value)}: is of a class that no hardware file knows; give "
                f"kinds={{{name!r}: {name}}} here and to load_hardware"
            )
        others = [k for k in fitting(rule_of(f), self.kinds) if k != name] if isinstance(rule_of(f), Nested) else []
        return _commented(f"kind = {toml_value(name)}", f"or {', '.join(others)}" if others else "")

    def _row(self, item: Description, f: dataclasses.Field, value: Any) -> tuple[str, str]:
        """``key = value`` and its comment."""
        where, rule = f"{type(item).__name__}.{f.name}", rule_of(f)
        unit, doc = rule.unit, rule.doc
        if value is None and rule.takes_none:
            written = '"none"'
            kinds = fitting(rule, self.kinds) if isinstance(rule, Nested) else []
            unit = "" if kinds else unit
            doc = f"{doc} (a table with kind {', '.join(kinds)})" if kinds else doc
        else:
            plain = _plain(value, where, f)
            written = (_quantity(plain, unit) if unit and isinstance(plain, (int, float)) else None) or ""
            unit = "" if written else unit
            written = written or toml_value(plain)
            if plain == "none" and rule.takes_none:
                raise InputError(f"{where} = 'none': is the word that stands for None in a hardware file")
        choices = [toml_value(c) for c in (rule.choices if isinstance(rule, Choice) else ()) if c is not None]
        comment = f"{' or '.join(choices)}; {doc}" if len(choices) > 1 else doc
        return f"{toml_key(f.name)} = {written}", _comment(f"{unit}: {comment}" if unit else comment)


def is_default(value: Any, f: dataclasses.Field) -> bool:
    """Return whether a field holds its default, bit for bit and of the same type."""
    return _identical(value, default_of(f))


def _identical(a: Any, b: Any) -> bool:
    leaves, others = jax.tree.leaves(a), jax.tree.leaves(b)
    structure: Any = jax.tree.structure(a)
    return structure == jax.tree.structure(b) and all(
        type(x) is type(y) and repr(x) == repr(y) and np.size(x) == 1 for x, y in zip(leaves, others, strict=True)
    )


def _plain(value: Any, where: str, f: dataclasses.Field) -> Any:
    """Convert a value to numbers, strings and lists of them; complex numbers to tables."""
    if isinstance(value, jax.core.Tracer):
        raise InputError(f"{where}: is traced; a file is written outside of jax.jit, jax.vmap and jax.grad")
    if isinstance(value, (jax.Array, np.ndarray, np.generic)):
        array = np.asarray(value)
        if array.ndim and not is_required(f):
            raise InputError(
                f"{where}: is an array of shape {array.shape}; a file describes one set of hardware, not a sweep"
            )
        # Not only kinds f and c: bfloat16 and float8 have the kind V. Their conversion to float64 is exact.
        if array.dtype.kind not in "biuSUO":
            array = array.astype(complex if array.dtype.kind == "c" else np.float64)
        return _plain(array.tolist(), where, f)
    if isinstance(value, complex):
        return {"re": value.real, "im": value.imag}
    if isinstance(value, (list, tuple)):
        return [_plain(item, where, f) for item in value]
    if isinstance(value, (bool, int, float, str)):
        return value
    raise InputError(f"{where} = {brief(value)}: cannot be written to a file, which holds numbers, strings and lists")


def _quantity(value: float, unit: str) -> str | None:
    """Return a number with its unit, ``"25 uS"``, if it parses to the same number; else None."""
    if unit == "s":
        texts = [show_time(value, digits=12), show(value, unit, digits=12)]
    elif unit in _PREFIXED:
        texts = [show(value, unit, digits=12)]
    else:
        texts = [f"{value:.12g} {unit}"]
    for text in texts:
        text = text.replace("µ", "u").replace("²", "2")
        try:
            same = repr(parse(text, unit, "")) == repr(float(value))
        except InputError:  # the parser does not accept this unit with this prefix
            same = False
        if same and type(value) is float:
            return toml_value(text)
    return None


def _aligned(rows: list[tuple[str, str]]) -> list[str]:
    """Return rows with their comments, aligned after the short rows."""
    short = [len(row) for row, _ in rows if len(row) <= _COLUMN]
    column = max(short, default=0)
    return [_commented(row.ljust(column) if comment else row, comment) for row, comment in rows]


def _commented(row: str, comment: str) -> str:
    """Return a line with its comment behind it, or above it if both do not fit on one line."""
    if not comment:
        return row
    line = f"{row}  # {comment}"
    if len(line) <= _WIDTH:
        return line
    above = textwrap.wrap(comment, _WIDTH - 2, break_long_words=False, break_on_hyphens=False)
    return "\n".join([*(f"# {part}" for part in above), row.rstrip()])


def _comment(text: str) -> str:
    """Return text that TOML allows after a #: one line without control characters."""
    return "".join(c for c in " ".join(text.split()) if c.isprintable())
