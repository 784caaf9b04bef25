"""Hardware in a TOML file: written with every number's unit and meaning, edited by hand, read back.

    preset = "pcm"                     # a preset that the file changes; without it, the defaults of Hardware
    rows = 256
    "adc.bits" = 6                     # one field of what is there, by its dotted name

    [store]                            # another store than the preset's: kind names its class
    kind = "Crossbar"

    [store.cell]
    kind = "PCM"
    g_max = "20 uS"                    # a string with a unit, or a number in SI units

    [energy_table]                     # without a kind: changes to the prices that are there
    read_time_s = "100 ns"

``"none"`` stands for None, an effect that is absent. ``analogsim show pcm --toml > my.toml`` writes a whole file to
start from. Which classes a file may name is a plain dictionary (``hardware_kinds``); nothing in a file is imported,
unpickled or evaluated.
"""

import os
from collections.abc import Mapping

from analogsim.base.description import Description
from analogsim.base.errors import InputError, brief
from analogsim.base.toml_lines import Path
from analogsim.base.toml_text import TomlFile
from analogsim.hardware.hardware import Hardware
from analogsim.hardware.kinds import with_kinds
from analogsim.hardware.presets import preset
from analogsim.hardware.toml_reader import Node, Reader, grow
from analogsim.hardware.toml_writer import Writer

Kinds = Mapping[str, type[Description]]

_OPENING = """\
# Hardware for analogsim.load_hardware and for the command line (analogsim show FILE.toml). Numbers are in SI units; a
# string may carry a unit ("25 uS", "1 day"). "none" stands for None, an effect that is absent. kind names the class
# that a table describes.
"""


def to_toml(hardware: Hardware, *, all_fields: bool = False, kinds: Kinds | None = None) -> str:
    """Hardware as a file that ``load_hardware`` reads back to the same numbers.

    Args:
      hardware: what is written; arrays in it come back as float64 arrays of NumPy.
      all_fields: whether fields that hold their defaults are written, too. Such a file is good for editing, and means
        the same when defaults change.
      kinds: classes of your own in the hardware, by their names: ``{"MyCell": MyCell}``.

    Raises:
      InputError: for traced hardware, a sweep, or a class that is not known.

    Example:
      >>> from analogsim import DAC
      >>> print(to_toml(Hardware(name="mine", dac=DAC(noise=0.01))).partition("\\n\\n")[2])
      name = "mine"  # for tables and messages
      <BLANKLINE>
      [dac]  # input converter; None drives exact values
      kind = "DAC"  # or BitSerialDAC, PulseWidthDAC
      noise = 0.01  # of what drives a row, relative to a full code; None for none
      <BLANKLINE>
    """
    if not isinstance(hardware, Hardware):
        raise InputError(f"to_toml writes Hardware, not {brief(hardware)}")
    tables = list(Writer(with_kinds(kinds), all_fields).tables(hardware))
    # A file says at least one thing, also where every field holds its default.
    return "\n\n".join([_OPENING.rstrip(), *(tables or [f'name = "{hardware.name}"'])]) + "\n"


def from_toml(text: str, *, name: str = "hardware", kinds: Kinds | None = None) -> Hardware:
    """Hardware from the text of a file; see the module for what may stand in it.

    Args:
      text: what ``to_toml`` writes, or a person.
      name: of the text, for messages.
      kinds: classes of your own that the text may name: ``{"MyCell": MyCell}``.

    Raises:
      InputError: in one sentence, with the line, for what is no TOML, an unknown field, kind or preset (with the
        nearest known one), a value out of range, or values that do not go together.

    Example:
      >>> from_toml('preset = "pcm"\\n"adc.bits" = 6').adc.bits
      6
      >>> from_toml('[store]\\nkind = "Crossbar"\\ncel = 3')
      Traceback (most recent call last):
      analogsim.base.errors.InputError: hardware, line 3: Crossbar has no field 'cel'; did you mean 'cell'?
    """
    if not isinstance(text, str):
        raise InputError(f"from_toml reads a string, not {brief(text)}; a file is read by load_hardware")
    return hardware_from(TomlFile.parse(text, name), kinds=kinds)


def load_hardware(path: str | os.PathLike, *, kinds: Kinds | None = None) -> Hardware:
    """Hardware from a TOML file: ``load_hardware("my.toml")``; see ``from_toml``, and the module for an example.

    Raises:
      InputError: as ``from_toml``, and for a file that cannot be read.
    """
    return hardware_from(TomlFile.read(path), kinds=kinds)


def hardware_named(name: str) -> Hardware:
    """What a command line means by a hardware: a path that ends with ``.toml``, else the name of a preset.

    Raises:
      InputError: for an unknown preset, or a file with a mistake.
    """
    return load_hardware(name) if str(name).lower().endswith(".toml") else preset(name)


def hardware_from(file: TomlFile, path: Path = (), *, kinds: Kinds | None = None) -> Hardware:
    """Hardware from a table within a file, such as the section of a recipe; from the whole file where path is ()."""
    raw = file.content
    for part in path:
        raw = raw[part]  # type: ignore[index]
    node = grow(file, raw, path)
    if not isinstance(node.value, dict):
        raise file.error(path, "the hardware must be a table of fields")
    base, fields = None, dict(node.value)
    if "kind" in fields and fields.pop("kind").value != "Hardware":
        raise file.error(node.value["kind"].path, "kind: must be 'Hardware' here, or left out")
    if "preset" in fields:
        named = fields.pop("preset")
        with file.at(named.path):
            base = preset(named.value)
    reader = Reader(file, with_kinds(kinds))
    if base is None and not fields:
        raise file.error(path, 'says nothing about the hardware; must have a field or a preset: preset = "pcm"')
    return reader.table(Node(fields, path), Hardware, base)
