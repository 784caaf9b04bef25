"""The binary-weighted capacitor DAC of ramp and SAR converters.

Capacitors C_n = 2^n + 2^(n/2) eps_n, n = 0 .. b-1, eps ~ N(0, mismatch^2), and a feedback capacitor C_fb; C is the sum
of the capacitors that code k switches. Two designs (Spear et al. 2023, doi 10.1109/JXCDC.2023.3315134), in units of
V_ref:

    signed (two's complement)    level = +- C / C_(b-1) + 2^-b        C switched by |k - 2^(b-1)|, C_fb = 2^(b-1)
    unsigned                     level = 2 C / C_fb - (1 - 2^-b)      C switched by k,             C_fb = 2^b

each divided by 1 + 1/(A beta), beta = C_fb / (C_fb + C), if the amplifier's gain A is finite. The split design joins
the lower h = floor(b/2) bits (with one terminating unit capacitor) and the upper bits by a bridge of
C_b = 2^h / (2^h - 1) units, and has beta = 1:

    C / C_(b-1) = (C_L C_b + C_M (C_Ltot + C_b)) / ((C_Ltot + C_b) (C_Mtot + C_b) - C_b^2)

All terms are sums over the switched capacitors, so a DAC is stored as voltage and load per capacitor.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class CapacitorDAC(NamedTuple):
    """The capacitor DACs of one tile, one per converter.

    Attributes:
      voltage: contribution of each capacitor to the output, in units of V_ref, ``[bits, converters]``, least
        significant first. In a signed design the last entry is the full reference.
      load: each capacitor over the feedback capacitor, same shape; None if the feedback factor is 1.
    """

    voltage: jax.Array
    load: jax.Array | None


def units(bits: int, converters: int) -> tuple[int, int]:
    """Return the shape of the deviations for ``capacitor_dac``: capacitors, feedback (or terminating) one, bridge."""
    return bits + 2, converters


def capacitor_dac(deviations: jax.Array, *, signed: bool, split: bool) -> CapacitorDAC:
    """Build DACs from capacitor mismatch.

    Args:
      deviations: relative deviations of a unit capacitor, of the shape ``units(bits, converters)``.
      signed: two's-complement (True) or unsigned design.
      split: whether the array is split by a bridge capacitor.
    """
    bits = deviations.shape[0] - 2
    if split:
        return CapacitorDAC(_split(deviations, bits, signed), None)
    array = _capacitor(np.arange(bits), deviations[:bits])
    feedback = _capacitor(np.array([bits - 1 if signed else bits]), deviations[bits : bits + 1])
    voltage = array / array[-1:] if signed else 2 * array / feedback
    return CapacitorDAC(voltage, array / feedback)


def _split(deviations: jax.Array, bits: int, signed: bool) -> jax.Array:
    h = bits // 2
    n = np.arange(bits - signed)  # the sign bit has no capacitor
    array = _capacitor(np.where(n < h, n, n - h), deviations[: bits - signed])
    lower, upper = array[:h], array[h:]
    terminating, bridge = deviations[bits : bits + 1], deviations[bits + 1 :]
    lower_total, upper_total = lower.sum(0, keepdims=True) + 1 + terminating, upper.sum(0, keepdims=True)
    # The formula divided by C_b, so that nominal values are integers and thresholds exact.
    inverse = (1 - 0.5**h) / (1 + math.sqrt(1 - 0.5**h) * bridge)  # 1/C_b
    stiff = lower_total * inverse
    voltage = jnp.concatenate([lower, upper * (stiff + 1)]) / (stiff * upper_total + lower_total + upper_total)
    return jnp.concatenate([voltage, jnp.ones_like(voltage[:1])]) if signed else 2 * voltage


def _capacitor(n: np.ndarray, deviation: jax.Array) -> jax.Array:
    """Capacitors of 2^n parallel units, ``[capacitors, converters]``; their deviation grows as sqrt(2^n)."""
    size = 2.0 ** n[:, None]
    return jnp.asarray(size, deviation.dtype) + jnp.asarray(np.sqrt(size), deviation.dtype) * deviation


def level(voltage: jax.Array, *, bits: int, signed: bool) -> jax.Array:
    """Return the DAC's output before its amplifier, in units of V_ref; if signed, ``voltage`` has the code's sign."""
    return voltage + 0.5**bits if signed else voltage - (1 - 0.5**bits)


def all_codes(part: jax.Array, *, signed: bool, odd: bool) -> jax.Array:
    """Sum ``part`` ``[bits]`` over the switched capacitors of every code, ``[2^bits]``; odd: negated below mid-code."""
    sums = jnp.zeros((1,), part.dtype)
    # Every capacitor appends a copy of the sums so far: 2^b additions instead of b 2^b, in the order of the codes.
    for n in range(part.shape[0] - signed):
        sums = jnp.concatenate([sums, sums + part[n]])
    if not signed:
        return sums
    # Two's complement: the lowest code switches the full reference, and magnitudes fall from there to mid-code.
    below = jnp.concatenate([part[-1:], sums[:0:-1]])
    return jnp.concatenate([-below if odd else below, sums])
