"""Laws with one or two fitted parameters that predict one published point of a system from others.

    E(V) = E(V0) (V / V0)^2                             energy over the supply
    E(m) = E(low) + (E(high) - E(low)) m / m_high       energy over the mean output of an array
    E    = c cycles                                     energy of the word lines

The exponents are those of the account: currents of conducting cells add, and lines are charged to the supply.
"""

from collections.abc import Sequence

SUPPLY_EXPONENT = 2.0
OUTPUT_EXPONENT = 1.0
WORD_LINE_FJ = 7.56  #: per operation and input cycle of NeuRRAM; one constant for all of its settings


def over_supply(at_point: float, from_v: float, to_v: float) -> float:
    """Return an energy at another supply; with the supplies exchanged, an efficiency."""
    return at_point * (to_v / from_v) ** SUPPLY_EXPONENT


def over_output(low: float, high: float, mean: float, largest: float) -> float:
    """Return the energy at a mean output, from the energies at zero and at the largest output."""
    return low + (high - low) * (mean / largest) ** OUTPUT_EXPONENT


def on_a_line(low: float, high: float, at: float, start: float, length: float) -> float:
    """Interpolate a figure linearly ``at`` a supply between ``start`` and ``start + length``."""
    return low + (high - low) * (at - start) / length


def per_device(at_point: float, fitted: float, asked: float) -> float:
    """Return the power with devices of figure ``asked``, as many as give ``at_point`` with figure ``fitted``."""
    return at_point / fitted * asked


def word_lines_fj(cycles: int) -> float:
    """Return the femtojoules per operation for switching word lines in this number of input cycles."""
    return cycles * WORD_LINE_FJ


def sum_of_fractions(total: float, fractions: Sequence[float]) -> float:
    """Return a total from the fractions of it that its parts take."""
    return sum(fraction * total for fraction in fractions)
