"""Weights as light pulses in a volatile medium: pulses fade, or gain maintains them and adds noise.

A weight is a pair of pulses, one for its positive and one for its negative part, of which one is empty. A pulse of
weight 1 starts with n_0 photons. Lasers emit coherent pulses, whose photon number is random only when counted: reading
is random, writing is not. With the remaining fraction eta(t), N(t) noise photons from gain and d dark counts, the
counts n+ and n- of the pair give the weight (n+ - n-)/n_0 with

    mean       eta w
    variance   (n_0 eta |w| (1 + 2 N) + 2 N (N + 1) + 2 d) / n_0^2

Without gain the counts are Poisson, since attenuated coherent light stays coherent. With gain, a pulse is a displaced
thermal state of one mode, drawn as a Gaussian with these moments. The means of N and d cancel.

An input multiplies the currents behind the counters, which add up over the pulses of a column: the noise scales with
x^2. (If the input attenuated the light instead, that would add (|x| - x^2) eta |w| / n_0.) Counting is destructive:
every product reads all pulses and rewrites them.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from analogsim.base.description import Description, field, static
from analogsim.base.dtypes import wide
from analogsim.base.errors import InputError
from analogsim.base.literature import Source
from analogsim.base.random import normal, stream
from analogsim.base.types import Numeric, PyTree
from analogsim.devices.photonic.detection import counts
from analogsim.devices.photonic.light import photon_j
from analogsim.devices.photonic.volatile import RecirculatingLoop
from analogsim.devices.protocol import Action, Moments, OneColumnPerOutput

_ASSUMED = Source(note="assumed")


class LightState(NamedTuple):
    """One programmed tile.

    Attributes:
      weights: mean photons of every pair over n_0, with the sign of its filled pulse, ``[n_in, n_out]``.
    """

    weights: jax.Array


class FadingLight(OneColumnPerOutput, Description):
    """A weight store of light pulses in a volatile medium; see the module for the equations.

    Example:
      >>> from analogsim.devices.photonic.volatile import DelayLine
      >>> store = FadingLight(medium=DelayLine())
      >>> state = store.program(None, jnp.array([[0.5, -1.0]]))
      >>> [round(float(w), 3) for w in store.read(state, 50e-6).mean[0]]
      [0.335, -0.671]
    """

    medium: Any = field(
        factory=RecirculatingLoop,
        methods=("efficiency", "added_photons", "bandwidth_hz", "hold_w", "capacity", "time_limit_s", "amplified"),
        doc="medium that stores the light: DelayLine, RecirculatingLoop, Cavity, AtomicMemory",
    )
    photons: Any = field(default=1e6, gt=0, le=1e9, doc="n_0, photons of a pulse of weight 1", source=_ASSUMED)
    rate_hz: Any = field(
        default=1e9, unit="Hz", gt=0, le=1e12, doc="pulses per second; at most the medium's bandwidth", source=_ASSUMED
    )
    dark_counts: Any = field(
        default=0.0, ge=0, le=1e9, doc="d, dark counts per pulse", source=Source(note="none by default")
    )
    rows: int = static(
        default=512, ge=1, le=1_000_000, integer=True,
        doc="pulses per column, sent in sequence: largest number of inputs of a tile", source=_ASSUMED,
    )  # fmt: skip

    def check(self) -> None:
        rate, bandwidth = self.rate_hz, self.medium.bandwidth_hz
        if isinstance(rate, float) and isinstance(bandwidth, float) and rate > bandwidth:
            self.refuse(
                "rate_hz",
                f"must be at most {bandwidth:g}, the bandwidth of the {type(self.medium).__name__} (unit: Hz)",
            )

    draws_at_program = False  # coherent pulses: the randomness is in counting
    destructive_read = True  # detection absorbs the photons

    @property
    def time_limit_s(self) -> Numeric:
        """Time after writing at which the light leaves the medium, seconds; None if it only fades."""
        return self.medium.time_limit_s

    @property
    def read_time_s(self) -> Numeric:
        """Duration of one product, seconds: the pulses of a column in sequence, all columns in parallel."""
        return self.rows / self.rate_hz

    def media(self, n_out: int) -> jax.Array:
        """Return the number of media per tile: one per rail of an output, more if not all rows fit into one."""
        capacity = jnp.maximum(jnp.floor(self.medium.capacity(self.rate_hz)), 1.0)
        return 2 * n_out * jnp.ceil(self.rows / capacity)

    def program(self, key: jax.Array | None, weights: jax.Array, reprogram: Any = None) -> LightState:
        """Write weights ``[n_in, n_out]``; writing draws nothing, so the key may be None.

        Raises:
          InputError: if there are more inputs than ``rows``.
        """
        del key, reprogram
        if weights.shape[0] > self.rows:
            raise InputError(
                f"FadingLight.rows = {self.rows}: must be at least {weights.shape[0]}, the inputs of the tile"
            )
        return LightState(wide(weights))

    def read(self, state: LightState, time_s: Numeric, key: jax.Array | None = None) -> Moments:
        """Return the weights counted ``time_s`` seconds after writing; NaN once the light has left the medium."""
        weights = state.weights
        survival = self.medium.efficiency(jnp.asarray(time_s, weights.dtype)).astype(weights.dtype)
        if key is None:
            moments = Moments(survival * weights, self._variance(weights, survival, time_s))
        elif self.medium.amplified:
            variance = self._variance(weights, survival, time_s)
            # The derivative of a square root is infinite at zero; where nothing varies it must be zero.
            varies = variance > 0
            sigma = jnp.where(varies, jnp.sqrt(jnp.where(varies, variance, 1.0)), 0.0)
            drawn = normal(stream(key, "photon counts"), weights.shape, weights.dtype)
            moments = Moments(survival * weights + sigma * drawn)
        else:
            moments = Moments(self._counted(key, survival * weights))
        if self.time_limit_s is None:
            return moments
        # A traced time cannot be refused, so NaN marks that there is no light to read.
        inside = jnp.asarray(time_s, weights.dtype) <= jnp.asarray(self.time_limit_s, weights.dtype)
        return jax.tree.map(lambda a: jnp.where(inside, a, jnp.nan), moments)

    def _variance(self, weights: jax.Array, left: jax.Array, time_s: Numeric) -> jax.Array:
        """Read variance of the weights; divided by n_0 twice, as n_0^2 can exceed the range of float32."""
        photons = jnp.asarray(self.photons, weights.dtype)
        added = self.medium.added_photons(jnp.asarray(time_s, weights.dtype)).astype(weights.dtype)
        empty = 2 * (added * (added + 1) + self.dark_counts) / photons
        return ((left * jnp.abs(weights) * (1 + 2 * added) + empty) / photons).astype(weights.dtype)

    def _counted(self, key: jax.Array, weights: jax.Array) -> jax.Array:
        """Count every pulse once and convert the counts to weights."""
        parts = jnp.stack([jnp.maximum(weights, 0.0), jnp.maximum(-weights, 0.0)])
        expected = (parts * self.photons + self.dark_counts).astype(weights.dtype)
        plus, minus = counts(stream(key, "photon counts"), expected)
        return ((plus - minus) / self.photons).astype(weights.dtype)

    def noise(self, x: jax.Array, y: jax.Array, state: PyTree) -> None:
        """Return None: photon counting is part of ``read``, and no noise is added after it."""
        return None

    def cost(self, weights: jax.Array, read_fraction: Numeric) -> tuple[Action, ...]:
        """Return the actions of one product: light and one symbol per pulse, one sample per output, power of the gain.

        Every product rewrites all pulses. An amplifier is pumped for one full pulse per weight, as the other is empty.
        """
        del read_fraction  # all light is written and counted at any input
        n_in, n_out = weights.shape
        light = jnp.sum(jnp.abs(weights)) * (self.photons * photon_j(self.medium.wavelength_m))
        return (
            Action("laser", light, "J"),
            Action("modulator", self.n_cells(n_in, n_out), "symbol"),
            Action("receiver", n_out, "sample"),
            Action("hold", n_in * n_out * self.medium.hold_w(self.photons), "W"),
        )

    def n_cells(self, n_in: int, n_out: int) -> int:
        """Return the number of pulses: two per weight."""
        return 2 * n_in * n_out
