"""Photonic systems: laser, modulators, held phases, detectors; and a mesh of interferometers as a system.

    photons per sample  1.5 4^b                                 shot noise as large as the rounding to b effective bits
    laser               P = N max(photons h nu f / eta, P_floor) 10^(loss/10) / wall-plug efficiency
    modulator           e = C Vpp^2 / 4 a symbol, and its driver
    phases              2 N^2 heaters of mean power P a mesh: P / f a symbol each, as long as the inference lasts
    receiver            amplifier (TIA) and ADC a sample
    memory              bytes of least traffic (``traffic``) beside a buffer on the chip; weights are in the meshes

The thermal noise of a receiver asks for more light than shot noise does below about ten bits: P_floor, -20 dBm a
detector. Non-volatile phases (phase-change cells, MEMS) hold without power: the low end. Sizes of optical parts are
set by the wavelength and shrink with no CMOS process. Receivers and drivers as in Albireo's conservative, moderate
and aggressive sets, A. Shiflett et al., ISCA 2021, doi 10.1109/ISCA52012.2021.00072.
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
    """Return the photons per sample whose shot noise equals the rounding to ``bits``: 1.5 4^b / efficiency.

    Example:
      >>> photons(8)
      98304.0
    """
    return 1.5 * 4.0**bits / efficiency


def laser_w(
    channels: float, bits: float, rate_hz: float, loss_db: float, *, detector: float = 0.8, wall_plug: float = 0.15,
    floor_w: float = 1e-5, wavelength_m: float = 1.55e-6,
) -> float:  # fmt: skip
    """Return the electrical power in watts of a laser that leaves enough light at every detector.

    Args:
      channels: number of detectors.
      bits: effective bits per sample.
      rate_hz: samples per second.
      loss_db: from laser to detector.
      detector: quantum efficiency.
      wall_plug: light per electrical power.
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
    """Return the joules per symbol of a capacitive modulator, C Vpp^2 / 4."""
    return capacitance_f * swing_v**2 / 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mesh:
    """A mesh of Mach-Zehnder interferometers that holds N x N weights by its phases; each pair is (low, typical, high).

    Attributes:
      name: of the system.
      n: inputs and outputs.
      bits: effective bits of inputs and outputs.
      rate_hz: vectors a second.
      loss_db: from laser to detector.
      wall_plug: of the laser.
      phase_w: mean power that holds one phase.
      driver_j: digital-to-analog conversion and driver of a modulator, a symbol.
      modulator_j: the modulator itself, a symbol.
      receiver_j: the amplifier behind a detector, a sample.
      adc_j: conversion of a sample.
      buffer_bytes: on-chip memory for inputs and outputs.
      memory: key of ``energy.number_formats.DRAM``, for what enters, leaves or does not fit.
      memory_byte_per_s: its rate; light waits for what takes longer than it does.
      dispatch_s: from the host's call to the first symbol, once a batch, as of other machines.
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

    All meshes are held for as long as the inference lasts, since a heater is slower than the whole inference, and while
    the batch is dispatched and the memory is waited for. Work without weights (products of activations, other
    arithmetic) is left out, and the breakdown says how much that is.
    """
    n, f = mesh.n, mesh.rate_hz
    symbols = samples = meshes = seconds = 0.0
    for op in work.operations.products:
        shape = op.shape
        if shape is None or not omissions.holds_weights(op):
            continue
        n_in, n_out, vectors, groups = shape.n_in, shape.n_out, shape.vectors, shape.count
        r, c = -(-n_in // n), -(-n_out // n)
        each = op.repeats * vectors * groups / work.operations.examples
        symbols, samples = symbols + each * n_in * c, samples + each * n_out * r
        # A loop over a stack of matrices holds several; a matrix that is used again is held once.
        copies = op.new_weight_words / max(groups * n_in * n_out, 1)
        meshes += groups * r * c * (max(1.0, copies) if copies else 0.0)
        seconds += op.repeats * vectors / work.operations.examples / f
    lit = [
        n * laser_w(1, mesh.bits, f, loss_db, wall_plug=plug)
        for loss_db, plug in zip(mesh.loss_db, mesh.wall_plug, strict=True)
    ]
    dram, outside = DRAM[mesh.memory], _outside(mesh, work)
    waits_s = mesh.dispatch_s / batch + max(0.0, outside / mesh.memory_byte_per_s - seconds)
    per_bit = (dram.low_j_per_bit, dram.typical_j_per_bit, dram.high_j_per_bit)
    rows = (
        ("laser", "light", seconds, "s", tuple(lit), (_LIGHT,)),
        ("phases", "hold", 2 * n**2 * meshes * seconds, "s", mesh.phase_w, (_HEATERS,)),
        ("phases", "hold, waiting", 2 * n**2 * meshes * waits_s, "s", mesh.phase_w, (_HEATERS,)),
        ("DAC", "drive a modulator", symbols, "", mesh.driver_j, (_ALBIREO,)),
        ("modulator", "symbol", symbols, "", mesh.modulator_j, (Source(note="1 to 200 fJ", recalled=True),)),
        ("receiver", "sample", samples, "", mesh.receiver_j, (_ALBIREO,)),
        ("ADC", "convert", samples, "", mesh.adc_j, (_ADC,)),
        ("memory", "transfer", outside, "B", tuple(8 * each for each in per_bit), (dram.source,)),
    )  # fmt: skip
    lines = [
        EnergyItem.of_range(component, action, count, unit, joules, sources, waits=action.endswith("waiting"))
        for component, action, count, unit, joules, sources in rows
    ]
    return EnergyBreakdown(
        system=mesh.name,
        batch=batch,
        items=merge_items(lines),
        latency_s=batch * (seconds + waits_s),
        bound="light" if seconds > waits_s else "dispatch" if mesh.dispatch_s > batch * seconds else "memory",
        note=f"{n} x {n} meshes at {f / 1e9:g} GHz; low: phases that hold without power, high: heaters of 10 mW",
        excludes="programming the phases, buffers, temperature control; layers one after another",
        omits=(
            *omissions.activation_products(work.operations),
            *omissions.lookups(work.operations),
            *omissions.other_results(work.operations),
        ),
    )


def _outside(mesh: Mesh, work: Workload) -> float:
    """Bytes to and from the memory outside, an example; weights of products are in the meshes."""
    byte = mesh.bits / 8
    asked = needs(work.operations, lambda op: 0.0 if op.is_product else byte, lambda op: (byte, byte))
    found = plan(asked, 1, mesh.buffer_bytes)
    return found.weights + found.maps
