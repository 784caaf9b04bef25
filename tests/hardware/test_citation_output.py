"""Citations of a user's own papers, and citations as BibTeX, text, JSON and on the command line."""

import dataclasses
import json
import subprocess
import sys

import pybtex.database
import pytest
import typer.testing

from analogsim import InputError, cite, preset, presets
from analogsim.cli.app import app
from analogsim.devices import (
    PCM,
    Crossbar,
    Description,
    Paper,
    ReRAM,
    Source,
    cited,
    describe,
    field,
    sources,
    static,
)  # fmt: skip


def _entries(bibtex):
    """[(kind, key, {field: value})], as pybtex reads them."""
    entries = pybtex.database.parse_string(bibtex, "bibtex").entries
    return [
        (entry.type, key, dict(entry.fields) | {"author": " and ".join(map(str, entry.persons["author"]))})
        for key, entry in entries.items()
    ]


def _keys(found):
    return [paper.key for paper in found.papers]


def _fields(found, key):
    (citation,) = [c for c in found if c.paper.key == key]
    return set(citation.fields) - {"equations"}


# --- one's own sources -----------------------------------------------------------------------------------------------

OURS = Paper(
    key="joshi2020",  # taken already, by another paper
    authors=("Doe, Zoë", "Šimić, Ana"),
    title="R&D of cells: 50 % of {all} costs_1 $",
    year=2026,
    venue="J. Cells",
    volume="1",
    pages="7-9",
    doi="10.1234/cells.1",
)


class OwnCell(Description):
    """As a user would write one."""

    g_max: float = field(default=30e-6, unit="S", gt=0, doc="largest conductance", source=Source((OURS,), "Fig. 2"))
    g_min: float = field(default=1e-6, unit="S", gt=0, doc="smallest", source="Roe, 2025 (recalled)")
    steps: int = static(default=8, ge=2, integer=True, doc="levels", source="data sheet")
    inner: PCM = field(factory=PCM, kind=PCM, doc="another")


def test_a_user_s_own_paper_and_texts_are_cited():
    found = cite(OwnCell())
    assert next(iter(found)) == (OURS, (found.uses[0],))
    assert found.uses[0].path == "g_max"
    assert [(path, value, str(source)) for path, value, source in found.recalled] == [
        ("g_min", "1 µS", "Roe, 2025 (recalled)")
    ]
    other = [use for use in found.without_paper if use.path != "inner.reading_s"]  # of the PCM inside
    assert [(use.path, use.value, str(use.source)) for use in other] == [("steps", "8", "data sheet")]
    keys = [key for _, key, _ in _entries(found.bibtex)]
    assert keys[0] == "joshi2020"
    assert "joshi2020-2" in keys
    assert len(set(keys)) == len(keys)


def test_help_describe_and_sources_show_the_text():
    text = "Doe and Šimić, J. Cells 1, 7 (2026), doi 10.1234/cells.1; Fig. 2"
    assert f"g_max = 3e-05 S: largest conductance [{text}]" in OwnCell.__doc__
    assert "g_max = 30 µS   largest conductance" in describe(OwnCell())
    assert sources(OwnCell())[:3] == [text, "Roe, 2025 (recalled)", "data sheet"]
    assert "Joshi et al., Nat. Commun. 11, 2473 (2020), doi 10.1038/s41467-020-16108-9" in PCM.__doc__
    assert all(isinstance(source, str) for source in sources(preset("pcm")))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: cited("joshi2021").papers, "unknown paper 'joshi2021'; did you mean 'joshi2020'?"),
        (lambda: Source(), r"Source\(\): needs a paper or a note"),
        (lambda: str(Source(("joshi2020", "wan2021"))), "unknown paper 'wan2021'; did you mean 'wan2022'?"),
        (lambda: Source("joshi2020"), "Source.references = 'joshi2020': must be a tuple of Paper or of keys"),
        (lambda: dataclasses.replace(OURS, key="two words"), "Paper.key = 'two words': must be letters"),
        (lambda: dataclasses.replace(OURS, doi=""), "Paper joshi2020: needs a doi, an arxiv number or a url"),
        (lambda: dataclasses.replace(OURS, authors="Doe, Zoë"), "Paper joshi2020: needs authors"),
        (lambda: dataclasses.replace(OURS, title=""), "Paper joshi2020: needs authors .* and a title"),
    ],
)
def test_half_a_source_is_refused(build, message):
    with pytest.raises(InputError, match=message):
        build()


# --- BibTeX -----------------------------------------------------------------------------------------------------------


def test_bibtex_escapes_what_latex_would_take_for_itself():
    ((kind, _, fields),) = _entries(OURS.bibtex)
    assert kind == "article"
    assert fields["author"] == r"Doe, Zo{\"e} and {\v S}imi{\'c}, Ana"
    assert fields["title"] == r"{R\&D of cells: 50 \% of all costs\_1 \$}"
    assert fields["pages"] == "7--9"


@pytest.mark.parametrize("name", presets())
def test_bibtex_of_a_preset_has_every_paper_once(name):
    found = cite(preset(name))
    assert [key for _, key, _ in _entries(found.bibtex)] == _keys(found)


# --- output ----------------------------------------------------------------------------------------------------------


def test_the_text_says_who_stands_behind_what():
    found = cite(preset("pcm", **{"adc.bits": 6}))
    text, papers = str(found), len(found.papers)
    for expected in (f"{papers} papers", f"[{papers}] ", "Vinay Joshi et al.", "doi 10.1038/s41467-020-16108-9",
                     "Recalled", "energy_table.mac_j = 3.56 pJ", "Set by the user", "adc.bits = 6",
                     "without a paper",
                     "energy_table.read_voltage_v = 200 mV: typical, 0.2 to 0.5 V",
                     "training.time_s = 1 s"):  # fmt: skip
        assert expected in text, expected
    assert "dac: bits" in text
    assert "adc: bits" not in text
    assert max(map(len, text.splitlines())) <= 110


def test_the_command_line_prints_text_bibtex_and_json():
    def run(*arguments):
        done = typer.testing.CliRunner().invoke(app, ["cite", *arguments])
        assert done.exit_code == 0, done.output
        return done.output

    found = cite(preset("reram"))
    assert run("reram").strip() == found.text
    assert [key for _, key, _ in _entries(run("reram", "--bibtex"))] == _keys(found)
    data = json.loads(run("reram", "--json"))
    assert data["subject"] == "reram"
    assert [paper["key"] for paper in data["papers"]] == _keys(found)
    assert data["papers"][0]["doi"] == "10.1038/s41586-022-04992-8"
    assert {"store.cell.g_max", "rows"} <= set(data["papers"][0]["fields"])
    assert {"field": "training.time_s", "value": "1 s"} in data["chosen"]
    assert [entry["field"] for entry in data["recalled"]] == [path for path, _, _ in found.recalled]
    assert data["set_by_user"] == []


def test_citing_hardware_loads_no_energy_account():
    code = """
import sys, analogsim
analogsim.cite(analogsim.preset("pcm", store=analogsim.preset("reram").store))
assert not any(name.startswith("analogsim.energy") or name in ("typer", "xarray") for name in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_store_inside_is_compared_with_itself():
    found = cite(Crossbar(cell=ReRAM(g_max="30 uS")))
    assert [use.path for use in found.set_by_user] == ["cell.g_max"]
    assert "cell.sigma_1s" in _fields(found, "wan2022")
    assert found.subject == "Crossbar"
