"""Options that Flax layers pass to their matmul hooks beyond the operands."""

from collections.abc import Callable
from typing import Any

import jax

from analogsim.base.errors import InputError


def caster(options: dict[str, Any], path: str) -> Callable[[jax.Array], jax.Array]:
    """Return a function that casts a result to ``preferred_element_type``, or leaves it if that is not set.

    Raises:
      InputError: if any other option is set, which hardware cannot honour.
    """
    for name, value in options.items():
        if value is not None and name != "preferred_element_type":
            raise InputError(f"layer {path}: {name} = {value!r} is not supported on analog hardware")
    dtype = options.get("preferred_element_type")
    return lambda y: y if dtype is None else y.astype(dtype)
