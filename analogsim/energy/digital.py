"""GPUs: the roofline of time and the roofline of energy, for a whole batch.

    T = max(FLOP / (0.6 P), bytes / (0.8 B), launches * 3 us)
    E = share * TDP * T + MAC * e_mac + bytes * e_byte

Model: Choi, Bedard, Fowler and Vuduc, IPDPS 2013, doi 10.1109/IPDPS.2013.77. Numbers are bfloat16, two bytes. Weights
are read from memory once a batch (a matrix that is used again is taken to stay in the cache), inputs and outputs of
every layer once each. Every pass through a layer is one kernel launch, its bias and activation function included.

Low is switching energy alone (E without the first term), which no machine that is switched on achieves; typical adds
0.2 TDP for as long as it runs (idle and leakage, 0.15 to 0.3 of TDP); high is TDP * T.
"""

import dataclasses

from analogsim.devices.literature import Source
from analogsim.devices.papers import cited
from analogsim.energy.bill import Bill, Line, settle
from analogsim.energy.workload import Workload

WORD_BYTES = 2
MAC_J = 0.59e-12
COMPUTE_EFFICIENCY = 0.6
MEMORY_EFFICIENCY = 0.8
LAUNCH_S = 3e-6
STATIC_SHARE = 0.2

_SOURCES = {
    "mac": (cited("jouppi2021", note="bf16 multiply 0.21 pJ + fp32 add 0.38 pJ, 7 nm", recalled=True),),
    "time": (
        cited("choi2013"),
        Source(note="efficiencies 0.6 and 0.8, launch 3 µs, static 0.2 TDP; the vendor's peaks and TDP", recalled=True),
    ),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gpu:
    """One device. Peaks are dense, without the marketing factor of two for structured sparsity.

    Attributes:
      flop_per_s: peak bfloat16 tensor rate.
      byte_per_s: memory bandwidth.
      tdp_w: thermal design power of the module.
      memory_j_per_byte: energy of its memory device.
      memory_source: where that comes from.
    """

    name: str
    flop_per_s: float
    byte_per_s: float
    tdp_w: float
    memory_j_per_byte: float
    memory_source: Source


_HBM2 = dict(memory_j_per_byte=8 * 3.9e-12, memory_source=cited("oconnor2017", note="HBM2 device 3.9 pJ/bit"))
_HBM3 = dict(memory_j_per_byte=8 * 4.0e-12, memory_source=Source(note="HBM3 device 4 pJ/bit", recalled=True))

#: Vendor's specifications of the SXM modules, read second-hand.
GPUS = {
    "A100": Gpu(name="A100", flop_per_s=312e12, byte_per_s=2039e9, tdp_w=400.0, **_HBM2),  # type: ignore[arg-type]
    "H100": Gpu(name="H100", flop_per_s=989.4e12, byte_per_s=3350e9, tdp_w=700.0, **_HBM3),  # type: ignore[arg-type]
    "H200": Gpu(name="H200", flop_per_s=989.4e12, byte_per_s=4800e9, tdp_w=700.0, **_HBM3),  # type: ignore[arg-type]
}


def traffic_bytes(work: Workload, batch: int) -> float:
    """Bytes between memory and chip for a whole batch."""
    activations = sum(layer.input_words + layer.output_words for layer in work.layers)
    weights = sum(layer.weights_read(batch) for layer in work.layers)
    return WORD_BYTES * (weights + batch * activations)


def time_s(gpu: Gpu, work: Workload, batch: int) -> tuple[float, str]:
    """Seconds for a whole batch, and what they are spent on."""
    return max(
        (2.0 * work.macs * batch / (COMPUTE_EFFICIENCY * gpu.flop_per_s), "arithmetic"),
        (traffic_bytes(work, batch) / (MEMORY_EFFICIENCY * gpu.byte_per_s), "memory traffic"),
        (sum(layer.use.is_first for layer in work.layers) * LAUNCH_S, "kernel launches"),
    )


def bill(gpu: Gpu, work: Workload, batch: int) -> Bill:
    """What one inference of a batch costs on this GPU."""
    seconds, bound = time_s(gpu, work, batch)
    bytes_each = traffic_bytes(work, batch) / batch
    switching_w = (work.macs * MAC_J + bytes_each * gpu.memory_j_per_byte) * batch / seconds
    static_w = STATIC_SHARE * gpu.tdp_w
    lines = [
        Line(component="arithmetic", action="MAC", count=work.macs, unit="", each_j=MAC_J, sources=_SOURCES["mac"]),
        Line(
            component="memory",
            action="transfer",
            count=bytes_each,
            unit="B",
            each_j=gpu.memory_j_per_byte,
            sources=(gpu.memory_source,),
        ),
        Line(
            component="board",
            action="static power",
            count=seconds / batch,
            unit="s",
            each_j=static_w,
            each_low_j=0.0,
            each_high_j=max(gpu.tdp_w - switching_w, static_w),  # with the lines above: TDP for as long as it runs
            sources=_SOURCES["time"],
        ),
    ]
    return Bill(
        system=gpu.name,
        batch=batch,
        lines=settle(lines),
        latency_s=seconds,
        note=f"bf16, bound by {bound}; low: switching energy alone, high: full TDP",
        excludes="the host processor, copies to and from it; at the low end also caches, registers and instructions",
    )
