"""Results of ``sensitivity``: effects of hardware numbers on the loss with standard errors, as dataset and table."""

import dataclasses
import typing
from typing import Any, NamedTuple

import numpy as np

from analogsim.base.description import pretty
from analogsim.base.field_rules import Rule
from analogsim.base.types import PyTree
from analogsim.base.units import show_time
from analogsim.training.hardware_numbers import HardwareNumber, SelectedNumbers

if typing.TYPE_CHECKING:
    import xarray

_SHOWN = 12

#: Change of a number that is not an integer, relative to its value.
RELATIVE_CHANGE = 0.1
STEPS = ("more", "less")


class Effect(NamedTuple):
    """Change of the loss when one number is changed in all layers at once."""

    parameter: str
    change: str  #: "10 % more", "one bit fewer"
    mean: float  #: mean over chips
    error: float  #: standard error of the mean; NaN for a single chip


class HardwareGradient(NamedTuple):
    """Gradient of the loss with respect to one number of one layer."""

    layer: str
    parameter: str
    unit: str  #: unit of the number; the gradient is in 1/unit
    mean: float  #: mean over chips
    error: float  #: standard error of the mean; NaN for a single chip
    effect: float  #: first-order change of the loss for +10 % of this number in this layer alone


@dataclasses.dataclass(frozen=True)
class Sensitivity:
    """Result of ``sensitivity``, which has an example; prints as a table, the largest effects first.

    Attributes:
      data: ``effect``, the change of the loss, over (chip, step, parameter), with the steps ``more`` and ``less``;
        ``gradient`` over (chip, layer, parameter), 1/unit; ``value`` over (layer, parameter); ``loss`` over chip; for
        every parameter its ``method``, ``unit`` and, by step, ``change`` in words. Missing values are NaN: a layer
        without this number, a number without a gradient, a step out of the allowed range.

    Example:
      >>> import xarray
      >>> effect = ("chip", "step", "parameter"), [[[0.03], [-0.01]], [[0.01], [-0.01]]]     # of two chips
      >>> change = ("step", "parameter"), [["10 % more"], ["10 % less"]]
      >>> coordinates = {"step": ["more", "less"], "parameter": ["adc.noise"], "change": change}
      >>> coordinates["method"] = "parameter", ["difference"]
      >>> largest = Sensitivity(xarray.Dataset({"effect": effect}, coordinates)).ranking[0]
      >>> largest.parameter, largest.change, round(largest.mean, 3), round(largest.error, 3)
      ('adc.noise', '10 % more', 0.02, 0.01)
    """

    data: "xarray.Dataset"

    @property
    def ranking(self) -> list[Effect]:
        """Effects, the largest first; two per number changed up and down by differences, one per gradient."""
        effects = []
        for name in self.data.parameter.values:
            of_parameter = self.data.sel(parameter=name)
            for step in ("more",) if of_parameter.method == "gradient" else ("more", "less"):
                effect = of_parameter.effect.sel(step=step)
                mean, error = _statistics(effect.values)
                if np.isfinite(mean):
                    effects.append(Effect(str(name), str(effect.change.values), mean, error))
        return sorted(effects, key=lambda effect: -abs(effect.mean))

    @property
    def gradients(self) -> list[HardwareGradient]:
        """Gradients of every layer, those with the largest effects first."""
        gradients = []
        for layer in self.data.layer.values:
            for name in self.data.parameter.values:
                number = self.data.sel(layer=layer, parameter=name)
                mean, error = _statistics(number.gradient.values)
                if np.isfinite(mean):
                    effect, unit = RELATIVE_CHANGE * float(number.value) * mean, str(number.unit.values)
                    gradients.append(HardwareGradient(str(layer), str(name), unit, mean, error, effect))
        return sorted(gradients, key=lambda gradient: -abs(gradient.effect))

    def table(self, rows: int = _SHOWN) -> Any:
        """Return the largest effects as a rich table of at most ``rows`` rows."""
        from analogsim.base.tables import simple_table

        n, loss = self.data.sizes["chip"], float(self.data.loss.mean())
        chips = f"{n} chips" if n > 1 else "1 chip"
        table = simple_table(f"Changes of a loss of {loss:.4f}, mean over {chips}, {self.data.attrs['time']} old")
        for column in ("parameter", "change"):
            table.add_column(column)
        for column in ("value", "loss", "standard error"):
            table.add_column(column, justify="right")
        ranking = self.ranking
        for name, change, mean, error in ranking[:rows]:
            shown_error = f"{error:.5f}" if np.isfinite(error) else "one chip"
            table.add_row(name, change, self._value(name), f"{mean:+.5f}", shown_error)
        table.caption = "\n".join(self._notes(ranking[rows:])) or None
        return table

    def _notes(self, omitted: list[Effect]) -> list[str]:
        """Return the lines below the table, which is without the effects ``omitted``."""
        late = self.data.attrs.get("extrapolated")
        notes = [f"extrapolated, not measured: {late}"] if late else []
        if omitted:
            notes.append(f"{len(omitted)} more, each at most {abs(omitted[0].mean):.2g}")
        for words, names in ((self.data.attrs["absent"], "absent (None)"), (self.data.attrs["unknown"], "no gradient")):
            if words:
                notes.append(f"{names}: {words}")
        return notes

    def _value(self, name: str) -> str:
        """Format the number's value, as a range if layers differ."""
        of_parameter = self.data.sel(parameter=name)
        finite_values = of_parameter.value.values[np.isfinite(of_parameter.value.values)]
        if not finite_values.size:
            return "calibrated"
        low, high = (
            pretty(float(v), str(of_parameter.unit.values)) for v in (finite_values.min(), finite_values.max())
        )
        return low if low == high else f"{low} to {high}"

    def __str__(self) -> str:
        from analogsim.base.tables import as_text

        return as_text(self.table())


def _statistics(values: np.ndarray) -> tuple[float, float]:
    """Return the mean over chips and its standard error, std/sqrt(n)."""
    error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    return float(values.mean()), float(error)


class Perturbation(NamedTuple):
    """A step of one number in all layers: its change per layer, ``{path: amount}``, or the factor of a range."""

    name: str
    step: str
    amounts: dict[str, float]
    factor: float


def dataset(
    chosen: SelectedNumbers,
    losses: Any,
    gradients: PyTree,
    smooth: list[str],
    unknown: list[str],
    moves: list[Perturbation],
    differences: np.ndarray,
    time_s: float,
    extrapolated: str = "",
) -> "xarray.Dataset":
    """Label losses ``[chip]``, gradients ``{path: {name: [chip]}}`` and differences ``[move, chip]`` as a dataset."""
    import xarray

    layers, names = list(chosen.layers), [name for name in chosen.names if name not in unknown]
    n = len(losses)
    gradient, value = np.full((n, len(layers), len(names)), np.nan), np.full((len(layers), len(names)), np.nan)
    effect = np.full((n, len(STEPS), len(names)), np.nan)
    for i, layer in enumerate(layers):
        for j, name in enumerate(names):
            if name in chosen.layers[layer]:
                value[i, j] = float(chosen.layers[layer][name].value)
                if name in smooth:
                    gradient[:, i, j] = gradients[layer][name]
    for j in (names.index(name) for name in smooth):
        # Layers without this number are NaN and add nothing.
        total = RELATIVE_CHANGE * np.nansum(gradient[:, :, j] * value[:, j], axis=1)
        effect[:, 0, j], effect[:, 1, j] = total, -total
    for move, change in zip(moves, differences, strict=True):
        effect[:, STEPS.index(move.step), names.index(move.name)] = change
    return xarray.Dataset(
        {
            "gradient": (("chip", "layer", "parameter"), gradient),
            "effect": (("chip", "step", "parameter"), effect),
            "value": (("layer", "parameter"), value),
            "loss": ("chip", np.asarray(losses, np.float64)),
        },
        coords={
            "chip": np.arange(n),
            "layer": layers,
            "step": list(STEPS),
            "parameter": names,
            "method": ("parameter", ["gradient" if name in smooth else "difference" for name in names]),
            "unit": ("parameter", [_number(chosen, name).rule.unit for name in names]),
            "change": (("step", "parameter"), [[_words(chosen, name, s) for name in names] for s in STEPS]),
        },
        attrs={
            "time": show_time(time_s),
            "time_s": time_s,
            "absent": ", ".join(chosen.absent),
            "unknown": ", ".join(unknown),
            **({"extrapolated": extrapolated} if extrapolated else {}),
        },
    )


def _number(chosen: SelectedNumbers, name: str) -> HardwareNumber:
    """Return the number of this name in the first layer that has it; for a calibrated range, one without a rule."""
    return next((numbers[name] for numbers in chosen.layers.values() if name in numbers), HardwareNumber(None, Rule()))


def _words(chosen: SelectedNumbers, name: str, step: str) -> str:
    """Describe a change in words."""
    if not _number(chosen, name).is_integer:
        return f"10 % {step}"
    direction = "more" if step == "more" else "fewer"
    return f"one bit {direction}" if name.rpartition(".")[2] == "bits" else f"one {direction}"
