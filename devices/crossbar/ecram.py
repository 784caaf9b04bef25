"""Electrochemical RAM: a transistor whose channel conductance moves in small, even steps by counted gate pulses.

In units w of half the conductance window, with the point of equal steps at w = 0, one pulse moves a cell by

    up      s (1 - c_up w/w_max) (1 + sigma xi)          down      s (1 - c_down w/w_min) (1 + sigma xi)

A cell is programmed pulse by pulse: erased to one end of its window, moved towards the target, read after each pulse.
The last read finds the target round(d/s) = k pulses away (d is the distance left, s the step there), and these k pulses
are applied without further reads; k = 0 reads until the end. The remaining error is

    g - g_T = s (u + sqrt(k sigma^2 + k^2 delta^2) xi)     u uniform in [-1/2, 1/2]
    rms     = s sqrt(1/12 + k sigma^2 + k^2 delta^2)

The first term is the rounding to the nearest state: the noise of all earlier pulses adds up to many steps, so the
states that a cell can reach are random relative to its target (to a twentieth of a step, as noisy steps overshoot). The
second is the noise of the last pulses, the third the device-to-device variation delta of the step, unknown to
the pulse count.
The step is taken as constant over the last k pulses, and the verifying reads as exact: the resolution of the readout
circuit is an additional error. A target within half a step of the erased end needs no pulse and gets that end.

The fits are normalised and give no siemens: the default window, 15-30 uS, is one of the ranges over which linear,
symmetric steps were shown in W/YSZ/WOx cells. Retention and read noise are not part of the fits: the programmed
conductance is used up to 1 s, and reading later is refused. The variation of the window's ends from cell to cell (5 %)
is not modelled either.

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
from analogsim.base.types import Numeric
from analogsim.devices.protocol import Moments

_FITS = cited("tang2018", "kim2019", "rasch2021", note="lithium, metal oxide; fits as in aihwkit")
_WINDOW = cited("chen2023ecram", note="W/YSZ/WOx cells, Fig. 2; the fits give none")


class ECRAMState(NamedTuple):
    """Programmed conductance of each cell."""

    conductance: jax.Array  #: S


class ECRAM(Description):
    """An electrochemical cell right after programming; lithium by default, ``metal_oxide()`` is the other fit.

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
        default=(15e-6, 30e-6), unit="S", ge=0, le=1e-3, doc="ends of the cell's window, w_min, w_max", source=_WINDOW
    )
    bounds: Any = field(
        default=(-0.8276, 1.1724), ge=-10, le=10, doc="w_min and w_max; up and down steps are equal at 0", source=_FITS
    )
    step: Any = field(default=0.002, gt=0, le=1, doc="s at w = 0, in units of w", source=_FITS)
    step_decrease: Any = field(
        default=(0.1153, 0.5085),
        ge=0,
        lt=1,
        doc="c_up, c_down: relative decrease of the step at its end of the window",
        counts="the first with approach = 'up', the second with 'down'",
        source=_FITS,
    )
    step_noise: Any = field(
        default=0.3, ge=0, le=10, doc="sigma, pulse-to-pulse noise, fraction of a step", source=_FITS
    )
    step_std: Any = field(
        default=0.1, ge=0, le=1, doc="delta, device-to-device variation, fraction of a step", source=_FITS
    )
    blind_pulses: Any = field(default=1, ge=0, le=100, integer=True, doc="k, pulses after the last read")
    approach: str = static(default="up", choices=("up", "down"), doc="direction of the pulses that reach the target")
    programming_noise: Any = field(default=1.0, ge=0, le=100, doc="multiplies the programming error; 0 is exact")

    time_limit_s = 1.0

    @classmethod
    def metal_oxide(cls, **changes: Any) -> "ECRAM":
        """Return the fit to metal-oxide cells, whose steps are 7 times finer and far noisier, with ``changes``."""
        fit: dict[str, Any] = dict(
            bounds=(-0.8286, 1.1714), step=2.8214e-4, step_decrease=(0.4152, 0.7342), step_noise=2.0
        )
        return cls(**(fit | changes))

    @classmethod
    def published(cls) -> tuple["ECRAM", ...]:
        """Return one cell per published fit."""
        return (cls(), cls.metal_oxide())

    @property
    def largest(self) -> Numeric:
        """Largest conductance of the cell, S, whether or not the window in use reaches it."""
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
        """Return the mean step (S) of the last pulse of a cell that ends at ``g`` (S, any shape)."""
        (low, high), (w_min, w_max) = self.window, self.bounds
        unit = (high - low) / (w_max - w_min)
        w = w_min + (g - low) / unit
        decrease = self.step_decrease[0] * w / w_max if self.approach == "up" else self.step_decrease[1] * w / w_min
        return unit * self.step * (1 - decrease)

    def program(self, key: jax.Array, target: jax.Array) -> ECRAMState:
        """Program cells to ``target`` (S, any shape)."""
        xi = normal(stream(key, "last pulses"), target.shape, target.dtype)
        u = jax.random.uniform(stream(key, "rounding"), target.shape, target.dtype, -0.5, 0.5)
        error = self._or_end(target, self.step_at(target) * (u + self._pulse_noise() * xi))
        return ECRAMState(jnp.clip(target + self.programming_noise * error, *self.window))

    def programming_error(self, target: jax.Array) -> jax.Array:
        """Return the rms deviation (S) from ``target`` (S) right after programming, away from the window's ends."""
        rms = self.step_at(target) * jnp.sqrt(1 / 12 + self._pulse_noise() ** 2)
        return self.programming_noise * jnp.abs(self._or_end(target, rms))

    def read(self, state: ECRAMState, time_s: Numeric, key: jax.Array | None = None) -> Moments:
        """Return conductances (S); neither time nor reading changes them, so ``time_s`` and ``key`` are not used."""
        del time_s, key
        return Moments(state.conductance)

    def _pulse_noise(self) -> jax.Array:
        variance = jnp.asarray(self.blind_pulses * self.step_noise**2 + self.blind_pulses**2 * self.step_std**2)
        # The inner where keeps derivatives finite if there is no noise.
        return jnp.where(variance > 0, jnp.sqrt(jnp.where(variance > 0, variance, 1.0)), 0.0)

    def _or_end(self, target: jax.Array, error: jax.Array) -> jax.Array:
        """Return ``error``, or the distance to the erased end for targets within half a step of it."""
        to_end = (self.window[0] if self.approach == "up" else self.window[1]) - target
        return jnp.where(jnp.abs(to_end) > self.step_at(target) / 2, error, to_end)
