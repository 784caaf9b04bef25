"""Energy per inference of programming, reprogramming and drift calibration, amortised over a chip's lifetime.

    e = (W (1 + rewrites) + C calibrations) / N

with W the energy of writing every cell once, C of one calibration readout, and N inferences over the lifetime.
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
    """The use of a chip over its lifetime.

    Attributes:
      inferences: inferences over the lifetime.
      lifetime_s: lifetime in seconds, or as a string (``"3 years"``).
      recalibrate_every_s: time between readouts for drift compensation; None: once, after programming.
      rewrite_every_s: time between reprogramming all weights; None: never.
      write_j: joules of writing all cells once, if known better than from ``EnergyTable.cell_write_j``, for example
        from the pulses of program-and-verify (``chip.write_statistics``); None: number of cells times that energy.

    Raises:
      InputError: if a time is not positive, ``write_j`` is negative, or there is less than one inference.

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
        """Number of readouts for drift compensation, the first one included."""
        return 1 + self._times(self.recalibrate_every_s)

    @property
    def writes(self) -> int:
        """Number of times the weights are written, the first time included."""
        return 1 + self._times(self.rewrite_every_s)

    def _times(self, every_s: float | None) -> int:
        return 0 if every_s is None else math.floor(self.lifetime_s / every_s)

    def items(self, arrays: AnalogArrays | None) -> list[EnergyItem]:
        """Return the energy items per inference.

        Args:
          arrays: the arrays that hold the model; None if no layer is analog, which costs nothing.

        Raises:
          InputError: if the energy of writing a cell is not known.
        """
        if arrays is None:
            return []
        unit_energy_j = arrays.write_energy_j if self.write_j is None else self.write_j
        if unit_energy_j is None:
            raise InputError(
                "EnergyTable.cell_write_j = None: a deployment needs the energy of writing one cell (unit: J)"
            )
        deployment = Source(note=f"set by the deployment: {self.inferences:.3g} inferences")
        write = Source(note="EnergyTable.cell_write_j for every cell" if self.write_j is None else "Deployment.write_j")
        read = Source(note="AnalogArrays.calibration_energy_j")
        items = [EnergyItem(component="writing", action="all cells", count=self.writes / self.inferences, unit="",
                     unit_energy_j=unit_energy_j, sources=(write, deployment))]  # fmt: skip
        if arrays.calibration_energy_j:
            per_inference = self.calibrations / self.inferences
            items.append(EnergyItem(component="drift calibration", action="readout", count=per_inference, unit="",
                             unit_energy_j=arrays.calibration_energy_j, sources=(read, deployment)))  # fmt: skip
        return items


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
