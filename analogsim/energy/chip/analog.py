"""The account of the analog hardware: its lines (``analog_lines``), its arrays, its area, and what its life adds.

A sum of components is no chip. IBM's 64-core PCM chip (M. Le Gallo et al., Nat. Electron. 6, 680 (2023), doi
10.1038/s41928-023-01010-1: 9.76 and 2.48 TOPS/W) takes 13.4 nJ for a 256 x 256 product of 8 bits read in one phase and
52.9 nJ in four, of which the components explain about 3.6 nJ. What is left a conversion, (13.4 - 3.6)/256 = 38 pJ and
(52.9 - 3.6)/256 = 192 pJ, is the typical and the high price of the rest of the chip; low is zero, components alone.
Low and high also replace the ADC's price by the floor and the median of published ones (``adc_price``). A measured
core has no memory outside: what passes that is a line of its own (``analog_memory``), as on every machine's bill.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from analogsim.energy.bill import Bill, settle
from analogsim.energy.chip import adc_price
from analogsim.energy.chip.analog_lines import hold_lines, lines
from analogsim.energy.chip.analog_memory import memory_lines, plan_of
from analogsim.energy.chip.analog_time import example_time, waiting_lines
from analogsim.energy.chip.deployment import Deployment
from analogsim.energy.chip.digital_unit import rest_lines
from analogsim.energy.chip.floorplan import Part, parts
from analogsim.energy.chip.tile_work import PRICED, TileWork, tile_work
from analogsim.energy.work.layer_work import LayerWork, Workload

_ANALOG_EXCLUDES = "clock and control only as the rest of one measured chip, at no cost at the low end"
_DIGITAL_EXCLUDES = (
    "leakage, clock, control and network on the chip; weights come from a 1 MB bank whatever their number, anew for "
    "every vector"
)
_BY_SHAPE = "values of weights and inputs are assumed (uniform inputs, normal weights)"


@dataclasses.dataclass(frozen=True)
class Arrays:
    """The analog arrays that hold a model.

    Attributes:
      tiles: how many.
      cells: physical cells in use.
      used_share: weights held, as a share of the places on those tiles.
      write_energy_j: writing every cell once; None where ``Prices.cell_write_j`` is not known.
      calibration_energy_j: one readout for drift compensation, every row read alone once; 0 where none compensates.
      parts: what the tiles consist of, with areas.
    """

    tiles: int
    cells: int
    used_share: float
    write_energy_j: float | None
    calibration_energy_j: float
    parts: tuple[Part, ...] = ()

    @property
    def area_m2(self) -> float:
        """Area of all parts."""
        return sum(part.count * part.area_m2 for part in self.parts)


def bills(
    work: Workload, batches: Sequence[int], deployment: Deployment | None = None
) -> tuple[list[Bill], Arrays | None]:
    """The hardware's bill at every batch size, and its arrays (None where no layer is analog).

    Weights stay where they are, so that an inference costs the same in any batch, but for what must be held while the
    batch is dispatched. How long it takes: ``analog_time``.
    """
    done = [(layer, tile_work(layer.use)) for layer in work.layers]
    prices = work.layers[0].use.hardware.prices
    every = [line for layer, per_vector in done for line in lines(layer, per_vector)]
    moved = plan_of(done, work.operations, prices)
    settle(every)  # refuses what is no number before anything else meets it
    time = example_time(done, work.operations, moved, prices)
    every += hold_lines(done, time.reads_s) + rest_lines(work.operations, prices)
    every += memory_lines(moved, work.operations, prices)
    found = settle(every)
    held = arrays(done)
    if deployment is not None:
        found += settle(deployment.lines(held))
    converts = any(line.component == "ADC" for line in found)
    has_rest = any(line.component == "rest of the chip" and line.each_j > 0 for line in found)
    repeats = any(layer.use.hardware.bound_management != "none" for layer, _ in done)
    kinds = dict.fromkeys(per_vector.is_analog for _, per_vector in done)
    left_out = [_ANALOG_EXCLUDES if is_analog else _DIGITAL_EXCLUDES for is_analog in kinds]
    if repeats:
        left_out.append("reads that bound management repeats")
    if deployment is None and held is not None:
        left_out.append("writing the weights and readouts for drift compensation, both reported apart")
    if work.operations.uncounted:
        left_out.append("arithmetic of " + ", ".join(name for name, _ in work.operations.uncounted))
    note = (
        "low: components alone, best ADC; typical and high: with the rest of a measured chip"
        if has_rest
        else "sum of components, not of a chip; low and high: the best and the median ADC"
        if converts
        else "sum of components, not of a chip; no range is known"
    )
    note += "" if work.has_values else f"; {_BY_SHAPE}"
    common: dict[str, Any] = dict(
        system=" + ".join(dict.fromkeys(layer.use.hardware.name for layer in work.layers)),
        note=note,
        excludes="; ".join(left_out),
    )
    made = [
        Bill(
            batch=b,
            lines=(*found, *settle(waiting_lines(done, time, moved, prices, b))),
            latency_s=float(prices.dispatch_s + b * time.seconds),
            bound=time.bound(prices.dispatch_s, b),
            **common,
        )
        for b in batches
    ]
    return made, held


def arrays(done: Iterable[tuple[LayerWork, TileWork]]) -> Arrays | None:
    """Tiles and cells of all analog layers, each matrix once, and the energy of writing them."""
    held = [(layer, work) for layer, work in done if work.is_analog and layer.new_weights]
    if not held:
        return None
    places = sum(n.matrices * w.tiles * n.use.hardware.rows * n.use.hardware.columns for n, w in held)
    each_write_j = [layer.use.hardware.cell_write_j for layer, _ in held]
    cells = [layer.matrices * work.cells for layer, work in held]
    known = all(each is not None for each in each_write_j)
    return Arrays(
        tiles=sum(layer.matrices * work.tiles for layer, work in held),
        cells=sum(cells),
        used_share=sum(layer.matrices * layer.new_weights for layer, _ in held) / places,
        write_energy_j=sum(n * float(e) for n, e in zip(cells, each_write_j, strict=True)) if known else None,
        calibration_energy_j=sum(layer.matrices * calibration_j(layer, work) for layer, work in held),
        parts=parts(held),
    )


def calibration_j(layer: LayerWork, work: TileWork) -> float:
    """Joules of the readout that drift compensation compares with the one after programming, without averaging.

    Every row of every tile is driven alone at full voltage once, or ``Hardware.calibration_reads`` times, and all lines
    of its tile are converted.
    """
    hardware, prices = layer.use.hardware, layer.use.hardware.prices
    if hardware.drift_compensation == "none":
        return 0.0
    cells_j = sum(quantity * PRICED[name].price_j(prices) for name, quantity in work.all_rows.items())
    lines_j = work.cells * prices.line_capacitance_f * prices.read_voltage_v**2 if work.is_electric else 0.0
    dac = None if layer.use.is_look_up else hardware.dac  # a table's rows have switches of their own
    drives_j = 0.0 if dac is None else work.rows * prices.dac_energy_j(dac.bits)
    conversion_j = 0.0
    if hardware.adc is not None:
        bits = hardware.adc.bits
        conversion_j = adc_price.typical_j(prices, bits) + prices.sample_hold_j(bits) + prices.overhead_j
    reads = 1.0 if hardware.calibration_reads is None else hardware.calibration_reads
    return float(reads * (cells_j + lines_j + drives_j + work.row_lines * conversion_j))
