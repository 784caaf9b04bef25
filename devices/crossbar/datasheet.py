"""Data sheets of the memory technologies: one per cell, with units and sources.

The conductance range, its on/off ratio, the number of levels and the last time with data follow from the cell itself;
energies, pulses, endurance and temperature are figures of the technology, each with its unit and source. A figure that
is recalled from a publication, assumed, or an order of magnitude is marked ``recalled``. A field is None if no source
gives a figure: nothing is filled in.

    sheet = datasheet(PCM())
    sheet.write_energy            # Datum(value=(3e-10, 2e-09), unit='J', source=..., recalled=True, ...)
    CELLS["ecram"]()              # every technology by a short name
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

from analogsim.base.field_rules import rule_of
from analogsim.base.literature import Source, as_source, cited
from analogsim.devices.crossbar.cell import Cell
from analogsim.devices.crossbar.cmo_hfox import CMOReRAM
from analogsim.devices.crossbar.ecram import ECRAM
from analogsim.devices.crossbar.fefet import FeFET
from analogsim.devices.crossbar.flash import NORFlash
from analogsim.devices.crossbar.generic import GenericCell
from analogsim.devices.crossbar.hermes import HermesPCM
from analogsim.devices.crossbar.measured import MeasuredCell
from analogsim.devices.crossbar.milo import MiloReRAM
from analogsim.devices.crossbar.pcm import PCM
from analogsim.devices.crossbar.reram import ReRAM
from analogsim.devices.crossbar.sonos import SONOS

#: Every technology by a short name, a second published fit under a separate name; ``CELLS[name](**changes)`` builds it.
CELLS: dict[str, Callable[..., Any]] = {
    "pcm": PCM,
    "pcm-crosssim": PCM.crosssim_fit,
    "hermes": HermesPCM,
    "hermes-one-pair": HermesPCM.one_pair,
    "reram": ReRAM,
    "milo": MiloReRAM,
    "cmo": CMOReRAM,
    "sonos": SONOS,
    "flash": NORFlash,
    "ecram": ECRAM,
    "ecram-oxide": ECRAM.metal_oxide,
    "fefet": FeFET,
    "generic": GenericCell,
    "measured": MeasuredCell,
}

_NVSIM = cited("dong2012", note="90 nm: SET 150 uA, RESET 300 uA, at 21 kohm; energies derived")
_PCM_CLASS = Source(note="order of magnitude for phase-change memory, 10 to 30 pulses per write", recalled=True)
_RERAM_CLASS = Source(note="order of magnitude for resistive RAM", recalled=True)
_FLASH_CLASS = Source(note="order of magnitude for flash, 10 to 100 pulses per write", recalled=True)
_ECRAM_CLASS = cited("fuller2019", note="and similar", recalled=True)
_WAN = cited("wan2022")
_TANG = cited("tang2018", note="abstract")
_SHORTEST = cited("tang2018", "kim2019", note="abstracts")
_JERRY = cited("jerry2017", note="abstract")
_GUO = cited("guo2016", note="abstract")


class Datum(NamedTuple):
    """One figure of a data sheet, with its unit and source."""

    value: float | tuple[float, float]  #: one number, or both ends of a range
    unit: str  #: SI; empty for a pure number
    source: Source  #: publication or assumption behind the figure
    recalled: bool = False  #: recalled from a publication, assumed or an order of magnitude: not checked
    relation: str = ""  #: "<" or ">" if the value is a bound
    note: str = ""  #: what the figure refers to, if that is not obvious


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataSheet:
    """Figures of one memory technology; None if no source gives a figure. Returned by ``datasheet``.

    Example:
      >>> figure = datasheet(PCM(g_min="1 uS")).conductance
      >>> figure.value, figure.unit
      ((1e-06, 2.5e-05), 'S')
    """

    technology: str  #: material and node
    short: str = ""  #: short name of at most 18 letters, for tables
    conductance: Datum | None = None  #: range in use, S
    on_off: Datum | None = None  #: ratio of the ends of that range
    levels: Datum | None = None  #: number of states or steps in the range; None if it is continuous
    pulse_energy: Datum | None = None  #: energy of one write pulse, J
    write_energy: Datum | None = None  #: energy of writing and verifying one cell, J
    pulse_width: Datum | None = None  #: width of a write pulse, s
    endurance: Datum | None = None  #: number of writes
    validity: Datum | None = None  #: last time after programming with data, s; None: the law has no end
    temperature: Datum | None = None  #: range of temperatures with data, K
    retention: str = ""  #: what is known about the time after programming
    modelled: tuple[str, ...] = ()  #: effects in the model
    not_modelled: tuple[str, ...] = ()  #: known effects that the model lacks


def datasheet(cell: Any) -> DataSheet:
    """Return the data sheet of a cell, or of a cell's class if the class needs a user's data (``MeasuredCell``).

    For a cell of a user-defined class, the figures that follow from the cell are set and the rest are None.

    Args:
      cell: a memory cell, or the class of one.

    Returns:
      The figures, in SI units.

    Example:
      >>> sheet = datasheet(PCM(g_min="1 uS"))
      >>> round(sheet.on_off.value, 6), sheet.endurance.recalled, sheet.temperature
      (25.0, True, None)
    """
    kind = cell if isinstance(cell, type) else type(cell)
    facts = _FACTS.get(kind, dict(technology=kind.__name__, short=kind.__name__))
    if isinstance(cell, type):
        return DataSheet(**facts)
    low, high = float(cell.g_min), float(cell.g_max)
    ratio = high / low if low > 0 else math.inf
    # The source of a window may say in its text alone that it is recalled or assumed.
    source = _field_source(cell, "g_max")
    return DataSheet(
        conductance=Datum(
            (low, high), "S", source, recalled=any(word in str(source) for word in ("recalled", "assumed"))
        ),
        on_off=Datum(
            ratio, "", Source(note="ends of the range in use"), note="" if low > 0 else "the lowest conductance is 0"
        ),
        levels=_levels(cell),
        validity=_validity(cell),
        **facts,
    )


def _validity(cell: Cell) -> Datum | None:
    """Return the last time with data, whether or not reads are extrapolated beyond it."""
    until_s = getattr(cell, "measured_until_s", cell.time_limit_s)
    return None if until_s is None else Datum(float(until_s), "s", Source(note="last time with data"))


def _field_source(cell: Any, name: str) -> Source:
    """Return the source of a field, or a note that it is part of the cell's description."""
    source = next((rule_of(f).source for f in dataclasses.fields(cell) if f.name == name), None)
    return as_source(source) or Source(note="this cell's description")


def _levels(cell: Cell) -> Datum | None:
    if isinstance(cell, FeFET):
        return Datum(int(cell.levels), "", _field_source(cell, "levels"))
    if isinstance(cell, ECRAM):
        steps = (cell.bounds[1] - cell.bounds[0]) / cell.step
        return Datum(round(float(steps)), "", _field_source(cell, "step"), note="mean steps, indistinct if noisy")
    return None


_FACTS: dict[type, dict[str, Any]] = {
    PCM: dict(
        technology="phase-change memory, doped GST, 90 nm",
        short="PCM, 90 nm",
        pulse_energy=Datum((71e-12, 76e-12), "J", _NVSIM, note="SET, RESET; for the technology, not these cells"),
        write_energy=Datum((0.3e-9, 2e-9), "J", _PCM_CLASS, recalled=True),
        pulse_width=Datum((40e-9, 150e-9), "s", _NVSIM, note="RESET, SET; for the technology, not these cells"),
        endurance=Datum((1e8, 1e9), "", _PCM_CLASS, recalled=True),
        retention="power-law drift with a separate exponent for each cell, without an end",
        modelled=("programming noise", "drift and its device-to-device variation", "1/f read noise"),
        not_modelled=("temperature", "endurance", "non-linear I-V"),
    ),
    HermesPCM: dict(
        technology="phase-change memory, 14 nm HERMES chip",
        short="PCM, 14 nm",
        write_energy=Datum((0.3e-9, 2e-9), "J", _PCM_CLASS, recalled=True),
        endurance=Datum((1e8, 1e9), "", _PCM_CLASS, recalled=True),
        retention="power-law drift with a separate exponent for each cell, without an end",
        modelled=("programming noise", "drift and its device-to-device variation", "1/f read noise"),
        not_modelled=("temperature", "endurance", "difference between the devices of a pair"),
    ),
    ReRAM: dict(
        technology="resistive RAM, HfOx filament, 130 nm NeuRRAM chip",
        short="HfOx ReRAM, 130 nm",
        pulse_energy=Datum(61e-12, "J", cited("wan2022", note="derived, 1 us at 1.75 V and 20 uS")),
        write_energy=Datum(0.5e-9, "J", cited("wan2022", note="derived, 8.52 pulses of 1 us at 1.75 V and 20 uS")),
        pulse_width=Datum(1e-6, "s", _WAN),
        endurance=Datum((1e5, 1e9), "", _RERAM_CLASS, recalled=True),
        retention="relaxation measured after 1 s, 1 day and 2 days",
        modelled=("programming error and its relaxation",),
        not_modelled=("read noise", "temperature", "endurance", "non-linear I-V"),
    ),
    MiloReRAM: dict(
        technology="resistive RAM, HfO2 filament, 4 kb array",
        short="HfO2 ReRAM",
        endurance=Datum((1e5, 1e9), "", _RERAM_CLASS, recalled=True),
        retention="not given: the state right after programming, for 1 s",
        modelled=("programming error",),
        not_modelled=("retention", "read noise", "temperature", "endurance"),
    ),
    CMOReRAM: dict(
        technology="resistive RAM, CMO/HfOx filament",
        short="CMO/HfOx ReRAM",
        endurance=Datum((1e5, 1e9), "", _RERAM_CLASS, recalled=True),
        retention="relaxation in the logarithm of time, evaluated up to 10 years by its authors",
        modelled=("programming error for two acceptance ranges", "relaxation", "1/f read noise"),
        not_modelled=("temperature", "endurance", "non-linear I-V"),
    ),
    SONOS: dict(
        technology="SONOS charge-trap transistor, 40 nm",
        short="SONOS, 40 nm",
        retention="standard deviation measured daily up to 5 days",
        modelled=("programming error", "growth of the standard deviation", "read noise"),
        not_modelled=("decrease of the mean (about 1 % in 5 days)", "temperature", "endurance", "drain voltage"),
    ),
    NORFlash: dict(
        technology="NOR flash, split gate, 55 nm",
        short="NOR flash, 55 nm",
        pulse_energy=Datum((0.1e-9, 10e-9), "J", _FLASH_CLASS, recalled=True),
        write_energy=Datum((1e-9, 100e-9), "J", _FLASH_CLASS, recalled=True),
        endurance=Datum((1e4, 1e5), "", _FLASH_CLASS, recalled=True),
        temperature=Datum((298.15, 358.15), "K", _GUO, note="output changes by less than 3 %"),
        retention="long-term, without numbers: the state right after programming, for 1 s",
        modelled=("tuning tolerance", "temperature drift, the same for all cells"),
        not_modelled=("retention", "read noise", "endurance", "mismatch and crosstalk of the multiplier"),
    ),
    ECRAM: dict(
        technology="electrochemical RAM",
        short="electrochemical",
        pulse_energy=Datum(1e-15, "J", _TANG, note="projected for lithium cells of 100 nm x 100 nm"),
        write_energy=Datum(1e-9, "J", _ECRAM_CLASS, recalled=True, relation="<"),
        pulse_width=Datum((5e-9, 10e-9), "s", _SHORTEST, note="shortest shown: lithium, metal oxide"),
        endurance=Datum(1e8, "", _ECRAM_CLASS, recalled=True, relation=">"),
        retention="not given by the fits: the state right after programming, for 1 s",
        modelled=("steps and their slope", "rounding to a step", "noise and variation of the last steps"),
        not_modelled=("retention", "read noise", "temperature", "endurance", "variation of the window"),
    ),
    FeFET: dict(
        technology="ferroelectric transistor, Hf-Zr oxide",
        short="ferroelectric",
        pulse_width=Datum(75e-9, "s", _JERRY),
        retention="not given: the state right after programming, for 1 s",
        modelled=("rounding to a level", "noise of a pulse"),
        not_modelled=("retention", "read noise", "temperature", "endurance", "write disturb", "device variation"),
    ),
    GenericCell: dict(
        technology="errors of a chosen law, ideal by default",
        short="chosen errors",
        retention="power-law drift if drift_mean or drift_std is given, without an end",
        modelled=("programming error of three laws", "drift", "white or 1/f read noise"),
        not_modelled=("everything else",),
    ),
    MeasuredCell: dict(
        technology="user-defined, from a table",
        short="user's table",
        retention="up to the last time of the table",
        modelled=("programming error and its growth",),
        not_modelled=("shift of the mean", "read noise"),
    ),
}  # fmt: skip
