"""Types that several rooms name."""

import jax

#: A real number or an array of them, which may be traced.
Numeric = float | jax.Array
