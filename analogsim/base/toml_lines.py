"""Line numbers of the values in a TOML file, for error messages.

``tomllib`` returns values without their positions; this scan finds positions without values. It handles headers, arrays
of tables, dotted and quoted keys, arrays over several lines and inline tables. It assumes valid TOML, and finds what it
can in other text.
"""

import re
import tomllib
from collections.abc import Sequence

#: Keys and, within arrays, indices: ``("training", "of", 1, "std")``.
Path = tuple[str | int, ...]

_TOKEN = re.compile(
    r"""
    (?P<string> \"{3} (?:[^\\]|\\.)*? \"{3,5} | '{3} .*? '{3,5} | "(?:[^"\\\n]|\\.)*" | '[^'\n]*' )
  | (?P<space> [^\S\n]+ | \#[^\n]* )
  | (?P<newline> \n )
  | (?P<bare> [^\s\#"'\[\]{},=.]+ )
  | (?P<sign> . )
    """,
    re.VERBOSE | re.DOTALL,
)


_DEEPEST = 100  # longest path in keys, so that a file of brackets alone is scanned in linear time


def line_of(text: str, path: Sequence[str | int]) -> int | None:
    """Return the line, counted from 1, of a value; None if the file has no such value.

    The line of a table is that of its header or, without one, that of its first key. Values in inline tables and arrays
    have their own lines.

    Args:
      text: content of a TOML file.
      path: keys from the top of the file, and indices of arrays.

    Example:
      >>> text = 'rows = 4\\n[store]\\nkind = "Crossbar"\\ncell.g_max = "25 uS"'
      >>> line_of(text, ("store", "cell", "g_max")), line_of(text, ("store",)), line_of(text, ("adc",))
      (4, 2, None)
    """
    return lines_by_path(text).get(tuple(path))


def lines_by_path(text: str) -> dict[Path, int]:
    """Return the line of every value in a TOML file, by its path."""
    scan = _Scan()
    line = 1
    for match in _TOKEN.finditer(text.removeprefix("\ufeff")):
        if match.lastgroup != "space":
            scan.take(str(match.lastgroup), match[0], line)
        line += match[0].count("\n")
    return scan.lines


class _Scan:
    """State of the scan: open tables and arrays at the current position."""

    def __init__(self) -> None:
        self.lines: dict[Path, int] = {}
        self.arrays: dict[Path, int] = {}  # arrays of tables, with the number of their tables
        self.table: Path = ()  # path of the last header
        self.open: list[tuple[Path, int | None]] = []  # arrays with the current index, inline tables with None
        self.parts: list[str] = []  # parts of the current key
        self.path: Path = ()  # path of the current value
        self.state = "key"  # or "value", or "header"
        self.brackets = 0  # opening brackets of the current header

    def take(self, group: str, token: str, line: int) -> None:
        if group == "newline":
            if not self.open:
                self.state, self.parts = "key", []
        elif self.state == "header":
            self._header(group, token, line)
        elif self.state == "key":
            self._key(group, token, line)
        else:
            self._value(token, line)

    def _key(self, group: str, token: str, line: int) -> None:
        if group != "sign":
            self.parts.append(_name(token))
        elif token == "=":
            base = self.open[-1][0] if self.open else self.table
            self.path = (*base, *self.parts)[:_DEEPEST]
            self._note(self.path, line)
            self.state = "value"
        elif token == "[" and not self.open and not self.parts:
            self.state, self.brackets = "header", 1
        elif token == "}" and self.open:
            self._close()

    def _header(self, group: str, token: str, line: int) -> None:
        if group != "sign":
            self.parts.append(_name(token))
        elif token == "[":
            self.brackets += 1
        elif token == "]" and self.parts:
            self.table = self._resolved(self.parts, self.brackets > 1)
            self._note(self.table, line)
            self.parts = []

    def _resolved(self, parts: list[str], is_array: bool) -> Path:
        """Return a header's path, with the index of the last table after each array of tables."""
        path: Path = ()
        for i, part in enumerate(parts):
            path = (*path, part)
            if is_array and i == len(parts) - 1:
                self.arrays[path] = self.arrays.get(path, 0) + 1
            if path in self.arrays:
                path = (*path, self.arrays[path] - 1)
        return path

    def _value(self, token: str, line: int) -> None:
        if token == ",":
            self._next()
        elif token in ("]", "}"):
            self._close()
        else:
            array, index = self.open[-1] if self.open else ((), None)
            if index is not None:
                self.path = (*array, index)[:_DEEPEST]
                self._note(self.path, line)
            if token == "[":
                self.open.append((self.path, 0))
            elif token == "{":
                self.open.append((self.path, None))
                self.state, self.parts = "key", []

    def _next(self) -> None:
        if not self.open:
            return
        path, index = self.open[-1]
        if index is None:
            self.state, self.parts = "key", []
        else:
            self.open[-1] = (path, index + 1)

    def _close(self) -> None:
        if self.open:
            self.path = self.open.pop()[0]
        self.state = "value"

    def _note(self, path: Path, line: int) -> None:
        for n in range(len(path), 0, -1):
            if path[:n] in self.lines:
                return
            self.lines[path[:n]] = line


def _name(token: str) -> str:
    """Return a key without quotes."""
    if token[0] not in "\"'":
        return token
    try:
        return tomllib.loads(f"key = {token}")["key"]
    except ValueError:  # not valid TOML
        return token
