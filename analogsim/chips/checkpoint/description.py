"""Hardware in the JSON file: nested dictionaries of class names and field values, written and compared, never executed.

Numbers are exact: Python's ``repr`` of a float is read back to the same float. Arrays are nested lists, compared by
value, whatever their dtype. Infinity and NaN, which JSON lacks, are texts.
"""

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import numpy as np

from analogsim.base.errors import InputError
from analogsim.base.field_rules import MISSING, default_of


class Difference(NamedTuple):
    """A field whose saved value is not this one's: ``field = saved`` beside ``field = actual``."""

    field: str
    saved: str
    actual: str


def described(item: Any) -> Any:
    """A description, a number, an array or a text as what JSON can hold."""
    if isinstance(item, jax.core.Tracer):
        raise InputError(
            "the model's hardware is traced; save and restore run outside of jax.jit, jax.vmap and jax.grad"
        )
    if item is None or isinstance(item, (bool, str)):
        return item
    if isinstance(item, (int, float)):
        plain = int(item) if isinstance(item, int) else float(item)
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
    """Where a saved description is not that of ``item``.

    The hardware's ``name`` is a label and may differ. A field that the saved description lacks, because it is newer,
    counts as its default.
    """
    names = _field_names(item)
    if names is None:
        return _of_values(saved, described(item), where)
    if not isinstance(saved, dict) or saved.get("class") != type(item).__name__:
        return [Difference(where or "class", show(saved), type(item).__name__)]
    found = []
    for name in names:
        inner = f"{where}.{name}" if where else name
        if inner == "name":
            continue
        value = getattr(item, name)
        before = saved[name] if name in saved else _default(item, name)
        if before is MISSING:
            found.append(Difference(inner, "nothing", show(described(value))))
        else:
            found += differences(before, value, inner)
    for name in saved.keys() - {*names, "class"}:
        found.append(Difference(f"{where}.{name}" if where else name, show(saved[name]), "no such field"))
    return found


def _default(item: Any, name: str) -> Any:
    """The described default of a field; MISSING where it has none, or the item is no dataclass."""
    fields = {f.name: f for f in dataclasses.fields(item)} if dataclasses.is_dataclass(item) else {}
    default = default_of(fields[name]) if name in fields else MISSING
    return default if default is MISSING else described(default)


def _of_values(saved: Any, current: Any, where: str) -> list[Difference]:
    """The first difference of two plain values."""
    if saved == current:
        return []
    if isinstance(saved, list) and isinstance(current, list) and len(saved) == len(current):
        index = next(i for i, (a, b) in enumerate(zip(saved, current, strict=True)) if a != b)
        return _of_values(saved[index], current[index], f"{where}[{index}]")
    texts = show(saved), show(current)
    return [Difference(where, *(texts if texts[0] != texts[1] else (repr(saved), repr(current))))]


def show(value: Any) -> str:
    """A described value, for people."""
    if isinstance(value, dict):
        return str(value.get("class", "a dictionary"))
    if isinstance(value, list):
        text = ", ".join(map(show, value))
        return f"[{text}]" if len(text) < 60 else f"{len(value)} values"
    return f"{value:.6g}" if isinstance(value, float) else repr(value)
