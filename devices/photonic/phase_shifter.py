"""Phase shifters: commands for target phases, and the phases that result from commands.

    command   c = (Gamma^-1 phi) mod 2 pi, rounded by the DAC           drive of a heater, radians
    phase     phi = Gamma c + offset + drift sqrt(t) xi + noise         per read

Shifters are on a grid, light running from row to row (``grid``). A heater also warms its neighbours: Gamma has ones on
its diagonal and g exp(-(d - 1) / L) elsewhere, d being the distance in steps of the grid. Compensation solves the
commands for known crosstalk and wraps them by full turns, because a heater cannot cool. The DAC is uniform in phase,
2^b levels over the half-open turn [0, 2 pi), or uniform in voltage, phi = pi (V / V_pi)^2 at 2^b levels of [0, V_max].

Heating takes P_pi phi / pi for as long as the phase is held.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from analogsim.base.description import Description, field, static
from analogsim.base.literature import Source, cited

_REACH = 3  # steps of the grid beyond which crosstalk is neglected
_TURN = 2 * np.pi

_HARRIS = cited("harris2014", note="24.77 mW for a phase of pi")
_TORCHONN = Source(note="default of TorchONN")
_ASSUMED = Source(note="assumed")


class PhaseShifter(Description):
    """A phase shifter, by default a heater; see the module for the equations.

    Example:
      >>> PhaseShifter(bits=6).step
      0.09817477042468103
    """

    half_wave_w: Any = field(
        default=24.77e-3, unit="W", ge=0, le=10, doc="power that holds a phase of pi; 0: non-volatile", source=_HARRIS
    )
    bits: Any = field(
        default=8,
        ge=1,
        le=24,
        integer=True,
        optional=True,
        doc="resolution of the DAC; None sets any phase",
        source=_ASSUMED,
    )
    coding: str = static(
        default="phase", choices=("phase", "voltage"), doc="whether the DAC's steps are equal in phase or in voltage"
    )
    v_pi: Any = field(
        default=4.36, unit="V", gt=0, le=1000, doc="voltage of a phase of pi",
        counts="with coding = 'voltage'", source=_TORCHONN,
    )  # fmt: skip
    v_max: Any = field(
        default=10.8, unit="V", gt=0, le=1000, doc="full scale of the DAC",
        counts="with coding = 'voltage'", source=_TORCHONN,
    )  # fmt: skip
    crosstalk: Any = field(
        default=0.01, ge=0, le=0.05, optional=True, doc="fraction of a phase that the next shifter sees; None: none",
        source=Source(note="default of TorchONN's simulator"),
    )  # fmt: skip
    crosstalk_length: Any = field(
        default=1.0,
        gt=0,
        le=100,
        doc="steps of the grid over which crosstalk falls by a factor of e",
        counts="with crosstalk",
        source=_ASSUMED,
    )
    compensated: bool = static(
        default=True, choices=(True, False), doc="whether commands are solved for the known crosstalk"
    )
    offset_rad: Any = field(
        default=0.01, unit="rad", ge=0, le=10, doc="standard deviation of the phase offsets that calibration leaves",
        source=_ASSUMED,
    )  # fmt: skip
    drift_rad: Any = field(
        default=1e-4, unit="rad", ge=0, le=10,
        doc="standard deviation of a slow random walk after 1 s, growing with the square root of time",
        source=_ASSUMED,
    )  # fmt: skip
    noise_rad: Any = field(
        default=None,
        unit="rad",
        ge=0,
        le=10,
        optional=True,
        doc="standard deviation from read to read, independent (slow wander of heaters is drift); None: none",
    )

    def check(self) -> None:
        v_pi, v_max = self.v_pi, self.v_max
        if self.coding == "voltage" and isinstance(v_pi, float) and isinstance(v_max, float):
            reach = (v_max / v_pi) ** 2
            if reach < 2:
                self.refuse(
                    "v_max",
                    f"reaches a phase of {reach:.2g} pi: must be at least {v_pi * 2**0.5:g} for a full turn (unit: V)",
                )

    @property
    def step(self) -> Any:
        """Phase step of a DAC that is uniform in phase, radians; 0 if any phase can be set."""
        return 0.0 if self.bits is None else _TURN / 2.0**self.bits

    def hold_w(self, commands: jax.Array) -> jax.Array:
        """Return the total power (W) that holds these commands (rad, any shape)."""
        return self.half_wave_w / jnp.pi * jnp.sum(commands)

    def commands(self, phases: jax.Array, mask: np.ndarray) -> jax.Array:
        """Return the commands of the shifters for target phases, radians, at least 0.

        Args:
          phases: target phases on the grid, ``[rows, width]``, radians.
          mask: mask of the positions that have a shifter, ``[rows, width]``.
        """
        target = jnp.where(mask, jnp.mod(phases, _TURN), 0.0)
        if self.crosstalk is not None and self.compensated:
            target = self._against_crosstalk(target, mask)
        return jnp.where(mask, self._converted(target), 0.0)

    def phases(self, commands: jax.Array, mask: np.ndarray) -> jax.Array:
        """Return the phases (rad, ``[rows, width]``) that result from commands with crosstalk; ``mask`` as above."""
        if self.crosstalk is None:
            return commands
        return jnp.where(mask, commands + self._leaked(commands), 0.0)

    def _against_crosstalk(self, target: jax.Array, mask: np.ndarray) -> jax.Array:
        """Solve for commands whose phases equal the targets up to full turns: first the turns, then the commands.

        Each fixed-point round subtracts the neighbours' leakage. The error shrinks per round by the summed crosstalk:
        to 0.06 of it for the default crosstalk, to 0.3 for the largest allowed.
        """

        def reduced(turns: jax.Array, commands: jax.Array) -> jax.Array:
            return jnp.where(mask, target + turns - self._leaked(commands), 0.0)

        def choose(_: Any, commands: jax.Array) -> jax.Array:
            return jnp.where(mask, jnp.mod(target - self._leaked(commands), _TURN), 0.0)

        commands = lax.fori_loop(0, 6, choose, target)
        # Fix the nearest turn before the linear rounds: a late change of leakage must not move a command by a turn.
        turns = _TURN * jnp.round((commands - target + self._leaked(commands)) / _TURN)
        commands = lax.fori_loop(0, 16, lambda _, c: reduced(turns, c), commands)
        return jnp.maximum(commands, 0.0)

    def _leaked(self, commands: jax.Array) -> jax.Array:
        """Phase that the neighbours add at each position of the grid."""
        padded = jnp.pad(commands, _REACH)
        rows, width = commands.shape
        # Neighbours at (+-dx, +-dy) are equally far and share one factor.
        total = jnp.zeros_like(commands)
        for dx in range(_REACH + 1):
            for dy in range(_REACH + 1):
                if dx == dy == 0:
                    continue
                neighbours = [
                    padded[_REACH + sx * dx :, _REACH + sy * dy :][:rows, :width]
                    for sx in ((1, -1) if dx else (1,))
                    for sy in ((1, -1) if dy else (1,))
                ]
                factor = self.crosstalk * jnp.exp((1 - np.hypot(dx, dy)) / self.crosstalk_length)
                total = total + jnp.asarray(factor, commands.dtype) * sum(neighbours)
        return total

    def _converted(self, commands: jax.Array) -> jax.Array:
        """Round commands to the DAC's levels. Coded in phase, a full turn becomes 0, which takes no power."""
        if self.bits is None:
            return commands
        levels = jnp.ldexp(jnp.ones((), commands.dtype), jnp.asarray(self.bits).astype(jnp.int32))
        if self.coding == "phase":
            return jnp.mod(jnp.round(commands * levels / _TURN), levels) * _TURN / levels
        step = self.v_max / (levels - 1)
        volts = self.v_pi * jnp.sqrt(commands / jnp.pi)
        return jnp.pi * (jnp.clip(jnp.round(volts / step), 0, levels - 1) * step / self.v_pi) ** 2


def _mems() -> PhaseShifter:
    return PhaseShifter(half_wave_w=0.0, crosstalk=None)


#: Phase-shifter technologies by name, given by their differences from a heater. Powers are of SimPhony's device
#: library; a phase-change shifter (Sb2Se3) holds its phase without power.
SHIFTERS = {
    "thermo-optic": PhaseShifter,
    "MEMS": _mems,
    "electro-optic": lambda: PhaseShifter(half_wave_w=15e-3, crosstalk=None),
    "phase-change": lambda: PhaseShifter(half_wave_w=0.0, crosstalk=None, bits=5),
}
