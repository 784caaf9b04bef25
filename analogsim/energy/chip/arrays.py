"""The analog arrays that hold a model: tiles, cells, area, energy of writing and of one calibration."""

import dataclasses
from collections.abc import Iterable

from analogsim.energy.chip import conversion_energy
from analogsim.energy.chip.floorplan import FloorplanPart, parts
from analogsim.energy.chip.tile_work import ACTIONS, TileWork
from analogsim.energy.work.layer_work import LayerWork


@dataclasses.dataclass(frozen=True)
class AnalogArrays:
    """The analog arrays that hold a model. Returned by ``compare`` as ``Comparison.arrays``.

    Attributes:
      tiles: number of tiles.
      cells: physical cells in use.
      utilisation: stored weights as a fraction of rows times columns of all tiles.
      write_energy_j: joules of writing every cell once; None if ``EnergyTable.cell_write_j`` is not known.
      calibration_energy_j: joules of one readout for drift compensation, every row read alone once; 0 without
        compensation.
      parts: the parts of the tiles, with areas.
    """

    tiles: int
    cells: int
    utilisation: float
    write_energy_j: float | None
    calibration_energy_j: float
    parts: tuple[FloorplanPart, ...] = ()

    @property
    def area_m2(self) -> float:
        """Area of all parts in m2."""
        return sum(part.count * part.area_m2 for part in self.parts)


def arrays_of(layers: Iterable[tuple[LayerWork, TileWork]]) -> AnalogArrays | None:
    """Return the arrays of all analog layers, each matrix once; None if no layer is analog."""
    stored = [(layer, work) for layer, work in layers if work.is_analog and layer.new_weights]
    if not stored:
        return None
    capacity = sum(n.matrices * w.tiles * n.use.hardware.rows * n.use.hardware.columns for n, w in stored)
    cell_write_j = [layer.use.hardware.cell_write_j for layer, _ in stored]
    cells = [layer.matrices * work.cells for layer, work in stored]
    return AnalogArrays(
        tiles=sum(layer.matrices * work.tiles for layer, work in stored),
        cells=sum(cells),
        utilisation=sum(layer.matrices * layer.new_weights for layer, _ in stored) / capacity,
        write_energy_j=sum(n * float(e) for n, e in zip(cells, cell_write_j, strict=True))
        if None not in cell_write_j
        else None,
        calibration_energy_j=sum(layer.matrices * calibration_j(layer, work) for layer, work in stored),
        parts=parts(stored),
    )


def calibration_j(layer: LayerWork, work: TileWork) -> float:
    """Return the joules of the readout that drift compensation compares with the one after programming.

    Every row of every tile is driven alone at full voltage once, or ``Hardware.calibration_reads`` times, and all
    columns of its tile are converted.
    """
    hardware, energy_table = layer.use.hardware, layer.use.hardware.energy_table
    if hardware.drift_compensation == "none":
        return 0.0
    cells_j = sum(quantity * ACTIONS[name].unit_energy_j(energy_table) for name, quantity in work.all_rows.items())
    lines_j = work.cells * energy_table.line_capacitance_f * energy_table.read_voltage_v**2 if work.is_electric else 0.0
    dac = None if layer.use.is_lookup else hardware.dac  # the rows of a lookup table have switches
    drives_j = 0.0 if dac is None else work.rows * energy_table.dac_energy_j(dac.bits)
    conversion_j = 0.0
    if hardware.adc is not None:
        bits = hardware.adc.bits
        conversion_j = (
            conversion_energy.typical_j(energy_table, bits) + energy_table.sample_hold_j(bits) + energy_table.overhead_j
        )
    reads = 1.0 if hardware.calibration_reads is None else hardware.calibration_reads
    return float(reads * (cells_j + lines_j + drives_j + work.row_conversions * conversion_j))
