"""The binary-weighted capacitor DAC that ramp and SAR converters compare their input with.

Capacitors C_n = 2^n + 2^(n/2) eps_n, n = 0 .. b-1, eps ~ N(0, mismatch^2), and a feedback capacitor C_fb; what a code k
switches adds up to C. Two designs (Spear et al. 2023, doi 10.1109/JXCDC.2023.3315134), in units of V_ref:

    signed (two's complement)    level = +- C / C_(b-1) + 2^-b        C switched by |k - 2^(b-1)|, C_fb = 2^(b-1)
    unsigned                     level = 2 C / C_fb - (1 - 2^-b)      C switched by k,             C_fb = 2^b

each divided by 1 + 1/(A beta), beta = C_fb / (C_fb + C), if the amplifier's gain A is finite. The split design joins
the lower h = floor(b/2) bits (with one unit that ends their array) and the upper ones by a bridge of
C_b = 2^h / (2^h - 1) units and has beta = 1:

    C / C_(b-1) = (C_L C_b + C_M (C_Ltot + C_b)) / ((C_Ltot + C_b) (C_Mtot + C_b) - C_b^2)

Everything is a sum over the switched capacitors, so a DAC is kept as the voltage and the load of every capacitor.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class CapacitorDAC(NamedTuple):
    """One DAC a converter.

    Attributes:
      voltage: what each capacitor adds to the output, in units of V_ref, shape ``[bits, converters]``, the least
        significant first. In a signed design the last one stands for the whole reference.
      load: its share of the feedback capacitor, same shape; None where the feedback factor is 1.
    """

    voltage: jax.Array
    load: jax.Array | None


def units(bits: int, converters: int) -> tuple[int, int]:
    """Shape of the deviations that a DAC is made from: every capacitor, then the feedback (or end) and the bridge."""
    return bits + 2, converters


def capacitor_dac(deviations: jax.Array, *, signed: bool, split: bool) -> CapacitorDAC:
    """Build DACs from the relative deviation of a unit capacitor in each of their capacitors, ``units(...)``."""
    bits = deviations.shape[0] - 2
    if split:
        return CapacitorDAC(_split(deviations, bits, signed), None)
    array = _capacitor(np.arange(bits), deviations[:bits])
    feedback = _capacitor(np.array([bits - 1 if signed else bits]), deviations[bits : bits + 1])
    voltage = array / array[-1] if signed else 2 * array / feedback
    return CapacitorDAC(voltage, array / feedback)


def _split(deviations: jax.Array, bits: int, signed: bool) -> jax.Array:
    h = bits // 2
    n = np.arange(bits - signed)  # the sign takes no capacitor
    array = _capacitor(np.where(n < h, n, n - h), deviations[: bits - signed])
    lower, upper = array[:h], array[h:]
    lower_total, upper_total = lower.sum(0) + 1 + deviations[bits], upper.sum(0)
    # The formula divided by C_b, so that nominal values stay whole numbers and thresholds exact.
    inverse = (1 - 0.5**h) / (1 + math.sqrt(1 - 0.5**h) * deviations[bits + 1])  # 1/C_b
    stiff = lower_total * inverse
    voltage = jnp.concatenate([lower, upper * (stiff + 1)]) / (stiff * upper_total + lower_total + upper_total)
    return jnp.concatenate([voltage, jnp.ones_like(voltage[:1])]) if signed else 2 * voltage


def _capacitor(n: np.ndarray, deviation: jax.Array) -> jax.Array:
    """2^n units side by side, ``[capacitors, converters]``; the spread grows with the square root of their number."""
    size = 2.0 ** n[:, None]
    return jnp.asarray(size, deviation.dtype) + jnp.asarray(np.sqrt(size), deviation.dtype) * deviation


def level(voltage: jax.Array, *, bits: int, signed: bool) -> jax.Array:
    """The DAC's output before its amplifier, in units of V_ref; ``voltage`` has the sign of the code if signed."""
    return voltage + 0.5**bits if signed else voltage - (1 - 0.5**bits)


def all_codes(part: jax.Array, *, signed: bool, odd: bool) -> jax.Array:
    """Sum over the switched capacitors at every code, ``[bits]`` to ``[2^bits]``; odd: negative below the middle."""
    sums = jnp.zeros((1,), part.dtype)
    for n in range(part.shape[0] - signed):
        sums = jnp.concatenate([sums, sums + part[n]])
    if not signed:
        return sums
    below = jnp.concatenate([part[-1:], sums[:0:-1]])
    return jnp.concatenate([-below if odd else below, sums])
