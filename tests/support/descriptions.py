"""Every description class of the package, and one description of each."""

import dataclasses
import importlib
import pkgutil

import numpy as np

import analogsim
from analogsim.converters import TabulatedADC
from analogsim.devices import Description, HermesPCM, MeasuredCell, Wires
from analogsim.hardware import weight_modifiers as modifiers


def every_description() -> list[type[Description]]:
    """All description classes of the package by name, whatever file they stand in."""
    for module in pkgutil.walk_packages(analogsim.__path__, "analogsim."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found, waiting = set(), [Description]
    while waiting:
        below = waiting.pop().__subclasses__()
        found.update(kind for kind in below if kind.__module__.startswith("analogsim."))
        waiting += below
    return sorted(found, key=lambda kind: kind.__name__)


MEASURED = MeasuredCell(
    conductance=np.array([0.1, 1 / 3, 0.7]), time_s=np.array([1.0, 1e7 / 3]), sigma=np.arange(6.0).reshape(2, 3) / 7
)

TABULATED = TabulatedADC(thresholds=np.array([-0.4, 0.1, 1 / 3]), levels=np.array([-0.7, -0.1, 0.2, 2 / 3]))

#: What a class must be given, by its name.
NEEDED = {
    "AdditiveNoise": dict(std=1 / 3),
    "Codec": dict(rank=2),
    "Data": dict(name="digits"),
    "Discretise": dict(bits=4),
    "DropConnect": dict(probability=0.1),
    "LowRank": dict(rank=2),
    "Model": dict(name="mlp"),
    "MultiplicativeNoise": dict(std=0.1),
    "Chain": dict(modifiers=(modifiers.Discretise(bits=5), modifiers.AdditiveNoise(std=0.05))),
    "TensorTrain": dict(rank=2),
    **{
        type(item).__name__: {f.name: getattr(item, f.name) for f in dataclasses.fields(item)}
        for item in (MEASURED, TABULATED, HermesPCM().drift_mean, Wires(word_line_ohm=1.0, bit_line_ohm=0.3))
    },
}


def example(kind: type[Description], **values) -> Description:
    """One description of a class with these values, and with what else it needs."""
    return kind(**NEEDED.get(kind.__name__, {}) | values)
