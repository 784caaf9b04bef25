"""Energy items of one example's pass through analog layers: counts from the tiling times ``EnergyTable``.

For a layer of n_in inputs and n_out outputs on R x C tiles (inputs split over R, outputs over C), one vector takes

    cells            the actions that the store reports (``WeightStore.cost``): siemens x V^2 t for a crossbar
    word lines       C_line V^2 for every cell of a driven row, times the mean squared input; none in photonic meshes
    hold             power that holds photonic weights, in all tiles, for as long as any tile is read
    DAC              n_in C conversions: every column of tiles drives all inputs
    sample and hold  n_out R, before every conversion
    ADC              n_out R conversions: every tile converts its partial sums
    shift-add        n_out (R - 1) and more for slices: every conversion beyond the first of an output
    digital          n_out R times scale and accumulate
    buffer           n_in numbers read, n_out written, each as wide as its converter and at least a byte
    network          the same bits over one hop
    leakage          of the buffer and of the logic behind every ADC, for as long as the layer is read
    rest of the chip n_out R times the energy of a measured chip beyond these components

A store with digital actions only (multiply-accumulate, weight fetch) has no bit lines, and its converters only round
numbers: neither is charged. Work outside of analog layers is charged to a digital unit next to the arrays
(``digital_unit``), traffic of larger buffers and of the external memory to ``analog_memory``. Columns and rows without
weights are switched off and cost nothing. Everything is differentiable.
"""

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp

from analogsim.base.literature import Source
from analogsim.base.types import Numeric
from analogsim.energy.breakdown import EnergyItem
from analogsim.energy.chip import conversion_energy
from analogsim.energy.chip.tile_work import ACTIONS, TileWork
from analogsim.energy.work.layer_work import LayerWork
from analogsim.hardware.energy_table import EnergyTable
from analogsim.hardware.hardware import Hardware

_FOUR_PHASE_OVERHEAD_J = 192e-12  # see ``analog``


STORE_SOURCE = (Source(note="given by the store's description of its phases, rings or light"),)
_SAMPLING = Source(note="thermal noise as large as the rounding: 12 k T 4^b at 300 K")


def layer_items(layer: LayerWork, per_vector: TileWork) -> list[EnergyItem]:
    """Return the energy items of one example's passes through one layer."""
    hardware, energy_table = layer.use.hardware, layer.use.hardware.energy_table
    c, vectors = layer.use.grid[1], layer.passes * layer.vectors
    looks_up = layer.use.is_lookup
    n_in = 1 if looks_up else per_vector.rows // c
    inputs, outputs = vectors * n_in, layer.passes * layer.output_words
    is_analog, dac, converter = per_vector.is_analog, hardware.dac, hardware.adc
    converted = vectors * per_vector.adc_inputs * (1 if dac is None else dac.conversions)
    items = []

    def add_item(
        component: str, action: str, count: Any, unit: str, unit_energy_j: Any, *fields: str, **band: Any
    ) -> None:
        items.append(EnergyItem(component=component, action=action, count=count, unit=unit, unit_energy_j=unit_energy_j,
                          **({"sources": energy_table.sources(*fields), "layer": layer.use.path} | band)))  # fmt: skip

    for name, quantity in per_vector.quantities.items():
        action = ACTIONS[name]
        if action.is_power:
            continue  # by time, not by vectors: ``hold_items``
        add_item(
            action.component,
            action.action,
            vectors * quantity,
            action.unit,
            action.unit_energy_j(energy_table),
            *action.fields,
        )
    if per_vector.is_electric:
        unit_energy_j = energy_table.line_capacitance_f * energy_table.read_voltage_v**2
        swings = vectors * per_vector.driven_cells
        add_item("word lines", "full swing", swings, "", unit_energy_j, "line_capacitance_f", "read_voltage_v")
    if is_analog and dac is not None and not looks_up:  # in a lookup, a switch drives the row fully
        unit_energy_j = energy_table.dac_energy_j(getattr(dac, "slice_bits", dac.bits))
        add_item("DAC", "convert", inputs * c * dac.reads, "", unit_energy_j, "dac_capacitance_f", "supply_v")
    if is_analog and converter is not None:
        _add_conversions(add_item, energy_table, converter.bits, converted)
        if converted > outputs:
            add_item("shift-add", "add", converted - outputs, "", energy_table.shift_add_j, "shift_add_j")
    if dac is not None or converter is not None:  # without either, nothing has a scale
        add_item("digital", "scale, add", converted, "", energy_table.accumulate_j, "accumulate_j")
    moved = inputs * (4.0 if looks_up else _width_bytes(dac)) + outputs * _width_bytes(converter)
    add_item("buffer", "read, write", moved, "B", energy_table.buffer_j_per_byte, "buffer_j_per_byte")
    if is_analog and converter is not None:
        add_item("network", "one hop", 8 * moved, "bit", energy_table.network_j_per_bit, "network_j_per_bit")
        buffered = n_in * (4.0 if looks_up else _width_bytes(dac)) + outputs / vectors * _width_bytes(converter)
        on_s = read_s(layer)
        add_item(
            "leakage",
            "buffer",
            on_s * buffered,
            "B s",
            energy_table.buffer_leakage_w_per_byte,
            "buffer_leakage_w_per_byte",
        )
        adders = per_vector.adc_inputs / energy_table.columns_per_adc
        add_item("leakage", "logic of an ADC", on_s * adders, "s", energy_table.adder_leakage_w, "adder_leakage_w")
    return items


def hold_items(done: Iterable[tuple[LayerWork, TileWork]], on_s: Any) -> list[EnergyItem]:
    """Return the items that hold the weights of all layers while tiles are read, ``on_s`` seconds per example."""
    done = list(done)
    # Later passes through the same matrix (no new weights) hold it already: charging them would count it twice.
    return [
        EnergyItem(component=action.component, action=action.action, count=layer.matrices * quantity * on_s,
             unit=f"{action.unit} s", unit_energy_j=action.unit_energy_j(layer.use.hardware.energy_table),
             layer=layer.use.path, sources=layer.use.hardware.energy_table.sources(*action.fields) or STORE_SOURCE)
        for layer, work in done
        for action, quantity in ((ACTIONS[name], quantity) for name, quantity in work.quantities.items())
        if action.is_power and layer.new_weights
    ]  # fmt: skip


def _add_conversions(add_item: Any, energy_table: EnergyTable, bits: Numeric, converted: Any) -> None:
    """Add sample and hold, ADC, and the rest of a measured chip, for every conversion."""
    add_item("sample-and-hold", "charge", converted, "", energy_table.sample_hold_j(bits), sources=(_SAMPLING,))
    low_j, unit_energy_j, high_j = conversion_energy.band_j(energy_table, bits)
    behind = (*energy_table.sources(*conversion_energy.fields(energy_table)), *conversion_energy.sources(energy_table))
    add_item(
        "ADC",
        "convert",
        converted,
        "",
        unit_energy_j,
        unit_energy_low_j=low_j,
        unit_energy_high_j=high_j,
        sources=behind,
        at_end=conversion_energy.at_end(energy_table, bits),
    )
    rest_j = energy_table.overhead_j
    # The range belongs to the default; a value that the hardware sets has none.
    is_set = isinstance(rest_j, (int, float)) and rest_j != EnergyTable().overhead_j
    band = {} if is_set else dict(unit_energy_low_j=0.0, unit_energy_high_j=_FOUR_PHASE_OVERHEAD_J)
    add_item("rest of the chip", "all else", converted, "", rest_j, "overhead_j", **band)


def read_s(layer: LayerWork) -> Any:
    """Return the seconds of a layer's sequential reads per example.

    A column with a separate ADC is converted while it is read, so the slower of both sets the time; columns that share
    an ADC are sampled after the read and converted in sequence.
    """
    hardware, energy_table = layer.use.hardware, layer.use.hardware.energy_table
    one_read_s = hardware.read_time_s
    if hardware.adc is not None and energy_table.columns_per_adc > 1:
        one_read_s = one_read_s + energy_table.columns_per_adc / energy_table.sample_rate_hz
    elif hardware.adc is not None:
        one_read_s = larger(one_read_s, 1 / energy_table.sample_rate_hz)
    return layer.passes * layer.vectors * (1 if hardware.dac is None else hardware.dac.reads) * one_read_s


def larger(a: Any, b: Any) -> Any:
    """Return the larger of two numbers, either of which may be traced."""
    return jnp.maximum(a, b) if isinstance(a, jax.Array) or isinstance(b, jax.Array) else max(a, b)


def total_j(items: Iterable[EnergyItem]) -> Any:
    """Return the typical joules of items; traced if one of them is."""
    return sum(item.energy_j for item in items)


def byte_widths(hardware: Hardware) -> tuple[Any, Any]:
    """Return the bytes per input and per output of a layer, from the bits of its converters."""
    return _width_bytes(hardware.dac), _width_bytes(hardware.adc)


def _width_bytes(converter: Any) -> Any:
    """Return the bytes of one number at a converter: its bits, at least one byte; four without one (float32)."""
    return 4.0 if converter is None else larger(converter.bits / 8, 1.0)
