"""SAR ADC: successive approximation of the input by a capacitor DAC, bit by bit.

From the most significant bit on, a bit is set if the input is not below the DAC's threshold for the code with that bit,

    y + o >= T(k),    T(k) = L(k) - 2^-b V_ref

with the DAC's levels L (``capacitor_dac``) at the centres of their codes and the comparator's offset o.
Below zero a signed DAC switches capacitors for the magnitude, whose bits are set if the input is below the threshold.
``sharing`` neighbouring columns are multiplexed to one converter and share all its errors; different converters are
independent. Spear et al. 2023, doi 10.1109/JXCDC.2023.3315134.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from analogsim.base.description import static
from analogsim.base.dtypes import to_rank
from analogsim.converters.capacitor_dac import CapacitorDAC, capacitor_dac, level, units
from analogsim.converters.circuit import Circuit, converters_of, per_column


class Register(NamedTuple):
    """The converters of one tile, with the parts that every column sees.

    Attributes:
      dac: voltages and loads of the capacitors, ``[bits, n_columns]``.
      offsets: offsets of the comparators, in units of V_ref, ``[n_columns]``.
    """

    dac: CapacitorDAC
    offsets: jax.Array


class SARADC(Circuit):
    """A successive-approximation ADC with a capacitor DAC, plain or split.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> SARADC(bits=3).convert(jnp.array([-5.0, 0.1, 1.0]), 4.0, None).tolist()
      [-3.5, 0.5, 1.5]
      >>> adc = SARADC(bits=8, split=True, capacitor_mismatch=0.03, sharing=4)
      >>> state = adc.fabricate(jax.random.key(0), n_columns=6)
      >>> y = adc.convert(jnp.linspace(-1, 1, 7)[:, None] * jnp.ones(6), 1.0, state)
      >>> bool((y[:, 0] == y[:, 3]).all()), bool((y[:, 0] == y[:, 4]).all())
      (True, False)
    """

    signed: bool = static(default=True, choices=(True, False), doc="two's-complement or unsigned capacitor DAC")
    split: bool = static(default=False, choices=(True, False), doc="two small capacitor arrays joined by a bridge")
    sharing: int = static(default=1, ge=1, le=65536, integer=True, doc="neighbouring columns that share one converter")

    def _build(self, key: jax.Array | None, n_columns: int) -> Register:
        n = converters_of(n_columns, self.sharing)
        deviations = self._drawn(key, "capacitor mismatch", units(self.bits, n))
        dac = capacitor_dac(deviations, signed=self.signed, split=self.split)
        offsets = self._drawn(key, "comparator offset", (n,))
        parts = Register(dac, offsets)
        return jax.tree.map(lambda part: per_column(part, n_columns, self.sharing), parts)

    def _search(self, v: jax.Array, reference: jax.Array, state: Register) -> tuple[jax.Array, jax.Array]:
        voltage, load, offset = jax.tree.map(lambda part: part.astype(v.dtype), (*state.dac, state.offsets))
        offset = to_rank(offset, v.ndim) * reference
        v = v + offset
        zero = jnp.zeros(v.shape, v.dtype)
        # For codes below zero, a signed DAC switches the capacitors of the magnitude.
        up = v >= self._threshold(zero, zero) * reference if self.signed else jnp.ones(v.shape, bool)
        sign = jnp.where(up, 1, -1).astype(v.dtype)
        switched, loading, magnitude = zero, zero, zero
        for bit in reversed(range(self.bits - self.signed)):
            trial = switched + to_rank(voltage[bit], v.ndim)
            trial_load = loading if load is None else loading + to_rank(load[bit], v.ndim)
            keep = (v >= self._threshold(sign * trial, trial_load) * reference) == up
            switched = jnp.where(keep, trial, switched)
            loading = jnp.where(keep, trial_load, loading)
            magnitude = magnitude + jnp.where(keep, 2.0**bit, 0.0)
        middle = self.codes // 2
        code = jnp.where(up, middle + magnitude, middle - 1 - magnitude) if self.signed else magnitude
        # ``convert`` uses only the derivative of this shift: a threshold raised by d lowers the output by d.
        return code, offset - self._threshold(sign * switched, loading) * reference

    def _threshold(self, voltage: jax.Array, load: jax.Array) -> jax.Array:
        """Threshold of a code, half an LSB below the DAC's level, in units of V_ref."""
        return self._damped(level(voltage, bits=self.bits, signed=self.signed), 1 + load) - 0.5**self.bits
