"""Published compute-in-memory macros of static memory: one or two parameters fitted, the other points asked for.

Energy goes with the square of the supply; a data-dependent macro's with its mean output. See ``validation``.
"""

from analogsim.energy.published import check
from analogsim.energy.validation import Check, point

#: The laws that are asked for the other points: energy over the supply, and over the mean of what an array puts out
#: (cells that conduct add up), as the account has them.
SUPPLY_EXPONENT = 2.0
OUTPUT_EXPONENT = 1.0
_SUPPLY = ("analogsim.energy.published_macros:SUPPLY_EXPONENT",)
_OUTPUT = ("analogsim.energy.published_macros:OUTPUT_EXPONENT",)


def checks() -> list[Check]:
    """All of this file."""
    return [*jia_checks(), *sinangil_checks(), *wang_checks(), *colonnade_checks()]


def jia_checks() -> list[Check]:
    name, low, high = "Jia 65nm charge CIM", "0.85V, per column MVM", "1.2V, per column MVM"
    parts = ("adc", "cim_array", "datapath")
    found = []
    for volts, where in (("0.85V", low), ("1.2V", high)):
        column_pj = sum(point(name, where, f"energy_{part}") for part in parts[:2])
        key = (name, f"{volts} 1b x 1b (array+ADC only)", "efficiency")
        found.append(check(key, 2 * 2304 / column_pj, "identity"))
    scale = (1.2 / 0.85) ** SUPPLY_EXPONENT
    return found + [
        check(
            (name, high, f"energy_{part}"),
            scale * point(name, low, f"energy_{part}"),
            "calibrated",
            fitted="0.85 V, then V^2",
            rests_on=_SUPPLY,
        )
        for part in parts
    ]


def sinangil_checks() -> list[Check]:
    name = "Sinangil 7nm SRAM CIM"
    energy = lambda mean: point(name, f"0.8V, mean 4b output {mean}", "energy_per_array_op")  # noqa: E731
    found = [
        check((name, f"0.8V, mean 4b output {mean}", "efficiency"), 2048 / energy(mean), "identity")
        for mean in (0, 6, 15)
    ]
    found += [
        check(
            (name, f"0.8V, mean 4b output {mean}", "energy_per_array_op"),
            energy(0) + (energy(15) - energy(0)) * (mean / 15) ** OUTPUT_EXPONENT,
            "calibrated",
            fitted="outputs 0 and 15, a line between",
            rests_on=_OUTPUT,
        )
        for mean in (1, 2, 4, 6, 8, 10, 12)
    ]
    at = point(name, "0.8V, worst-case data", "energy_per_array_op")
    return found + [
        check(
            (name, f"{volts}V, worst-case data", "energy_per_array_op"),
            at * (float(volts) / 0.8) ** SUPPLY_EXPONENT,
            "calibrated",
            fitted="0.8 V, then V^2",
            rests_on=_SUPPLY,
        )
        for volts in ("0.65", "0.7", "0.75", "0.85", "0.9", "0.95", "1.0")
    ]


def wang_checks() -> list[Check]:
    name = "Wang 22nm C-2C SRAM CIM"
    at = lambda volts, what: point(name, f"{volts}V 8b x 8b", what)  # noqa: E731
    found = [
        check(
            (name, f"{volts}V 8b x 8b", "efficiency"),
            at("0.9", "efficiency") * (0.9 / float(volts)) ** SUPPLY_EXPONENT,
            "calibrated",
            fitted="0.9 V, then V^-2",
            rests_on=_SUPPLY,
        )
        for volts in ("0.7", "0.8", "1.0", "1.1")
    ]
    low, high = at("0.7", "density"), at("1.1", "density")
    found += [
        check(
            (name, f"{volts}V 8b x 8b", "density"),
            low + (high - low) * (float(volts) - 0.7) / 0.4,
            "calibrated",
            fitted="0.7 and 1.1 V, a line between, which no part of the account has",
        )
        for volts in ("0.8", "0.9", "1.0")
    ]
    parts = sum(point(name, "1.0V", f"energy_fraction_{part}") for part in ("ADC", "DAC", "MAC", "misc"))
    return [
        *found,
        check(
            None,
            parts,
            "identity",
            theirs=1.0,
            system=name,
            unit="1",
            name="shares of its energy add up",
            known="AccelForge",
            scope="part",
            source="10.1109/VLSITechnologyandCir46769.2022.9830322",
        ),
    ]


def colonnade_checks() -> list[Check]:
    name, where = "Colonnade 65nm digital CIM", "0.8V 1b x 8b"
    shares = [
        point(name, where, f"energy_fraction_{part}") for part in ("bitcell_array", "drivers", "ctrl_reg", "bl_decoder")
    ]
    each = point(name, where, "energy_per_mac")
    return [check((name, where, "energy_per_mac"), sum(share * each for share in shares), "roll-up")]
