"""Named hardware from the literature: ``preset("pcm")`` returns one, ``presets()`` lists them."""

from typing import Any

from analogsim.base.errors import InputError, brief, nearest_of
from analogsim.base.literature import Source, cited
from analogsim.converters import ADC, DAC
from analogsim.devices import (
    PCM,
    AmplitudeRegister,
    AmplitudeStore,
    Crossbar,
    DigitalMemory,
    FadingLight,
    MZIMesh,
    PhotonicTensorCore,
    Qubit,
    ReRAM,
    RingBank,
)
from analogsim.hardware.energy_table import EnergyTable
from analogsim.hardware.fresh_chip import FreshChip
from analogsim.hardware.hardware import Hardware

_PRESETS = {
    "ideal": (
        "exact digital weights and no converters: equals the plain layer to rounding",
        lambda: Hardware(name="ideal", rows=65536, columns=65536, groups="apart"),
    ),
    "int8": (
        "digital: weights and inputs rounded to 8 bits, one weight scale per column, exact accumulation",
        lambda: Hardware(
            name="int8",
            store=DigitalMemory(bits=8),
            rows=65536,
            columns=65536,
            groups="apart",
            dac=DAC(bits=8),
            energy_table=EnergyTable(
                mac_j=0.10e-12,
                accumulate_j=0.72e-12,
                arithmetic_j=0.38e-12,
                buffer_j_per_byte=0.94e-12,
                weight_fetch_j_per_byte=1.75e-12,
            ),
        ),
    ),
    # Converters and output noise as in the standard evaluation of Rasch et al. 2023; the read time is that of the
    # noise model.
    "pcm": (
        "phase-change memory, differential pairs, 512 x 512 tiles, 8-bit converters, global drift compensation",
        lambda: Hardware(
            name="pcm",
            store=Crossbar(cell=PCM()),
            dac=DAC(bits=8),
            adc=ADC(bits=8, noise=0.04),
            drift_compensation="global",
            energy_table=EnergyTable(read_time_s=250e-9, cell_write_j=1.5e-9, write_pulse_j=74e-12),
        ),
    ),
    # 256 x 256 arrays and a 0.5 V read as on the NeuRRAM chip; the write energy is the one derived for its cells.
    "reram": (
        "resistive RAM as on the NeuRRAM chip, differential pairs, 256 x 256 tiles, 8-bit converters; up to 2 days",
        lambda: Hardware(
            name="reram",
            store=Crossbar(cell=ReRAM()),
            rows=256,
            columns=256,
            dac=DAC(bits=8),
            adc=ADC(bits=8, noise=0.04),
            energy_table=EnergyTable(read_voltage_v=0.5, cell_write_j=0.5e-9, write_pulse_j=61e-12),
        ),
    ),
    # Detectors, lasers and drivers are accounted for individually; no published chip gives the overhead beyond them.
    "mzi-mesh": (
        "light: pairs of 32 x 32 interferometer meshes with heaters, homodyne detectors, 8-bit converters, 5 GS/s",
        lambda: Hardware(
            name="mzi-mesh",
            store=MZIMesh(),
            rows=32,
            columns=32,
            dac=DAC(bits=8),
            adc=ADC(bits=8, range=6.0),
            energy_table=EnergyTable(overhead_j=0.0, sample_rate_hz=5e9, cell_area_m2=7.2e-9),
        ),
    ),
    "ring-bank": (
        "light: one wavelength per input, one microring per weight, 16 x 16 tiles, rings locked to 9 bits, "
        "8-bit converters",
        lambda: Hardware(
            name="ring-bank",
            store=RingBank(laser_w=0.1),
            rows=16,
            columns=16,
            dac=DAC(bits=8),
            adc=ADC(bits=8, range=4.0),
            energy_table=EnergyTable(overhead_j=0.0, sample_rate_hz=5e9, cell_area_m2=1e-9),
        ),
    ),
    "photonic-pcm": (
        "light: absorbing phase-change films in pairs, 16 x 8 tiles, no holding power, 8-bit converters",
        lambda: Hardware(
            name="photonic-pcm",
            store=PhotonicTensorCore(laser_w=0.1),
            rows=16,
            columns=8,
            dac=DAC(bits=8),
            adc=ADC(bits=8, range=4.0),
            energy_table=EnergyTable(overhead_j=0.0, sample_rate_hz=10e9, cell_area_m2=1e-9),
        ),
    ),
    "fading-light": (
        "fading light: pulses in fibre loops with gain, 64 x 64 tiles, 8-bit converters",
        lambda: Hardware(
            name="fading-light",
            store=FadingLight(rows=64),
            rows=64,
            columns=64,
            dac=DAC(bits=8),
            adc=ADC(bits=8, range=8.0),
            drift_compensation="global",
            training=FreshChip(time_s=1e-6),
            energy_table=EnergyTable(overhead_j=0.0, sample_rate_hz=1e9, cell_area_m2=1e-9),
        ),
    ),
    # An optimistic limit: small tiles, because gates grow with 2^n, and a digital product behind the counters.
    "quantum-register": (
        "qubits: a 4-qubit register per output, 8 x 8 tiles, gates and readout 10 times better than usual, "
        "100,000 shots",
        lambda: Hardware(
            name="quantum-register",
            store=AmplitudeStore(
                register=AmplitudeRegister(qubit=Qubit(depolarising=1e-4), two_qubit_error=1e-4, readout_error=1e-3),
                rows=8,
            ),
            rows=8,
            columns=8,
            training=FreshChip(time_s=1e-6),
            energy_table=EnergyTable(overhead_j=0.0, cell_area_m2=1e-6),
        ),
    ),
}

_RASCH = cited("rasch2023", note="standard evaluation")
_WAN = cited("wan2022", note="NeuRRAM chip")
_MESH = Source(note="assumed: as large and as fast as losses and converters allow")
_HOPED = Source(note="assumed: about ten times better than usual, as few qubits have been")
_REGISTER = Source(note="assumed: the most that 4 qubits hold with signs")
_BY_NAME = Source(note="what the preset's name says")

_LIGHT: dict[str, Source] = {
    "rows": _MESH,
    "columns": _MESH,
    "dac.bits": _MESH,
    "adc.bits": _MESH,
    "adc.range": _MESH,
    "energy_table.overhead_j": Source(note="none: light, drivers and receivers are charged one by one"),
    "energy_table.sample_rate_hz": _MESH,
}

#: Sources of the values that a preset sets, by dotted name; they replace the sources of the defaults.
_SOURCES: dict[str, dict[str, Source]] = {
    "ideal": {},
    "int8": {
        "store.bits": _BY_NAME,
        "dac.bits": _BY_NAME,
        "energy_table.mac_j": cited(
            "jouppi2021", note="int8 multiply 0.07 pJ + int32 add 0.03 pJ, 7 nm", recalled=True
        ),
        "energy_table.accumulate_j": cited(
            "jouppi2021", note="fp16 multiply 0.34 pJ + fp32 add 0.38 pJ, 7 nm", recalled=True
        ),
        "energy_table.arithmetic_j": cited("jouppi2021", note="fp32 add, 7 nm", recalled=True),
        "energy_table.buffer_j_per_byte": cited("jouppi2021", note="8 kB, 7.5 pJ for 64 bits, 7 nm", recalled=True),
        "energy_table.weight_fetch_j_per_byte": cited(
            "jouppi2021", note="1 MB, 14 pJ for 64 bits, 7 nm", recalled=True
        ),
    },
    "pcm": {
        "rows": _RASCH,
        "columns": _RASCH,
        "dac.bits": _RASCH,
        "adc.bits": _RASCH,
        "adc.noise": _RASCH,
        "energy_table.read_time_s": cited("nandakumar2019", note="the read of the noise model"),
        "energy_table.cell_write_j": cited("dong2012", note="10 to 30 pulses of 71 to 76 pJ, NVSim's values for 90 nm"),
        "energy_table.write_pulse_j": cited("dong2012", note="71 pJ (SET) to 76 pJ (RESET), NVSim's values for 90 nm"),
    },
    "reram": {
        "rows": _WAN,
        "columns": _WAN,
        "dac.bits": _RASCH,
        "adc.bits": _RASCH,
        "adc.noise": _RASCH,
        "energy_table.read_voltage_v": _WAN,
        "energy_table.cell_write_j": cited("wan2022", note="derived: 8.5 pulses of 1 µs, 1.75 V at 20 µS"),
        "energy_table.write_pulse_j": cited("wan2022", note="derived: 1 µs, 1.75 V at 20 µS"),
    },
    "mzi-mesh": {
        **_LIGHT,
        "energy_table.cell_area_m2": Source(note="assumed: 120 um x 60 um, a heater of 61.6 um in each of two stages"),
    },
    "ring-bank": {
        **_LIGHT,
        "store.laser_w": _MESH,
        "energy_table.cell_area_m2": Source(note="assumed: 30 um x 30 um, a ring of 10 um and its heater"),
    },
    "photonic-pcm": {
        **_LIGHT,
        "store.laser_w": _MESH,
        "energy_table.cell_area_m2": Source(note="assumed: 30 um x 30 um, a crossing and two couplers"),
    },
    "fading-light": {
        **_LIGHT,
        "energy_table.cell_area_m2": Source(
            note="assumed: a pulse's share of the driving circuits; the fibre is no chip"
        ),
    },
    "quantum-register": {
        "rows": _REGISTER,
        "columns": _REGISTER,
        "store.rows": _REGISTER,
        "store.register.qubit.depolarising": _HOPED,
        "store.register.two_qubit_error": _HOPED,
        "store.register.readout_error": _HOPED,
        "energy_table.overhead_j": Source(note="none: the refrigerator is charged, with all it needs"),
        "energy_table.cell_area_m2": Source(note="assumed: 1 mm x 1 mm, a transmon and its resonator"),
    },
}


def preset_sources(name: str) -> dict[str, Source]:
    """Return the sources of the values that a preset sets, by dotted name (``"adc.noise"``); empty if unknown."""
    return _SOURCES.get(name, {})


def presets() -> dict[str, str]:
    """Return the names of the presets, each with a one-line description.

    Example:
      >>> presets()["ideal"]
      'exact digital weights and no converters: equals the plain layer to rounding'
    """
    return {name: text for name, (text, _) in _PRESETS.items()}


def preset(name: str, /, **changes: Any) -> Hardware:
    """Return named hardware, optionally with fields changed by dotted name.

    Args:
      name: one of ``presets()``.
      **changes: fields to replace, ``preset("pcm", **{"adc.bits": 6, "store.cell.read_noise": 0.0})``.

    Raises:
      InputError: for an unknown name or field (the message gives the nearest known one), or a value out of range.

    Example:
      >>> preset("pcm", rows=256).rows
      256
    """
    if not isinstance(name, str):
        raise InputError(f"unknown preset {brief(name)}: must be the name of one; known: {', '.join(_PRESETS)}")
    if name not in _PRESETS:
        raise InputError(f"unknown preset {name!r}; {nearest_of(name, _PRESETS)}")
    hardware = _PRESETS[name][1]()
    return hardware.replace(**changes) if changes else hardware
