"""A matrix on banks of microrings: every input has a wavelength, every weight a ring (broadcast and weight).

All wavelengths are split over one bus an output. Ring k of a bus, tuned by delta_k off its channel k, drops part of
channel k and a little of all others; a balanced pair of diodes at the two ends of the bus subtracts what passed:

    through_i = prod_k T_through,k(lambda_i)     drop_i = sum_k (prod_{l<k} T_through,l(lambda_i)) T_drop,k(lambda_i)
    w_i = drop_i - through_i,   T at the phase 2 pi (lambda_i - lambda_k - delta_k) / FSR         (rings: ``ring``)

A. N. Tait et al., Sci. Rep. 7, 7430 (2017), doi 10.1038/s41598-017-07754-z. Spectral crosstalk is thus exact, but for
light on the drop bus, which is taken not to meet rings again. Detunings reach from 0 to half a channel spacing. A share
of what an isolated ring reaches, the smaller of both signs, holds a weight of 1; a digital factor divides it out again.

A heater warms its neighbours on the bus by g exp(-(|k - l| - 1) / L) of its own shift. Fabrication's errors are taken
to be tuned away by a bias around which heaters act, so that commands may have either sign.

What is left of the rings' temperatures is a matter of their control. Open: one ambient shift of all rings of a tile.
Locked with b bits: 2 / 2^b of spread at w = 0, where dw/dd = -1 without loss, hence 2^(1-b) half linewidths of
detuning, independent from ring to ring and read to read. A weight's mean and variance then come from Gauss-Hermite
quadrature over its own ring, the others resting where they were set. Bits are of precision; a lock's bias is left out.
That reads are independent is an assumption: a thermal lock wanders within microseconds, products follow within less
than a nanosecond, so that the mean of many products in a row is less exact on a chip than here.

Light has no sign: the positive and the negative part of the inputs are sent one after the other, and subtracted.
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
from analogsim.devices.photonic.detection import Photodiode
from analogsim.devices.photonic.light import CHARGE
from analogsim.devices.photonic.ring import Ports, Ring, around_own, cascade
from analogsim.devices.protocol import Action, Moments, OneColumnPerOutput

#: Bits of precision that were shown, by the kind of lock.
LOCK_BITS = {"dither": 9.0, "pid": 11.3}

_ROUNDS = 20  # of the precompensation: each leaves a tenth to a third of the error
_NODES, _SHARES = np.polynomial.hermite_e.hermegauss(16)
_SHARES = _SHARES / _SHARES.sum()
_ASSUMED = Source(note="assumed")


class RingState(NamedTuple):
    """One tile as tuned.

    Attributes:
      commands: what every heater is told to shift its ring by, metres, ``[n_out, n_in]``.
      ambient: standard Gaussian of the tile's temperature.
      gain: digital factor behind the diodes.
      ports: what reaches the diodes as set, ``[n_in, n_out]`` each.
      weight_gradient: zeros ``[n_in, n_out]`` that carry the derivative of the weights.
    """

    commands: jax.Array
    ambient: jax.Array
    gain: jax.Array
    ports: Ports
    weight_gradient: jax.Array


class RingBank(OneColumnPerOutput, Description):
    """Banks of rings with balanced detection, one bank an output; see the module for the equations.

    Example:
      >>> import jax
      >>> store = RingBank(locking="pid")
      >>> state = store.program(jax.random.key(0), jnp.full((8, 4), 0.5))
      >>> store.read(state, 3600.0).mean.round(2)[0].tolist()
      [0.5, 0.5, 0.5, 0.5]
    """

    ring: Ring = field(factory=Ring, kind=Ring, doc="every ring")
    channels: int = static(
        default=16, ge=1, le=1024, integer=True,
        doc="wavelengths that a bus is laid out for, and largest number of inputs; at most FSR / spacing",
        source=_ASSUMED,
    )  # fmt: skip
    spacing_m: Any = field(
        default=0.8e-9, unit="m", gt=0, le=1e-6, doc="between channels, of wavelength",
        source=Source(note="100 GHz, the grid of telecommunications at 1550 nm"),
    )  # fmt: skip
    full_scale: Any = field(
        default=0.9, gt=0, le=1, doc="share of the reachable weights that is used; the rest is for precompensation",
        source=Source(note="chosen: at 0.8 nm, almost all matrices are then reached in spite of spectral crosstalk"),
    )  # fmt: skip
    precompensated: bool = static(
        default=True, choices=(True, False), doc="whether detunings are solved for the known spectral crosstalk"
    )
    crosstalk: Any = field(
        default=0.01, ge=0, le=0.2, optional=True, doc="share of a ring's shift that the next ring sees; None: none",
        source=_ASSUMED,
    )  # fmt: skip
    crosstalk_length: Any = field(
        default=1.0,
        gt=0,
        le=100,
        doc="rings over which thermal crosstalk falls by e",
        counts="where there is crosstalk",
        source=_ASSUMED,
    )
    compensated: bool = static(
        default=True, choices=(True, False), doc="whether commands are solved for the known thermal crosstalk"
    )
    locking: str = static(
        default="dither", choices=("open", "dither", "pid"), doc="how the rings' temperatures are controlled",
        source=cited("zhang2022", note="9 bits with dithering; PID: 11.3 bits, of arXiv 2409.06604"),
    )  # fmt: skip
    lock_bits: Any = field(
        default=None, ge=1, le=24, optional=True, doc="precision of a lock; None: as was shown with it"
    )
    ambient_k: Any = field(
        default=0.1, unit="K", ge=0, le=100, doc="spread of the temperature that all rings share",
        counts="with locking = 'open'",
        source=_ASSUMED,
    )  # fmt: skip
    detector: Photodiode | None = field(
        factory=Photodiode, kind=Photodiode, optional=True, doc="each of a bank's two; None detects without noise"
    )
    laser_w: Any = field(
        default=10e-3, unit="W", gt=0, le=0.1,
        doc="light of all wavelengths of a tile together, at full scale, before it is split over the banks",
        source=_ASSUMED,
    )  # fmt: skip
    rate_hz: Any = field(default=5e9, unit="Hz", gt=0, le=1e12, doc="symbols a second, two a vector", source=_ASSUMED)
    tuning_w: Any = field(
        default=0.388e-3, unit="W", ge=0, le=1, doc="holds a ring; 3.1 and 0.155 mW are conservative and aggressive",
        source=cited("shiflett2021", note="moderate"),
    )  # fmt: skip

    @property
    def draws_at_program(self) -> bool:
        """Whether rings meet a random ambient; a lock makes up for it."""
        return self.locking == "open"

    @property
    def draws_at_read(self) -> bool:
        """Whether a lock leaves something from read to read."""
        return self.locking != "open"

    @property
    def detects_noise(self) -> bool:
        """Whether the detector is noisy, or perfect (None)."""
        return self.detector is not None

    def model_sources(self) -> tuple[Source, ...]:
        return (cited("tait2017", note="weight banks"), cited("bogaerts2012", note="transfer of a ring"))

    def check(self) -> None:
        if self.locking == "open" and self.lock_bits is not None:
            self.refuse("lock_bits", "must be None for rings without a lock")
        if not all(isinstance(number, float) for number in (self.spacing_m, *jax.tree.leaves(self.ring))):
            return  # a sweep or a tracer: what follows is asked of single values
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
                f"half of it reaches weights {lowest:.3g} to {highest:.3g}: must be both signs; a wider spacing than "
                f"the linewidth of {self.ring.fwhm_m:.3g} m is needed",
            )

    @property
    def most_channels(self) -> int:
        """floor(FSR / spacing): as many wavelengths are told apart by rings whose response repeats."""
        with np.errstate(over="ignore"):  # channels at almost no distance: too many to count
            found = np.floor(np.divide(self.ring.fsr_m, self.spacing_m) * (1 + 1e-9))
        return int(min(np.min(found), 2**31))

    @property
    def read_time_s(self) -> Any:
        """Seconds of one product: a symbol for the positive and one for the negative part of the inputs."""
        return 2 / self.rate_hz

    @property
    def precision_bits(self) -> Any:
        """Of the lock; None if open."""
        return self.lock_bits if self.lock_bits is not None else LOCK_BITS.get(self.locking)

    @property
    def residual_m(self) -> Any:
        """Spread of a locked ring's detuning from read to read, metres: 2^(1-b) half linewidths; None if open."""
        return None if self.locking == "open" else self.ring.fwhm_m * 2.0**-self.precision_bits

    @property
    def residual_k(self) -> Any:
        """The same as a temperature, K; the ambient's spread if open.

        Example:
          >>> f"{RingBank(locking='dither').residual_k:.1e} K"
          '3.8e-03 K'
        """
        return self.ambient_k if self.locking == "open" else self.ring.warming_k(self.residual_m)

    def reach(self) -> tuple[Any, Any]:
        """Lowest and highest weight of an isolated ring."""
        return self.ring.reach(self.spacing_m / 2)

    @property
    def full_weight(self) -> jax.Array:
        """What the light holds for a weight of 1, before the gain."""
        lowest, highest = self.reach()
        return self.full_scale * jnp.minimum(highest, -lowest)

    def program(self, key: jax.Array | None, weights: jax.Array, reprogram: RingState | None = None) -> RingState:
        """Tune a tile to ``[n_in, n_out]``, n_in at most ``channels``; tuned again, it meets another ambient."""
        del reprogram  # nothing is drawn for life: fabrication's errors are tuned away
        if key is None and self.locking == "open":
            raise InputError("key = None: rings without a lock drift with their ambient and need a random key")
        if jnp.iscomplexobj(weights):
            raise InputError("weights: complex: the intensity of light holds real ones; an MZIMesh holds complex ones")
        self._check_inputs(weights.shape[0])
        weights = wide(weights)
        wanted = lax.stop_gradient(weights)
        gain = jnp.asarray(1 / self.full_weight, weights.dtype)
        commands = self._commands(self._detunings(jnp.clip(wanted, -1, 1).T / gain))
        ambient = jnp.zeros((), weights.dtype)
        if key is not None and self.locking == "open":
            ambient = normal(stream(key, "ambient temperature"), (), weights.dtype)
        ports = cascade(self.ring, self._shifts(commands, ambient), self.spacing_m)
        return RingState(commands, ambient, gain, Ports(*(port.T for port in ports)), weights - wanted)

    def _check_inputs(self, n_in: int) -> None:
        if n_in > self.channels:
            raise InputError(
                f"{n_in} inputs in a tile: must be at most the {self.channels} channels of a bus (RingBank.channels); "
                f"cut the layer into smaller tiles with Hardware.rows = {self.channels}"
            )

    def _detunings(self, target_weights: jax.Array) -> jax.Array:
        """Detunings (m, ``[n_out, n_in]``) for weights before the gain."""
        lowest, highest = self.reach()
        half = self.spacing_m / 2

        def tuned(detuning: jax.Array) -> jax.Array:
            return jnp.minimum(self.ring.detuning_m(self.ring.phase_for(detuning)), half).astype(target_weights.dtype)

        def improved(_: Any, detuning: jax.Array) -> jax.Array:
            drop, through = cascade(self.ring, tuned(detuning), self.spacing_m)
            return jnp.clip(detuning + target_weights - (drop - through), lowest, highest).astype(target_weights.dtype)

        return tuned(lax.fori_loop(0, _ROUNDS, improved, target_weights) if self.precompensated else target_weights)

    def _commands(self, shifts: jax.Array) -> jax.Array:
        """What heaters are told, for wanted shifts of the resonances, ``[n_out, n_in]``."""
        if self.crosstalk is None or not self.compensated:
            return shifts
        return jnp.linalg.solve(self._warming(shifts), shifts.T).T

    def _shifts(self, commands: jax.Array, ambient: jax.Array) -> jax.Array:
        """Where commands and ambient move the resonances, ``[n_out, n_in]``."""
        shifts = commands
        if self.crosstalk is not None:
            shifts = jnp.matmul(commands, self._warming(commands).T, precision=lax.Precision.HIGHEST)
        if self.locking == "open":
            shifts = shifts + self.ring.shift_m(self.ambient_k * ambient)
        return shifts.astype(commands.dtype)

    def _warming(self, like: jax.Array) -> jax.Array:
        """How much of each command every ring of a bus sees, ``[rings, rings]``."""
        place = np.arange(like.shape[-1])
        distance = np.abs(place[:, None] - place)
        leaked = self.crosstalk * jnp.exp(-(np.maximum(distance, 1) - 1) / self.crosstalk_length)
        return jnp.where(distance == 0, 1.0, leaked).astype(like.dtype)

    def read(self, state: RingState, time_s: Any, key: jax.Array | None = None) -> Moments:
        """The weights: as set, at any time after programming, but for what the lock leaves from read to read."""
        del time_s
        shifts = self._shifts(state.commands, state.ambient)
        if self.locking != "open":
            if key is None:
                mean, variance = self._moments(shifts)
                return Moments(state.gain * mean.T + state.weight_gradient, state.gain**2 * variance.T)
            spread = jnp.asarray(self.residual_m, shifts.dtype)
            shifts = shifts + spread * normal(stream(key, "lock"), shifts.shape, shifts.dtype)
        drop, through = cascade(self.ring, shifts, self.spacing_m)
        return Moments(state.gain * (drop - through).T + state.weight_gradient)

    def _moments(self, shifts: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Mean and variance of every weight before the gain, ``[n_out, n_in]``, over its own ring's detuning."""
        rest, by_drop, by_through = around_own(self.ring, shifts, self.spacing_m)
        # Channel i is as far from its own ring as that is tuned off it: the sign does not matter to the response.
        nodes = jnp.asarray(_NODES, shifts.dtype)[:, None, None]
        shares = jnp.asarray(_SHARES, shifts.dtype)[:, None, None]
        phase = self.ring.phase(shifts + jnp.asarray(self.residual_m, shifts.dtype) * nodes)
        drop, through = self.ring.ports(phase)
        own = rest + by_drop * drop + by_through * through
        mean = jnp.sum(shares * own, axis=0)
        return mean, jnp.sum(shares * (own - mean) ** 2, axis=0)

    def noise(self, x: jax.Array, y: jax.Array, state: RingState) -> jax.Array | None:
        """Detection: shot noise of all light, dark and thermal noise of two diodes in two symbols, intensity noise.

        Every wavelength is a laser of its own: their intensity noise adds in power, each weighted as its signal is.
        """
        if self.detector is None:
            return None
        bandwidth = self.rate_hz / 2
        full = self.detector.responsivity * self.laser_w / (x.shape[-1] * y.shape[-1])  # A, of an input of 1
        drop, through = state.ports
        light = jnp.matmul(jnp.abs(x), (drop + through).astype(x.dtype))
        signal = jnp.matmul(x**2, ((drop - through) ** 2).astype(x.dtype))
        shot = 2 * CHARGE * bandwidth / full * light
        intensity = self.detector.intensity_noise * bandwidth * signal
        dark = 2 * 2 * self.detector.constant_noise(bandwidth) / full / full
        return (state.gain * jnp.sqrt(shot + intensity + dark)).astype(y.dtype)

    def cost(self, weights: jax.Array, read_fraction: Any) -> tuple[Action, ...]:
        """The lasers' light, two symbols of every modulator, two samples of every receiver; and the rings' heaters."""
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
        """Rings."""
        return n_in * n_out
