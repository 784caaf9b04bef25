"""What the numbers of a description rest on: papers, and how each figure is known.

A ``Paper`` is one publication, as a short text for a table, a full reference, and BibTeX. A ``Source`` stands behind a
field (``field(source=...)``): the papers, a note, and whether the figure was recalled instead of read. The project's
papers stand in ``papers``, where ``cited`` names them by their keys. A cell of your own may bring its own:

    ours = Paper(key="doe2026", authors=("Doe, Jane",), title="A cell", venue="J. Cells", year=2026, doi="10.1/2")
    g_max: Any = field(default=30e-6, unit="S", gt=0, doc="largest conductance", source=Source((ours,)))
"""

import dataclasses
import re
import unicodedata
from typing import Any

from analogsim.base.errors import InputError

_ACCENTS = {"\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0308": '"', "\u030c": "v", "\u0327": "c"}
_LATEX = {
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": "",
    "}": "",
    "–": "--",
    "’": "'",
    "ø": r"{\o}",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Paper:
    """One publication.

    Attributes:
      key: its BibTeX key, unique.
      authors: ``"Family, Given"``, in order.
      title: as printed.
      year: of publication; None for software without versions.
      venue: short name of journal or conference (``"Nat. Commun."``); ``""`` for a preprint or software.
      proceedings: full name of the conference; ``""`` for everything else.
      volume, pages: where known; the pages of a journal with article numbers are that number.
      doi, arxiv, url: at least one of them.
      more_authors: whether the list of authors ends with "and others".
      details_recalled: whether title, authors or numbers were written from memory and are still to be checked.

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
        """One line for a table: first author, where, when, identifier."""
        return f"{self._names(surnames=True)}, {self._place(full=False)}"

    @property
    def reference(self) -> str:
        """The whole reference, with its title; says so where its details are recalled."""
        recalled = " (bibliographic details recalled)" if self.details_recalled else ""
        return f'{self._names(surnames=False)}, "{self.title}", {self._place(full=True)}{recalled}'

    @property
    def link(self) -> str:
        """Where it is found: doi, else arXiv number, else address."""
        address = self.url.removeprefix("https://")
        return f"doi {self.doi}" if self.doi else f"arXiv {self.arxiv}" if self.arxiv else address

    @property
    def bibtex(self) -> str:
        """One BibTeX entry, in ASCII."""
        kind = "inproceedings" if self.proceedings else "article" if self.venue else "misc"
        authors = [_latex(name) for name in self.authors] + ["others"] * self.more_authors
        entry = {
            "author": " and ".join(authors),
            "title": "{" + _latex(self.title) + "}",
            "journal" if kind == "article" else "booktitle": _latex(self.proceedings or self.venue),
            "volume": self.volume,
            "pages": self.pages.replace("-", "--"),
            "year": "" if self.year is None else str(self.year),
            "doi": self.doi,
            "eprint": self.arxiv,
            "archiveprefix": "arXiv" if self.arxiv else "",
            "url": self.url,
            "note": "bibliographic details recalled" if self.details_recalled else "",
        }
        lines = "".join(f",\n  {name} = {{{value}}}" for name, value in entry.items() if value)
        return f"@{kind}{{{self.key}{lines}\n}}"

    def _names(self, surnames: bool) -> str:
        names = [_spoken(name, surnames) for name in self.authors[:3]]
        if self.more_authors or len(self.authors) > 3 or (surnames and len(self.authors) > 2):
            return f"{names[0]} et al."
        return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)

    def _place(self, full: bool) -> str:
        """Venue, volume, first page (all pages if ``full``), year and identifier, as far as they are known."""
        pages = self.pages if full else self.pages.partition("-")[0]
        year = f" ({self.year})" if self.year else ""
        if self.proceedings:
            return _list(f"{self.venue} {self.year}", pages if full else "", self.link)
        if self.venue:
            return _list(f"{self.venue} {_list(self.volume, pages)}".strip() + year, self.link)
        if self.arxiv and not self.doi:
            return self.link + year
        return _list("" if full else self.title + year, self.link)


@dataclasses.dataclass(frozen=True)
class Source:
    """What stands behind one number.

    Attributes:
      papers: where it was published; empty for a figure derived or chosen here, which the note then explains.
      note: how it follows from the papers, or under which conditions it holds.
      recalled: whether the figure was recalled and is still to be checked against the paper.

    Example:
      >>> str(Source(note="from three silicon ADCs", recalled=True))
      'from three silicon ADCs (recalled)'
    """

    papers: tuple[Paper, ...] = ()
    note: str = ""
    recalled: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.papers, tuple) or not all(isinstance(paper, Paper) for paper in self.papers):
            raise InputError(
                f"Source.papers = {self.papers!r}: must be a tuple of Paper; known ones: papers.cited(key)"
            )
        if not (self.papers or self.note):
            raise InputError("Source(): needs a paper or a note")

    def __str__(self) -> str:
        text = "; ".join([paper.short for paper in self.papers] + ([self.note] if self.note else []))
        return f"{text} (recalled)" if self.recalled and "recalled" not in self.note else text


def as_source(source: Any) -> Source | None:
    """A field's source in one form: a text becomes a note, recalled if it says so; nothing becomes None."""
    if isinstance(source, Source) or not source:
        return source or None
    return Source(note=str(source), recalled="recalled" in str(source))


def _list(*parts: str) -> str:
    return ", ".join(part for part in parts if part)


def _spoken(name: str, surname: bool) -> str:
    family, _, given = (part.strip() for part in name.partition(","))
    return family if surname or not given else f"{given} {family}"


def _latex(text: str) -> str:
    """ASCII for BibTeX: accents and special characters as LaTeX writes them."""
    out = ""
    for character in unicodedata.normalize("NFC", text):
        parts = unicodedata.normalize("NFD", character)
        if len(parts) == 2 and parts[1] in _ACCENTS:
            letter, accent = parts[0], _ACCENTS[parts[1]]
            out += f"{{\\{accent}{{{letter}}}}}" if accent.isalpha() else f"{{\\{accent}{letter}}}"
        else:
            out += _LATEX.get(character, character)
    return out
