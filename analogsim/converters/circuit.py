"""What the models of ADC circuits share: their fields, the parts drawn once, and how a code becomes an output.

Models of M. Spear et al., IEEE J. Explor. Solid-State Comput. Devices Circuits (2023), doi 10.1109/JXCDC.2023.3315134,
with the equations as the authors' open simulator has them. A converter of b bits and reference V_ref (the range)
answers with a code k = 0 .. 2^b - 1, which stands for

    y(k) = V_ref (2k + 1 - 2^b) / 2^b            mid-rise, LSB = 2 V_ref / 2^b

Inputs saturate at +-V_ref. A value exactly on a threshold belongs to the code above it. What is wrong with a circuit
is drawn once a converter: a capacitor of n units is n + sqrt(n) N(0, mismatch^2), a comparator is off by
N(0, (offset V_ref)^2). An amplifier of gain A makes its output smaller by 1 + 1/(A beta), beta its feedback factor.

Slopes: with respect to the input they are straight-through. With respect to the circuit's own numbers they are those of
the transfer curve without its steps, to first order in what is wrong: raising a threshold by d lowers the output by d.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from analogsim.base.checks import check_integer
from analogsim.base.description import Description, field, static
from analogsim.base.errors import InputError
from analogsim.base.random import normal, stream
from analogsim.base.straight_through import straight_through
from analogsim.converters.ranges import check_middle
from analogsim.converters.uniform import (
    RASCH,
    as_float,
    clip,
    middle_field,
    noise_field,
    range_field,
)


class Circuit(Description):
    """Base of the circuit models; a subclass says how it is built (``_build``) and how it searches (``_search``)."""

    bits: int = static(default=8, ge=2, le=14, integer=True, doc="bits, sign included", source=RASCH)
    range: Any = range_field()
    middle: Any = middle_field()
    noise: Any = noise_field()
    capacitor_mismatch: Any = field(
        default=None, ge=0, le=0.25, optional=True, doc="relative spread of a unit capacitor; None for none"
    )
    comparator_offset: Any = field(
        default=None, ge=0, le=1, optional=True, doc="spread of a comparator, as a share of the range; None for none"
    )
    amplifier_gain_db: Any = field(
        default=None, unit="dB", gt=0, le=300, optional=True, doc="voltage gain of the amplifiers; None for infinite"
    )

    def check(self) -> None:
        check_middle(self)

    @property
    def codes(self) -> int:
        """How many different outputs there are."""
        return 2**self.bits

    @property
    def lsb(self) -> float:
        """From one output to the next, as a share of the range."""
        return 2.0 / self.codes

    def fabricate(self, key: jax.Array | None, lines: int) -> Any:
        """Draw the capacitors and comparators of one tile; see ``Converter.fabricate``."""
        check_integer(lines, "lines")
        if not self.draws_at_fabrication:
            return None
        if key is None:
            raise InputError(f"key = None: {type(self).__name__} has mismatch or offsets and needs a random key")
        return _built(self, key, int(lines))

    @jax.jit
    def convert(self, y: jax.Array, bound: Any, state: Any) -> jax.Array:
        """Convert the outputs of one tile, ``[..., lines]``; see ``Converter.convert``."""
        if state is None:
            if self.draws_at_fabrication:
                raise InputError(f"state = None: {type(self).__name__} has mismatch or offsets, which fabricate draws")
            state = self._build(None, 1)
        y = as_float(y)
        intended = clip(y, bound)
        held, limit = lax.stop_gradient(intended), lax.stop_gradient(jnp.asarray(bound, y.dtype))
        code, moved = self._search(held, limit, state)
        actual = (2 * code + (1 - self.codes)) * (limit / self.codes)
        actual = lax.stop_gradient(jnp.where(jnp.isnan(held), held, actual))  # a NaN stays visible
        return straight_through(intended + moved, actual)

    @property
    def draws_at_fabrication(self) -> bool:
        """Whether converters differ from tile to tile."""
        return self.capacitor_mismatch is not None or self.comparator_offset is not None

    def _build(self, key: jax.Array | None, lines: int) -> Any:
        """The parts of one tile's converters; with the key None, their nominal values."""
        raise NotImplementedError

    def _search(self, v: jax.Array, reference: jax.Array, state: Any) -> tuple[jax.Array, jax.Array]:
        """The code of every voltage, as a float, and what follows the circuit's own numbers (only its slope counts)."""
        raise NotImplementedError

    def _drawn(self, key: jax.Array | None, name: str, shape: tuple[int, ...]) -> jax.Array:
        """Deviations of capacitors or comparators, from the stream of their name; zero where there are none."""
        spread = self.capacitor_mismatch if name == "capacitor mismatch" else self.comparator_offset
        if key is None or spread is None:
            return jnp.zeros(shape, jnp.float32)
        return spread * normal(stream(key, name), shape)

    def _damped(self, level: jax.Array, inverse_feedback: Any) -> jax.Array:
        """``level`` as an amplifier of finite gain settles to it; the feedback factor's inverse is at least 1."""
        if self.amplifier_gain_db is None:
            return level
        gain = jnp.asarray(10.0, level.dtype) ** (jnp.asarray(self.amplifier_gain_db, level.dtype) / 20)
        return level / (1 + inverse_feedback / gain)


@functools.partial(jax.jit, static_argnums=2)
def _built(circuit: Circuit, key: jax.Array, lines: int) -> Any:
    return circuit._build(key, lines)


def converters_of(lines: int, sharing: int) -> int:
    """How many converters serve the lines if ``sharing`` neighbours have one together; the last may have fewer."""
    return -(-lines // sharing)


def of_lines(parts: jax.Array, lines: int, sharing: int) -> jax.Array:
    """``[..., converters]`` to ``[..., lines]``: every line is given the parts of its converter."""
    return jnp.repeat(parts, sharing, axis=-1)[..., :lines]
