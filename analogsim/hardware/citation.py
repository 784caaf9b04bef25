"""Find the papers that a description is based on, and the origin of each of its numbers.

    citations = cite(preset("pcm"))
    print(citations)           # every paper with the fields that rest on it, then the numbers without a paper
    citations.bibtex           # the same papers for LaTeX
    citations.recalled         # numbers that are still to be checked against their source

A paper supports a value, not a field. A field whose value differs from the published one (the default, another set
that the class calls published, or the value of the preset with the hardware's name) is listed as set by the user.
"""

import dataclasses
import functools
import textwrap
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from analogsim.base.description import Description, pretty
from analogsim.base.errors import InputError
from analogsim.base.field_rules import MISSING, Choice, String, default_of, rule_of
from analogsim.base.literature import Paper, Source, as_source
from analogsim.hardware.hardware import Hardware
from analogsim.hardware.presets import preset, preset_sources, presets

_WIDTH = 110


@dataclasses.dataclass(frozen=True)
class Use:
    """One value of a description and its source.

    Attributes:
      where: dotted name of the description that contains it (``"store.cell"``); ``""`` for the cited one itself.
      name: its field, or ``"equations"`` for the model equations of the description.
      value: the value with its unit, as a string; ``""`` for equations.
      source: its source; None if it was set by the user, or chosen without a source.
      by_user: whether it differs from the published value.
    """

    where: str
    name: str
    value: str
    source: Source | None
    by_user: bool = False

    @property
    def path(self) -> str:
        """Dotted name, as ``Description.replace`` accepts it."""
        return f"{self.where}.{self.name}" if self.where else self.name


class Citation(NamedTuple):
    """A paper and the values that rest on it."""

    paper: Paper
    uses: tuple[Use, ...]

    @property
    def fields(self) -> tuple[str, ...]:
        """Dotted names of the fields that rest on the paper."""
        return tuple(use.path for use in self.uses)


class Recalled(NamedTuple):
    """A number recalled from its source, not yet checked: dotted name, value with unit, source."""

    path: str
    value: str
    source: Source


@dataclasses.dataclass(frozen=True)
class Citations:
    """Result of ``cite``. Iterates over the papers as ``Citation`` (paper, uses), in the order of the fields.

    Attributes:
      subject: name of the cited item.
      uses: every value with its source.
    """

    subject: str
    uses: tuple[Use, ...]

    def __iter__(self) -> Iterator[Citation]:
        behind: dict[Paper, list[Use]] = {}
        for use in self.uses:
            for paper in use.source.papers if use.source else ():
                behind.setdefault(paper, []).append(use)
        return (Citation(paper, tuple(uses)) for paper, uses in behind.items())

    @property
    def papers(self) -> tuple[Paper, ...]:
        """All papers, without repetition."""
        return tuple(citation.paper for citation in self)

    @property
    def recalled(self) -> list[Recalled]:
        """Recalled numbers that are still to be checked against their source."""
        return [Recalled(u.path, u.value, u.source) for u in self.uses if u.source and u.source.recalled]

    @property
    def set_by_user(self) -> list[Use]:
        """Values that differ from the published ones, so that no paper supports them."""
        return [use for use in self.uses if use.by_user]

    @property
    def without_paper(self) -> list[Use]:
        """Values whose source is a derivation or an assumption, without a paper."""
        return [use for use in self.uses if use.source and not use.source.papers and not use.source.recalled]

    @property
    def chosen(self) -> list[Use]:
        """Defaults without a source, e.g. the size of a tile."""
        return [use for use in self.uses if not use.source and not use.by_user]

    @property
    def bibtex(self) -> str:
        """All papers as BibTeX entries in ASCII, without repetition."""
        keys: dict[str, Paper] = {}
        for paper in self.papers:
            key, count = paper.key, 1
            while key in keys:  # a user's paper may have the key of one of ours
                count += 1
                key = f"{paper.key}-{count}"
            keys[key] = dataclasses.replace(paper, key=key)
        return "\n\n".join(paper.bibtex for paper in keys.values())

    @property
    def text(self) -> str:
        """Readable report: the papers with the fields that rest on them, then the origin of all other values."""
        count = len(self.papers)
        blocks = [f"{self.subject} rests on {count or 'no'} paper{'' if count == 1 else 's'}."]
        for number, citation in enumerate(self, 1):
            lines = _wrap(citation.paper.reference, f"[{number}] ", "    ")
            blocks.append("\n".join([lines, *_grouped(citation.uses)]))
        recalled = [f"{path} = {value}: {source}" for path, value, source in self.recalled]
        blocks += _section("Recalled, still to be checked against the source:", recalled)
        blocks += _section("Set by the user, no paper stands behind it:", _values(self.set_by_user))
        blocks += _section("Derived or assumed, without a paper:", _values(self.without_paper))
        blocks += _section("Chosen here, without a source:", _values(self.chosen))
        return "\n\n".join(blocks)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain lists, dictionaries and strings, for JSON."""

        def plain(use: Use) -> dict[str, str]:
            entry = {"field": use.path, "value": use.value}
            return entry | ({"source": str(use.source)} if use.source else {})

        papers = [
            {
                "key": c.paper.key,
                "reference": c.paper.reference,
                "doi": c.paper.doi,
                "arxiv": c.paper.arxiv,
                "url": c.paper.url,
                "details_recalled": c.paper.details_recalled,
                "fields": list(c.fields),
            }
            for c in self
        ]
        return {
            "subject": self.subject,
            "papers": papers,
            "recalled": [{"field": p, "value": v, "source": str(s)} for p, v, s in self.recalled],
            "set_by_user": [plain(use) for use in self.set_by_user],
            "without_paper": [plain(use) for use in self.without_paper],
            "chosen": [plain(use) for use in self.chosen],
        }

    def __str__(self) -> str:
        return self.text


def cite(item: Any) -> Citations:
    """Return the papers that a description rests on, and which numbers are recalled, set by the user or chosen.

    Args:
      item: hardware, a cell, a store, an energy table or any other description; or an object that contains some: a
        chip, a converted model, an NNX model, an energy comparison, a list.

    Raises:
      InputError: if ``item`` contains no description.

    Example:
      >>> from analogsim.devices import PCM
      >>> citations = cite(PCM(g_max="20 uS"))
      >>> [paper.key for paper in citations.papers]
      ['nandakumar2019', 'joshi2020', 'rasch2021']
      >>> [(use.path, use.value) for use in citations.set_by_user]
      [('g_max', '20 µS')]
    """
    labels: dict[tuple[Use, ...], str] = {}
    for label, values in _parts(item, {}):
        labels.setdefault(tuple(values), label)
    if not labels:
        raise InputError(f"cite: {_what(item)}; pass hardware (preset('pcm')), a cell (PCM()) or a programmed chip")
    if len(labels) == 1:
        ((uses, label),) = labels.items()
        return Citations(label, uses)
    names: list[str] = []
    joined: dict[Use, None] = {}
    for uses, label in labels.items():
        name = label if label not in names else f"{label} ({sum(n.startswith(label) for n in names) + 1})"
        names.append(name)
        joined |= {dataclasses.replace(u, where=f"{name}.{u.where}" if u.where else name): None for u in uses}
    return Citations(", ".join(names), tuple(joined))


def _what(item: Any) -> str:
    if isinstance(item, str):
        return f"{item!r} is a string"
    if isinstance(item, type):
        return f"{item.__name__} is a class, not a description"
    return f"no description in {type(item).__name__}"


def _parts(item: Any, seen: dict[int, Any]) -> Iterator[tuple[str, list[Use]]]:
    """Yield a label and the values of every part of ``item`` that has sources."""
    if isinstance(item, type) or id(item) in seen:
        return
    seen[id(item)] = item  # keep it alive: Python reuses the id of a deleted object
    if isinstance(item, Description):
        yield getattr(item, "name", "") or type(item).__name__, _uses(item, "", _known(item))
        return
    if hasattr(item, "cited_values"):  # an energy breakdown lists its own values
        yield from item.cited_values()
        return
    leaves = jax.tree.leaves(item, is_leaf=lambda node: isinstance(node, Description) or hasattr(node, "cited_values"))
    if len(leaves) != 1 or leaves[0] is not item:  # a container: a chip, an NNX model, a list
        inner: Any = leaves
    elif isinstance(item, functools.partial):  # a Linen layer stores its matmul hook as a partial
        inner = [item.args, item.keywords]
    else:
        inner = (
            [getattr(item, f.name, None) for f in dataclasses.fields(item)] if dataclasses.is_dataclass(item) else []
        )
    for part in inner:
        yield from _parts(part, seen)


class _Published(NamedTuple):
    """Published values of a description: with the sources of their fields, unless ``sources`` gives another."""

    values: Any
    sources: dict[str, Source]

    def inside(self, name: str, value: Any) -> "list[_Published]":
        """Return the published values of the description ``value`` in field ``name``; empty for another class."""
        inner = getattr(self.values, name)
        if type(inner) is not type(value):
            return []
        prefix = name + "."
        return [_Published(inner, {k.removeprefix(prefix): s for k, s in self.sources.items() if k.startswith(prefix)})]


def _known(item: Any) -> list[_Published]:
    """Return the published sets of values of one description."""
    published_sets = []
    if isinstance(item, Hardware) and item.name in presets():
        published_sets.append(_Published(preset(item.name), preset_sources(item.name)))
    if isinstance(item, Description):
        published_sets += [_Published(values, {}) for values in item.published()]
    return published_sets


def _uses(item: Any, where: str, published_sets: list[_Published]) -> list[Use]:
    """List the values of a description and of those inside it, compared with the closest published set."""
    best = max(published_sets, key=lambda published_set: _matches(item, published_set.values), default=None)
    behind = item.model_sources() if isinstance(item, Description) else ()
    equations = [Use(where, "equations", "", source) for source in behind]
    cited_values: list[Use] = []
    has_parts = False
    for f in dataclasses.fields(item):
        value = getattr(item, f.name)
        if dataclasses.is_dataclass(value):
            has_parts = True
            inner = (best.inside(f.name, value) if best else []) + _known(value)
            cited_values += _uses(value, f"{where}.{f.name}" if where else f.name, inner)
        else:
            published = default_of(f) if best is None else getattr(best.values, f.name)
            use = _use(f, where, value, published, None if best is None else best.sources.get(f.name))
            cited_values += [] if use is None else [use]
    return cited_values + equations if has_parts else equations + cited_values  # what joins the parts comes after them


def _use(f: dataclasses.Field, where: str, value: Any, published: Any, special: Source | None) -> Use | None:
    """Return the source of one value; None for a value that is not a quantity.

    These are labels, schemes without a source (``model_sources`` covers their equations), effects that are absent by
    default, and multipliers that are 1.
    """
    rule, source = rule_of(f), as_source(rule_of(f).source)
    is_published, is_scheme = _same(value, published), isinstance(rule, Choice)
    if (isinstance(rule, String) or is_scheme) and not source:
        return None
    if value is None and (is_published or published is MISSING):
        return None
    if is_published or is_scheme:
        source = special if is_published and special else source
        is_multiplier = not (source or rule.unit or rule.is_static) and _same(published, 1.0)
        return None if is_multiplier else Use(where, f.name, _shown(value, rule.unit), source)
    return Use(where, f.name, _shown(value, rule.unit), None, by_user=True)


def _matches(item: Any, other: Any) -> int:
    """Count the values that two descriptions share."""
    if not dataclasses.is_dataclass(item):
        return int(_same(item, other))
    if type(item) is not type(other):
        return 0
    return sum(_matches(getattr(item, f.name), getattr(other, f.name)) for f in dataclasses.fields(item))


def _same(value: Any, published: Any) -> bool:
    """Return whether all entries of a value equal the published one in their own precision; False if traced."""
    if isinstance(value, tuple) and isinstance(published, tuple):
        return len(value) == len(published) and all(map(_same, value, published))
    if published is MISSING or isinstance(value, jax.core.Tracer):
        return False
    if isinstance(value, (jax.Array, np.ndarray)) and isinstance(published, (int, float, np.ndarray, jax.Array)):
        array = np.asarray(value)
        published_array = np.asarray(published).astype(array.dtype)
        return bool(published_array.ndim == 0 or published_array.shape == array.shape) and bool(
            np.all(array == published_array)
        )
    try:
        return bool(value == published)
    except Exception:  # a user's type may raise on ==; then it is not the published value
        return False


def _shown(value: Any, unit: str) -> str:
    if isinstance(value, tuple):
        return "(" + ", ".join(_shown(v, unit) for v in value) + ")"
    if isinstance(value, jax.core.Tracer):
        return "traced"
    if isinstance(value, (jax.Array, np.ndarray)):
        different = np.unique(np.asarray(value))
        return pretty(different.item(), unit) if different.size == 1 else f"array of shape {np.shape(value)}"
    return pretty(value, unit)


def _grouped(uses: tuple[Use, ...]) -> list[str]:
    """Return the fields that rest on one paper, one line per description and note."""
    groups: dict[tuple[str, str], list[str]] = {}
    for use in uses:
        groups.setdefault((use.where, use.source.note if use.source else ""), []).append(use.name)
    lines = []
    for (where, note), names in groups.items():
        text = (f"{where}: " if where else "") + ", ".join(dict.fromkeys(names)) + (f"  ({note})" if note else "")
        lines.append(_wrap(text, "    ", "      "))
    return lines


def _values(uses: list[Use]) -> list[str]:
    """Return one line per use; equations have no value, only a source."""
    named = [use.path + (f" = {use.value}" if use.value else "") for use in uses]
    return [name + (f": {use.source}" if use.source else "") for name, use in zip(named, uses, strict=True)]


def _section(heading: str, lines: list[str]) -> list[str]:
    lines = [_wrap(line, "    ", "      ") for line in dict.fromkeys(lines)]
    return ["\n".join([heading, *lines])] if lines else []


def _wrap(text: str, first: str, rest: str) -> str:
    return textwrap.fill(
        text, _WIDTH, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    )
