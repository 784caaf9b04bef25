"""Parsing and printing of physical quantities.

All numbers inside the library are in SI units without prefixes (siemens, volts, seconds, joules). Strings such as
``"25 uS"`` or ``"1 day"`` are accepted from users and converted at once.
"""

import math
import numbers
import re
from typing import Any

import jax
import numpy as np

from analogsim.base.errors import InputError, nearest
from analogsim.base.types import Numeric

#: Powers of ten of the SI prefixes.
PREFIXES = {
    "a": -18,
    "f": -15,
    "p": -12,
    "n": -9,
    "u": -6,
    "\u00b5": -6,
    "\u03bc": -6,
    "m": -3,
    "": 0,
    "k": 3,
    "M": 6,
    "G": 9,
    "T": 12,
}

#: Calendar units in seconds. A month is a twelfth of a Julian year.
TIMES_S = {
    "s": 1.0,
    "second": 1.0,
    "min": 60.0,
    "minute": 60.0,
    "h": 3600.0,
    "hour": 3600.0,
    "d": 86400.0,
    "day": 86400.0,
    "week": 604800.0,
    "month": 2629800.0,
    "yr": 31557600.0,
    "year": 31557600.0,
}

_QUANTITY = re.compile(r"\s*([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*(\S*?)\s*")


def parse(text: str, unit: str, where: str) -> float:
    """Parse a quantity and return its value in ``unit`` (``"25 uS"`` in ``"S"`` is 2.5e-5).

    Args:
      text: a number, optionally followed by a unit with an SI prefix or, for seconds, a calendar unit.
      unit: target unit, without a prefix; ``""`` for a pure number.
      where: name of the quantity, for the error message.

    Raises:
      InputError: if the string is not a number or has another unit.

    Example:
      >>> parse("25 uS", "S", "g_max"), parse("1 day", "s", "time")
      (2.5e-05, 86400.0)
    """
    match = _QUANTITY.fullmatch(text)
    try:
        number, suffix = float(match[1]), match[2]  # type: ignore[index]
    except (TypeError, ValueError):
        example = f"'2.5 {unit}'" if unit else "'2.5'"
        raise InputError(f"{where} = {text!r}: expected a number such as {example}") from None
    if suffix in ("", unit):
        return number
    if unit == "s":
        singular = suffix.removesuffix("s") if len(suffix) > 2 else suffix
        if singular in TIMES_S:
            return number * TIMES_S[singular]
    if unit == "m2" and suffix.replace("²", "2").endswith("m2") and suffix[:-2] in PREFIXES:
        return number * 10.0 ** (2 * PREFIXES[suffix[:-2]])
    if unit and suffix.endswith(unit) and suffix.removesuffix(unit) in PREFIXES:
        # Through the decimal string, so that "25 uS" is exactly the float 2.5e-05; 25 * 10**-6 is its neighbour.
        return (
            float(f"{number!r}e{PREFIXES[suffix.removesuffix(unit)]}")
            if "e" not in repr(number)
            else (number * 10.0 ** PREFIXES[suffix.removesuffix(unit)])
        )
    written = [p for p in PREFIXES if p != "\u03bc"]  # the two micro signs look alike
    allowed = [p + unit for p in written] + (list(TIMES_S) if unit == "s" else [])
    hint = nearest(suffix, allowed) if unit else "give a pure number"
    raise InputError(f"{where} = {text!r}: unknown unit {suffix!r}, expected {unit or 'none'}; {hint}")


def seconds(time: object, where: str = "time_s") -> object:
    """Return a time in seconds.

    Args:
      time: seconds as a number, an array or a tracer, or a string such as ``"1 day"``.
      where: name of the argument, for the error message.

    Raises:
      InputError: for another type, or a time that is negative or not finite.

    Example:
      >>> seconds("1 day"), seconds(3.0)
      (86400.0, 3.0)
    """
    if isinstance(time, str):
        time = parse(time, "s", where)
    if isinstance(time, jax.core.Tracer):
        return time
    if isinstance(time, bool) or not isinstance(time, (numbers.Real, np.ndarray, jax.Array)):
        raise InputError(f"{where} = {time!r}: must be a number of seconds, or a string such as '1 day'")
    values = np.asarray(time, dtype=np.float64)
    if not np.all(np.isfinite(values) & (values >= 0)):
        bad = values[~(np.isfinite(values) & (values >= 0))].flat[0]
        raise InputError(f"{where} = {bad:g}: must be finite and at least 0 (unit: s after programming)")
    return time


def show(value: float, unit: str, digits: int = 3) -> str:
    """Return a number with an SI prefix, as text; areas in ``"m2"`` take the squared prefix.

    Args:
      value: number in ``unit``.
      unit: SI unit without a prefix; ``""`` for none.
      digits: significant digits.

    Example:
      >>> show(2.5e-5, "S"), show(1.2e-9, "m2")
      ('25 µS', '1200 µm²')
    """
    if unit.partition("/")[0] == "m2":
        return _show_area(value, unit, digits)
    if value == 0 or not math.isfinite(value) or not unit:
        return f"{value:.{digits}g} {unit}".strip()
    for prefix, factor in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3), ("", 1.0), ("m", 1e-3), ("µ", 1e-6),
                           ("n", 1e-9), ("p", 1e-12), ("f", 1e-15), ("a", 1e-18)):  # fmt: skip
        # The factor 0.9995 prints 999.6 as 1 k instead of 1e+03; the inner rounding prints 640 instead of 6.4e+02.
        if abs(value) >= 0.9995 * factor:
            return f"{float(f'{value / factor:.{digits}g}'):g} {prefix}{unit}"
    return f"{value:.{digits}g} {unit}"


def _show_area(value: float, unit: str, digits: int) -> str:
    per = unit.removeprefix("m2")
    for prefix, factor in (("", 1.0), ("m", 1e-6), ("µ", 1e-12)):  # the prefix of an area is squared
        if abs(value) >= 0.9995 * factor:
            return f"{float(f'{value / factor:.{digits}g}'):g} {prefix}m²{per}"
    return f"{value / 1e-12:.{digits}g} µm²{per}" if value else f"0 m²{per}"


def show_time(time_s: float, digits: int = 3) -> str:
    """Return a time as text, in the largest calendar unit that fits.

    Args:
      time_s: time in seconds; below a minute, it is shown in seconds with an SI prefix.
      digits: significant digits.

    Example:
      >>> show_time(31557600), show_time(2e-6)
      ('1 year', '2 µs')
    """
    for unit in ("year", "month", "day", "h", "min"):
        if time_s >= 0.9995 * TIMES_S[unit]:
            number = f"{float(f'{time_s / TIMES_S[unit]:.{digits}g}'):g}"
            plural = "s" if number != "1" and unit not in ("h", "min") else ""
            return f"{number} {unit}{plural}"
    return show(time_s, "s", digits)


#: Decibels per effective bit, 20 log10 2, and of a full-scale sine over the rounding noise at 0 bits, 10 log10 1.5.
DB_A_BIT = 20 * math.log10(2)
DB_OF_A_SINE = 10 * math.log10(1.5)


def sndr_db(bits: Numeric) -> Any:
    """Return the signal-to-noise-and-distortion ratio of effective bits, in dB: 20 log10(2) bits + 10 log10(1.5).

    The signal is a full-scale sine, 2^(2 bits) / 8 steps squared; the noise is that of rounding, 1/12 (IEEE Std 1241).

    Example:
      >>> round(sndr_db(8), 4)
      49.9257
    """
    return DB_A_BIT * bits + DB_OF_A_SINE


def effective_bits(decibels: Any) -> Any:
    """Return the effective bits of a signal-to-noise-and-distortion ratio in dB; inverse of ``sndr_db``.

    Example:
      >>> effective_bits(sndr_db(8))
      8.0
    """
    return (decibels - DB_OF_A_SINE) / DB_A_BIT
