"""What a results file was computed from, as hashes: a file is continued only with exactly the same inputs.

Arrays count by type, shape and bytes; descriptions by the values of their fields; functions by their name, their code
and what they enclose; Flax models by class and fields. An object whose printed form has an address counts by its class.
"""

import dataclasses
import functools
import hashlib
import types
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

import analogsim
from analogsim.devices.random import is_key
from analogsim.sweeps.block import Job

#: The parts of a sweep's identity, in the words of messages.
WORDS = {
    "evaluate": "what is measured (model, weights, data or metric)",
    "hardware": "the hardware",
    "over": "what is swept",
    "chips": "the number of chips",
    "key": "the key",
    "software": "the versions of analogsim, jax or numpy, or the kind of device",
}


def identity(job: Job) -> dict[str, str]:
    """A hash for each part of what a sweep computes from."""
    return {
        "evaluate": fingerprint(job.evaluation),
        "hardware": fingerprint(job.hardware),
        "over": fingerprint(job.plan.axes),
        "chips": fingerprint(job.plan.chips),
        "key": fingerprint((job.key_data, job.key_kind)),
        "software": fingerprint(tuple(software().items())),
    }


def software() -> dict[str, str]:
    """Versions and the kind of device: numbers may differ in their last digits between them."""
    return {
        "analogsim": analogsim.__version__,
        "jax": jax.__version__,
        "numpy": np.__version__,
        "backend": jax.default_backend(),
    }


def fingerprint(item: Any) -> str:
    """A hash of a value, equal for equal values, in every process.

    Example:
      >>> fingerprint({"a": 1.0}) == fingerprint({"a": 1.0}), fingerprint(1) == fingerprint(1.0)
      (True, False)
    """
    digest = hashlib.sha256()
    _add(digest, item, ())
    return digest.hexdigest()[:16]


def _add(digest: Any, item: Any, above: tuple) -> None:
    """Feed one value; ``above`` are the objects that hold it, so that a circle ends."""
    if id(item) in above:
        digest.update(b"(above)")
        return
    inner = (*above, id(item))
    digest.update(type(item).__qualname__.encode() + b":")
    if isinstance(item, (str, bytes, bool, int, float, complex, type(None))):
        digest.update(item if isinstance(item, bytes) else repr(item).encode())
    elif is_key(item):
        _add(digest, np.asarray(jax.random.key_data(item)), inner)
    elif isinstance(item, (np.ndarray, np.generic, jax.Array)):
        array = np.asarray(item)
        digest.update(f"{array.dtype}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    elif isinstance(item, Mapping):
        for name in sorted(item, key=repr):
            _add(digest, name, inner)
            _add(digest, item[name], inner)
    elif isinstance(item, (tuple, list)):
        for each in item:
            _add(digest, each, inner)
        digest.update(b";")
    elif isinstance(item, (set, frozenset)):
        _add(digest, sorted(map(fingerprint, item)), inner)
    else:
        _add_object(digest, item, inner)


def _add_object(digest: Any, item: Any, inner: tuple) -> None:
    """Functions, records, models; what is left by its printed form."""
    if isinstance(item, functools.partial):
        _add(digest, (item.func, item.args, item.keywords), inner)
    elif isinstance(item, types.MethodType):
        _add(digest, (item.__func__, item.__self__), inner)
    elif isinstance(item, types.FunctionType):
        closed = [cell.cell_contents for cell in item.__closure__ or () if cell is not None]
        _add(digest, (item.__module__, item.__qualname__, item.__defaults__, item.__kwdefaults__, closed), inner)
        _add_code(digest, item.__code__, inner)
    elif isinstance(item, type | types.BuiltinFunctionType | types.ModuleType):
        digest.update(f"{getattr(item, '__module__', '')}.{getattr(item, '__qualname__', item)}".encode())
    elif hasattr(item, "__graph__") or _is_nnx(item):
        from flax import nnx

        graph, state = nnx.split(item)
        digest.update(repr(graph).encode())
        _add(digest, jax.tree.leaves(state), inner)
    elif dataclasses.is_dataclass(item):
        skipped = ("parent", "scope") if hasattr(item, "scope") else ()  # of a Linen module, where it stands
        for f in dataclasses.fields(item):
            if f.name not in skipped:
                _add(digest, f.name, inner)
                _add(digest, getattr(item, f.name, None), inner)
    else:
        text = repr(item)
        digest.update((type(item).__qualname__ if " at 0x" in text else text).encode())


def _is_nnx(item: Any) -> bool:
    from flax import nnx

    return isinstance(item, nnx.Module)


def _add_code(digest: Any, code: types.CodeType, inner: tuple) -> None:
    """Instructions, names and constants; neither the file nor the line in which they stand."""
    digest.update(code.co_code + repr((code.co_names, code.co_varnames)).encode())
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            _add_code(digest, constant, inner)
        else:
            _add(digest, constant, inner)
