"""Detecting light: what a photodiode's current says of the power, of the number of photons, or of the field.

A photodiode turns power P into the current I = R P, with the variance over a bandwidth B

    sigma^2 = 2 q (I + I_d) B + 4 k T B / R_L + RIN I^2 B      shot and dark, thermal, relative intensity noise

so that SNR = I^2 / sigma^2. Solved for the power that a wanted SNR S takes:

    (1 - S RIN B) I^2 - 2 q S B I - S (2 q I_d B + 4 k T B / R_L) = 0

All of these are taken as white, independent from sample to sample. For shot and thermal noise that is exact; a laser's
intensity noise is larger at low frequencies, which all samples of a microsecond share.

Thermal noise alone makes the power grow as 2^bits, shot noise as 4^bits, and from S RIN B = 1 on no power is enough.

A homodyne detector beats the field with a strong local oscillator on two diodes and subtracts them. With n photons a
sample in a field of amplitude 1 its estimate of an amplitude has the variance 1 / (4 eta n) from shot noise alone: the
standard quantum limit, Gaussian at any number of photons. Thermal and dark noise are divided by the oscillator's power.

The two-field product of R. Hamerly et al., Phys. Rev. X 9, 021032 (2019), doi 10.1103/PhysRevX.9.021032, in which
weights are light, too, has y = a.x + w ||a|| ||x|| / sqrt(n), w standard normal, n photons in all.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

from analogsim.base.description import Description, field
from analogsim.base.dtypes import inexact
from analogsim.base.errors import InputError
from analogsim.base.literature import Source, cited
from analogsim.base.random import normal
from analogsim.base.units import effective_bits, sndr_db
from analogsim.devices.photonic.light import BOLTZMANN, C_BAND, CHARGE, WAVELENGTH_M, photon_j

_SIMPHONY = Source(note="typical of the device library of SimPhony (ScopeX)", recalled=True)


class Photodiode(Description):
    """A photodiode and the resistance that its current is read with.

    Example:
      >>> diode = Photodiode()
      >>> round(float(diode.enob(1e-3)), 2)
      8.81
    """

    responsivity: Any = field(default=1.0, unit="A/W", gt=0, le=10, doc="current a watt", source=_SIMPHONY)
    dark_current_a: Any = field(default=25e-9, unit="A", ge=0, le=1e-3, doc="current in the dark", source=_SIMPHONY)
    load_ohm: Any = field(
        default=5e3, unit="ohm", gt=0, le=1e9, doc="transimpedance; 50 ohm without an amplifier",
        source=Source(note="typical of an integrated transimpedance amplifier"),
    )  # fmt: skip
    relative_intensity_noise_db: Any = field(
        default=-150.0, unit="dB/Hz", ge=-250, le=-50, doc="of the laser", source=Source(note="typical of a DFB laser")
    )
    temperature_k: Any = field(default=300.0, unit="K", gt=0, le=1000, doc="of the load", source=Source(note="assumed"))

    @property
    def intensity_noise(self) -> Any:
        """Relative intensity noise as a number, 1/Hz."""
        return 10.0 ** (self.relative_intensity_noise_db / 10)

    def constant_noise(self, bandwidth_hz: Any) -> Any:
        """Variance (A^2) that is there in the dark: dark current and load."""
        thermal = 4 * BOLTZMANN * self.temperature_k / self.load_ohm
        return (2 * CHARGE * self.dark_current_a + thermal) * bandwidth_hz

    def variance(self, power_w: Any, bandwidth_hz: Any = 2.5e9) -> Any:
        """Variance of the current (A^2) for a power (W) over a bandwidth (Hz)."""
        current = self.responsivity * power_w
        varying = 2 * CHARGE * current + self.intensity_noise * current**2
        return varying * bandwidth_hz + self.constant_noise(bandwidth_hz)

    def snr(self, power_w: Any, bandwidth_hz: Any = 2.5e9) -> Any:
        """Squared current over its variance; power ratio, not decibels."""
        return (self.responsivity * power_w) ** 2 / self.variance(power_w, bandwidth_hz)

    def enob(self, power_w: Any, bandwidth_hz: Any = 2.5e9) -> Any:
        """Effective bits (SNR_dB - 10 log10 1.5) / (20 log10 2), with the full constant power taken as the signal."""
        return effective_bits(10 * jnp.log10(self.snr(power_w, bandwidth_hz)))

    def strict_bits(self, power_w: Any, bandwidth_hz: Any = 2.5e9) -> Any:
        """Bits whose rounding error is as large as the noise: log2(I / (sigma sqrt 12))."""
        return 0.5 * jnp.log2(self.snr(power_w, bandwidth_hz) / 12)

    def required_power_w(self, bits: Any, bandwidth_hz: Any = 2.5e9) -> float:
        """The least power (W) with so many effective bits (``enob``), from the full noise equation.

        Raises:
          InputError: for bits or a bandwidth that are not positive, or where the intensity noise of the laser allows
            fewer bits at any power.

        Example:
          >>> f"{Photodiode().required_power_w(6):.3g}"
          '1.01e-05'
        """
        for name, value, unit in (("bits", bits, ""), ("bandwidth_hz", bandwidth_hz, " (unit: Hz)")):
            if not 0 < float(value) < math.inf:
                raise InputError(f"{name} = {value!r}: must be greater than 0 and finite{unit}")
        snr = 10.0 ** (sndr_db(float(bits)) / 10)
        left = 1 - snr * float(self.intensity_noise) * float(bandwidth_hz)
        if left <= 0:
            most = effective_bits(-10 * math.log10(float(self.intensity_noise) * float(bandwidth_hz)))
            raise InputError(
                f"bits = {float(bits):g}: no power is enough, the laser's intensity noise allows less than {most:.2f} "
                f"bits over {float(bandwidth_hz):g} Hz"
            )
        half, constant = CHARGE * snr * float(bandwidth_hz), snr * float(self.constant_noise(bandwidth_hz))
        return (half + math.sqrt(half**2 + left * constant)) / left / float(self.responsivity)

    def shot_limit_w(self) -> Any:
        """The power above which shot noise exceeds the load's thermal noise, 2 k T / (q R R_L)."""
        return 2 * BOLTZMANN * self.temperature_k / (CHARGE * self.responsivity * self.load_ohm)


class Homodyne(Description):
    """A balanced pair of photodiodes and a local oscillator: reads the field, with its sign.

    Example:
      >>> detector = Homodyne()
      >>> round(float(detector.sigma(1e-6, 5e9)), 4)      # of an amplitude of 1, at 1 uW and 5 GS/s
      0.0143
    """

    diode: Photodiode = field(factory=Photodiode, kind=Photodiode, doc="each of the two")
    local_oscillator_w: Any = field(
        default=1e-3, unit="W", gt=0, le=10, doc="power of the local oscillator at a pair", source=Source(note="chosen")
    )
    wavelength_m: Any = field(
        default=WAVELENGTH_M, unit="m", gt=0, le=1e-4, doc="of the light",
        counts="for the efficiency in photons; noise follows from the responsivity in A/W", source=C_BAND,
    )  # fmt: skip

    def model_sources(self) -> tuple[Source, ...]:
        return (cited("hamerly2019", note="quantum limit of a dot product"),)

    def efficiency(self) -> Any:
        """Detected electrons a photon, R h nu / q."""
        return self.diode.responsivity * photon_j(self.wavelength_m) / CHARGE

    def sigma(self, power_w: Any, rate_hz: Any) -> Any:
        """Standard deviation of an amplitude in units of one that carries ``power_w``, at ``rate_hz`` samples a second.

        A sample integrates for 1/rate: a bandwidth of rate/2. The signal is 4 R^2 P_LO P, the noise 2 q R P_LO B and
        what is there in the dark, of two diodes; the oscillator's own intensity noise is subtracted.
        """
        bandwidth = jnp.asarray(rate_hz) / 2
        oscillator = self.diode.responsivity * self.local_oscillator_w
        noise = 2 * CHARGE * oscillator * bandwidth + 2 * self.diode.constant_noise(bandwidth)
        return jnp.sqrt(noise / (4 * oscillator * self.diode.responsivity * power_w))

    def relative_sigma(self, rate_hz: Any) -> Any:
        """Relative noise of any amplitude from the laser's intensity noise, of signal and oscillator alike."""
        return jnp.sqrt(self.diode.intensity_noise * jnp.asarray(rate_hz) / 2)


def standard_quantum_limit(key: jax.Array, weights: jax.Array, x: jax.Array, photons: Any) -> jax.Array:
    """Products of weights and inputs that are both light, with shot noise alone.

    Args:
      key: of the noise.
      weights: ``[n_in, n_out]``.
      x: ``[..., n_in]``.
      photons: detected photons of one dot product, over all of its terms.

    Returns:
      ``x @ weights + w ||weights_j|| ||x|| / sqrt(photons)``, ``[..., n_out]``.
    """
    x, weights = inexact(x), inexact(weights)
    product = jnp.matmul(x, weights, precision=jax.lax.Precision.HIGHEST)
    lengths = jnp.linalg.norm(x, axis=-1, keepdims=True) * jnp.linalg.norm(weights, axis=0)
    return product + lengths / jnp.sqrt(photons) * normal(key, product.shape, product.dtype)


_MANY = 1e4


@jax.custom_jvp
def counts(key: jax.Array, mean: jax.Array) -> jax.Array:
    """Photons counted where ``mean`` are expected: Poisson; the derivative is that of the mean.

    From 1e4 on Gaussians, rounded: a skewness of 0.01 is lost, but float32 would lose more of a Poisson number.

    Example:
      >>> counts(jax.random.key(0), jnp.zeros(3)).tolist()
      [0.0, 0.0, 0.0]
    """
    few = jax.random.poisson(key, jnp.minimum(mean, _MANY)).astype(mean.dtype)
    many = mean + jnp.round(jnp.sqrt(mean) * normal(key, mean.shape, mean.dtype))
    return jnp.where(mean < _MANY, few, many)


@counts.defjvp
def _derivative_of_the_mean(primals, tangents):
    return counts(*primals), tangents[1]


@functools.partial(jax.jit, static_argnames="shape")
def clicks(key: jax.Array, mean: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Whether a detector that cannot count sees at least one photon, with probability 1 - e^(-mean); 0 or 1."""
    return (jax.random.uniform(key, shape) < -jnp.expm1(-mean)).astype(mean.dtype)
