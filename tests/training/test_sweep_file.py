"""Sweeps in TOML files: what they mean, mistakes with their lines, and the command."""

import json

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from typer.testing import CliRunner

from analogsim import InputError, preset
from analogsim.base.toml_text import TomlFile
from analogsim.cli.app import app
from analogsim.devices import PCM, ReRAM
from analogsim.sweeps import load_results
from analogsim.training.recipes.sweep_file import EXAMPLE, load_sweep, parse_sweep

HEAD = '[data]\nname = "digits"\n[model]\nname = "mlp"\n'


def parsed(over, more=""):
    return parse_sweep(TomlFile.parse(f"{HEAD}{more}[over]\n{over}", "my.toml"))


def test_the_example_is_a_sweep():
    found = parse_sweep(TomlFile.parse(EXAMPLE, "example"))
    assert list(found.over) == ["adc.bits", "store.cell.programming_noise", "time"]
    assert found.over["time"] == ["1 s", "1 day", "1 year"]
    assert found.settings.chips == 10
    assert found.hardware == preset("pcm")
    assert not found.aware


def test_axes_are_written_in_every_way_that_toml_allows():
    assert parsed('"adc.bits" = [4, 6]').over == parsed("adc.bits = [4, 6]").over == {"adc.bits": [4, 6]}
    assert parsed("[over.adc]\nbits = [4, 6]").over == {"adc.bits": [4, 6]}
    assert parsed('"dac.bits, adc.bits" = [[4, 5], [7, 8]]').over == {("dac.bits", "adc.bits"): [(4, 5), (7, 8)]}
    assert parsed('adc = ["none"]').over == {"adc": [None]}
    assert parsed('drift_compensation = ["none", "global"]').over == {"drift_compensation": ["none", "global"]}
    cells = parsed('[over."store.cell"]\nours = { kind = "PCM", g_max = "20 uS" }\ntheirs = { kind = "ReRAM" }').over
    assert cells == {"store.cell": {"ours": PCM(g_max=20e-6), "theirs": ReRAM()}}
    whole = parsed('hardware = ["pcm", "reram"]')
    assert whole.hardware is None
    assert parsed("adc.bits = [4]", "[aware]\nepochs = 2\n").aware


MISTAKES = [
    ("adc.bitz = [4]", "my.toml, line 6: over: ADC has no field 'bitz'; did you mean 'bits'?"),
    ('time = ["1 s"]\n"adc.bits" = [4, 99]', "my.toml, line 7: over: adc.bits: ADC.bits = 99"),
    ('"adc.bits" = 4', "my.toml, line 6: over: adc.bits = 4: must be a list"),
    ("adc.bits = [4]\nadc.bits = [4]", "my.toml, line 7: is not valid TOML"),
    ('"adc.bits" = [4]\nadc = ["none"]', "my.toml, line 5: over: 'adc.bits' is set by two axes"),
    ('store = [{ kind = "Crossbra" }]', "my.toml, line 6: store.kind: unknown class 'Crossbra'"),
    ('"dac.bits, adc.bits" = [4]', "my.toml, line 6: over: dac.bits, adc.bits: every value must be a list of 2"),
    ('time = ["yesterday"]', "my.toml, line 6: over: time = 'yesterday'"),
    ('hardware = ["pmc"]', "my.toml, line 6: unknown preset 'pmc'; did you mean 'pcm'?"),
    ("adc.bits = [4]\n[sweep]\nchips = 0", "my.toml, line 8: Sweep.chips = 0: must be an integer between 1"),
    ('"adc.bits" = [\n4,\n99]', "my.toml, line 8: over: adc.bits: ADC.bits = 99"),
    ('store = { kind = "Crossbar" }', "my.toml, line 6: over: store: must be a list of values"),
    ("[over.adc]", "my.toml, line 6: over: adc: has no value"),
    ('hardware = ["pcm"]\n[hardware]\npreset = "pcm"', "my.toml, line 7: hardware: is swept in [over]"),
    ("adc.bits = [4]\n[swep]", "my.toml, line 7: has a section 'swep', which no sweep has; did you mean 'sweep'?"),
]


@pytest.mark.parametrize(("over", "message"), MISTAKES, ids=[message for _, message in MISTAKES])
def test_mistakes_are_named_with_their_line(over, message):
    with pytest.raises(InputError) as error:
        parsed(over)
    assert str(error.value).startswith(message)


def test_sections_that_are_needed():
    for missing in ("data", "model", "over"):
        text = "".join(f'[{name}]\nname = "mlp"\n' for name in ("data", "model", "over") if name != missing)
        with pytest.raises(InputError, match=rf"my\.toml: needs a section \[{missing}\]"):
            parse_sweep(TomlFile.parse(text, "my.toml"))
    with pytest.raises(InputError, match="there is no such file"):
        load_sweep("/nowhere.toml")


@hypothesis.settings(max_examples=300)
@hypothesis.given(st.data())
def test_mutated_files_give_a_sweep_or_one_sentence(data):
    lines = EXAMPLE.splitlines()
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(lines) - 1))
        how = data.draw(st.sampled_from(["drop", "twice", "character", "value"]))
        if how == "drop":
            lines[at] = ""
        elif how == "twice":
            lines.insert(at, lines[at])
        elif how == "character" and lines[at]:
            place = data.draw(st.integers(0, len(lines[at]) - 1))
            lines[at] = lines[at][:place] + data.draw(st.characters(codec="utf-8")) + lines[at][place + 1 :]
        elif "=" in lines[at]:
            value = data.draw(
                st.sampled_from(["[]", "[1]", '["x"]', "nan", "[inf]", "{}", "[{}]", "-1", "true", "[[1]]"])
            )
            lines[at] = lines[at].partition("=")[0] + "= " + value
    said = "my.toml"
    try:
        parse_sweep(TomlFile.parse("\n".join(lines), "my.toml"))
    except InputError as error:
        said = str(error)
    assert "my.toml" in said
    assert "\n" not in said


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """The command, run once on a small file."""
    folder = tmp_path_factory.mktemp("sweep")
    over = "[over]\nadc.bits = [3, 8]\ntime = ['1 s', '1 day']\n"
    (folder / "my.toml").write_text(f"{HEAD}[digital]\nepochs = 2\n{over}[sweep]\nchips = 2\nexamples = 50")
    arguments = ["sweep", str(folder / "my.toml"), "--out", str(folder / "r.nc")]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    return folder, arguments, done.output


def test_the_command_writes_results_and_prints_a_table(swept):
    folder, _, printed = swept
    data = load_results(folder / "r.nc")
    assert dict(data.score.sizes) == {"adc.bits": 2, "time": 2, "chip": 2}
    row = next(line for line in printed.splitlines() if line.split()[:1] == ["3"])
    expected = data.score.sel({"adc.bits": 3}).values.astype(float)
    assert [float(row.split()[i]) for i in (1, 4)] == pytest.approx(100 * expected.mean(-1), abs=6e-3)
    assert [float(row.split()[i]) for i in (3, 6)] == pytest.approx(100 * expected.std(-1, ddof=1), abs=6e-3)
    assert float(data.digital) > 0.5
    assert np.isfinite(data.score).all()


def test_a_second_run_goes_on_and_json_is_for_scripts(swept):
    folder, arguments, _ = swept
    before = (folder / "r.nc").read_bytes()
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["path"] == str(folder / "r.nc")
    assert "score" in found["statistics"]["data_vars"]
    assert (folder / "r.nc").read_bytes() == before
    assert len(list((folder / "r.networks").iterdir())) == 1  # trained once


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--chips", "3"], "differs in the number of chips"),
        (["--no-resume"], "already exists"),
        (["--workers", "2", "--dask", "tcp://x:1"], "--workers, --dask: give only one"),
        (["--workers", "-1"], "--workers -1: must be at least 0"),
        (["--out", "r.txt"], "must end in .nc"),
        (["--out", "."], "must end in .nc"),
        (["--example"], "takes no other argument"),
    ],
    ids=str,
)
def test_mistakes_on_the_command_line(swept, more, message):
    done = CliRunner().invoke(app, [*swept[1], *more])
    assert done.exit_code == 1
    assert isinstance(done.exception, InputError)
    assert message in str(done.exception)


def test_the_example_is_printed():
    assert CliRunner().invoke(app, ["sweep", "--example"]).output == EXAMPLE
    assert "needs a TOML file" in str(CliRunner().invoke(app, ["sweep"]).exception)
