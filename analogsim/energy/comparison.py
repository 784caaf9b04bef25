"""Comparison of the energy breakdowns of one model on several systems."""

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from analogsim.base.checks import check_integer
from analogsim.base.errors import InputError, brief
from analogsim.base.tables import as_text
from analogsim.base.types import PyTree
from analogsim.energy import coverage, export, tables
from analogsim.energy.breakdown import EnergyBreakdown, ModelDoesNotFit, UnsupportedSystem
from analogsim.energy.chip import analog
from analogsim.energy.chip.arrays import AnalogArrays
from analogsim.energy.chip.deployment import Deployment
from analogsim.energy.machines.systems import Named, chosen
from analogsim.energy.ratios import Ratio, ratios
from analogsim.energy.work.layer_work import Workload, count

if TYPE_CHECKING:
    from pathlib import Path

    import pandas
    import rich.table
    import xarray
    from matplotlib.axes import Axes


@dataclasses.dataclass(frozen=True, eq=False)
class Comparison:
    """Energy breakdowns of one workload on the hardware and on other systems; prints as tables.

    Returned by ``compare``, which has an example.

    Attributes:
      breakdowns: one per system and batch size, the hardware's first.
      arrays: the hardware's tiles and cells, with their area; None if the hardware is digital.
      work: the operations of the model, the same for every system.
      unsupported: the systems that cannot hold the model and so have no breakdown.

    Example:
      >>> import jax, numpy as np
      >>> from analogsim import preset
      >>> from analogsim.linen import AnalogDense
      >>> layer, x = AnalogDense(3, hardware=preset("pcm")), jax.ShapeDtypeStruct((2, 4), np.float32)
      >>> variables = jax.eval_shape(layer.init, jax.random.key(0), x)
      >>> c = compare(layer, variables, x, systems="H100", batch=(1, 16))
      >>> [(ratio.system, ratio.batch) for ratio in c.ratios], c.arrays.cells     # two cells per weight
      ([('H100', 1), ('H100', 16)], 24)
    """

    breakdowns: tuple[EnergyBreakdown, ...]
    arrays: AnalogArrays | None
    work: Workload
    unsupported: tuple[UnsupportedSystem, ...] = ()

    @property
    def macs(self) -> float:
        """Multiply-accumulates per inference, in analog layers and elsewhere."""
        return self.work.macs

    @property
    def other_parameters(self) -> int:
        """Number of parameters that no analog layer holds."""
        return self.work.other_parameters

    @property
    def systems(self) -> tuple[str, ...]:
        """Names of the systems: the hardware first, those that cannot hold the model last."""
        names = [breakdown.system for breakdown in self.breakdowns] + [entry.system for entry in self.unsupported]
        return tuple(dict.fromkeys(names))

    @property
    def batches(self) -> tuple[int, ...]:
        """Batch sizes, in the order they were given."""
        return tuple(dict.fromkeys(breakdown.batch for breakdown in self.breakdowns))

    @property
    def ratios(self) -> tuple[Ratio, ...]:
        """Joules of every other system divided by the hardware's at the same batch size."""
        return ratios(self.breakdowns)

    @property
    def hardware(self) -> EnergyBreakdown:
        """The hardware's breakdown at the first batch size. Other batch sizes change latency and waiting only."""
        return self.breakdowns[0]

    @property
    def includes(self) -> str:
        """Components and actions that each breakdown counts, one line per system."""
        return coverage.includes(self.breakdowns)

    @property
    def excludes(self) -> str:
        """The work of the model, followed by the costs that each breakdown excludes, one line per system."""
        return coverage.excludes(self.breakdowns, self.work)

    def table(self) -> "rich.table.Table":
        """Return a table of all systems and batch sizes: joules per inference, low to high, and time of the batch."""
        return tables.systems(self.breakdowns, self.work, self.unsupported)

    def components_table(self) -> "rich.table.Table":
        """Return a table of the hardware's energy by component, with the source of every figure."""
        return tables.components(self.breakdowns, self.arrays, self.work)

    def layers_table(self) -> "rich.table.Table":
        """Return a table of the hardware's energy by layer."""
        return tables.layers(self.hardware, self.work)

    def to_dataset(self) -> "xarray.Dataset":
        """Return arrays over (system, batch): low, typical and high joules; seconds. NaN if not known or no fit."""
        return export.as_dataset(self.breakdowns, self.work, self.unsupported)

    def to_dataframe(self) -> "pandas.DataFrame":
        """Return one row per item of every breakdown, with the source of its energy per action."""
        import pandas

        return pandas.DataFrame(self.to_dict()["items"])

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain numbers and strings, for JSON or YAML."""
        return export.as_dict(self.breakdowns, self.arrays, self.work, self.unsupported)

    def to_html(self, path: "str | Path") -> "Path":
        """Write one self-contained HTML page with figures, tables and sources; return its path."""
        from analogsim.energy import page

        return page.write(path, self.breakdowns, self.work, self.unsupported)

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw one bar per system, from low to high on a logarithmic axis (``analogsim.plot.energy``)."""
        from analogsim import plot

        return plot.energy(self, ax)

    def plot_batch(self, ax: "Axes | None" = None) -> "Axes":
        """Draw energy per inference over the batch size, one curve per system (``analogsim.plot.energy_batch``)."""
        from analogsim import plot

        return plot.energy_batch(self, ax)

    def __str__(self) -> str:
        return as_text(self.table(), self.components_table())


def compare(
    model: Any,
    variables: PyTree,
    x_sample: Any,
    systems: Named | Iterable[Named] = ("H100", "Eyeriss", "brain"),
    batch: int | Iterable[int] = (1, 256),
    *,
    deployment: Deployment | None = None,
    while_loops: int | None = None,
    **call_options: Any,
) -> Comparison:
    """Estimate the energy of one inference of a model on its analog hardware and on other systems.

    Args:
      model: a Linen or NNX model with analog layers.
      variables: the variables of a Linen model; None for an NNX model.
      x_sample: representative inputs ``[batch, ...]``; their values set how strongly rows are driven. With a
        ``jax.ShapeDtypeStruct`` nothing is run: inputs and weights are assumed, and a large model takes seconds.
      systems: systems to compare with: names in ``energy.SYSTEMS``, optionally with a number format after a colon
        (``"H100:int8"``), or an ``energy.digital_system``, ``energy.Brain`` or ``energy.SpikingChip``.
      batch: examples that are computed together, one integer or several.
      deployment: how the analog chip is used; programming and drift calibration are amortised over its inferences.
        None: they are reported separately.
      while_loops: number of iterations of the model's ``while`` loops.
      **call_options: keyword arguments of the Linen model's call, for example ``train=False``.

    Returns:
      A ``Comparison``. A system that cannot hold the model has a row with the reason instead of a breakdown.

    Raises:
      InputError: for an unknown system, a batch that is not a positive integer, or an action without an energy.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from analogsim import preset
      >>> from analogsim.linen import AnalogDense
      >>> layer, x = AnalogDense(10, hardware=preset("pcm")), jnp.ones((4, 64))
      >>> c = compare(layer, layer.init(jax.random.key(0), x), x, batch=1)
      >>> c.systems, c.macs
      (('pcm', 'H100', 'Eyeriss', 'brain'), 640)
    """
    other_systems = chosen(systems)
    batches = _batches(batch)
    if deployment is not None and not isinstance(deployment, Deployment):
        raise InputError(f"deployment = {brief(deployment)}: must be an energy.Deployment, or None")
    work = count(model, variables, x_sample, while_loops, **call_options)
    hardware_breakdowns, arrays = analog.breakdowns(work, batches, deployment)
    if hardware_breakdowns[0].system in [system.name for system in other_systems]:
        raise InputError(
            f"systems: '{hardware_breakdowns[0].system}' is also the name of the hardware; rename the hardware"
        )
    all_breakdowns, unsupported = list(hardware_breakdowns), []
    for system in other_systems:
        for size in batches:
            try:
                all_breakdowns.append(system.breakdown(work, size))
            except ModelDoesNotFit as error:
                unsupported.append(UnsupportedSystem(system.name, size, str(error).removeprefix(f"{system.name}: ")))
    return Comparison(tuple(all_breakdowns), arrays, work, tuple(unsupported))


def _batches(batch: Any) -> list[int]:
    values = [batch] if np.ndim(batch) == 0 else list(batch)
    for value in values:
        check_integer(value, "batch")
    if not values:
        raise InputError("batch = (): must hold at least one batch size")
    return list(dict.fromkeys(int(value) for value in values))
