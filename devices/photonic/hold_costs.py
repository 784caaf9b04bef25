"""Cost of holding one analog value in each optical medium, and its lifetime without refresh.

Numbers come from the models if there is one. A weight of an interferometer has two phases, taken as pi each. Rings
are locked by heaters; two sets of Albireo's device figures bound their power. Light without gain costs nothing and
fades; the loop has gain, and its lifetime is that of the fibre alone. A qubit is listed for scale, with its fraction of
the power of the refrigerator. Lasers, converters and refresh are not included.
"""

from typing import NamedTuple

from analogsim.base.literature import Source, cited
from analogsim.devices.photonic.light import photon_j
from analogsim.devices.photonic.phase_change import OpticalPCM
from analogsim.devices.photonic.phase_shifter import PhaseShifter
from analogsim.devices.photonic.volatile import AtomicMemory, Cavity, DelayLine, RecirculatingLoop

PHOTONS = 1e6  # of a stored pulse of light
_HEATER_S = 10e-6  # a heater's time constant in SimPhony's device library
_HEATER = "stays some 10 us"


class HoldCost(NamedTuple):
    """Cost of holding one value in one medium.

    Attributes:
      medium: name of the medium.
      volatile: whether the value is lost without power or refresh.
      hold_w: power that holds one value, W; None if the apparatus cannot be divided among values.
      lifetime_s: retention without power or refresh, seconds; the longest demonstrated if not volatile.
      write_j: energy that writes one value, J; None if holding it writes it, or without a published figure.
      source: source of the numbers.
    """

    medium: str
    volatile: bool
    hold_w: float | None
    lifetime_s: float
    write_j: float | None
    source: Source


def hold_costs() -> tuple[HoldCost, ...]:
    """Return the holding costs of all media, one row per medium.

    Example:
      >>> rows = {row.medium: row for row in hold_costs()}
      >>> f"{rows['interferometer, two heated phases'].hold_w:.3g}"
      '0.0495'
    """
    loop, film = RecirculatingLoop(), OpticalPCM()
    pulse_j = PHOTONS * photon_j(loop.wavelength_m)
    albireo = cited("shiflett2021", note=f"heater of a ring; {_HEATER}", recalled=True)
    return (
        HoldCost("interferometer, two heated phases", True, 2 * PhaseShifter().half_wave_w, _HEATER_S, None,
                 cited("harris2014", note=f"24.77 mW for a phase of pi; {_HEATER}")),
        HoldCost("ring, locked, conservative", True, 3.1e-3, _HEATER_S, None, albireo),
        HoldCost("ring, locked, aggressive", True, 0.155e-3, _HEATER_S, None, albireo),
        HoldCost("phase-change film", False, 0.0, 1e5, film.write_j,
                 cited("rios2015", note="13.4 pJ; more than 1e5 s shown in Photonics 12, 1130 (2025), years claimed")),
        HoldCost("fibre loop with gain, 1e6 photons", True, float(loop.hold_w(PHOTONS)), DelayLine().lifetime_s,
                 pulse_j, Source(note="model: 200 m, 0.54 dB a pass, gain at 10 %; lifetime of fibre of 0.17 dB/km")),
        HoldCost("silicon-nitride cavity, 1e6 photons", True, 0.0, Cavity().lifetime_s, pulse_j,
                 cited("puckett2021", note="Q = 4.22e8")),
        HoldCost("cold atoms", True, None, AtomicMemory().lifetime_s, None,
                 cited("cho2016", note="a laboratory's apparatus")),
        HoldCost("superconducting qubit", True, 25e3 / 1000, 100e-6, None,
                 Source(note="25 kW for 1,000 elements, D-Wave 2X; T1 of a transmon", recalled=True)),
    )  # fmt: skip
