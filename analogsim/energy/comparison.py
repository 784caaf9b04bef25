"""One model, several machines: the bills side by side."""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from analogsim.devices.errors import InputError, brief, nearest
from analogsim.energy import analog, brain, digital, eyeriss, tables
from analogsim.energy.analog import Arrays
from analogsim.energy.bill import Bill
from analogsim.energy.workload import Workload, count

if TYPE_CHECKING:
    import rich.table
    import xarray

#: What the hardware can be compared with: ``bill(work, batch)`` of every system.
SYSTEMS: dict[str, Callable[[Workload, int], Bill]] = {
    **{name: functools.partial(digital.bill, gpu) for name, gpu in digital.GPUS.items()},
    "Eyeriss": eyeriss.bill,
    "brain": brain.bill,
}


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Bills of one workload: the hardware's first, then the other systems', every one at each batch size.

    Attributes:
      bills: one a system and batch size, in this order.
      arrays: the hardware's tiles and cells; None where it is digital.
      macs: multiply-accumulates an inference, the work that every system is billed for.
      other_parameters: numbers of the model that no analog layer holds; what they cost is in no bill.
    """

    bills: tuple[Bill, ...]
    arrays: Arrays | None
    macs: int
    other_parameters: int

    @property
    def systems(self) -> tuple[str, ...]:
        """Names of the systems, the hardware first."""
        return tuple(dict.fromkeys(bill.system for bill in self.bills))

    @property
    def hardware(self) -> Bill:
        """The hardware's own bill. It is the same at every batch size but for the latency."""
        return self.bills[0]

    @property
    def includes(self) -> str:
        """What each system's bill counts, a line a system."""
        return "\n".join(f"{bill.system} counts {bill.includes}." for bill in self._one_a_system())

    @property
    def excludes(self) -> str:
        """What no bill counts, and what each system's leaves out beyond that, a line each."""
        common = (
            f"Every bill leaves out what the {self.other_parameters:,} parameters outside of analog layers do (biases, "
            f"layers kept digital), activation functions, cooling and losses of the power supply."
        )
        return "\n".join([common, *(f"{bill.system} leaves out {bill.excludes}." for bill in self._one_a_system())])

    def _one_a_system(self) -> Iterable[Bill]:
        return {bill.system: bill for bill in self.bills}.values()

    def table(self) -> "rich.table.Table":
        """Every system and batch size: joules an inference from low to high, and the time of the batch."""
        return tables.systems(self)

    def components_table(self) -> "rich.table.Table":
        """Where the joules of the hardware go, every price with its source."""
        return tables.components(self)

    def to_dataset(self) -> "xarray.Dataset":
        """The table as arrays over (system, batch): joules low, typical and high; seconds, NaN where not known."""
        import xarray

        batches = list(dict.fromkeys(bill.batch for bill in self.bills))
        shape = (len(self.systems), len(batches))

        def array(value: Callable[[Bill], float], long_name: str, units: str) -> tuple:
            values = np.array([value(bill) for bill in self.bills], np.float64).reshape(shape)
            return ("system", "batch"), values, {"long_name": long_name, "units": units}

        return xarray.Dataset(
            {
                "energy_low_j": array(lambda b: b.energy_low_j, "energy of an inference, low", "J"),
                "energy_typical_j": array(lambda b: b.energy_typical_j, "energy of an inference, typical", "J"),
                "energy_high_j": array(lambda b: b.energy_high_j, "energy of an inference, high", "J"),
                "latency_s": array(
                    lambda b: math.nan if b.latency_s is None else b.latency_s, "from batch to last result", "s"
                ),
            },
            coords={
                "system": list(self.systems),
                "batch": ("batch", batches, {"long_name": "examples computed together", "units": "1"}),
            },
            attrs={"macs": self.macs, "includes": self.includes, "excludes": self.excludes},
        )

    def __str__(self) -> str:
        return tables.text(self)


def compare(
    model: Any,
    variables: Any,
    x_sample: Any,
    systems: str | Iterable[str] = ("H100", "Eyeriss", "brain"),
    batch: int | Iterable[int] = (1, 256),
    **call_options: Any,
) -> Comparison:
    """What an inference of a model costs on its hardware and on other machines.

    Args:
      model, variables: a Linen model with analog layers and its variables, or an NNX model and None.
      x_sample: representative inputs, ``[n, ...]``: their values set how hard the rows are driven.
      systems: names in ``SYSTEMS`` to compare with.
      batch: examples that are computed together, one number or several.
      **call_options: keyword arguments of the Linen model's call, for example ``train=False``.

    Raises:
      InputError: for an unknown system, a batch that is no positive whole number, or an action without a price.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from analogsim import preset
      >>> from analogsim.linen import AnalogDense
      >>> layer, x = AnalogDense(10, hardware=preset("pcm")), jnp.ones((4, 64))
      >>> c = compare(layer, layer.init(jax.random.key(0), x), x, batch=1)
      >>> c.systems, c.macs
      (('pcm', 'H100', 'Eyeriss', 'brain'), 640)
    """
    names = _system_names(systems)
    batches = _batches(batch)
    work = count(model, variables, x_sample, **call_options)
    own, arrays = analog.bills(work, batches)
    if own[0].system in names:
        raise InputError(f"systems: '{own[0].system}' is also the hardware's own name; name the hardware otherwise")
    others = [SYSTEMS[name](work, b) for name in names for b in batches]
    return Comparison((*own, *others), arrays, work.macs, work.other_parameters)


def _system_names(systems: str | Iterable[str]) -> list[str]:
    if not isinstance(systems, Iterable):
        raise InputError(f"systems = {brief(systems)}: must be names, for example ('H100', 'brain')")
    names = list(dict.fromkeys([systems] if isinstance(systems, str) else map(str, systems)))
    for name in names:
        if name not in SYSTEMS:
            raise InputError(f"systems: unknown system {name!r}; {nearest(str(name), SYSTEMS)}")
    return names


def _batches(batch: Any) -> list[int]:
    values = [batch] if np.ndim(batch) == 0 else list(batch)
    for value in values:
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
            raise InputError(f"batch = {value!r}: must be a whole number and at least 1")
    if not values:
        raise InputError("batch = (): must hold at least one batch size")
    return list(dict.fromkeys(int(value) for value in values))
