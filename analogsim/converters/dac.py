"""Input converters: codes drive the rows of a tile as amplitudes, pulse widths, or sequential slices of bits.

A code x in [-1, 1] is a sign and K = bits - 1 magnitude bits. With slices of q bits, least significant first, and
digits d_s in 0 .. 2^q - 1, a row is driven with x_s = sign(x) d_s / (2^q - 1) in step s, and

    x = sum_s f_s x_s          f_s = (2^q - 1) 2^(q s) / (2^K - 1)

Cells that fluctuate independently from step to step (white noise) give the sum the variance sum_s (f_s x_s)^2 Var(w);
fluctuations common to all steps of a product (1/f noise, and whatever is constant during a read) add as amplitudes:
x^2 Var(w), as for one read of the whole code.

With digital accumulation, every step has a separate conversion with separate noise. With analog accumulation of charge
(each step halves the stored charge q times), one conversion follows the last step. A pulse-width code drives every row
at full voltage for a fraction of the read time, so that the cells' current at other voltages does not matter.

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
    """Amplitude DAC: drives the rows with quantised, clipped inputs in one step; the layer's input range is its range.

    Noise is drawn anew for every vector, and for every window of a convolution.

    Example:
      >>> dac = DAC(bits=6, noise=0.01)
      >>> dac.reads, float(dac.energy(jnp.array(0.5)))     # half the voltage, a quarter of the energy
      (1, 0.25)
    """

    bits: Any = field(default=8, ge=2, le=24, integer=True, doc="bits, sign included", source=cited("rasch2023"))
    noise: Any = field(
        default=None, ge=0, le=10, optional=True, doc="noise of the row drive relative to a full code; None: none"
    )

    @property
    def reads(self) -> int:
        """Number of steps (reads of the cells) per product."""
        return 1

    @property
    def conversions(self) -> int:
        """Number of ADC conversions per column and product."""
        return 1

    def squares(self, code: jax.Array) -> jax.Array:
        """Return the factors on variances of cells that fluctuate independently from step to step, any shape."""
        return code**2

    def step_contributions(self, code: jax.Array, non_linear: bool) -> list[tuple[jax.Array, ...]]:
        """Return per step its contribution to one conversion: of the code and, if non-linear, of ``powers``."""
        return [(code, *(self.powers(code) if non_linear else ()))]

    def energy(self, code: jax.Array) -> jax.Array:
        """Return the energy of a row as a fraction of a read at full voltage, any shape."""
        return code**2

    def powers(self, code: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return the factors on the cells' second- and third-order currents, which are odd functions of the voltage."""
        return code * jnp.abs(code), code**3


class PulseWidthDAC(DAC):
    """Pulse-width DAC: constant voltage, pulse duration proportional to the code; a full code lasts the read time.

    Cell fluctuations are assumed slow compared with one read, so that the noise amplitude of a row is proportional to
    its pulse duration: right for 1/f noise, most of which is slower than a read, and an assumption for cells of unknown
    spectrum. (For noise that is white within a read, the variance would be proportional to the duration, which gives
    short pulses more noise.)

    Example:
      >>> dac = PulseWidthDAC(bits=6)
      >>> dac.reads, float(dac.energy(jnp.array(0.5)))     # full voltage for half the time
      (1, 0.5)
    """

    def energy(self, code: jax.Array) -> jax.Array:
        """Return the energy of a row as a fraction of a full read: the fraction of time that it is driven."""
        return jnp.abs(code)

    def powers(self, code: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return the factors on the cells' second- and third-order currents: those of the full voltage."""
        return code, code


class BitSerialDAC(DAC):
    """Bit-serial DAC: drives slices of ``slice_bits`` bits in sequence; ``bits`` is static here.

    Example:
      >>> dac = BitSerialDAC(bits=5, slice_bits=2)
      >>> parts, factors = dac.steps(jnp.array([-11 / 15]))    # 11 = 2 * 4 + 3
      >>> [round(float(p[0]), 3) for p in parts], [round(f, 3) for f in factors]
      ([-1.0, -0.667], [0.2, 0.8])
    """

    bits: int = static(default=8, ge=2, le=24, integer=True, doc="bits, sign included")
    noise: None = static(default=None, choices=(None,), doc="the noise of single bits is not modelled")
    slice_bits: int = static(default=1, ge=1, le=23, integer=True, doc="bits driven per step")
    accumulation: str = static(
        default="digital",
        choices=("digital", "analog"),
        doc="convert every step and add digitally, or add charge first",
    )

    def check(self) -> None:
        if self.slice_bits > self.bits - 1:
            self.refuse("slice_bits", f"must be at most bits - 1 = {self.bits - 1}, the magnitude bits (unit: bits)")

    def model_sources(self) -> tuple[Source, ...]:
        """Sources of bit-serial inputs and of analog accumulation."""
        return (cited("shafiee2016"), cited("xiao2022accuracy"))

    @property
    def reads(self) -> int:
        """Number of steps (reads of the cells) per product."""
        return -(-(self.bits - 1) // self.slice_bits)

    @property
    def conversions(self) -> int:
        """Number of ADC conversions per column and product."""
        return self.reads if self.accumulation == "digital" else 1

    def steps(self, code: jax.Array) -> tuple[list[jax.Array], list[float]]:
        """Return the row drive of each step, shaped like ``code``, and the factor f_s of each step.

        The gradient of the code is divided among the steps in proportion to their factors.
        """
        full_scale, base = 2 ** (self.bits - 1) - 1, 2**self.slice_bits
        factors = [(base - 1) * base**s / full_scale for s in range(self.reads)]
        norm = sum(f * f for f in factors)
        rest, sign = jnp.round(jnp.abs(lax.stop_gradient(code)) * full_scale), jnp.sign(lax.stop_gradient(code))
        parts = []
        for factor in factors:
            digit = sign * jnp.mod(rest, base) / (base - 1)
            parts.append(straight_through(code * (factor / norm), digit))
            rest = jnp.floor(rest / base)
        return parts, factors

    def squares(self, code: jax.Array) -> jax.Array:
        """Return the factors on variances in the accumulated result, for noise independent from step to step."""
        parts, factors = self.steps(lax.stop_gradient(code))
        return sum((f * part) ** 2 for part, f in zip(parts, factors, strict=True))  # type: ignore[return-value]

    def step_contributions(self, code: jax.Array, non_linear: bool) -> list[tuple[jax.Array, ...]]:
        """Return per step its contribution to one conversion: of the code and, if non-linear, of ``powers``."""
        steps = list(zip(*self.steps(code), strict=True))
        if not non_linear:
            return [(f * part,) for part, f in steps]
        return [(f * part, f * part * jnp.abs(part), f * part**3) for part, f in steps]

    def energy(self, code: jax.Array) -> jax.Array:
        """Return the energy of a row in all steps as a fraction of one full read."""
        parts, _ = self.steps(lax.stop_gradient(code))
        return sum(part**2 for part in parts)  # type: ignore[return-value]

    def powers(self, code: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return the factors on the cells' second- and third-order currents in the accumulated result."""
        parts, factors = self.steps(code)
        terms = [(f * part * jnp.abs(part), f * part**3) for part, f in zip(parts, factors, strict=True)]
        return sum(a for a, _ in terms), sum(b for _, b in terms)  # type: ignore[return-value]


def energy(dac: Any, code: jax.Array) -> jax.Array:
    """Return the energy of each row for its code as a fraction of one full read; without a DAC, the squared voltage."""
    return code**2 if dac is None else dac.energy(code)
