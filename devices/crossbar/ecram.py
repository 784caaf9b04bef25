"""Electrochemical RAM: a transistor whose channel conductance is moved by counted gate pulses in small, even steps.

In units w of half the conductance window, with the point of equal steps at w = 0, one pulse moves a cell by

    up      s (1 - c_up w/w_max) (1 + sigma xi)          down      s (1 - c_down w/w_min) (1 + sigma xi)

A cell is written pulse by pulse: erased to the end of its window, moved towards the target and read after each pulse.
The last read finds the target round(d/s) = k pulses away (d is the distance left, s the step there), and these k pulses
are given without reading again; k = 0 reads to the end. What remains is

    g - g_T = s (u + sqrt(k sigma^2 + k^2 delta^2) xi)     u uniform in [-1/2, 1/2]
    rms     = s sqrt(1/12 + k sigma^2 + k^2 delta^2)

The first term is the rounding to the nearest state: the noise of all the pulses before adds up to many steps, so the
states that a cell can reach lie at random about its target (to a twentieth of a step, as noisy steps overshoot). The
second is the noise of the last pulses, the third the spread delta of the step from cell to cell, which the count does
not know of. The step is taken as constant over the last k pulses, and the reads of the write as exact: what the reading
circuit cannot tell apart comes on top. A target within half a step of the erased end needs no pulse and is met by the
end itself.

The fits are normalised and give no siemens: the default window, 15-30 uS, is one of the ranges over which linear,
symmetric steps were shown in W/YSZ/WOx cells. Retention and read noise are not part of the fits: what was written is
used up to 1 s, later reading is refused. Not modelled either: the spread of the window's ends from cell to cell (5 %).

Sources: lithium J. Tang et al., IEDM 2018, ieeexplore 8614551; metal oxide S. Kim et al., IEDM 2019, ieeexplore
8993463; fits as in aihwkit. Window: "Open-loop analog programmable electrochemical memory array", Nat. Commun. 14
(2023), doi 10.1038/s41467-023-41958-4, Fig. 2.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from analogsim.base.description import Description, field, static
from analogsim.base.literature import cited
from analogsim.base.random import normal, stream
from analogsim.devices.protocol import Moments

_FITS = cited("tang2018", "kim2019", "rasch2021", note="lithium, metal oxide; fits as in aihwkit")
_WINDOW = cited("chen2023ecram", note="W/YSZ/WOx cells, Fig. 2; the fits give none")


class ECRAMState(NamedTuple):
    """What was written."""

    conductance: jax.Array  #: S


class ECRAM(Description):
    """An electrochemical cell right after programming; lithium by default, ``metal_oxide()`` gives the other fit.

    Example, the step at the lower end of the window, 0.002 of half a window of 15 uS, times 1 + 0.1153 0.8276/1.1724:
      >>> import jax, jax.numpy as jnp
      >>> cell = ECRAM()
      >>> round(float(cell.step_at(jnp.array(15e-6))) * 1e9, 2)
      16.22
      >>> state = cell.program(jax.random.key(0), jnp.full((4,), 20e-6))
      >>> cell.read(state, 1.0).mean.shape
      (4,)
    """

    g_max: Any = field(default=30e-6, unit="S", gt=0, le=1e-3, doc="largest programmed conductance", source=_WINDOW)
    g_min: Any = field(default=15e-6, unit="S", ge=0, le=1e-3, doc="conductance of a weight of zero", source=_WINDOW)
    window: Any = field(
        default=(15e-6, 30e-6), unit="S", ge=0, le=1e-3, doc="the cell's own ends, w_min and w_max", source=_WINDOW
    )
    bounds: Any = field(
        default=(-0.8276, 1.1724), ge=-10, le=10, doc="w_min and w_max; up and down steps are equal at 0", source=_FITS
    )
    step: Any = field(default=0.002, gt=0, le=1, doc="s at w = 0, in units of w", source=_FITS)
    slopes: Any = field(
        default=(0.1153, 0.5085),
        ge=0,
        lt=1,
        doc="c_up, c_down: how far a step shrinks at its end",
        counts="the first with approach = 'up', the second with 'down'",
        source=_FITS,
    )
    step_noise: Any = field(default=0.3, ge=0, le=10, doc="sigma, from pulse to pulse, a share of a step", source=_FITS)
    step_std: Any = field(default=0.1, ge=0, le=1, doc="delta, from cell to cell, a share of a step", source=_FITS)
    blind_pulses: Any = field(default=1, ge=0, le=100, integer=True, doc="k, pulses after the last read")
    approach: str = static(default="up", choices=("up", "down"), doc="pulses that lead to the target")
    programming_noise: Any = field(default=1.0, ge=0, le=100, doc="multiplies what the write leaves; 0 is exact")

    time_limit_s = 1.0

    @classmethod
    def metal_oxide(cls, **changes: Any) -> "ECRAM":
        """The fit to metal-oxide cells: 7 times finer, far noisier steps, optionally with fields changed."""
        fit: dict[str, Any] = dict(bounds=(-0.8286, 1.1714), step=2.8214e-4, slopes=(0.4152, 0.7342), step_noise=2.0)
        return cls(**(fit | changes))

    @classmethod
    def published(cls) -> tuple["ECRAM", ...]:
        return (cls(), cls.metal_oxide())

    @property
    def largest(self) -> Any:
        """What a cell conducts at most, S, however much of that is used."""
        return self.window[1]

    def check(self) -> None:
        low, high = self.window
        if all(isinstance(v, float) for v in (self.g_min, self.g_max, low, high)):
            if low >= high:
                self.refuse("window", "must begin with its smaller end (unit: S)")
            for name, value in (("g_min", self.g_min), ("g_max", self.g_max)):
                if not low <= value <= high:
                    self.refuse(name, f"must be within window = {self.window} (unit: S)")
        if all(isinstance(b, float) for b in self.bounds) and not self.bounds[0] < 0 < self.bounds[1]:
            self.refuse("bounds", "must be one below and one above 0")

    def step_at(self, g: jax.Array) -> jax.Array:
        """Mean change of conductance (S) by the last pulse of a write that ends at ``g`` (S)."""
        (low, high), (w_min, w_max) = self.window, self.bounds
        unit = (high - low) / (w_max - w_min)
        w = w_min + (g - low) / unit
        share = self.slopes[0] * w / w_max if self.approach == "up" else self.slopes[1] * w / w_min
        return unit * self.step * (1 - share)

    def program(self, key: jax.Array, target: jax.Array) -> ECRAMState:
        """Write to ``target`` (S, any shape)."""
        xi = normal(stream(key, "last pulses"), target.shape, target.dtype)
        u = jax.random.uniform(stream(key, "rounding"), target.shape, target.dtype, -0.5, 0.5)
        error = self._or_end(target, self.step_at(target) * (u + self._pulse_noise() * xi))
        return ECRAMState(jnp.clip(target + self.programming_noise * error, *self.window))

    def programming_error(self, target: jax.Array) -> jax.Array:
        """Rms deviation from ``target`` (S) right after programming, where no end of the window is near."""
        rms = self.step_at(target) * jnp.sqrt(1 / 12 + self._pulse_noise() ** 2)
        return self.programming_noise * jnp.abs(self._or_end(target, rms))

    def read(self, state: ECRAMState, time_s: Any, key: jax.Array | None = None) -> Moments:
        """Conductances (S); neither time nor reading changes them in this model, so time and key are not used."""
        del time_s, key
        return Moments(state.conductance)

    def _pulse_noise(self) -> jax.Array:
        variance = jnp.asarray(self.blind_pulses * self.step_noise**2 + self.blind_pulses**2 * self.step_std**2)
        # The inner where keeps slopes finite where there is no noise.
        return jnp.where(variance > 0, jnp.sqrt(jnp.where(variance > 0, variance, 1.0)), 0.0)

    def _or_end(self, target: jax.Array, error: jax.Array) -> jax.Array:
        """``error``, or the way to the erased end for targets that are met by it."""
        to_end = (self.window[0] if self.approach == "up" else self.window[1]) - target
        return jnp.where(jnp.abs(to_end) > self.step_at(target) / 2, error, to_end)
