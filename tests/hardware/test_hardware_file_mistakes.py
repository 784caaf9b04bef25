"""Mistakes in hardware files: one sentence with the line, and nothing else whatever the file holds."""

import dataclasses
import re

import hypothesis
import hypothesis.strategies as st
import pytest

from analogsim import Hardware, InputError, from_toml, load_hardware, preset, to_toml
from analogsim.base.toml_text import TomlFile
from analogsim.hardware.file import hardware_from
from analogsim.hardware.kinds import KINDS

FILE = """\
# my hardware
name = "my pcm"
rows = 256

[store]
kind = "Crossbar"

[store.cell]
kind = "PCM"
g_max = "25 uS"
drift_mean = [0.0244,
  -0.0155]

[adc]
kind = "ADC"
bits = 8

[training]
kind = "Chain"
modifiers = [
  { kind = "Discretise", bits = 5 },
  { kind = "AdditiveNoise", std = 0.05 },
]
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("rows = 256", "rosw = 256", "3: Hardware has no field 'rosw'; did you mean 'rows'?"),
        ("[store.cell]", "[store.cel]", "8: Crossbar has no field 'cel'; did you mean 'cell'?"),
        ('"25 uS"', "-1", "10: PCM.g_max = -1: must be greater than 0 and at most 0.001 (unit: S)"),
        ('"25 uS"', '"25 V"', "10: PCM.g_max = '25 V': unknown unit 'V', expected S; known: GS, MS, S"),
        ('"25 uS"', "nan", "10: PCM.g_max = nan: must be greater than 0 and at most 0.001 (unit: S)"),
        ('"25 uS"', "inf", "10: PCM.g_max = inf: must be greater than 0 and at most 0.001 (unit: S)"),
        ('"25 uS"', "1e999", "10: PCM.g_max = inf: must be greater than 0 and at most 0.001 (unit: S)"),
        ('"25 uS"', "true", "10: PCM.g_max = True: must be a number greater than 0"),
        ('"25 uS"', "[1e-6]", "10: PCM.g_max = [1e-06]: must be a number greater than 0"),
        ('"25 uS"', "{ x = 1 }", "10: PCM.g_max = {'x': 1}: must be a number greater than 0"),
        ('"25 uS"', "1979-05-27", "10: store.cell.g_max = 1979-05-27: must not be a date or a time of day"),
        ('"25 uS"', "9" * 30, "10: store.cell.g_max: integers must have at most 64 bits"),
        ('"25 uS"', '"25 uS"\ng_min = 1', "11: PCM.g_min = 1: must be at least 0 and at most 0.001 (unit: S)"),
        ('"25 uS"', '"25 uS"\ng_min = "30 uS"', "11: PCM.g_min = 3e-05: must be less than g_max = 2.5e-05 (unit: S)"),
        ("  -0.0155]", "  -0.0155, 1]", "11: PCM.drift_mean = [0.0244, -0.0155, 1]: must be 2 numbers"),
        ('kind = "PCM"', 'kind = "PMC"', "9: Crossbar.cell.kind: unknown class 'PMC'; did you mean 'PCM'?"),
        ('kind = "PCM"', "kind = 3", "9: Crossbar.cell.kind: unknown class '3'; known: CMOReRAM, ECRAM"),
        ('kind = "PCM"', 'kind = "ADC"', "9: Crossbar.cell.kind: class 'ADC' does not fit here; "),
        ('kind = "PCM"', 'kind = "os.system"', "9: Crossbar.cell.kind: unknown class 'os.system'; "),
        ('kind = "ADC"\n', "", "14: Hardware.adc: needs a kind, one of ADC, CyclicADC, PipelineADC, RampADC, SARADC"),
        ("bits = 8", 'bits = "none"', "16: ADC.bits = 'none': expected a number such as '2.5'"),
        ("bits = 8", "bits = 8.5", "16: ADC.bits = 8.5: must be an integer"),
        ("bits = 8", 'style = "up"', "16: ADC.style = 'up': must be one of 'mid-tread', 'mid-rise'"),
        ("bits = 5", "bits = 50", "21: Discretise.bits = 50: must be an integer between 2 and 24"),
        ("bits = 5", "bit = 5", "21: Discretise has no field 'bit'; did you mean 'bits'?"),
        ("bits = 5", "", "0: "),
        (', std = 0.05', "", "22: AdditiveNoise needs a value for 'std'"),
        ('  { kind = "AdditiveNoise", std = 0.05 },\n', "", "20: Chain.modifiers = (Discretise(bits=5),): must"),
        ('"AdditiveNoise", std = 0.05', '"FreshChip"', "22: Chain.modifiers[1] = FreshChip(): must be one of"),
        ('{ kind = "Discretise", bits = 5 }', "{ bits = 5 }", "21: Chain.modifiers[0]: is a table without a kind"),
        ('[store.cell]', "wires = 3\n[store.cell]", '8: Crossbar.wires = 3: must be a table with a kind (Wires), or'),
        ('[store.cell]', '[[store.wires]]\n[store.cell]', "8: Crossbar.wires = a list: must be a table with a kind"),
        ('[store.cell]', '"mapping.sides" = true\n[store.cell]', "8: Differential.sides = True: must be one of 1, 2"),
        ('[store.cell]', '"mapping.sides" = [2]\n[store.cell]', "8: Differential.sides = [2]: must be one of 1, 2"),
        ('[store.cell]', '"mapping..sides" = 2\n[store.cell]', "8: 'mapping..sides' names no field"),
        ('[store.cell]', '"cell.g_max" = 2e-5\n[store.cell]', "11: store.cell.g_max: is given twice"),
        ("rows = 256", 'rows = 256\n"rows.x" = 2', "4: rows.x: 'rows' is not a table and has no fields"),
        ("rows = 256", "rows = 256\nrows = 256", "4: is not valid TOML (a key is given twice, column 11)"),
        ("rows = 256", "rows =", "3: is not valid TOML (Invalid value, column 7)"),
        ("rows = 256", "rows = 256\nname = 3", "4: is not valid TOML (a key is given twice, column 9)"),
        ('name = "my pcm"', "name = 3", "2: Hardware.name = 3: must be a string"),
        ('name = "my pcm"', 'preset = "pmc"', "2: unknown preset 'pmc'; did you mean 'pcm'?"),
        ('name = "my pcm"', "preset = 3", "2: unknown preset 3: must be the name of one"),
        ('name = "my pcm"', 'kind = "Crossbar"', "2: kind: must be 'Hardware' here, or left out"),
        ('name = "my pcm"', '"a\\nb" = 1', "2: Hardware has no field 'a\\nb'; known: adc, bound_management"),
        ("rows = 256", "input_range = { kind = 'LearnedRange', rule = 'gradient' }\nbound_management = 'iterative'",
         "3: Hardware.input_range = LearnedRange(rule='gradient'): must not be learned with bound_management"),
        ("rows = 256", "a = " + "[" * 25 + "]" * 25, "3: tables and lists are nested more than 20 deep"),
        ("rows = 256", ".".join("a" * 30) + " = 1", "3: tables and lists are nested more than 20 deep"),
        ("rows = 256", f'"{".".join("a" * 30)}" = 1', "3: tables and lists are nested more than 20 deep"),
    ],
)  # fmt: skip
def test_mistakes_are_named_with_their_line(old, new, message):
    text = FILE.replace(old, new, 1)
    if message == "0: ":  # a comma too many
        message = "21: is not valid TOML"
    with pytest.raises(InputError) as error:
        from_toml(text, name="my.toml")
    assert str(error.value).startswith(f"my.toml, line {message}")
    assert "\n" not in str(error.value)


def test_tables_of_measurements_are_checked_by_row():
    text = '[store]\nkind = "Crossbar"\n[store.cell]\nkind = "MeasuredCell"\nconductance = [0, 1e-5]\n'
    text += "time_s = [1]\nsigma = [\n  [1e-7,\n   X]]"
    for value, message in (
        ("-1", "9: MeasuredCell.sigma = -1: must be at least 0 and at most 1 (unit: S)"),
        ('"1 V"', "9: MeasuredCell.sigma = '1 V': unknown unit 'V'"),
        ("[1e-7]", "8: MeasuredCell.sigma: all rows must have the same length"),
        ("{ a = 1 }", "9: MeasuredCell.sigma = {'a': 1}: must be a number"),
        (
            "1e-7, 1e-7",
            "7: MeasuredCell.sigma has shape (1, 3): must be [n_t, n_g] = (1, 2)",
        ),
    ):
        with pytest.raises(InputError, match="^" + re.escape(f"hardware, line {message}")):
            from_toml(text.replace("X", value))


def test_files_that_cannot_be_read(tmp_path):
    latin = tmp_path / "latin.toml"
    latin.write_bytes('name = "a"\n# 25 µS'.encode("latin-1"))
    large = tmp_path / "large.toml"
    large.write_bytes(b"#" * (4 * 2**20 + 1))
    for path, message in (
        (tmp_path / "none.toml", "none.toml: there is no such file"),
        (tmp_path, ": is a folder or a device, must be a TOML file"),
        ("/dev/null", "/dev/null: is a folder or a device, must be a TOML file"),
        (latin, "latin.toml, line 2: is not written in UTF-8"),
        (large, "large.toml: has 4194305 bytes, must have at most 4194304"),
        ("x" * 5000, "cannot be read (File name too long)"),
        ("a\0b.toml", "there is no such file"),
        (3, "path = 3: must be the path of a TOML file"),
        (None, "path = None: must be the path of a TOML file"),
    ):
        with pytest.raises(InputError) as error:
            load_hardware(path)
        assert message in str(error.value)
        assert len(str(error.value)) < 600


# --- anything else ---------------------------------------------------------------------------------------------------


def outcome(read):
    """What is read, or the sentence that refuses it; any other error is one of the reader."""
    try:
        return read()
    except InputError as error:
        return str(error)


def hardware_or_refusal(text):
    """Whatever the text is."""
    found = outcome(lambda: from_toml(text, name="f.toml"))
    if isinstance(found, Hardware):
        assert repr(from_toml(to_toml(found))) == repr(found)
    else:
        assert found.startswith("f.toml")
        assert "\n" not in found
        assert len(found) < 1000


names = st.sampled_from(
    sorted({f.name for kind in (Hardware, *KINDS.values()) for f in dataclasses.fields(kind)} | {"kind", "preset"})
)
scalars = st.one_of(
    st.sampled_from(["none", "pcm", "25 uS", "1 day", *KINDS]),
    st.integers(),
    st.floats(),
    st.booleans(),
    st.text(max_size=5),
)
tables = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names | st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)
VALID = [to_toml(preset(name), all_fields=full) for name in ("pcm", "ring-bank") for full in (False, True)] + [FILE]


@hypothesis.given(st.one_of(st.text(), st.text("abn.=[]{},\"'\\\n#10 "), st.text().map(lambda t: FILE[:60] + t)))
def test_any_text_gives_hardware_or_a_sentence(text):
    hardware_or_refusal(text)


@hypothesis.given(st.dictionaries(names, tables, max_size=5))
@hypothesis.settings(max_examples=200)
def test_any_dictionary_gives_hardware_or_a_sentence(content):
    found = outcome(lambda: hardware_from(TomlFile("f.toml", "", content)))
    assert isinstance(found, Hardware) or found.startswith("f.toml: ")


@hypothesis.given(st.sampled_from(VALID), st.data())
@hypothesis.settings(max_examples=150)
def test_a_file_with_a_slip_gives_hardware_or_a_sentence(text, data):
    lines = text.splitlines()
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(lines) - 1))
        what = data.draw(st.sampled_from(["delete", "repeat", "swap", "character", "value"]))
        if what == "delete":
            lines = lines[:at] + lines[at + 1 :] or [""]
        elif what == "repeat":
            lines.insert(data.draw(st.integers(0, len(lines))), lines[at])
        elif what == "swap":
            other = data.draw(st.integers(0, len(lines) - 1))
            lines[at], lines[other] = lines[other], lines[at]
        elif what == "character" and lines[at]:
            i = data.draw(st.integers(0, len(lines[at]) - 1))
            lines[at] = lines[at][:i] + data.draw(st.sampled_from(list('"=[]{}#.,-x1 \\'))) + lines[at][i + 1 :]
        else:
            value = st.sampled_from(["0", "-1", "1e300", "nan", "inf", '"none"', "[]", "{}", "[1, 2]", "true", '"PCM"'])
            lines[at] = re.sub(r"= [^#]*", f"= {data.draw(value)} ".replace("\\", ""), lines[at])
    hardware_or_refusal("\n".join(lines))


def test_nothing_in_a_file_is_imported_or_evaluated(monkeypatch):
    monkeypatch.setattr("builtins.eval", None)
    monkeypatch.setattr("builtins.exec", None)
    for kind in ("os.system", "pickle.Unpickler", "builtins.eval", "__import__('os')"):
        with pytest.raises(InputError, match="unknown class"):
            from_toml(f"[store]\nkind = {kind!r}" if "'" not in kind else f'[store]\nkind = "{kind}"')
    assert from_toml("name = '''__import__(\"os\").abort()'''").name == '__import__("os").abort()'
