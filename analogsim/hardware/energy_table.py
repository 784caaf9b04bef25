"""Energy per action of the hardware, in joules: the numbers behind the energy account.

    cell read        e = V^2 t per siemens (amplitude-coded inputs)
    line charge      e = C V^2 per cell of the row
    DAC              e = k0 b Vdd^2                     b bits
    ADC              e = k1 b Vdd^2 + k2 4^b Vdd^2      successive approximation, b bits
    sample and hold  e = C V^2 per conversion, C = 12 k T 4^b / V^2: thermal noise as large as the rounding
    digital scaling  one multiply-accumulate per conversion; shift and add: one addition per partial sum
    buffer, network  bytes in and out of an SRAM, more joules per byte for larger ones; bits over one hop
    memory           bytes of an external DRAM, for data that does not fit on the chip, enters or leaves the model
    light            laser light over its efficiency; a symbol of a modulator; a sample of a receiver; holding power
    qubits           a pulse per gate, an amplifier per read; a fraction of the refrigerator while an inference lasts
    leakage          P t of buffers and adders while the layer's tiles are read; unused parts are off

    rest of the chip a fixed energy per conversion: clock, control, margins

The energy of the ADC has four models (``adc_model``): the embedded one above, the survey's floor, its median, and a
published regression (``analogsim.energy.chip.adc``). Areas are of ISAAC's 32 nm blocks, and of one-transistor cells.

Defaults are component figures of 28 nm: converters and word lines as published, digital arithmetic and buffers between
the published 45 and 7 nm (``energy.number_formats``); adders behind ADCs, network and areas are ISAAC's of 32 nm. They
are not of one chip, so the rest of the chip is the energy of a measured one beyond them.
Each figure has its source; "recalled" marks a figure taken from memory of the publication and still to be checked.
"""

import dataclasses
from typing import Any

from analogsim.base.description import Description, field, static
from analogsim.base.field_rules import rule_of
from analogsim.base.literature import Source, as_source, cited
from analogsim.base.types import Numeric

_ZIGZAG = cited("houshmand2023", note="ZigZag-IMC fit to 28 nm chips")
_28NM = cited("horowitz2014", "jouppi2021", note="45 and 7 nm, a power law between them at 28 nm", recalled=True)
_ISAAC_AREA = cited("shafiee2016", note="area of its 32 nm block", recalled=True)
_SIMPHONY = Source(
    note="450 fJ a bit of a Mach-Zehnder modulator in SimPhony's library, taken for a symbol", recalled=True
)
_BOLTZMANN_T = 1.380649e-23 * 300.0


class EnergyTable(Description):
    """Energy per action, power and area of the hardware's components. See the module for the formulae.

    Example:
      >>> f"{EnergyTable(adc_capacitance_f=100e-15).adc_energy_j(8):.3g}"
      '7.01e-13'
    """

    read_voltage_v: Any = field(
        default=0.2, unit="V", gt=0, le=5, doc="full-scale read voltage", source=Source(note="typical, 0.2 to 0.5 V")
    )
    read_time_s: Any = field(
        default=100e-9, unit="s", gt=0, le=1, doc="duration of a read", source=Source(note="upper end of 1 to 100 ns")
    )
    line_capacitance_f: Any = field(
        default=0.35e-15, unit="F", ge=0, le=1e-9, doc="word line, per cell", source=_ZIGZAG
    )
    supply_v: Any = field(default=0.9, unit="V", gt=0, le=5, doc="converter supply", source=_ZIGZAG)
    dac_capacitance_f: Any = field(default=50e-15, unit="F", ge=0, le=1e-9, doc="k0, per bit", source=_ZIGZAG)
    adc_capacitance_f: Any = field(
        default=310e-15,
        unit="F",
        ge=0,
        le=1e-9,
        doc="k1, per bit",
        source=Source(note="derived from three silicon ADCs at 65, 32 and 22 nm"),
    )
    adc_capacitance_4b_f: Any = field(default=1e-18, unit="F", ge=0, le=1e-9, doc="k2, times 4^bits", source=_ZIGZAG)
    accumulate_j: Any = field(
        default=1.54e-12,
        unit="J",
        ge=0,
        le=1e-6,
        doc="scale and accumulate one conversion (fp16 x, fp32 +)",
        source=_28NM,
    )
    buffer_j_per_byte: Any = field(
        default=1.16e-12, unit="J/B", ge=0, le=1e-6, doc="8 kB activation buffer (9.3 pJ for 64 bits)", source=_28NM
    )
    mac_j: Any = field(
        default=3.56e-12, unit="J", ge=0, le=1e-6, doc="one digital multiply-accumulate (fp32)", source=_28NM
    )
    weight_fetch_j_per_byte: Any = field(
        default=7.57e-12, unit="J/B", ge=0, le=1e-6, doc="1 MB weight SRAM (61 pJ for 64 bits)", source=_28NM
    )
    buffer_bytes: int = static(
        default=2**23,
        ge=0,
        le=2**40,
        integer=True,
        doc="on-chip memory besides the tiles' buffers; data that does not fit passes the external memory",
        source=cited("ankit2019", "shafiee2016", note="138 and 168 tiles with 64 kB each: 9 to 11 MB", recalled=True),
    )
    memory_j_per_byte: Any = field(
        default=64e-12, unit="J/B", ge=0, le=1e-6, doc="external memory (LPDDR4, 8 pJ per bit)",
        source=Source(note="as in Accelergy's CACTI plug-in"),
    )  # fmt: skip
    memory_byte_per_s: Any = field(
        default=25.6e9, unit="B/s", gt=0, le=1e15, doc="rate of the external memory (LPDDR4-3200, 64 bits wide)",
        source=Source(note="3200 MT/s times 8 B", recalled=True),
    )  # fmt: skip
    digital_op_per_s: Any = field(
        default=256e9, unit="1/s", gt=0, le=1e15, doc="multiply-accumulates or other results per second of the digital "
        "unit next to the arrays", source=Source(note="assumed: 256 lanes at 1 GHz, as many as an array has columns"),
    )  # fmt: skip
    dispatch_s: Any = field(
        default=5e-6, unit="s", ge=0, le=1, doc="from the host's call to the first read, once per batch; 0 for a chip "
        "that starts by itself", source=Source(note="as for the other systems behind PCIe", recalled=True),
    )  # fmt: skip
    adc_model: str = static(
        default="embedded",
        choices=("embedded", "floor", "median", "regression"),
        doc="model of the ADC's typical energy",
    )
    adc_enob: Any = field(
        default=None, unit="bit", gt=0, le=24, optional=True, doc="effective bits; None: the nominal ones",
        counts="with adc_model = 'floor', 'median' or 'regression', and for the range of the ADC's energy",
    )  # fmt: skip
    node_nm: Any = field(
        default=28.0, unit="nm", gt=0, le=1000, doc="process of the ADC, for median and regression", source=_ZIGZAG
    )
    sample_rate_hz: Any = field(
        default=100e6, unit="Hz", gt=0, le=1e12, doc="conversions per second of one ADC; a slow one delays reads",
        source=Source(note="chosen: the reference rate of the survey's fit"),
    )  # fmt: skip
    columns_per_adc: int = static(
        default=1,
        ge=1,
        le=65536,
        integer=True,
        doc="physical columns that share an ADC in turn",
        source=cited("khaddam2022", note="one ADC per column, as in the HERMES core"),
    )
    shift_add_j: Any = field(
        default=0.021e-12, unit="J", ge=0, le=1e-6, doc="one 16-bit addition of a partial sum, 32 nm",
        source=cited("shafiee2016", note="derived: 0.2 mW at 9.6 GS/s", recalled=True),
    )  # fmt: skip
    network_j_per_bit: Any = field(
        default=0.081e-12, unit="J/bit", ge=0, le=1e-6, doc="one bit over one hop between tiles, 32 nm",
        source=cited("shafiee2016", note="derived: its router, 20.7 pJ for 256 bits"),
    )  # fmt: skip
    arithmetic_j: Any = field(
        default=0.722e-12, unit="J", ge=0, le=1e-6, doc="one addition of other arithmetic (fp32)", source=_28NM
    )
    buffer_leakage_w_per_byte: Any = field(
        default=381e-6 / 131072, unit="W/B", ge=0, le=1, doc="leakage and refresh of buffers",
        source=Source(note="derived: 16 nm gain-cell macro, 381 uW per Mbit, doi 10.1109/LSSC.2020.3006496"),
    )  # fmt: skip
    adder_leakage_w: Any = field(
        default=2.4e-6, unit="W", ge=0, le=1, doc="leakage of the digital logic behind one ADC",
        source=Source(note="a 32-bit adder of 40 nm in the Aladdin library"),
    )  # fmt: skip
    cell_area_m2: Any = field(
        default=25 * (28e-9) ** 2, unit="m2", gt=0, le=1e-6, doc="one cell with its transistor",
        source=Source(note="assumed: 25 F^2 at 28 nm"),
    )  # fmt: skip
    adc_area_m2: Any = field(default=1.2e-9, unit="m2", ge=0, le=1e-3, doc="one 8-bit ADC", source=_ISAAC_AREA)
    driver_area_m2: Any = field(
        default=0.17e-12, unit="m2", ge=0, le=1e-3, doc="one row driver, per bit", source=_ISAAC_AREA
    )
    adder_area_m2: Any = field(
        default=60e-12, unit="m2", ge=0, le=1e-3, doc="shift and add behind one ADC", source=_ISAAC_AREA
    )
    buffer_area_m2_per_byte: Any = field(default=1.05e-12, unit="m2/B", ge=0, le=1e-3, doc="buffer", source=_ISAAC_AREA)
    network_area_m2: Any = field(default=0.39e-9, unit="m2", ge=0, le=1e-3, doc="network per tile", source=_ISAAC_AREA)
    laser_efficiency: Any = field(
        default=0.2,
        gt=0,
        le=1,
        doc="light per electrical power of the laser",
        source=Source(note="wall-plug efficiency 0.1 to 0.2", recalled=True),
    )
    modulator_j: Any = field(
        default=450e-15, unit="J", ge=0, le=1e-6, doc="one symbol of a modulator of light, without its DAC",
        source=_SIMPHONY,
    )  # fmt: skip
    receiver_j: Any = field(
        default=0.3125e-12, unit="J", ge=0, le=1e-6, doc="the amplifier behind a detector, per sample",
        source=Source(note="moderate set of Albireo, doi 10.1109/ISCA52012.2021.00072", recalled=True),
    )  # fmt: skip
    refrigerator_w: Any = field(
        default=25e3, unit="W", ge=0, le=1e9, doc="refrigerator of the qubits, at the wall plug",
        source=Source(note="25 kW, the whole D-Wave 2X system"),
    )  # fmt: skip
    refrigerator_qubits: Any = field(
        default=1000.0, gt=0, le=1e9, doc="qubits that share a refrigerator",
        source=Source(note="about the 1,000 of D-Wave 2X"),
    )  # fmt: skip
    qubit_gate_j: Any = field(
        default=0.2e-9, unit="J", ge=0, le=1, doc="the pulse of a two-qubit gate, its electronics not included",
        source=Source(note="assumed: 1 mW for 200 ns at room temperature, before attenuators"),
    )  # fmt: skip
    qubit_read_j: Any = field(
        default=10e-9, unit="J", ge=0, le=1, doc="reading one qubit once",
        source=Source(note="derived: an amplifier of 10 mW at 4 K for 1 us, its cooling not included", recalled=True),
    )  # fmt: skip
    overhead_j: Any = field(
        default=38e-12,
        unit="J",
        ge=0,
        le=1e-6,
        doc="rest of the chip, per conversion",
        source=cited(
            "legallo2023", note="measured 14 nm PCM chip less these components: 13.4 nJ per 256 x 256 product"
        ),
    )
    cell_write_j: Any = field(
        default=None, unit="J", ge=0, le=1e-3, optional=True, doc="write and verify one cell; None if not known"
    )
    write_pulse_j: Any = field(
        default=None,
        unit="J",
        ge=0,
        le=1e-3,
        optional=True,
        doc="one write pulse of program-and-verify; None if not known",
        counts="in Chip.write_statistics",
    )

    def model_sources(self) -> tuple[Source, ...]:
        return (cited("houshmand2023", note="converter energies"),)

    def sources(self, *names: str) -> tuple[Source, ...]:
        """Return the sources of the named fields; a field with another value than its default says so instead."""
        fields = {f.name: f for f in dataclasses.fields(self)}
        sources: dict[Source, None] = {}
        for name in names:
            value = getattr(self, name)
            if isinstance(value, (int, float)) and value == fields[name].default:
                source = as_source(rule_of(fields[name]).source) or Source(note=f"no source: EnergyTable.{name}")
            else:
                source = Source(note=f"set by this hardware: EnergyTable.{name}")
            sources[source] = None
        return tuple(sources)

    def dac_energy_j(self, bits: Numeric) -> Any:
        """Return the joules per digital-to-analog conversion of ``bits`` bits."""
        return self.dac_capacitance_f * bits * self.supply_v**2

    def adc_energy_j(self, bits: Numeric) -> Any:
        """Return the joules per analog-to-digital conversion of ``bits`` nominal bits, by the embedded model."""
        return (self.adc_capacitance_f * bits + self.adc_capacitance_4b_f * 4.0**bits) * self.supply_v**2

    def sample_hold_j(self, bits: Numeric) -> Any:
        """Return the joules per charge of a sampling capacitor whose thermal noise equals the rounding to ``bits``.

        Rounding has the variance V^2 / (12 4^b), the capacitor's noise k T / C: C = 12 k T 4^b / V^2, and e = C V^2.
        """
        return 12 * _BOLTZMANN_T * 4.0**bits
