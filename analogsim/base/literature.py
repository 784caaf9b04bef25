"""Papers and sources of the numbers in a description.

A ``Paper`` is one publication; it prints as a short string, a full reference, or BibTeX. A ``Source`` belongs to a
field (``field(source=...)``) and holds the papers, a note, and whether the figure was recalled instead of read. The
papers used by this package are in ``papers.bib``; ``cited`` refers to them by key. The file is parsed on first use, not
by ``import analogsim``, because parsing takes a tenth of a second and imports pybtex. A custom cell may cite its own
papers, written in Python or read from a BibTeX file:

    ours = Paper(key="doe2026", authors=("Doe, Jane",), title="A cell", venue="J. Cells", year=2026, doi="10.1/2")
    ours = papers_from("ours.bib")["doe2026"]
    g_max: Any = field(default=30e-6, unit="S", gt=0, doc="largest conductance", source=Source((ours,)))
"""

import codecs
import dataclasses
import functools
import os
import pathlib
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from analogsim.base.errors import InputError, nearest

_RECALLED = "bibliographic details recalled"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Paper:
    """A publication.

    Attributes:
      key: BibTeX key, unique.
      authors: ``"Family, Given"``, in order.
      title: as printed.
      year: of publication; None for software without versions.
      venue: short name of journal or conference (``"Nat. Commun."``); ``""`` for a preprint or software.
      proceedings: full name of the conference; ``""`` for everything else.
      volume, pages: if known; for a journal with article numbers, ``pages`` is that number.
      doi, arxiv, url: identifiers; at least one is required.
      more_authors: whether the list of authors ends with "and others".
      details_recalled: whether title, authors or numbers were written from memory and have not been checked yet.

    Example:
      >>> paper = Paper(key="chen2013", authors=("Chen, An",), title="A Comprehensive Crossbar Array Model", year=2013,
      ...     venue="IEEE Trans. Electron Devices", volume="60", pages="1318-1326", doi="10.1109/TED.2013.2246791")
      >>> paper.short
      'Chen, IEEE Trans. Electron Devices 60, 1318 (2013), doi 10.1109/TED.2013.2246791'
    """

    key: str
    authors: tuple[str, ...]
    title: str
    year: int | None = None
    venue: str = ""
    proceedings: str = ""
    volume: str = ""
    pages: str = ""
    doi: str = ""
    arxiv: str = ""
    url: str = ""
    more_authors: bool = False
    details_recalled: bool = False

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9:+/_-]+", self.key):
            raise InputError(f"Paper.key = {self.key!r}: must be letters, digits and any of : + / _ -, without spaces")
        if not self.authors or isinstance(self.authors, str) or not self.title:
            raise InputError(f"Paper {self.key}: needs authors (a tuple of 'Family, Given') and a title")
        if not (self.doi or self.arxiv or self.url):
            raise InputError(f"Paper {self.key}: needs a doi, an arxiv number or a url")

    @property
    def short(self) -> str:
        """Return one line for a table: first author, venue, year, identifier."""
        return f"{self._names(surnames=True)}, {self._place(full=False)}"

    @property
    def reference(self) -> str:
        """Return the full reference with title; it notes if bibliographic details are recalled."""
        recalled = f" ({_RECALLED})" if self.details_recalled else ""
        return f'{self._names(surnames=False)}, "{self.title}", {self._place(full=True)}{recalled}'

    @property
    def link(self) -> str:
        """Return the identifier: DOI, else arXiv number, else URL."""
        address = self.url.removeprefix("https://")
        return f"doi {self.doi}" if self.doi else f"arXiv {self.arxiv}" if self.arxiv else address

    @property
    def bibtex(self) -> str:
        """Return a BibTeX entry in ASCII."""
        kind = "inproceedings" if self.proceedings else "article" if self.venue else "misc"
        authors = [_latex(name) for name in self.authors] + ["others"] * self.more_authors
        entry = {
            "author": " and ".join(authors),
            "title": "{" + _latex(self.title) + "}",
            "journal" if kind == "article" else "booktitle": _latex(self.proceedings or self.venue),
            "shortbooktitle": _latex(self.venue) if self.proceedings else "",
            "volume": self.volume,
            "pages": self.pages.replace("-", "--"),
            "year": "" if self.year is None else str(self.year),
            "doi": self.doi,
            "eprint": self.arxiv,
            "archiveprefix": "arXiv" if self.arxiv else "",
            "url": self.url,
            "note": _RECALLED if self.details_recalled else "",
        }
        lines = "".join(f",\n  {name} = {{{value}}}" for name, value in entry.items() if value)
        return f"@{kind}{{{self.key}{lines}\n}}"

    def _names(self, surnames: bool) -> str:
        names = [_spoken(name, surnames) for name in self.authors[:3]]
        if self.more_authors or len(self.authors) > 3 or (surnames and len(self.authors) > 2):
            return f"{names[0]} et al."
        return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)

    def _place(self, full: bool) -> str:
        """Format venue, volume, first page (all pages if ``full``), year and identifier, as far as known."""
        pages = self.pages if full else self.pages.partition("-")[0]
        year = f" ({self.year})" if self.year else ""
        if self.proceedings:
            return _list(f"{self.venue} {self.year}", pages if full else "", self.link)
        if self.venue:
            return _list(f"{self.venue} {_list(self.volume, pages)}".strip() + year, self.link)
        # Without a venue, the short form names the title, which the full reference has already.
        return self.link + year if full or (self.arxiv and not self.doi) else _list(self.title + year, self.link)


@dataclasses.dataclass(frozen=True)
class Source:
    """The source of one number.

    Attributes:
      references: papers that publish the number, or keys of ``papers.bib``; empty for a figure derived or chosen here,
        which the note then explains. A key is resolved when ``papers`` is read.
      note: how the number follows from the papers, or under which conditions it holds.
      recalled: whether the figure was recalled and has not been checked against the paper yet.

    Example:
      >>> str(Source(note="from three silicon ADCs", recalled=True))
      'from three silicon ADCs (recalled)'
    """

    references: tuple[Paper | str, ...] = ()
    note: str = ""
    recalled: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.references, tuple) or not all(isinstance(r, (Paper, str)) for r in self.references):
            raise InputError(
                f"Source.references = {self.references!r}: must be a tuple of Paper or of keys in papers.bib"
            )
        if not (self.references or self.note):
            raise InputError("Source(): needs a paper or a note")

    @property
    def papers(self) -> tuple[Paper, ...]:
        """Return the papers, with keys resolved.

        Raises:
          InputError: for a key that is not in ``papers.bib``.
        """
        return tuple(
            _paper_by_key(reference) if isinstance(reference, str) else reference for reference in self.references
        )

    def __str__(self) -> str:
        text = "; ".join([paper.short for paper in self.papers] + ([self.note] if self.note else []))
        return f"{text} (recalled)" if self.recalled and "recalled" not in self.note else text


def cited(*keys: str, note: str = "", recalled: bool = False) -> Source:
    """Return a source that cites papers by key.

    Args:
      *keys: keys of entries in ``papers.bib``.
      note: how the figure follows from the papers.
      recalled: whether the figure was recalled and has not been checked against the paper yet.

    Example:
      >>> str(cited("jouppi2021", note="fp32, 7 nm", recalled=True))
      'Jouppi et al., ISCA 2021, doi 10.1109/ISCA52012.2021.00010; fp32, 7 nm (recalled)'
    """
    return Source(keys, note, recalled)


@functools.cache
def papers() -> Mapping[str, Paper]:
    """Return the papers of ``papers.bib`` by key; the file is read once."""
    return papers_from(pathlib.Path(__file__).with_name("papers.bib"))


def papers_from(path: str | os.PathLike[str]) -> dict[str, Paper]:
    """Read the papers of a BibTeX file.

    LaTeX is converted to plain characters (``M{\\o}lmer`` becomes Mølmer). The short name of a conference is its
    ``shortbooktitle`` if the entry has that field, else its ``booktitle``; a ``note`` with "bibliographic details
    recalled" sets ``details_recalled``. Fields unknown to ``Paper``, such as an abstract, are ignored.

    Args:
      path: BibTeX file in UTF-8.

    Returns:
      the papers by key.

    Raises:
      InputError: if the file cannot be read or is not BibTeX, or if an entry lacks a field that ``Paper`` requires.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = pathlib.Path(folder) / "ours.bib"
      ...     _ = path.write_text(r"@misc{doe2026, author={Zo{\\"e} Doe}, title={A cell}, year=2026, doi={10.1/2}}")
      ...     papers_from(path)["doe2026"].short
      'Doe, A cell (2026), doi 10.1/2'
    """
    from pybtex.database.input.bibtex import Parser
    from pybtex.exceptions import PybtexError

    try:
        entries = Parser(encoding="utf-8").parse_file(os.fspath(path)).entries
        return {key: _paper_from_entry(key, entry) for key, entry in entries.items()}
    except (PybtexError, UnicodeDecodeError, InputError) as error:
        raise InputError(f"{os.fspath(path)}: {error}") from error


def _paper_from_entry(key: str, entry: Any) -> Paper:
    """Convert an entry parsed by pybtex."""
    from pybtex.richtext import Text

    def plain(*names: str) -> str:
        """Return the first of these fields that the entry has, without LaTeX."""
        return next((str(Text.from_latex(entry.fields[name])) for name in names if name in entry.fields), "")

    authors = [str(Text.from_latex(str(person))) for person in entry.persons.get("author", ())]
    year = entry.fields.get("year", "")
    if year and not year.isdecimal():
        raise InputError(f"{key}: year = {year!r}: must be an integer")
    is_arxiv = plain("archiveprefix", "eprinttype").lower() == "arxiv"
    return Paper(
        key=key,
        authors=tuple(name for name in authors if name != "others"),
        title=plain("title"),
        year=int(year) if year else None,
        venue=plain("shortbooktitle", "booktitle", "journal", "journaltitle", "publisher"),
        proceedings=plain("booktitle"),
        volume=plain("volume"),
        pages=plain("pages").replace("–", "-"),
        doi=entry.fields.get("doi", ""),
        arxiv=entry.fields.get("eprint", "") if is_arxiv else "",
        url=entry.fields.get("url", ""),
        more_authors="others" in authors,
        details_recalled=_RECALLED in plain("note"),
    )


def _paper_by_key(key: str) -> Paper:
    if key not in papers():
        raise InputError(f"unknown paper {key!r}; {nearest(key, papers())}")
    return papers()[key]


def as_source(source: Any) -> Source | None:
    """Normalise a field's source: a string becomes a note (recalled if it says so), an empty one None."""
    if isinstance(source, Source) or not source:
        return source or None
    return Source(note=str(source), recalled="recalled" in str(source))


def _list(*parts: str) -> str:
    return ", ".join(part for part in parts if part)


def _spoken(name: str, surname: bool) -> str:
    family, _, given = (part.strip() for part in name.partition(","))
    return family if surname or not given else f"{given} {family}"


def _latex(text: str) -> str:
    """Convert to ASCII for BibTeX; characters without a LaTeX command stay.

    An accented letter is put in braces, because BibTeX only then treats it as one letter.
    """
    import latexcodec  # noqa: F401 (registers its codecs)

    encode: Any = codecs.encode  # these codecs turn strings into strings

    def ascii_of(character: re.Match[str]) -> str:
        latex = encode(character[0], "ulatex+ascii", "keep")
        return f"{{{latex}}}" if latex.startswith("\\") else latex

    plain = re.sub("[{}]", "", unicodedata.normalize("NFC", text)).replace(
        "$", r"\$"
    )  # else the codec reads mathematics
    return re.sub(r"[^\x00-\x7f]", ascii_of, encode(plain, "ulatex+utf8", "keep"))
