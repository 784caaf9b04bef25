"""analogsim: emulate analog computers for neural networks in JAX.

Describe hardware      preset, presets, Hardware, DAC, ADC, EnergyTable, override_hardware (inside a with block)
Store it in a file     load_hardware, to_toml, from_toml
Convert a model        convert, summary, to_digital
Compress it            analogsim.codecs (tensor trains, low rank), convert(..., codec=)
Build a model          analogsim.linen.AnalogDense / AnalogConv, analogsim.nnx.AnalogLinear / AnalogConv
Prepare it             calibrate, range_report, fit_adc (converter ranges), analogsim.training (hardware-aware training)
Train on it            FreshChip, LearnedRange, TrackedRange, DynamicRange: fields of Hardware
Sample chips           program, Chip
Multiply               program_matrix (a matrix and its transpose, as associative memories need them)
Save                   save, restore (a model, its calibration and its chips, through Orbax)
Measure                evaluate (hundreds of ageing chips), digital (the digital baseline)
Pass inputs            an array, a tuple of arrays, any pytree; Inputs (by keyword), Shared (without a batch axis)
Sweep                  sweep, ChipScores, chip_statistics (hardware x chips x ages, resumable, on one machine or many)
Account energy         analogsim.energy.compare (joules per inference, next to GPU, Eyeriss and brain)
Compare stores         analogsim.storage.storage (bits per read, retention, static power)
Cite                   cite (the papers behind any of these, as text and BibTeX)
Show                   analogsim.plot, analogsim.report, and ``analogsim --help``
Physics                analogsim.devices
"""

import importlib
import pathlib

# devices/ and training/ are installed inside this package. A checkout whose file system has no links finds them here.
if not (pathlib.Path(__file__).parent / "devices").is_dir():
    __path__.append(str(pathlib.Path(__file__).parent.parent))

from analogsim.base import starting as starting  # isort: skip  # first: it takes care of Ctrl-C while the rest loads
from analogsim.base.call_inputs import Inputs as Inputs
from analogsim.base.call_inputs import Shared as Shared
from analogsim.base.errors import InputError as InputError
from analogsim.base.version import __version__ as __version__
from analogsim.chips import (
    serialization as serialization,  # on import Flax learns to save chips and calibrated variables
)
from analogsim.chips.calibration import calibrate as calibrate
from analogsim.chips.checkpoint import restore as restore
from analogsim.chips.checkpoint import save as save
from analogsim.chips.chip import Chip as Chip
from analogsim.chips.chip import program as program
from analogsim.chips.evaluation import evaluate as evaluate
from analogsim.chips.fitted_adc import fit_adc as fit_adc
from analogsim.chips.matrix import program_matrix as program_matrix
from analogsim.chips.range_report import range_report as range_report
from analogsim.converters import ADC as ADC
from analogsim.converters import DAC as DAC
from analogsim.converters.range_rules import DynamicRange as DynamicRange
from analogsim.converters.range_rules import LearnedRange as LearnedRange
from analogsim.converters.range_rules import TrackedRange as TrackedRange
from analogsim.hardware.citation import cite as cite
from analogsim.hardware.energy_table import EnergyTable as EnergyTable
from analogsim.hardware.fresh_chip import FreshChip as FreshChip
from analogsim.hardware.hardware import Hardware as Hardware
from analogsim.hardware.override import override_hardware as override_hardware
from analogsim.hardware.presets import preset as preset
from analogsim.hardware.presets import presets as presets
from analogsim.layers.modes import digital as digital
from analogsim.models.bound import observe as observe
from analogsim.models.convert import convert as convert
from analogsim.models.convert import to_digital as to_digital
from analogsim.models.summary import summary as summary

_LAZY = (
    "base", "chips", "cli", "codecs", "converters", "devices", "energy", "factors", "hardware", "layers", "linen",
    "models", "nnx", "plot", "report", "signal_path", "storage", "sweeps", "training",
)  # fmt: skip
#: What loads more than most users of the package need, by the room that it is in.
_ELSEWHERE = {
    "sweep": "sweeps",
    "ChipScores": "sweeps",
    "chip_statistics": "sweeps",
    "to_toml": "hardware.file",
    "from_toml": "hardware.file",
    "load_hardware": "hardware.file",
}


def __getattr__(name: str):
    """Submodules load on first use, so that ``import analogsim`` stays fast."""
    if name in _ELSEWHERE:
        return getattr(importlib.import_module(f"analogsim.{_ELSEWHERE[name]}"), name)
    if name in _LAZY:
        return importlib.import_module(f"analogsim.{name}")
    raise AttributeError(f"module 'analogsim' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY, *_ELSEWHERE])
