"""The leaves of a saved tree: their names, their entries in the manifest, and the plain arrays that Orbax stores.

A leaf's name is its path, ``variables/params/Dense_0/kernel``; ``~`` and ``/`` inside a part are written ``~0`` and
``~1`` (JSON Pointer, RFC 6901). Its entry records what a plain array does not: whether the leaf is a jax or a numpy
array, a random key (stored as integers), a Python number (a string in the entry) or a ``Sample`` of inputs.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from analogsim.base.call_inputs import Sample, sample_from_text, sample_text
from analogsim.base.errors import InputError
from analogsim.base.random import generator
from analogsim.base.types import PyTree

Entry = dict[str, Any]

_NUMBERS: dict[str, Callable[[str], Any]] = {
    "bool": {"True": True, "False": False}.__getitem__, "int": int, "float": float, "complex": complex,
}  # fmt: skip
_ARRAYS = ("array", "numpy", "scalar", "key")


def named(tree: PyTree, boxed: bool = False) -> dict[str, Any]:
    """Return the leaves of a tree by name, in the tree's order; a ``Sample`` is one leaf.

    ``boxed`` omits the ``value`` that ``nnx.Variable`` and Linen's boxes add to a path.
    """
    leaves = jax.tree_util.tree_flatten_with_path(tree, is_leaf=lambda n: isinstance(n, Sample))[0]
    by_name: dict[str, Any] = {}
    for path, leaf in leaves:
        keys = [k for k in path if not (boxed and k == jax.tree_util.GetAttrKey("value"))]
        name = "/".join(map(_part, keys))
        if name in by_name:
            raise InputError(f"{name}: two leaves of the tree have this name; only one can be saved under it")
        by_name[name] = leaf
    return by_name


def _part(key: Any) -> str:
    for attribute in ("key", "name", "idx"):  # DictKey, GetAttrKey, SequenceKey
        if hasattr(key, attribute):
            return escaped(str(getattr(key, attribute)))
    return escaped(str(key))


def escaped(part: str) -> str:
    """Escape the slashes in one part of a name."""
    return part.replace("~", "~0").replace("/", "~1")


def nested(leaves: dict[str, Any]) -> dict[str, Any]:
    """Convert leaves by name to nested dictionaries; the inverse of ``named``."""
    tree: dict[str, Any] = {}
    for name, leaf in leaves.items():
        # In this order: ~01 stands for ~1, and replacing ~0 first would make it a slash.
        *above, last = (part.replace("~1", "/").replace("~0", "~") for part in name.split("/"))
        inner = tree
        for part in above:
            inner = inner.setdefault(part, {})
        inner[last] = leaf
    return tree


def under(prefix: str, leaves: dict[str, Any]) -> dict[str, Any]:
    """Return the leaves whose names begin with ``prefix/``, by the rest of their names."""
    return {n.removeprefix(f"{prefix}/"): leaf for n, leaf in leaves.items() if n.startswith(f"{prefix}/")}


def entry_of(name: str, leaf: Any) -> Entry:
    """Return a leaf's entry in the manifest; a ``jax.ShapeDtypeStruct`` has the entry of a jax array.

    Raises:
      InputError: for a traced leaf, or one that is neither an array of numbers, a number nor a random key.
    """
    if isinstance(leaf, jax.core.Tracer):
        raise InputError(f"{name}: is traced; save and restore run outside of jax.jit, jax.vmap and jax.grad")
    if isinstance(leaf, Sample):
        return {"kind": "sample", "inputs": sample_text(leaf)}
    # NumPy 2 also calls the type of its Booleans bool; unlike Python's, they have a dtype.
    if type(leaf).__name__ in _NUMBERS and not hasattr(leaf, "dtype"):
        return {"kind": type(leaf).__name__, "value": repr(leaf)}
    dtype = getattr(leaf, "dtype", None)
    entry = {"shape": list(np.shape(leaf)), "dtype": str(dtype)}
    if dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key):
        impl = str(jax.random.key_impl(leaf)) if isinstance(leaf, jax.Array) else ""
        return {"kind": "key", **entry, "impl": impl}
    # Not by kind V, which structured dtypes share with bfloat16 and float8; only the former have fields.
    if dtype is None or dtype.kind in "OSUmM" or dtype.fields is not None:
        raise InputError(f"{name}: a {type(leaf).__name__} cannot be saved, only arrays and numbers can")
    if isinstance(leaf, (np.ndarray, np.generic)):
        return {"kind": "numpy" if isinstance(leaf, np.ndarray) else "scalar", **entry}
    return {"kind": "array", **entry, **({"weak": True} if getattr(leaf, "weak_type", False) else {})}


def entries_of(tree: PyTree) -> dict[str, Entry]:
    """Return the entry of every leaf of a tree, by name."""
    return {name: entry_of(name, leaf) for name, leaf in named(tree).items()}


def _shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError(f"{shape!r} is not a shape")
    return tuple(shape)


def signature(entry: Entry) -> tuple[tuple[int, ...], str]:
    """Return shape and dtype of a leaf; for a Python number ``()`` and its type."""
    return (_shape(entry["shape"]), str(entry["dtype"])) if entry["kind"] in _ARRAYS else ((), entry["kind"])


def data_of(leaf: Any) -> np.ndarray | None:
    """Return the array that Orbax stores for a leaf; None if the entry holds everything or the array is empty."""
    if isinstance(leaf, Sample) or not hasattr(leaf, "dtype"):
        return None
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    return np.asarray(leaf) if math.prod(np.shape(leaf)) else None  # Orbax cannot store empty arrays


def data_like(entry: Entry) -> tuple[tuple[int, ...], np.dtype] | None:
    """Return shape and dtype of the stored array of an entry, empty arrays included; None if there is none.

    Raises:
      KeyError, TypeError, ValueError: for an invalid entry.
    """
    kind = entry["kind"]
    if kind == "sample":
        sample_from_text(entry["inputs"])
        return None
    if kind in _NUMBERS:
        _NUMBERS[kind](entry["value"])
        return None
    if kind not in _ARRAYS:
        raise ValueError(f"{kind!r} is not a kind of leaf")
    shape = _shape(entry["shape"])
    if kind == "key":
        data = jax.random.key_data(jax.random.key(0, impl=generator(entry["impl"])))
        return (*shape, *data.shape), np.dtype(data.dtype)
    return shape, jnp.dtype(entry["dtype"])


def struct_of(entry: Entry) -> Any:
    """Return a leaf as a ``jax.ShapeDtypeStruct``; a Python number or a sample as itself."""
    if entry["kind"] not in _ARRAYS:
        return leaf_of("", entry, None)
    is_key = entry["kind"] == "key"
    dtype = jax.random.key(0, impl=generator(entry["impl"])).dtype if is_key else jnp.dtype(entry["dtype"])
    return jax.ShapeDtypeStruct(tuple(entry["shape"]), dtype, weak_type=entry.get("weak", False))


def leaf_of(name: str, entry: Entry, data: np.ndarray | None) -> Any:
    """Return a leaf as it was saved; ``data`` is its stored array, None for leaves without one.

    Raises:
      InputError: for 64-bit numbers of a jax array while JAX has 64-bit numbers disabled.
    """
    kind = entry["kind"]
    if kind == "sample":
        return sample_from_text(entry["inputs"])
    if kind in _NUMBERS:
        return _NUMBERS[kind](entry["value"])
    if data is None:
        empty: Any = data_like(entry)
        data = np.zeros(*empty)
    if kind == "numpy":
        return data
    if kind == "scalar":
        return data[()]
    if kind == "key":
        return jax.random.wrap_key_data(jnp.asarray(data), impl=generator(entry["impl"]))
    array = jnp.asarray(data)
    if array.dtype != data.dtype:
        raise InputError(
            f"{name}: saved with dtype {data.dtype}, which needs jax.config.update('jax_enable_x64', True)"
        )
    return _weakly_typed(array) if entry.get("weak") else array


def _weakly_typed(array: jax.Array) -> jax.Array:
    """Return the array with JAX's weak type, the type of a Python number, which other operands' dtypes override.

    JAX has no public function for it, but an update of a weakly typed array keeps the type.
    """
    number = jnp.asarray(array.dtype.type(0).item())
    return array if number.dtype != array.dtype else jnp.broadcast_to(number, array.shape).at[...].set(array)


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    """Return whether two arrays are equal bit for bit: equal NaN are equal, and zeros of opposite sign are not."""
    first, second = (np.ascontiguousarray(array).reshape(-1).view(np.uint8) for array in (a, b))
    return a.shape == b.shape and a.dtype == b.dtype and np.array_equal(first, second)
