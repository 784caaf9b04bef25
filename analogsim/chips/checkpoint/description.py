"""Hardware descriptions as JSON: nested dictionaries of class names and field values, compared but never executed.

Numbers are exact: Python reads the ``repr`` of a float back to the same float. Arrays are nested lists and are compared
by value, whatever their dtype. Infinity and NaN, which JSON lacks, are strings.
"""

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import numpy as np

from analogsim.base.errors import InputError
from analogsim.base.field_rules import MISSING, default_of


class Difference(NamedTuple):
    """A field whose saved value differs from the actual one; the values are formatted for messages."""

    field: str
    saved: str
    actual: str


def described(item: Any) -> Any:
    """Convert a description, number, array, string or container of these to plain JSON values.

    Raises:
      InputError: for a traced value.
    """
    if isinstance(item, jax.core.Tracer):
        raise InputError(
            "the model's hardware is traced; save and restore run outside of jax.jit, jax.vmap and jax.grad"
        )
    # Before the numbers, because in Python bool is a subclass of int.
    if item is None or isinstance(item, (bool, str)):
        return item
    if isinstance(item, (int, float)):
        plain = int(item) if isinstance(item, int) else float(item)  # without subclasses such as np.float64
        return plain if math.isfinite(plain) else repr(plain)
    if isinstance(item, complex):
        return [described(item.real), described(item.imag)]
    if isinstance(item, (jax.Array, np.ndarray, np.generic)):
        return described(_numbers(np.asarray(item)))
    names = _field_names(item)
    if names is not None:
        return {"class": type(item).__name__, **{name: described(getattr(item, name)) for name in names}}
    if isinstance(item, dict):
        return {str(name): described(value) for name, value in item.items()}
    if isinstance(item, (tuple, list)):
        return [described(value) for value in item]
    # Anything else by its name; a repr with an address would differ in every process.
    text = repr(item)
    return getattr(item, "__qualname__", type(item).__name__ if " at 0x" in text else text)


def _numbers(array: np.ndarray) -> Any:
    wide = array if array.dtype.kind in "biu" else array.astype(complex if array.dtype.kind == "c" else float)
    return wide.tolist()


def _field_names(item: Any) -> list[str] | None:
    if dataclasses.is_dataclass(item) and not isinstance(item, type):
        return [f.name for f in dataclasses.fields(item)]
    return list(item._fields) if isinstance(item, tuple) and hasattr(item, "_fields") else None


def differences(saved: Any, item: Any, where: str = "") -> list[Difference]:
    """Compare a saved description, as ``described`` returns it, with ``item``.

    The hardware's ``name`` is a label and may differ. A field that is missing in the saved description, because it was
    added later, counts as its default. ``where`` is the dotted path of the item.
    """
    names = _field_names(item)
    if names is None:
        return _value_differences(saved, described(item), where)
    if not isinstance(saved, dict) or saved.get("class") != type(item).__name__:
        return [Difference(where or "class", show(saved), type(item).__name__)]
    result = []
    for name in names:
        inner = f"{where}.{name}" if where else name
        if inner == "name":
            continue
        value = getattr(item, name)
        before = saved[name] if name in saved else _default(item, name)
        if before is MISSING:
            result.append(Difference(inner, "nothing", show(described(value))))
        else:
            result += differences(before, value, inner)
    for name in saved.keys() - {*names, "class"}:
        result.append(Difference(f"{where}.{name}" if where else name, show(saved[name]), "no such field"))
    return result


def _default(item: Any, name: str) -> Any:
    """Return the described default of a field; MISSING if it has none or the item is not a dataclass."""
    fields = {f.name: f for f in dataclasses.fields(item)} if dataclasses.is_dataclass(item) else {}
    default = default_of(fields[name]) if name in fields else MISSING
    return default if default is MISSING else described(default)


def _value_differences(saved: Any, actual: Any, where: str) -> list[Difference]:
    """Return the first difference between two JSON values, by its index in lists of equal length."""
    if saved == actual:
        return []
    if isinstance(saved, list) and isinstance(actual, list) and len(saved) == len(actual):
        index = next(i for i, (a, b) in enumerate(zip(saved, actual, strict=True)) if a != b)
        return _value_differences(saved[index], actual[index], f"{where}[{index}]")
    texts = show(saved), show(actual)
    return [Difference(where, *(texts if texts[0] != texts[1] else (repr(saved), repr(actual))))]


def show(value: Any) -> str:
    """Format a JSON value for a message."""
    if isinstance(value, dict):
        return str(value.get("class", "a dictionary"))
    if isinstance(value, list):
        text = ", ".join(map(show, value))
        return f"[{text}]" if len(text) < 60 else f"{len(value)} values"
    return f"{value:.6g}" if isinstance(value, float) else repr(value)
