"""Pipeline and cyclic ADC: 1.5 bits per stage, the residue amplified and passed to the next stage.

Every stage compares its input with +-V_ref/4 (each comparator with its offset), decides d = 0, 1 or 2 and outputs

    V <- ((1 + g) V + (1 - d) g V_ref) / (1 + 1/(A beta)),    g = C2/C1,  beta = C1/(C1 + C2 + C_par)

that is 2 V + (1 - d) V_ref for equal capacitors. After b-1 stages one comparator at zero gives the last bit, and
k = sum of d_i 2^(b-2-i) + last. The digits are redundant, so a stage's comparator may be off by up to V_ref/4 without
an error. C1 and C2 are N(1, mismatch^2) in every stage; the cyclic converter reuses one stage. ``sharing``
neighbouring columns are multiplexed to one converter. Spear et al. 2023, doi 10.1109/JXCDC.2023.3315134.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from analogsim.base.description import field, static
from analogsim.base.dtypes import to_rank
from analogsim.converters.circuit import Circuit, converters_of, per_column


class Stages(NamedTuple):
    """The converters of one tile, with the parts that every column sees; a cyclic converter has one stage.

    Attributes:
      ratio: C2/C1, shape ``[stages, n_columns]``.
      inverse_feedback: 1/beta, same shape.
      upper, lower: offsets of the stages' comparators, in units of V_ref, same shape.
      last: offset of the last comparator, in units of V_ref, shape ``[n_columns]``.
    """

    ratio: jax.Array
    inverse_feedback: jax.Array
    upper: jax.Array
    lower: jax.Array
    last: jax.Array


class PipelineADC(Circuit):
    """A pipeline ADC: a chain of 1.5-bit stages, each with separate capacitors and comparators.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> PipelineADC(bits=4).convert(jnp.array([-0.25, 0.0, 0.25]), 1.0, None).tolist()
      [-0.1875, 0.0625, 0.3125]
      >>> adc = PipelineADC(capacitor_mismatch=0.01, sharing=8)
      >>> adc.fabricate(jax.random.key(0), n_columns=20).ratio.shape
      (7, 20)
    """

    parasitic_capacitance: Any = field(
        default=None,
        ge=0,
        le=10,
        optional=True,
        doc="capacitance at the amplifiers' inputs, in unit capacitors; None: none",
    )
    sharing: int = static(default=1, ge=1, le=65536, integer=True, doc="neighbouring columns that share one converter")

    def _build(self, key: jax.Array | None, n_columns: int) -> Stages:
        n = converters_of(n_columns, self.sharing)
        # One draw for the capacitors of all stages and one for all comparators: their shapes fix the random numbers.
        capacitors = 1 + self._drawn(key, "capacitor mismatch", (2, self._stages, n))
        offsets = self._drawn(key, "comparator offset", (2 * self._stages + 1, n))
        first, second = capacitors
        parasitic = 0.0 if self.parasitic_capacitance is None else self.parasitic_capacitance
        parts = Stages(
            ratio=second / first,
            inverse_feedback=(first + second + parasitic) / first,
            upper=offsets[: self._stages],
            lower=offsets[self._stages : -1],
            last=offsets[-1],
        )
        return jax.tree.map(lambda part: per_column(part, n_columns, self.sharing), parts)

    def _search(self, v: jax.Array, reference: jax.Array, state: Stages) -> tuple[jax.Array, jax.Array]:
        state = jax.tree.map(lambda part: part.astype(v.dtype), state)
        code = jnp.zeros(v.shape, v.dtype)
        gain: Any = 1.0
        for i in range(self.bits - 1):
            s = min(i, self._stages - 1)
            ratio, inverse_feedback, upper, lower = (to_rank(part[s], v.ndim) for part in state[:4])
            # Both comparisons use >=, so that no value falls between two digits.
            high, middle = v >= (0.25 + upper) * reference, v >= (lower - 0.25) * reference
            digit = high.astype(v.dtype) + middle.astype(v.dtype)
            v = self._damped((1 + ratio) * v + (1 - digit) * ratio * reference, inverse_feedback)
            code = code + digit * 2.0 ** (self.bits - 2 - i)
            gain = gain * self._damped(1 + ratio, inverse_feedback)
        threshold = to_rank(state.last, v.ndim) * reference
        # The residue referred to the input; redundancy has removed the offsets of all comparators but the last.
        return code + (v >= threshold).astype(v.dtype), (v - threshold) / lax.stop_gradient(gain)

    @property
    def _stages(self) -> int:
        return self.bits - 1


class CyclicADC(PipelineADC):
    """A cyclic (algorithmic) ADC: one 1.5-bit stage, used once per bit.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> CyclicADC(bits=4).convert(jnp.array([-0.25, 0.0, 0.25]), 1.0, None).tolist()
      [-0.1875, 0.0625, 0.3125]
      >>> CyclicADC(capacitor_mismatch=0.01).fabricate(jax.random.key(0), n_columns=20).ratio.shape
      (1, 20)
    """

    @property
    def _stages(self) -> int:
        return 1
