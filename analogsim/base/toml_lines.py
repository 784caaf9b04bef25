"""Where a value stands in a TOML text, so that a message can name the line.

``tomllib`` gives values without their places. This scan finds the places and no values. It knows headers, arrays of
tables, dotted and quoted keys, arrays over several lines and inline tables, and takes the text as TOML: of a text that
is none it finds what it can.
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


_DEEPEST = 100  # keys of a path that are told apart, so that a text of brackets alone takes no time


def line_of(text: str, path: Sequence[str | int]) -> int | None:
    """The line, counted from 1, on which a value is given; None where the text gives no such value.

    Args:
      text: of a TOML file.
      path: keys from the top of the file, and indices of arrays.

    A table is where its header is, or, without one, where it is first named. What stands in an inline table or an array
    is where it is itself, which for an inline table is the line of the key that holds it.

    Example:
      >>> text = 'rows = 4\\n[store]\\nkind = "Crossbar"\\ncell.g_max = "25 uS"'
      >>> line_of(text, ("store", "cell", "g_max")), line_of(text, ("store",)), line_of(text, ("adc",))
      (4, 2, None)
    """
    return lines_by_path(text).get(tuple(path))


def lines_by_path(text: str) -> dict[Path, int]:
    """The line of everything that a TOML text gives, by its path."""
    scan = _Scan()
    line = 1
    for match in _TOKEN.finditer(text.removeprefix("\ufeff")):
        if match.lastgroup != "space":
            scan.take(str(match.lastgroup), match[0], line)
        line += match[0].count("\n")
    return scan.found


class _Scan:
    """What is open at one place of the text."""

    def __init__(self) -> None:
        self.found: dict[Path, int] = {}
        self.arrays: dict[Path, int] = {}  # arrays of tables, with the number of their tables
        self.table: Path = ()  # of the last header
        self.open: list[tuple[Path, int | None]] = []  # arrays with their index, inline tables with None
        self.parts: list[str] = []  # of the key that is being read
        self.path: Path = ()  # of the value that is being read
        self.state = "key"  # or "value", or "header"
        self.brackets = 0  # of a header

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
        """A header's path, with the index of the last table wherever it leads through an array of tables."""
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
            if path[:n] in self.found:
                return
            self.found[path[:n]] = line


def _name(token: str) -> str:
    """A key without its quotes."""
    if token[0] not in "\"'":
        return token
    try:
        return tomllib.loads(f"key = {token}")["key"]
    except ValueError:  # a text that is no TOML
        return token
