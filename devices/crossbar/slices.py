"""Multi-cell weights: binary digits of one weight on several cells, or copies with significance factors.

A plane is one cell (or pair of cells) of every weight. Plane p holds t_p(w) with the factor c_p:

    w = sum_p c_p t_p(w) - c_0

BitSlices splits the integer k of a quantised weight into digits d_p of s_p bits, least significant first:

    signed     k = round(|w| (2^M - 1))                 t_p = sign(w) d_p/(2^s_p - 1)     M = sum of the widths
    offset     k = round(w (2^(M-1) - 1)) + 2^(M-1)     t_p = d_p/(2^s_p - 1)             c_0 = 2^(M-1)/(2^(M-1) - 1)

with c_p = (2^s_p - 1) 2^(s_0 + .. + s_(p-1)) divided by 2^M - 1 or by 2^(M-1) - 1. MultiCell writes the same value on
every plane, t_p = w, with c_p = f_p/sum f: the error of n equal copies falls as 1/sqrt(n).

BitSlices rounds with a straight-through estimator: dw = sum_p c_p dt_p.

Slicing as in A. Shafiee et al., "ISAAC", ISCA 2016, doi 10.1109/ISCA.2016.12, and T. P. Xiao et al., IEEE CAS Magazine
22, 26 (2022), arXiv 2109.01262, who find little accuracy in it; significance factors as in C. Mackin et al.,
Nat. Commun. 13, 3765 (2022), doi 10.1038/s41467-022-31405-1.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from analogsim.base.description import Description, field, static
from analogsim.base.literature import Source, cited


class Planes(NamedTuple):
    """Weights distributed over planes.

    Attributes:
      values: value on each plane, ``[planes, n_in, n_out]``: in [-1, 1] signed, in [0, 1] offset.
      factors: c_p, ``[planes]``.
      constant: c_0, minus the weight that all-zero planes represent; 0 for signed planes.
      zero: value on each plane that represents the weight 0, ``[planes]``.
    """

    values: jax.Array
    factors: jax.Array
    constant: jax.Array
    zero: jax.Array


class BitSlices(Description):
    """Multi-cell weights by bit slicing: binary digits on several cells; see the module for the equations.

    A single width, ``BitSlices(widths=(7,))``, quantises to 2 x (2^7 - 1) + 1 levels without slicing.

    Example:
      >>> import jax.numpy as jnp
      >>> planes = BitSlices(widths=(2, 2)).signed(jnp.array([[7 / 15, -1.0]]))   # 7 = 1 * 4 + 3
      >>> [[round(float(v), 3) for v in row[0]] for row in planes.values]
      [[1.0, -1.0], [0.333, -1.0]]
    """

    widths: tuple[int, ...] = static(default=(4, 4), doc="bits per cell, least significant first; without a sign")
    sum: str = static(
        default="digital", choices=("digital", "analog"), doc="sum of the planes after the ADC, or by weighted currents"
    )

    def check(self) -> None:
        widths = self.widths
        good = isinstance(widths, tuple) and all(type(w) is int and 1 <= w <= 16 for w in widths)
        if not good or not 1 <= sum(widths) <= 23:
            self.refuse("widths", "must be a tuple of integers between 1 and 16 that sum to at most 23 (unit: bits)")

    def model_sources(self) -> tuple[Source, ...]:
        """Return the publications on slicing."""
        return (cited("shafiee2016"), cited("xiao2022accuracy"))

    @property
    def planes(self) -> int:
        """Number of cells (or pairs) per weight."""
        return len(self.widths)

    @property
    def bits(self) -> int:
        """Number of bits of all slices together."""
        return sum(self.widths)

    def signed(self, weights: jax.Array) -> Planes:
        """Return planes for pairs of cells, which carry the sign; ``weights`` ``[n_in, n_out]`` in [-1, 1]."""
        digits = self._digits(jnp.round(jnp.abs(weights) * (2**self.bits - 1)))
        return self._planes(weights, jnp.sign(weights)[None] * digits, 2**self.bits - 1, 0)

    def offset(self, weights: jax.Array) -> Planes:
        """Return planes for single cells, which cannot hold a sign; ``weights`` ``[n_in, n_out]`` in [-1, 1].

        Raises:
          InputError: if the slices have fewer than 2 bits in total.
        """
        if self.bits < 2:
            self.refuse("widths", "must have at least 2 bits in total for an offset mapping (unit: bits)")
        half = 2 ** (self.bits - 1)
        # Code 0 stays unused, so that the codes are symmetric about an exact zero.
        return self._planes(weights, self._digits(jnp.round(weights * (half - 1)) + half), half - 1, half)

    def places(self, signed: bool) -> tuple[np.ndarray, np.ndarray]:
        """Return the factors c_p and the steps between digits 1/(2^s_p - 1) of the planes, each ``[planes]``."""
        starts = np.cumsum([0, *self.widths[:-1]])
        levels = 2.0 ** np.array(self.widths) - 1
        return levels * 2.0**starts * self.sum_step(signed), 1 / levels

    def sum_step(self, signed: bool) -> float:
        """Return the step of all planes together: 1/(2^M - 1) signed, 1/(2^(M-1) - 1) offset."""
        return 1 / (2 ** (self.bits if signed else self.bits - 1) - 1)

    def _digits(self, k: jax.Array) -> jax.Array:
        # In floating point: float32 holds integers to 2^24 exactly, which is why the widths sum to at most 23.
        digits = []
        for width in self.widths:
            digits.append(jnp.mod(k, 2**width) / (2**width - 1))
            k = jnp.floor(k / 2**width)
        return jnp.stack(digits)

    def _planes(self, weights: jax.Array, values: jax.Array, full_scale: int, half: int) -> Planes:
        place = [2 ** sum(self.widths[:p]) for p in range(self.planes)]
        factors = [(2**w - 1) * v / full_scale for w, v in zip(self.widths, place, strict=True)]
        zero = [half // v % 2**w / (2**w - 1) for w, v in zip(self.widths, place, strict=True)]
        # Straight-through estimator, as in ``digital``: the derivative of the digits is zero, that of their sum is one.
        # The gradient enters by b_p, the least-norm solution of sum_p c_p b_p = 1: mostly in the significant digits.
        norm = sum(f * f for f in factors)
        gradient = jnp.asarray([f / norm for f in factors], values.dtype)
        values = values + gradient[:, None, None] * (weights - jax.lax.stop_gradient(weights))[None]
        return Planes(values, *(jnp.asarray(a, values.dtype) for a in (factors, half / full_scale, zero)))


class MultiCell(Description):
    """Multi-cell weights by copies: the whole weight on every plane, weighted by significance.

    Example:
      >>> import jax.numpy as jnp
      >>> planes = MultiCell(significance=(3.0, 1.0)).signed(jnp.array([[0.4]]))
      >>> planes.values.shape, planes.factors.tolist()
      ((2, 1, 1), [0.75, 0.25])
    """

    significance: Any = field(default=(1.0, 1.0), doc="f, weight of each copy in the sum; a tuple of positive numbers")
    sum: str = static(
        default="analog", choices=("digital", "analog"), doc="sum of the planes after the ADC, or by weighted currents"
    )

    def check(self) -> None:
        values = self.significance
        numbers = [v for v in values if not isinstance(v, jax.core.Tracer)] if isinstance(values, tuple) else [None]
        if not isinstance(values, tuple) or not values or not all(
            isinstance(v, (int, float, jax.Array)) and 0 < float(v) < float("inf") for v in numbers
        ):  # fmt: skip
            self.refuse("significance", "must be a tuple of numbers greater than 0")

    def model_sources(self) -> tuple[Source, ...]:
        """Return the publication on significance factors."""
        return (cited("mackin2022"),)

    @property
    def planes(self) -> int:
        """Number of cells (or pairs) per weight."""
        return len(self.significance)

    def signed(self, weights: jax.Array) -> Planes:
        """Return planes for pairs of cells, which carry the sign; ``weights`` ``[n_in, n_out]`` in [-1, 1]."""
        factors = self._factors(weights.dtype)
        return Planes(self._copied(weights), factors, jnp.zeros((), weights.dtype), jnp.zeros_like(factors))

    def offset(self, weights: jax.Array) -> Planes:
        """Return planes for single cells, which cannot hold a sign; ``weights`` ``[n_in, n_out]`` in [-1, 1]."""
        factors = self._factors(weights.dtype)
        half = jnp.full_like(factors, 0.5)
        return Planes(self._copied((1 + weights) / 2), 2 * factors, jnp.ones((), weights.dtype), half)

    def _copied(self, weights: jax.Array) -> jax.Array:
        return jnp.broadcast_to(weights, (self.planes, *weights.shape))

    def _factors(self, dtype: DTypeLike) -> jax.Array:
        f = jnp.stack([jnp.asarray(v, dtype) for v in self.significance])
        return f / jnp.sum(f)
