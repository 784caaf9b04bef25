"""Types that several rooms name."""

from typing import Any

import jax

#: A real number or an array of them, which may be traced.
Numeric = float | jax.Array
#: A tree of arrays, such as the variables of a model; JAX has no static type for it.
PyTree = Any
