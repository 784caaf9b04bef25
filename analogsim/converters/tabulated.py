"""A non-uniform converter: thresholds and outputs from a table, fitted to data or measured.

With ascending thresholds t_1 < ... < t_(n-1) and outputs l_0 <= ... <= l_(n-1), all as fractions of the range r,

    y = r l_k    for  t_k <= x / r < t_(k+1)

so a value on a threshold belongs to the code above. The table with the smallest mean squared error for a distribution
satisfies both conditions of S. P. Lloyd (IEEE Trans. Inf. Theory 28, 129 (1982), written in 1957) and J. Max (IRE
Trans. Inf. Theory 6, 7 (1960)),

    t_k = (l_(k-1) + l_k) / 2        l_k = the mean of the values between t_k and t_(k+1)

which ``lloyd_max`` iterates. For n codes and a smooth density p the error tends to the integral of p^(1/3), cubed, over
12 n^2, so the iteration starts from outputs with a density of p^(1/3) (P. F. Panter and W. Dite, Proc. IRE 39, 44
(1951)).
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from analogsim.base.checks import check_integer
from analogsim.base.description import Description, field
from analogsim.base.dtypes import to_rank, wide
from analogsim.base.errors import InputError
from analogsim.base.literature import Source, cited
from analogsim.base.straight_through import clip, straight_through
from analogsim.base.types import Numeric, PyTree
from analogsim.converters.uniform import noise_field, range_field

_MOST_BITS = 12
_MOST_STEPS = 5000  # of the iteration
_SETTLED = 1e-7  # the iteration ends at this largest move of an output per step, relative to the largest value


class Table(NamedTuple):
    """A quantiser: thresholds ``[n - 1]``, outputs ``[n]`` and the mean squared error on the fitted values.

    Returned by ``lloyd_max``.
    """

    thresholds: np.ndarray
    levels: np.ndarray
    error: float


class TabulatedADC(Description):
    """An ADC with thresholds and outputs from a table.

    Gradients are straight-through; outputs of the table receive the gradient of the values assigned to them (so that
    they can be trained), thresholds none. ``analogsim.fit_adc`` fits a table to the ADC inputs of a model.

    Example:
      >>> import jax.numpy as jnp
      >>> adc = TabulatedADC(thresholds=jnp.array([-0.5, 0.0, 0.5]), levels=jnp.array([-0.75, -0.2, 0.2, 0.75]))
      >>> [round(v, 2) for v in adc.convert(jnp.array([-3.0, -0.1, 0.0, 1.2]), 2.0, None).tolist()]
      [-1.5, -0.4, 0.4, 1.5]
      >>> adc.bits
      2
    """

    thresholds: Any = field(
        ge=-1, le=1, doc="between neighbouring codes, as fractions of the range, ascending, [n - 1]"
    )
    levels: Any = field(ge=-1, le=1, doc="outputs of the codes, as fractions of the range, ascending, shape [n]")
    range: Any = range_field()
    noise: Any = noise_field()

    @classmethod
    def fit(cls, values: Any, *, bits: int, range: Any = None, **fields: Any) -> "TabulatedADC":
        """Fit a converter of 2^bits codes with the smallest mean squared error to values.

        Args:
          values: any shape, in fully driven cells.
          bits: sign included.
          range: full scale; values beyond it are clipped. None for their largest magnitude.
          **fields: further fields of the converter.

        Raises:
          InputError: if the values are not finite or all zero, or if the range is not positive.
        """
        samples = np.asarray(values, np.float64).ravel()
        largest = float(np.max(np.abs(samples), initial=0.0)) if range is None else float(range)
        if not (samples.size and np.isfinite(samples).all() and largest > 0):
            raise InputError("values: must be finite numbers, not all of them zero, and the range greater than 0")
        table = lloyd_max(np.clip(samples / largest, -1, 1), bits)
        return cls(thresholds=table.thresholds, levels=table.levels, range=largest, **fields)

    def check(self) -> None:
        shapes = np.shape(self.thresholds), np.shape(self.levels)
        if len(shapes[1]) != 1 or shapes[1][0] < 2 or shapes[0] != (shapes[1][0] - 1,):
            raise InputError(
                f"TabulatedADC.levels of shape {shapes[1]}, thresholds of shape {shapes[0]}: must be vectors of n and "
                f"n - 1 values, n at least 2",
                ("levels",),
            )
        for name in ("thresholds", "levels"):
            values = getattr(self, name)  # equal thresholds are allowed: a code that no value takes
            if not isinstance(values, jax.core.Tracer) and np.any(np.diff(np.asarray(values)) < 0):
                self.refuse(name, "must be ascending")

    def model_sources(self) -> tuple[Source, ...]:
        """Sources of the optimality conditions."""
        return (cited("lloyd1982", "max1960", note="tables fitted to values"),)

    draws_at_fabrication = False
    middle = None

    @property
    def codes(self) -> int:
        """Number of output codes."""
        return np.shape(self.levels)[-1]

    @property
    def bits(self) -> int:
        """Bits that number the codes, at least 1."""
        return max(1, math.ceil(math.log2(self.codes)))

    @property
    def lsb(self) -> Any:
        """Mean step between neighbouring outputs over the range."""
        return (self.levels[-1] - self.levels[0]) / (self.codes - 1)

    def fabricate(self, key: jax.Array | None, n_columns: int) -> None:
        """Return None, as nothing is random; see ``Converter.fabricate``."""
        check_integer(n_columns, "n_columns")

    def convert(self, y: jax.Array, bound: Numeric, state: PyTree) -> jax.Array:
        """Convert the ADC inputs of one tile, ``[..., n_columns]``; see ``Converter.convert``."""
        del state
        y = wide(y)
        intended = clip(y, bound)
        x, limit = lax.stop_gradient((intended, to_rank(jnp.asarray(bound, y.dtype), y.ndim)))
        thresholds = lax.stop_gradient(jnp.asarray(self.thresholds)).astype(y.dtype)
        # Unrolled: b steps for b bits, which XLA can fuse; JAX's default is a loop, slower on GPUs.
        code = jnp.searchsorted(thresholds, x / limit, side="right", method="scan_unrolled")
        # searchsorted returns at most n - 1, so that no index has to be clamped.
        actual = jnp.asarray(self.levels).astype(y.dtype).at[code].get(mode="promise_in_bounds") * limit
        actual = jnp.where(jnp.isnan(x), x, actual)  # searchsorted would turn NaN into a code
        return straight_through(jnp.broadcast_to(intended, actual.shape), actual)


def lloyd_max(values: Any, bits: int) -> Table:
    """Fit thresholds and outputs with the smallest mean squared error, by Lloyd's iteration.

    The iteration converges to a minimum, which is unique if the density is log-concave (P. Fleischer, IEEE Int. Conv.
    Rec. 1, 104 (1964)), such as a Gaussian; else to one near the initial table.

    Args:
      values: finite numbers, any shape, at least two of them different.
      bits: log2 of the number of codes, an integer from 1 to 12.

    Returns:
      The table, in the units of the values, and its mean squared error.

    Raises:
      InputError: if the values are not finite or all equal, or for another number of bits.

    Example:
      >>> lloyd_max(np.linspace(-1, 1, 100_000), bits=2).levels.round(2).tolist()
      [-0.75, -0.25, 0.25, 0.75]
    """
    check_integer(bits, "bits", le=_MOST_BITS)
    sorted_values = np.sort(np.asarray(values, np.float64).ravel())
    if not sorted_values.size or not np.isfinite(sorted_values).all() or sorted_values[0] == sorted_values[-1]:
        raise InputError("values: must be finite numbers, two of them different")
    # With prefix sums, the mean of a code's values takes two look-ups per step instead of a pass over them.
    sums = np.concatenate([[0.0], np.cumsum(sorted_values)])
    levels = _matched(sorted_values, 2**bits)
    settled = _SETTLED * np.abs(sorted_values).max()
    for _ in range(_MOST_STEPS):
        # The default side="left" counts a value on a threshold to the code above, as ``convert`` does.
        edges = np.concatenate([[0], np.searchsorted(sorted_values, _halfway(levels)), [sorted_values.size]])
        counts = np.diff(edges)
        new = np.where(
            counts > 0, np.diff(sums[edges]) / np.maximum(counts, 1), levels
        )  # an empty code keeps its output
        # An empty code keeps its output, which its neighbours may have passed; searchsorted needs ascending ones.
        moved, levels = np.max(np.abs(new - levels)), np.maximum.accumulate(new)
        if moved <= settled:
            break
    thresholds = _halfway(levels)
    error = np.mean((levels[np.searchsorted(thresholds, sorted_values, side="right")] - sorted_values) ** 2)
    return Table(thresholds, levels, float(error))


def _halfway(levels: np.ndarray) -> np.ndarray:
    return (levels[1:] + levels[:-1]) / 2


def _matched(values: np.ndarray, codes: int) -> np.ndarray:
    """Initial outputs, whose density is proportional to the cube root of the values' density."""
    density, edges = np.histogram(values, bins=max(64, 4 * codes))
    cumulative = np.concatenate([[0.0], np.cumsum(np.cbrt(density))])
    return np.interp((np.arange(codes) + 0.5) / codes, cumulative / cumulative[-1], edges)
