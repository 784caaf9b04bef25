"""analogsim: emulate analog computers for neural networks in JAX.

Describe hardware      preset, presets, Hardware, DAC, ADC, Prices, altered (changed for one block of code)
Keep it in a file      load_hardware, to_toml, from_toml
Convert a model        convert, summary, to_digital
Compress it            analogsim.codecs (tensor trains, low rank), convert(..., codec=)
Build a model          analogsim.linen.AnalogDense / AnalogConv, analogsim.nnx.AnalogLinear / AnalogConv
Prepare it             calibrate, range_report, fit_adc (converters), analogsim.training (hardware-aware training)
Train on it            FreshChip, LearnedRange, TrackedRange, DynamicRange: fields of Hardware
Sample chips           program, Chip
Multiply               products_on_tiles (a matrix and its transpose, as associative memories need them)
Save                   save, restore (a model, its calibration and its chips, through Orbax)
Measure                evaluate (hundreds of ageing chips), digital (the exact baseline)
Give inputs            an array, a tuple of several, any pytree; Inputs (by keyword), Shared (what has no examples)
Sweep                  sweep, ChipScores, over_chips (hardware x chips x ages, resumable, on one machine or many)
Price                  analogsim.energy.compare (joules beside GPU, Eyeriss and brain)
Compare stores         analogsim.storage.storage (bits a read gives, for how long, at what power)
Cite                   cite (the papers behind any of these, as text and BibTeX)
Show                   analogsim.plot, analogsim.report, and ``analogsim --help``
Physics                analogsim.devices
"""

import importlib
import importlib.metadata
import pathlib

# devices/ and training/ are installed inside this package. A checkout whose file system has no links finds them here.
if not (pathlib.Path(__file__).parent / "devices").is_dir():
    __path__.append(str(pathlib.Path(__file__).parent.parent))

from analogsim import starting as starting  # isort: skip  # first: it takes care of Ctrl-C while the rest loads
from analogsim import saving as saving  # on import Flax learns to save chips and calibrated variables
from analogsim.altering import altered as altered
from analogsim.calibration import calibrate as calibrate
from analogsim.checkpoint import restore as restore
from analogsim.checkpoint import save as save
from analogsim.chip import Chip as Chip
from analogsim.chip import program as program
from analogsim.citation import cite as cite
from analogsim.converters import ADC as ADC
from analogsim.converters import DAC as DAC
from analogsim.devices.errors import InputError as InputError
from analogsim.evaluation import evaluate as evaluate
from analogsim.fitted_adc import fit_adc as fit_adc
from analogsim.fresh_chip import FreshChip as FreshChip
from analogsim.hardware import Hardware as Hardware
from analogsim.inputs import Inputs as Inputs
from analogsim.inputs import Shared as Shared
from analogsim.models import observe as observe
from analogsim.modes import digital as digital
from analogsim.presets import preset as preset
from analogsim.presets import presets as presets
from analogsim.prices import Prices as Prices
from analogsim.range_rules import DynamicRange as DynamicRange
from analogsim.range_rules import LearnedRange as LearnedRange
from analogsim.range_rules import TrackedRange as TrackedRange
from analogsim.ranges import range_report as range_report

_LAZY = ("codecs", "devices", "energy", "linen", "nnx", "plot", "report", "storage", "sweeps", "training")
#: What loads more than most users of the package need (NNX beside Linen), by the module that it is in.
_ELSEWHERE = {
    "convert": "conversion",
    "to_digital": "conversion",
    "summary": "model_summary",
    "sweep": "sweeps",
    "ChipScores": "sweeps",
    "over_chips": "sweeps",
    "products_on_tiles": "products",
    "to_toml": "hardware_file",
    "from_toml": "hardware_file",
    "load_hardware": "hardware_file",
}

try:
    __version__ = importlib.metadata.version("analogsim-jax")
except importlib.metadata.PackageNotFoundError:  # a checkout that is not installed
    __version__ = "0+unknown"


def __getattr__(name: str):
    """Submodules load on first use, so that ``import analogsim`` stays fast."""
    if name in _ELSEWHERE:
        return getattr(importlib.import_module(f"analogsim.{_ELSEWHERE[name]}"), name)
    if name in _LAZY:
        return importlib.import_module(f"analogsim.{name}")
    raise AttributeError(f"module 'analogsim' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY, *_ELSEWHERE])
