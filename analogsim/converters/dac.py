"""Input converters: how codes drive the rows of a tile, amplitudes, pulse widths, or one slice of bits after the other.

A code x in [-1, 1] is a sign and K = bits - 1 magnitude bits. Cut into slices of q bits, least significant first, with
digits d_s in 0 .. 2^q - 1, a row is driven with x_s = sign(x) d_s / (2^q - 1) in step s, and

    x = sum_s f_s x_s          f_s = (2^q - 1) 2^(q s) / (2^K - 1)

Cells that fluctuate independently from step to step (white noise) give the sum the variance sum_s (f_s x_s)^2 Var(w);
fluctuations that are the same in all steps of a product (1/f noise, and what is common to a whole reading) add as
amplitudes, x^2 Var(w) as for one read of the whole code.

Added up digitally, every step is converted and noisy on its own. Added up as charge (each step halves what is stored
q times), one conversion follows the last step. A pulse-width code drives every row at the full voltage for a part of
the read time, so that the cells' current law at other voltages does not matter.

Sources: A. Shafiee et al., "ISAAC", ISCA 2016, doi 10.1109/ISCA.2016.12 (bit-serial inputs); T. P. Xiao et al., IEEE
CAS Magazine 22, 26 (2022), arXiv 2109.01262 (analog accumulation over input bits).
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from analogsim.base.description import Description, field, static
from analogsim.base.literature import Source, cited
from analogsim.base.straight_through import straight_through


class DAC(Description):
    """Input converter: drives the rows with quantised, clipped inputs. Its range is the layer's input range.

    Codes become amplitudes, all in one step. Noise is new for every vector, and for every window of a convolution.
    """

    bits: Any = field(default=8, ge=2, le=24, integer=True, doc="bits, sign included", source=cited("rasch2023"))
    noise: Any = field(
        default=None, ge=0, le=10, optional=True, doc="of what drives a row, relative to a full code; None for none"
    )

    @property
    def reads(self) -> int:
        """Steps of one product."""
        return 1

    @property
    def conversions(self) -> int:
        """Conversions of one line for one product."""
        return 1

    def squares(self, code: jax.Array) -> jax.Array:
        """Weights of the variances of cells that fluctuate independently from step to step, for codes in [-1, 1]."""
        return code**2

    def shares(self, code: jax.Array, non_linear: bool) -> list[tuple[jax.Array, ...]]:
        """What each step's read of the cells adds to one conversion: of the code, and of ``powers``."""
        return [(code, *(self.powers(code) if non_linear else ()))]

    def energy(self, code: jax.Array) -> jax.Array:
        """What a row spends, as a share of a read at full voltage."""
        return code**2

    def powers(self, code: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Weights of the cells' second- and third-order currents, which are odd functions of the voltage."""
        return code * jnp.abs(code), code**3


class PulseWidthDAC(DAC):
    """Input converter with constant voltage and a pulse as long as the code says: a full code lasts the read time.

    Fluctuations of a cell are taken as slow beside one read, so that the noise of a row goes with its pulse's length:
    right for 1/f noise, most of which is slower than a read, and an assumption for cells whose spectrum is not known.
    (White within the read, the variance of a row would go with the pulse's length, the noise of short pulses be more.)
    """

    def energy(self, code: jax.Array) -> jax.Array:
        """What a row spends, as a share of a full read: the share of time that it is driven."""
        return jnp.abs(code)

    def powers(self, code: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Weights of the cells' second- and third-order currents: always those of the full voltage."""
        return code, code


class BitSerialDAC(DAC):
    """Input converter that drives slices of ``slice_bits`` one after another; the number of bits is structure here.

    Example:
      >>> dac = BitSerialDAC(bits=5, slice_bits=2)
      >>> parts, factors = dac.steps(jnp.array([-11 / 15]))    # 11 = 2 * 4 + 3
      >>> [round(float(p[0]), 3) for p in parts], [round(f, 3) for f in factors]
      ([-1.0, -0.667], [0.2, 0.8])
    """

    bits: int = static(default=8, ge=2, le=24, integer=True, doc="bits, sign included")
    noise: None = static(default=None, choices=(None,), doc="the noise of single bits is not modelled")
    slice_bits: int = static(default=1, ge=1, le=23, integer=True, doc="bits driven at a time")
    accumulation: str = static(
        default="digital", choices=("digital", "analog"), doc="convert every step and add numbers, or add charge first"
    )

    def check(self) -> None:
        if self.slice_bits > self.bits - 1:
            self.refuse("slice_bits", f"must be at most bits - 1 = {self.bits - 1}, the magnitude bits (unit: bits)")

    def model_sources(self) -> tuple[Source, ...]:
        """Where slices of the input, and adding them as charge, come from."""
        return (cited("shafiee2016"), cited("xiao2022accuracy"))

    @property
    def reads(self) -> int:
        """Steps of one product."""
        return -(-(self.bits - 1) // self.slice_bits)

    @property
    def conversions(self) -> int:
        """Conversions of one line for one product."""
        return self.reads if self.accumulation == "digital" else 1

    def steps(self, code: jax.Array) -> tuple[list[jax.Array], list[float]]:
        """What drives the rows in each step, like ``code``, and what each step counts.

        A gradient enters the steps in proportion to what they count.
        """
        full_scale, base = 2 ** (self.bits - 1) - 1, 2**self.slice_bits
        factors = [(base - 1) * base**s / full_scale for s in range(self.reads)]
        norm = sum(f * f for f in factors)
        left, sign = jnp.round(jnp.abs(lax.stop_gradient(code)) * full_scale), jnp.sign(lax.stop_gradient(code))
        parts = []
        for factor in factors:
            digit = sign * jnp.mod(left, base) / (base - 1)
            parts.append(straight_through(code * (factor / norm), digit))
            left = jnp.floor(left / base)
        return parts, factors

    def squares(self, code: jax.Array) -> jax.Array:
        """Weights of the variances in the accumulated result, of cells whose noise is independent from step to step."""
        parts, factors = self.steps(lax.stop_gradient(code))
        return sum((f * part) ** 2 for part, f in zip(parts, factors, strict=True))  # type: ignore[return-value]

    def shares(self, code: jax.Array, non_linear: bool) -> list[tuple[jax.Array, ...]]:
        """What each step's read of the cells adds to one conversion: of the code, and of ``powers``."""
        each = list(zip(*self.steps(code), strict=True))
        if not non_linear:
            return [(f * part,) for part, f in each]
        return [(f * part, f * part * jnp.abs(part), f * part**3) for part, f in each]

    def energy(self, code: jax.Array) -> jax.Array:
        """What a row spends in all steps, as a share of one full read."""
        parts, _ = self.steps(lax.stop_gradient(code))
        return sum(part**2 for part in parts)  # type: ignore[return-value]

    def powers(self, code: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Weights of the cells' second- and third-order currents in the accumulated result."""
        parts, factors = self.steps(code)
        each = [(f * part * jnp.abs(part), f * part**3) for part, f in zip(parts, factors, strict=True)]
        return sum(a for a, _ in each), sum(b for _, b in each)  # type: ignore[return-value]


def energy(dac: Any, code: jax.Array) -> jax.Array:
    """What each row spends for its code, as a share of one full read; without a DAC its squared voltage."""
    return code**2 if dac is None else dac.energy(code)
