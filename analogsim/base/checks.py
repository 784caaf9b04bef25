"""Checks of function arguments; error messages name the argument, its value and what is allowed."""

import numbers
from typing import Any

import jax

from analogsim.base.errors import InputError, brief, range_text
from analogsim.base.field_rules import Number

#: Error message of functions that need a model with analog layers.
NO_ANALOG_LAYER = "the model has no analog layer: build it with AnalogDense, or convert(model, hardware)"


def check_integer(value: Any, name: str, ge: int = 1, le: int | None = None) -> int:
    """Return a Python or NumPy integer as ``int``.

    Args:
      value: the argument; neither a bool nor a float, not even 2.0.
      name: name of the argument, for the message.
      ge, le: smallest and largest allowed value.

    Raises:
      InputError: if the value is not an integer or is out of range.

    Example:
      >>> check_integer(0, "chips")
      Traceback (most recent call last):
      analogsim.base.errors.InputError: chips = 0: must be an integer of at least 1
    """
    fits = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not fits or value < ge or (le is not None and value > le):
        raise InputError(f"{name} = {brief(value)}: must be {range_text('an integer', ge=ge, le=le)}")
    return int(value)


def check_number(
    value: Any,
    name: str,
    *,
    gt: float | None = None,
    ge: float | None = None,
    lt: float | None = None,
    le: float | None = None,
) -> None:
    """Check that a value is a finite real number, or an array of them, within a range; tracers pass.

    Args:
      value: the argument.
      name: name of the argument, for the message.
      gt, ge, lt, le: allowed range (exclusive or inclusive).

    Raises:
      InputError: for another type, or for the first number out of range.

    Example:
      >>> check_number(30.0, "bits", gt=0, le=24)
      Traceback (most recent call last):
      analogsim.base.errors.InputError: bits = 30: must be greater than 0 and at most 24
    """
    if isinstance(value, jax.core.Tracer):
        return
    rule = Number(gt=gt, ge=ge, lt=lt, le=le)
    if isinstance(value, str):
        raise rule.refusal(name, brief(value), rule.one_number)
    rule.check(value, name)


def check_fraction(value: Any, name: str) -> None:
    """Check that a value is a number between 0 and 1; see ``check_number``."""
    check_number(value, name, ge=0, le=1)
