"""The account of the analog hardware: counts that follow from the tiling, times the formulae of ``analogsim.prices``.

For a layer of n_in inputs and n_out outputs on R x C tiles (R share its inputs, C its outputs), one vector costs

    cells            what the store says it does (``WeightStore.cost``): siemens x V^2 t for a crossbar
    word lines       C_line V^2 for every cell of a driven row, times the mean squared input
    DAC              n_in C conversions: every column of tiles drives all inputs
    ADC              n_out R conversions: every tile converts its own partial sums
    digital          n_out R times scale and accumulate
    buffer           n_in numbers read, n_out written, each as wide as its converter and at least a byte
    rest of the chip n_out R times what a measured chip takes beyond these components

A store that only does digital actions (multiply-accumulate, weight fetch) has no word lines, and its converters are
roundings of numbers, not circuits: it is charged neither.

A sum of components is no chip. IBM's 64-core PCM chip (M. Le Gallo et al., Nat. Electron. 6, 680 (2023), doi
10.1038/s41928-023-01010-1: 9.76 and 2.48 TOPS/W) takes 13.4 nJ for a 256 x 256 product of 8 bits read in one phase and
52.9 nJ in four, of which the components above explain about 3 nJ. What is left a conversion, (13.4 - 3)/256 = 40 pJ and
(52.9 - 3)/256 = 195 pJ, is the typical and the high price of the rest of the chip; low is zero, components alone.
Low and high also replace the ADC's price by the floor and the median of published ones (``adc``).
What a line costs is a pure function of the prices and may be differentiated (``lines``, ``total_j``).
"""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from analogsim.devices.literature import Source, as_source
from analogsim.energy import adc
from analogsim.energy.bill import Bill, Line, settle
from analogsim.energy.tile_work import PRICED, TileWork, tile_work
from analogsim.energy.workload import LayerWork, Workload
from analogsim.prices import Prices

_FOUR_PHASE_OVERHEAD_J = 195e-12  # see the module's docstring

_ANALOG_EXCLUDES = (
    "memory outside of the chip; writing the weights and readouts for drift compensation, both reported apart; clock, "
    "control, network and leakage only as the rest of one measured chip, at no cost at the low end"
)
_DIGITAL_EXCLUDES = (
    "leakage, clock, control, network on the chip and memory outside of it; weights come from a 1 MB memory whatever "
    "their number, anew for every vector"
)


@dataclasses.dataclass(frozen=True)
class Arrays:
    """The analog arrays that hold a model.

    Attributes:
      tiles: how many.
      cells: physical cells in use.
      used_share: weights held, as a share of the places on those tiles.
      write_energy_j: writing every cell once; None where ``Prices.cell_write_j`` is not known.
      calibration_energy_j: one readout for drift compensation, every row read alone once; 0 where none compensates.
    """

    tiles: int
    cells: int
    used_share: float
    write_energy_j: float | None
    calibration_energy_j: float


def bills(work: Workload, batches: Sequence[int]) -> tuple[list[Bill], Arrays | None]:
    """The hardware's bill at every batch size, and its arrays (None where no layer is analog).

    Weights stay where they are, so that an inference costs the same in any batch. Only reads have a known duration:
    layers one after another, and so the vectors of a layer on the one copy of its tiles, and the examples of a batch;
    all tiles of a layer side by side, also those of its groups.
    """
    done = [(layer, tile_work(layer.use)) for layer in work.layers]
    found = settle(line for layer, per_vector in done for line in lines(layer, per_vector))
    read_s: float | None = None
    if all(per_vector.is_analog for _, per_vector in done):
        read_s = sum(_read_s(layer) for layer, _ in done if layer.use.is_first)
    converts = any(line.component == "ADC" for line in found)
    repeats = any(layer.use.hardware.bound_management != "none" for layer, _ in done)
    kinds = dict.fromkeys(per_vector.is_analog for _, per_vector in done)
    common: dict[str, Any] = dict(
        system=" + ".join(dict.fromkeys(layer.use.hardware.name for layer in work.layers)),
        lines=found,
        note=("low: components alone, best ADC; typical and high: with the rest of a measured chip" if converts else
              "sum of components, not of a chip; no range is known")
        + ("; time of the reads alone" if read_s is not None else ""),
        excludes="; ".join(
            [_ANALOG_EXCLUDES if is_analog else _DIGITAL_EXCLUDES for is_analog in kinds]
            + (["reads that bound management repeats"] if repeats else [])
        ),
    )  # fmt: skip
    made = [Bill(batch=b, latency_s=None if read_s is None else b * read_s, **common) for b in batches]
    return made, arrays(done)


def lines(layer: LayerWork, per_vector: TileWork) -> list[Line]:
    """Everything that one example's pass through one layer is charged for."""
    hardware, prices = layer.use.hardware, layer.use.hardware.prices
    c = layer.use.grid[1]
    looks_up = layer.use.is_look_up
    n_in = 1 if looks_up else per_vector.rows // c
    inputs, outputs = layer.vectors * n_in, layer.output_words
    is_analog, dac, converter = per_vector.is_analog, hardware.dac, hardware.adc
    converted = layer.vectors * per_vector.lines * (1 if dac is None else dac.conversions)
    found = []

    def charge(component: str, action: str, count: Any, unit: str, each_j: Any, *fields: str, **band: Any) -> None:
        cited = sources(prices, *fields)
        found.append(Line(component=component, action=action, count=count, unit=unit, each_j=each_j,
                          **({"sources": cited, "layer": layer.use.path} | band)))  # fmt: skip

    for name, quantity in per_vector.quantities.items():
        priced = PRICED[name]
        each_j = priced.price_j(prices)
        charge(priced.component, priced.action, layer.vectors * quantity, priced.unit, each_j, *priced.fields)
    if is_analog:
        each_j = prices.line_capacitance_f * prices.read_voltage_v**2
        swings = layer.vectors * per_vector.driven_cells
        charge("word lines", "full swing", swings, "", each_j, "line_capacitance_f", "read_voltage_v")
    if is_analog and dac is not None and not looks_up:  # a row's own switch drives it fully
        each_j = prices.dac_energy_j(getattr(dac, "slice_bits", dac.bits))
        charge("DAC", "convert", inputs * c * dac.reads, "", each_j, "dac_capacitance_f", "supply_v")
    if is_analog and converter is not None:
        fields = ("adc_capacitance_f", "adc_capacitance_4b_f", "supply_v")
        low_j, each_j, high_j = adc.band_j(prices, converter.bits)
        cited = (*sources(prices, *fields), adc.SOURCE)
        charge("ADC", "convert", converted, "", each_j, each_low_j=low_j, each_high_j=high_j, sources=cited)
        rest_j, rest_high_j = prices.overhead_j, _FOUR_PHASE_OVERHEAD_J
        known = (
            isinstance(rest_j, (int, float)) and rest_j != Prices().overhead_j
        )  # the hardware's own figure: no range
        band = {} if known else dict(each_low_j=0.0, each_high_j=rest_high_j)
        charge("rest of the chip", "all else", converted, "", rest_j, "overhead_j", **band)
    if dac is not None or converter is not None:  # without either, nothing has a scale
        charge("digital", "scale, add", converted, "", prices.accumulate_j, "accumulate_j")
    moved = inputs * (4.0 if looks_up else _width_bytes(dac)) + outputs * _width_bytes(converter)
    charge("buffer", "read, write", moved, "B", prices.buffer_j_per_byte, "buffer_j_per_byte")
    return found


def _read_s(layer: LayerWork) -> float:
    """Seconds of a layer's reads, one after the other."""
    dac = layer.use.hardware.dac
    return layer.vectors * (1 if dac is None else dac.reads) * float(layer.use.hardware.prices.read_time_s)


def arrays(done: Iterable[tuple[LayerWork, TileWork]]) -> Arrays | None:
    """Tiles and cells of all analog layers, each matrix once, and the energy of writing them."""
    held = [(layer, work) for layer, work in done if work.is_analog and layer.new_weights]
    if not held:
        return None
    places = sum(work.tiles * layer.use.hardware.rows * layer.use.hardware.columns for layer, work in held)
    each_write_j = [layer.use.hardware.prices.cell_write_j for layer, _ in held]
    known = all(each is not None for each in each_write_j)
    return Arrays(
        tiles=sum(work.tiles for _, work in held),
        cells=sum(work.cells for _, work in held),
        used_share=sum(layer.new_weights for layer, _ in held) / places,
        write_energy_j=sum(w.cells * float(e) for (_, w), e in zip(held, each_write_j, strict=True)) if known else None,
        calibration_energy_j=sum(calibration_j(layer, work) for layer, work in held),
    )


def calibration_j(layer: LayerWork, work: TileWork) -> float:
    """Joules of the readout that drift compensation compares with the one after programming, without averaging.

    Every row of every tile is driven alone at full voltage once, and all lines of its tile are converted.
    """
    hardware, prices = layer.use.hardware, layer.use.hardware.prices
    if hardware.drift_compensation == "none":
        return 0.0
    cells_j = sum(quantity * PRICED[name].price_j(prices) for name, quantity in work.all_rows.items())
    lines_j = work.cells * prices.line_capacitance_f * prices.read_voltage_v**2
    dac = None if layer.use.is_look_up else hardware.dac  # a table's rows have switches of their own
    drives_j = 0.0 if dac is None else work.rows * prices.dac_energy_j(dac.bits)
    conversion_j = 0.0 if hardware.adc is None else adc.band_j(prices, hardware.adc.bits)[1] + prices.overhead_j
    return float(cells_j + lines_j + drives_j + work.row_lines * conversion_j)


def total_j(some: Iterable[Line]) -> Any:
    """Joules of lines, typical; traced where a price is."""
    return sum(line.energy_j for line in some)


def sources(prices: Prices, *names: str) -> tuple[Source, ...]:
    """Where these prices come from: their source, or that the hardware sets another value."""
    known = {f.name: f for f in dataclasses.fields(prices)}
    found: dict[Source, None] = {}
    for name in names:
        value = getattr(prices, name)
        is_default = isinstance(value, (int, float)) and value == known[name].default
        if is_default:
            behind = as_source(known[name].metadata["source"]) or Source(note=f"no source: Prices.{name}")
        else:
            behind = Source(note=f"set by this hardware: Prices.{name}")
        found[behind] = None
    return tuple(found)


def _width_bytes(converter: Any) -> Any:
    """Bytes of one number beside a converter: its bits, at least one byte; four without a converter (float32)."""
    if converter is None:
        return 4.0
    wide = converter.bits / 8
    return jnp.maximum(wide, 1.0) if isinstance(wide, jax.Array) else max(wide, 1.0)
