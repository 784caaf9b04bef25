"""Computed values for published digital systems, the brain, spiking chips and training runs."""

from analogsim.energy.machines import brain, eyeriss, neuromorphic
from analogsim.energy.machines.digital_devices import devices
from analogsim.energy.machines.row_stationary import accesses
from analogsim.energy.training_runs import training_runs
from analogsim.energy.validation.checks import point

_EYERISS, _LAYERS = "Eyeriss v1", [f"AlexNet CONV{i}" for i in range(1, 6)]
_BATCH = 4  # in the measurements of Eyeriss


def _layer_seconds() -> list[float]:
    return [1e-3 * point(_EYERISS, layer, "total_latency_batch4") for layer in _LAYERS]


def eyeriss_mean_power_mw() -> float:
    """Return the mean milliwatts over all convolutions of AlexNet, from the measured power and time of each."""
    power, seconds = [point(_EYERISS, layer, "power") for layer in _LAYERS], _layer_seconds()
    return sum(p * s for p, s in zip(power, seconds, strict=True)) / sum(seconds)


def eyeriss_frames_per_s() -> float:
    """Return the frames per second from the measured time of each convolution."""
    return _BATCH / sum(_layer_seconds())


def eyeriss_buffer_mb(layer: int) -> float:
    """Return the buffer traffic in MB of one convolution (counted from 1) for a batch, in the chip's mapping."""
    plane, groups, mapping = eyeriss.ALEXNET[layer - 1]
    return 2e-6 * groups * accesses(plane, mapping).buffer


def _layer_j(layer: int) -> float:
    plane, groups, mapping = eyeriss.ALEXNET[layer - 1]
    return eyeriss.UNIT_J * groups * accesses(plane, mapping).chip


def eyeriss_power_mw(layer: int) -> float:
    """Return the milliwatts of the chip in one convolution, from the counted accesses and the measured time."""
    return 1e3 * _layer_j(layer) / _layer_seconds()[layer - 1]


def eyeriss_frame_mj() -> float:
    """Return the millijoules of the chip, without DRAM, for the convolutions of one frame."""
    return 1e3 * sum(_layer_j(layer) for layer in range(1, 6)) / _BATCH


def eyeriss_dram_words_per_mac() -> float:
    """Return the uncompressed DRAM words per multiply-accumulate of AlexNet's convolutions."""
    words = sum(groups * accesses(plane, mapping).dram for plane, groups, mapping in eyeriss.ALEXNET)
    return words / (_BATCH * eyeriss.ALEXNET_CONV_MACS)


def roofline_tops(device: str, mac_per_byte: float) -> float:
    """Return the int8 roofline in TOPS at a number of multiply-accumulates per byte of weights."""
    chip = devices()[device]
    return min(chip.peak_op_per_s["int8"], 2 * mac_per_byte * chip.byte_per_s) / 1e12


def spike_fj(end: str) -> float:
    """Return the femtojoules per arriving spike in the brain at the ``"low"`` or ``"high"`` end of the range."""
    low_j, _, high_j = brain.Brain().event_j
    return 1e15 * {"low": low_j, "high": high_j}[end]


def vesicle_fj(end: str) -> float:
    """Return the femtojoules per released vesicle at the ``"low"`` or ``"high"`` end of the range."""
    return 1e15 * brain.VESICLE_J[("low", "high").index(end)]


def spiking_j(chip: str, field: str) -> float:
    """Return an energy field of a spiking chip in joules."""
    return getattr(neuromorphic.CHIPS[chip], field)


def truenorth_w(rate_hz: float) -> float:
    """Return the watts of TrueNorth with all synapses at a mean spike rate."""
    chip = neuromorphic.CHIPS["TrueNorth"]
    assert chip.static_w is not None
    return chip.static_w + chip.event_j * (neuromorphic.TRUENORTH_SYNAPSES * rate_hz)


def truenorth_event_j(rate_hz: float) -> float:
    """Return the all-in joules per synaptic event of TrueNorth: all power of the chip divided by its events."""
    return truenorth_w(rate_hz) / (neuromorphic.TRUENORTH_SYNAPSES * rate_hz)


def training_mwh(run: str) -> float:
    """Return the megawatt-hours of a published training run from its power, time and data-centre overhead."""
    return training_runs()[run].mwh
