"""What training takes, and the published runs it is checked against.

    machines  E = system power x devices x time       or, from the work,  time = 6 N D / (devices x achieved FLOP/s)
    as published  E PUE                                                    of the data centre that they ran in

N parameters, D tokens. ``energy_j`` is that of the machines, which ``lifecycle`` and ``carbon.operational_kg`` multiply
by a PUE; what the publications report holds theirs already (``facility_j``, ``mwh``, ``t``). Runs: D. Patterson et al.,
arXiv 2104.10350 (system power is the mean of a device with its share of the server), as tabulated with LLMCarbon, arXiv
2309.14393; BLOOM: A. S. Luccioni et al., arXiv 2211.02001, which reports device-hours at 400 W. Meena's row is
recalled.
"""

import csv
import dataclasses
import functools
import importlib.resources

from analogsim.base.errors import InputError
from analogsim.energy.carbon import J_PER_KWH


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """One run.

    Attributes:
      name: of the model.
      power_w: mean, of a device with its share of the system.
      device_s: devices times seconds.
      pue: of the data centre it ran in.
      kg_per_kwh: of its electricity.
      reported_mwh, reported_t: energy and carbon as published.
      is_recalled: whether the row was written from memory.
      source: where it comes from.
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
        """Joules of the machines: power, devices and time, without what the data centre adds."""
        return self.power_w * self.device_s

    @property
    def facility_j(self) -> float:
        """Joules of the machines and of the data centre, as publications count: ``energy_j`` times ``pue``."""
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
    """The seven published runs by name."""
    table = importlib.resources.files("analogsim.energy") / "data" / "training_energy_reference_cases.csv"
    with table.open(encoding="utf-8") as file:
        return {row["name"]: _run(row) for row in csv.DictReader(file)}


def _run(row: dict[str, str]) -> TrainingRun:
    if row["days"]:
        device_s = float(row["n_devices"]) * float(row["days"]) * 86400
    else:  # reported as device-hours, beside the device's name
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
    """Seconds of training a dense model: 6 N D floating-point operations at what the devices really reach.

    Args:
      parameters, tokens: N and D.
      devices: how many.
      achieved_flop_per_s: of each, not its peak.

    Raises:
      InputError: where a number is not positive.

    Example:
      >>> round(training_s(175e9, 300e9, 10_000, 24.6e12) / 86400, 2)     # GPT-3, days
      14.82
    """
    for name, value in (("parameters", parameters), ("tokens", tokens), ("devices", devices),
                        ("achieved_flop_per_s", achieved_flop_per_s)):  # fmt: skip
        if not value > 0:
            raise InputError(f"{name} = {value!r}: must be greater than 0")
    return 6.0 * parameters * tokens / (devices * achieved_flop_per_s)
