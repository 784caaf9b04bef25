"""What each action of the hardware costs, in joules: the numbers behind the energy account.

    cell read        e = V^2 t a siemens (amplitude-coded inputs)
    line charge      e = C V^2 a cell of the row
    DAC              e = k0 b Vdd^2                     b bits
    ADC              e = k1 b Vdd^2 + k2 4^b Vdd^2      successive approximation, b bits
    digital scaling  one multiply-accumulate a conversion; buffer: SRAM bytes in and out

    rest of the chip a fixed energy a conversion: clock, control, communication, margins

Defaults are component figures: converters and lines of 28 nm, adders and buffers of 45 nm, digital weight memories and
multipliers of 7 nm. They are not of one chip; the rest of the chip is therefore what a measured one takes beyond them.
Each figure carries its source; "recalled" marks one taken from memory of the publication and still to be checked.
"""

from typing import Any

from analogsim.devices.description import Description, field
from analogsim.devices.literature import Source
from analogsim.devices.papers import cited

_ZIGZAG = cited("houshmand2023", note="ZigZag-IMC fit to 28 nm chips")
_HOROWITZ = cited("horowitz2014", note="45 nm", recalled=True)
_JOUPPI = cited("jouppi2021", note="7 nm", recalled=True)


class Prices(Description):
    """Energy of every action. See the module for the formulae."""

    read_voltage_v: Any = field(
        default=0.2, unit="V", gt=0, le=5, doc="full-scale read voltage", source=Source(note="typical, 0.2 to 0.5 V")
    )
    read_time_s: Any = field(
        default=100e-9, unit="s", gt=0, le=1, doc="duration of a read", source=Source(note="upper end of 1 to 100 ns")
    )
    line_capacitance_f: Any = field(default=0.35e-15, unit="F", ge=0, le=1e-9, doc="word line, a cell", source=_ZIGZAG)
    supply_v: Any = field(default=0.9, unit="V", gt=0, le=5, doc="converter supply", source=_ZIGZAG)
    dac_capacitance_f: Any = field(default=50e-15, unit="F", ge=0, le=1e-9, doc="k0, a bit", source=_ZIGZAG)
    adc_capacitance_f: Any = field(
        default=310e-15,
        unit="F",
        ge=0,
        le=1e-9,
        doc="k1, a bit",
        source=Source(note="derived from three silicon ADCs at 65, 32 and 22 nm"),
    )
    adc_capacitance_4b_f: Any = field(default=1e-18, unit="F", ge=0, le=1e-9, doc="k2, times 4^bits", source=_ZIGZAG)
    accumulate_j: Any = field(
        default=2.0e-12,
        unit="J",
        ge=0,
        le=1e-6,
        doc="scale and accumulate one conversion (fp16 x, fp32 +)",
        source=_HOROWITZ,
    )
    buffer_j_per_byte: Any = field(
        default=1.25e-12, unit="J/B", ge=0, le=1e-6, doc="8 kB activation buffer (10 pJ for 64 bits)", source=_HOROWITZ
    )
    mac_j: Any = field(
        default=1.69e-12, unit="J", ge=0, le=1e-6, doc="one digital multiply-accumulate (fp32)", source=_JOUPPI
    )
    weight_fetch_j_per_byte: Any = field(
        default=1.75e-12, unit="J/B", ge=0, le=1e-6, doc="1 MB weight SRAM (14 pJ for 64 bits)", source=_JOUPPI
    )
    overhead_j: Any = field(
        default=40e-12,
        unit="J",
        ge=0,
        le=1e-6,
        doc="rest of the chip, a conversion",
        source=cited("legallo2023", note="measured 14 nm PCM chip less these components: 13.4 nJ a 256 x 256 product"),
    )
    cell_write_j: Any = field(
        default=None, unit="J", ge=0, le=1e-3, optional=True, doc="write and verify one cell; None if not known"
    )
    write_pulse_j: Any = field(
        default=None, unit="J", ge=0, le=1e-3, optional=True, doc="one write pulse of a closed loop; None if not known"
    )

    def model_sources(self) -> tuple[Source, ...]:
        return (cited("houshmand2023", note="converter energies"),)

    def dac_energy_j(self, bits: Any) -> Any:
        """One digital-to-analog conversion, joules."""
        return self.dac_capacitance_f * bits * self.supply_v**2

    def adc_energy_j(self, bits: Any) -> Any:
        """One analog-to-digital conversion, joules."""
        return (self.adc_capacitance_f * bits + self.adc_capacitance_4b_f * 4.0**bits) * self.supply_v**2
