"""A recipe: a TOML file with a data set, a network, hardware, its training and its evaluation.

    title = "LeNet on phase-change memory"

    [data]
    name = "mnist-5k"                      # one of analogsim.training.recipes.datasets

    [model]
    name = "lenet"                         # one of analogsim.training.recipes.networks, or "package.module:Factory"

    [hardware]                             # as in a hardware file, analogsim.load_hardware
    preset = "pcm"
    "adc.bits" = 8

    [digital]                              # the network that hardware-aware training starts from
    epochs = 10
    learning_rate = 2e-3

    [aware]
    epochs = 5
    training = { kind = "DeviceNoise", time_s = "1 s", until_s = "1 year" }
    input_range = "learned"

    [evaluate]
    chips = 25

A field that is left out has its default; without a section [hardware], the hardware is the preset pcm. An unknown name
is refused with the nearest known name and the line of the file.
"""

import dataclasses
import importlib
import pathlib
from typing import Any

from analogsim.base.description import Description, static
from analogsim.base.errors import InputError, nearest, nearest_of, within
from analogsim.base.toml_text import TomlFile, toml_header, toml_section, toml_value
from analogsim.base.units import seconds
from analogsim.chips.evaluation import LIFETIME
from analogsim.converters.range_rules import DynamicRange, LearnedRange, TrackedRange
from analogsim.hardware import weight_modifiers as modifiers
from analogsim.hardware.file import hardware_from
from analogsim.hardware.fresh_chip import FreshChip
from analogsim.hardware.hardware import Hardware
from analogsim.hardware.presets import preset
from analogsim.hardware.toml_reader import Reader, grow
from analogsim.training.recipes.datasets import DATASETS
from analogsim.training.recipes.networks import NETWORKS

_FOLDER = pathlib.Path(__file__).parent

#: Kinds of ``training = { kind = ... }``.
KINDS: dict[str, Any] = {
    kind.__name__: kind
    for kind in (
        FreshChip, modifiers.DeviceNoise, modifiers.ProgrammingNoise, modifiers.AdditiveNoise,
        modifiers.MultiplicativeNoise, modifiers.ReadNoise, modifiers.Discretise, modifiers.DropConnect,
        modifiers.StuckCells,
    )
}  # fmt: skip

_RANGES: dict[str, Any] = {
    "calibrated": lambda: None,
    "learned": LearnedRange,
    "tracked": TrackedRange,
    "dynamic": DynamicRange,
}


class Data(Description):
    """Section ``[data]``."""

    name: str = static(doc="one of analogsim.training.recipes.datasets")

    def check(self) -> None:
        _check_known(self, self.name, DATASETS)


class Model(Description):
    """Section ``[model]``."""

    name: str = static(
        doc="one of analogsim.training.recipes.networks, or 'package.module:Factory', called with the classes"
    )
    checkpoint: str = static(default="", doc="folder of analogsim.save with pretrained variables; '' trains them")

    def check(self) -> None:
        if ":" not in self.name:
            _check_known(self, self.name, NETWORKS)

    def factory(self) -> Any:
        """Return a function from the number of classes to a plain Linen model.

        Raises:
          InputError: if the named factory cannot be imported.
        """
        if ":" not in self.name:
            return NETWORKS[self.name]
        module, _, name = self.name.partition(":")
        try:
            return getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise InputError(f"Model.name = {self.name!r}: cannot be imported ({error})") from None


class Digital(Description):
    """Section ``[digital]``: training of the plain network."""

    epochs: int = static(default=10, ge=1, le=10_000, integer=True, doc="passes over the data")
    batch_size: int = static(default=64, ge=1, le=1_000_000, integer=True, doc="examples per step")
    learning_rate: float = static(default=1e-3, ge=1e-8, le=10, doc="initial rate of Adam; cosine decay to 0")


class Aware(Description):
    """Section ``[aware]``: hardware-aware fine-tuning; see ``analogsim.training.fine_tune``."""

    epochs: int = static(default=5, ge=1, le=10_000, integer=True, doc="passes over the data")
    batch_size: int = static(default=64, ge=1, le=1_000_000, integer=True, doc="examples per step")
    learning_rate: float = static(default=1e-3, ge=1e-8, le=10, doc="initial rate of Adam; cosine decay to 0")
    training: Any = static(default=(("kind", "FreshChip"),), doc="kind and fields of the noise in every step")
    input_range: str = static(default="calibrated", choices=tuple(_RANGES), doc="input ranges during training")
    output_range: str = static(
        default="calibrated", choices=("calibrated", "learned", "tracked"), doc="output ranges during training"
    )
    distil: float = static(default=0.5, ge=0, le=1, doc="weight of the digital network as a teacher")
    temperature: float = static(default=2.0, ge=0.01, le=100, doc="temperature of the distillation")
    ramp: float = static(default=0.3, ge=0, le=1, doc="fraction of the steps with growing noise")
    clip_sigmas: float = static(default=2.5, ge=0, le=100, doc="clips weights at this many sigmas; 0: no clipping")
    micro_batches: int = static(default=1, ge=1, le=10_000, integer=True, doc="parts of a batch, each on its own chip")

    def check(self) -> None:
        if isinstance(self.training, dict):
            object.__setattr__(self, "training", tuple(self.training.items()))
        if not isinstance(self.training, tuple):
            self.refuse("training", f"must be a table with a kind, one of {', '.join(KINDS)}")
        with within("training"):
            self.modifier()

    def modifier(self) -> Any:
        """Return the weight modifier, or ``FreshChip``, that every step samples."""
        fields = dict(self.training)
        kind = fields.pop("kind", None)
        if kind not in KINDS:
            raise InputError(f"Aware.training.kind: unknown class {kind!r}; {nearest_of(str(kind), KINDS)}", ("kind",))
        return KINDS[kind](**fields)

    def on(self, hardware: Hardware) -> Hardware:
        """Return the hardware with the weight modifier and the range rules of this section."""
        learned = self.output_range == "learned"
        output_range = LearnedRange(rule="gradient") if learned else _RANGES[self.output_range]()
        input_range = _RANGES[self.input_range]()
        return hardware.replace(training=self.modifier(), input_range=input_range, output_range=output_range)


class Evaluate(Description):
    """Section ``[evaluate]``: accuracy over the lifetime of sampled chips."""

    chips: int = static(default=25, ge=1, le=1_000_000, integer=True, doc="chips sampled per network")
    times: tuple[str, ...] = static(default=LIFETIME, doc="read times after programming")
    compensation: tuple[str, ...] = static(default=("none", "global"), doc="drift compensations")
    examples: int = static(default=1000, ge=1, le=10_000_000, integer=True, doc="maximum number of test examples")
    calibration: str = static(default="percentile", choices=("percentile", "max", "error"), doc="of converter ranges")

    def check(self) -> None:
        for name in ("times", "compensation"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for i, time in enumerate(self.times):
            with within("times", i):
                seconds(time, "Evaluate.times")
        if not set(self.compensation) <= {"none", "global", "column"}:
            self.refuse("compensation", "must hold none, global or column")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A recipe. Returned by ``load_recipe``.

    Attributes:
      title: title of the experiment.
      data, model, digital, aware, evaluate: the sections of the file.
      hardware: hardware of the section ``[hardware]``.
      hardware_fields: fields of that section as written, for ``to_toml``.

    Example:
      >>> short = load_recipe("lenet").shortened(epochs=1)
      >>> short.digital.epochs, short.aware.epochs
      (1, 1)
    """

    title: str
    data: Data
    model: Model
    hardware: Hardware
    hardware_fields: dict[str, Any]
    digital: Digital
    aware: Aware
    evaluate: Evaluate

    def shortened(self, epochs: int) -> "Recipe":
        """Return the recipe with this number of epochs in both trainings."""
        digital, aware = self.digital.replace(epochs=epochs), self.aware.replace(epochs=epochs)
        return dataclasses.replace(self, digital=digital, aware=aware)

    def to_toml(self) -> str:
        """Format the recipe as TOML for ``load_recipe``, with every field, including those left at their defaults."""
        parts = [f"title = {toml_value(self.title)}"]
        parts += [_section(name, getattr(self, name)) for name in ("data", "model")]
        parts.append(toml_section(["hardware"], self.hardware_fields))
        parts += [_section(name, getattr(self, name)) for name in ("digital", "aware", "evaluate")]
        return "\n\n".join(parts) + "\n"


#: The sections of a recipe that are descriptions.
SECTIONS: dict[str, Any] = {
    "data": Data,
    "model": Model,
    "digital": Digital,
    "aware": Aware,
    "evaluate": Evaluate,
}


def recipes() -> dict[str, str]:
    """Return the recipes of the package, ``{name: title}``.

    Example:
      >>> recipes()["lenet"]
      'LeNet on phase-change memory, MNIST digits'
    """
    return {path.stem: TomlFile.read(path).content["title"] for path in sorted(_FOLDER.glob("*.toml"))}


def load_recipe(name: str | pathlib.Path) -> Recipe:
    """Load a recipe of the package by name, or a recipe from a TOML file.

    Args:
      name: ``"lenet"``, or the path of a file.

    Returns:
      The recipe, for ``recipes.run.run_recipe``.

    Raises:
      InputError: for a missing or invalid file, an unknown section or field, or a value out of range.

    Example:
      >>> load_recipe("lenet").model.name
      'lenet'
    """
    path = pathlib.Path(name)
    if path.suffix != ".toml" and (_FOLDER / f"{name}.toml").is_file():
        path = _FOLDER / f"{name}.toml"
    if not path.is_file():
        known = [p.stem for p in sorted(_FOLDER.glob("*.toml"))]
        raise InputError(
            f"recipe {str(name)!r}: must be a TOML file, or one of {', '.join(known)}; {nearest(str(name), known)}"
        )
    return _recipe(TomlFile.read(path, f"recipe {name}"), str(name))


def parse_recipe(content: dict[str, Any], where: str) -> Recipe:
    """Build a recipe from nested dictionaries; ``where`` is its name in messages."""
    return _recipe(TomlFile(f"recipe {where}", "", content), where)


def _recipe(file: TomlFile, name: str) -> Recipe:
    content = file.content
    known = ("title", "hardware", *SECTIONS)
    for section in content:
        if section not in known:
            hint = nearest(section, known)
            raise file.error((section,), f"has a section '{section}', which no recipe has; {hint}")
    for section in ("data", "model"):
        if section not in content:
            raise file.error((), f"needs a section [{section}]")
    sections = {section: section_of(file, section, kind) for section, kind in SECTIONS.items()}
    hardware = hardware_from(file, ("hardware",)) if "hardware" in content else preset("pcm")
    try:
        sections["aware"].on(hardware)  # raises for ranges or a modifier that the hardware cannot have
    except InputError as error:
        aware = grow(file, content.get("aware", {}), ("aware",))
        raise file.error(aware.at(error.field), error) from None
    fields = dict(content.get("hardware", {"preset": "pcm"}))
    return Recipe(str(content.get("title", name)), hardware=hardware, hardware_fields=fields, **sections)


def section_of(file: TomlFile, section: str, kind: Any) -> Any:
    """Read a section as a description of this kind; an error names the line of the field."""
    node, reader = grow(file, file.content.get(section, {}), (section,)), Reader(file, KINDS)
    if not isinstance(node.value, dict):
        raise file.error(node.path, f"[{section}] must be a table of fields")
    return reader.build(node, kind, node.plain)


def _check_known(section: Description, name: Any, known: Any) -> None:
    if name not in known:
        section.refuse("name", f"must be one of {', '.join(known)}; {nearest(str(name), known)}")


def _section(name: str, section: Any) -> str:
    """Format a section with every field; a weight modifier is an inline table."""
    fields = {f.name: getattr(section, f.name) for f in dataclasses.fields(section)}
    lines = [f"{key} = {toml_value(dict(v) if key == 'training' else v)}" for key, v in fields.items()]
    return "\n".join([toml_header([name]), *lines])
