"""Validation rules of a description's fields, one class per kind of value.

``field`` and ``static`` (in ``description``) choose the rule, and ``rule_of`` returns it:

    rule_of(dataclasses.fields(PCM)[0]).check("25 uS", "PCM.g_max")      # 2.5e-05
    rule_of(dataclasses.fields(PCM)[0]).check(-1, "PCM.g_max")           # InputError
"""

import dataclasses
import numbers
import typing
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from analogsim.base.errors import InputError, brief, range_text, within
from analogsim.base.literature import Source
from analogsim.base.units import parse

#: Default of a required field.
MISSING: Any = dataclasses.MISSING


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rule:
    """Base rule: accepts any value, and holds the metadata common to all fields.

    Attributes:
      unit: SI unit, shown in messages and parsed from strings.
      optional: whether None (the effect is absent) is allowed.
      is_static: whether the field is static instead of a pytree leaf.
      label: whether the field is for people and not part of the structure.
      doc: one line that explains the field.
      counts: condition under which the field has an effect; "" if it always has.
      source: source of the default value.
    """

    unit: str = ""
    optional: bool = False
    is_static: bool = False
    label: bool = False
    doc: str = ""
    counts: str = ""
    source: Source | str = ""

    @property
    def takes_none(self) -> bool:
        """True if the field may hold None."""
        return self.optional

    def check(self, value: Any, where: str) -> Any:
        """Validate a value and return it in canonical form.

        Args:
          value: the value, or a string with a unit.
          where: name of the field in messages, ``"PCM.g_max"``.

        Raises:
          InputError: if the value is not allowed; names the field, the value, what is allowed and the unit.
        """
        return value

    def refusal(self, where: str, given: str, allowed: str) -> InputError:
        """Return the error to raise for a value that is printed as ``given``."""
        unit = f" (unit: {self.unit})" if self.unit else ""
        return InputError(f"{where} = {given}: must be {allowed}{unit}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choice(Rule):
    """One of several given values."""

    choices: tuple

    @property
    def takes_none(self) -> bool:
        return None in self.choices

    def check(self, value: Any, where: str) -> Any:
        for choice in self.choices:
            if _is_choice(value, choice):
                return choice
        one_of = "one of " if len(self.choices) > 1 else ""
        raise self.refusal(where, brief(value), one_of + ", ".join(map(repr, self.choices)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class String(Rule):
    """A string."""

    def check(self, value: Any, where: str) -> Any:
        if not isinstance(value, str):
            raise self.refusal(where, brief(value), "a string")
        return value


@dataclasses.dataclass(frozen=True, kw_only=True)
class Nested(Rule):
    """A nested description: an instance of a class (or a union of classes), or an object with the given methods."""

    kind: Any = None
    methods: tuple[str, ...] = ()

    @property
    def kinds(self) -> tuple[type, ...]:
        """Allowed classes; empty if the methods decide."""
        return typing.get_args(self.kind) or ((self.kind,) if self.kind else ())

    def check(self, value: Any, where: str) -> Any:
        if value is None and self.optional:
            return None
        if self.kinds:
            fits = isinstance(value, self.kinds)
            allowed = " or ".join(f"{_article(kind.__name__)} {kind.__name__}" for kind in self.kinds)
            allowed += " or None" * self.optional
        else:
            fits = not isinstance(value, type) and all(hasattr(value, method) for method in self.methods)
            allowed = f"a description with {', '.join(self.methods)}" + ", or None" * self.optional
        if fits:
            return value
        raise self.refusal(where, brief(value), allowed)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Number(Rule):
    """Numbers in a range: one, an array of them, or a tuple of ``length`` numbers.

    Attributes:
      gt, ge, lt, le: ends of the range, exclusive or inclusive.
      integer: whether only integers are allowed.
      length: number of entries of a tuple; None for a single number.
      is_table: whether nested lists become a float64 array, as in a table of measurements.

    Example:
      >>> Number(integer=True, ge=1).check(1e6, "weights")
      1000000
    """

    gt: float | None = None
    ge: float | None = None
    lt: float | None = None
    le: float | None = None
    integer: bool = False
    length: int | None = None
    is_table: bool = False

    def check(self, value: Any, where: str) -> Any:
        if value is None and self.optional:
            return None
        if self.length is not None:
            return self._several(value, where, self.length)
        if isinstance(value, list) and self.is_table:
            return self._table(value, where)
        return self._numbers(value, where)

    def _several(self, value: Any, where: str, length: int) -> tuple:
        if not isinstance(value, (tuple, list)) or len(value) != length:
            raise self.refusal(where, brief(value), f"{length} numbers")
        checked = []
        for i, part in enumerate(value):
            with within(i):
                checked.append(self._numbers(part, where))
        return tuple(checked)

    def _table(self, value: list, where: str) -> np.ndarray:
        rows = []
        for i, part in enumerate(value):
            with within(i):
                rows.append(self.check(part, where))
        try:
            return np.array(rows, np.float64)
        except ValueError:
            raise InputError(f"{where}: all rows must have the same length") from None

    def _numbers(self, value: Any, where: str) -> Any:
        if isinstance(value, str):
            value = parse(value, self.unit, where)
        if self.is_static and not isinstance(value, numbers.Real):  # static fields must be hashable
            raise self.refusal(where, brief(value), self.one_number)
        if isinstance(value, jax.core.Tracer):  # has no value yet
            return self._nan_outside(value, where)
        if not _is_real(value):
            raise self.refusal(where, brief(value), self.one_number + ", or None" * self.optional)
        self.check_numbers(np.asarray(value, np.float64), where)
        if isinstance(value, numbers.Real):  # one type per field, so that equal values share a compilation
            return int(float(value)) if self.integer else float(value)
        return value

    def check_numbers(self, values: np.ndarray, where: str, hint: str = "") -> None:
        """Raise an InputError for concrete numbers out of range; ``hint`` is appended to a message about a NaN."""
        bad = np.argwhere(~self.admits(values))
        if len(bad):
            place = tuple(map(int, bad[0]))
            error = self.refusal(where, f"{values[place]:.6g}", self.allowed)
            raise InputError(f"{error}{hint if np.isnan(values[place]) else ''}", place)

    def _nan_outside(self, value: jax.Array, where: str) -> jax.Array:
        """Return a traced number, replaced by NaN where it is out of range."""
        if not _is_real(value):
            raise InputError(f"{where}: a traced {value.dtype}: must be {self.one_number}")
        with jax.numpy_dtype_promotion("standard"):  # an integer becomes a weakly typed float
            return jnp.where(self.admits(value, jnp), value, jnp.nan)

    def admits(self, v: Any, xp: Any = np) -> Any:
        """Return which numbers are allowed; the limits are rounded to the dtype of the numbers.

        Args:
          v: array of numbers.
          xp: ``numpy``, or ``jax.numpy`` for traced numbers.
        """
        ok = xp.isfinite(v)
        for bound, compare in ((self.gt, xp.greater), (self.ge, xp.greater_equal), (self.lt, xp.less),
                               (self.le, xp.less_equal)):  # fmt: skip
            if bound is not None:
                ok &= compare(v, xp.asarray(bound, v.dtype))
        return ok & (v == xp.round(v)) if self.integer else ok

    @property
    def allowed(self) -> str:
        """The allowed range in words: ``"an integer between 2 and 24"``, ``"at least 0"``."""
        return range_text("an integer" if self.integer else "", gt=self.gt, ge=self.ge, lt=self.lt, le=self.le)

    @property
    def one_number(self) -> str:
        """The same for messages about a value that is not a number: ``"a number of at least 0"``."""
        return range_text("an integer" if self.integer else "a number", gt=self.gt, ge=self.ge, lt=self.lt, le=self.le)


_ANY = Rule()


def rule_of(f: dataclasses.Field) -> Rule:
    """Return the rule of a field; for a field of a plain dataclass, the rule that accepts any value."""
    return f.metadata.get("rule", _ANY)


def default_of(f: dataclasses.Field) -> Any:
    """Return the default value of a field, or MISSING."""
    return f.default_factory() if callable(f.default_factory) else f.default


def is_required(f: dataclasses.Field) -> bool:
    """Return whether a field has no default."""
    return f.default is MISSING and f.default_factory is MISSING


def _article(noun: str) -> str:
    return "an" if noun[0] in "AEIOU" else "a"


def _is_real(value: Any) -> bool:
    """Return whether a value is a real number or an array of real numbers; Booleans are not numbers here."""
    if isinstance(value, (np.ndarray, jax.Array)):
        return jnp.issubdtype(value.dtype, jnp.integer) or jnp.issubdtype(value.dtype, jnp.floating)
    return isinstance(value, numbers.Real) and not isinstance(value, (bool, np.bool_))


def _is_choice(value: Any, choice: Any) -> bool:
    """Return whether a value equals a choice and is of the same kind: True does not match 1, nor does 1.0."""
    for kind in ((bool, np.bool_), (str,), numbers.Integral, numbers.Real):
        if isinstance(choice, kind):
            return isinstance(value, kind) and isinstance(value, bool) == isinstance(choice, bool) and value == choice
    return value is choice
