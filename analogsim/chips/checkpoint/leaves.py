"""The leaves of a saved tree: their names, what the JSON file says of each, and the plain arrays that Orbax keeps.

A leaf's name is its path, ``variables/params/Dense_0/kernel``, with ``~0`` and ``~1`` for ``~`` and ``/`` inside of a
part (JSON Pointer, RFC 6901). Its entry holds all that an array of numbers does not: whether it is a jax or a numpy
array, a random key (kept as its integers), a Python number (kept as text in the entry) or the shapes of an input.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from analogsim.base.call_inputs import Sample, sample_from_text, sample_text
from analogsim.base.errors import InputError

Entry = dict[str, Any]

_NUMBERS: dict[str, Any] = {"bool": {"True": True, "False": False}.__getitem__, "int": int, "float": float}
_NUMBERS["complex"] = complex
_ARRAYS = ("array", "numpy", "scalar", "key")


def named(tree: Any, boxed: bool = False) -> dict[str, Any]:
    """The leaves of a tree by name; a ``Sample`` is one. ``boxed`` leaves out the ``.value`` of ``nnx.Variable``."""
    leaves = jax.tree_util.tree_flatten_with_path(tree, is_leaf=lambda n: isinstance(n, Sample))[0]
    found: dict[str, Any] = {}
    for path, leaf in leaves:
        keys = [k for k in path if not (boxed and k == jax.tree_util.GetAttrKey("value"))]
        name = "/".join(map(_part, keys))
        if name in found:
            raise InputError(f"{name}: two leaves of the tree have this name; only one can be saved under it")
        found[name] = leaf
    return found


def _part(key: Any) -> str:
    for attribute in ("key", "name", "idx"):
        if hasattr(key, attribute):
            return escaped(str(getattr(key, attribute)))
    return escaped(str(key))


def escaped(part: str) -> str:
    """One part of a name, without slashes of its own."""
    return part.replace("~", "~0").replace("/", "~1")


def nested(leaves: dict[str, Any]) -> dict[str, Any]:
    """Nested dictionaries of the leaves."""
    tree: dict[str, Any] = {}
    for name, leaf in leaves.items():
        *above, last = (part.replace("~1", "/").replace("~0", "~") for part in name.split("/"))
        inner = tree
        for part in above:
            inner = inner.setdefault(part, {})
        inner[last] = leaf
    return tree


def under(prefix: str, leaves: dict[str, Any]) -> dict[str, Any]:
    """The leaves whose names begin with ``prefix/``, by the rest of their names."""
    return {n.removeprefix(f"{prefix}/"): leaf for n, leaf in leaves.items() if n.startswith(f"{prefix}/")}


def entry_of(name: str, leaf: Any) -> Entry:
    """What the JSON file says of a leaf; of a ``jax.ShapeDtypeStruct`` as of the jax array that it stands for."""
    if isinstance(leaf, jax.core.Tracer):
        raise InputError(f"{name}: is traced; save and restore run outside of jax.jit, jax.vmap and jax.grad")
    if isinstance(leaf, Sample):
        return {"kind": "sample", "inputs": inputs_of(leaf)}
    if type(leaf).__name__ in _NUMBERS and not hasattr(leaf, "dtype"):
        return {"kind": type(leaf).__name__, "value": repr(leaf)}
    dtype = getattr(leaf, "dtype", None)
    entry = {"shape": list(np.shape(leaf)), "dtype": str(dtype)}
    if dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key):
        impl = str(jax.random.key_impl(leaf)) if isinstance(leaf, jax.Array) else ""
        return {"kind": "key", **entry, "impl": impl}
    if dtype is None or dtype.kind in "OSUmM" or dtype.fields is not None:
        raise InputError(f"{name}: a {type(leaf).__name__} cannot be saved, only arrays and numbers can")
    if isinstance(leaf, (np.ndarray, np.generic)):
        return {"kind": "numpy" if isinstance(leaf, np.ndarray) else "scalar", **entry}
    return {"kind": "array", **entry, **({"weak": True} if getattr(leaf, "weak_type", False) else {})}


def entries_of(tree: Any, boxed: bool = False) -> dict[str, Entry]:
    """Every leaf's entry by name."""
    return {name: entry_of(name, leaf) for name, leaf in named(tree, boxed).items()}


def inputs_of(sample: Sample) -> Any:
    """A sample for the JSON file."""
    return sample_text(sample)


def sample_of(inputs: Any) -> Sample:
    """The sample that ``inputs_of`` wrote.

    Raises:
      TypeError, ValueError, KeyError: if it did not.
    """
    return sample_from_text(inputs)


def _shape(shape: Any) -> tuple[int, ...]:
    if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError(f"{shape!r} is no shape")
    return tuple(shape)


def signature(entry: Entry) -> tuple[tuple[int, ...], str]:
    """Shape and dtype."""
    return (_shape(entry["shape"]), str(entry["dtype"])) if entry["kind"] in _ARRAYS else ((), entry["kind"])


def data_of(leaf: Any) -> np.ndarray | None:
    """What Orbax keeps of a leaf; None where the entry says all."""
    if isinstance(leaf, Sample) or not hasattr(leaf, "dtype"):
        return None
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    return np.asarray(leaf) if math.prod(np.shape(leaf)) else None  # Orbax has no empty arrays


def data_like(entry: Entry) -> tuple[tuple[int, ...], np.dtype] | None:
    """Shape and dtype of ``data_of`` such a leaf, or None; raises what is not a valid entry."""
    kind = entry["kind"]
    if kind == "sample":
        sample_of(entry["inputs"])
        return None
    if kind in _NUMBERS:
        _NUMBERS[kind](entry["value"])
        return None
    if kind not in _ARRAYS:
        raise ValueError(f"{kind!r} is no kind of leaf")
    shape = _shape(entry["shape"])
    if kind == "key":
        data = jax.random.key_data(jax.random.key(0, impl=entry["impl"]))
        return (*shape, *data.shape), np.dtype(data.dtype)
    return shape, jnp.dtype(entry["dtype"])


def struct_of(entry: Entry) -> Any:
    """A leaf without its numbers."""
    if entry["kind"] not in _ARRAYS:
        return leaf_of("", entry, None)
    is_key = entry["kind"] == "key"
    dtype = jax.random.key(0, impl=entry["impl"]).dtype if is_key else jnp.dtype(entry["dtype"])
    return jax.ShapeDtypeStruct(tuple(entry["shape"]), dtype, weak_type=entry.get("weak", False))


def leaf_of(name: str, entry: Entry, data: np.ndarray | None) -> Any:
    """The leaf that was saved."""
    kind = entry["kind"]
    if kind == "sample":
        return sample_of(entry["inputs"])
    if kind in _NUMBERS:
        return _NUMBERS[kind](entry["value"])
    if data is None:
        like: Any = data_like(entry)
        data = np.zeros(*like)
    if kind == "numpy":
        return data
    if kind == "scalar":
        return data[()]
    if kind == "key":
        return jax.random.wrap_key_data(jnp.asarray(data), impl=entry["impl"])
    array = jnp.asarray(data)
    if array.dtype != data.dtype:
        raise InputError(
            f"{name}: saved with dtype {data.dtype}, which needs jax.config.update('jax_enable_x64', True)"
        )
    return _weakly_typed(array) if entry.get("weak") else array


def _weakly_typed(array: jax.Array) -> jax.Array:
    """The array with the dtype of a Python number, which gives way to that of what it is combined with."""
    number = jnp.asarray(array.dtype.type(0).item())
    return array if number.dtype != array.dtype else jnp.broadcast_to(number, array.shape).at[...].set(array)


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays are equal bit for bit, NaN included."""
    first, second = (np.ascontiguousarray(array).reshape(-1).view(np.uint8) for array in (a, b))
    return a.shape == b.shape and a.dtype == b.dtype and np.array_equal(first, second)
