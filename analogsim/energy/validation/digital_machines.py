"""Our numbers for published digital machines, the brain, spiking chips and training runs, by the account's models."""

from analogsim.energy.machines import brain, eyeriss, neuromorphic
from analogsim.energy.machines.digital_devices import devices
from analogsim.energy.machines.row_stationary import accesses
from analogsim.energy.training_runs import training_runs
from analogsim.energy.validation.checks import point

_EYERISS, _LAYERS = "Eyeriss v1", [f"AlexNet CONV{i}" for i in range(1, 6)]
_BATCH = 4  # of Eyeriss' measurements


def _layer_seconds() -> list[float]:
    return [1e-3 * point(_EYERISS, layer, "total_latency_batch4") for layer in _LAYERS]


def eyeriss_mean_power_mw() -> float:
    """Milliwatts over all convolutions of AlexNet, from the measured power and time of each."""
    power, seconds = [point(_EYERISS, layer, "power") for layer in _LAYERS], _layer_seconds()
    return sum(p * s for p, s in zip(power, seconds, strict=True)) / sum(seconds)


def eyeriss_frames_per_s() -> float:
    """Frames per second from the measured time of each convolution."""
    return _BATCH / sum(_layer_seconds())


def eyeriss_buffer_mb(layer: int) -> float:
    """Megabytes through the buffer for one convolution, counted from 1, of a batch in the chip's own mapping."""
    plane, groups, mapping = eyeriss.ALEXNET[layer - 1]
    return 2e-6 * groups * accesses(plane, mapping).buffer


def _layer_j(layer: int) -> float:
    plane, groups, mapping = eyeriss.ALEXNET[layer - 1]
    return eyeriss.UNIT_J * groups * accesses(plane, mapping).chip


def eyeriss_power_mw(layer: int) -> float:
    """Milliwatts of the chip in one convolution, from the counted accesses and the measured time."""
    return 1e3 * _layer_j(layer) / _layer_seconds()[layer - 1]


def eyeriss_frame_mj() -> float:
    """Millijoules of the chip, without DRAM, for the convolutions of one frame."""
    total_j = 0.0
    for layer in range(1, 6):
        total_j += _layer_j(layer)
    return 1e3 * total_j / _BATCH


def eyeriss_dram_words_per_mac() -> float:
    """Words that pass the DRAM per multiply-accumulate of AlexNet's convolutions, uncompressed."""
    words = sum(groups * accesses(plane, mapping).dram for plane, groups, mapping in eyeriss.ALEXNET)
    return words / (_BATCH * eyeriss.ALEXNET_CONV_MACS)


def roofline_tops(device: str, mac_per_byte: float) -> float:
    """Peak throughput in int8 at so many multiply-accumulates per byte of weights."""
    machine = devices()[device]
    return min(machine.peak_op_per_s["int8"], 2 * mac_per_byte * machine.byte_per_s) / 1e12


def spike_fj(end: str) -> float:
    """Femtojoules of one arriving spike in the brain at the ``"low"`` or ``"high"`` end of its band."""
    low_j, _, high_j = brain.Brain().event_j
    return 1e15 * {"low": low_j, "high": high_j}[end]


def vesicle_fj(end: str) -> float:
    """Femtojoules of one released vesicle at the ``"low"`` or ``"high"`` end of its band."""
    return 1e15 * brain.VESICLE_J[("low", "high").index(end)]


def spiking_j(chip: str, field: str) -> float:
    """A price of a spiking chip, joules."""
    return getattr(neuromorphic.CHIPS[chip], field)


def truenorth_w(rate_hz: float) -> float:
    """Watts of TrueNorth with all of its synapses at a mean rate of spikes."""
    chip = neuromorphic.CHIPS["TrueNorth"]
    assert chip.static_w is not None
    return chip.static_w + chip.event_j * (neuromorphic.TRUENORTH_SYNAPSES * rate_hz)


def truenorth_event_j(rate_hz: float) -> float:
    """Joules of one synaptic event of TrueNorth with all power that the chip draws at this rate."""
    return truenorth_w(rate_hz) / (neuromorphic.TRUENORTH_SYNAPSES * rate_hz)


def training_mwh(run: str) -> float:
    """Megawatt-hours of a published training run from its power, time and the overhead of its data centre."""
    return training_runs()[run].mwh
