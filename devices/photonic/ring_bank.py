"""A matrix on banks of microrings: one wavelength per input, one ring per weight (broadcast and weight).

All wavelengths are split over the buses, one per output. Ring k of a bus, detuned by delta_k from its channel k, drops
part of channel k and a little of all other channels. A balanced pair of diodes at the ends of the bus takes the
difference of dropped and passed light:

    through_i = prod_k T_through,k(lambda_i)     drop_i = sum_k (prod_{l<k} T_through,l(lambda_i)) T_drop,k(lambda_i)
    w_i = drop_i - through_i,   T at the phase 2 pi (lambda_i - lambda_k - delta_k) / FSR         (rings: ``ring``)

A. N. Tait et al., Sci. Rep. 7, 7430 (2017), doi 10.1038/s41598-017-07754-z. Spectral crosstalk is thus exact, except
that light on the drop bus is assumed not to meet rings again. Detunings range from 0 to half a channel spacing. A
weight of 1 is ``full_scale`` times the smaller reach, of both signs, of an isolated ring; a digital gain undoes this.

A heater shifts its neighbours on the bus by g exp(-(|k - l| - 1) / L) of its own shift. Fabrication errors are assumed
to be tuned away by a bias around which heaters act, so that commands may have either sign.

The residual temperature error depends on the control. Open: one ambient shift common to all rings of a tile.
Locked with b bits: a standard deviation of 2 / 2^b at w = 0, where dw/dd = -1 without loss, hence 2^(1-b) half
linewidths of detuning, independent from ring to ring and read to read. Mean and variance of a weight then come from
Gauss-Hermite quadrature over its own ring, with the remaining rings at their set points. Bits state precision; the bias
of a lock is neglected. Independent reads are an assumption: a thermal lock wanders within microseconds, products follow
within less than a nanosecond, so that averaging many consecutive products is less accurate on a chip than here.

Light intensity has no sign: the positive and the negative part of the inputs are sent in sequence and subtracted.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from analogsim.base.description import Description, field, static
from analogsim.base.dtypes import wide
from analogsim.base.errors import InputError
from analogsim.base.literature import Source, cited
from analogsim.base.random import normal, stream
from analogsim.base.types import Numeric
from analogsim.devices.photonic.detection import Photodiode
from analogsim.devices.photonic.light import CHARGE
from analogsim.devices.photonic.ring import Ports, Ring, cascade, linear_in_own_ring
from analogsim.devices.protocol import Action, Moments, OneColumnPerOutput

#: Demonstrated precision in bits, by kind of lock.
LOCK_BITS = {"dither": 9.0, "pid": 11.3}

_ROUNDS = 20  # of the precompensation: each round leaves a tenth to a third of the error
# The probabilists' rule, whose nodes are in standard deviations; the physicists' has a factor of sqrt(2).
_NODES, _NODE_WEIGHTS = np.polynomial.hermite_e.hermegauss(16)
_NODE_WEIGHTS = _NODE_WEIGHTS / _NODE_WEIGHTS.sum()
_ASSUMED = Source(note="assumed")


class RingState(NamedTuple):
    """One tuned tile.

    Attributes:
      commands: shift of its ring that every heater is driven to, metres, ``[n_out, n_in]``.
      ambient: standard Gaussian deviate of the tile's temperature.
      gain: digital factor behind the diodes.
      ports: power fractions at the diodes as set, ``[n_in, n_out]`` each.
      weight_gradient: zeros ``[n_in, n_out]`` that carry the derivative of the weights.
    """

    commands: jax.Array
    ambient: jax.Array
    gain: jax.Array
    ports: Ports
    weight_gradient: jax.Array


class RingBank(OneColumnPerOutput, Description):
    """Banks of microrings with balanced detection, one bank per output; see the module for the equations.

    Example:
      >>> import jax
      >>> store = RingBank(locking="pid")
      >>> state = store.program(jax.random.key(0), jnp.full((8, 4), 0.5))
      >>> store.read(state, 3600.0).mean.round(2)[0].tolist()
      [0.5, 0.5, 0.5, 0.5]
    """

    ring: Ring = field(factory=Ring, kind=Ring, doc="description of every ring")
    channels: int = static(
        default=16, ge=1, le=1024, integer=True,
        doc="wavelengths per bus, and largest number of inputs; at most FSR / spacing",
        source=_ASSUMED,
    )  # fmt: skip
    spacing_m: Any = field(
        default=0.8e-9, unit="m", gt=0, le=1e-6, doc="channel spacing in wavelength",
        source=Source(note="100 GHz, the grid of telecommunications at 1550 nm"),
    )  # fmt: skip
    full_scale: Any = field(
        default=0.9, gt=0, le=1, doc="fraction of the reachable weights in use; the rest is for precompensation",
        source=Source(note="chosen: at 0.8 nm, almost all matrices are then reached in spite of spectral crosstalk"),
    )  # fmt: skip
    precompensated: bool = static(
        default=True, choices=(True, False), doc="whether detunings are solved for the known spectral crosstalk"
    )
    crosstalk: Any = field(
        default=0.01, ge=0, le=0.2, optional=True, doc="fraction of a ring's shift that the next ring sees; None: none",
        source=_ASSUMED,
    )  # fmt: skip
    crosstalk_length: Any = field(
        default=1.0,
        gt=0,
        le=100,
        doc="rings over which thermal crosstalk falls by a factor of e",
        counts="with crosstalk",
        source=_ASSUMED,
    )
    compensated: bool = static(
        default=True, choices=(True, False), doc="whether commands are solved for the known thermal crosstalk"
    )
    locking: str = static(
        default="dither", choices=("open", "dither", "pid"), doc="control of the rings' temperatures",
        source=cited("zhang2022", note="9 bits with dithering; PID: 11.3 bits, of arXiv 2409.06604"),
    )  # fmt: skip
    lock_bits: Any = field(default=None, ge=1, le=24, optional=True, doc="precision of a lock; None: as demonstrated")
    ambient_k: Any = field(
        default=0.1, unit="K", ge=0, le=100, doc="standard deviation of the temperature that all rings share",
        counts="with locking = 'open'",
        source=_ASSUMED,
    )  # fmt: skip
    detector: Photodiode | None = field(
        factory=Photodiode, kind=Photodiode, optional=True, doc="both diodes of a bank; None detects without noise"
    )
    laser_w: Any = field(
        default=10e-3, unit="W", gt=0, le=0.1,
        doc="total light of all wavelengths of a tile at full scale, before it is split over the banks",
        source=_ASSUMED,
    )  # fmt: skip
    rate_hz: Any = field(
        default=5e9, unit="Hz", gt=0, le=1e12, doc="symbols per second, two per vector", source=_ASSUMED
    )
    tuning_w: Any = field(
        default=0.388e-3, unit="W", ge=0, le=1,
        doc="power that holds a ring; 3.1 and 0.155 mW are conservative and aggressive",
        source=cited("shiflett2021", note="moderate"),
    )  # fmt: skip

    @property
    def draws_at_program(self) -> bool:
        """True if rings meet a random ambient temperature; a lock compensates for it."""
        return self.locking == "open"

    @property
    def draws_at_read(self) -> bool:
        """True if a lock leaves fluctuations from read to read."""
        return self.locking != "open"

    @property
    def detects_noise(self) -> bool:
        """True if the detector is noisy; a perfect one is None."""
        return self.detector is not None

    def model_sources(self) -> tuple[Source, ...]:
        return (cited("tait2017", note="weight banks"), cited("bogaerts2012", note="transfer of a ring"))

    def check(self) -> None:
        if self.locking == "open" and self.lock_bits is not None:
            self.refuse("lock_bits", "must be None for rings without a lock")
        if not all(isinstance(number, float) for number in (self.spacing_m, *jax.tree.leaves(self.ring))):
            return  # a sweep or a tracer: the checks below compare single values
        if self.channels > self.most_channels:
            self.refuse(
                "channels",
                f"must be at most {self.most_channels}, the free spectral range of {self.ring.fsr_m:.3g} m over the "
                f"spacing of {self.spacing_m:g} m; smaller rings have a larger one",
            )
        lowest, highest = self.reach()
        if lowest >= 0 or highest <= 0:
            self.refuse(
                "spacing_m",
                f"half of it reaches weights {lowest:.3g} to {highest:.3g}: must reach both signs; use a spacing wider "
                f"than the linewidth of {self.ring.fwhm_m:.3g} m",
            )

    @property
    def most_channels(self) -> int:
        """Largest number of channels, floor(FSR / spacing), as the response of a ring is periodic."""
        with np.errstate(over="ignore"):  # a tiny spacing overflows to infinity, which the minimum below bounds
            # The tolerance keeps rounding from taking a channel off an FSR of a whole number of spacings.
            count = np.floor(np.divide(self.ring.fsr_m, self.spacing_m) * (1 + 1e-9))
        return int(min(np.min(count), 2**31))

    @property
    def read_time_s(self) -> Numeric:
        """Duration of one product, seconds: one symbol each for the positive and the negative part of the inputs."""
        return 2 / self.rate_hz

    @property
    def precision_bits(self) -> Any:
        """Precision of the lock in bits; None if open."""
        return self.lock_bits if self.lock_bits is not None else LOCK_BITS.get(self.locking)

    @property
    def residual_m(self) -> Any:
        """Read-to-read standard deviation of a locked ring's detuning, m: 2^(1-b) half linewidths; None if open."""
        return None if self.locking == "open" else self.ring.fwhm_m * 2.0**-self.precision_bits

    @property
    def residual_k(self) -> Numeric:
        """Residual standard deviation as a temperature, K; that of the ambient if open.

        Example:
          >>> f"{RingBank(locking='dither').residual_k:.1e} K"
          '3.8e-03 K'
        """
        return self.ambient_k if self.locking == "open" else self.ring.warming_k(self.residual_m)

    def reach(self) -> tuple[Any, Any]:
        """Return the lowest and highest weight of an isolated ring within half a channel spacing."""
        return self.ring.reach(self.spacing_m / 2)

    @property
    def full_weight(self) -> jax.Array:
        """Optical weight that represents a weight of 1, before the gain."""
        lowest, highest = self.reach()
        return self.full_scale * jnp.minimum(highest, -lowest)

    def program(self, key: jax.Array | None, weights: jax.Array, reprogram: RingState | None = None) -> RingState:
        """Tune a tile to weights.

        Args:
          key: of the ambient temperature; may be None with a lock.
          weights: ``[n_in, n_out]``, real, n_in at most ``channels``; values beyond [-1, 1] are clipped.
          reprogram: unused: fabrication errors are tuned away, and every tuning meets another ambient.

        Raises:
          InputError: if ``key`` is None without a lock, or if the weights are complex or have too many inputs.
        """
        del reprogram
        if key is None and self.locking == "open":
            raise InputError("key = None: rings without a lock drift with their ambient and need a random key")
        if jnp.iscomplexobj(weights):
            raise InputError("weights: complex: must be real, as light intensity is; use MZIMesh for complex weights")
        self._check_inputs(weights.shape[0])
        weights = wide(weights)
        target = lax.stop_gradient(weights)
        gain = jnp.asarray(1 / self.full_weight, weights.dtype)
        commands = self._commands(self._detunings(jnp.clip(target, -1, 1).T / gain))
        ambient = jnp.zeros((), weights.dtype)
        if key is not None and self.locking == "open":
            ambient = normal(stream(key, "ambient temperature"), (), weights.dtype)
        ports = cascade(self.ring, self._shifts(commands, ambient), self.spacing_m)
        return RingState(commands, ambient, gain, Ports(*(port.T for port in ports)), weights - target)

    def _check_inputs(self, n_in: int) -> None:
        if n_in > self.channels:
            raise InputError(
                f"{n_in} inputs in a tile: must be at most the {self.channels} channels of a bus (RingBank.channels); "
                f"cut the layer into smaller tiles with Hardware.rows = {self.channels}"
            )

    def _detunings(self, target_weights: jax.Array) -> jax.Array:
        """Solve for the detunings (m, ``[n_out, n_in]``) of weights before the gain, by fixed-point iteration."""
        lowest, highest = self.reach()
        half = self.spacing_m / 2

        def detunings(alone: jax.Array) -> jax.Array:
            return jnp.minimum(self.ring.detuning_m(self.ring.phase_for(alone)), half).astype(target_weights.dtype)

        # What is iterated is the weight of each ring as if it were alone on its bus.
        def improved(_: Any, alone: jax.Array) -> jax.Array:
            drop, through = cascade(self.ring, detunings(alone), self.spacing_m)
            return jnp.clip(alone + target_weights - (drop - through), lowest, highest).astype(target_weights.dtype)

        alone = lax.fori_loop(0, _ROUNDS, improved, target_weights) if self.precompensated else target_weights
        return detunings(alone)

    def _commands(self, shifts: jax.Array) -> jax.Array:
        """Commands (m) of the heaters for target shifts of the resonances, ``[n_out, n_in]``."""
        if self.crosstalk is None or not self.compensated:
            return shifts
        return jnp.linalg.solve(self._warming(shifts), shifts.T).T

    def _shifts(self, commands: jax.Array, ambient: jax.Array) -> jax.Array:
        """Shifts (m) of the resonances from commands and ambient, ``[n_out, n_in]``."""
        shifts = commands
        if self.crosstalk is not None:
            shifts = jnp.matmul(commands, self._warming(commands).T, precision=lax.Precision.HIGHEST)
        if self.locking == "open":
            shifts = shifts + self.ring.shift_m(self.ambient_k * ambient)
        return shifts.astype(commands.dtype)

    def _warming(self, like: jax.Array) -> jax.Array:
        """Fraction of each command that every ring of a bus sees, ``[rings, rings]``."""
        place = np.arange(like.shape[-1])
        distance = np.abs(place[:, None] - place)
        # At least 0: exp(1/L) on the diagonal may overflow, and the derivative of the unused branch would be NaN.
        between = jnp.asarray(np.maximum(distance, 1) - 1, like.dtype)
        leaked = self.crosstalk * jnp.exp(-between / self.crosstalk_length)
        return jnp.where(distance == 0, 1.0, leaked).astype(like.dtype)

    def read(self, state: RingState, time_s: Numeric, key: jax.Array | None = None) -> Moments:
        """Return the weights ``[n_in, n_out]``: constant in time, except for the lock's read-to-read fluctuations."""
        del time_s
        shifts = self._shifts(state.commands, state.ambient)
        if self.locking != "open":
            if key is None:
                mean, variance = self._moments(shifts)
                return Moments(state.gain * mean.T + state.weight_gradient, state.gain**2 * variance.T)
            residual = jnp.asarray(self.residual_m, shifts.dtype)
            shifts = shifts + residual * normal(stream(key, "lock"), shifts.shape, shifts.dtype)
        drop, through = cascade(self.ring, shifts, self.spacing_m)
        return Moments(state.gain * (drop - through).T + state.weight_gradient)

    def _moments(self, shifts: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Mean and variance of every weight before the gain, ``[n_out, n_in]``, over its own ring's detuning."""
        rest, by_drop, by_through = (a[None] for a in linear_in_own_ring(self.ring, shifts, self.spacing_m))
        # The response is even in the detuning, so the shift of a ring serves as its channel's detuning.
        nodes = jnp.asarray(_NODES, shifts.dtype)[:, None, None]
        node_weights = jnp.asarray(_NODE_WEIGHTS, shifts.dtype)[:, None, None]
        phase = self.ring.phase(shifts[None] + jnp.asarray(self.residual_m, shifts.dtype) * nodes)
        drop, through = self.ring.ports(phase)
        own = rest + by_drop * drop + by_through * through
        mean = jnp.sum(node_weights * own, axis=0)
        # About the mean: E w^2 - (E w)^2 would cancel for small residuals.
        return mean, jnp.sum(node_weights * (own - mean[None]) ** 2, axis=0)

    def noise(self, x: jax.Array, y: jax.Array, state: RingState) -> jax.Array | None:
        """Return the standard deviation of detection noise ``[..., n_out]``.

        It has the shot noise of all light, dark and thermal noise of two diodes in two symbols, and intensity noise.
        Every wavelength has a separate laser, so intensity noise adds in power, weighted by each signal.

        Args:
          x: inputs, ``[..., n_in]``.
          y: outputs, ``[..., n_out]``.
          state: the tile.
        """
        if self.detector is None:
            return None
        bandwidth = self.rate_hz / 2
        full = self.detector.responsivity * self.laser_w / (x.shape[-1] * y.shape[-1])  # current (A) of an input of 1
        drop, through = state.ports
        # Both signs of the inputs shine, one after the other: the shot noise of 2 q I B is that of |x|.
        light = jnp.matmul(jnp.abs(x), (drop + through).astype(x.dtype), precision="highest")
        signal = jnp.matmul(x**2, ((drop - through) ** 2).astype(x.dtype), precision="highest")
        shot = 2 * CHARGE * bandwidth / full * light
        intensity = self.detector.intensity_noise * bandwidth * signal
        # Two diodes, two symbols. Divided twice, because the square of a faint light's current underflows float32.
        dark = 2 * 2 * self.detector.constant_noise(bandwidth) / full / full
        return (state.gain * jnp.sqrt(shot + intensity + dark)).astype(y.dtype)

    def cost(self, weights: jax.Array, read_fraction: Numeric) -> tuple[Action, ...]:
        """Return the actions of one product: light, two symbols per modulator, two samples per receiver, heaters."""
        del read_fraction  # the lasers shine whatever the modulators let through
        n_in, n_out = weights.shape
        self._check_inputs(n_in)
        return (
            Action("laser", self.laser_w * self.read_time_s, "J"),
            Action("modulator", 2 * n_in, "symbol"),
            Action("receiver", 2 * n_out, "sample"),
            Action("hold", self.n_cells(n_in, n_out) * self.tuning_w, "W"),
        )

    def n_cells(self, n_in: int, n_out: int) -> int:
        """Return the number of rings: one per weight."""
        return n_in * n_out
