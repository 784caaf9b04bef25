"""Powers and areas of a whole machine from its parts: chip, tile, core, each with so many of the next.

    P(assembly) = sum over parts of count * P(part)          the same for areas

A part is one device with the power and area of one piece; an assembly holds parts and other assemblies, and how often
it is there itself is known to whoever holds it. Sums are exactly rounded (``math.fsum``), so that the order in which
parts are written down changes nothing. A part without a known power makes the sum fail: unknown is not zero.
"""

import dataclasses
import math
from collections.abc import Iterator

from analogsim.base.checks import check_integer
from analogsim.base.errors import InputError
from analogsim.base.literature import Source


@dataclasses.dataclass(frozen=True, kw_only=True)
class MachinePart:
    """One kind of device.

    Attributes:
      name: what it is.
      count: how many of it one of its holder has.
      power_w: of one; None where it is not known.
      area_m2: of one; None where it is not known.
      source: where the figures come from.

    Raises:
      InputError: where the count is no positive integer, or a figure is negative or not finite.
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
    """So many parts and smaller assemblies together.

    Attributes:
      name: what it is.
      parts: what one of it holds.
      count: how many of it its holder has.

    Raises:
      InputError: where the count is no positive integer, it holds nothing, or two parts have one name.

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
            raise InputError(f"Assembly {self.name}: parts named {', '.join(twice)} are there twice; join their counts")

    @property
    def power_w(self) -> float:
        """Watts of one.

        Raises:
          InputError: that names a part whose power is not known.
        """
        return math.fsum(self._contributions("power_w"))

    @property
    def area_m2(self) -> float:
        """Square metres of one.

        Raises:
          InputError: that names a part whose area is not known.
        """
        return math.fsum(self._contributions("area_m2"))

    def part(self, name: str) -> "MachinePart | Assembly":
        """The part of this name that it holds itself.

        Raises:
          InputError: where there is none.
        """
        for part in self.parts:
            if part.name == name:
                return part
        raise InputError(f"Assembly {self.name}: has no part {name!r}; it has {', '.join(p.name for p in self.parts)}")

    def flat(self) -> "tuple[PartTotal, ...]":
        """Every part of one, with the counts of all its holders multiplied: rows for a table."""
        return tuple(self._rows(self.name, 1))

    def _rows(self, path: str, fan_out: int) -> "Iterator[PartTotal]":
        for part in self.parts:
            here, count = f"{path} / {part.name}", fan_out * part.count
            if isinstance(part, Assembly):
                yield from part._rows(here, count)
            else:
                yield PartTotal(path=here, name=part.name, count=count, power_w=_times(count, part.power_w),
                          area_m2=_times(count, part.area_m2), source=part.source)  # fmt: skip

    def _contributions(self, field: str) -> Iterator[float]:
        for row in self.flat():
            value = getattr(row, field)
            if value is None:
                what = field.partition("_")[0]
                raise InputError(
                    f"{row.path}: its {what} is not known, and unknown is not zero; give MachinePart.{field}"
                )
            yield value


@dataclasses.dataclass(frozen=True, kw_only=True)
class PartTotal:
    """All pieces of one part in an assembly.

    Attributes:
      path: names of the holders, outermost first, and of the part.
      name: of the part.
      count: pieces in all.
      power_w: of all pieces; None where it is not known.
      area_m2: of all pieces; None where it is not known.
      source: where the figures come from.
    """

    path: str
    name: str
    count: int
    power_w: float | None
    area_m2: float | None
    source: Source


def _times(count: int, each: float | None) -> float | None:
    return None if each is None else count * each
