"""One weight on several cells: digits of a binary number, or copies with significance factors.

A plane is one cell (or pair of cells) of every weight. Plane p holds t_p(w) and counts c_p times:

    w = sum_p c_p t_p(w) - c_0

BitSlices cuts the integer k of a quantised weight into digits d_p of s_p bits, least significant first:

    signed     k = round(|w| (2^M - 1))                 t_p = sign(w) d_p/(2^s_p - 1)     M = sum of the widths
    offset     k = round(w (2^(M-1) - 1)) + 2^(M-1)     t_p = d_p/(2^s_p - 1)             c_0 = 2^(M-1)/(2^(M-1) - 1)

with c_p = (2^s_p - 1) 2^(s_0 + .. + s_(p-1)) divided by 2^M - 1 or by 2^(M-1) - 1. MultiCell writes the same value on
every plane, t_p = w, with c_p = f_p/sum f: the error of n equal copies falls as 1/sqrt(n).

Slopes pass the rounding of BitSlices straight through: dw = sum_p c_p dt_p.

Slicing as in A. Shafiee et al., "ISAAC", ISCA 2016, doi 10.1109/ISCA.2016.12, and T. P. Xiao et al., IEEE CAS Magazine
22, 26 (2022), arXiv 2109.01262, who find little accuracy in it; significance factors as in C. Mackin et al.,
Nat. Commun. 13, 3765 (2022), doi 10.1038/s41467-022-31405-1.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from analogsim.base.description import Description, field, static
from analogsim.base.literature import Source, cited


class Planes(NamedTuple):
    """Weights on planes.

    Attributes:
      held: what each plane holds, ``[planes, n_in, n_out]``: in [-1, 1] signed, in [0, 1] offset.
      factors: c_p, ``[planes]``.
      constant: c_0, the weight that all-zero planes stand for, with the sign changed; 0 for signed planes.
      zero: what each plane holds for the weight 0, ``[planes]``.
    """

    held: jax.Array
    factors: jax.Array
    constant: jax.Array
    zero: jax.Array


class BitSlices(Description):
    """A quantised weight as binary digits on several cells; see the module for the equations.

    One width alone, ``BitSlices(widths=(7,))``, quantises to 2 x (2^7 - 1) + 1 levels without cutting.

    Example:
      >>> import jax.numpy as jnp
      >>> planes = BitSlices(widths=(2, 2)).signed(jnp.array([[7 / 15, -1.0]]))   # 7 = 1 * 4 + 3
      >>> [[round(float(v), 3) for v in row[0]] for row in planes.held]
      [[1.0, -1.0], [0.333, -1.0]]
    """

    widths: tuple[int, ...] = static(default=(4, 4), doc="bits of each cell, least significant first; without a sign")
    sum: str = static(
        default="digital", choices=("digital", "analog"), doc="planes are added after the ADC, or before by weighting"
    )

    def check(self) -> None:
        widths = self.widths
        good = isinstance(widths, tuple) and all(type(w) is int and 1 <= w <= 16 for w in widths)
        if not good or not 1 <= sum(widths) <= 23:
            self.refuse("widths", "must be a tuple of integers between 1 and 16 that sum to at most 23 (unit: bits)")

    def model_sources(self) -> tuple[Source, ...]:
        """Where slicing comes from."""
        return (cited("shafiee2016"), cited("xiao2022accuracy"))

    @property
    def planes(self) -> int:
        """Cells (or pairs) a weight."""
        return len(self.widths)

    @property
    def bits(self) -> int:
        """Bits of all slices together."""
        return sum(self.widths)

    def signed(self, weights: jax.Array) -> Planes:
        """Planes for a sign that is carried by a pair of cells."""
        digits = self._digits(jnp.round(jnp.abs(weights) * (2**self.bits - 1)))
        return self._planes(weights, jnp.sign(weights) * digits, 2**self.bits - 1, 0)

    def offset(self, weights: jax.Array) -> Planes:
        """Planes for single cells, which cannot hold a sign."""
        if self.bits < 2:
            self.refuse("widths", "an offset mapping needs at least 2 bits in all (unit: bits)")
        half = 2 ** (self.bits - 1)
        return self._planes(weights, self._digits(jnp.round(weights * (half - 1)) + half), half - 1, half)

    def places(self, signed: bool) -> tuple[np.ndarray, np.ndarray]:
        """What each plane counts, c_p, and the step from one digit to the next, 1/(2^s_p - 1); ``[planes]``."""
        starts = np.cumsum([0, *self.widths[:-1]])
        levels = 2.0 ** np.array(self.widths) - 1
        return levels * 2.0**starts * self.sum_step(signed), 1 / levels

    def sum_step(self, signed: bool) -> float:
        """The step of all planes together: 1/(2^M - 1) signed, 1/(2^(M-1) - 1) offset."""
        return 1 / (2 ** (self.bits if signed else self.bits - 1) - 1)

    def _digits(self, k: jax.Array) -> jax.Array:
        digits = []
        for width in self.widths:
            digits.append(jnp.mod(k, 2**width) / (2**width - 1))
            k = jnp.floor(k / 2**width)
        return jnp.stack(digits)

    def _planes(self, weights: jax.Array, held: jax.Array, full_scale: int, half: int) -> Planes:
        place = [2 ** sum(self.widths[:p]) for p in range(self.planes)]
        factors = [(2**w - 1) * v / full_scale for w, v in zip(self.widths, place, strict=True)]
        zero = [half // v % 2**w / (2**w - 1) for w, v in zip(self.widths, place, strict=True)]
        # Straight through the staircase, as in ``digital``: the digits' own slope is zero, that of what they add up to
        # is one. It enters where a digit counts most, by the smallest shares b_p with sum_p c_p b_p = 1.
        norm = sum(f * f for f in factors)
        shares = jnp.asarray([f / norm for f in factors], held.dtype)
        held = held + shares[:, None, None] * (weights - jax.lax.stop_gradient(weights))
        return Planes(held, *(jnp.asarray(a, held.dtype) for a in (factors, half / full_scale, zero)))


class MultiCell(Description):
    """The whole weight on every plane, weighted by significance.

    Example:
      >>> import jax.numpy as jnp
      >>> planes = MultiCell(significance=(3.0, 1.0)).signed(jnp.array([[0.4]]))
      >>> planes.held.shape, planes.factors.tolist()
      ((2, 1, 1), [0.75, 0.25])
    """

    significance: Any = field(default=(1.0, 1.0), doc="f, how much each copy counts; a tuple of positive numbers")
    sum: str = static(
        default="analog", choices=("digital", "analog"), doc="planes are added after the ADC, or before by weighting"
    )

    def check(self) -> None:
        values = self.significance
        numbers = [v for v in values if not isinstance(v, jax.core.Tracer)] if isinstance(values, tuple) else [None]
        if not isinstance(values, tuple) or not values or not all(
            isinstance(v, (int, float, jax.Array)) and 0 < float(v) < float("inf") for v in numbers
        ):  # fmt: skip
            self.refuse("significance", "must be a tuple of numbers greater than 0")

    def model_sources(self) -> tuple[Source, ...]:
        """Where significance factors come from."""
        return (cited("mackin2022"),)

    @property
    def planes(self) -> int:
        """Cells (or pairs) a weight."""
        return len(self.significance)

    def signed(self, weights: jax.Array) -> Planes:
        """Planes for a sign that is carried by a pair of cells."""
        shares = self._shares(weights.dtype)
        return Planes(self._copied(weights), shares, jnp.zeros((), weights.dtype), jnp.zeros_like(shares))

    def offset(self, weights: jax.Array) -> Planes:
        """Planes for single cells, which cannot hold a sign."""
        shares = self._shares(weights.dtype)
        half = jnp.full_like(shares, 0.5)
        return Planes(self._copied((1 + weights) / 2), 2 * shares, jnp.ones((), weights.dtype), half)

    def _copied(self, held: jax.Array) -> jax.Array:
        return jnp.broadcast_to(held, (self.planes, *held.shape))

    def _shares(self, dtype: Any) -> jax.Array:
        f = jnp.stack([jnp.asarray(v, dtype) for v in self.significance])
        return f / jnp.sum(f)
