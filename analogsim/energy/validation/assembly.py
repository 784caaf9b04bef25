"""Power and area of a whole system from its parts, for example a chip of tiles, each with several cores.

    P(assembly) = sum over parts of count * P(part)          the same for areas

A part is a device with the power and area of one piece; an assembly contains parts and other assemblies. ``count`` is
the number of pieces in the parent assembly. Sums are exactly rounded (``math.fsum``), so they do not depend on the
order of the parts. A part without a known power raises an error instead of counting as zero.
"""

import dataclasses
import math
from collections.abc import Iterator

from analogsim.base.checks import check_integer
from analogsim.base.errors import InputError
from analogsim.base.literature import Source


@dataclasses.dataclass(frozen=True, kw_only=True)
class MachinePart:
    """One kind of device in an assembly.

    Attributes:
      name: name of the device.
      count: number of pieces in the parent assembly.
      power_w: power of one piece in W; None if not known.
      area_m2: area of one piece in m2; None if not known.
      source: source of the figures.

    Raises:
      InputError: for a count that is not a positive integer, or a figure that is negative or not finite.
    """

    name: str
    count: int = 1
    power_w: float | None = None
    area_m2: float | None = None
    source: Source

    def __post_init__(self) -> None:
        check_integer(self.count, f"MachinePart {self.name}: count")
        for field, value, unit in (("power_w", self.power_w, "W"), ("area_m2", self.area_m2, "m2")):
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise InputError(
                    f"MachinePart {self.name}: {field} = {value!r} must be finite and not negative (unit: {unit})"
                )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Assembly:
    """An assembly of parts and smaller assemblies.

    Attributes:
      name: name of the assembly.
      parts: the parts of one such assembly.
      count: number of such assemblies in the parent.

    Raises:
      InputError: for a count that is not a positive integer, no parts, or two parts with the same name.

    Example:
      >>> note = Source(note="an example")
      >>> core = Assembly(name="core", count=4, parts=(MachinePart(name="ADC", count=8, power_w=2e-3, source=note),))
      >>> Assembly(name="chip", parts=(core, MachinePart(name="clock", power_w=1e-3, source=note))).power_w
      0.065
    """

    name: str
    parts: "tuple[MachinePart | Assembly, ...]"
    count: int = 1

    def __post_init__(self) -> None:
        check_integer(self.count, f"Assembly {self.name}: count")
        names = [part.name for part in self.parts]
        if not names:
            raise InputError(f"Assembly {self.name}: parts is empty; it needs at least one MachinePart or Assembly")
        if len(set(names)) < len(names):
            twice = sorted({name for name in names if names.count(name) > 1})
            raise InputError(f"Assembly {self.name}: several parts are named {', '.join(twice)}; join their counts")

    @property
    def power_w(self) -> float:
        """Power of one assembly in W.

        Raises:
          InputError: if the power of a part is not known.
        """
        return math.fsum(self._contributions("power_w"))

    @property
    def area_m2(self) -> float:
        """Area of one assembly in m2.

        Raises:
          InputError: if the area of a part is not known.
        """
        return math.fsum(self._contributions("area_m2"))

    def part(self, name: str) -> "MachinePart | Assembly":
        """Return its direct part of this name.

        Raises:
          InputError: if there is none.
        """
        for part in self.parts:
            if part.name == name:
                return part
        raise InputError(f"Assembly {self.name}: has no part {name!r}; it has {', '.join(p.name for p in self.parts)}")

    def flat(self) -> "tuple[PartTotal, ...]":
        """Return all devices of one assembly, with the counts of all levels multiplied."""
        return tuple(self._rows(self.name, 1))

    def _rows(self, path: str, fan_out: int) -> "Iterator[PartTotal]":
        for part in self.parts:
            part_path, count = f"{path} / {part.name}", fan_out * part.count
            if isinstance(part, Assembly):
                yield from part._rows(part_path, count)
            else:
                yield PartTotal(path=part_path, name=part.name, count=count, power_w=_times(count, part.power_w),
                          area_m2=_times(count, part.area_m2), source=part.source)  # fmt: skip

    def _contributions(self, field: str) -> Iterator[float]:
        for row in self.flat():
            value = getattr(row, field)
            if value is None:
                raise InputError(f"{row.path}: MachinePart.{field} is None; the sum needs a figure for every part")
            yield value


@dataclasses.dataclass(frozen=True, kw_only=True)
class PartTotal:
    """All pieces of one part in an assembly.

    Attributes:
      path: names of the enclosing assemblies, outermost first, and of the part.
      name: name of the part.
      count: total number of pieces.
      power_w: power of all pieces in W; None if not known.
      area_m2: area of all pieces in m2; None if not known.
      source: source of the figures.
    """

    path: str
    name: str
    count: int
    power_w: float | None
    area_m2: float | None
    source: Source


def _times(count: int, value: float | None) -> float | None:
    return None if value is None else count * value
