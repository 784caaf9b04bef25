"""Weights as pulses of light in a medium that cannot keep them: they fade, or gain keeps them and adds noise.

A weight is a pair of pulses, one for its positive and one for its negative part: the other one is empty. A pulse of the
weight 1 starts with n_0 photons. Lasers give coherent pulses: how many photons there are is decided when they are
counted, so reading is random and writing is not. With the share eta(t) left, N(t) photons of noise by gain, and d dark
counts, the pair's counts n+ and n- give the weight (n+ - n-)/n_0 with

    mean       eta w
    variance   (n_0 eta |w| (1 + 2 N) + 2 N (N + 1) + 2 d) / n_0^2

Without gain the counts are Poisson, since thinned coherent light stays coherent. With gain a pulse is a
displaced thermal state, one mode of it, drawn as a Gaussian of these moments. The means of N and d cancel.

An input multiplies the currents behind the counters, which add up over the pulses of a column: noise counts with x^2.
(If it dimmed the light instead, that light would add (|x| - x^2) eta |w| / n_0.) Counting destroys what was held: every
product reads all pulses and writes them anew.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from analogsim.base.description import Description, field, static
from analogsim.base.dtypes import wide
from analogsim.base.errors import InputError
from analogsim.base.literature import Source
from analogsim.base.random import normal, stream
from analogsim.devices.photonic.detection import counts
from analogsim.devices.photonic.light import photon_j
from analogsim.devices.photonic.volatile import RecirculatingLoop
from analogsim.devices.protocol import Action, Moments, OneColumnPerOutput

_ASSUMED = Source(note="assumed")


class LightState(NamedTuple):
    """What was written: the mean photons of every pair over n_0, with the sign of its filled pulse."""

    weights: jax.Array


class FadingLight(OneColumnPerOutput, Description):
    """Pairs of pulses in a medium; see the module for the equations.

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
        doc="what holds the light: DelayLine, RecirculatingLoop, Cavity, AtomicMemory",
    )
    photons: Any = field(default=1e6, gt=0, le=1e9, doc="n_0, of a pulse of the weight 1", source=_ASSUMED)
    rate_hz: Any = field(
        default=1e9, unit="Hz", gt=0, le=1e12, doc="pulses a second; at most the medium's bandwidth", source=_ASSUMED
    )
    dark_counts: Any = field(
        default=0.0, ge=0, le=1e9, doc="d, counted in an empty pulse", source=Source(note="none by default")
    )
    rows: int = static(
        default=512, ge=1, le=1_000_000, integer=True,
        doc="pulses of a column, which come one after another: the most inputs of a tile", source=_ASSUMED,
    )  # fmt: skip

    def check(self) -> None:
        rate, bandwidth = self.rate_hz, self.medium.bandwidth_hz
        if isinstance(rate, float) and isinstance(bandwidth, float) and rate > bandwidth:
            self.refuse(
                "rate_hz",
                f"must be at most {bandwidth:g}, the bandwidth of the {type(self.medium).__name__} (unit: Hz)",
            )

    draws_at_program = False  # nothing is random before it is counted
    destructive_read = True  # what is counted is gone

    @property
    def time_limit_s(self) -> Any:
        """When the light leaves the medium, seconds after writing; None where it only fades."""
        return self.medium.time_limit_s

    @property
    def read_time_s(self) -> Any:
        """Seconds of one product: the places of a column one after another, all columns side by side."""
        return self.rows / self.rate_hz

    def media(self, n_out: int) -> jax.Array:
        """How many media hold a tile: one for each rail of an output, more where not all rows fit into one."""
        each = jnp.maximum(jnp.floor(self.medium.capacity(self.rate_hz)), 1.0)
        return 2 * n_out * jnp.ceil(self.rows / each)

    def program(self, key: jax.Array | None, weights: jax.Array, reprogram: Any = None) -> LightState:
        """Write ``[n_in, n_out]``; nothing is random before it is counted, so the key may be None."""
        del key, reprogram
        if weights.shape[0] > self.rows:
            raise InputError(
                f"FadingLight.rows = {self.rows}: must be at least {weights.shape[0]}, the inputs of the tile"
            )
        return LightState(wide(weights))

    def read(self, state: LightState, time_s: Any, key: jax.Array | None = None) -> Moments:
        """The weights that are counted ``time_s`` after writing; NaN once the light has left the medium."""
        weights = state.weights
        survival = self.medium.efficiency(jnp.asarray(time_s, weights.dtype)).astype(weights.dtype)
        if key is None:
            moments = Moments(survival * weights, self._variance(weights, survival, time_s))
        elif self.medium.amplified:
            variance = self._variance(weights, survival, time_s)
            # The slope of a root is infinite at zero, where nothing varies.
            varies = variance > 0
            sigma = jnp.where(varies, jnp.sqrt(jnp.where(varies, variance, 1.0)), 0.0)
            drawn = normal(stream(key, "photon counts"), weights.shape, weights.dtype)
            moments = Moments(survival * weights + sigma * drawn)
        else:
            moments = Moments(self._counted(key, survival * weights))
        if self.time_limit_s is None:
            return moments
        # A traced time cannot be refused; there is no light to read any more.
        inside = jnp.asarray(time_s, weights.dtype) <= jnp.asarray(self.time_limit_s, weights.dtype)
        return jax.tree.map(lambda a: jnp.where(inside, a, jnp.nan), moments)

    def _variance(self, weights: jax.Array, left: jax.Array, time_s: Any) -> jax.Array:
        """Of the estimate, from read to read; in units of n_0, which squared would leave the range of float32."""
        photons = jnp.asarray(self.photons, weights.dtype)
        added = self.medium.added_photons(jnp.asarray(time_s, weights.dtype)).astype(weights.dtype)
        empty = 2 * (added * (added + 1) + self.dark_counts) / photons
        return ((left * jnp.abs(weights) * (1 + 2 * added) + empty) / photons).astype(weights.dtype)

    def _counted(self, key: jax.Array, weights: jax.Array) -> jax.Array:
        """One count of every pulse, as weights."""
        parts = jnp.stack([jnp.maximum(weights, 0.0), jnp.maximum(-weights, 0.0)])
        expected = (parts * self.photons + self.dark_counts).astype(weights.dtype)
        plus, minus = counts(stream(key, "photon counts"), expected)
        return ((plus - minus) / self.photons).astype(weights.dtype)

    def noise(self, x: jax.Array, y: jax.Array, state: Any) -> None:
        """Counting is part of reading; nothing is added behind it."""
        return None

    def cost(self, weights: jax.Array, read_fraction: Any) -> tuple[Action, ...]:
        """A product writes every pulse anew: its light, a symbol a pulse; a sample an output; and the power of gain.

        An amplifier is pumped for a full pulse a weight, of whose pair one is empty.
        """
        del read_fraction  # all light is written and counted, whatever the input
        n_in, n_out = weights.shape
        light = jnp.sum(jnp.abs(weights)) * (self.photons * photon_j(self.medium.wavelength_m))
        return (
            Action("laser", light, "J"),
            Action("modulator", self.n_cells(n_in, n_out), "symbol"),
            Action("receiver", n_out, "sample"),
            Action("hold", n_in * n_out * self.medium.hold_w(self.photons), "W"),
        )

    def n_cells(self, n_in: int, n_out: int) -> int:
        """Places for pulses, two a weight."""
        return 2 * n_in * n_out
