"""A sweep in a TOML file: a network, its hardware, and the fields of the hardware that vary.

    title = "Bits and ageing of a small network"

    [data]
    name = "digits"                        # one of analogsim.training.recipes.datasets

    [model]                                # as in a recipe: one of the networks, or "package.module:Factory"
    name = "mlp"

    [digital]                              # training of the network, unless the model has a checkpoint
    epochs = 10

    [hardware]                             # as in a hardware file
    preset = "pcm"

    [over]                                 # dotted fields, "time", "hardware"; see analogsim.sweep
    "adc.bits" = [4, 6, 8]
    time = ["1 s", "1 day", "1 year"]
    drift_compensation = ["none", "global"]

    [sweep]
    chips = 25

``"dac.bits, adc.bits" = [[4, 4], [8, 8]]`` varies fields together. ``"none"`` stands for None if a field allows it. A
component is a table with a kind: ``"store.cell" = [{ kind = "PCM" }, { kind = "ReRAM" }]``. With a section ``[aware]``,
as in a recipe, the network is fine-tuned for its hardware before the sweep.
"""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import jax

from analogsim.base.description import Description, static
from analogsim.base.errors import nearest
from analogsim.base.field_rules import Nested, Rule
from analogsim.base.toml_text import TomlFile
from analogsim.chips.checkpoint import restore, save
from analogsim.hardware.file import hardware_from
from analogsim.hardware.hardware import Hardware
from analogsim.hardware.kinds import KINDS
from analogsim.hardware.presets import preset, presets
from analogsim.hardware.toml_reader import Reader, grow
from analogsim.sweeps import ChipScores
from analogsim.sweeps.axes import HARDWARE, TIME, axes_of, check_points, rule_at
from analogsim.sweeps.identity import fingerprint, software
from analogsim.training.recipes.datasets import load
from analogsim.training.recipes.recipe import SECTIONS, Recipe, section_of
from analogsim.training.recipes.run import aware_network, digital_network

_CALIBRATED = 512  # examples of the training data

#: An example file, which the command line prints.
EXAMPLE = """\
title = "Bits, programming noise and ageing of a small network on phase-change memory"

[data]
name = "digits"

[model]
name = "mlp"

[digital]
epochs = 10

[hardware]
preset = "pcm"

[over]
"adc.bits" = [4, 6, 8]
"store.cell.programming_noise" = [0.0, 1.0, 2.0]
time = ["1 s", "1 day", "1 year"]

[sweep]
chips = 10
examples = 200
energy = true
key = 0
"""


class Sweep(Description):
    """Section ``[sweep]``."""

    chips: int = static(default=25, ge=1, le=1_000_000, integer=True, doc="chips sampled per point")
    examples: int = static(default=1000, ge=1, le=10_000_000, integer=True, doc="maximum number of test examples")
    energy: bool = static(
        default=False, choices=(False, True), doc="whether to compute the energy per inference of every point"
    )
    key: int = static(default=0, ge=0, le=2**31 - 1, integer=True, doc="random seed")


@dataclasses.dataclass(frozen=True)
class SweepFile:
    """Content of a sweep file.

    Attributes:
      recipe: data, model, training and hardware of the network.
      aware: whether the network is fine-tuned for its hardware.
      over: axes of the sweep, as for ``analogsim.sweep``.
      settings: section ``[sweep]``.
    """

    recipe: Recipe
    aware: bool
    over: dict[Any, Any]
    settings: Sweep

    @property
    def hardware(self) -> Hardware | None:
        """The hardware whose fields are swept; None if the hardware itself is an axis."""
        return None if HARDWARE in self.over else self.recipe.hardware

    def scores(self, folder: pathlib.Path | None, tell: Callable[[str], Any] = lambda text: None) -> ChipScores:
        """Train the network, or restore it, and return its evaluation for ``analogsim.sweep``.

        Args:
          folder: folder in which trained networks are saved, so that a resumed sweep uses the network that it started
            with, whichever computer trained it; None trains it every time.
          tell: called with a message before a long operation.
        """
        recipe, settings = self.recipe, self.settings
        data = load(recipe.data.name)
        plain = recipe.model.factory()(data.classes)
        trained_for = (recipe.aware, recipe.hardware) if self.aware else None
        inputs = fingerprint((recipe.data, recipe.model, recipe.digital, trained_for, settings.key, software()))
        saved = None if folder is None or recipe.model.checkpoint else folder / f"network-{inputs[:8]}"
        if saved is not None and saved.is_dir():
            variables = restore(saved, plain).variables
        else:
            tell("training the network")
            variables = self._trained(data, plain)
            if saved is not None:
                save(saved, plain, variables, x=data.x[:1])
        x, labels = (part[: settings.examples] for part in (data.x_test, data.labels_test))
        return ChipScores(plain, variables, x, labels, calibrate=data.x[:_CALIBRATED], energy=settings.energy)

    def _trained(self, data: Any, plain: Any) -> Any:
        key = jax.random.key(self.settings.key)
        digital = digital_network(self.recipe, data, key=key)
        if not self.aware:
            return digital
        tuned = aware_network(self.recipe, plain, digital, data, key=key)
        # Ranges of the recipe's hardware do not fit the swept ones: `ChipScores` calibrates at every structure.
        return {name: value for name, value in tuned.variables.items() if name != "ranges"}


def load_sweep(path: str | pathlib.Path) -> SweepFile:
    """Load a sweep from a TOML file.

    Raises:
      InputError: with the line of the file, for invalid TOML, an unknown section or field, or a value out of range.
    """
    return parse_sweep(TomlFile.read(path))


def parse_sweep(file: TomlFile) -> SweepFile:
    """Build a sweep from the content of a file; see ``load_sweep``."""
    section_kinds = {"title": None, "hardware": None, "over": None, "sweep": Sweep, **SECTIONS}
    del section_kinds["evaluate"]
    for name in file.content:
        if name not in section_kinds:
            raise file.error((name,), f"has a section '{name}', which no sweep has; {nearest(name, section_kinds)}")
    for name in ("data", "model", "over"):
        if name not in file.content:
            raise file.error((), f"needs a section [{name}]")
    title = file.content.get("title", "")
    if not isinstance(title, str):
        raise file.error(("title",), "title: must be a string")
    sections = {
        name: section_of(file, name, kind)
        for name, kind in {**SECTIONS, "sweep": Sweep}.items()
        if name in section_kinds
    }
    hardware = hardware_from(file, ("hardware",)) if "hardware" in file.content else preset("pcm")
    evaluate = SECTIONS["evaluate"]()
    recipe = Recipe(
        title, sections["data"], sections["model"], hardware, {}, sections["digital"], sections["aware"], evaluate
    )
    if HARDWARE in file.content["over"] and "hardware" in file.content and "aware" not in file.content:
        raise file.error(("hardware",), "hardware: is swept in [over]; leave the section [hardware] out")
    return SweepFile(recipe, "aware" in file.content, _over(file, hardware), sections["sweep"])


def _over(file: TomlFile, hardware: Hardware) -> dict[Any, Any]:
    """Return the axes; every value is applied to the hardware here, so that an error names its line."""
    content = file.content["over"]
    if not isinstance(content, dict):
        raise file.error(("over",), "over: must be a table of names and values")
    over: dict[Any, Any] = {}
    if not content:
        raise file.error(("over",), "over: has no axis")
    targets = _targets(content, hardware)
    for name, values, path in _named(file, content, "", ("over",)):
        key = tuple(part.strip() for part in name.split(",")) if "," in name else name
        over[key] = _values(file, key, values, path, targets)
        for i, value in enumerate(over[key]) if isinstance(over[key], list) else ():
            with file.at((*path, i)):
                axes_of({key: [value]}, targets)
        with file.at(path):
            axes_of({key: over[key]}, targets)
    with file.at(("over",)):
        check_points(axes_of(over, targets), [hardware])
    return over


def _targets(content: dict, hardware: Hardware) -> list[Hardware]:
    """Return the hardware whose fields the axes may set: presets on an axis of hardware, and the file's hardware."""
    names = content.get(HARDWARE) or []
    return [*(preset(name) for name in names if isinstance(name, str) and name in presets()), hardware]


def _named(file: TomlFile, table: dict, above: str, path: tuple) -> list[tuple[str, Any, tuple]]:
    """Return name, values and path of every axis; TOML reads ``adc.bits = [...]`` as a table inside a table."""
    axes: list[tuple[str, Any, tuple]] = []
    for name, value in table.items():
        inner = f"{above}{name}"
        if value == {}:
            raise file.error((*path, name), f"over: {inner}: has no value")
        if isinstance(value, dict) and not _is_labelled(value):
            axes += _named(file, value, f"{inner}.", (*path, name))
        else:
            axes.append((inner, value, (*path, name)))
    return axes


def _is_labelled(table: dict) -> bool:
    """Return whether a table maps labels to values: none of its values is a list, or a table without a kind."""
    return bool(table) and all(
        not isinstance(v, list) and (not isinstance(v, dict) or "kind" in v) for v in table.values()
    )


def _values(file: TomlFile, name: Any, values: Any, path: tuple, targets: list[Hardware]) -> Any:
    """Convert the values of an axis for ``analogsim.sweep``: "none" to None, tables to descriptions."""
    if not isinstance(values, list | dict):
        raise file.error(path, f"over: {name} = {values!r}: must be a list of values")
    if name in (TIME, HARDWARE):
        return values
    names = name if isinstance(name, tuple) else (name,)
    with file.at(path):
        rules = [rule_at(n, targets) for n in names]
    reader = Reader(file, KINDS)

    def one(raw: Any, place: tuple, rule: Rule, field: str) -> Any:
        if raw == "none" and rule.takes_none:
            return None
        if isinstance(raw, dict) and isinstance(rule, Nested):
            return reader.described(grow(file, raw, place), field, rule)
        return raw

    def point(raw: Any, place: tuple) -> Any:
        if len(names) == 1:
            return one(raw, place, rules[0], names[0])
        if not isinstance(raw, list) or len(raw) != len(names):
            raise file.error(place, f"over: {', '.join(names)}: every value must be a list of {len(names)}")
        return tuple(one(raw[i], (*place, i), rules[i], names[i]) for i in range(len(names)))

    if isinstance(values, dict) and isinstance(values.get("kind"), str):
        raise file.error(path, f"over: {', '.join(names)}: must be a list of values, [{{ kind = ... }}]")
    if isinstance(values, dict):
        return {label: point(raw, (*path, label)) for label, raw in values.items()}
    return [point(raw, (*path, i)) for i, raw in enumerate(values)]
