"""What a run of the benchmarks is given and what it keeps."""

import contextlib
import dataclasses
import datetime
import importlib.metadata
import os
import pathlib
import platform
import subprocess
from typing import Any

import jax

from tests.benchmarks.agreement import Agreement
from tests.benchmarks.peers import Peers
from tests.benchmarks.timing import Row


@dataclasses.dataclass(frozen=True)
class Settings:
    """How much is measured.

    Attributes:
      repeats: timed calls of every program.
      first_repeats: first calls of every program, which are compiled anew each time.
      quick: tiny sizes without peers: whether everything runs, not how fast.
    """

    repeats: int = 10
    first_repeats: int = 3
    quick: bool = False


@dataclasses.dataclass
class Curve:
    """Cost against a size, for a panel of the figure.

    Attributes:
      item: name of the benchmark.
      size: what grows, such as ``"chips"``.
      cost: what it costs, with its unit.
      points: ``[(size, median cost), ...]`` by program.
    """

    item: str
    size: str
    cost: str
    points: dict[str, list[tuple[float, float]]]


@dataclasses.dataclass
class Results:
    """Everything that a run found.

    Attributes:
      rows: measured quantities.
      agreements: outputs of two sides that are compared.
      curves: costs against sizes.
      peers: versions of peers by package; an error where one could not run.
      load: load average of a minute before each benchmark, by name.
    """

    rows: list[Row] = dataclasses.field(default_factory=list)
    agreements: list[Agreement] = dataclasses.field(default_factory=list)
    curves: list[Curve] = dataclasses.field(default_factory=list)
    peers: dict[str, Any] = dataclasses.field(default_factory=dict)
    load: dict[str, float] = dataclasses.field(default_factory=dict)

    def add_peers(self, found: Peers) -> None:
        """Keep the versions of peers that ran, and why others did not."""
        for package, about in found.found.items():
            kept = self.peers.setdefault(package, {})
            kept.update(about.get("versions", {}))
            if "ms_by_threads" in about:
                kept.setdefault("ms_by_threads", {})[found.item] = about["ms_by_threads"]
            if "error" in about:
                kept.setdefault("errors", {})[found.item] = about["error"]

    def as_dict(self, settings: Settings) -> dict[str, Any]:
        """The run as JSON holds it: raw values, medians, ratios and targets, and the machine."""
        return {
            "about": about(),
            "settings": dataclasses.asdict(settings),
            "peers": self.peers,
            "load_1min": self.load,
            "rows": [
                {**dataclasses.asdict(row), "value": row.value, "ratio": row.ratio, "reached": row.reached}
                for row in self.rows
            ],
            "agreements": [{**dataclasses.asdict(one), "agree": one.agree} for one in self.agreements],
            "curves": [dataclasses.asdict(curve) for curve in self.curves],
        }


def about() -> dict[str, Any]:
    """Versions, machine, date and commit."""
    device = jax.devices()[0]
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in ("jax", "jaxlib", "flax", "numpy", "optax")},
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "device": f"{device.platform} {device.device_kind}",
    }


def load() -> float:
    """Load average of the last minute; zero where the system does not tell."""
    with contextlib.suppress(OSError, AttributeError):
        return os.getloadavg()[0]
    return 0.0


def _commit() -> str:
    """The commit of the checkout, marked if files differ from it."""
    root = pathlib.Path(__file__).parent
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            cwd=root, capture_output=True, text=True, check=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):  # not a checkout
        return ""
    return done.stdout.strip()


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
