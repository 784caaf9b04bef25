"""Energy of training, and published training runs for comparison.

    systems       E = system power x devices x time   or, from the work,  time = 6 N D / (devices x achieved FLOP/s)
    as published  E PUE                               with the PUE of the data centre

for N parameters and D tokens. ``energy_j`` excludes the data centre's overhead, which ``lifecycle`` and
``carbon.operational_kg`` apply; published figures include it (``facility_j``, ``mwh``, ``t``). Runs: D. Patterson et
al., arXiv 2104.10350 (system power is the mean per device, including its part of the server), as tabulated with
LLMCarbon, arXiv 2309.14393; BLOOM: A. S. Luccioni et al., arXiv 2211.02001, which reports device-hours at 400 W. The
row of Meena is recalled.
"""

import csv
import dataclasses
import functools
import importlib.resources

from analogsim.base.errors import InputError
from analogsim.energy.carbon import J_PER_KWH


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """A published training run.

    Attributes:
      name: name of the model.
      power_w: mean power per device in W, including its part of the server.
      device_s: number of devices times seconds.
      pue: power usage effectiveness of the data centre.
      kg_per_kwh: carbon intensity of its electricity.
      reported_mwh, reported_t: published energy in MWh and carbon in t, with PUE.
      is_recalled: True if the row was written from memory.
      source: the publication.
    """

    name: str
    power_w: float
    device_s: float
    pue: float
    kg_per_kwh: float
    reported_mwh: float
    reported_t: float
    is_recalled: bool
    source: str

    @property
    def energy_j(self) -> float:
        """Joules of the devices with their servers, without the data centre's overhead."""
        return self.power_w * self.device_s

    @property
    def facility_j(self) -> float:
        """Joules with the data centre's overhead, as published: ``energy_j`` times ``pue``."""
        return self.energy_j * self.pue

    @property
    def mwh(self) -> float:
        """``facility_j`` in megawatt-hours."""
        return self.facility_j / (1e3 * J_PER_KWH)

    @property
    def t(self) -> float:
        """Tonnes of carbon dioxide equivalent of ``mwh``."""
        return self.mwh * self.kg_per_kwh


@functools.cache
def training_runs() -> dict[str, TrainingRun]:
    """Return the seven published runs by name.

    Example:
      >>> round(training_runs()["GPT3"].mwh)
      1289
    """
    table = importlib.resources.files("analogsim.energy") / "data" / "training_energy_reference_cases.csv"
    with table.open(encoding="utf-8") as file:
        return {row["name"]: _run(row) for row in csv.DictReader(file)}


def _run(row: dict[str, str]) -> TrainingRun:
    if row["days"]:
        device_s = float(row["n_devices"]) * float(row["days"]) * 86400
    else:  # reported as device-hours, in the column of the device's name
        device_s = float(row["device"].split("GPU-hours ")[1].rstrip(")")) * 3600
    return TrainingRun(
        name=row["name"],
        power_w=float(row["avg_system_power_w"].split()[0]),
        device_s=device_s,
        pue=float(row["pue"]),
        kg_per_kwh=float(row["kgco2e_per_kwh"]),
        reported_mwh=float(row["energy_mwh"]),
        reported_t=float(row["tco2e"]),
        is_recalled="recalled" in row["source"],
        source=row["source"],
    )


def training_s(parameters: float, tokens: float, devices: float, achieved_flop_per_s: float) -> float:
    """Return the seconds to train a dense model: 6 N D floating-point operations at the achieved rate of the devices.

    Args:
      parameters, tokens: N and D.
      devices: number of devices.
      achieved_flop_per_s: achieved (not peak) operations per second of one device.

    Raises:
      InputError: for a number that is not positive.

    Example:
      >>> round(training_s(175e9, 300e9, 10_000, 24.6e12) / 86400, 2)     # GPT-3, days
      14.82
    """
    for name, value in (("parameters", parameters), ("tokens", tokens), ("devices", devices),
                        ("achieved_flop_per_s", achieved_flop_per_s)):  # fmt: skip
        if not value > 0:
            raise InputError(f"{name} = {value!r}: must be greater than 0")
    return 6.0 * parameters * tokens / (devices * achieved_flop_per_s)
