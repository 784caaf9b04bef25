"""A film of phase-change material on a waveguide: its crystalline fraction sets absorption and phase.

The Lorentz-Lorenz relation mixes the permittivity at crystalline fraction f from those of the two phases:

    (e - 1)/(e + 2) = f (e_c - 1)/(e_c + 2) + (1 - f) (e_a - 1)/(e_a + 2)         n + i k = sqrt(e)
    transmission  T(f) = exp(-4 pi k(f) Gamma L / lambda)       of power; Gamma: fraction of the mode in the film
    phase         2 pi n(f) Gamma L / lambda                    radians

as for memory cells by E. Gemo et al., Opt. Mater. Express 10, 1675 (2020). Cells are programmed to the nearest
transmission level with a Gaussian error, clipped to the range of the film. Levels are equidistant, or have a constant
ratio. Afterwards the transmission drifts:

    T(t) = T(0) - nu log10(1 + t/t_0)

There is no agreed coefficient for light. Optical drift is far weaker than the drift of the electrical resistance, whose
exponent must not be used here, so nu is 0 by default. The film holds its state without power; an endurance of 6,000
writes was shown (Photonics 12, 1130 (2025)), which nothing here enforces.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from analogsim.base.description import Description, field, static
from analogsim.base.dtypes import to_complex
from analogsim.base.literature import Source, cited
from analogsim.base.random import normal, stream
from analogsim.base.types import Numeric
from analogsim.devices.photonic.light import C_BAND, WAVELENGTH_M

_GST = cited("gemo2020", note="Ge2Sb2Te5 at 1550 nm; labs differ widely, give your own", recalled=True)
_ASSUMED = Source(note="assumed")
#: A crossbar programs transmissions, so these fields matter for phase and fraction alone.
_PHASE = "for the phase, and for the crystalline fraction of a transmission"


class FilmState(NamedTuple):
    """Programmed cells, any shape.

    Attributes:
      transmission: power transmission right after programming.
      drift: standard Gaussian deviate of each cell's drift coefficient.
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
        default=0.05, gt=0, le=1, doc="Gamma, fraction of the mode in the film: about 10 nm on a guide", source=_ASSUMED
    )
    length_m: Any = field(default=4e-6, unit="m", gt=0, le=1, doc="length of the film along the guide", source=_ASSUMED)
    wavelength_m: Any = field(
        default=WAVELENGTH_M, unit="m", gt=0, le=1e-4, doc="wavelength of the light", source=C_BAND
    )
    levels: Any = field(
        default=34, ge=2, le=65536, integer=True, optional=True, doc="programmable levels; None: any transmission",
        source=cited("li2019", note="34 levels by single pulses; 8 in Ríos et al. 2015"),
    )  # fmt: skip
    spacing: str = static(
        default="uniform", choices=("uniform", "log"),
        doc="levels equidistant, or with a constant ratio from the highest transmission down",
    )  # fmt: skip
    level_ratio: Any = field(
        default=0.872, gt=0, lt=1, doc="ratio of a level's transmission to that of the level above",
        counts="with spacing = 'log'",
        source=Source(note="base of the logarithmic quantisation in TorchONN"),
    )  # fmt: skip
    programming_error: Any = field(
        default=0.01, ge=0, le=1, doc="standard deviation of the programmed transmission over the film's contrast",
        source=_ASSUMED,
    )  # fmt: skip
    drift: Any = field(
        default=0.0,
        ge=-1,
        le=1,
        doc="nu, loss of transmission per decade of time",
        source=Source(note="none agreed on"),
    )
    drift_std: Any = field(default=0.0, ge=0, le=1, doc="cell-to-cell standard deviation of nu", source=_ASSUMED)
    drift_start_s: Any = field(
        default=1.0, unit="s", gt=0, le=1e9, doc="t_0 of the drift",
        counts="with drift", source=_ASSUMED,
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
            limit = 1 + math.floor(span / -math.log(self.level_ratio) + 1e-9)
            if self.levels > limit:
                self.refuse(
                    "levels",
                    f"must be at most {limit}: the film's transmission spans {limit} level{'s' * (limit > 1)} with a "
                    f"ratio of {self.level_ratio:g}",
                )

    @property
    def _depth(self) -> Numeric:
        """Absorption per unit of k, -ln T / k."""
        return 4 * jnp.pi * self.confinement * self.length_m / self.wavelength_m

    @property
    def t_max(self) -> jax.Array:
        """Transmission of the amorphous film, the maximum."""
        return jnp.exp(-self._depth * self.k_amorphous)

    @property
    def t_min(self) -> jax.Array:
        """Transmission of the crystalline film, the minimum."""
        return jnp.exp(-self._depth * self.k_crystalline)

    @property
    def t_low(self) -> jax.Array:
        """Transmission of the lowest level in use."""
        if self.spacing == "uniform" or self.levels is None:
            return self.t_min
        return jnp.maximum(self.t_min, self.t_max * self.level_ratio ** (self.levels - 1.0))

    def permittivity(self, fraction: Numeric) -> jax.Array:
        """Return the complex relative permittivity at a crystalline ``fraction`` in [0, 1], any shape."""
        amorphous = _polarisability(self.n_amorphous + 1j * self.k_amorphous)
        crystalline = _polarisability(self.n_crystalline + 1j * self.k_crystalline)
        mixed = amorphous + to_complex(fraction) * (crystalline - amorphous)
        return (1 + 2 * mixed) / (1 - mixed)

    def index(self, fraction: Numeric) -> jax.Array:
        """Return the complex refractive index n + i k at a crystalline ``fraction`` in [0, 1], any shape."""
        return jnp.sqrt(self.permittivity(fraction))

    def transmission(self, fraction: Numeric) -> jax.Array:
        """Return the power transmission of the film at a crystalline ``fraction`` in [0, 1], any shape."""
        return jnp.exp(-self._depth * jnp.imag(self.index(fraction)))

    def phase(self, fraction: Numeric) -> jax.Array:
        """Return the phase (rad) that the film adds at a crystalline ``fraction`` in [0, 1], any shape."""
        return 2 * jnp.pi * self.confinement * self.length_m / self.wavelength_m * jnp.real(self.index(fraction))

    def fraction_for(self, transmission: Any) -> jax.Array:
        """Return the crystalline fraction with a given transmission, any shape; clipped to [0, 1] if there is none.

        Bisection works since transmission falls with the fraction in a film whose phases differ in absorption. A
        Newton step at the end makes the result differentiable.
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
        derivative = jax.jvp(film.transmission, (midpoint,), (jnp.ones_like(midpoint),))[1]
        # A film without contrast has the derivative 0: an infinite one makes the Newton step zero instead of NaN.
        derivative = lax.stop_gradient(jnp.where(derivative < 0, derivative, -jnp.inf))
        return jnp.clip(midpoint + (target - self.transmission(midpoint)) / derivative, 0.0, 1.0)

    def nearest_level(self, transmission: jax.Array) -> jax.Array:
        """Return the transmission of the nearest level, any shape."""
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
        """Program cells to transmissions, with levels and programming error.

        Args:
          key: of the errors and of the cells' drift; None programs without errors and without variation of the drift.
          target: transmissions, any shape.
        """
        level = self.nearest_level(target).astype(target.dtype)
        if key is None:
            return FilmState(level, jnp.zeros_like(level))
        error = self.programming_error * (self.t_max - self.t_min)
        written = level + error * normal(stream(key, "programming noise"), level.shape, level.dtype)
        drift = normal(stream(key, "drift"), level.shape, level.dtype)
        return FilmState(jnp.clip(written, self.t_min, self.t_max).astype(target.dtype), drift)

    def read(self, state: FilmState, time_s: Numeric) -> jax.Array:
        """Return the transmissions, in [0, 1], ``time_s`` seconds after programming."""
        written = state.transmission
        decades = jnp.log1p(jnp.asarray(time_s, written.dtype) / self.drift_start_s) / math.log(10)
        loss = (self.drift + self.drift_std * state.drift) * decades
        return jnp.clip(written - loss, 0.0, 1.0).astype(written.dtype)


def _polarisability(index: jax.Array) -> jax.Array:
    """Return (e - 1)/(e + 2), which is additive in the Lorentz-Lorenz relation."""
    return (index**2 - 1) / (index**2 + 2)


#: Films by name, indices at 1550 nm, all recalled. GST and GSST absorb and modulate intensity; Sb2Se3 and Sb2S3
#: modulate phase, their k being so small that only a bound of 1e-5 is known.
FILMS = {
    "GST": OpticalPCM,
    "GSST": lambda: OpticalPCM(n_amorphous=3.325, k_amorphous=1.8e-4, n_crystalline=5.083, k_crystalline=0.35),
    "Sb2Se3": lambda: OpticalPCM(n_amorphous=3.285, k_amorphous=1e-5, n_crystalline=4.05, k_crystalline=1e-5),
    "Sb2S3": lambda: OpticalPCM(n_amorphous=2.712, k_amorphous=1e-5, n_crystalline=3.308, k_crystalline=1e-5),
}
