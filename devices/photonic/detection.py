"""Optical detection: estimate power, photon number or field from a photodiode's current.

A photodiode turns power P into the current I = R P, with the variance over a bandwidth B

    sigma^2 = 2 q (I + I_d) B + 4 k T B / R_L + RIN I^2 B      shot and dark, thermal, relative intensity noise

so that SNR = I^2 / sigma^2. The power required for a target SNR S solves

    (1 - S RIN B) I^2 - 2 q S B I - S (2 q I_d B + 4 k T B / R_L) = 0

All noise is assumed white, that is, independent from sample to sample. That is exact for shot and thermal noise; the
intensity noise of a laser is larger at low frequencies, which are common to all samples of a microsecond.

With thermal noise alone the required power grows as 2^bits, with shot noise as 4^bits; for S RIN B >= 1 no power is
sufficient.

A homodyne detector beats the field with a strong local oscillator on two diodes and subtracts their currents. With n
photons per sample in a field of amplitude 1, shot noise alone gives the amplitude estimate a variance of 1 / (4 eta n):
the standard quantum limit, Gaussian at any photon number. Thermal and dark noise are divided by the oscillator's power.

In the two-field product of R. Hamerly et al., Phys. Rev. X 9, 021032 (2019), doi 10.1103/PhysRevX.9.021032, the weights
are light, too: y = a.x + w ||a|| ||x|| / sqrt(n) with w standard normal and n photons in total.
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
from analogsim.base.random import normal, threefry_key
from analogsim.base.types import Numeric
from analogsim.base.units import effective_bits, sndr_db
from analogsim.devices.photonic.light import BOLTZMANN, C_BAND, CHARGE, WAVELENGTH_M, photon_j

_SIMPHONY = Source(note="typical of the device library of SimPhony (ScopeX)", recalled=True)


class Photodiode(Description):
    """A photodiode with its load resistance.

    Example:
      >>> diode = Photodiode()
      >>> round(float(diode.enob(1e-3)), 2)
      8.81
    """

    responsivity: Any = field(default=1.0, unit="A/W", gt=0, le=10, doc="current per watt", source=_SIMPHONY)
    dark_current_a: Any = field(default=25e-9, unit="A", ge=0, le=1e-3, doc="dark current", source=_SIMPHONY)
    load_ohm: Any = field(
        default=5e3, unit="ohm", gt=0, le=1e9, doc="transimpedance; 50 ohm without an amplifier",
        source=Source(note="typical of an integrated transimpedance amplifier"),
    )  # fmt: skip
    relative_intensity_noise_db: Any = field(
        default=-150.0,
        unit="dB/Hz",
        ge=-250,
        le=-50,
        doc="relative intensity noise of the laser",
        source=Source(note="typical of a DFB laser"),
    )
    temperature_k: Any = field(
        default=300.0, unit="K", gt=0, le=1000, doc="temperature of the load", source=Source(note="assumed")
    )

    @property
    def intensity_noise(self) -> Numeric:
        """Relative intensity noise of the laser on a linear scale, 1/Hz."""
        return 10.0 ** (self.relative_intensity_noise_db / 10)

    def constant_noise(self, bandwidth_hz: Numeric) -> Numeric:
        """Return the signal-independent variance (A^2) of the current: dark current and thermal noise of the load."""
        thermal = 4 * BOLTZMANN * self.temperature_k / self.load_ohm
        return (2 * CHARGE * self.dark_current_a + thermal) * bandwidth_hz

    def variance(self, power_w: Numeric, bandwidth_hz: Numeric = 2.5e9) -> Numeric:
        """Return the variance of the current (A^2) for a power (W) over a bandwidth (Hz), any shape."""
        current = self.responsivity * power_w
        varying = 2 * CHARGE * current + self.intensity_noise * current**2
        return varying * bandwidth_hz + self.constant_noise(bandwidth_hz)

    def snr(self, power_w: Numeric, bandwidth_hz: Numeric = 2.5e9) -> Numeric:
        """Return the signal-to-noise ratio, squared current over its variance, as a power ratio (not decibels)."""
        return (self.responsivity * power_w) ** 2 / self.variance(power_w, bandwidth_hz)

    def enob(self, power_w: Numeric, bandwidth_hz: Numeric = 2.5e9) -> jax.Array:
        """Return the effective bits (SNR_dB - 10 log10 1.5) / (20 log10 2), with the constant power as the signal."""
        return effective_bits(10 * jnp.log10(self.snr(power_w, bandwidth_hz)))

    def strict_bits(self, power_w: Numeric, bandwidth_hz: Numeric = 2.5e9) -> jax.Array:
        """Return the bits whose rounding error equals the noise: log2(I / (sigma sqrt 12))."""
        return 0.5 * jnp.log2(self.snr(power_w, bandwidth_hz) / 12)

    def required_power_w(self, bits: Numeric, bandwidth_hz: Numeric = 2.5e9) -> float:
        """Return the smallest power (W) that gives a number of effective bits (``enob``).

        Args:
          bits: effective bits, greater than 0.
          bandwidth_hz: of the detection, Hz.

        Raises:
          InputError: if ``bits`` or ``bandwidth_hz`` is not positive, or if the intensity noise of the laser allows
            fewer bits at any power.

        Example:
          >>> f"{Photodiode().required_power_w(6):.3g}"
          '1.01e-05'
        """
        for name, value, unit in (("bits", bits, ""), ("bandwidth_hz", bandwidth_hz, " (unit: Hz)")):
            if not 0 < float(value) < math.inf:
                raise InputError(f"{name} = {value!r}: must be greater than 0 and finite{unit}")
        snr = 10.0 ** (sndr_db(float(bits)) / 10)
        margin = 1 - snr * float(self.intensity_noise) * float(bandwidth_hz)
        if margin <= 0:
            limit = effective_bits(-10 * math.log10(float(self.intensity_noise) * float(bandwidth_hz)))
            raise InputError(
                f"bits = {float(bits):g}: no power is enough, the laser's intensity noise allows less than {limit:.2f} "
                f"bits over {float(bandwidth_hz):g} Hz"
            )
        half, constant = CHARGE * snr * float(bandwidth_hz), snr * float(self.constant_noise(bandwidth_hz))
        return (half + math.sqrt(half**2 + margin * constant)) / margin / float(self.responsivity)

    def shot_limit_w(self) -> Numeric:
        """Return the power (W) above which shot noise exceeds the load's thermal noise, 2 k T / (q R R_L)."""
        return 2 * BOLTZMANN * self.temperature_k / (CHARGE * self.responsivity * self.load_ohm)


class Homodyne(Description):
    """A balanced homodyne detector: two photodiodes and a local oscillator that measure the field with its sign.

    Example:
      >>> detector = Homodyne()
      >>> round(float(detector.sigma(1e-6, 5e9)), 4)      # of an amplitude of 1, at 1 uW and 5 GS/s
      0.0143
    """

    diode: Photodiode = field(factory=Photodiode, kind=Photodiode, doc="both photodiodes")
    local_oscillator_w: Any = field(
        default=1e-3,
        unit="W",
        gt=0,
        le=10,
        doc="power of the local oscillator per detector",
        source=Source(note="chosen"),
    )
    wavelength_m: Any = field(
        default=WAVELENGTH_M, unit="m", gt=0, le=1e-4, doc="wavelength of the light",
        counts="for the efficiency in photons; noise follows from the responsivity in A/W", source=C_BAND,
    )  # fmt: skip

    def model_sources(self) -> tuple[Source, ...]:
        return (cited("hamerly2019", note="quantum limit of a dot product"),)

    def efficiency(self) -> Numeric:
        """Return the quantum efficiency, detected electrons per photon: R h nu / q."""
        return self.diode.responsivity * photon_j(self.wavelength_m) / CHARGE

    def sigma(self, power_w: Numeric, rate_hz: Numeric) -> jax.Array:
        """Return the standard deviation of a measured amplitude, relative to the amplitude that carries ``power_w``.

        A sample integrates for 1/rate, a bandwidth of rate/2. The signal is 4 R^2 P_LO P; the noise is 2 q R P_LO B
        plus the dark and thermal noise of two diodes. The balanced pair cancels the oscillator's intensity noise.

        Args:
          power_w: of the reference amplitude, W.
          rate_hz: samples per second.
        """
        bandwidth = jnp.asarray(rate_hz) / 2
        oscillator = self.diode.responsivity * self.local_oscillator_w
        noise = 2 * CHARGE * oscillator * bandwidth + 2 * self.diode.constant_noise(bandwidth)
        return jnp.sqrt(noise / (4 * oscillator * self.diode.responsivity * power_w))

    def relative_sigma(self, rate_hz: Numeric) -> jax.Array:
        """Return the standard deviation relative to the amplitude, from intensity noise of signal and oscillator."""
        return jnp.sqrt(self.diode.intensity_noise * jnp.asarray(rate_hz) / 2)


def standard_quantum_limit(key: jax.Array, weights: jax.Array, x: jax.Array, photons: Numeric) -> jax.Array:
    """Return the two-field product of weights and inputs with shot noise alone.

    Args:
      key: of the noise.
      weights: ``[n_in, n_out]``.
      x: ``[..., n_in]``.
      photons: detected photons per dot product, summed over its terms.

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
    """Draw photon counts with the given means from Poisson distributions; the derivative is that of the mean.

    From a mean of 1e4 on, counts are rounded Gaussians: this loses a skewness of 0.01, less than the error of a Poisson
    draw in float32.

    Args:
      key: of the draw.
      mean: expected counts, any shape.

    Example:
      >>> counts(jax.random.key(0), jnp.zeros(3)).tolist()
      [0.0, 0.0, 0.0]
    """
    few = jax.random.poisson(threefry_key(key), jnp.minimum(mean, _MANY)).astype(mean.dtype)
    many = mean + jnp.round(jnp.sqrt(mean) * normal(key, mean.shape, mean.dtype))
    return jnp.where(mean < _MANY, few, many)


@counts.defjvp
def _derivative_of_the_mean(primals, tangents):
    return counts(*primals), tangents[1]


@functools.partial(jax.jit, static_argnames="shape")
def clicks(key: jax.Array, mean: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Draw the clicks (0 or 1) of a detector that does not resolve photon number: probability 1 - e^(-mean).

    Args:
      key: of the draw.
      mean: expected photons, broadcast to ``shape``.
      shape: of the result.
    """
    return (jax.random.uniform(key, shape) < -jnp.expm1(-mean)).astype(mean.dtype)
