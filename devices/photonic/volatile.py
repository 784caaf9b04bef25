"""Volatile optical media: a delay line, a fibre loop with or without gain, a cavity, cold atoms.

Fraction of the photons left after a time t, and noise photons added by gain:

    delay line    10^(-alpha L / 10), L = c t / n_g                     light leaves after n_g L / c
    loop          10^(-K l / 10), K = t / t_pass passes, l dB each      with gain G = 10^(l/10) all of it, and
                  K n_sp (G - 1) photons of noise                       in each mode: spontaneous emission, n_sp >= 1
    cavity        exp(-t / tau), tau = Q / omega                        linewidth nu / Q
    atoms         eta_0 exp(-(t / tau)^p)

Passes are treated as continuous. Gain costs n h nu (G - 1) / (eta t_pass) watts for n photons. A narrow-band medium
accepts long pulses only: a cavity's lifetime times its bandwidth is 1/(2 pi), so it holds about one pulse at most.

Cavity of M. W. Puckett et al., Nat. Commun. 12, 934 (2021), doi 10.1038/s41467-021-21205-4; atoms of Y.-W. Cho et al.,
Optica 3, 100 (2016), arXiv 1601.04267: 0.87 read immediately, more than half after 0.6 ms (p = 2 fits, p = 1 does not).
"""

import math
from typing import Any

import jax
import jax.numpy as jnp

from analogsim.base.description import Description, field, static
from analogsim.base.literature import Source, cited
from analogsim.base.types import Numeric
from analogsim.devices.photonic.light import C_BAND, LIGHT, WAVELENGTH_M, photon_j, power_ratio

_FIBRE = Source(note="standard single-mode fibre", recalled=True)
_ASSUMED = Source(note="assumed")
_CHO = cited("cho2016", note="gradient echo in cold atoms")
_DB = 10 / math.log(10)  # decibels of a factor of e


class Medium:
    """Base class of media, with the defaults of a passive medium that takes no power."""

    #: Whether gain compensates for losses: the photon noise is then no longer that of attenuated coherent light.
    amplified = False
    #: Latest time at which light can be read, seconds; None: it only fades.
    time_limit_s: Any = None

    def added_photons(self, time_s: Numeric) -> jax.Array:
        """Return the noise photons in a pulse's mode after ``time_s`` seconds: zero without gain."""
        return jnp.zeros_like(jnp.asarray(time_s) * 1.0)

    def hold_w(self, photons: Numeric) -> Numeric:
        """Return the power (W) that maintains a pulse of ``photons``: zero without gain."""
        del photons
        return 0.0


class DelayLine(Medium, Description):
    """A waveguide that light passes once; by default 20 km of fibre.

    Example:
      >>> line = DelayLine()
      >>> f"{line.lifetime_s:.4g} {line.time_limit_s:.4g}"
      '0.0001251 9.793e-05'
    """

    length_m: Any = field(default=20e3, unit="m", gt=0, le=1e9, doc="length of the line", source=_ASSUMED)
    loss_db_per_m: Any = field(default=0.17e-3, unit="dB/m", gt=0, le=1e6, doc="power loss", source=_FIBRE)
    group_index: Any = field(default=1.468, ge=1, le=1e6, doc="c over the speed of pulses", source=_FIBRE)
    bandwidth_hz: Any = field(
        default=4.4e12, unit="Hz", gt=0, le=1e15, doc="optical bandwidth of the line",
        source=Source(note="C band, 1530-1565 nm", recalled=True),
    )  # fmt: skip
    wavelength_m: Any = field(default=WAVELENGTH_M, unit="m", gt=0, le=1e-4, doc="of the light", source=C_BAND)

    @property
    def time_limit_s(self) -> Numeric:
        """Transit time of the line, after which light has left it, seconds."""
        return self.group_index * self.length_m / LIGHT

    @property
    def lifetime_s(self) -> Any:
        """Time after which 1/e of the photons are left in a sufficiently long line, seconds."""
        return _DB * self.group_index / (self.loss_db_per_m * LIGHT)

    def efficiency(self, time_s: Numeric) -> jax.Array:
        """Return the fraction of the photons left after ``time_s`` seconds, any shape."""
        return jnp.exp(-jnp.asarray(time_s) / self.lifetime_s)

    def capacity(self, rate_hz: Numeric) -> Numeric:
        """Return the number of pulses in the line at ``rate_hz`` pulses per second."""
        return self.time_limit_s * rate_hz


class RecirculatingLoop(Medium, Description):
    """A recirculating fibre loop, with or without an amplifier that compensates for its losses.

    Example:
      >>> loop = RecirculatingLoop()
      >>> f"{loop.hold_w(1e6):.4g}"      # for each value of a million photons
      '1.733e-07'
    """

    length_m: Any = field(default=200.0, unit="m", gt=0, le=1e9, doc="length of the loop", source=_ASSUMED)
    loss_db: Any = field(
        default=0.54, unit="dB", gt=0, le=100, doc="power loss per pass, switch and couplers included",
        source=_ASSUMED,
    )  # fmt: skip
    group_index: Any = field(default=1.468, ge=1, le=1e6, doc="c over the speed of pulses", source=_FIBRE)
    amplified: bool = static(default=True, choices=(True, False), doc="whether gain compensates for the loss")
    spontaneous_emission: Any = field(
        default=1.6, ge=1, le=100, doc="n_sp of the amplifier; 1 is the quantum limit, a noise figure of 3 dB",
        source=Source(note="noise figure of 5 dB, typical of erbium-doped fibre", recalled=True),
    )  # fmt: skip
    wall_plug_efficiency: Any = field(
        default=0.1, gt=0, le=1, doc="optical power that the amplifier adds over the power it takes", source=_ASSUMED
    )
    bandwidth_hz: Any = field(
        default=100e9, unit="Hz", gt=0, le=1e15, doc="bandwidth of the loop's optical filter", source=_ASSUMED
    )
    wavelength_m: Any = field(default=WAVELENGTH_M, unit="m", gt=0, le=1e-4, doc="of the light", source=C_BAND)

    @property
    def pass_s(self) -> Numeric:
        """Duration of one pass, seconds."""
        return self.group_index * self.length_m / LIGHT

    @property
    def gain(self) -> Numeric:
        """Power gain of an amplifier that compensates for the loss of one pass."""
        return 10.0 ** (self.loss_db / 10)

    @property
    def lifetime_s(self) -> Any:
        """Time after which 1/e of the photons would be left without gain, seconds."""
        return _DB * self.pass_s / self.loss_db

    def efficiency(self, time_s: Numeric) -> jax.Array:
        """Return the fraction of the photons left after ``time_s`` seconds, any shape; 1 with gain."""
        time = jnp.asarray(time_s) * 1.0
        return jnp.ones_like(time) if self.amplified else power_ratio(self.loss_db * time / self.pass_s)

    def added_photons(self, time_s: Numeric) -> jax.Array:
        """Return the photons of spontaneous emission in a pulse's mode after ``time_s`` seconds, any shape."""
        passes = jnp.asarray(time_s) / self.pass_s
        added = self.spontaneous_emission * (self.gain - 1) if self.amplified else 0.0
        return passes * added

    def emission_w(self, time_s: Numeric) -> jax.Array:
        """Return the circulating spontaneous emission (W) after ``time_s``, both polarisations, full bandwidth."""
        return 2 * self.added_photons(time_s) * photon_j(self.wavelength_m) * self.bandwidth_hz

    def hold_w(self, photons: Numeric) -> Numeric:
        """Return the power (W) that the amplifier takes for a pulse of ``photons``."""
        if not self.amplified:
            return 0.0
        added = photons * photon_j(self.wavelength_m) * (self.gain - 1)
        return added / (self.wall_plug_efficiency * self.pass_s)

    def capacity(self, rate_hz: Numeric) -> Numeric:
        """Return the number of pulses in the loop at ``rate_hz`` pulses per second."""
        return self.pass_s * rate_hz


class Cavity(Medium, Description):
    """An optical cavity; by default the silicon-nitride resonator with the largest quality factor of its kind.

    Example:
      >>> cavity = Cavity()
      >>> f"{cavity.lifetime_s:.3g} {cavity.bandwidth_hz:.3g} {cavity.loss_db_per_m:.2g}"
      '3.47e-07 4.58e+05 0.062'
    """

    quality: Any = field(
        default=4.22e8, gt=0, le=1e12, doc="Q, omega times the lifetime", source=cited("puckett2021", note="intrinsic")
    )
    group_index: Any = field(
        default=1.48, ge=1, le=1e6, doc="c over the speed of pulses",
        counts="for the loss of an equivalent waveguide",
        source=Source(note="thin silicon nitride in silica", recalled=True),
    )  # fmt: skip
    wavelength_m: Any = field(default=WAVELENGTH_M, unit="m", gt=0, le=1e-4, doc="of the light", source=C_BAND)

    @property
    def lifetime_s(self) -> Any:
        """Time after which 1/e of the photons are left, Q/omega, seconds."""
        return self.quality * self.wavelength_m / (2 * math.pi * LIGHT)

    @property
    def bandwidth_hz(self) -> Numeric:
        """Linewidth nu/Q, Hz."""
        return LIGHT / (self.wavelength_m * self.quality)

    @property
    def loss_db_per_m(self) -> Numeric:
        """Loss of a waveguide with the same photon lifetime, dB/m."""
        return _DB * self.group_index / (LIGHT * self.lifetime_s)

    def efficiency(self, time_s: Numeric) -> jax.Array:
        """Return the fraction of the photons left after ``time_s`` seconds, any shape."""
        return jnp.exp(-jnp.asarray(time_s) / self.lifetime_s)

    def capacity(self, rate_hz: Numeric) -> Numeric:
        """Return the number of pulses in the cavity: one, in one mode."""
        del rate_hz
        return 1.0


class AtomicMemory(Medium, Description):
    """A quantum memory that stores light as a spin wave of cold atoms.

    Example:
      >>> memory = AtomicMemory()
      >>> [round(float(memory.efficiency(t)), 2) for t in (0.0, 0.6e-3)]
      [0.87, 0.61]
    """

    read_efficiency: Any = field(
        default=0.87, gt=0, le=1, doc="eta_0, fraction of the photons read immediately", source=_CHO
    )
    lifetime_s: Any = field(
        default=1e-3, unit="s", gt=0, le=1e6, doc="tau, time after which 1/e of that is left", source=_CHO
    )
    exponent: Any = field(
        default=2.0, gt=0, le=10, doc="p, shape of the decay: 1 exponential, 2 for moving atoms",
        source=cited("cho2016", note="chosen to leave more than half after 0.6 ms"),
    )  # fmt: skip
    bandwidth_hz: Any = field(
        default=1e6, unit="Hz", gt=0, le=1e15, doc="bandwidth of light that the atoms store",
        source=Source(note="order of magnitude of gradient-echo memories", recalled=True),
    )  # fmt: skip
    modes: Any = field(default=1.0, ge=1, le=1e9, doc="pulses stored at the same time", source=_ASSUMED)
    wavelength_m: Any = field(
        default=795e-9, unit="m", gt=0, le=1e-4, doc="of the light",
        source=Source(note="D1 line of rubidium", recalled=True),
    )  # fmt: skip

    def efficiency(self, time_s: Numeric) -> jax.Array:
        """Return the fraction of the photons read after ``time_s`` seconds, any shape."""
        ratio = jnp.asarray(time_s) / self.lifetime_s
        # At time zero neither 0^p nor its derivative in p is evaluated: log 0 is infinite.
        later = ratio > 0
        exponent = jnp.where(later, jnp.where(later, ratio, 1.0) ** self.exponent, 0.0)
        return self.read_efficiency * jnp.exp(-exponent)

    def capacity(self, rate_hz: Numeric) -> Numeric:
        """Return the number of pulses in the atoms, independent of the rate."""
        del rate_hz
        return self.modes
