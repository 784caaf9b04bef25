"""Add-drop microrings: through and drop transmission, and the weight they represent.

    T_through = [(r2 a - r1)^2 + 4 p s] / D     T_drop = (1 - r1^2)(1 - r2^2) a / D     D = (1 - p)^2 + 4 p s

p = r1 r2 a is the amplitude left after a round trip, s = sin^2(phi / 2), and phi the round-trip phase measured from
resonance. These are the textbook forms in cos phi, rearranged to avoid cancellation near resonance and for r1, r2 and a
near 1. The response is periodic in the free spectral range; within it, phases are linear in the wavelength (constant
group index n_g):

    FSR = lambda^2 / (n_g L)     FWHM = FSR (1 - p) / (pi sqrt p)     finesse = FSR / FWHM     Q = lambda / FWHM

W. Bogaerts et al., Laser Photon. Rev. 6, 47 (2012), doi 10.1002/lpor.201100017. FWHM is the small-angle formula,
1 % too small at a finesse of 6. A balanced pair of diodes reads the weight w = T_drop - T_through (A. N. Tait et al.,
Sci. Rep. 7, 7430 (2017), doi 10.1038/s41598-017-07754-z): 2 / (1 + d^2) - 1 without loss, d being the detuning in half
linewidths. w D is linear in s, so the phase of a weight has a closed form. ``cascade`` places rings along a bus.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from analogsim.base.description import Description, field
from analogsim.base.dtypes import to_rank
from analogsim.base.literature import Source, cited
from analogsim.devices.photonic.light import C_BAND, WAVELENGTH_M

_TURN = 6.283185307179586

_CHOSEN = Source(note="assumed: Q of 10^4 in a passive ring of 5 um")
_SILICON = Source(note="typical of silicon wires", recalled=True)


class Ports(NamedTuple):
    """Power fractions at the drop port (or at the end of a drop bus) and at the end of the bus, any shape."""

    drop: jax.Array
    through: jax.Array


class Ring(Description):
    """An add-drop microring between two waveguides; see the module for the equations.

    Example:
      >>> ring = Ring()
      >>> f"{ring.fsr_m * 1e9:.1f} nm, {ring.fwhm_m * 1e9:.3f} nm, Q = {ring.quality:.0f}"
      '18.2 nm, 0.157 nm, Q = 9842'
      >>> round(float(ring.weight(ring.phase_for(-0.5))), 5)
      -0.5
    """

    r1: Any = field(
        default=0.987, gt=0, lt=1, doc="fraction of the field that stays in the bus at its coupler", source=_CHOSEN
    )
    r2: Any = field(
        default=0.987, gt=0, lt=1, doc="fraction of the field that stays in the ring at the coupler of the drop port",
        source=_CHOSEN,
    )  # fmt: skip
    amplitude: Any = field(
        default=0.999, gt=0, le=1, doc="a, fraction of the field that losses leave per round trip", source=_CHOSEN
    )
    radius_m: Any = field(default=5e-6, unit="m", gt=0, le=1e-2, doc="radius of the ring", source=_CHOSEN)
    group_index: Any = field(default=4.2, gt=1, le=10, doc="n_g of the waveguide", source=_SILICON)
    wavelength_m: Any = field(
        default=WAVELENGTH_M, unit="m", gt=1e-7, le=1e-4, doc="wavelength of the light", source=C_BAND
    )
    shift_m_per_k: Any = field(
        default=0.08e-9, unit="m/K", ge=0, le=1e-8, doc="shift of the resonance with temperature; 0.07 to 0.11 nm/K",
        counts="for rings without a lock, and for the residual temperature of a lock",
        source=Source(note="typical of silicon rings", recalled=True),
    )  # fmt: skip

    def model_sources(self) -> tuple[Source, ...]:
        return (cited("bogaerts2012", note="transfer of a ring"), cited("tait2017", note="balanced weight"))

    @property
    def circumference_m(self) -> Any:
        """Circumference L, metres."""
        return _TURN * self.radius_m

    @property
    def fsr_m(self) -> Any:
        """Free spectral range, metres of wavelength."""
        return self.wavelength_m**2 / (self.group_index * self.circumference_m)

    @property
    def round_trip_amplitude(self) -> Any:
        """Fraction of the field left after a round trip, p = r1 r2 a."""
        return self.r1 * self.r2 * self.amplitude

    @property
    def round_trip_loss(self) -> Any:
        """Fraction of the field lost per round trip, 1 - p, summed over couplers and losses.

        Computing it from p would lose digits, as p rounds near 1.
        """
        return (1 - self.r1) + self.r1 * ((1 - self.r2) + self.r2 * (1 - self.amplitude))

    @property
    def finesse(self) -> Any:
        """Free spectral range over linewidth."""
        return _TURN / 2 / self.half_width_rad

    @property
    def half_width_rad(self) -> Any:
        """Half linewidth as a round-trip phase, radians."""
        return self.round_trip_loss / self.round_trip_amplitude**0.5

    @property
    def fwhm_m(self) -> Any:
        """Linewidth (full width at half maximum), metres of wavelength."""
        return self.fsr_m / self.finesse

    @property
    def quality(self) -> Any:
        """Quality factor Q, loaded by both couplers."""
        return self.wavelength_m / self.fwhm_m

    def phase(self, detuning_m: Any) -> Any:
        """Return the round-trip phase (rad) for a detuning (m of wavelength) from resonance, any shape."""
        return detuning_m * (_TURN / self.fsr_m)

    def detuning_m(self, phase: Any) -> Any:
        """Return the detuning (m) of a round-trip phase (rad); the inverse of ``phase``."""
        return phase * (self.fsr_m / _TURN)

    def half_widths(self, detuning_m: Any) -> Any:
        """Return a detuning (m) in units of half linewidths, d."""
        return detuning_m / (self.fwhm_m / 2)

    def detuning_of(self, half_widths: Any) -> Any:
        """Return the detuning (m) of d half linewidths; the inverse of ``half_widths``."""
        return half_widths * (self.fwhm_m / 2)

    def shift_m(self, kelvin: Any) -> Any:
        """Return the shift (m) of the resonance when the ring warms by ``kelvin``."""
        return kelvin * self.shift_m_per_k

    def warming_k(self, shift_m: Any) -> Any:
        """Return the warming (K) that shifts the resonance by ``shift_m``; the inverse of ``shift_m``."""
        return shift_m / self.shift_m_per_k

    def ports(self, phase: Any) -> Ports:
        """Return the power fractions at the drop and through ports for a round-trip phase (rad), any shape."""
        s = _half_sine(phase)
        scale = 1 / self._denominator(s)
        return Ports(self._most_dropped() * scale, (self._least_passed() + 4 * self.round_trip_amplitude * s) * scale)

    def drop(self, phase: Any) -> jax.Array:
        """Return the power fraction at the drop port for a round-trip phase (rad), any shape."""
        return self.ports(phase).drop

    def through(self, phase: Any) -> jax.Array:
        """Return the power fraction at the through port for a round-trip phase (rad), any shape."""
        return self.ports(phase).through

    def weight(self, phase: Any) -> jax.Array:
        """Return the weight w = T_drop - T_through for a round-trip phase (rad), any shape."""
        return self._weight(_half_sine(phase))

    def phase_for(self, weight: Any) -> jax.Array:
        """Return the phase in [0, pi] of a weight, any shape; that of the nearest reachable weight if out of reach."""
        weight = jnp.asarray(weight)
        above = jnp.maximum(weight + 1, 1e-6)  # w = -1 is unreachable: some light is dropped at any phase
        s = (self._numerator() - weight * self.round_trip_loss**2) / (4 * self.round_trip_amplitude * above)
        # Square root and arcsine have infinite derivatives at the ends of [0, 1] and are undefined outside.
        inside = (s > 0) & (s < 1)
        angle = 2 * jnp.arcsin(jnp.sqrt(jnp.where(inside, s, 0.5)))
        return jnp.where(inside, angle, jnp.where(s > 0, jnp.asarray(_TURN / 2, angle.dtype), 0.0))

    def reach(self, largest_m: Any = None) -> tuple[Any, Any]:
        """Return the lowest and highest weight within a detuning (m), or within the free spectral range if None.

        Example:
          >>> [round(float(w), 3) for w in Ring().reach(0.4e-9)]
          [-0.928, 0.926]
        """
        phase = _TURN / 2 if largest_m is None else self.phase(largest_m)
        if isinstance(phase, float):  # plain floats stay floats, so that checks can compare them
            return self._weight(math.sin(min(phase, _TURN / 2) / 2) ** 2), self._weight(0.0)
        return self._weight(_half_sine(jnp.minimum(phase, _TURN / 2))), self._weight(0.0)

    def _weight(self, s: Any) -> Any:
        return (self._numerator() - 4 * self.round_trip_amplitude * s) / self._denominator(s)

    def _numerator(self) -> Any:
        """Numerator of the weight at resonance."""
        return self._most_dropped() - self._least_passed()

    def _most_dropped(self) -> Any:
        return (1 - self.r1) * (1 + self.r1) * (1 - self.r2) * (1 + self.r2) * self.amplitude

    def _least_passed(self) -> Any:
        return ((1 - self.r1) - (1 - self.r2) - self.r2 * (1 - self.amplitude)) ** 2

    def _denominator(self, s: Any) -> Any:
        return self.round_trip_loss**2 + 4 * self.round_trip_amplitude * s


def _half_sine(phase: Any) -> jax.Array:
    return jnp.sin(jnp.asarray(phase) / 2) ** 2


def _torchonn(amplitude: float, coupling: float) -> Ring:
    return Ring(r1=coupling, r2=coupling, amplitude=amplitude, radius_m=5e-6, group_index=2.35316094,
                wavelength_m=1538.739e-9)  # fmt: skip


#: Rings by name. TorchONN's rings of 5 um have the couplings, losses and index of its devices; its table gives Q of
#: 6755, 1021 and 610, more than two equal couplers leave: 4548, 675 and 303. The ring of 10 um is a passive silicon
#: ring (assumed) with a linewidth like the default ring's.
RINGS = {
    "silicon 5 um": Ring,
    "silicon 10 um": lambda: Ring(r1=0.975, r2=0.975, amplitude=0.998, radius_m=10e-6),
    "TorchONN 5 um, high Q": lambda: _torchonn(0.987, 0.99),
    "TorchONN 5 um, medium Q": lambda: _torchonn(0.925, 0.93),
    "TorchONN 5 um, low Q": lambda: _torchonn(0.845, 0.85),
}


def cascade(ring: Ring, shifts: jax.Array, spacing_m: Any) -> Ports:
    """Return the power fractions of every channel at the ends of the drop bus and of the bus, for rings in series.

    Args:
      ring: description of every ring.
      shifts: shifts of the resonances from their channels, metres, ``[..., n]``.
      spacing_m: channel spacing, metres of wavelength.

    Returns:
      Fractions of each channel, ``[..., n]`` each.

    Example:
      >>> drop, through = cascade(Ring(), jnp.zeros((1, 2)), 0.8e-9)      # both rings drop their own channel
      >>> [np.round(np.asarray(port, float), 3).tolist() for port in (drop, through)]
      [[[0.928, 0.928]], [[0.001, 0.001]]]
    """
    drop, through = _responses(ring, shifts, spacing_m)
    return Ports(jnp.sum(_ahead(through) * drop, axis=-2), jnp.prod(through, axis=-2))


def linear_in_own_ring(ring: Ring, shifts: jax.Array, spacing_m: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Write each channel's weight as c + b T_drop + e T_through of its own ring, with the remaining rings fixed.

    Args:
      ring, shifts, spacing_m: as of ``cascade``.

    Returns:
      c, b and e, ``[..., n]`` each.
    """
    drop, through = _responses(ring, shifts, spacing_m)
    own = np.eye(shifts.shape[-1], dtype=bool)
    through = jnp.where(own, 1.0, through)
    ahead = _ahead(through)
    dropped = jnp.where(own, 0.0, ahead * drop)
    before = np.triu(np.ones(own.shape, bool), 1)  # rings in rows, channels in columns
    first, behind = (jnp.sum(jnp.where(at, dropped, 0.0), axis=-2) for at in (before, ~before))
    reaching = jnp.sum(jnp.where(own, ahead, 0.0), axis=-2)
    return first, reaching, behind - jnp.prod(through, axis=-2)


def _responses(ring: Ring, shifts: jax.Array, spacing_m: Any) -> Ports:
    """Ports of every ring (axis -2) at every channel (axis -1)."""
    place = np.arange(shifts.shape[-1])
    distance = jnp.asarray(place - place[:, None], shifts.dtype) * spacing_m  # channel i minus k, exactly zero on k
    phase = ring.phase(to_rank(distance, shifts.ndim + 1) - shifts[..., :, None])
    return Ports(*(port.astype(shifts.dtype) for port in ring.ports(phase)))


def _ahead(through: jax.Array) -> jax.Array:
    """Transmission of all rings before each ring, same shape."""
    shifted = jnp.concatenate([jnp.ones_like(through[..., :1, :]), through[..., :-1, :]], axis=-2)
    return jnp.cumprod(shifted, axis=-2)
