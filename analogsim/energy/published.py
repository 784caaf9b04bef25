"""Published analog and photonic machines, as models that can be checked; see ``validation``.

Every number that a machine's authors give comes from ``data/validation_reference_points.csv``, with its source and how
it is known; ours comes from the formulae here and in ``analogsim.hardware.prices``.
"""

from typing import Any

from analogsim.base.literature import cited
from analogsim.energy.assembly import Assembly, Part
from analogsim.energy.validation import Check, point, points
from analogsim.hardware.prices import Prices

_ADC = "analogsim.hardware.prices:adc_capacitance_f"
_REST = "analogsim.hardware.prices:overhead_j"
#: Every price of a component that enters ``components_j``.
_COMPONENTS = (
    _ADC, "analogsim.hardware.prices:adc_capacitance_4b_f", "analogsim.hardware.prices:dac_capacitance_f",
    "analogsim.hardware.prices:line_capacitance_f", "analogsim.hardware.prices:buffer_j_per_byte",
    "analogsim.hardware.prices:network_j_per_bit",
    "analogsim.hardware.prices:accumulate_j",
)  # fmt: skip

_ISAAC = cited("shafiee2016", note="table of the tile", recalled=True)


def check(
    key: tuple[str, str, str] | None,
    ours: float,
    kind: str,
    *,
    tolerance: float | None = None,
    name: str = "",
    fitted: str = "",
    theirs: float | None = None,
    system: str = "",
    unit: str = "",
    known: str = "",
    source: str = "",
    scope: str = "",
    rests_on: tuple[str, ...] = (),
) -> Check:
    """A check against a point of the table, or against a number that follows from one (``theirs``)."""
    row = points()[key] if key is not None else {}
    default = {"identity": 0.01, "roll-up": 0.005, "calibrated": 0.25, "uncalibrated": 3.0, "part": 5.0, "bound": 0.0}[
        kind
    ]
    condition = f", {row['condition']}" if row.get("condition") else ""
    return Check(
        system=system or row["system"],
        quantity=name or row["quantity"].replace("_", " ") + condition,
        ours=ours,
        theirs=float(row["value"]) if theirs is None else theirs,
        unit=unit or row["unit"],
        kind=kind,
        tolerance=default if tolerance is None else tolerance,
        calibrated_on=fitted,
        known=known or row["how_known"],
        source=source or row["source"],
        scope=scope or row["scope"],
        rests_on=rests_on,
    )


def checks() -> list[Check]:
    """All of this file."""
    return [
        *isaac_checks(),
        *puma_checks(),
        *hermes_checks(),
        *neurram_checks(),
        *raella_checks(),
        *adc_checks(),
        *albireo_checks(),
        *light_checks(),
    ]


# --- ISAAC and what came of it ---------------------------------------------------------------------------------------


def _isaac_power_w(quantity: str) -> float:
    return 1e-3 * point("ISAAC", "table of the tile", quantity)


def isaac() -> Assembly:
    """The chip from its table: 168 tiles of 12 multiply-accumulate units of 8 arrays, and four links.

    Example:
      >>> round(isaac().power_w, 1), round(isaac().area_m2 * 1e6, 1)
      (65.8, 85.4)
    """

    def part(name: str, quantity: str, area_mm2: float, share: float = 1.0) -> Part:
        return Part(name=name, power_w=share * _isaac_power_w(quantity), area_m2=share * area_mm2 * 1e-6, source=_ISAAC)

    unit = Assembly(
        name="IMA",
        count=12,
        parts=(
            part("ADC", "power_ima_ADC_8x8b_1.2GSps", 0.0096),
            part("DAC", "power_ima_DAC_8x128_1b", 0.00017),
            part("sample and hold", "power_ima_sample_hold", 0.00004),
            part("memristors", "power_ima_memristor_8x128x128", 0.0002),
            part("shift and add", "power_ima_shift_add_4", 0.00024),
            part("input register", "power_ima_input_reg_2KB", 0.0021),
            part("output register", "power_ima_output_reg_256B", 0.00077),
        ),
    )
    tile = Assembly(
        name="tile",
        count=168,
        parts=(
            unit,
            part("eDRAM", "power_tile_eDRAM_64KB", 0.083),
            part("bus", "power_tile_bus", 0.090),
            part("router", "power_router_per_4_tiles", 0.151, share=0.25),
            part("sigmoid", "power_tile_sigmoid", 0.0006),
            part("shift and add", "power_tile_shift_add", 0.00006),
            part("max pool", "power_tile_maxpool", 0.00024),
            part("output register", "power_tile_output_reg_3KB", 0.0032),
        ),
    )
    links_w = point("ISAAC", "168 tiles, 12 IMAs per tile", "hypertransport_power")
    links = Part(name="HyperTransport", power_w=links_w, area_m2=22.88e-6, source=_ISAAC)
    return Assembly(name="chip", parts=(tile, links))


def isaac_op_per_s() -> float:
    """16-bit weights on eight cells of two bits, inputs bit by bit in 16 steps of 100 ns, on 168 x 12 x 8 arrays."""
    each = 2 * 128 * (128 * 2 // 16) / (16 * 100e-9)
    return 168 * 12 * 8 * each


def isaac_checks() -> list[Check]:
    chip, where = isaac(), "168 tiles, 12 IMAs per tile"
    tera = isaac_op_per_s() / 1e12
    convert_pj = 1e12 * _isaac_power_w("power_ima_ADC_8x8b_1.2GSps") / 8 / 1.2e9
    keys = {
        name: ("ISAAC", where, name)
        for name in ("tile_power", "chip_power", "chip_area", "throughput_16b", "efficiency", "density")
    }
    return [
        check(keys["tile_power"], 1e3 * chip.part("tile").power_w, "roll-up"),  # type: ignore[operator]
        check(keys["chip_power"], chip.power_w, "roll-up"),
        check(keys["chip_area"], 1e6 * chip.area_m2, "roll-up", known="recalled"),
        check(keys["throughput_16b"], tera, "identity"),
        check(keys["efficiency"], tera / chip.power_w, "identity"),
        check(keys["density"], tera / (1e6 * chip.area_m2), "identity"),
        check(
            None,
            1e12 * Prices().adc_energy_j(8),
            "uncalibrated",
            tolerance=2.0,
            system="ISAAC",
            theirs=convert_pj,
            name="ADC conversion, 8 bits at 1.2 GS/s, 32 nm",
            rests_on=(_ADC,),
            unit="pJ",
            known="recalled",
            scope="part",
            source="10.1109/ISCA.2016.12",
        ),
    ]


def puma_checks() -> list[Check]:
    key = ("PUMA", "1 GHz 16b", "efficiency")
    return [
        check(
            None,
            point(*key) / 2,
            "identity",
            system="PUMA",
            theirs=0.42,
            unit="TMAC/s/W",
            name="multiply-accumulates a joule, as tables that count them quote it",
            known="derived",
            scope="peak",
            source="10.1145/3297858.3304049",
        ),
        check(
            key,
            isaac_op_per_s() / 1e12 / isaac().power_w,
            "uncalibrated",
            tolerance=2.0,
            name="efficiency, from ISAAC's published parts",
        ),
    ]


# --- phase-change and resistive chips --------------------------------------------------------------------------------


def components_j(prices: Prices, n: int, bits_in: int, bits_out: int, siemens: float, share: float) -> float:
    """One n x n product on differential pairs by the components alone: no clock, control, margins.

    Args:
      prices: of the hardware.
      n: inputs and outputs.
      bits_in, bits_out: of the converters.
      siemens: mean conductance of a pair.
      share: mean squared input as a share of full scale.
    """
    cells_j = n * n * siemens * prices.read_voltage_v**2 * prices.read_time_s * share
    lines_j = 2 * n * n * prices.line_capacitance_f * prices.read_voltage_v**2 * share
    inputs_j = n * (prices.dac_energy_j(bits_in) + prices.buffer_j_per_byte + 8 * prices.network_j_per_bit)
    converts_j = prices.adc_energy_j(bits_out) + prices.sample_hold_j(bits_out) + prices.accumulate_j
    outputs_j = n * (converts_j + max(1, bits_out / 8) * (prices.buffer_j_per_byte + 8 * prices.network_j_per_bit))
    return cells_j + lines_j + inputs_j + outputs_j


def hermes_checks() -> list[Check]:
    name, core = "IBM HERMES 64-core", "IBM HERMES core"
    phases = ("one-phase 8b in/out", "four-phase 8b in/out")
    speed = [point(name, phase, "throughput") for phase in phases]
    power_w = [s / point(name, phase, "efficiency") for s, phase in zip(speed, phases, strict=True)]
    op = 2 * 256 * 256
    one_nj, four_nj = (1e9 * w * 64 * op / (s * 1e12) / 64 for w, s in zip(power_w, speed, strict=True))
    core_nj = 1e9 * op / (1e12 * point(core, "256x256, 1 GHz", "efficiency"))
    prices = Prices(read_time_s=250e-9)
    # Normal weights up to 2.6 standard deviations: 25 uS x 0.31; uniform inputs: 1/3.
    alone_nj = 1e9 * components_j(prices, 256, 8, 8, 25e-6 * 0.31, 1 / 3)
    phases_nj = 4 * alone_nj  # four phases drive, read and convert four times, and take four times as long
    rest_nj = 1e9 * 256 * prices.overhead_j
    common: dict[str, Any] = dict(
        system=name, unit="nJ", known="abstract", source="10.1038/s41928-023-01010-1", scope="peak"
    )
    return [
        check(
            None,
            power_w[1],
            "identity",
            theirs=power_w[0],
            name="power, four phases against one",
            **(common | dict(unit="W")),
        ),
        check(
            None,
            64 * op / speed[0] / 1e3,
            "identity",
            theirs=133.0,
            name="time of a product, one phase",
            **(common | dict(unit="ns")),
        ),
        check(
            None,
            64 * op / speed[1] / 1e3,
            "identity",
            theirs=521.0,
            name="time of a product, four phases",
            **(common | dict(unit="ns")),
        ),
        check(
            None,
            one_nj,
            "calibrated",
            theirs=core_nj,
            name="a product: chip against single core",
            fitted="the other of two chips",
            **common,
        ),
        check(
            None,
            alone_nj + rest_nj,
            "calibrated",
            theirs=one_nj,
            name="a 256 x 256 product, one phase",
            fitted="itself: rest of the chip",
            **common,
        ),
        check(
            None,
            alone_nj,
            "part",
            theirs=one_nj,
            name="a 256 x 256 product, components alone",
            rests_on=_COMPONENTS,
            **common,
        ),
        check(
            None,
            phases_nj,
            "part",
            theirs=four_nj,
            name="a 256 x 256 product in four phases, components alone, each phase read and converted",
            rests_on=_COMPONENTS,
            **common,
        ),
        check(
            ("IBM analog-AI speech chip", "34 tiles, 35M devices, chip-sustained", "efficiency"),
            op / (1e3 * (alone_nj + rest_nj)),
            "uncalibrated",
            tolerance=2.0,
            name="efficiency, sustained",
            rests_on=(_REST,),
        ),
        check(
            ("Mythic M1076", "typical", "power"),
            25e12 * (alone_nj + rest_nj) * 1e-9 / op,
            "uncalibrated",
            tolerance=2.0,
            name="power at 25 TOPS, with the PCM chip's joules",
            rests_on=(_REST,),
        ),
    ]


_NEURRAM = (
    ("1b in,3b out", "one"),
    ("2b in,4b out", "one"),
    ("3b in,5b out", "one"),
    ("4b in,6b out", "one"),
    ("5b in,7b out", "one"),
    ("6b in,8b out", "one"),
    ("7b in,9b out", "two"),
    ("8b in,10b out", "two"),
)
WORD_LINE_FJ = 7.56  #: an operation and input cycle: one constant for all seven settings


def neurram_checks() -> list[Check]:
    found = []
    for setting, phase in _NEURRAM:
        split = [
            point("NeuRRAM", setting, f"energy_{part}")
            for part in ("wordline_switching", "neuron_and_control", "input_pulses")
        ]
        key = ("NeuRRAM", f"{setting},{phase}-phase", "efficiency")
        found.append(
            check(key, 1e3 / sum(split), "identity", tolerance=0.02, name=f"efficiency from its split, {setting}")
        )
    for setting, _ in _NEURRAM[1:]:
        cycles = int(setting[0]) - 1
        found.append(
            check(
                ("NeuRRAM", setting, "energy_wordline_switching"),
                cycles * WORD_LINE_FJ,
                "calibrated",
                fitted="7.56 fJ an input cycle",
                rests_on=("analogsim.energy.published:WORD_LINE_FJ",),
            )
        )
    prices = Prices(read_voltage_v=0.5)
    alone_fj = 1e15 * components_j(prices, 256, 8, 10, 39e-6 * 0.31 + 2e-6, 1 / 3) / (2 * 256 * 256)
    split = [
        point("NeuRRAM", "8b in,10b out", f"energy_{part}")
        for part in ("wordline_switching", "neuron_and_control", "input_pulses")
    ]
    found.append(
        check(
            None,
            alone_fj,
            "part",
            theirs=sum(split),
            rests_on=_COMPONENTS,
            system="NeuRRAM",
            unit="fJ/op",
            name="8b in, 10b out, components alone (28 nm prices, the chip is 130 nm)",
            known="digitised by CiMLoop/AccelForge",
            scope="peak",
            source="10.1038/s41586-022-04992-8",
        )
    )
    return found


# --- converters -------------------------------------------------------------------------------------------------------


def raella_checks() -> list[Check]:
    """RAELLA's point: taller arrays and fewer bits take fewer joules of conversion a multiply-accumulate.

    Both numbers are ours, and the price they share cancels: bookkeeping.
    """
    prices = Prices()
    plain_fj, raella_fj = 1e15 * prices.adc_energy_j(8) / 128, 1e15 * prices.adc_energy_j(7) / 512
    return [
        check(
            None,
            plain_fj,
            "bound",
            theirs=raella_fj,
            system="RAELLA",
            unit="fJ/MAC",
            name="conversions of 128 rows at 8 bits against 512 rows at 7 bits",
            known="trend",
            scope="part",
            source="10.1145/3579371.3589062",
        )
    ]


def adc_checks() -> list[Check]:
    """The embedded price, whose k1 is fitted to these three chips, at their own supplies."""
    k1_f, k2_f = Prices().adc_capacitance_f, Prices().adc_capacitance_4b_f
    wang = "embedded ADC: Wang 22nm (0.34 x 0.1221 pJ/MAC x 64 MAC)"
    rows = (
        (("embedded ADC: Jia 65nm", "8b nominal, 0.85 V", "energy_per_convert"), 0.85),
        (("embedded ADC: Jia 65nm", "8b nominal, 1.2 V", "energy_per_convert"), 1.2),
        ((wang, "8b nominal, 1.0 V", "energy_per_convert"), 1.0),
        (("embedded ADC: Kull 8b 1.2GS/s SAR (ENOB 6.24)", "8b nominal, 1.0 V", "energy_per_convert"), 1.0),
    )
    return [
        check(
            key,
            1e12 * (8 * k1_f + 4.0**8 * k2_f) * volts**2,
            "calibrated",
            system="embedded ADCs",
            fitted="k1 = 310 fF",
            rests_on=(_ADC,),
            name=key[0].removeprefix("embedded ADC: ").partition(" (")[0] + f", {volts} V",
        )
        for key, volts in rows
    ]


# --- light -----------------------------------------------------------------------------------------------------------

#: Watts or joules a sample of one device, conservative, moderate and aggressive.
_ALBIREO = {
    "MRR": (3.1e-3, 0.388e-3, 0.155e-3),
    "MZM": (11.3e-3, 1.41e-3, 0.565e-3),
    "laser": (1.94e-3, 0.0743e-3, 0.0614e-3),
    "TIA": (0.625e-12, 0.3125e-12, 0.045e-12),
    "DAC": (5.2e-12, 2.6e-12, 0.325e-12),
}


def albireo_checks() -> list[Check]:
    """How many of each device there are is fitted to the conservative set; the other two then follow."""
    name, sets = "Albireo photonic", ("conservative", "moderate", "aggressive")
    found = []
    for device, each in _ALBIREO.items():
        count = point(name, sets[0], f"power_{device}") / each[0]
        found += [
            check(
                (name, kind, f"power_{device}"), count * value, "calibrated", fitted="numbers of devices: conservative"
            )
            for kind, value in zip(sets[1:], each[1:], strict=True)
        ]
    area = sum(float(row["value"]) for key, row in points().items() if key[2].startswith("area_fraction_"))
    found.append(
        check(
            None,
            area,
            "identity",
            theirs=1.0,
            system=name,
            unit="1",
            name="shares of its area add up",
            known="AccelForge",
            scope="part",
            source="10.1109/ISCA52012.2021.00072",
        )
    )
    return found


def light_checks() -> list[Check]:
    name = "Lightmatter photonic processor"
    speed = point(name, "16b ABFP", "throughput")
    electrical_w, optical_w = point(name, "electrical", "power"), point(name, "optical", "power")
    common: dict[str, Any] = dict(
        system=name, unit="TOPS/W", known="press and blog", source="10.1038/s41586-025-08854-x", scope="peak"
    )
    pace = point("Lightelligence PACE", "64x64", "clock")
    return [
        check(None, speed / electrical_w, "identity", theirs=0.840, name="efficiency, electrical power", **common),
        check(
            None, speed / (electrical_w + optical_w), "identity", theirs=0.823, name="efficiency, with light", **common
        ),
        check(
            None,
            2 * 64 * 64 * pace / 1e3,
            "identity",
            theirs=8.19,
            system="Lightelligence PACE",
            unit="TOPS",
            name="peak throughput",
            known="derived",
            scope="peak",
            source="10.1038/s41586-025-08786-6",
        ),
    ]
