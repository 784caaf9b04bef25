"""Ramp ADC: one capacitor DAC steps through all codes, and a comparator per column detects the crossing.

With the DAC's levels L(k) (``capacitor_dac``) and the column's comparator offset o, the code is that of the level
nearest to the input: k = argmin |L(k) - y - o|; halfway between two levels, the upper one. All columns of a tile share
the DAC and its errors; each has a separate comparator. Spear et al. 2023, doi 10.1109/JXCDC.2023.3315134.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from analogsim.base.description import static
from analogsim.base.dtypes import to_rank
from analogsim.converters.capacitor_dac import all_codes, capacitor_dac, level, units
from analogsim.converters.circuit import Circuit


class Ramp(NamedTuple):
    """The ramp DAC and the comparators of one tile.

    Attributes:
      levels: levels of the DAC with mismatch, in units of V_ref, sorted ascending, ``[2^bits]``.
      codes: code of each level, ``[2^bits]``; mismatch may swap neighbours.
      offsets: offsets of the comparators, in units of V_ref, ``[n_columns]``.
    """

    levels: jax.Array
    codes: jax.Array
    offsets: jax.Array


class RampADC(Circuit):
    """A ramp (single-slope) ADC with a capacitor DAC.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> RampADC(bits=3).convert(jnp.array([-5.0, 0.1, 1.0]), 4.0, None).tolist()
      [-3.5, 0.5, 1.5]
      >>> adc = RampADC(bits=6, capacitor_mismatch=0.02, comparator_offset=0.01, amplifier_gain_db=60)
      >>> state = adc.fabricate(jax.random.key(0), n_columns=3)
      >>> adc.convert(jnp.zeros((2, 3)), 1.0, state).shape
      (2, 3)
    """

    signed: bool = static(default=True, choices=(True, False), doc="two's-complement or unsigned capacitor DAC")

    def _build(self, key: jax.Array | None, n_columns: int) -> Ramp:
        dac = capacitor_dac(
            self._drawn(key, "capacitor mismatch", units(self.bits, 1)), signed=self.signed, split=False
        )
        assert dac.load is not None  # only a split DAC has none
        voltage = all_codes(dac.voltage[:, 0], signed=self.signed, odd=True)
        load = all_codes(dac.load[:, 0], signed=self.signed, odd=False)
        levels = self._damped(level(voltage, bits=self.bits, signed=self.signed), 1 + load)
        codes = jnp.arange(self.codes)
        if self.capacitor_mismatch is not None:
            codes = jnp.argsort(levels)
            levels = levels[codes]
        return Ramp(levels, codes, self._drawn(key, "comparator offset", (n_columns,)))

    def _search(self, v: jax.Array, reference: jax.Array, state: Ramp) -> tuple[jax.Array, jax.Array]:
        levels = state.levels.astype(v.dtype)
        halfway = (levels[1:] + levels[:-1]) / 2
        offset = to_rank(state.offsets.astype(v.dtype), v.ndim) * reference
        v = v + offset
        # Binary search for the number of the 2^b - 1 thresholds below a value: 2^b comparisons per value are slow.
        place = jnp.zeros(v.shape, jnp.int32)
        for bit in reversed(range(self.bits)):
            threshold = _at(halfway, place + (2**bit - 1)) * reference
            place = place + jnp.where(v >= threshold, 2**bit, 0)
        return _at(state.codes, place).astype(v.dtype), offset - _at(levels, place) * reference


def _at(table: jax.Array, index: jax.Array) -> jax.Array:
    return table.at[index].get(mode="promise_in_bounds")
