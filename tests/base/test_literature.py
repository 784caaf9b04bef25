"""The papers of the project, as papers.bib has them, and those of a user's BibTeX file."""

import ast
import dataclasses
import pathlib
import re

import pybtex.database
import pytest

from analogsim import InputError, cite
from analogsim.base import Paper, papers_from
from analogsim.base.literature import papers
from analogsim.devices import HermesPCM

ROOT = pathlib.Path(__file__).parents[2]
PAPERS = papers()
ENTRIES = pybtex.database.parse_file(ROOT / "analogsim" / "base" / "papers.bib", "bibtex").entries

#: By kind: the fields that an entry must have, and those that it may have. Another one would not be read.
REQUIRED = {
    "article": {"title", "journal", "year"},
    "inproceedings": {"title", "booktitle", "shortbooktitle", "year"},
    "misc": {"title"},
}
OPTIONAL = {"volume", "pages", "year", "doi", "eprint", "archiveprefix", "url", "note"}


def test_entries_of_the_file_are_sorted_and_complete():
    assert list(ENTRIES) == sorted(PAPERS)
    for key, entry in ENTRIES.items():
        fields = set(entry.fields)
        assert REQUIRED[entry.type] <= fields <= REQUIRED[entry.type] | OPTIONAL, key
        assert {"doi", "eprint", "url"} & fields, key
        assert list(entry.persons) == ["author"], key
        assert ("eprint" in fields) == (entry.fields.get("archiveprefix") == "arXiv"), key
        assert entry.fields.get("note") in (None, "bibliographic details recalled"), key


def test_papers_are_found_by_what_identifies_them():
    for number in ("doi", "arxiv"):
        numbers = [getattr(paper, number) for paper in PAPERS.values() if getattr(paper, number)]
        assert len(set(numbers)) == len(numbers)
    for key, paper in PAPERS.items():
        assert paper.key == key
        assert not paper.doi or re.fullmatch(r"10\.\d{4,5}/\S+", paper.doi), key
        assert not paper.arxiv or re.fullmatch(r"\d{4}\.\d{4,5}", paper.arxiv), key
        assert paper.year is None or str(paper.year) in key, key
        assert all(", " in name for name in paper.authors), key
        assert not set("{}\\") & set("".join((*paper.authors, paper.title, paper.venue, paper.proceedings))), key
        assert paper.link in paper.short
        assert paper.title in paper.reference


def test_a_reference_without_venue_has_its_year():
    by_doi = Paper(key="doe2026", authors=("Doe, Jane",), title="A cell", year=2026, doi="10.1/2")
    assert by_doi.reference == 'Jane Doe, "A cell", doi 10.1/2 (2026)'
    assert by_doi.short == "Doe, A cell (2026), doi 10.1/2"
    by_url = dataclasses.replace(by_doi, doi="", url="https://a.org/b")
    assert by_url.reference == 'Jane Doe, "A cell", a.org/b (2026)'
    assert all(str(paper.year or "") in paper.reference for paper in PAPERS.values())


def test_every_cited_key_is_in_the_file():
    keys = set()
    for source in (path for room in ("analogsim", "devices", "training") for path in (ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "cited":
                keys |= {key.value for key in node.args if isinstance(key, ast.Constant)}
    assert len(keys) > 50
    assert keys - set(PAPERS) == set()


def test_a_paper_in_full():
    assert PAPERS["mottonen2005"].authors[0] == "Möttönen, Mikko"
    assert PAPERS["agrawal2022"] == Paper(
        key="agrawal2022",
        authors=(
            "Agrawal, V.", "Xiao, T. P.", "Bennett, C. H.", "Feinberg, B.", "Shetty, S.", "Ramkumar, K.", "Medu, H.",
            "Thekkekara, K.", "Chettuvetty, R.", "Leshner, S.", "Luzada, Z.", "Hinh, L.", "Phan, T.",
            "Marinella, M. J.", "Agarwal, S.",
        ),
        title="Subthreshold operation of SONOS analog memory to enable accurate low-power neural network inference",
        venue="IEDM", proceedings="IEEE International Electron Devices Meeting (IEDM)", pages="21.7.1-21.7.4",
        year=2022, url="https://ieeexplore.ieee.org/document/10019564",
    )  # fmt: skip


def test_recalled_details_are_said():
    paper = PAPERS["vasilopoulos2023"]
    assert (paper.details_recalled, paper.more_authors) == (True, True)
    assert paper.reference.endswith("(bibliographic details recalled)")
    assert "bibliographic details recalled" in cite(HermesPCM()).text
    assert "note = {bibliographic details recalled}" in paper.bibtex


def test_papers_written_as_bibtex_are_read_back(tmp_path):
    text = "\n\n".join(paper.bibtex for paper in PAPERS.values())
    assert text.isascii()
    path = tmp_path / "again.bib"
    path.write_text(text)
    assert papers_from(path) == PAPERS


def test_a_user_s_file_as_others_write_them(tmp_path):
    path = tmp_path / "ours.bib"
    path.write_text(r"""
@string{jc = "J. Cells"}
@Article{mol1992, Author = "Klaus M{\o}lmer and Ludwig van Beethoven and {ACME Corp}",
  Title = {R\&D of {PCM} cells of $\mu$m and 50~\%},
  Journal = jc, Year = 1992, Pages = {7--9}, DOI = {10.1/a_b}, abstract = {Not read.}}
@inproceedings{zoe2026, author = {Zo{\"e} Doe and others}, title = {A cell}, booktitle = {Proc. of Cells},
  year = {2026}, eprint = {2601.00001}, eprinttype = {arxiv}}
""")
    first, second = papers_from(str(path)).values()
    assert first.authors == ("Mølmer, Klaus", "van Beethoven, Ludwig", "ACME Corp")
    assert first.title.replace("\N{NO-BREAK SPACE}", " ") == "R&D of PCM cells of µm and 50 %"
    assert (first.venue, first.pages, first.year, first.doi) == ("J. Cells", "7-9", 1992, "10.1/a_b")
    assert second.short == "Doe et al., Proc. of Cells 2026, arXiv 2601.00001"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("@misc{a, title = {A cell}", "ours.bib: syntax error in line 1: premature end"),
        (
            "@misc{a, title = {A}, author = {B, C}, doi = {1}, year = {in press}}",
            "a: year = 'in press': must be an int",
        ),
        (
            "@misc{a, title = {A cell}, author = {Doe, Jane}}",
            "ours.bib: Paper a: needs a doi, an arxiv number or a url",
        ),
        ("@misc{a, title = {A cell}, doi = {10.1/2}}", "ours.bib: Paper a: needs authors"),
        ("@misc{a, title = {A}}@misc{a, title = {B}}", "ours.bib: repeated bibliography entry: a"),
        (b"@misc{a, title = {\xe9}}", "ours.bib: 'utf-8' codec can't decode"),
    ],
)
def test_a_file_that_is_no_bibliography_is_refused(text, message, tmp_path):
    path = tmp_path / "ours.bib"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=re.escape(message)):
        papers_from(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no\.bib: unable to open"):
        papers_from(tmp_path / "no.bib")
