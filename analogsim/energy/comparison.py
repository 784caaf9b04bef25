"""One model, several machines: the bills side by side."""

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from analogsim.base.checks import check_integer
from analogsim.base.errors import InputError, brief
from analogsim.base.tables import as_text
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
    """Bills of one workload: the hardware's first, then the other systems', every one at each batch size.

    Attributes:
      breakdowns: one per system and batch size, in this order.
      arrays: the hardware's tiles and cells, with their area; None where it is digital.
      work: what the model computes, operation by operation, the same for every system.
      unsupported: the systems that cannot hold the model, which have no bill.
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
        """Numbers of the model that no analog layer holds."""
        return self.work.other_parameters

    @property
    def systems(self) -> tuple[str, ...]:
        """Names of the systems, the hardware first, those that the model does not fit last."""
        names = [breakdown.system for breakdown in self.breakdowns] + [each.system for each in self.unsupported]
        return tuple(dict.fromkeys(names))

    @property
    def batches(self) -> tuple[int, ...]:
        """Batch sizes, as they were asked for."""
        return tuple(dict.fromkeys(breakdown.batch for breakdown in self.breakdowns))

    @property
    def ratios(self) -> tuple[Ratio, ...]:
        """Joules of every other system over the hardware's at the same batch, each with what it compares."""
        return ratios(self.breakdowns)

    @property
    def hardware(self) -> EnergyBreakdown:
        """The hardware's own bill. It is the same at every batch size but for the latency."""
        return self.breakdowns[0]

    @property
    def includes(self) -> str:
        """What each system's bill counts, one line per system."""
        return coverage.includes(self.breakdowns)

    @property
    def excludes(self) -> str:
        """What the model computes and who counts all of it, then what each system's bill leaves out, one line each."""
        return coverage.excludes(self.breakdowns, self.work)

    def table(self) -> "rich.table.Table":
        """Every system and batch size: joules per inference from low to high, and the time of the batch."""
        return tables.systems(self.breakdowns, self.work, self.unsupported)

    def components_table(self) -> "rich.table.Table":
        """Where the joules of the hardware go, every price with its source."""
        return tables.components(self.breakdowns, self.arrays, self.work)

    def layers_table(self) -> "rich.table.Table":
        """The joules of the hardware layer by layer, with tiles and reads."""
        return tables.layers(self.hardware, self.work)

    def to_dataset(self) -> "xarray.Dataset":
        """The table as arrays over (system, batch): joules low, typical and high; seconds. NaN: not known, no fit."""
        return export.as_dataset(self.breakdowns, self.work, self.unsupported)

    def to_dataframe(self) -> "pandas.DataFrame":
        """Every line of every bill, one row each, with the source of its price."""
        import pandas

        return pandas.DataFrame(self.to_dict()["lines"])

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain numbers and strings, for JSON or YAML: two of them can be compared line by line."""
        return export.as_dict(self.breakdowns, self.arrays, self.work, self.unsupported)

    def to_html(self, path: "str | Path") -> "Path":
        """Write one self-contained page: figures, tables, sources."""
        from analogsim.energy import page

        return page.write(path, self.breakdowns, self.work, self.unsupported)

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """A bar for every system, from low to high on a logarithmic axis (``analogsim.plot.energy``)."""
        from analogsim import plot

        return plot.energy(self, ax)

    def plot_batch(self, ax: "Axes | None" = None) -> "Axes":
        """Energy of an inference over the batch size, a curve and band per system (``analogsim.plot.energy_batch``)."""
        from analogsim import plot

        return plot.energy_batch(self, ax)

    def __str__(self) -> str:
        return as_text(self.table(), self.components_table())


def compare(
    model: Any,
    variables: Any,
    x_sample: Any,
    systems: Named | Iterable[Named] = ("H100", "Eyeriss", "brain"),
    batch: int | Iterable[int] = (1, 256),
    *,
    deployment: Deployment | None = None,
    while_loops: int | None = None,
    **call_options: Any,
) -> Comparison:
    """What an inference of a model costs on its hardware and on other machines.

    Args:
      model, variables: a Linen model with analog layers and its variables, or an NNX model and None.
      x_sample: representative inputs, ``[n, ...]``: their values set how hard the rows are driven. With a
        ``jax.ShapeDtypeStruct`` nothing is run: inputs and weights are assumed, and a large model takes seconds.
      systems: names in ``energy.SYSTEMS`` to compare with, a number format after a colon (``"H100:int8"``), systems
        made with ``energy.digital_system``, an ``energy.Brain`` or ``energy.SpikingChip`` of your own. One that cannot
        hold the model is a row that says so.
      batch: examples that are computed together, one number or several.
      deployment: how the analog chip is used, to share writing and drift calibration among its inferences; without it
        they are reported apart.
      while_loops: how often a ``while`` loop of the model runs.
      **call_options: keyword arguments of the Linen model's call, for example ``train=False``.

    Raises:
      InputError: for an unknown system, a batch that is no positive integer, or an action without a price.

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
            f"systems: '{hardware_breakdowns[0].system}' is also the hardware's own name; name the hardware otherwise"
        )
    all_breakdowns, unsupported = list(hardware_breakdowns), []
    for system in other_systems:
        for size in batches:
            try:
                all_breakdowns.append(system.breakdown(work, size))
            except ModelDoesNotFit as error:
                unsupported.append(UnsupportedSystem(system.name, size, str(error).partition(": ")[2]))
    return Comparison(tuple(all_breakdowns), arrays, work, tuple(unsupported))


def _batches(batch: Any) -> list[int]:
    values = [batch] if np.ndim(batch) == 0 else list(batch)
    for value in values:
        check_integer(value, "batch")
    if not values:
        raise InputError("batch = (): must hold at least one batch size")
    return list(dict.fromkeys(int(value) for value in values))
