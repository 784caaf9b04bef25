"""Options that Flax layers pass to their matmul hooks beyond the operands."""

from collections.abc import Callable
from typing import Any

import jax

from analogsim.base.errors import InputError


def caster(options: dict[str, Any], path: str) -> Callable[[jax.Array], jax.Array]:
    """What makes a result have the dtype that ``preferred_element_type`` asks for.

    Raises:
      InputError: for any other option that is set: hardware cannot honour it.
    """
    for name, value in options.items():
        if value is not None and name != "preferred_element_type":
            raise InputError(f"layer {path}: {name} = {value!r} is not supported on analog hardware")
    dtype = options.get("preferred_element_type")
    return lambda y: y if dtype is None else y.astype(dtype)
