"""The uniform converter, with gain and offset errors.

A mid-tread converter with b bits and range r has 2^b - 1 codes, symmetric about zero; a mid-rise one has 2^b:

    mid-tread    step = r / (2^(b-1) - 1)     output = step * round(clip(x, -r, r) / step)
    mid-rise     step = r / 2^(b-1)           output = step * (floor(clip(x, -r, r) / step) + 1/2), at most r - step/2

Within the range the rounding error is uniform in [-step/2, step/2], so its standard deviation is step/sqrt(12). The
backward pass is straight-through: gradient 1 inside the range and 0 outside; the range receives the gradient of clipped
values. Gain and offset errors replace the clipped x by (1 + gain error) x + offset error * step.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from analogsim.base.checks import check_integer
from analogsim.base.description import Description, field, static
from analogsim.base.dtypes import to_rank, wide
from analogsim.base.errors import InputError
from analogsim.base.literature import Source, cited
from analogsim.base.random import normal, stream
from analogsim.base.straight_through import clip, straight_through
from analogsim.base.types import Numeric
from analogsim.converters.ranges import check_middle
from analogsim.devices.digital import full_scale_code

RASCH = cited("rasch2023")
#: Source of the automatic range (``analogsim.converters.ranges.full_scale_of``).
AUTOMATIC = Source(note="derived: 3.5 standard deviations of a column for uniform inputs, at most its maximum")
_STYLES = ("mid-tread", "mid-rise")


def range_field() -> Any:
    """Return the field ``range`` of a converter."""
    return field(
        default=None, gt=0, le=1e6, optional=True,
        doc="full-scale input, in fully driven cells; None: as calibrated, else derived from the weights of a tile",
        source=AUTOMATIC,
    )  # fmt: skip


def middle_field() -> Any:
    """Return the field ``middle`` of a converter, for ranges that are not symmetric about zero."""
    return field(
        default=None, ge=-1e6, le=1e6, optional=True,
        doc="centre of the range, from middle - range to middle + range, in fully driven cells; None for 0",
    )  # fmt: skip


def noise_field() -> Any:
    """Return the field ``noise`` of a converter."""
    return field(
        default=None, ge=0, le=1e6, optional=True, doc="input-referred noise, in fully driven cells; None: none"
    )


class ColumnErrors(NamedTuple):
    """Errors of the uniform converters of one tile; None for an error that the converter does not have.

    Attributes:
      gain: relative gain error, ``[n_columns]``.
      offset: offset error in LSB, ``[n_columns]``.
    """

    gain: jax.Array | None
    offset: jax.Array | None


class ADC(Description):
    """A uniform ADC with one conversion per column and tile.

    Its range is in units of one full-scale input on one full-scale weight, so a range of 10 is ten fully driven, fully
    conducting cells; a calibrated layer (``analogsim.calibrate``) uses its measured range instead. Without either, the
    range follows from the target weights of a layer's tiles, for uniform inputs: with a column l of a tile, the largest
    min(sum |l|, max(2 |l|_2, |sum l| / 2 + |l|_2)). For signed inputs and columns with a constant part (``Offset``),
    that is several times too coarse, since it must accommodate all-positive inputs.

    Columns whose current has one sign only (``Offset`` behind a rectifier) leave half of a range about zero unused.
    With a ``middle`` the range is from middle - range to middle + range; the middle is rounded to integer LSBs, so that
    zero stays a code, and zero must lie in the range.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> ADC(bits=3).convert(jnp.array([0.4, 1.6, 9.0]), 3.0, None).tolist()
      [0.0, 2.0, 3.0]
      >>> ADC(bits=2, style="mid-rise").convert(jnp.array([0.4, 1.6, 9.0]), 2.0, None).tolist()
      [0.5, 1.5, 1.5]
      >>> ADC(gain_error=0.01).fabricate(jax.random.key(0), n_columns=4).gain.shape
      (4,)
    """

    bits: Any = field(default=8, ge=2, le=24, integer=True, doc="bits, sign included", source=RASCH)
    range: Any = range_field()
    middle: Any = middle_field()
    noise: Any = noise_field()
    style: str = static(
        default="mid-tread", choices=_STYLES, doc="mid-tread: 2^b - 1 codes, zero is one; mid-rise: 2^b codes"
    )
    gain_error: Any = field(
        default=None,
        ge=0,
        le=0.5,
        optional=True,
        doc="column-to-column standard deviation of the relative gain; None: none",
    )
    offset_error: Any = field(
        default=None,
        ge=0,
        le=1e4,
        optional=True,
        doc="column-to-column standard deviation of the offset, in LSB; None: none",
    )

    def check(self) -> None:
        check_middle(self)

    @property
    def codes(self) -> Any:
        """Number of output codes."""
        return 2**self.bits - int(self.style == "mid-tread")

    @property
    def lsb(self) -> Any:
        """Step between neighbouring outputs over the range."""
        return 2 / (self.codes - 1) if self.style == "mid-tread" else 2 / self.codes

    def fabricate(self, key: jax.Array | None, n_columns: int) -> ColumnErrors | None:
        """Draw the gain and offset errors of every column; see ``Converter.fabricate``."""
        check_integer(n_columns, "n_columns")
        if not self.draws_at_fabrication:
            return None
        if key is None:
            raise InputError("key = None: ADC has gain or offset errors and needs a random key")

        def drawn(name: str, sigma: Numeric) -> jax.Array | None:
            return None if sigma is None else sigma * normal(stream(key, name), (n_columns,))

        return ColumnErrors(drawn("gain error", self.gain_error), drawn("offset error", self.offset_error))

    def convert(self, y: jax.Array, bound: Numeric, state: ColumnErrors | None) -> jax.Array:
        """Convert the ADC inputs of one tile, ``[..., n_columns]``; see ``Converter.convert``.

        Gain and offset errors are differentiable, too, by their effect on the value that is quantised.
        """
        y = wide(y)
        if state is None:
            if self.draws_at_fabrication:
                raise InputError("state = None: ADC has gain or offset errors; pass the result of fabricate")
            return quantise(y, self.bits, bound, style=self.style)
        intended = clip(y, bound)
        x, limit = lax.stop_gradient((intended, to_rank(jnp.asarray(bound, y.dtype), y.ndim)))
        if state.gain is not None:
            x = x + x * to_rank(state.gain.astype(y.dtype), y.ndim)
        if state.offset is not None:
            steps = lax.stop_gradient(full_scale_code(self.bits, y.dtype)) + int(self.style == "mid-rise")
            x = x + to_rank(state.offset.astype(y.dtype), y.ndim) * (limit / steps)
        # Clips again: an error must not push a value beyond the last code.
        actual = quantise(x, self.bits, limit, style=self.style)
        return straight_through(jnp.broadcast_to(intended, actual.shape), actual)

    @property
    def draws_at_fabrication(self) -> bool:
        """True if converters differ from tile to tile."""
        return self.gain_error is not None or self.offset_error is not None


def quantise(x: jax.Array, bits: Numeric, bound: Numeric, *, style: str = "mid-tread") -> jax.Array:
    """Round to the converter's codes and clip to ``[-bound, bound]``; see the module for equation and gradient.

    Args:
      x: values of any shape, float32 or wider.
      bits: converter bits, sign included; may be traced.
      bound: the range, broadcastable to ``x``; positive.
      style: ``"mid-tread"`` (zero is a code; a value halfway goes to the even code) or ``"mid-rise"`` (zero is a
        threshold; a value on a threshold goes to the upper code).

    Returns:
      The values of the codes in the units of ``x``, same shape.

    Raises:
      InputError: for an unknown style.

    Example:
      >>> import jax.numpy as jnp
      >>> quantise(jnp.array([-2.0, 0.2, 0.5]), 3, 1.5).tolist()
      [-1.5, 0.0, 0.5]
    """
    if style not in _STYLES:
        raise InputError(f"style = {style!r}: must be one of {', '.join(map(repr, _STYLES))}")
    limit = to_rank(jnp.asarray(bound, x.dtype), x.ndim)
    levels = lax.stop_gradient(full_scale_code(bits, x.dtype))
    return _quantised(style, x, levels, limit)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _quantised(style: str, x: jax.Array, levels: jax.Array, limit: jax.Array) -> jax.Array:
    clipped = clip(x, limit)
    if style == "mid-rise":
        return _mid_rise(clipped, levels + 1, limit)
    # Divided before it is multiplied, so that the largest code is the bound exactly.
    return jnp.round(clipped / limit * levels) / levels * limit


@_quantised.defjvp
def _derivative_of_clipping(style, primals, tangents):
    x, levels, limit = primals
    _, derivative = jax.jvp(clip, (x, limit), (tangents[0], tangents[2]))
    return _quantised(style, x, levels, limit), derivative


def _mid_rise(x: jax.Array, half: jax.Array, bound: jax.Array) -> jax.Array:
    """Mid-rise quantiser with ``half`` steps on either side of zero; a power of two, so that every step is exact."""
    step = bound / half
    code = jnp.floor(x / step)
    # The quotient is rounded, so compare with the thresholds (integer steps): a value on one belongs above it.
    code = code + (x >= (code + 1) * step).astype(x.dtype) - (x < code * step).astype(x.dtype)
    return (jnp.minimum(code, half - 1) + 0.5) * step
