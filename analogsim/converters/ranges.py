"""Data-free rules for an ADC's range and bits (``analogsim.calibrate`` sets ranges from data).

In fully driven cells, for N rows:

    maximum         N                                          every cell on and driven: nothing clips
    granular        (2^(b-1) - 1) / (w x)                      one LSB is the smallest possible step of an output
    power of two    N / 2^floor(log2(N / needed))              the ranges of slices differ by shifts only
    full precision  b = b_w + b_x + log2 N, less 1 if b_w or b_x is 1      every sum has a separate code
    automatic       min(sum |l|, max(2 |l|, |sum l| / 2 + |l|))            output of columns l for uniform inputs

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
    """Return the range that no output of ``rows`` cells can exceed.

    Example:
      >>> maximum_range(512)
      512.0
    """
    return float(check_integer(rows, "rows"))


def granular_range(bits: int, weight_bits: int, input_bits: int) -> float:
    """Return the range of a mid-tread ADC whose LSB is the smallest step of an output; all bits include the sign.

    Example:
      >>> granular_range(8, weight_bits=2, input_bits=2)
      127.0
    """
    steps = [2 ** (check_integer(b, name, ge=2) - 1) - 1 for name, b in
             (("bits", bits), ("weight_bits", weight_bits), ("input_bits", input_bits))]  # fmt: skip
    return steps[0] / (steps[1] * steps[2])


def power_of_two_range(needed: float, rows: int) -> float:
    """Return the smallest range that is at least ``needed`` and is ``rows`` divided by a power of two.

    Example:
      >>> power_of_two_range(20.0, rows=512)
      32.0
    """
    if not 0 < needed <= check_integer(rows, "rows"):
        raise InputError(f"needed = {needed!r}: must be greater than 0 and at most rows = {rows}")
    return rows / 2 ** math.floor(math.log2(rows / needed))


def full_precision_bits(weight_bits: int, input_bits: int, rows: int) -> int:
    """Return the bits with which an ADC resolves every sum of ``rows`` products of unsigned cell and input slices.

    Example:
      >>> full_precision_bits(weight_bits=2, input_bits=1, rows=128)
      9
    """
    w, x = check_integer(weight_bits, "weight_bits"), check_integer(input_bits, "input_bits")
    return w + x + math.ceil(math.log2(check_integer(rows, "rows"))) - (w == 1 or x == 1)


def full_scale_of(columns: jax.Array) -> jax.Array:
    """Return the automatic range (one number) of ADCs without a given range.

    A column l whose rows are driven with independent codes of mean m and variance s^2 carries m sum l +- s |l|, |l|
    being its Euclidean norm. Before calibration, codes are only known to lie in [-1, 1], or in [0, 1] behind a
    rectifier. For codes uniform over either interval, s = 1/sqrt(3) about 0 or 1/sqrt(12) about 1/2, 3.5 standard
    deviations end at

        max(2 |l|, |sum l| / 2 + |l|),        and cannot exceed sum |l|.

    The range is the smaller of these, for the column with the largest value.

    Args:
      columns: ideal columns, ``[..., rows, n_columns]``.
    """
    norm = jnp.sqrt(jnp.sum(columns**2, axis=-2))
    likely = jnp.maximum(2 * norm, jnp.abs(jnp.sum(columns, axis=-2)) / 2 + norm)
    largest = jnp.max(jnp.minimum(jnp.sum(jnp.abs(columns), axis=-2), likely))
    return jnp.where(largest > 0, largest, 1.0)  # a tile of zeros converts noise alone


def integer_steps(adc: Any, middle: Any, half: Any) -> jax.Array:
    """Round the ``middle`` of a range with half-width ``half`` to an integer number of LSBs.

    Zero then stays a code of a mid-tread converter, or a threshold of a mid-rise one, as in a range about zero.

    Example:
      >>> from analogsim.converters import ADC
      >>> float(integer_steps(ADC(bits=3), 1.4, 1.5))      # LSB 0.5
      1.5
    """
    step = jnp.asarray(adc.lsb, jnp.float32) * half
    return jnp.round(middle / step) * step


def check_middle(adc: Any) -> None:
    """Refuse a middle without a range, or one that excludes zero from the range."""
    middle, half = adc.middle, adc.range
    if middle is None:
        return
    if half is None:
        adc.refuse("middle", "must be None unless range is set: the automatic range is symmetric about zero")
    if isinstance(middle, float) and isinstance(half, float) and abs(middle) > half:
        adc.refuse(
            "middle",
            f"must be at most range = {half:g} from zero, so that the range includes zero, the output for no input "
            f"(unit: fully driven cells)",
        )
