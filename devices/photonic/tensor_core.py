"""A crossbar of phase-change cells for light: powers are inputs, transmissions are weights, columns add up.

Every input has a wavelength of its own, so that powers add. Its light is divided among the columns, passes a cell in
each and is combined with the others': with N inputs and M columns a share 1/(N M) arrives behind perfectly clear cells,

    P_j = 10^(-IL/10) sum_i P_i T_ij / (N M)                24.1 dB for 16 x 16

as in J. Feldmann et al., Nature 589, 52 (2021), doi 10.1038/s41586-020-03070-1. Neither powers nor transmissions are
negative. A weight is a pair of cells in two columns (rails), w = (T+ - T-)/(T_max - T_low), so M is twice the number of
outputs; the unused cell of a pair, and both for a zero, are set to T_low, the lowest level. Inputs of either sign take
two passes, the positive parts x+ and the negative parts x-. The rails' currents are subtracted, the passes too.

With p the power of a full input behind a clear cell, c = R p (T_max - T_low), and the bandwidth B = rate/2 of a sample,
detection adds a variance of

    (2 q R p B sum_i |x_i| (T+ + T-)_ij  +  4 (dark and thermal noise)) / c^2  +  RIN B (d+^2 + d-^2)

to an output. All light makes shot noise, also what the subtraction takes away. Four samples are taken: two rails, two
passes. The laser's intensity noise is common to the rails, so it counts with what a pass leaves of them, d = x w. The
noise is that of the cells as written, without their drift.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from analogsim.base.description import Description, field, static
from analogsim.base.dtypes import wide
from analogsim.base.errors import InputError
from analogsim.base.literature import Source, cited
from analogsim.base.random import normal, stream
from analogsim.devices.photonic.detection import Photodiode
from analogsim.devices.photonic.light import CHARGE, power_ratio
from analogsim.devices.photonic.phase_change import FilmState, OpticalPCM
from analogsim.devices.protocol import Action, Moments, OneColumnPerOutput

_ASSUMED = Source(note="assumed")


class CoreState(NamedTuple):
    """One tile as written.

    Attributes:
      cells: of the positive and the negative rails, ``[2, n_in, n_out]``.
      weight_gradient: zeros ``[n_in, n_out]`` that carry the derivative of the weights past the levels.
    """

    cells: FilmState
    weight_gradient: jax.Array


class PhotonicTensorCore(OneColumnPerOutput, Description):
    """An incoherent crossbar of phase-change cells; see the module for the equations.

    Example:
      >>> import jax
      >>> store = PhotonicTensorCore()
      >>> state = store.program(jax.random.key(0), jnp.full((8, 4), 0.5))
      >>> store.read(state, 3600.0).mean.shape
      (8, 4)
    """

    film: OpticalPCM = field(factory=OpticalPCM, kind=OpticalPCM, doc="every cell")
    wavelengths: int = static(
        default=1, ge=1, le=1024, integer=True,
        doc="vectors that pass the same cells at once, each on wavelengths of its own", source=_ASSUMED,
    )  # fmt: skip
    read_noise: Any = field(
        default=None, ge=0, le=1, optional=True,
        doc="spread of a cell's transmission from read to read, independent, as a share of T_max - T_low; None: none",
    )  # fmt: skip
    insertion_loss_db: Any = field(
        default=3.0, unit="dB", ge=0, le=100, doc="besides dividing and combining: couplers, crossings, guides",
        source=Source(note="one grating coupler of 2-3 dB, as assumed"),
    )  # fmt: skip
    detector: Photodiode | None = field(
        factory=Photodiode, kind=Photodiode, optional=True, doc="behind every column; None detects without noise"
    )
    laser_w: Any = field(
        default=10e-3, unit="W", gt=0, le=10,
        doc="light into the inputs of a tile, together, at full scale, for each vector that passes at once",
        source=_ASSUMED,
    )  # fmt: skip
    rate_hz: Any = field(
        default=10e9, unit="Hz", gt=0, le=1e12, doc="passes a second, of each vector",
        source=cited("feldmann2021", note="below the 14 GHz that were shown for modulation and detection"),
    )  # fmt: skip

    @property
    def draws_at_read(self) -> bool:
        """Whether cells fluctuate from read to read."""
        return self.read_noise is not None

    @property
    def detects_noise(self) -> bool:
        """Whether the detector is noisy, or perfect (None)."""
        return self.detector is not None

    def model_sources(self) -> tuple[Source, ...]:
        return (cited("feldmann2021", note="photonic tensor core"),)

    def check(self) -> None:
        film = self.film
        known = (film.k_amorphous, film.k_crystalline, film.confinement, film.length_m, film.wavelength_m)
        if all(isinstance(v, float) for v in known):
            # The film's own numbers in plain Python: inside a trace jnp would give no value to compare.
            absorption = 4 * math.pi * film.confinement * film.length_m / film.wavelength_m
            span = absorption * (film.k_crystalline - film.k_amorphous)
            if span < 0.01:
                self.refuse(
                    "film",
                    f"absorbs {span:.2g} nepers more when crystalline: must be at least 0.01 to hold a weight as "
                    f"transmission (films such as Sb2Se3 shift phases)",
                )

    @property
    def read_time_s(self) -> Any:
        """Seconds of one product: two passes, shared by the vectors that pass at once."""
        return 2 / (self.rate_hz * self.wavelengths)

    def full_power_w(self, n_in: int, n_out: int) -> jax.Array:
        """Power of one input at full scale, of ``n_in``, behind a perfectly clear cell of one rail: p."""
        share = power_ratio(self.insertion_loss_db + crossbar_loss_db(n_in, 2 * n_out))
        return self.laser_w / n_in * share

    @property
    def cell_write_j(self) -> Any:
        """Joules of writing one cell: one pulse."""
        return self.film.write_j

    def write_j(self, n_in: int, n_out: int) -> Any:
        """Joules of writing a tile, one pulse a cell."""
        return self.n_cells(n_in, n_out) * self.film.write_j

    def program(self, key: jax.Array | None, weights: jax.Array, reprogram: CoreState | None = None) -> CoreState:
        """Write ``[n_in, n_out]``, or write one that exists again; nothing is drawn but by writing."""
        del reprogram
        if key is None:
            raise InputError("key = None: cells are written with errors and need a random key (jax.random.key(0))")
        weights = wide(weights)
        wanted = lax.stop_gradient(weights)
        parts = jnp.stack([jnp.maximum(wanted, 0.0), jnp.maximum(-wanted, 0.0)])
        target = self.film.t_low + parts * self._contrast
        return CoreState(self.film.program(key, target.astype(weights.dtype)), weights - wanted)

    @property
    def _contrast(self) -> jax.Array:
        return self.film.t_max - self.film.t_low

    def read(self, state: CoreState, time_s: Any, key: jax.Array | None = None) -> Moments:
        """The weights ``time_s`` after writing."""
        held = self.film.read(state.cells, time_s) / self._contrast
        variance = None
        if self.read_noise is not None and key is not None:
            held = held + self.read_noise * normal(stream(key, "read noise"), held.shape, state.weight_gradient.dtype)
        elif self.read_noise is not None:
            both = 2 * jnp.asarray(self.read_noise, state.weight_gradient.dtype) ** 2
            variance = jnp.broadcast_to(both, state.weight_gradient.shape)
        return Moments((held[0] - held[1]).astype(state.weight_gradient.dtype) + state.weight_gradient, variance)

    def noise(self, x: jax.Array, y: jax.Array, state: CoreState) -> jax.Array | None:
        """Shot noise of all light, dark and thermal noise of four samples, intensity noise of each pass."""
        if self.detector is None:
            return None
        detector, bandwidth = self.detector, jnp.asarray(self.rate_hz) / 2
        plus, minus = state.cells.transmission
        n_in, n_out = state.weight_gradient.shape
        current = detector.responsivity * self.full_power_w(n_in, n_out) * self._contrast
        # One product for both: all light, and what both passes would give if they were added.
        joined = jnp.concatenate([plus + minus, plus - minus], axis=-1) / self._contrast
        light, added = jnp.split(jnp.matmul(jnp.abs(x), joined.astype(y.dtype), precision=lax.Precision.HIGHEST), 2, -1)
        shot = (2 * CHARGE * bandwidth / current).astype(y.dtype) * light
        constant = (4 * detector.constant_noise(bandwidth) / current**2).astype(y.dtype)
        # d+ - d- is the output and d+ + d- is ``added``: their squares give d+^2 + d-^2.
        passes = (y**2 + added**2) / 2
        varying = jnp.asarray(detector.intensity_noise * bandwidth, y.dtype) * passes
        return jnp.sqrt(shot + constant + varying)

    def cost(self, weights: jax.Array, read_fraction: Any) -> tuple[Action, ...]:
        """Two passes: the laser's light, a symbol of every modulator, a sample of both rails; holding is free."""
        del read_fraction  # the laser shines whatever the modulators let through
        n_in, n_out = weights.shape
        return (
            Action("laser", self.laser_w * 2 / self.rate_hz, "J"),
            Action("modulator", 2 * n_in, "symbol"),
            Action("receiver", 2 * 2 * n_out, "sample"),
            Action("hold", 0.0, "W"),
        )

    def n_cells(self, n_in: int, n_out: int) -> int:
        """Films: a pair a weight."""
        return 2 * n_in * n_out


def crossbar_loss_db(n_in: int, columns: int) -> float:
    """Lost by dividing each input among the columns and combining all inputs in each: 10 log10(n_in columns).

    Example:
      >>> round(crossbar_loss_db(16, 16), 1), round(crossbar_loss_db(64, 64), 1)
      (24.1, 36.1)
    """
    return 10 * math.log10(n_in * columns)
