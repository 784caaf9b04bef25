"""What the tiles consist of: how many of each part, and its area. Parts that hold or serve no weight are switched off.

    a tile of R rows and C readout lines in use has R C cells, R drivers, C / (lines an ADC) converters with a
    sample-and-hold and an adder each, a buffer for its inputs and outputs, and a share of the network

The areas are ``Prices``' and their sources theirs. They are of blocks, side by side: no routing, no gaps.
"""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from analogsim.base.literature import Source
from analogsim.energy.chip.analog_lines import sources

if TYPE_CHECKING:
    from analogsim.energy.chip.tile_work import TileWork
    from analogsim.energy.work.layer_work import LayerWork


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """One kind of part of the tiles.

    Attributes:
      name: what it is.
      count: how many are in use.
      area_m2: area of one.
      sources: where that comes from.
    """

    name: str
    count: float
    area_m2: float
    sources: tuple[Source, ...]


def parts(held: Sequence[tuple["LayerWork", "TileWork"]]) -> tuple[Part, ...]:
    """Parts of all tiles, those of one kind and area together."""
    found: dict[tuple, float] = {}
    for layer, work in held:
        hardware, prices = layer.use.hardware, layer.use.hardware.prices
        dac, adc, n = hardware.dac, hardware.adc, layer.matrices
        adcs = 0 if adc is None else work.lines / prices.lines_per_adc
        width = lambda converter: 4.0 if converter is None else max(1.0, float(converter.bits) / 8)  # noqa: E731
        numbers = work.rows * width(dac) + work.lines * width(adc)
        for name, count, field, times in (
            ("cells", work.cells, "cell_area_m2", 1.0),
            ("drivers", 0 if dac is None else work.rows, "driver_area_m2", 1.0 if dac is None else float(dac.bits)),
            ("ADCs", adcs, "adc_area_m2", 1.0),
            ("adders", adcs, "adder_area_m2", 1.0),
            ("buffers (B)", numbers, "buffer_area_m2_per_byte", 1.0),
            ("network", work.tiles, "network_area_m2", 1.0),
        ):
            key = (name, times * float(getattr(prices, field)), sources(prices, field))
            found[key] = found.get(key, 0.0) + n * count
    return tuple(Part(name=k[0], count=n, area_m2=k[1], sources=k[2]) for k, n in found.items() if n)
