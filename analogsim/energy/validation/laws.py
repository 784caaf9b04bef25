"""Laws with one or two fitted parameters, by which one published point of a machine is asked for another.

    E(V) = E(V0) (V / V0)^2                             energy over the supply
    E(m) = E(low) + (E(high) - E(low)) m / m_high       energy over the mean of what an array puts out
    E    = c cycles                                     energy of the word lines

The exponents are those of the account: cells that conduct add up, and lines are charged to the supply.
"""

from collections.abc import Sequence

SUPPLY_EXPONENT = 2.0
OUTPUT_EXPONENT = 1.0
WORD_LINE_FJ = 7.56  #: per operation and input cycle of NeuRRAM: one constant for all of its settings


def over_supply(at_point: float, from_v: float, to_v: float) -> float:
    """An energy at another supply; with the supplies exchanged, an efficiency."""
    return at_point * (to_v / from_v) ** SUPPLY_EXPONENT


def over_output(low: float, high: float, mean: float, largest: float) -> float:
    """An energy at a mean output, from those at no output and at the largest."""
    return low + (high - low) * (mean / largest) ** OUTPUT_EXPONENT


def on_a_line(low: float, high: float, at: float, start: float, length: float) -> float:
    """A figure ``at`` a supply between ``start`` and ``start + length``, on a straight line between its ends."""
    return low + (high - low) * (at - start) / length


def per_device(at_point: float, fitted: float, asked: float) -> float:
    """A power with another device: as many of them as ``at_point`` says of devices with the figure ``fitted``."""
    return at_point / fitted * asked


def word_lines_fj(cycles: int) -> float:
    """Femtojoules per operation for switching word lines in so many input cycles."""
    return cycles * WORD_LINE_FJ


def sum_of_fractions(total: float, fractions: Sequence[float]) -> float:
    """A total from what its parts take as fractions of it."""
    return sum(fraction * total for fraction in fractions)
