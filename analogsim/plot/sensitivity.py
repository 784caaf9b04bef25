"""The ranking of a sensitivity analysis as a bar chart."""

from typing import TYPE_CHECKING, Any

import numpy as np

from analogsim.base.errors import InputError, brief
from analogsim.base.extrapolation import EXTRAPOLATED, MEANING
from analogsim.plot.axes import COLOURS, axes_or_new

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def sensitivity(result: Any, ax: "Axes | None" = None, rows: int = 10) -> "Axes":
    """Draw the change of the loss for a small change of each number, largest first, with standard errors.

    Args:
      result: result of ``analogsim.training.sensitivity(...)``, which has an example.
      ax: axes to draw on; by default new ones.
      rows: maximum number of changes shown.

    Returns:
      the axes.

    Raises:
      InputError: if ``result`` is another object, or ``ax`` is not matplotlib axes.

    Example:
      >>> import types, xarray
      >>> ranking = [("adc.noise", "10 % more", 0.02, 0.01), ("adc.bits", "one more", -0.01, 0.01)]
      >>> data = xarray.Dataset({"loss": ("chip", [0.4, 0.6])})
      >>> ax = sensitivity(types.SimpleNamespace(ranking=ranking, data=data))
      >>> ax.get_xlabel()
      'change of the loss of 0.5, with standard errors over 2 chips'
    """
    if not hasattr(result, "ranking"):
        raise InputError(f"result = {brief(result)}: must be the result of analogsim.training.sensitivity")
    ranking = result.ranking[:rows][::-1]
    ax = axes_or_new(ax, 7.2, 0.9 + 0.36 * len(ranking))
    means = [mean for _, _, mean, _ in ranking]
    errors = [error if np.isfinite(error) else 0.0 for *_, error in ranking]
    colours = [COLOURS[1] if mean > 0 else COLOURS[0] for mean in means]
    places = range(len(ranking))
    ax.barh(places, means, xerr=errors, color=colours, height=0.62, error_kw={"ecolor": "#333333", "capsize": 3})
    ax.axvline(0, color="#333333", linewidth=0.8)
    ax.set_yticks(places, [f"{name}, {change}" for name, change, _, _ in ranking], fontsize=9)
    ax.grid(axis="y", visible=False)
    ax.locator_params(axis="x", nbins=5)
    n = result.data.sizes["chip"]
    spread = f", with standard errors over {n} chips" if n > 1 else ""
    late = f"\n{MEANING}" if result.data.attrs.get(EXTRAPOLATED) else ""
    ax.set_xlabel(f"change of the loss of {float(result.data.loss.mean()):.3g}{spread}{late}", fontsize=9)
    ax.tick_params(axis="x", labelsize=9)
    return ax
