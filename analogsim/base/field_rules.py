"""What a field of a description may hold: one class of rules per kind of value.

``field`` and ``static`` (``description``) choose the rule, ``rule_of`` gives it back:

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

#: The default of a field that needs a value.
MISSING: Any = dataclasses.MISSING


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rule:
    """A field that takes any value, and what every field states about itself.

    Attributes:
      unit: SI unit, shown in messages and read from strings.
      optional: whether None (the effect is absent) is allowed.
      is_static: whether the field is structure, no pytree leaf.
      label: whether the field is for people and no part of the structure.
      doc: one line that says what the field is.
      counts: when the field counts, where it does not change every result.
      source: where the default value comes from.
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
        """Whether the field may hold None."""
        return self.optional

    def check(self, value: Any, where: str) -> Any:
        """The value in canonical form.

        Args:
          value: what the field is given.
          where: what messages call the field, ``"PCM.g_max"``.

        Raises:
          InputError: that names the field, the value, what is allowed and the unit.
        """
        return value

    def refusal(self, where: str, given: str, allowed: str) -> InputError:
        """The error to raise for a value that is printed as ``given``."""
        unit = f" (unit: {self.unit})" if self.unit else ""
        return InputError(f"{where} = {given}: must be {allowed}{unit}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choice(Rule):
    """One of a few values."""

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
class Text(Rule):
    """A string."""

    def check(self, value: Any, where: str) -> Any:
        if not isinstance(value, str):
            raise self.refusal(where, brief(value), "a string")
        return value


@dataclasses.dataclass(frozen=True, kw_only=True)
class Nested(Rule):
    """A description within the description: of a class (or a union of classes), or with these methods."""

    kind: Any = None
    methods: tuple[str, ...] = ()

    @property
    def kinds(self) -> tuple[type, ...]:
        """The classes that are allowed; none where the methods decide."""
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
      gt, ge, lt, le: the range's ends, exclusive or inclusive.
      integer: whether only integers are allowed.
      length: how many numbers the tuple holds; None for one number.
      is_table: whether nested lists become an array of float64, as in a table of measurements.
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
            raise InputError(f"{where}: rows must have equally many numbers") from None

    def _numbers(self, value: Any, where: str) -> Any:
        if isinstance(value, str):
            value = parse(value, self.unit, where)
        if self.is_static and not isinstance(value, numbers.Real):  # an array could not choose a program
            raise self.refusal(where, brief(value), self.one_number)
        if isinstance(value, jax.core.Tracer):  # its value is not known yet
            return self._nan_outside(value, where)
        if not _is_real(value):
            raise self.refusal(where, brief(value), self.one_number + ", or None" * self.optional)
        self.check_numbers(np.asarray(value, np.float64), where)
        if isinstance(value, numbers.Real):  # one type per field, so that equal values share a compilation
            return int(float(value)) if self.integer else float(value)
        return value

    def check_numbers(self, values: np.ndarray, where: str, hint: str = "") -> None:
        """Refuse concrete numbers outside of the range; ``hint`` follows the message about a NaN."""
        bad = np.argwhere(~self.admits(values))
        if len(bad):
            place = tuple(map(int, bad[0]))
            error = self.refusal(where, f"{values[place]:.6g}", self.allowed)
            raise InputError(f"{error}{hint if np.isnan(values[place]) else ''}", place)

    def _nan_outside(self, value: jax.Array, where: str) -> jax.Array:
        """A traced number as it is, or NaN where it is none that the field takes."""
        if not _is_real(value):
            raise InputError(f"{where}: a traced {value.dtype}: must be {self.one_number}")
        return jnp.where(self.admits(value, jnp), value, jnp.nan)

    def admits(self, v: Any, xp: Any = np) -> Any:
        """Where numbers are those that the field takes; its limits are rounded as the numbers are."""
        ok = xp.isfinite(v)
        for bound, compare in ((self.gt, xp.greater), (self.ge, xp.greater_equal), (self.lt, xp.less),
                               (self.le, xp.less_equal)):  # fmt: skip
            if bound is not None:
                ok &= compare(v, xp.asarray(bound, v.dtype))
        return ok & (v == xp.round(v)) if self.integer else ok

    @property
    def allowed(self) -> str:
        """What is allowed, in words: ``"an integer between 2 and 24"``, ``"at least 0"``."""
        return range_text("an integer" if self.integer else "", gt=self.gt, ge=self.ge, lt=self.lt, le=self.le)

    @property
    def one_number(self) -> str:
        """The same for what is no number at all: ``"a number of at least 0"``."""
        return range_text("an integer" if self.integer else "a number", gt=self.gt, ge=self.ge, lt=self.lt, le=self.le)


_ANY = Rule()


def rule_of(f: dataclasses.Field) -> Rule:
    """The rule of a field; of a plain dataclass's field, the one that takes any value."""
    return f.metadata.get("rule", _ANY)


def default_of(f: dataclasses.Field) -> Any:
    """The default value of a field, or MISSING."""
    return f.default_factory() if callable(f.default_factory) else f.default


def is_required(f: dataclasses.Field) -> bool:
    """Whether a field has no default."""
    return f.default is MISSING and f.default_factory is MISSING


def _article(noun: str) -> str:
    return "an" if noun[0] in "AEIOU" else "a"


def _is_real(value: Any) -> bool:
    """Whether this is a real number or an array of such: no truth value, nothing complex."""
    if isinstance(value, (np.ndarray, jax.Array)):
        return jnp.issubdtype(value.dtype, jnp.integer) or jnp.issubdtype(value.dtype, jnp.floating)
    return isinstance(value, numbers.Real) and not isinstance(value, (bool, np.bool_))


def _is_choice(value: Any, choice: Any) -> bool:
    """Whether this is the choice, of the same kind: True is no number, and 1.0 no number of something."""
    for kind in ((bool, np.bool_), (str,), numbers.Integral, numbers.Real):
        if isinstance(choice, kind):
            return isinstance(value, kind) and isinstance(value, bool) == isinstance(choice, bool) and value == choice
    return value is choice
