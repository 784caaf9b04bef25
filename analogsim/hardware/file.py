"""Write hardware to a TOML file with the unit and meaning of every number, and read it back.

    preset = "pcm"                     # a preset that the file changes; without it, the defaults of Hardware
    rows = 256
    "adc.bits" = 6                     # one field, by its dotted name

    [store]                            # replaces the preset's store: kind names its class
    kind = "Crossbar"

    [store.cell]
    kind = "PCM"
    g_max = "20 uS"                    # a string with a unit, or a number in SI units

    [energy_table]                     # without a kind: changes to the preset's energy table
    read_time_s = "100 ns"

``"none"`` stands for None, an absent effect. ``analogsim show pcm --toml > my.toml`` writes a complete file to start
from. A file can name only the classes of a plain dictionary (``kinds``); nothing in it is imported, unpickled or
evaluated.
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
    """Return hardware as the text of a TOML file that ``load_hardware`` reads back to the same numbers.

    Args:
      hardware: the hardware to write; arrays in it are read back as float64 NumPy arrays.
      all_fields: whether to write fields that hold their defaults, too. Such a file is convenient to edit, and keeps
        its meaning if defaults change.
      kinds: user-defined classes in the hardware, by name: ``{"MyCell": MyCell}``.

    Raises:
      InputError: for traced hardware, for a sweep (arrays in scalar fields), or for an unknown class.

    Example:
      >>> from analogsim import DAC
      >>> print(to_toml(Hardware(name="mine", dac=DAC(noise=0.01))).partition("\\n\\n")[2])
      name = "mine"  # for tables and messages
      <BLANKLINE>
      [dac]  # input converter; None drives exact values
      kind = "DAC"  # or BitSerialDAC, PulseWidthDAC
      noise = 0.01  # noise of the row drive relative to a full code; None: none
      <BLANKLINE>
    """
    if not isinstance(hardware, Hardware):
        raise InputError(f"to_toml writes Hardware, not {brief(hardware)}")
    tables = list(Writer(with_kinds(kinds), all_fields).tables(hardware))
    # ``hardware_from`` refuses an empty file, so write the name if every field holds its default.
    return "\n\n".join([_OPENING.rstrip(), *(tables or [f'name = "{hardware.name}"'])]) + "\n"


def from_toml(text: str, *, name: str = "hardware", kinds: Kinds | None = None) -> Hardware:
    """Return the hardware that a TOML text describes; see the module for the format.

    Args:
      text: TOML text, from ``to_toml`` or written by hand.
      name: name of the text in error messages.
      kinds: user-defined classes that the text may name: ``{"MyCell": MyCell}``.

    Raises:
      InputError: for invalid TOML, an unknown field, kind or preset (the message gives the nearest known one), a value
        out of range, or values that contradict each other. The message is one sentence and gives the line.

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
    """Load hardware from a TOML file, e.g. ``load_hardware("my.toml")``; see the module for the format.

    Args:
      path: the file.
      kinds: user-defined classes, as in ``from_toml``.

    Returns:
      The hardware.

    Raises:
      InputError: as ``from_toml``, and if the file cannot be read.

    Example:
      >>> import pathlib, tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = pathlib.Path(folder, "my.toml")
      ...     n_characters = path.write_text('preset = "pcm"\\n"adc.bits" = 6')
      ...     load_hardware(path).adc.bits
      6
    """
    return hardware_from(TomlFile.read(path), kinds=kinds)


def hardware_named(name: str) -> Hardware:
    """Resolve a ``--hardware`` argument: a path that ends with ``.toml``, else the name of a preset.

    Raises:
      InputError: for an unknown preset, or a file with a mistake.
    """
    return load_hardware(name) if str(name).lower().endswith(".toml") else preset(name)


def hardware_from(file: TomlFile, path: Path = (), *, kinds: Kinds | None = None) -> Hardware:
    """Return hardware from the table at ``path`` in a file, e.g. a section of a recipe; () is the whole file."""
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
