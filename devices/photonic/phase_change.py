"""A film of phase-change material on a waveguide: how far it is crystalline sets what light it absorbs and delays.

The permittivity of a film with the crystalline fraction f is mixed by Lorentz and Lorenz from those of its two phases:

    (e - 1)/(e + 2) = f (e_c - 1)/(e_c + 2) + (1 - f) (e_a - 1)/(e_a + 2)         n + i k = sqrt(e)
    transmission  T(f) = exp(-4 pi k(f) Gamma L / lambda)       of power; Gamma: the share of the mode in the film
    phase         2 pi n(f) Gamma L / lambda                    radians

as for memory cells by E. Gemo et al., Opt. Mater. Express 10, 1675 (2020). Cells are written to a transmission: to the
nearest level, with a Gaussian error, never beyond what the film can do. Levels are equally far apart, or each transmits
the same share of the one above it. Later

    T(t) = T(0) - nu log10(1 + t/t_0)

No coefficient is agreed on for light. It is far weaker than the drift of the electrical resistance, whose exponent must
not be used here, so nu is 0 unless given. The film holds its state without power; 6,000 writes
were shown (Photonics 12, 1130 (2025)), which nothing here enforces.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from analogsim.base.description import Description, field, static
from analogsim.base.literature import Source, cited
from analogsim.base.random import normal, stream
from analogsim.devices.photonic.light import C_BAND, WAVELENGTH_M

_GST = cited("gemo2020", note="Ge2Sb2Te5 at 1550 nm; labs differ widely, give your own", recalled=True)
_ASSUMED = Source(note="assumed")
#: A cell of a crossbar is written to a transmission, whatever the fraction that has it.
_PHASE = "for the phase, and for which fraction has a transmission"


class FilmState(NamedTuple):
    """Cells as written.

    Attributes:
      transmission: of power, right after writing.
      drift: each cell's deviate of the drift, standard Gaussian.
    """

    transmission: jax.Array
    drift: jax.Array


class OpticalPCM(Description):
    """A cell of phase-change film on a waveguide; see the module for the equations. ``FILMS`` names other materials.

    Example:
      >>> film = OpticalPCM()
      >>> [round(float(film.transmission(f)), 3) for f in (0.0, 0.5, 1.0)]
      [0.93, 0.68, 0.26]
    """

    n_amorphous: Any = field(default=3.94, gt=0, le=20, doc="refractive index, amorphous", counts=_PHASE, source=_GST)
    k_amorphous: Any = field(default=0.045, ge=0, le=20, doc="extinction coefficient, amorphous", source=_GST)
    n_crystalline: Any = field(
        default=6.11, gt=0, le=20, doc="refractive index, crystalline", counts=_PHASE, source=_GST
    )
    k_crystalline: Any = field(default=0.83, ge=0, le=20, doc="extinction coefficient, crystalline", source=_GST)
    confinement: Any = field(
        default=0.05, gt=0, le=1, doc="Gamma, share of the mode in the film: some 10 nm on a guide", source=_ASSUMED
    )
    length_m: Any = field(default=4e-6, unit="m", gt=0, le=1, doc="of the film along the guide", source=_ASSUMED)
    wavelength_m: Any = field(default=WAVELENGTH_M, unit="m", gt=0, le=1e-4, doc="of the light", source=C_BAND)
    levels: Any = field(
        default=34, ge=2, le=65536, integer=True, optional=True, doc="a cell can be set to; None: any transmission",
        source=cited("li2019", note="34 levels by single pulses; 8 in Ríos et al. 2015"),
    )  # fmt: skip
    spacing: str = static(
        default="uniform", choices=("uniform", "log"),
        doc="levels equally far apart, or each the same share of the one above, from the highest transmission down",
    )  # fmt: skip
    level_ratio: Any = field(
        default=0.872, gt=0, lt=1, doc="transmission of a level as a share of the one above",
        counts="with spacing = 'log'",
        source=Source(note="base of the logarithmic quantisation in TorchONN"),
    )  # fmt: skip
    programming_error: Any = field(
        default=0.01, ge=0, le=1, doc="spread of the written transmission, as a share of the film's contrast",
        source=_ASSUMED,
    )  # fmt: skip
    drift: Any = field(
        default=0.0, ge=-1, le=1, doc="nu, loss of transmission a decade of time", source=Source(note="none agreed on")
    )
    drift_std: Any = field(default=0.0, ge=0, le=1, doc="spread of nu from cell to cell", source=_ASSUMED)
    drift_start_s: Any = field(
        default=1.0, unit="s", gt=0, le=1e9, doc="t_0 of the drift",
        counts="where there is drift", source=_ASSUMED,
    )  # fmt: skip
    write_j: Any = field(
        default=13.4e-12, unit="J", ge=0, le=1, doc="energy of one switching pulse",
        source=cited("rios2015", note="13.4 pJ, the least"),
    )  # fmt: skip

    def model_sources(self) -> tuple[Source, ...]:
        return (cited("gemo2020", note="mixed permittivity of phase-change cells"),)

    def check(self) -> None:
        low, high = self.k_amorphous, self.k_crystalline
        if isinstance(low, float) and isinstance(high, float) and low > high:
            self.refuse("k_amorphous", f"must be at most k_crystalline = {high:g}")
        depth = (low, high, self.confinement, self.length_m, self.wavelength_m, self.level_ratio, self.levels)
        if self.spacing == "log" and self.levels is None:
            self.refuse("spacing", "has no effect without levels; must be 'uniform' for None")
        if self.spacing == "log" and all(isinstance(v, (int, float)) for v in depth):
            span = 4 * math.pi * self.confinement * self.length_m / self.wavelength_m * (high - low)
            most = 1 + math.floor(span / -math.log(self.level_ratio) + 1e-9)
            if self.levels > most:
                self.refuse(
                    "levels",
                    f"the film's transmission spans {most} level{'s' * (most > 1)} of a ratio of "
                    f"{self.level_ratio:g}: must be at most that many",
                )

    @property
    def _depth(self) -> Any:
        """Absorption a unit of k, -ln T / k."""
        return 4 * jnp.pi * self.confinement * self.length_m / self.wavelength_m

    @property
    def t_max(self) -> jax.Array:
        """Transmission of the amorphous film, the highest."""
        return jnp.exp(-self._depth * self.k_amorphous)

    @property
    def t_min(self) -> jax.Array:
        """Transmission of the crystalline film, the lowest that it can do."""
        return jnp.exp(-self._depth * self.k_crystalline)

    @property
    def t_low(self) -> jax.Array:
        """The lowest transmission that is used: of the lowest level."""
        if self.spacing == "uniform" or self.levels is None:
            return self.t_min
        return jnp.maximum(self.t_min, self.t_max * self.level_ratio ** (self.levels - 1.0))

    def permittivity(self, fraction: Any) -> jax.Array:
        """Relative permittivity at a crystalline ``fraction`` in [0, 1], any shape; complex."""
        amorphous = _polarisability(self.n_amorphous + 1j * self.k_amorphous)
        crystalline = _polarisability(self.n_crystalline + 1j * self.k_crystalline)
        mixed = amorphous + jnp.asarray(fraction) * (crystalline - amorphous)
        return (1 + 2 * mixed) / (1 - mixed)

    def index(self, fraction: Any) -> jax.Array:
        """Complex refractive index n + i k at a crystalline ``fraction``."""
        return jnp.sqrt(self.permittivity(fraction))

    def transmission(self, fraction: Any) -> jax.Array:
        """Share of the power behind the film at a crystalline ``fraction``."""
        return jnp.exp(-self._depth * jnp.imag(self.index(fraction)))

    def phase(self, fraction: Any) -> jax.Array:
        """Phase (rad) that the film adds at a crystalline ``fraction``."""
        return 2 * jnp.pi * self.confinement * self.length_m / self.wavelength_m * jnp.real(self.index(fraction))

    def fraction_for(self, transmission: Any) -> jax.Array:
        """The crystalline fraction in [0, 1] that transmits this much; the nearer end where none does.

        Halving the interval finds it, as transmission falls with the fraction in a film whose phases differ in
        absorption. A Newton step at the end brings the derivatives.
        """
        target = jnp.asarray(transmission) + 0.0
        fixed, film = lax.stop_gradient((target, self))

        def halved(_: Any, ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            low, high = ends
            middle = (low + high) / 2
            above = film.transmission(middle) > fixed
            return jnp.where(above, middle, low), jnp.where(above, high, middle)

        start = jnp.zeros_like(fixed), jnp.ones_like(fixed)
        low, high = lax.fori_loop(0, jnp.finfo(target.dtype).nmant, halved, start)
        midpoint = (low + high) / 2
        slope = jax.jvp(film.transmission, (midpoint,), (jnp.ones_like(midpoint),))[1]
        slope = lax.stop_gradient(jnp.where(slope < 0, slope, -jnp.inf))
        return jnp.clip(midpoint + (target - self.transmission(midpoint)) / slope, 0.0, 1.0)

    def nearest_level(self, transmission: jax.Array) -> jax.Array:
        """The nearest transmission that is a level, any shape; within the levels used."""
        low, high = self.t_low, self.t_max
        within = jnp.clip(transmission, low, high)
        if self.levels is None:
            return within
        if self.spacing == "uniform":
            steps = self.levels - 1.0
            return low + jnp.round((within - low) / (high - low) * steps) / steps * (high - low)
        below = jnp.ceil(jnp.log(within / high) / jnp.log(self.level_ratio))
        lower = high * self.level_ratio ** jnp.minimum(below, self.levels - 1.0)
        upper = high * self.level_ratio ** jnp.maximum(below - 1, 0.0)
        return jnp.where(within - lower < upper - within, lower, upper)

    def program(self, key: jax.Array | None, target: jax.Array) -> FilmState:
        """Write transmissions ``target``, any shape. The key may be None only without errors and spread."""
        level = self.nearest_level(target).astype(target.dtype)
        if key is None:
            return FilmState(level, jnp.zeros_like(level))
        error = self.programming_error * (self.t_max - self.t_min)
        written = level + error * normal(stream(key, "programming noise"), level.shape, level.dtype)
        drift = normal(stream(key, "drift"), level.shape, level.dtype)
        return FilmState(jnp.clip(written, self.t_min, self.t_max).astype(target.dtype), drift)

    def read(self, state: FilmState, time_s: Any) -> jax.Array:
        """Transmissions ``time_s`` after writing, in [0, 1]."""
        written = state.transmission
        decades = jnp.log1p(jnp.asarray(time_s, written.dtype) / self.drift_start_s) / math.log(10)
        loss = (self.drift + self.drift_std * state.drift) * decades
        return jnp.clip(written - loss, 0.0, 1.0).astype(written.dtype)


def _polarisability(index: Any) -> Any:
    """(e - 1)/(e + 2), what Lorentz and Lorenz add up."""
    return (index**2 - 1) / (index**2 + 2)


#: Films by name, indices at 1550 nm, all recalled: absorbing ones for intensities; Sb2Se3 and Sb2S3, with a k so small
#: that only a bound of 1e-5 is known, for phases.
FILMS = {
    "GST": OpticalPCM,
    "GSST": lambda: OpticalPCM(n_amorphous=3.325, k_amorphous=1.8e-4, n_crystalline=5.083, k_crystalline=0.35),
    "Sb2Se3": lambda: OpticalPCM(n_amorphous=3.285, k_amorphous=1e-5, n_crystalline=4.05, k_crystalline=1e-5),
    "Sb2S3": lambda: OpticalPCM(n_amorphous=2.712, k_amorphous=1e-5, n_crystalline=3.308, k_crystalline=1e-5),
}
