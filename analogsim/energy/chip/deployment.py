"""What the life of a chip adds to an inference: writing its weights, calibrating its drift away, writing them again.

    e = (W (1 + rewrites) + C calibrations) / N

with W the energy of writing every cell once, C of one calibrating readout, and N inferences in the whole life.
"""

import dataclasses
import math
from typing import Any

from analogsim.base.errors import InputError
from analogsim.base.literature import Source
from analogsim.base.units import parse
from analogsim.energy.breakdown import EnergyItem
from analogsim.energy.chip.arrays import AnalogArrays


@dataclasses.dataclass(frozen=True, kw_only=True)
class Deployment:
    """How a chip is used.

    Attributes:
      inferences: in its whole life.
      lifetime_s: how long it is, seconds or text (``"3 years"``).
      recalibrate_every_s: time between readouts for drift compensation; None: once, when it is put to use.
      rewrite_every_s: time between writing all weights anew; None: never.
      write_j: joules of writing all cells once, where it is known better than ``EnergyTable.cell_write_j`` says, for
        example
        from the pulses that a chip's closed loop took (``chip.write_statistics``); None: cells times that price.

    Example:
      >>> Deployment(inferences=1e9, lifetime_s="3 years", recalibrate_every_s="1 day").calibrations
      1096
    """

    inferences: float
    lifetime_s: Any = "3 years"
    recalibrate_every_s: Any = None
    rewrite_every_s: Any = None
    write_j: float | None = None

    def __post_init__(self) -> None:
        for name in ("lifetime_s", "recalibrate_every_s", "rewrite_every_s"):
            value = getattr(self, name)
            if isinstance(value, str):
                value = parse(value, "s", f"Deployment.{name}")
                object.__setattr__(self, name, value)
            if value is not None and not (_is_number(value) and value > 0):
                raise InputError(f"Deployment.{name} = {value!r}: must be greater than 0 (unit: s)")
        if self.write_j is not None and not (_is_number(self.write_j) and self.write_j >= 0):
            raise InputError(f"Deployment.write_j = {self.write_j!r}: must be at least 0 (unit: J)")
        if not (_is_number(self.inferences) and self.inferences >= 1):
            raise InputError(f"Deployment.inferences = {self.inferences!r}: must be at least 1")

    @property
    def calibrations(self) -> int:
        """Readouts for drift compensation, the first one included."""
        return 1 + self._times(self.recalibrate_every_s)

    @property
    def writes(self) -> int:
        """How often the weights are written, the first time included."""
        return 1 + self._times(self.rewrite_every_s)

    def _times(self, every_s: float | None) -> int:
        return 0 if every_s is None else math.floor(self.lifetime_s / every_s)

    def lines(self, arrays: AnalogArrays | None) -> list[EnergyItem]:
        """What one inference bears of it.

        Raises:
          InputError: where the energy of writing a cell is not known.
        """
        if arrays is None:
            return []
        unit_energy_j = arrays.write_energy_j if self.write_j is None else self.write_j
        if unit_energy_j is None:
            raise InputError(
                "EnergyTable.cell_write_j = None: a deployment needs the energy of writing one cell (unit: J)"
            )
        here = Source(note=f"set by the deployment: {self.inferences:.3g} inferences")
        write = Source(note="EnergyTable.cell_write_j for every cell" if self.write_j is None else "Deployment.write_j")
        read = Source(note="AnalogArrays.calibration_energy_j")
        lines = [EnergyItem(component="writing", action="all cells", count=self.writes / self.inferences, unit="",
                     unit_energy_j=unit_energy_j, sources=(write, here))]  # fmt: skip
        if arrays.calibration_energy_j:
            share = self.calibrations / self.inferences
            lines.append(EnergyItem(component="drift calibration", action="readout", count=share, unit="",
                             unit_energy_j=arrays.calibration_energy_j, sources=(read, here)))  # fmt: skip
        return lines


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
