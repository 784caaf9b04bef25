"""An optical crossbar of phase-change cells: inputs are powers, weights are transmissions, columns sum.

Every input has a separate wavelength, so that powers add. Its light is divided among the columns, passes one cell in
each and is combined with that of the other inputs. With N inputs and M columns a fraction 1/(N M) arrives behind
perfectly transparent cells,

    P_j = 10^(-IL/10) sum_i P_i T_ij / (N M)                24.1 dB for 16 x 16

as in J. Feldmann et al., Nature 589, 52 (2021), doi 10.1038/s41586-020-03070-1. Powers and transmissions are
non-negative. A weight is a pair of cells in two columns (rails), w = (T+ - T-)/(T_max - T_low), so M is twice the
number of outputs; the unused cell of a pair, and both cells of a zero, are set to the lowest level, T_low. Signed
inputs take two passes, positive parts x+ and negative parts x-. The currents of rails and of passes are subtracted.

With p the power of a full-scale input behind a transparent cell, c = R p (T_max - T_low), and the bandwidth B = rate/2
of a sample, detection adds to an output a variance of

    (2 q R p B sum_i |x_i| (T+ + T-)_ij  +  4 (dark and thermal noise)) / c^2  +  RIN B (d+^2 + d-^2)

All light makes shot noise, including the part that the subtraction cancels. Four samples are taken: two rails, two
passes. The laser's intensity noise is common to both rails, so it scales with their difference per pass, d = x w. Noise
is computed for the cells as programmed, without drift.
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
from analogsim.base.types import Numeric
from analogsim.devices.photonic.detection import Photodiode
from analogsim.devices.photonic.light import CHARGE, power_ratio
from analogsim.devices.photonic.phase_change import FilmState, OpticalPCM
from analogsim.devices.protocol import Action, Moments, OneColumnPerOutput

_ASSUMED = Source(note="assumed")


class CoreState(NamedTuple):
    """One programmed tile.

    Attributes:
      cells: cells of the positive and the negative rails, ``[2, n_in, n_out]``.
      weight_gradient: zeros ``[n_in, n_out]`` that carry the straight-through gradient of the weights.
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

    film: OpticalPCM = field(factory=OpticalPCM, kind=OpticalPCM, doc="description of every cell")
    wavelengths: int = static(
        default=1, ge=1, le=1024, integer=True,
        doc="vectors that pass the same cells in parallel, each on separate wavelengths", source=_ASSUMED,
    )  # fmt: skip
    read_noise: Any = field(
        default=None, ge=0, le=1, optional=True,
        doc="standard deviation of a transmission from read to read over T_max - T_low; None: none",
    )  # fmt: skip
    insertion_loss_db: Any = field(
        default=3.0, unit="dB", ge=0, le=100, doc="of couplers, crossings and guides, besides dividing and combining",
        source=Source(note="one grating coupler of 2-3 dB, as assumed"),
    )  # fmt: skip
    detector: Photodiode | None = field(
        factory=Photodiode, kind=Photodiode, optional=True, doc="detector of every column; None detects without noise"
    )
    laser_w: Any = field(
        default=10e-3, unit="W", gt=0, le=10,
        doc="total light into the inputs of a tile at full scale, for each of the parallel vectors",
        source=_ASSUMED,
    )  # fmt: skip
    rate_hz: Any = field(
        default=10e9, unit="Hz", gt=0, le=1e12, doc="passes per second of each vector",
        source=cited("feldmann2021", note="below the 14 GHz that were shown for modulation and detection"),
    )  # fmt: skip

    @property
    def draws_at_read(self) -> bool:
        """True if cells fluctuate from read to read."""
        return self.read_noise is not None

    @property
    def detects_noise(self) -> bool:
        """True if the detector is noisy; a perfect one is None."""
        return self.detector is not None

    def model_sources(self) -> tuple[Source, ...]:
        return (cited("feldmann2021", note="photonic tensor core"),)

    def check(self) -> None:
        film = self.film
        optics = (film.k_amorphous, film.k_crystalline, film.confinement, film.length_m, film.wavelength_m)
        if all(isinstance(v, float) for v in optics):
            # In plain Python rather than by the film's properties: inside a trace, jnp gives no value to compare.
            absorption = 4 * math.pi * film.confinement * film.length_m / film.wavelength_m
            span = absorption * (film.k_crystalline - film.k_amorphous)
            if span < 0.01:
                self.refuse(
                    "film",
                    f"absorbs {span:.2g} nepers more when crystalline: must be at least 0.01 to store a weight as "
                    f"transmission (films such as Sb2Se3 are phase shifters)",
                )

    @property
    def read_time_s(self) -> Numeric:
        """Duration of one product, seconds: two passes, divided by the number of parallel vectors."""
        return 2 / (self.rate_hz * self.wavelengths)

    def full_power_w(self, n_in: int, n_out: int) -> jax.Array:
        """Return p, the power (W) of one of ``n_in`` inputs at full scale behind a transparent cell of one rail."""
        transmitted = power_ratio(self.insertion_loss_db + crossbar_loss_db(n_in, 2 * n_out))
        return self.laser_w / n_in * transmitted

    @property
    def cell_write_j(self) -> Numeric:
        """Energy of programming one cell, J: one pulse."""
        return self.film.write_j

    def write_j(self, n_in: int, n_out: int) -> Numeric:
        """Return the energy (J) of programming a tile, one pulse per cell."""
        return self.n_cells(n_in, n_out) * self.film.write_j

    def program(self, key: jax.Array | None, weights: jax.Array, reprogram: CoreState | None = None) -> CoreState:
        """Program a tile.

        Args:
          key: of the programming errors; required.
          weights: ``[n_in, n_out]``, real.
          reprogram: unused: every programming draws new errors and nothing else is random.

        Raises:
          InputError: if ``key`` is None.
        """
        del reprogram
        if key is None:
            raise InputError("key = None: cells are written with errors and need a random key (jax.random.key(0))")
        weights = wide(weights)
        target_weights = lax.stop_gradient(weights)
        parts = jnp.stack([jnp.maximum(target_weights, 0.0), jnp.maximum(-target_weights, 0.0)])
        target = self.film.t_low + parts * self._contrast
        return CoreState(self.film.program(key, target.astype(weights.dtype)), weights - target_weights)

    @property
    def _contrast(self) -> jax.Array:
        return self.film.t_max - self.film.t_low

    def read(self, state: CoreState, time_s: Numeric, key: jax.Array | None = None) -> Moments:
        """Return the weights ``[n_in, n_out]`` ``time_s`` seconds after programming."""
        rails = self.film.read(state.cells, time_s) / self._contrast
        variance = None
        if self.read_noise is not None and key is not None:
            drawn = normal(stream(key, "read noise"), rails.shape, state.weight_gradient.dtype)
            rails = rails + self.read_noise * drawn
        elif self.read_noise is not None:
            both = 2 * jnp.asarray(self.read_noise, state.weight_gradient.dtype) ** 2
            variance = jnp.broadcast_to(both, state.weight_gradient.shape)
        return Moments((rails[0] - rails[1]).astype(state.weight_gradient.dtype) + state.weight_gradient, variance)

    def noise(self, x: jax.Array, y: jax.Array, state: CoreState) -> jax.Array | None:
        """Return the standard deviation of detection noise ``[..., n_out]``; see the module for the equation.

        Args:
          x: inputs, ``[..., n_in]``.
          y: outputs, ``[..., n_out]``.
          state: the tile.
        """
        if self.detector is None:
            return None
        detector, bandwidth = self.detector, jnp.asarray(self.rate_hz) / 2
        plus, minus = state.cells.transmission
        n_in, n_out = state.weight_gradient.shape
        current = detector.responsivity * self.full_power_w(n_in, n_out) * self._contrast
        # One matrix product computes both the total light and the sum of both passes' differences.
        joined = jnp.concatenate([plus + minus, plus - minus], axis=-1) / self._contrast
        light, added = jnp.split(jnp.matmul(jnp.abs(x), joined.astype(y.dtype), precision=lax.Precision.HIGHEST), 2, -1)
        shot = (2 * CHARGE * bandwidth / current).astype(y.dtype) * light
        constant = (4 * detector.constant_noise(bandwidth) / current**2).astype(y.dtype)
        # d+ - d- is the output and d+ + d- is ``added``: their squares give d+^2 + d-^2.
        passes = (y**2 + added**2) / 2
        varying = jnp.asarray(detector.intensity_noise * bandwidth, y.dtype) * passes
        return jnp.sqrt(shot + constant + varying)

    def cost(self, weights: jax.Array, read_fraction: Numeric) -> tuple[Action, ...]:
        """Return the actions of one product: light of two passes, symbols, samples of both rails; holding is free."""
        del read_fraction  # the laser shines whatever the modulators let through
        n_in, n_out = weights.shape
        return (
            Action("laser", self.laser_w * 2 / self.rate_hz, "J"),
            Action("modulator", 2 * n_in, "symbol"),
            Action("receiver", 2 * 2 * n_out, "sample"),
            Action("hold", 0.0, "W"),
        )

    def n_cells(self, n_in: int, n_out: int) -> int:
        """Return the number of films: two per weight."""
        return 2 * n_in * n_out


def crossbar_loss_db(n_in: int, columns: int) -> float:
    """Return the loss (dB) of dividing each input among columns and combining the inputs: 10 log10(n_in columns).

    Example:
      >>> round(crossbar_loss_db(16, 16), 1), round(crossbar_loss_db(64, 64), 1)
      (24.1, 36.1)
    """
    return 10 * math.log10(n_in * columns)
