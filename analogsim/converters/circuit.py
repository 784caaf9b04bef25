"""Base of the ADC circuit models: fields, mismatch drawn at fabrication, conversion of codes to outputs.

Models of M. Spear et al., IEEE J. Explor. Solid-State Comput. Devices Circuits (2023), doi 10.1109/JXCDC.2023.3315134,
with the equations of the authors' open simulator. A converter of b bits and reference V_ref (the range) outputs a code
k = 0 .. 2^b - 1, which represents

    y(k) = V_ref (2k + 1 - 2^b) / 2^b            mid-rise, LSB = 2 V_ref / 2^b

Inputs saturate at +-V_ref. A value exactly on a threshold belongs to the code above it. Errors are drawn once per
converter: a capacitor of n units is n + sqrt(n) N(0, mismatch^2), a comparator has the offset N(0, (offset V_ref)^2).
An amplifier of gain A reduces its output by a factor of 1 + 1/(A beta), beta being its feedback factor.

Gradients: straight-through with respect to the input. With respect to circuit parameters they are those of the transfer
curve without its steps, to first order in the errors: raising a threshold by d lowers the output by d.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from analogsim.base.checks import check_integer
from analogsim.base.description import Description, field, static
from analogsim.base.dtypes import to_rank, wide
from analogsim.base.errors import InputError
from analogsim.base.random import normal, stream
from analogsim.base.straight_through import straight_through
from analogsim.base.types import Numeric, PyTree
from analogsim.converters.ranges import check_middle
from analogsim.converters.uniform import (
    RASCH,
    clip,
    middle_field,
    noise_field,
    range_field,
)


class Circuit(Description):
    """Base class of the circuit models; subclasses implement ``_build`` (parts) and ``_search`` (conversion)."""

    bits: int = static(default=8, ge=2, le=14, integer=True, doc="bits, sign included", source=RASCH)
    range: Any = range_field()
    middle: Any = middle_field()
    noise: Any = noise_field()
    capacitor_mismatch: Any = field(
        default=None, ge=0, le=0.25, optional=True, doc="relative standard deviation of a unit capacitor; None: none"
    )
    comparator_offset: Any = field(
        default=None,
        ge=0,
        le=1,
        optional=True,
        doc="standard deviation of a comparator's offset over the range; None: none",
    )
    amplifier_gain_db: Any = field(
        default=None, unit="dB", gt=0, le=300, optional=True, doc="voltage gain of the amplifiers; None: infinite"
    )

    def check(self) -> None:
        check_middle(self)

    @property
    def codes(self) -> int:
        """Number of output codes."""
        return 2**self.bits

    @property
    def lsb(self) -> float:
        """Step between neighbouring outputs over the range."""
        return 2.0 / self.codes

    def fabricate(self, key: jax.Array | None, n_columns: int) -> Any:
        """Draw the capacitors and comparators of one tile; see ``Converter.fabricate``."""
        check_integer(n_columns, "n_columns")
        if not self.draws_at_fabrication:
            return None
        if key is None:
            raise InputError(f"key = None: {type(self).__name__} has mismatch or offsets and needs a random key")
        return _built(self, key, int(n_columns))

    @jax.jit
    def convert(self, y: jax.Array, bound: Numeric, state: PyTree) -> jax.Array:
        """Convert the ADC inputs of one tile, ``[..., n_columns]``; see ``Converter.convert``."""
        if state is None:
            if self.draws_at_fabrication:
                raise InputError(
                    f"state = None: {type(self).__name__} has mismatch or offsets; pass fabricate's result"
                )
            state = self._build(None, 1)
        y = wide(y)
        intended = clip(y, bound)
        v, limit = lax.stop_gradient((intended, to_rank(jnp.asarray(bound, y.dtype), y.ndim)))
        code, shift = self._search(v, limit, state)
        actual = (2 * code + (1 - self.codes)) * (limit / self.codes)
        actual = lax.stop_gradient(jnp.where(jnp.isnan(v), v, actual))  # comparisons would turn NaN into a code
        return straight_through(intended + shift, actual)

    @property
    def draws_at_fabrication(self) -> bool:
        """True if converters differ from tile to tile."""
        return self.capacitor_mismatch is not None or self.comparator_offset is not None

    def _build(self, key: jax.Array | None, n_columns: int) -> Any:
        """Build the parts of one tile's converters; without a key, with nominal values."""
        raise NotImplementedError

    def _search(self, v: jax.Array, reference: jax.Array, state: PyTree) -> tuple[jax.Array, jax.Array]:
        """Return the code of every voltage, as a float, and a shift that carries the circuit parameters' gradient."""
        raise NotImplementedError

    def _drawn(self, key: jax.Array | None, name: str, shape: tuple[int, ...]) -> jax.Array:
        """Deviations of capacitors or comparators, from the random stream ``name``; zero if there are none."""
        sigma = self.capacitor_mismatch if name == "capacitor mismatch" else self.comparator_offset
        if key is None or sigma is None:
            return jnp.zeros(shape, jnp.float32)
        return sigma * normal(stream(key, name), shape)

    def _damped(self, level: jax.Array, inverse_feedback: Any) -> jax.Array:
        """Output of an amplifier of finite gain for ``level``; ``inverse_feedback`` is 1/beta, at least 1."""
        if self.amplifier_gain_db is None:
            return level
        gain = jnp.asarray(10.0, level.dtype) ** (jnp.asarray(self.amplifier_gain_db, level.dtype) / 20)
        return level / (1 + inverse_feedback / gain)


@functools.partial(jax.jit, static_argnums=2)
def _built(circuit: Circuit, key: jax.Array, n_columns: int) -> Any:
    return circuit._build(key, n_columns)


def converters_of(n_columns: int, sharing: int) -> int:
    """Return the number of converters if ``sharing`` neighbouring columns share one; the last may serve fewer."""
    return -(-n_columns // sharing)


def per_column(parts: jax.Array, n_columns: int, sharing: int) -> jax.Array:
    """Repeat parts ``[..., converters]`` to ``[..., n_columns]``: every column gets the parts of its converter."""
    return jnp.repeat(parts, sharing, axis=-1)[..., :n_columns]
