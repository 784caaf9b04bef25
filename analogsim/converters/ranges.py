"""Rules for an ADC's range and bits that need no data (``analogsim.calibrate`` has the one that does).

In fully driven cells, for N rows:

    maximum         N                                          every cell on and driven: nothing ever clips
    granular        (2^(b-1) - 1) / (w x)                      one LSB is the smallest step that an output can make
    power of two    N / 2^floor(log2(N / needed))              so that the ranges of slices differ by shifts only
    full precision  b = b_w + b_x + log2 N, less 1 if b_w or b_x is 1      every sum has its own code
    spread          min(sum |l|, max(2 |l|, |sum l| / 2 + |l|))            what evenly spread inputs make of lines l

with w = 2^(b_w-1) - 1 and x = 2^(b_x-1) - 1 steps from zero to full scale. Ranges: T. P. Xiao et al., IEEE CAS Magazine
22, 26 (2022), arXiv 2109.01262; full precision: the rule of ISAAC (A. Shafiee et al., ISCA 2016).
"""

import math
from typing import Any

import jax
import jax.numpy as jnp

from analogsim.base.checks import check_integer
from analogsim.base.errors import InputError


def maximum_range(rows: int) -> float:
    """The range that no output of ``rows`` cells can leave.

    Example:
      >>> maximum_range(512)
      512.0
    """
    return float(check_integer(rows, "rows"))


def granular_range(bits: int, weight_bits: int, input_bits: int) -> float:
    """The range of a mid-tread ADC whose LSB is the least step of an output; signs included in all bits.

    Example:
      >>> granular_range(8, weight_bits=2, input_bits=2)
      127.0
    """
    steps = [2 ** (check_integer(b, name, ge=2) - 1) - 1 for name, b in
             (("bits", bits), ("weight_bits", weight_bits), ("input_bits", input_bits))]  # fmt: skip
    return steps[0] / (steps[1] * steps[2])


def power_of_two_range(needed: float, rows: int) -> float:
    """The smallest range that holds ``needed`` and is ``rows`` divided by a power of two.

    Example:
      >>> power_of_two_range(20.0, rows=512)
      32.0
    """
    if not 0 < needed <= check_integer(rows, "rows"):
        raise InputError(f"needed = {needed!r}: must be greater than 0 and at most rows = {rows}")
    return rows / 2 ** math.floor(math.log2(rows / needed))


def full_precision_bits(weight_bits: int, input_bits: int, rows: int) -> int:
    """Bits with which an ADC tells every sum of ``rows`` products of unsigned cell and input slices from the next.

    Example:
      >>> full_precision_bits(weight_bits=2, input_bits=1, rows=128)
      9
    """
    w, x = check_integer(weight_bits, "weight_bits"), check_integer(input_bits, "input_bits")
    return w + x + math.ceil(math.log2(check_integer(rows, "rows"))) - (w == 1 or x == 1)


def full_scale_of(lines: jax.Array) -> jax.Array:
    """What ADCs without a range of their own are set for, from ideal lines ``[..., rows, n_columns]``: one number.

    A line l whose rows are driven with independent codes of the variance s^2 about the mean m carries
    m sum l +- s |l|, |l| being its Euclidean norm. Nothing is known of the codes before calibration but that they lie
    in [-1, 1], or in [0, 1] behind a rectifier. For codes spread evenly over either interval, s = 1/sqrt(3) about 0 or
    1/sqrt(12) about 1/2, 3.5 standard deviations end at

        max(2 |l|, |sum l| / 2 + |l|),        and never leave sum |l|.

    The smaller of these is taken, of the line where it is largest.
    """
    norm = jnp.sqrt(jnp.sum(lines**2, axis=-2))
    likely = jnp.maximum(2 * norm, jnp.abs(jnp.sum(lines, axis=-2)) / 2 + norm)
    most = jnp.max(jnp.minimum(jnp.sum(jnp.abs(lines), axis=-2), likely))
    return jnp.where(most > 0, most, 1.0)  # of zeros nothing is converted but noise


def whole_steps(adc: Any, middle: Any, half: Any) -> jax.Array:
    """The ``middle`` of a range of ``half`` its width, moved to the nearest whole number of LSBs.

    So zero stays what it is in a range about zero: a code of a mid-tread converter, a threshold of a mid-rise one. No
    input then gives no output.

    Example:
      >>> from analogsim.converters import ADC
      >>> float(whole_steps(ADC(bits=3), 1.4, 1.5))      # LSB 0.5
      1.5
    """
    step = jnp.asarray(adc.lsb, jnp.float32) * half
    return jnp.round(middle / step) * step


def check_middle(adc: Any) -> None:
    """Refuse a middle without a range, or one that leaves zero out of it."""
    middle, half = adc.middle, adc.range
    if middle is None:
        return
    if half is None:
        adc.refuse("middle", "must be None without a range of its own: the automatic one is about zero")
    if isinstance(middle, float) and isinstance(half, float) and abs(middle) > half:
        adc.refuse(
            "middle",
            f"must be at most range = {half:g} from zero, so that the range holds zero: no input must give no output "
            f"(unit: fully driven cells)",
        )
