"""Digital systems with memories: rooflines of time and of energy for a whole batch.

    T = dispatch + sum over dependent steps of max(FLOP / (0.6 P), bytes / (0.8 B), launches * 3 us or latency)
    E = fraction * TDP * T + MAC * e_mac + adds * e_add + multiplies * e_mul + on-chip bytes * e_sram + bytes * e_dram

Model: Choi, Bedard, Fowler and Vuduc, IPDPS 2013, doi 10.1109/IPDPS.2013.77. Traffic to the external memory is the
minimum that half of the on-chip memory allows (``traffic``; the other half buffers streams): weights once per batch or
once per piece of it, maps not at all or both ways, inputs and outputs of the model (key-value caches included) once.
Every operand of a product is read from on-chip memory and used 128 times. Other arithmetic is fused into the preceding
product: it costs joules but no traffic; functions cost the additions and multiplications of their programs. Time is
summed step by step (``timing``), so it includes the dispatch, the launches and the fill of the array.

Low is switching energy alone, with weights that fit on the chip left there by the previous batch; a real device also
draws static power. Typical adds the idle power if it is known, else 0.2 TDP (idle and leakage: 0.15 to 0.3 of TDP), for
the whole run. High adds the memory's interface, TDP while something is computed or moved, and 0.3 TDP otherwise, since
a device that waits for launches switches little. Energy drawn while waiting is a separate item.
"""

import dataclasses
import math
from typing import Any

from analogsim.base.errors import InputError, brief, nearest_of
from analogsim.base.literature import Source, cited
from analogsim.energy.breakdown import EnergyBreakdown, EnergyItem, ModelDoesNotFit, merge_items
from analogsim.energy.machines.compression import StorageFormat
from analogsim.energy.machines.digital_devices import Device
from analogsim.energy.machines.number_formats import (
    DRAM,
    FORMATS,
    SRAM_SOURCE,
    NumberFormat,
    add_j,
    extrapolated,
    mac_j,
    multiply_j,
    sram_j_per_byte,
)
from analogsim.energy.machines.timing import MEMORY_EFFICIENCY, Timing, timing
from analogsim.energy.work.layer_work import Workload
from analogsim.energy.work.operations import Operation
from analogsim.energy.work.primitives import COST_SOURCE
from analogsim.energy.work.traffic import Moved, needs, plan

STATIC_FRACTION, STATIC_FRACTION_HIGH = 0.2, 0.3  #: of TDP, while nothing switches
USES_ON_CHIP = 128  #: uses of an operand per read from on-chip memory
_BANK_BYTES = 2**20  # on-chip memories are banks of a megabyte

_TIME = (
    cited("choi2013"),
    Source(note="efficiencies 0.6 and 0.8, launch 3 µs, static 0.2 TDP; the vendor's peaks and TDP", recalled=True),
    Source(note="dispatch, latencies, sizes and clocks of arrays, rates of other arithmetic", recalled=True),
)
_REUSE = Source(note="assumption: tiles of 128 x 128, each operand used 128 times")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Traffic:
    """Bytes moved for a whole batch.

    Attributes:
      weights: bytes of weights read from memory.
      maps: bytes of inputs and outputs through memory.
      on_chip_maps: bytes of inputs and outputs that stay on the chip.
      on_chip: bytes of operands read from on-chip memory and of results written to it.
      stays: the part of ``weights`` that may remain on the chip from the previous batch.
      moved: traffic of each operation.
    """

    weights: float
    maps: float
    on_chip_maps: float
    on_chip: float
    stays: float = 0.0
    moved: tuple[Moved, ...] = ()

    @property
    def memory(self) -> float:
        """Bytes between memory and chip."""
        return self.weights + self.maps


def macs(work: Workload, batch: int) -> float:
    """Return the multiply-accumulates of a batch; work that does not depend on the examples counts once."""
    return sum(_times(op, work, batch) * op.macs for op in work.operations.all)


def results(work: Workload, batch: int) -> float:
    """Return the number of results of other arithmetic in a batch."""
    return sum(_times(op, work, batch) * op.results for op in work.operations.all)


def traffic(device: Device, number: NumberFormat, work: Workload, batch: int, shrink: float = 1.0) -> Traffic:
    """Return the minimum traffic of a batch that the on-chip memory allows, with weights ``shrink`` times smaller.

    A piece of a batch takes a minimum time (a launch, the fill of an array) in which the memory could move bytes; the
    plan then minimises the sum of both (``traffic.plan``).
    """
    byte = number.bits / 8
    needed = needs(work.operations, lambda op: byte / shrink, lambda op: (byte, byte))
    floor_s = device.launch_s or device.fill_s
    piece_bytes = floor_s * MEMORY_EFFICIENCY * device.byte_per_s if math.isfinite(device.byte_per_s) else 0.0
    least = plan(needed, batch, device.on_chip_bytes / 2, piece_bytes)
    operands = 2 * macs(work, batch) * byte / USES_ON_CHIP
    return Traffic(
        weights=least.weights,
        maps=least.maps,
        on_chip_maps=max(least.touched - least.maps, 0.0),
        on_chip=operands + least.touched,
        stays=least.weights if least.stays else 0.0,
        moved=least.moved,
    )


def time_s(device: Device, number: NumberFormat, work: Workload, batch: int, moved: Traffic) -> tuple[float, str]:
    """Return the seconds of a whole batch, and the activity that takes most of them."""
    time = timing(device, device.peak_op_per_s[number.peak], work, batch, moved.moved)
    return time.seconds, time.bound


def breakdown(
    device: Device,
    work: Workload,
    batch: int,
    number_format: NumberFormat | str | None = None,
    weights: StorageFormat | None = None,
    name: str | None = None,
) -> EnergyBreakdown:
    """Return the energy breakdown of one inference on a digital device.

    Args:
      device: one of ``devices()``, or another ``Device``.
      work: the work of the model.
      batch: examples computed together.
      number_format: format of all numbers; None: the device's default.
      weights: storage format of weights in memory (``energy.compression``); None: uncompressed.
      name: name of the system in the breakdown.

    Raises:
      InputError: if the device has no such arithmetic.
      ModelDoesNotFit: if the weights do not fit a chip without external memory.
    """
    number = format_of(device, number_format)
    shrink = 1.0 if weights is None else _shrink(work, weights, number)
    moved = traffic(device, number, work, batch, shrink)
    needed = moved.weights + moved.maps / batch
    if device.memory is None and needed > device.on_chip_bytes:
        raise ModelDoesNotFit(
            f"{device.name}: {needed / 1e6:.3g} MB of weights and maps do not fit its "
            f"{device.on_chip_bytes / 1e6:g} MB on the chip, and the cost of streaming them is not known"
        )
    time = timing(device, device.peak_op_per_s[number.peak], work, batch, moved.moved)
    switching = _switching(device, number, work, batch, moved)
    items = [*switching, *_static(device, switching, batch, time)]
    notes = [number.name, "low: switching energy alone, high: full TDP while it computes, 0.3 TDP while it waits"]
    if weights is not None:
        notes.append(f"weights stored as {type(weights).__name__}, {shrink:.3g} times smaller")
    if device.assumed:
        notes.append(device.assumed)
    beyond = extrapolated(device.node_nm)
    return EnergyBreakdown(
        system=name or device.name,
        batch=batch,
        items=merge_items(items),
        latency_s=time.seconds,
        note="; ".join([*notes, *([f"arithmetic {beyond}"] if beyond else [])]),
        bound=time.bound,
        excludes="the host processor, copies to and from it; at the low end also registers and instructions",
    )


def _switching(device: Device, number: NumberFormat, work: Workload, batch: int, moved: Traffic) -> list[EnergyItem]:
    node = device.node_nm
    sram_j = sram_j_per_byte(_BANK_BYTES, node)
    items = [
        _item("arithmetic", "MAC", macs(work, batch) / batch, "", mac_j(number, node), number.source),
        *_other(work, batch, node),
        _item("on-chip memory", "read, write", moved.on_chip / batch, "B", sram_j, SRAM_SOURCE, _REUSE),
    ]
    if device.memory is not None and moved.memory:
        dram = DRAM[device.memory]
        low_j = 8 * dram.low_j_per_bit * (moved.memory - moved.stays) / moved.memory
        is_end = low_j < 8 * dram.typical_j_per_bit == 8 * dram.high_j_per_bit
        items.append(
            _item("memory", "transfer", moved.memory / batch, "B", 8 * dram.typical_j_per_bit, dram.source,
                  unit_energy_low_j=low_j, unit_energy_high_j=8 * dram.high_j_per_bit,
                  at_end="one figure is known; low: weights stay on the chip" if is_end else "")
        )  # fmt: skip
    return [item for item in items if item.count]


def _other(work: Workload, batch: int, node: float) -> list[EnergyItem]:
    """Return the item of other arithmetic in fp32, at the mean energy per result."""
    count = results(work, batch)
    if not count:
        return []
    # `_times` includes an operation's repeats, and so do its totals.
    run = lambda op: _times(op, work, batch) / op.repeats  # noqa: E731
    additions = sum(run(op) * op.total_additions for op in work.operations.all if op.results)
    multiplications = sum(run(op) * op.total_multiplications for op in work.operations.all)
    unit_energy_j = (additions * add_j(node) + multiplications * multiply_j(node)) / count
    return [_item("arithmetic", "other result", count / batch, "", unit_energy_j, FORMATS["fp32"].source, COST_SOURCE)]


def _static(device: Device, switching: list[EnergyItem], batch: int, time: Timing) -> list[EnergyItem]:
    static_w = STATIC_FRACTION * device.tdp_w if device.idle_w is None else device.idle_w
    idle_w = max(static_w, STATIC_FRACTION_HIGH * device.tdp_w)
    spent_w = sum(item.energy_high_j for item in switching) * batch / time.busy_s if time.busy_s else 0.0
    high_w = max(device.tdp_w - spent_w, static_w)  # together with the switching items: TDP while it computes
    waiting_s = max(time.seconds - time.busy_s, 0.0)
    static = _item("board", "static power", time.busy_s / batch, "s", static_w, *_TIME, unit_energy_low_j=0.0,
                   unit_energy_high_j=high_w,
                   at_end="" if high_w > static_w else "switching already draws the rest of the TDP")  # fmt: skip
    waiting = _item("board", "static power, waiting", waiting_s / batch, "s", static_w, *_TIME, unit_energy_low_j=0.0,
                    unit_energy_high_j=idle_w, waits=True,
                    at_end="" if idle_w > static_w else "idle power as measured, above 0.3 TDP")  # fmt: skip
    return [item for item in (static, waiting) if item.count]


def _item(
    component: str, action: str, count: float, unit: str, unit_energy_j: float, *sources: Source, **band: Any
) -> EnergyItem:
    return EnergyItem(
        component=component, action=action, count=count, unit=unit, unit_energy_j=unit_energy_j, sources=sources, **band
    )


def format_of(device: Device, number_format: NumberFormat | str | None) -> NumberFormat:
    """Return a number format by name, or the device's default for None.

    Raises:
      InputError: for an unknown format, or one without a peak rate on the device.
    """
    chosen = device.number_format if number_format is None else number_format
    if not isinstance(chosen, NumberFormat):
        if chosen not in FORMATS:
            raise InputError(f"number_format = {brief(chosen)}: {nearest_of(str(chosen), FORMATS)}")
        chosen = FORMATS[chosen]
    if chosen.peak not in device.peak_op_per_s:
        peaks = ", ".join(device.peak_op_per_s)
        raise InputError(f"{device.name}: has no {chosen.peak} arithmetic (for {chosen.name}); its peaks: {peaks}")
    return chosen


def _shrink(work: Workload, storage: StorageFormat, number: NumberFormat) -> float:
    """Return how many times smaller the weights become in this storage format."""
    if not work.kernels:
        raise InputError("weights: their compressed size depends on their zeros, but only shapes are known here")
    dense = sum(array.size for array in work.kernels) * number.bits
    return dense / sum(storage.bits(array, number.bits) for array in work.kernels)


def _times(op: Operation, work: Workload, batch: int) -> float:
    """Return how often an operation runs in a batch of this size."""
    return op.repeats * batch / work.operations.examples if op.per_example else op.repeats
