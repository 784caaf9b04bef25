"""Parts of the tiles: the count and area of each. Parts that hold or serve no weight are switched off and not counted.

    a tile of R rows and C physical columns in use has R C cells, R drivers, C / (columns per ADC) converters with a
    sample-and-hold and an adder each, a buffer for its inputs and outputs, and a part of the network

Areas and their sources are those of ``EnergyTable``. They are areas of blocks, without routing or gaps.
"""

import dataclasses
from collections.abc import Sequence

from analogsim.base.literature import Source
from analogsim.energy.chip.analog_items import byte_widths
from analogsim.energy.chip.tile_work import TileWork
from analogsim.energy.work.layer_work import LayerWork


@dataclasses.dataclass(frozen=True, kw_only=True)
class FloorplanPart:
    """One kind of part of the tiles.

    Attributes:
      name: name of the part.
      count: number of parts in use.
      area_m2: area of one part in m2.
      sources: sources of the area.
    """

    name: str
    count: float
    area_m2: float
    sources: tuple[Source, ...]


def parts(layers: Sequence[tuple[LayerWork, TileWork]]) -> tuple[FloorplanPart, ...]:
    """Return the parts of all tiles; parts of one kind and area are joined."""
    counts: dict[tuple[str, float, tuple[Source, ...]], float] = {}
    for layer, work in layers:
        hardware, energy_table = layer.use.hardware, layer.use.hardware.energy_table
        dac, adc, n = hardware.dac, hardware.adc, layer.matrices
        adcs = 0 if adc is None else work.adc_inputs / energy_table.columns_per_adc
        bytes_in, bytes_out = map(float, byte_widths(hardware))
        buffer_bytes = work.rows * bytes_in + work.adc_inputs * bytes_out
        for name, count, field, times in (
            ("cells", work.cells, "cell_area_m2", 1.0),
            ("drivers", 0 if dac is None else work.rows, "driver_area_m2", 1.0 if dac is None else float(dac.bits)),
            ("ADCs", adcs, "adc_area_m2", 1.0),
            ("adders", adcs, "adder_area_m2", 1.0),
            ("buffers (B)", buffer_bytes, "buffer_area_m2_per_byte", 1.0),
            ("network", work.tiles, "network_area_m2", 1.0),
        ):
            key = (name, times * float(getattr(energy_table, field)), energy_table.sources(field))
            counts[key] = counts.get(key, 0.0) + n * count
    return tuple(FloorplanPart(name=k[0], count=n, area_m2=k[1], sources=k[2]) for k, n in counts.items() if n)
