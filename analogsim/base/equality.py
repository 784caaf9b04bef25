"""Equality (one Boolean), hash and one-line printing of objects that hold arrays.

Two values are equal if they have the same type and equal parts; arrays, if they have the same shape, dtype and numbers
(NumPy and JAX arrays alike). A Python number never equals an array with one number, because compiled programs
distinguish them, too. A traced number equals only itself. Equal values have equal hashes; the hash of an array reads
all its numbers, so the array must not be modified in place.
"""

import dataclasses
import numbers
from typing import Any

import jax
import numpy as np


class ByValue:
    """Base of dataclasses (``eq=False, repr=False``) with arrays: compares field by field, prints no arrays."""

    def __repr__(self) -> str:
        parts = (f"{f.name}={in_short(getattr(self, f.name))}" for f in dataclasses.fields(self) if f.repr)  # type: ignore[arg-type]
        return f"{type(self).__name__}({', '.join(parts)})"

    def __eq__(self, other: object) -> Any:
        return equal(self, other) if type(self) is type(other) else NotImplemented

    def __hash__(self) -> int:
        return hash_of(self)


class HashedOnce:
    """A key for caches that are looked up often: compares like ``value``, whose hash is computed once.

    JAX looks at the key of a context in every call of a compiled function while it traces.

    Raises:
      TypeError: if ``value`` has no hash.
    """

    __slots__ = ("_hash", "value")

    def __init__(self, value: Any):
        self.value, self._hash = value, hash(value)

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, HashedOnce) and self._hash == other._hash and self.value == other.value
        )

    def __hash__(self) -> int:
        return self._hash


def equal(a: Any, b: Any) -> bool:
    """Return whether two values are equal; see the module's docstring."""
    if a is b:
        return True
    if isinstance(a, jax.core.Tracer) or isinstance(b, jax.core.Tracer):
        return False
    if _is_array(a) or _is_array(b):
        if not (_is_array(a) and _is_array(b) and a.shape == b.shape and a.dtype == b.dtype):
            return False
        return np.array_equal(_numbers(a), _numbers(b))
    if isinstance(a, numbers.Number) and isinstance(b, numbers.Number):
        return bool(_plain(a) == _plain(b))
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[name], b[name]) for name in a)
    parts = _parts(a)
    if parts is None:
        return bool(a == b)
    others = _parts(b)
    assert others is not None
    return len(parts) == len(others) and all(map(equal, parts, others))


def hash_of(value: Any) -> int:
    """Return a hash that is the same for all values that are ``equal``."""
    if isinstance(value, jax.core.Tracer):
        return id(value)
    if _is_array(value):
        # Adding 0 turns -0.0 into 0.0: the two are equal, but differ in their bytes.
        return hash((value.shape, str(value.dtype), (_numbers(value) + 0).tobytes()))
    if isinstance(value, numbers.Number):
        return hash(_plain(value))
    if isinstance(value, dict):
        return hash(frozenset((name, hash_of(part)) for name, part in value.items()))
    parts = _parts(value)
    return hash(value) if parts is None else hash((type(value), *map(hash_of, parts)))


_LONGEST = 200  # characters of a value that is printed unchanged
_FEW = 8  # numbers of an array that is printed unchanged


def in_short(value: Any) -> str:
    """Format a value for ``repr``: unchanged if short, else only its type and size."""
    if _is_array(value) and not isinstance(value, jax.core.Tracer):
        return repr(value) if value.size <= _FEW else f"<{value.dtype}{list(value.shape)}>"
    if isinstance(value, (dict, list, tuple)) or _parts(value) is not None:
        arrays = [leaf for leaf in jax.tree.leaves(value) if _is_array(leaf)]
        if any(a.size > _FEW for a in arrays) or len(arrays) > _FEW:
            return f"<{type(value).__name__} with {len(arrays)} arrays of {sum(a.size for a in arrays):,} numbers>"
    text = repr(value)
    return text if len(text) <= _LONGEST and "\n" not in text else f"<{type(value).__name__}>"


def _is_array(value: Any) -> bool:
    return isinstance(value, (np.ndarray, jax.Array))


def _numbers(array: Any) -> np.ndarray:
    """Return the numbers of an array, also those behind random keys; Booleans as integers."""
    if jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key):
        array = jax.random.key_data(array)
    values = np.asarray(array)
    return values.view(np.uint8) if values.dtype == bool else values


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _parts(value: Any) -> list[Any] | None:
    """Return the parts of a container or dataclass; None for any other value."""
    if isinstance(value, (tuple, list)):
        return list(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, f.name) for f in dataclasses.fields(value) if f.compare]
    return None
