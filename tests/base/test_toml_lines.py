"""Lines of values in TOML texts: every way to write a key, and texts that are no TOML."""

import re
import tomllib

import hypothesis
import hypothesis.strategies as st
import pytest

from analogsim import InputError
from analogsim.base.toml_lines import line_of, lines_by_path
from analogsim.base.toml_text import TomlFile, toml_header, toml_key, toml_section, toml_value

TEXT = '''# a comment with [brackets] and a = 1
title = "a # is no comment, nor is [this] = a header"

a.b.c = 1
"quoted.key" = 2  # beside a value
'single' = 3
"tab\\there" = 4

[table]  # a header
plain = """
[not_a_header]
x = 1
\\"""" # after a text of several lines
literal = \'\'\'
[neither] ''\'\'\'
inline = { x = 1, y = { z = [1, { w = 2 }] } }
array = [  # over several lines
    1,
    { deep = 2 },  # second
    [3,
     4],
]
after = true

[ table . "sub table" ]
x = 1

[[list]]
x = 1
[[list]]
x = 2
[list.inner]
y = 3
[[list.many]]
z = 1
[[list.many]]
z = 2

[implicit.deep]
last = 1979-05-27T07:32:00Z'''

LINES = {
    ("title",): 2,
    ("a",): 4,
    ("a", "b"): 4,
    ("a", "b", "c"): 4,
    ("quoted.key",): 5,
    ("single",): 6,
    ("tab\there",): 7,
    ("table",): 9,
    ("table", "plain"): 10,
    ("table", "literal"): 14,
    ("table", "inline"): 16,
    ("table", "inline", "x"): 16,
    ("table", "inline", "y", "z", 1, "w"): 16,
    ("table", "array"): 17,
    ("table", "array", 0): 18,
    ("table", "array", 1): 19,
    ("table", "array", 1, "deep"): 19,
    ("table", "array", 2): 20,
    ("table", "array", 2, 0): 20,
    ("table", "array", 2, 1): 21,
    ("table", "after"): 23,
    ("table", "sub table"): 25,
    ("table", "sub table", "x"): 26,
    ("list",): 28,
    ("list", 0): 28,
    ("list", 0, "x"): 29,
    ("list", 1): 30,
    ("list", 1, "x"): 31,
    ("list", 1, "inner"): 32,
    ("list", 1, "inner", "y"): 33,
    ("list", 1, "many", 0, "z"): 35,
    ("list", 1, "many", 1): 36,
    ("list", 1, "many", 1, "z"): 37,
    ("implicit",): 39,
    ("implicit", "deep"): 39,
    ("implicit", "deep", "last"): 40,
}


def places(value, path=()):
    """Every path of a parsed text."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in items:
        yield (*path, name)
        yield from places(inner, (*path, name))


@pytest.mark.parametrize("path", LINES, ids=str)
def test_every_way_to_write_a_key(path):
    tomllib.loads(TEXT)
    assert line_of(TEXT, path) == LINES[path]
    assert line_of(TEXT.replace("\n", "\r\n"), path) == LINES[path]


def test_exactly_the_values_of_the_text_have_lines():
    assert set(places(tomllib.loads(TEXT))) == set(lines_by_path(TEXT))


@pytest.mark.parametrize("path", [(), ("x",), ("title", "x"), ("list", 2), ("table", "array", 3), ("not_a_header",)])
def test_what_the_text_lacks_has_no_line(path):
    assert line_of(TEXT, path) is None


def test_a_byte_order_mark_is_skipped():
    assert line_of("\ufeffa = 1\nb = 2", ("b",)) == 2


names = st.one_of(st.sampled_from(["a", "b", "rows", "g_max"]), st.text(st.characters(codec="utf-8"), max_size=6))
scalars = st.one_of(
    st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(), st.text(st.characters(codec="utf-8"), max_size=12)
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3), max_leaves=8
)


@hypothesis.given(st.dictionaries(names, values, max_size=4))
def test_what_is_written_is_read_back_and_every_value_has_its_line(content):
    text = toml_section(["top"], content)
    back = tomllib.loads(text)
    assert repr(back) == repr({"top": back["top"]})
    assert toml_value(back["top"]) == toml_value(_tables_last(content))
    assert set(places(back)) == set(lines_by_path(text))
    for (*_, name), line in ((path, n) for path, n in lines_by_path(text).items() if isinstance(path[-1], str)):
        assert toml_key(name) in text.split("\n")[line - 1]


def _tables_last(content):
    """A dictionary in the order in which it is written as sections."""
    last = {name: _tables_last(value) for name, value in content.items() if isinstance(value, dict)}
    return {name: value for name, value in content.items() if name not in last} | last


@hypothesis.given(
    st.one_of(st.text(), st.text("a.=[]{},\"'\\\n#1 "), st.text("a=[]\"'\n").map(lambda t: TEXT[:60] + t))
)
def test_any_text_may_be_asked(text):
    assert all(1 <= line <= text.count("\n") + 1 for line in lines_by_path(text).values())
    assert line_of(text, ("a", 0, "b")) is None or isinstance(line_of(text, ("a", 0, "b")), int)


def test_a_long_text_takes_a_moment():
    text = "".join(f'key{i} = ["text", {{ x = 1 }}, 2]\n' for i in range(5000))
    assert line_of(text, ("key4999", 1, "x")) == 5000
    assert line_of("a = " + "[" * 20_000, ("a",)) == 1


@pytest.mark.parametrize(
    ("item", "written"),
    [
        (0.1, "0.1"),
        (1e22, "1e+22"),
        (-0.0, "-0.0"),
        (float("inf"), "inf"),
        (float("-inf"), "-inf"),
        (float("nan"), "nan"),
        (True, "true"),
        ((), "[]"),
        ({}, "{}"),
        ('\\ " \n \x00 \x7f µ', '"\\\\ \\" \\u000a \\u0000 \\u007f µ"'),
        ({"a b": (1, "x")}, '{ "a b" = [1, "x"] }'),
    ],
)
def test_plain_values(item, written):
    assert toml_value(item) == written
    back = tomllib.loads(f"x = {written}")["x"]
    assert repr(back) == repr(list(item) if isinstance(item, tuple) else back if isinstance(item, dict) else item)


@pytest.mark.parametrize("item", [None, 1j, object(), [None], "\ud800", {"\udfff": 1}])
def test_what_toml_lacks_is_refused(item):
    with pytest.raises(InputError, match=r"TOML file"):
        toml_value(item)


def test_headers():
    assert toml_header(["store", "cell 1"]) == '[store."cell 1"]'
    assert toml_header(["training", "of"], is_array=True) == "[[training.of]]"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = 1\nb = = 2", r"f.toml, line 2: is not valid TOML (Invalid value, column 5)"),
        ("a = 1\nb = [1,", r"f.toml, line 2: is not valid TOML (Invalid value)"),
        ("a = 1\nc = 1\na = 2\nd = 1", r"f.toml, line 3: is not valid TOML (a key is given twice, column 6)"),
        ("a = 1\na = 2", r"f.toml, line 2: is not valid TOML (a key is given twice)"),
        ("[a]\nx=1\n[b]\n[a]", r"f.toml, line 4: is not valid TOML ([a] is declared twice, column 3)"),
        ("[a.b]\n[a.b]\n", r"f.toml, line 2: is not valid TOML ([a.b] is declared twice, column 5)"),
        ("a = " + "[" * 100_000, r"f.toml: is not valid TOML (nested too deep)"),
        ("a = " + "1" * 5000, r"f.toml: is not valid TOML (Exceeds the limit (4300"),
    ],
    ids=range(8),
)
def test_what_is_no_toml_is_named_with_its_line(text, message):
    with pytest.raises(InputError, match="^" + re.escape(message)):
        TomlFile.parse(text, "f.toml")


def test_errors_fall_back_to_what_encloses_them():
    file = TomlFile.parse("a = 1\n[b]\nc = 1", "f.toml")
    assert str(file.error(("b", "d", 0), "x")) == "f.toml, line 2: x"
    assert str(file.error(("z",), "x")) == "f.toml: x"
    assert len(str(file.error((), "x" * 10_000))) < 700
