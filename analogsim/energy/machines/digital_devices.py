"""The digital devices with memories that models are compared with: vendors' specifications as data.

Peaks, memories and powers come from ``data/digital_baselines.csv``. The limits of short programs (launches, dispatch,
the fill of an array) are recalled if no table has them. ``digital`` computes energy and ``timing`` computes time.
"""

import csv
import dataclasses
import functools
import importlib.resources
import math
from types import MappingProxyType

LAUNCH_S = 3e-6
DISPATCH_S = 5e-6  #: from the host's call to the first instruction of a device behind PCIe
_UNPUBLISHED_NM = 14.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Device:
    """A digital device. Peaks are dense, without the marketing factor of two for structured sparsity.

    Attributes:
      name: short name.
      node_nm: process node in nm.
      peak_op_per_s: operations per second (two per multiply-accumulate) by the number format they are quoted for.
      number_format: default number format, a name in ``FORMATS``.
      memory: key of ``DRAM``; None if weights must fit on the chip.
      byte_per_s: bandwidth of that memory; infinite without one.
      tdp_w: thermal design power in W.
      idle_w: measured or published idle power in W; None if not known.
      on_chip_bytes: size of the largest on-chip memory; 0 if not known.
      launch_s: seconds per kernel launch; 0 for a device that runs a whole compiled program by itself.
      dispatch_s: seconds from the host's call to the first instruction, once per batch.
      fill_s: seconds to the first result of a product; (rows + columns) / clock for a systolic array.
      latency_s: latency of the memory in s.
      vector_op_per_s: additions or multiplications per second outside of products.
      assumed: which of these are assumptions, for the note of the energy breakdown.

    Example:
      >>> from analogsim.energy import digital_system
      >>> slow = dataclasses.replace(devices()["H100"], name="slow H100", byte_per_s=1e12)     # for ``compare``
      >>> digital_system(slow, number_format="fp8").name
      'slow H100 fp8'
    """

    name: str
    node_nm: float
    peak_op_per_s: MappingProxyType[str, float]
    number_format: str
    memory: str | None
    byte_per_s: float
    tdp_w: float
    idle_w: float | None
    on_chip_bytes: float
    launch_s: float
    dispatch_s: float = DISPATCH_S
    fill_s: float = 0.0
    latency_s: float = 0.0
    vector_op_per_s: float = math.inf
    assumed: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Pace:
    """Limits of short programs, recalled if no table has them; see ``Device``."""

    launch_s: float = 0.0
    dispatch_s: float = DISPATCH_S
    fill_s: float = 0.0
    vector_op_per_s: float | None = None  # None: half of the fp32 peak, which counts two operations per cycle


_GPU = _Pace(launch_s=LAUNCH_S)

# Short name, row of the table, number format, pace. Arrays: 256 x 256 at 700 MHz (TPU v1), 128 x 128 at 1.05 GHz (v4),
# 64 x 64 at 480 MHz (Edge TPU, not published: derived from its 4 TOP/s). Other arithmetic: 256 results per cycle (v1);
# two cores of 128 x 8 lanes with two units (v4); one result per column of the array (Edge TPU, assumed). The threads of
# a processor synchronise after every product, 2 us (assumed); a call within its program takes 1 us.
_KNOWN = (
    ("A100", "NVIDIA A100 SXM4 80GB", "bf16", _GPU),
    ("H100", "NVIDIA H100 SXM5", "bf16", _GPU),
    ("H200", "NVIDIA H200 SXM", "bf16", _GPU),
    ("TPU v1", "Google TPU v1", "int8", _Pace(fill_s=512 / 700e6, vector_op_per_s=256 * 700e6)),
    ("TPU v4", "Google TPU v4", "bf16", _Pace(fill_s=256 / 1.05e9, vector_op_per_s=2 * 128 * 8 * 2 * 1.05e9)),
    ("Jetson Orin", "NVIDIA Jetson AGX Orin 64GB", "int8", _GPU),
    ("Edge TPU", "Google Edge TPU (Coral)", "int8",
     _Pace(dispatch_s=100e-6, fill_s=128 / 480e6, vector_op_per_s=64 * 480e6)),
    ("Xeon", "Intel Xeon Platinum 8380", "fp32", _Pace(launch_s=2e-6, dispatch_s=1e-6)),
)  # fmt: skip
_LATENCY_S = {"HBM": 0.5e-6, "LPDDR": 0.2e-6, "DDR": 0.1e-6}  # by the start of the memory's name
_MEMORIES = {"on-chip": None, "DDR4-3200 x8": "DDR4"}


@functools.cache
def devices() -> dict[str, Device]:
    """Return the digital devices by short name: vendors' specifications, read second-hand.

    Example:
      >>> devices()["H100"].tdp_w
      700.0
    """
    table = importlib.resources.files("analogsim.energy") / "data" / "digital_baselines.csv"
    with table.open(encoding="utf-8") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    return {short: _device(short, rows[name], number, pace) for short, name, number, pace in _KNOWN}


def _device(short: str, row: dict[str, str], number_format: str, pace: _Pace) -> Device:
    peaks = {
        peak: 1e12 * float(row[column])
        for peak, column in (
            ("fp32", "peak_fp32_tflops"), ("bf16", "peak_bf16_tflops"), ("fp8", "peak_fp8_tflops"),
            ("int8", "peak_int8_tops"), ("int4", "peak_int4_tops"),
        )
        if row[column]
    }  # fmt: skip
    on_chip = row["onchip_sram_mb"].split()
    memory = _MEMORIES.get(row["mem_type"], row["mem_type"])
    vector = peaks["fp32"] / 2 if pace.vector_op_per_s is None else pace.vector_op_per_s
    return Device(
        name=short,
        node_nm=float(row["node_nm"] or _UNPUBLISHED_NM),
        peak_op_per_s=MappingProxyType(peaks),
        number_format=number_format,
        memory=memory,
        byte_per_s=1e9 * float(row["mem_gb_per_s"]) if row["mem_gb_per_s"] else math.inf,
        tdp_w=float(row["tdp_w"]),
        idle_w=float(row["idle_w"]) if row["idle_w"] else None,
        on_chip_bytes=1e6 * float(on_chip[0]) if on_chip else 0.0,
        launch_s=pace.launch_s,
        dispatch_s=pace.dispatch_s,
        fill_s=pace.fill_s,
        latency_s=next((t for kind, t in _LATENCY_S.items() if (memory or "").startswith(kind)), 0.0),
        vector_op_per_s=vector,
        assumed="" if row["node_nm"] else f"process not published, {_UNPUBLISHED_NM:g} nm assumed",
    )
