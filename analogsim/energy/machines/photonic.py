"""Energy of photonic systems (laser, modulators, phase shifters, detectors), and a mesh of interferometers as a system.

    photons per sample  1.5 4^b                                 shot noise equals the rounding to b effective bits
    laser               P = N max(photons h nu f / eta, P_floor) 10^(loss/10) / wall-plug efficiency
    modulator           e = C Vpp^2 / 4 per symbol, and its driver
    phases              2 N^2 heaters of mean power P per mesh: P / f per symbol each, for the whole inference
    receiver            amplifier (TIA) and ADC per sample
    memory              minimum traffic (``traffic``) with a buffer on the chip; weights are in the meshes

Below about ten bits the thermal noise of a receiver requires more light than shot noise: P_floor, -20 dBm per detector.
Non-volatile phases (phase-change cells, MEMS) need no holding power, which is the low end. The wavelength sets the size
of optical parts, so they do not shrink with the CMOS process. Receivers and drivers are the conservative, moderate and
aggressive sets of Albireo, A. Shiflett et al., ISCA 2021, doi 10.1109/ISCA52012.2021.00072.
"""

import dataclasses

from analogsim.base.errors import InputError
from analogsim.base.literature import Source, cited
from analogsim.devices.photonic.light import photon_j
from analogsim.energy import omissions
from analogsim.energy.breakdown import EnergyBreakdown, EnergyItem, merge_items
from analogsim.energy.machines.number_formats import DRAM
from analogsim.energy.work.layer_work import Workload
from analogsim.energy.work.traffic import needs, plan

_ALBIREO = cited("shiflett2021", note="conservative, moderate and aggressive set")
_ADC = cited("murmann2025", note="floor, embedded SAR, median of 8 bits")
_HEATERS = Source(note="thermo-optic phase shifters: half-wave power 10 to 30 mW, 1 to 3 mW undercut", recalled=True)
_LIGHT = Source(note="shot-noise and -20 dBm receiver floor; loss 10 to 20 dB, efficiency 0.1 to 0.2", recalled=True)


def photons(bits: float, efficiency: float = 1.0) -> float:
    """Return the photons per sample whose shot noise equals the rounding to ``bits``: 1.5 4^bits / efficiency.

    Args:
      bits: effective bits per sample.
      efficiency: quantum efficiency of the detector.

    Example:
      >>> photons(8)
      98304.0
    """
    return 1.5 * 4.0**bits / efficiency


def laser_w(
    channels: float, bits: float, rate_hz: float, loss_db: float, *, detector: float = 0.8, wall_plug: float = 0.15,
    floor_w: float = 1e-5, wavelength_m: float = 1.55e-6,
) -> float:  # fmt: skip
    """Return the electrical power in watts of a laser that provides enough light at every detector.

    Args:
      channels: number of detectors.
      bits: effective bits per sample.
      rate_hz: samples per second.
      loss_db: optical loss from laser to detector in dB.
      detector: quantum efficiency of a detector.
      wall_plug: optical power over electrical power.
      floor_w: minimum light at a detector, for its thermal noise.
      wavelength_m: wavelength of the light in m.

    Raises:
      InputError: for a loss below zero or an efficiency outside (0, 1].

    Example:
      >>> f"{laser_w(64, 8, 1e9, 15):.3g}"
      '0.212'
    """
    if not loss_db >= 0:
        raise InputError(f"loss_db = {loss_db!r}: must be at least 0 (unit: dB)")
    for name, value in (("detector", detector), ("wall_plug", wall_plug)):
        if not 0 < value <= 1:
            raise InputError(f"{name} = {value!r}: must be greater than 0 and at most 1")
    shot_w = photons(bits, detector) * photon_j(wavelength_m) * rate_hz
    return channels * max(shot_w, floor_w) * 10 ** (loss_db / 10) / wall_plug


def modulator_j(capacitance_f: float, swing_v: float) -> float:
    """Return the joules per symbol of a capacitive modulator (farads, peak-to-peak volts): C Vpp^2 / 4."""
    return capacitance_f * swing_v**2 / 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mesh:
    """A mesh of Mach-Zehnder interferometers that stores N x N weights as phases; triples are (low, typical, high).

    Attributes:
      name: name of the system.
      n: number of inputs and of outputs.
      bits: effective bits of inputs and outputs.
      rate_hz: vectors per second.
      loss_db: optical loss from laser to detector in dB.
      wall_plug: wall-plug efficiency of the laser.
      phase_w: mean power in W to hold one phase.
      driver_j: joules per symbol of the DAC and driver of a modulator.
      modulator_j: joules per symbol of the modulator itself.
      receiver_j: joules per sample of the amplifier behind a detector.
      adc_j: joules per conversion of a sample.
      buffer_bytes: size of the on-chip memory for inputs and outputs.
      memory: external memory for inputs, outputs and maps that do not fit, a key of ``number_formats.DRAM``.
      memory_byte_per_s: its bandwidth; the mesh waits if the traffic takes longer than the light.
      dispatch_s: seconds from the host's call to the first symbol, once per batch.
    """

    name: str = "photonic mesh"
    n: int = 64
    bits: float = 8.0
    rate_hz: float = 1e9
    loss_db: tuple[float, float, float] = (10.0, 15.0, 20.0)
    wall_plug: tuple[float, float, float] = (0.2, 0.15, 0.1)
    phase_w: tuple[float, float, float] = (0.0, 2e-3, 10e-3)
    driver_j: tuple[float, float, float] = (0.325e-12, 2.6e-12, 5.2e-12)
    modulator_j: tuple[float, float, float] = (1e-15, 20e-15, 200e-15)
    receiver_j: tuple[float, float, float] = (0.045e-12, 0.3125e-12, 0.625e-12)
    adc_j: tuple[float, float, float] = (0.277e-12, 2.06e-12, 4.29e-12)
    buffer_bytes: float = 2.0**23
    memory: str = "LPDDR4"
    memory_byte_per_s: float = 25.6e9
    dispatch_s: float = 5e-6


def breakdown(mesh: Mesh, work: Workload, batch: int) -> EnergyBreakdown:
    """Return the energy breakdown of one inference if every matrix has separate meshes and layers run in sequence.

    All heaters stay on for the whole inference, because a heater is slower than an inference, and also during the
    dispatch of the batch and while waiting for the memory. Work without weights (products of activations, other
    arithmetic) is left out, and the breakdown states its amount.
    """
    n, f = mesh.n, mesh.rate_hz
    symbols = samples = meshes = seconds = 0.0
    for op in work.operations.products:
        shape = op.shape
        if shape is None or not omissions.holds_weights(op):
            continue
        n_in, n_out, vectors, groups = shape.n_in, shape.n_out, shape.vectors, shape.count
        r, c = -(-n_in // n), -(-n_out // n)
        products = op.repeats * vectors * groups / work.operations.examples
        symbols, samples = symbols + products * n_in * c, samples + products * n_out * r
        # A loop over a stack of matrices needs a mesh for each of them; a reused matrix needs one.
        copies = op.new_weight_words / max(groups * n_in * n_out, 1)
        meshes += groups * r * c * (max(1.0, copies) if copies else 0.0)
        seconds += op.repeats * vectors / work.operations.examples / f
    lit = [
        n * laser_w(1, mesh.bits, f, loss_db, wall_plug=plug)
        for loss_db, plug in zip(mesh.loss_db, mesh.wall_plug, strict=True)
    ]
    dram, traffic_bytes = DRAM[mesh.memory], _external_bytes(mesh, work)
    waits_s = mesh.dispatch_s / batch + max(0.0, traffic_bytes / mesh.memory_byte_per_s - seconds)
    per_bit = (dram.low_j_per_bit, dram.typical_j_per_bit, dram.high_j_per_bit)
    rows = (
        ("laser", "light", seconds, "s", tuple(lit), (_LIGHT,)),
        ("phases", "hold", 2 * n**2 * meshes * seconds, "s", mesh.phase_w, (_HEATERS,)),
        ("phases", "hold, waiting", 2 * n**2 * meshes * waits_s, "s", mesh.phase_w, (_HEATERS,)),
        ("DAC", "drive a modulator", symbols, "", mesh.driver_j, (_ALBIREO,)),
        ("modulator", "symbol", symbols, "", mesh.modulator_j, (Source(note="1 to 200 fJ", recalled=True),)),
        ("receiver", "sample", samples, "", mesh.receiver_j, (_ALBIREO,)),
        ("ADC", "convert", samples, "", mesh.adc_j, (_ADC,)),
        ("memory", "transfer", traffic_bytes, "B", tuple(8 * bit_j for bit_j in per_bit), (dram.source,)),
    )
    items = [
        EnergyItem.of_range(component, action, count, unit, joules, sources, waits=action.endswith("waiting"))
        for component, action, count, unit, joules, sources in rows
    ]
    return EnergyBreakdown(
        system=mesh.name,
        batch=batch,
        items=merge_items(items),
        latency_s=batch * (seconds + waits_s),
        bound="light" if seconds > waits_s else "dispatch" if mesh.dispatch_s > batch * seconds else "memory",
        note=f"{n} x {n} meshes at {f / 1e9:g} GHz; low: non-volatile phases without power, high: heaters of 10 mW",
        excludes="programming the phases, buffers, temperature control, overlap of layers",
        omits=(
            *omissions.activation_products(work.operations),
            *omissions.lookups(work.operations),
            *omissions.other_results(work.operations),
        ),
    )


def _external_bytes(mesh: Mesh, work: Workload) -> float:
    """Return the bytes to and from the external memory per example; weights of products are in the meshes."""
    byte = mesh.bits / 8
    needed = needs(work.operations, lambda op: 0.0 if op.is_product else byte, lambda op: (byte, byte))
    traffic = plan(needed, 1, mesh.buffer_bytes)
    return traffic.weights + traffic.maps
