"""TOML files: reading with error messages that name file and line, and writing of plain values.

    file = TomlFile.read("my.toml")                     # or TomlFile.parse(text, "my.toml")
    file.content["rows"]                                # nested dictionaries, lists, numbers and strings
    raise file.error(("rows",), "must be even")         # my.toml, line 3: must be even

Nothing is executed: ``tomllib`` returns numbers, strings, lists, dictionaries and dates.
"""

import contextlib
import dataclasses
import os
import pathlib
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from analogsim.base.errors import InputError, brief, printable
from analogsim.base.toml_lines import line_of

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_PLACE = re.compile(r"\s*\(at (?:line (\d+), column (\d+)|end of document)\)$")
_LARGEST = 4 * 2**20  # bytes; a table of 50,000 measured values takes 1 MiB
_LONGEST = 600  # characters of a message


@dataclasses.dataclass(frozen=True)
class TomlFile:
    """A TOML file: its name in messages, its text and its parsed content.

    Example:
      >>> file = TomlFile.parse("rows = 4\\n\\n[dac]\\nbits = 8", "my.toml")
      >>> print(file.error(("dac", "bits"), "DAC.bits = 8: is too many"))
      my.toml, line 4: DAC.bits = 8: is too many
    """

    name: str
    text: str
    content: dict[str, Any]

    @classmethod
    def read(cls, path: str | os.PathLike, name: str | None = None) -> "TomlFile":
        """Read a TOML file in UTF-8.

        Args:
          path: path of the file.
          name: name of the file in messages; None for its path.

        Raises:
          InputError: if the file does not exist, is a folder, is too large, or is not UTF-8 or TOML.
        """
        if not isinstance(path, (str, os.PathLike)):
            raise InputError(f"path = {brief(path)}: must be the path of a TOML file")
        name = str(path) if name is None else name
        try:
            file = pathlib.Path(path)
            if not file.exists():
                raise InputError(f"{printable(name, 200)}: there is no such file")
            if not file.is_file():
                raise InputError(f"{name}: is a folder or a device, must be a TOML file")
            if file.stat().st_size > _LARGEST:
                raise InputError(f"{name}: has {file.stat().st_size} bytes, must have at most {_LARGEST}")
            text = file.read_bytes().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = error.object[: error.start].count(b"\n") + 1
            raise InputError(f"{name}, line {line}: is not written in UTF-8 ({error.reason})") from None
        except OSError as error:
            raise InputError(f"{printable(name, 200)}: cannot be read ({error.strerror})") from None
        return cls.parse(text, name)

    @classmethod
    def parse(cls, text: str, name: str) -> "TomlFile":
        """Parse a string as the content of a file of that name; a leading byte-order mark is ignored."""
        text = text.removeprefix("\ufeff")
        try:
            return cls(name, text, tomllib.loads(text))
        except tomllib.TOMLDecodeError as error:
            raise InputError(_syntax(str(error), text, name)) from None
        except ValueError as error:  # a number of thousands of digits
            raise InputError(f"{name}: is not valid TOML ({str(error).partition(';')[0]})") from None
        except RecursionError:
            raise InputError(f"{name}: is not valid TOML (nested too deep)") from None

    def error(self, path: Sequence[str | int], message: object) -> InputError:
        """Return an error about the value at ``path``; it names its line, or that of the enclosing table."""
        place = tuple(path)
        line = line_of(self.text, place)
        while line is None and place:
            place = place[:-1]
            line = line_of(self.text, place)
        text = str(message)
        text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
        return InputError(f"{self.name}: {text}" if line is None else f"{self.name}, line {line}: {text}", tuple(path))

    @contextlib.contextmanager
    def at(self, path: Sequence[str | int]) -> Iterator[None]:
        """Add the file and the line of ``path`` to an ``InputError`` that is raised inside."""
        try:
            yield
        except InputError as error:
            raise self.error(path, error) from None


def toml_value(item: Any) -> str:
    """Format a number, a string, a list or a dictionary as TOML on one line; floats are read back exactly.

    Raises:
      InputError: for any other type, which TOML cannot represent.

    Example:
      >>> toml_value({"kind": "DeviceNoise", "times": (1e-6, True, 'a "b"')})
      '{ kind = "DeviceNoise", times = [1e-06, true, "a \\\\"b\\\\""] }'
    """
    if isinstance(item, bool):
        return str(item).lower()
    if isinstance(item, int):
        return repr(int(item))
    if isinstance(item, float):
        return repr(float(item))
    if isinstance(item, str):
        return _text(item)
    if isinstance(item, Mapping):
        inner = ", ".join(f"{toml_key(name)} = {toml_value(value)}" for name, value in item.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(item, (list, tuple)):
        return f"[{', '.join(map(toml_value, item))}]"
    raise InputError(f"{brief(item)}: a TOML file holds numbers, strings, lists and tables")


def toml_key(name: str) -> str:
    """Format a key, in quotes if needed.

    Example:
      >>> toml_key("rows"), toml_key("adc.bits")
      ('rows', '"adc.bits"')
    """
    return name if _BARE.fullmatch(name) else _text(name)


def toml_header(path: Sequence[str], is_array: bool = False) -> str:
    """Format the header of a table: ``[store.cell]``, or ``[[of]]`` for an array of tables."""
    name = ".".join(map(toml_key, path))
    return f"[[{name}]]" if is_array else f"[{name}]"


def toml_section(path: Sequence[str], fields: Mapping[str, Any]) -> str:
    """Format a table: its fields, then nested tables as separate sections.

    Example:
      >>> print(toml_section(["hardware"], {"store": {"kind": "Crossbar"}, "rows": 4}))
      [hardware]
      rows = 4
      <BLANKLINE>
      [hardware.store]
      kind = "Crossbar"
    """
    flat = [f"{toml_key(name)} = {toml_value(value)}" for name, value in fields.items() if not isinstance(value, dict)]
    inner = [toml_section([*path, name], value) for name, value in fields.items() if isinstance(value, dict)]
    return "\n\n".join(["\n".join([toml_header(path), *flat]), *inner])


def _text(text: str) -> str:
    if any("\ud800" <= c <= "\udfff" for c in text):
        raise InputError(f"{brief(text)}: has a lone surrogate, which a TOML file cannot hold")
    return '"' + "".join(_escaped(c) for c in text) + '"'


def _escaped(c: str) -> str:
    if c in '"\\':
        return "\\" + c
    return c if c >= " " and c != "\x7f" else f"\\u{ord(c):04x}"


def _syntax(message: str, text: str, name: str) -> str:
    """Rewrite a message of tomllib in the order file, line, reason."""
    place = _PLACE.search(message)
    reason = message[: place.start()] if place else message
    declared = re.fullmatch(r"Cannot declare \((.*?),?\) twice", reason)
    if declared:
        keys = re.findall(r"'((?:[^'\\]|\\.)*)'", declared[1])
        reason = f"{toml_header(keys)} is declared twice" if keys else reason
    elif reason == "Cannot overwrite a value":
        reason = "a key is given twice"
    line, column = (
        (int(place[1]), f", column {place[2]}") if place and place[1] else (text.rstrip().count("\n") + 1, "")
    )
    return f"{name}, line {line}: is not valid TOML ({reason}{column})"
