"""Hashes of the inputs of a results file: a file is resumed only with exactly the same inputs.

Arrays are hashed by type, shape and bytes; descriptions and models by class and fields; functions by name, code,
closure and the globals that they name, recursively; classes by the code of their methods. Objects of the libraries are
hashed by name, since the versions are part of the hash. Objects that cannot be told from others of their class are
refused.
"""

import dataclasses
import functools
import hashlib
import sys
import types
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from analogsim.base.errors import InputError
from analogsim.base.processes import is_here
from analogsim.base.random import is_key
from analogsim.base.version import __version__
from analogsim.models.bound import content_of
from analogsim.sweeps.block import Job

#: The parts of a sweep's identity, with their names in messages.
WORDS = {
    "evaluate": "the measurement (model, weights, data, metric, or the code of one of them)",
    "hardware": "the hardware",
    "over": "the swept fields",
    "chips": "the number of chips",
    "key": "the key",
    "software": "the versions of analogsim, jax or numpy, jax's settings, or the kind of device",
}

#: Packages whose objects are hashed by name, because their versions are hashed.
_LIBRARIES = {
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "numpy",
    "scipy",
    "analogsim",
    "chex",
    "typing",
    *sys.stdlib_module_names,
}
_LIBRARIES.discard("__main__")

#: JAX settings that change results.
_SETTINGS = ("jax_enable_x64", "jax_threefry_partitionable", "jax_default_matmul_precision", "jax_default_prng_impl")


def identity(job: Job) -> dict[str, str]:
    """Return a hash for each part of a sweep's inputs.

    Raises:
      InputError: for an object that cannot be told from others of its class, such as an open file.
    """
    return {
        "evaluate": fingerprint(job.evaluation),
        "hardware": fingerprint(job.hardware),
        "over": fingerprint(job.plan.axes),
        "chips": fingerprint(job.plan.chips),
        "key": fingerprint((job.key_data, job.key_kind)),
        "software": fingerprint((software(), {name: getattr(jax.config, name, None) for name in _SETTINGS})),
    }


def software() -> dict[str, str]:
    """Return versions and backend, between which results may differ in the last digits."""
    return {
        "analogsim": __version__,
        "jax": jax.__version__,
        "numpy": np.__version__,
        "backend": jax.default_backend(),
    }


def fingerprint(item: Any) -> str:
    """Return a hash of a value that is equal for equal values in every process.

    Example:
      >>> fingerprint({"a": 1.0}) == fingerprint({"a": 1.0}), fingerprint(1) == fingerprint(1.0)
      (True, False)
    """
    digest = hashlib.sha256()
    _add(digest, item, ())
    return digest.hexdigest()[:16]


def _add(digest: Any, item: Any, above: tuple) -> None:
    """Add one value to the digest; ``above`` holds the ids of its containers, to stop at cycles."""
    if id(item) in above:
        digest.update(b"(above)")
        return
    inner = (*above, id(item))
    if not is_here(item):
        raise InputError(
            f"sweep: an array of shape {item.shape} lies on devices of several processes: every process runs a sweep "
            f"of its own, on arrays that it holds itself"
        )
    if isinstance(item, (np.ndarray, jax.Array)) and not is_key(item):
        _add_array(digest, np.asarray(item), inner)  # NumPy and JAX arrays hash alike
        return
    digest.update(type(item).__qualname__.encode() + b":")
    if isinstance(item, (str, bytes, bool, int, float, complex, type(None), type(...))):
        digest.update((item if isinstance(item, bytes) else repr(item).encode()) + b";")
    elif is_key(item):
        _add(digest, np.asarray(jax.random.key_data(item)), inner)
    elif isinstance(item, np.generic):
        _add_array(digest, np.asarray(item), inner)
    elif isinstance(item, Mapping):
        # The order in which a mapping was filled does not count.
        for name in sorted(item, key=repr):
            _add(digest, name, inner)
            _add(digest, item[name], inner)
    elif isinstance(item, (tuple, list)):
        for element in item:
            _add(digest, element, inner)
        digest.update(b";")
    elif isinstance(item, (set, frozenset)):
        # The order of a set of strings differs between processes (hash randomisation).
        _add(digest, sorted(map(fingerprint, item)), inner)
    else:
        _add_object(digest, item, inner)


def _add_array(digest: Any, array: np.ndarray, inner: tuple) -> None:
    digest.update(f"{array.dtype}{array.shape}".encode())
    if array.dtype == object:
        _add(digest, array.tolist(), inner)
    else:
        digest.update(np.ascontiguousarray(array).tobytes())


def _add_object(digest: Any, item: Any, inner: tuple) -> None:
    """Add a function, class, record, model or other object by its class and contents."""
    around = getattr(item, "__wrapped__", None) or getattr(item, "pyfunc", None) or getattr(item, "fun", None)
    if isinstance(item, functools.partial):
        _add(digest, (item.func, item.args, item.keywords), inner)
    elif isinstance(item, types.MethodType):
        _add(digest, (item.__func__, item.__self__), inner)
    elif isinstance(item, types.FunctionType):
        _add_function(digest, item, inner)
    elif isinstance(item, type):
        _add_class(digest, item, inner)
    elif isinstance(item, types.BuiltinFunctionType | types.ModuleType | np.ufunc | np.dtype):
        digest.update(f"{getattr(item, '__module__', '')}.{getattr(item, '__qualname__', item)}".encode())
    elif isinstance(item, staticmethod | classmethod):
        _add(digest, item.__func__, inner)
    elif isinstance(item, property):
        _add(digest, (item.fget, item.fset), inner)
    elif _is_library(item) and isinstance(getattr(item, "__name__", None), str):  # a library function of another type
        digest.update(f"{item.__module__}.{item.__name__}".encode())
    elif callable(around):  # jax.jit, functools.lru_cache, numpy.vectorize, jax.custom_jvp
        _add(digest, around, inner)
    elif (parts := content_of(item)) is not None:
        for part in parts:
            _add(digest, part, inner)
    elif dataclasses.is_dataclass(item):
        _add(digest, type(item), inner)
        for f in dataclasses.fields(item):
            _add(digest, (f.name, getattr(item, f.name, None)), inner)
    else:
        _add_other(digest, item, inner)


def _add_other(digest: Any, item: Any, inner: tuple) -> None:
    """Add an object by class and attributes, or by its repr if that contains no address."""
    attributes = {name: getattr(item, name) for name in getattr(type(item), "__slots__", ()) if hasattr(item, name)}
    attributes |= getattr(item, "__dict__", {})
    _add(digest, type(item), inner)
    text = repr(item)
    if attributes:
        _add(digest, attributes, inner)
    elif " at 0x" not in text:
        digest.update(text.encode())
    elif not type(item).__flags__ & _MADE_IN_PYTHON:
        kind = f"{type(item).__module__}.{type(item).__qualname__}"
        raise InputError(
            f"evaluate: holds a {kind}, which cannot be told from others of its class, so the inputs of the results "
            f"would be unknown; remove it from the measurement"
        )


#: CPython's Py_TPFLAGS_HEAPTYPE, set for classes defined in Python: instances without attributes are all equal.
_MADE_IN_PYTHON = 1 << 9


def _add_function(digest: Any, item: types.FunctionType, inner: tuple) -> None:
    digest.update(f"{item.__module__}.{item.__qualname__};".encode())
    if _is_library(item):
        closed = [_content(cell) for cell in item.__closure__ or ()]
        _add(digest, [c for c in closed if not isinstance(c, types.FunctionType | type)], inner)
        return
    closed = [_content(cell) for cell in item.__closure__ or ()]
    _add(digest, (item.__defaults__, item.__kwdefaults__, closed), inner)
    names: set[str] = set()
    _add_code(digest, item.__code__, inner, names)
    # co_names also holds attribute names: a global that has the name of an attribute is hashed without need.
    for name in sorted(names & item.__globals__.keys()):
        _add(digest, (name, item.__globals__[name]), inner)


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a cell that is not filled yet
        return "(empty)"


def _add_class(digest: Any, item: type, inner: tuple) -> None:
    digest.update(f"{item.__module__}.{item.__qualname__};".encode())
    if _is_library(item):
        return
    for base in item.__bases__:
        _add(digest, base, inner)
    for name, value in sorted(vars(item).items()):
        function = getattr(value, "__func__", value)
        function = getattr(function, "__wrapped__", function)
        if isinstance(function, types.FunctionType | property):
            _add(digest, (name, function), inner)


def _is_library(item: Any) -> bool:
    return str(getattr(item, "__module__", "")).partition(".")[0] in _LIBRARIES


def _add_code(digest: Any, code: types.CodeType, inner: tuple, names: set[str]) -> None:
    """Add instructions, names and constants, but not the file and line numbers."""
    # co_code is the code before the interpreter specialises it at run time; it differs between Python versions.
    digest.update(code.co_code + repr((code.co_names, code.co_varnames)).encode())
    names.update(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            _add_code(digest, constant, inner, names)
        else:
            _add(digest, constant, inner)
