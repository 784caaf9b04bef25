"""The conversion that is in force while a Linen model runs."""

from typing import Any

import jax

# (what it is, whether it has rules). Part of jax's cache key: a compiled block inside the model (nn.jit, nn.remat) is
# never reused under other rules.
conversion: Any = jax.make_user_context(None)


def is_converting() -> bool:
    """Whether rules are putting layers on hardware; a model that is only compressed has none."""
    return conversion.value is not None and conversion.value[1]
