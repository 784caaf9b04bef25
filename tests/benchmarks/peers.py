"""aihwkit-lightning and aihwkit beside us, in a Python of their own that ``ANALOGSIM_PEER_PYTHON`` names.

They run between two rounds of our own calls, on our weights, inputs and ranges (``torch_peer.py``).
"""

import dataclasses
import json
import os
import pathlib
import subprocess
import tempfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict

from tests.benchmarks.agreement import Agreement, Outputs
from tests.benchmarks.timing import Row

SCRIPT = pathlib.Path(__file__).with_name("torch_peer.py")
PACKAGES = ("aihwkit-lightning", "aihwkit")


@dataclasses.dataclass
class Peers:
    """What peers found for one workload; nothing where none is installed.

    Attributes:
      item: name of the benchmark.
      workload: name of the workload in ``torch_peer.py``.
      params: Flax parameters.
      x: inputs.
      ranges: input ranges by layer.
      repeats: timed calls.
      packages: packages that offer the workload.
      found: times, outputs and versions by package; an error instead where it could not run.
    """

    item: str
    workload: str
    params: Any
    x: Any
    ranges: Mapping[str, float]
    repeats: int
    packages: tuple[str, ...] = PACKAGES
    found: dict[str, dict] = dataclasses.field(default_factory=dict)

    def run(self) -> None:
        """Run every package once."""
        python = os.environ.get("ANALOGSIM_PEER_PYTHON")
        if not python:
            return
        arrays = {path: np.asarray(leaf) for path, leaf in flatten_dict(self.params, sep="/").items()}
        arrays |= {f"range:{path}": np.asarray(value) for path, value in self.ranges.items()}
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "arrays.npz"
            np.savez(file, x=np.asarray(self.x), **arrays)
            for package in self.packages:
                command = [python, str(SCRIPT), package, self.workload, str(self.repeats), str(file)]
                # What this process sets for JAX and its own imports is not the peer's.
                own = {name: v for name, v in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
                done = subprocess.run(command, capture_output=True, text=True, check=False, env=own)
                if done.returncode:
                    self.found[package] = {"error": (done.stderr.strip().splitlines() or ["no output"])[-1]}
                else:
                    self.found[package] = json.loads(done.stdout.splitlines()[-1])

    def rows(
        self, beside: str, beside_ms: list[float], at_least: Mapping[str, float], times: float = 1.0, unit: str = "ms"
    ) -> list[Row]:
        """Rows of the peers' times, as multiples of ours.

        Args:
          beside: name of our program.
          beside_ms: its times in ``unit``.
          at_least: how many times ours a peer must take, by package.
          times: factor from milliseconds of the peer's call to ``unit`` of ours.
          unit: unit of the row.
        """
        return [
            Row(
                self.item, package, unit, tuple(times * ms for ms in found["ms"]), beside, tuple(beside_ms),
                at_least=at_least.get(package),
            )
            for package, found in self.found.items() if "ms" in found
        ]  # fmt: skip

    def agreements(self, name: str, ours: Outputs) -> list[Agreement]:
        """Outputs of ours beside each peer's.

        Args:
          name: name of our program.
          ours: its outputs.
        """
        return [
            Agreement(self.item, name, package, ours, Outputs(**found["outputs"]))
            for package, found in self.found.items()
            if "outputs" in found
        ]
